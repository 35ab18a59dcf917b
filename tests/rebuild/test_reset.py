"""`reset`: who may, what it drops, what it leaves, and that nothing happens unless it is typed."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from conftest import Bundle, Cli, Database
from pgbouncer import PGBOUNCER, pgbouncer

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import (
    ConfigurationError,
    GuardError,
    LedgerError,
    LockError,
    MigrationFileError,
    MigratorError,
    RunInProgressError,
)
from lib.files.folder import discover
from lib.ledger.run_lock import RunLock
from lib.rebuild.reset import ResetPlan, read_files, reset
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]
CHAIN = """
create type mood as enum ('good', 'bad');
create domain amount as numeric check (value >= 0);
create table people (id serial primary key, mood mood, owed amount);
create table parts (id int, at date) partition by range (at);
create table parts_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create view names as select id from people;
create materialized view counts as select count(*) from people;
create function double(int) returns int language sql as 'select $1 * 2';
create procedure nothing() language sql as '';
create aggregate total(int) (sfunc = int4pl, stype = int);
create operator ## (leftarg = int, rightarg = int, function = int4pl);
create collation mine from "C";
create text search configuration words (copy = simple);
create statistics people_stats on id, mood from people;
create schema billing;
create table billing.invoices (id int, person int references people);
"""
# All that belongs to no extension and to nobody but this role.
LEFT = """
select count(*) from pg_depend d join pg_namespace n on n.oid = d.refobjid
 where d.refclassid = 'pg_namespace'::regclass and d.deptype = 'n' and n.nspname = 'public'
   and d.classid <> 'pg_extension'::regclass
"""


def yes(_: ResetPlan) -> None:
    """Confirm whatever is asked."""


def carry_out(context: RunContext, confirm: Callable[[ResetPlan], None] = yes) -> ResetPlan:
    files = discover(context.settings.migrations_dir)
    return reset(context, read_files(files, context.settings.environment), confirm)


@pytest.fixture
def context(make_context: MakeContext, bundle: Bundle) -> RunContext:
    """A context on a database that the chain has filled."""
    bundle.write("001-all.sql", CHAIN)
    made = make_context()
    assert migrate(made).error is None
    return made


class TestWhatIsDropped:
    def test_all_that_the_files_have_made_so_that_they_run_again(
        self, context: RunContext, db: Database
    ) -> None:
        planned = carry_out(context)
        dropped = set(map(str, planned.objects))
        assert {
            "table public.people",
            "schema billing",
            "table public.schema_migrations",
        } <= dropped
        assert db.query(LEFT) == [(0,)]
        assert db.query("select 1 from pg_namespace where nspname = 'billing'") == []
        report = migrate(context)
        assert (report.error, len(report.applied)) == (None, 1)

    def test_public_keeps_its_owner_its_grants_and_its_default_privileges(
        self, context: RunContext, db: Database
    ) -> None:
        facts = (
            "select nspowner, nspacl::text, (select string_agg(defaclacl::text, ',') from"
            " pg_default_acl where defaclnamespace = n.oid) from pg_namespace n"
            " where nspname = 'public'"
        )
        with db.another_role() as other:
            role = other.target.role
            db.query(f"alter default privileges in schema public grant select on tables to {role}")
            before = db.query(facts)
            carry_out(context)
            assert db.query(facts) == before
            assert before[0][2]
            db.query(f"alter default privileges in schema public revoke all on tables from {role}")

    def test_extensions_and_schemas_of_providers_stay(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create extension citext; create schema auth; create table auth.users (id int);"
            "create table emails (address citext)"
        )
        bundle.write("002-more.sql", "create schema if not exists auth; create role no_such;")
        planned = carry_out(context)
        assert planned.stays == ("schema auth", "role no_such")
        assert db.has("auth.users")
        assert db.query("select 'A'::citext = 'a'::citext") == [(True,)]
        assert not db.has("emails")

    def test_a_trigger_on_a_table_of_a_provider_goes_with_its_function(
        self, context: RunContext, db: Database
    ) -> None:
        db.query(
            "create schema auth; create table auth.users (id int);"
            "create function on_user() returns trigger language plpgsql as"
            " 'begin return new; end';"
            "create trigger t before insert on auth.users for each row execute function on_user()"
        )
        carry_out(context)
        db.query("insert into auth.users values (1)")
        assert db.query("select * from auth.users") == [(1,)]

    @pytest.mark.parametrize(
        ("made", "named"),
        [
            (
                "create schema auth; create view auth.names as select id from public.people",
                "view auth.names",
            ),
            (
                "create schema auth; create table auth.users (id int, mood public.mood)",
                "table column auth.users.mood",
            ),
            (
                "create schema mine; create function mine.f(public.people) returns int"
                " language sql as 'select 1'",
                "function mine.f",
            ),
            (
                "create schema mine; create table mine.t (person int references public.people)",
                "table constraint t_person_fkey on mine.t",
            ),
            (
                "create schema mine; create table mine.t (x int default public.double(1))",
                "default value for mine.t.x",
            ),
            (
                "create schema mine; create table mine.t (x int check (public.double(x) > 0))",
                "table constraint t_x_check on mine.t",
            ),
            (
                "create function public.f(int) returns int immutable language sql as 'select 1';"
                "create schema mine; create table mine.t (x int); create index i on mine.t"
                " (public.f(x))",
                "index mine.i",
            ),
            (
                "create schema mine; create domain mine.d as int check (public.double(value) > 0)",
                "domain constraint d_check on mine.d",
            ),
            (
                "create schema mine; create type mine.pair as (mood public.mood, x int)",
                "composite type column mine.pair.mood",
            ),
            (
                "create schema mine; create table mine.t (x int); create rule r as on insert to"
                " mine.t do also insert into public.people default values",
                "rule r on mine.t",
            ),
            (
                "create schema mine; create table mine.t (x int); create policy p on mine.t using"
                " (x in (select id from public.people))",
                "policy p on mine.t",
            ),
            (
                "create function public.f() returns trigger language plpgsql as"
                " 'begin return new; end'; create schema mine; create table mine.t (x int);"
                " create trigger g before insert on mine.t for each row"
                " execute function public.f()",
                "trigger g on mine.t",
            ),
            (
                "create function public.cmp(int, int) returns int immutable language sql as"
                " 'select 1'; create schema mine; create operator class mine.o for type int"
                " using btree as function 1 public.cmp(int, int)",
                "operator class mine.o",
            ),
        ],
    )
    def test_nothing_is_dropped_if_something_else_would_go_too(
        self, context: RunContext, db: Database, made: str, named: str
    ) -> None:
        db.query(made)
        with pytest.raises(LedgerError, match="would be dropped along with it") as caught:
            carry_out(context)
        assert named in str(caught.value)
        assert db.has("people")
        assert db.versions() == ["001-all"]

    def test_nothing_is_dropped_beside_what_belongs_to_another_role(
        self, context: RunContext, db: Database
    ) -> None:
        with db.another_role() as other:
            other.query("create table theirs (x int)")
            with pytest.raises(ConfigurationError, match=r"table public\.theirs \(of lowly_"):
                carry_out(context)
            assert db.has("people")

    def test_the_schema_of_the_url_is_emptied_and_stays(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create schema app")
        bundle.write("001-a.sql", "create table things (x int)")
        context = make_context(target=replace(db.target, search_path="app"))
        assert migrate(context).error is None
        assert db.has("app.things")
        carry_out(context)
        assert not db.has("app.things")
        assert migrate(context).error is None
        assert db.has("app.things")

    def test_through_a_pooler_it_is_one_transaction_like_any_other(
        self, context: RunContext, db: Database, pooled: ConnectionTarget
    ) -> None:
        carry_out(replace(context, target=pooled))
        assert db.query(LEFT) == [(0,)]

    def test_the_schema_of_the_roles_search_path_is_emptied_and_stays(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as other:
            role = other.target.role
            db.query(f"create schema app authorization {role}")
            db.query(f"alter role {role} set search_path = app, public")
            bundle.write("001-a.sql", "create table things (x int)")
            context = make_context(
                target=other.target, migration_target=other.target, status_target=other.target
            )
            assert migrate(context).error is None
            assert db.has("app.things")
            carry_out(context)
            assert not db.has("app.things")
            assert migrate(context).error is None

    def test_hostile_names_are_quoted(self, context: RunContext, db: Database) -> None:
        db.query(
            'create table "a\'; drop table people; --" ("x "" y" int);'
            'create function "{f}"("a\'; drop table people; --") returns int'
            " language sql as 'select 1'"
        )
        carry_out(context)
        assert db.query(LEFT) == [(0,)]


class TestWhereItIsRefused:
    def refused(self, context: RunContext, kind: type[MigratorError], what: str) -> None:
        def never(_: ResetPlan) -> None:
            raise AssertionError("it was asked")

        with pytest.raises(kind, match=what) as caught:
            carry_out(context, never)
        assert "Nothing was dropped" in str(caught.value) or kind is LedgerError

    @pytest.mark.parametrize("environment", ["preview", "production", "staging"])
    def test_in_any_other_environment(
        self, make_context: MakeContext, context: RunContext, environment: str
    ) -> None:
        other = make_context(environment=environment)
        self.refused(other, GuardError, f"and this one is {environment}")

    def test_where_production_has_claimed_the_database(
        self, make_context: MakeContext, context: RunContext
    ) -> None:
        assert migrate(make_context(environment="production")).error is None
        self.refused(context, GuardError, "belongs to production")

    @pytest.mark.parametrize(
        ("source", "who"), [("build", "a build"), ("admin", "the admin endpoint")]
    )
    def test_where_a_deployment_has_migrated(
        self,
        make_context: MakeContext,
        context: RunContext,
        bundle: Bundle,
        source: str,
        who: str,
    ) -> None:
        bundle.write("002-b.sql", "create table b (x int)")
        assert migrate(make_context(source=source)).error is None
        self.refused(context, GuardError, f"A run by {who} is on record")

    @pytest.mark.parametrize(
        "hidden",
        [
            "drop table public.schema_migration_runs",
            "delete from public.schema_migration_runs",
            "update public.schema_migration_runs set applied = '{}', ledger_id_before = 99",
        ],
    )
    def test_where_the_journal_does_not_say_who_has_migrated(
        self, context: RunContext, db: Database, hidden: str
    ) -> None:
        db.query(hidden)
        self.refused(context, GuardError, "no record of who|does not say which run")

    @pytest.mark.parametrize("environment", ["preview", "production"])
    def test_where_another_environment_has_migrated_by_the_command_line(
        self,
        make_context: MakeContext,
        context: RunContext,
        bundle: Bundle,
        db: Database,
        environment: str,
    ) -> None:
        bundle.write("002-b.sql", "create table b (x int)")
        assert migrate(make_context(environment=environment)).error is None
        # Production's claim is that of the database from which this one was copied.
        db.query("update public.schema_migration_runs set database_fingerprint = '1:2:3'")
        self.refused(context, GuardError, f"A run in the environment {environment} is on record")

    def test_where_ledger_and_journal_are_empty(self, context: RunContext, db: Database) -> None:
        db.query("truncate public.schema_migration_runs, public.schema_migrations")
        self.refused(context, GuardError, "no record of who")
        assert db.has("people")

    def test_where_no_file_was_ever_applied(self, make_context: MakeContext, db: Database) -> None:
        db.query("create table precious (x int)")
        self.refused(make_context(), GuardError, "no record of who")
        assert db.has("precious")

    def test_where_others_may_have_changed_the_journal(
        self, context: RunContext, db: Database
    ) -> None:
        db.query("grant delete on public.schema_migration_runs to public")
        self.refused(context, GuardError, "may have been changed")

    def test_where_the_journal_is_hidden_behind_a_view(
        self, context: RunContext, db: Database
    ) -> None:
        db.query(
            "alter table public.schema_migration_runs rename to hidden;"
            "create view public.schema_migration_runs as select * from hidden where source = 'cli'"
        )
        self.refused(context, LedgerError, "is a view")

    def test_where_a_policy_hides_rows(
        self, make_context: MakeContext, context: RunContext, db: Database
    ) -> None:
        with db.another_role() as other:
            role = other.target.role
            db.query(
                f"grant select on all tables in schema public to {role};"
                "alter table public.schema_migration_runs enable row level security"
            )
            lowly = make_context(target=other.target, migration_target=other.target)
            self.refused(lowly, LedgerError, "row-level security")

    def test_with_a_file_that_would_be_refused_afterwards(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("002-b.sql", "select 1; commit;")
        with pytest.raises(MigrationFileError, match="002-b"):
            carry_out(context)
        assert db.has("people")

    def test_what_the_server_refuses_is_said(self, context: RunContext, db: Database) -> None:
        db.query(
            "create schema rules; create function rules.stop() returns event_trigger language"
            " plpgsql as $$ begin raise exception 'not here'; end $$;"
            "create event trigger stop on ddl_command_start when tag in ('DROP TABLE')"
            " execute function rules.stop()"
        )
        with pytest.raises(LedgerError, match=r"refused the drop: not here .* Nothing was dropped"):
            carry_out(context)
        assert db.has("people")


class TestAtTheSameTime:
    def test_another_run_is_waited_for(self, context: RunContext, db: Database) -> None:
        with (
            RunLock(context.connect, timeout=0),
            pytest.raises(RunInProgressError, match="under way"),
        ):
            carry_out(context)
        assert db.has("people")

    def test_a_busy_table(self, context: RunContext, db: Database) -> None:
        with db.connect() as other, other.transaction():
            other.execute("select * from people")
            with pytest.raises(LockError, match="kept a table locked"):
                carry_out(context)
        assert db.has("people")

    @pytest.mark.parametrize(
        ("meanwhile", "what"),
        [
            ("create table new (x int)", "has changed since the question was asked"),
            ("update public.schema_migration_runs set source = 'build'", "A run by a build"),
        ],
    )
    def test_what_changes_while_it_is_asked_is_not_dropped(
        self, context: RunContext, db: Database, meanwhile: str, what: str
    ) -> None:
        def confirm(_: ResetPlan) -> None:
            db.query(meanwhile)

        with pytest.raises(MigratorError, match=what):
            carry_out(context, confirm)
        assert db.has("people")

    def test_another_database_of_the_same_name_is_not_dropped(
        self, context: RunContext, db: Database
    ) -> None:
        name, admin = db.target.database, db.named("postgres")

        def confirm(_: ResetPlan) -> None:
            admin.query(f"alter database {name} rename to {name}_old")
            admin.query(f"create database {name} template {name}_old")

        try:
            with pytest.raises(LedgerError, match="has changed since the question"):
                carry_out(context, confirm)
            assert db.has("people")
        finally:
            admin.query(f"drop database if exists {name}_old")

    def test_after_an_interruption_it_goes_on_without_a_question(self, context: RunContext) -> None:
        carry_out(context)

        def never(_: ResetPlan) -> None:
            raise AssertionError("it was asked")

        assert carry_out(context, never).objects == ()

    def test_two_at_once_each_drop_all_or_nothing(
        self, make_context: MakeContext, context: RunContext, db: Database
    ) -> None:
        patient = make_context(run_wait=30.0)
        both, errors = threading.Barrier(2), []

        def confirm(_: ResetPlan) -> None:
            both.wait()

        def run() -> None:
            try:
                carry_out(patient, confirm)
            except MigratorError as error:
                errors.append(error)

        runs = [threading.Thread(target=run) for _ in range(2)]
        for each in runs:
            each.start()
        for each in runs:
            each.join()
        # The second finds a database without a record.
        assert len(errors) == 1
        assert db.query(LEFT) == [(0,)]


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, cli: Cli, *arguments: str, **variables: str) -> None:
        self.master, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lib", *arguments],
            cwd=cli.root,
            env={**cli.environ, **variables},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.text = ""

    def read_until(self, words: str) -> None:
        until = time.monotonic() + 60
        while words not in self.text:
            assert time.monotonic() < until, self.text
            if select.select([self.master], [], [], 1)[0] and not self._read():
                raise AssertionError(self.text)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(60)

    def _read(self) -> bool:
        try:
            found = os.read(self.master, 4096)
        except OSError:
            # Linux: the other side of the terminal is closed.
            return False
        self.text += found.decode()
        return bool(found)


@pytest.fixture
def filled(cli: Cli, bundle: Bundle) -> Cli:
    bundle.write("001-a.sql", "create table a (x int);")
    bundle.write("002-b.sql", "create table b (x int);")
    (bundle.migrations / "_seeds").mkdir()
    bundle.write("_seeds/1.sql", "insert into b values (1);")
    assert cli("migrate").returncode == 0
    return cli


class TestTheQuestion:
    def test_the_name_of_the_database_has_to_be_typed(self, filled: Cli, db: Database) -> None:
        db.query("insert into a values (7)")
        terminal = Terminal(filled, "reset")
        terminal.read_until("to go on:")
        assert "All rows of" in terminal.text
        assert f"Type {db.target.place} to go on:" in terminal.text
        assert db.query("select * from a") == [(7,)]
        terminal.type(f"{db.target.place}\n")
        assert terminal.end() == 0, terminal.text
        assert db.query("select * from a") == []
        assert db.query("select * from b") == [(1,)]

    @pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
    def test_it_has_the_name_that_the_server_knows(
        self, filled: Cli, db: Database, server: ConnectionTarget
    ) -> None:
        alias = f"dev = host=127.0.0.1 port={server.port} dbname={db.target.database}"
        with pgbouncer(server, "[databases]", alias) as port:
            terminal = Terminal(filled, "reset", DATABASE_URL=db.named("dev").through(port).url)
            terminal.read_until("to go on:")
            assert f"Type 127.0.0.1:{port}/{db.target.database} to go on:" in terminal.text
            terminal.type(f"127.0.0.1:{port}/dev\n")
            assert terminal.end() == 2
        assert db.has("a")

    def test_a_url_that_changes_meanwhile_leads_nowhere_else(
        self, filled: Cli, bundle: Bundle, db: Database
    ) -> None:
        env_file = bundle.root / ".env.local"
        env_file.write_text(f"DATABASE_URL={db.url}\n")
        terminal = Terminal(filled, "reset", DATABASE_URL="")
        terminal.read_until("to go on:")
        env_file.write_text("DATABASE_URL=postgresql://app@127.0.0.1:1/another\n")
        terminal.type(f"{db.target.place}\n")
        assert terminal.end() == 0, terminal.text
        assert db.query("select * from b") == [(1,)]

    @pytest.mark.parametrize("typed", ["yes\n", "\n", "\x04"])
    def test_anything_else_drops_nothing(self, filled: Cli, db: Database, typed: str) -> None:
        terminal = Terminal(filled, "reset")
        terminal.read_until("to go on:")
        terminal.type(typed)
        assert terminal.end() == 2
        assert "Nothing was dropped" in terminal.text
        assert db.has("a")

    def test_ctrl_c(self, filled: Cli, db: Database) -> None:
        terminal = Terminal(filled, "reset")
        terminal.read_until("to go on:")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert db.has("a")
        assert db.advisory_locks() == 0

    def test_without_a_terminal(self, filled: Cli, db: Database) -> None:
        done = filled("reset", "--json")
        assert done.returncode == 2
        assert "typed on a terminal, and there is none" in done.stdout
        assert db.target.place in done.stdout
        assert db.has("a")

    def test_up_to_a_file_and_without_seeds(self, filled: Cli, db: Database) -> None:
        terminal = Terminal(filled, "reset", "--to", "1")
        terminal.read_until("to go on:")
        terminal.type(f"{db.target.place}\n")
        assert terminal.end() == 0, terminal.text
        assert db.versions() == ["001-a"]
        assert not db.has("public.schema_migration_seeds")

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [(("--to", "9"), "There is no migration '9'"), (("--yes",), "there is no option --yes")],
    )
    def test_wrong_arguments(
        self, filled: Cli, db: Database, arguments: tuple[str, ...], what: str
    ) -> None:
        done = filled("reset", *arguments)
        assert done.returncode == 2
        assert what in done.stderr
        assert db.has("a")

    def test_a_malformed_seed_stops_it_first(
        self, filled: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("_seeds/2.sql", "vacuum;")
        done = filled("reset")
        assert done.returncode == 2
        assert "migrations/_seeds/2.sql" in done.stderr
        assert db.has("a")
