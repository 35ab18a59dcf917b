"""The same runs through PgBouncer in transaction mode: one at a time, nothing left in the pool."""

import json
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from conftest import Bundle, Cli, Database, connect

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import MigrationFileError, RunInProgressError
from lib.ledger.run_lock import RunLock
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]


def test_a_chain_is_applied_through_a_transaction_pooler(
    make_context: MakeContext, bundle: Bundle, db: Database, pooled: ConnectionTarget
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create index concurrently a_x on a (x)")
    bundle.write("002-c.sql", "set search_path = pg_catalog;\ncreate table public.c (x int);")
    report = migrate(make_context(target=pooled))
    assert report.error is None
    assert db.versions() == ["000-a", "001-b", "002-c"]
    assert db.advisory_locks() == 0
    with connect(pooled, prepare_threshold=None) as client:
        for _ in range(5):
            assert client.execute("show search_path").fetchone() == ('"$user", public',)
            assert client.execute("show lock_timeout").fetchone() == ("0",)


def test_a_pooler_is_recognized_whatever_its_name(
    cli: Cli, bundle: Bundle, db: Database, pooler: int
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    pooled = db.through(pooler)
    assert (
        f"{pooled.target.place} (from DATABASE_URL; through a pooler"
        in cli("migrate", DATABASE_URL=pooled.url).stderr
    )
    assert (
        "from DATABASE_URL; through a pooler or a proxy)\n"
        in cli("status", DATABASE_URL=pooled.url).stdout
    )
    both = {"DATABASE_URL": pooled.url, "DATABASE_URL_UNPOOLED": db.url}
    assert (
        f"\nMigrations go to: {db.target.place}, from DATABASE_URL_UNPOOLED, the direct"
        in cli("status", **both).stdout
    )
    sibling = "from DATABASE_URL_UNPOOLED, the direct sibling of DATABASE_URL; direct)"
    assert f"Migrating {db.target.place} ({sibling}.\n" in cli("migrate", **both).stderr
    for environ, is_direct in ((both, False), ({"DATABASE_URL": db.url}, True)):
        assert (
            json.loads(cli("status", "--json", **environ).stdout)["connection"]["direct"]
            is is_direct
        )


@pytest.mark.parametrize(
    "sql",
    [
        "set work_mem = '66MB'; select pg_advisory_lock(4242); select 1/0;",
        "set search_path = pg_catalog; listen news; create temp table t (x int); select 1/0;",
    ],
    ids=["parameter and lock", "path, listen and temp table"],
)
def test_a_file_that_fails_leaves_nothing_in_the_pool(
    make_context: MakeContext, bundle: Bundle, db: Database, pooled: ConnectionTarget, sql: str
) -> None:
    bundle.write("000-a.sql", sql)
    assert migrate(make_context(target=pooled)).error is not None
    assert db.advisory_locks() == 0
    with ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(connect(pooled, prepare_threshold=None))
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
    make_context: MakeContext, bundle: Bundle, db: Database, pooled: ConnectionTarget, sql: str
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", sql)
    report = migrate(make_context(target=pooled))
    assert isinstance(report.error, MigrationFileError)
    assert "MIGRATION_DATABASE_URL" in str(report.error)
    assert "001-b" in str(report.error)
    assert not db.has("a")
    assert migrate(make_context()).error is None


def test_the_lock_excludes_through_a_pooler_and_directly(
    make_context: MakeContext, bundle: Bundle, db: Database, pooled: ConnectionTarget
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    for holder, contender in ((pooled, db.target), (db.target, pooled), (pooled, pooled)):
        with RunLock(make_context(target=holder).connect, timeout=0):
            assert isinstance(migrate(make_context(target=contender)).error, RunInProgressError)
    assert db.advisory_locks() == 0
    assert migrate(make_context(target=pooled)).error is None
