"""Decide what there is to do, from the files, the ledger and the environment. Pure: the database only obeys."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lib.errors import IntegrityError, OrderError
from lib.migration_files import ENVIRONMENTS, MigrationFile

EntryState = Literal["applied", "pending", "modified", "missing", "skipped"]
State = Literal["modified", "pending", "ahead", "uninitialised", "up-to-date"]


@dataclass(frozen=True)
class AppliedMigration:
    """A row of the ledger. `applied_at` carries UTC; what another runner left null stays None."""

    version: str
    name: str
    applied_at: datetime | None = None
    execution_time_ms: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """How far a file outside a transaction has come. `statement`, counted from 1, is the one that comes next.

    `ran_before` tells how many stood before it, and their digest, and `with_it` the same with that one, or with all of the
    block of the file's own that it begins; `in_doubt` when nobody knows whether it has taken effect.
    """

    version: str
    statement: int
    ran_before: str
    with_it: str = ""
    in_doubt: bool = False


@dataclass(frozen=True)
class Interruption:
    """Where run number `run` left a file; `sqlstate` is the server's, where it was the server that stopped it."""

    run: int
    checkpoint: Checkpoint
    sqlstate: str | None = None


@dataclass(frozen=True)
class Entry:
    """One migration, as the bundle and the ledger together know it."""

    version: str
    name: str
    state: EntryState
    applied_at: datetime | None = None
    execution_time_ms: int | None = None

    @property
    def is_applied(self) -> bool:
        """Tell whether the ledger has it, with a file or without."""
        return self.state in ("applied", "modified", "missing")


@dataclass(frozen=True)
class Plan:
    """What is applied, what is to be applied, and what is odd. Every tuple is in numeric order but `renamed`'s pairs."""

    entries: tuple[Entry, ...]
    pending: tuple[MigrationFile, ...]
    modified: tuple[MigrationFile, ...]
    missing: tuple[AppliedMigration, ...]
    late: tuple[MigrationFile, ...]
    renamed: tuple[tuple[AppliedMigration, MigrationFile], ...]
    unknown_environments: tuple[tuple[MigrationFile, str], ...]
    last: AppliedMigration | None
    ledger_exists: bool
    strict_order: bool

    @property
    def applied_count(self) -> int:
        return sum(entry.is_applied for entry in self.entries)

    @property
    def state(self) -> State:
        """The first that holds, as the status document names it."""
        if self.modified or self.renamed:
            return "modified"
        if self.pending:
            return "pending"
        if self.missing:
            return "ahead"
        return "up-to-date" if self.ledger_exists else "uninitialised"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a run mentions and goes on."""
        return (
            *_missing_warnings(self.missing),
            *(
                f"Migration {file.version} is numbered below the newest applied one; it is applied now, in its order."
                for file in self.late
                if not self.strict_order
            ),
            *self.environment_warnings,
        )

    @property
    def environment_warnings(self) -> tuple[str, ...]:
        """The part of them about headers that may have a typing error."""
        return tuple(
            f"{file.path}: its header names the environment {name!r}, which is none of "
            f"{', '.join(ENVIRONMENTS)} nor the current one. Is it a typing error?"
            for file, name in self.unknown_environments
        )

    def verify(self) -> None:
        """Raise IntegrityError, or OrderError in strict order, if nothing may be applied."""
        self.verify_unchanged()
        if self.late and self.strict_order:
            raise OrderError("\n".join(map(_late_fault, self.late)), version=self.late[0].version)

    def verify_unchanged(self) -> None:
        """Raise IntegrityError if an applied file was modified or renamed."""
        if self.modified or self.renamed:
            faults = (*map(_modified_fault, self.modified), *_renamed_faults(self.renamed))
            first = self.modified[0] if self.modified else self.renamed[0][1]
            raise IntegrityError("\n".join(faults), version=first.version)

    def verify_complete(self) -> None:
        """Raise as `verify` does, and also if an applied file is missing from the bundle."""
        self.verify()
        if self.missing:
            raise IntegrityError("\n".join(map(_missing_warning, self.missing)), version=self.missing[0].version)


def make_plan(
    files: Sequence[MigrationFile],
    ledger: Sequence[AppliedMigration] | None,
    *,
    environment: str,
    strict_order: bool = False,
) -> Plan:
    """Compare `files`, in numeric order, with the ledger's rows, in the order they were applied (None: no ledger)."""
    rows = {row.version: row for row in ledger or ()}
    applied = [file for file in files if file.version in rows]
    pending = tuple(file for file in files if file.version not in rows and file.runs_in(environment))
    known = {file.version for file in files}
    gone = [row for row in rows.values() if row.version not in known]
    renamed = _renamed(pending, gone)
    old_names = {row.version for row, _ in renamed}
    newest = max((number for number in map(number_of, rows) if number is not None), default=-1)
    return Plan(
        entries=_entries(files, rows, environment),
        pending=pending,
        modified=tuple(file for file in applied if not file.matches(rows[file.version].checksum)),
        missing=tuple(sorted((row for row in gone if row.version not in old_names), key=_row_order)),
        late=tuple(file for file in pending if file.number < newest),
        renamed=renamed,
        unknown_environments=tuple(_unknown_environments(files, environment)),
        last=ledger[-1] if ledger else None,
        ledger_exists=ledger is not None,
        strict_order=strict_order,
    )


def _entries(files: Sequence[MigrationFile], rows: dict[str, AppliedMigration], environment: str) -> tuple[Entry, ...]:
    entries = [_entry(file, rows.get(file.version), environment) for file in files]
    known = {file.version for file in files}
    entries += [
        Entry(row.version, row.name, "missing", row.applied_at, row.execution_time_ms)
        for row in rows.values()
        if row.version not in known
    ]
    return tuple(sorted(entries, key=_row_order))


def _entry(file: MigrationFile, row: AppliedMigration | None, environment: str) -> Entry:
    if row is None:
        return Entry(file.version, file.name, "pending" if file.runs_in(environment) else "skipped")
    state: EntryState = "applied" if file.matches(row.checksum) else "modified"
    return Entry(row.version, row.name, state, row.applied_at, row.execution_time_ms)


def _renamed(
    pending: Sequence[MigrationFile], gone: Iterable[AppliedMigration]
) -> tuple[tuple[AppliedMigration, MigrationFile], ...]:
    """A pending file with the number and the checksum of an applied version whose file is gone."""
    by_number: dict[int | None, list[AppliedMigration]] = {}
    for row in gone:
        if row.checksum is not None:
            by_number.setdefault(number_of(row.version), []).append(row)
    # The ledger may have had several of a number, one after the other.
    pairs = ((row, file) for file in pending for row in by_number.get(file.number, ()) if file.matches(row.checksum))
    return tuple({file.version: (row, file) for row, file in pairs}.values())


def _unknown_environments(files: Iterable[MigrationFile], environment: str) -> Iterable[tuple[MigrationFile, str]]:
    known = {*ENVIRONMENTS, environment}
    return ((file, name) for file in files for name in file.header.environments if name not in known)


def number_of(version: str) -> int | None:
    """The number that a version begins with, None where another runner named it otherwise."""
    match = _NUMBERED.match(version)
    return int(match[1]) if match else None


_NUMBERED = re.compile(r"([0-9]{3,})-", re.ASCII)


def _row_order(row: AppliedMigration | Entry) -> tuple[int, str]:
    number = number_of(row.version)
    return (-1 if number is None else number, row.version)


def _modified_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} has been modified after being applied! "
        f"Restore {file.path} as it was, and put the change into a new migration."
    )


def _renamed_faults(renamed: Sequence[tuple[AppliedMigration, MigrationFile]]) -> Iterable[str]:
    """A line each, and then the other way out for all of them."""
    for row, file in renamed:
        yield (
            f"Migration {row.version} was applied under that name, and its file is now {file.version}. "
            f"Rename {file.path} back to {row.version}.sql."
        )
    if renamed:
        yield "  Or let the ledger follow, in every database where it was applied under the old name:"
    for row, file in renamed:
        old = row.version.replace("'", "''")
        yield (
            f"    update public.schema_migrations set version = '{file.version}', name = '{file.name}' "
            f"where version = '{old}';"
        )


def _late_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} is numbered below the newest applied one, and MIGRATION_STRICT_ORDER is set. "
        "Give it the next free number."
    )


def _missing_warnings(rows: Sequence[AppliedMigration]) -> Iterable[str]:
    """A line each; of many, the first and the last are enough."""
    if len(rows) <= 10:
        return map(_missing_warning, rows)
    return (
        f"{len(rows)} migrations are applied, but their files are not in this bundle, from {rows[0].version} to "
        f"{rows[-1].version}: the database is ahead (a rollback, or an older branch).",
    )


def _missing_warning(row: AppliedMigration) -> str:
    return (
        f"Migration {row.version} is applied, but its file is not in this bundle: "
        "the database is ahead (a rollback, or an older branch)."
    )
