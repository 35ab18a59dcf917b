"""`adopt database` on what real tools have made, whose migrations are programs."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Bundle, Cli, Database, new_database
from program_tools import TOOLS, ProgramTool

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import ObjectKey, Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.login import connect
from lib.settings.connection_target import ConnectionTarget

LEDGER_FILE = "000-create-migration-table"
FIRST = "001-schema-so-far"
TITLE = "alter table posts add column title text;"
# What the tool and the runner keep for themselves.
KEPT = ("migration", "ar_internal", "alembic", "sequelizemeta", "typeorm_metadata")


@dataclass(frozen=True)
class Project:
    """A project that changes over: the command on each of its databases."""

    cli: Cli
    bundle: Bundle

    def call(self, database: Database, *arguments: str) -> tuple[int, str]:
        done = self.cli(*arguments, DATABASE_URL=database.url)
        return done.returncode, done.stdout + done.stderr

    def succeed(self, database: Database, *arguments: str) -> str:
        code, said = self.call(database, *arguments)
        assert code == 0, said
        return said

    def files(self) -> list[str]:
        return sorted(path.stem for path in self.bundle.migrations.glob("*.sql"))


@pytest.fixture
def project(cli: Cli, bundle: Bundle) -> Project:
    shutil.copy(ROOT / "migrations" / f"{LEDGER_FILE}.sql", bundle.migrations)
    return Project(cli, bundle)


@pytest.fixture
def fresh(server: ConnectionTarget) -> Iterator[Database]:
    """An empty database, as of a preview."""
    with new_database(server) as database:
        yield database


@pytest.fixture
def staging(db: Database) -> Iterator[Database]:
    """The database that `copied` makes of the test's own one."""
    name = f"{db.target.database}_staging"
    try:
        yield db.named(name)
    finally:
        db.query(f"drop database if exists {name} with (force)")


def copy(db: Database, to: Database) -> None:
    server = db.named("postgres")
    server.query(f"create database {to.target.database} template {db.target.database}")


def schema_of(database: Database) -> Mapping[ObjectKey, str]:
    with connect(database.target, application_name="test", timeout=5) as connection:
        found = read_snapshot(connection)
    assert isinstance(found, Snapshot)
    return {
        key: text
        for key, text in found.objects.items()
        if not any(name in key.identity.lower() for name in KEPT)
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("tool", TOOLS, ids=[tool.word for tool in TOOLS])
def test_what_a_tool_has_made_is_carried_on(
    project: Project, tool: ProgramTool, tmp_path: Path, db: Database, fresh: Database
) -> None:
    (tmp_path / "tool").mkdir()
    tool.make(tmp_path / "tool", db.url)
    before = schema_of(db)

    said = project.succeed(db, "adopt", "database", "--apply")
    assert "Proven: the files make what the database has" in said
    assert project.files() == db.versions() == [LEDGER_FILE, FIRST]
    text = (project.bundle.migrations / f"{FIRST}.sql").read_text()
    assert f"-- From: {tool.word} {tool.newest}\n" in text

    # A new database gets the schema from the file, and both go on alike.
    project.bundle.write("002-add-title.sql", TITLE)
    for database in (db, fresh):
        project.succeed(database, "migrate")
    assert db.versions() == fresh.versions() == [LEDGER_FILE, FIRST, "002-add-title"]
    assert compare(schema_of(db), schema_of(fresh)) == ()
    title = ObjectKey("column", "public.posts.title")
    assert schema_of(fresh).keys() - before.keys() == {title}


@pytest.mark.timeout(180)
def test_each_database_is_adopted_by_itself(
    project: Project, db: Database, staging: Database
) -> None:
    [rails] = [tool for tool in TOOLS if tool.word == "rails"]
    rails.make(project.bundle.root, db.url)
    copy(db, staging)

    shown = json.loads(project.succeed(db, "adopt", "database", "--json"))
    assert (shown["proven"], shown["applied"], shown["ledger"]) == (
        True,
        False,
        "public.schema_migrations",
    )
    assert [each["to"] for each in shown["files"]] == [f"{FIRST}.sql"]
    assert project.files() == [LEDGER_FILE]
    assert not db.has("schema_migration_runs")

    project.succeed(db, "adopt", "database", "--apply")
    # The ledger of Rails has the name of ours: it is renamed, and kept.
    assert db.query("select count(*) from schema_migrations_rails") == [(2,)]
    code, said = project.call(staging, "migrate")
    assert code != 0
    assert "adopt" in said
    assert not staging.has("schema_migrations_rails")
    text = (project.bundle.migrations / f"{FIRST}.sql").read_text()
    assert "wrote" not in project.succeed(staging, "adopt", "database", "--apply")
    assert (project.bundle.migrations / f"{FIRST}.sql").read_text() == text
    assert staging.versions() == db.versions() == [LEDGER_FILE, FIRST]
    for database in (db, staging):
        assert "Adopted already" in project.succeed(database, "adopt", "database", "--apply")
        project.succeed(database, "status", "--check")


@pytest.mark.timeout(120)
def test_a_database_that_differs_is_not_recorded(
    project: Project, db: Database, staging: Database
) -> None:
    db.query("create table users (id int)")
    copy(db, staging)
    project.succeed(db, "adopt", "database", "--apply")
    staging.query("alter table users add column email text")
    code, said = project.call(staging, "adopt", "database", "--apply")
    assert code == 3
    assert "public.users.email" in said
    assert not staging.has("schema_migrations")
    project.succeed(staging, "adopt", "database", "--apply", "--accept-differences")
    assert staging.versions() == [LEDGER_FILE, FIRST]


@pytest.mark.timeout(120)
def test_a_database_without_a_tool_is_carried_on_and_not_built_a_second_time(
    project: Project, db: Database, staging: Database
) -> None:
    db.query("create table users (id int)")
    copy(db, staging)
    project.succeed(db, "adopt", "database", "--apply")
    assert (
        f"-- From: database {db.target.database}\n"
        in (project.bundle.migrations / f"{FIRST}.sql").read_text()
    )
    code, _ = project.call(staging, "migrate")
    assert code != 0
    assert FIRST not in staging.versions()


def test_a_tool_with_files_is_named_instead(project: Project, db: Database) -> None:
    db.query(
        "create table users (id int); create table _prisma_migrations (id varchar(36),"
        "checksum varchar(64), finished_at timestamptz, migration_name varchar(255), logs text,"
        "rolled_back_at timestamptz, started_at timestamptz, applied_steps_count int)"
    )
    code, said = project.call(db, "adopt", "database", "--apply")
    assert code == 3
    assert "adopt prisma" in said
    assert project.files() == [LEDGER_FILE]


def test_an_empty_database_has_nothing_to_adopt(project: Project, db: Database) -> None:
    code, said = project.call(db, "adopt", "database")
    assert code == 2
    assert "nothing to adopt" in said


def test_no_folder_is_read(project: Project, db: Database) -> None:
    code, said = project.call(db, "adopt", "database", "--from", "migrations")
    assert code == 2
    assert "reads no files" in said
