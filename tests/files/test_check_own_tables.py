"""The runner's own tables: what a file may not do to them, by word."""

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.files.runnable_script import Mode, Script

TABLE = "the table in which the runner keeps what it has applied"


def script_of(sql: str) -> Script:
    return prepare(parse("001-x.sql", sql.encode()))


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ('CREATE TABLE "schema_migrations" (version varchar primary key)', "create again"),
        ("CREATE TABLE public.schema_migrations (version text)", "create again"),
        ("create unlogged table public . schema_migration_runs (x int)", "create again"),
        ("create /* mine */ table schema_migrations as select 1", "create again"),
        ("drop table if exists users, public.schema_migrations cascade", "drop"),
        ("DROP SCHEMA IF EXISTS public CASCADE", "drop the schema that holds"),
        ("drop -- at last\n schema app, public cascade", "drop the schema that holds"),
        ("alter schema public rename to legacy", "rename the schema that holds"),
        ('ALTER SCHEMA "public" RENAME TO legacy', "rename the schema that holds"),
        ("alter table schema_migrations rename to old", "rename"),
        ("ALTER TABLE IF EXISTS ONLY public.schema_migrations * RENAME TO old", "rename"),
        ("alter table public.schema_migration_runs set schema legacy", "move"),
        ('alter table "public"."schema_migrations" set schema legacy', "move"),
        ("alter table schema_migrations rename column checksum to sha", "take a column from"),
        ("alter table schema_migrations rename checksum to sha", "take a column from"),
        (
            "alter table schema_migrations add x int, drop column if exists checksum cascade",
            "take a column from",
        ),
        ("alter table schema_migrations drop version", "take a column from"),
        ("alter table schema_migration_runs drop column fingerprint", "take a column from"),
        ("truncate schema_migrations", "empty"),
        (
            "TRUNCATE TABLE ONLY users *, only public.schema_migration_runs restart identity",
            "empty",
        ),
        ("delete from public.schema_migrations", "delete from"),
        ("DELETE FROM ONLY schema_migrations WHERE version = '001'", "delete from"),
        ("update schema_migrations set checksum = null", "change"),
        ("update only public.schema_migrations r set checksum = 'x'", "change"),
        ("merge into schema_migrations using a on true when matched then delete", "change"),
    ],
)
def test_a_file_that_makes_or_takes_or_changes_them_is_refused(sql: str, what: str) -> None:
    with pytest.raises(
        MigrationFileError,
        match=rf'^migrations/001-x\.sql:2: ".*" would {what} {TABLE}; take it out$',
    ):
        script_of(f"select 1;\n{sql};")


@pytest.mark.parametrize(
    "filler",
    [
        "insert into schema_migrations (version) values ('1')",
        "COPY public.schema_migrations FROM stdin",
    ],
)
def test_what_fills_them_is_named_where_something_does(filler: str) -> None:
    data = ";\n\\." if filler.startswith("COPY") else ""
    for sql in (
        "create table schema_migrations (version text)",
        "drop table if exists schema_migrations",
    ):
        with pytest.raises(MigrationFileError, match=r"; take it out, and what fills it$"):
            script_of(f"{sql};\n{filler}{data}")


@pytest.mark.parametrize(
    "sql",
    [
        "create table if not exists public.schema_migrations (id serial)",
        "create table app.schema_migrations (version text)",
        "create table schema_migrations_old (x int)",
        "create table schema_migrations.history (x int)",
        'create table "Schema_Migrations" (x int)',
        "set search_path = app; create table schema_migrations (version text); "
        "drop table schema_migrations",
        "set search_path = app; truncate schema_migrations; delete from schema_migrations",
        "drop schema publications; drop table my_schema_migrations; drop table schema.public",
        "comment on table public.schema_migrations is 'drop table schema_migrations'",
        "insert into public.schema_migrations (version, name) values ('a', 'b')",
        "alter table public.schema_migrations enable row level security",
        "alter table public.schema_migrations owner to me, alter column name drop default",
        "alter table public.schema_migrations drop constraint x, alter checksum drop not null",
        "alter table public.schema_migrations add note text; "
        "alter table public.schema_migrations drop note",
        "alter table app.schema_migrations rename to old; truncate app.schema_migrations",
        "alter table users rename to schema_users; alter schema public owner to me; "
        "alter schema app rename to public",
        "update public.schema_migration_runs set error = null",
        "delete from users using schema_migrations; update users set x = 'schema_migrations'",
        "grant select on schema_migrations to web; analyze schema_migrations; "
        "lock schema_migrations",
    ],
)
def test_what_only_looks_like_it_is_left(sql: str) -> None:
    assert script_of(sql).mode is Mode.TRANSACTION
