"""Where in a file an error of the server's belongs, and how the line there is shown."""

import re
import unicodedata

from .lexer import scan
from .statement import Statement

# So many characters of a line are shown, around the place.
WIDTH = 100
# Both read the same in every language that the server speaks: a COPY's table, and its line.
_COPY_LINE = re.compile(r"^COPY [^\n]*?, \w+ (\d+)", re.MULTILINE)
_INLINE_LINE = re.compile(r"\binline_code_block\b[^\n\d]*(\d+)")


def place_inside(
    statement: Statement,
    context: str | None,
    internal_query: str | None,
    internal_position: int | None,
) -> int | None:
    """The offset in the file that the server's context tells of: a line of COPY data, or one inside a DO block.

    `internal_position` counts, from 1, the characters of `internal_query`, which is shown where it stands in the block.
    """
    if statement.copy_data and (line := _last(_COPY_LINE, context)):
        return _line_start(statement.source, statement.copy_data[0], line)
    if statement.command == "DO" and (line := _last(_INLINE_LINE, context)):
        # The query is that of the innermost call, which the context tells of first.
        is_blocks_own = "inline_code_block" in (context or "").partition("\n")[0]
        return _place_in_block(
            statement, line, internal_query if is_blocks_own else None, internal_position
        )
    return None


def excerpt(text: str, offset: int) -> str:
    """The line that holds the character at `offset`, cut to `WIDTH`, and below it a caret under that character."""
    start, end = line_around(text, offset)
    return line_shown(text[start:end], offset - start, number=text.count("\n", 0, offset) + 1)


def line_shown(line: str, column: int, *, number: int) -> str:
    """A line with its number, cut to `WIDTH`, and below it a caret under the character at `column`, from 0."""
    first = max(0, column - WIDTH * 2 // 3)
    last = min(len(line), first + WIDTH)
    before, after = _shown(line[first:column]), _shown(line[column:last].rstrip("\r"))
    before = f"…{before}" if first > 0 else before
    after = f"{after}…" if last < len(line) else after
    gutter = f"  {number} | "
    return f"{gutter}{before}{after}\n{' ' * (len(gutter) - 2)}| {' ' * _columns(before)}^"


def line_around(text: str, offset: int) -> tuple[int, int]:
    """Where the line that holds the character at `offset` begins, and where it ends."""
    end = text.find("\n", offset)
    return text.rfind("\n", 0, offset) + 1, len(text) if end < 0 else end


def _last(pattern: re.Pattern[str], context: str | None) -> int | None:
    """The number that it finds last: the outermost of the calls that the context tells of."""
    numbers = pattern.findall(context or "")
    return int(numbers[-1]) if numbers else None


def _line_start(text: str, start: int, line: int) -> int:
    """The offset of the line with this number, counted from 1, where the first begins at `start`."""
    for _ in range(line - 1):
        found = text.find("\n", start)
        if found < 0:
            break
        start = found + 1
    return start


def _place_in_block(
    statement: Statement, line: int, internal_query: str | None, internal_position: int | None
) -> int | None:
    body = _body(statement)
    if body is None:
        return None
    start = _line_start(statement.source, body, line)
    if internal_query and internal_position:
        # PERFORM reaches the server as SELECT.
        for shown, shift in (
            (internal_query, 0),
            (internal_query.removeprefix("SELECT"), len("SELECT")),
        ):
            found = statement.source.find(shown, start, statement.end)
            if found >= 0:
                return found + internal_position - 1 - shift
    while start < statement.end and statement.source[start].isspace():
        start += 1
    return start


def _body(statement: Statement) -> int | None:
    """Where the code of a DO begins, after its opening quote; None where its lines are escaped."""
    text, before = statement.text, ""
    for kind, start, end in scan(text):
        if kind in ("dollar", "quote") and before != "LANGUAGE":
            return (
                statement.offset
                + text.index("$" if kind == "dollar" else "'", start + (kind == "dollar"))
                + 1
            )
        if kind == "escape":
            return None
        if kind not in ("space", "comment", "block"):
            before = text[start:end].upper()
    return None


def _shown(text: str) -> str:
    """What a terminal shows as it is: a tab as a space, and nothing that it might obey."""
    return "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") else letter
        for letter in text
    )


def _columns(text: str) -> int:
    """How wide a terminal shows the text: East Asian letters take two columns, combining marks none."""
    return sum(
        0
        if unicodedata.combining(letter)
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )
