r"""Cut a script into its statements the way psql does, losing nothing.

The rules are those of `src/fe_utils/psqlscan.l` in PostgreSQL: a semicolon ends a statement unless
it stands in a quoted string, a quoted identifier, a dollar-quoted body, a comment, parentheses, or
the `BEGIN ATOMIC … END` body of a function. After a `COPY … FROM stdin` the data follows, up to a
line of `\.`; a backslash elsewhere begins a psql meta-command.

psql takes any name that reads like a keyword of a `BEGIN ATOMIC` body for one, where the grammar of
the server knows better. Where the two would cut differently, the file is refused.

Pure: text in, pieces out. The pieces joined are the text. Time and memory are linear in the text.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

from .lexer import (
    BARE_WORD,
    BLANK,
    BLANKS,
    NUMBER,
    START,
    TO_ESCAPED_QUOTE,
    TO_NAMES_END,
    TO_QUOTE,
    TOKEN,
    VARIABLE,
    LexicalError,
    scan,
    skip,
    token_end,
    words_of,
)

Kind = Literal["statement", "copy data", "meta-command", "space"]
# psql reads lines, and takes CRLF for one line end.
_LINE_END = re.compile(r"\r?\n|\Z")
_COPY_END = re.compile(r"\n\\\.(?:\r?\n|\r?\Z)")
# A word right after a string that is none of those which SQL allows there.
_STRAY_WORD = re.compile(
    r"[ \t]*+(?!(?:and|as|asc|at|between|check|collate|comment|constraint|default|desc|else|end"
    r"|escape|except|for|from|group|having|i?like|in|intersect|into|is|isnull|language|limit|not"
    r"|notnull|null|offset|on|or|order|overlaps|primary|references|returning|similar|then|to"
    r"|uescape|union|unique|using|when|where|window|with|within)\b)"
    rf"{START}",
    re.IGNORECASE,
)
_MAY_MAKE_A_FUNCTION: tuple[list[str], ...] = (
    [],
    ["CREATE"],
    ["CREATE", "OR"],
    ["CREATE", "OR", "REPLACE"],
)
_MAKES_A_FUNCTION = (
    *(["CREATE", kind] for kind in ("FUNCTION", "PROCEDURE")),
    *(["CREATE", "OR", "REPLACE", kind] for kind in ("FUNCTION", "PROCEDURE")),
)
# Two words tell whether the statement can have a body.
_HEAD = re.compile(rf"({BARE_WORD})(?:[ \t\n\r\f\v]++({BARE_WORD}))?")
# What may stand anywhere in a statement without ending it or changing how the rest is read: all but
# parentheses, semicolons, backslashes, dollar signs, block comments, and E strings that may
# continue. One match takes up to 500 such parts.
_STRETCH = re.compile(
    r"(?:[\x00-\x20!#%&*+,<=>?@\[\]^`{|}~\x7f]++"
    rf"|{BARE_WORD}|'{TO_QUOTE}|\"{TO_NAMES_END}|{NUMBER}|{VARIABLE}|\.|--[^\n\r]*+|-(?!-)|/(?!\*)"
    rf"|[eE]'{TO_ESCAPED_QUOTE}(?![ \t\f\v]*+(?:[\n\r]|--))){{1,500}}"
)


class Piece(NamedTuple):
    """A stretch of the text, from `start` to `end`.

    For a statement, `first` is the offset of its first token, and `terminated` is true if it ends
    with a semicolon. `reads_copy_data` marks a `COPY … FROM stdin`, after which psql reads data.
    """

    kind: Kind
    start: int
    end: int
    first: int = 0
    terminated: bool = False
    reads_copy_data: bool = False


def split(text: str) -> tuple[Piece, ...]:
    """Cut `text` into pieces.

    LexicalError if a quote, a comment or COPY data is never closed, or can be read in two ways.
    """
    return tuple(_pieces(text))


def comments(text: str, piece: Piece) -> Iterator[tuple[int, str]]:
    """Yield the `--` comments of a piece with their offsets in the text."""
    if piece.kind in ("statement", "space"):
        for kind, start, end in scan(text[piece.start : piece.end]):
            if kind == "comment":
                yield piece.start + start, text[piece.start + start : piece.start + end]


def escaped_quotes(text: str, before: int) -> Iterator[tuple[int, bool]]:
    r"""Yield the backslashes before a quote in plain strings that begin before an offset.

    An example is `'Newton\'s laws'`: the string ends there. The second value is true if a word
    follows, as the `s` does here; then the backslash was almost certainly meant as an escape. Works
    on text that can't be cut, too.
    """
    for start, end in _plain_strings(text, before):
        if text.endswith("\\'", start + 1, end):
            yield end - 2, _STRAY_WORD.match(text, end) is not None
        elif (quote := text.find("\\'", start, end)) >= 0:
            yield quote, False


def _plain_strings(text: str, before: int) -> Iterator[tuple[int, int]]:
    """Yield where plain strings begin and end; one that is never closed ends with the text."""
    start = 0
    try:
        for piece in _pieces(text):
            if piece.start >= before:
                return
            if piece.kind == "statement":
                yield from _quotes(text, start, piece.end)
            start = piece.end
    except LexicalError as error:
        with suppress(LexicalError):
            yield from _quotes(text, start, len(text))
        if text.startswith("'", error.offset):
            yield error.offset, len(text)


def _quotes(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    # Strings of the U& kind know no backslash escapes but their own.
    return (
        (start + first, start + last)
        for kind, first, last in scan(text[start:end])
        if kind == "quote" and text[start + first] not in "uU"
    )


def _pieces(text: str) -> Iterator[Piece]:
    start = 0
    while start < len(text):
        piece = _next_piece(text, start)
        yield piece
        start = piece.end
        if piece.reads_copy_data:
            for more in _copy_data(text, piece):
                yield more
                start = more.end


class _AtomicBody:
    """Tracks whether the current token is in a `BEGIN ATOMIC` body, to psql and to the server.

    psql counts every BEGIN, CASE and END of a CREATE FUNCTION or PROCEDURE outside parentheses. To
    the server, a body begins with BEGIN ATOMIC and ends with an END where a statement could begin;
    elsewhere these words may be names.
    """

    def __init__(self) -> None:
        self._psql_depth = 0
        self._server_depth = 0
        self._suspect_offset = 0
        self._identifiers: list[str] = []
        self._before = ""

    @property
    def is_possible(self) -> bool:
        """True if the statement may still turn out to create a function."""
        first = self._identifiers
        return first in _MAY_MAKE_A_FUNCTION or self._is_of_a_function

    @property
    def _is_of_a_function(self) -> bool:
        first = self._identifiers
        return first[:2] in _MAKES_A_FUNCTION or first[:4] in _MAKES_A_FUNCTION

    def see(self, token: str, offset: int, *, is_word: bool, is_inside: bool) -> None:
        """Take note of the next token; `is_inside` is true within parentheses."""
        word, before = token.upper(), self._before
        self._before = word
        if is_word and len(self._identifiers) < 4:
            self._identifiers.append(word)
        if is_inside or not is_word or not self._is_of_a_function:
            return
        # The place to show if psql and the server turn out to disagree.
        if word in ("BEGIN", "CASE") or (word == "END" and self._psql_depth <= 1):
            self._suspect_offset = offset
        self._psql_depth += (
            (word == "BEGIN")
            + (word == "CASE" and self._psql_depth > 0)
            - (word == "END" and self._psql_depth > 0)
        )
        if word == "ATOMIC" and before == "BEGIN":
            self._server_depth = 1
        elif word == "END" and before in (";", "ATOMIC"):
            self._server_depth = 0

    def is_open(self) -> bool:
        """True if a semicolon here is part of a body.

        LexicalError if psql and the server differ about that.
        """
        if self._psql_depth != self._server_depth:
            raise LexicalError(
                "psql takes this name for a keyword of a BEGIN ATOMIC body; "
                "write it in double quotes",
                self._suspect_offset,
            )
        return self._psql_depth > 0


def _next_piece(text: str, start: int) -> Piece:
    first = skip(BLANK, text, start)
    head = _HEAD.match(text, first)
    if head is None or _may_make_a_function(head):
        return _piece_with_body(text, start)
    offset, parentheses = head.end(), 0
    while (offset := skip(_STRETCH, text, offset)) < len(text):
        sign = text[offset]
        if sign == "(":
            parentheses += 1
        elif sign == ")":
            # psql, too, ignores a closing parenthesis too many.
            parentheses = max(0, parentheses - 1)
        elif sign == ";" and not parentheses:
            return _statement(text, start, offset + 1, first, terminated=True)
        elif sign == "\\":
            return _statement(text, start, offset, first)
        elif sign != ";":
            offset = _one_token(text, offset)
            continue
        offset += 1
    return _statement(text, start, len(text), first)


def _one_token(text: str, offset: int) -> int:
    match = TOKEN.match(text, offset)
    assert match is not None  # any sign is one, and space is passed over
    return token_end(text, match)


def _may_make_a_function(head: re.Match[str]) -> bool:
    return head[1].upper() == "CREATE" and (head[2] or "OR").upper() in (
        "OR",
        "FUNCTION",
        "PROCEDURE",
    )


def _piece_with_body(text: str, start: int) -> Piece:
    """Return the next piece, which may create a function, and so may contain semicolons.

    It is read token by token, until its words rule out a function.
    """
    first, body, parentheses = -1, _AtomicBody(), 0
    offset = start
    while match := TOKEN.match(text, offset):
        kind, token = match.lastgroup, match.group()
        if kind not in BLANKS:
            if token == "\\":
                return _meta_command(text, start, match.start(), first)
            if token == ";" and not parentheses and not body.is_open():
                return _statement(text, start, match.end(), first, terminated=True)
            first = match.start() if first < 0 else first
            body.see(token, match.start(), is_word=kind == "word", is_inside=parentheses > 0)
            parentheses = max(0, parentheses + (token == "(") - (token == ")"))
        offset = token_end(text, match)
        if not body.is_possible:
            offset = skip(_STRETCH, text, offset)
    if body.is_open():
        raise LexicalError("unterminated BEGIN ATOMIC body", first)
    return _statement(text, start, len(text), first)


def _statement(text: str, start: int, end: int, first: int, *, terminated: bool = False) -> Piece:
    """Return the piece of a statement; of space if there is no token (`first` is negative)."""
    if first < 0:
        return Piece("space", start, end)
    return Piece("statement", start, end, first, terminated, _reads_copy_data(text, first, end))


def _reads_copy_data(text: str, first: int, end: int) -> bool:
    # Cheap, and decides for nearly all statements.
    if text[first : first + 4].upper() != "COPY":
        return False
    words = words_of(text[first:end])
    after = words[words.index("FROM") + 1 :] if "FROM" in words else ()
    # The grammar takes either word for either direction, and the direction counts.
    return words[0] == "COPY" and after[:1] in (("STDIN",), ("STDOUT",))


def _meta_command(text: str, start: int, backslash: int, first: int) -> Piece:
    """Return the piece before a backslash.

    With nothing before it, return the command, which extends to the end of the line.
    """
    if backslash > start:
        return _statement(text, start, backslash, first)
    line_end = _LINE_END.search(text, backslash)
    assert line_end is not None  # \Z always matches
    return Piece("meta-command", backslash, line_end.end(), backslash)


def _copy_data(text: str, copy: Piece) -> Iterator[Piece]:
    """Yield the rest of the line, and the data, which psql reads from the next line on."""
    line_end = _LINE_END.search(text, copy.end)
    assert line_end is not None  # \Z always matches
    if line_end.end() > copy.end:
        yield _rest_of_line(text, copy.end, line_end.end())
    end = _COPY_END.search(text, line_end.end() - 1)
    if end is None:
        raise LexicalError("unterminated COPY data: no line of \\. ends it", copy.first)
    yield Piece("copy data", line_end.end(), end.end(), line_end.end())


def _rest_of_line(text: str, start: int, end: int) -> Piece:
    if not BLANK.fullmatch(text, start, end):
        raise LexicalError(
            "after COPY … FROM stdin; nothing may follow on its line: its data begins on the next",
            start,
        )
    return Piece("space", start, end)
