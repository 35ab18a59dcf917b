"""What has become of the seeds, as values, and as the JSON documents of the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..errors import Interrupted, MigratorError
from ..escaping import message
from ..files.folder import MigrationFile
from ..ledger.production_guard import PRODUCTION
from ..plan.reports import AppliedNow, Document, error_document, iso_time, seeds_document
from .seed_table import SeedRecords

SeedState = Literal["applied", "pending", "changed", "skipped"]


@dataclass(frozen=True)
class Seed:
    """A seed as its file and the table of the seeds show it.

    `changed`: another content of this name has run. `skipped`: the header names other
    environments, or this one is production.
    """

    file: MigrationFile
    state: SeedState
    applied_at: datetime | None = None

    @property
    def is_due(self) -> bool:
        """True if the seed would run now."""
        return self.state in ("pending", "changed")

    def to_dict(self) -> Document:
        return {
            "name": self.file.name,
            "state": self.state,
            "appliedAt": iso_time(self.applied_at),
        }


@dataclass(frozen=True)
class SeedReport:
    """How it went, with what was applied before a failure. `left` is due and was not applied."""

    environment: str
    database: str | None = None
    server_version: str | None = None
    applied: tuple[AppliedNow, ...] = ()
    left: int | None = None
    warnings: tuple[str, ...] = ()
    error: MigratorError | Interrupted | None = None

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    def to_dict(self) -> Document:
        document = error_document(self.error) if self.error else {"success": True}
        return {
            **document,
            "action": "seed",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": self.server_version and f"PostgreSQL {self.server_version}",
            "seeds": seeds_document(self.applied),
            "warnings": list(map(message, self.warnings)),
        }


def compare(
    files: Iterable[MigrationFile], records: SeedRecords, environment: str
) -> tuple[Seed, ...]:
    """Compare the files with the table, in the order of the files."""
    return tuple(_seed(file, records, environment) for file in files)


def _seed(file: MigrationFile, records: SeedRecords, environment: str) -> Seed:
    checksum = records.find(file)
    if checksum is not None:
        return Seed(file, "applied", records.applied[checksum])
    if environment == PRODUCTION or not file.runs_in(environment):
        return Seed(file, "skipped")
    return Seed(file, "changed" if file.name in records.names else "pending")
