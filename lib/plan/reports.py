"""The outcome of each action, as a value and as the JSON document that every surface shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from ..deployment import Deployment
from ..errors import Interrupted, MigratorError
from ..escaping import message, one_line
from ..files.folder import MigrationFile
from .migration_plan import Plan
from .migration_states import AppliedMigration, Entry

Source = Literal["build", "admin", "cli"]
Outcome = Literal["running", "succeeded", "failed", "interrupted"]
Document = dict[str, Any]


class Documented(Protocol):
    """What a document shows as it describes itself: the findings of a review."""

    def to_dict(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class FileReview:
    """What pending files do to the database: findings, and in words; `error` is what they stop.

    `ignored` are those that a comment in a file ignores.
    """

    findings: tuple[Documented, ...] = ()
    ignored: tuple[Documented, ...] = ()
    warnings: tuple[str, ...] = ()
    error: MigratorError | None = None

    def to_dict(self) -> Document:
        return {
            "findings": [each.to_dict() for each in self.findings],
            "ignored": [each.to_dict() for each in self.ignored],
        }


@dataclass(frozen=True)
class Renumbered:
    """A row of the ledger that got the new version of its file; the file did not run again."""

    former: str
    version: str

    def to_dict(self) -> Document:
        return {"from": one_line(self.former), "version": one_line(self.version)}


@dataclass(frozen=True)
class Run:
    """A row of the journal of runs. Times are in UTC.

    `error` is the recorded text of a failure, which holds no data of rows; of the last run, its
    beginning.
    """

    id: int
    outcome: Outcome
    source: Source
    started_at: datetime
    finished_at: datetime | None
    commit: str | None
    environment: str
    failed_version: str | None = None
    error: str | None = None
    sqlstate: str | None = None

    def failure(self) -> Document:
        """Make what a document says of the failure. Not for the public: a text may hold names."""
        return {
            "failedVersion": self.failed_version,
            "error": self.error and message(self.error),
            "sqlstate": self.sqlstate,
        }


@dataclass(frozen=True)
class PastRun(Run):
    """A run with all that the journal has of it.

    `applied` are the versions that it has committed so far, `renumbered` the rows that it gave new
    ones. `in_progress_version` is the file
    outside a transaction that it stopped in, or is at.
    """

    ref: str | None = None
    deployment: str | None = None
    applied: tuple[str, ...] = ()
    in_progress_version: str | None = None
    renumbered: tuple[Renumbered, ...] = ()

    @property
    def duration(self) -> float | None:
        """Its seconds; None while it lasts."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None

    def to_dict(self) -> Document:
        duration = self.duration
        return {
            "id": self.id,
            "outcome": self.outcome,
            "source": self.source,
            "environment": self.environment,
            "startedAt": iso_time(self.started_at),
            "finishedAt": iso_time(self.finished_at),
            "durationMs": None if duration is None else round(duration * 1000),
            "commit": self.commit,
            "ref": self.ref,
            "deployment": self.deployment,
            "applied": list(self.applied),
            "renumbered": [each.to_dict() for each in self.renumbered],
            "inProgressVersion": self.in_progress_version,
            **self.failure(),
        }


@dataclass(frozen=True)
class History:
    """The newest runs on record in a database, the newest first."""

    environment: str
    database: str
    server_version: str
    runs: tuple[PastRun, ...] = ()
    advice: tuple[str, ...] = ()

    def to_dict(self) -> Document:
        return {
            "success": True,
            "action": "history",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "runs": [run.to_dict() for run in self.runs],
            "warnings": list(map(message, self.advice)),
        }


@dataclass(frozen=True)
class Status:
    """The bundle and its database side by side, at one moment.

    `deployment` is that of the bundle; `origins` holds, by version, the deployments that applied
    the files, where recorded. `owner` is the environment that the database belongs to, None while
    any environment may migrate it. `is_direct` says that the connection used no pooler and no
    proxy. `advice` is what should be done about the tables of the runner. `drift` is the last
    verdict on whether the schema has changed since the last run; None if it is not known.
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
    drift: bool | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual, but prevents nothing."""
        return (*self.advice, *self.plan.warnings)

    @property
    def is_current(self) -> bool:
        """True if the database is at the state of this bundle, or ahead of it."""
        return self.plan.state in ("up-to-date", "ahead")

    def origin(self, entry: Entry) -> Deployment | None:
        """Return the deployment that applied a migration; None if it is not applied.

        The record of a migration that is no longer applied says nothing about this one.
        """
        return self.origins.get(entry.version) if entry.is_applied else None

    def to_dict(self, *, newest: int | None = None) -> Document:
        """Make the document, with the `newest` migrations only if a number of them is given."""
        # The keys are a contract with scripts and with the status page: add keys, rename none.
        last, entries = self.plan.last, self.plan.entries
        return {
            "success": True,
            "state": self.plan.state,
            "environment": self.environment,
            "belongsTo": self.owner,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "appliedMigrations": self.plan.applied_count,
            "pendingMigrations": self.plan.pending_count,
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
            "drift": self.drift,
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
    """How a run ended, with what was applied before a failure. `pending` is None if unknown.

    `up_to` is the version that limits the run, None without a limit; `beyond` are the pending files
    behind it. `began_empty` if no migration was on record before it. `seeds` were applied after the
    migrations, None if that was not the time for any. `review` is what was found before;
    `renumbered` are the rows of the ledger that got the new versions of their files.
    """

    environment: str
    database: str | None = None
    server_version: str | None = None
    applied: tuple[AppliedNow, ...] = ()
    pending: int | None = None
    warnings: tuple[str, ...] = ()
    error: MigratorError | Interrupted | None = None
    up_to: str | None = None
    beyond: tuple[MigrationFile, ...] = ()
    began_empty: bool = False
    seeds: tuple[AppliedNow, ...] | None = None
    review: FileReview = field(default_factory=FileReview)
    renumbered: tuple[Renumbered, ...] = ()

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    @property
    def has_made_database(self) -> bool:
        """True if the run found nothing applied, and left nothing pending."""
        return self.began_empty and bool(self.applied) and self.pending == 0 and not self.error

    def to_dict(self) -> Document:
        # Even then with what was applied: it is committed, and the error says nothing of it.
        document = error_document(self.error) if self.error else {"success": True}
        return {
            **document,
            "action": "migrate",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": self.server_version and f"PostgreSQL {self.server_version}",
            "applied": [migration.to_dict() for migration in self.applied],
            "pendingMigrations": self.pending,
            **renumbered_document(self.renumbered),
            **({} if self.seeds is None else {"seeds": seeds_document(self.seeds)}),
            # Without control characters: a terminal may show the document as it is.
            "warnings": list(map(message, self.warnings)),
            **self.review.to_dict(),
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


def seeds_document(seeds: Sequence[AppliedNow]) -> list[Document]:
    """Make the list of seeds that were applied, by the names of their files."""
    return [{"name": seed.name, "executionTimeMs": seed.execution_time_ms} for seed in seeds]


def renumbered_document(renumbered: Sequence[Renumbered]) -> Document:
    """Make the part about rows that got, or would get, a new version; empty without any."""
    return {"renumbered": [each.to_dict() for each in renumbered]} if renumbered else {}


def error_document(error: BaseException) -> Document:
    """Make the document of a failure."""
    # Errors that are not the runner's own have a text only.
    details = error.details() if isinstance(error, MigratorError) else {}
    return {"success": False, "error": message(str(error)), **details}


def public_error_document(error: MigratorError) -> Document:
    """Make the document of a failure, without any detail of the connection."""
    return {**error_document(error), "error": message(error.public)}


def validation_document(status: Status) -> Document:
    """Make the document of a validation without errors."""
    return {
        "success": True,
        "action": "validate",
        "environment": status.environment,
        "database": status.database,
        "pgVersion": f"PostgreSQL {status.server_version}",
        "appliedMigrations": status.plan.applied_count,
        "pendingMigrations": status.plan.pending_count,
        "warnings": list(map(message, status.warnings)),
    }


def iso_time(moment: datetime | None) -> str | None:
    """Format a time in ISO 8601, in UTC, with milliseconds and `Z`."""
    if moment is None:
        return None
    # The form of JavaScript's Date.toISOString, which the page and scripts read.
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
