"""Migration files: their names, headers and checksums, and the folder they lie in. Nothing here knows a database."""

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from lib.duration import parse_duration
from lib.errors import MigrationFileError
from lib.outgoing import one_line

NAME = re.compile(r"(?P<number>[0-9]{3,})-(?P<description>[a-z0-9]+(?:-[a-z0-9]+)*)\.sql", re.ASCII)
ENVIRONMENTS = ("production", "preview", "development")

_HEADER_LINE = re.compile(r"--+\s*([A-Za-z-]+)\s*:(.*)", re.ASCII)
_DOCUMENTATION = frozenset({"version", "date", "description"})
_DIRECTIVES = frozenset({"transaction", "lock-timeout", "statement-timeout", "environments"})


@dataclass(frozen=True)
class Header:
    """What a file's leading comment asks of the runner. Timeouts are in seconds; None leaves the runner's own."""

    transactional: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None
    environments: tuple[str, ...] = ()


@dataclass(frozen=True)
class MigrationFile:
    """One file. `text` is as written but for a byte order mark; `path` is how messages name the file."""

    version: str
    number: int
    name: str
    path: str
    content: bytes
    text: str
    header: Header

    @cached_property
    def checksum(self) -> str:
        """SHA-256, hex, of the text with LF line ends and no byte order mark: what a new ledger row stores."""
        return _sha256(_unix(self.content))

    def matches(self, stored: str | None) -> bool:
        """Tell whether a ledger's checksum is this file's, whatever its line ends or byte order mark were then.

        A row without a checksum can't be compared and counts as a match.
        """
        if stored is None or stored == self.checksum:
            return True
        unix = _unix(self.content)
        texts = (unix, unix.replace(b"\n", b"\r\n"), self.content.removeprefix(codecs.BOM_UTF8))
        return stored.strip().lower() in (_sha256(mark + text) for text in texts for mark in (b"", codecs.BOM_UTF8))

    def runs_in(self, environment: str) -> bool:
        return not self.header.environments or environment in self.header.environments

    def line_at(self, offset: int) -> int:
        """The line, from 1, that holds the character at `offset` of `text`."""
        return self.text.count("\n", 0, offset) + 1

    def column_at(self, offset: int) -> int:
        """The column, from 1, in characters, of `offset` in its line."""
        return offset - self.text.rfind("\n", 0, offset)

    def place(self, offset: int) -> str:
        """File, line and column, as in `migrations/001-a.sql:3:7`."""
        return f"{self.path}:{self.line_at(offset)}:{self.column_at(offset)}"


def parse(filename: str, content: bytes, *, folder: str = "migrations") -> MigrationFile:
    """Read one file; MigrationFileError if its name, encoding or header is wrong."""
    path = one_line(f"{folder}/{filename}")
    match = NAME.fullmatch(filename)
    if match is None:
        raise MigrationFileError(
            "the name is not NNN-description.sql: three or more digits, then lower-case words joined by hyphens, "
            "as in 004-add-invoices.sql",
            file=path,
        )
    version = filename.removesuffix(".sql")
    text = _decode(content, path, version)
    return MigrationFile(
        version=version,
        number=int(match["number"]),
        name=name_in_words(match["description"]),
        path=path,
        content=content,
        text=text,
        header=_read_header(text, path, version),
    )


def discover(directory: Path) -> tuple[MigrationFile, ...]:
    """Read every migration of the folder, in numeric order; MigrationFileError with every file's fault.

    Other files (README.md, dotfiles) are left alone, but whatever ends in `.sql` must be a migration.
    """
    files: list[MigrationFile] = []
    faults: list[MigrationFileError] = []
    for path in _sql_paths(directory):
        try:
            files.append(parse(path.name, _read(path, directory.name), folder=directory.name))
        except MigrationFileError as fault:
            faults.append(fault)
    files.sort(key=lambda file: file.number)
    faults.extend(_doubled_numbers(files))
    if faults:
        raise MigrationFileError.together(faults)
    return tuple(files)


def next_number(files: Sequence[MigrationFile]) -> str:
    """The number after the last of `files`, in numeric order, with as many digits as that one has."""
    if not files:
        return "000"
    digits = files[-1].version.partition("-")[0]
    return str(files[-1].number + 1).zfill(len(digits))


def name_in_words(description: str) -> str:
    """`create-users-table` becomes `Create Users Table`."""
    return " ".join(word.capitalize() for word in description.split("-"))


def _sql_paths(directory: Path) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        raise MigrationFileError(
            "there is no such folder; create it, or name yours in MIGRATIONS_DIR", file=str(directory)
        ) from None
    except OSError as error:
        raise MigrationFileError(f"the folder can't be read: {error.strerror}", file=str(directory)) from None
    return [path for path in entries if path.name.lower().endswith(".sql") and not path.name.startswith(".")]


def _read(path: Path, folder: str) -> bytes:
    if not path.is_file():
        raise MigrationFileError("the file can't be read: it is no regular file", file=f"{folder}/{path.name}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise MigrationFileError(f"the file can't be read: {error.strerror}", file=f"{folder}/{path.name}") from None


def _decode(content: bytes, path: str, version: str) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MigrationFileError("the file is not UTF-8; save it as UTF-8", file=path, line=line, version=version) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise MigrationFileError("the file holds a NUL character, which SQL can't", file=path, line=line, version=version)
    return text


def _read_header(text: str, path: str, version: str) -> Header:
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, key, value in _header_lines(text):
        if key in values and key in _DIRECTIVES:
            raise MigrationFileError(f"the header gives {key.title()} twice", file=path, line=number, version=version)
        values[key] = value
        lines[key] = number
    try:
        key = "transaction"
        transactional = _transactional(values.get(key))
        key = "lock-timeout"
        lock_timeout = _timeout(values.get(key))
        key = "statement-timeout"
        statement_timeout = _timeout(values.get(key))
        key = "environments"
        environments = _environments(values.get(key))
    except ValueError as error:
        raise MigrationFileError(
            f"the header's {key.title()} can't be read: {error}", file=path, line=lines[key], version=version
        ) from None
    return Header(transactional, lock_timeout, statement_timeout, environments)


def _header_lines(text: str) -> list[tuple[int, str, str]]:
    found = []
    for number, line in enumerate(map(str.strip, _lines(text)), start=1):
        if line and not line.startswith("--"):
            break
        match = _HEADER_LINE.match(line)
        if match and match[1].lower() in _DIRECTIVES | _DOCUMENTATION:
            found.append((number, match[1].lower(), match[2].strip()))
    return found


def _lines(text: str) -> Iterator[str]:
    """One line after the other: a large file has millions, of which the first few matter."""
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _transactional(value: str | None) -> bool:
    if value is None:
        return True
    if value.lower() != "none":
        raise ValueError(f'{value!r} is not "none", the only value there is')
    return False


def _timeout(value: str | None) -> float | None:
    return None if value is None else parse_duration(value)


def _environments(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(name.strip().lower() for name in value.split(","))
    if any(len(name.split()) != 1 for name in names):
        raise ValueError("write names separated by commas, as in: production, preview")
    return names


def _doubled_numbers(files: list[MigrationFile]) -> list[MigrationFileError]:
    return [
        MigrationFileError(
            f"has the number {second.number} of {first.path} too; give one of them the next free number",
            file=second.path,
            version=second.version,
        )
        for first, second in pairwise(files)
        if first.number == second.number
    ]


def _unix(content: bytes) -> bytes:
    return content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
