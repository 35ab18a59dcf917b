"""Files with markers between their parts, such as `-- migrate:up`, as each tool reads them.

Each reader follows the parser of its tool. Those parsers read lines and know no SQL: a marker
counts even in the body of a function. What a tool sends is not always what is in the file, and the
result has what it sent.

Pure: text in, parts out. The parts joined are the text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from ..sql.lexer import LexicalError, end_of_last_token, scan
from .tool import line_of

# A word for the line, and its options; None for a line that is no marker.
_Reader = Callable[[str], tuple[str, tuple[str, ...]] | None]

# As for the scanners of Go, only a line feed ends a line.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_DBMATE = re.compile(r"--\s*migrate:(up|down)(?!\S)(.*)", re.ASCII | re.DOTALL)
_GOOSE_WORDS = {
    "up": "up",
    "down": "down",
    "statementbegin": "begin",
    "statementend": "end",
    "no transaction": "outside",
    "envsub on": "values on",
    "envsub off": "values off",
    # The spelling of the first versions that had it.
    "envsubst on": "values on",
    "envsubst off": "values off",
}
_SQL_MIGRATE = "-- +migrate "
_SQL_MIGRATE_WORDS = {"Up": "up", "Down": "down", "StatementBegin": "begin", "StatementEnd": "end"}
_SQL_MIGRATE_COMMENT = re.compile(r"^-- [^\n]*(?:\n|\Z)", re.MULTILINE)
_NODE_PG_MIGRATE = re.compile(r"\s*--[\s-]*+(up|down)\s+migration", re.IGNORECASE)
_TERN = "---- create above / drop below ----"
_TERN_OUTSIDE = re.compile(r"---- tern: disable-tx ----\r?\n?")
# Tokens whose lines the server sees.
_QUOTED = ("quote", "escape", "dollar", "name")


class Section(StrEnum):
    """Where a part belongs. ABOVE is above the first marker."""

    ABOVE = "above"
    UP = "up"
    DOWN = "down"
    MARKER = "marker"


class Part(NamedTuple):
    """A line, or a part of one. `word` and `options` are those of a marker."""

    section: Section
    line: int
    text: str
    word: str = ""
    options: tuple[str, ...] = ()


class Fault(NamedTuple):
    """Why a tool would refuse a file, or why nobody can tell what it ran, and what to do."""

    line: int
    fault: str
    remedy: str


@dataclass(frozen=True)
class MarkedFile:
    """A file in its parts, and `sql`, which the tool runs on the way up.

    With `is_transactional` false it runs outside a transaction. `skips_statements` is true if the
    tool passes over statements above the first marker.
    """

    parts: tuple[Part, ...]
    sql: str
    is_transactional: bool = True
    skips_statements: bool = False
    faults: tuple[Fault, ...] = ()


def read_dbmate(text: str) -> MarkedFile:
    """Read `-- migrate:up transaction:false` and `-- migrate:down`.

    After dbmate's `pkg/dbmate/migration.go`, but for the down part, which it demands.
    """
    parts = _cut(text, _dbmate_marker)
    ups = _markers(parts, "up")
    # Its first section begins at the first `-- migrate:up`, and above that it allows comments.
    first = ups[0].line if ups else 0
    parts = tuple(_above(part) if part.line < first else part for part in parts)
    # Of a pair that is there twice the last counts, and a pair has one colon.
    pairs = [option.split(":") for up in ups[:1] for option in up.options]
    options = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    second = [
        Fault(
            up.line,
            "is a second `-- migrate:up`, and dbmate cannot record it on PostgreSQL",
            "give what is below it a file of its own",
        )
        for up in ups[1:2]
    ]
    return MarkedFile(
        parts,
        _joined(parts),
        is_transactional=options.get("transaction") != "false",
        faults=(*_misplaced(parts, ups, "-- migrate:up"), *second),
    )


def read_goose(text: str) -> MarkedFile:
    """Read `-- +goose Up`, `Down`, `StatementBegin`, `NO TRANSACTION` and `ENVSUB ON`.

    After goose's `internal/sqlparser/parser.go`. Newer versions ignore case. Older ones take what
    they don't know for a comment, and newer ones refuse the file.
    """
    parts = _cut(text, _goose_marker)
    directions = _markers(parts, "up", "down")
    second = [
        Fault(up.line, "is a second `-- +goose Up`, and goose refuses the file", "remove the line")
        for up in _markers(parts, "up")[1:2]
    ]
    return MarkedFile(
        parts,
        _unix(_joined(parts)),
        is_transactional=not _markers(parts, "outside"),
        faults=(
            *_misplaced(parts, directions, "-- +goose Up"),
            *second,
            *_open_block(parts, "-- +goose Statement"),
            *islice(_values(parts), 1),
        ),
    )


def read_sql_migrate(text: str) -> MarkedFile:
    """Read `-- +migrate Up notransaction`, `Down` and `StatementBegin`.

    After sql-migrate's `sqlparse/sqlparse.go`. It passes over all lines above the first marker, and
    over those that begin with `-- `, even in the body of a function.
    """
    parts = _cut(text, _sql_migrate_marker)
    directions = _markers(parts, "up", "down")
    return MarkedFile(
        parts,
        _without_comments_in_strings(_unix(_joined(parts))),
        is_transactional=not any(
            "notransaction" in each.options for each in directions if each.word == "up"
        ),
        skips_statements=bool(directions) and _has_statement(_text_above(parts)),
        faults=(
            *([] if directions else [_no_marker("-- +migrate Up")]),
            *_open_block(parts, "-- +migrate Statement"),
        ),
    )


def read_node_pg_migrate(text: str) -> MarkedFile:
    """Read `-- Up Migration` and `-- Down Migration`.

    After node-pg-migrate's `src/sqlMigration.ts`. Of each marker the first counts; its part goes to
    the other marker, or to the end. Without markers the whole file is the up part.
    """
    parts = _cut(text, _first_of_each(_node_pg_migrate_marker))
    up, down = _markers(parts, "up"), _markers(parts, "down")
    below = "".join(part.text for part in parts if part.section is Section.DOWN)
    if not up:
        parts = tuple(
            part if part.section is Section.MARKER else part._replace(section=Section.UP)
            for part in parts
        )
    faults = (
        Fault(
            marker.line,
            "begins the down part of a file without `-- Up Migration`, which node-pg-migrate runs "
            "as a whole",
            "write `-- Up Migration` at the top of the file if only that part was to run",
        )
        for marker in down
        if not up and _has_statement(below)
    )
    return MarkedFile(
        parts,
        _joined(parts),
        skips_statements=bool(up) and _has_statement(_text_above(parts)),
        faults=tuple(faults),
    )


def read_tern(text: str) -> MarkedFile:
    """Read `---- create above / drop below ----` and `---- tern: disable-tx ----`.

    After tern's `migrate/migrate.go`. The first marker counts wherever it stands in a line, and
    `{{ … }}` is a template everywhere.
    """
    above, marker, below = text.partition(_TERN)
    parts = [part._replace(section=_or_up(part)) for part in _cut(above, _tern_marker)]
    line = line_of(text, len(above))
    parts += [Part(Section.MARKER, line, marker, "down")] if marker else []
    parts += [Part(Section.DOWN, line, below)] if below else []
    faults = (
        Fault(
            part.line,
            "has a template, {{ … }}, which tern fills in",
            "write the SQL that it stands for in its place",
        )
        for part in parts
        if part.section is Section.UP and "{{" in part.text
    )
    return MarkedFile(
        tuple(parts),
        _joined(parts),
        is_transactional=not _markers(parts, "outside"),
        faults=tuple(faults),
    )


def _dbmate_marker(line: str) -> tuple[str, tuple[str, ...]] | None:
    match = _DBMATE.match(line)
    return (match[1], tuple(match[2].split())) if match else None


def _goose_marker(line: str) -> tuple[str, tuple[str, ...]] | None:
    if not line.startswith("--") or "+goose" not in line:
        return None
    annotation = line.replace("--", "").replace("+goose", "", 1).strip().lower()
    word = _GOOSE_WORDS.get(annotation)
    return (word, ()) if word else None


def _sql_migrate_marker(line: str) -> tuple[str, tuple[str, ...]] | None:
    if not line.startswith("-- +"):
        return None
    if not line.startswith(_SQL_MIGRATE):
        return "unknown", ()
    name, *options = line.removeprefix(_SQL_MIGRATE).split() or [""]
    return _SQL_MIGRATE_WORDS.get(name, "unknown"), tuple(options)


def _node_pg_migrate_marker(line: str) -> tuple[str, tuple[str, ...]] | None:
    match = _NODE_PG_MIGRATE.match(line)
    return (match[1].lower(), ()) if match else None


def _tern_marker(line: str) -> tuple[str, tuple[str, ...]] | None:
    return ("outside", ()) if _TERN_OUTSIDE.fullmatch(line) else None


def _first_of_each(reader: _Reader) -> _Reader:
    seen: set[str] = set()

    def first(line: str) -> tuple[str, tuple[str, ...]] | None:
        marker = reader(line)
        if marker is None or marker[0] in seen:
            return None
        seen.add(marker[0])
        return marker

    return first


def _cut(text: str, reader: _Reader) -> tuple[Part, ...]:
    return tuple(_parts(text, reader))


def _parts(text: str, reader: _Reader) -> Iterator[Part]:
    section = Section.ABOVE
    for number, line in enumerate(_LINE.findall(text), 1):
        if marker := reader(line):
            section = _begun(marker[0]) or section
            yield Part(Section.MARKER, number, line, *marker)
        else:
            yield Part(section, number, line)


def _begun(word: str) -> Section | None:
    """Return the section that begins below a marker."""
    return {"up": Section.UP, "down": Section.DOWN}.get(word)


def _or_up(part: Part) -> Section:
    return Section.UP if part.section is Section.ABOVE else part.section


def _markers(parts: Sequence[Part], *words: str) -> list[Part]:
    return [part for part in parts if part.word in words]


def _joined(parts: Sequence[Part]) -> str:
    """Return the text of the up parts, and the comments above the first marker."""
    above = _text_above(parts)
    done = ["" if _has_statement(above) else above]
    section, begun = Section.ABOVE, 1
    for part in parts:
        if part.section is Section.UP:
            done.append(part.text)
        elif part.word == "up" or (part.word == "end" and section is Section.UP):
            # What a marker ends is sent by itself, and needs no semicolon.
            done[begun:] = [_terminated("".join(done[begun:]))]
        if part.word in ("up", "begin", "end"):
            begun = len(done)
        section = _begun(part.word) or section
    return "".join(done)


def _terminated(sql: str) -> str:
    """Return SQL with a semicolon after its last statement."""
    try:
        end = end_of_last_token(sql)
    except LexicalError:
        return sql
    return sql if sql[:end].endswith(";") or not end else f"{sql[:end]};{sql[end:]}"


def _unix(sql: str) -> str:
    """Return the text as a scanner of Go passes it on, line by line."""
    return sql.replace("\r\n", "\n")


def _without_comments_in_strings(sql: str) -> str:
    """Take out the comment lines that the tool took out, where the server would see them.

    Others stay: they explain the statements. What is a string is decided by what the server got.
    """
    sent = _SQL_MIGRATE_COMMENT.sub("", sql)
    try:
        strings = iter([(start, end) for kind, start, end in scan(sent) if kind in _QUOTED])
    except LexicalError:
        return sql
    start, end = next(strings, (len(sent), len(sent)))
    kept, copied, removed = [], 0, 0
    for comment in _SQL_MIGRATE_COMMENT.finditer(sql):
        at = comment.start() - removed
        while end <= at < len(sent):
            start, end = next(strings, (len(sent), len(sent)))
        removed += len(comment.group())
        if start < at < end:
            kept.append(sql[copied : comment.start()])
            copied = comment.end()
    return "".join([*kept, sql[copied:]])


def _above(part: Part) -> Part:
    return part if part.section is Section.MARKER else part._replace(section=Section.ABOVE)


def _text_above(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if part.section is Section.ABOVE)


def _has_statement(text: str) -> bool:
    try:
        return end_of_last_token(text) > 0
    except LexicalError:
        return True


def _misplaced(parts: Sequence[Part], first: Sequence[Part], up_marker: str) -> Iterator[Fault]:
    """Find what is above the first of the markers, where the tool refuses it."""
    if not _markers(parts, "up"):
        yield _no_marker(up_marker)
    elif first[0].word == "down":
        yield Fault(
            first[0].line,
            f"begins the down part above `{up_marker}`, and the tool refuses the file",
            "put the up part first",
        )
    elif _has_statement(_text_above(parts)):
        yield Fault(
            first[0].line,
            "has statements above it, and the tool refuses the file",
            "move them below the marker",
        )


def _no_marker(up_marker: str) -> Fault:
    return Fault(1, f"has no line `{up_marker}`", "write that line above what is to run")


def _open_block(parts: Sequence[Part], marker: str) -> Iterator[Fault]:
    """Find a block that begins in one of the directions and never ends."""
    begun: Part | None = None
    has_direction = False
    for part in _markers(parts, "begin", "end", "up", "down"):
        has_direction = has_direction or part.word in ("up", "down")
        if part.word == "begin" and has_direction:
            begun = begun or part
        elif part.word == "end":
            begun = None
    if begun:
        yield Fault(
            begun.line,
            f"begins a block, and no `{marker}End` ends it",
            f"write `{marker}End` below the statement",
        )


def _values(parts: Sequence[Part]) -> Iterator[Fault]:
    """Find where goose puts values of its environment."""
    is_on = False
    for part in parts:
        is_on = {"values on": True, "values off": False}.get(part.word, is_on)
        if is_on and part.section is Section.UP and "$" in part.text:
            yield Fault(
                part.line,
                "takes a value from the environment (`-- +goose ENVSUB ON`)",
                "write the value that it had, and remove the annotation",
            )
