"""A file outside a transaction: what a failure or a kill leaves, and what is known of it."""

import os
import signal
import threading
from collections.abc import Callable

import psycopg
import pytest
from conftest import Bundle, Cli, Database, Witness, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import BusyTableError, MigrationFailedError

MakeContext = Callable[..., RunContext]
NONE = "-- Transaction: none\n"


def invalid_indexes(db: Database) -> list[str]:
    return [
        row[0]
        for row in db.query("select indexrelid::regclass::text from pg_index where not indisvalid")
    ]


class TestAnIndexThatFails:
    @pytest.fixture(autouse=True)
    def duplicates(self, db: Database) -> None:
        db.query("create table t (x int); insert into t values (1), (1)")

    @pytest.mark.parametrize(
        "name", ["t_x ", "if not exists t_x ", ""], ids=["named", "if not exists", "unnamed"]
    )
    def test_it_leaves_nothing_invalid(
        self, make_context: MakeContext, bundle: Bundle, db: Database, name: str
    ) -> None:
        bundle.write("000-a.sql", f"create unique index concurrently {name}on t (x)")
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFailedError)
        assert report.error.sqlstate == "23505"
        assert invalid_indexes(db) == []
        db.query("delete from t where ctid = '(0,1)'")
        assert migrate(make_context()).error is None
        assert db.query("select indisvalid from pg_index where indrelid = 't'::regclass") == [
            (True,)
        ]

    def test_another_ones_invalid_index_is_neither_taken_for_good_nor_dropped(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.query("create unique index concurrently t_x on t (x)")
        bundle.write("000-a.sql", "create index concurrently if not exists t_x on t (x)")
        for _ in range(2):
            report = migrate(make_context())
            assert isinstance(report.error, MigrationFailedError)
            assert "the index public.t_x was there already, and it is INVALID" in str(report.error)
            assert invalid_indexes(db) == ["t_x"]
        db.query("drop index concurrently public.t_x")
        assert migrate(make_context()).error is None

    def test_one_that_loses_to_a_lock_timeout_of_its_header_is_built_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "-- Lock-Timeout: 200ms\ncreate index concurrently t_x on t (x)")
        witness = Witness()
        with db.connect() as writer:
            writer.execute("begin; lock table t in row exclusive mode")
            timer = threading.Timer(1, lambda: writer.execute("rollback"))
            timer.start()
            assert migrate(make_context(progress=witness, lock_retries=20)).error is None
            timer.join()
        assert witness.of("retrying")
        assert db.query("select indisvalid from pg_index where indrelid = 't'::regclass") == [
            (True,)
        ]
        assert db.versions() == ["000-a"]

    def test_what_somebody_else_is_building_meanwhile_is_left_alone(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """Ours fails while theirs is invalid still: it is not taken for what ours has left."""
        db.query("create table other (x int); alter table t add column y int")
        bundle.write("000-a.sql", "create unique index concurrently on t (x)")
        with db.connect() as writer, db.connect() as theirs:
            writer.execute("begin isolation level repeatable read; select 1 from other")
            thread = threading.Thread(
                target=theirs.execute, args=("create index concurrently theirs on t (y)",)
            )
            thread.start()
            wait_until(
                lambda: invalid_indexes(db) == ["theirs"], "their index is there, and invalid"
            )
            # Theirs has the table's lock: ours has to wait for it, and gives way.
            bundle.write(
                "000-a.sql", "-- Lock-Timeout: 300ms\ncreate unique index concurrently on t (x)"
            )
            assert isinstance(migrate(make_context(lock_retries=1)).error, BusyTableError)
            writer.execute("rollback")
            thread.join()
        assert db.query(
            "select indisvalid from pg_index where indexrelid = 'theirs'::regclass"
        ) == [(True,)]


class TestItsSession:
    def test_a_timeout_of_the_files_own_leaves_the_others_as_they_are(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        names = ("statement_timeout", "lock_timeout", "client_connection_check_interval")
        shown = ", ".join(f"current_setting('{name}') as {name}" for name in names)
        bundle.write(
            "000-a.sql",
            f"{NONE}set statement_timeout = '1h';\nvacuum pg_class;\ncreate table a as select"
            f" {shown};",
        )
        assert migrate(make_context()).error is None
        assert db.query("select * from a") == [("1h", "200ms", "1s")]

    def test_what_a_reset_takes_away_is_set_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            f"{NONE}select 1;\nreset all;\ncreate table a as select"
            " current_setting('lock_timeout') as v;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select v from a") == [("200ms",)]

    @pytest.mark.parametrize("transaction", ["", NONE])
    def test_a_statement_timeout_of_the_roles_can_be_switched_off(
        self, make_context: MakeContext, bundle: Bundle, db: Database, transaction: str
    ) -> None:
        db.query(f"alter database {db.target.database} set statement_timeout = '500ms'")
        bundle.write("000-a.sql", f"{transaction}set statement_timeout = 0;\nselect pg_sleep(0.8);")
        assert migrate(make_context()).error is None

    def test_vacuum_full_gives_way_as_any_strong_lock(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table t (x int)")
        for number, sql in enumerate(("vacuum full t", "vacuum (full, verbose) t")):
            bundle.write(f"{number:03d}-a.sql", sql)
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table t in access share mode")
            assert isinstance(migrate(make_context(lock_retries=0)).error, BusyTableError)
        assert migrate(make_context()).error is None

    def test_two_connections_are_enough(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            f"{NONE}create table a (x int);\nselect 1;\ncreate index concurrently a_x on a (x);",
        )
        with db.another_role("connection limit 2") as limited:
            db.query(
                f"grant create on database {db.target.database} to"
                f" {limited.target.parameters['user']}"
            )
            assert migrate(make_context(target=limited.target)).error is None

    def test_another_run_that_has_begun_meanwhile_is_noticed_before_a_statement(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        mark = "update public.schema_migration_runs set outcome = 'interrupted'"
        bundle.write("000-a.sql", f"{NONE}{mark};\ncreate table a (x int);")
        assert "Another run has begun meanwhile" in str(migrate(make_context()).error)
        assert not db.has("a")


class TestTheRecord:
    def test_each_statement_is_noted_before_it_starts(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        note = "select in_progress_version, in_progress_statement from public.schema_migration_runs"
        bundle.write(
            "000-a.sql",
            f"{NONE}create table a as {note};\ninsert into a {note};\nbegin;\ninsert into a"
            f" {note};\ncommit;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select * from a order by 2") == [("000-a", 1), ("000-a", 2), ("000-a", 3)]
        assert [
            (run["in_progress_version"], run["in_progress_statement"]) for run in db.runs()
        ] == [(None, None)]

    @pytest.mark.parametrize(
        ("statement", "is_known"),
        [("insert into a select 2 from pg_sleep(30)", True), ("call slow()", False)],
        ids=["a statement", "a procedure, which may have committed"],
    )
    def test_what_the_server_confirmed_to_have_canceled_is_not_in_doubt(
        self, cli: Cli, bundle: Bundle, db: Database, statement: str, is_known: bool
    ) -> None:
        db.query("create procedure slow() language plpgsql as $$begin perform pg_sleep(30); end$$")
        bundle.write(
            "000-a.sql", f"{NONE}create table a (x int);\ninsert into a values (1);\n{statement};"
        )
        process = cli.start("migrate")
        db.wait_for(statement)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 143
        [run] = db.runs()
        assert (run["outcome"], run["in_progress_statement"]) == ("interrupted", 3)
        assert run["failed_version"] == ("000-a" if is_known else None)
        bundle.write(
            "000-a.sql",
            f"{NONE}create table a (x int);\ninsert into a values (1);\ninsert into a values (3);",
        )
        done = cli("migrate")
        assert done.returncode == (0 if is_known else 1)
        assert db.query("select x from a order by 1") == ([(1,), (3,)] if is_known else [(1,)])

    def test_a_run_that_was_killed_between_two_statements_goes_on(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql", f"{NONE}create table a (x int);\nvacuum a;\nselect pg_sleep(30) /* set */;"
        )
        process = cli.start("migrate")
        db.wait_for("pg_sleep(30)")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        done = cli("migrate", MIGRATION_RUN_WAIT="20s")
        assert done.returncode == 1
        assert "it is not known whether statement 3 of 3" in done.stderr

    def test_a_busy_table_outside_a_transaction_says_what_stays(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table t (x int)")
        bundle.write("000-a.sql", f"{NONE}create table a (x int);\nalter table t add column y int;")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table t in access share mode")
            report = migrate(make_context())
        assert isinstance(report.error, BusyTableError)
        assert "1 of the file's statements. The next run goes on after them." in str(report.error)
        assert migrate(make_context()).error is None
        assert db.query(
            "select count(*) from information_schema.columns where table_name = 't'"
        ) == [(2,)]
