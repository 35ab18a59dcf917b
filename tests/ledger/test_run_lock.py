"""One run at a time: the run lock, and the locks of busy tables."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from conftest import Bundle, Database, Witness, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.deadline import Deadline
from lib.errors import BusyTableError, DatabaseUnavailableError, RunInProgressError
from lib.files.folder import MigrationFile
from lib.ledger.run_lock import RunLock
from lib.plan.progress_listener import Progress
from lib.plan.reports import AppliedNow
from lib.time_limits import RunLimits

MakeContext = Callable[..., RunContext]


class TestLocks:
    def test_a_run_in_progress_is_reported_at_once_without_a_wait(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with RunLock(make_context(source="build").connect, timeout=0):
            report = migrate(make_context())
        assert isinstance(report.error, RunInProgressError)
        assert report.error.holder == "migrations build local"
        assert (report.error.since or "").endswith("Z")
        assert not db.has("a")

    def test_a_run_waits_for_another_and_plans_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(1);")
        reports = []
        threads = [
            threading.Thread(target=lambda: reports.append(migrate(make_context(run_wait=30))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [report.error for report in reports] == [None] * 4
        assert sum(len(report.applied) for report in reports) == 1
        assert db.versions() == ["000-a"]

    def test_nothing_pending_takes_no_lock(self, make_context: MakeContext, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        with RunLock(make_context().connect, timeout=0):
            assert migrate(make_context()).error is None

    def test_nothing_pending_beside_a_run_that_is_just_ending_is_no_failure(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        db.query("update schema_migration_runs set outcome = 'running'")
        with RunLock(make_context().connect, timeout=0):
            assert migrate(make_context()).error is None
        assert db.runs()[0]["outcome"] == "running"

    def test_a_busy_table_is_retried_and_then_reported(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        witness = Witness()
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a in access share mode")
            report = migrate(make_context(progress=witness))
        assert isinstance(report.error, BusyTableError)
        assert report.error.sqlstate == "55P03"
        assert len(witness.of("retrying")) == 1
        assert db.runs()[0]["outcome"] == "failed"

    def test_a_table_that_is_freed_in_time_is_no_failure(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder:
            holder.execute("begin; lock table a in access share mode")
            timer = threading.Timer(0.5, lambda: holder.execute("commit"))
            timer.start()
            report = migrate(make_context(lock_retries=10))
            timer.join()
        assert report.error is None

    def test_a_file_that_fails_while_its_row_has_appeared_counts_as_applied_by_another_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """The last fence, for a lock lost unnoticed: another run commits meanwhile."""
        bundle.write("000-a.sql", "create table if not exists a (x int);\nselect pg_sleep(1);")
        reports = []
        thread = threading.Thread(target=lambda: reports.append(migrate(make_context())))
        thread.start()
        while not db.has("schema_migration_runs"):
            time.sleep(0.05)
        time.sleep(0.3)
        db.query(
            "insert into schema_migration_runs"
            " (source, environment, database_fingerprint, ledger_id_before)"
            " select 'cli', 'development', 'x', coalesce(max(id), 0) from schema_migrations;"
            "insert into schema_migrations (version, name) values ('000-a', 'A')"
        )
        thread.join()
        assert reports[0].error is None
        assert reports[0].applied == ()
        assert db.versions() == ["000-a"]


def test_a_connection_lost_during_the_wait_is_replaced_and_not_taken_for_a_pooler(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    """The new one has another server process, as each transaction has through a pooler."""
    bundle.write(
        "000-a.sql",
        "-- Transaction: none\ncreate table a (x int);\ncreate index concurrently a_x on a (x);",
    )
    # The contender's second one asks for the lock.
    idle = (
        "state = 'idle' and application_name like 'migrations %' and datname = current_database()"
    )
    with RunLock(make_context().connect, timeout=0) as held:

        class Meanwhile(Progress):
            def waiting(self, holder: RunInProgressError) -> None:
                pid = db.query(
                    f"select pid from pg_stat_activity where {idle} order by backend_start limit 1"
                )[0][0]
                assert db.query(f"select pg_terminate_backend({pid}, 5000)") == [(True,)]
                db.query(f"select pg_terminate_backend({held.backend}, 5000)")

        assert migrate(make_context(run_wait=30, progress=Meanwhile())).error is None
    assert db.versions() == ["000-a"]


class TestTheRunLock:
    def test_its_holder_keeps_no_snapshot(self, make_context: MakeContext, db: Database) -> None:
        """A snapshot here would make every CREATE INDEX CONCURRENTLY of the run wait for ever."""
        with RunLock(make_context().connect, timeout=0):
            [(xmin, state)] = db.query(
                "select backend_xmin, state from pg_stat_activity join pg_locks using (pid)"
                " where locktype = 'advisory' and datname = current_database()"
            )
        assert xmin is None
        assert state == "idle in transaction"

    def test_it_leaves_no_advisory_lock_behind(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with RunLock(make_context().connect, timeout=0):
            pass
        assert db.advisory_locks() == 0

    def test_its_heartbeat_takes_no_snapshot(self, make_context: MakeContext, db: Database) -> None:
        """After a snapshot, the transaction's isolation level could not be set any more."""
        last = (
            "select query from pg_stat_activity join pg_locks using (pid)"
            " where locktype = 'advisory' and datname ="
        )
        with RunLock(make_context().connect, timeout=0, limits=RunLimits(heartbeat=0.05)):
            time.sleep(0.5)
            [(beat,)] = db.query(f"{last} current_database()")
        assert "pg_try_advisory_xact_lock" not in beat
        for statement, is_refused in ((beat, False), ("select 1", True)):
            with db.connect() as connection:
                connection.execute("begin")
                connection.execute(statement)
                if is_refused:
                    with pytest.raises(
                        psycopg.errors.ActiveSqlTransaction, match="before any query"
                    ):
                        connection.execute("set transaction isolation level serializable")
                else:
                    connection.execute("set transaction isolation level serializable")

    def test_a_frozen_holder_loses_the_lock(self, make_context: MakeContext, db: Database) -> None:
        limits = RunLimits(lock_idle=0.5)
        with RunLock(make_context().connect, timeout=0, limits=limits) as held:
            wait_until(lambda: db.advisory_locks() == 0, "the server has let it go", 10)
            with pytest.raises(DatabaseUnavailableError, match="the run lock was lost"):
                held.check()

    def test_its_session_asks_the_server_to_notice_a_vanished_machine(
        self, make_context: MakeContext
    ) -> None:
        with RunLock(make_context().connect, timeout=0) as held:
            assert held._connection.query("show tcp_keepalives_idle")[0] == [("5",)]
            assert held._connection.query("show idle_in_transaction_session_timeout")[0] == [
                ("1min",)
            ]

    def test_an_index_is_built_concurrently_beside_a_beating_lock(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
    ) -> None:
        db.query("create table t as select g as x from generate_series(1, 20000) g")
        for number in range(10):
            bundle.write(f"{number:03d}-i.sql", f"create index concurrently i{number} on t (x)")
        assert (
            migrate(
                make_context(deadline=Deadline.after(60), limits=RunLimits(heartbeat=0.005))
            ).error
            is None
        )
        assert len(db.versions()) == 10

    def test_a_process_that_was_frozen_checks_the_lock_first(
        self, make_context: MakeContext, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RunLock(make_context().connect, timeout=0) as held:
            held.check()
            # No heartbeat since; a pooler does not pass on that the server ended the session.
            monkeypatch.setattr(held, "_spoken_at", time.monotonic() - 61)
            monkeypatch.setattr(held._connection, "is_alive", lambda: True)
            end_the_lock(db)
            with pytest.raises(DatabaseUnavailableError, match="the run lock was lost"):
                held.check()

    def test_it_is_free_the_moment_its_holder_is_gone(
        self, make_context: MakeContext, db: Database
    ) -> None:
        held = RunLock(make_context().connect, timeout=0).__enter__()
        held._connection.close()
        with RunLock(make_context().connect, timeout=5):
            assert db.advisory_locks() == 1


def end_the_lock(db: Database) -> None:
    mine = "database = (select oid from pg_database where datname = current_database())"
    db.query(
        f"select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and {mine}"
    )
    wait_until(lambda: db.advisory_locks() == 0, "the lock is gone")


class Saboteur(Progress):
    """Ends the lock's backend when it hears of a certain thing for the nth time."""

    def __init__(self, db: Database, event: str, nth: int) -> None:
        self.db, self.event, self.left = db, event, nth

    def strike(self, event: str) -> None:
        self.left -= event == self.event
        if event == self.event and self.left == 0:
            end_the_lock(self.db)

    def started(self, file: MigrationFile) -> None:
        self.strike("started")

    def applied(self, migration: AppliedNow) -> None:
        self.strike("applied")

    def retrying(self, file: MigrationFile, reason: str, pause: float) -> None:
        self.strike("retrying")

    def notice(self, file: MigrationFile | None, severity: str, message: str) -> None:
        self.strike("notice")


class TestALockThatIsLost:
    @pytest.mark.parametrize("nth", [1, 2, 3])
    @pytest.mark.parametrize("event", ["started", "notice", "applied"])
    def test_at_any_point_the_run_stops_before_its_next_file(
        self, make_context: MakeContext, bundle: Bundle, db: Database, event: str, nth: int
    ) -> None:
        for number in range(3):
            notice = "do $$begin raise notice 'here'; perform pg_sleep(0.1); end$$;"
            bundle.write(f"{number:03d}-a.sql", f"create table a{number} (x int);\n{notice}")
        report = migrate(make_context(progress=Saboteur(db, event, nth)))
        assert [migration.version for migration in report.applied] == [
            f"{number:03d}-a" for number in range(nth)
        ]
        assert db.versions() == [f"{number:03d}-a" for number in range(nth)]
        if nth < 3:
            assert isinstance(report.error, DatabaseUnavailableError)
            assert "the run lock was lost" in str(report.error)
            assert db.runs()[0]["outcome"] == "failed"
        assert migrate(make_context()).error is None
        assert db.versions() == [f"{number:03d}-a" for number in range(3)]

    def test_during_a_wait_for_a_table_no_other_try_is_made(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a in access share mode")
            report = migrate(
                make_context(
                    progress=Saboteur(db, "retrying", 1), lock_timeout=0.1, lock_retries=50
                )
            )
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "the run lock was lost" in str(report.error)

    def test_outside_a_transaction_it_stops_before_the_next_statement(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        notice = "do $$begin raise notice 'here'; perform pg_sleep(0.1); end$$;\n"
        bundle.write(
            "000-a.sql",
            f"-- Transaction: none\ncreate table a (x int);\n{notice}create table b (x int);",
        )
        report = migrate(make_context(progress=Saboteur(db, "notice", 1)))
        assert "the run lock was lost" in str(report.error)
        assert db.has("a")
        assert not db.has("b")
        assert db.runs()[0]["in_progress_statement"] == 3
        # Known to be the next one: nothing is in doubt.
        assert migrate(make_context()).error is None
        assert db.has("b")

    def test_a_ledger_row_that_has_appeared_outside_a_transaction_counts_as_another_runs(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        insert = "insert into public.schema_migrations (version, name) values ('000-a', 'A')"
        bundle.write("000-a.sql", f"-- Transaction: none\n{insert};")
        report = migrate(make_context())
        assert report.error is None
        assert report.applied == ()
        assert db.versions() == ["000-a"]
