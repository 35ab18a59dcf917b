"""Tools whose migrations are programs: each makes its tables by itself, as its users run it.

Each makes the same: users and posts, by two migrations, and its own ledger. Rails and Ecto need a
language that this machine may lack: their ledgers are as their sources write them.
"""

import fcntl
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from conftest import ROOT
from node_clients import require_packages

_PINS = ROOT / "tests" / "switching" / "requirements.txt"
_PYTHON_PACKAGES = ROOT / ".local" / "switching-python"

Make = Callable[[Path, str], None]

_KNEX = {
    "knexfile.cjs": """
module.exports = { client: "pg", connection: process.env.DATABASE_URL,
  migrations: { directory: "./knex" } };
""",
    "knex/20250101000000_users.cjs": """
exports.up = (knex) => knex.schema.createTable("users", (t) => {
  t.increments("id"); t.string("email").notNullable().unique(); t.timestamps(true, true); });
exports.down = (knex) => knex.schema.dropTable("users");
""",
    "knex/20250102000000_posts.cjs": """
exports.up = (knex) => knex.schema.createTable("posts", (t) => {
  t.increments("id"); t.integer("author").references("users.id").onDelete("CASCADE");
  t.enu("state", ["draft", "shown"], { useNative: true, enumName: "state" }).defaultTo("draft");
  t.index(["author", "state"]); });
exports.down = (knex) => knex.schema.dropTable("posts");
""",
}
_SEQUELIZE = {
    "migrate.mjs": """
import { DataTypes, Sequelize } from "sequelize";
import { SequelizeStorage, Umzug } from "umzug";
const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false });
const migrations = [
  { name: "20250101000000-users.js", up: ({ context }) => context.createTable("users", {
      id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true },
      email: { type: DataTypes.STRING, allowNull: false, unique: true } }) },
  { name: "20250102000000-posts.js", up: async ({ context }) => {
      await context.createTable("posts", {
        id: { type: DataTypes.UUID, primaryKey: true },
        state: { type: DataTypes.ENUM("draft", "shown"), defaultValue: "draft" },
        author: { type: DataTypes.INTEGER, references: { model: "users", key: "id" } } });
      await context.addIndex("posts", ["author", "state"]); } },
];
const storage = new SequelizeStorage({ sequelize });
await new Umzug({ migrations, context: sequelize.getQueryInterface(), storage }).up();
await sequelize.close();
""",
}
_TYPEORM = {
    "migrate.cjs": """
require("reflect-metadata");
const { DataSource } = require("typeorm");
class Users1735689600000 { name = "Users1735689600000";
  async up(runner) { await runner.query(
    `CREATE TABLE "users" ("id" SERIAL PRIMARY KEY, "email" varchar NOT NULL UNIQUE)`); } }
class Posts1735776000000 { name = "Posts1735776000000";
  async up(runner) {
    await runner.query(`CREATE TYPE "posts_state_enum" AS ENUM ('draft', 'shown')`);
    await runner.query(`CREATE TABLE "posts" ("id" uuid NOT NULL DEFAULT gen_random_uuid(),
      "state" "posts_state_enum" NOT NULL DEFAULT 'draft', "author" integer,
      CONSTRAINT "PK_posts" PRIMARY KEY ("id"),
      CONSTRAINT "FK_author" FOREIGN KEY ("author") REFERENCES "users"("id"))`); } }
(async () => {
  const source = await new DataSource({ type: "postgres", url: process.env.DATABASE_URL,
    migrations: [Users1735689600000, Posts1735776000000] }).initialize();
  await source.runMigrations();
  await source.destroy();
})();
""",
}
_KYSELY = {
    "migrate.mjs": """
import { Kysely, PostgresDialect, sql } from "kysely";
import { Migrator } from "kysely/migration";
import pg from "pg";
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const db = new Kysely({ dialect: new PostgresDialect({ pool }) });
const migrations = {
  "2025_01_01_users": { up: (db) => db.schema.createTable("users")
    .addColumn("id", "serial", (c) => c.primaryKey())
    .addColumn("email", "text", (c) => c.notNull().unique()).execute() },
  "2025_01_02_posts": { up: (db) => db.schema.createTable("posts")
    .addColumn("id", "serial", (c) => c.primaryKey())
    .addColumn("author", "integer", (c) => c.references("users.id"))
    .addColumn("written", "timestamptz", (c) => c.defaultTo(sql`now()`)).execute() },
};
const provider = { getMigrations: async () => migrations };
const { error } = await new Migrator({ db, provider }).migrateToLatest();
await db.destroy();
if (error) throw error;
""",
}
_ALEMBIC = {
    "alembic.ini": "[alembic]\nscript_location = alembic\n",
    "alembic/env.py": """
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""",
    "alembic/versions/a1_users.py": """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "a1", None
def upgrade():
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("email", sa.Text, nullable=False, unique=True))
""",
    "alembic/versions/b2_posts.py": """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "b2", "a1"
def upgrade():
    op.create_table("posts", sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
                    sa.Column("author", sa.Integer, sa.ForeignKey("users.id")),
                    sa.Column("state", sa.Enum("draft", "shown", name="state")))
    op.create_index("posts_by_author", "posts", ["author"])
""",
}
_DJANGO = {
    "shop/__init__.py": "",
    "shop/models.py": "",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Users", [
        ("id", models.BigAutoField(primary_key=True)),
        ("email", models.EmailField(unique=True))], options={"db_table": "users"})]
""",
    "shop/migrations/0002_posts.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.CreateModel("Posts", [
        ("id", models.BigAutoField(primary_key=True)),
        ("author", models.ForeignKey("shop.Users", models.CASCADE)),
        ("amount", models.PositiveIntegerField())], options={"db_table": "posts"})]
""",
    "manage.py": """
import os
import django
from django.conf import settings
from django.core.management import call_command
from psycopg.conninfo import conninfo_to_dict
url = conninfo_to_dict(os.environ["DATABASE_URL"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop"], USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url["dbname"],
        "USER": url["user"], "PASSWORD": url["password"], "HOST": url["host"],
        "PORT": url["port"]}})
django.setup()
call_command("migrate", verbosity=0)
""",
}
_TABLES = """
create table users (id bigserial primary key, email varchar not null);
create unique index index_users_on_email on users (email);
create table posts (id bigserial primary key, author bigint references users);
"""
# ActiveRecord's SchemaMigration and InternalMetadata create these.
_RAILS = f"""{_TABLES}
create table schema_migrations (version varchar not null primary key);
create table ar_internal_metadata (key varchar not null primary key, value varchar,
    created_at timestamp(6) not null, updated_at timestamp(6) not null);
insert into schema_migrations values ('20250101000000'), ('20250102000000');
insert into ar_internal_metadata values ('environment', 'production', now(), now());
"""
# Ecto.Migration.SchemaMigration.
_ECTO = f"""{_TABLES}
create table schema_migrations (version bigint primary key, inserted_at timestamp(0));
insert into schema_migrations values (20250101000000, now()), (20250102000000, now());
"""


@dataclass(frozen=True)
class ProgramTool:
    """A tool by its word, its newest migration here, and what makes its tables."""

    word: str
    newest: str
    make: Make


def _node(files: Mapping[str, str], *command: str) -> Make:
    def make(folder: Path, url: str) -> None:
        packages = require_packages("switching")
        _write(folder, files)
        (folder / "node_modules").symlink_to(packages)
        _run(folder, command, DATABASE_URL=url)

    return make


def _python(files: Mapping[str, str], *arguments: str) -> Make:
    def make(folder: Path, url: str) -> None:
        packages = _require_python_packages()
        _write(folder, files)
        path = os.pathsep.join(map(str, (folder, packages)))
        _run(folder, (sys.executable, *arguments), DATABASE_URL=url, PYTHONPATH=path)

    return make


def _sql(text: str) -> Make:
    def make(_: Path, url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(text.encode())

    return make


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run(folder: Path, command: tuple[str, ...], **variables: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _require_python_packages() -> Path:
    if reason := _install_python_packages():
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must have it", pytrace=False)
        pytest.skip(reason)
    return _PYTHON_PACKAGES


@functools.cache
def _install_python_packages() -> str | None:
    """Install the pinned packages unless they are there; says what went wrong."""
    _PYTHON_PACKAGES.mkdir(parents=True, exist_ok=True)
    with (_PYTHON_PACKAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = _PYTHON_PACKAGES / "installed"
        wanted = f"{sys.version_info[:2]}\n{_PINS.read_text()}"
        if stamp.exists() and stamp.read_text() == wanted:
            return None
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        options = ("--only-binary=:all:", "--upgrade", "--target", str(_PYTHON_PACKAGES))
        done = subprocess.run([*pip, *options, "-r", _PINS], capture_output=True, text=True)
        if done.returncode:
            return f"pip could not install the packages of {_PINS}: {done.stderr.strip()[-300:]}"
        stamp.write_text(wanted)
    return None


TOOLS = (
    ProgramTool(
        "knex",
        "20250102000000_posts.cjs",
        _node(_KNEX, "node_modules/.bin/knex", "migrate:latest", "--knexfile", "knexfile.cjs"),
    ),
    ProgramTool("sequelize", "20250102000000-posts.js", _node(_SEQUELIZE, "node", "migrate.mjs")),
    ProgramTool("typeorm", "Posts1735776000000", _node(_TYPEORM, "node", "migrate.cjs")),
    ProgramTool("kysely", "2025_01_02_posts", _node(_KYSELY, "node", "migrate.mjs")),
    ProgramTool("alembic", "b2", _python(_ALEMBIC, "-m", "alembic", "upgrade", "head")),
    ProgramTool("django", "shop.0002_posts", _python(_DJANGO, "manage.py")),
    ProgramTool("rails", "20250102000000", _sql(_RAILS)),
    ProgramTool("ecto", "20250102000000", _sql(_ECTO)),
)
