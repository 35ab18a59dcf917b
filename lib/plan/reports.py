"""What there is to tell, as values, and the JSON documents made of them: the same for every surface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ..clean_text import message
from ..deployment import Deployment
from ..errors import Interrupted, MigratorError
from ..files.folder import MigrationFile
from .migration_plan import AppliedMigration, Entry, Plan

Source = Literal["build", "admin", "cli"]
Outcome = Literal["running", "succeeded", "failed", "interrupted"]
Document = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A row of the journal of runs. Times carry UTC."""

    id: int
    outcome: Outcome
    source: Source
    started_at: datetime
    finished_at: datetime | None
    commit: str | None
    environment: str


@dataclass(frozen=True)
class Status:
    """The bundle and its database side by side, at one moment.

    `deployment` is the bundle's own, `origins` has by version those that applied the files, as far as it is on record.
    `owner` is the environment that the database belongs to, None while any may migrate it. `is_direct` is of the
    connection that was looked over: no pooler and no proxy answered. `advice` is what should be done about the runner's
    own tables.
    """

    environment: str
    database: str
    server_version: str
    plan: Plan
    last_run: Run | None = None
    deployment: Deployment = field(default_factory=Deployment)
    origins: Mapping[str, Deployment] = field(default_factory=dict)
    owner: str | None = None
    is_direct: bool = True
    advice: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd, and keeps nothing from being done."""
        return (*self.advice, *self.plan.warnings)

    @property
    def is_current(self) -> bool:
        """At this bundle's state, or ahead of it."""
        return self.plan.state in ("up-to-date", "ahead")

    def origin(self, entry: Entry) -> Deployment | None:
        """The deployment that applied it; None if it isn't applied, whatever the record says of earlier times."""
        return self.origins.get(entry.version) if entry.is_applied else None

    def to_dict(self, *, newest: int | None = None) -> Document:
        """The document, with so many of the `newest` migrations; with all of them if not given."""
        last, entries = self.plan.last, self.plan.entries
        return {
            "success": True,
            "state": self.plan.state,
            "environment": self.environment,
            "belongsTo": self.owner,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "appliedMigrations": self.plan.applied_count,
            "pendingMigrations": len(self.plan.pending),
            "lastMigration": last
            and {
                "version": last.version,
                "name": last.name,
                "appliedAt": iso_time(last.applied_at),
            },
            "migrationsTotal": len(entries),
            "migrations": [
                _entry(entry, self.origin(entry)) for entry in entries[-(newest or len(entries)) :]
            ],
            "deployment": {"commit": self.deployment.commit, "ref": self.deployment.ref},
            "lastRun": _run(self.last_run) if self.last_run else None,
        }


@dataclass(frozen=True)
class AppliedNow:
    """A migration that this run has committed."""

    version: str
    name: str
    execution_time_ms: int

    def to_dict(self) -> Document:
        return {
            "version": self.version,
            "name": self.name,
            "executionTimeMs": self.execution_time_ms,
        }


@dataclass(frozen=True)
class RunReport:
    """How a run ended, partial failure included. `pending` is None where it never came to be known."""

    environment: str
    database: str | None = None
    server_version: str | None = None
    applied: tuple[AppliedNow, ...] = ()
    pending: int | None = None
    warnings: tuple[str, ...] = ()
    error: MigratorError | Interrupted | None = None

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    def to_dict(self) -> Document:
        document = error_document(self.error) if self.error else {"success": True}
        return {
            **document,
            "action": "migrate",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": self.server_version and f"PostgreSQL {self.server_version}",
            "applied": [migration.to_dict() for migration in self.applied],
            "pendingMigrations": self.pending,
            "warnings": list(map(message, self.warnings)),
        }


@dataclass(frozen=True)
class BaselineReport:
    """Which rows `baseline` wrote to the ledger without running a file, or deleted from it.

    `last` is the version up to which files were recorded, None if rows were deleted instead.
    """

    environment: str
    database: str
    server_version: str
    last: str | None = None
    recorded: tuple[MigrationFile, ...] = ()
    forgotten: tuple[AppliedMigration, ...] = ()
    pending: tuple[MigrationFile, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> Document:
        return {
            "success": True,
            "action": "baseline",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "recorded": _names(self.recorded),
            "forgotten": _names(self.forgotten),
            "pendingMigrations": len(self.pending),
            "warnings": list(map(message, self.warnings)),
        }


def _names(migrations: Sequence[MigrationFile | AppliedMigration]) -> list[Document]:
    return [{"version": each.version, "name": each.name} for each in migrations]


def error_document(error: BaseException) -> Document:
    """The document of something that failed."""
    details = error.details() if isinstance(error, MigratorError) else {}
    return {"success": False, "error": message(str(error)), **details}


def public_error_document(error: MigratorError) -> Document:
    """The same without any detail of the connection."""
    return {**error_document(error), "error": message(error.public)}


def validation_document(status: Status) -> Document:
    """The document of a chain that was found to be sound."""
    return {
        "success": True,
        "action": "validate",
        "environment": status.environment,
        "database": status.database,
        "pgVersion": f"PostgreSQL {status.server_version}",
        "appliedMigrations": status.plan.applied_count,
        "pendingMigrations": len(status.plan.pending),
        "warnings": list(map(message, status.warnings)),
    }


def iso_time(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entry(entry: Entry, origin: Deployment | None) -> Document:
    return {
        "version": entry.version,
        "name": entry.name,
        "state": entry.state,
        "appliedAt": iso_time(entry.applied_at),
        "executionTimeMs": entry.execution_time_ms,
        "appliedBy": origin
        and {"commit": origin.commit, "ref": origin.ref, "deployment": origin.id},
    }


def _run(run: Run) -> Document:
    return {
        "outcome": run.outcome,
        "source": run.source,
        "startedAt": iso_time(run.started_at),
        "finishedAt": iso_time(run.finished_at),
        "commit": run.commit,
    }
