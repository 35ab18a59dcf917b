"""A server for a stranger's SQL: what the SQL must not reach, and where it has to end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import connect

from lib.local.server_folder import home
from lib.rehearse.throwaway_server import HARMLESS, ThrowawayServer, throwaway_server
from lib.settings.variables import SUPABASE
from lib.time_limits import RehearsalLimits


@pytest.fixture(scope="module")
def throwaway(scratch_root: Path) -> Iterator[ThrowawayServer]:
    with throwaway_server(scratch_root) as server:
        yield server


@pytest.fixture
def stranger(throwaway: ThrowawayServer) -> Iterator[psycopg.Connection[Any]]:
    """A session of the files, whose work is rolled back."""
    with connect(throwaway.target, autocommit=False) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to program 'env'",
        "create temp table out (line text); copy out from program 'env'",
        "copy (select 1) to '/tmp/out'",
        "select pg_read_file('/etc/passwd')",
        "select pg_read_binary_file('postmaster.opts')",
        "select pg_ls_dir('.')",
        "select lo_import('/etc/passwd')",
        "select * from pg_authid",
        "alter role current_user superuser",
        "alter role current_user replication",
        "create role another superuser",
        "create role another in role pg_execute_server_program",
        "grant pg_execute_server_program to current_user",
        "grant pg_read_server_files to current_user",
        "grant scratch_admin to current_user",
        "alter role scratch_admin password 'mine'",
        "alter role scratch_bootstrap login",
        "set session authorization scratch_admin",
        "set role scratch_bootstrap",
        "create extension dblink",
        "create extension postgres_fdw",
        "create extension file_fdw",
        "create extension pageinspect",
        "create extension pg_surgery",
        "create foreign data wrapper anything",
        "create subscription anything connection 'host=127.0.0.1' publication p"
        " with (connect = false)",
        "create function run() returns int language c as 'libc', 'system'",
        "create event trigger anything on ddl_command_start execute function f()",
        "set session_preload_libraries = 'anything'",
        "load '/tmp/anything.so'",
        "set temp_file_limit = -1",
    ],
)
def test_what_reaches_beyond_the_database_is_refused(
    stranger: psycopg.Connection[Any], statement: str
) -> None:
    stranger.execute("create function f() returns event_trigger language plpgsql as 'begin end'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(statement)


def test_what_reaches_beyond_it_outside_a_transaction_is_refused(
    throwaway: ThrowawayServer,
) -> None:
    with connect(throwaway.target) as connection:
        for statement in (
            "create database another",
            "create tablespace t location '/tmp'",
            "alter system set archive_command = 'env'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_database_and_its_schema_belong_to_the_role(
    stranger: psycopg.Connection[Any],
) -> None:
    stranger.execute(
        "create table public.mine (x int); create schema another; create role reader;"
        " grant select on public.mine to reader; alter database postgres set work_mem = '8MB';"
        " alter table public.mine owner to postgres; drop schema public cascade"
    )


@pytest.mark.parametrize("extension", [*HARMLESS, "pgcrypto", "uuid-ossp", "pg_trgm"])
def test_a_harmless_extension_can_be_created(
    stranger: psycopg.Connection[Any], extension: str
) -> None:
    stranger.execute(f'create extension "{extension}" cascade')
    assert stranger.execute(
        "select rolname from pg_extension join pg_roles r on r.oid = extowner where extname = %s",
        (extension,),
    ).fetchone() == ("postgres",)


@pytest.mark.parametrize("extension", ["pgcrypto", "uuid-ossp"])
def test_the_script_of_a_stand_in_runs_with_the_rights_of_the_role(
    stranger: psycopg.Connection[Any], extension: str
) -> None:
    stranger.execute(f'create extension "{extension}"')
    owners = stranger.execute(
        """
        select distinct proowner::regrole::text from pg_proc
          join pg_depend d on d.objid = pg_proc.oid and d.deptype = 'e'
          join pg_extension e on e.oid = d.refobjid and e.extname = %s
        """,
        (extension,),
    ).fetchall()
    assert owners == [("postgres",)]


@pytest.mark.parametrize("extension", [*HARMLESS, "pgcrypto", "uuid-ossp"])
def test_the_script_of_an_extension_calls_nothing_that_was_put_in_its_schema(
    stranger: psycopg.Connection[Any], extension: str
) -> None:
    # Each takes precedence over the server's own, whose arguments are of any type.
    for arguments in ("text, text", "text, text, text"):
        stranger.execute(
            f"create function public.format({arguments}) returns text language plpgsql as"
            " $$ begin raise 'called as %', current_user; end $$"
        )
    stranger.execute(f'create extension "{extension}" schema public cascade')


def test_no_other_database_lets_the_role_in(throwaway: ThrowawayServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(throwaway.target, dbname="template1")


@pytest.mark.parametrize("password", ["", "postgres", "wrong"])
def test_no_connection_is_made_without_the_password(
    throwaway: ThrowawayServer, password: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(throwaway.target, password=password)


def test_the_password_of_other_scratch_servers_opens_nothing(
    throwaway: ThrowawayServer, scratch_root: Path
) -> None:
    kept = next(home(scratch_root, name="scratch").glob("run-*/password")).read_text()
    for user in ("scratch_bootstrap", "scratch_admin", "postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"password|not permitted to log in"):
            connect(throwaway.target, user=user, password=kept)


def test_the_server_inherits_no_variable_of_the_caller(
    scratch_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@db.example.com/app")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    with throwaway_server(scratch_root) as server, connect(server.admin) as connection:
        connection.execute("create temp table variables (line text)")
        connection.execute("copy variables from program 'env'")
        found = [line for (line,) in connection.execute("table variables")]
    assert [line for line in found if line.startswith("PATH=")]
    assert not [line for line in found if "secret" in line]


def test_what_a_file_leaves_in_public_is_called_by_no_superuser(
    scratch_root: Path,
) -> None:
    with throwaway_server(scratch_root) as server:
        with connect(server.target) as connection:
            connection.execute(
                """
                create table public.called (by text, super text);
                grant insert on public.called to public;
                create function public.note() returns bool language plpgsql as $$ begin
                    insert into public.called
                    values (session_user, current_setting('is_superuser'));
                    return true;
                end $$;
                create function public.eq(oid, oid) returns bool language sql
                    as 'select public.note()';
                create operator public.= (leftarg = oid, rightarg = oid, function = public.eq);
                create function public.pg_database_size(oid) returns bigint language sql
                    as 'select public.note()::int::bigint';
                create view public.pg_database as select 1::oid as oid where public.note();
                alter database postgres set search_path = public, pg_catalog;
                alter role postgres set search_path = public, pg_catalog;
                """
            )
        copied = server.copy("copied")
        with connect(copied) as connection:
            found = connection.execute("select * from public.called where super = 'on'").fetchall()
            assert found == []
            assert server.target.parameters["user"] == "postgres"
        with connect(server.target) as connection:
            assert connection.execute("select count(*) from public.called").fetchone() == (0,)


def test_sessions_that_fill_the_disk_are_ended(scratch_root: Path) -> None:
    limits = RehearsalLimits(disk=40 * 1024**2, disk_poll=0.05)
    with throwaway_server(scratch_root, limits=limits) as server:
        assert not server.disk_is_full
        with connect(server.target) as connection:
            connection.execute("create table full_of (x bigint, y text)")
            with pytest.raises(psycopg.errors.AdminShutdown):
                connection.execute(
                    "insert into full_of select i, repeat('x', 900) from generate_series(1, 1e7) i"
                )
        assert server.disk_is_full


@pytest.mark.parametrize(
    "elsewhere",
    [
        "begin raise warning '%', repeat('x', 1000000); end",
        "begin perform pg_notify('x', j || repeat('y', 7900)) from generate_series(1, 1000) j;"
        " commit; end",
    ],
    ids=["the log", "the queue of NOTIFY"],
)
def test_sessions_that_fill_the_disk_with_other_than_tables_are_ended(
    scratch_root: Path, elsewhere: str
) -> None:
    limits = RehearsalLimits(disk=20 * 1024**2, disk_poll=0.05)
    with throwaway_server(scratch_root, limits=limits) as server, connect(server.target) as session:
        session.execute("set statement_timeout = '30s'")
        session.execute("set client_min_messages = error")
        session.execute("listen x")
        with pytest.raises(psycopg.errors.AdminShutdown):
            session.execute(f"do $$ begin for i in 1..100000 loop {elsewhere}; end loop; end $$")
        assert server.disk_is_full


def test_temporary_files_are_limited(scratch_root: Path) -> None:
    limits = RehearsalLimits(temporary_files=8 * 1024**2)
    with throwaway_server(scratch_root, limits=limits) as server, connect(server.target) as session:
        session.execute("set work_mem = '64kB'")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
            session.execute(
                "select count(*) from (select i from generate_series(1, 1e7) i order by 1 desc) x"
            )


def test_the_memory_of_a_session_is_limited(throwaway: ThrowawayServer) -> None:
    with connect(throwaway.target) as session:
        pid = session.info.backend_pid
        limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"{RehearsalLimits().memory}" in limits


def test_a_statement_that_takes_too_much_memory_fails(throwaway: ThrowawayServer) -> None:
    with connect(throwaway.target) as session:
        session.execute("set work_mem = '1TB'")
        with pytest.raises(psycopg.errors.OutOfMemory):
            session.execute("select array_agg(repeat('x', 1000)) from generate_series(1, 3e6)")


def test_sessions_begin_with_the_defaults_of_the_live_database(scratch_root: Path) -> None:
    with (
        throwaway_server(
            scratch_root,
            owner="app_owner",
            database='the "shop"',
            defaults={"TimeZone": "Europe/Berlin"},
        ) as server,
        connect(server.target) as session,
    ):
        assert session.execute(
            "select current_user, current_database(), current_setting('TimeZone')"
        ).fetchone() == ("app_owner", 'the "shop"', "Europe/Berlin")


@pytest.mark.parametrize("owner", ["pg_database_owner", "scratch_admin", "", "none"])
def test_a_name_that_is_taken_is_not_the_owners(scratch_root: Path, owner: str) -> None:
    with throwaway_server(scratch_root, owner=owner, database="template1") as server:
        assert server.target.parameters["user"] == "postgres"
        assert server.target.database == "postgres"


def test_the_role_may_do_at_supabase_what_postgres_may_there(scratch_root: Path) -> None:
    server = throwaway_server(scratch_root, platform=SUPABASE, owner="anon")
    with server as started, connect(started.target) as session:
        session.execute(
            "create policy mine on storage.objects for select using (true);"
            "create trigger mine after insert on auth.users for each row"
            " execute function suppress_redundant_updates_trigger();"
            "create table public.notes (author uuid references auth.users default auth.uid());"
            "set role anon; select * from public.notes; reset role"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("set role supabase_admin")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("grant supabase_admin to postgres")
