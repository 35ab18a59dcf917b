"""A busy table: the application hardly notices, and an autovacuum gives way to a long try."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Bundle, Database, Witness, new_cluster, new_database, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import BusyTableError
from lib.local import embedded_server as embedded
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]
# How long the query holds the table, and the lock timeout, in seconds. With --faults, the lock
# timeout is the default that the README gives.
HELD, LOCK_TIMEOUT = (15.0, 2.0) if os.environ.get("FAULTS") else (4.0, 0.4)


class Reader:
    """Reads the table all the time, and remembers how long each read took, in seconds."""

    def __init__(self, db: Database) -> None:
        self.took: list[float] = []
        self._db = db
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        with self._db.connect() as connection:
            while not self._ended.wait(0.01):
                began = time.monotonic()
                connection.execute("select count(*) from t")
                self.took.append(time.monotonic() - began)

    def held_up(self) -> float:
        return sum(seconds for seconds in self.took if seconds > 0.05)


@contextmanager
def a_long_query(db: Database) -> Iterator[int]:
    """A session that reads the table in one query of `HELD` seconds; yields its pid."""
    with db.connect(application_name="reporting") as connection:
        thread = threading.Thread(
            target=connection.execute, args=(f"select count(*), pg_sleep({HELD}) from t",)
        )
        thread.start()
        db.wait_for("pg_sleep")
        yield connection.info.backend_pid
        thread.join()


def test_a_long_query_holds_the_migration_up_and_not_the_application(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query("create table t as select g as x from generate_series(1, 100) g")
    bundle.write("000-a.sql", "alter table t add column y int")
    witness = Witness()
    with a_long_query(db) as pid, Reader(db) as reader:
        began = time.monotonic()
        report = migrate(make_context(progress=witness, lock_timeout=LOCK_TIMEOUT, lock_retries=10))
        waited = time.monotonic() - began
    assert report.error is None
    assert len(reader.took) > 50
    assert max(reader.took) < LOCK_TIMEOUT + 0.3
    assert reader.held_up() < waited / 4
    assert (
        f"held up by pid {pid} (application reporting, in a transaction for "
        in witness.of("retrying")[0][1]
    )


def test_there_is_no_other_try_while_the_same_transaction_holds_the_table(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query("create table t (x int)")
    bundle.write("000-a.sql", "alter table t add column y int")
    witness = Witness()
    with db.connect() as holder:
        holder.execute("begin; lock table t in access share mode")
        # The pause ends after 1.2 to 1.8 s, and is as long again while the holder is there.
        timer = threading.Timer(2.3, lambda: holder.execute("rollback"))
        timer.start()
        assert (
            migrate(make_context(progress=witness, lock_timeout=0.3, lock_retries=1)).error is None
        )
        timer.join()
    assert len(witness.of("retrying")) == 1


def test_idle_session_timeout_does_not_end_a_pausing_session(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(
        f"create table t (x int); alter database {db.target.database} set idle_session_timeout = "
        "'1500ms'"
    )
    bundle.write("000-a.sql", "alter table t add column y int")
    with db.connect() as holder:
        holder.execute("begin; lock table t in access share mode")
        timer = threading.Timer(3, lambda: holder.execute("rollback"))
        timer.start()
        assert migrate(make_context(lock_timeout=0.4, lock_retries=3)).error is None
        timer.join()


# A vacuum of one page at a time, with a long pause after each, takes minutes.
SLOWLY = (
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, "
    "autovacuum_vacuum_threshold = 0,"
    " autovacuum_vacuum_scale_factor = 0"
)


AUTOVACUUM_HOLDS_T = (
    "select a.pid from pg_locks l join pg_stat_activity a using (pid)"
    " where l.relation = 't'::regclass and a.backend_type = 'autovacuum worker'"
)


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectionTarget]:
    """A server whose autovacuum launcher wakes up every second."""
    with new_cluster(tmp_path_factory.mktemp("autovacuum")) as cluster:
        yield embedded.start(
            cluster, options=("fsync=off", "autovacuum_naptime=1s", "deadlock_timeout=700ms")
        )


@pytest.fixture
def quiet(restless: ConnectionTarget) -> Iterator[Database]:
    """A database of that server with a table that needs no vacuum yet."""
    with new_database(restless) as database:
        database.query("create table t (x int); insert into t select generate_series(1, 20000)")
        yield database


@pytest.fixture
def busy(quiet: Database) -> Database:
    """The same database while an autovacuum processes the table."""
    quiet.query(f"alter table t set ({SLOWLY}); delete from t where x % 2 = 0")
    wait_until(lambda: quiet.query(AUTOVACUUM_HOLDS_T), "an autovacuum has the table")
    return quiet


@pytest.mark.parametrize(
    "sql",
    [
        "alter table t add column y int;",
        "-- Lock-Timeout: 300ms\nalter table t add column y int;",
        "-- Transaction: none\nalter table t add column y int;\n"
        "create table seen as select current_setting('lock_timeout') as v;",
    ],
    ids=["transaction", "header", "statements"],
)
def test_a_short_lock_timeout_gets_past_an_autovacuum_by_one_longer_try(
    make_context: MakeContext, bundle: Bundle, busy: Database, sql: str
) -> None:
    [(pid,)] = busy.query(AUTOVACUUM_HOLDS_T)
    bundle.write("000-a.sql", sql)
    witness = Witness()
    report = migrate(
        make_context(target=busy.target, lock_timeout=0.3, lock_retries=2, progress=witness)
    )
    assert report.error is None
    [(_, reason, _)] = witness.of("retrying")
    assert f"held up by pid {pid} (autovacuum worker, in a transaction for " in reason
    assert reason.endswith("; autovacuum gives way to the next try, which waits 1.7s")
    assert busy.query(
        "select 1 from information_schema.columns where table_name = 't' and column_name = 'y'"
    )
    if "seen" in sql:
        assert busy.query("select v from seen") == [("300ms",)]


def test_a_role_that_may_see_little_gets_past_an_autovacuum_too(
    make_context: MakeContext, bundle: Bundle, busy: Database
) -> None:
    with busy.another_role() as theirs:
        role = theirs.target.parameters["user"]
        busy.query(f"begin; set local lock_timeout = 0; alter table t owner to {role}; commit")
        wait_until(lambda: busy.query(AUTOVACUUM_HOLDS_T), "an autovacuum has the table again")
        bundle.write("000-a.sql", "alter table t add column y int;")
        witness = Witness()
        context = make_context(
            target=theirs.target, lock_timeout=0.3, lock_retries=2, progress=witness
        )
        assert migrate(context).error is None
        assert "(autovacuum worker" in witness.of("retrying")[0][1]


@pytest.mark.parametrize(("sets", "retries"), [("", 0), ("set local lock_timeout = '300ms';\n", 1)])
def test_the_error_names_the_way_out_if_no_try_may_be_longer(
    make_context: MakeContext, bundle: Bundle, busy: Database, sets: str, retries: int
) -> None:
    bundle.write("000-a.sql", f"{sets}alter table t add column y int;")
    report = migrate(make_context(target=busy.target, lock_timeout=0.3, lock_retries=retries))
    assert isinstance(report.error, BusyTableError)
    assert "(autovacuum worker, " in str(report.error)
    assert (
        "An autovacuum gives way to a session that waits for longer than deadlock_timeout"
        in str(report.error)
    )


def test_an_autovacuum_that_prevents_wraparound_is_named_and_gets_no_longer_try(
    make_context: MakeContext, bundle: Bundle, quiet: Database
) -> None:
    quiet.query(
        f"alter table t set ({SLOWLY}, autovacuum_enabled = off, autovacuum_freeze_max_age = "
        "100000)"
    )
    quiet.query(
        "do $$begin for i in 1..100001 loop perform pg_current_xact_id(); commit; end loop; end$$"
    )
    wait_until(lambda: quiet.query(AUTOVACUUM_HOLDS_T), "an autovacuum has the table")
    bundle.write("000-a.sql", "alter table t add column y int;")
    witness = Witness()
    report = migrate(
        make_context(target=quiet.target, lock_timeout=0.3, lock_retries=1, progress=witness)
    )
    assert "(autovacuum worker, to prevent wraparound, in a transaction for " in str(report.error)
    assert "prevents transaction ID wraparound does not give way: wait until it has ended" in str(
        report.error
    )
    assert "gives way to the next try" not in witness.of("retrying")[0][1]


def test_no_try_is_longer_if_somebody_else_holds_the_table_too(
    make_context: MakeContext, bundle: Bundle, busy: Database
) -> None:
    bundle.write("000-a.sql", "alter table t add column y int;")
    witness = Witness()
    with busy.connect() as reader:
        reader.execute("begin; lock table t in access share mode")
        report = migrate(
            make_context(target=busy.target, lock_timeout=0.3, lock_retries=1, progress=witness)
        )
        reader.execute("rollback")
    assert isinstance(report.error, BusyTableError)
    assert "gives way to the next try" not in witness.of("retrying")[0][1]
