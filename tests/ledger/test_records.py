"""The ledger and the journal: what is recorded, and what the table of another tool means."""

import hashlib
import time
from collections.abc import Callable

import pytest
from conftest import Bundle, Database

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.errors import (
    LedgerError,
    MigrationFailedError,
)

MakeContext = Callable[..., RunContext]


class TestTheJournalOfRuns:
    def test_a_run_is_recorded_with_what_it_applied(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int)")
        migrate(make_context(source="build"))
        [run] = db.runs()
        assert run["source"] == "build"
        assert run["outcome"] == "succeeded"
        assert run["environment"] == "development"
        assert run["applied"] == ["000-a", "001-b"]
        assert run["finished_at"] >= run["started_at"]
        assert run["in_progress_version"] is None

    def test_a_failure_is_recorded_with_file_error_and_sqlstate(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "select 1/0")
        migrate(make_context())
        [run] = db.runs()
        assert run["outcome"] == "failed"
        assert run["applied"] == ["000-a"]
        assert (run["failed_version"], run["sqlstate"]) == ("001-b", "22012")
        assert "division by zero" in run["error"]

    def test_a_dead_run_is_marked_interrupted_by_the_next_even_with_nothing_to_apply(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        db.query("update schema_migration_runs set outcome = 'running', finished_at = null")
        assert migrate(make_context()).error is None
        [run] = db.runs()
        assert run["outcome"] == "interrupted"
        assert run["finished_at"] is not None

    def test_a_file_outside_a_transaction_clears_its_progress(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create index concurrently a_x on a (x)")
        bundle.write(
            "002-c.sql",
            "-- Transaction: none\ncreate index concurrently a_x2 on a (x);\nselect 1/0;",
        )
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFailedError)
        assert report.error.line == 3
        [run] = db.runs()
        assert run["applied"] == ["000-a", "001-b"]
        assert (run["in_progress_version"], run["in_progress_statement"]) == ("002-c", 2)
        assert db.versions() == ["000-a", "001-b"]


class TestAnotherRunner:
    ROWS = (
        "create table schema_migrations (id serial primary key, version varchar(255) unique not"
        " null,"
        " name varchar(255) not null, applied_at timestamp default now(), execution_time_ms"
        " integer, checksum varchar(64));"
        "insert into schema_migrations (version, name, applied_at, execution_time_ms, checksum)"
        " values"
    )

    def test_a_database_of_the_original_runner_is_carried_on_as_it_is(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        first, second = "create table a (x int);\r\n", "create table b (x int);\n"
        bundle.write("000-a.sql", first)
        bundle.write("001-b.sql", second)
        db.query(
            f"{self.ROWS} ('000-a', 'A', '2024-01-01 10:00', 12,"
            f" '{hashlib.sha256(first.encode()).hexdigest()}'),"
            "('001-b', 'B', '2024-01-02 10:00', null,"
            f" '{hashlib.sha256(second.encode()).hexdigest()}')"
        )
        before = db.query("select ctid, xmin, * from schema_migrations")
        assert migrate(make_context()).applied == ()
        assert read_status(make_context()).plan.state == "up-to-date"
        bundle.write("002-c.sql", "create table c (x int)")
        assert migrate(make_context()).error is None
        assert (
            db.query("select ctid, xmin, * from schema_migrations where version < '002'") == before
        )
        assert db.versions() == ["000-a", "001-b", "002-c"]

    @pytest.mark.parametrize(
        ("columns", "whose"),
        [
            ("version varchar primary key", "Rails"),
            ("version bigint, dirty boolean", "golang-migrate"),
            ("foo int, bar int", "another tool"),
        ],
    )
    def test_another_tools_table_is_left_untouched_and_named(
        self, make_context: MakeContext, bundle: Bundle, db: Database, columns: str, whose: str
    ) -> None:
        db.query(f"create table schema_migrations ({columns})")
        bundle.write("000-a.sql", "create table a (x int)")
        report = migrate(make_context())
        assert isinstance(report.error, LedgerError)
        assert whose in str(report.error)
        assert not db.has("a")
        assert not db.has("schema_migration_runs")


class TestOddLedgers:
    def test_the_style_of_dates_is_no_matter(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"alter database {db.target.database} set datestyle = 'German, DMY'")
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context()).error is None
        found = read_status(make_context())
        assert found.plan.last is not None
        assert found.plan.last.applied_at is not None
        assert found.last_run is not None
        assert abs(found.last_run.started_at.timestamp() - time.time()) < 10

    def test_a_time_that_python_cannot_hold_is_unknown(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        for odd in ("'infinity'", "'0044-03-15 BC'", "null"):
            db.query(
                f"update schema_migrations set applied_at = {odd}, execution_time_ms = null,"
                " checksum = null"
            )
            found = read_status(make_context())
            assert found.plan.state == "up-to-date"
            assert found.plan.entries[0].applied_at is None

    def test_a_version_without_a_number_makes_no_file_late(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        db.query("insert into schema_migrations (version, name) values ('20240101120000', 'Old')")
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context(strict_order=True)).error is None


def test_a_role_without_rights_is_told_what_it_lacks(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    role = f"reader_{db.target.database}"
    db.query(f"create role {role} login password 'reader'")
    try:
        context = make_context()
        target = type(context.target)(
            "DATABASE_URL", {**context.target.parameters, "user": role, "password": "reader"}
        )
        with pytest.raises(LedgerError, match=r"grant select on public\.schema_migrations"):
            read_status(make_context(target=target))
        db.query(f"grant select on schema_migrations to {role}")
        with pytest.raises(LedgerError, match=r"grant select on public\.schema_migration_runs"):
            read_status(make_context(target=target))
        db.query(f"grant select on schema_migration_runs to {role}")
        assert read_status(make_context(target=target)).plan.state == "up-to-date"
        bundle.write("001-b.sql", "create table b (x int)")
        assert isinstance(migrate(make_context(target=target)).error, LedgerError)
    finally:
        db.query(f"drop owned by {role}; drop role {role}")
