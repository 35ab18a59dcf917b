"""Migration files: their names, headers and checksums, and the folder they lie in. Nothing here knows a database."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from ..clean_text import one_line
from ..errors import MigrationFileError
from .header import Header, first_statement, read_header

NAME = re.compile(r"(?P<number>[0-9]{3,})-(?P<description>[a-z0-9]+(?:-[a-z0-9]+)*)\.sql", re.ASCII)
_VERSION_LINE = re.compile(
    r"^([ \t]*--[ \t]*version[ \t]*:[ \t]*)[0-9]+(?=[ \t\r]*$)", re.IGNORECASE | re.MULTILINE
)
_NOT_THE_FORMAT = (
    "the name is not NNN-description.sql: three or more digits, then lower-case words joined by hyphens, "
    "as in 004-add-invoices.sql"
)

_NUMBERED = re.compile(r"[vV]?([0-9]{3,})[-_ ]+([A-Za-z][A-Za-z0-9_ -]*)", re.ASCII)


@dataclass(frozen=True)
class MigrationFile:
    """One file. `text` is as written but for a byte order mark; `path` is how messages name the file.

    `faults` are those of its header: they refuse it while it is pending, and are a warning once it is applied.
    """

    version: str
    number: int
    name: str
    path: str
    content: bytes
    text: str
    header: Header
    faults: tuple[MigrationFileError, ...] = ()

    @cached_property
    def checksum(self) -> str:
        """SHA-256, hex, of the text with LF line ends and no byte order mark: what a new ledger row stores."""
        return _sha256(_unix(self.content))

    def matches(self, stored: str | None) -> bool:
        """Tell whether a ledger's checksum is this file's, whatever its line ends or byte order mark were then.

        A row without a checksum can't be compared and counts as a match.
        """
        return stored is None or stored == self.checksum or stored.strip().lower() in self.checksums

    @cached_property
    def checksums(self) -> frozenset[str]:
        """What a ledger may hold for this file: of either kind of line ends, or of its own, with a mark or without."""
        unix = _unix(self.content)
        texts = (unix, unix.replace(b"\n", b"\r\n"), self.content.removeprefix(codecs.BOM_UTF8))
        return frozenset(_sha256(mark + text) for text in texts for mark in (b"", codecs.BOM_UTF8))

    def checksums_as(self, number: str) -> frozenset[str]:
        """What a ledger may hold for it from when its header said another number; empty where that says none."""
        header, rest = (
            self.text[: first_statement(self.text)],
            self.text[first_statement(self.text) :],
        )
        before, count = _VERSION_LINE.subn(rf"\g<1>{number}", header, count=1)
        unix = _unix((before + rest).encode())
        return (
            frozenset(map(_sha256, (unix, unix.replace(b"\n", b"\r\n")))) if count else frozenset()
        )

    @cached_property
    def has_statement(self) -> bool:
        """Tell whether there is anything in it but comments."""
        return first_statement(self.text) < len(self.text)

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

    def error_at(self, offset: int, fault: str) -> MigrationFileError:
        """Return the error for a fault at `offset` of `text`."""
        return MigrationFileError(
            fault, file=self.path, line=self.line_at(offset), version=self.version
        )


def parse(filename: str, content: bytes, *, folder: str = "migrations") -> MigrationFile:
    """Read one file; MigrationFileError if its name or encoding is wrong. What is wrong in its header, it carries."""
    path = one_line(f"{folder}/{filename}")
    match = NAME.fullmatch(filename)
    if match is None:
        raise MigrationFileError(_NOT_THE_FORMAT, file=path, way_out=_other_name(filename))
    version = filename.removesuffix(".sql")
    text = _decode(content, path, version)
    header, faults = read_header(text, match["number"])
    return MigrationFile(
        version=version,
        number=int(match["number"]),
        name=name_in_words(match["description"]),
        path=path,
        content=content,
        text=text,
        header=header,
        faults=tuple(
            MigrationFileError(
                fault, file=path, line=text.count("\n", 0, offset) + 1, version=version
            )
            for offset, fault in faults
        ),
    )


def discover(directory: Path) -> tuple[MigrationFile, ...]:
    """Read every migration of the folder, in numeric order; MigrationFileError with every file's fault.

    Other files (README.md, dotfiles) are left alone, but whatever ends in `.sql` must be a migration, and lie here.
    """
    files: list[MigrationFile] = []
    faults: list[MigrationFileError] = []
    entries = _entries(directory)
    for path in filter(_is_sql, entries):
        try:
            files.append(parse(path.name, _read(path, directory), folder=directory.name))
        except MigrationFileError as fault:
            faults.append(fault)
    files.sort(key=lambda file: file.number)
    faults.extend(_doubled_numbers(files))
    faults.extend(_faults_below(directory, entries))
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


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        raise MigrationFileError(
            "there is no such folder; create it, or name yours in MIGRATIONS_DIR",
            file=str(directory),
        ) from None
    except OSError as error:
        raise MigrationFileError(
            f"the folder can't be read: {error.strerror}", file=str(directory)
        ) from None


def _is_sql(path: Path) -> bool:
    return path.name.lower().endswith(".sql") and not path.name.startswith(".")


def _read(path: Path, directory: Path) -> bytes:
    """The file's content; nothing outside the folder is ever read, wherever a link may lead."""
    name = f"{directory.name}/{path.name}"
    if _leads_out(path, directory):
        raise MigrationFileError(
            "the file is a link out of the folder; put the file itself here", file=name
        )
    if not path.is_file():
        raise MigrationFileError("the file can't be read: it is not a regular file", file=name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MigrationFileError(f"the file can't be read: {error.strerror}", file=name) from None


def _leads_out(path: Path, directory: Path) -> bool:
    """Tell whether it is a link to something outside the folder, which may be a link itself."""
    if not path.is_symlink():
        return False
    try:
        return not path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):
        # A link that leads back to itself leads nowhere.
        return False


def _faults_below(directory: Path, entries: Iterable[Path]) -> Iterator[MigrationFileError]:
    """A file in a folder below is never applied, and never left out without a word.

    A folder set aside, by a name that begins with `_` or `.`, is left alone, and so is one without such files.
    """
    for path in entries:
        if path.name.startswith(("_", ".")) or _is_sql(path) or not path.is_dir():
            continue
        name = f"{directory.name}/{path.relative_to(directory)}"
        if _leads_out(path, directory):
            yield MigrationFileError(
                "the folder is a link out of this one; put what it holds here", file=name
            )
        elif not path.is_symlink():
            yield from _sql_below(path, directory)


def _sql_below(folder: Path, directory: Path) -> Iterator[MigrationFileError]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in filter(_is_sql, entries):
        yield MigrationFileError(
            "the file is in a subfolder, where nothing is applied",
            file=f"{directory.name}/{path.relative_to(directory)}",
            way_out=f"move it to {directory.name}/{_name_above(path)}, or begin the folder's name with _ to set it aside",
        )
    yield from _faults_below(directory, entries)


def _name_above(path: Path) -> str:
    """What a file in a folder below may be called in the folder itself: Prisma calls each by its folder's name."""
    if NAME.fullmatch(path.name):
        return path.name
    name = f"{path.parent.name}.sql" if path.stem in ("migration", "up") else path.name
    return _in_the_format(name) or "NNN-description.sql"


def _other_name(filename: str) -> str:
    name = _in_the_format(filename)
    return f"{name} would do" if name else ""


def _in_the_format(filename: str) -> str | None:
    """The name with hyphens and in lower case, where that is all that is wrong with it."""
    stem = filename[: -len(".sql")]
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None:
        return None
    words = re.findall(r"[a-z0-9]+", numbered[2].lower(), re.ASCII)
    name = f"{'-'.join([numbered[1], *words])}.sql"
    return name if words and NAME.fullmatch(name) else None


def _decode(content: bytes, path: str, version: str) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MigrationFileError(
            "the file is not UTF-8; save it as UTF-8", file=path, line=line, version=version
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise MigrationFileError(
            "the file holds a NUL character, which SQL does not allow",
            file=path,
            line=line,
            version=version,
        )
    return text


def _doubled_numbers(files: list[MigrationFile]) -> list[MigrationFileError]:
    return [
        MigrationFileError(
            f"has the same number as {first.path}; give one of them the next free number",
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
