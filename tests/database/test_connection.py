"""Deadlines and losses: what ends a message early leaves nothing open, and says why."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import UNTIL_RELEASED, Bundle, Database
from fault_proxy import FaultProxy, Trouble

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.database.cancel_and_rollback import Settled
from lib.database.connection import Connection
from lib.deadline import Deadline
from lib.errors import (
    DatabaseUnavailableError,
    OutOfTimeError,
)
from lib.time_limits import RunLimits

MakeContext = Callable[..., RunContext]


class TestDeadlinesAndLosses:
    def test_a_try_that_fails_does_not_move_the_deadline(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a")
            began = time.monotonic()
            report = migrate(
                make_context(deadline=Deadline.after(1.5), lock_timeout=0.05, lock_retries=1000)
            )
        assert isinstance(report.error, OutOfTimeError)
        assert time.monotonic() - began < 6

    def test_copy_keeps_the_deadline(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        db.query(
            "create function slow() returns trigger language plpgsql as"
            " $$begin perform pg_sleep(0.01); return new; end$$;"
            "create trigger slow before insert on a for each row execute function slow()"
        )
        rows = "".join(f"{number}\n" for number in range(5000))
        bundle.write("000-a.sql", f"copy a from stdin;\n{rows}\\.\n")
        began = time.monotonic()
        report = migrate(make_context(deadline=Deadline.after(1)))
        assert isinstance(report.error, OutOfTimeError)
        assert time.monotonic() - began < 10
        assert db.query("select count(*) from a") == [(0,)]

    def test_a_file_outside_a_transaction_that_ends_at_the_deadline_is_recorded_once(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """Wherever the deadline comes between a statement's end and the record of it."""
        db.query("create table marks (version text)")
        for number, seconds in enumerate((0.7, 0.8, 0.85, 0.9, 0.95)):
            version = f"{number:03d}-a"
            mark = f"insert into marks values ('{version}')"
            work = f"begin {mark}; perform pg_sleep({seconds}); end"
            bundle.write(f"{version}.sql", f"-- Transaction: none\ndo $$ {work} $$;")
            migrate(make_context(deadline=Deadline.after(1)))
            if db.query(f"select from marks where version = '{version}'"):
                # What was carried out and not recorded in time is recorded by the next run.
                assert migrate(make_context()).error is None
            assert db.query("select version from marks order by 1") == db.query(
                "select version from schema_migrations order by 1"
            )
            (bundle.migrations / f"{version}.sql").unlink()

    def test_a_last_statement_that_had_ended_when_it_was_canceled_is_recorded(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """Its answer comes after the deadline; the time for clean-up is enough for the record."""
        db.query("create table effects (what text)")
        effect = "insert into effects values ('carried out')"
        until_released = UNTIL_RELEASED.replace("begin", f"begin {effect};", 1)
        bundle.write("000-a.sql", f"-- Transaction: none\n{until_released};")
        with FaultProxy(db.target.port) as proxy:

            def release() -> None:
                db.wait_for("pg_sleep")
                proxy.pause_first(3.0)
                db.query("create table released ()")

            releasing = threading.Thread(target=release)
            releasing.start()
            context = make_context(
                target=db.through(proxy.port).target, deadline=Deadline.after(2, cleanup=15.0)
            )
            report = migrate(context)
            releasing.join()
        assert report.error is None
        assert db.versions() == ["000-a"]
        assert db.query("select what from effects") == [("carried out",)]

    def test_the_deadline_cancels_the_statement_and_rolls_back(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int);\nselect pg_sleep(60);")
        began = time.monotonic()
        report = migrate(make_context(deadline=Deadline.after(1.5)))
        assert isinstance(report.error, OutOfTimeError)
        assert time.monotonic() - began < 10
        assert [migration.version for migration in report.applied] == ["000-a"]
        assert not db.has("b")
        [run] = db.runs()
        assert (run["outcome"], run["failed_version"]) == ("failed", "001-b")

    def test_a_lost_connection_is_an_error_and_the_next_run_resumes(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql", "create table a (x int);\nselect pg_terminate_backend(pg_backend_pid());"
        )
        report = migrate(make_context())
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "was lost" in str(report.error)
        assert not db.has("a")
        assert db.runs()[0]["outcome"] == "failed"
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None

    def test_the_error_quotes_what_the_server_said_last(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select pg_terminate_backend(pg_backend_pid());")
        report = migrate(make_context())
        assert "terminating connection due to administrator command (SQLSTATE 57P01)" in str(
            report.error
        )
        assert db.runs()[0]["sqlstate"] == "57P01"

    def test_the_deadline_holds_for_the_runners_own_statements(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations")
            began = time.monotonic()
            report = migrate(make_context(deadline=Deadline.after(1)))
            assert isinstance(report.error, OutOfTimeError)
            assert time.monotonic() - began < 10

    def test_a_lost_lock_stops_the_run_before_its_next_file(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int);\n"
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database());\n"
            "select pg_sleep(0.3);",
        )
        bundle.write("001-b.sql", "create table b (x int)")
        report = migrate(make_context())
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "run lock was lost" in str(report.error)
        assert [migration.version for migration in report.applied] == ["000-a"]
        assert not db.has("b")

    @pytest.mark.parametrize("at", [3000, 9000])
    def test_a_run_ends_in_time_although_the_database_falls_silent(
        self, make_context: MakeContext, bundle: Bundle, db: Database, at: int
    ) -> None:
        """A function ends before Vercel ends it, whatever the server no longer answers."""
        for number in range(20):
            bundle.write(
                f"{number:03d}-a.sql", f"create table a{number} (x int);\nselect pg_sleep(0.1);"
            )
        with FaultProxy(db.target.port, Trouble("silence", at)) as proxy:
            began = time.monotonic()
            context = make_context(
                target=db.through(proxy.port).target, deadline=Deadline.after(1.5, cleanup=3.0)
            )
            report = migrate(context)
            took = time.monotonic() - began
        assert proxy.struck
        assert isinstance(report.error, (OutOfTimeError, DatabaseUnavailableError))
        assert took < 1.5 + 3 + 1
        assert migrate(make_context()).error is None
        assert db.versions() == [f"{number:03d}-a" for number in range(20)]

    def test_without_confirmation_the_error_does_not_claim_a_rollback(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30);")
        with FaultProxy(db.target.port) as proxy:
            threading.Timer(1, proxy.fall_silent).start()
            report = migrate(
                make_context(
                    target=db.through(proxy.port).target, deadline=Deadline.after(2, cleanup=2.0)
                )
            )
        assert (
            "did not confirm that 000-a was stopped: it was rolled back, or had just committed"
            in str(report.error)
        )

    def test_the_error_says_that_the_file_was_rolled_back_in_time(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30);")
        report = migrate(make_context(deadline=Deadline.after(1, cleanup=4.0)))
        assert str(report.error) == "The time allowed ran out. 000-a was rolled back."

    def test_a_build_does_not_hang_on_a_database_that_falls_silent(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
    ) -> None:
        limits = RunLimits(stuck=1.0, heartbeat=0.5, heartbeat_answer=0.5, look_again=0.5)
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30);")
        with FaultProxy(db.target.port) as proxy:
            threading.Timer(1, proxy.fall_silent).start()
            context = make_context(target=db.through(proxy.port).target, limits=limits)
            report = migrate(context)
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "stuck" in str(report.error)


@pytest.fixture
def connection(make_context: MakeContext) -> Iterator[Connection]:
    with make_context().connect() as connection:
        yield connection


class TestTime:
    def test_clean_up_goes_on_past_the_deadline(self, make_context: MakeContext) -> None:
        with make_context(deadline=Deadline.after(1)).connect() as connection:
            time.sleep(connection.deadline.remaining())
            with pytest.raises(OutOfTimeError, match="ran out"):
                connection.query("select 1")
            with connection.extend_deadline(5):
                assert connection.query("select 1") == [[("1",)]]
            with pytest.raises(OutOfTimeError, match="ran out"):
                connection.query("select 1")

    def test_past_a_limit_the_database_counts_as_away(self, connection: Connection) -> None:
        with (
            pytest.raises(DatabaseUnavailableError, match=r"^It is away\.$"),
            connection.limit_to(0.2, "It is away."),
        ):
            connection.query("select pg_catalog.pg_sleep(5)")
        assert not connection.is_closed
        assert not connection.deadline.is_limited

    def test_past_an_earlier_deadline_the_time_has_run_out(self, make_context: MakeContext) -> None:
        with (
            make_context(deadline=Deadline.after(1)).connect() as connection,
            pytest.raises(OutOfTimeError, match="ran out"),
            connection.limit_to(5, "It is away."),
        ):
            connection.query("select pg_catalog.pg_sleep(5)")

    def test_somebody_may_look_on_while_an_answer_is_waited_for(
        self, connection: Connection
    ) -> None:
        looks: list[float] = []
        with connection.waking(lambda: looks.append(time.monotonic()), every=0.02):
            connection.query("select pg_catalog.pg_sleep(0.5)")
        assert len(looks) > 5
        seen = len(looks)
        connection.query("select pg_catalog.pg_sleep(0.1)")
        assert len(looks) == seen


class TestCleanUp:
    def test_what_is_left_open_is_rolled_back_with_the_clean_up_of_its_own(
        self, connection: Connection
    ) -> None:
        def interrupt_a_transaction() -> None:
            with connection.cleaning_up_with("set application_name = 'cleaned'"):
                connection.run("begin")
                connection.run("create table a (x int)")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupt_a_transaction()
        assert not connection.in_transaction
        assert connection.run("show application_name") == [("cleaned",)]
        assert connection.resolve("a") == [None]

    def test_a_statement_that_is_cut_off_is_stopped(self, make_context: MakeContext) -> None:
        with make_context(deadline=Deadline.after(0.5)).connect() as connection:
            with pytest.raises(OutOfTimeError, match="ran out"):
                connection.run("select pg_sleep(30)")
            assert connection.settled_as is Settled.STOPPED
            assert not connection.is_closed
