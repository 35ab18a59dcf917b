"""The guides in docs/switching/, with the tools that they lead away from."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Bundle, Cli, Database, new_database
from node_clients import require_packages

from lib.settings.connection_target import ConnectionTarget

LEDGER_FILE = "000-create-migration-table"
SCHEMA = """
import { pgTable, serial, text, pgEnum, integer } from "drizzle-orm/pg-core";
export const role = pgEnum("role", [ROLES]);
export const users = pgTable("users", {
  id: serial("id").primaryKey(),
  email: text("email").notNull().unique(),
  role: role("role").notNull().default("DEFAULT"),
});
export const posts = pgTable("posts", {
  id: serial("id").primaryKey(),
  author: integer("author").references(() => users.id),
  COLUMNS
});
"""
CONFIG = """
import { defineConfig } from "drizzle-kit";
export default defineConfig({
  dialect: "postgresql", schema: "./schema.ts", out: "./drizzle",
  dbCredentials: { url: process.env.DATABASE_URL! },
});
"""
COLUMNS = """
    select table_name, column_name, data_type, column_default from information_schema.columns
    where table_schema = 'public' and table_name in ('users', 'posts') order by 1, 2
"""


@pytest.fixture
def fresh(server: ConnectionTarget) -> Iterator[Database]:
    """An empty database, as of a preview; `db` is the one that the other tool has migrated."""
    with new_database(server) as database:
        yield database


def run(folder: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def succeed(cli: Cli, *arguments: str, url: str | None = None) -> str:
    done = cli(*arguments, **({"DATABASE_URL": url} if url else {}))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_drizzle_goes_on_generating(
    cli: Cli, bundle: Bundle, db: Database, fresh: Database
) -> None:
    root = bundle.root
    (root / "node_modules").symlink_to(require_packages("switching"))
    shutil.copy(ROOT / "migrations" / f"{LEDGER_FILE}.sql", bundle.migrations)
    kit = str(root / "node_modules" / ".bin" / "drizzle-kit")
    (root / "drizzle.config.ts").write_text(CONFIG)

    def generate(name: str, roles: str, default: str, columns: str) -> str:
        schema = SCHEMA.replace("ROLES", roles).replace("DEFAULT", default)
        (root / "schema.ts").write_text(schema.replace("COLUMNS", columns))
        return run(root, kit, "generate", "--name", name)

    # What was there: one file, applied by drizzle-kit.
    generate("first", '"user", "admin"', "user", "")
    run(root, kit, "migrate", DATABASE_URL=db.url)
    # The first day.
    succeed(cli, "adopt", "drizzle", "--apply")
    succeed(cli, "migrate", url=fresh.url)
    assert db.versions() == fresh.versions() == [LEDGER_FILE, "001-first"]
    # The day after.
    generate("add_title", '"user", "admin"', "user", 'title: text("title").notNull(),')
    succeed(cli, "create", "--from", "drizzle/0001_add_title.sql")
    for database in (db, fresh):
        succeed(cli, "migrate", url=database.url)
    # A value of an enum that the same file uses has to go into a file of its own.
    generate("owner", '"user", "admin", "owner"', "owner", 'title: text("title").notNull(),')
    succeed(cli, "create", "--from", "drizzle/0002_owner.sql")
    refused = cli("migrate")
    assert "put ALTER TYPE … ADD VALUE into a file of its own" in refused.stderr
    (bundle.migrations / "003-owner.sql").unlink()
    first, rest = (root / "drizzle" / "0002_owner.sql").read_text().split("\n", 1)
    bundle.write("003-add-role-owner.sql", first)
    bundle.write("004-owner-by-default.sql", rest)
    for database in (db, fresh):
        succeed(cli, "migrate", url=database.url)
        assert database.versions()[-1] == "004-owner-by-default"
    assert db.query(COLUMNS) == fresh.query(COLUMNS) != []
    assert "No schema changes" in run(root, kit, "generate")
