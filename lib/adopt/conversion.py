"""The migrations of another tool made into files of ours. Pure, and always with the same result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError, MigrationFileError
from ..escaping import one_line
from ..files.folder import MigrationFile, parse
from ..files.header import Header, Origin, leading_comments, read_header
from ..files.prepare_script import prepare
from ..local.new_migration import slug_of
from ..tools.tool import History, Problem, Tool, ToolFiles, ToolMigration
from .adoption import AdoptedFile

_FEWEST_DIGITS = 3
# Version, From, Description, and an empty line; `Transaction: none` is one more.
HEADER_LINES = 4
_REMEDY = (
    "write the corrected file yourself, as the next number in the folder of the migrations, with "
    "the line `-- From: {tool} {name}` in its header, and it is taken in place of this one; or, if "
    "the tool has not run it anywhere yet, correct it"
)


@dataclass(frozen=True)
class Conversion:
    """What becomes of each migration, in the order of application, and what is in the way."""

    files: tuple[AdoptedFile, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def convert(
    tool: Tool,
    read: ToolFiles,
    history: History,
    ours: Sequence[MigrationFile],
    folder: str,
) -> Conversion:
    """Give each migration a number after those in our folder, unless it has a file there already.

    `read` are the tool's files, and `folder` is what messages call our folder. Files whose header
    names the migration are taken as they are: they may be corrected by hand, and several may stand
    for one.
    """
    known = _by_origin(ours)
    new = [each for each in history.migrations if _origin(tool, each) not in known]
    numbers = _numbers(ours, len(new))
    sources = {each.path: each.content.decode(errors="replace") for each in read.files}
    files: list[AdoptedFile] = []
    problems: list[Problem] = []
    notes: list[str] = []
    for migration in history.migrations:
        there = known.get(_origin(tool, migration), ())
        if there:
            files += [_adopted(migration, file, history, is_ours_already=True) for file in there]
            notes += _notes(tool, migration, there)
            continue
        try:
            file = _file(tool, migration, next(numbers), folder)
        except MigrationFileError as error:
            source = sources.get(migration.path, "")
            problems += [_problem(tool, migration, source, fault) for fault in error.faults]
        else:
            files.append(_adopted(migration, file, history))
    return Conversion(tuple(files), tuple(problems), tuple(notes))


def _by_origin(ours: Sequence[MigrationFile]) -> Mapping[Origin, tuple[MigrationFile, ...]]:
    found: dict[Origin, tuple[MigrationFile, ...]] = {}
    for file in ours:
        if origin := file.header.origin:
            found[origin] = (*found.get(origin, ()), file)
    return found


def _origin(tool: Tool, migration: ToolMigration) -> Origin:
    return Origin(tool.word, _in_a_line(migration.name))


def _in_a_line(text: str) -> str:
    """Return a text as a line of a header holds it, whatever it was made of."""
    return one_line(" ".join(text.split()))


def _numbers(ours: Sequence[MigrationFile], count: int) -> Iterator[str]:
    """Yield the numbers after the last of ours, all with as many digits."""
    first = ours[-1].number + 1 if ours else 1
    digits = [len(file.version.partition("-")[0]) for file in ours[-1:]]
    width = max(_FEWEST_DIGITS, *digits, len(str(first + count - 1)))
    return (str(number).zfill(width) for number in range(first, first + count))


def _file(tool: Tool, migration: ToolMigration, number: str, folder: str) -> MigrationFile:
    """Make a file that the runner takes, outside a transaction only if it has to be."""
    faults: list[MigrationFileError] = []
    for transaction in ("", "none") if migration.is_transactional else ("none",):
        file = _with_header(tool, migration, number, folder, transaction)
        try:
            prepare(file)
        except MigrationFileError as error:
            faults.append(error)
        else:
            return file
    raise faults[0]


def _with_header(
    tool: Tool, migration: ToolMigration, number: str, folder: str, transaction: str
) -> MigrationFile:
    description = _in_a_line(migration.description)
    keys = {
        "Version": number,
        "From": f"{tool.word} {_in_a_line(migration.name)}",
        "Description": description or _in_a_line(migration.name),
        "Transaction": transaction,
    }
    lines = [f"-- {key}: {value}" for key, value in keys.items() if value]
    # The line ends of the file stay: they are part of functions and strings that it makes.
    end = "\r\n" if "\r\n" in migration.sql else "\n"
    body = _inert(migration.sql.removeprefix("\ufeff"))
    text = end.join([*lines, "", body if body.endswith("\n") else f"{body}{end}"])
    return parse(f"{number}-{_slug(migration)}.sql", text.encode(), folder=folder)


def _inert(sql: str) -> str:
    """Put in parentheses what in a comment above the first statement would be a key of ours."""
    parts, end = [], 0
    for offset, comment in leading_comments(sql):
        if read_header(comment, None) != (Header(), ()):
            parts += [sql[end:offset], f"-- ({comment.lstrip('-').strip()})"]
            end = offset + len(comment)
    return "".join([*parts, sql[end:]])


def _slug(migration: ToolMigration) -> str:
    for words in (migration.description, migration.name):
        try:
            return slug_of(words)
        except ConfigurationError:
            continue
    return "migration"


def _adopted(
    migration: ToolMigration,
    file: MigrationFile,
    history: History,
    *,
    is_ours_already: bool = False,
) -> AdoptedFile:
    altered = {problem.place.partition(":")[0] for problem in history.problems}
    return AdoptedFile(
        source=migration.path,
        file=file,
        state="applied" if migration.is_applied else "pending",
        is_ours_already=is_ours_already,
        verified=migration.verified,
        is_altered=migration.is_applied and not migration.verified and migration.path in altered,
    )


def _notes(tool: Tool, migration: ToolMigration, there: tuple[MigrationFile, ...]) -> Iterator[str]:
    """Say which files were not made by this conversion alone."""
    names = ", ".join(file.path for file in there)
    if len(there) > 1:
        yield f"{names} stand for {migration.path} together."
    elif not _is_converted(tool, migration, there[0]):
        yield f"{names} is not what {migration.path} would become; it is taken as it is."


def _is_converted(tool: Tool, migration: ToolMigration, file: MigrationFile) -> bool:
    number = file.version.partition("-")[0]
    try:
        made = _file(tool, migration, number, "")
    except MigrationFileError:
        return False
    return made.checksum == file.checksum


def _problem(
    tool: Tool, migration: ToolMigration, source: str, fault: MigrationFileError
) -> Problem:
    line = _line_in_source(migration, source, fault.line)
    return Problem(
        place=f"{migration.path}:{line}" if line else migration.path,
        fault=fault.fault,
        remedy=_REMEDY.format(tool=tool.word, name=_in_a_line(migration.name)),
    )


def _line_in_source(migration: ToolMigration, source: str, line: int | None) -> int | None:
    """Return where a line of the converted file is in the tool's; None if that is not certain."""
    above = HEADER_LINES if migration.is_transactional else HEADER_LINES + 1
    if line is None or line <= above:
        return None
    begin = source.find(migration.sql)
    if begin >= 0:
        return source.count("\n", 0, begin) + line - above
    # Markers between the statements were left out.
    text = migration.sql.split("\n")[line - above - 1]
    alike = [number for number, each in enumerate(source.split("\n"), 1) if each == text]
    return alike[0] if len(alike) == 1 else None
