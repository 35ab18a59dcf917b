"""Migration files: their names, headers and checksums, and the folder that holds them."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from .. import COMMAND
from ..errors import MigrationFileError
from ..escaping import one_line
from .header import Header, first_statement, read_header

# Lower case only: a file system that ignores case would take two such names for one file.
NAME = re.compile(r"(?P<number>[0-9]{3,})-(?P<description>[a-z0-9]+(?:-[a-z0-9]+)*)\.sql", re.ASCII)
# Only the digits are replaced: every other byte counts for the checksum.
_VERSION_LINE = re.compile(
    r"^([ \t]*--[ \t]*version[ \t]*:[ \t]*)[0-9]+(?=[ \t\r]*$)", re.IGNORECASE | re.MULTILINE
)
_NOT_THE_FORMAT = (
    "the name is not NNN-description.sql: three or more digits, then lower-case words joined by "
    "hyphens, as in 004-add-invoices.sql"
)

_IN_A_SUBFOLDER = "the file is in a subfolder, where nothing is applied"
_NONE_IS_OURS = (
    "no file here is named as this runner names them. If they are another tool's, do not rename "
    "them, or they would run once more: move them to a folder of their own, and "
    f"`{COMMAND} adopt TOOL --from FOLDER` carries them on. Or leave them here, and name a new "
    "folder for the runner's in MIGRATIONS_DIR"
)

# The folder of the seeds, in that of the migrations.
SEEDS = "_seeds"
# The file with the schema that the files make, beside the folder.
SCHEMA = "schema.sql"

# A name from which the right one can be guessed, such as Flyway's `V001__Add_users`.
_NUMBERED = re.compile(r"[vV]?([0-9]{3,})[-_ ]+([A-Za-z][A-Za-z0-9_ -]*)", re.ASCII)


@dataclass(frozen=True)
class MigrationFile:
    """One file. `text` is the content without a byte order mark; `path` is the name in messages.

    `faults` are those of the header: a pending file is refused for them, and an applied file is
    reported with a warning.
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
        """The checksum for a new row of the ledger.

        It is the SHA-256, in hex, of the text with LF line ends and no byte order mark.
        """
        return _sha256(_unix(self.content))

    def matches(self, stored: str | None) -> bool:
        """True if a checksum in the ledger belongs to this file.

        Line ends and the byte order mark do not matter. A row without a checksum counts as a match.
        """
        # The usual case first: all variants cost six hashes of the file.
        return stored is None or stored == self.checksum or stored.strip().lower() in self.checksums

    @cached_property
    def checksums(self) -> frozenset[str]:
        """The checksums that a ledger may hold for this file.

        The line ends may be LF, CRLF or mixed, each with or without a byte order mark.
        """
        # Git may have converted line ends (core.autocrlf) since the file was applied, or before.
        return checksums_of(self.content)

    def checksums_as(self, numbers: Iterable[str]) -> frozenset[str]:
        """Return the checksums of the file with other numbers in the `Version` of its header.

        Empty if the header has no such line.
        """
        end = first_statement(self.text)
        line = _VERSION_LINE.search(self.text, 0, end)
        if line is None:
            return frozenset()
        before, after = self.text[: line.end(1)], self.text[line.end() :]
        texts = (_unix(f"{before}{number}{after}".encode()) for number in numbers)
        return frozenset(
            _sha256(each) for unix in texts for each in (unix, unix.replace(b"\n", b"\r\n"))
        )

    @cached_property
    def has_statement(self) -> bool:
        """True if the file holds anything but comments."""
        return first_statement(self.text) < len(self.text)

    def runs_in(self, environment: str) -> bool:
        """True if the header names the environment, or none at all."""
        return not self.header.environments or environment in self.header.environments

    def line_at(self, offset: int) -> int:
        """Return the line, from 1, of the character at `offset` of `text`."""
        return self.text.count("\n", 0, offset) + 1

    def column_at(self, offset: int) -> int:
        """Return the column of `offset` in its line, from 1, in characters."""
        return offset - self.text.rfind("\n", 0, offset)

    def place(self, offset: int) -> str:
        """Return file, line and column, as in `migrations/001-a.sql:3:7`."""
        return f"{self.path}:{self.line_at(offset)}:{self.column_at(offset)}"

    def error_at(self, offset: int, fault: str) -> MigrationFileError:
        """Return the error for a fault at `offset` of `text`."""
        return MigrationFileError(
            fault, file=self.path, line=self.line_at(offset), version=self.version
        )


def parse(
    filename: str, content: bytes, *, folder: str = "migrations", path: str | None = None
) -> MigrationFile:
    """Read one file; MigrationFileError if its name or encoding is wrong.

    The faults of the header are kept in the file. `path` is its name in messages, if that is
    another one than in the folder.
    """
    # A name of the file system may hold anything, such as an escape sequence of a terminal.
    path = one_line(path or f"{folder}/{filename}")
    match = NAME.fullmatch(filename)
    if match is None:
        raise MigrationFileError(_NOT_THE_FORMAT, file=path, way_out=_other_name(filename))
    # The version is the whole name, so a renamed file is noticed.
    version = filename.removesuffix(".sql")
    name = name_in_words(match["description"])
    return file_of(content, path=path, version=version, name=name, number=match["number"])


def file_of(
    content: bytes, *, path: str, version: str, name: str, number: str | None
) -> MigrationFile:
    """Read the content of a file; MigrationFileError if its encoding is wrong."""
    text = _decode(content, path, version)
    header, faults = read_header(text, number)
    return MigrationFile(
        version=version,
        number=int(number or 0),
        name=name,
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


def checksums_of(content: bytes) -> frozenset[str]:
    """Return the checksums of a content: with LF, CRLF or its own line ends, and with a mark."""
    unix = _unix(content)
    texts = (unix, unix.replace(b"\n", b"\r\n"), content.removeprefix(codecs.BOM_UTF8))
    return frozenset(_sha256(mark + text) for text in texts for mark in (b"", codecs.BOM_UTF8))


def discover(directory: Path, *, may_share_numbers: bool = False) -> tuple[MigrationFile, ...]:
    """Read every migration of the folder, in numeric order.

    MigrationFileError with the faults of all files. Other files (README.md, dotfiles) are ignored,
    but every file that ends in `.sql` must be a migration, and must not be in a subfolder. Two
    files of one number are a fault, unless they are read in order to correct that.
    """
    files: list[MigrationFile] = []
    faults: list[MigrationFileError] = []
    entries = entries_of(directory)
    for path in filter(is_sql, entries):
        try:
            files.append(
                parse(path.name, read_file(path, directory, directory.name), folder=directory.name)
            )
        except MigrationFileError as fault:
            faults.append(fault)
    # By number: by name, `1000-…` would precede `999-…`.
    files.sort(key=lambda file: file.number)
    if not may_share_numbers:
        faults.extend(_doubled_numbers(files))
    faults.extend(_faults_below(directory, entries))
    if any(map(_is_misplaced, faults)) and not any(map(_is_numbered, entries)):
        faults.append(MigrationFileError(_NONE_IS_OURS, file=directory.name))
    if faults:
        # All at once: a build takes minutes, and would otherwise show one fault each time.
        raise MigrationFileError.together(faults)
    return _with_claims_checked(files)


def _with_claims_checked(files: Sequence[MigrationFile]) -> tuple[MigrationFile, ...]:
    """Add the faults of a `Was` that names the file itself, or what another file names, too."""
    claimed: dict[str, str] = {}
    checked = []
    for file in files:
        faults = [
            f"the header's Was names {former}, {why}"
            for former in file.header.was
            if (why := _why_not_former(file, former, claimed))
        ]
        claimed |= {former: claimed.get(former, file.path) for former in file.header.was}
        errors = (
            MigrationFileError(fault, file=file.path, version=file.version) for fault in faults
        )
        checked.append(replace(file, faults=(*file.faults, *errors)) if faults else file)
    return tuple(checked)


def _why_not_former(file: MigrationFile, former: str, claimed: Mapping[str, str]) -> str:
    if former == file.version:
        return "which is its name; take that out"
    if former in claimed:
        return f"and so does that of {claimed[former]}; it can have been only one of them"
    return ""


def _is_misplaced(fault: MigrationFileError) -> bool:
    return fault.fault in (_NOT_THE_FORMAT, _IN_A_SUBFOLDER)


def _is_numbered(path: Path) -> bool:
    """True for a name in the format, other than that of the file which creates the ledger."""
    match = NAME.fullmatch(path.name)
    return match is not None and int(match["number"]) > 0


def has_seeds(directory: Path) -> bool:
    """True if the folder of the migrations has one with seeds, which may still be empty."""
    return (directory / SEEDS).is_dir()


def has_schema_file(directory: Path) -> bool:
    """True if there is a file beside the folder that may hold the schema which the files make."""
    return (directory.parent / SCHEMA).exists()


def next_number(files: Sequence[MigrationFile]) -> str:
    """Return the number after that of the last file, with as many digits."""
    if not files:
        return "000"
    digits = files[-1].version.partition("-")[0]
    return str(files[-1].number + 1).zfill(len(digits))


def name_in_words(description: str) -> str:
    """Return `Create Users Table` for `create-users-table`."""
    return " ".join(word.capitalize() for word in description.split("-"))


def entries_of(directory: Path) -> list[Path]:
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


def is_sql(path: Path) -> bool:
    # `.SQL` counts, so that no migration is left out because of its case. macOS and editors leave
    # files behind whose names begin with a dot, such as `._001-a.sql`.
    return path.name.lower().endswith(".sql") and not path.name.startswith(".")


def read_file(path: Path, directory: Path, folder: str) -> bytes:
    """Return the content of a file of the directory, which messages call `folder`.

    Nothing outside the directory is read, not by a link either.
    """
    name = f"{folder}/{path.name}"
    if leads_out(path, directory):
        raise MigrationFileError(
            "the file is a link out of the folder; put the file itself here", file=name
        )
    # Reading a FIFO might never end.
    if not path.is_file():
        raise MigrationFileError("the file can't be read: it is not a regular file", file=name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MigrationFileError(f"the file can't be read: {error.strerror}", file=name) from None


def leads_out(path: Path, directory: Path) -> bool:
    """True for a link to something outside the folder; the folder itself may be a link."""
    if not path.is_symlink():
        return False
    try:
        return not path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):
        # A link that leads back to itself leads nowhere.
        return False


def _faults_below(directory: Path, entries: Iterable[Path]) -> Iterator[MigrationFileError]:
    """Yield the faults of `.sql` files in subfolders, which would never be applied.

    A folder whose name begins with `_` or `.` is set aside and ignored.
    """
    for path in entries:
        if path.name.startswith(("_", ".")) or is_sql(path) or not path.is_dir():
            continue
        name = f"{directory.name}/{path.relative_to(directory)}"
        if leads_out(path, directory):
            yield MigrationFileError(
                "the folder is a link out of this one; put what it holds here", file=name
            )
        elif not path.is_symlink():
            yield from _sql_below(path, directory)


def _sql_below(folder: Path, directory: Path) -> Iterator[MigrationFileError]:
    try:
        # One that can't be read is passed over: nothing in a subfolder is ever applied.
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in filter(is_sql, entries):
        yield MigrationFileError(
            _IN_A_SUBFOLDER,
            file=f"{directory.name}/{path.relative_to(directory)}",
            way_out=(
                f"move it to {directory.name}/{_name_above(path)}, "
                "or begin the folder's name with _ to set it aside"
            ),
        )
    yield from _faults_below(directory, entries)


def _name_above(path: Path) -> str:
    """Return a name for a file of a subfolder, for use in the folder itself.

    Prisma gives the name to the subfolder, and calls every file `migration.sql`.
    """
    if NAME.fullmatch(path.name):
        return path.name
    name = f"{path.parent.name}.sql" if path.stem in ("migration", "up") else path.name
    return _in_the_format(name) or "NNN-description.sql"


def _other_name(filename: str) -> str:
    name = _in_the_format(filename)
    return f"{name} would do" if name else ""


def _in_the_format(filename: str) -> str | None:
    """Return the name in the format; None if more is wrong than separators and case."""
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
        # Sessions have the client_encoding UTF8, whatever encoding the database has.
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MigrationFileError(
            "the file is not UTF-8; save it as UTF-8", file=path, line=line, version=version
        ) from None
    # A message of the protocol ends a query at the first NUL: the rest would be dropped unnoticed.
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
            f"has the same number as {first.path}; give one of them the next free number, as "
            f"`{COMMAND} renumber` does on a branch that is not merged yet",
            file=second.path,
            version=second.version,
        )
        # The files are sorted, so equal numbers are neighbors.
        for first, second in pairwise(files)
        if first.number == second.number
    ]


def _unix(content: bytes) -> bytes:
    return content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
