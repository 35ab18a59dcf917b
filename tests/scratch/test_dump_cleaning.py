"""From a dump to a file: what another server accepts, with the same schema afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from conftest import Bundle, Database, new_database
from tls_postgres import TlsServer

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.login import connect
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.files.runnable_script import Mode
from lib.scratch.database_dump import dump_schema
from lib.scratch.dump_cleaning import CleanDump, clean_dump
from lib.scratch.surroundings import Surroundings, read_surroundings
from lib.settings.connection_target import ConnectionTarget

RICH = r"""
create schema shop;
create type mood as enum ('sad', 'ok');
create domain email as text check (value ~ '@');
create table users (id bigserial primary key, email email unique, mood mood default 'ok',
    note text default 'a;b', created timestamptz default now());
create table shop.orders (id bigint generated always as identity primary key,
    owner bigint references users, total numeric(10, 2) check (total > 0),
    shown text generated always as (total::text || 'x') stored);
create index on shop.orders (owner) where total > 5;
comment on table users is E'it''s\n\\connect x\n-- Transaction: none';
create function total(a int) returns int language plpgsql as $$ begin
    -- Name: x; Type: TABLE
    return (select count(*) from public.later); end $$;
create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger touched before update on users for each row execute function touch();
create table later (id int);
create view recent as select id, email from users;
create rule kept as on delete to recent do instead nothing;
create materialized view counted as select count(*) from users;
create materialized view nobodys as select * from counted with no data;
create unique index on counted (count);
create table part (day date not null, x int) partition by range (day);
create table part_1 partition of part for values from ('2020-01-01') to ('2021-01-01');
create sequence loose start 5;
create function upper_of(text) returns text language sql begin atomic select upper($1); end;
create aggregate sum_of(int) (sfunc = int4pl, stype = int);
create statistics x_by_day (dependencies) on day, x from part;
create extension pg_trgm;
alter table users enable row level security;
create policy own on users using (id > 0) with check (id > 1);
grant insert on shop.orders to public;
revoke execute on function total(int) from public;
alter default privileges revoke execute on functions from public;
"""


@pytest.fixture
def fresh(server: ConnectionTarget) -> Iterator[Database]:
    with new_database(server) as database:
        yield database


@contextmanager
def role_on(database: Database, name: str) -> Iterator[None]:
    """A role of the whole server, gone afterwards with its privileges in this database."""
    database.query(f'create role "{name}"')
    try:
        yield
    finally:
        database.query(f'drop owned by "{name}"; drop role "{name}"')


def clean(database: Database, around: Surroundings | None = None) -> CleanDump:
    with connect(database.target, application_name="test", timeout=5) as connection:
        found = around or read_surroundings(connection)
        text = dump_schema(connection, os.environ, without_tables=found.tables)
        return clean_dump(text, found)


def snapshot(database: Database) -> Snapshot:
    with connect(database.target, application_name="test", timeout=5) as connection:
        found = read_snapshot(connection)
    assert isinstance(found, Snapshot)
    return found


def build(database: Database, sql: str) -> None:
    """Run the SQL as the runner does: in one transaction, after its own checks."""
    script = prepare(parse("001-so-far.sql", sql.encode()))
    assert script.mode is Mode.TRANSACTION
    with database.connect(autocommit=False) as connection:
        connection.execute(sql.encode())
        connection.commit()


def test_the_file_makes_the_same_schema(db: Database, fresh: Database, bundle: Bundle) -> None:
    db.query(RICH)
    dump = clean(db)
    build(fresh, dump.sql)
    changes = compare(snapshot(db).objects, snapshot(fresh).objects)
    assert changes == ()
    # Neither a comment nor a command of psql is left, whatever a name or a body holds.
    assert not dump.sql.startswith("--")
    assert "\\restrict" not in dump.sql
    populated = "select relname from pg_class where relkind = 'm' and relispopulated"
    assert fresh.query(populated) == [("counted",)]


def test_the_file_of_a_newer_server_builds_on_an_older_one(db: Database, tls_db: Database) -> None:
    db.query(RICH)
    build(tls_db, clean(db).sql)
    assert tls_db.has("shop.orders")


def test_an_older_server_is_dumped_and_builds_on_a_newer_one(
    db: Database, tls_db: Database, tls_server: TlsServer
) -> None:
    tls_db.query(RICH)
    dump = clean(tls_db)
    build(db, dump.sql)
    changes = compare(snapshot(tls_db).objects, snapshot(db).objects)
    # The printed text of a view changes between versions.
    assert {change.kind for change in changes} <= {"view", "materialized view", "extension"}


def test_twice_gives_the_same_bytes(db: Database) -> None:
    db.query(RICH)
    assert clean(db).sql == clean(db).sql


def test_privileges_of_a_role_are_granted_only_where_it_is(db: Database, fresh: Database) -> None:
    with role_on(db, 'Odd "$$" role'.replace('"', "")):
        db.query('create table users (id int); grant select (id) on users to "Odd $$ role"')
        db.query('alter default privileges grant select on tables to "Odd $$ role"')
        dump = clean(db)
        build(fresh, dump.sql)
        granted = "select has_column_privilege('Odd $$ role', 'users', 'id', 'select')"
        assert fresh.query(granted) == [(True,)]
        fresh.query("create table more (id int)")
        assert fresh.query("select has_table_privilege('Odd $$ role', 'more', 'select')") == [
            (True,)
        ]
        fresh.query('drop owned by "Odd $$ role"; drop table users, more')
    # Where the role is not, nothing fails.
    build(fresh, dump.sql)
    assert dump.notes == ("Privileges of Odd $$ role are granted only where the role is there.",)


def test_a_policy_brings_its_roles_along(db: Database, fresh: Database) -> None:
    name = "reader of rows"
    with role_on(db, name):
        db.query(
            "create table users (id int); alter table users enable row level security;"
            f'create policy "to" on users for select to public, "{name}" using (id > 0)'
        )
        db.query(f'drop policy "to" on users; create policy "to" on users to "{name}" using (true)')
        dump = clean(db)
    try:
        build(fresh, dump.sql)
        assert fresh.query(
            "select rolcanlogin from pg_policy, unnest(polroles) r(o) join pg_roles on oid = o"
        ) == [(False,)]
    finally:
        fresh.query("drop table users")
        fresh.query(f'drop role "{name}"')
    assert f"Policies name {name}" in dump.notes[0]


def test_default_privileges_of_another_role_are_left_out(db: Database) -> None:
    with role_on(db, "another owner"):
        db.query(
            "create table t ();"
            'alter default privileges for role "another owner" grant select on tables to public'
        )
        dump = clean(db)
        db.query(
            'alter default privileges for role "another owner" revoke select on tables from public'
        )
    assert "DEFAULT PRIVILEGES" not in dump.sql
    assert dump.notes == ("Left out: default privileges of other roles.",)


def test_what_holds_passwords_or_differs_by_environment_is_left_out(db: Database) -> None:
    db.query("create table t (); create publication feed for table t")
    text = clean(db)
    assert text.notes == ("Left out: publications, which each environment has of its own (feed).",)
    mapping = "CREATE USER MAPPING FOR alice SERVER far OPTIONS (password 'hunter2');\n"
    dump = clean_dump(f"create table t (); {mapping}", Surroundings("me"))
    assert "hunter2" not in dump.sql
    assert dump.notes == ("Left out: user mappings, which hold passwords (alice).",)


def test_what_an_extension_has_revoked_itself_is_not_repeated(db: Database) -> None:
    db.query("alter default privileges revoke execute on functions from public")
    db.query("create extension pg_trgm; create table t ()")
    assert "gtrgm_in" not in clean(db).sql


def test_parts_of_the_provider_are_left_out() -> None:
    around = Surroundings("postgres", schemas=frozenset({"auth", "graphql", "extensions"}))
    text = """
    CREATE SCHEMA auth;
    CREATE EXTENSION IF NOT EXISTS pg_graphql WITH SCHEMA graphql;
    CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA extensions;
    COMMENT ON EXTENSION pg_graphql IS 'x';
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION graphql.watch();
    CREATE PUBLICATION supabase_realtime WITH (publish = 'insert');
    ALTER PUBLICATION supabase_realtime OWNER TO postgres;
    CREATE EVENT TRIGGER own ON ddl_command_end EXECUTE FUNCTION public.watch();
    CREATE TABLE public.t ();
    GRANT SELECT ON TABLE public.t TO anon;
    """
    dump = clean_dump(text, replace(around, roles=frozenset({"anon"})))
    kept = [line for line in dump.sql.split("\n") if line and not line.startswith("SE")]
    assert kept == [
        "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA extensions;",
        "CREATE EVENT TRIGGER own ON ddl_command_end EXECUTE FUNCTION public.watch();",
        "CREATE TABLE public.t ();",
        "GRANT SELECT ON TABLE public.t TO anon;",
    ]
    assert dump.notes == ()


def test_an_empty_database_gives_nothing(db: Database) -> None:
    assert clean(db) == CleanDump()


def test_a_name_with_a_line_end_adds_no_statement(db: Database, fresh: Database) -> None:
    db.query('create table "a\n; drop table users; --" (id int); create table users ()')
    dump = clean(db)
    build(fresh, dump.sql)
    assert fresh.has("users")
    with pytest.raises(psycopg.errors.DuplicateTable):
        build(fresh, dump.sql)
