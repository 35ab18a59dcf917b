"""The runner against a real PostgreSQL: every file once, whole or not at all, and on record."""

import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib import ledger, runner
from lib.errors import (
    BusyTableError,
    ConfigurationError,
    DatabaseUnavailableError,
    GuardError,
    IntegrityError,
    LedgerError,
    MigrationFailedError,
    MigrationFileError,
    OrderError,
    OutOfTimeError,
    RunInProgressError,
)
from lib.lock import RunLock
from lib.runner import Job

MakeJob = Callable[..., Job]


def test_pending_files_are_detected_and_nothing_is_written(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    found = runner.status(make_job())
    assert found.plan.state == "pending"
    assert [file.version for file in found.plan.pending] == ["000-a"]
    assert not db.has("public.schema_migrations")
    assert not db.has("public.schema_migration_runs")


def test_pending_files_are_applied_in_numeric_order(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("010-second.sql", "alter table a add column y int")
    bundle.write("1000-third.sql", "alter table a add column z int")
    bundle.write("002-first.sql", "create table a (x int)")
    report = runner.migrate(make_job())
    assert report.error is None
    assert report.pending == 0
    assert [migration.version for migration in report.applied] == ["002-first", "010-second", "1000-third"]
    assert db.versions() == ["002-first", "010-second", "1000-third"]


def test_the_ledger_row_holds_name_checksum_time_and_duration(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-create-a-table.sql", "create table a (x int);\r\nselect pg_sleep(0.05);\r\n")
    report = runner.migrate(make_job())
    [(name, checksum, milliseconds, age)] = db.query(
        "select name, checksum, execution_time_ms, abs(extract(epoch from applied_at - (now() at time zone 'utc')))"
        " from public.schema_migrations"
    )
    assert name == "Create A Table"
    assert checksum == hashlib.sha256(b"create table a (x int);\nselect pg_sleep(0.05);\n").hexdigest()
    assert milliseconds >= 50
    assert report.applied[0].execution_time_ms == milliseconds
    assert age < 10


def test_the_time_in_the_ledger_is_utc_whatever_the_session_has(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    db.query(f"alter database {db.target.database} set timezone = 'Pacific/Auckland'")
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    assert db.query(
        "select abs(extract(epoch from applied_at - (now() at time zone 'utc'))) < 10 from schema_migrations"
    ) == [(True,)]
    last = runner.status(make_job()).plan.last
    assert last is not None
    assert last.applied_at is not None
    assert abs(last.applied_at.timestamp() - time.time()) < 10


def test_the_second_run_applies_and_writes_nothing(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    before = db.query("select xmin, * from schema_migrations"), db.query("select xmin, * from schema_migration_runs")
    second = runner.migrate(make_job())
    assert second.error is None
    assert second.applied == ()
    assert before == (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )


def test_an_empty_folder_is_fine_and_creates_nothing(make_job: MakeJob, db: Database) -> None:
    report = runner.migrate(make_job())
    assert report.error is None
    assert not db.has("public.schema_migrations")
    assert runner.status(make_job()).plan.state == "uninitialised"


def test_a_failed_statement_leaves_nothing_of_its_file_behind(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-good.sql", "create table good (x int)")
    bundle.write("001-bad.sql", "create table bad (x int);\n\n  select 1/0;\ncreate table never (x int);")
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert "migrations/001-bad.sql:3:3: division by zero (SQLSTATE 22012)" in str(report.error)
    assert (report.error.version, report.error.line, report.error.sqlstate) == ("001-bad", 3, "22012")
    assert db.versions() == ["000-good"]
    assert db.has("good")
    assert not db.has("bad")


def test_the_third_file_fails_and_two_stay(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int)")
    bundle.write("002-c.sql", "create table c (x int);\ninsert into nowhere values (1)")
    bundle.write("003-d.sql", "create table d (x int)")
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert "002-c.sql:2:13" in str(report.error)
    assert [migration.version for migration in report.applied] == ["000-a", "001-b"]
    assert report.pending == 2
    assert db.versions() == ["000-a", "001-b"]
    bundle.write("002-c.sql", "create table c (x int)")
    assert runner.migrate(make_job()).error is None
    assert db.versions() == ["000-a", "001-b", "002-c", "003-d"]


@pytest.mark.parametrize(
    ("sql", "place", "sqlstate"),
    [
        ("create table é (x int);\nselect 'ü', nothing;", ":2:13:", "42703"),
        ("select 1;\r\nselekt 2;\r\n", ":2:1:", "42601"),
        ("\ufeffselect 1;\nselect 2 +;", ":2:11:", "42601"),
        ("select 1;\n\n\ndo $$ begin raise exception 'no'; end $$;", ":4:1:", "P0001"),
        ("-- c\nbegin;\nselect 1;\nselect 1/0;\ncommit;", ":4:1:", "22012"),
        ("create table a (x int);\ncopy a from stdin;\n1\n2\n\\.\nselect 1/0;", ":6:1:", "22012"),
    ],
    ids=["multi-byte", "windows line ends", "byte order mark", "run time", "own begin", "after COPY data"],
)
def test_an_error_names_line_and_column(make_job: MakeJob, bundle: Bundle, sql: str, place: str, sqlstate: str) -> None:
    bundle.write("000-a.sql", sql)
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert f"migrations/000-a.sql{place}" in str(report.error)
    assert report.error.sqlstate == sqlstate


def test_a_deferred_constraint_that_fails_at_commit_undoes_the_file(
    make_job: MakeJob, bundle: Bundle, db: Database
) -> None:
    bundle.write(
        "000-a.sql",
        "create table a (x int primary key, y int references a deferrable initially deferred);\n"
        "insert into a values (1, 2)",
    )
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert report.error.sqlstate == "23503"
    assert not db.has("a")
    assert db.versions() == []


def test_a_modified_file_stops_everything(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    bundle.write("000-a.sql", "create table a (x int, y int)")
    bundle.write("001-b.sql", "create table b (x int)")
    report = runner.migrate(make_job())
    assert isinstance(report.error, IntegrityError)
    assert "Migration 000-a has been modified after being applied!" in str(report.error)
    assert not db.has("b")


def test_a_renamed_file_stops_everything_and_both_names_are_told(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    (bundle.migrations / "000-a.sql").rename(bundle.migrations / "000-accounts.sql")
    report = runner.migrate(make_job())
    assert isinstance(report.error, IntegrityError)
    assert "000-a " in str(report.error)
    assert "000-accounts" in str(report.error)
    assert db.versions() == ["000-a"]


def test_a_file_missing_from_the_bundle_is_a_warning_for_migrate_and_an_error_for_validate(
    make_job: MakeJob, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    (bundle.migrations / "000-a.sql").unlink()
    bundle.write("001-b.sql", "create table b (x int)")
    report = runner.migrate(make_job())
    assert report.error is None
    assert "000-a is applied, but its file is not in this bundle" in report.warnings[0]
    assert runner.status(make_job()).plan.state == "ahead"
    with pytest.raises(IntegrityError, match="000-a is applied, but its file is not in this bundle"):
        runner.validate(make_job())


def test_a_late_file_is_applied_with_a_warning_or_refused_in_strict_order(
    make_job: MakeJob, bundle: Bundle, db: Database
) -> None:
    bundle.write("005-e.sql", "create table e (x int)")
    runner.migrate(make_job())
    bundle.write("003-c.sql", "create table c (x int)")
    strict = runner.migrate(make_job(strict_order=True))
    assert isinstance(strict.error, OrderError)
    assert not db.has("c")
    report = runner.migrate(make_job())
    assert "003-c is numbered below the newest applied one" in report.warnings[0]
    assert db.versions() == ["005-e", "003-c"]


def test_a_file_of_another_environment_is_skipped(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "-- Environments: production\ncreate table a (x int)")
    report = runner.migrate(make_job())
    assert report.applied == ()
    assert report.pending == 0
    assert runner.status(make_job()).plan.entries[0].state == "skipped"
    assert not db.has("a")


def test_a_malformed_file_stops_the_run_before_anything_is_applied(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int);\nvacuum;\n")
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFileError)
    assert "migrations/001-b.sql:2: " in str(report.error)
    assert not db.has("a")
    assert not db.has("public.schema_migrations")


class TestTheJournalOfRuns:
    def test_a_run_is_recorded_with_what_it_applied(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int)")
        runner.migrate(make_job(source="build"))
        [run] = db.runs()
        assert run["source"] == "build"
        assert run["outcome"] == "succeeded"
        assert run["environment"] == "development"
        assert run["applied"] == ["000-a", "001-b"]
        assert run["finished_at"] >= run["started_at"]
        assert run["in_progress_version"] is None

    def test_a_failure_is_recorded_with_file_error_and_sqlstate(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "select 1/0")
        runner.migrate(make_job())
        [run] = db.runs()
        assert run["outcome"] == "failed"
        assert run["applied"] == ["000-a"]
        assert (run["failed_version"], run["sqlstate"]) == ("001-b", "22012")
        assert "division by zero" in run["error"]

    def test_a_dead_run_is_marked_interrupted_by_the_next_even_with_nothing_to_apply(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        db.query("update schema_migration_runs set outcome = 'running', finished_at = null")
        assert runner.migrate(make_job()).error is None
        [run] = db.runs()
        assert run["outcome"] == "interrupted"
        assert run["finished_at"] is not None

    def test_a_file_outside_a_transaction_clears_its_progress(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create index concurrently a_x on a (x)")
        bundle.write("002-c.sql", "-- Transaction: none\ncreate index concurrently a_x2 on a (x);\nselect 1/0;")
        report = runner.migrate(make_job())
        assert isinstance(report.error, MigrationFailedError)
        assert report.error.line == 3
        [run] = db.runs()
        assert run["applied"] == ["000-a", "001-b"]
        assert (run["in_progress_version"], run["in_progress_statement"]) == ("002-c", 2)
        assert db.versions() == ["000-a", "001-b"]


class TestModes:
    def test_statements_outside_a_transaction_run_in_order(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "-- Transaction: none\ncreate table a (x int);\nbegin;\ninsert into a values (1);\ncommit;\n"
            "create index concurrently a_x on a (x);\nvacuum a;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select x from a") == [(1,)]
        assert db.versions() == ["000-a"]

    def test_a_transaction_that_the_file_never_ends_is_rolled_back_and_told(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "-- Transaction: none\nbegin;\ncreate table a (x int);")
        report = runner.migrate(make_job())
        assert isinstance(report.error, MigrationFailedError)
        assert "begins a transaction and never ends it" in str(report.error)
        assert not db.has("a")

    def test_the_options_of_a_files_own_begin_are_kept(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "begin isolation level serializable;\n"
            "create table a as select current_setting('transaction_isolation') as level;\ncommit;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select level from a") == [("serializable",)]

    def test_set_transaction_may_be_a_files_first_statement(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "set transaction isolation level repeatable read;\nselect 1;")
        assert runner.migrate(make_job()).error is None

    def test_copy_data_is_loaded(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int, y text);\ncopy a from stdin;\n1\tit's; ok\n2\t\\N\n\\.\nupdate a set x = x + 1;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select * from a order by x") == [(2, "it's; ok"), (3, None)]

    def test_an_empty_file_is_applied(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-empty.sql", "")
        bundle.write("001-comments.sql", "-- nothing here\n/* nor here */")
        assert runner.migrate(make_job()).error is None
        assert db.versions() == ["000-empty", "001-comments"]

    def test_a_single_statement_that_turns_out_to_refuse_a_transaction_runs_alone(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int) partition by range (x);\ncreate index a_x on a (x);")
        bundle.write("001-b.sql", "reindex table a")
        assert runner.migrate(make_job()).error is None
        assert db.versions() == ["000-a", "001-b"]

    def test_a_commit_behind_a_function_named_begin_is_found(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql", "create function begin() returns int language sql as 'select 1';\ncreate table a (x int);\ncommit;"
        )
        report = runner.migrate(make_job())
        assert isinstance(report.error, MigrationFileError)
        assert report.error.line == 3
        assert not db.has("a")

    def test_a_procedure_that_has_committed_is_not_called_again(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table calls (x int); create table busy (x int); insert into busy values (1)")
        db.query(
            "create procedure batch() language plpgsql as "
            "$$begin insert into calls values (1); commit; update busy set x = 2; end$$"
        )
        bundle.write("000-a.sql", "-- Transaction: none\ncall batch();")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table busy")
            report = runner.migrate(make_job(lock_retries=3))
        assert isinstance(report.error, BusyTableError)
        assert db.query("select count(*) from calls") == [(1,)]

    @pytest.mark.parametrize("setting", ["set role {role}", "set default_transaction_read_only = on"])
    def test_what_a_file_outside_a_transaction_sets_never_reaches_the_journal(
        self, make_job: MakeJob, bundle: Bundle, db: Database, setting: str
    ) -> None:
        role = f"lowly_{db.target.database}"
        db.query(f"create role {role}")
        try:
            setting = setting.format(role=role)
            bundle.write("000-a.sql", f"-- Transaction: none\n{setting};\nselect 1;\nselect 2;")
            bundle.write("001-b.sql", f"-- Transaction: none\n{setting};\nselect 1/0;")
            report = runner.migrate(make_job())
            assert isinstance(report.error, MigrationFailedError)
            assert report.error.line == 3
            assert db.versions() == ["000-a"]
            assert [(run["outcome"], run["failed_version"]) for run in db.runs()] == [("failed", "001-b")]
        finally:
            db.query(f"drop role {role}")


class TestWhatAFileSets:
    @pytest.mark.parametrize(
        "sql",
        [
            "set search_path = pg_catalog",
            "select set_config('search_path', '', false)",
            "create role leaking_%s; set role leaking_%s",
            "set default_transaction_read_only = on",
            "set session authorization default; set statement_timeout = 1",
        ],
        ids=["search_path", "emptied search_path", "role", "read only", "timeout"],
    )
    def test_it_never_reaches_the_ledger_or_the_next_file(
        self, make_job: MakeJob, bundle: Bundle, db: Database, sql: str
    ) -> None:
        role = db.target.database
        bundle.write("000-a.sql", sql.replace("%s", role))
        bundle.write(
            "001-b.sql", "create table b as select current_user::text as who, current_setting('search_path') as path"
        )
        try:
            report = runner.migrate(make_job())
            assert report.error is None
            assert db.query("select who, path from public.b") == [("postgres", '"$user", public')]
        finally:
            db.query(f"drop role if exists leaking_{role}")

    def test_a_dump_header_does_not_lift_the_lock_timeout(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
            "create table public.a as select current_setting('lock_timeout') as t;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select t from a") == [("200ms",)]

    def test_the_header_chooses_the_timeouts_of_its_file(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "-- Lock-Timeout: 5s\n-- Statement-Timeout: 1min\n"
            "create table a as select current_setting('lock_timeout') as l, current_setting('statement_timeout') as s",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select l, s from a") == [("5s", "1min")]


class TestAnotherRunner:
    ROWS = (
        "create table schema_migrations (id serial primary key, version varchar(255) unique not null,"
        " name varchar(255) not null, applied_at timestamp default now(), execution_time_ms integer, checksum varchar(64));"
        "insert into schema_migrations (version, name, applied_at, execution_time_ms, checksum) values"
    )

    def test_a_database_of_the_original_runner_is_carried_on_as_it_is(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        first, second = "create table a (x int);\r\n", "create table b (x int);\n"
        bundle.write("000-a.sql", first)
        bundle.write("001-b.sql", second)
        db.query(
            f"{self.ROWS} ('000-a', 'A', '2024-01-01 10:00', 12, '{hashlib.sha256(first.encode()).hexdigest()}'),"
            f"('001-b', 'B', '2024-01-02 10:00', null, '{hashlib.sha256(second.encode()).hexdigest()}')"
        )
        before = db.query("select ctid, xmin, * from schema_migrations")
        assert runner.migrate(make_job()).applied == ()
        assert runner.status(make_job()).plan.state == "up-to-date"
        bundle.write("002-c.sql", "create table c (x int)")
        assert runner.migrate(make_job()).error is None
        assert db.query("select ctid, xmin, * from schema_migrations where version < '002'") == before
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
        self, make_job: MakeJob, bundle: Bundle, db: Database, columns: str, whose: str
    ) -> None:
        db.query(f"create table schema_migrations ({columns})")
        bundle.write("000-a.sql", "create table a (x int)")
        report = runner.migrate(make_job())
        assert isinstance(report.error, LedgerError)
        assert whose in str(report.error)
        assert not db.has("a")
        assert not db.has("schema_migration_runs")


class TestOddLedgers:
    def test_the_style_of_dates_is_no_matter(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query(f"alter database {db.target.database} set datestyle = 'German, DMY'")
        bundle.write("000-a.sql", "create table a (x int)")
        assert runner.migrate(make_job()).error is None
        found = runner.status(make_job())
        assert found.plan.last is not None
        assert found.plan.last.applied_at is not None
        assert found.last_run is not None
        assert abs(found.last_run.started_at.timestamp() - time.time()) < 10

    def test_a_time_that_python_cannot_hold_is_unknown(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        for odd in ("'infinity'", "'0044-03-15 BC'", "null"):
            db.query(f"update schema_migrations set applied_at = {odd}, execution_time_ms = null, checksum = null")
            found = runner.status(make_job())
            assert found.plan.state == "up-to-date"
            assert found.plan.entries[0].applied_at is None

    def test_a_version_without_a_number_makes_no_file_late(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        db.query("insert into schema_migrations (version, name) values ('20240101120000', 'Old')")
        bundle.write("001-b.sql", "create table b (x int)")
        assert runner.migrate(make_job(strict_order=True)).error is None


class TestTheGuard:
    def test_a_claimed_database_is_refused_to_another_environment(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert runner.migrate(make_job(environment="preview")).error is None
        assert runner.migrate(make_job(environment="production")).applied == ()
        assert [(run["environment"], run["outcome"], run["applied"]) for run in db.runs()] == [
            ("preview", "succeeded", ["000-a"]),
            ("production", "succeeded", []),
        ]
        bundle.write("001-b.sql", "create table b (x int)")
        report = runner.migrate(make_job(environment="preview"))
        assert isinstance(report.error, GuardError)
        assert "belongs to production, and this run's environment is preview" in str(report.error)
        assert not db.has("b")
        assert runner.migrate(make_job(environment="production")).error is None

    def test_production_claims_once(self, make_job: MakeJob, db: Database) -> None:
        runner.migrate(make_job(environment="production"))
        runner.migrate(make_job(environment="production"))
        assert len(db.runs()) == 1

    def test_a_logical_copy_is_free(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        runner.migrate(make_job(environment="production"))
        db.query("update schema_migration_runs set database_fingerprint = 'where it was copied from'")
        assert runner.migrate(make_job(environment="preview")).error is None


class TestLocks:
    def test_a_run_under_way_is_told_at_once_where_nobody_waits(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with RunLock(make_job(source="build").connect, patience=0):
            report = runner.migrate(make_job())
        assert isinstance(report.error, RunInProgressError)
        assert report.error.holder == "migrations build local"
        assert (report.error.since or "").endswith("Z")
        assert not db.has("a")

    def test_a_run_waits_for_another_and_plans_anew(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(1);")
        reports = []
        threads = [threading.Thread(target=lambda: reports.append(runner.migrate(make_job(run_wait=30)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [report.error for report in reports] == [None] * 4
        assert sum(len(report.applied) for report in reports) == 1
        assert db.versions() == ["000-a"]

    def test_nothing_pending_takes_no_lock(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        with RunLock(make_job().connect, patience=0):
            assert runner.migrate(make_job()).error is None

    def test_nothing_pending_beside_a_run_that_is_just_ending_is_no_failure(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        db.query("update schema_migration_runs set outcome = 'running'")
        with RunLock(make_job().connect, patience=0):
            assert runner.migrate(make_job()).error is None
        assert db.runs()[0]["outcome"] == "running"

    def test_a_busy_table_is_retried_and_then_told(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        witness = Witness()
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a in access share mode")
            report = runner.migrate(make_job(progress=witness))
        assert isinstance(report.error, BusyTableError)
        assert report.error.sqlstate == "55P03"
        assert len(witness.of("retrying")) == 1
        assert db.runs()[0]["outcome"] == "failed"

    def test_a_table_that_is_freed_meanwhile_is_no_failure(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder:
            holder.execute("begin; lock table a in access share mode")
            timer = threading.Timer(0.5, lambda: holder.execute("commit"))
            timer.start()
            report = runner.migrate(make_job(lock_retries=10))
            timer.join()
        assert report.error is None

    def test_a_file_that_fails_while_its_row_has_appeared_counts_as_applied_by_another_run(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        """The last fence, for a lock that was lost unnoticed: the other run commits while this one's file is under way."""
        bundle.write("000-a.sql", "create table if not exists a (x int);\nselect pg_sleep(1);")
        reports = []
        thread = threading.Thread(target=lambda: reports.append(runner.migrate(make_job())))
        thread.start()
        while not db.has("schema_migration_runs"):
            time.sleep(0.05)
        time.sleep(0.3)
        db.query("insert into schema_migrations (version, name) values ('000-a', 'A')")
        thread.join()
        assert reports[0].error is None
        assert reports[0].applied == ()
        assert db.versions() == ["000-a"]


class TestDeadlinesAndLosses:
    def test_the_deadline_cancels_the_statement_and_rolls_back(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int);\nselect pg_sleep(60);")
        began = time.monotonic()
        report = runner.migrate(make_job(deadline=time.monotonic() + 1.5))
        assert isinstance(report.error, OutOfTimeError)
        assert time.monotonic() - began < 10
        assert [migration.version for migration in report.applied] == ["000-a"]
        assert not db.has("b")
        [run] = db.runs()
        assert (run["outcome"], run["failed_version"]) == ("failed", "001-b")

    def test_a_connection_that_dies_is_an_error_and_the_next_run_goes_on(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_terminate_backend(pg_backend_pid());")
        report = runner.migrate(make_job())
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "was lost" in str(report.error)
        assert not db.has("a")
        assert db.runs()[0]["outcome"] == "failed"
        bundle.write("000-a.sql", "create table a (x int)")
        assert runner.migrate(make_job()).error is None

    def test_the_servers_last_words_are_told(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "select pg_terminate_backend(pg_backend_pid());")
        report = runner.migrate(make_job())
        assert "terminating connection due to administrator command (SQLSTATE 57P01)" in str(report.error)
        assert db.runs()[0]["sqlstate"] == "57P01"

    def test_the_deadline_holds_for_the_runners_own_statements(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations")
            began = time.monotonic()
            report = runner.migrate(make_job(deadline=time.monotonic() + 1))
            assert isinstance(report.error, OutOfTimeError)
            assert time.monotonic() - began < 10

    def test_the_lock_lost_stops_the_run_before_its_next_file(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int);\nselect pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database());\nselect pg_sleep(0.3);",
        )
        bundle.write("001-b.sql", "create table b (x int)")
        report = runner.migrate(make_job())
        assert isinstance(report.error, DatabaseUnavailableError)
        assert "run lock was lost" in str(report.error)
        assert [migration.version for migration in report.applied] == ["000-a"]
        assert not db.has("b")


class TestTheRunLock:
    def test_its_holder_keeps_no_snapshot(self, make_job: MakeJob, db: Database) -> None:
        """A snapshot here would make every CREATE INDEX CONCURRENTLY of the run wait for ever."""
        with RunLock(make_job().connect, patience=0):
            [(xmin, state)] = db.query(
                "select backend_xmin, state from pg_stat_activity join pg_locks using (pid)"
                " where locktype = 'advisory' and datname = current_database()"
            )
        assert xmin is None
        assert state == "idle in transaction"

    def test_it_leaves_no_advisory_lock_behind(self, make_job: MakeJob, db: Database) -> None:
        with RunLock(make_job().connect, patience=0):
            pass
        assert db.advisory_locks() == 0


def test_plan_says_mode_timeouts_and_statements_and_writes_nothing(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int);\nselect 1;")
    bundle.write("001-b.sql", "-- Lock-Timeout: 5s\ncreate index concurrently i on a (x);")
    document = runner.plan(make_job()).to_dict()
    assert [(file["version"], file["mode"], file["lockTimeout"], file["statements"]) for file in document["plan"]] == [
        ("000-a", "transaction", "200ms", 2),
        ("001-b", "alone", "5s", 1),
    ]
    assert not db.has("public.schema_migrations")


def test_a_role_without_rights_is_told_what_it_lacks(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    runner.migrate(make_job())
    role = f"reader_{db.target.database}"
    db.query(f"create role {role} login password 'reader'")
    try:
        job = make_job()
        target = type(job.target)("DATABASE_URL", {**job.target.parameters, "user": role, "password": "reader"})
        with pytest.raises(LedgerError, match=r"grant select on public\.schema_migrations"):
            runner.status(make_job(target=target))
        db.query(f"grant select on schema_migrations to {role}")
        with pytest.raises(LedgerError, match=r"grant select on public\.schema_migration_runs"):
            runner.status(make_job(target=target))
        db.query(f"grant select on schema_migration_runs to {role}")
        assert runner.status(make_job(target=target)).plan.state == "up-to-date"
        bundle.write("001-b.sql", "create table b (x int)")
        assert isinstance(runner.migrate(make_job(target=target)).error, LedgerError)
    finally:
        db.query(f"drop owned by {role}; drop role {role}")


def test_strings_that_escape_by_default_are_refused(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    db.query(f"alter database {db.target.database} set standard_conforming_strings = off")
    bundle.write("000-a.sql", "create table a (x int)")
    report = runner.migrate(make_job())
    assert isinstance(report.error, ConfigurationError)
    assert "standard_conforming_strings" in str(report.error)
    assert not db.has("a")


def test_every_statement_of_the_ledger_is_named_with_its_schema() -> None:
    for name, text in vars(ledger).items():
        if name.startswith("_") and name.isupper() and isinstance(text, str):
            bare = (
                text.replace("public.schema_migration", "")
                .replace("idx_schema_migration", "")
                .replace("'schema_migration", "")
            )
            assert "schema_migration" not in bare, name
