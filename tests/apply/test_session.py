"""The session of a file: the server ends what a client that is gone or frozen leaves under way."""

import subprocess
import time
from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.deadline import Deadline

MakeContext = Callable[..., RunContext]


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
    seen = (
        "create table if not exists a (v text);\n"
        f"insert into a values (current_setting('{setting}'));\n"
    )
    bundle.write("000-a.sql", seen)
    bundle.write("001-b.sql", f"-- Transaction: none\n{seen}")
    bundle.write("002-c.sql", f"set work_mem = '5MB';\n{seen}")
    assert migrate(make_context()).error is None
    assert db.query("select v from a") == [(expected,)] * 3


def end_abruptly(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=30)


def test_the_statement_of_a_killed_run_ends_within_seconds(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30);")
    process = cli.start("migrate")
    db.wait_for("pg_sleep(30)")
    end_abruptly(process)
    mine = "datname = current_database() and pid <> pg_backend_pid()"
    at_it = (
        f"select 1 from pg_stat_activity where {mine} and state = 'active' and query like "
        "'%pg_sleep(30)%'"
    )
    wait_until(lambda: not db.query(at_it), "the server has noticed", 10)
    bundle.write("000-a.sql", "create table a (x int)")
    assert cli("migrate").returncode == 0
    assert [run["outcome"] for run in db.runs()] == ["interrupted", "succeeded"]


def test_the_build_of_an_index_continues_without_its_client(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    db.query("create table t (x int)")
    bundle.write(
        "000-a.sql", "-- Transaction: none\nselect 1;\ncreate index concurrently t_x on t (x);"
    )
    mine = "datname = current_database() and state = 'active'"
    building = (
        f"select pid from pg_stat_activity where {mine} and query like 'create index concurrently "
        "t_x%'"
    )
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


def test_a_frozen_function_holds_nothing_past_its_deadline(
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
