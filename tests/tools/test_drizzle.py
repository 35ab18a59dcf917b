"""Drizzle's journal, its folders since 1.0, and its rows, most of which have no name."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.drizzle import DRIZZLE
from lib.tools.tool import Rows

A, B, C = "0000_first", "0001_second_step", "0002_third"
SQL = {
    A: "create table a ();--> statement-breakpoint\ncreate table b ();\n",
    B: "alter table a add x int;",
    C: "alter table a add y int;",
}
WHEN = {A: 1704067200123, B: 1704067201456, C: 1704067202789}
FOLDERS = {A: "20240101000000_first", B: "20240101000001_second", C: "20240101000002_third"}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def journal(*tags: str, dialect: str = "postgresql", **when: int) -> str:
    entries = [
        {"idx": n, "version": "7", "when": when.get(tag, WHEN[tag]), "tag": tag}
        for n, tag in enumerate(tags)
    ]
    return json.dumps({"version": "7", "dialect": dialect, "entries": entries})


def row(tag: str, *, text: str | None = None, name: str | None = None) -> tuple[str | None, ...]:
    return sha256(SQL[tag] if text is None else text), str(WHEN[tag]), name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    out = tmp_path / "drizzle"
    return write_files(
        out,
        {
            "meta/_journal.json": journal(A, B, C),
            "meta/0000_snapshot.json": "{}",
            **{f"{tag}.sql": text for tag, text in SQL.items()},
        },
    )


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """The layout of version 1.0."""
    (tmp_path / ".git").mkdir()
    return write_files(
        tmp_path / "drizzle", {f"{FOLDERS[tag]}/migration.sql": SQL[tag] for tag in SQL}
    )


def test_the_journal_has_the_order(folder: Path) -> None:
    write_files(folder, {"meta/_journal.json": journal(B, A), "loose.sql": "select 1;"})
    files = DRIZZLE.read_folder(folder)
    assert [file.name for file in files.files] == [B, A]
    assert files.left_out == (f"{C}.sql", "loose.sql")
    assert not files.problems


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [f"{A} pending", f"{B} pending", f"{C} pending"], id="none"),
        pytest.param(
            [row(A), row(B)],
            [f"{A} applied checksum", f"{B} applied checksum", f"{C} pending"],
            id="two of three",
        ),
        pytest.param(
            [row(A), row(A), row(B)],
            [f"{A} applied checksum", f"{B} applied checksum", f"{C} pending"],
            id="recorded twice",
        ),
        pytest.param(
            [(sha256(SQL[A]), "17", None)],
            [f"{A} applied checksum", f"{B} pending", f"{C} pending"],
            id="a journal with another time",
        ),
        pytest.param(
            [(sha256(SQL[B]), str(WHEN[A]), None), (sha256(SQL[A]), str(WHEN[B]), None)],
            [f"{B} applied checksum", f"{A} applied checksum", f"{C} pending"],
            id="times that were swapped",
        ),
        pytest.param(
            [("", str(WHEN[A]), None)],
            [f"{A} applied", f"{B} pending", f"{C} pending"],
            id="a row by hand",
        ),
    ],
)
def test_which_files_are_applied(folder: Path, rows: Rows, expected: list[str]) -> None:
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), rows)
    assert outline(history) == expected
    assert not history.problems


def test_files_without_a_statement_have_one_hash(folder: Path) -> None:
    text = "-- Custom SQL migration file, put your code below! --"
    write_files(folder, {f"{tag}.sql": text for tag in SQL})
    rows = [row(tag, text=text) for tag in (A, B)]
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), rows)
    assert outline(history) == [f"{A} applied checksum", f"{B} applied checksum", f"{C} pending"]


def test_a_file_older_than_the_newest_applied_one_is_noted(folder: Path) -> None:
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), [row(A), row(C)])
    assert outline(history)[-1] == f"{B} pending"
    assert not history.problems
    assert history.notes[0].endswith(f"they will be pending: {B}.sql.")


def test_an_edited_file_is_a_problem_that_says_how_to_see_the_edit(folder: Path) -> None:
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), [row(A), row(B, text="other")])
    assert outline(history)[1] == f"{B} applied"
    (problem,) = history.problems
    assert (problem.place, "is not the file that ran" in problem.fault) == (f"{B}.sql", True)
    assert f"git log -p -- {B}.sql" in problem.remedy
    assert sha256("other") in problem.remedy
    assert sha256(SQL[B]) in problem.remedy


def test_a_row_without_a_file_is_a_problem(folder: Path) -> None:
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), [row(A), ("f" * 64, "5", None)])
    assert faults(history) == [
        f"created_at 5 is in the ledger with the hash {'f' * 64}, and there is no such file"
    ]


@pytest.mark.parametrize("content", [SQL[A].replace("\n", "\r\n"), "\ufeff" + SQL[A]])
def test_line_ends_and_a_mark_make_no_other_file(folder: Path, content: str) -> None:
    write_files(folder, {f"{A}.sql": content})
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), [row(A)])
    assert outline(history)[0] == f"{A} applied checksum"


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("{", "meta/_journal.json", "is not a journal of Drizzle"),
        ('{"entries": [{"tag": 1, "when": 1}]}', "meta/_journal.json", "is not a journal"),
        ("<<<<<<< HEAD\n", "meta/_journal.json", "is not a journal of Drizzle"),
        (journal(A, A), "meta/_journal.json", f"names {A} twice"),
        (journal(A, dialect="sqlite"), "meta/_journal.json", "are migrations for sqlite"),
        (journal(A).replace(A, "0009_gone"), "0009_gone.sql", "cannot be read: No such file"),
        (journal(A).replace(A, "../up"), "../up.sql", "is a link out of the folder"),
    ],
)
def test_a_journal_that_does_not_fit_is_a_problem(
    folder: Path, text: str, place: str, fault: str
) -> None:
    write_files(folder, {"meta/_journal.json": text, "../up.sql": "select 1;"})
    found = DRIZZLE.read_folder(folder).problems
    assert any(one.place == place and fault in one.fault for one in found), found


def test_files_without_a_journal_are_a_problem(folder: Path) -> None:
    (folder / "meta" / "_journal.json").unlink()
    assert [one.fault for one in DRIZZLE.read_folder(folder).problems] == [
        "is missing, and has the order of the files"
    ]


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "as the older layout wrote"])
def test_the_folders_of_1_0(folders: Path, is_named: bool) -> None:
    rows = [row(tag, name=FOLDERS[tag] if is_named else None) for tag in (A, C)]
    history = DRIZZLE.judge(DRIZZLE.read_folder(folders), rows)
    assert outline(history) == [
        f"{FOLDERS[A]} applied checksum",
        f"{FOLDERS[C]} applied checksum",
        f"{FOLDERS[B]} pending",
    ]
    assert not history.notes  # 1.0 runs a late file


def test_a_folder_that_was_edited_since_is_a_problem(folders: Path) -> None:
    rows = [row(A, name=FOLDERS[A], text=SQL[B])]
    history = DRIZZLE.judge(DRIZZLE.read_folder(folders), rows)
    assert outline(history)[0] == f"{FOLDERS[A]} applied"
    assert [one.place for one in history.problems] == [f"{FOLDERS[A]}/migration.sql"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;\n--> statement-breakpoint\nb;\n", None),
        ("a;--> statement-breakpoint\nb;\n", None),
        ("a; -- why\n--> statement-breakpoint\nb;\n", None),
        ("-- nothing\n--> statement-breakpoint\nb\n", None),
        ("a--> statement-breakpoint\nb", "a\n;--> statement-breakpoint\nb"),
        ("a -- why\n--> statement-breakpoint\nb", "a -- why\n\n;--> statement-breakpoint\nb"),
    ],
)
def test_what_only_a_marker_ends_gets_its_semicolon(
    folder: Path, text: str, expected: str | None
) -> None:
    write_files(folder, {f"{A}.sql": text})
    history = DRIZZLE.judge(DRIZZLE.read_folder(folder), [])
    assert history.migrations[0].sql == (expected or text)


def test_a_statement_on_the_line_of_a_marker_is_a_problem(folder: Path) -> None:
    write_files(folder, {f"{A}.sql": "a;\n--> statement-breakpoint b;\n"})
    assert [one.place for one in DRIZZLE.read_folder(folder).problems] == [f"{A}.sql:2"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("export default { dialect: 'postgresql' }", None),
        ("export default { migrations: { prefix: 'timestamp' } }", None),
        ("x({ migrations: { table: 'journal', schema: \"app\" } })", ("journal", ("app",))),
        ("x({ migrations: {\n  schema: `public`,\n} })", ("__drizzle_migrations", ("public",))),
        ("x({ migrations: { table: 'journal' } })", ("journal", ("drizzle",))),
        ("x({\n// migrations: { table: 'journal' }\n})", None),
        ("x({ migrations: { table: process.env.TABLE! } })", None),
    ],
)
def test_the_configuration_names_the_ledger(
    folder: Path, config: str, expected: tuple[str, tuple[str, ...]] | None
) -> None:
    write_files(folder.parent, {"drizzle.config.ts": config})
    ledger = DRIZZLE.read_folder(folder).ledger
    assert (ledger and (ledger.table, ledger.schemas)) == expected


@pytest.mark.parametrize(
    ("text", "is_call"),
    [
        ("drizzle-kit migrate && next build", True),
        ("npx drizzle-kit --config=x.ts push", True),
        ('import { migrate } from "drizzle-orm/node-postgres/migrator"', True),
        ("drizzle-kit generate", False),
        ("drizzle-kit check && knex migrate", False),
    ],
)
def test_where_the_tool_is_called(text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in DRIZZLE.calls) is is_call
