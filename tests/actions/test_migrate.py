"""The runner against a real PostgreSQL: every file once, whole or not at all, and on record."""

import hashlib
import time
from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.edits.baseline import baseline
from lib.errors import (
    ConfigurationError,
    IntegrityError,
    LedgerError,
    MigrationFailedError,
    MigrationFileError,
    OrderError,
)
from lib.files.folder import discover

MakeContext = Callable[..., RunContext]


def test_pending_files_are_detected_and_nothing_is_written(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    found = read_status(make_context())
    assert found.plan.state == "pending"
    assert [file.version for file in found.plan.pending] == ["000-a"]
    assert not db.has("public.schema_migrations")
    assert not db.has("public.schema_migration_runs")


def test_pending_files_are_applied_in_numeric_order(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("010-second.sql", "alter table a add column y int")
    bundle.write("1000-third.sql", "alter table a add column z int")
    bundle.write("002-first.sql", "create table a (x int)")
    report = migrate(make_context())
    assert report.error is None
    assert report.pending == 0
    assert [migration.version for migration in report.applied] == [
        "002-first",
        "010-second",
        "1000-third",
    ]
    assert db.versions() == ["002-first", "010-second", "1000-third"]


class TestALimit:
    @pytest.fixture(autouse=True)
    def chain(self, bundle: Bundle) -> None:
        for version in ("000-a", "001-b", "002-c"):
            bundle.write(f"{version}.sql", f"create table {version[-1]} (x int)")

    def test_later_files_stay_pending(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        files = discover(bundle.migrations)
        report = migrate(make_context(up_to=files[1]))
        assert report.error is None
        assert db.versions() == ["000-a", "001-b"]
        assert (report.up_to, report.beyond) == ("001-b", files[2:])
        assert report.to_dict()["pendingMigrations"] == 1

    def test_once_it_is_applied_there_is_nothing_to_apply_and_no_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        files = discover(bundle.migrations)
        for _ in range(2):
            report = migrate(make_context(up_to=files[0]))
        assert (report.error, report.applied, report.beyond) == (None, (), files[1:])
        assert len(db.runs()) == 1
        assert migrate(make_context()).pending == 0

    def test_a_late_file_below_it_is_applied(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        files = discover(bundle.migrations)
        (bundle.migrations / "001-b.sql").rename(bundle.root / "001-b.sql")
        migrate(make_context(up_to=files[2]))
        (bundle.root / "001-b.sql").rename(bundle.migrations / "001-b.sql")
        bundle.write("003-d.sql", "create table d (x int)")
        assert migrate(make_context(up_to=files[2])).error is None
        assert db.versions() == ["000-a", "002-c", "001-b"]

    def test_a_file_behind_it_is_checked_all_the_same(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("003-d.sql", "select 1; commit;")
        files = discover(bundle.migrations)
        assert isinstance(migrate(make_context(up_to=files[0])).error, MigrationFileError)
        assert not db.has("a")

    def test_a_file_without_a_statement_is_still_being_written_only_if_it_is_the_last(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-b.sql", "")
        bundle.write("003-d.sql", "")
        files = discover(bundle.migrations)
        assert migrate(make_context(up_to=files[1])).warnings == ()
        assert db.versions() == ["000-a", "001-b"]
        report = migrate(make_context(up_to=files[3]))
        assert "003-d.sql has no statement yet" in report.warnings[0]
        assert db.versions() == ["000-a", "001-b", "002-c"]

    def test_production_claims_its_database_though_nothing_is_due(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        (first, *_) = discover(bundle.migrations)
        migrate(make_context(up_to=first))
        migrate(make_context(up_to=first, environment="production"))
        assert [run["environment"] for run in db.runs()] == ["development", "production"]
        assert db.versions() == ["000-a"]

    def test_the_preview_has_only_what_is_due(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        planned = preview(make_context(up_to=discover(bundle.migrations)[1])).to_dict()
        assert [file["version"] for file in planned["plan"]] == ["000-a", "001-b"]
        assert planned["pendingMigrations"] == 3


def test_the_ledger_row_holds_name_checksum_time_and_duration(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-create-a-table.sql", "create table a (x int);\r\nselect pg_sleep(0.05);\r\n")
    report = migrate(make_context())
    [(name, checksum, milliseconds, age)] = db.query(
        "select name, checksum, execution_time_ms, abs(extract(epoch from applied_at - (now() at "
        "time zone 'utc')))"
        " from public.schema_migrations"
    )
    assert name == "Create A Table"
    assert (
        checksum == hashlib.sha256(b"create table a (x int);\nselect pg_sleep(0.05);\n").hexdigest()
    )
    assert milliseconds >= 50
    assert report.applied[0].execution_time_ms == milliseconds
    assert age < 10


def test_the_time_in_the_ledger_is_utc_whatever_the_session_has(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(f"alter database {db.target.database} set timezone = 'Pacific/Auckland'")
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    assert db.query(
        "select abs(extract(epoch from applied_at - (now() at time zone 'utc'))) < 10 from "
        "schema_migrations"
    ) == [(True,)]
    last = read_status(make_context()).plan.last
    assert last is not None
    assert last.applied_at is not None
    assert abs(last.applied_at.timestamp() - time.time()) < 10


def test_the_second_run_applies_and_writes_nothing(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    before = (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )
    second = migrate(make_context())
    assert second.error is None
    assert second.applied == ()
    assert before == (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )


def test_an_empty_folder_is_fine_and_creates_nothing(
    make_context: MakeContext, db: Database
) -> None:
    report = migrate(make_context())
    assert report.error is None
    assert not db.has("public.schema_migrations")
    assert read_status(make_context()).plan.state == "uninitialised"


def test_a_failed_statement_leaves_nothing_of_its_file_behind(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-good.sql", "create table good (x int)")
    bundle.write(
        "001-bad.sql", "create table bad (x int);\n\n  select 1/0;\ncreate table never (x int);"
    )
    report = migrate(make_context())
    assert isinstance(report.error, MigrationFailedError)
    assert "migrations/001-bad.sql:3:3: division by zero (SQLSTATE 22012)" in str(report.error)
    assert (report.error.version, report.error.line, report.error.sqlstate) == (
        "001-bad",
        3,
        "22012",
    )
    assert db.versions() == ["000-good"]
    assert db.has("good")
    assert not db.has("bad")


def test_the_third_file_fails_and_two_stay(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int)")
    bundle.write("002-c.sql", "create table c (x int);\ninsert into nowhere values (1)")
    bundle.write("003-d.sql", "create table d (x int)")
    report = migrate(make_context())
    assert isinstance(report.error, MigrationFailedError)
    assert "002-c.sql:2:13" in str(report.error)
    assert [migration.version for migration in report.applied] == ["000-a", "001-b"]
    assert report.pending == 2
    assert db.versions() == ["000-a", "001-b"]
    bundle.write("002-c.sql", "create table c (x int)")
    assert migrate(make_context()).error is None
    assert db.versions() == ["000-a", "001-b", "002-c", "003-d"]


def test_a_modified_file_stops_everything(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    bundle.write("000-a.sql", "create table a (x int, y int)")
    bundle.write("001-b.sql", "create table b (x int)")
    report = migrate(make_context())
    assert isinstance(report.error, IntegrityError)
    assert "Migration 000-a has been modified after being applied!" in str(report.error)
    assert not db.has("b")


def test_a_renamed_file_stops_everything_and_the_error_has_both_names(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    (bundle.migrations / "000-a.sql").rename(bundle.migrations / "000-accounts.sql")
    report = migrate(make_context())
    assert isinstance(report.error, IntegrityError)
    assert "000-a " in str(report.error)
    assert "000-accounts" in str(report.error)
    assert db.versions() == ["000-a"]


def test_the_way_out_that_the_error_for_a_rename_names_works(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    (bundle.migrations / "000-a.sql").rename(bundle.migrations / "000-create-accounts.sql")
    statement = str(migrate(make_context()).error).splitlines()[-1]
    db.query(statement)
    found = validate(make_context())
    assert [(entry.version, entry.name, entry.state) for entry in found.plan.entries] == [
        ("000-create-accounts", "Create Accounts", "applied")
    ]


def test_a_file_missing_from_the_bundle_is_a_warning_for_migrate_and_an_error_for_validate(
    make_context: MakeContext, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    (bundle.migrations / "000-a.sql").unlink()
    bundle.write("001-b.sql", "create table b (x int)")
    report = migrate(make_context())
    assert report.error is None
    assert "000-a is applied, but its file is not in this bundle" in report.warnings[0]
    assert read_status(make_context()).plan.state == "ahead"
    with pytest.raises(
        IntegrityError, match="000-a is applied, but its file is not in this bundle"
    ):
        validate(make_context())


def test_a_late_file_is_applied_with_a_warning_or_refused_in_strict_order(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("005-e.sql", "create table e (x int)")
    migrate(make_context())
    bundle.write("003-c.sql", "create table c (x int)")
    strict = migrate(make_context(strict_order=True))
    assert isinstance(strict.error, OrderError)
    assert not db.has("c")
    report = migrate(make_context())
    assert "003-c is numbered below the newest applied one" in report.warnings[0]
    assert db.versions() == ["005-e", "003-c"]


def test_a_file_of_another_environment_is_skipped(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "-- Environments: production\ncreate table a (x int)")
    report = migrate(make_context())
    assert report.applied == ()
    assert report.pending == 0
    assert read_status(make_context()).plan.entries[0].state == "skipped"
    assert not db.has("a")


def test_a_malformed_file_stops_the_run_before_anything_is_applied(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int);\nvacuum;\n")
    report = migrate(make_context())
    assert isinstance(report.error, MigrationFileError)
    assert "migrations/001-b.sql:2: " in str(report.error)
    assert not db.has("a")
    assert not db.has("public.schema_migrations")


def test_the_faults_of_all_pending_headers_stop_the_run_and_its_rehearsals(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "-- Transacton: none\n-- Phase: 1\nvacuum;\n")
    bundle.write("002-c.sql", "\n-- Environment: preview\nselect 1;\n")
    error = migrate(make_context()).error
    assert isinstance(error, MigrationFileError)
    places = [line.partition(": ")[0] for line in str(error).splitlines()]
    assert places == [
        f"migrations/{place}" for place in ("001-b.sql:1", "001-b.sql:2", "002-c.sql:2")
    ]
    assert error.details() == {"version": "001-b", "line": 1}
    for rehearsal in (validate, preview):
        with pytest.raises(MigrationFileError, match="did you mean Transaction") as raised:
            rehearsal(make_context())
        assert str(raised.value) == str(error)
    with pytest.raises(MigrationFileError, match=r"001-b\.sql:1: .* did you mean Transaction"):
        read_status(make_context())
    assert not db.has("a")
    assert not db.has("public.schema_migrations")


def test_what_would_be_refused_is_a_warning_in_an_applied_file_that_matches(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    sql = b"-- Phase: 1\ncreate table a (x int);\n\\q\n"
    bundle.write("000-a.sql", sql)
    db.query(f"update public.schema_migrations set checksum = '{hashlib.sha256(sql).hexdigest()}'")
    bundle.write("001-b.sql", "create table b (x int)")
    report = migrate(make_context())
    assert report.error is None
    assert [migration.version for migration in report.applied] == ["001-b"]
    assert [warning.partition("; ")[0] for warning in report.warnings] == [
        "migrations/000-a.sql:1: the header's Phase is reserved for a later version of the runner, "
        "and this one can't run such a file"
    ]
    assert validate(make_context()).plan.warnings == report.warnings
    bundle.write("000-a.sql", sql + b"\n")
    with pytest.raises(IntegrityError, match="000-a has been modified"):
        validate(make_context())


def test_validate_reads_the_sql_of_applied_files_too_and_warns(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    migrate(make_context())
    sql = b"select 1;\n\\q\n"
    bundle.write("000-a.sql", sql)
    db.query(f"update public.schema_migrations set checksum = '{hashlib.sha256(sql).hexdigest()}'")
    [warning] = validate(make_context()).plan.warnings
    assert warning.startswith("migrations/000-a.sql:2: \\q is a command of psql")
    assert migrate(make_context()).warnings == ()


def test_a_file_with_a_fault_is_skipped_in_an_environment_where_it_does_not_run(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "-- Environments: production\n-- Transacton: none\nselect 1;")
    report = migrate(make_context(environment="preview"))
    assert (report.error, report.pending, len(report.warnings)) == (None, 0, 1)
    error = migrate(make_context(environment="production")).error
    assert isinstance(error, MigrationFileError)


def test_a_file_that_was_given_another_number_is_not_run_again(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    fill = bundle.write("001-fill.sql", "insert into a values (1)")
    migrate(make_context())
    fill.rename(bundle.migrations / "002-fill.sql")
    error = migrate(make_context()).error
    assert isinstance(error, IntegrityError)
    assert "Migration 001-fill was applied under that name, and its file is now 002-fill." in str(
        error
    )
    (bundle.migrations / "002-fill.sql").write_text("-- Once more.\ninsert into a values (1)")
    assert migrate(make_context()).error is None
    assert db.query("select count(*) from a") == [(2,)]


def test_a_file_that_was_given_another_number_in_its_header_too_is_not_run_again(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    text = (
        "-- Version: {}\n-- Date: 2026-11-22\n-- Description: fill\n\ninsert into a values (1);\n"
    )
    bundle.write("000-a.sql", "create table a (x int)")
    fill = bundle.write("001-fill.sql", text.format("001"))
    migrate(make_context())
    fill.unlink()
    bundle.write("002-fill.sql", text.format("002"))
    error = str(migrate(make_context()).error)
    assert "Migration 001-fill was applied under that name, and its file is now 002-fill." in error
    db.query(next(line for line in error.splitlines() if "update public.schema_migrations" in line))
    assert migrate(make_context()).error is None
    assert db.query("select count(*) from a") == [(1,)]


def test_plan_says_mode_timeouts_and_statements_and_writes_nothing(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int);\nselect 1;")
    bundle.write("001-b.sql", "-- Lock-Timeout: 5s\ncreate index concurrently i on a (x);")
    document = preview(make_context()).to_dict()
    assert [
        (file["version"], file["mode"], file["lockTimeout"], file["statements"])
        for file in document["plan"]
    ] == [
        ("000-a", "transaction", "200ms", 2),
        ("001-b", "alone", "5s", 1),
    ]
    assert not db.has("public.schema_migrations")


def test_strings_that_escape_by_default_are_refused(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(f"alter database {db.target.database} set standard_conforming_strings = off")
    bundle.write("000-a.sql", "create table a (x int)")
    report = migrate(make_context())
    assert isinstance(report.error, ConfigurationError)
    assert "standard_conforming_strings" in str(report.error)
    assert not db.has("a")


REFUSING_TRIGGER = """
create function refuse() returns event_trigger language plpgsql as $$
begin
    raise exception 'no tables on weekdays'
        using detail = E'It is Monday,\nsays the calendar.', hint = 'Wait for Sunday.';
end $$;
create event trigger no_tables on ddl_command_start
    when tag in ('CREATE TABLE') execute function refuse();
"""


def test_the_message_of_an_event_trigger_is_shown_as_a_whole(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(REFUSING_TRIGGER)
    bundle.write("000-a.sql", "select 1")
    for error in (migrate(make_context()).error, _error_of_baseline(make_context())):
        assert str(error).startswith(
            "The database refused the runner's own statement: no tables on weekdays (SQLSTATE "
            "P0001).\n"
            "  Detail: It is Monday,\n    says the calendar.\n"
            "  Hint: Wait for Sunday.\n"
            "  Context: PL/pgSQL function "
        )


def _error_of_baseline(context: RunContext) -> LedgerError:
    with pytest.raises(LedgerError, match="no tables on weekdays") as caught:
        baseline(context, "0")
    return caught.value


class TestAFileWithoutAStatement:
    """As `create` leaves it: `build.sh` or `migrate` may come before its SQL is written."""

    HEADER = "-- Date: 2026-01-01\n-- Description: b\n\n"

    @pytest.mark.parametrize("source", ["cli", "build"])
    def test_on_a_laptop_it_stays_pending_and_is_applied_when_its_sql_is_there(
        self, make_context: MakeContext, bundle: Bundle, db: Database, source: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", self.HEADER)
        witness = Witness()
        for applied in (["000-a"], []):
            report = migrate(make_context(source=source, progress=witness))
            assert (report.exit_code, report.pending) == (0, 1)
            assert [migration.version for migration in report.applied] == applied
            assert report.warnings == (
                "migrations/001-b.sql has no statement yet, so it stays pending: write its SQL and "
                "run this again. "
                "On Vercel and in a CI such a file is applied as it is.",
            )
            assert witness.of("warning")[-1] == report.warnings
        assert read_status(make_context()).plan.state == "pending"
        bundle.write("001-b.sql", f"{self.HEADER}create table b (x int);\n")
        report = migrate(make_context(source=source))
        assert (report.error, report.pending, report.warnings) == (None, 0, ())
        assert db.has("b")

    @pytest.mark.parametrize(
        "hosted", [{"source": "build", "is_hosted": True}, {"source": "admin"}]
    )
    def test_elsewhere_it_is_applied(
        self, make_context: MakeContext, bundle: Bundle, db: Database, hosted: dict[str, object]
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", self.HEADER)
        assert preview(make_context(**hosted)).warnings == ()
        report = migrate(make_context(**hosted))
        assert (report.error, report.pending, report.warnings) == (None, 0, ())
        assert db.versions() == ["000-a", "001-b"]

    def test_before_one_with_a_statement_it_is_applied_in_its_order(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "")
        bundle.write("001-b.sql", "create table b (x int)")
        bundle.write("002-c.sql", "")
        bundle.write("003-d.sql", "-- soon")
        report = migrate(make_context())
        assert db.versions() == ["000-a", "001-b"]
        assert report.warnings[0].startswith(
            "migrations/002-c.sql, migrations/003-d.sql have no statement yet, so they stay "
            "pending: write their SQL"
        )

    def test_with_nothing_else_nothing_is_written(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", self.HEADER)
        assert migrate(make_context()).pending == 1
        assert not db.has("public.schema_migrations")

    def test_production_still_claims_its_database(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", self.HEADER)
        assert migrate(make_context(environment="production")).pending == 1
        assert [(run["outcome"], run["applied"]) for run in db.runs()] == [("succeeded", [])]
        assert db.versions() == []

    def test_the_plan_says_that_it_would_stay_pending(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", self.HEADER)
        planned = preview(make_context())
        assert [script.file.version for script in planned.held] == ["001-b"]
        assert planned.to_dict()["pendingMigrations"] == 2
        assert (
            "migrations/001-b.sql has no statement yet, so it stays pending" in planned.warnings[0]
        )
