"""Migrations made for Supabase run on the embedded PostgreSQL that has its roles and schemas."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Bundle, Cli, connect, copy_lib, local_environ, new_cluster

from lib.errors import ConfigurationError, DatabaseUnavailableError
from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster
from lib.local.supabase import add_supabase
from lib.settings.variables import SUPABASE

USER = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"

# As the guides of Supabase have it: a profile for each user, by a trigger; row-level security; a
# bucket with policies; realtime; and what a dump of a project begins with.
CHAIN = {
    "001-remote-schema.sql": """
        create extension if not exists "pg_graphql" with schema "graphql";
        create extension if not exists "pgcrypto" with schema "extensions" version '1.3';
        create extension if not exists "supabase_vault" with schema "vault";
        create extension if not exists "uuid-ossp" with schema "extensions";
        create extension if not exists vector with schema extensions;
        alter publication supabase_realtime owner to postgres;
        grant usage on schema public to postgres, anon, authenticated, service_role;
        alter default privileges for role postgres in schema public
            grant all on tables to anon, authenticated, service_role;
    """,
    "002-profiles.sql": """
        create table public.profiles (
            id uuid not null references auth.users on delete cascade primary key,
            token uuid default uuid_generate_v4(),
            hash bytea generated always as (extensions.digest('x', 'sha256')) stored,
            username text unique,
            avatar_url text,
            constraint username_length check (char_length(username) >= 3)
        );
        alter table public.profiles enable row level security;
        create policy "Public profiles are viewable by everyone." on profiles
            for select using (true);
        create policy "Users can insert their own profile." on profiles
            for insert with check ((select auth.uid()) = id);
        create policy "Users can update own profile." on profiles
            for update to authenticated using ((select auth.uid()) = id);
        create policy "Second factor" on profiles as restrictive to authenticated
            using ((select auth.jwt() ->> 'aal') is distinct from 'aal0');
        create function public.handle_new_user() returns trigger set search_path = '' as $$
        begin
            insert into public.profiles (id, username)
                values (new.id, new.raw_user_meta_data ->> 'name');
            return new;
        end;
        $$ language plpgsql security definer;
        create trigger on_auth_user_created after insert on auth.users
            for each row execute procedure public.handle_new_user();
    """,
    "003-storage.sql": """
        insert into storage.buckets (id, name, public, allowed_mime_types)
            values ('avatars', 'avatars', true, array['image/*']);
        create policy "Avatar images are publicly accessible." on storage.objects
            for select using (bucket_id = 'avatars');
        create policy "Own folder" on storage.objects for insert to authenticated with check (
            bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid()::text)
            and storage.extension(name) = 'png' and auth.role() = 'authenticated'
        );
    """,
    "004-realtime.sql": """
        create table public.messages (
            id bigserial primary key, body text, owner uuid default auth.uid()
        );
        alter publication supabase_realtime add table public.messages;
        create function public.announce() returns trigger language plpgsql security definer as $$
        begin
            perform realtime.broadcast_changes(
                'topic:' || new.id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old
            );
            return null;
        end;
        $$;
        create trigger announced after insert on public.messages
            for each row execute function public.announce();
        create policy "Listen" on realtime.messages for select to authenticated
            using (realtime.topic() = 'topic:1' and realtime.messages.extension = 'broadcast');
        select vault.create_secret('s3cret', 'api_key', 'of a service');
        insert into auth.users (instance_id, id, aud, role, email, raw_user_meta_data,
                raw_app_meta_data, email_confirmed_at, created_at, updated_at, confirmation_token)
            values (null, '11111111-1111-1111-1111-111111111111', 'authenticated', 'authenticated',
                'ada@example.com', '{"name": "ada"}', '{}', now(), now(), now(), '');
        insert into auth.identities (provider_id, user_id, identity_data, provider)
            values ('1', '11111111-1111-1111-1111-111111111111', '{"email": "A@b"}', 'email');
    """,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with new_cluster(tmp_path_factory.mktemp("running")) as cluster:
        asked = replace(cluster, platform=SUPABASE)
        embedded.start(asked)
        yield asked


@pytest.fixture
def connection(running: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """A transaction in which the chain has run, and which is rolled back."""
    with connect(embedded.target(running), autocommit=False) as connection:
        for sql in CHAIN.values():
            connection.execute(sql)
        yield connection
        connection.rollback()


@pytest.fixture
def laptop(bundle: Bundle) -> Iterator[Cli]:
    """The command line of a bundle with the chain, on a machine without a database."""
    copy_lib(bundle.root)
    for name, sql in CHAIN.items():
        bundle.write(name, sql)
    try:
        yield Cli(bundle.root, local_environ())
    finally:
        cluster = embedded.locate(bundle.root)
        embedded.stop(cluster)
        shutil.rmtree(cluster.home, ignore_errors=True)


def rows(connection: psycopg.Connection[Any], sql: str) -> list[Any]:
    return connection.execute(sql).fetchall()


def act_as(connection: psycopg.Connection[Any], role: str, user: str) -> None:
    """What PostgREST does at the beginning of a request."""
    claims = json.dumps({"sub": user, "role": role, "email": "ada@example.com"})
    connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
    connection.execute(f"set local role {role}")


def test_a_new_user_gets_a_profile_and_sees_it(connection: psycopg.Connection[Any]) -> None:
    act_as(connection, "authenticated", USER)
    assert rows(connection, "select id::text, username from profiles") == [(USER, "ada")]
    assert rows(connection, "update profiles set username = 'ada lovelace' returning 1") == [(1,)]
    act_as(connection, "authenticated", OTHER)
    assert rows(connection, "update profiles set username = 'bob' returning 1") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        connection.execute(f"insert into profiles (id, username) values ('{USER}', 'mallory')")


def test_the_policies_of_a_bucket_hold(connection: psycopg.Connection[Any]) -> None:
    act_as(connection, "authenticated", USER)
    insert = "insert into storage.objects (bucket_id, name) values ('avatars', '{}/me.png')"
    connection.execute(insert.format(USER))
    assert rows(connection, "select path_tokens, storage.filename(name) from storage.objects") == [
        ([USER, "me.png"], "me.png")
    ]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        connection.execute(insert.format(OTHER))


def test_default_privileges_are_those_of_supabase(connection: psycopg.Connection[Any]) -> None:
    act_as(connection, "authenticated", USER)
    connection.execute("insert into messages (body) values ('hello')")
    assert rows(connection, "select owner::text from messages") == [(USER,)]
    connection.execute("set local realtime.topic = 'topic:1'")
    [(payload,)] = rows(connection, "select payload from realtime.messages")
    assert payload["record"]["body"] == "hello"
    assert payload["operation"] == "INSERT"


def test_the_vault_gives_back_what_it_was_given(connection: psycopg.Connection[Any]) -> None:
    assert rows(connection, "select name, decrypted_secret from vault.decrypted_secrets") == [
        ("api_key", "s3cret")
    ]
    act_as(connection, "authenticated", USER)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select * from vault.secrets")


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("", (None, None, None, None)), (f'{{"sub": "{USER}"}}', (USER, None, None, {"sub": USER}))],
)
def test_the_claims_of_a_request(
    connection: psycopg.Connection[Any], claim: str, expected: tuple[object, ...]
) -> None:
    connection.execute("select set_config('request.jwt.claims', %s, true)", (claim,))
    found = rows(connection, "select auth.uid()::text, auth.role(), auth.email(), auth.jwt()")
    assert found == [expected]


def test_a_second_start_changes_nothing(running: Cluster) -> None:
    target = embedded.target(running)
    with connect(target) as connection:
        connection.execute("comment on schema auth is 'mine'")
        connection.execute("alter role anon reset statement_timeout")
        embedded.start(running)
        config = "select rolconfig from pg_roles where rolname = 'anon'"
        assert rows(connection, config) == [(None,)]
        # A later version has another text, which runs once more beside what is there.
        connection.execute("comment on role supabase_admin is 'of an older version'")
        embedded.start(running)
        assert rows(connection, config) == [(["statement_timeout=3s"],)]


def test_no_role_can_log_in_without_a_password(running: Cluster) -> None:
    target = embedded.target(running)
    with connect(target) as connection:
        roles = rows(connection, "select rolname from pg_roles where rolcanlogin")
    for (role,) in roles:
        if role != "postgres":
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                connect(target, user=role, password="guess")


def test_a_server_that_was_made_without_it_gets_it_and_starts_over_with_it(
    tmp_path: Path,
) -> None:
    with new_cluster(tmp_path) as cluster:
        target = embedded.start(cluster)
        with connect(target) as connection:
            connection.execute("create role anon nologin; create table kept ()")
        asked = replace(cluster, platform=SUPABASE)
        for start in (embedded.start, embedded.start_over):
            start(asked)
            with connect(target) as connection:
                assert rows(connection, "select to_regprocedure('auth.uid()') is not null") == [
                    (True,)
                ]
                assert rows(connection, "show search_path") == [('"$user", public, extensions',)]


def test_what_stands_in_the_way_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    with new_cluster(tmp_path) as cluster:
        target = embedded.start(cluster)
        with connect(target) as connection:
            connection.execute(
                "create schema auth; create function auth.uid() returns text return 1"
            )
            with pytest.raises(DatabaseUnavailableError, match=r"cannot change return type"):
                embedded.start(replace(cluster, platform=SUPABASE))
            assert rows(connection, "select to_regrole('anon')") == [(None,)]


def test_a_path_with_a_colon_is_refused(running: Cluster, tmp_path: Path) -> None:
    target = embedded.target(running)
    with connect(target) as connection:
        connection.execute("comment on role supabase_admin is null")
    with pytest.raises(ConfigurationError, match="a path without a colon"):
        add_supabase(replace(running, home=tmp_path / "a:b"), target)
    embedded.start(running)


def test_the_command_says_which_variable_makes_the_chain_run_and_then_runs_it(
    laptop: Cli,
) -> None:
    refused = laptop("migrate", "--json")
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert 'extension "pg_graphql" is not available' in error
    assert "With MIGRATION_LOCAL_PLATFORM=supabase, such as in .env.local, the embedded" in error
    assert "Hint" not in error
    (laptop.root / ".env.local").write_text("MIGRATION_LOCAL_PLATFORM=supabase\n")
    done = laptop("migrate", "--json")
    assert done.returncode == 0, done.stdout
    assert [each["version"] for each in json.loads(done.stdout)["applied"]] == [
        name.removesuffix(".sql") for name in CHAIN
    ]
    assert laptop("reset", "--json").returncode == 0
    assert laptop("status", "--check").returncode == 0
    refused = laptop("reset", MIGRATION_LOCAL_PLATFORM="firebase")
    assert refused.returncode == 2
    assert laptop("status", "--check").returncode == 0


@pytest.mark.parametrize("command", ["status", "url"])
def test_another_platform_is_a_fault_of_the_variable(laptop: Cli, command: str) -> None:
    done = laptop(command, MIGRATION_LOCAL_PLATFORM="firebase")
    assert done.returncode == 2
    assert "MIGRATION_LOCAL_PLATFORM: not a platform that is known: supabase" in done.stderr
    assert "firebase" not in done.stderr
