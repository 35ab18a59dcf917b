"""The CLI of Supabase: files with a time, and a row with the statements of each that ran.

The statements are those between the semicolons of the file. How they are cut depends on the version
and on who ran the file, so that the text is compared as a whole.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

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
    described,
    line_of,
    numbered_files,
)

_NAME = re.compile(r"(?P<name>(?P<version>[0-9]+)_.*)\.sql", re.DOTALL)
# Once the first migration of each project, which the CLI passes over.
_OLD_INIT = re.compile(r"[0-9]{14}_init\.sql")
_LAST_OLD_INIT = "20211209000000"
# What may stand between two statements, and at the end of one.
_BETWEEN = re.compile(r"[\s;]*")
_DUMP = re.compile(r"\s*(?:--[^\n]*\s+)*SET statement_timeout = 0;\s+SET lock_timeout = 0;")


def read_folder(folder: Path) -> ToolFiles:
    """Read `TIME_name.sql`, in the order of the names."""
    found = numbered_files(
        folder,
        _NAME,
        key_of=lambda match: match["version"],
        order_of=lambda match: (match.string,),
    )
    old = [file.path for file in found.files[:1] if _is_old_init(file.path)]
    return replace(
        found,
        files=tuple(file for file in found.files if file.path not in old),
        left_out=(*found.left_out, *old),
        notes=tuple(_notes(folder, found.files)),
    )


def judge(files: ToolFiles, rows: Rows) -> History:
    """Compare the files with the statements in the rows, which come in the order of their times."""
    statements = {version or "": _statements(text) for version, text in rows}
    ordered, missing = applied_first(files, statements, _version)
    migrations, problems = [], []
    for file, is_applied in ordered:
        ran = statements.get(file.key, [])
        difference = _difference(file.text, ran) if ran else None
        is_known = bool(ran) and difference is None
        migrations.append(_migration(file, is_applied=is_applied, is_known=is_known))
        if difference is not None:
            problems.append(_edited(file, difference))
    fetched = (replace(one, remedy=_FETCH) for one in missing)
    return History(tuple(migrations), (*problems, *fetched))


_FETCH = "supabase migration fetch writes the file from the ledger into the folder"


def _is_old_init(path: str) -> bool:
    return bool(_OLD_INIT.fullmatch(path)) and path < _LAST_OLD_INIT


def _version(place: str) -> str:
    return place.partition("_")[0]


def _statements(text: str | None) -> Sequence[str]:
    """Return the statements of a row; none if it was recorded without them."""
    found = json.loads(text) if text else None
    return [one for one in found or () if one]


def _difference(text: str, statements: Sequence[str]) -> int | None:
    """Return where the text is no longer that of the statements; None if it is, to its end."""
    text, position = _plain(text), 0
    for statement in statements:
        expected = re.sub(r"[\s;]+\Z", "", _plain(statement).lstrip())
        position = _past(text, position)
        if not text.startswith(expected, position):
            return position
        position += len(expected)
    position = _past(text, position)
    return None if position == len(text) else position


def _plain(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _past(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _migration(file: ToolFile, *, is_applied: bool, is_known: bool) -> ToolMigration:
    return ToolMigration(
        file.name,
        file.path,
        described(file.name),
        file.text,
        is_applied=is_applied,
        verified=Verified.TEXT if is_known else None,
    )


def _edited(file: ToolFile, offset: int) -> Problem:
    return Problem(
        f"{file.path}:{line_of(_plain(file.text), offset)}",
        "is not what ran: from here on, the ledger has other statements",
        "supabase migration fetch writes what ran into the folder, and git diff shows the edit; if "
        "the database has the change as well, record the file again: supabase migration repair "
        f"--status reverted {file.key}, then --status applied {file.key}",
    )


def _notes(folder: Path, files: Sequence[ToolFile]) -> Iterator[str]:
    seeds = [name for name in ("seed.sql", "seeds") if (folder.parent / name).exists()]
    if seeds:
        yield (
            f"Seeds are no migrations, and stay where they are: {', '.join(seeds)}. Those of this "
            "runner are in the folder _seeds of the migrations."
        )
    if files and _DUMP.match(files[0].text):
        yield (
            f"{files[0].path} is a dump, as supabase migration squash writes it: rows that "
            "migrations before it inserted are not in it."
        )


SUPABASE = Tool(
    word="supabase",
    title="Supabase",
    folders=("supabase/migrations",),
    ledger=ToolLedger(
        table="schema_migrations",
        columns=frozenset(("version", "statements")),
        query=(
            "select version, (to_jsonb(ledger) -> 'statements')::text from {table} as ledger"
            " order by version"
        ),
        schemas=("supabase_migrations",),
    ),
    read_folder=read_folder,
    judge=judge,
    calls=(r"\bsupabase\b[^&|;\n]*?\s(?:db\s+push|migration\s+(?:up|down|repair|squash))\b",),
)
