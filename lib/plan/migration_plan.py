"""Decide from the files, the ledger and the environment what to apply. Pure: the database obeys."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Literal

from ..errors import IntegrityError, MigrationFileError, OrderError
from ..files.folder import MigrationFile
from ..files.header import ENVIRONMENTS, PRODUCTION, Origin
from .migration_states import AppliedMigration, Entry, EntryState, number_of, row_order
from .plan_messages import (
    MIXED_LEDGER,
    START_OVER,
    fault_warnings,
    late_fault,
    missing_warning,
    missing_warnings,
    modified_fault,
    renamed_faults,
    renumbered_warning,
)
from .renames import Renamed, find_former_names, find_renamed

State = Literal["modified", "pending", "ahead", "uninitialised", "up-to-date"]

# Every project has this file: it creates the ledger, so it says nothing about whose ledger it is.
LEDGER_FILE = "000-create-migration-table"


@dataclass(frozen=True)
class Plan:
    """What is applied, what is to be applied, and what is unusual.

    Every tuple is in numeric order, except the pairs of `renamed`. `applied_faults` would refuse an
    applied file if it were pending; `skipped_faults` are of files that this environment skips.
    `up_to` is the last file that a run may apply, None if it may apply all. `is_embedded` if the
    database is the embedded one, which a developer may make anew. `adopted` are the tools of whose
    migrations applied files were made. `renumbered` are pairs like those of `renamed`, of which a
    run gives the row its new version: the file is applied, under a former name.
    """

    entries: tuple[Entry, ...]
    pending: tuple[MigrationFile, ...]
    modified: tuple[MigrationFile, ...]
    missing: tuple[AppliedMigration, ...]
    late: tuple[MigrationFile, ...]
    renamed: tuple[Renamed, ...]
    unknown_environments: tuple[tuple[MigrationFile, str], ...]
    last: AppliedMigration | None
    ledger_exists: bool
    strict_order: bool
    applied_faults: tuple[MigrationFileError, ...] = ()
    skipped_faults: tuple[MigrationFileError, ...] = ()
    up_to: MigrationFile | None = None
    is_embedded: bool = False
    adopted: frozenset[str] = frozenset()
    renumbered: tuple[Renamed, ...] = ()

    def is_due(self, file: MigrationFile) -> bool:
        """True if a run may apply this pending file, which is then not behind the limit."""
        # By number, since the limit itself may be applied already, or skipped here.
        return self.up_to is None or file.number <= self.up_to.number

    @property
    def due(self) -> tuple[MigrationFile, ...]:
        """The pending files that a run may apply."""
        return tuple(filter(self.is_due, self.pending))

    @property
    def beyond(self) -> tuple[MigrationFile, ...]:
        """The pending files behind the limit, which stay pending."""
        return tuple(file for file in self.pending if not self.is_due(file))

    @property
    def pending_count(self) -> int:
        """How many are shown as pending: to be applied, or to get their new number."""
        return len(self.pending) + len(self.renumbered)

    @property
    def applied_count(self) -> int:
        return sum(entry.is_applied for entry in self.entries)

    @property
    def state(self) -> State:
        """The first state that holds, as the status document names it."""
        # In order of urgency: what stops a run comes before what a run would mend.
        if self.modified or self.renamed:
            return "modified"
        if self.pending or self.renumbered:
            return "pending"
        # A rollback of the application: the database works, so this alone is no failure.
        if self.missing:
            return "ahead"
        return "up-to-date" if self.ledger_exists else "uninitialised"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a run reports without stopping."""
        return (
            *map(renumbered_warning, self.renumbered),
            *missing_warnings(self.missing),
            *([MIXED_LEDGER] if self.missing and self._may_be_mixed else []),
            *(
                f"Migration {file.version} is numbered below the newest applied one; "
                "it is applied now, in its order."
                for file in self.late
                if self.is_due(file) and not self.strict_order
            ),
            *self.environment_warnings,
            *fault_warnings(
                self.applied_faults,
                "It is applied, and may stay so; a new database would refuse it.",
            ),
            *fault_warnings(
                self.skipped_faults, "It is skipped here; where it is not, it is refused."
            ),
        )

    @property
    def environment_warnings(self) -> tuple[str, ...]:
        """Warnings about headers that may contain a typo."""
        return tuple(starmap(_environment_warning, self.unknown_environments))

    def verify(self) -> None:
        """Raise IntegrityError, or OrderError in strict order, if nothing may be applied."""
        self.verify_unchanged()
        if self.late and self.strict_order:
            raise OrderError("\n".join(map(late_fault, self.late)), version=self.late[0].version)

    def verify_unchanged(self) -> None:
        """Raise IntegrityError if an applied file was modified or renamed."""
        if self.modified or self.renamed:
            faults = (
                *map(modified_fault, self.modified),
                *([f"  {MIXED_LEDGER}"] if self.modified and self._may_be_mixed else []),
                *([START_OVER] if self.modified and self.is_embedded else []),
                *renamed_faults(self.renamed, _numbers_of(self.entries)),
            )
            # `error.version` names one file; the text names all of them.
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
                *map(missing_warning, self.missing),
                *([f"  {MIXED_LEDGER}"] if self._may_be_mixed else []),
            )
            raise IntegrityError("\n".join(faults), version=self.missing[0].version)

    @property
    def _may_be_mixed(self) -> bool:
        """True if the ledger seems to hold the migrations of two projects.

        Either no row belongs to this bundle, except for the file that creates the ledger, which
        all projects have. Or several numbers occur twice, for a file of this bundle and another.
        """
        unchanged = {entry.version for entry in self.entries if entry.state == "applied"}
        others = [row for row in self.missing if row.version != LEDGER_FILE]
        if not unchanged - {LEDGER_FILE} and (self.modified or self.pending):
            return bool(others) or (len(self.modified) > 1 and LEDGER_FILE in unchanged)
        # One such number may be a file that was replaced; two are hardly a coincidence.
        taken = {number_of(version) for version in unchanged}
        return sum(number_of(row.version) in taken for row in others) > 1


def make_plan(
    files: Sequence[MigrationFile],
    ledger: Sequence[AppliedMigration] | None,
    *,
    environment: str,
    strict_order: bool = False,
    up_to: MigrationFile | None = None,
    is_embedded: bool = False,
) -> Plan:
    """Compare the files with the ledger.

    `files` are in numeric order; the rows of `ledger` in the order in which they were applied, None
    if there is no ledger. Files behind `up_to` are compared like all others, and not applied.
    """
    rows = {row.version: row for row in ledger or ()}
    former = find_former_names(files, rows)
    # In production a number is for good: only the file can follow the ledger there.
    renumbered = () if environment == PRODUCTION else former.proven
    moved = {file.version for _, file in renumbered}
    # The rows that are left once those of renumbered files have their new versions.
    former_versions = {row.version for row, _ in renumbered}
    rows = {version: row for version, row in rows.items() if version not in former_versions}
    applied = [file for file in files if file.version in rows]
    pending = tuple(
        file
        for file in files
        if file.version not in rows and file.version not in moved and file.runs_in(environment)
    )
    known, are_pending = ({file.version for file in each} for each in (files, pending))
    gone = [row for row in rows.values() if row.version not in known]
    # A row whose file has another name by now is renamed, and not missing as well.
    renamed = _once(
        pair
        for pair in (*former.proven, *find_renamed(pending, gone), *former.unproven)
        if pair[1].version in are_pending
    )
    old_names = {row.version for row, _ in renamed}
    # Rows of another runner may have no number: no file is late because of them.
    newest = max(
        (number for number in map(number_of, (*rows, *moved)) if number is not None), default=-1
    )
    return Plan(
        entries=_entries(files, rows, environment, moved),
        pending=pending,
        modified=tuple(file for file in applied if not file.matches(rows[file.version].checksum)),
        missing=tuple(sorted((row for row in gone if row.version not in old_names), key=row_order)),
        late=tuple(file for file in pending if file.number < newest),
        renamed=renamed,
        unknown_environments=tuple(_unknown_environments(files, environment)),
        # The last one applied, which need not have the highest number.
        last=ledger[-1] if ledger else None,
        ledger_exists=ledger is not None,
        strict_order=strict_order,
        applied_faults=_faults(
            file
            for file in applied
            # A modified file is an error of its own; its faults would only repeat it.
            if file.faults and file.matches(rows[file.version].checksum)
        ),
        skipped_faults=_faults(
            file for file in files if file.version not in rows and not file.runs_in(environment)
        ),
        up_to=up_to,
        is_embedded=is_embedded,
        adopted=frozenset(file.header.origin.tool for file in applied if file.header.origin),
        renumbered=renumbered,
    )


def _once(renamed: Iterable[Renamed]) -> tuple[Renamed, ...]:
    """Return the pairs without those of a file that is in an earlier one."""
    pairs: dict[str, Renamed] = {}
    for row, file in renamed:
        pairs.setdefault(file.version, (row, file))
    return tuple(pairs.values())


def _numbers_of(entries: Iterable[Entry]) -> dict[int | None, str]:
    """The versions in the bundle, by number."""
    return {number_of(each.version): each.version for each in entries if each.state != "missing"}


def converted(plan: Plan) -> tuple[tuple[MigrationFile, Origin], ...]:
    """The due files that were made of other tools', each with what it was made of."""
    made = ((file, file.header.origin) for file in plan.due)
    return tuple((file, origin) for file, origin in made if origin)


def environment_warnings(files: Iterable[MigrationFile], environment: str) -> tuple[str, ...]:
    """Warnings about headers of files outside of a plan."""
    return tuple(starmap(_environment_warning, _unknown_environments(files, environment)))


def _environment_warning(file: MigrationFile, name: str) -> str:
    return (
        f"{file.path}: its header names the environment {name!r}, which is none of "
        f"{', '.join(ENVIRONMENTS)} nor the current one. Typo?"
    )


def _faults(files: Iterable[MigrationFile]) -> tuple[MigrationFileError, ...]:
    return tuple(fault for file in files for fault in file.faults)


def _entries(
    files: Sequence[MigrationFile],
    rows: dict[str, AppliedMigration],
    environment: str,
    moved: Container[str],
) -> tuple[Entry, ...]:
    entries = [
        Entry(file.version, file.name, "pending")
        if file.version in moved
        else _entry(file, rows.get(file.version), environment)
        for file in files
    ]
    known = {file.version for file in files}
    # Rows without a file stay visible: the database has their changes.
    entries += [
        Entry(row.version, row.name, "missing", row.applied_at, row.execution_time_ms)
        for row in rows.values()
        if row.version not in known
    ]
    return tuple(sorted(entries, key=row_order))


def _entry(file: MigrationFile, row: AppliedMigration | None, environment: str) -> Entry:
    if row is None:
        return Entry(file.version, file.name, "pending" if file.runs_in(environment) else "skipped")
    state: EntryState = "applied" if file.matches(row.checksum) else "modified"
    return Entry(row.version, row.name, state, row.applied_at, row.execution_time_ms)


def _unknown_environments(
    files: Iterable[MigrationFile], environment: str
) -> Iterable[tuple[MigrationFile, str]]:
    # A custom environment of Vercel is known by being the current one.
    known = {*ENVIRONMENTS, environment}
    return (
        (file, name) for file in files for name in file.header.environments if name not in known
    )
