"""The committed files of graphile-migrate: a chain of hashes that the tool itself has written."""

import re
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.graphile_migrate import GRAPHILE_MIGRATE
from lib.tools.tool import Rows

# As version 1.4.1 committed them.
HASHES = [
    "sha1:42d573d5e881e52c4db4b8d53c7b1fe60d48fef0",
    "sha1:d5cda9ccb15c4b30c08ef63aef9d83b53d954685",
    "sha1:de345f15cd4102041cf1fae90edc24dc41834022",
]
FILES = {
    "000001-first-step.sql": f"--! Previous: -\n--! Hash: {HASHES[0]}\n--! Message: first step\n\n"
    "create table a (id int);\n",
    "000002.sql": f"--! Previous: {HASHES[0]}\n--! Hash: {HASHES[1]}\n\n"
    "--! no-transaction\ncreate index concurrently ia on a (id);\n",
    "000003-n-code-yes.sql": f"--! Previous: {HASHES[1]}\n--! Hash: {HASHES[2]}\n"
    "--! Message: Ünïcode? yes\n\nselect 1;\r\nalter table a add t text;\n",
}
FIRST, SECOND, THIRD = (name.removesuffix(".sql") for name in FILES)
ROWS = [("000001.sql", HASHES[0]), ("000002.sql", HASHES[1]), ("000003.sql", HASHES[2])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return write_files(tmp_path / "db" / "migrations" / "committed", FILES)


def test_the_body_is_what_runs(folder: Path) -> None:
    files = GRAPHILE_MIGRATE.read_folder(folder)
    assert not files.problems
    first, second, third = GRAPHILE_MIGRATE.judge(files, ROWS).migrations
    assert (first.description, first.sql) == ("first step", "create table a (id int);\n")
    assert [one.is_transactional for one in (first, second, third)] == [True, False, True]
    assert third.sql == "select 1;\r\nalter table a add t text;\n"


def test_the_folder_above_will_do(folder: Path) -> None:
    files = GRAPHILE_MIGRATE.read_folder(folder.parent)
    assert [file.path for file in files.files] == [f"committed/{name}" for name in FILES]
    assert outline(GRAPHILE_MIGRATE.judge(files, ROWS)) == [
        f"{FIRST} applied checksum", f"{SECOND} applied checksum", f"{THIRD} applied checksum",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [f"{FIRST} pending", f"{SECOND} pending", f"{THIRD} pending"], id="none"),
        pytest.param(
            ROWS[:1],
            [f"{FIRST} applied checksum", f"{SECOND} pending", f"{THIRD} pending"],
            id="one of three",
        ),
    ],
)
def test_which_files_are_applied(folder: Path, rows: Rows, expected: list[str]) -> None:
    history = GRAPHILE_MIGRATE.judge(GRAPHILE_MIGRATE.read_folder(folder), rows)
    assert outline(history) == expected
    assert not history.problems


def test_files_that_git_gave_other_line_ends_are_the_same(folder: Path) -> None:
    files = {name: text.replace("\r\n", "\n").replace("\n", "\r\n") for name, text in FILES.items()}
    write_files(folder, dict(list(files.items())[:2]))
    found = GRAPHILE_MIGRATE.read_folder(folder)
    assert not found.problems
    assert outline(GRAPHILE_MIGRATE.judge(found, ROWS))[:2] == [
        f"{FIRST} applied checksum", f"{SECOND} applied checksum",
    ]  # fmt: skip


def test_an_edited_file_is_a_problem_unless_it_says_so(folder: Path) -> None:
    edited = FILES["000002.sql"].replace("ia", "ib")
    write_files(folder, {"000002.sql": edited})
    history = GRAPHILE_MIGRATE.judge(GRAPHILE_MIGRATE.read_folder(folder), ROWS)
    assert outline(history)[1] == f"{SECOND} applied"
    assert [one.place for one in history.problems] == ["000002.sql"]
    assert "is not the file that was committed" in history.problems[0].fault
    write_files(folder, {"000002.sql": edited.replace("\n\n", "\n--! AllowInvalidHash\n\n")})
    allowed = GRAPHILE_MIGRATE.read_folder(folder)
    assert not allowed.problems
    assert allowed.notes == (
        "Edited after they were committed, as they say themselves: 000002.sql.",
    )
    history = GRAPHILE_MIGRATE.judge(allowed, ROWS)
    assert (outline(history)[1], history.problems) == (f"{SECOND} applied", ())


def test_another_hash_in_the_ledger_is_a_problem(folder: Path) -> None:
    history = GRAPHILE_MIGRATE.judge(
        GRAPHILE_MIGRATE.read_folder(folder), [("000001.sql", "sha1:" + "0" * 40)]
    )
    assert outline(history)[0] == f"{FIRST} applied"
    assert faults(history) == [
        f"{FIRST}.sql is not the file that ran: the ledger has the hash sha1:{'0' * 40}"
    ]


def test_a_file_that_is_gone_breaks_the_chain(folder: Path) -> None:
    (folder / "000002.sql").unlink()
    files = GRAPHILE_MIGRATE.read_folder(folder)
    assert [one.place for one in files.problems] == ["000003-n-code-yes.sql"]
    assert "does not follow the file before it" in files.problems[0].fault
    assert faults(GRAPHILE_MIGRATE.judge(files, ROWS)) == [
        "000002.sql is in the ledger, and there is no such file"
    ]


@pytest.mark.parametrize("text", ["select 1;\n", "--! Hash: x\n\nselect 1;\n", ""])
def test_a_file_without_its_header_is_a_problem(folder: Path, text: str) -> None:
    write_files(folder, {"000001-first-step.sql": text})
    assert "is not a committed migration" in GRAPHILE_MIGRATE.read_folder(folder).problems[0].fault


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("select 1;\nalter database :DATABASE_NAME set x to y;", 5),
        ("\n\ngrant x to :DATABASE_VISITOR;", 6),
        ("select 1::TEXT, ':OTHER', a[1:N];", None),
        ("grant x to :DATABASE_OWNERS;", None),
    ],
)
def test_a_placeholder_is_refused_by_its_line(folder: Path, body: str, line: int | None) -> None:
    config = (
        '{\n  "placeholders": {\n    ":DATABASE_VISITOR": "!ENV",\n    // ":OTHER": "x"\n  }\n}'
    )
    write_files(folder.parent.parent, {".gmrc": config})
    write_files(folder, {"000001-first-step.sql": f"--! Previous: -\n--! Hash: x\n\n{body}\n"})
    problems = GRAPHILE_MIGRATE.read_folder(folder).problems
    places = [one.place for one in problems if "placeholder" in one.fault]
    assert places == ([f"000001-first-step.sql:{line}"] if line else [])


def test_what_is_not_committed_is_noted(folder: Path) -> None:
    write_files(folder.parent, {"current.sql": "-- Enter migration here\n"})
    assert GRAPHILE_MIGRATE.read_folder(folder).notes == ()
    write_files(folder.parent, {"current.sql": "-- here\nalter table a add x int;\n"})
    write_files(folder.parent, {"../.gmrc": '{ "afterAllMigrations": ["dump.sh"] }'})
    current, actions = GRAPHILE_MIGRATE.read_folder(folder).notes
    assert "current.sql" in current
    assert "afterAllMigrations" in actions


@pytest.mark.parametrize(
    ("text", "is_call"),
    [
        ("graphile-migrate migrate", True),
        ("yarn graphile-migrate --config .gmrc watch --once", True),
        ("gm migrate && gm watch", True),
        ("graphile-migrate status", False),
        ("graphile-worker --once", False),
    ],
)
def test_where_the_tool_is_called(text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in GRAPHILE_MIGRATE.calls) is is_call
