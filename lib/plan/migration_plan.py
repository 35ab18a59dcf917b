"""Decide what there is to do, from the files, the ledger and the environment. Pure: the database only obeys."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..errors import IntegrityError, MigrationFileError, OrderError
from ..files.folder import MigrationFile
from ..files.header import ENVIRONMENTS

EntryState = Literal["applied", "pending", "modified", "missing", "skipped"]
State = Literal["modified", "pending", "ahead", "uninitialised", "up-to-date"]

# Of so many of the newest rows without a file it is tried whether a file has been renumbered, header and all.
RENUMBERED = 200


@dataclass(frozen=True)
class AppliedMigration:
    """A row of the ledger. `applied_at` carries UTC; what another runner left null stays None."""

    version: str
    name: str
    applied_at: datetime | None = None
    execution_time_ms: int | None = None
    checksum: str | None = None


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
    """What is applied, what is to be applied, and what is odd. Every tuple is in numeric order but `renamed`'s pairs.

    `applied_faults` are those for which an applied file would be refused if it were pending, and `skipped_faults` those
    of files that are not this environment's.
    """

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
    applied_faults: tuple[MigrationFileError, ...] = ()
    skipped_faults: tuple[MigrationFileError, ...] = ()

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
            *([_ANOTHER_PROJECTS] if self.missing and self._may_be_anothers else []),
            *(
                f"Migration {file.version} is numbered below the newest applied one; it is applied now, in its order."
                for file in self.late
                if not self.strict_order
            ),
            *self.environment_warnings,
            *_fault_warnings(
                self.applied_faults,
                "It is applied, and may stay so; a new database would refuse it.",
            ),
            *_fault_warnings(
                self.skipped_faults, "It is skipped here; where it is not, it is refused."
            ),
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
            faults = (
                *map(_modified_fault, self.modified),
                *([f"  {_ANOTHER_PROJECTS}"] if self.modified and self._may_be_anothers else []),
                *_renamed_faults(self.renamed, self._numbers_here),
            )
            first = self.modified[0] if self.modified else self.renamed[0][1]
            raise IntegrityError("\n".join(faults), version=first.version)

    def verify_headers(self) -> None:
        """Raise MigrationFileError with what is wrong in the headers of pending files: nobody knows how they are to run."""
        faults = [fault for file in self.pending for fault in file.faults]
        if faults:
            raise MigrationFileError.together(faults)

    def verify_complete(self) -> None:
        """Raise as `verify` does, and also if an applied file is missing from the bundle."""
        self.verify()
        if self.missing:
            faults = (
                *map(_missing_warning, self.missing),
                *([f"  {_ANOTHER_PROJECTS}"] if self._may_be_anothers else []),
            )
            raise IntegrityError("\n".join(faults), version=self.missing[0].version)

    @property
    def _numbers_here(self) -> dict[int | None, str]:
        """The bundle's files by their numbers."""
        return {
            number_of(entry.version): entry.version
            for entry in self.entries
            if entry.state != "missing"
        }

    @property
    def _may_be_anothers(self) -> bool:
        """Tell whether the ledger looks like that of two projects.

        Either nothing in it is this bundle's, but for the file that makes the ledger, which all projects have; or it has
        several numbers twice, once by a file of this bundle and once by another.
        """
        unchanged = {entry.version for entry in self.entries if entry.state == "applied"}
        others = [row for row in self.missing if row.version != _LEDGERS_FILE]
        if not unchanged - {_LEDGERS_FILE} and (self.modified or self.pending):
            return bool(others) or (len(self.modified) > 1 and _LEDGERS_FILE in unchanged)
        taken = {number_of(version) for version in unchanged}
        return sum(number_of(row.version) in taken for row in others) > 1


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
    pending = tuple(
        file for file in files if file.version not in rows and file.runs_in(environment)
    )
    known = {file.version for file in files}
    gone = [row for row in rows.values() if row.version not in known]
    renamed = _renamed(pending, gone)
    old_names = {row.version for row, _ in renamed}
    newest = max((number for number in map(number_of, rows) if number is not None), default=-1)
    return Plan(
        entries=_entries(files, rows, environment),
        pending=pending,
        modified=tuple(file for file in applied if not file.matches(rows[file.version].checksum)),
        missing=tuple(
            sorted((row for row in gone if row.version not in old_names), key=_row_order)
        ),
        late=tuple(file for file in pending if file.number < newest),
        renamed=renamed,
        unknown_environments=tuple(_unknown_environments(files, environment)),
        last=ledger[-1] if ledger else None,
        ledger_exists=ledger is not None,
        strict_order=strict_order,
        applied_faults=tuple(
            fault
            for file in applied
            if file.faults and file.matches(rows[file.version].checksum)
            for fault in file.faults
        ),
        skipped_faults=tuple(
            fault
            for file in files
            if file.version not in rows and not file.runs_in(environment)
            for fault in file.faults
        ),
    )


def _entries(
    files: Sequence[MigrationFile], rows: dict[str, AppliedMigration], environment: str
) -> tuple[Entry, ...]:
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
    pending: Sequence[MigrationFile], gone: Sequence[AppliedMigration]
) -> tuple[tuple[AppliedMigration, MigrationFile], ...]:
    """Pending files with the text of an applied one whose file is gone; without a statement, a text proves nothing.

    The number in its header may have been corrected with its name. Each row has one file at most, and each file one row:
    the one of its number, else of its name, else the next.
    """
    numbers = {row.version.partition("-")[0] for row in sorted(gone, key=_row_order)[-RENUMBERED:]}
    candidates = (
        [(file, _checksums(file, numbers)) for file in pending if file.has_statement]
        if gone
        else []
    )
    left: dict[str, list[AppliedMigration]] = {}
    for row in gone:
        if row.checksum is not None:
            left.setdefault(row.checksum.strip().lower(), []).append(row)
    pairs: dict[str, tuple[AppliedMigration, MigrationFile]] = {}
    for is_its in (_has_its_number, _has_its_name, None):
        for file, checksums in candidates:
            rows = [
                row
                for each in checksums
                for row in left.get(each, ())
                if is_its is None or is_its(row, file)
            ]
            if rows and file.version not in pairs:
                row = min(rows, key=_row_order)
                left[str(row.checksum).strip().lower()].remove(row)
                pairs[file.version] = (row, file)
    return tuple(pairs[file.version] for file in pending if file.version in pairs)


def _checksums(file: MigrationFile, numbers: Iterable[str]) -> frozenset[str]:
    """What the ledger may hold for the file, under its own number or one of these."""
    return file.checksums.union(
        *(file.checksums_as(number) for number in numbers if number.isdigit())
    )


def _has_its_number(row: AppliedMigration, file: MigrationFile) -> bool:
    return number_of(row.version) == file.number


def _has_its_name(row: AppliedMigration, file: MigrationFile) -> bool:
    return row.version.partition("-")[2] == file.version.partition("-")[2]


def _unknown_environments(
    files: Iterable[MigrationFile], environment: str
) -> Iterable[tuple[MigrationFile, str]]:
    known = {*ENVIRONMENTS, environment}
    return (
        (file, name) for file in files for name in file.header.environments if name not in known
    )


def number_of(version: str) -> int | None:
    """The number that a version begins with, None where another runner named it otherwise."""
    match = _NUMBERED.match(version)
    return int(match[1]) if match else None


_NUMBERED = re.compile(r"([0-9]{3,})-", re.ASCII)


def _row_order(row: AppliedMigration | Entry) -> tuple[int, str]:
    number = number_of(row.version)
    return (-1 if number is None else number, row.version)


_LEDGERS_FILE = "000-create-migration-table"
_ANOTHER_PROJECTS = (
    "The ledger may hold what another project applied in the same database: it is one project's alone. "
    "If so, give each project a database of its own."
)


def _modified_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} has been modified after being applied! "
        f"Restore {file.path} as it was, and put the change into a new migration."
    )


def _renamed_faults(
    renamed: Sequence[tuple[AppliedMigration, MigrationFile]], here: Mapping[int | None, str]
) -> Iterable[str]:
    """A line each, and then the other ways out for all of them."""
    for row, file in renamed:
        now = f"Migration {row.version} was applied under that name, and its file is now {file.version}."
        yield f"{now} {_way_back(row, file, here)}"
    if renamed:
        yield "  Or let the ledger follow, in every database where it was applied under the old name:"
    for row, file in renamed:
        old = row.version.replace("'", "''")
        checksum = "" if file.matches(row.checksum) else f", checksum = '{file.checksum}'"
        yield (
            f"    update public.schema_migrations set version = '{file.version}', name = '{file.name}'{checksum} "
            f"where version = '{old}';"
        )
    if any(number_of(row.version) != file.number for row, file in renamed):
        yield "  Or, where the same text is meant to run once more, put a comment line into the new file."


def _way_back(row: AppliedMigration, file: MigrationFile, here: Mapping[int | None, str]) -> str:
    holder = here.get(number_of(row.version), file.version)
    if holder != file.version:
        return f"It has the same text, and its old number is now that of {holder}."
    header = "" if file.matches(row.checksum) else ", with its number in its header"
    return f"Rename {file.path} back to {row.version}.sql{header}."


def _fault_warnings(faults: Sequence[MigrationFileError], why: str) -> Iterable[str]:
    """What would refuse a file that is not to be run: a line each, and of many alike a few."""
    if not faults:
        return ()
    return (
        f"{line.strip()}{'' if line.endswith('.') else '.'} {why}"
        for line in str(MigrationFileError.together(faults)).splitlines()
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
