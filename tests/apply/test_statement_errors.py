"""The error for a statement: its place and line, the way out, and what it must not show."""

import re
from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.edits.baseline import baseline
from lib.errors import (
    MigrationFailedError,
)

MakeContext = Callable[..., RunContext]
FUNCTION = "create function boom() returns void language plpgsql as $$begin perform 1/0; end$$;\n"
_ALTERED_IN_A_LOOP = """do $$
declare
    r record;
begin
    for r in select x from a loop
        alter table a add column y int;
    end loop;
end $$;
"""


@pytest.mark.parametrize(
    ("sql", "place", "sqlstate"),
    [
        ("create table é (x int);\nselect 'ü', nothing;", ":2:13:", "42703"),
        ("select 1;\r\nselekt 2;\r\n", ":2:1:", "42601"),
        ("\ufeffselect 1;\nselect 2 +;", ":2:11:", "42601"),
        ("select 1;\n\n\ndo $$ begin raise exception 'no'; end $$;", ":4:7:", "P0001"),
        ("-- c\nbegin;\nselect 1;\nselect 1/0;\ncommit;", ":4:1:", "22012"),
        ("create table a (x int);\ncopy a from stdin;\n1\n2\n\\.\nselect 1/0;", ":6:1:", "22012"),
    ],
    ids=[
        "multi-byte",
        "windows line ends",
        "byte order mark",
        "run time",
        "own begin",
        "after COPY data",
    ],
)
def test_an_error_names_line_and_column(
    make_context: MakeContext, bundle: Bundle, sql: str, place: str, sqlstate: str
) -> None:
    bundle.write("000-a.sql", sql)
    report = migrate(make_context())
    assert isinstance(report.error, MigrationFailedError)
    assert f"migrations/000-a.sql{place}" in str(report.error)
    assert report.error.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "select 1;\n\tselect * fro t;",
            (
                '2:11: syntax error at or near "fro" (SQLSTATE 42601)\n  2 |  select * fro t;\n'
                "    |           ^"
            ),
        ),
        (
            "select 1,\n\n",
            (
                "1:10: syntax error at end of input (SQLSTATE 42601)\n  1 | select 1,\n"
                "    |          ^"
            ),
        ),
        (
            "create table users (user_id int);\r\nselect 'é', userid\r\n  from users;",
            '2:13: column "userid" does not exist (SQLSTATE 42703)\n'
            "  2 | select 'é', userid\n    |             ^\n"
            '  Hint: Perhaps you meant to reference the column "users.user_id".',
        ),
        (
            "create table a (x int);\ninsert into a\n  select 1/0;\nselect 1;",
            (
                "2:1: division by zero (SQLSTATE 22012)\n  2 | insert into a\n    | ^\n"
                "  In statement 2 of 3."
            ),
        ),
        (
            "select 1;\ndo $$\nbegin\n  perform 1;\n  perform 1\n    from nope;\nend $$;",
            '6:10: relation "nope" does not exist (SQLSTATE 42P01)\n  6 |     from nope;\n'
            "    |          ^\n"
            "  In statement 2 of 2.\n  Context: PL/pgSQL function inline_code_block line 4 at "
            "PERFORM",
        ),
        (
            f"{FUNCTION}do $$\nbegin\n  perform boom();\nend $$;",
            "4:3: division by zero (SQLSTATE 22012)\n  4 |   perform boom();\n    |   ^\n"
            "  In statement 2 of 2.\n"
            '  Context: SQL statement "SELECT 1/0"\n'
            "    PL/pgSQL function boom() line 1 at PERFORM\n"
            '    SQL statement "SELECT boom()"\n'
            "    PL/pgSQL function inline_code_block line 3 at PERFORM",
        ),
        (
            "create function f() returns int language plpgsql as $$\nbegin\n  retrn 1;\nend $$;",
            '3:3: syntax error at or near "retrn" (SQLSTATE 42601)\n  3 |   retrn 1;\n    |   ^',
        ),
        (
            "create table a (x int, y text);\ncopy a from stdin;\n1\tok\ntwo\tbäd\n\\.\nselect 1;",
            '4:1: invalid input syntax for type integer: "two" (SQLSTATE 22P02)\n  4 | two bäd\n'
            "    | ^\n"
            '  In statement 2 of 3.\n  Context: COPY a, line 2, column x: "two"',
        ),
        (
            (
                "create table a (x int, y text);\ncopy a from stdin (format csv, header);\nx,y\n"
                '1,"a\nb"\nq,z\n\\.\n'
            ),
            '6:1: invalid input syntax for type integer: "q" (SQLSTATE 22P02)\n  6 | q,z\n    | ^\n'
            '  In statement 2 of 2.\n  Context: COPY a, line 4, column x: "q"',
        ),
        (
            "create table a (x int primary key, y int references a deferrable initially "
            "deferred);\n"
            "insert into a values (1, 2);",
            'insert or update on table "a" violates foreign key constraint "a_y_fkey" (SQLSTATE '
            "23503)\n"
            "  At the file's end, where what was deferred is checked, and the file recorded.\n"
            '  Detail: Key (y)=(2) is not present in table "a".',
        ),
        (
            "-- Transaction: none\nselect 1;\nselect 1,\n  nope;",
            '4:3: column "nope" does not exist (SQLSTATE 42703)\n  4 |   nope;\n    |   ^\n'
            "  What ran outside a transaction before it stays: 1 of the file's statements. "
            "The next run goes on after them.",
        ),
        (
            "create table a (x int);\ndo $$begin commit; end$$;",
            "2:6: invalid transaction termination (SQLSTATE 2D000)\n"
            "  2 | do $$begin commit; end$$;\n    |      ^\n"
            "  In statement 2 of 2.\n  Context: PL/pgSQL function inline_code_block line 1 at "
            "COMMIT\n"
            "  The file is one transaction: put `-- Transaction: none` in its header, and this "
            "commits as it does in psql.",
        ),
    ],
    ids=[
        *(
            "syntax",
            "end of input",
            "hint",
            "run time",
            "in a DO block",
            "in a function",
            "in a function's source",
        ),
        *("COPY data", "CSV data", "deferred", "outside a transaction", "a DO that commits"),
    ],
)
def test_an_error_shows_its_place(
    make_context: MakeContext, bundle: Bundle, db: Database, sql: str, expected: str
) -> None:
    bundle.write("000-a.sql", sql)
    error = migrate(make_context()).error
    assert isinstance(error, MigrationFailedError)
    assert str(error) == f"migrations/000-a.sql:{'' if expected[0].isdigit() else ' '}{expected}"
    assert db.versions() == []


@pytest.mark.parametrize(
    "sql",
    [
        "create role app login\n  password 'hunter2hunter2' nonsense;",
        "create role %s login password 'hunter2hunter2'; selekt 1;",
        "create subscription s connection 'postgresql://u:hunter2hunter2@h/db' publication;",
        (
            "create subscription s connection 'host=h password=hunter2hunter2' publication p; "
            "select 1;"
        ),
        (
            "create table a (x int, password text);\ncopy a (x, password) from stdin;\n"
            "one\thunter2hunter2\n\\.\n"
        ),
        (
            "do $$begin\n  execute format('alter role nobody_at_all password %%L', "
            "'hunter2hunter2');\nend$$;"
        ),
        "-- Transaction: none\nalter role nobody_at_all password 'hunter2hunter2';",
        "do $$begin alter role nobody_at_all password 'hunter2hunter2'; end$$;",
        "create role app password hunter2hunter2;",
        "alter role nobody_at_all password /* new */ U&'hunter2hunter2';",
    ],
    ids=[
        *(
            "on its line",
            "beside it",
            "a URL",
            "refused",
            "COPY data",
            "in a block",
            "outside a transaction",
            "context",
        ),
        *("without quotes", "behind a comment"),
    ],
)
def test_a_password_is_not_shown(
    make_context: MakeContext, bundle: Bundle, db: Database, sql: str
) -> None:
    bundle.write("000-a.sql", sql.replace("%%", "%").replace("%s", f"app_{db.target.database}"))
    error = str(migrate(make_context()).error)
    assert error.startswith("migrations/000-a.sql")
    assert "hunter2" not in error
    if db.has("public.schema_migration_runs"):
        assert not any("hunter2" in (run["error"] or "") for run in db.runs())


def test_an_enum_value_that_is_used_too_early_names_the_way_out(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query("create type mood as enum ('fine'); create table t (m mood)")
    bundle.write("000-a.sql", "alter type mood add value 'well';\ninsert into t values ('well');")
    error = str(migrate(make_context()).error)
    assert "(SQLSTATE 55P04)" in error
    assert "put ALTER TYPE … ADD VALUE into a file of its own, before this one." in error


class TestExistingObjects:
    """A database that had its tables before its first run."""

    @pytest.mark.parametrize(
        ("sql", "sqlstate"),
        [
            ("create table t (x int)", "42P07"),
            ("create index t_x on t (x)", "42P07"),
            ("create type mood as enum ('fine')", "42710"),
            ("create function f() returns int language sql as 'select 1'", "42723"),
            ("create schema s", "42P06"),
            ("alter table t add column x int", "42701"),
            ("do $$begin create table t (x int); end$$", "42P07"),
            ("create table if not exists k (x int);\nalter table k add primary key (x)", "42P16"),
            (
                "create table if not exists k (x int primary key);\ninsert into k values (1)",
                "23505",
            ),
            ("create index concurrently t_x on t (x)", "42P07"),
        ],
    )
    def test_the_first_run_names_baseline_with_the_files_version(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str, sqlstate: str
    ) -> None:
        db.query(
            "create table t (x int); create index t_x on t (x); create type mood as enum ('fine'); "
            "create schema s"
        )
        db.query("create function f() returns int language sql as 'select 1'")
        db.query("create table k (x int primary key); insert into k values (1)")
        bundle.write("000-create-migration-table.sql", "select 1")
        bundle.write("001-tables.sql", sql)
        # The second build has the ledger's own file on record.
        for _ in range(2):
            error = str(migrate(make_context()).error)
            assert f"(SQLSTATE {sqlstate})" in error
            assert "\n  No file but the ledger's own was on record here before this run." in error
            assert "in place of running them: python -m lib baseline 001-tables\n" in error

    def test_the_command_that_it_names_works(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table t (x int)")
        bundle.write("001-tables.sql", "create table t (x int)")
        bundle.write("002-more.sql", "alter table t add column y int")
        error = str(migrate(make_context()).error)
        version = error.partition("python -m lib baseline ")[2].split()[0]
        baseline(make_context(), version)
        assert [migration.version for migration in migrate(make_context()).applied] == ["002-more"]

    def test_a_later_run_names_it_for_a_file_that_was_run_by_hand(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        db.query("create table b (x int)")
        bundle.write("002-b.sql", "create table b (x int)")
        error = str(migrate(make_context()).error)
        assert "on record here" not in error
        assert error.endswith("record it in place of running it: python -m lib baseline 002-b")

    def test_another_error_does_not_name_it(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("001-a.sql", "create table a (x nothing)")
        assert "baseline" not in str(migrate(make_context()).error)


class TestPendingTriggerEvents:
    TABLES = (
        "create table a (x int primary key); create table b (x int references a deferrable "
        "initially deferred);"
        "insert into a values (1)"
    )
    CHANGE = "insert into b values (1);\n{}alter table b add column y int;"

    @pytest.mark.parametrize("wrap", ["{}", "-- Transaction: none\nbegin;\n{}\ncommit;"])
    def test_the_error_names_a_way_out_that_works(
        self, make_context: MakeContext, bundle: Bundle, db: Database, wrap: str
    ) -> None:
        db.query(self.TABLES)
        bundle.write("001-a.sql", wrap.format(self.CHANGE.format("")))
        error = str(migrate(make_context()).error)
        assert "pending trigger events (SQLSTATE 55006)" in error
        assert (
            "Put `set constraints all immediate;` before this statement, or this statement into a "
            "file of its own" in error
        )
        bundle.write(
            "001-a.sql", wrap.format(self.CHANGE.format("set constraints all immediate;\n"))
        )
        assert migrate(make_context()).error is None

    def test_another_reason_of_the_same_sqlstate_has_another_way_out(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int); insert into a values (1)")
        bundle.write("001-a.sql", _ALTERED_IN_A_LOOP)
        error = str(migrate(make_context()).error)
        assert "(SQLSTATE 55006)" in error
        assert "set constraints" not in error


class TestTheJournal:
    @pytest.mark.parametrize(
        ("sql", "told"),
        [
            (
                (
                    "create table u (email text unique);\n"
                    "insert into u values ('joe@x.org'), ('joe@x.org');"
                ),
                "Key (email)",
            ),
            (
                (
                    "create table u (email text check (email = ''));\n"
                    "insert into u values ('joe@x.org');"
                ),
                "Failing row",
            ),
            ("create table u (n int);\ncopy u from stdin;\njoe@x.org\n\\.\n", "Context: COPY u"),
            ("select 'joe@x.org'::int;", "invalid input syntax"),
            ("-- Transaction: none\nselect 1;\nselect 'joe@x.org'::date;", "invalid input syntax"),
            (
                "do $$begin raise exception 'no' using detail = 'joe@x.org'; end$$",
                "Detail: joe@x.org",
            ),
        ],
    )
    def test_it_holds_no_data_of_a_row_which_the_log_does(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str, told: str
    ) -> None:
        bundle.write("000-a.sql", sql)
        error = str(migrate(make_context()).error)
        recorded = db.runs()[-1]["error"]
        assert told in error
        assert "joe@x.org" in error
        assert "joe@x.org" not in recorded
        assert "Detail" not in recorded
        assert recorded.startswith("migrations/000-a.sql:")
        assert "(SQLSTATE " in recorded

    @pytest.mark.parametrize(
        "sql",
        [
            "do $$begin raise exception using message = 'dup '||(select email from u); end$$",
            (
                "do $$begin raise exception '% is there', (select email from u) using errcode = "
                "'23505'; end$$"
            ),
            "do $$begin raise exception 'no' using hint = 'row is '||(select email from u); end$$",
            "do $$begin assert false, 'row is '||(select email from u); end$$",
            "select to_tsquery('simple', email||' '||email) from u",
            "do $$begin execute 'drop role '||(select quote_ident(email) from u); end$$",
            "do $$begin execute 'select '||(select quote_ident(email) from u); end$$",
            "do $$begin execute 'select u.'||(select quote_ident(email) from u)||' from u'; end$$",
            "do $$begin execute 'select '||(select quote_ident(email) from u)||'()'; end$$",
            (
                "do $$begin execute 'create table '||(select quote_ident(email) from u)||'.x ()'; "
                "end$$"
            ),
            "select email::regclass from u",
            "select quote_ident(email)::regclass from u",
            "select quote_ident(email)::regrole from u",
            "select (quote_ident(email)||'(int,int)')::regprocedure from u",
            "select has_table_privilege(email, 'u', 'select') from u",
            "select set_config(email, 'x', true) from u",
            (
                "do $$begin execute (select format('alter table u add %I int, add %I int', email, "
                "email) from u); end$$"
            ),
            "select (email||'(int,int)')::regoperator from u",
            "select email::jsonpath from u",
            "select pg_read_file(email) from u",
        ],
    )
    def test_it_holds_no_value_that_a_row_had(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        db.query("create table u (email text); insert into u values ('joe@x.org')")
        bundle.write("000-a.sql", sql)
        error = migrate(make_context()).error
        assert error is not None
        recorded = db.runs()[-1]["error"]
        assert "joe" not in recorded
        assert "(SQLSTATE " in recorded

    @pytest.mark.parametrize(
        ("sql", "told"),
        [
            ("alter table t drop column y;", 'column "y" of relation "t" does not exist (SQLSTATE'),
            ("select y from t;", 'column "y" does not exist (SQLSTATE'),
            ("select t.y from t;", "column t.y does not exist (SQLSTATE"),
            ("select nosuch(1);", "function nosuch(integer) does not exist (SQLSTATE"),
            ("drop function nosuch(int);", "function nosuch(integer) does not exist (SQLSTATE"),
            (
                "do $$begin perform nosuch(1); end$$;",
                "function nosuch(integer) does not exist (SQLSTATE",
            ),
            ("create table t ();", 'relation "t" already exists (SQLSTATE'),
            ("insert into t values (1), (1);", 'unique constraint "t_pkey" (SQLSTATE'),
            (
                "insert into t values (now());",
                'column "x" is of type integer but expression is of type',
            ),
            ("select nextval('nosuch_seq');", 'relation "nosuch_seq" does not exist (SQLSTATE'),
            ("select make_date(2026, 2, 31);", "date field value out of range: … (SQLSTATE"),
            (
                "create table s (x int constraint t_pkey primary key);",
                'relation "t_pkey" already exists (SQLSTATE',
            ),
            ("selec 1;", 'syntax error at or near "selec" (SQLSTATE'),
            ("drop role nosuch_role;", 'role "nosuch_role" does not exist (SQLSTATE'),
            (
                "do $$begin raise exception 'the table is not % yet', 'ready'; end$$;",
                "the table is not ready yet (SQLSTATE",
            ),
            ("do $$begin raise exception 'no % here', 1 + 1; end$$;", "no … here (SQLSTATE"),
        ],
    )
    def test_it_keeps_what_the_file_says(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str, told: str
    ) -> None:
        db.query("create table t (x int primary key)")
        bundle.write("000-a.sql", sql)
        migrate(make_context())
        recorded = db.runs()[-1]["error"]
        assert told in recorded
        assert ("the build log has it" in recorded) == ("…" in told)

    def test_a_text_that_looks_like_the_mark_of_progress_is_not_taken_for_one(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        forged = f"Statements before it: 2, sha256 {'0' * 64}; with it: 3, sha256 {'0' * 64}"
        sql = (
            "-- Transaction: none\nselect 1;\nselect 2;\n"
            f"do $$begin raise exception '{forged}'; end$$;"
        )
        bundle.write("000-a.sql", sql)
        migrate(make_context())
        bundle.write("000-a.sql", sql.replace(f"raise exception '{forged}'", "perform 1"))
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a"]


class TestAFilesSecrets:
    @pytest.mark.parametrize(
        "sql",
        [
            "-- Transaction: none\ncreate role %r password 'hunter2'; select nosuch;",
            "-- Transaction: none\nselect nosuch; create role %r password 'hunter2';",
            (
                "-- Transaction: none\nselect 1; /* password=hunter2 */ select nosuch; select "
                "vault.create_secret('hunter2');"
            ),
            "select $$\nhunter2$$, crypt('a', 'b'), nosuch;",
            "select crypt('\nhunter2', 'b'); select nosuch;",
            "create subscription s connection 'hunter2' publication p;",
            "create subscription s connection 'u:hunter2@h/db' publication;",
            "do $$begin raise exception 'postgres://u:hunter2@h/db'; end$$",
            (
                "do $$begin raise exception 'no' using hint = 'u:hunter2@h', detail = "
                "'password=hunter2'; end$$"
            ),
            "create user mapping for public server nosuch options (password 'hunter2');",
            "alter database nosuch set app.jwt_secret = 'hunter2';",
            "select vault.create_secret('hunter2');",
            "select set_config('app.jwt_secret', 'hunter2', false), nosuch;",
            "create extension nosuch; select dblink_connect('hunter2');",
            "select pgp_sym_encrypt('hunter2', 'k');",
            (
                "create function f() returns int language plpgsql as $$begin\n"
                " perform crypt('hunter2', 'x'); retrn 1;\nend$$;"
            ),
            (
                "do $$begin\n  execute 'create user mapping for public server nosuch options (x "
                "''hunter2'')';\nend$$;"
            ),
            "select set_config('app.secret', 'x', false), 'hunter2'::int;",
            "insert into nosuch (k, v) values ('stripe_secret_key', 'hunter2');",
            "update nosuch set v = 'hunter2' where k = 'smtp_password';",
            (
                "create function f(pw text default 'hunter2', x nosuch default 'a') returns int "
                "language sql return 1;"
            ),
            (
                "do $$begin raise exception 'no' using hint = 'use password hunter2', detail = "
                "'token: hunter2'; end$$"
            ),
        ],
    )
    def test_they_are_neither_in_an_error_nor_in_the_journal(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        role = f"app_{db.target.database}"
        bundle.write("000-a.sql", sql.replace("%r", role))
        try:
            error = str(migrate(make_context()).error)
        finally:
            db.query(f"drop role if exists {role}")
        assert re.match(r"migrations/000-a\.sql:\d+:\d+: ", error)
        assert "hunter2" not in error
        assert not any("hunter2" in (run["error"] or "") for run in db.runs())

    def test_the_line_is_shown_without_them_and_with_its_caret(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "select crypt('hunter2', 'x') as a; select nosuch;")
        error = str(migrate(make_context()).error)
        assert "select crypt('…', '…') as a; select nosuch;" in error

    def test_the_caret_stands_under_its_place(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "set app.x = 'hunter2'; select nosuch;")
        error = str(migrate(make_context()).error)
        assert "\n  1 | set app.x = '…'; select nosuch;\n    |                         ^" in error

    def test_plan_and_notices_show_none(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "do $$begin raise notice 'see postgres://u:hunter2@h/db'; end$$")
        bundle.write(
            "001-b.sql",
            "alter database postgres set app.jwt_secret = 'hunter2';\nselect crypt('hunter2', 'x')",
        )
        planned = cli("plan")
        assert "alter database postgres set app.jwt_secret = '…'" in planned.stdout
        migrated = cli("migrate")
        assert "see postgres://u:…@h/db" in migrated.stderr
        assert "hunter2" not in planned.stdout + planned.stderr + migrated.stdout + migrated.stderr
