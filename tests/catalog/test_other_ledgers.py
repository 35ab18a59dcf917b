"""The ledgers of other tools: each is found by name and shape, and nothing else is."""

import pytest
from conftest import Database

from lib.catalog.other_ledgers import SHAPES, OtherLedger, find_other_ledgers
from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.connection import Connection

# As the tools create them, columns in their order.
HISTORIES = [
    (
        "prisma",
        "public._prisma_migrations",
        "id varchar(36), checksum varchar(64), finished_at timestamptz, migration_name text,"
        " logs text, rolled_back_at timestamptz, started_at timestamptz, applied_steps_count int",
    ),
    ("drizzle", "drizzle.__drizzle_migrations", "id serial, hash text, created_at bigint"),
    ("drizzle", "app.steps", "id serial, hash text, created_at bigint"),
    (
        "drizzle",
        "public.steps",
        "id serial, hash text, created_at bigint, name text, applied_at timestamptz",
    ),
    (
        "flyway",
        "public.history",
        "installed_rank int, version varchar(50), description varchar(200), type varchar(20),"
        " script varchar(1000), checksum int, installed_by varchar(100), installed_on timestamp,"
        " execution_time int, success bool",
    ),
    (
        "supabase",
        "supabase_migrations.schema_migrations",
        "version text, statements text[], name text",
    ),
    (
        "flyway",
        "public.flyway_schema_history",
        "installed_rank int, version text, description text, type text, script text, checksum int,"
        " installed_by text, installed_on timestamp, execution_time int, success bool",
    ),
    ("dbmate", "public.schema_migrations", "version varchar(128)"),
    ("dbmate", "public.schema_migrations_dbmate", "version varchar(128)"),
    ("golang-migrate", "public.schema_migrations", "version bigint, dirty boolean"),
    ("golang-migrate", "public.schema_migrations_old", "version bigint, dirty boolean"),
    (
        "goose",
        "public.goose_db_version",
        "id int, version_id bigint, is_applied bool, tstamp timestamp",
    ),
    (
        "sqlx",
        "public._sqlx_migrations",
        "version bigint, description text, installed_on timestamptz, success bool, checksum bytea,"
        " execution_time bigint",
    ),
    ("node-pg-migrate", "public.pgmigrations", "id int, name text, run_on timestamp"),
    (
        "graphile-migrate",
        "graphile_migrate.migrations",
        "hash text, previous_hash text, filename text, date timestamptz",
    ),
    ("sql-migrate", "public.gorp_migrations", "id text, applied_at timestamptz"),
    ("tern", "public.schema_version", "version int"),
    (
        "knex",
        "public.knex_migrations",
        "id int, name text, batch int, migration_time timestamptz",
    ),
    ("kysely", "public.kysely_migration", "name text, timestamp text"),
    ("sequelize", 'public."SequelizeMeta"', "name text"),
    ("typeorm", "app.migrations", "id int, timestamp bigint, name text"),
    ("alembic", "public.alembic_version", "version_num varchar(32)"),
    ("django", "public.django_migrations", "id int, app text, name text, applied timestamptz"),
    ("ecto", "public.schema_migrations", "version bigint, inserted_at timestamp(0)"),
]


def create(db: Database, table: str, columns: str) -> None:
    schema, _, _ = table.partition(".")
    db.query(f"create schema if not exists {schema}; create table {table} ({columns})")


def found_in(db: Database) -> tuple[OtherLedger, ...]:
    with Connection(db.connect()) as connection:
        return find_other_ledgers(connection)


@pytest.mark.parametrize(("tool", "table", "columns"), HISTORIES, ids=lambda value: str(value)[:40])
def test_the_ledger_of_a_tool_is_found(db: Database, tool: str, table: str, columns: str) -> None:
    create(db, table, columns)
    assert found_in(db) == (OtherLedger(tool, table),)


def test_the_table_of_histories_covers_every_tool() -> None:
    assert {tool for tool, _, _ in HISTORIES} == {
        shape.tool for shape in SHAPES if shape.is_history
    }


def test_rails_is_told_from_dbmate_by_its_second_table(db: Database) -> None:
    create(db, "public.schema_migrations", "version varchar")
    create(db, "public.ar_internal_metadata", "key varchar, value varchar")
    assert found_in(db) == (OtherLedger("rails", "public.schema_migrations"),)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        # A project's own tables.
        ("public.migrations", "id int, name text, from_country text, to_country text"),
        ("public.schema_version", "id int, version int, released_at date"),
        ("public.current", "id int, content text"),
        ("public.pgmigrations", "id int"),
        ("public.tokens", "id serial, hash text, created_at timestamptz"),
        ("public.tokens", "id serial, hash text, created_at bigint, account int"),
        ("public.tokens", "id bigserial, hash text, created_at bigint"),
        # The names are right, but a letter of them is another case.
        ('public."sequelizemeta"', "name text"),
        ("public.schema_migrationsx", "version text"),
    ],
)
def test_a_table_of_another_shape_is_no_ledger(db: Database, table: str, columns: str) -> None:
    create(db, table, columns)
    assert found_in(db) == ()


def test_a_view_a_temporary_table_and_a_dropped_column_make_no_ledger(db: Database) -> None:
    db.query("create view public.alembic_version as select 'x'::text as version_num")
    db.query("create table public.pgmigrations (id int, name text, run_on timestamp)")
    db.query("alter table public.pgmigrations drop run_on")
    with Connection(db.connect()) as connection:
        connection.run(
            "create temp table _sqlx_migrations (version int, description text, checksum bytea)"
        )
        assert find_other_ledgers(connection) == ()


def test_the_ledger_of_this_runner_is_none_of_them(db: Database) -> None:
    db.query(
        "create table public.schema_migrations (id serial primary key, version varchar(255) unique"
        " not null, name varchar(255) not null, applied_at timestamp default now(),"
        " execution_time_ms integer, checksum varchar(64))"
    )
    assert found_in(db) == ()


def test_a_role_without_any_right_finds_the_same(db: Database) -> None:
    create(db, "private.__drizzle_migrations", "id serial, hash text, created_at bigint")
    with db.another_role() as lowly:
        assert found_in(lowly) == (OtherLedger("drizzle", "private.__drizzle_migrations"),)


@pytest.mark.parametrize(
    ("more", "schemas"),
    [
        ("select", {"public"}),
        ("create table drizzle.posts ()", {"public", "drizzle"}),
        ("create function drizzle.f() returns int return 1", {"public", "drizzle"}),
    ],
)
def test_a_schema_for_a_ledger_alone_is_the_tools(
    db: Database, more: str, schemas: set[str]
) -> None:
    create(db, "drizzle.__drizzle_migrations", "id serial, hash text, created_at bigint")
    create(db, "public.schema_version", "version int")
    db.query(more)
    with Connection(db.connect()) as connection:
        snapshot = read_snapshot(connection)
    assert isinstance(snapshot, Snapshot)
    assert {key.identity for key in snapshot.objects if key.kind == "schema"} == schemas
