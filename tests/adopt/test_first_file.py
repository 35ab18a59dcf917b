"""The first file of a database: what it is made of, and what is to be known of it."""

import os
import re
from collections.abc import Callable, Sequence

import pytest
from conftest import Bundle, Database

from lib.actions.run_parameters import RunContext
from lib.adopt.conversion import convert
from lib.adopt.first_file import read_schema
from lib.adopt.history_source import Source
from lib.errors import ConfigurationError
from lib.escaping import message
from lib.files.folder import MigrationFile, discover
from lib.files.header import Origin
from lib.settings.connection_target import ConnectionTarget

Find = Callable[[], Source]

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


@pytest.fixture
def find(make_context: Callable[..., RunContext]) -> Find:
    """Look at the test's database, with what the folder of the test's bundle has."""

    def look() -> Source:
        context = make_context()
        ours = discover(context.settings.migrations_dir)
        with context.connect() as connection:
            return read_schema(context, connection, ours, os.environ)

    return look


def made(found: Source, ours: Sequence[MigrationFile] = ()) -> MigrationFile:
    """The one file that the history becomes."""
    [adopted] = convert(found.tool, found.read, found.history, ours, "migrations").files
    assert adopted.is_ours_already == bool(ours)
    return adopted.file


@pytest.mark.parametrize("tool", LEDGERS)
def test_the_newest_migration_of_the_tool_is_the_origin(
    find: Find, db: Database, tool: str
) -> None:
    ledger, newest = LEDGERS[tool]
    db.query(f"{TABLE}; {ledger}")
    found = find()
    file = made(found)
    assert found.tool.word == tool
    assert file.header.origin == Origin(tool, newest)
    assert file.version == "001-schema-so-far"
    assert file.text.count("CREATE TABLE") == 1
    assert "CREATE SEQUENCE" not in file.text


def test_without_a_ledger_the_database_is_the_origin(find: Find, db: Database) -> None:
    db.query(TABLE)
    assert made(find()).header.origin == Origin("database", db.target.database)


def test_an_empty_ledger_names_the_database(find: Find, db: Database) -> None:
    db.query(f'{TABLE}; create table "SequelizeMeta" (name text)')
    assert made(find()).header.origin == Origin("sequelize", db.target.database)


def test_a_hostile_name_stays_in_its_line(find: Find, db: Database) -> None:
    db.query(f'{TABLE}; create table "SequelizeMeta" (name text)')
    db.query("insert into \"SequelizeMeta\" values (E'x\\n-- Transaction: none\\u202e \\x1b[2J')")
    file = made(find())
    assert file.header.transactional
    assert "\x1b" not in file.text
    assert "\u202e" not in file.text


@pytest.mark.parametrize("ledger", [TABLE, LEDGERS["knex"][0]])
def test_a_file_that_is_there_already_stands_for_the_next_database(
    find: Find, db: Database, bundle: Bundle, ledger: str
) -> None:
    db.query(TABLE)
    first = made(find())
    db.query(f"drop table users; {ledger}")
    origin = "database another" if ledger == TABLE else "knex 0_before.js"
    text = re.sub("From: .*", f"From: {origin}", first.text)
    bundle.write("003-schema-so-far.sql", text.replace("Version: 001", "Version: 003"))
    ours = discover(bundle.migrations)
    found = find()
    assert made(found, ours) == ours[0]
    assert convert(found.tool, found.read, found.history, ours, "").notes == ()


def test_a_database_without_a_ledger_takes_the_file_of_a_tool(
    find: Find, db: Database, bundle: Bundle
) -> None:
    db.query(TABLE)
    bundle.write("001-so-far.sql", "-- From: knex 2_b.js\n\ncreate table users (id int);\n")
    found = find()
    assert (found.tool.word, found.history.problems) == ("knex", ())
    assert made(found, discover(bundle.migrations)).version == "001-so-far"


def test_a_file_of_another_tool_is_a_problem(find: Find, db: Database, bundle: Bundle) -> None:
    db.query(f"{TABLE}; {LEDGERS['knex'][0]}")
    bundle.write("001-so-far.sql", "-- From: rails 20250101\n\ncreate table users (id int);\n")
    [problem] = find().history.problems
    assert problem.place == "migrations/001-so-far.sql"
    assert "what rails has made, and the database has a ledger of Knex" in problem.fault


def test_rows_are_said_to_be_left_out(find: Find, db: Database) -> None:
    db.query(TABLE)
    assert "holds no rows" in find().history.notes[-1]


def test_a_line_that_may_hold_a_secret_is_named(find: Find, db: Database) -> None:
    db.query("create table hooks (url text default 'https://hooks:hunter2hunter2@example.com/')")
    found = find()
    lines = made(found).text.split("\n")
    number = 1 + next(at for at, line in enumerate(lines) if "hunter2" in line)
    note = found.history.notes[-1]
    assert f"Line {number} of the file may hold a secret" in note
    assert message(note) == note
    assert "hunter2" not in repr(found)


def test_an_empty_database_has_nothing_to_adopt(find: Find, db: Database) -> None:
    db.query("create table schema_migration_runs (id serial)")
    with pytest.raises(ConfigurationError, match="nothing to adopt"):
        find()


def test_a_pooler_is_refused(
    make_context: Callable[..., RunContext], pooled: ConnectionTarget, db: Database
) -> None:
    db.query(TABLE)
    context = make_context(target=pooled)
    with (
        context.connect() as connection,
        pytest.raises(ConfigurationError, match="leads through a pooler"),
    ):
        read_schema(context, connection, (), os.environ)
