"""Comments between the statements: a down migration of another tool, a header that is too low."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..sql.lexer import tokens
from ..sql.splitter import Piece, comments
from .folder import MigrationFile
from .header import is_directive, leading_comments

_LINE = r"(?im)(?:^|(?<=\r))[ \t]*+(?P<comment>--[^\n\r]*?"
_MAY_BE_A_MARKER = re.compile(rf"{_LINE}(?:down|undo|below|up\b)[^\n\r]*)")
_MAY_BE_A_HEADER = re.compile(
    rf"{_LINE}\b(?:transaction|lock-timeout|statement-timeout|environments"
    r"|phase|backfill|requires|from)\s*:[^\n\r]*)"
)

# dbmate; goose, sql-migrate and micrate; rambler; Play. `_DOWN` adds MyBatis and tern, which have
# no marker for up.
_TOOLS = (
    r"migrate\s*:\s*{0}(?:\s+\w+:\S+)*",
    r"\+\s*\w+\s+{0}(?:\s+no\s*transaction)?",
    r"rambler\s+{0}(?:\s+no\s*transaction)?",
    r"!\s*{0}s",
)
_DOWN = re.compile(
    rf"--+\s*(?:{'|'.join(_TOOLS).format('down')}|(?://\s*)?@\s*undo"
    r"|create\s+above\s*/\s*drop\s+below\s*-*)\s*",
    re.IGNORECASE,
)
_UP = re.compile(
    rf"--+\s*(?:{'|'.join(_TOOLS).format('up')}|up\s+migration[\s=*#.:-]*)\s*", re.IGNORECASE
)
# The marker of node-pg-migrate is plain English; an ordinary comment may begin so, too.
_DOWN_IN_ENGLISH = re.compile(
    r"--[\s=*#-]*down\s+migrations?\s*(?:\([^()]*\))?[\s=*#.:-]*", re.IGNORECASE
)
# For home-made tools: counts only as a pair, `up` above all statements and `down` above a removal.
_DOWN_ALONE = re.compile(r"--[\s=*#@+\[\]<>:.-]*down[\s=*#\[\]<>:.-]*", re.IGNORECASE)
_UP_ALONE = re.compile(r"--[\s=*#@+\[\]<>:.-]*up[\s=*#\[\]<>:.-]*", re.IGNORECASE)
_COMMENT_LINES = re.compile(r"--[^\n\r]*+(?:\r?\n[ \t]*+--[^\n\r]*+)*+")
_WORD = re.compile(r"[A-Za-z]+")
_TAKES_AWAY = ("DROP", "ALTER", "DELETE", "TRUNCATE", "REVOKE")


@dataclass(frozen=True)
class _Comment:
    """A comment alone on its line, in the piece at `index`: `between` statements, or within one."""

    offset: int
    text: str
    index: int
    between: bool


def check_comments(file: MigrationFile, pieces: Sequence[Piece]) -> None:
    """Refuse a file with a part that is not meant to run, or with a header that is not read."""
    _check_down_migration(file, pieces)
    header = {offset for offset, _ in leading_comments(file.text)}
    for comment in _comments(file.text, pieces, _MAY_BE_A_HEADER, is_directive):
        if comment.between and comment.offset not in header:
            key = is_directive(comment.text)
            raise file.error_at(
                comment.offset,
                f"the header's {key} is not read here; move the line to the file's top, "
                "above the first statement",
            )


def _check_down_migration(file: MigrationFile, pieces: Sequence[Piece]) -> None:
    markers = tuple(_comments(file.text, pieces, _MAY_BE_A_MARKER, _is_marker))
    begins_with_up = any(
        _UP_ALONE.fullmatch(each.text) and _is_above_all(pieces, each) for each in markers[:1]
    )
    for at, comment in enumerate(markers):
        if _is_up_marker(comment) or not _begins_down_migration(
            file.text, pieces, comment, begins_with_up=begins_with_up
        ):
            continue
        up = next(filter(_is_up_marker, markers[at:]), None)
        as_far = f", up to line {file.line_at(up.offset)}" if up else ""
        out = f"remove this line and what is below it{as_far}"
        raise file.error_at(
            comment.offset,
            f'"{comment.text}" begins a down migration, and a file runs as a whole; {out}',
        )


def _begins_down_migration(
    text: str, pieces: Sequence[Piece], comment: _Comment, *, begins_with_up: bool
) -> bool:
    if _DOWN.fullmatch(comment.text):
        return _statement_below(text, pieces, comment) is not None
    if not comment.between:
        return False
    if _DOWN_IN_ENGLISH.fullmatch(comment.text):
        return (
            not _goes_on_with_sql(text, comment)
            and _statement_below(text, pieces, comment) is not None
        )
    return begins_with_up and _statement_below(text, pieces, comment) in _TAKES_AWAY


def _is_marker(comment: str) -> bool:
    return any(
        pattern.fullmatch(comment)
        for pattern in (_DOWN, _DOWN_IN_ENGLISH, _DOWN_ALONE, _UP, _UP_ALONE)
    )


def _is_up_marker(comment: _Comment) -> bool:
    return any(pattern.fullmatch(comment.text) for pattern in (_UP, _UP_ALONE))


def _is_above_all(pieces: Sequence[Piece], comment: _Comment) -> bool:
    return comment.between and not any(
        piece.kind == "statement" for piece in pieces[: comment.index]
    )


def _goes_on_with_sql(text: str, comment: _Comment) -> bool:
    """True if the next lines are comments with SQL: the down migration is noted, and not run."""
    block = _COMMENT_LINES.match(text, comment.offset)
    return block is not None and any(
        line.rstrip().endswith(";") for line in block.group().splitlines()
    )


def _statement_below(text: str, pieces: Sequence[Piece], comment: _Comment) -> str | None:
    """Return the first word below the comment, in the rest of its statement or in the next."""
    if not comment.between:
        word = next(tokens(text[comment.offset : pieces[comment.index].end]), ";")
        if word != ";":
            return word.upper()
    start = comment.index if comment.between else comment.index + 1
    words = (
        _first_word(text, piece)
        for piece in islice(pieces, start, None)
        if piece.kind == "statement"
    )
    return next((word for word in words if word != ";"), None)


def _first_word(text: str, piece: Piece) -> str:
    word = _WORD.match(text, piece.first)
    return word.group().upper() if word else text[piece.first]


def _comments(
    text: str, pieces: Sequence[Piece], pattern: re.Pattern[str], is_one: Callable[[str], object]
) -> Iterator[_Comment]:
    """Yield the wanted comments that stand alone on their line, not in strings or COPY data."""
    starts: list[int] = []
    known: tuple[int, frozenset[int]] = (-1, frozenset())
    for match in pattern.finditer(text):
        comment, offset = match["comment"].strip(), match.start("comment")
        if not is_one(comment):
            continue
        starts = starts or [piece.start for piece in pieces]
        # Binary search: a dump may have a comment for each of thousands of objects.
        index = bisect_right(starts, offset) - 1
        piece = pieces[index]
        if known[0] != index:
            known = (index, frozenset(at for at, _ in comments(text, piece)))
        if offset in known[1]:
            yield _Comment(offset, comment, index, piece.kind == "space" or offset < piece.first)
