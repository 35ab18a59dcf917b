"""What a comparison of two schemas came to, as a value and in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .. import COMMAND
from ..catalog.schema_objects import Change, ChangeKind
from ..errors import IntegrityError, MigratorError
from ..escaping import message, one_line

# A log is read by people: `drift` lists the others.
MOST_IN_A_LOG = 20
SIGNS = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-", ChangeKind.CHANGED: "~"}
WAYS_OUT = (
    "Undo them, or put them into a migration that also works where they are made already; "
    f"`{COMMAND} drift --accept` takes the schema as it is."
)


@dataclass(frozen=True)
class Recorded:
    """When the schema was recorded with which the database is compared, and by which run."""

    run: int
    taken_at: datetime | None

    def __str__(self) -> str:
        when = f" ({self.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)" if self.taken_at else ""
        return f"run {self.run}{when}"


@dataclass(frozen=True)
class Verdict:
    """The changes since the last run; None if they are not known, and then the `reason`.

    `is_first` if no schema was ever recorded in this database.
    """

    changes: tuple[Change, ...] | None
    reason: str = ""
    since: Recorded | None = None
    is_first: bool = False

    @property
    def has_drift(self) -> bool | None:
        """None if it is not known."""
        return None if self.changes is None else bool(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the part of a JSON document that every surface shows."""
        taken_at = self.since.taken_at if self.since else None
        return {
            "drift": changes_document(self.changes),
            "reason": message(self.reason) if self.reason else None,
            "since": self.since
            and {
                "run": self.since.run,
                "takenAt": taken_at
                and taken_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            },
        }


@dataclass(frozen=True)
class DriftReport:
    """What the command `drift` has found; with `is_accepted`, what it takes as it is."""

    environment: str
    database: str
    server_version: str
    verdict: Verdict
    is_accepted: bool = False

    @property
    def exit_code(self) -> int:
        return 0 if self.is_accepted else _exit_code(self.verdict.changes)

    def to_dict(self) -> dict[str, Any]:
        document = self.verdict.to_dict()
        if self.is_accepted:
            document = {**document, "drift": [], "reason": None, "accepted": document["drift"]}
        return {
            "success": True,
            "action": "drift",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            **document,
        }


@dataclass(frozen=True)
class FilesDrift:
    """What a database has beside its applied files (added), and lacks of them (removed).

    `changes` is None if the schema could not be read, for `reason`. `pending` files were not built.
    """

    environment: str
    database: str
    server_version: str
    changes: tuple[Change, ...] | None
    applied: int
    pending: int
    reason: str = ""

    @property
    def exit_code(self) -> int:
        return _exit_code(self.changes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "success": True,
            "action": "drift",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "drift": changes_document(self.changes),
            "reason": message(self.reason) if self.reason else None,
            "files": {"applied": self.applied, "pending": self.pending},
        }


class DriftError(IntegrityError):
    """The database was changed since the last run, and `MIGRATION_DRIFT` is `stop`."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{drift_text(verdict)}\nNothing was applied. {WAYS_OUT}")
        self.changes = verdict.changes or ()

    def details(self) -> dict[str, object]:
        return {"drift": changes_document(self.changes)}


def _exit_code(changes: Sequence[Change] | None) -> int:
    # A schema that is not known must not look like a database without drift.
    if changes is None:
        return MigratorError.exit_code
    return IntegrityError.exit_code if changes else 0


def changes_document(changes: Sequence[Change] | None) -> list[dict[str, str]] | None:
    """Return the changes as JSON shows them; None if they are not known."""
    return None if changes is None else [each.to_dict() for each in changes]


def drift_text(verdict: Verdict) -> str:
    """Say what has changed, or why that is not known."""
    since = f" since {verdict.since}" if verdict.since else ""
    if verdict.changes is None:
        return f"It is not known whether the database has changed{since}: {verdict.reason}"
    what = "1 change" if len(verdict.changes) == 1 else f"{len(verdict.changes)} changes"
    found = f"The database has changed{since}, by other means than a migration: {what}."
    return "\n".join((found, *change_lines(verdict.changes, most=MOST_IN_A_LOG)))


def change_lines(changes: Sequence[Change], *, most: int | None = None) -> list[str]:
    """Return a line for each change, and one that counts those past `most`."""
    lines = [
        f"  {SIGNS[each.change]} {one_line(f'{each.kind} {each.identity}')}  {each.change.value}"
        for each in changes[:most]
    ]
    if most is not None and len(changes) > most:
        lines.append(f"  … and {len(changes) - most} more: `{COMMAND} drift` lists them all.")
    return lines
