"""The header of a file: what its leading comments ask of the runner.

A line of the header is `-- Key: value`. Comments of either kind may stand above the line, and the
first statement ends the header. Prose with a colon is not a line of the header; it is a fault only
if its key is nearly one that changes how the file runs, and its value suits that key.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ..duration import parse_duration
from ..tool_words import ADOPTED

_T = TypeVar("_T")

PRODUCTION = "production"
ENVIRONMENTS = (PRODUCTION, "preview", "development")

_LINE = re.compile(r"--+\s*([A-Za-z-]+)\s*:(.*)", re.ASCII)
# A key as people write it from memory: with blanks, with underscores, with a wrong letter.
_LIKE_A_LINE = re.compile(r"--+\s*([A-Za-z][A-Za-z _-]{1,24}?)\s*([:=])\s*(.*)", re.ASCII)
# Keys that change how a file runs. All others, such as Date, are documentation.
_DIRECTIVES = ("transaction", "lock-timeout", "statement-timeout", "environments", "from", "was")
# Refused now, so that a file which needs a later version never runs under this one.
_RESERVED = ("phase", "backfill", "requires")
_VERSION = re.compile(r"[0-9]{3,}-[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
# Files of Sqitch begin with this line; their `requires:` is not the reserved key.
SQITCH_FIRST_LINE = re.compile(r"--\s*Deploy\s+\S", re.ASCII)

# What PostgreSQL's lexer takes for white space (scan.l); a no-break space is not part of it.
_SPACE = re.compile(r"[ \t\n\r\f\v]*")
_COMMENT = re.compile(r"--[^\n\r]*")
_EDGE = re.compile(r"/\*|\*/")
# Characters that look like a space, that are invisible, and a fullwidth colon.
_LOOKALIKES = {
    **dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys(
        (
            0xAD,
            *range(0x200B, 0x2010),
            *range(0x202A, 0x202F),
            0x2060,
            *range(0x2066, 0x206A),
            0xFEFF,
        )
    ),
    0xFF1A: ":",
}


class Origin(NamedTuple):
    """The migration of another tool that a file was made of, by the tool's word and its name."""

    tool: str
    name: str


@dataclass(frozen=True)
class Header:
    """What the leading comments ask. Timeouts are in seconds; with None, those of the settings.

    `origin` is None for a file that was not made of another tool's. `was` are the versions that the
    file had before it got another number, the earliest first.
    """

    transactional: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None
    environments: tuple[str, ...] = ()
    origin: Origin | None = None
    was: tuple[str, ...] = ()


class HeaderFault(NamedTuple):
    """What is wrong with the line at `offset`."""

    offset: int
    fault: str


class _Line(NamedTuple):
    offset: int
    key: str
    value: str


def read_header(text: str, number: str | None) -> tuple[Header, tuple[HeaderFault, ...]]:
    """Return the header of the file with this number, and the faults in it.

    A line with a fault counts as absent. A seed has no number, and may give any `Version`.
    """
    faults: list[HeaderFault] = []
    lines: dict[str, _Line] = {}
    comments = tuple(leading_comments(text))
    is_sqitch = any(SQITCH_FIRST_LINE.match(comment) for _, comment in comments[:1])
    for offset, comment in comments:
        line = _line(offset, comment)
        if line is None:
            faults += _near_miss(offset, comment)
        elif is_sqitch and line.key == "requires":
            continue
        elif line.key in _RESERVED:
            faults.append(HeaderFault(offset, _reserved(line.key)))
        elif line.key in _DIRECTIVES and line.key in lines:
            faults.append(HeaderFault(offset, f"the header gives {line.key.title()} twice"))
        # Of documentation that is repeated, the first line counts.
        elif line.key not in lines:
            faults += _other_version(line, number)
            lines[line.key] = line
    header = _header(lines, faults)
    return header, tuple(sorted(faults))


def leading_comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield the `--` comments above the first statement with their offsets."""
    offset: int | None = 0
    while offset is not None:
        offset = _past(_SPACE, text, offset)
        if match := _COMMENT.match(text, offset):
            yield offset, match.group()
            offset = match.end()
        else:
            offset = _block(text, offset)


def first_statement(text: str) -> int:
    """Return the offset of the first token that is not a lone semicolon; without one, the end."""
    offset, end = -1, 0
    while offset != end:
        offset = end
        end = _past(_COMMENT, text, _past(_SPACE, text, offset))
        end = _block(text, end) or end + text.startswith(";", end)
    return end


def is_directive(comment: str) -> str | None:
    """Return the key of a comment that would change how the file runs if it were in the header."""
    line = _line(0, comment)
    if line is None or line.key not in _VALID:
        return None
    return line.key.title() if _VALID[line.key](line.value) else None


def _past(pattern: re.Pattern[str], text: str, offset: int) -> int:
    match = pattern.match(text, offset)
    return match.end() if match else offset


def _block(text: str, start: int) -> int | None:
    """Return the end of the block comment at `start`; None without one that is closed."""
    if not text.startswith("/*", start):
        return None
    # Unlike those of C, block comments nest in SQL.
    depth = 0
    for edge in _EDGE.finditer(text, start):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return None


def _line(offset: int, comment: str) -> _Line | None:
    match = _LINE.match(comment)
    if match is None or match[1].lower() not in (*_DIRECTIVES, *_RESERVED, "version"):
        return None
    return _Line(offset, match[1].lower(), match[2].strip())


def _header(lines: Mapping[str, _Line], faults: list[HeaderFault]) -> Header:
    return Header(
        transactional=_read(lines, faults, "transaction", _transactional) is not False,
        lock_timeout=_read(lines, faults, "lock-timeout", parse_duration),
        statement_timeout=_read(lines, faults, "statement-timeout", parse_duration),
        environments=_read(lines, faults, "environments", _environments) or (),
        origin=_read(lines, faults, "from", _origin),
        was=_read(lines, faults, "was", _former_names) or (),
    )


def _read(
    lines: Mapping[str, _Line], faults: list[HeaderFault], key: str, reader: Callable[[str], _T]
) -> _T | None:
    if key not in lines:
        return None
    try:
        return reader(lines[key].value)
    except ValueError as error:
        faults.append(
            HeaderFault(lines[key].offset, f"the header's {key.title()} can't be read: {error}")
        )
        return None


def _transactional(value: str) -> bool:
    if value.lower() != "none":
        raise ValueError(f'{value!r} is not "none", the only value')
    return False


def _environments(value: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in value.split(","))
    # Also an empty name, as after a comma too many.
    if any(len(name.split()) != 1 for name in names):
        raise ValueError("write names separated by commas, as in: production, preview")
    return names


def _origin(value: str) -> Origin:
    tool, _, name = value.partition(" ")
    if tool.lower() not in ADOPTED or not name.strip():
        raise ValueError(
            f"{value!r} is not a tool and the name of its migration, as in: prisma 20240102_init; "
            "if it is only prose, write it without the colon"
        )
    return Origin(tool.lower(), name.strip())


def _former_names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(","))
    if not all(map(_VERSION.fullmatch, names)):
        raise ValueError(
            f"{value!r} is not the name that the file had, as in: 014-add-invoices; "
            "if it is only prose, write it without the colon"
        )
    if len({*names}) < len(names):
        raise ValueError(f"{value!r} has a name twice")
    return names


def _reserved(key: str) -> str:
    return (
        f"the header's {key.title()} is reserved for a later version of the runner, "
        "and this one can't run such a file; if it is only prose, write it without the colon"
    )


def _other_version(line: _Line, number: str | None) -> Iterator[HeaderFault]:
    value = line.value
    is_number = line.key == "version" and value.isascii() and value.isdigit()
    if number is not None and is_number and value.lstrip("0") != number.lstrip("0"):
        fault = (
            f"the header says Version {value}, and the file's name {number}; correct one of them"
        )
        yield HeaderFault(line.offset, fault)


def _near_miss(offset: int, comment: str) -> Iterator[HeaderFault]:
    """Yield the fault of a key that is nearly one of ours, with a value that suits it."""
    cleaned = comment.translate(_LOOKALIKES)
    match = _LIKE_A_LINE.match(cleaned)
    if match is None:
        return
    written, sign, value = match[1].rstrip(), match[2], match[3].strip()
    near = next(
        (key for key, means in _MEANT.items() if means(value) and _is_near(written, key)), None
    )
    if near is None:
        return
    if written.lower() != near and sign == ":":
        fault = (
            f"the header has no key {written}; did you mean {near.title()}? "
            "If it is only prose, word it otherwise"
        )
    elif cleaned != comment and sign == ":":
        fault = f"the header's {near.title()} contains an invisible character; type the line again"
    elif written.lower() == near and sign == "=":
        fault = f"the header's {near.title()} has an equals sign in place of its colon"
    else:
        return
    yield HeaderFault(offset, fault)


def _is_near(written: str, key: str) -> bool:
    # Spaces, hyphens and underscores are the likeliest slips, and cost nothing.
    one, other = (re.sub("[ _-]", "", name.lower()) for name in (written, key))
    if one in _WORDS_OF_THEIR_OWN or one in _ALSO_CALLED.get(key, ()):
        return one not in _WORDS_OF_THEIR_OWN
    # In a short word, two edits would take in too many others.
    limit = 1 if len(other) <= 6 else 2
    return abs(len(one) - len(other)) <= limit and _edits(one, other) <= limit


def _edits(one: str, other: str) -> int:
    """Return the Damerau-Levenshtein distance: insertions, deletions, replacements and swaps."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            fewest = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and one[i - 2 : i] == wanted + other[j - 2]:
                fewest = min(fewest, above[j - 2] + 1)
            row.append(fewest)
    return row[-1]


def _means_environments(value: str) -> bool:
    """True for names with commas; without them, for a few words with an environment among them."""
    words = re.findall(r"[^\s,]+", value.lower())
    return bool(_NAMES.fullmatch(value)) or (
        len(words) <= 4 and any(word in ENVIRONMENTS for word in words)
    )


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


_NAMES = re.compile(r"[\w-]+(?:\s*,\s*[\w-]+)*", re.ASCII)
_TOOLS = (
    "alembic|atlas|dbmate|diesel|django|drizzle|ecto|flyway|golang-migrate|goose"
    "|graphile-migrate|knex|kysely|liquibase|migrate|mikro-orm|node-pg-migrate|pgroll|prisma"
    "|rails|sequelize|sql-migrate|sqitch|sqlx|supabase|tern|typeorm"
)
_TIME = r"[0-9]+(?:\.[0-9]+)?\s*(?:ms|s|min|h)?"
_DURATION = r"[0-9][0-9.]*\s*[a-z]*|none|off|unlimited|default"
_FORMER = r"[0-9]{3,}-[a-z0-9-]+(?:\.sql)?"
# For each key, the values that show that a line is meant for the runner, readable or not.
_MEANT: Mapping[str, Callable[[str], bool]] = {
    "transaction": _matches("none|no|off|false|on|true|yes|always|never|per[ -]statement|required"),
    "lock-timeout": _matches(_DURATION),
    "statement-timeout": _matches(_DURATION),
    "environments": _means_environments,
    "phase": _matches("contract|expand"),
    "backfill": _matches(r"[a-z_\"][^\s]*\s+by\s+\S.*"),
    "requires": _matches(r"[0-9]{3,}(?:-[a-z0-9-]+)?(?:\s*,\s*[0-9]{3,}(?:-[a-z0-9-]+)?)*"),
    "from": _matches(rf"(?:{_TOOLS})\s+\S+"),
    "was": _matches(rf"{_FORMER}(?:\s*,\s*{_FORMER})*"),
}
# The values that leave no doubt. A comment below the first statement needs one to be refused.
_VALID: Mapping[str, Callable[[str], bool]] = {
    **_MEANT,
    "transaction": _matches("none"),
    "lock-timeout": _matches(_TIME),
    "statement-timeout": _matches(_TIME),
    "backfill": _matches(r"[a-z_\"][^\s]*\s+by\s+\S.*,\s*[0-9]+\s+rows"),
    "from": _matches(rf"(?:{_TOOLS})\s+\S*[0-9]\S*"),
    "environments": lambda value: (
        bool(_NAMES.fullmatch(value)) and any(name in value.lower() for name in ENVIRONMENTS)
    ),
}
# Words of prose that are only one or two letters away from a key.
_WORDS_OF_THEIR_OWN = ("translation", "transition")
_ALSO_CALLED = {"transaction": ("tx", "txn"), "environments": ("env", "envs")}
