"""Statements of a file one by one, in one flight: as under psql, and without a promise broken."""

import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Bundle, Cli, Database, wait_until
from fault_proxy import FaultProxy

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.database.connection import Connection
from lib.database.login import connect
from lib.database.pipeline import AHEAD, carry_out
from lib.database.server_error import StatementError
from lib.errors import MigrationFailedError
from lib.settings.connection_target import ConnectionTarget
from lib.signals import defer

MakeContext = Callable[..., RunContext]
GUARD = (
    "create function guard() returns event_trigger language plpgsql as $$ begin"
    " if current_query() ~* 'drop\\s+column' then raise exception 'not here'; end if; end $$;"
    "create event trigger guard on ddl_command_end execute function guard();"
)


class TestWhatAStatementSees:
    @pytest.mark.parametrize("way", ["direct", "pooled"])
    def test_a_guard_that_reads_the_query_sees_the_statement_alone(
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
        db.query(f"create table a (x int, y int); {GUARD}")
        bundle.write(
            "000-a.sql",
            "-- we don't drop column y here\nalter table a add z int;\n-- drop column, some day\n",
        )
        assert migrate(make_context(target=target)).error is None
        bundle.write("001-b.sql", "alter table a add w int;\nalter table a drop column y;")
        error = migrate(make_context(target=target)).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.sqlstate) == (2, "P0001")
        assert db.versions() == ["000-a"]

    def test_each_has_its_own_time_and_text(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create table log (at timestamptz primary key default statement_timestamp(),"
            " said text default current_query())"
        )
        bundle.write(
            "000-a.sql",
            "/* one */ insert into log default values;\n-- two\ninsert into log default values",
        )
        assert migrate(make_context()).error is None
        assert db.query("select said from log order by at") == [
            ("/* one */ insert into log default values;",),
            ("insert into log default values",),
        ]

    def test_an_audit_of_many_statements_grows_by_their_number(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create table t (x int); create table audit (said text);"
            "create function note() returns trigger language plpgsql as"
            " 'begin insert into audit values (current_query()); return new; end';"
            "create trigger note after insert on t for each row execute function note()"
        )
        bundle.write("000-a.sql", "".join(f"insert into t values ({n});\n" for n in range(3000)))
        assert migrate(make_context()).error is None
        assert db.query("select count(*), max(length(said)) < 40 from audit") == [(3000, True)]

    def test_a_dollar_number_is_not_a_parameter(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select 1;\nselect $1;")
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.column, error.sqlstate) == (2, 8, "42P02")

    @pytest.mark.parametrize("copy", ["from stdin", "from stdout"])
    def test_a_copy_among_others_is_part_of_the_same_transaction(
        self, make_context: MakeContext, bundle: Bundle, db: Database, copy: str
    ) -> None:
        sql = (
            f"create table t (x int);\ncopy t {copy};\n1\n2\n\\.\n"
            "insert into t values (3);\ncopy t to stdout;\n"
        )
        bundle.write("000-a.sql", f"{sql}select 1/0;")
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert error.line == 8
        assert not db.has("t")
        bundle.write("000-a.sql", sql)
        assert migrate(make_context()).error is None
        assert db.query("select count(*), count(distinct xmin::text) from t") == [(3, 1)]


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    with connect(db.target, application_name="test", timeout=5) as connection:
        yield connection


class TestAFlight:
    def test_the_rows_are_those_of_the_last_statement_that_returns_any(
        self, connection: Connection
    ) -> None:
        assert carry_out(connection, ["begin", "select 1", "select 2, 3", "commit"]) == [("2", "3")]

    def test_rows_that_nobody_reads_are_not_converted(self, connection: Connection) -> None:
        many = "select i, i, i from generate_series(1, 300000) i"
        tracemalloc.start()
        try:
            assert carry_out(connection, ["begin", many, many, "select 1", "commit"]) == [("1",)]
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()

    def test_no_statements_take_no_flight(self, connection: Connection) -> None:
        assert carry_out(connection, []) == []
        assert carry_out(connection, ["select 1"]) == [("1",)]

    @pytest.mark.parametrize("size", [10, AHEAD - 1, AHEAD, AHEAD + 1, 5 * AHEAD, 100 * AHEAD])
    def test_a_statement_of_any_size_among_others(self, connection: Connection, size: int) -> None:
        long = f"select length('{'x' * size}')"
        assert carry_out(connection, ["begin", long, "select 1", long, long, "commit"]) == [
            (str(size),)
        ]

    def test_answers_of_any_size(self, connection: Connection) -> None:
        large = "select repeat('x', 1000000) from generate_series(1, 3)"
        many = [f"insert into t values ('{'y' * 500}')" for _ in range(200)]
        carry_out(
            connection,
            ["begin", "create temp table t (x text)", large, *many, large, *many, "commit"],
        )

    @pytest.mark.parametrize("before", [0, 1, 5000])
    def test_the_error_has_the_number_of_the_statement_and_its_own_position(
        self, connection: Connection, before: int
    ) -> None:
        statements = [
            "begin",
            *["select 1"] * before,
            "select 'é', nope",
            *["select 1"] * 5000,
            "commit",
        ]
        with pytest.raises(StatementError, match="nope") as raised:
            carry_out(connection, statements)
        assert (raised.value.done, raised.value.server_error.position) == (before + 1, 13)
        connection.settle()
        assert connection.query("select 1") == [[("1",)]]

    def test_many_statements_take_one_flight(self, db: Database) -> None:
        with FaultProxy(db.target.port) as proxy:
            target = db.through(proxy.port).target
            with connect(target, application_name="test", timeout=5) as connection:
                before = proxy.turns
                carry_out(connection, ["begin", *["select 1"] * 50, "commit"])
                assert proxy.turns == before + 1


@contextmanager
def a_signal_in(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt after so long, as the command line's handler does."""

    def strike(*_: object) -> None:
        if not defer(KeyboardInterrupt()):
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TestEndings:
    def test_a_signal_among_many_short_statements_ends_them_each_time(
        self, connection: Connection, db: Database
    ) -> None:
        db.query("create table t (x int)")
        many = ["begin", *(f"insert into t values ({n})" for n in range(20_000)), "commit"]
        for attempt in range(10):
            with pytest.raises(KeyboardInterrupt), a_signal_in(0.03 + 0.01 * attempt):
                carry_out(connection, many)
            assert not connection.is_closed
            assert not connection.in_transaction
        assert db.query("select count(*) from t") == [(0,)]

    @pytest.mark.parametrize(
        ("behind", "times"),
        [(f"insert into t values ('{'x' * 1000}');\n", 12_000), ("select 1;", 60_000)],
    )
    def test_a_killed_client_with_much_behind_a_slow_statement_lets_go_of_its_locks(
        self, cli: Cli, bundle: Bundle, db: Database, behind: str, times: int
    ) -> None:
        db.query("create table t (x text)")
        bundle.write(
            "000-a.sql",
            f"lock table t in access exclusive mode;\nselect pg_sleep(60);\n{behind * times}",
        )
        process = cli.start("migrate")
        db.wait_for("pg_sleep")
        time.sleep(0.5)
        process.kill()
        began = time.monotonic()
        held = (
            "select 1 from pg_locks where relation = 't'::regclass and mode = 'AccessExclusiveLock'"
        )
        wait_until(lambda: not db.query(held), "its locks are gone", 20)
        assert time.monotonic() - began < 5
        process.communicate(timeout=10)

    def test_a_lost_connection_is_an_error(self, make_context: MakeContext, bundle: Bundle) -> None:
        rest = "select 1;\n" * 20_000
        bundle.write("000-a.sql", f"{rest}select pg_terminate_backend(pg_backend_pid());\n{rest}")
        assert "The connection to the database was lost" in str(migrate(make_context()).error)


class TestTimeLimitsOfRoleOrDatabase:
    @pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
    @pytest.mark.parametrize("header", ["", "-- Transaction: none\nselect 1;\n"])
    def test_they_are_lifted(
        self, make_context: MakeContext, bundle: Bundle, db: Database, limit: str, header: str
    ) -> None:
        if (
            limit == "transaction_timeout"
            and db.query("select current_setting('server_version_num')::int < 170000")[0][0]
        ):
            pytest.skip("since PostgreSQL 17")
        db.query(f"alter database {db.target.database} set {limit} = '400ms'")
        bundle.write("000-a.sql", f"{header}select pg_sleep(0.7);")
        assert migrate(make_context()).error is None

    @pytest.mark.parametrize(
        "sql",
        [
            "-- Statement-Timeout: 200ms\nselect pg_sleep(5)",
            "set statement_timeout = '200ms';\nselect pg_sleep(5)",
        ],
    )
    @pytest.mark.parametrize("none", ["", "-- Transaction: none\n"])
    def test_the_files_own_holds(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str, none: str
    ) -> None:
        db.query(f"alter database {db.target.database} set statement_timeout = '3s'")
        bundle.write("000-a.sql", none + sql)
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert error.sqlstate == "57014"

    @pytest.mark.parametrize("value", ["0", "'1h'"])
    def test_a_transaction_timeout_that_the_file_sets_holds(
        self, make_context: MakeContext, bundle: Bundle, db: Database, value: str
    ) -> None:
        if db.query("select current_setting('server_version_num')::int < 170000")[0][0]:
            pytest.skip("since PostgreSQL 17")
        db.query(f"alter database {db.target.database} set transaction_timeout = '500ms'")
        bundle.write("000-a.sql", f"set transaction_timeout = {value};\nselect pg_sleep(0.8);")
        assert migrate(make_context()).error is None
