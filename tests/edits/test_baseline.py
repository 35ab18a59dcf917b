"""`baseline`: which files are recorded, all or none, with the lock, guard and checks of a run."""

import hashlib
import json
import signal
import threading
from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database, Witness, wait_until

from lib.actions.dry_run import validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.edits.baseline import baseline, find_rows, forget
from lib.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    GuardError,
    IntegrityError,
    LedgerError,
    MigrationFileError,
    RunInProgressError,
)
from lib.ledger.run_lock import KEY, RunLock
from lib.plan.migration_plan import make_plan
from lib.plan.migration_states import AppliedMigration
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]

CHAIN = ("000-a", "001-b", "002-c")


@pytest.fixture
def chain(bundle: Bundle, db: Database) -> Bundle:
    """Three files, the first two of which have been run by hand."""
    for version in CHAIN:
        bundle.write(f"{version}.sql", f"create table {version[-1]} (x int)")
    db.query("create table a (x int); create table b (x int)")
    return bundle


def recorded(context: RunContext, wanted: str) -> list[str]:
    return [file.version for file in baseline(context, wanted).recorded]


class TestTheVersion:
    def test_an_unknown_one_is_refused_before_the_database_is_asked(
        self, make_context: MakeContext, chain: Bundle
    ) -> None:
        nowhere = ConnectionTarget(
            "DATABASE_URL", {"host": "127.0.0.1", "port": "1", "dbname": "x", "user": "x"}
        )
        with pytest.raises(ConfigurationError, match="no migration '003'"):
            baseline(make_context(target=nowhere), "003")


class TestWhatIsRecorded:
    def test_all_up_to_it_is_recorded_and_not_run_and_the_rest_stays_pending(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        report = baseline(make_context(), "001-b")
        assert [file.version for file in report.recorded] == ["000-a", "001-b"]
        assert [file.version for file in report.pending] == ["002-c"]
        assert report.warnings == ()
        assert db.versions() == ["000-a", "001-b"]
        assert not db.has("c")
        assert [migration.version for migration in migrate(make_context()).applied] == ["002-c"]
        assert validate(make_context()).plan.state == "up-to-date"

    def test_the_row_is_an_applied_files_without_a_duration(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"alter database {db.target.database} set timezone = 'Pacific/Auckland'")
        bundle.write("000-create-a-table.sql", b"\xef\xbb\xbfcreate table a (x int);\r\n")
        baseline(make_context(), "0")
        [(name, checksum, milliseconds, age)] = db.query(
            "select name, checksum, execution_time_ms, abs(extract(epoch from applied_at - (now() "
            "at time zone 'utc')))"
            " from schema_migrations"
        )
        assert (name, milliseconds) == ("Create A Table", None)
        assert checksum == hashlib.sha256(b"create table a (x int);\n").hexdigest()
        assert age < 10

    def test_it_is_on_record_as_a_run(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        baseline(make_context(environment="staging"), "1")
        [run] = db.runs()
        assert (run["source"], run["environment"], run["outcome"]) == (
            "cli",
            "staging",
            "succeeded",
        )
        assert run["applied"] == ["000-a", "001-b"]
        assert run["finished_at"] >= run["started_at"]
        assert run["error"] is None

    def test_the_status_shows_it_without_a_duration(
        self, make_context: MakeContext, chain: Bundle
    ) -> None:
        baseline(make_context(), "1")
        document = read_status(make_context()).to_dict()
        assert [(each["state"], each["executionTimeMs"]) for each in document["migrations"]] == [
            ("applied", None),
            ("applied", None),
            ("pending", None),
        ]
        assert document["lastMigration"]["version"] == "001-b"

    def test_what_is_in_the_ledger_stays_as_it_is(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        assert recorded(make_context(), "0") == ["000-a"]
        before = db.query("select ctid, xmin, * from schema_migrations")
        assert recorded(make_context(), "2") == ["001-b", "002-c"]
        assert (
            db.query("select ctid, xmin, * from schema_migrations where version = '000-a'")
            == before
        )

    def test_a_file_of_another_environment_is_left_out(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        chain.write("001-b.sql", "-- Environments: preview\ncreate table b (x int)")
        assert recorded(make_context(), "1") == ["000-a"]
        assert recorded(make_context(environment="preview"), "001-b") == ["001-b"]
        assert db.versions() == ["000-a", "001-b"]

    def test_an_environment_name_that_may_be_a_typo_is_warned_about(
        self, make_context: MakeContext, chain: Bundle
    ) -> None:
        chain.write("001-b.sql", "-- Environments: producton\ncreate table b (x int)")
        witness = Witness()
        report = baseline(make_context(progress=witness), "2")
        assert "its header names the environment 'producton'" in report.warnings[0]
        assert [words[0] for words in witness.of("warning")] == list(report.warnings)

    def test_a_late_file_is_recorded_too_also_in_strict_order(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        (chain.migrations / "001-b.sql").unlink()
        baseline(make_context(), "2")
        chain.write("001-b.sql", "create table b (x int)")
        assert baseline(make_context(strict_order=True), "1").warnings == ()
        assert db.versions() == ["000-a", "002-c", "001-b"]

    def test_what_migrate_would_refuse_is_recorded_since_it_is_not_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "\\connect app\ncreate table a (x int);\ncommit;\n")
        bundle.write("001-b.sql", "create table b (x int);\nvacuum;\nselect 'never closed")
        assert recorded(make_context(), "1") == ["000-a", "001-b"]
        assert migrate(make_context()).error is None
        assert validate(make_context()).plan.applied_count == 2

    def test_thousands_are_recorded_in_numeric_order(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        for number in range(2000):
            bundle.write(f"{number:03d}-file.sql", f"select {number}")
        report = baseline(make_context(), "1989")
        assert len(report.recorded) == 1990
        assert len(report.pending) == 10
        assert db.versions() == [f"{number:03d}-file" for number in range(1990)]
        assert db.runs()[0]["applied"] == db.versions()
        assert baseline(make_context(), "1989").recorded == ()

    def test_through_a_transaction_pooler_too(
        self, make_context: MakeContext, chain: Bundle, db: Database, pooled: ConnectionTarget
    ) -> None:
        assert recorded(make_context(target=pooled), "1") == ["000-a", "001-b"]
        assert db.versions() == ["000-a", "001-b"]
        assert db.advisory_locks() == 0


class TestNothingToRecord:
    def test_nothing_is_written(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        baseline(make_context(), "1")
        tables = ("schema_migrations", "schema_migration_runs")
        before = [db.query(f"select ctid, xmin, * from {table}") for table in tables]
        assert recorded(make_context(), "1") == []
        assert recorded(make_context(), "0") == []
        assert [db.query(f"select ctid, xmin, * from {table}") for table in tables] == before

    def test_not_even_the_tables_are_created_if_nothing_runs_in_this_environment(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "-- Environments: preview\nselect 1")
        assert baseline(make_context(), "0").warnings == ()
        assert not db.has("public.schema_migrations")

    def test_another_run_that_did_it_meanwhile_is_found_under_the_lock(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        witness, found = Witness(), []
        context = make_context(run_wait=30.0, progress=witness)
        with RunLock(make_context().connect, timeout=0):
            second = threading.Thread(target=lambda: found.append(recorded(context, "1")))
            second.start()
            wait_until(lambda: witness.of("waiting"), "a word of the other run")
            db.query(
                "create table schema_migrations (id serial primary key, version varchar(255) "
                "unique not null,"
                " name varchar(255) not null, applied_at timestamp, execution_time_ms integer, "
                "checksum varchar(64));"
                "insert into schema_migrations (version, name) values ('000-a', 'A'), ('001-b', "
                "'B')"
            )
        second.join(30)
        assert found == [[]]
        assert not db.has("public.schema_migration_runs")


class TestRefusals:
    def test_a_modified_or_a_renamed_file(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        baseline(make_context(), "0")
        chain.write("000-a.sql", "create table a (y int)")
        with pytest.raises(IntegrityError, match="000-a has been modified"):
            baseline(make_context(), "1")
        chain.write("000-a.sql", "create table a (x int)").rename(
            chain.migrations / "000-accounts.sql"
        )
        with pytest.raises(
            IntegrityError,
            match="000-a was applied under that name, and its file is now 000-accounts",
        ):
            baseline(make_context(), "1")
        with pytest.raises(IntegrityError, match="its file is now 000-accounts"):
            baseline(make_context(), "000-accounts")
        assert db.versions() == ["000-a"]

    def test_the_guard(self, make_context: MakeContext, chain: Bundle, db: Database) -> None:
        baseline(make_context(environment="production"), "0")
        with pytest.raises(
            GuardError, match="belongs to production, and this run's environment is preview"
        ):
            baseline(make_context(environment="preview"), "1")
        assert db.versions() == ["000-a"]

    @pytest.mark.parametrize(
        ("filename", "content", "fault"),
        [
            ("1-misnamed.sql", b"select 1", "NNN-description"),
            ("001-other.sql", b"select 1", r"has the same number as migrations/001-b\.sql"),
            ("003-d.sql", b"\xff", "not UTF-8"),
            ("002-c.sql", b"-- Environment: preview", "did you mean Environments"),
        ],
    )
    def test_a_malformed_file(
        self,
        make_context: MakeContext,
        chain: Bundle,
        db: Database,
        filename: str,
        content: bytes,
        fault: str,
    ) -> None:
        chain.write(filename, content)
        with pytest.raises(MigrationFileError, match=fault):
            baseline(make_context(), "002-c" if filename == "002-c.sql" else "000-a")
        assert not db.has("public.schema_migrations")

    def test_another_run_that_takes_too_long(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        with (
            RunLock(make_context().connect, timeout=0),
            pytest.raises(RunInProgressError, match="under way") as raised,
        ):
            baseline(make_context(), "1")
        assert raised.value.exit_code == 4
        assert not db.has("public.schema_migrations")

    def test_another_tools_table(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        db.query("create table schema_migrations (version bigint, dirty boolean)")
        with pytest.raises(LedgerError, match="golang-migrate"):
            baseline(make_context(), "1")


class TestAllOrNone:
    @pytest.fixture
    def ready(self, make_context: MakeContext, chain: Bundle, db: Database) -> Bundle:
        """The chain with its first file on record, so that both tables are there."""
        baseline(make_context(), "0")
        return chain

    def test_a_row_that_is_refused_takes_the_others_and_the_run_with_it(
        self, make_context: MakeContext, ready: Bundle, db: Database
    ) -> None:
        db.query("alter table schema_migrations add check (version <> '002-c')")
        with pytest.raises(
            LedgerError, match=r"refused the runner's own statement: .*violates check"
        ):
            baseline(make_context(), "2")
        assert db.versions() == ["000-a"]
        assert len(db.runs()) == 1

    def test_the_error_for_a_lost_connection_says_what_to_do(
        self, make_context: MakeContext, ready: Bundle, db: Database
    ) -> None:
        told: list[DatabaseUnavailableError] = []

        def record() -> None:
            with pytest.raises(
                DatabaseUnavailableError, match="all together or not at all: run it again"
            ) as raised:
                baseline(make_context(), "2")
            told.append(raised.value)

        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations in share mode")
            thread = threading.Thread(target=record)
            thread.start()
            db.wait_for("schema_migration_runs in row exclusive mode")
            db.query(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
                "current_database()"
                " and query like '%schema_migration_runs in row exclusive mode%' and pid <> "
                "pg_backend_pid()"
            )
            thread.join(30)
        assert told
        assert db.versions() == ["000-a"]
        assert recorded(make_context(), "2") == ["001-b", "002-c"]

    def test_a_signal_leaves_nothing_behind(self, cli: Cli, ready: Bundle, db: Database) -> None:
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations in share mode")
            process = cli.start("baseline", "002-c")
            db.wait_for("schema_migration_runs in row exclusive mode")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 143
        assert "Interrupted by SIGTERM" in err
        assert "Traceback" not in out + err
        assert db.versions() == ["000-a"]
        assert len(db.runs()) == 1
        assert db.advisory_locks() == 0


class TestTheJournal:
    def test_production_claims_the_database_with_it_and_once(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        assert recorded(make_context(environment="preview"), "0") == ["000-a"]
        assert recorded(make_context(environment="production"), "0") == []
        assert recorded(make_context(environment="production"), "0") == []
        assert [(run["environment"], run["outcome"], run["applied"]) for run in db.runs()] == [
            ("preview", "succeeded", ["000-a"]),
            ("production", "succeeded", []),
        ]
        with pytest.raises(GuardError, match="belongs to production"):
            baseline(make_context(environment="preview"), "1")

    def test_a_file_that_was_left_midway_is_no_longer_resumed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "-- Transaction: none\ncreate table a (x int);\nselect 1 / 0;")
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context()).error is not None
        assert db.runs()[0]["in_progress_version"] == "000-a"
        baseline(make_context(), "0")
        first = db.runs()[0]
        assert (first["in_progress_version"], first["in_progress_statement"]) == (None, None)
        assert (first["outcome"], first["failed_version"]) == ("failed", "000-a")
        report = migrate(make_context())
        assert report.error is None
        assert [migration.version for migration in report.applied] == ["001-b"]

    def test_a_run_whose_runner_is_gone_is_marked(
        self, make_context: MakeContext, chain: Bundle, db: Database
    ) -> None:
        baseline(make_context(), "0")
        db.query("update schema_migration_runs set outcome = 'running', finished_at = null")
        baseline(make_context(), "1")
        assert [run["outcome"] for run in db.runs()] == ["interrupted", "succeeded"]


class TestADatabaseThatLooksEmpty:
    def test_it_is_warned_about_and_still_recorded(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int)")
        for wanted in ("0", "1"):
            witness = Witness()
            report = baseline(make_context(progress=witness), wanted)
            assert len(report.recorded) == 1
            assert "has no table yet" in report.warnings[0]
            assert "`migrate` is the command" in report.warnings[0]
            assert len(witness.of("warning")) == 1
        assert db.versions() == ["000-a", "001-b"]

    @pytest.mark.parametrize(
        "sql",
        ["create table t (x int)", "create schema s; create table s.schema_migrations (x int)"],
        ids=["public", "other"],
    )
    def test_any_table_of_its_own_is_enough(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        db.query(sql)
        bundle.write("000-a.sql", "create table a (x int)")
        assert baseline(make_context(), "0").warnings == ()


class TestTheCommand:
    def test_it_says_what_it_recorded_and_what_is_pending(
        self, cli: Cli, chain: Bundle, db: Database
    ) -> None:
        where = f"{db.target.database} (development)"
        done = cli("baseline", "001-b")
        assert done.returncode == 0
        assert done.stdout == (
            f"✓ Recorded 2 migrations as applied without running them, in {where}: 000-a to "
            "001-b.\n"
            "  Still pending: 1, 002-c.\n"
        )
        assert done.stderr == f"Recording in {db.target.place} (from DATABASE_URL; direct).\n"
        again = cli("baseline", "migrations/001-b.sql")
        assert again.returncode == 0
        assert again.stdout == (
            f"✓ Nothing to record: {where} has everything up to 001-b.\n"
            "  Still pending: 1, 002-c.\n"
        )
        assert cli("baseline", "2").stdout == (
            f"✓ Recorded 1 migration as applied without running it, in {where}: 002-c.\n"
            "  Still pending: none.\n"
        )
        assert cli("status", "--check").returncode == 0
        assert " UTC\n" in cli("status").stdout

    def test_json_is_one_document_and_nothing_else(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a-b.sql", "create table a (x int)")
        done = cli("baseline", "0", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        document = json.loads(done.stdout)
        assert "has no table yet" in document.pop("warnings")[0]
        assert document == {
            "success": True,
            "action": "baseline",
            "environment": "development",
            "database": db.target.database,
            "pgVersion": f"PostgreSQL {db.server_version}",
            "recorded": [{"version": "000-a-b", "name": "A B"}],
            "forgotten": [],
            "pendingMigrations": 0,
        }
        failed = json.loads(cli("baseline", "7", "--json").stdout)
        assert failed["success"] is False
        assert failed["error"] == "There is no migration '7'. There is 000-a-b."

    def test_the_exit_codes_are_those_of_migrate(
        self, cli: Cli, chain: Bundle, db: Database
    ) -> None:
        assert cli("baseline", "000-nothing").returncode == 2
        assert cli("baseline", "0", MIGRATION_ENVIRONMENT="production").returncode == 0
        guarded = cli("baseline", "1")
        assert guarded.returncode == 2
        assert "belongs to production" in guarded.stderr
        chain.write("000-a.sql", "changed")
        assert cli("baseline", "1", MIGRATION_ENVIRONMENT="production").returncode == 3
        chain.write("000-a.sql", "create table a (x int)")
        with db.connect() as holder, holder.transaction():
            holder.execute(f"select pg_advisory_xact_lock({KEY})")
            busy = cli(
                "baseline", "1", MIGRATION_ENVIRONMENT="production", MIGRATION_RUN_WAIT="300ms"
            )
        assert busy.returncode == 4
        assert "Waiting for another migration run" in busy.stderr


class TestForgetting:
    """Three files were applied, and have been merged into one since."""

    @pytest.fixture
    def squashed(self, make_context: MakeContext, bundle: Bundle, db: Database) -> Bundle:
        for version in CHAIN:
            bundle.write(f"{version}.sql", f"create table {version[-1]} (x int)")
        assert migrate(make_context()).error is None
        for version in CHAIN[1:]:
            (bundle.migrations / f"{version}.sql").unlink()
        bundle.write("002-squashed.sql", "create table b (x int); create table c (x int)")
        return bundle

    def test_files_that_were_merged_are_neither_missing_nor_run_again(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        assert recorded(make_context(), "002-squashed") == ["002-squashed"]
        with pytest.raises(
            IntegrityError, match="001-b is applied, but its file is not in this bundle"
        ):
            validate(make_context())
        report = forget(make_context(), ["001-b", "migrations/002-c.sql"])
        assert [row.version for row in report.forgotten] == ["001-b", "002-c"]
        assert report.pending == ()
        assert db.versions() == ["000-a", "002-squashed"]
        assert db.has("b")
        assert validate(make_context()).plan.state == "up-to-date"
        done = migrate(make_context())
        assert (done.error, done.applied, done.warnings) == (None, (), ())

    def test_it_is_on_record_as_a_run_with_nothing_applied(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        forget(make_context(environment="staging"), ["1"])
        run = db.runs()[-1]
        assert (run["source"], run["environment"], run["outcome"], run["applied"]) == (
            "cli",
            "staging",
            "succeeded",
            [],
        )

    @pytest.mark.parametrize(
        ("wanted", "faults"),
        [
            (
                ["000-a"],
                ["'000-a' can't be forgotten: its file is in the bundle, migrations/000-a.sql."],
            ),
            (["0"], ["'0' can't be forgotten: its file is in the bundle, migrations/000-a.sql."]),
            (
                ["002-squashed"],
                [
                    "'002-squashed' can't be forgotten: its file is in the bundle, "
                    "migrations/002-squashed.sql."
                ],
            ),
            (
                ["009-else"],
                ["'009-else' can't be forgotten: it is not on record in this database."],
            ),
            (
                ["001-bee"],
                [
                    "'001-bee' can't be forgotten: it is not on record in this database. "
                    "Is it 001-b?"
                ],
            ),
            (["9"], ["'9' can't be forgotten: it is not on record in this database."]),
            ([""], ["'' can't be forgotten: it is not on record in this database."]),
            (
                ["001-b", "000-a", "009-else"],
                [
                    "'000-a' can't be forgotten: its file is in the bundle, migrations/000-a.sql.",
                    "'009-else' can't be forgotten: it is not on record in this database.",
                ],
            ),
        ],
    )
    def test_what_cannot_be_forgotten_is_named_and_nothing_is_forgotten(
        self,
        make_context: MakeContext,
        squashed: Bundle,
        db: Database,
        wanted: list[str],
        faults: list[str],
    ) -> None:
        runs = len(db.runs())
        with pytest.raises(ConfigurationError, match="can't be forgotten") as caught:
            forget(make_context(), wanted)
        assert caught.value.faults == (*faults, "Nothing was forgotten.")
        assert db.versions() == list(CHAIN)
        assert len(db.runs()) == runs

    def test_a_number_that_several_rows_have_is_not_enough(self) -> None:
        rows = [AppliedMigration(version, "") for version in ("0001-a", "001-b", "odd")]
        plan = make_plan((), rows, environment="development")
        with pytest.raises(
            ConfigurationError, match="several rows have this number: 0001-a, 001-b"
        ):
            find_rows(plan, (), ["1"])
        assert [row.version for row in find_rows(plan, (), ["001-b", "odd", "001-b.sql"])] == [
            "001-b",
            "odd",
        ]

    def test_a_database_without_a_ledger_has_nothing_to_forget(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with pytest.raises(ConfigurationError, match="'1' can't be forgotten: it is not on record"):
            forget(make_context(), ["1"])
        assert not db.has("public.schema_migrations")

    def test_a_row_whose_file_has_another_name_is_kept_or_it_would_run_again(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        squashed.write("001-bee.sql", "create table b (x int)")
        with pytest.raises(
            IntegrityError, match="001-b was applied under that name, and its file is now 001-bee"
        ):
            forget(make_context(), ["001-b"])
        assert db.versions() == list(CHAIN)

    def test_the_guard(self, make_context: MakeContext, squashed: Bundle, db: Database) -> None:
        baseline(make_context(environment="production"), "2")
        with pytest.raises(GuardError, match="belongs to production"):
            forget(make_context(environment="preview"), ["1"])
        assert "001-b" in db.versions()

    def test_another_run_that_takes_too_long(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        with (
            RunLock(make_context().connect, timeout=0),
            pytest.raises(RunInProgressError, match="under way"),
        ):
            forget(make_context(), ["1"])
        assert "001-b" in db.versions()

    def test_another_that_forgot_it_meanwhile_is_found_under_the_lock(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        witness, told = Witness(), []

        def second() -> None:
            with pytest.raises(
                ConfigurationError, match="'1' can't be forgotten: it is not on record"
            ) as caught:
                forget(make_context(run_wait=30.0, progress=witness), ["1"])
            told.append(caught.value)

        with RunLock(make_context().connect, timeout=0):
            thread = threading.Thread(target=second)
            thread.start()
            wait_until(lambda: witness.of("waiting"), "a word of the other run")
            db.query("delete from schema_migrations where version = '001-b'")
        thread.join(30)
        assert len(told) == 1

    def test_the_error_for_a_role_without_the_right_names_it(
        self, make_context: MakeContext, squashed: Bundle, db: Database
    ) -> None:
        with db.another_role() as theirs:
            role = theirs.target.parameters["user"]
            db.query(
                "grant select, insert, update on schema_migrations, schema_migration_runs to "
                f"{role};"
                f"grant usage on sequence schema_migrations_id_seq to {role}"
            )
            with pytest.raises(
                LedgerError,
                match=r"denied .*42501\)\. Nothing was forgotten\. Grant the role delete on public",
            ):
                forget(make_context(target=theirs.target), ["1"])
            assert "001-b" in db.versions()
            db.query(f"grant delete on public.schema_migrations to {role}")
            assert len(forget(make_context(target=theirs.target), ["1"]).forgotten) == 1

    def test_the_command_says_what_is_gone_and_what_is_pending(
        self, cli: Cli, squashed: Bundle, db: Database
    ) -> None:
        done = cli("baseline", "--forget", "001-b")
        assert (done.returncode, done.stderr.partition(" in ")[0]) == (0, "Forgetting")
        assert done.stdout == (
            f"✓ Took 1 migration off the record of {db.target.database} (development): 001-b. What "
            "they made stays.\n"
            "  Still pending: 1, 002-squashed.\n"
        )
        document = json.loads(cli("baseline", "--forget", "2", "--json").stdout)
        assert document["forgotten"] == [{"version": "002-c", "name": "C"}]
        assert (document["action"], document["pendingMigrations"]) == ("baseline", 1)
        failed = cli("baseline", "--json", "--forget", "2")
        assert failed.returncode == 2
        assert (
            "its file is in the bundle, migrations/002-squashed.sql"
            in json.loads(failed.stdout)["error"]
        )
        both = cli("baseline", "0", "--forget", "1")
        assert both.returncode == 2
        assert "not allowed with argument" in both.stderr
