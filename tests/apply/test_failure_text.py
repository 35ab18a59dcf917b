"""What an error in a file says, in the log and in the journal."""

import re
from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database

from lib.actions.migrate import migrate
from lib.actions.run_context import RunContext

MakeContext = Callable[..., RunContext]


class TestTheJournal:
    @pytest.mark.parametrize(
        ("sql", "told"),
        [
            (
                "create table u (email text unique);\ninsert into u values ('joe@x.org'), ('joe@x.org');",
                "Key (email)",
            ),
            (
                "create table u (email text check (email = ''));\ninsert into u values ('joe@x.org');",
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
    def test_it_holds_no_data_of_a_row_and_the_log_does(
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
            "do $$begin raise exception '% is there', (select email from u) using errcode = '23505'; end$$",
            "do $$begin raise exception 'no' using hint = 'row is '||(select email from u); end$$",
            "do $$begin assert false, 'row is '||(select email from u); end$$",
            "select to_tsquery('simple', email||' '||email) from u",
            "do $$begin execute 'drop role '||(select quote_ident(email) from u); end$$",
            "do $$begin execute 'select '||(select quote_ident(email) from u); end$$",
            "do $$begin execute 'select u.'||(select quote_ident(email) from u)||' from u'; end$$",
            "do $$begin execute 'select '||(select quote_ident(email) from u)||'()'; end$$",
            "do $$begin execute 'create table '||(select quote_ident(email) from u)||'.x ()'; end$$",
            "select email::regclass from u",
            "select quote_ident(email)::regclass from u",
            "select quote_ident(email)::regrole from u",
            "select (quote_ident(email)||'(int,int)')::regprocedure from u",
            "select has_table_privilege(email, 'u', 'select') from u",
            "select set_config(email, 'x', true) from u",
            "do $$begin execute (select format('alter table u add %I int, add %I int', email, email) from u); end$$",
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

    def test_a_text_that_looks_like_the_mark_of_progress_is_none(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        forged = f"Statements before it: 2, sha256 {'0' * 64}; with it: 3, sha256 {'0' * 64}"
        sql = f"-- Transaction: none\nselect 1;\nselect 2;\ndo $$begin raise exception '{forged}'; end$$;"
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
            "-- Transaction: none\nselect 1; /* password=hunter2 */ select nosuch; select vault.create_secret('hunter2');",
            "select $$\nhunter2$$, crypt('a', 'b'), nosuch;",
            "select crypt('\nhunter2', 'b'); select nosuch;",
            "create subscription s connection 'hunter2' publication p;",
            "create subscription s connection 'u:hunter2@h/db' publication;",
            "do $$begin raise exception 'postgres://u:hunter2@h/db'; end$$",
            "do $$begin raise exception 'no' using hint = 'u:hunter2@h', detail = 'password=hunter2'; end$$",
            "create user mapping for public server nosuch options (password 'hunter2');",
            "alter database nosuch set app.jwt_secret = 'hunter2';",
            "select vault.create_secret('hunter2');",
            "select set_config('app.jwt_secret', 'hunter2', false), nosuch;",
            "create extension nosuch; select dblink_connect('hunter2');",
            "select pgp_sym_encrypt('hunter2', 'k');",
            "create function f() returns int language plpgsql as $$begin\n perform crypt('hunter2', 'x'); retrn 1;\nend$$;",
            "do $$begin\n  execute 'create user mapping for public server nosuch options (x ''hunter2'')';\nend$$;",
            "select set_config('app.secret', 'x', false), 'hunter2'::int;",
            "insert into nosuch (k, v) values ('stripe_secret_key', 'hunter2');",
            "update nosuch set v = 'hunter2' where k = 'smtp_password';",
            "create function f(pw text default 'hunter2', x nosuch default 'a') returns int language sql return 1;",
            "do $$begin raise exception 'no' using hint = 'use password hunter2', detail = 'token: hunter2'; end$$",
        ],
    )
    def test_they_are_in_no_error_and_not_in_the_journal(
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
