"""Files that were renamed after they were applied: by their text, and by what their header says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..files.folder import MigrationFile, checksums_of
from .migration_states import AppliedMigration, number_of, row_order

# A renumbered file may have its new number in its header, too, and so another checksum. This many
# of the newest rows without a file are compared with every such variant.
RENUMBERED = 200
# Of rows with the name of a file and a higher number, so many are compared.
_LATER_NUMBERS = 2

Renamed = tuple[AppliedMigration, MigrationFile]


@dataclass(frozen=True)
class FormerNames:
    """Pairs of a row with the file that says, in its header, that it had that version.

    Of `proven` pairs the checksum in the row is that of the file as it was then. They are in the
    order in which the rows can get their new versions one after the other.
    """

    proven: tuple[Renamed, ...] = ()
    unproven: tuple[Renamed, ...] = ()


def find_former_names(
    files: Sequence[MigrationFile], rows: Mapping[str, AppliedMigration]
) -> FormerNames:
    """Find the rows under the former names of files that have no row of their own.

    A row that belongs to a file of its very version is left to that file.
    """
    here = {file.version: file for file in files}
    proven: dict[str, Renamed] = {}
    unproven = []
    # The highest first: a file may have the former name of the one behind it.
    for file in sorted(files, key=lambda file: file.number, reverse=True):
        if not file.header.was or (file.version in rows and file.version not in proven):
            continue
        left = [rows[former] for former in file.header.was if former in rows]
        theirs = [row for row in left if row.version not in proven and not _is_held(row, here)]
        row = next((row for row in reversed(theirs) if is_as_it_was(row, file)), None)
        if row:
            proven[row.version] = (row, file)
        elif theirs:
            unproven.append((theirs[-1], file))
    return FormerNames(tuple(proven.values()), tuple(unproven))


def is_as_it_was(row: AppliedMigration, file: MigrationFile) -> bool:
    """True if the checksum proves that the file is the one of the row, under another number."""
    # Not at the top: the status of nearly every project has no such file.
    from ..files.renumbered import former_checksums

    return _sum(row) in former_checksums(file, row.version)


def _is_held(row: AppliedMigration, here: Mapping[str, MigrationFile]) -> bool:
    return row.version in here and here[row.version].matches(row.checksum)


def _sum(row: AppliedMigration) -> str | None:
    return None if row.checksum is None else row.checksum.strip().lower()


def _as_renumbered(file: MigrationFile, same_name: Sequence[AppliedMigration]) -> frozenset[str]:
    """Return the checksums of the file as it would be under the next numbers of these rows.

    They are in numeric order.
    """
    from bisect import bisect_right

    after = bisect_right(same_name, (file.number, file.version), key=row_order)
    later = same_name[after : after + _LATER_NUMBERS]
    if not later:
        return frozenset()
    from ..files.renumbered import renumbered_content

    contents = (renumbered_content(file, row.version) for row in later)
    return frozenset().union(*map(checksums_of, contents))


def find_renamed(
    pending: Sequence[MigrationFile], gone: Sequence[AppliedMigration]
) -> tuple[Renamed, ...]:
    """Pair rows whose file is missing with the pending file that has the same text.

    The number in the header may have changed with the name. A file without a statement proves
    nothing. Each file gets at most one row and each row at most one file: a row with the number of
    the file is preferred, then one with its name, then the lowest.
    """
    newest = (row.version.partition("-")[0] for row in sorted(gone, key=row_order)[-RENUMBERED:])
    numbers = {number for number in newest if number.isdigit()}
    same_name: dict[str, list[AppliedMigration]] = {}
    for row in sorted(gone, key=row_order):
        same_name.setdefault(_words(row.version), []).append(row)
    candidates = (
        [
            # A row may also be that of a later commit, which has given the file its next number.
            (
                file,
                file.checksums
                | file.checksums_as(numbers)
                | _as_renumbered(file, same_name.get(_words(file.version), [])),
            )
            for file in pending
            if file.has_statement
        ]
        if gone
        else []
    )
    # By checksum, the rows that no file has been paired with.
    left: dict[str, list[AppliedMigration]] = {}
    for row in gone:
        if row.checksum is not None:
            left.setdefault(row.checksum.strip().lower(), []).append(row)
    pairs: dict[str, tuple[AppliedMigration, MigrationFile]] = {}
    # All files are tried with the strictest rule before any file is tried with the next one.
    for is_match in (_has_its_number, _has_its_name, None):
        for file, checksums in candidates:
            rows = [
                row
                for each in checksums
                for row in left.get(each, ())
                if is_match is None or is_match(row, file)
            ]
            if rows and file.version not in pairs:
                row = min(rows, key=row_order)
                left[str(row.checksum).strip().lower()].remove(row)
                pairs[file.version] = (row, file)
    return tuple(pairs[file.version] for file in pending if file.version in pairs)


def _has_its_number(row: AppliedMigration, file: MigrationFile) -> bool:
    return number_of(row.version) == file.number


def _has_its_name(row: AppliedMigration, file: MigrationFile) -> bool:
    return _words(row.version) == _words(file.version)


def _words(version: str) -> str:
    return version.partition("-")[2]
