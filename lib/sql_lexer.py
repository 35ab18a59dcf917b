r"""Cut a SQL script into its statements the way psql does, losing nothing.

The rules are those of PostgreSQL's `src/fe_utils/psqlscan.l`: a semicolon ends a statement unless it stands in a quoted
string, a quoted identifier, a dollar-quoted body, a comment, parentheses, or the `BEGIN ATOMIC … END` body of a function.
After a `COPY … FROM stdin` the data follows, up to a line of `\.`; a backslash elsewhere begins a psql meta-command.

Pure: text in, pieces out. The pieces joined are the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["statement", "copy data", "meta-command", "space"]

# How many words of a statement are kept: enough for `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`.
_WORDS_KEPT = 40

# Letters, "_" and all beyond ASCII; as negated sets, which compile in a twentieth of the time.
_START = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]"
_TAG = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_REST = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_TOKEN = re.compile(
    rf"""
      (?P<space>     [ \t\n\r\f\v]+ )
    | (?P<comment>   --[^\n\r]* )
    | (?P<block>     /\* )
    | (?P<escape>    [eE]' )
    | (?P<quote>     (?:[uU]&|[bBxXnN])?' )
    | (?P<name>      (?:[uU]&)?" )
    | (?P<dollar>    \$(?:{_START}{_TAG}*)?\$ )
    | (?P<word>      {_START}{_REST}* )
    | (?P<number>    [0-9][0-9_.]*(?:{_START}{_REST}*)? )
    | (?P<other>     [^ \t\n\r\f\v] )
    """,
    re.VERBOSE,
)
# Possessive (`++`, `*+`): a doubled quote is never taken for the end, and no text makes the search slow.
_STRING_END = re.compile(r"(?:[^']++|'')*+'")
_NAME_END = re.compile(r'(?:[^"]++|"")*+"')
_ESCAPE_END = re.compile(r"(?:[^'\\]++|''|\\.)*+'", re.DOTALL)
# A string of the E kind goes on after white space with a line break in it, as in 'a'⏎'b'.
_CONTINUATION = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LINE_END = re.compile(r"\r?\n|\Z")
_COPY_END = re.compile(r"^\\\.[ \t]*\r?$\n?", re.MULTILINE)


class LexicalError(ValueError):
    """The text can't be cut: what stands at `offset` is never closed."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Piece:
    """A stretch of the text, `start` to `end`.

    For a statement, `first` is the offset of its first token, and `words` its first words and signs outside of
    parentheses in upper case; a string stands there as `'`, a quoted identifier as `"`. `terminated` tells whether
    its last character is the semicolon that ends it.
    """

    kind: Kind
    start: int
    end: int
    first: int = 0
    words: tuple[str, ...] = ()
    terminated: bool = False

    @property
    def reads_copy_data(self) -> bool:
        """Tell whether this is a `COPY … FROM stdin`, after which psql reads data and no SQL."""
        if self.words[:1] != ("COPY",):
            return False
        after = self.words[self.words.index("FROM") + 1 :] if "FROM" in self.words else ()
        return after[:1] == ("STDIN",)


def split(text: str) -> tuple[Piece, ...]:
    """Cut `text` into pieces; LexicalError if a quote, a comment or COPY data is never closed."""
    pieces: list[Piece] = []
    start = 0
    while start < len(text):
        piece = _next_piece(text, start)
        pieces.append(piece)
        start = piece.end
        if piece.reads_copy_data:
            start = _append_copy_data(text, start, pieces)
    return tuple(pieces)


def without_strings(text: str) -> str:
    """The text on one line, every string in it shown as `'…'` and every comment left out, also where it is cut off."""
    parts: list[str] = []
    offset = 0
    try:
        while match := _TOKEN.match(text, offset):
            end = _token_end(text, match)
            kind = match.lastgroup
            is_string = kind in ("escape", "quote", "dollar")
            parts.append("'…'" if is_string else " " if kind in ("space", "comment", "block") else text[offset:end])
            offset = end
    except LexicalError:
        parts.append("…")
    return " ".join("".join(parts).split())


def tokens(text: str) -> Iterator[str]:
    """The tokens of one statement as they are written, without white space and comments."""
    offset = 0
    while match := _TOKEN.match(text, offset):
        end = _token_end(text, match)
        if match.lastgroup not in ("space", "comment", "block"):
            yield text[offset:end]
        offset = end


class _Statement:
    """What is known of a statement while its tokens go by."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.words: list[str] = []
        self.parentheses = 0
        self.begins = 0
        self.before = ""

    def see(self, sign: str, offset: int) -> None:
        if self.first is None:
            self.first = offset
        self.before = sign
        if self.parentheses == 0 and len(self.words) < _WORDS_KEPT:
            self.words.append(sign)

    def see_word(self, word: str, offset: int) -> None:
        word = word.upper()
        before = self.before
        self.see(word, offset)
        if self.parentheses or before in (".", "AS") or not self._makes_a_function():
            return
        if word == ("CASE" if self.begins else "ATOMIC") and (self.begins or before == "BEGIN"):
            self.begins += 1
        elif word == "END" and self.begins:
            self.begins -= 1

    def _makes_a_function(self) -> bool:
        words = self.words[:4]
        if words[:1] != ["CREATE"]:
            return False
        kind = words[3:4] if words[1:3] == ["OR", "REPLACE"] else words[1:2]
        return kind in (["FUNCTION"], ["PROCEDURE"])


def _next_piece(text: str, start: int) -> Piece:
    statement = _Statement()
    offset = start
    while match := _TOKEN.match(text, offset):
        kind, token = match.lastgroup, match.group()
        if kind == "word":
            statement.see_word(token, offset)
        elif kind == "other":
            if token == ";" and not statement.parentheses and not statement.begins:
                return _piece(statement, start, match.end(), terminated=True)
            if token == "\\":
                return _meta_command(text, start, offset, statement)
            statement.see(token, offset)
            statement.parentheses = max(0, statement.parentheses + (token == "(") - (token == ")"))
        elif kind == "number":
            statement.see(token, offset)
        elif kind not in ("space", "comment", "block"):
            statement.see('"' if kind == "name" else "'", offset)
        offset = _token_end(text, match)
    if statement.begins:
        raise LexicalError("unterminated BEGIN ATOMIC body", statement.first or start)
    return _piece(statement, start, len(text))


def _token_end(text: str, match: re.Match[str]) -> int:
    if match.lastgroup == "escape":
        return _escape_string_end(text, match)
    if match.lastgroup == "quote":
        return _closed(_STRING_END.match(text, match.end()), "quoted string", match.start())
    if match.lastgroup == "name":
        return _closed(_NAME_END.match(text, match.end()), "quoted identifier", match.start())
    if match.lastgroup == "dollar":
        end = text.find(match.group(), match.end())
        if end < 0:
            raise LexicalError(f"unterminated dollar-quoted string {match.group()}", match.start())
        return end + len(match.group())
    if match.lastgroup == "block":
        return _block_comment_end(text, match)
    return match.end()


def _closed(match: re.Match[str] | None, what: str, offset: int) -> int:
    if match is None:
        raise LexicalError(f"unterminated {what}", offset)
    return match.end()


def _escape_string_end(text: str, opening: re.Match[str]) -> int:
    end = opening.end()
    while True:
        end = _closed(_ESCAPE_END.match(text, end), "quoted string", opening.start())
        continuation = _CONTINUATION.match(text, end)
        if continuation is None:
            return end
        end = continuation.end()


def _block_comment_end(text: str, opening: re.Match[str]) -> int:
    depth, offset = 1, opening.end()
    while depth:
        edge = _COMMENT_EDGE.search(text, offset)
        if edge is None:
            raise LexicalError("unterminated /* comment", opening.start())
        depth += 1 if edge.group() == "/*" else -1
        offset = edge.end()
    return offset


def _piece(statement: _Statement, start: int, end: int, *, terminated: bool = False) -> Piece:
    if statement.first is None:
        return Piece("space", start, end)
    return Piece("statement", start, end, statement.first, tuple(statement.words), terminated)


def _meta_command(text: str, start: int, backslash: int, statement: _Statement) -> Piece:
    """A backslash: what stands before it is a piece of its own, the command goes to the end of the line."""
    if backslash > start:
        return _piece(statement, start, backslash)
    line_end = _LINE_END.search(text, backslash)
    assert line_end is not None  # \Z always matches
    return Piece("meta-command", backslash, line_end.end(), backslash)


def _append_copy_data(text: str, start: int, pieces: list[Piece]) -> int:
    """Take the data, which psql reads from the next line on; the rest of the statement's own line is ordinary text."""
    copy = pieces[-1]
    line_end = _LINE_END.search(text, start)
    assert line_end is not None  # \Z always matches
    if line_end.end() > start:
        pieces.append(_rest_of_line(text, start, line_end.end()))
    end = _COPY_END.search(text, line_end.end())
    if end is None:
        raise LexicalError("unterminated COPY data: no line of \\. ends it", copy.first)
    pieces.append(Piece("copy data", line_end.end(), end.end(), line_end.end()))
    return end.end()


def _rest_of_line(text: str, start: int, end: int) -> Piece:
    rest = text[start:end].strip()
    if rest and not rest.startswith("--"):
        raise LexicalError("after COPY … FROM stdin; nothing may follow on its line: its data begins on the next", start)
    return Piece("space", start, end)
