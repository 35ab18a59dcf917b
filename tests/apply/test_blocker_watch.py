"""What a second session sees of a statement: who blocks it, how far it is, whether it runs."""

import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from conftest import Bundle, Database, Witness, wait_until
from fault_proxy import FaultProxy

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.apply import blocker_watch
from lib.deadline import Deadline
from lib.errors import BusyTableError, DatabaseUnavailableError
from lib.plan.blockers import Blocker, IndexProgress
from lib.settings.connection_target import ConnectionTarget
from lib.time_limits import RunLimits

MakeContext = Callable[..., RunContext]


class TestABlocker:
    def test_a_blocker_is_described_as_far_as_it_is_known(self) -> None:
        blocker = Blocker(42, 12, "psql", "idle in transaction", "select * from users")
        assert (
            str(blocker)
            == "pid 42 (application psql, in a transaction for 12 s, idle in transaction: "
            "select * from users)"
        )
        assert str(Blocker(42)) == "pid 42"
        assert str(Blocker(42, application="web")) == "pid 42 (application web)"
        assert (
            str(Blocker(42, application="web", backend_type="client backend"))
            == "pid 42 (application web)"
        )
        assert str(Blocker(42, backend_type="autovacuum worker")) == "pid 42 (autovacuum worker)"
        wraparound = Blocker(42, 7, backend_type="autovacuum worker", prevents_wraparound=True)
        assert (
            str(wraparound)
            == "pid 42 (autovacuum worker, to prevent wraparound, in a transaction for 7 s)"
        )
        assert str(Blocker(0)) == "a prepared transaction (see pg_prepared_xacts)"

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("alter role web password 'hunter2'", "alter role web password '…'"),
            ("select 'it''s', $$a$$, $x$b $$ c$x$, 3", "select '…', '…', '…', 3"),
            ("insert into t values ('cut off by the ser", "insert into t values (…"),
            ("/* don't */ select 1 -- don't\n where x = 'hunter2'", "select 1 where x = '…'"),
            (r"select E'it\'s hunter2', B'1'", "select '…', '…'"),
            ("select \"it's\" from t where x = 'hunter2'", "select \"it's\" from t where x = '…'"),
            ("select " + "x, " * 50, ("select " + "x, " * 50)[:79] + "…"),
        ],
    )
    def test_the_strings_of_its_query_are_not_shown(self, query: str, shown: str) -> None:
        assert blocker_watch.query_head(query) == shown


class TestWhatIsSeen:
    @pytest.mark.parametrize("way", ["direct", "pooled"])
    def test_the_blocker_of_a_busy_table(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
        way: str,
        request: pytest.FixtureRequest,
    ) -> None:
        target: ConnectionTarget = (
            db.target if way == "direct" else request.getfixturevalue("pooled")
        )
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        witness = Witness()
        with db.connect(application_name="reporting") as holder, holder.transaction():
            holder.execute("select count(*), 'secret' from a")
            pid = holder.info.backend_pid
            report = migrate(make_context(target=target, progress=witness, lock_timeout=0.5))
        who = f"held up by pid {pid} (application reporting, in a transaction for "
        assert who in witness.of("retrying")[0][1]
        assert isinstance(report.error, BusyTableError)
        assert who in str(report.error)
        assert "idle in transaction: select count(*), '…' from a)" in str(report.error)
        assert who in db.runs()[0]["error"]

    def test_the_runs_row_names_the_blocker_while_it_waits(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder:
            holder.execute("begin; lock table a in access share mode")
            thread = threading.Thread(
                target=migrate, args=(make_context(lock_timeout=0.3, lock_retries=9),)
            )
            thread.start()
            note = (
                "select error from schema_migration_runs"
                " where outcome = 'running' and error like '%held up by pid%'"
            )
            wait_until(lambda: db.has("schema_migration_runs"), "the run has begun")
            wait_until(lambda: db.query(note), "the note of who holds it up")
            holder.execute("rollback")
            thread.join()
        assert [(run["outcome"], run["error"]) for run in db.runs()] == [("succeeded", None)]

    def test_a_role_with_few_rights_still_names_the_pid(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as theirs:
            theirs.query("create table a (x int)")
            bundle.write("000-a.sql", "alter table a add column y int")
            with db.connect(application_name="reporting") as holder, holder.transaction():
                holder.execute("lock table a in access share mode")
                pid = holder.info.backend_pid
                report = migrate(
                    make_context(target=theirs.target, lock_timeout=0.5, lock_retries=0)
                )
            assert f"held up by pid {pid} (application reporting" in str(report.error)

    def test_the_progress_of_an_index_is_reported(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
    ) -> None:
        db.query(
            "create table t as select g as x from generate_series(1, 100) g;"
            "create function slow(int) returns int language plpgsql immutable as "
            "$$begin perform pg_sleep(0.01); return $1; end$$"
        )
        bundle.write("000-a.sql", "create index concurrently t_x on t (slow(x))")
        witness = Witness()
        context = make_context(progress=witness, limits=RunLimits(first_look=0.05))
        assert migrate(context).error is None
        seen = [index for _, index, _ in witness.of("building")]
        assert "building index: scanning table" in {index.phase for index in seen}

    def test_a_long_statement_is_reported(self, make_context: MakeContext, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "select pg_sleep(1.5)")
        witness = Witness()
        context = make_context(progress=witness, limits=RunLimits(report_every=0.5))
        assert migrate(context).error is None
        file, blockers, seconds = witness.of("still_running")[0]
        assert (file.version, blockers) == ("000-a", ())
        assert 0.5 <= seconds < 1.5

    def test_a_quick_file_needs_no_second_session(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        mine = "pg_stat_activity where datname = current_database()"
        bundle.write("000-a.sql", f"create table a as select count(*) as n from {mine}")
        assert migrate(make_context()).error is None
        # The run's own session and the lock's.
        assert db.query("select n from a") == [(2,)]


class TestAStreamThatIsStuck:
    def test_a_wait_without_end_is_ended(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
    ) -> None:
        """The server has answered long ago, and its answer is held back on the way."""
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(2);")
        asleep = (
            "select pid from pg_stat_activity where state = 'active'"
            " and datname = current_database() and pid <> pg_backend_pid()"
            " and query like '%pg_sleep(2)%'"
        )
        with FaultProxy(db.target.port) as proxy:
            context = make_context(
                target=db.through(proxy.port).target,
                deadline=Deadline.after(60),
                limits=RunLimits(stuck=1.0),
            )

            def freeze_while_it_sleeps() -> None:
                wait_until(lambda: db.query(asleep), "the statement has begun")
                proxy.freeze_first()

            thread = threading.Thread(target=freeze_while_it_sleeps)
            thread.start()
            began = time.monotonic()
            report = migrate(context)
            thread.join()
            assert isinstance(report.error, DatabaseUnavailableError)
            assert "the connection to the database is stuck" in str(report.error)
            assert time.monotonic() - began < 20
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a"]
        assert db.runs()[0]["outcome"] == "failed"

    def test_that_no_session_has_the_name_is_no_evidence(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        pooled: ConnectionTarget,
    ) -> None:
        """Behind a pooler that tells another name, or after a file that sets its own."""
        limits = RunLimits(stuck=0.5, look_every=0.5)
        bundle.write("000-a.sql", "set local application_name = 'x';\nselect pg_sleep(3);")
        assert migrate(make_context(target=pooled, limits=limits)).error is None

    def test_another_transaction_of_the_same_session_is_not_the_blocker(
        self, make_context: MakeContext, db: Database
    ) -> None:
        watcher = blocker_watch.Observer(
            make_context().connect_for_cleanup,
            backend="1",
            application_name="x",
            lock_backend="1",
            is_lock_silent=lambda: False,
            limits=RunLimits(),
        )
        with closing(watcher), db.connect() as holder:
            holder.execute("begin")
            [(pid, began)] = holder.execute(
                "select pid, extract(epoch from xact_start)::text from pg_stat_activity"
                " where pid = pg_backend_pid()"
            ).fetchall()
            watcher.blockers = (Blocker(pid, 0, began=began),)
            assert watcher.still_hold()
            holder.execute("commit")
            holder.execute("begin")
            assert not watcher.still_hold()


def test_the_percentage_of_a_phase() -> None:
    assert IndexProgress("building index", 200, 50).percent == 25
    assert IndexProgress("initializing", 0, 0).percent == 0
    assert IndexProgress("building index", 10, 11).percent == 100
