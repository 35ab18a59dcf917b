"""What is in a database and is no part of its schema."""

from dataclasses import replace

from conftest import Database

from lib.database.login import connect
from lib.scratch.surroundings import Surroundings, has_supabase, read_surroundings


def read(database: Database) -> Surroundings:
    with connect(database.target, application_name="test", timeout=5) as connection:
        return read_surroundings(connection)


def test_the_tables_of_tools_and_of_this_runner_are_known_with_their_sequences(
    db: Database,
) -> None:
    db.query(
        "create table knex_migrations (id serial, name text, batch int,"
        " migration_time timestamptz);"
        "create table knex_migrations_lock (index serial, is_locked int);"
        "create schema other; create table other.schema_migrations (version text primary key);"
        "create table schema_migrations (id serial, version text, name text);"
        "create table schema_migration_runs (id serial);"
        "create table schema_migration_notes (id serial); create table migrations (id serial)"
    )
    assert read(db).tables == (
        ("other", "schema_migrations"),
        ("public", "knex_migrations"),
        ("public", "knex_migrations_id_seq"),
        ("public", "knex_migrations_lock"),
        ("public", "knex_migrations_lock_index_seq"),
        ("public", "schema_migration_runs"),
        ("public", "schema_migration_runs_id_seq"),
        ("public", "schema_migrations"),
        ("public", "schema_migrations_id_seq"),
    )


def test_a_database_of_its_own_has_no_provider(db: Database) -> None:
    found = replace(read(db), members=frozenset())
    assert found == Surroundings(owner=db.target.parameters["user"])


def test_supabase_is_known_by_its_role_and_its_schema(db: Database) -> None:
    db.query("create schema auth; create schema storage; create table auth.users (id int)")
    # They may as well be the project's own.
    assert (read(db).roles, read(db).schemas) == (frozenset(), frozenset())
    roles = ("service_role", "supabase_admin")
    for role in roles:
        db.query(f"create role {role}")
    try:
        found = read(db)
        with connect(db.target, application_name="test", timeout=5) as connection:
            is_supabase = has_supabase(connection)
    finally:
        for role in roles:
            db.query(f"drop role {role}")
    assert is_supabase
    assert "anon" in found.roles
    assert found.schemas == {"auth", "storage"}


def test_a_schema_for_extensions_is_the_projects(db: Database) -> None:
    db.query("create schema extensions; create extension pg_trgm schema extensions")
    assert read(db).schemas == frozenset()
    db.query("create schema neon_auth")
    assert read(db).schemas == {"neon_auth"}


def test_members_of_extensions_and_filled_views_are_named(db: Database) -> None:
    db.query(
        'create extension pg_trgm; create schema "S";'
        'create materialized view "S".m as select 1;'
        "create materialized view n as select 1 with no data"
    )
    found = read(db)
    assert ("public", "gtrgm_in") in found.members
    assert ("public", "gtrgm") in found.members
    assert found.populated == {'"S".m'}
