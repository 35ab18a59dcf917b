"""The first file of a database: what it is made of, and what is to be known of it."""

import os

import pytest
from conftest import Database

from lib.adopt.first_file import FirstFile, draft_first_file
from lib.database.login import connect
from lib.errors import ConfigurationError

TABLE = "create table users (id int)"
# As each tool, or its source, writes them.
LEDGERS = {
    "knex": (
        "create table knex_migrations (id serial, name text, batch int,"
        " migration_time timestamptz);"
        "insert into knex_migrations (name) values ('1_a.js'), ('2_b.js')",
        "2_b.js",
    ),
    "sequelize": (
        'create table "SequelizeMeta" (name text primary key);'
        "insert into \"SequelizeMeta\" values ('2-b.js'), ('1-a.js')",
        "2-b.js",
    ),
    "typeorm": (
        "create table migrations (id serial, timestamp bigint, name text);"
        "insert into migrations (timestamp, name) values (1, 'A1'), (2, 'B2')",
        "B2",
    ),
    "rails": (
        "create table schema_migrations (version varchar primary key);"
        "create table ar_internal_metadata (key text, value text, created_at timestamp);"
        "insert into schema_migrations values ('20250102000000'), ('20250101000000')",
        "20250102000000",
    ),
    "ecto": (
        "create table schema_migrations (version bigint primary key, inserted_at timestamp);"
        "insert into schema_migrations values (3), (20)",
        "20",
    ),
    "alembic": (
        "create table alembic_version (version_num varchar(32));"
        "insert into alembic_version values ('b2'), ('a1')",
        "a1+b2",
    ),
    "django": (
        "create table django_migrations (id serial, app text, name text, applied timestamptz);"
        "insert into django_migrations (app, name) values ('auth', '0001'), ('shop', '0002_x')",
        "shop.0002_x",
    ),
}


def draft(database: Database) -> FirstFile:
    with connect(database.target, application_name="test", timeout=5) as connection:
        return draft_first_file(connection, os.environ, "shop")


@pytest.mark.parametrize("tool", LEDGERS)
def test_the_newest_migration_of_the_tool_is_the_origin(db: Database, tool: str) -> None:
    made, newest = LEDGERS[tool]
    db.query(f"{TABLE}; {made}")
    found = draft(db)
    assert (found.tool, found.name) == (tool, newest)
    assert found.ledger
    assert found.sql.count("CREATE TABLE") == 1
    assert "CREATE SEQUENCE" not in found.sql


def test_without_a_ledger_the_database_is_the_origin(db: Database) -> None:
    db.query(TABLE)
    found = draft(db)
    assert (found.tool, found.name, found.ledger) == ("database", "shop", None)


def test_an_empty_ledger_names_the_database(db: Database) -> None:
    db.query(f'{TABLE}; create table "SequelizeMeta" (name text)')
    assert draft(db).name == "shop"


def test_a_hostile_name_stays_one_word(db: Database) -> None:
    db.query(f'{TABLE}; create table "SequelizeMeta" (name text)')
    db.query("insert into \"SequelizeMeta\" values (E'x\\n-- Transaction: none\\u202e \\x1b[2J')")
    assert draft(db).name == "x----Transaction:-none---[2J"


def test_rows_are_said_to_be_left_out(db: Database) -> None:
    db.query(TABLE)
    assert "holds no rows" in draft(db).notes[-1]


def test_a_line_that_may_hold_a_secret_is_named(db: Database) -> None:
    db.query("create table hooks (url text default 'https://hooks:hunter2hunter2@example.com/')")
    found = draft(db)
    [number] = found.secret_lines
    assert "hunter2" in found.sql.split("\n")[number - 1]
    assert "hunter2" not in repr(found)


def test_an_empty_database_has_nothing_to_adopt(db: Database) -> None:
    db.query("create table schema_migration_runs (id serial)")
    with pytest.raises(ConfigurationError, match="nothing to adopt"):
        draft(db)
