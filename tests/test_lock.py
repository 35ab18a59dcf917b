"""One run at a time: the run lock, and the locks of busy tables."""

import threading
import time
from collections.abc import Callable

from conftest import Bundle, Database, Witness

from lib import runner
from lib.errors import (
    BusyTableError,
    RunInProgressError,
)
from lib.job import Job
from lib.lock import RunLock

MakeJob = Callable[..., Job]


class TestLocks:
    def test_a_run_under_way_is_told_at_once_where_nobody_waits(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with RunLock(make_job(source="build").connect, patience=0):
            report = runner.migrate(make_job())
        assert isinstance(report.error, RunInProgressError)
        assert report.error.holder == "migrations build local"
        assert (report.error.since or "").endswith("Z")
        assert not db.has("a")

    def test_a_run_waits_for_another_and_plans_anew(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(1);")
        reports = []
        threads = [threading.Thread(target=lambda: reports.append(runner.migrate(make_job(run_wait=30)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [report.error for report in reports] == [None] * 4
        assert sum(len(report.applied) for report in reports) == 1
        assert db.versions() == ["000-a"]

    def test_nothing_pending_takes_no_lock(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        with RunLock(make_job().connect, patience=0):
            assert runner.migrate(make_job()).error is None

    def test_nothing_pending_beside_a_run_that_is_just_ending_is_no_failure(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        db.query("update schema_migration_runs set outcome = 'running'")
        with RunLock(make_job().connect, patience=0):
            assert runner.migrate(make_job()).error is None
        assert db.runs()[0]["outcome"] == "running"

    def test_a_busy_table_is_retried_and_then_told(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        witness = Witness()
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a in access share mode")
            report = runner.migrate(make_job(progress=witness))
        assert isinstance(report.error, BusyTableError)
        assert report.error.sqlstate == "55P03"
        assert len(witness.of("retrying")) == 1
        assert db.runs()[0]["outcome"] == "failed"

    def test_a_table_that_is_freed_meanwhile_is_no_failure(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder:
            holder.execute("begin; lock table a in access share mode")
            timer = threading.Timer(0.5, lambda: holder.execute("commit"))
            timer.start()
            report = runner.migrate(make_job(lock_retries=10))
            timer.join()
        assert report.error is None

    def test_a_file_that_fails_while_its_row_has_appeared_counts_as_applied_by_another_run(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        """The last fence, for a lock that was lost unnoticed: the other run commits while this one's file is under way."""
        bundle.write("000-a.sql", "create table if not exists a (x int);\nselect pg_sleep(1);")
        reports = []
        thread = threading.Thread(target=lambda: reports.append(runner.migrate(make_job())))
        thread.start()
        while not db.has("schema_migration_runs"):
            time.sleep(0.05)
        time.sleep(0.3)
        db.query("insert into schema_migrations (version, name) values ('000-a', 'A')")
        thread.join()
        assert reports[0].error is None
        assert reports[0].applied == ()
        assert db.versions() == ["000-a"]


class TestTheRunLock:
    def test_its_holder_keeps_no_snapshot(self, make_job: MakeJob, db: Database) -> None:
        """A snapshot here would make every CREATE INDEX CONCURRENTLY of the run wait for ever."""
        with RunLock(make_job().connect, patience=0):
            [(xmin, state)] = db.query(
                "select backend_xmin, state from pg_stat_activity join pg_locks using (pid)"
                " where locktype = 'advisory' and datname = current_database()"
            )
        assert xmin is None
        assert state == "idle in transaction"

    def test_it_leaves_no_advisory_lock_behind(self, make_job: MakeJob, db: Database) -> None:
        with RunLock(make_job().connect, patience=0):
            pass
        assert db.advisory_locks() == 0
