"""What leaves for a terminal, a log, the journal and an answer: escaped, behind a prefix, without secrets."""

import ast
import json
import re
from collections.abc import Callable

import pytest
from conftest import ROOT, Bundle, Cli, Database
from hypothesis import given
from hypothesis import strategies as st

from lib.actions.migrate import migrate
from lib.actions.run_context import RunContext
from lib.clean_text import document, is_secretive, masked, message, one_line, signed, table

MakeContext = Callable[..., RunContext]

HOSTILE = (
    "x\n::error file=a.sql::forged\n✓ 999-fake  1 ms\r\n##[error]boo\x1b[31m\u202e\x85\u2028\x7fend"
)
FORGED = ("::error", "✓ 999", "##[")
# All that a terminal, an editor or a CI system may obey, but for the line feed.
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
SECRET = "hunter2-Hunter2"

texts = st.text(st.characters(codec=None) | st.sampled_from("\n\r\t\x1b\u202e|:# 6✓\x85\udc80"))


def forges_nothing(printed: str) -> bool:
    """No line of it begins, after blanks, as a CI system's command or a result of the runner's that never was."""
    lines = printed.split("\n")
    return not OBEYED.search(printed) and not any(
        line.strip().startswith(FORGED) or "##[" in line for line in lines
    )


class TestAMessage:
    def test_what_goes_on_stands_behind_the_prefix(self) -> None:
        assert message("a\n  Hint: b\n    c\n\n  6 | d\n    | ^\ne\n") == (
            "a\n  | Hint: b\n  |   c\n  |\n  6 | d\n    | ^\n  | e"
        )

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\x1b[31mb", r"a\x1b[31mb"),
            ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
            ("a\rb\x00c\x7f\x85", r"a\x0db\x00c\x7f\x85".replace(r"\x0d", r"\r")),
            ("a\udcffb", r"a\udcffb"),
            ("a\U000e0041b", r"a\U000e0041b"),
            ("a\r\nb", "a\n  | b"),
            ("a\tb é 漢", "a\tb é 漢"),
            ("see ##[error]x and ##vso[task]", r"see #\x23[error]x and #\x23vso[task]"),
            ("::error::x", "  | ::error::x"),
            ("  ::error::x", "  | ::error::x"),
            ("✓ 999-fake  1 ms", "  | ✓ 999-fake  1 ms"),
            ("../x: y", "../x: y"),
        ],
    )
    def test_what_a_terminal_would_obey_is_shown(self, text: str, shown: str) -> None:
        assert message(text) == shown

    @given(texts)
    def test_no_text_forges_a_line_or_reaches_a_terminal(self, text: str) -> None:
        shown = message(text)
        assert forges_nothing(shown)
        first, *others = shown.split("\n")
        assert not re.match(r"\s*[:#✓✗]", first)
        assert all(re.match(r" {2,12}([0-9]+ )?\|( |$)", line) for line in others)

    @given(texts)
    def test_it_may_pass_twice(self, text: str) -> None:
        assert message(message(text)) == message(text)
        assert one_line(one_line(text)) == one_line(text)

    def test_a_sign_stands_before_it_in_its_colour(self) -> None:
        assert signed("\x1b[31m✗\x1b[0m", "a\nb") == "\x1b[31m✗\x1b[0m a\n  | b"


class TestATable:
    @given(st.lists(texts))
    def test_a_line_stays_one_line(self, lines: list[str]) -> None:
        shown = table(lines)
        assert not OBEYED.search(shown)
        assert shown.count("\n") == max(0, len(lines) - 1)

    def test_the_runners_own_colours_stay_on_a_terminal_alone(self) -> None:
        assert table(["\x1b[32m✓\x1b[0m a\x1b[2J"], colour=True) == "\x1b[32m✓\x1b[0m a\\x1b[2J"
        assert table(["\x1b[32m✓\x1b[0m a"]) == r"\x1b[32m✓\x1b[0m a"


class TestADocument:
    @given(st.dictionaries(texts, st.lists(texts)))
    def test_a_parser_reads_the_same_values(self, value: dict[str, list[str]]) -> None:
        encoded = document(value)
        assert not OBEYED.search(encoded)
        assert "\n" not in encoded
        assert json.loads(json.dumps(value)) == json.loads(encoded)

    def test_other_letters_stay_as_they_are(self) -> None:
        assert document({"name": "é漢\u202e"}) == '{"name": "é漢\\u202e"}'


class TestSecrets:
    @pytest.mark.parametrize(
        "text",
        [
            f"could not connect to postgres://u:{SECRET}@h/db",
            f"could not connect to postgres://u:p@{SECRET}@h/db?sslmode=require",
            f"could not connect to postgres://u:{SECRET}",
            f"mysql+tls://:{SECRET}@h, and x",
            f"clone https://{SECRET}@github.com/a/b",
            f'invalid connection string "u:{SECRET}@h/db"',
            f"host=h password={SECRET} user=u",
            f"host=h password = '{SECRET} {SECRET}' user=u",
            f"host=h password='cut off {SECRET}",
            f"PGPASSWORD={SECRET} psql",
            f"postgres://h/db?user=u&password={SECRET}&x=1",
            f"alter role a password '{SECRET}'",
            f"alter role a encrypted\npassword\n/* new */ U&'{SECRET}'",
            f"alter role a password $x${SECRET}\n{SECRET}$x$",
            f"create user a with password {SECRET};",
            f"create user a identified by {SECRET}",
            f"create user a identified by '{SECRET}'",
            f"SCRAM-SHA-256$4096:{SECRET}==$a:b",
            f"create user mapping for a server s options (user '{SECRET}', password 'p')",
            f"create /* x */ server s foreign data wrapper w options (host '{SECRET}')",
            f"create subscription s connection '{SECRET}' publication p",
            f"alter database app set app.jwt_secret to '{SECRET}'",
            f"alter role web in database app set app.x = '{SECRET}'",
            f"alter system set primary_conninfo = '{SECRET}'",
            f"set local app.jwt_secret = '{SECRET}'",
            f"select vault.create_secret('{SECRET}')",
            f"select vault.create_secret('a', '{SECRET}",
            f"select set_config('app.jwt_secret', '{SECRET}', false)",
            f"select set_config(name, '{SECRET}', false)",
            f"update a set x = '{SECRET}', y = pgp_sym_encrypt('p', 'k')",
            f"select crypt('{SECRET}', gen_salt('bf'))",
            f"select pgp_sym_encrypt(E'it\\'s {SECRET}', 'k')",
            f"-- don't\nselect dblink_connect('{SECRET}')",
            f"select dblink_exec('c', $${SECRET}$$)",
            f"insert into users (email, password_hash) values ('a', '{SECRET}')",
            f"update users set api_key = '{SECRET}'",
            f'{{"access_token": "{SECRET}"}}',
            f"Key (email, api_token)=(a, {SECRET}) already exists.",
            f"Authorization: Bearer {SECRET}",
            f"copy a from program 'curl -u {SECRET}'",
            f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n",
            f"aws_secret_access_key={SECRET}",
            f"copy a from 's3://x' access_key_id '{SECRET}' session_token '{SECRET}'",
            f"the server said: password: {SECRET}",
            f"x-api-key: {SECRET}",
            f"//u:{SECRET}@h/db",
            f"create role a password ''{SECRET}''",
            f"insert into vault.secrets values ('{SECRET}')",
            f"update users set pw = md5('{SECRET}')",
            f"insert into nosuch(k, v) values ('stripe_secret_key', '{SECRET}')",
            f"update nosuch set v = '{SECRET}' where k = 'smtp_password'",
            f"insert into app (pw) values ('{SECRET}')",
            f"create function ff(pw text default '{SECRET}', x nosuch default 'a') returns int",
            f"alter table a add column api_token text not null default '{SECRET}'",
            f"create function ff(user_pass text = '{SECRET}')",
            f"select '{SECRET}' as api_key",
            f"select '{SECRET}' password from a",
            f"declare pw varchar(30) := '{SECRET}'",
            f"insert into a values ('STRIPE_KEY', '{SECRET}')",
            f"update a set v = jsonb_set(v, '{{smtp,password}}', '\"{SECRET}\"')",
            f"the token is: {SECRET}",
            f"raise exception 'no' using hint = 'use password {SECRET}', detail = 'token: {SECRET}'",
            f"use the secret {SECRET}",
            f"https://a.blob.core.windows.net/c/f?sv=2024&sig={SECRET}&se=1",
            f"https://hooks.slack.com/services/{SECRET}",
            f"https://discord.com/api/webhooks/1/{SECRET}",
            f"AccountName=a;AccountKey={SECRET}",
        ],
    )
    def test_a_secret_is_in_no_text_that_was_masked(self, text: str) -> None:
        assert SECRET not in masked(text)
        assert masked(masked(text)) == masked(text)
        assert is_secretive(text)

    @pytest.mark.parametrize(
        "text",
        [
            *("md5" + "0123456789abcdef" * 2, "AKIAIOSFODNN7EXAMPLE", "ghp_abcdefghijklmnopqrst"),
            *(
                "sk-proj-abcdefghijkl",
                "sk-abcdefghijkl",
                "sk_live_abcdefgh",
                "SG.abcdefgh.ijkl-mnop",
                "AIzaSyabcdefghijkl",
            ),
            *(
                "npm_abcdefghijkl",
                "whsec_abcd/efgh+ijk=",
                "xoxb-1234-abcdefgh",
                "glpat-abcdefghijkl",
            ),
            "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.abc",
            "$2a$06$abcdefghijklmnopqrstuvabcdefghijklmnopqrstuvabcdefghi",
        ],
    )
    def test_a_hash_and_a_key_are_known_by_their_form(self, text: str) -> None:
        assert re.fullmatch(r"(md5)?…", message(text))

    def test_the_rest_of_the_text_stays(self) -> None:
        assert masked(f"no route to postgres://u:{SECRET}@h:5432/db, or u:{SECRET}@h") == (
            "no route to postgres://u:…@h:5432/db, or u:…@h"
        )
        assert masked(f"host=h password='{SECRET}' user=u") == "host=h password='…' user=u"

    @pytest.mark.parametrize(
        "text",
        [
            "A valid token is needed: Authorization: Bearer MIGRATION_SECRET.",
            "Serving http://127.0.0.1:3000/ (the status page), /api/migration-status and /api/migrate.",
            "migrations/001-a.sql:3:1: user@host is not allowed",
            "the password in DATABASE_URL holds a raw @, / or %",
            "percent-encode them in the user and the password: @ as %40, / as %2F",
            'password authentication failed for user "web"',
            "Migrating 127.0.0.1:48019/postgres (from the embedded PostgreSQL; direct).",
            "select name, 'x' from users where token is null",
            "alter table users set (fillfactor = 90)",
            "select set_config('search_path', 'public', false)",
            "create index on users (password_hash)",
            "create table a (token varchar(20), secret int8)",
            "create table a (password text, kind text default 'x')",
            "insert into passengers (name) values ('x')",
        ],
    )
    def test_what_is_no_secret_is_shown(self, text: str) -> None:
        assert masked(text) == text
        assert message(text) == text

    @given(
        st.sampled_from(
            ["postgres://u:{}@h/d", "password='{}'", "password {}", "create_secret('{}')"]
        ),
        st.text(),
    )
    def test_no_text_around_it_brings_it_to_light(self, form: str, before: str) -> None:
        form = form.replace("password {}", "alter role a password '{}'")
        assert SECRET not in masked(f"{before} {form.format(SECRET)}")


def test_nothing_is_printed_but_what_has_passed() -> None:
    """The surfaces print in one place each: what `print` gets there is `Clean`, which mypy sees to."""
    prints = []
    for path in sorted((ROOT / "lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
                prints += [
                    f"{path.name}: {node.name}"
                    for n in calls
                    if getattr(n.func, "id", "") == "print"
                ]
    assert sorted(set(prints)) == [
        "__main__.py: _run",
        "commands.py: _print",
        "web_server.py: _say",
    ]


class TestTheCommandLine:
    def test_a_notice_forges_no_line(self, cli: Cli, bundle: Bundle) -> None:
        literal = (
            HOSTILE.replace("\x1b", r"\x1b")
            .replace("\n", r"\n")
            .replace("\r", r"\r")
            .replace("\x7f", r"\x7f")
        )
        bundle.write(
            "000-a.sql",
            f"do $$begin raise notice '%', E'{literal}' using detail = E'{literal}'; end$$",
        )
        done = cli("migrate")
        assert done.returncode == 0
        assert forges_nothing(done.stderr)
        assert "  | ::error file=a.sql::forged\n  | ✓ 999-fake  1 ms\n" in done.stderr
        assert r"#\x23[error]boo\x1b[31m\u202e\x85\u2028\x7fend" in done.stderr

    def test_an_exception_forges_no_line_on_any_way_out(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        literal = (
            HOSTILE.replace("\x1b", r"\x1b")
            .replace("\n", r"\n")
            .replace("\r", r"\r")
            .replace("\x7f", r"\x7f")
        )
        bundle.write(
            "000-a.sql",
            f"do $$begin raise exception '%', E'{literal}' using hint = E'{literal}', detail = 'd'; end$$",
        )
        variables = {
            "MIGRATION_ENVIRONMENT": HOSTILE,
            "VERCEL_GIT_COMMIT_SHA": HOSTILE,
            "VERCEL_GIT_COMMIT_REF": HOSTILE,
            "VERCEL_DEPLOYMENT_ID": HOSTILE,
        }
        for arguments in (
            ["migrate"],
            ["migrate", "--json"],
            ["migrate", "--debug"],
            ["status"],
            ["status", "--json"],
        ):
            done = cli(*arguments, **variables)
            printed = done.stdout + done.stderr
            assert forges_nothing(printed)
            assert "forged" in printed
            if "--json" in arguments:
                assert json.loads(done.stdout)["environment"].startswith("x\n::error")
        run = db.runs()[-1]
        for value in (
            run["error"],
            run["environment"],
            run["git_commit"],
            run["git_ref"],
            run["deployment"],
        ):
            assert "forged" in value
            assert forges_nothing(value)

    def test_a_name_and_an_argument_forge_no_line(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "select 1")
        name = "1\n::error file=a.sql::forged\x1b[31m\u202e.sql"
        bundle.write(name, "select 1")
        for arguments in (
            ["migrate"],
            ["migrate", "--json"],
            ["plan"],
            ["validate"],
            ["status"],
            [HOSTILE],
            ["--" + HOSTILE],
        ):
            done = cli(*arguments)
            assert done.returncode == 2
            assert forges_nothing(done.stdout + done.stderr)
            assert "forged" in done.stdout + done.stderr

    def test_a_folder_that_is_called_like_a_command_forges_no_line(
        self, cli: Cli, bundle: Bundle
    ) -> None:
        folder = bundle.root / "::error::x"
        bundle.migrations.rename(folder)
        (folder / "000-a.sql").write_text("do $$begin raise notice 'here'; end$$")
        done = cli("migrate", MIGRATIONS_DIR="::error::x")
        assert done.returncode == 0
        assert "\n  | ::error::x/000-a.sql: NOTICE: here\n" in done.stderr
        assert forges_nothing(done.stderr)

    def test_a_row_of_the_ledger_forges_no_line(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        assert cli("migrate").returncode == 0
        with db.connect() as connection:
            connection.execute(
                "insert into public.schema_migrations (version, name) values (%s, %s)",
                (HOSTILE,) * 2,
            )
            connection.execute(
                "update public.schema_migration_runs set git_ref = %s, applied = applied || %s",
                (HOSTILE, [HOSTILE]),
            )
        for arguments in (
            ["status"],
            ["status", "--json"],
            ["migrate"],
            ["migrate", "--json"],
            ["validate"],
            ["plan"],
        ):
            done = cli(*arguments)
            assert forges_nothing(done.stdout + done.stderr)
            assert "forged" in done.stdout + done.stderr
        assert r"x\n::error file=a.sql::forged\n✓ 999-fake" in cli("status").stdout
        assert HOSTILE in [
            each["version"] for each in json.loads(cli("status", "--json").stdout)["migrations"]
        ]

    def test_a_blocker_forges_no_line(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add y int")
        query = "select x as \"\n::error::forged\x1b[31m\u202e\" from a where 'hunter2' = 'hunter2'"
        with db.connect(application_name="web\n::error::forged") as holder, holder.transaction():
            holder.execute(query)
            done = cli("migrate", MIGRATION_LOCK_TIMEOUT="600ms", MIGRATION_LOCK_RETRIES="1")
        assert done.returncode == 4
        assert "forged" in done.stderr
        assert forges_nothing(done.stderr)
        assert forges_nothing(db.runs()[-1]["error"])
        assert "hunter2" not in done.stderr + db.runs()[-1]["error"]


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
