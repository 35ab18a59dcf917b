"""Drizzle: a journal or folders, and a row with the SHA-256 and the time of each file that ran.

The rows of most versions have no name. Drizzle never compares the hash, so that edited files are
common, and the older layout never runs a file whose time is before that of the newest row.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

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
    line_of,
    read_files,
    read_nearest,
)

_JOURNAL = "meta/_journal.json"
_BREAKPOINT = re.compile(r"--> statement-breakpoint")
_REST_OF_LINE = re.compile(r"[ \t]*(?:--[^\n]*)?\r?(?:\n|\Z)")
_COMMENT = re.compile(r"--[^\n]*")

_CONFIG = "drizzle.config.*"
_CONFIG_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)
_CONFIG_MIGRATIONS = re.compile(r"\bmigrations[\"']?\s*:\s*\{([^{}]*)\}")
_CONFIG_ENTRY = re.compile(r"\b(table|schema)[\"']?\s*:\s*[\"'`]([^\"'`$]+)[\"'`]")


class _Row(NamedTuple):
    """A row of the ledger; `name` is there since version 1.0."""

    hash: str
    created_at: str
    name: str | None


@dataclass(frozen=True)
class _Matched:
    """The rows with the files that belong to them, and the rows without one."""

    rows: Mapping[str, _Row]
    gone: tuple[_Row, ...]


def read_folder(folder: Path) -> ToolFiles:
    """Read the files in the order of the journal; without a journal, the folders by their names."""
    has_journal = (folder / _JOURNAL).exists()
    found = _by_journal(folder) if has_journal else _by_folders(folder)
    problems = [problem for file in found.files for problem in _swallowed(file)]
    known = {file.path for file in found.files}
    left_out = sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("*.sql", "*/migration.sql")
        for path in folder.glob(pattern)
    )
    return replace(
        found,
        problems=(*found.problems, *problems),
        left_out=tuple(path for path in left_out if path not in known),
        ledger=_configured_ledger(folder),
    )


def judge(files: ToolFiles, rows: Rows) -> History:
    """Compare the files with the rows, which come in the order in which they were written."""
    matched = _match(files.files, [_Row(row[0] or "", row[1] or "", row[2]) for row in rows])
    by_name = {file.name: file for file in files.files}
    ran = [by_name[name] for name in matched.rows]
    pending = [file for file in files.files if file.name not in matched.rows]
    edited = [file for file in ran if not _is_unchanged(file, matched.rows[file.name])]
    return History(
        (
            *(_migration(file, matched.rows[file.name]) for file in ran),
            *(_migration(file, None) for file in pending),
        ),
        (
            *(_edited(file, matched.rows[file.name]) for file in edited),
            *map(_gone, matched.gone),
        ),
        tuple(_passed_over(pending, matched)),
    )


def _by_journal(folder: Path) -> ToolFiles:
    found = read_files(folder, [("journal", _JOURNAL)])
    if not found.files:
        return found
    try:
        journal = json.loads(found.files[0].text)
        entries = [_entry(entry) for entry in journal["entries"]]
    except (ValueError, KeyError, TypeError):
        return ToolFiles(
            (),
            (Problem(_JOURNAL, "is not a journal of Drizzle", "restore the file from git"),),
        )
    tags = [tag for tag, _ in entries]
    read = read_files(folder, [(tag, f"{tag}.sql") for tag in tags])
    times = dict(entries)
    problems = (*_other_dialect(journal), *map(_twice, _repeated(tags)), *read.problems)
    return ToolFiles(tuple(replace(file, key=times[file.name]) for file in read.files), problems)


def _entry(entry: Any) -> tuple[str, str]:
    tag, when = entry["tag"], entry["when"]
    if not isinstance(tag, str) or not isinstance(when, int):
        raise TypeError("an entry has a tag, which is a text, and a time, which is a number")
    return tag, str(when)


def _by_folders(folder: Path) -> ToolFiles:
    names = sorted(path.parent.name for path in folder.glob("*/migration.sql"))
    if not names and any(folder.glob("*.sql")):
        problem = Problem(_JOURNAL, "is missing, and has the order of the files", "restore it")
        return ToolFiles((), (problem,))
    read = read_files(folder, [(name, f"{name}/migration.sql") for name in names])
    return ToolFiles(
        tuple(replace(file, key=_milliseconds(file.name)) for file in read.files), read.problems
    )


def _milliseconds(name: str) -> str:
    """Return the time that the name of a folder begins with, as the ledger has it."""
    try:
        time = datetime.strptime(name[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return str(int(time.timestamp()) * 1000)


def _match(files: Sequence[ToolFile], rows: Sequence[_Row]) -> _Matched:
    index = _index(files)
    matched: dict[str, _Row] = {}
    gone = []
    for row in rows:
        # By name; else by time and hash, since files without a statement have one hash; else by
        # hash or by time alone, since journals and files are edited.
        candidates = [file for key in _keys(row) for file in index.get(key, ())]
        file = next((one for one in candidates if one.name not in matched), None)
        if file:
            matched[file.name] = row
        # Two processes may have recorded one file.
        elif not any(_is_unchanged(one, row) for one in candidates):
            gone.append(row)
    return _Matched(matched, tuple(gone))


def _index(files: Sequence[ToolFile]) -> Mapping[tuple[str, ...], list[ToolFile]]:
    index: dict[tuple[str, ...], list[ToolFile]] = {}
    for file in files:
        # The name of a folder has the time in seconds.
        unit = "seconds" if "/" in file.path else "milliseconds"
        hashes = set(checksums(file.content, _sha256))
        keys = [
            ("name", file.name),
            (unit, file.key),
            *(("hash", one) for one in hashes),
            *((unit, file.key, one) for one in hashes),
        ]
        for key in keys:
            index.setdefault(key, []).append(file)
    return index


def _keys(row: _Row) -> Iterator[tuple[str, ...]]:
    """Yield by what a row may be known, the surest first."""
    times = (
        ("milliseconds", row.created_at),
        ("seconds", f"{row.created_at[:-3]}000"),
    )
    if row.name:
        yield ("name", row.name)
    yield from ((*time, row.hash) for time in times)
    yield ("hash", row.hash)
    if not row.name:
        yield from times


def _is_unchanged(file: ToolFile, row: _Row) -> bool:
    # A row that was inserted by hand may be without a hash.
    return not row.hash or row.hash in checksums(file.content, _sha256)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _migration(file: ToolFile, row: _Row | None) -> ToolMigration:
    is_known = row is not None and row.hash and _is_unchanged(file, row)
    return ToolMigration(
        file.name,
        file.path,
        described(file.name),
        _with_semicolons(file.text),
        is_applied=row is not None,
        verified=Verified.CHECKSUM if is_known else None,
    )


def _with_semicolons(text: str) -> str:
    """End each statement that only the marker behind it ends; the marker is a comment in SQL."""
    parts = _BREAKPOINT.split(text)
    ended = [part if _is_ended(part) else f"{part}\n;" for part in parts[:-1]]
    return "--> statement-breakpoint".join((*ended, parts[-1]))


def _is_ended(part: str) -> bool:
    bare = _COMMENT.sub("", part).rstrip()
    return not bare or bare.endswith(";")


def _swallowed(file: ToolFile) -> Iterator[Problem]:
    """Yield what stands behind a marker on its line, which in SQL would be part of the comment."""
    text = file.text
    for marker in _BREAKPOINT.finditer(text):
        if not _REST_OF_LINE.match(text, marker.end()):
            yield Problem(
                f"{file.path}:{line_of(text, marker.start())}",
                "has a statement on the line of --> statement-breakpoint",
                "the marker is a comment elsewhere: begin a new line behind it",
            )


def _repeated(tags: Sequence[str]) -> list[str]:
    return sorted({tag for tag in tags if tags.count(tag) > 1})


def _twice(tag: str) -> Problem:
    return Problem(_JOURNAL, f"names {tag} twice", "remove one of the entries")


def _other_dialect(journal: Mapping[str, Any]) -> Iterator[Problem]:
    dialect = journal.get("dialect", "postgresql")
    if dialect not in ("postgresql", "pg"):
        yield Problem(
            _JOURNAL,
            f"says that these are migrations for {dialect}",
            "name the folder of the migrations for PostgreSQL with --from",
        )


def _edited(file: ToolFile, row: _Row) -> Problem:
    return Problem(
        file.path,
        "is not the file that ran: its SHA-256 is not that of the ledger",
        f"git log -p -- {file.path} shows how it was edited, and git show COMMIT:./{file.path} | "
        f"sha256sum gives {row.hash} for the text that ran: restore it; if the database has the "
        f"change as well, write the hash of the file into the ledger: {_sha256(file.content)}",
    )


def _gone(row: _Row) -> Problem:
    return Problem(
        row.name or f"created_at {row.created_at}",
        f"is in the ledger with the hash {row.hash}, and there is no such file",
        "restore the file from git; if another file has its SQL now, delete its row from the "
        "ledger",
    )


def _passed_over(pending: Sequence[ToolFile], matched: _Matched) -> Iterator[str]:
    """Yield a note on files of a journal that Drizzle would never run."""
    times = [int(row.created_at) for row in matched.rows.values() if row.created_at.isdigit()]
    newest = max(times, default=-1)
    late = [file.path for file in pending if "/" not in file.path and int(file.key) <= newest]
    if late:
        yield (
            f"Not applied here, and older than the newest file that is, so that Drizzle would "
            f"never run them; they will be pending: {', '.join(late)}."
        )


def _configured_ledger(folder: Path) -> ToolLedger | None:
    """Return the ledger that the nearest drizzle.config names; None if it names none."""
    text = _CONFIG_COMMENT.sub("", read_nearest(folder, _CONFIG))
    migrations = _CONFIG_MIGRATIONS.search(text)
    named = dict(_CONFIG_ENTRY.findall(migrations[1])) if migrations else {}
    if not named:
        return None
    return replace(
        DRIZZLE.ledger,
        table=named.get("table", DRIZZLE.ledger.table),
        schemas=(named.get("schema", "drizzle"),),
    )


DRIZZLE = Tool(
    word="drizzle",
    title="Drizzle",
    folders=("drizzle", "src/drizzle", "src/db/migrations", "db/migrations"),
    ledger=ToolLedger(
        table="__drizzle_migrations",
        columns=frozenset(("id", "hash", "created_at")),
        query=(
            "select hash, created_at, to_jsonb(ledger) ->> 'name' from {table} as ledger"
            " order by id"
        ),
        # A script that calls `migrate` may name any.
        schemas=(),
    ),
    read_folder=read_folder,
    judge=judge,
    # `generate` and `check` are not among them: they go on computing the SQL.
    calls=(r"\bdrizzle-kit\b[^&|;\n]*?\s(?:migrate|push)\b", r"drizzle-orm/[\w-]+/migrator\b"),
)
