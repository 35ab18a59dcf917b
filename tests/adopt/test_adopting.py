"""`adopt`: from the files and the records of Prisma to ours, proven, written and recorded."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Bundle, Cli, Database

FILES = {
    "20240101000000_init": (
        "create table users (id serial primary key, email text not null);\n"
        "insert into users (email) values ('a@example.com');\n"
    ),
    "20240102000000_add_name": "alter table users add column name text;\n",
}
LEDGER = """
create table _prisma_migrations (
    id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz,
    migration_name varchar(255) not null, logs text, rolled_back_at timestamptz,
    started_at timestamptz not null default now(), applied_steps_count integer not null default 0
)
"""


class Project:
    """A project whose database Prisma has migrated."""

    def __init__(self, bundle: Bundle, db: Database, cli: Cli) -> None:
        self.bundle, self.db, self.cli = bundle, db, cli
        self.folder = bundle.root / "prisma" / "migrations"

    def write(self, name: str, sql: str | bytes) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        content = sql if isinstance(sql, bytes) else sql.encode()
        (self.folder / name / "migration.sql").write_bytes(content)

    def record(self, name: str, sql: str | bytes, database: Database | None = None) -> None:
        content = sql if isinstance(sql, bytes) else sql.encode()
        digest = hashlib.sha256(content).hexdigest()
        (database or self.db).query(
            "insert into _prisma_migrations (id, checksum, finished_at, migration_name, "
            f"started_at, applied_steps_count) select gen_random_uuid(), '{digest}', now(), "
            f"'{name}', now() + count(*) * interval '1 second', 1 from _prisma_migrations"
        )

    def apply(self, files: Mapping[str, str], database: Database | None = None) -> None:
        """As Prisma does, on a database."""
        (database or self.db).query(LEDGER)
        for name, sql in files.items():
            self.write(name, sql)
            (database or self.db).query(sql)
            self.record(name, sql, database)

    def adopt(self, *options: str, code: int = 0, **variables: str) -> Any:
        done = self.cli("adopt", "prisma", "--json", *options, **variables)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.bundle.migrations.iterdir())

    def is_untouched(self) -> bool:
        return self.names == [] and not self.db.has("public.schema_migrations")


@pytest.fixture
def project(bundle: Bundle, db: Database, cli: Cli) -> Project:
    return Project(bundle, db, cli)


@pytest.fixture
def migrated(project: Project) -> Project:
    project.apply(FILES)
    return project


class TestAWholeAdoption:
    def test_from_the_plan_to_the_next_migration(self, migrated: Project) -> None:
        plan = migrated.adopt()
        assert plan["files"] == [
            {
                "from": "20240101000000_init/migration.sql",
                "to": "001-init.sql",
                "verified": True,
                "state": "applied",
            },
            {
                "from": "20240102000000_add_name/migration.sql",
                "to": "002-add-name.sql",
                "verified": True,
                "state": "applied",
            },
        ]
        assert (plan["proven"], plan["applied"], plan["differences"]) == (True, False, [])
        assert migrated.is_untouched()
        done = migrated.adopt("--apply")
        assert (done["success"], done["applied"]) == (True, True)
        assert migrated.names == ["001-init.sql", "002-add-name.sql"]
        assert (migrated.bundle.migrations / "001-init.sql").read_text() == (
            "-- Version: 001\n-- From: prisma 20240101000000_init\n-- Description: init\n\n"
            + FILES["20240101000000_init"]
        )
        assert migrated.db.versions() == ["001-init", "002-add-name"]
        [run] = migrated.db.runs()
        assert (run["outcome"], run["applied"]) == ("succeeded", ["001-init", "002-add-name"])
        again = migrated.adopt("--apply")
        assert (again["success"], again["applied"], again["recorded"]) == (True, True, [])
        assert len(migrated.db.runs()) == 1
        migrated.bundle.write("003-next.sql", "create table next (x int)")
        migrate = migrated.cli("migrate")
        assert migrate.returncode == 0, migrate.stderr
        assert migrated.db.query("select count(*) from users") == [(1,)]


DBMATE = {
    "1_users.sql": (
        "-- migrate:up\ncreate table users (id int);\n-- migrate:down\ndrop table users;\n"
    ),
    "2_index.sql": (
        "-- migrate:up transaction:false\ncreate index concurrently users_id on users (id);\n"
        "-- migrate:down\ndrop index users_id;\n"
    ),
    "3_later.sql": "-- migrate:up\ncreate table later (x int);\n",
}


@pytest.fixture
def dbmate(bundle: Bundle, db: Database) -> Path:
    """A project of dbmate's, whose last file is not applied yet."""
    folder = bundle.root / "db" / "migrations"
    folder.mkdir(parents=True)
    for name, text in DBMATE.items():
        (folder / name).write_text(text)
    db.query(
        "create table schema_migrations (version varchar primary key);"
        "insert into schema_migrations values ('1'), ('2');"
        "create table users (id int); create index users_id on users (id)"
    )
    return folder


@pytest.mark.usefixtures("dbmate")
class TestALedgerWithTheNameOfOurs:
    def test_it_is_renamed_with_the_recording(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        shutil.copy(ROOT / "migrations" / "000-create-migration-table.sql", bundle.migrations)
        refused = cli("migrate")
        assert refused.returncode == 1
        assert "adopt dbmate" in refused.stderr
        done = cli("adopt", "dbmate", "--apply")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "renamed public.schema_migrations to schema_migrations_dbmate" in done.stdout
        kept = db.query("select version from schema_migrations_dbmate order by 1")
        assert kept == [("1",), ("2",)]
        assert db.versions() == ["001-users", "002-index"]
        assert "-- Transaction: none\n" in (bundle.migrations / "002-index.sql").read_text()
        again = cli("adopt", "dbmate", "--apply")
        assert (again.returncode, again.stdout) == (0, again.stdout)
        assert "Adopted already" in again.stdout
        migrated = cli("migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert db.versions()[2:] == ["000-create-migration-table", "003-later"]
        assert db.has("later")
