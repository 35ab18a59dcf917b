"""Nobody else's code runs with the rights of the runner, and its tables are nobody else's."""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from conftest import SECRET, Bundle, Cli, Database, Witness, new_database
from traps import calls, plant

from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.catalog.other_ledgers import find_other_ledgers
from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.connection import Connection
from lib.edits.baseline import baseline, forget
from lib.errors import (
    BusyTableError,
    LedgerError,
    MigrationFailedError,
    MigratorError,
    RunInProgressError,
)
from lib.ledger.run_lock import RunLock
from lib.plan.progress_listener import Progress
from lib.settings.connection_target import ConnectionTarget
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import Service
from lib.web.status_endpoint import create_status_app

MakeContext = Callable[..., RunContext]
NONE = "-- Transaction: none\n"
BUILDING = (
    f"{NONE}create table i (x int);\ncreate unique index concurrently i_x on i (x);\nselect nope;"
)


@contextmanager
def a_role(db: Database, options: str = "") -> Iterator[Database]:
    """A role that owns nothing; what it makes has to be gone, or given away, before it is."""
    role, password = f"evil_{secrets.token_hex(4)}", "long enough for a test"
    db.query(f"create role {role} login password '{password}' {options}")
    yield db.but(user=role, password=password)


@contextmanager
def a_database_of_two(server: ConnectionTarget) -> Iterator[Database]:
    """A database in which a role of its own, as which it is seen, may create in public."""
    role, password = f"evil_{secrets.token_hex(4)}", "long enough for a test"
    with Database(server).connect() as admin:
        admin.execute(f"create role {role} login password '{password}'")
        with new_database(server) as made:
            made.query(f"grant create on schema public to {role}")
            yield made.but(user=role, password=password)
        admin.execute(f"drop role {role}")


def as_migrator(evil: Database, server: ConnectionTarget) -> Database:
    """The same database as the role sees it that migrates."""
    return evil.but(**{key: server.parameters[key] for key in ("user", "password")})


@pytest.fixture
def evil(server: ConnectionTarget) -> Iterator[Database]:
    with a_database_of_two(server) as made:
        yield made


@pytest.fixture(scope="module")
def planted(server: ConnectionTarget) -> Iterator[str]:
    """The name of a database that is full of traps."""
    with a_database_of_two(server) as evil:
        planted = plant(evil)
        assert planted["operators"] > 3000
        assert planted["functions"] > 500
        assert planted["aggregates"] > 5
        yield evil.target.database


@pytest.fixture
def trapped(planted: str, server: ConnectionTarget) -> Iterator[Database]:
    """A copy of it."""
    name = f"test_{secrets.token_hex(8)}"
    with Database(server).connect() as admin:
        admin.execute(f"create database {name} template {planted}")
        yield Database(server).named(name)
        admin.execute(f"drop database {name} with (force)")


class TestTraps:
    """Operators, functions, aggregates, types and views of another role, on the search_path."""

    @pytest.fixture(
        params=["public", "public, pg_catalog"], ids=["after pg_catalog", "before pg_catalog"]
    )
    def db(self, request: pytest.FixtureRequest, trapped: Database) -> Database:
        """Also as an owner of the database could have it, who is no superuser."""
        with trapped.connect(options="-c search_path=pg_catalog") as admin:
            admin.execute(
                f"alter database {trapped.target.database} set search_path = {request.param}"
            )
        return trapped

    def every_path(
        self, make_context: MakeContext, bundle: Bundle, db: Database, through: ConnectionTarget
    ) -> None:
        """What can be done with the runner, what fails and what is taken up again."""
        quiet = db.but(options="-c search_path=pg_catalog")
        context = make_context(target=through, progress=Witness())
        bundle.write("000-a.sql", "create table public.a (x pg_catalog.int4)")
        assert migrate(make_context(target=db.target)).error is None
        bundle.write("001-b.sql", "create table public.b (x pg_catalog.int4)")
        assert preview(context).obstacle is None
        assert migrate(context).error is None
        assert migrate(context).error is None
        bundle.write("002-c.sql", "create table public.c (x nope)")
        assert isinstance(migrate(context).error, MigrationFailedError)
        bundle.write("002-c.sql", "alter table public.a add column y pg_catalog.int4")
        with quiet.connect() as holder, holder.transaction():
            holder.execute("lock table public.a")
            assert migrate(context).error is not None
        bundle.write("002-c.sql", "create table public.c (x pg_catalog.int4)")
        migrate(context)
        quiet.query(
            "update public.schema_migration_runs set outcome = 'running', finished_at = null"
            " where id = 1"
        )
        migrate(context)
        bundle.write("003-d.sql", "create table public.d (x pg_catalog.int4)")
        with RunLock(make_context().connect, timeout=5):
            assert isinstance(
                migrate(make_context(run_wait=0.3, target=through)).error, RunInProgressError
            )
        baseline(context, "003-d")
        assert validate(context).plan.pending == ()
        assert read_status(context).plan.applied_count == 4

    def test_none_is_called_whatever_is_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        self.every_path(make_context, bundle, db, db.target)
        assert calls(db) == 0

    def test_none_is_called_through_a_pooler(
        self, make_context: MakeContext, bundle: Bundle, db: Database, pooler: int
    ) -> None:
        self.every_path(make_context, bundle, db, db.through(pooler).target)
        assert calls(db) == 0

    def test_none_is_called_outside_a_transaction_nor_when_it_is_taken_up_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        table = "create table public.i (x pg_catalog.int4);\n"
        build = "create unique index concurrently i_x on public.i (x);\n"
        bundle.write("000-a.sql", f"{NONE}{table}insert into public.i values (1), (1);\n{build}")
        assert isinstance(migrate(make_context()).error, MigrationFailedError)
        with db.connect(options="-c search_path=pg_catalog") as admin:
            admin.execute("truncate public.i")
        report = migrate(make_context(progress=Witness()))
        assert report.error is None
        assert calls(db) == 0

    def test_none_is_called_by_the_endpoints(self, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table public.a (x pg_catalog.int4)")
        service = Service({"DATABASE_URL": db.url, "MIGRATION_SECRET": SECRET}, bundle.root)
        client = create_migrate_app(service).test_client()
        for action in ("plan", "migrate", "validate", "status"):
            answer = client.post(
                "/api/migrate",
                headers={"Authorization": f"Bearer {SECRET}"},
                data=json.dumps({"action": action}),
            )
            assert answer.status_code == 200, answer.get_data(as_text=True)
        app = create_status_app(service)
        started: list[str] = []
        app(
            {"PATH_INFO": "/api/migration-status", "REQUEST_METHOD": "GET"},
            lambda code, _: started.append(code),
        )
        app.close()
        assert started == ["200 OK"]
        assert calls(db) == 0

    def test_none_is_called_by_a_snapshot(self, db: Database) -> None:
        with Connection(db.connect()) as connection:
            # The traps are thousands of objects, each with its definition.
            found = read_snapshot(connection, limit=60)
            assert isinstance(found, Snapshot)
            assert len(found.objects) > 5000
            assert find_other_ledgers(connection) == ()
        assert calls(db) == 0

    def test_a_trap_is_called_where_nothing_is_done_about_it(self, trapped: Database) -> None:
        trapped.query("select 'a'::varchar = 'b'")
        assert calls(trapped) == 1


LEDGER_TABLE = (
    "create table public.schema_migrations (id serial primary key, version varchar(255) unique"
    " not null,"
    " name varchar(255) not null, applied_at timestamp default now(), execution_time_ms integer,"
    " checksum varchar(64));"
)
TRIGGER = (
    "create trigger t before insert on schema_migrations for each row execute function"
    " public.run_trigger()"
)
COUNTS = (
    "create sequence public.ran; grant usage on sequence public.ran to public;"
    "create function public.run_it() returns boolean language sql as $$ select"
    " nextval('public.ran') > 0 $$;"
    "create function public.run_trigger() returns trigger language plpgsql as"
    " $$ begin perform nextval('public.ran'); return new; end $$;"
)


def ran(db: Database) -> bool:
    return bool(db.query("select is_called from public.ran")[0][0])


class TestTablesOfAnotherRole:
    @pytest.fixture
    def db(self, evil: Database, server: ConnectionTarget) -> Database:
        return as_migrator(evil, server)

    @pytest.mark.parametrize(
        ("code", "what"),
        [
            (
                "create trigger t before insert on schema_migrations for each row execute"
                " function run_trigger()",
                "trigger t",
            ),
            (
                "create rule r as on insert to schema_migrations do also select run_it()",
                "the rule r",
            ),
            (
                "alter table schema_migrations add check (run_it())",
                "the constraint schema_migrations_check",
            ),
            (
                "alter table schema_migrations alter checksum set default run_it()::text",
                "of the column checksum",
            ),
            ("create policy p on schema_migrations using (run_it())", "the policy p"),
            ("create table child () inherits (schema_migrations)", "the child table public.child"),
            (
                "create domain d as varchar check (run_it()); alter table schema_migrations"
                " alter name type d",
                "the type of the column name",
            ),
            (
                "create function public.stable_it(text) returns text language sql immutable as"
                " 'select $1';"
                "create index odd on schema_migrations (public.stable_it(name))",
                "the index public.odd",
            ),
            (
                "create trigger t before insert on schema_migrations for each row when"
                " (public.run_it())"
                " execute function suppress_redundant_updates_trigger()",
                "the trigger t",
            ),
            (
                "create function public.stable_it(text) returns text language sql immutable as"
                " 'select $1';"
                "create statistics s (ndistinct) on (public.stable_it(version)), name from"
                " schema_migrations",
                "the statistics s",
            ),
            (
                "create table f (v varchar references schema_migrations (version) on update"
                " cascade)",
                "the foreign key f_v_fkey of public.f",
            ),
        ],
        ids=[
            *(
                "trigger",
                "rule",
                "check",
                "default",
                "policy",
                "child",
                "type",
                "index",
                "condition of a trigger",
            ),
            *("statistics", "foreign key"),
        ],
    )
    def test_what_runs_code_is_refused_before_anything_is_read_or_written(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        evil: Database,
        db: Database,
        code: str,
        what: str,
    ) -> None:
        evil.query(f"{COUNTS} {LEDGER_TABLE} {code}")
        bundle.write("000-a.sql", "create table a (x int)")
        report = migrate(make_context())
        assert isinstance(report.error, LedgerError)
        assert what in str(report.error)
        assert f"belongs to the role {evil.target.role}" in str(report.error)
        assert f"MIGRATION_LEDGER_OWNER={evil.target.role}" in str(report.error)
        with pytest.raises(LedgerError, match="belongs to the role evil_"):
            read_status(make_context())
        with pytest.raises(LedgerError, match="belongs to the role evil_"):
            baseline(make_context(), "0")
        assert not ran(db)
        assert not db.has("a")
        assert not db.has("schema_migration_runs")

    def test_a_role_that_every_session_begins_as_is_not_trusted_for_that(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        evil.query(f"{COUNTS} {LEDGER_TABLE} {TRIGGER}")
        name, role = db.target.database, evil.target.role
        db.query(f"alter database {name} owner to {role}")
        evil.query(f"alter database {name} set role = {role}")
        bundle.write("000-a.sql", "create table a (x int)")
        try:
            assert db.query("select current_user") == [(role,)]
            assert "belongs to the role evil_" in str(migrate(make_context()).error)
            assert not ran(evil)
        finally:
            evil.query(f"alter database {name} reset role")
            db.query(f"alter database {name} owner to {db.target.role}")

    @pytest.mark.parametrize(
        "trigger",
        [
            "when (set_config('search_path', 'public, pg_catalog', true) is null)"
            " execute function suppress_redundant_updates_trigger()",
            "execute function suppress_redundant_updates_trigger()",
            "execute function public.by_argument('drop table a')",
        ],
        ids=[
            "a condition of the server's own functions",
            "a function of the server's own",
            "arguments",
        ],
    )
    def test_what_the_right_to_trigger_lets_another_role_choose_is_code_of_its(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database, trigger: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        db.query(
            "create function public.by_argument() returns trigger language plpgsql as"
            " 'begin execute tg_argv[0]; return new; end';"
            f"grant trigger on schema_migrations to {evil.target.role}"
        )
        evil.query(
            f"create trigger t before insert on public.schema_migrations for each row {trigger}"
        )
        db.query("revoke all on schema_migrations from public")
        bundle.write("001-b.sql", "create table b (x int)")
        assert "may run what another role has chosen" in str(migrate(make_context()).error)
        assert not db.has("b")

    def test_no_view_takes_the_place_of_a_table_between_the_look_and_the_read(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(target=evil.target)).error is None
        evil.query(COUNTS)
        view = (
            "create view public.schema_migrations as select 1 as id, 'a'::varchar as version, ''"
            " as name,"
            " now()::timestamp as applied_at, run_it()::int as execution_time_ms, null::varchar"
            " as checksum"
        )
        told: list[BaseException] = []

        def read() -> None:
            try:
                read_status(make_context())
            except MigratorError as error:
                told.append(error)

        with evil.connect() as holder, holder.transaction():
            holder.execute("drop table public.schema_migrations")
            thread = threading.Thread(target=read)
            thread.start()
            db.wait_for("lock table public.schema_migrations")
            time.sleep(0.3)
            holder.execute(view)
        thread.join(30)
        assert len(told) == 1
        assert not ran(db)

    def test_a_foreign_key_of_another_role_is_code_of_its(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        db.query(f"grant references on schema_migrations to {evil.target.role}")
        evil.query(
            "create table f (v varchar references public.schema_migrations (version) on delete"
            " cascade)"
        )
        with pytest.raises(LedgerError, match=r"the foreign key f_v_fkey of public\.f"):
            read_status(make_context())

    def test_an_owner_that_is_named_is_trusted(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        evil.query(f"{COUNTS} {LEDGER_TABLE} {TRIGGER}")
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(ledger_owner=evil.target.role)).error is None
        assert ran(db)

    def test_what_holds_nothing_that_runs_code_is_taken(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(target=evil.target)).error is None
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context()).error is None
        assert read_status(make_context()).plan.applied_count == 2
        warnings = read_status(make_context()).warnings
        assert len(warnings) == 2
        assert all(
            f"belongs to the role {evil.target.role}, which is not trusted" in warning
            for warning in warnings
        )
        assert read_status(make_context(ledger_owner=evil.target.role)).warnings == ()

    @pytest.mark.parametrize(
        "setting", ["quote_all_identifiers = on", "standard_conforming_strings = off"]
    )
    def test_settings_of_the_database_make_no_code_of_what_is_none(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database, setting: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(target=evil.target)).error is None
        db.query(f"alter database {db.target.database} set {setting}")
        assert read_status(make_context()).plan.applied_count == 1

    def test_a_role_that_is_inherited_is_trusted_and_one_that_is_only_a_member_is_not(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        evil.query(f"{COUNTS} {LEDGER_TABLE} {TRIGGER}")
        role = evil.target.role
        bundle.write("000-a.sql", "create table a (x int)")
        with db.another_role("createrole") as migrator:
            member = migrator.target.role
            # Since PostgreSQL 16 it is the grant that says it, before, the role.
            says_itself = float(db.server_version) >= 16
            without = (
                f"grant {role} to {member} with inherit false"
                if says_itself
                else (f"grant {role} to {member}; alter role {member} noinherit")
            )
            inherits = (
                f"grant {role} to {member} with inherit true"
                if says_itself
                else f"alter role {member} inherit"
            )
            db.query(
                f"grant insert, select on schema_migrations to {member};"
                f"grant usage on sequence schema_migrations_id_seq to {member}; {without}"
            )
            assert isinstance(migrate(make_context(target=migrator.target)).error, LedgerError)
            assert not ran(db)
            db.query(inherits)
            assert migrate(make_context(target=migrator.target)).error is None
            db.query(f"revoke {role} from {member}")

    def test_a_view_is_never_read(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        evil: Database,
        db: Database,
        service: Service,
    ) -> None:
        evil.query(
            f"{COUNTS} create view schema_migrations as select 1 as id, 'a'::varchar as version,"
            " '' as name,"
            " now()::timestamp as applied_at, run_it()::int as execution_time_ms, null::varchar"
            " as checksum"
        )
        with pytest.raises(LedgerError, match="is a view, and not the runner's table"):
            read_status(make_context())
        started: list[str] = []
        app = create_status_app(
            replace(service, environ={**service.environ, "DATABASE_URL": db.url})
        )
        app(
            {"PATH_INFO": "/api/migration-status", "REQUEST_METHOD": "GET"},
            lambda code, _: started.append(code),
        )
        app.close()
        assert started == ["503 Service Unavailable"]
        assert not ran(db)

    def test_a_trigger_that_is_put_there_meanwhile_is_not_run(
        self, make_context: MakeContext, bundle: Bundle, evil: Database, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        evil.query(COUNTS)
        db.query(f"grant trigger on schema_migrations to {evil.target.role}")

        class Meanwhile(Progress):
            def started(self, _file: object) -> None:
                evil.query(TRIGGER)

        bundle.write("001-b.sql", "create table b (x int)")
        report = migrate(make_context(progress=Meanwhile()))
        assert isinstance(report.error, LedgerError)
        assert "may run what another role has chosen" in str(
            report.error
        ) or "Somebody has changed" in str(report.error)
        assert not ran(db)
        assert not db.has("b")


class TestWhatAFileDoesToThem:
    @pytest.fixture(autouse=True)
    def applied(self, make_context: MakeContext, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(environment="production")).error is None

    @pytest.mark.parametrize(
        "sql",
        [
            "truncate schema_migrations",
            "delete from public.schema_migrations",
            "update public.schema_migrations set checksum = 'x'",
            "delete from schema_migrations; insert into schema_migrations (version, name) values"
            " ('000-a', 'A')",
            "delete from schema_migration_runs",
            "truncate schema_migration_runs",
            "update schema_migration_runs set environment = 'preview'",
            "drop table schema_migrations",
            "alter table schema_migrations rename to old_migrations",
            "create schema s; alter table schema_migrations set schema s",
            "alter schema public rename to legacy",
            "drop table schema_migrations; create table schema_migrations (id int, version text)",
            "set local track_counts = off; delete from schema_migrations",
            "create trigger z after insert on schema_migrations for each row execute function"
            " zap()",
            "create rule z as on insert to schema_migrations do also delete from"
            " schema_migrations where id = 1",
            "alter table schema_migrations rename name to n; alter table schema_migrations"
            " rename version to name;"
            "alter table schema_migrations rename n to version",
            "alter table schema_migrations drop column checksum;"
            "alter table schema_migrations add column checksum varchar(64)",
            "alter table schema_migrations drop constraint schema_migrations_version_key",
            "insert into puts_off values (1)",
        ],
    )
    def test_it_is_rolled_back_with_the_reason(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        db.query(
            "create function zap() returns trigger language plpgsql as"
            " 'begin delete from public.schema_migrations where version <> new.version; return"
            " null; end';"
            "create table puts_off (i int); create function put_off() returns trigger language"
            " plpgsql as"
            " 'begin if new.i < 2 then set constraints all deferred; insert into puts_off values"
            " (new.i + 1);"
            " else delete from public.schema_migrations; end if; return null; end';"
            "create constraint trigger q after insert on puts_off deferrable initially deferred"
            " for each row execute function put_off()"
        )
        quoted = sql.replace("'", "''")
        bundle.write(
            "001-b.sql", f"create table b (x int); do $$ begin execute '{quoted}'; end $$;"
        )
        report = migrate(make_context(environment="production"))
        assert isinstance(report.error, MigratorError)
        assert "would take rows out of the runner's own tables" in str(report.error)
        assert db.versions() == ["000-a"]
        assert not db.has("b")
        assert [run["environment"] for run in db.runs()] == ["production"] * 2

    def test_a_server_that_counts_nothing_is_no_way_around(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"alter database {db.target.database} set track_counts = off")
        bundle.write("001-b.sql", "do $$ begin delete from schema_migrations; end $$")
        assert "would take rows out" in str(migrate(make_context(environment="production")).error)
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context(environment="production")).error is None

    @pytest.mark.parametrize("none", ["", NONE], ids=["in a transaction", "without"])
    @pytest.mark.parametrize(
        "change",
        [
            "enable row level security",
            "add column tenant_id int",
            "alter column name set default 'x'",
            "replica identity full",
        ],
    )
    def test_a_file_that_changes_every_table_alike_is_no_fault(
        self, make_context: MakeContext, bundle: Bundle, db: Database, none: str, change: str
    ) -> None:
        quoted = change.replace("'", "''")
        loop = (
            "do $$ declare t text; begin for t in select tablename from pg_tables where"
            " schemaname = 'public' loop"
            f" begin execute format('alter table public.%I {quoted}', t); exception when"
            " undefined_column then end;"
            " end loop; end $$;"
        )
        bundle.write("001-b.sql", f"{none}{loop}\nselect 1;")
        bundle.write("002-c.sql", "create table c (x int)")
        report = migrate(make_context(environment="production", progress=Witness()))
        assert report.error is None
        assert db.runs()[-1]["outcome"] == "succeeded"

    def test_a_correction_in_a_file_outside_a_transaction_is_not_the_next_files(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "001-b.sql",
            f"{NONE}do $$ begin update schema_migrations set execution_time_ms = 7; end $$;",
        )
        bundle.write("002-c.sql", "create table c (x int)")
        assert migrate(make_context(environment="production")).error is None

    def test_a_name_that_is_taken_is_told(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "drop table schema_migrations, schema_migration_runs; create table"
            " idx_schema_migrations_version ()"
        )
        with pytest.raises(LedgerError, match="Something else in schema public has a name"):
            raise migrate(make_context()).error or AssertionError

    def test_a_rewrite_by_somebody_else_between_two_files_is_no_loss(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-b.sql", "create table b (x int)")
        bundle.write("002-c.sql", "create table c (x int)")

        class Meanwhile(Progress):
            def started(self, _file: object) -> None:
                db.query("vacuum full public.schema_migrations")

        assert migrate(make_context(environment="production", progress=Meanwhile())).error is None

    def test_a_file_cannot_speak_in_the_runners_place(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write(
            "001-b.sql", """select 1;\nselect ('{"fault": "emptied"}'::text || '')::int;"""
        )
        error = migrate(make_context(environment="production")).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.sqlstate) == (2, "22P02")

    def test_a_loop_over_every_table_is_rolled_back_and_one_that_leaves_them_out_is_not(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        loop = (
            "do $$ declare t text; begin for t in select tablename from pg_tables where"
            " schemaname = 'public'{} loop"
            " execute format('truncate public.%I', t); end loop; end $$"
        )
        bundle.write("001-b.sql", loop.format(""))
        error = migrate(make_context(environment="production")).error
        assert "where tablename not like 'schema_migration%'" in str(error)
        bundle.write("001-b.sql", loop.format(" and tablename not like 'schema_migration%'"))
        assert migrate(make_context(environment="production")).error is None

    @pytest.mark.parametrize(
        "sql",
        ["delete from schema_migrations", "truncate schema_migration_runs, schema_migrations"],
    )
    def test_outside_a_transaction_it_is_noticed_after_the_statement(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        bundle.write(
            "001-b.sql",
            f"{NONE}select 1;\ndo $$ begin execute '{sql}'; end $$;\ncreate table b (x int);",
        )
        error = migrate(make_context(environment="production")).error
        assert isinstance(error, MigratorError)
        assert "statement 2 of 3 has changed the runner's own tables" in str(error)
        assert "so that stays" in str(error)
        assert not db.has("b")

    def test_the_last_statement_outside_a_transaction_counts_too(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "001-b.sql", f"{NONE}select 1;\ndo $$ begin delete from schema_migrations; end $$;"
        )
        error = migrate(make_context(environment="production")).error
        assert "statement 2 of 2 has changed the runner's own tables" in str(error)

    def test_where_somebody_has_them_locked_it_is_told_as_that(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-b.sql", "select pg_sleep(0.5)")

        class Meanwhile(Progress):
            def started(self, _file: object) -> None:
                holder.execute("lock table schema_migrations in share mode")

        with db.connect() as holder, holder.transaction():
            pid = holder.info.backend_pid
            error = migrate(make_context(environment="production", progress=Meanwhile())).error
        assert isinstance(error, BusyTableError)
        assert "the runner's own tables" in str(error)
        assert f"stayed locked by pid {pid}" in str(error)

    def test_a_block_with_an_index_concurrently_fails_as_in_psql(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-b.sql", f"{NONE}begin;\ncreate index concurrently a_x on a (x);\ncommit;")
        error = migrate(make_context(environment="production")).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.sqlstate) == (3, "25001")

    def test_a_rewrite_of_them_outside_a_transaction_is_no_loss(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-b.sql", f"{NONE}vacuum full schema_migrations, schema_migration_runs;")
        bundle.write("002-c.sql", "create table c (x int)")
        assert migrate(make_context(environment="production")).error is None

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            (
                "create rule r as on insert to public.schema_migrations do instead nothing",
                "the rule r on",
            ),
            (
                "create function nothing() returns trigger language plpgsql as 'begin return"
                " null; end';"
                "create trigger t before insert on schema_migrations for each row execute"
                " function nothing()",
                "the trigger t on",
            ),
        ],
        ids=["rule", "trigger"],
    )
    def test_a_row_that_is_not_written_takes_the_file_back(
        self, make_context: MakeContext, bundle: Bundle, db: Database, code: str, told: str
    ) -> None:
        db.query(code)
        bundle.write("001-b.sql", "create table b (x int)")
        error = migrate(make_context(environment="production")).error
        assert "its row in public.schema_migrations was not there" in str(error)
        assert told in str(error)
        assert not db.has("b")
        assert db.runs()[-1]["outcome"] == "failed"

    def test_the_end_of_a_run_that_is_not_written_is_a_warning(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        nothing = "where new.outcome = 'succeeded' do instead nothing"
        db.query(f"create rule r as on update to public.schema_migration_runs {nothing}")
        bundle.write("001-b.sql", "create table b (x int)")
        witness = Witness()
        assert migrate(make_context(environment="production", progress=witness)).error is None
        assert db.versions() == ["000-a", "001-b"]
        assert "could not be recorded" in witness.of("warning")[-1][0]

    @pytest.mark.parametrize("table", ["schema_migrations", "schema_migration_runs"])
    def test_no_command_takes_for_written_what_is_not(
        self, make_context: MakeContext, bundle: Bundle, db: Database, table: str
    ) -> None:
        db.query(
            "create function nothing() returns trigger language plpgsql as 'begin return null;"
            " end';"
            f"create trigger t before insert on {table} for each row execute function nothing()"
        )
        bundle.write("001-b.sql", f"{NONE}create table b (x int);")
        error = str(migrate(make_context(environment="production")).error)
        if table == "schema_migrations":
            assert (
                "what it did stays, and it is not on record. Something there does something else"
                in error
            )
            with pytest.raises(LedgerError, match="does something else in place"):
                baseline(make_context(environment="production"), "1")
        else:
            assert "does something else in place" in error
        db.query(
            f"drop trigger t on {table}; create trigger t before delete on {table} for each row"
            " execute function nothing()"
        )
        (bundle.migrations / "000-a.sql").unlink()
        if table == "schema_migrations":
            with pytest.raises(LedgerError, match="does something else in place"):
                forget(make_context(environment="production"), ["000-a"])

    def test_a_rule_of_the_file_itself_is_told_as_its_own(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "001-b.sql", "create rule r as on insert to public.schema_migrations do instead nothing"
        )
        error = migrate(make_context(environment="production")).error
        assert "The file itself puts a rule or a trigger on the runner's tables" in str(error)
        assert db.query("select count(*) from pg_rules where schemaname = 'public'") == [(0,)]

    def test_a_trigger_of_the_file_on_the_journal_is_no_way_around(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "001-b.sql",
            "create function zap() returns trigger language plpgsql as"
            " 'begin if new.outcome = ''succeeded'' then delete from public.schema_migrations;"
            " end if; return null; end';"
            "do $$ begin execute 'create trigger z after update on public.schema_migration_runs"
            " for each row execute function zap()'; end $$",
        )
        migrate(make_context(environment="production"))
        assert db.versions()[:1] == ["000-a"]

    @pytest.mark.parametrize("of_the_file", [True, False])
    def test_a_trigger_that_needs_another_search_path_is_told_with_the_way_out(
        self, make_context: MakeContext, bundle: Bundle, db: Database, of_the_file: bool
    ) -> None:
        audit = (
            "create table audit (t text); create function aud() returns trigger language plpgsql as"
            " 'begin insert into audit values (tg_table_name); return null; end';"
            "create trigger z after insert on schema_migrations for each row execute function aud()"
        )
        if not of_the_file:
            db.query(audit)
        bundle.write("001-b.sql", audit if of_the_file else "select 1")
        error = str(migrate(make_context(environment="production")).error)
        assert 'relation "audit" does not exist' in error
        assert "alter function … set search_path = public" in error

    @pytest.mark.parametrize(
        "sql",
        [
            "insert into schema_migration_runs (source, environment, database_fingerprint)"
            " values ('cli', 'x', 'x')",
            "alter table schema_migrations enable row level security, force row level security",
        ],
    )
    def test_what_the_file_does_is_told_as_the_files(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        with db.another_role() as owner:
            db.query(
                f"alter table schema_migrations owner to {owner.target.role};"
                f"alter table schema_migration_runs owner to {owner.target.role}"
            )
            quoted = sql.replace("'", "''")
            bundle.write("001-b.sql", f"do $$ begin execute '{quoted}'; end $$;")
            error = str(migrate(make_context(target=owner.target, environment="production")).error)
            assert error.startswith("migrations/001-b.sql: it ")
            assert "where tablename not like 'schema_migration%'" in error
            db.query(
                f"alter table schema_migrations owner to {db.target.role};"
                f"alter table schema_migration_runs owner to {db.target.role}"
            )

    def test_a_trigger_of_the_owner_that_lets_rows_through_is_no_fault(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "001-b.sql",
            "create table seen (version text);"
            "create function see() returns trigger language plpgsql as"
            " 'begin insert into public.seen values (new.version); return new; end';"
            "create trigger t after insert on schema_migrations for each row execute function"
            " see()",
        )
        bundle.write("002-c.sql", "create table c (x int)")
        assert migrate(make_context(environment="production")).error is None
        assert db.query("select version from seen order by 1") == [("001-b",), ("002-c",)]


class TestRights:
    def test_nobody_but_the_owner_has_a_right_after_the_first_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with a_role(db) as anon, a_role(db) as reader:
            for what in ("tables", "sequences"):
                db.query(
                    f"alter default privileges in schema public grant all on {what} to"
                    f" {anon.target.role}, public"
                )
            bundle.write("000-a.sql", "create table a (x int)")
            assert migrate(make_context(status_target=reader.target)).warnings == ()
            assert not rights_of(db, anon.target.role)
            assert rights_of(db, reader.target.role) == {"SELECT"}
            assert db.query(
                "select count(*) from information_schema.table_privileges where grantee = 'PUBLIC'"
                " and table_name like 'schema_migration%'"
            ) == [(0,)]
            assert (
                read_status(
                    make_context(target=reader.target, status_target=reader.target)
                ).plan.applied_count
                == 1
            )
            for role in (anon.target.role, reader.target.role):
                db.query(f"drop owned by {role}; drop role {role}")

    @pytest.mark.parametrize("command", ["migrate", "status", "validate", "plan"])
    def test_tables_that_are_open_are_told_with_the_statement_that_closes_them(
        self, make_context: MakeContext, bundle: Bundle, db: Database, command: str
    ) -> None:
        with db.another_role() as anon:
            role = anon.target.role
            bundle.write("000-a.sql", "create table a (x int)")
            assert migrate(make_context()).warnings == ()
            db.query(
                f"grant all on schema_migrations, schema_migration_runs to {role};"
                f"grant all on sequence schema_migrations_id_seq to {role};"
                "grant select on schema_migrations to public;"
                f"grant update (checksum) on schema_migrations to {role}"
            )
            warnings = warnings_of(command, make_context())
            assert len(warnings) == 2
            for warning in warnings:
                db.query(warning.partition("Close it: ")[2])
            assert warnings_of(command, make_context()) == ()
            assert not rights_of(db, role)

    def test_a_role_that_others_may_be_is_not_trusted_for_being_inherited(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """As Supabase has it: `postgres` inherits `anon`, as which every user of its API acts."""
        with (
            db.another_role() as migrator,
            a_role(db) as anon,
            a_role(db, "noinherit") as authenticator,
        ):
            role = anon.target.role
            db.query(f"grant {role} to {migrator.target.role}, {authenticator.target.role}")
            bundle.write("000-a.sql", "create table a (x int)")
            context = make_context(
                target=migrator.target,
                migration_target=migrator.target,
                status_target=migrator.target,
            )
            assert migrate(context).warnings == ()
            migrator.query(f"grant all on schema_migrations to {role}")
            assert len(read_status(context).warnings) == 1
            db.query(f"grant create on schema public to {role}")
            anon.query(
                "create function public.anons() returns trigger language plpgsql as 'begin"
                " return new; end';"
                "create trigger t before insert on schema_migrations for each row execute"
                " function public.anons()"
            )
            bundle.write("001-b.sql", "create table b (x int)")
            assert "may run what another role has chosen" in str(migrate(context).error)
            db.query(f"drop owned by {role} cascade; drop owned by {migrator.target.role} cascade")
            db.query(f"drop role {role}; drop role {authenticator.target.role}")

    def test_machines_hear_of_open_tables_too(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert cli("migrate").returncode == 0
        db.query("grant select on schema_migrations to public")
        for command in ("status", "validate", "plan", "migrate"):
            [warning] = json.loads(cli(command, "--json").stdout)["warnings"]
            assert "revoke all on public.schema_migrations from public cascade;" in warning
        assert "revoke all on public.schema_migrations" in cli("status").stdout

    def test_a_reader_and_the_role_that_migrates_leave_them_closed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as other:
            bundle.write("000-a.sql", "create table a (x int)")
            assert migrate(make_context()).error is None
            db.query(
                f"grant select on schema_migrations, schema_migration_runs to {other.target.role}"
            )
            assert read_status(make_context()).warnings == ()
            assert read_status(make_context(target=other.target)).warnings == ()

    @pytest.mark.parametrize(
        "policy", ["", "create policy everything on schema_migrations using (true);"]
    )
    def test_a_ledger_with_rows_left_out_is_an_error_and_no_empty_one(
        self, make_context: MakeContext, bundle: Bundle, db: Database, policy: str
    ) -> None:
        with db.another_role() as other:
            bundle.write("000-a.sql", f"{NONE}create table a (x int)")
            assert migrate(make_context()).error is None
            db.query(
                f"alter table schema_migrations enable row level security; {policy}"
                f"grant select, insert on schema_migrations to {other.target.role};"
                f"grant all on schema_migration_runs to {other.target.role}"
            )
            report = migrate(make_context(target=other.target))
            assert isinstance(report.error, LedgerError)
            assert "may not read all of public.schema_migrations" in str(report.error)
            with pytest.raises(LedgerError, match="row-level security"):
                read_status(make_context(target=other.target))
            assert migrate(make_context()).error is None, "it doesn't concern the owner"

    def test_forced_row_level_security_concerns_the_owner_too(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as owner:
            bundle.write("000-a.sql", "create table a (x int)")
            assert migrate(make_context(target=owner.target)).error is None
            db.query(
                "alter table schema_migrations enable row level security, force row level security"
            )
            with pytest.raises(LedgerError, match="no force row level security"):
                read_status(make_context(target=owner.target))

    def test_the_advice_is_all_that_a_role_needs(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", f"{NONE}select 1; select 2;")
        assert migrate(make_context()).error is None
        with a_role(db) as deployer:
            role = deployer.target.role
            bundle.write("002-c.sql", "select 1")
            context = make_context(
                target=deployer.target,
                migration_target=deployer.target,
                status_target=deployer.target,
            )
            error = migrate(context).error
            advice = str(error)
            for grant in granted_by(advice, role):
                db.query(grant)
            error = migrate(context).error
            for grant in granted_by(str(error), role) if error else ():
                db.query(grant)
            assert migrate(context).error is None
            bundle.write("003-d.sql", f"{NONE}select 1; select nope;")
            assert isinstance(migrate(context).error, MigrationFailedError)
            bundle.write("003-d.sql", f"{NONE}select 1; select 2;")
            assert migrate(context).error is None
            bundle.write("004-e.sql", "select 1")
            assert baseline(context, "4").recorded
            assert read_status(context).plan.applied_count == 5
            assert validate(context).plan.pending == ()
            assert preview(context).obstacle is None
            db.query(f"drop owned by {role}; drop role {role}")

    def test_what_a_role_lacks_is_told_before_anything_is_applied(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        with a_role(db) as deployer:
            role = deployer.target.role
            db.query(
                f"grant select, insert on schema_migrations to {role};"
                f"grant select, insert, update on schema_migration_runs to {role}"
            )
            bundle.write("001-b.sql", f"{NONE}create temp table b (x int);")
            error = migrate(make_context(target=deployer.target)).error
            assert isinstance(error, LedgerError)
            assert "usage on sequence public.schema_migrations_id_seq" in str(error)
            assert "migrations/" not in str(error)
            assert len(db.runs()) == 1
            db.query(f"drop owned by {role}; drop role {role}")


class TestIdsThatAreBehind:
    def test_they_are_set_right(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        for name in ("000-a", "001-b", "002-c"):
            bundle.write(f"{name}.sql", "select 1")
        assert migrate(make_context()).error is None
        db.query(
            "alter sequence schema_migrations_id_seq restart 1;alter table schema_migration_runs"
            " alter id restart with 1"
        )
        bundle.write("003-d.sql", "select 1")
        assert migrate(make_context()).error is None
        assert db.query(
            "select max(id) from schema_migrations union all select max(id) from"
            " schema_migration_runs"
        ) == [
            (4,),
            (2,),
        ]
        db.query("alter sequence schema_migrations_id_seq restart 1")
        bundle.write("004-e.sql", "select 1")
        assert baseline(make_context(), "4").recorded

    def test_the_statement_is_told_where_the_right_is_missing(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        assert migrate(make_context()).error is None
        with a_role(db) as deployer:
            role = deployer.target.role
            db.query(
                f"grant select, insert on schema_migrations to {role};"
                f"grant usage on sequence schema_migrations_id_seq to {role};"
                f"grant select, insert, update on schema_migration_runs to {role};"
                "alter sequence schema_migrations_id_seq restart 1"
            )
            bundle.write("001-b.sql", "select 1")
            error = migrate(make_context(target=deployer.target)).error
            assert isinstance(error, LedgerError)
            statement = str(error).partition("As the table's owner: ")[2]
            assert statement == "select setval('public.schema_migrations_id_seq', 1);"
            db.query(statement)
            assert migrate(make_context(target=deployer.target)).error is None
            db.query(f"drop owned by {role}; drop role {role}")


def rights_of(db: Database, role: str) -> set[str]:
    rows = db.query(
        "select privilege_type from pg_class c, aclexplode(c.relacl) x where c.relname like"
        " 'schema_migration%'"
        f" and x.grantee = '{role}'::regrole union "
        "select privilege_type from pg_attribute a join pg_class c on c.oid = a.attrelid,"
        " aclexplode(a.attacl) x"
        f" where c.relname like 'schema_migration%' and x.grantee = '{role}'::regrole"
    )
    return {row[0] for row in rows}


def granted_by(advice: str, role: str) -> list[str]:
    """The statements of an advice, for a role."""
    return [
        part.replace("ROLE", role)
        for part in re.findall(r"grant [a-z, ]+ on [a-z_. ]+ to ROLE", advice)
    ]


def warnings_of(command: str, context: RunContext) -> tuple[str, ...]:
    if command == "migrate":
        return migrate(context).warnings
    if command == "status":
        return read_status(context).warnings
    if command == "plan":
        return preview(context).warnings
    return validate(context).warnings
