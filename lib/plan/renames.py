"""Files that were renamed after they were applied, recognized by their text."""

from collections.abc import Sequence

from ..files.folder import MigrationFile
from .migration_states import AppliedMigration, number_of, row_order

# A renumbered file may have its new number in its header, too, and so another checksum. This many
# of the newest rows without a file are compared with every such variant.
RENUMBERED = 200

Renamed = tuple[AppliedMigration, MigrationFile]


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
    candidates = (
        [
            (file, file.checksums | file.checksums_as(numbers))
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
    return row.version.partition("-")[2] == file.version.partition("-")[2]
