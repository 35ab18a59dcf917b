"""Flyway's names, versions, checksums and kinds of rows."""

import re
import zlib
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.flyway import FLYWAY
from lib.tools.tool import Rows

SQL = {
    "V1__init.sql": "create table a ();\ncreate table b ();\n",
    "V1_1__add_x.sql": "alter table a add x int;\n",
    "V2__add_y.sql": "alter table a add y int;\n",
    "R__views.sql": "create or replace view v as select 1;\n",
}
INIT, ADD_X, ADD_Y, VIEWS = (name.removesuffix(".sql") for name in SQL)


def crc32(text: str) -> str:
    value = 0
    for line in text.splitlines():
        value = zlib.crc32(line.encode(), value)
    return str(int.from_bytes(value.to_bytes(4, "big"), "big", signed=True))


def row(
    script: str,
    *,
    version: str | None = "",
    kind: str = "SQL",
    checksum: str | None = "",
    success: bool = True,
) -> tuple[str | None, ...]:
    """A row as the ledger's query gives it."""
    stem = script.removesuffix(".sql")
    if version == "":
        version = stem.partition("__")[0][1:].replace("_", ".") or None
    description = stem.partition("__")[2].replace("_", " ")
    if checksum == "":
        checksum = crc32(SQL.get(script, ""))
    return version, description, kind, script, checksum, "yes" if success else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return write_files(tmp_path / "sql", SQL)


def test_versions_are_compared_by_their_parts(tmp_path: Path) -> None:
    names = ["V10__j.sql", "V2__b.sql", "V2.10__d.sql", "sub/V2_9__c.sql", "R__r.sql", "V1__a.sql"]
    (tmp_path / ".git").mkdir()
    write_files(tmp_path, dict.fromkeys(names, "select 1;"))
    files = FLYWAY.read_folder(tmp_path)
    assert [file.path for file in files.files] == [
        "V1__a.sql", "V2__b.sql", "sub/V2_9__c.sql", "V2.10__d.sql", "V10__j.sql", "R__r.sql",
    ]  # fmt: skip
    assert not files.problems
    assert [one.description for one in FLYWAY.judge(files, []).migrations][:2] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(
            [],
            [f"{INIT} pending", f"{ADD_X} pending", f"{ADD_Y} pending", f"{VIEWS} pending"],
            id="none",
        ),
        pytest.param(
            [
                (None, "<< Flyway Schema Creation >>", "SCHEMA", '"app"', None, "yes"),
                row("V1__init.sql"),
                row("R__views.sql", checksum="17"),
                row("R__views.sql"),
                row("V1_1__add_x.sql"),
            ],
            [
                f"{INIT} applied checksum",
                f"{ADD_X} applied checksum",
                f"{VIEWS} applied checksum",
                f"{ADD_Y} pending",
            ],
            id="what repeats comes last",
        ),
        pytest.param(
            [row("V1__init.sql"), row("V2__add_y.sql"), row("V1_1__add_x.sql")],
            [
                f"{INIT} applied checksum",
                f"{ADD_Y} applied checksum",
                f"{ADD_X} applied checksum",
                f"{VIEWS} pending",
            ],
            id="out of order",
        ),
        pytest.param(
            [row("<< Flyway Baseline >>", version="1.1", kind="BASELINE", checksum=None)],
            [f"{INIT} applied", f"{ADD_X} applied", f"{ADD_Y} pending", f"{VIEWS} pending"],
            id="a baseline",
        ),
        pytest.param(
            [row("B1_1__base.sql", kind="SQL_BASELINE", checksum="17"), row("V2__add_y.sql")],
            [
                f"{INIT} applied",
                f"{ADD_X} applied",
                f"{ADD_Y} applied checksum",
                f"{VIEWS} pending",
            ],
            id="a baseline file in place of others",
        ),
        pytest.param(
            [
                row("V1__init.sql"),
                row("V1_1__add_x.sql"),
                row("U1_1__add_x.sql", kind="UNDO_SQL"),
                row("V3__gone.sql"),
                row("V3__gone.sql", kind="DELETE", checksum=None),
            ],
            [
                f"{INIT} applied checksum",
                f"{ADD_X} pending",
                f"{ADD_Y} pending",
                f"{VIEWS} pending",
            ],
            id="undone and deleted",
        ),
        pytest.param(
            [row("V1__init.sql", version="1.0", checksum=None)],
            [f"{INIT} applied", f"{ADD_X} pending", f"{ADD_Y} pending", f"{VIEWS} pending"],
            id="1.0 is 1, and no checksum",
        ),
    ],
)
def test_which_files_are_applied(folder: Path, rows: Rows, expected: list[str]) -> None:
    history = FLYWAY.judge(FLYWAY.read_folder(folder), rows)
    assert outline(history) == expected
    assert not history.problems


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([row("V1__init.sql", checksum="17")], "V1__init.sql is not the file that ran"),
        ([row("R__views.sql", checksum="17")], "R__views.sql has changed since it ran here"),
        ([row("V1__init.sql", success=False)], "V1__init.sql failed outside a transaction"),
        ([row("V3__gone.sql")], "V3__gone.sql is in the ledger, and there is no such file"),
        ([row("R__gone.sql")], "R__gone.sql is in the ledger, and there is no such file"),
        (
            [row("db.migration.V2__Fill", version="2", kind="JDBC", checksum=None)],
            "db.migration.V2__Fill is in the ledger as a migration of type JDBC",
        ),
    ],
)
def test_what_stops_an_adoption(folder: Path, rows: Rows, fault: str) -> None:
    history = FLYWAY.judge(FLYWAY.read_folder(folder), rows)
    assert [one.startswith(fault) for one in faults(history)] == [True], faults(history)


def test_files_below_the_newest_applied_one_are_noted(folder: Path) -> None:
    history = FLYWAY.judge(FLYWAY.read_folder(folder), [row("V2__add_y.sql")])
    assert history.notes[0].endswith("they will be pending: 1, 1.1.")


@pytest.mark.parametrize(
    "content",
    [b"a;\r\n\r\nb;\r\n", b"a;\n\nb;", b"a;\rb;\r", b"\xef\xbb\xbfa;\nb;\n"],
    ids=["CRLF", "no end", "CR", "mark"],
)
def test_line_ends_empty_lines_and_a_mark_make_no_other_file(folder: Path, content: bytes) -> None:
    write_files(folder, {"V1__init.sql": content})
    rows = [row("V1__init.sql", checksum=crc32("a;\nb;"))]
    history = FLYWAY.judge(FLYWAY.read_folder(folder), rows)
    assert outline(history)[0] == f"{INIT} applied checksum"


def test_a_checksum_is_a_signed_number(folder: Path) -> None:
    text = next(text for text in map("-- {}".format, range(99)) if crc32(text).startswith("-"))
    write_files(folder, {"V1__init.sql": text})
    rows = [row("V1__init.sql", checksum=crc32(text))]
    assert outline(FLYWAY.judge(FLYWAY.read_folder(folder), rows))[0].endswith("checksum")


def test_a_baseline_file_begins_the_chain_when_the_others_are_gone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write_files(tmp_path, {"B2__base.sql": "x;", "B1__old.sql": "y;", "V3__c.sql": "z;"})
    files = FLYWAY.read_folder(tmp_path)
    assert files.left_out == ("B1__old.sql",)
    # On a database that has run them one by one, and on one that has run the baseline file.
    old = FLYWAY.judge(files, [row("V1__a.sql"), row("V2__b.sql"), row("V3__c.sql", checksum=None)])
    new = FLYWAY.judge(files, [row("B2__base.sql", kind="SQL_BASELINE", checksum=crc32("x;"))])
    assert (outline(old), old.problems) == (["B2__base applied", "V3__c applied"], ())
    assert (outline(new), new.problems) == (["B2__base applied checksum", "V3__c pending"], ())


def test_a_baseline_file_is_left_out_beside_what_it_stands_for(folder: Path) -> None:
    write_files(folder, {"B2__base.sql": "x;", "U2__add_y.sql": "x;", "loose.sql": "x;"})
    files = FLYWAY.read_folder(folder)
    assert files.left_out == ("B2__base.sql", "U2__add_y.sql", "loose.sql")
    assert not files.problems


def test_two_files_of_one_version_are_a_problem(folder: Path) -> None:
    write_files(folder, {"V1.0__again.sql": "x;", "sub/R__views.sql": "x;"})
    assert [one.fault for one in FLYWAY.read_folder(folder).problems] == [
        "has the version of V1.0__again.sql",
        "has the version of R__views.sql",
    ]


def test_what_is_not_sql_is_named(folder: Path) -> None:
    others = ["V3__Fill.java", "V4__seed.py", "R__Index.class", "V5__x.sh"]
    write_files(folder, {**dict.fromkeys(others, "x"), "afterMigrate.sql": "grant x;"})
    files = FLYWAY.read_folder(folder)
    assert sorted(one.place for one in files.problems) == sorted(others)
    assert any("Callbacks of Flyway" in note and "afterMigrate.sql" in note for note in files.notes)
    assert any("R__views.sql" in note for note in files.notes)


@pytest.mark.parametrize(
    ("config", "content", "is_refused"),
    [
        ("", "", True),
        ("flyway.conf", "flyway.placeholderReplacement=false\n", False),
        ("conf/flyway.conf", "flyway.placeholderReplacement = false\n", False),
        ("flyway.toml", "[flyway]\nplaceholderReplacement = false\n", False),
        ("application.yml", "spring:\n  flyway:\n    placeholder-replacement: false\n", False),
        ("sql/V2__add_y.sql.conf", "placeholderReplacement=false\n", False),
        ("flyway.conf", "flyway.placeholderReplacement=true\n", True),
    ],
)
def test_a_placeholder_is_refused_by_its_line_unless_it_stays_as_it_is(
    folder: Path, config: str, content: str, is_refused: bool
) -> None:
    write_files(folder, {"V2__add_y.sql": "select 1;\nselect '${name}';\n"})
    if config:
        write_files(folder.parent, {config: content})
    places = [one.place for one in FLYWAY.read_folder(folder).problems]
    assert places == (["V2__add_y.sql:2"] if is_refused else [])


def test_a_file_beside_the_script_takes_it_out_of_the_transaction(folder: Path) -> None:
    write_files(folder, {"V2__add_y.sql.conf": "# why\nexecuteInTransaction=false\n"})
    migrations = FLYWAY.judge(FLYWAY.read_folder(folder), []).migrations
    assert [one.is_transactional for one in migrations] == [True, True, False, True]


def test_a_condition_is_a_problem(folder: Path) -> None:
    write_files(folder, {"V2__add_y.sql.conf": "shouldExecute=${env}\n"})
    assert [one.place for one in FLYWAY.read_folder(folder).problems] == ["V2__add_y.sql.conf"]


def test_the_configuration_names_the_ledger(folder: Path) -> None:
    assert FLYWAY.read_folder(folder).ledger is None
    write_files(folder.parent, {"flyway.conf": "flyway.url=x\nflyway.table=history\n"})
    ledger = FLYWAY.read_folder(folder).ledger
    assert ledger
    assert ledger.table == "history"


@pytest.mark.parametrize(
    ("text", "is_call"),
    [("flyway -url=x migrate", True), ("./mvnw flyway:migrate", True), ("flyway info", False)],
)
def test_where_the_tool_is_called(text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in FLYWAY.calls) is is_call
