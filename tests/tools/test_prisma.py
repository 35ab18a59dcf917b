"""Prisma's folders and its rows: what is applied, what is not, and what stops an adoption."""

import hashlib
import re
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.prisma import PRISMA
from lib.tools.tool import Rows

INIT, TITLE = "20240101000000_init", "20240102000000_add_title"
SQL = {INIT: "create table posts ();\n", TITLE: "alter table posts add title text;\n"}


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def row(
    name: str,
    checksum: str | None = None,
    *,
    started: str = "",
    finished: str | None = "2024-01-05 00:00:00+00",
    rolled_back: str | None = None,
    steps: str = "1",
) -> tuple[str | None, ...]:
    """A row as the ledger's query gives it; a migration begins on the day that its name says."""
    text = sha256(SQL[name]) if checksum is None else checksum
    return name, text, started or f"2024-01-{name[6:8]}", finished, rolled_back, steps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {f"{name}/migration.sql": text for name, text in SQL.items()}
    return write_files(tmp_path, {"migration_lock.toml": 'provider = "postgresql"\n', **files})


def test_each_folder_is_a_migration_in_the_order_of_their_names(folder: Path) -> None:
    files = PRISMA.read_folder(folder)
    assert [file.name for file in files.files] == [INIT, TITLE]
    assert not files.problems
    first, second = PRISMA.judge(files, [row(INIT)]).migrations
    assert (first.description, first.sql, first.is_transactional) == ("init", SQL[INIT], True)
    assert second.description == "add title"


def test_folders_of_one_time_are_ordered_by_the_rest_of_their_names(tmp_path: Path) -> None:
    names = ["20240101000000_b", "20240101000000_a"]
    write_files(tmp_path, {f"{name}/migration.sql": "select 1;" for name in names})
    assert [file.name for file in PRISMA.read_folder(tmp_path).files] == sorted(names)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [f"{INIT} pending", f"{TITLE} pending"], id="none"),
        pytest.param(
            [row(INIT)], [f"{INIT} applied checksum", f"{TITLE} pending"], id="one pending"
        ),
        pytest.param(
            [row(TITLE)], [f"{TITLE} applied checksum", f"{INIT} pending"], id="a late file"
        ),
        pytest.param(
            [row(TITLE), row(INIT, started="2024-02-01")],
            [f"{TITLE} applied checksum", f"{INIT} applied checksum"],
            id="applied in another order",
        ),
        pytest.param(
            [row(INIT, finished=None, rolled_back="2024-01-02"), row(INIT, started="2024-01-03")],
            [f"{INIT} applied checksum", f"{TITLE} pending"],
            id="failed, rolled back, applied",
        ),
        pytest.param(
            [row(INIT, rolled_back="2024-01-02")],
            [f"{INIT} pending", f"{TITLE} pending"],
            id="finished and rolled back",
        ),
        pytest.param(
            [row(INIT, ""), row(TITLE)],
            [f"{INIT} applied", f"{TITLE} applied checksum"],
            id="a row without a checksum",
        ),
    ],
)
def test_which_migrations_are_applied(folder: Path, rows: Rows, expected: list[str]) -> None:
    history = PRISMA.judge(PRISMA.read_folder(folder), rows)
    assert outline(history) == expected
    assert not history.problems


@pytest.mark.parametrize(
    "content",
    [b"a;\r\nb;\r\n", b"a;\nb;\n", b"\xef\xbb\xbfa;\nb;\n", b"\xef\xbb\xbfa;\r\nb;\r\n"],
    ids=["CRLF", "LF", "mark", "mark and CRLF"],
)
@pytest.mark.parametrize("applied", [b"a;\r\nb;\r\n", b"a;\nb;\n"], ids=["from CRLF", "from LF"])
def test_line_ends_and_a_mark_make_no_other_file(
    tmp_path: Path, content: bytes, applied: bytes
) -> None:
    write_files(tmp_path, {f"{INIT}/migration.sql": content})
    history = PRISMA.judge(PRISMA.read_folder(tmp_path), [row(INIT, sha256(applied))])
    assert outline(history) == [f"{INIT} applied checksum"]


def test_a_checksum_of_the_first_versions_is_known(folder: Path) -> None:
    digest = hashlib.sha256(SQL[INIT].encode()).digest()
    old = "".join(f"{byte:x}" for byte in digest)
    assert len(old) < 64
    history = PRISMA.judge(PRISMA.read_folder(folder), [row(INIT, old)])
    assert outline(history)[0] == f"{INIT} applied checksum"


def test_an_edited_file_is_a_problem(folder: Path) -> None:
    history = PRISMA.judge(PRISMA.read_folder(folder), [row(INIT, sha256("other")), row(TITLE)])
    assert outline(history)[0] == f"{INIT} applied"
    (problem,) = history.problems
    assert problem.place == f"{INIT}/migration.sql"
    assert "is not the file that ran" in problem.fault
    assert sha256(SQL[INIT]) in problem.remedy


def test_a_row_that_did_not_finish_is_a_problem(folder: Path) -> None:
    history = PRISMA.judge(PRISMA.read_folder(folder), [row(INIT), row(TITLE, finished=None)])
    assert outline(history)[1] == f"{TITLE} pending"
    assert faults(history) == [f"{TITLE} failed, or was cut off: it may be applied in part"]


def test_a_folder_that_is_gone_is_a_problem(folder: Path) -> None:
    rows = [row(INIT), row(TITLE), row("20240103000000_gone", "f" * 64)]
    history = PRISMA.judge(PRISMA.read_folder(folder), rows)
    assert faults(history) == ["20240103000000_gone is in the ledger, and there is no such folder"]


def test_what_was_squashed_is_noted(tmp_path: Path) -> None:
    name = "00000000000000_squashed"
    write_files(tmp_path, {f"{name}/migration.sql": "select 1;\n"})
    rows = [
        row(INIT),
        row(TITLE),
        row(name, sha256("select 1;\n"), started="2024-02-01", steps="0"),
    ]
    history = PRISMA.judge(PRISMA.read_folder(tmp_path), rows)
    assert outline(history) == [f"{name} applied checksum"]
    assert not history.problems
    assert any(f"not run on this database: {name}" in note for note in history.notes)
    assert any(
        f"replaced by a migration that was recorded later: {INIT}, {TITLE}" in note
        for note in history.notes
    )


def test_a_folder_without_its_script_is_a_problem(folder: Path) -> None:
    (folder / "20240103000000_empty").mkdir()
    write_files(folder, {f"{INIT}/down.sql": "drop table posts;"})
    files = PRISMA.read_folder(folder)
    assert [problem.place for problem in files.problems] == ["20240103000000_empty/migration.sql"]
    assert files.left_out == (f"{INIT}/down.sql",)


def test_migrations_for_another_database_are_a_problem(folder: Path) -> None:
    write_files(folder, {"migration_lock.toml": '# a comment\nprovider = "mysql"\n'})
    (problem,) = PRISMA.read_folder(folder).problems
    assert problem.fault == "says that these are migrations for mysql"


def test_a_link_out_of_the_folder_is_a_problem(folder: Path, tmp_path: Path) -> None:
    outside = write_files(tmp_path.parent / f"{tmp_path.name}-outside", {"x.sql": "select 1;"})
    (folder / "20240103000000_link").mkdir()
    (folder / "20240103000000_link" / "migration.sql").symlink_to(outside / "x.sql")
    assert [p.fault for p in PRISMA.read_folder(folder).problems] == ["is a link out of the folder"]


def test_a_file_that_is_not_utf_8_is_a_problem(folder: Path) -> None:
    write_files(folder, {f"{TITLE}/migration.sql": b"select '\xe9';"})
    files = PRISMA.read_folder(folder)
    assert [file.name for file in files.files] == [INIT]
    assert [p.fault for p in files.problems] == ["is not UTF-8"]


@pytest.mark.parametrize(
    ("text", "is_call"),
    [
        ("prisma migrate deploy && next build", True),
        ("npx prisma --schema=db/schema.prisma migrate deploy", True),
        ("prisma db push", True),
        ("prisma generate && next build", False),
        ("prisma migrate diff --script", False),
        ("prisma generate && knex migrate deploy", False),
    ],
)
def test_where_the_tool_is_called(text: str, is_call: bool) -> None:

    assert any(re.search(call, text) for call in PRISMA.calls) is is_call
