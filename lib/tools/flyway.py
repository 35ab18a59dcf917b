"""Flyway: files with versions of several parts, and the CRC32 of the lines of each that ran.

A row may also say that versions were taken as applied (BASELINE), undone, or deleted. What Flyway
repeats whenever it changes runs once here, after the files with a version.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .. import COMMAND
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
    line_of,
    read_files,
    read_nearest,
)

_Version = tuple[int, ...]
# A file that repeats is known by its description.
_Key = _Version | str

_NAME = re.compile(r"(?:([VBU])([0-9]+(?:[._][0-9]+)*)|(R))(?:__(.*))?\.sql", re.DOTALL)
_OTHER_LANGUAGE = re.compile(
    r"(?:[VBU][0-9][0-9._]*|R)__.*\.(?:java|kts?|groovy|scala|class|py|ps1|sh|bash|cmd|bat)",
    re.DOTALL,
)
_CALLBACK = re.compile(r"(?:before|after|create)[A-Z].*\.sql", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\r|\n")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_CONFIG = (
    "flyway.conf",
    "conf/flyway.conf",
    "flyway.toml",
    "conf/flyway.toml",
    "application.properties",
    "application.y*ml",
)
_NO_PLACEHOLDERS = re.compile(r"placeholder-?replacement\"?\s*[=:]\s*\"?false", re.IGNORECASE)
_TABLE = re.compile(r"^[ \t]*(?:(?:spring\.)?flyway\.)?table\s*=\s*\"?([^\"\s]+)", re.MULTILINE)
_OUTSIDE_TRANSACTION = re.compile(r"^\s*executeInTransaction\s*=\s*false", re.MULTILINE)
_CONDITION = re.compile(r"^\s*shouldExecute\s*=", re.MULTILINE)
_IN_SQL = ("SQL", "SQL_BASELINE")


class _Name(NamedTuple):
    """What the name of a file says: V, B, U with a version, or R without one."""

    kind: str
    version: _Version
    description: str
    path: str


class _Row(NamedTuple):
    """A row of the ledger. One without a version is of a file that repeats."""

    version: str
    description: str
    type: str
    script: str
    checksum: str | None
    success: str | None


@dataclass
class _Ledger:
    """What the rows come to, read in their order.

    Versions up to `baseline` were not run one by one: the database had what they make.
    """

    applied: dict[_Key, _Row] = field(default_factory=dict)
    baseline: _Version = ()
    bad: list[Problem] = field(default_factory=list)


def read_folder(folder: Path) -> ToolFiles:
    """Read the files with a version in the order of the versions, then those that repeat."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    config = read_nearest(folder, *_CONFIG)
    named = [name for name in map(_name, paths) if name]
    chosen = sorted(_chosen(named), key=lambda name: (not name.version, *name[1:]))
    read = read_files(folder, [(PurePosixPath(name.path).stem, name.path) for name in chosen])
    files = [_with_script_config(file, folder) for file in read.files]
    used = {name.path for name in chosen}
    table = _TABLE.search(config)
    problems = (
        *read.problems,
        *_twice(chosen),
        *(problem for file in files for problem in _conditions(file, folder)),
        *(problem for file in files for problem in _placeholders(file, folder, config)),
        *(_other_language(path) for path in paths if _OTHER_LANGUAGE.fullmatch(_base(path))),
    )
    return ToolFiles(
        tuple(files),
        problems,
        left_out=tuple(path for path in paths if path.endswith(".sql") and path not in used),
        notes=tuple(_folder_notes(files, paths)),
        ledger=replace(FLYWAY.ledger, table=table[1]) if table else None,
    )


def judge(files: ToolFiles, rows: Rows) -> History:
    """Compare the files with the rows, which come in the order of installation."""
    ledger = _read_ledger(rows)
    found = {_key(file): file for file in files.files}
    rows_of = ledger.applied
    assumed = [key for key in found if _is_below(key, ledger.baseline) and key not in rows_of]
    ran = [*assumed, *(key for key in rows_of if key in found)]
    # On a new database, what repeats comes last.
    ran.sort(key=lambda key: isinstance(key, str))
    done = set(ran)
    pending = [key for key in found if key not in done]
    edited = [key for key in ran if key in rows_of and _is_edited(found[key], rows_of[key])]
    return History(
        (
            *(_migration(found[key], rows_of.get(key), is_applied=True) for key in ran),
            *(_migration(found[key], None, is_applied=False) for key in pending),
        ),
        (*ledger.bad, *(_edited(found[key]) for key in edited), *_gone(ledger, found)),
        tuple(_ledger_notes(ledger, [found[key] for key in assumed], pending)),
    )


# --- The folder ---


def _name(path: str) -> _Name | None:
    match = _NAME.fullmatch(_base(path))
    if not match:
        return None
    kind = match[1] or match[3]
    return _Name(kind, _parts(match[2] or ""), (match[4] or "").replace("_", " "), path)


def _base(path: str) -> str:
    return PurePosixPath(path).name


def _parts(version: str) -> _Version:
    """Return the parts of a version; 1.0 and 1 are one version."""
    parts = [int(part) for part in re.split(r"[._]", version) if part]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts)


def _chosen(named: Sequence[_Name]) -> Iterator[_Name]:
    """Yield the files of the chain: a baseline file only if nothing that it stands for is left."""
    baselines = [name for name in named if name.kind == "B"]
    versions = [name for name in named if name.kind == "V"]
    newest = max(baselines, key=lambda name: name.version, default=None)
    if newest and not any(name.version <= newest.version for name in versions):
        yield newest
    yield from versions
    yield from (name for name in named if name.kind == "R")


def _with_script_config(file: ToolFile, folder: Path) -> ToolFile:
    outside = _OUTSIDE_TRANSACTION.search(_script_config(file, folder))
    return replace(file, is_transactional=not outside)


def _script_config(file: ToolFile, folder: Path) -> str:
    path = f"{file.path}.conf"
    found = read_files(folder, [(path, path)]).files if (folder / path).exists() else ()
    return found[0].text if found else ""


def _twice(chosen: Sequence[_Name]) -> Iterator[Problem]:
    first: dict[tuple[_Version, str], _Name] = {}
    for name in chosen:
        key = (name.version, "" if name.version else name.description)
        if key in first:
            yield Problem(
                name.path,
                f"has the version of {first[key].path}",
                "Flyway refuses two files of one version: remove one, or give it another version",
            )
        first.setdefault(key, name)


def _conditions(file: ToolFile, folder: Path) -> Iterator[Problem]:
    if _CONDITION.search(_script_config(file, folder)):
        yield Problem(
            f"{file.path}.conf",
            "has shouldExecute, which decides at run time whether the file runs",
            "remove the condition, or the file",
        )


def _placeholders(file: ToolFile, folder: Path, config: str) -> Iterator[Problem]:
    """Yield the first placeholder of a file, unless Flyway was told to leave them alone."""
    placeholder = _PLACEHOLDER.search(file.text)
    if placeholder and not _NO_PLACEHOLDERS.search(config + _script_config(file, folder)):
        yield Problem(
            f"{file.path}:{line_of(file.text, placeholder.start())}",
            f"has the placeholder {placeholder[0]}",
            "write the value in its place, and call flyway repair, which writes the new checksum "
            "into the ledger",
        )


def _other_language(path: str) -> Problem:
    return Problem(
        path,
        "is a migration that is not written in SQL",
        f"write what it does as SQL, or let `{COMMAND} adopt database` make one first file of "
        "everything",
    )


def _folder_notes(files: Sequence[ToolFile], paths: Iterable[str]) -> Iterator[str]:
    repeatable = [file.path for file in files if _is_repeatable(file)]
    if repeatable:
        yield (
            f"Run once here, and not whenever they change: {', '.join(repeatable)}. Write a change "
            "as a new migration with the whole text."
        )
    callbacks = [path for path in paths if _CALLBACK.fullmatch(_base(path))]
    if callbacks:
        yield (
            f"Callbacks of Flyway, which nothing calls here: {', '.join(callbacks)}. Put what they "
            "do into the migrations that need it."
        )


# --- The ledger ---


def _read_ledger(rows: Rows) -> _Ledger:
    ledger = _Ledger()
    for version, description, kind, script, checksum, success in rows:
        row = _Row(version or "", description or "", kind or "", script or "", checksum, success)
        _take(ledger, row)
    return ledger


def _take(ledger: _Ledger, row: _Row) -> None:
    """Let one row change what the ledger comes to."""
    if not row.success:
        ledger.bad.append(_failed(row))
    elif row.type in ("BASELINE", "INIT"):
        ledger.baseline = _parts(row.version)
    elif row.type == "DELETE" or row.type.startswith("UNDO"):
        ledger.applied.pop(_parts(row.version) or row.description, None)
    elif row.type != "SCHEMA":
        if row.type not in _IN_SQL:
            ledger.bad.append(_ran_in_another_language(row))
        if row.type == "SQL_BASELINE":
            ledger.baseline = _parts(row.version)
        # Of a file that repeats, the newest run counts.
        ledger.applied[_parts(row.version) or row.description] = row


def _key(file: ToolFile) -> _Key:
    name = _name(file.path)
    assert name  # no other file was read
    return name.version or name.description


def _parts_of(key: _Key) -> _Version:
    return key if isinstance(key, tuple) else ()


def _is_below(key: _Key, baseline: _Version) -> bool:
    return isinstance(key, tuple) and key <= baseline


def _is_repeatable(file: ToolFile) -> bool:
    return isinstance(_key(file), str)


def _migration(file: ToolFile, row: _Row | None, *, is_applied: bool) -> ToolMigration:
    name = _name(file.path)
    is_known = row is not None and _is_comparable(file, row) and not _is_edited(file, row)
    return ToolMigration(
        file.name,
        file.path,
        (name.description.strip() if name else "") or file.name,
        file.text,
        is_transactional=file.is_transactional,
        is_applied=is_applied,
        verified=Verified.CHECKSUM if is_known else None,
    )


def _is_comparable(file: ToolFile, row: _Row) -> bool:
    """True unless the row is of another file: of the baseline file in place of many."""
    is_baseline = _base(file.path).startswith("B")
    return row.checksum is not None and is_baseline == (row.type == "SQL_BASELINE")


def _is_edited(file: ToolFile, row: _Row) -> bool:
    return _is_comparable(file, row) and row.checksum != _crc32(file)


def _crc32(file: ToolFile) -> str:
    """Return the checksum as Flyway writes it: of the lines without their ends, and signed."""
    value = zlib.crc32("".join(_LINE_END.split(file.text)).encode())
    return str(value - (1 << 32) if value >= 1 << 31 else value)


def _failed(row: _Row) -> Problem:
    return Problem(
        row.script,
        "failed outside a transaction: it is applied in part",
        "undo by hand what it has left behind, or finish it; flyway repair then removes the row",
    )


def _ran_in_another_language(row: _Row) -> Problem:
    return Problem(
        row.script,
        f"is in the ledger as a migration of type {row.type}, which is not SQL",
        f"let `{COMMAND} adopt database` make one first file of everything",
    )


def _edited(file: ToolFile) -> Problem:
    if _is_repeatable(file):
        return Problem(
            file.path,
            "has changed since it ran here: its checksum is not that of the ledger",
            "call flyway migrate once more, which runs it again, and then this command",
        )
    return Problem(
        file.path,
        "is not the file that ran: its checksum is not that of the ledger",
        "restore the file from git; if the database has the change as well, flyway repair writes "
        f"its checksum, {_crc32(file)}, into the ledger",
    )


def _gone(ledger: _Ledger, found: Mapping[_Key, ToolFile]) -> Iterator[Problem]:
    """Yield what has no file, unless a baseline file stands for it."""
    baselines = [key for key, file in found.items() if _base(file.path).startswith("B")]
    for key, row in ledger.applied.items():
        if key not in found and not any(_is_below(key, _parts_of(one)) for one in baselines):
            yield Problem(
                row.script,
                "is in the ledger, and there is no such file",
                "restore the file from git; if it is gone for good, flyway repair marks it as "
                "deleted",
            )


def _ledger_notes(
    ledger: _Ledger, assumed: Sequence[ToolFile], pending: Sequence[_Key]
) -> Iterator[str]:
    if assumed:
        yield (
            "At or below Flyway's baseline, and so taken as applied without a checksum: "
            f"{', '.join(file.path for file in assumed)}."
        )
    newest = max(map(_parts_of, ledger.applied), default=())
    late = [".".join(map(str, key)) for key in pending if _is_below(key, newest)]
    if late:
        yield (
            f"Not applied here, and below the newest version that is; they will be pending: "
            f"{', '.join(late)}."
        )


FLYWAY = Tool(
    word="flyway",
    title="Flyway",
    folders=("src/main/resources/db/migration", "db/migration", "sql", "flyway/sql"),
    ledger=ToolLedger(
        table="flyway_schema_history",
        columns=frozenset(("installed_rank", "version", "script", "checksum", "success")),
        query=(
            "select version, description, type, script, checksum, case when success then 'yes' end"
            " from {table} order by installed_rank"
        ),
        schemas=(),
    ),
    read_folder=read_folder,
    judge=judge,
    calls=(r"\bflyway\b[^&|;\n]*?\s?(?:migrate|repair|clean|undo|baseline)\b",),
)
