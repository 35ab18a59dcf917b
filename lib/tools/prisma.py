"""Prisma Migrate: a folder per migration, and in the ledger a row for each attempt to apply it.

Prisma sends a file as one message, which PostgreSQL runs in one transaction.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    checksums,
    described,
    read_files,
)

_SCRIPT = "migration.sql"
_LOCK = "migration_lock.toml"
_PROVIDER = re.compile(r'^provider\s*=\s*"([^"]*)"', re.MULTILINE)
_POSTGRESQL = ("postgresql", "postgres", "cockroachdb")


class _Attempt(NamedTuple):
    """A row of the ledger. Without `finished`, the attempt failed or was cut off."""

    name: str
    checksum: str
    started: str
    finished: str | None
    rolled_back: str | None
    steps: str

    @property
    def is_applied(self) -> bool:
        return self.finished is not None and self.rolled_back is None

    @property
    def is_failed(self) -> bool:
        return self.finished is None and self.rolled_back is None

    @property
    def was_run(self) -> bool:
        """False if `prisma migrate resolve --applied` has recorded the migration."""
        return self.steps != "0"


def read_folder(folder: Path) -> ToolFiles:
    """Read `NAME/migration.sql` of each folder, in the order of the names."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    found = read_files(folder, [(name, f"{name}/{_SCRIPT}") for name in names])
    left_out = tuple(
        f"{name}/{path.name}"
        for name in names
        for path in sorted((folder / name).glob("*.sql"))
        if path.name != _SCRIPT
    )
    return ToolFiles(found.files, (*_other_provider(folder), *found.problems), left_out)


def judge(files: ToolFiles, rows: Rows) -> History:
    """Compare the folders with the attempts, which come in the order in which they began."""
    attempts = [_attempt(row) for row in rows]
    # Of several rows of a migration, the last applied one counts.
    applied = {attempt.name: attempt for attempt in attempts if attempt.is_applied}
    by_name = {file.name: file for file in files.files}
    ran = [
        by_name[attempt.name]
        for attempt in attempts
        if attempt.name in by_name and applied.get(attempt.name) is attempt
    ]
    pending = [file for file in files.files if file.name not in applied]
    gone = [attempt for attempt in applied.values() if attempt.name not in by_name]
    squashed = _squashed(gone, [applied[file.name] for file in ran])
    return History(
        (
            *(_applied_migration(file, applied[file.name]) for file in ran),
            *(_migration(file) for file in pending),
        ),
        (
            *_failed(attempts),
            *(_edited(file) for file in ran if _is_edited(file, applied[file.name])),
            *(_gone(attempt) for attempt in gone if attempt not in squashed),
        ),
        tuple(_notes(squashed, [applied[file.name] for file in ran])),
    )


def _attempt(row: Sequence[str | None]) -> _Attempt:
    name, checksum, started, finished, rolled_back, steps = row
    return _Attempt(name or "", checksum or "", started or "", finished, rolled_back, steps or "")


def _other_provider(folder: Path) -> Iterator[Problem]:
    found = read_files(folder, [(_LOCK, _LOCK)]).files if (folder / _LOCK).exists() else ()
    provider = _PROVIDER.search(found[0].text) if found else None
    if provider and provider[1] not in _POSTGRESQL:
        yield Problem(
            _LOCK,
            f"says that these are migrations for {provider[1]}",
            "name the folder of the migrations for PostgreSQL with --from",
        )


def _migration(file: ToolFile) -> ToolMigration:
    return ToolMigration(file.name, file.path, described(file.name), file.text)


def _applied_migration(file: ToolFile, attempt: _Attempt) -> ToolMigration:
    is_known = attempt.checksum and not _is_edited(file, attempt)
    return ToolMigration(
        file.name,
        file.path,
        described(file.name),
        file.text,
        is_applied=True,
        verified=Verified.CHECKSUM if is_known else None,
    )


def _is_edited(file: ToolFile, attempt: _Attempt) -> bool:
    # A row that was inserted by hand may be without a checksum.
    return bool(attempt.checksum) and attempt.checksum not in (
        *checksums(file.content, _sha256),
        *checksums(file.content, _sha256_of_old_versions),
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of_old_versions(content: bytes) -> str:
    """Return the digest as the first versions wrote it, each byte without its leading zero."""
    return "".join(f"{byte:x}" for byte in hashlib.sha256(content).digest())


def _squashed(gone: Sequence[_Attempt], ran: Sequence[_Attempt]) -> Collection[_Attempt]:
    """Return what is gone because a later migration that was only recorded replaces it.

    After squashing, Prisma's guide deletes the folders, leaves their rows, and records the new
    migration with `migrate resolve --applied`.
    """
    latest = max((attempt.started for attempt in ran if not attempt.was_run), default="")
    return [attempt for attempt in gone if attempt.started < latest]


def _failed(attempts: Sequence[_Attempt]) -> Iterator[Problem]:
    failed: Mapping[str, _Attempt] = {a.name: a for a in attempts if a.is_failed}
    for name in failed:
        yield Problem(
            name,
            "failed, or was cut off: it may be applied in part",
            "put right what it has left behind, say so with prisma migrate resolve "
            "--rolled-back or --applied and its name, and call this command again",
        )


def _edited(file: ToolFile) -> Problem:
    return Problem(
        file.path,
        "is not the file that ran: its checksum is not that of the ledger",
        "restore the file from git; if the database has the change as well, write the checksum "
        f"of the file into the ledger: {_sha256(file.content)}",
    )


def _gone(attempt: _Attempt) -> Problem:
    return Problem(
        attempt.name,
        "is in the ledger, and there is no such folder",
        "restore the folder from git; if another migration has its SQL now, delete its row "
        "from the ledger",
    )


def _notes(squashed: Collection[_Attempt], ran: Sequence[_Attempt]) -> Iterator[str]:
    recorded = [attempt.name for attempt in ran if not attempt.was_run]
    if recorded:
        yield (
            "Recorded by prisma migrate resolve, and not run on this database: "
            f"{', '.join(recorded)}."
        )
    if squashed:
        names = ", ".join(attempt.name for attempt in squashed)
        yield f"In the ledger, and replaced by a migration that was recorded later: {names}."


PRISMA = Tool(
    word="prisma",
    title="Prisma",
    folders=("prisma/migrations", "prisma/schema/migrations"),
    ledger=ToolLedger(
        table="_prisma_migrations",
        columns=frozenset(
            ("migration_name", "checksum", "started_at", "finished_at", "rolled_back_at")
        ),
        query=(
            "select migration_name, checksum, started_at, finished_at, rolled_back_at,"
            " applied_steps_count from {table} order by started_at, migration_name"
        ),
        # The one that `?schema=` of the URL names.
        schemas=(),
    ),
    read_folder=read_folder,
    judge=judge,
    # `migrate diff` is not among them: it goes on computing the SQL.
    calls=(r"\bprisma\b[^&|;\n]*?\s(?:migrate\s+(?:deploy|dev|resolve|reset)|db\s+push)\b",),
)
