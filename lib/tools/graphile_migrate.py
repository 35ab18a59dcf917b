"""graphile-migrate: committed files, each with its hash and that of the one before it.

The hash is the SHA-1 of the previous hash and the text. It is in the file and in the ledger.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
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
    described,
    line_of,
    numbered_files,
    read_nearest,
)

_NAME = re.compile(r"(?P<name>(?P<number>[0-9]+)(?:-[-_a-zA-Z0-9]*)?)\.sql")
_HEADER = re.compile(r"--! ([A-Z][a-zA-Z0-9_]*)(?::(.*))?")
_NO_TRANSACTION = re.compile(r"--!\s*no-transaction\b")
_COMMENT = re.compile(r"--[^\n]*")
# What JavaScript takes for white space at the ends of a text.
_BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_CONFIG = (".gmrc", ".gmrc.js", ".gmrc.cjs")
_CONFIG_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_PLACEHOLDER_NAME = re.compile(r"[\"'](:[A-Z][A-Z0-9_]+)[\"']\s*:")
_OWN_PLACEHOLDERS = (":DATABASE_NAME", ":DATABASE_OWNER")
_ACTIONS = re.compile(r"\b(after(?:AllMigrations|Reset))[\"']?\s*:\s*\[\s*[^\]\s]")


class _Committed(NamedTuple):
    """A committed file, as the tool reads it: `body_line` is the line before the body's first."""

    headers: Mapping[str, str]
    body: str
    is_whole: bool
    body_line: int

    @property
    def previous(self) -> str:
        previous = self.headers.get("Previous", "")
        return "" if previous == "-" else previous

    @property
    def hash(self) -> str:
        return self.headers.get("Hash", "")

    @property
    def own_hash(self) -> str:
        """The hash of the text as it is now."""
        text = f"{self.previous}\n{self.body.strip(_BLANKS)}".strip(_BLANKS)
        digest = hashlib.sha1(f"{text}\n".encode(), usedforsecurity=False)
        return f"sha1:{digest.hexdigest()}"

    @property
    def is_edited(self) -> bool:
        return self.own_hash != self.hash

    @property
    def may_be_edited(self) -> bool:
        return "AllowInvalidHash" in self.headers


def read_folder(folder: Path) -> ToolFiles:
    """Read the committed files, which may be in a folder of their own, in the order of numbers."""
    is_above = (folder / "committed").is_dir()
    prefix = "committed/" if is_above else ""
    found = numbered_files(
        folder / prefix,
        _NAME,
        key_of=lambda match: f"{match['number']}.sql",
        order_of=lambda match: (f"{match['number']}.sql",),
    )
    config = _CONFIG_COMMENT.sub("", read_nearest(folder, *_CONFIG))
    committed = [(file, _committed(file)) for file in found.files]
    problems = (
        *found.problems,
        *(problem for each in committed for problem in _malformed(*each)),
        *_broken_chain(committed),
        *(problem for each in committed for problem in _placeholders(*each, config)),
    )
    return ToolFiles(
        tuple(replace(file, path=prefix + file.path) for file in found.files),
        tuple(replace(problem, place=prefix + problem.place) for problem in problems),
        tuple(prefix + path for path in found.left_out),
        tuple(_notes(folder if is_above else folder.parent, config, committed)),
    )


def judge(files: ToolFiles, rows: Rows) -> History:
    """Compare the hashes in the files with those of the rows, in the order of the numbers."""
    hashes = {filename or "": hash_ or "" for filename, hash_ in rows}
    ordered, missing = applied_first(files, hashes, _key)
    migrations, problems = [], []
    for file, is_applied in ordered:
        committed = _committed(file)
        is_same = hashes.get(file.key) == committed.hash
        is_known = is_same and not committed.is_edited
        migrations.append(_migration(file, committed, is_applied=is_applied, is_known=is_known))
        if is_applied and not is_same:
            problems.append(_other_hash(file, hashes[file.key]))
        elif committed.is_whole and committed.is_edited and not committed.may_be_edited:
            problems.append(_edited(file, committed))
    return History(tuple(migrations), (*problems, *missing))


def _key(place: str) -> str:
    match = _NAME.search(place)
    return f"{match['number']}.sql" if match else place


def _committed(file: ToolFile) -> _Committed:
    text = file.text
    # Git on Windows has changed the line ends; the tool itself would refuse the file.
    if "\r\n" in text[: text.find("\n") + 1]:
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    headers = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if not match:
            break
        headers[match[1]] = (match[2] or "").strip(_BLANKS)
    rest = "\n".join(lines[len(headers) :])
    body = rest.strip(_BLANKS)
    above = len(headers) + rest[: rest.find(body)].count("\n")
    is_whole = bool(headers.get("Previous") and headers.get("Hash")) and rest.startswith("\n")
    return _Committed(headers, f"{body}\n", is_whole, above)


def _malformed(file: ToolFile, committed: _Committed) -> Iterator[Problem]:
    if not committed.is_whole:
        yield Problem(
            file.path,
            "is not a committed migration: --! Previous and --! Hash stand above an empty line",
            "restore the file from git, or commit it with graphile-migrate commit",
        )


def _broken_chain(committed: Sequence[tuple[ToolFile, _Committed]]) -> Iterator[Problem]:
    before = ""
    for file, each in committed:
        if each.is_whole and each.previous != before:
            yield Problem(
                file.path,
                "does not follow the file before it, whose hash is not its --! Previous",
                "restore the file that is missing or was exchanged from git",
            )
        before = each.hash


def _placeholders(file: ToolFile, committed: _Committed, config: str) -> Iterator[Problem]:
    names = (*_OWN_PLACEHOLDERS, *_PLACEHOLDER_NAME.findall(config))
    found = re.search(rf"(?:{'|'.join(map(re.escape, names))})\b", committed.body)
    if found:
        line = committed.body_line + line_of(committed.body, found.start())
        yield Problem(
            f"{file.path}:{line}",
            f"has the placeholder {found[0]}",
            "write the value in its place, and add the line --! AllowInvalidHash below --! Hash",
        )


def _edited(file: ToolFile, committed: _Committed) -> Problem:
    return Problem(
        file.path,
        "is not the file that was committed: its text has the hash " + committed.own_hash,
        "restore the file from git; if the database has the change as well, add the line "
        "--! AllowInvalidHash below --! Hash",
    )


def _other_hash(file: ToolFile, ran: str) -> Problem:
    return Problem(
        file.path,
        f"is not the file that ran: the ledger has the hash {ran}",
        "restore the file from git: git log -p shows which version has that hash",
    )


def _migration(
    file: ToolFile, committed: _Committed, *, is_applied: bool, is_known: bool
) -> ToolMigration:
    message = committed.headers.get("Message")
    return ToolMigration(
        file.name,
        file.path,
        message or described(file.name),
        committed.body,
        is_transactional=not _NO_TRANSACTION.match(committed.body),
        is_applied=is_applied,
        verified=Verified.CHECKSUM if is_known else None,
    )


def _notes(
    root: Path, config: str, committed: Sequence[tuple[ToolFile, _Committed]]
) -> Iterator[str]:
    edited = [
        file.path for file, each in committed
        if each.may_be_edited and each.is_edited
    ]  # fmt: skip
    if edited:
        yield f"Edited after they were committed, as they say themselves: {', '.join(edited)}."
    current = [root / "current.sql", *sorted((root / "current").glob("*.sql"))]
    left = [path.relative_to(root).as_posix() for path in current if _has_statement(path)]
    if left:
        yield (
            f"Not committed, and so not part of the history: {', '.join(left)}. Make it the next "
            "migration once the history is adopted."
        )
    actions = sorted({match[1] for match in _ACTIONS.finditer(config)})
    if actions:
        yield f"Actions of .gmrc, which nothing calls here: {', '.join(actions)}."


def _has_statement(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_COMMENT.sub("", text).strip(_BLANKS + ";"))


GRAPHILE_MIGRATE = Tool(
    word="graphile-migrate",
    title="graphile-migrate",
    folders=("migrations/committed", "db/migrations/committed", "committed"),
    ledger=ToolLedger(
        table="migrations",
        columns=frozenset(("hash", "previous_hash", "filename", "date")),
        query="select filename, hash from {table} order by filename",
        schemas=("graphile_migrate",),
    ),
    read_folder=read_folder,
    judge=judge,
    calls=(
        r"\b(?:graphile-migrate|gm)\s[^&|;\n]*?\b(?:migrate|watch|reset|commit|uncommit|run)\b",
        r"\b(?:graphile-migrate|gm)\s+(?:migrate|watch|reset|commit|uncommit|run)\b",
    ),
)
