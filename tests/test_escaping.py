"""Text for a terminal, a log, the journal and a response: escaped, and behind a prefix."""

import ast
import json
import re

import pytest
from conftest import ROOT, Bundle, Cli, Database
from hypothesis import given
from hypothesis import strategies as st

from lib.escaping import document, message, one_line, signed, table

HOSTILE = (
    "x\n::error file=a.sql::forged\n✓ 999-fake  1 ms\r\n##[error]boo\x1b[31m\u202e\x85\u2028\x7fend"
)
FORGED = ("::error", "✓ 999", "##[")
# All that a terminal, an editor or a CI system may obey, but for the line feed.
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)

texts = st.text(st.characters(codec=None) | st.sampled_from("\n\r\t\x1b\u202e|:# 6✓\x85\udc80"))


def forges_nothing(printed: str) -> bool:
    """True if no line begins, after blanks, as a command of a CI system or as a forged result."""
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

    def test_it_may_begin_with_an_option_and_not_with_a_comment(self) -> None:
        assert message("--base needs a branch") == "--base needs a branch"
        assert message("-- DROP") == "  | -- DROP"

    def test_a_sign_stands_before_it_in_its_color(self) -> None:
        assert signed("\x1b[31m✗\x1b[0m", "a\nb") == "\x1b[31m✗\x1b[0m a\n  | b"


class TestATable:
    @given(st.lists(texts))
    def test_a_line_stays_one_line(self, lines: list[str]) -> None:
        shown = table(lines)
        assert not OBEYED.search(shown)
        assert shown.count("\n") == max(0, len(lines) - 1)

    def test_the_runners_own_colors_stay_on_a_terminal_alone(self) -> None:
        assert table(["\x1b[32m✓\x1b[0m a\x1b[2J"], color=True) == "\x1b[32m✓\x1b[0m a\\x1b[2J"
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


def test_nothing_is_printed_but_what_has_passed() -> None:
    """Each surface prints in one place, and mypy checks that `print` gets a `Clean` there."""
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
        "output_streams.py: _write",
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
            f"do $$begin raise exception '%', E'{literal}' "
            f"using hint = E'{literal}', detail = 'd'; end$$",
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
