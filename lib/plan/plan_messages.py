"""What a plan reports about files and rows that do not fit: warnings, and the texts of errors."""

from collections.abc import Iterable, Mapping, Sequence

from .. import COMMAND
from ..errors import MigrationFileError
from ..files.folder import MigrationFile
from ..tool_words import adopted_as
from .migration_states import AppliedMigration, number_of
from .renames import Renamed, is_as_it_was

# Of more missing files than this, a warning names the first and the last.
MOST_WARNINGS = 10

MIXED_LEDGER = (
    "The ledger may hold what another project applied in the same database, and a ledger belongs "
    "to one project alone. If so, give each project a database of its own."
)

START_OVER = f"  Or start over, with an empty local database: {COMMAND} reset."


def modified_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} has been modified after being applied! "
        f"Restore {file.path} as it was, and put the change into a new migration."
    )


def renamed_faults(renamed: Sequence[Renamed], here: Mapping[int | None, str]) -> Iterable[str]:
    """A line for each renamed file, and then the other solutions for all of them."""
    for row, file in renamed:
        now = (
            f"Migration {row.version} was applied under that name, "
            f"and its file is now {file.version}."
        )
        yield f"{now} {_changed_since(row, file) or _way_back(row, file, here)}"
    if renamed:
        yield "  Or update the ledger, in every database where it was applied under the old name:"
    for row, file in renamed:
        # The version of another runner may hold a quote.
        old = row.version.replace("'", "''")
        # The header's Version line may have changed with the name, and with it the checksum.
        checksum = "" if file.matches(row.checksum) else f", checksum = '{file.checksum}'"
        yield (
            f"    update public.schema_migrations set version = '{file.version}', "
            f"name = '{file.name}'{checksum} where version = '{old}';"
        )
    if any(number_of(row.version) != file.number for row, file in renamed):
        yield ("  Or, to run the same text once more, put a comment line into the new file.")


def renumbered_warning(pair: Renamed) -> str:
    row, file = pair
    return (
        f"Migration {row.version} is applied, and its file is now {file.version}: "
        "the next run gives it that number in the ledger, and does not run it again."
    )


def _changed_since(row: AppliedMigration, file: MigrationFile) -> str:
    """What to do about a file that names the version as its former one, with another text."""
    if row.version not in file.header.was or is_as_it_was(row, file):
        return ""
    return (
        f"So says its header, but its text is not the one that was applied. Restore that text in "
        f"{file.path}, and put the change into a new migration; or create this database anew. If "
        f"it is another migration, take the line `Was: {row.version}` out."
    )


def _way_back(row: AppliedMigration, file: MigrationFile, here: Mapping[int | None, str]) -> str:
    holder = here.get(number_of(row.version), file.version)
    if holder != file.version:
        return f"It has the same text, and its old number is now that of {holder}."
    was = " and without the line `Was`" if row.version in file.header.was else ""
    header = "" if file.matches(row.checksum) else f", with its number in its header{was}"
    return f"Rename {file.path} back to {row.version}.sql{header}."


def fault_warnings(faults: Sequence[MigrationFileError], why: str) -> Iterable[str]:
    """A line for each fault of files that do not run; of many similar faults, a few."""
    if not faults:
        return ()
    return (
        f"{line.strip()}{'' if line.endswith('.') else '.'} {why}"
        for line in str(MigrationFileError.together(faults)).splitlines()
    )


def unadopted_fault(files: Sequence[MigrationFile]) -> str:
    """What a run says of files that another tool may have run already."""
    first, others = files[0], len(files) - 1
    tool = first.header.origin.tool if first.header.origin else ""
    more = f" and {others} more were" if others else " was"
    return (
        f"Adopt this database first: {first.path}{more} made of the migrations of {tool}, which "
        "keeps a ledger in this database and may have applied them. "
        f"`{COMMAND} adopt {adopted_as(tool)}` shows what it has applied, and "
        "records it with --apply."
    )


def late_fault(file: MigrationFile) -> str:
    return (
        f"Migration {file.version} is numbered below the newest applied one, "
        "and MIGRATION_STRICT_ORDER is set. Give it the next free number."
    )


def missing_warnings(rows: Sequence[AppliedMigration]) -> Iterable[str]:
    """A line for each row; of many rows, the first and the last."""
    if len(rows) <= MOST_WARNINGS:
        return map(missing_warning, rows)
    return (
        f"{len(rows)} migrations are applied, but their files are not in this bundle, "
        f"from {rows[0].version} to {rows[-1].version}: "
        "the database is ahead (a rollback, or an older branch).",
    )


def missing_warning(row: AppliedMigration) -> str:
    return (
        f"Migration {row.version} is applied, but its file is not in this bundle: "
        "the database is ahead (a rollback, or an older branch)."
    )
