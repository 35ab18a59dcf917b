"""golang-migrate and sqlx: which files are applied, and what stops an adoption."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.paired_files import GOLANG_MIGRATE, SQLX
from lib.tools.tool import History, Rows, Tool, ToolMigration

FILES = {
    "000001_create_users.up.sql": "create table users ();\n",
    "000001_create_users.down.sql": "drop table users;\n",
    "000009_add_mail.up.sql": "alter table users add mail text;\n",
    "000009_add_mail.down.sql": "alter table users drop mail;\n",
    "000010_add_name.up.sql": "alter table users add name text;\n",
}
NAMES = ("000001_create_users", "000009_add_mail", "000010_add_name")


def sha384(text: str | bytes) -> str:
    return hashlib.sha384(text if isinstance(text, bytes) else text.encode()).hexdigest()


def judged(tool: Tool, folder: Path, rows: Rows) -> History:
    """The history of a folder, with the problems of its files."""
    files = tool.read_folder(folder)
    history = tool.judge(files, rows)
    return History(history.migrations, (*files.problems, *history.problems), history.notes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path, FILES)


@pytest.mark.parametrize("tool", [GOLANG_MIGRATE, SQLX], ids=["golang-migrate", "sqlx"])
def test_the_up_file_is_taken_as_it_is(tool: Tool, tmp_path: Path) -> None:
    text = "-- no comment\r\ncreate table users ();"
    write_files(
        tmp_path,
        {
            "0002_add-users.up.sql": b"\xef\xbb\xbf" + text.encode(),
            "0002_add-users.down.sql": "drop table users;",
            "seed.sql": "",
            "README.md": "",
        },
    )
    files = tool.read_folder(tmp_path)
    assert files.left_out == ("0002_add-users.down.sql", "seed.sql")
    assert tool.judge(files, []) == History(
        (
            ToolMigration(
                name="0002_add-users",
                path="0002_add-users.up.sql",
                description="add users",
                sql=text,
            ),
        )
    )


@pytest.mark.parametrize(
    ("rows", "applied"),
    [([], 0), ([("1", "false")], 1), ([("9", "false")], 2), ([("10", "false")], 3)],
)
def test_golang_migrate_has_applied_all_up_to_its_version(
    folder: Path, rows: Sequence[Sequence[str]], applied: int
) -> None:
    history = judged(GOLANG_MIGRATE, folder, rows)
    assert outline(history) == [
        f"{name} {'applied' if number < applied else 'pending'}"
        for number, name in enumerate(NAMES)
    ]
    assert not history.problems
    # What nobody can know is said where there is more than one.
    assert len(history.notes) == (applied > 1)
    assert all("A file that came late" in note for note in history.notes)


@pytest.mark.parametrize(
    ("version", "before", "outlined"),
    [
        ("1", "-1", ["pending", "pending", "pending"]),
        ("9", "1", ["applied", "pending", "pending"]),
        ("10", "9", ["applied", "applied", "pending"]),
        ("-1", "-1", ["pending", "pending", "pending"]),
    ],
)
def test_a_dirty_version_is_a_problem_with_both_ways_out(
    folder: Path, version: str, before: str, outlined: Sequence[str]
) -> None:
    history = judged(GOLANG_MIGRATE, folder, [(version, "true")])
    (problem,) = history.problems
    assert problem.place == f"version {version}"
    assert problem.fault.startswith("is dirty in the ledger")
    assert f"`migrate force {version}` if all" in problem.remedy
    assert f"`migrate force {before}`" in problem.remedy
    assert [line.split()[1] for line in outline(history)] == outlined


@pytest.mark.parametrize("version", ["5", "11"])
def test_a_version_of_golang_migrate_without_a_file_is_a_problem(
    folder: Path, version: str
) -> None:
    assert faults(judged(GOLANG_MIGRATE, folder, [(version, "false")])) == [
        f"{version} is in the ledger, and there is no such file"
    ]


def test_golang_migrate_takes_any_suffix(tmp_path: Path) -> None:
    names = ["1_a.up.sql", "2_b.up.pgsql", "3_c.up.d.up.sql", "4_.up.sql", "5.up.sql", "x_6.up.sql"]
    write_files(tmp_path, dict.fromkeys(names, "select 1;"))
    files = GOLANG_MIGRATE.read_folder(tmp_path)
    assert [file.name for file in files.files] == ["1_a", "2_b", "3_c.up.d", "4_"]
    assert files.left_out == ("5.up.sql", "x_6.up.sql")


@pytest.mark.parametrize(
    ("tool", "second"),
    [(GOLANG_MIGRATE, "000001_users.up.sql"), (SQLX, "1_users.sql")],
    ids=["golang-migrate", "sqlx"],
)
def test_two_files_of_one_version_are_a_problem(tool: Tool, second: str, folder: Path) -> None:
    write_files(folder, {second: "select 1;"})
    (fault,) = faults(judged(tool, folder, []))
    assert fault.endswith("has the version of 000001_create_users.up.sql")


def test_an_unreadable_file_of_the_version_is_one_problem(folder: Path) -> None:
    write_files(folder, {"000011_a.up.sql": b"select '\xe9';"})
    assert faults(judged(GOLANG_MIGRATE, folder, [("11", "false")])) == [
        "000011_a.up.sql is not UTF-8"
    ]


def sqlx_row(path: str, text: str | bytes, *, success: str = "true") -> tuple[str, str, str]:
    return str(int(path.partition("_")[0])), success, sha384(text)


def test_sqlx_has_a_row_with_a_checksum_for_each_file(folder: Path) -> None:
    first, last = f"{NAMES[0]}.up.sql", f"{NAMES[2]}.up.sql"
    rows = [sqlx_row(last, FILES[last]), sqlx_row(first, FILES[first])]
    history = judged(SQLX, folder, rows)
    assert outline(history) == [
        f"{NAMES[2]} applied checksum",
        f"{NAMES[0]} applied checksum",
        f"{NAMES[1]} pending",
    ]
    assert not history.problems


@pytest.mark.parametrize(
    "applied",
    [b"a;\r\nb;\r\n", b"a;\nb;\n", b"\xef\xbb\xbfa;\r\nb;\r\n", b"a;b;"],
    ids=["CRLF", "LF", "as it is", "characters ignored"],
)
def test_line_ends_and_what_sqlx_ignores_make_no_other_file(tmp_path: Path, applied: bytes) -> None:
    write_files(tmp_path, {"1_a.sql": b"\xef\xbb\xbfa;\r\nb;\r\n"})
    history = judged(SQLX, tmp_path, [sqlx_row("1_a.sql", applied)])
    assert outline(history) == ["1_a applied checksum"]
    assert not history.problems


def test_an_edited_file_of_sqlx_is_a_problem(folder: Path) -> None:
    path = f"{NAMES[0]}.up.sql"
    history = judged(SQLX, folder, [sqlx_row(path, "something else")])
    assert outline(history)[0] == f"{NAMES[0]} applied"
    (problem,) = history.problems
    assert problem.place == path
    assert problem.fault == "is not the file that ran: its checksum is not that of the ledger"
    assert sha384(FILES[path]) in problem.remedy


def test_a_failed_row_of_sqlx_is_a_problem(folder: Path) -> None:
    path = f"{NAMES[0]}.up.sql"
    history = judged(SQLX, folder, [sqlx_row(path, FILES[path], success="false")])
    assert outline(history)[0] == f"{NAMES[0]} pending"
    assert faults(history) == ["version 1 failed, or was cut off: it may be applied in part"]


def test_a_row_of_sqlx_without_a_file_is_a_problem(folder: Path) -> None:
    history = judged(SQLX, folder, [("5", "true", "00")])
    assert faults(history) == ["5 is in the ledger, and there is no such file"]


@pytest.mark.parametrize(
    ("text", "is_transactional"),
    [
        ("-- no-transaction\nvacuum;", False),
        ("-- no-transaction, because …\nvacuum;", False),
        ("\n-- no-transaction\nselect 1;", True),
        ("--no-transaction\nselect 1;", True),
        ("-- No-Transaction\nselect 1;", True),
    ],
)
def test_the_first_line_of_a_file_of_sqlx_may_ask_for_no_transaction(
    text: str, is_transactional: bool, tmp_path: Path
) -> None:
    write_files(tmp_path, {"1_a.sql": text})
    (migration,) = judged(SQLX, tmp_path, []).migrations
    assert (migration.is_transactional, migration.sql) == (is_transactional, text)


@pytest.mark.parametrize(
    ("text", "is_noted"),
    [
        ("delete from _sqlx_migrations where version = 3;", True),
        ('update public."_sqlx_migrations" set success = true;', True),
        ("do $$ begin delete from _SQLX_MIGRATIONS; end $$;", True),
        ("-- see _sqlx_migrations\nselect '_sqlx_migrations';", False),
        ("create table old_sqlx_migrations ();", False),
        ("select 1 from _sqlx_migrations; select 'never closed", True),
        ("select 'never closed; select 1 from _sqlx_migrations", False),
    ],
)
def test_a_file_that_uses_the_ledger_of_its_tool_is_noted(
    text: str, is_noted: bool, tmp_path: Path
) -> None:
    write_files(tmp_path, {"1_a.sql": text})
    notes = judged(SQLX, tmp_path, []).notes
    assert len(notes) == is_noted
    assert all("with the line `-- From: sqlx 1_a` in its header" in note for note in notes)


@pytest.mark.parametrize(
    ("tool", "text", "is_call"),
    [
        (GOLANG_MIGRATE, "migrate -path db/migrations -database $DATABASE_URL up", True),
        (GOLANG_MIGRATE, "migrate -verbose -source file://db up", True),
        (GOLANG_MIGRATE, "image: migrate/migrate:v4", True),
        (GOLANG_MIGRATE, "brew install golang-migrate", True),
        (GOLANG_MIGRATE, "prisma migrate deploy && x --database", False),
        (GOLANG_MIGRATE, "python -m lib migrate --source build", False),
        (SQLX, "sqlx migrate run", True),
        (SQLX, "cargo sqlx --no-dotenv migrate run", True),
        (SQLX, "sqlx database setup", True),
        (SQLX, "cargo install sqlx-cli", True),
        (SQLX, "cargo sqlx prepare --check", False),
    ],
)
def test_where_the_tool_is_called(tool: Tool, text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in tool.calls) is is_call
