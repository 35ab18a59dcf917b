"""The JSON documents: what they hold, letter for letter, and that they are JSON."""

import json
import signal
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lib.deployment import Deployment
from lib.errors import (
    BusyTableError,
    ConfigurationError,
    DatabaseUnavailableError,
    GuardError,
    IntegrityError,
    Interrupted,
    LedgerError,
    MigrationFailedError,
    MigrationFileError,
    MigratorError,
    OrderError,
    OutOfTimeError,
    RunInProgressError,
)
from lib.files.folder import parse
from lib.files.prepare_script import prepare_all
from lib.plan.dry_run_report import DryRun
from lib.plan.migration_plan import make_plan
from lib.plan.migration_states import AppliedMigration
from lib.plan.reports import (
    AppliedNow,
    Run,
    RunReport,
    Status,
    error_document,
    iso_time,
    validation_document,
)

WHEN = datetime(2024, 1, 31, 12, 30, 5, 123_456, tzinfo=UTC)
FILES = [
    parse("000-first.sql", b"select 1;"),
    parse("001-second.sql", b"-- Statement-Timeout: 10min\nselect 2; select 3"),
    parse("002-third.sql", b"create index concurrently i on a (x)"),
    parse("003-elsewhere.sql", b"-- Environments: production\n"),
]
NOT_APPLIED = ("appliedAt", "executionTimeMs", "appliedBy")
APPLIED = [AppliedMigration("000-first", "First", WHEN, 12, FILES[0].checksum)]


def status(**changes: Any) -> Status:
    plan = make_plan(FILES, APPLIED, environment="preview")
    made = {"environment": "preview", "database": "app", "server_version": "16.4", "plan": plan}
    return Status(**{**made, **changes})


def planned(obstacle: MigratorError | None = None) -> DryRun:
    return DryRun(status(), prepare_all(status().plan.pending), lock_timeout=2.0, obstacle=obstacle)


class TestStatus:
    def test_the_document(self) -> None:
        run = Run(1, "failed", "build", WHEN, WHEN + timedelta(seconds=2), "abc", "preview")
        bundle, earlier = Deployment("def", "main", "dpl_2"), Deployment("abc", "fix", None)
        document = status(
            last_run=run,
            deployment=bundle,
            origins={"000-first": earlier},
            owner="production",
            drift=True,
        ).to_dict()
        assert json.loads(json.dumps(document)) == {
            "success": True,
            "state": "pending",
            "environment": "preview",
            "belongsTo": "production",
            "database": "app",
            "pgVersion": "PostgreSQL 16.4",
            "drift": True,
            "appliedMigrations": 1,
            "pendingMigrations": 2,
            "lastMigration": {
                "version": "000-first",
                "name": "First",
                "appliedAt": "2024-01-31T12:30:05.123Z",
            },
            "migrationsTotal": 4,
            "migrations": [
                {
                    "version": "000-first",
                    "name": "First",
                    "state": "applied",
                    "appliedAt": "2024-01-31T12:30:05.123Z",
                    "executionTimeMs": 12,
                    "appliedBy": {"commit": "abc", "ref": "fix", "deployment": None},
                },
                *(
                    {"version": version, "name": name, "state": state, **dict.fromkeys(NOT_APPLIED)}
                    for version, name, state in (
                        ("001-second", "Second", "pending"),
                        ("002-third", "Third", "pending"),
                        ("003-elsewhere", "Elsewhere", "skipped"),
                    )
                ),
            ],
            "deployment": {"commit": "def", "ref": "main"},
            "lastRun": {
                "outcome": "failed",
                "source": "build",
                "startedAt": "2024-01-31T12:30:05.123Z",
                "finishedAt": "2024-01-31T12:30:07.123Z",
                "commit": "abc",
            },
        }

    def test_what_there_is_not_is_null(self) -> None:
        document = status(plan=make_plan([], None, environment="preview")).to_dict()
        assert (document["state"], document["migrations"]) == ("uninitialised", [])
        assert (document["lastMigration"], document["lastRun"], document["belongsTo"]) == (
            None,
            None,
            None,
        )
        assert document["deployment"] == {"commit": None, "ref": None}

    def test_a_run_under_way_has_no_end(self) -> None:
        document = status(last_run=Run(1, "running", "cli", WHEN, None, None, "preview")).to_dict()
        assert (document["lastRun"]["finishedAt"], document["lastRun"]["commit"]) == (None, None)

    @pytest.mark.parametrize(
        ("count", "rows", "current"),
        [
            (1, APPLIED, True),
            (0, APPLIED, True),
            (2, APPLIED, False),
            (0, None, False),
            (0, [], True),
        ],
        ids=["up-to-date", "ahead", "pending", "uninitialised", "empty"],
    )
    def test_it_is_current_at_the_bundles_state_or_ahead(
        self, count: int, rows: list[AppliedMigration] | None, current: bool
    ) -> None:
        assert (
            status(plan=make_plan(FILES[:count], rows, environment="preview")).is_current is current
        )


class TestRun:
    def test_a_run_that_went_well(self) -> None:
        report = RunReport(
            "preview",
            "app",
            "16.4",
            applied=(AppliedNow("001-second", "Second", 34),),
            pending=0,
            warnings=("odd",),
        )
        assert report.exit_code == 0
        assert report.to_dict() == {
            "success": True,
            "action": "migrate",
            "environment": "preview",
            "database": "app",
            "pgVersion": "PostgreSQL 16.4",
            "applied": [{"version": "001-second", "name": "Second", "executionTimeMs": 34}],
            "pendingMigrations": 0,
            "warnings": ["odd"],
            "findings": [],
            "ignored": [],
        }

    def test_a_failure_tells_what_was_applied_before_it(self) -> None:
        error = MigrationFailedError(
            "division by zero", version="002-third", sqlstate="22012", line=3, column=8
        )
        report = RunReport(
            "preview",
            "app",
            "16.4",
            applied=(AppliedNow("001-second", "Second", 34),),
            pending=1,
            error=error,
        )
        document = report.to_dict()
        assert report.exit_code == 1
        assert {
            key: document[key] for key in ("success", "error", "version", "sqlstate", "line")
        } == {
            "success": False,
            "error": "division by zero",
            "version": "002-third",
            "sqlstate": "22012",
            "line": 3,
        }
        assert [migration["version"] for migration in document["applied"]] == ["001-second"]

    def test_a_run_that_never_reached_the_database_knows_nothing_of_it(self) -> None:
        document = RunReport("preview", error=DatabaseUnavailableError("away")).to_dict()
        assert (document["database"], document["pgVersion"], document["pendingMigrations"]) == (
            None,
            None,
            None,
        )
        assert (document["success"], document["applied"]) == (False, [])


class TestPlan:
    def test_each_file_says_its_mode_timeouts_and_statements(self) -> None:
        document = planned().to_dict()
        assert json.loads(json.dumps(document)) == {
            "success": True,
            "action": "plan",
            "environment": "preview",
            "database": "app",
            "pgVersion": "PostgreSQL 16.4",
            "pendingMigrations": 2,
            "plan": [
                {
                    "version": "001-second",
                    "name": "Second",
                    "mode": "transaction",
                    "lockTimeout": "2s",
                    "statementTimeout": "10min",
                    "statements": 2,
                },
                {
                    "version": "002-third",
                    "name": "Third",
                    "mode": "alone",
                    "lockTimeout": None,
                    "statementTimeout": None,
                    "statements": 1,
                },
            ],
            "warnings": [],
            "findings": [],
            "ignored": [],
        }

    def test_an_obstacle_makes_it_a_failure_that_still_tells_the_plan(self) -> None:
        document = planned(IntegrityError("modified", version="000-first")).to_dict()
        assert (document["success"], document["error"], document["version"]) == (
            False,
            "modified",
            "000-first",
        )
        assert len(document["plan"]) == 2


def test_the_document_of_a_sound_chain() -> None:
    assert validation_document(status()) == {
        "success": True,
        "action": "validate",
        "environment": "preview",
        "database": "app",
        "pgVersion": "PostgreSQL 16.4",
        "appliedMigrations": 1,
        "pendingMigrations": 2,
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("error", "exit_code", "details"),
    [
        (MigratorError("x"), 1, {}),
        (ConfigurationError("x"), 2, {}),
        (
            MigrationFileError("x", file="f", line=2, version="001-a"),
            2,
            {"version": "001-a", "line": 2},
        ),
        (MigrationFileError("x", file="f"), 2, {}),
        (GuardError("x"), 2, {}),
        (IntegrityError("x", version="001-a"), 3, {"version": "001-a"}),
        (OrderError("x", version="001-a"), 3, {"version": "001-a"}),
        (RunInProgressError("a build", "2024"), 4, {"holder": "a build", "since": "2024"}),
        (RunInProgressError(None, None), 4, {}),
        (
            BusyTableError("x", version="001-a", sqlstate="55P03"),
            4,
            {"version": "001-a", "sqlstate": "55P03"},
        ),
        (
            MigrationFailedError("x", version="001-a", sqlstate="1", line=3),
            1,
            {"version": "001-a", "sqlstate": "1", "line": 3},
        ),
        (MigrationFailedError("x", version="001-a"), 1, {"version": "001-a"}),
        (DatabaseUnavailableError("x"), 1, {}),
        (LedgerError("x"), 1, {}),
        (OutOfTimeError("x"), 1, {}),
        (Interrupted(signal.SIGTERM), 143, {}),
        (Interrupted(signal.SIGINT), 130, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failure_carries_its_details_and_its_exit_code(
    error: MigratorError | Interrupted, exit_code: int, details: dict[str, object]
) -> None:
    assert error_document(error) == {"success": False, "error": str(error), **details}
    assert RunReport("preview", error=error).exit_code == exit_code


def test_all_faults_of_the_configuration_are_lines_of_one_error() -> None:
    error = ConfigurationError("A: wrong", "B: wrong")
    assert (str(error), error.faults) == ("A: wrong\nB: wrong", ("A: wrong", "B: wrong"))


@pytest.mark.parametrize(
    ("holder", "since", "text"),
    [
        (None, None, "Another migration run is under way. Try"),
        ("migrations build", None, "Another migration run (migrations build) is under way. Try"),
        (
            "migrations build",
            "2024Z",
            "Another migration run (migrations build) is under way since 2024Z. Try",
        ),
    ],
)
def test_another_run_is_told_by_who_and_since_when_as_far_as_known(
    holder: str | None, since: str | None, text: str
) -> None:
    assert str(RunInProgressError(holder, since)).startswith(text)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (WHEN, "2024-01-31T12:30:05.123Z"),
        (WHEN.replace(microsecond=0), "2024-01-31T12:30:05.000Z"),
        (WHEN.replace(microsecond=999_999), "2024-01-31T12:30:05.999Z"),
        (WHEN.astimezone(timezone(timedelta(hours=-8))), "2024-01-31T12:30:05.123Z"),
    ],
)
def test_a_time_is_iso_8601_in_utc_with_milliseconds(
    moment: datetime | None, text: str | None
) -> None:
    assert iso_time(moment) == text
