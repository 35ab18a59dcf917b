"""A busy table: who holds it is named, the application hardly notices, and the migration gets through."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Bundle, Cli, Database, Witness, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_context import RunContext
from lib.deadline import Deadline

MakeContext = Callable[..., RunContext]
# How long the query holds the table, and the lock timeout, in seconds; --faults takes what the README's default is.
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
    """A session that reads the table in one query for so long; its pid."""
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


def test_it_is_not_tried_again_while_the_same_transaction_holds_the_table(
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


def test_a_pause_is_not_idle_enough_for_a_limit_of_idle_sessions(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(
        f"create table t (x int); alter database {db.target.database} set idle_session_timeout = '1500ms'"
    )
    bundle.write("000-a.sql", "alter table t add column y int")
    with db.connect() as holder:
        holder.execute("begin; lock table t in access share mode")
        timer = threading.Timer(3, lambda: holder.execute("rollback"))
        timer.start()
        assert migrate(make_context(lock_timeout=0.4, lock_retries=3)).error is None
        timer.join()


@pytest.mark.parametrize(
    "setting", ["client_connection_check_interval", "tcp_keepalives_idle", "tcp_keepalives_count"]
)
def test_a_transaction_asks_the_server_to_notice_that_its_client_is_gone(
    make_context: MakeContext, bundle: Bundle, db: Database, setting: str
) -> None:
    expected = {
        "client_connection_check_interval": "1s",
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_count": "3",
    }[setting]
    seen = f"create table if not exists a (v text);\ninsert into a values (current_setting('{setting}'));\n"
    bundle.write("000-a.sql", seen)
    bundle.write("001-b.sql", f"-- Transaction: none\n{seen}")
    bundle.write("002-c.sql", f"set work_mem = '5MB';\n{seen}")
    assert migrate(make_context()).error is None
    assert db.query("select v from a") == [(expected,)] * 3


def end_abruptly(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=30)


def test_what_a_killed_run_was_at_is_gone_in_seconds(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30);")
    process = cli.start("migrate")
    db.wait_for("pg_sleep(30)")
    end_abruptly(process)
    mine = "datname = current_database() and pid <> pg_backend_pid()"
    at_it = f"select 1 from pg_stat_activity where {mine} and state = 'active' and query like '%pg_sleep(30)%'"
    wait_until(lambda: not db.query(at_it), "the server has noticed", 10)
    bundle.write("000-a.sql", "create table a (x int)")
    assert cli("migrate").returncode == 0
    assert [run["outcome"] for run in db.runs()] == ["interrupted", "succeeded"]


def test_a_build_of_an_index_goes_on_without_its_client(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    db.query("create table t (x int)")
    bundle.write(
        "000-a.sql", "-- Transaction: none\nselect 1;\ncreate index concurrently t_x on t (x);"
    )
    mine = "datname = current_database() and state = 'active'"
    building = f"select pid from pg_stat_activity where {mine} and query like 'create index concurrently t_x%'"
    with db.connect() as writer:
        writer.execute("begin; lock table t in row exclusive mode")
        process = cli.start("migrate")
        db.wait_for("create index concurrently t_x")
        end_abruptly(process)
        # Longer than a server that looks for its client takes to notice.
        time.sleep(2)
        assert db.query(building)
        second = cli.start("migrate")
        time.sleep(1)
        writer.execute("rollback")
        output, _ = second.communicate(timeout=60)
    assert second.returncode == 0, output
    assert db.query("select indisvalid from pg_index where indexrelid = 't_x'::regclass") == [
        (True,)
    ]
    assert db.versions() == ["000-a"]


def test_a_function_that_freezes_holds_nothing_past_its_deadline(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    if int(db.server_version.split(".")[0]) < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    bundle.write(
        "000-a.sql", "create table a as select current_setting('transaction_timeout') as v"
    )
    assert migrate(make_context(deadline=Deadline.after(20))).error is None
    [(limit,)] = db.query("select v from a")
    assert 20_000 < int(limit.removesuffix("ms")) <= 25_000
