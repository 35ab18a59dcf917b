"""Where in a file an error from the server belongs, and how to show the line there."""

import re
import unicodedata
from typing import Protocol

from .lexer import end_of_last_token, scan
from .statement import Statement

# At most this many characters of a line are shown, around the position.
WIDTH = 100
# The server translates its messages; these match in every language that it speaks.
_COPY_LINE = re.compile(r"^COPY [^\n]*?, \w+ (\d+)", re.MULTILINE)
_INLINE_LINE = re.compile(r"\binline_code_block\b[^\n\d]*(\d+)")


class ErrorPlace(Protocol):
    """The fields of an error from the server that tell where in a statement it is."""

    @property
    def position(self) -> int | None: ...
    @property
    def context(self) -> str | None: ...
    @property
    def internal_query(self) -> str | None: ...
    @property
    def internal_position(self) -> int | None: ...


def offset_of(statement: Statement, error: ErrorPlace) -> int:
    """Return the offset in the file at which the server stopped in the statement.

    That is the position that the server gives, else the beginning of the statement.
    """
    if error.position is not None:
        # "At end of input" is the place after the last token.
        last = statement.offset + end_of_last_token(
            statement.source[statement.offset : statement.end]
        )
        return min(statement.sent_from + error.position - 1, last)
    inside = position_inside(
        statement, error.context, error.internal_query, error.internal_position
    )
    return statement.offset if inside is None else inside


def position_inside(
    statement: Statement,
    context: str | None,
    internal_query: str | None,
    internal_position: int | None,
) -> int | None:
    """Return the offset in the file of an error inside the statement, from the error's context.

    The context may name a line of COPY data, or a line of a DO block; None if it names neither.
    `internal_position` counts characters of `internal_query` from 1; the position is shown where
    that query stands in the block.
    """
    if statement.copy_data and (line := _last(_COPY_LINE, context)):
        return _line_start(statement.source, statement.copy_data[0], line)
    if statement.command == "DO" and (line := _last(_INLINE_LINE, context)):
        # The first line of the context is about the innermost call, which ran the query.
        is_of_block = "inline_code_block" in (context or "").partition("\n")[0]
        query = internal_query if is_of_block else None
        return _position_in_block(statement, line, query, internal_position)
    return None


def shown_line(line: str, column: int, *, number: int) -> str:
    """Return the line with its number, and a caret below the character at `column`, from 0.

    A longer line is cut to `WIDTH` characters around that character.
    """
    first = max(0, column - WIDTH * 2 // 3)
    last = min(len(line), first + WIDTH)
    before, after = _printable(line[first:column]), _printable(line[column:last].rstrip("\r"))
    before = f"…{before}" if first > 0 else before
    after = f"{after}…" if last < len(line) else after
    gutter = f"  {number} | "
    return f"{gutter}{before}{after}\n{' ' * (len(gutter) - 2)}| {' ' * _columns(before)}^"


def line_bounds(text: str, offset: int) -> tuple[int, int]:
    """Return the offsets at which the line with the character at `offset` begins and ends."""
    end = text.find("\n", offset)
    return text.rfind("\n", 0, offset) + 1, len(text) if end < 0 else end


def _last(pattern: re.Pattern[str], context: str | None) -> int | None:
    """Return the last number that the pattern finds: that of the outermost call."""
    numbers = pattern.findall(context or "")
    return int(numbers[-1]) if numbers else None


def _line_start(text: str, start: int, line: int) -> int:
    """Return the offset of a line, counted from 1 at `start`; of the last line if it is beyond."""
    for _ in range(line - 1):
        found = text.find("\n", start)
        if found < 0:
            break
        start = found + 1
    return start


def _position_in_block(
    statement: Statement, line: int, internal_query: str | None, internal_position: int | None
) -> int | None:
    body = _body(statement)
    if body is None:
        return None
    start = _line_start(statement.source, body, line)
    if internal_query and internal_position:
        # PL/pgSQL sends PERFORM as SELECT; then only what follows the word stands in the block.
        for query, cut in ((internal_query, 0), (internal_query.removeprefix("SELECT"), 6)):
            found = statement.source.find(query, start, statement.end)
            if found >= 0:
                return found + internal_position - 1 - cut
    while start < statement.end and statement.source[start].isspace():
        start += 1
    return start


def _body(statement: Statement) -> int | None:
    """Return the offset of the code of a DO, after its opening quote.

    None if the code is an E'…' string, in which line breaks may be escaped.
    """
    text, before = statement.text, ""
    for kind, start, end in scan(text):
        # LANGUAGE 'plpgsql' may stand before the code.
        if kind == "dollar" and before != "LANGUAGE":
            return statement.offset + text.index("$", start + 1) + 1
        if kind == "quote" and before != "LANGUAGE":
            return statement.offset + text.index("'", start) + 1
        if kind == "escape":
            return None
        if kind not in ("space", "comment", "block"):
            before = text[start:end].upper()
    return None


def _printable(text: str) -> str:
    """Replace tabs, and all that a terminal might obey, by one space each."""
    return "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") else letter
        for letter in text
    )


def _columns(text: str) -> int:
    """Return the width of the text on a terminal, in columns."""
    return sum(map(_width, text))


def _width(letter: str) -> int:
    # Combining marks take no column; East Asian wide and fullwidth letters take two.
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
