"""The snapshot: every change is named, and nothing else; whatever is set, and whoever looks."""

import secrets
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from conftest import Database, connect
from psql import PSQL
from tampered_schema import OTHER_ROLE, SCHEMA, SECRET, SETTINGS, TAMPERINGS, Tampering

from lib.catalog.comparison import compare
from lib.catalog.exclusions import Exclusions
from lib.catalog.schema_objects import Change, ChangeKind, ObjectKey, Snapshot, UnknownSchema
from lib.catalog.snapshot import read_snapshot
from lib.database.connection import Connection
from lib.object_patterns import KINDS, parse_patterns
from lib.settings.connection_target import ConnectionTarget

# Eight processes share two cores here: what a snapshot takes alone is measured in bench/.
PATIENT = 30.0
DEFAULT = Exclusions()


def look(db: Database, exclusions: Exclusions = DEFAULT) -> Snapshot:
    with Connection(db.connect()) as connection:
        found = read_snapshot(connection, exclusions=exclusions, limit=PATIENT)
    assert isinstance(found, Snapshot), found
    return found


def named(found: Snapshot, kind: str) -> list[str]:
    return sorted(identity for each, identity in found.objects if each == kind)


@contextmanager
def copy_of(db: Database, name: str) -> Iterator[Database]:
    with connect(db.target, dbname="postgres") as admin:
        admin.execute(f"create database {name} template {db.target.database} strategy file_copy")
        try:
            yield db.named(name)
        finally:
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def rich(server: ConnectionTarget) -> Iterator[tuple[Database, Snapshot]]:
    """A database with the whole schema, which nobody changes, and its snapshot."""
    with connect(server) as admin:
        name = f"rich_{secrets.token_hex(8)}"
        admin.execute(f"create database {name}")
        try:
            database = Database(server).named(name)
            database.query(SCHEMA)
            yield database, look(database)
        finally:
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def copied(rich: tuple[Database, Snapshot]) -> Iterator[Database]:
    with copy_of(rich[0], f"copy_{secrets.token_hex(8)}") as database:
        yield database


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.sql[:70])
def test_a_change_is_named_and_nothing_else(
    rich: tuple[Database, Snapshot], copied: Database, tampering: Tampering
) -> None:
    copied.query(tampering.sql)
    identity = tampering.identity.replace("ME", copied.target.parameters["user"])
    assert compare(rich[1].objects, look(copied).objects) == (
        Change(tampering.kind, identity, ChangeKind(tampering.change)),
    )


def test_every_kind_is_known_and_has_a_change() -> None:
    tried = {tampering.kind for tampering in TAMPERINGS}
    # Classes and families of operators need functions in C; conversions too. A subscription needs
    # another server.
    rest = {"operator class", "operator family", "conversion", "subscription"}
    assert tried | rest == set(KINDS)


def test_a_copy_differs_in_nothing(rich: tuple[Database, Snapshot], copied: Database) -> None:
    assert compare(rich[1].objects, look(copied).objects) == ()


def test_a_dump_that_is_restored_differs_in_nothing(
    rich: tuple[Database, Snapshot], db: Database
) -> None:
    dumped = subprocess.run(
        [PSQL.with_name("pg_dump"), "--schema-only", rich[0].url],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(
        [PSQL, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", db.url],
        check=True, capture_output=True, text=True, input=dumped.stdout,
    )  # fmt: skip
    changes = compare(rich[1].objects, look(db).objects)
    assert changes == ()


@pytest.mark.parametrize(("name", "value"), SETTINGS.items(), ids=SETTINGS)
def test_a_setting_of_the_database_changes_nothing(
    rich: tuple[Database, Snapshot], copied: Database, name: str, value: str
) -> None:
    copied.query(f"alter database {copied.target.database} set {name} = {value}")
    assert compare(rich[1].objects, look(copied).objects) == ()


def test_all_settings_of_a_role_together_change_nothing(
    rich: tuple[Database, Snapshot], copied: Database
) -> None:
    whose = f"role current_user in database {copied.target.database}"
    copied.query(
        ";".join(f"alter {whose} set {name} = {value}" for name, value in SETTINGS.items())
    )
    assert compare(rich[1].objects, look(copied).objects) == ()


def test_the_settings_would_change_what_the_server_prints(copied: Database) -> None:
    # Otherwise the test above could not fail.
    printed = "select array_agg(pg_get_expr(adbin, adrelid) order by adnum) from pg_attrdef"
    plain = copied.query(printed)
    inert = []
    for name, value in SETTINGS.items():
        with copied.connect(autocommit=False) as connection:
            connection.execute(f"set local {name} = {value}")
            if name not in ("statement_timeout", "lock_timeout"):
                inert += [name] if connection.execute(printed).fetchall() == plain else []
    assert set(inert) == {
        "lc_monetary",
        "row_security",
        "default_transaction_isolation",
        "xmlbinary",
    }


def test_nothing_stays_set_in_the_session(copied: Database) -> None:
    asked = "select name, setting from pg_settings order by name"
    with Connection(copied.connect()) as connection:
        before = connection.run(asked)
        read_snapshot(connection, limit=PATIENT)
        assert connection.run(asked) == before
        assert not connection.in_transaction


def test_a_role_without_any_right_sees_the_same(
    rich: tuple[Database, Snapshot], copied: Database
) -> None:
    name = f"stranger_{secrets.token_hex(8)}"
    copied.query(f"create role {name} login password 'long enough for a test'")
    try:
        found = look(copied.but(user=name, password="long enough for a test"))
        assert compare(rich[1].objects, found.objects) == ()
    finally:
        copied.query(f"drop role {name}")


def test_the_same_is_seen_through_a_pooler(
    rich: tuple[Database, Snapshot], copied: Database, pooler: int
) -> None:
    assert compare(rich[1].objects, look(copied.through(pooler)).objects) == ()


def test_no_option_of_a_foreign_server_is_in_a_definition(
    rich: tuple[Database, Snapshot],
) -> None:
    assert not [key for key, text in rich[1].objects.items() if SECRET in text]


def test_no_definition_is_in_the_repr(rich: tuple[Database, Snapshot]) -> None:
    assert "nobody" in "".join(rich[1].objects.values())
    assert "nobody" not in repr(rich[1])


def test_every_object_has_one_row(rich: tuple[Database, Snapshot]) -> None:
    kinds = {kind for kind, _ in rich[1].objects}
    assert kinds <= set(KINDS)
    assert ObjectKey("column", 'app.people."Select"') in rich[1].objects
    assert named(rich[1], "function") == [
        "app.add(integer, integer)",
        "app.add(text, text)",
        "app.on_ddl()",
        "app.touch()",
        "app.whole(integer)",
    ]


class TestLeftOut:
    def test_the_tables_of_the_runner_with_all_that_depends_on_them(self, db: Database) -> None:
        before = look(db)
        for table in (
            "schema_migrations",
            "schema_migration_runs",
            "schema_migration_seeds",
            "schema_migration_objects",
        ):
            db.query(
                f"create table public.{table} (id serial primary key, other int unique,"
                " version text not null default 'x' check (version <> ''));"
                f"create index {table}_v on public.{table} (version);"
                f"comment on table public.{table} is 'x';"
                f"comment on column public.{table}.id is 'x';"
                f"comment on index public.{table}_v is 'x';"
                f"comment on sequence public.{table}_id_seq is 'x';"
                f"grant select on public.{table} to {OTHER_ROLE};"
                f"grant select on public.{table}_id_seq to {OTHER_ROLE};"
                f"alter table public.{table} owner to {OTHER_ROLE};"
                f"alter table public.{table} enable row level security;"
                f"create policy p on public.{table} using (true);"
                f"create statistics {table}_s on id, version from public.{table};"
                f"create rule r as on delete to public.{table} do instead nothing"
            )
        assert compare(before.objects, look(db).objects) == ()

    def test_a_table_of_that_name_in_another_schema_is_the_projects(self, db: Database) -> None:
        db.query("create schema app; create table app.schema_migration_runs (a int)")
        assert named(look(db), "table") == ["app.schema_migration_runs"]

    def test_a_view_on_the_ledger_is_the_projects(self, db: Database) -> None:
        db.query(
            "create table public.schema_migrations (id serial, checksum text);"
            "create view public.versions as select id from public.schema_migrations"
        )
        assert named(look(db), "view") == ["public.versions"]

    def test_the_ledger_of_another_tool(self, db: Database) -> None:
        before = look(db)
        db.query(
            "create table public._prisma_migrations (id varchar(36) primary key, checksum text,"
            " finished_at timestamptz, migration_name text);"
            "create table public.schema_migrations (version varchar primary key);"
            "comment on table public.schema_migrations is 'x'"
        )
        assert compare(before.objects, look(db).objects) == ()

    def test_the_members_of_an_extension(self, db: Database) -> None:
        before = look(db)
        db.query("create extension hstore")
        assert compare(before.objects, look(db).objects) == (
            Change("extension", "hstore", ChangeKind.ADDED),
        )

    def test_temporary_objects(self, db: Database) -> None:
        before = look(db)
        with Connection(db.connect()) as connection:
            connection.run(
                "create temp table t (id serial primary key); create temp view v as select 1"
            )
            found = read_snapshot(connection, limit=PATIENT)
        assert isinstance(found, Snapshot)
        assert compare(before.objects, found.objects) == ()

    def test_a_partition_of_a_table_with_all_that_is_in_it(self, copied: Database) -> None:
        before = look(copied)
        copied.query(
            "create table app.events_2021 partition of app.events (primary key (id))"
            " for values from ('2021-01-01') to ('2022-01-01');"
            "create index on app.events_2021 (at);"
            "alter table app.events add unique (id, at);"
            "create table app.referring (id int, at date,"
            " foreign key (id, at) references app.events (id, at))"
        )
        names = [each.identity for each in compare(before.objects, look(copied).objects)]
        assert names == ["app.events.events_id_at_key", "app.referring"]
        copied.query("drop table app.events_2021 cascade")
        assert [each.identity for each in compare(before.objects, look(copied).objects)] == names

    def test_partitions_only_by_default(self, copied: Database) -> None:
        every = look(copied, Exclusions(partitions=False))
        assert "app.events_2020" in named(every, "table")
        assert "app.events_2020_id_idx" in named(every, "index")

    def test_what_a_pattern_names(self, copied: Database) -> None:
        patterns = parse_patterns("app.peop*, function:*")
        found = look(copied, Exclusions(patterns))
        assert not [key for key in found.objects if "people" in key.identity]
        assert named(found, "function") == []
        assert named(found, "procedure") == ["app.go(integer)"]


class TestProviders:
    def test_the_schemas_of_supabase_hide_all_but_the_projects_triggers_and_policies(
        self, db: Database
    ) -> None:
        before = look(db)
        db.query(
            "create schema supabase_functions; create table supabase_functions.hooks (id int);"
            "create function supabase_functions.own() returns trigger language plpgsql as"
            " 'begin return new; end';"
            "create trigger own after insert on supabase_functions.hooks for each row"
            " execute function supabase_functions.own();"
            "create function public.mine() returns trigger language plpgsql as"
            " 'begin return new; end';"
            "create trigger mine after insert on supabase_functions.hooks for each row"
            " execute function public.mine();"
            "create policy open on supabase_functions.hooks using (true);"
            "create publication supabase_realtime for all tables;"
            "create function supabase_functions.ddl() returns event_trigger language plpgsql as"
            " 'begin end';"
            "create event trigger watch on ddl_command_end"
            " execute function supabase_functions.ddl()"
        )
        assert {
            (each.kind, each.identity) for each in compare(before.objects, look(db).objects)
        } == {
            ("function", "public.mine()"),
            ("policy", "supabase_functions.hooks.open"),
            ("trigger", "supabase_functions.hooks.mine"),
        }

    def test_all_of_them_are_listed_on_demand(self, db: Database) -> None:
        db.query("create schema supabase_functions; create table supabase_functions.hooks (id int)")
        assert "supabase_functions.hooks" in named(look(db, Exclusions(providers=False)), "table")

    def test_a_schema_that_a_project_may_call_so_is_its_own(self, db: Database) -> None:
        db.query("create schema auth; create table auth.users (id int)")
        assert named(look(db), "schema") == ["auth", "public"]
        assert named(look(db), "table") == ["auth.users"]

    def test_unless_an_extension_stands_in_it(self, db: Database) -> None:
        db.query("create schema extensions; create extension hstore schema extensions")
        db.query("create function extensions.own() returns int language sql as 'select 1'")
        assert named(look(db), "function") == []

    @pytest.mark.parametrize("role", ["supabase_admin_", "rds_"])
    def test_unless_a_role_of_a_provider_owns_it(self, db: Database, role: str) -> None:
        name = f"{role}{secrets.token_hex(8)}"
        db.query(f"create role {name}; create schema auth authorization {name};")
        db.query(f"create table public.t (a int); grant select on public.t to {name}")
        try:
            found = look(db)
            assert named(found, "schema") == ["public"]
            assert "table public.t" not in named(found, "privilege")
        finally:
            db.query(f"drop owned by {name}; drop role {name}")


class TestUnknown:
    @pytest.fixture
    def locked(self, copied: Database) -> Iterator[Database]:
        with copied.connect(application_name="a long report", autocommit=False) as holder:
            holder.execute("lock table app.people in access exclusive mode")
            yield copied

    def test_behind_a_lock_it_is_unknown_and_says_which_table_and_who(
        self, locked: Database
    ) -> None:
        with Connection(locked.connect()) as connection:
            found = read_snapshot(connection, limit=2)
            assert isinstance(found, UnknownSchema)
            assert found.reason.startswith(
                "app.people is locked by another session (a long report, PID "
            )
            assert connection.run("select 1") == [("1",)]

    def test_a_lock_on_a_table_that_has_nothing_but_columns_is_not_in_the_way(
        self, copied: Database
    ) -> None:
        copied.query("create table app.plain (id serial, at timestamptz default now() not null)")
        with copied.connect(autocommit=False) as holder:
            holder.execute("lock table app.plain in access exclusive mode")
            found = look(copied)
        column = found.objects[ObjectKey("column", "app.plain.at")]
        assert column == "timestamp with time zone not null default now()"

    def test_a_timeout_of_the_role_does_not_lengthen_it(self, locked: Database) -> None:
        locked.query(f"alter database {locked.target.database} set lock_timeout = 0")
        with Connection(locked.connect()) as connection:
            assert isinstance(read_snapshot(connection, limit=2), UnknownSchema)

    def test_past_its_time_it_is_unknown(self, copied: Database) -> None:
        with Connection(copied.connect()) as connection:
            found = read_snapshot(connection, limit=0.001)
            assert isinstance(found, UnknownSchema)
            assert connection.run("select 1") == [("1",)]

    def test_a_connection_that_is_lost_makes_it_unknown(self, copied: Database) -> None:
        with Connection(copied.connect()) as connection:
            pid = connection.run("select pg_backend_pid()")[0][0]
            copied.query(f"select pg_terminate_backend({pid}, 10000)")
            found = read_snapshot(connection, limit=2)
        assert isinstance(found, UnknownSchema)
        assert found.reason.startswith("The connection to the database was lost.")

    def test_objects_that_come_and_go_meanwhile_do_no_harm(self, copied: Database) -> None:
        is_over = threading.Event()

        def come_and_go() -> None:
            with copied.connect() as other:
                while not is_over.is_set():
                    other.execute("create table app.t (id serial primary key, a int check (a > 0))")
                    other.execute("create view app.v as select a from app.t")
                    other.execute("drop table app.t cascade")

        with ThreadPoolExecutor() as pool, Connection(copied.connect()) as connection:
            busy = pool.submit(come_and_go)
            found = [read_snapshot(connection, limit=PATIENT) for _ in range(10)]
            is_over.set()
            busy.result()
        # The second try may meet the next drop.
        assert all(
            isinstance(each, Snapshot) or "42" in each.reason or "XX000" in each.reason
            for each in found
        )
