"""`adopt` on databases that the tools with files of SQL have migrated."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Database, copy_lib, local_environ
from sql_tools import COLUMN, TOOLS, SqlTool
from tool_folders import write_files

BY_WORD = {tool.word: tool for tool in TOOLS}
OURS = ["001-users", "002-greeting", "003-index-of-users"]


@dataclass(frozen=True)
class History:
    """A database that a tool has migrated, its files, and the folder of ours."""

    tool: SqlTool
    db: Database
    theirs: Path
    ours: Path
    cli: Cli

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = self.cli(*arguments, "--json", MIGRATIONS_DIR=str(self.ours))
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def adopt(self, code: int = 0) -> Any:
        return self.run("adopt", self.tool.word, "--from", str(self.theirs), "--apply", code=code)

    @property
    def names(self) -> list[str]:
        return sorted(path.stem for path in self.ours.iterdir())

    def is_untouched(self) -> bool:
        columns = self.db.query(
            "select count(*) from information_schema.columns"
            " where table_name = 'schema_migrations' and column_name = 'checksum'"
        )
        return self.names == [] and columns == [(0,)]


@pytest.fixture(scope="session")
def project(scratch_root: Path) -> Path:
    """One root for all, so that one copy of the server's programs serves all scratch servers."""
    copy_lib(scratch_root)
    return scratch_root


@pytest.fixture
def migrated(project: Path, db: Database, tmp_path: Path) -> Callable[[str], History]:
    def make(word: str) -> History:
        theirs, ours = tmp_path / "their migrations", tmp_path / "ours"
        ours.mkdir()
        tool = BY_WORD[word]
        write_files(theirs, tool.files())
        tool.apply(db, theirs)
        return History(tool, db, theirs, ours, Cli(project, local_environ(DATABASE_URL=db.url)))

    return make


@pytest.mark.parametrize("word", BY_WORD)
def test_a_history_is_carried_on(word: str, migrated: Callable[[str], History]) -> None:
    history = migrated(word)
    pending = history.tool.path(4, "name_of_users")
    write_files(history.theirs, {pending: history.tool.text(COLUMN)})
    report = history.adopt()
    assert (report["success"], report["proven"], report["differences"]) == (True, True, [])
    assert [(each["from"], each["to"]) for each in report["files"]] == list(
        zip(
            [*history.tool.files(), pending],
            [f"{name}.sql" for name in [*OURS, "004-name-of-users"]],
            strict=True,
        )
    )
    # The others keep nothing that a file could be compared with.
    verified = True if word == "sqlx" else None
    assert [each["verified"] for each in report["files"]] == [verified, verified, verified, None]
    assert history.db.versions() == OURS
    (history.ours / "005-next.sql").write_text("alter table users add age int;\n")
    assert [each["version"] for each in history.run("migrate")["applied"]] == [
        "004-name-of-users",
        "005-next",
    ]
    assert history.run("drift", "--files")["drift"] == []
    assert history.adopt()["recorded"] == []


@pytest.mark.parametrize(
    ("word", "tampering", "place", "fault"),
    [
        (
            "golang-migrate",
            "update schema_migrations set dirty = true",
            "version 3",
            "is dirty in the ledger",
        ),
        (
            "sqlx",
            "update _sqlx_migrations set success = false where version = 20240102",
            "version 20240102",
            "failed, or was cut off",
        ),
        (
            "sqlx",
            "update _sqlx_migrations set checksum = '\\x00' where version = 20240102",
            "20240102_greeting.sql",
            "is not the file that ran",
        ),
        (
            "dbmate",
            "insert into schema_migrations values ('20250101000000')",
            "20250101000000",
            "there is no such file",
        ),
        (
            "goose",
            "insert into goose_db_version (version_id, is_applied) values (7, true)",
            "7",
            "there is no such file",
        ),
        (
            "sql-migrate",
            "insert into gorp_migrations values ('gone.sql', now())",
            "gone.sql",
            "there is no such file",
        ),
        (
            "node-pg-migrate",
            "insert into pgmigrations (name, run_on) values ('9_gone', now())",
            "9_gone",
            "there is no such file",
        ),
        ("tern", "update schema_version set version = 9", "9", "there is no such file"),
    ],
)
def test_what_is_wrong_with_the_records_stops_the_adoption(
    word: str, tampering: str, place: str, fault: str, migrated: Callable[[str], History]
) -> None:
    history = migrated(word)
    history.db.query(tampering)
    report = history.adopt(code=3)
    (problem,) = report["problems"]
    assert problem["place"] == place
    assert fault in problem["fault"]
    assert history.is_untouched()


def test_a_file_that_was_edited_is_found_by_its_result(migrated: Callable[[str], History]) -> None:
    history = migrated("dbmate")
    path = history.theirs / history.tool.path(1, "users")
    path.write_text(path.read_text().replace("email text", "added int, email text"))
    report = history.adopt(code=3)
    assert [(each["kind"], each["change"]) for each in report["differences"]] == [
        ("column", "removed")
    ]
    assert history.is_untouched()


def test_what_a_cut_off_migration_has_left_is_found(migrated: Callable[[str], History]) -> None:
    history = migrated("sql-migrate")
    text = "-- +migrate Up notransaction\ncreate table half ();\nselect 1/0;\n"
    write_files(history.theirs, {"20240109-half.sql": text})
    with pytest.raises(AssertionError, match="division by zero"):
        history.tool.apply(history.db, history.theirs)
    assert history.db.has("half")
    report = history.adopt(code=3)
    assert report["files"][3]["state"] == "pending"
    assert [(each["kind"], each["identity"]) for each in report["differences"]] == [
        ("table", "public.half")
    ]
    assert history.is_untouched()
