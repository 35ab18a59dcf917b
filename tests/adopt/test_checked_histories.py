"""`adopt` on databases of the tools that keep a checksum or the text of what ran."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checked_tools import COLUMN, TOOLS, UPS, CheckedTool
from conftest import Cli, Database, copy_lib, local_environ, new_database

from lib.settings.connection_target import ConnectionTarget

BY_WORD = {tool.word: tool for tool in TOOLS}
OURS = ["001-users", "002-greeting", "003-index-of-users"]


@dataclass(frozen=True)
class History:
    """A database that a tool has migrated, its files, and the folder of ours."""

    tool: CheckedTool
    db: Database
    theirs: Path
    paths: list[str]
    ours: Path
    cli: Cli

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = self.cli(*arguments, "--json", MIGRATIONS_DIR=str(self.ours))
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def adopt(self, code: int = 0) -> Any:
        return self.run("adopt", self.tool.word, "--from", str(self.theirs), "--apply", code=code)

    def is_untouched(self) -> bool:
        ledgers = self.db.query("select to_regclass('public.schema_migrations')")
        return not list(self.ours.iterdir()) and ledgers == [(None,)]


@pytest.fixture(scope="session")
def project(scratch_root: Path) -> Path:
    """One root for all, so that one copy of the server's programs serves all scratch servers."""
    copy_lib(scratch_root)
    return scratch_root


@pytest.fixture(scope="session")
def made(
    server: ConnectionTarget, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[CheckedTool], tuple[Database, Path, list[str]]]]:
    """Each tool's database and its files, made once; tests work on copies."""
    found: dict[str, tuple[Database, Path, list[str]]] = {}
    with ExitStack() as stack:

        def make(tool: CheckedTool) -> tuple[Database, Path, list[str]]:
            if tool.word not in found:
                root = tmp_path_factory.mktemp("made")
                theirs = root / "supabase" / "migrations"
                db = stack.enter_context(new_database(server))
                paths = tool.write(theirs, UPS)
                tool.apply(db, theirs)
                found[tool.word] = db, root, paths
            return found[tool.word]

        yield make


@pytest.fixture
def migrated(
    project: Path,
    tmp_path: Path,
    server: ConnectionTarget,
    made: Callable[[CheckedTool], tuple[Database, Path, list[str]]],
) -> Iterator[Callable[[str], History]]:
    with ExitStack() as stack:

        def make(word: str) -> History:
            template, root, paths = made(BY_WORD[word])
            shutil.copytree(root, tmp_path / "theirs", symlinks=True)
            (tmp_path / "ours").mkdir()
            db = stack.enter_context(new_database(server, template.target.database))
            return History(
                BY_WORD[word],
                db,
                tmp_path / "theirs" / "supabase" / "migrations",
                paths,
                tmp_path / "ours",
                Cli(project, local_environ(DATABASE_URL=db.url)),
            )

        yield make


@pytest.mark.parametrize("word", BY_WORD)
def test_a_history_is_carried_on(word: str, migrated: Callable[[str], History]) -> None:
    history = migrated(word)
    pending = history.tool.write(history.theirs, COLUMN)
    report = history.adopt()
    assert (report["success"], report["proven"], report["differences"]) == (True, True, [])
    assert [(each["from"], each["to"]) for each in report["files"]] == list(
        zip(
            [*history.paths, *pending],
            [f"{name}.sql" for name in [*OURS, "004-name-of-users"]],
            strict=True,
        )
    )
    assert [each["verified"] for each in report["files"]] == [True, True, True, None]
    assert history.db.versions() == OURS
    (history.ours / "005-next.sql").write_text("alter table users add age int;\n")
    assert [each["version"] for each in history.run("migrate")["applied"]] == [
        "004-name-of-users",
        "005-next",
    ]
    assert history.run("drift", "--files")["drift"] == []
    assert history.adopt()["recorded"] == []


@pytest.mark.parametrize("word", BY_WORD)
def test_a_tampered_file_stops_the_adoption(word: str, migrated: Callable[[str], History]) -> None:
    history = migrated(word)
    path = history.theirs / history.paths[1]
    path.write_text(path.read_text().replace("it''s", "it isn''t"))
    report = history.adopt(code=3)
    (problem,) = report["problems"]
    assert problem["place"].partition(":")[0] == history.paths[1]
    assert [each["verified"] for each in report["files"]] == [True, False, True]
    assert history.is_untouched()


@pytest.mark.parametrize(
    ("word", "tampering", "fault"),
    [
        (
            "prisma",
            "update _prisma_migrations set finished_at = null where migration_name ~ 'index'",
            "failed, or was cut off",
        ),
        (
            "prisma",
            "update _prisma_migrations set migration_name = 'x' where migration_name ~ 'index'",
            "there is no such folder",
        ),
        (
            "drizzle",
            "update drizzle.__drizzle_migrations set hash = 'f', created_at = 7 where id = 3",
            "there is no such file",
        ),
        (
            "supabase",
            "update supabase_migrations.schema_migrations set version = '7'"
            " where name = 'index_of_users'",
            "there is no such file",
        ),
        (
            "flyway",
            "update flyway_schema_history set success = false where installed_rank = 3",
            "is applied in part",
        ),
        (
            "graphile-migrate",
            "update graphile_migrate.migrations set filename = '000009.sql'"
            " where filename = '000003.sql'",
            "there is no such file",
        ),
    ],
)
def test_what_is_wrong_with_the_records_stops_the_adoption(
    word: str, tampering: str, fault: str, migrated: Callable[[str], History]
) -> None:
    history = migrated(word)
    history.db.query(tampering)
    report = history.adopt(code=3)
    assert [fault in each["fault"] for each in report["problems"]] == [True]
    assert history.is_untouched()


def test_a_file_that_failed_half_way_stops_the_adoption(migrated: Callable[[str], History]) -> None:
    history = migrated("prisma")
    (path,) = history.tool.write(history.theirs, {"half": "create table half ();\nselect 1/0;\n"})
    with pytest.raises(AssertionError, match="division by zero"):
        history.tool.apply(history.db, history.theirs)
    report = history.adopt(code=3)
    (problem,) = report["problems"]
    assert problem["place"] == path.partition("/")[0]
    assert "it may be applied in part" in problem["fault"]
    assert history.is_untouched()


def test_what_a_file_has_left_behind_without_a_record_is_found(
    migrated: Callable[[str], History],
) -> None:
    history = migrated("supabase")
    history.tool.write(history.theirs, {"half": "create table half ();\n"})
    history.db.query("create table half ()")
    report = history.adopt(code=3)
    assert [each["state"] for each in report["files"]][-1] == "pending"
    assert [(each["kind"], each["identity"]) for each in report["differences"]] == [
        ("table", "public.half")
    ]
    assert history.is_untouched()


def test_a_ledger_is_found_where_the_configuration_says(migrated: Callable[[str], History]) -> None:
    history = migrated("drizzle")
    history.db.query(
        "alter table drizzle.__drizzle_migrations rename to steps;"
        " alter table drizzle.steps set schema public;"
        " create table drizzle.__drizzle_migrations (id serial, hash text, created_at bigint)"
    )
    # Two tables have the columns of a ledger.
    assert "Several tables may be the tool's ledger" in history.adopt(code=1)["error"]
    config = "export default { migrations: { table: 'steps', schema: 'public' } }"
    (history.theirs.parent / "drizzle.config.ts").write_text(config)
    (history.theirs / "loose.sql").write_text("select 1;")
    report = history.adopt()
    assert report["ledger"] == "public.steps"
    assert report["proven"]
    assert any("Left out" in note and "loose.sql" in note for note in report["notes"])
    assert history.db.versions() == OURS


def test_notes_on_a_folder_are_shown(migrated: Callable[[str], History]) -> None:
    history = migrated("supabase")
    (history.theirs.parent / "seed.sql").write_text("insert into users values (1);")
    assert any("seed.sql" in note for note in history.adopt()["notes"])
