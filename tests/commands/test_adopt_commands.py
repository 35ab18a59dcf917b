"""The command `adopt`: its words, its question, its exit codes, what it prints."""

import hashlib
import json

import pytest
from conftest import Bundle, Cli, Database

from lib.adopt import first_file
from lib.tool_words import ADOPTABLE, WITHOUT_SQL
from lib.tools.known_tools import TOOLS

LEDGER = """
create table _prisma_migrations (
    id text, checksum text, finished_at timestamptz default now(), migration_name text,
    rolled_back_at timestamptz, started_at timestamptz default now(),
    applied_steps_count integer default 1)
"""
SQL = "create table users (secret text default 'hunter2');\n"


@pytest.fixture
def migrated(bundle: Bundle, db: Database) -> Bundle:
    """A project that still calls Prisma, which has migrated its database."""
    folder = bundle.root / "prisma" / "migrations" / "20240101000000_init"
    folder.mkdir(parents=True)
    (folder / "migration.sql").write_text(SQL)
    (bundle.root / "Procfile").write_text("release: npx prisma migrate deploy\n")
    digest = hashlib.sha256(SQL.encode()).hexdigest()
    db.query(
        f"{LEDGER}; {SQL}; insert into _prisma_migrations (checksum, migration_name)"
        f" values ('{digest}', '20240101000000_init')"
    )
    return bundle


def test_every_tool_has_its_word_and_so_has_a_database_without_one() -> None:
    assert set(ADOPTABLE) == {*(tool.word for tool in TOOLS), "database"}
    assert set(WITHOUT_SQL) == {tool.word for tool in first_file.PROGRAM_TOOLS}


def test_another_word_is_wrong_usage(cli: Cli) -> None:
    done = cli("adopt", "liquibase")
    assert done.returncode == 2
    assert "prisma" in done.stderr


@pytest.mark.parametrize("options", [(), ("--from", "nosuch")])
def test_a_missing_folder_is_wrong_usage(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("adopt", "prisma", "--json", *options)
    assert done.returncode == 2
    assert json.loads(done.stdout)["success"] is False


@pytest.mark.usefixtures("migrated")
def test_a_database_that_is_away_is_one_sentence(cli: Cli) -> None:
    url = "postgres://u:hunter2@127.0.0.1:1/x"
    done = cli("adopt", "prisma", "--json", DATABASE_URL=url, MIGRATION_CONNECT_TIMEOUT="1")
    assert done.returncode == 1
    assert json.loads(done.stdout)["action"] == "adopt"
    assert "hunter2" not in done.stdout + done.stderr


def test_it_asks_where_the_tool_is_still_called(cli: Cli, migrated: Bundle, db: Database) -> None:
    refused = cli("adopt", "prisma", "--apply")
    assert refused.returncode == 2
    assert "Prisma is still called in Procfile:1" in refused.stderr
    assert "Proven: the files make what the database has." in refused.stdout
    assert list(migrated.migrations.iterdir()) == []
    done = cli("adopt", "prisma", "--apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Adopted: wrote 1 file, recorded 1 file as applied" in done.stdout
    assert "Commit the files. Each other database" in done.stdout
    assert "hunter2" not in done.stdout + refused.stdout + done.stderr
    assert db.versions() == ["001-init"]


def test_the_command_that_is_named_reads_the_same_folder(cli: Cli, migrated: Bundle) -> None:
    (migrated.root / "prisma").rename(migrated.root / "old prisma")
    done = cli("adopt", "prisma", "--from", "old prisma/migrations")
    assert "adopt prisma --from 'old prisma/migrations' --apply` would write" in done.stdout


@pytest.mark.parametrize("name", ["migrations", "migrations/committed"])
def test_a_tool_whose_folder_is_ours_is_told_so_and_not_that_its_names_are_wrong(
    cli: Cli, bundle: Bundle, name: str
) -> None:
    (bundle.root / name).mkdir(exist_ok=True)
    (bundle.root / name / "000001_create_users.sql").write_text(SQL)
    done = cli("adopt", "graphile-migrate" if "committed" in name else "goose")
    assert done.returncode == 2
    assert f"{name} belongs to the runner's own migrations" in done.stderr
    assert "NNN-description" not in done.stderr


def test_problems_are_named_and_the_exit_code_is_3(
    cli: Cli, migrated: Bundle, db: Database
) -> None:
    script = migrated.root / "prisma" / "migrations" / "20240101000000_init" / "migration.sql"
    script.write_text("create table users ();\n")
    done = cli("adopt", "prisma", "--apply", "--yes")
    assert done.returncode == 3
    assert "20240101000000_init/migration.sql: is not the file that ran" in done.stdout
    assert "Nothing was recorded: a problem is in the way." in done.stderr
    assert not db.has("public.schema_migrations")
    told = json.loads(cli("adopt", "prisma", "--json").stdout)
    assert (told["success"], told["applied"], told["proven"]) == (False, False, None)
    assert told["files"][0]["verified"] is False
