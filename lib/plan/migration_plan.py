"""Decide from the files, the ledger and the environment what to apply. Pure: the database obeys."""

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

# A renumbered file may have its new number in its header, too, and so another checksum. This many
# of the newest rows without a file are compared with every such variant.
RENUMBERED = 200
# Of more missing files than this, a warning names the first and the last.
MOST_WARNINGS = 10


@dataclass(frozen=True)
class AppliedMigration:
    """A row of the ledger. Times are in UTC; what another runner left null is None."""

    version: str
    name: str
    applied_at: datetime | None = None
    execution_time_ms: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Entry:
    """One migration, as the bundle and the ledger together show it."""

    version: str
    name: str
    state: EntryState
    applied_at: datetime | None = None
    execution_time_ms: int | None = None

    @property
    def is_applied(self) -> bool:
        """True if the ledger has this migration, with or without a file."""
        return self.state in ("applied", "modified", "missing")


@dataclass(frozen=True)
class Plan:
    """What is applied, what is to be applied, and what is unusual.

    Every tuple is in numeric order, except the pairs of `renamed`. `applied_faults` would refuse an
    applied file if it were pending; `skipped_faults` are of files that this environment skips.
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
        """The first state that holds, as the status document names it."""
        if self.modified or self.renamed:
            return "modified"
        if self.pending:
            return "pending"
        if self.missing:
            return "ahead"
        return "up-to-date" if self.ledger_exists else "uninitialised"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a run reports without stopping."""
        return (
            *_missing_warnings(self.missing),
            *([_MIXED_LEDGER] if self.missing and self._may_be_mixed else []),
            *(
                f"Migration {file.version} is numbered below the newest applied one; "
                "it is applied now, in its order."
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
        """Warnings about headers that may contain a typo."""
        return tuple(
            f"{file.path}: its header names the environment {name!r}, which is none of "
            f"{', '.join(ENVIRONMENTS)} nor the current one. Typo?"
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
                *([f"  {_MIXED_LEDGER}"] if self.modified and self._may_be_mixed else []),
                *_renamed_faults(self.renamed, self._numbers_here),
            )
            first = self.modified[0] if self.modified else self.renamed[0][1]
            raise IntegrityError("\n".join(faults), version=first.version)

    def verify_headers(self) -> None:
        """Raise MigrationFileError with all faults in the headers of pending files.

        Without a valid header it is unknown how a file has to run.
        """
        faults = [fault for file in self.pending for fault in file.faults]
        if faults:
            raise MigrationFileError.together(faults)

    def verify_complete(self) -> None:
        """Raise as `verify` does, and also if an applied file is missing from the bundle."""
        self.verify()
        if self.missing:
            faults = (
                *map(_missing_warning, self.missing),
                *([f"  {_MIXED_LEDGER}"] if self._may_be_mixed else []),
            )
            raise IntegrityError("\n".join(faults), version=self.missing[0].version)

    @property
    def _numbers_here(self) -> dict[int | None, str]:
        """The versions in the bundle, by number."""
        return {
            number_of(entry.version): entry.version
            for entry in self.entries
            if entry.state != "missing"
        }

    @property
    def _may_be_mixed(self) -> bool:
        """True if the ledger seems to hold the migrations of two projects.

        Either no row belongs to this bundle, except for the file that creates the ledger, which
        all projects have. Or several numbers occur twice, for a file of this bundle and another.
        """
        unchanged = {entry.version for entry in self.entries if entry.state == "applied"}
        others = [row for row in self.missing if row.version != _LEDGER_FILE]
        if not unchanged - {_LEDGER_FILE} and (self.modified or self.pending):
            return bool(others) or (len(self.modified) > 1 and _LEDGER_FILE in unchanged)
        taken = {number_of(version) for version in unchanged}
        return sum(number_of(row.version) in taken for row in others) > 1


def make_plan(
    files: Sequence[MigrationFile],
    ledger: Sequence[AppliedMigration] | None,
    *,
    environment: str,
    strict_order: bool = False,
) -> Plan:
    """Compare the files with the ledger.

    `files` are in numeric order; the rows of `ledger` in the order in which they were applied, None
    if there is no ledger.
    """
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
    """Pair rows whose file is missing with the pending file that has the same text.

    The number in the header may have changed with the name. A file without a statement proves
    nothing. Each file gets at most one row and each row at most one file: a row with the number of
    the file is preferred, then one with its name, then the lowest.
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
    for is_match in (_has_its_number, _has_its_name, None):
        for file, checksums in candidates:
            rows = [
                row
                for each in checksums
                for row in left.get(each, ())
                if is_match is None or is_match(row, file)
            ]
            if rows and file.version not in pairs:
                row = min(rows, key=_row_order)
                left[str(row.checksum).strip().lower()].remove(row)
                pairs[file.version] = (row, file)
    return tuple(pairs[file.version] for file in pending if file.version in pairs)


def _checksums(file: MigrationFile, numbers: Iterable[str]) -> frozenset[str]:
    """The checksums that the ledger may hold for a file, under its own or one of these numbers."""
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
    """Return the number that a version begins with; None for a version of another runner."""
    match = _NUMBERED.match(version)
    return int(match[1]) if match else None


_NUMBERED = re.compile(r"([0-9]{3,})-", re.ASCII)


def _row_order(row: AppliedMigration | Entry) -> tuple[int, str]:
    number = number_of(row.version)
    return (-1 if number is None else number, row.version)


_LEDGER_FILE = "000-create-migration-table"
_MIXED_LEDGER = (
    "The ledger may hold what another project applied in the same database, and a ledger belongs "
    "to one project alone. If so, give each project a database of its own."
)


def _modified_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} has been modified after being applied! "
        f"Restore {file.path} as it was, and put the change into a new migration."
    )


def _renamed_faults(
    renamed: Sequence[tuple[AppliedMigration, MigrationFile]], here: Mapping[int | None, str]
) -> Iterable[str]:
    """A line for each renamed file, and then the other solutions for all of them."""
    for row, file in renamed:
        now = (
            f"Migration {row.version} was applied under that name, "
            f"and its file is now {file.version}."
        )
        yield f"{now} {_way_back(row, file, here)}"
    if renamed:
        yield "  Or update the ledger, in every database where it was applied under the old name:"
    for row, file in renamed:
        old = row.version.replace("'", "''")
        checksum = "" if file.matches(row.checksum) else f", checksum = '{file.checksum}'"
        yield (
            f"    update public.schema_migrations set version = '{file.version}', "
            f"name = '{file.name}'{checksum} where version = '{old}';"
        )
    if any(number_of(row.version) != file.number for row, file in renamed):
        yield ("  Or, to run the same text once more, put a comment line into the new file.")


def _way_back(row: AppliedMigration, file: MigrationFile, here: Mapping[int | None, str]) -> str:
    holder = here.get(number_of(row.version), file.version)
    if holder != file.version:
        return f"It has the same text, and its old number is now that of {holder}."
    header = "" if file.matches(row.checksum) else ", with its number in its header"
    return f"Rename {file.path} back to {row.version}.sql{header}."


def _fault_warnings(faults: Sequence[MigrationFileError], why: str) -> Iterable[str]:
    """A line for each fault of files that do not run; of many similar faults, a few."""
    if not faults:
        return ()
    return (
        f"{line.strip()}{'' if line.endswith('.') else '.'} {why}"
        for line in str(MigrationFileError.together(faults)).splitlines()
    )


def _late_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} is numbered below the newest applied one, "
        "and MIGRATION_STRICT_ORDER is set. Give it the next free number."
    )


def _missing_warnings(rows: Sequence[AppliedMigration]) -> Iterable[str]:
    """A line for each row; of many rows, the first and the last."""
    if len(rows) <= MOST_WARNINGS:
        return map(_missing_warning, rows)
    return (
        f"{len(rows)} migrations are applied, but their files are not in this bundle, "
        f"from {rows[0].version} to {rows[-1].version}: "
        "the database is ahead (a rollback, or an older branch).",
    )


def _missing_warning(row: AppliedMigration) -> str:
    return (
        f"Migration {row.version} is applied, but its file is not in this bundle: "
        "the database is ahead (a rollback, or an older branch)."
    )
