"""golang-migrate and sqlx: a file for each direction.

golang-migrate keeps no more than the version of the last file; sqlx has a row with the checksum of
each.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .tool import (
    History,
    Problem,
    Rows,
    Tool,
    ToolFile,
    ToolFiles,
    ToolLedger,
    ToolMigration,
    Verified,
    applied_first,
    checksums,
    described,
    ledger_notes,
    missing_file,
    plain_number,
    versioned_files,
)

# Both take the rest behind the direction for a suffix; golang-migrate takes any.
_GOLANG_UP = re.compile(r"(?P<name>(?P<number>[0-9]+)_.*)\.up\..*")
_SQLX_UP = re.compile(r"(?P<name>(?P<number>[0-9]+)_.*?)(?<!\.down)(?:\.up)?\.sql")
_NUMBER = re.compile(r"[0-9]+")
_SQLX_OUTSIDE = b"-- no-transaction"
# The usual choice for `ignored-chars`, which sqlx leaves out of its checksum.
_SQLX_IGNORED = re.compile(rb"[ \t\r\n]|\xef\xbb\xbf")


class _Row(NamedTuple):
    """A row of sqlx. With `succeeded` false, the migration failed or was cut off."""

    version: str
    succeeded: bool
    checksum: str


def _golang_files(folder: Path) -> ToolFiles:
    return versioned_files(folder, _GOLANG_UP)


def _golang_history(files: ToolFiles, rows: Rows) -> History:
    """One row has the version of the last file, and whether that one was ended."""
    version, is_dirty = max(
        ((int(version or -1), is_dirty == "true") for version, is_dirty in rows),
        default=(-1, False),
    )
    ran = [file for file in files.files if int(file.key) <= version]
    is_known = version in [-1, *(int(file.key) for file in ran), *_versions(files.problems)]
    last = version - 1 if is_dirty else version
    migrations = tuple(_migration(file, is_applied=int(file.key) <= last) for file in files.files)
    return History(
        migrations,
        (
            *([] if is_known else [missing_file(str(version))]),
            *([_dirty(version, ran)] if is_dirty else []),
        ),
        (
            *_late_files(ran),
            *ledger_notes(GOLANG_MIGRATE.word, GOLANG_MIGRATE.ledger.table, migrations),
        ),
    )


def _dirty(version: int, ran: list[ToolFile]) -> Problem:
    before = [file.key for file in ran if int(file.key) < version]
    return Problem(
        f"version {version}",
        "is dirty in the ledger: golang-migrate began to migrate to it, and did not end",
        "put right what the file has left behind, say so with golang-migrate's own command, "
        f"`migrate force {version}` if all of it took effect, else `migrate force "
        f"{before[-1] if before else -1}`, and call this command again",
    )


def _late_files(ran: list[ToolFile]) -> Iterator[str]:
    if len(ran) > 1:
        yield (
            "The ledger of golang-migrate has only the last version. A file that came late, below "
            "the version of that time, counts as applied, although golang-migrate never ran it."
        )


def _sqlx_files(folder: Path) -> ToolFiles:
    found = versioned_files(folder, _SQLX_UP)
    files = (
        replace(file, is_transactional=not file.content.startswith(_SQLX_OUTSIDE))
        for file in found.files
    )
    return replace(found, files=tuple(files))


def _sqlx_history(files: ToolFiles, rows: Rows) -> History:
    """Every row is a version, with the checksum of its file; they come as they were applied."""
    ledger = [_Row(str(row[0]), row[1] == "true", row[2] or "") for row in rows]
    applied = {row.version: row for row in ledger if row.succeeded}
    ordered, problems = applied_first(files, applied, plain_number)
    migrations = tuple(_sqlx_migration(file, applied) for file, _ in ordered)
    return History(
        migrations,
        (
            *(_cut_off(row.version) for row in ledger if not row.succeeded),
            *(_edited(file) for file, _ in ordered if _is_edited(file, applied)),
            *problems,
        ),
        tuple(ledger_notes(SQLX.word, SQLX.ledger.table, migrations)),
    )


def _sqlx_migration(file: ToolFile, applied: Mapping[str, _Row]) -> ToolMigration:
    is_applied = file.key in applied
    is_verified = is_applied and not _is_edited(file, applied)
    migration = _migration(file, is_applied=is_applied)
    return replace(migration, verified=Verified.CHECKSUM if is_verified else None)


def _migration(file: ToolFile, *, is_applied: bool) -> ToolMigration:
    return ToolMigration(
        name=file.name,
        path=file.path,
        description=described(file.name),
        sql=file.text,
        is_transactional=file.is_transactional,
        is_applied=is_applied,
    )


def _is_edited(file: ToolFile, applied: Mapping[str, _Row]) -> bool:
    row = applied.get(file.key)
    known = (*checksums(file.content, _sha384), _sha384(_SQLX_IGNORED.sub(b"", file.content)))
    return row is not None and row.checksum not in known


def _sha384(content: bytes) -> str:
    return hashlib.sha384(content).hexdigest()


def _edited(file: ToolFile) -> Problem:
    return Problem(
        file.path,
        "is not the file that ran: its checksum is not that of the ledger",
        "restore the file from git; if the database has the change as well, write the checksum "
        f"of the file into the ledger: \\x{_sha384(file.content)}",
    )


def _cut_off(version: str) -> Problem:
    return Problem(
        f"version {version}",
        "failed, or was cut off: it may be applied in part",
        "put right what it has left behind, then delete its row from _sqlx_migrations if nothing "
        "of it is left, or set success to true if all of it took effect, and call this command "
        "again",
    )


def _versions(problems: tuple[Problem, ...]) -> Iterator[int]:
    """Yield the versions of the files that are a problem already."""
    for problem in problems:
        if match := _NUMBER.match(problem.place):
            yield int(match.group())


GOLANG_MIGRATE = Tool(
    word="golang-migrate",
    title="golang-migrate",
    folders=("db/migrations", "migrations", "db/migration", "database/migrations"),
    ledger=ToolLedger(
        "schema_migrations",
        frozenset({"version", "dirty"}),
        "select version::text, dirty::text from {table}",
    ),
    read_folder=_golang_files,
    judge=_golang_history,
    calls=(
        r"\bgolang-migrate\b",
        r"\bmigrate/migrate\b",
        # Its source is a URL; `migrate --source build` is a command of this runner.
        r"\bmigrate\s[^&|;\n]*-(?:(?:path|database)\b|source[ =]\S*://)",
    ),
)
SQLX = Tool(
    word="sqlx",
    title="sqlx",
    folders=("migrations", "db/migrations"),
    ledger=ToolLedger(
        "_sqlx_migrations",
        frozenset({"version", "description", "installed_on", "success", "checksum"}),
        "select version, success::text, encode(checksum, 'hex') from {table}"
        " order by installed_on, version",
        schemas=(),
    ),
    read_folder=_sqlx_files,
    judge=_sqlx_history,
    calls=(r"\bsqlx\s[^&|;\n]*\b(?:migrate|database)\b", r"\bsqlx-cli\b"),
)
