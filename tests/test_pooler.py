"""The same runs through a real PgBouncer in transaction mode: one at a time, each file once, nothing left in the pool."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import Bundle, Database, local_environ

from lib import runner
from lib.connection_url import ConnectionTarget
from lib.errors import MigrationFileError, RunInProgressError
from lib.job import Job
from lib.lock import RunLock

MakeJob = Callable[..., Job]
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture(scope="module")
def pooler(server: ConnectionTarget, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PgBouncer in front of every database of the test server."""
    if PGBOUNCER is None:
        if os.environ.get("CI"):
            pytest.fail("PgBouncer is missing, and CI must have it")
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    folder = tmp_path_factory.mktemp("pgbouncer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user, password = server.parameters["user"], server.parameters["password"]
    (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
        f"listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=scram-sha-256\n"
        f"auth_file={folder}/users.txt\npool_mode=transaction\ndefault_pool_size=10\nmax_client_conn=200\n"
    )
    demote = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if demote:
        folder = _readable_copy(folder)
    process = subprocess.Popen([PGBOUNCER, "-q", str(folder / "pgbouncer.ini")], **demote)
    _wait_for(port)
    yield port
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    shutil.rmtree(folder)


def _readable_copy(folder: Path) -> Path:
    """PgBouncer won't run as root, and the user it then runs as can't read a test's folder."""
    copy = Path("/var/tmp") / f"pgbouncer-{os.getpid()}"
    copy.mkdir(mode=0o700)
    for path in folder.iterdir():
        text = path.read_text().replace(str(folder), str(copy))
        (copy / path.name).write_text(text)
        shutil.chown(copy / path.name, "nobody")
    shutil.chown(copy, "nobody")
    return copy


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, "PgBouncer did not start"
            time.sleep(0.05)


@pytest.fixture
def pooled(db: Database, pooler: int) -> Iterator[ConnectionTarget]:
    return replace(db.target, parameters={**db.target.parameters, "port": str(pooler)})


def test_a_chain_is_applied_through_a_transaction_pooler(
    make_job: MakeJob, bundle: Bundle, db: Database, pooled: ConnectionTarget
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create index concurrently a_x on a (x)")
    bundle.write("002-c.sql", "set search_path = pg_catalog;\ncreate table public.c (x int);")
    report = runner.migrate(make_job(target=pooled))
    assert report.error is None
    assert db.versions() == ["000-a", "001-b", "002-c"]
    assert db.advisory_locks() == 0
    with psycopg.connect(**pooled.parameters, autocommit=True, prepare_threshold=None) as client:
        for _ in range(5):
            assert client.execute("show search_path").fetchone() == ('"$user", public',)
            assert client.execute("show lock_timeout").fetchone() == ("0",)


@pytest.mark.parametrize(
    "sql",
    [
        "set work_mem = '66MB'; select pg_advisory_lock(4242); select 1/0;",
        "set search_path = pg_catalog; listen news; create temp table t (x int); select 1/0;",
    ],
    ids=["parameter and lock", "path, listen and temp table"],
)
def test_a_file_that_fails_leaves_nothing_in_the_pool(
    make_job: MakeJob, bundle: Bundle, db: Database, pooled: ConnectionTarget, sql: str
) -> None:
    bundle.write("000-a.sql", sql)
    assert runner.migrate(make_job(target=pooled)).error is not None
    assert db.advisory_locks() == 0
    with ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(psycopg.connect(**pooled.parameters, autocommit=True, prepare_threshold=None))
            client.execute("begin")
            assert client.execute("show work_mem").fetchone() == ("4MB",)
            assert client.execute("show search_path").fetchone() == ('"$user", public',)
            assert client.execute("select to_regclass('pg_temp.t')").fetchone() == (None,)


@pytest.mark.parametrize(
    "sql",
    [
        "-- Transaction: none\ncreate table b (x int);\ncreate index concurrently b_x on b (x);",
        "-- Lock-Timeout: 5s\ncreate index concurrently a_x on a (x);",
    ],
    ids=["several statements", "a timeout"],
)
def test_a_file_that_needs_a_session_is_refused_before_anything_is_applied(
    make_job: MakeJob, bundle: Bundle, db: Database, pooled: ConnectionTarget, sql: str
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", sql)
    report = runner.migrate(make_job(target=pooled))
    assert isinstance(report.error, MigrationFileError)
    assert "MIGRATION_DATABASE_URL" in str(report.error)
    assert "001-b" in str(report.error)
    assert not db.has("a")
    assert runner.migrate(make_job()).error is None


def test_the_lock_excludes_through_a_pooler_and_directly(
    make_job: MakeJob, bundle: Bundle, db: Database, pooled: ConnectionTarget
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    for holder, contender in ((pooled, db.target), (db.target, pooled), (pooled, pooled)):
        with RunLock(make_job(target=holder).connect, patience=0):
            assert isinstance(runner.migrate(make_job(target=contender)).error, RunInProgressError)
    assert db.advisory_locks() == 0
    assert runner.migrate(make_job(target=pooled)).error is None


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_runs_that_race_apply_each_file_once_and_all_succeed(
    bundle: Bundle, db: Database, pooled: ConnectionTarget, way: str
) -> None:
    journal = "create table journal (version text, at timestamptz default clock_timestamp());"
    for number in range(6):
        index = "" if number != 3 else "create index concurrently journal_at on journal (at);"
        sql = (
            index or f"{journal if number == 0 else ''}insert into journal values ('{number:03d}'); select pg_sleep(0.05);"
        )
        bundle.write(f"{number:03d}-step.sql", sql)
    shutil.copytree(Path(__file__).parent.parent / "lib", bundle.root / "lib")
    url = db.url if way == "direct" else db.url.replace(f":{db.target.port}/", f":{pooled.port}/")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lib", "migrate"],
            cwd=bundle.root,
            env=local_environ(DATABASE_URL=url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(6)
    ]
    outputs = [process.communicate(timeout=90)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, outputs
    assert db.query("select version, count(*) from journal group by 1 order by 1") == [
        (f"{number:03d}", 1) for number in (0, 1, 2, 4, 5)
    ]
    assert db.versions() == [f"{number:03d}-step" for number in range(6)]
    assert [run["outcome"] for run in db.runs()] == ["succeeded"]
    assert db.advisory_locks() == 0
