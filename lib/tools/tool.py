"""Another migration tool: where its files and its ledger are, and how its history is read.

A room of this wing makes one `Tool` per tool out of two functions. `read_folder` reads the files as
they are; `judge` compares them with the rows of the ledger, without I/O: which files are applied,
whether they are those that ran, and what each becomes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from .. import COMMAND
from ..sql.lexer import LexicalError, scan

_LONGEST_CONFIGURATION = 1 << 16
_NUMBER = re.compile(r"[0-9]+")


class Verified(StrEnum):
    """How it was made certain that a file is the one that ran."""

    CHECKSUM = "checksum"
    # The tool keeps the statements that it ran.
    TEXT = "text"
    # It was made of what is in the database.
    SCHEMA = "schema"


@dataclass(frozen=True)
class Problem:
    """Something that stops an adoption: where, what, and what to do.

    `place` is a path in the tool's folder, with a line where there is one, or a row of the ledger.
    """

    place: str
    fault: str
    remedy: str


@dataclass(frozen=True)
class ToolFile:
    """A file of another tool: `name` as its ledger has it, `path` relative to its folder.

    `key` is what else the ledger knows the file by, such as the time in a journal of the tool. With
    `is_transactional` false a file beside it asks to be run outside a transaction.
    """

    name: str
    path: str
    content: bytes = field(repr=False)
    key: str = ""
    is_transactional: bool = True

    @property
    def text(self) -> str:
        """The content without a byte order mark, its line ends as they are."""
        return self.content.decode("utf-8-sig")


@dataclass(frozen=True)
class ToolFiles:
    """The migrations in a folder, in the order in which the tool applies them, and what is wrong.

    `left_out` names what has no place in a chain that only goes forward, such as down files.
    `ledger` is where the ledger is if the tool's configuration says so. What `problems` and `notes`
    say is not repeated by `judge`.
    """

    files: tuple[ToolFile, ...]
    problems: tuple[Problem, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ledger: "ToolLedger | None" = None


@dataclass(frozen=True)
class ToolLedger:
    """Where a tool keeps what it has applied.

    `columns` are those that the table has at least. `query` reads the rows, with `{table}` for the
    table, once, behind FROM; each value arrives as text, or None, so that a column needs no cast:
    ORDER BY would compare the text. The search_path is pg_catalog, TimeZone UTC, DateStyle ISO and
    bytea_output hex. The table is in one of `schemas`; if that is
    empty, in any schema. A `schema_migrations` in public is also found as it is renamed,
    `schema_migrations_WORD` with underscores in place of hyphens.
    """

    table: str
    columns: frozenset[str]
    query: str
    schemas: tuple[str, ...] = ("public",)


Rows = Sequence[Sequence[str | None]]


@dataclass(frozen=True)
class ToolMigration:
    """One migration of another tool, ready to become a file of ours.

    `sql` is the up part, without the tool's markers. `name` goes into the header, `From: TOOL
    NAME`; `description` into the name of the file. With `is_transactional` false the tool runs it
    outside a transaction. `verified` is None where the tool keeps nothing to compare with, or has
    not run the file.
    """

    name: str
    path: str
    description: str
    sql: str = field(repr=False)
    is_transactional: bool = True
    is_applied: bool = False
    verified: Verified | None = None


@dataclass(frozen=True)
class History:
    """The migrations in the order of application, the applied ones first, and what is wrong.

    Any problem stops the adoption; `notes` do not.
    """

    migrations: tuple[ToolMigration, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool by its word on the command line, as in "prisma", and its own name, as in "Prisma".

    `folders` are where its files usually are, relative to a project's root. `calls` are regular
    expressions of how it is called in package.json, in workflows and in vercel.json.
    """

    word: str
    title: str
    folders: tuple[str, ...]
    ledger: ToolLedger
    read_folder: Callable[[Path], ToolFiles]
    judge: Callable[[ToolFiles, Rows], History]
    calls: tuple[str, ...] = ()


def read_files(folder: Path, names: Iterable[tuple[str, str]]) -> ToolFiles:
    """Read files by the names in the ledger and their paths in the folder.

    What cannot be read, is a link out of the folder, or is not UTF-8 is a problem.
    """
    files, problems = [], []
    for name, path in names:
        content = _content(folder, path)
        if isinstance(content, Problem):
            problems.append(content)
        else:
            files.append(ToolFile(name, path, content))
    return ToolFiles(tuple(files), tuple(problems))


def read_nearest(folder: Path, *patterns: str) -> str:
    """Return the tool's configuration: files in the folder, or in the nearest one above it.

    It ends at the root of the repository. Without such files, or if they cannot be read, "".
    """
    with suppress(OSError):
        for parent in (folder.resolve(), *folder.resolve().parents):
            paths = [path for pattern in patterns for path in sorted(parent.glob(pattern))]
            texts = [_short_text(path) for path in paths if path.is_file()]
            if texts or (parent / ".git").exists():
                return "\n".join(texts)
    return ""


def described(name: str) -> str:
    """Return what a name says behind its number, in words: `add orders` for `0003_add_orders`."""
    words = " ".join(re.split(r"[-_.\s]+", re.sub(r"^[0-9]+", "", name))).strip()
    return words or name


def line_of(text: str, offset: int) -> int:
    """Return the number of the line at an offset, from 1."""
    return text.count("\n", 0, offset) + 1


def checksums(content: bytes, digest: Callable[[bytes], str]) -> tuple[str, ...]:
    """Return the digests of a content as it is, with other line ends, and without its mark.

    Git on Windows changes the line ends of files after they were applied elsewhere.
    """
    bare = content.removeprefix(b"\xef\xbb\xbf")
    lf = bare.replace(b"\r\n", b"\n")
    return tuple(digest(one) for one in (content, bare, lf, lf.replace(b"\n", b"\r\n")))


def _short_text(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_LONGEST_CONFIGURATION)


def _content(folder: Path, path: str) -> bytes | Problem:
    try:
        file = (folder / path).resolve(strict=True)
        if not file.is_relative_to(folder.resolve()):
            return Problem(path, "is a link out of the folder", "put the file itself there")
        if not file.is_file():
            return Problem(path, "is not a file", "put a file of SQL there, or remove the name")
        content = file.read_bytes()
        content.decode()
    except UnicodeDecodeError:
        return Problem(path, "is not UTF-8", "convert the file to UTF-8")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it leads to itself"
        return Problem(path, f"cannot be read: {reason}", "restore the file")
    return content


def numbered_files(
    folder: Path,
    pattern: re.Pattern[str],
    *,
    key_of: Callable[[re.Match[str]], str],
    order_of: Callable[[re.Match[str]], tuple[int | str, ...]],
) -> ToolFiles:
    """Read the files of a folder whose names match, in the order of the tool.

    The group `name` of a match is the file's name, and `key_of` gives what the ledger knows it by.
    Two files with one key are a problem. Other files of SQL are left out.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.is_dir())
    matches = sorted(filter(None, map(pattern.fullmatch, names)), key=order_of)
    keys = {match.string: key_of(match) for match in matches}
    read = read_files(folder, [(match["name"], match.string) for match in matches])
    return replace(
        read,
        files=tuple(replace(file, key=keys[file.path]) for file in read.files),
        problems=(*read.problems, *_same_key(keys)),
        left_out=tuple(name for name in names if name.endswith(".sql") and name not in keys),
    )


def versioned_files(folder: Path, pattern: re.Pattern[str]) -> ToolFiles:
    """Read files whose names begin with a version, the group `number` of a match, in its order."""
    return numbered_files(
        folder,
        pattern,
        key_of=lambda match: plain_number(match["number"]),
        order_of=lambda match: (int(match["number"]), match.string),
    )


def plain_number(path: str) -> str:
    """Return the number of a file as a bigint has it: without zeros before it."""
    number = _NUMBER.match(path)
    return str(int(number.group())) if number else path


def _same_key(keys: Mapping[str, str]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for path, key in keys.items():
        if first.setdefault(key, path) != path:
            yield Problem(
                path, f"has the version of {first[key]}", "give one of them another version"
            )


def applied_first(
    files: ToolFiles, applied: Iterable[str], key_of: Callable[[str], str]
) -> tuple[list[tuple[ToolFile, bool]], list[Problem]]:
    """Order the files as they were applied, by their keys in the ledger; then come the pending.

    The second value of a pair says whether the file is applied. A key without a file is a problem,
    unless `key_of` finds it in the path of a file that is one already.
    """
    by_key = {file.key: file for file in files.files}
    known = {key_of(problem.place) for problem in files.problems}
    keys = list(dict.fromkeys(applied))
    done = [by_key[key] for key in keys if key in by_key]
    ran = {file.path for file in done}
    pending = [file for file in files.files if file.path not in ran]
    return (
        [*((file, True) for file in done), *((file, False) for file in pending)],
        [missing_file(key) for key in keys if key not in by_key and key not in known],
    )


def missing_file(key: str) -> Problem:
    """Return the problem of a row in the ledger whose file is gone."""
    return Problem(
        key,
        "is in the ledger, and there is no such file",
        "restore the file from git; if nobody has it, make one first file of the whole database: "
        f"{COMMAND} adopt database",
    )


def ledger_notes(tool: str, ledger: str, migrations: Iterable[ToolMigration]) -> Iterator[str]:
    """Name the migrations that use the ledger of their tool, which a new database does not have."""
    for migration in migrations:
        offset = _use_of(ledger, migration.sql)
        if offset is not None:
            yield (
                f"{migration.path}: {ledger} in it is {tool}'s own ledger, which a new database "
                "does not have. If the file fails there, write it without that statement, as the "
                f"next number in the folder of the migrations, with the line `-- From: {tool} "
                f"{migration.name}` in its header."
            )


def _use_of(table: str, sql: str) -> int | None:
    """Return the offset of a table's name in SQL, but not in a comment or a string."""
    name = re.compile(rf"(?<![\w$]){re.escape(table)}(?![\w$])", re.IGNORECASE)
    if not name.search(sql):
        return None
    try:
        for kind, start, end in scan(sql):
            if kind in ("word", "name", "dollar") and (found := name.search(sql, start, end)):
                return found.start()
    except LexicalError:
        pass
    return None
