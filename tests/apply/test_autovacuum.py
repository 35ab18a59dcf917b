"""An autovacuum that holds the table: it is told as one, and gives way to a try that waits long enough."""

from collections.abc import Callable, Iterator

import pytest
from conftest import Bundle, Database, Witness, new_cluster, new_database, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_context import RunContext
from lib.errors import BusyTableError
from lib.local import embedded_server as embedded
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]
# Of one page at a time, with a long pause after each: it would take minutes.
SLOWLY = (
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 0,"
    " autovacuum_vacuum_scale_factor = 0"
)
HELD = (
    "select a.pid from pg_locks l join pg_stat_activity a using (pid)"
    " where l.relation = 't'::regclass and a.backend_type = 'autovacuum worker'"
)


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectionTarget]:
    """A server whose autovacuum looks around every second."""
    with new_cluster(tmp_path_factory.mktemp("autovacuum")) as cluster:
        yield embedded.start(
            cluster, options=("fsync=off", "autovacuum_naptime=1s", "deadlock_timeout=700ms")
        )


@pytest.fixture
def quiet(restless: ConnectionTarget) -> Iterator[Database]:
    """A database there, with a table that no autovacuum has a reason to look at yet."""
    with new_database(restless) as database:
        database.query("create table t (x int); insert into t select generate_series(1, 20000)")
        yield database


@pytest.fixture
def busy(quiet: Database) -> Database:
    """The same while an autovacuum is at work on the table."""
    quiet.query(f"alter table t set ({SLOWLY}); delete from t where x % 2 = 0")
    wait_until(lambda: quiet.query(HELD), "an autovacuum has the table")
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
def test_a_short_lock_timeout_gets_past_it_by_one_longer_try(
    make_context: MakeContext, bundle: Bundle, busy: Database, sql: str
) -> None:
    [(pid,)] = busy.query(HELD)
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


def test_a_role_that_may_see_little_gets_past_it_too(
    make_context: MakeContext, bundle: Bundle, busy: Database
) -> None:
    with busy.another_role() as theirs:
        role = theirs.target.parameters["user"]
        busy.query(f"begin; set local lock_timeout = 0; alter table t owner to {role}; commit")
        wait_until(lambda: busy.query(HELD), "an autovacuum has the table again")
        bundle.write("000-a.sql", "alter table t add column y int;")
        witness = Witness()
        context = make_context(
            target=theirs.target, lock_timeout=0.3, lock_retries=2, progress=witness
        )
        assert migrate(context).error is None
        assert "(autovacuum worker" in witness.of("retrying")[0][1]


@pytest.mark.parametrize(("sets", "retries"), [("", 0), ("set local lock_timeout = '300ms';\n", 1)])
def test_where_no_try_may_be_longer_the_way_out_is_told(
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


def test_one_that_prevents_wraparound_is_told_and_not_waited_for_any_longer(
    make_context: MakeContext, bundle: Bundle, quiet: Database
) -> None:
    quiet.query(
        f"alter table t set ({SLOWLY}, autovacuum_enabled = off, autovacuum_freeze_max_age = 100000)"
    )
    quiet.query(
        "do $$begin for i in 1..100001 loop perform pg_current_xact_id(); commit; end loop; end$$"
    )
    wait_until(lambda: quiet.query(HELD), "an autovacuum has the table")
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


def test_where_somebody_else_holds_the_table_too_no_try_is_longer(
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
