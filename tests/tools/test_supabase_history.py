"""Supabase's files against the statements that its ledger keeps."""

import json
import re
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.supabase import SUPABASE
from lib.tools.tool import Rows

A, B = "20240101000000_create_posts", "20240102000000_add_title"
SQL = {
    A: "-- a; comment\ncreate table posts (t text default 'x;y');;\n\nselect $$a;b$$;\n",
    B: "alter table posts add title text\n",
}
STATEMENTS = {
    A: ["-- a; comment\ncreate table posts (t text default 'x;y')", "select $$a;b$$"],
    B: ["alter table posts add title text"],
}


def row(name: str, statements: list[str] | None = None) -> tuple[str | None, ...]:
    """A row as the ledger's query gives it."""
    found = STATEMENTS[name] if statements is None else statements
    return name.partition("_")[0], json.dumps(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {f"{name}.sql": text for name, text in SQL.items()}
    return write_files(tmp_path / "supabase" / "migrations", files)


def test_the_files_are_read_in_the_order_of_their_times(folder: Path) -> None:
    write_files(
        folder, {"helper.sql": "select 1;", "README.md": "", "20240103_x/migration.sql": ""}
    )
    files = SUPABASE.read_folder(folder)
    assert [file.name for file in files.files] == [A, B]
    assert files.left_out == ("helper.sql",)
    assert [one.description for one in SUPABASE.judge(files, []).migrations] == [
        "create posts", "add title",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [f"{A} pending", f"{B} pending"], id="none"),
        pytest.param([row(A)], [f"{A} applied text", f"{B} pending"], id="one pending"),
        pytest.param([row(B)], [f"{B} applied text", f"{A} pending"], id="a late file"),
        pytest.param(
            [row(A, [SQL[A]]), row(B)],
            [f"{A} applied text", f"{B} applied text"],
            id="a whole file as one statement",
        ),
        pytest.param(
            [row(A, [*STATEMENTS[A], ""])], [f"{A} applied text", f"{B} pending"], id="an empty one"
        ),
        pytest.param([row(A, [])], [f"{A} applied", f"{B} pending"], id="without statements"),
        pytest.param(
            [(A.partition("_")[0], None)], [f"{A} applied", f"{B} pending"], id="an old row"
        ),
        pytest.param([(A.partition("_")[0], "null")], [f"{A} applied", f"{B} pending"], id="null"),
    ],
)
def test_which_files_are_applied(folder: Path, rows: Rows, expected: list[str]) -> None:
    history = SUPABASE.judge(SUPABASE.read_folder(folder), rows)
    assert outline(history) == expected
    assert not history.problems


@pytest.mark.parametrize("content", [SQL[A].replace("\n", "\r\n"), "\ufeff" + SQL[A]])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_and_a_mark_make_no_other_file(folder: Path, content: str, ends: str) -> None:
    write_files(folder, {f"{A}.sql": content})
    ran = [statement.replace("\n", ends) for statement in STATEMENTS[A]]
    history = SUPABASE.judge(SUPABASE.read_folder(folder), [row(A, ran)])
    assert outline(history)[0] == f"{A} applied text"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SQL[A].replace("'x;y'", "'x;z'"), 1),
        (SQL[A] + "drop table posts;\n", 5),
        (SQL[A].replace("select $$a;b$$", "select $$a;c$$"), 4),
        ("-- another comment\n" + SQL[A], 1),
        ("", 1),
    ],
)
def test_an_edited_file_is_a_problem_with_its_line(folder: Path, text: str, line: int) -> None:
    write_files(folder, {f"{A}.sql": text})
    history = SUPABASE.judge(SUPABASE.read_folder(folder), [row(A)])
    assert outline(history)[0] == f"{A} applied"
    assert [one.place for one in history.problems] == [f"{A}.sql:{line}"]


def test_a_row_without_a_file_is_a_problem(folder: Path) -> None:
    history = SUPABASE.judge(SUPABASE.read_folder(folder), [row(A), ("20240109000000", '["x"]')])
    assert faults(history) == ["20240109000000 is in the ledger, and there is no such file"]
    assert "supabase migration fetch" in history.problems[0].remedy


def test_two_files_of_one_time_are_a_problem(folder: Path) -> None:
    write_files(folder, {"20240101000000_again.sql": "select 1;"})
    assert [one.place for one in SUPABASE.read_folder(folder).problems] == [f"{A}.sql"]


def test_the_first_file_of_old_projects_is_passed_over_as_the_cli_does(folder: Path) -> None:
    write_files(folder, {"20211101000000_init.sql": "select 1;"})
    files = SUPABASE.read_folder(folder)
    assert [file.name for file in files.files] == [A, B]
    assert files.left_out == ("20211101000000_init.sql",)


def test_seeds_and_dumps_are_noted(folder: Path) -> None:
    assert SUPABASE.read_folder(folder).notes == ()
    write_files(folder.parent, {"seed.sql": "insert into posts values (1);"})
    dump = "\n\n\nSET statement_timeout = 0;\nSET lock_timeout = 0;\ncreate table posts ();\n"
    write_files(folder, {f"{A}.sql": dump})
    seeds, squashed = SUPABASE.read_folder(folder).notes
    assert "seed.sql" in seeds
    assert f"{A}.sql is a dump" in squashed


@pytest.mark.parametrize(
    ("text", "is_call"),
    [
        ("supabase db push && next build", True),
        ("npx supabase --debug migration up --linked", True),
        ("supabase migration repair --status applied 1", True),
        ("supabase gen types typescript", False),
        ("supabase db diff", False),
    ],
)
def test_where_the_tool_is_called(text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in SUPABASE.calls) is is_call
