r"""Cut a SQL script into its statements the way psql does, losing nothing.

The rules are those of PostgreSQL's `src/fe_utils/psqlscan.l`: a semicolon ends a statement unless it stands in a quoted
string, a quoted identifier, a dollar-quoted body, a comment, parentheses, or the `BEGIN ATOMIC … END` body of a function.
After a `COPY … FROM stdin` the data follows, up to a line of `\.`; a backslash elsewhere begins a psql meta-command.

psql reads line by line and guesses in two places where the server's own grammar knows better: an `E'…'` string that goes on
on the next line, and a name that reads like a keyword of a `BEGIN ATOMIC` body. Where the two would cut differently,
nobody can say what the file means, and it is refused.

Pure: text in, pieces out. The pieces joined are the text. Time and memory are linear in the text.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Literal, NamedTuple

Kind = Literal["statement", "copy data", "meta-command", "space"]

# How many words of a statement are told, and among how many tokens they are looked for: enough for `ALTER TABLE … DETACH
# PARTITION … CONCURRENTLY`, and for a COPY of a table with 1600 columns.
WORDS_KEPT = 40
_TOKENS_SEEN = 4000

# Letters, "_" and all beyond ASCII; as negated sets, which compile in a twentieth of the time.
_START = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]"
_TAG = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_REST = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_WORD = rf"{_START}{_REST}*+"
# One that is not the beginning of a string, or of something else that is no word.
_BARE_WORD = rf"(?![eEbBxXnN]'|[uU]&){_WORD}"
_DIGITS = r"[0-9]++(?:_[0-9][0-9]*+)*+"
# A number, and what is wrongly stuck to it: `1e5`, `1.`, `.5`, `0x1f`, `1e+`, `2nd`. The dots of `1..2` are none of it.
_NUMBER = rf"(?:{_DIGITS}(?:\.(?!\.)(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+](?:{_DIGITS}(?:{_WORD})?)?|{_WORD})?"
# A variable of psql's, which it leaves as it stands where it has none of that name.
_VARIABLE = rf":(?::|=|{_TAG}++)?"
_TOKEN = re.compile(
    rf"""
      (?P<space>     [ \t\n\r\f\v]++ )
    | (?P<comment>   --[^\n\r]*+ )
    | (?P<block>     /\* )
    | (?P<escape>    [eE]' )
    | (?P<quote>     (?:[uU]&|[bBxXnN])?' )
    | (?P<name>      (?:[uU]&)?" )
    | (?P<dollar>    \$(?:{_START}{_TAG}*+)?\$ )
    | (?P<word>      (?![uU]&){_WORD} )
    | (?P<number>    {_NUMBER} | \$[0-9]++(?:{_WORD})? )
    | (?P<other>     {_VARIABLE} | [^ \t\n\r\f\v] )
    """,
    re.VERBOSE,
)
# Possessive (`++`, `*+`): a doubled quote is never taken for the end, and no text makes the search slow. A group that is
# repeated so begins with plain characters that tell whether it matches: where one has failed later on, Python before 3.11.5
# doesn't go back to its beginning (gh-106052).
_UNESCAPED = r"[^'\\]*+(?:\\[\s\S][^'\\]*+)*+"
_TO_QUOTE = r"[^']*+(?:''[^']*+)*+'"
_TO_NAMES_END = r'[^"]*+(?:""[^"]*+)*+"'
_TO_ESCAPED_QUOTE = rf"{_UNESCAPED}(?:''{_UNESCAPED})*+'"
_STRING_END = re.compile(_TO_QUOTE)
_NAME_END = re.compile(_TO_NAMES_END)
_ESCAPE_END = re.compile(_TO_ESCAPED_QUOTE)
_SPACE = r"[ \t\n\r\f\v]*+"
_BLANK = re.compile(rf"{_SPACE}(?:--[^\n\r]*+{_SPACE})*+")
# A string of the E kind goes on after white space with a line break in it, as in 'a'⏎'b'.
_CONTINUATION = re.compile(
    rf"[ \t\f\v]*+(?:--[^\n\r]*+)?+[\n\r]{_SPACE}(?:--[^\n\r]*+[\n\r]{_SPACE})*+'"
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LINE_END = re.compile(r"\r?\n|\Z")
_COPY_END = re.compile(r"\n\\\.(?:\r?\n|\r?\Z)")
_VARIABLE_NAME = re.compile(rf":(?:({_TAG}+)|'({_TAG}+)'|\"({_TAG}+)\"|\{{\?({_TAG}+)\}})")
# A word behind a string that is none of those that may stand there.
_STRAY_WORD = re.compile(
    r"[ \t]*+(?!(?:and|as|asc|at|between|check|collate|comment|constraint|default|desc|else|end|escape|except|for|from"
    r"|group|having|i?like|in|intersect|into|is|isnull|language|limit|not|notnull|null|offset|on|or|order|overlaps|primary"
    r"|references|returning|similar|then|to|uescape|union|unique|using|when|where|window|with|within)\b)"
    rf"{_START}",
    re.IGNORECASE,
)
_BLANKS = ("space", "comment", "block")
_STRINGS = ("escape", "quote", "dollar")

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
_HEAD = re.compile(rf"({_BARE_WORD})(?:[ \t\n\r\f\v]++({_BARE_WORD}))?")
# What may stand anywhere in a statement without ending it or changing how the rest is read: all but parentheses,
# semicolons, backslashes, dollar signs, block comments, and E strings that may go on. So much of it at a time.
_STRETCH = re.compile(
    r"(?:[\x00-\x20!#%&*+,<=>?@\[\]^`{|}~\x7f]++"
    rf"|{_BARE_WORD}|'{_TO_QUOTE}|\"{_TO_NAMES_END}|{_NUMBER}|{_VARIABLE}|\.|--[^\n\r]*+|-(?!-)|/(?!\*)"
    rf"|[eE]'{_TO_ESCAPED_QUOTE}(?![ \t\f\v]*+(?:[\n\r]|--))){{1,500}}"
)


class LexicalError(ValueError):
    """The text can't be cut: what stands at `offset` is never closed, or is read otherwise by psql than by the server."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Piece(NamedTuple):
    """A stretch of the text, `start` to `end`.

    For a statement, `first` is the offset of its first token, and `terminated` tells whether its last character is the
    semicolon that ends it. `reads_copy_data` marks a `COPY … FROM stdin`, after which psql reads data and no SQL.
    """

    kind: Kind
    start: int
    end: int
    first: int = 0
    terminated: bool = False
    reads_copy_data: bool = False


def split(text: str) -> tuple[Piece, ...]:
    """Cut `text` into pieces; LexicalError if a quote, a comment or COPY data is never closed, or is read in two ways."""
    return tuple(_pieces(text))


def words_of(statement: str, count: int = WORDS_KEPT) -> tuple[str, ...]:
    """Its first words and signs outside of parentheses, in upper case: `'` is a string, `"` a quoted name."""
    return tuple(islice(_words(statement), count))


def without_strings(text: str) -> str:
    """The text on one line, every string in it shown as `'…'` and every comment left out, also where it is cut off."""
    parts: list[str] = []
    try:
        for kind, start, end in scan(text):
            parts.append("'…'" if kind in _STRINGS else " " if kind in _BLANKS else text[start:end])
    except LexicalError:
        parts.append("…")
    return " ".join("".join(parts).split())


def strings(text: str, offset: int = 0, *, is_code: bool = False) -> Iterator[tuple[int, int]]:
    """Where the strings and the comments of a statement begin and end; of `offset`, where its text begins.

    With `is_code` its dollar-quoted strings are the bodies of functions, of which the strings inside are told. What is
    never closed goes to the end of the text.
    """
    try:
        for kind, start, end in scan(text):
            if kind == "dollar" and is_code:
                tag = text.index("$", start + 1) + 1 - start
                yield from strings(text[start + tag : end - tag], offset + start + tag)
            elif kind in _STRINGS or kind in ("comment", "block"):
                yield offset + start, offset + end
    except LexicalError as fault:
        yield offset + fault.offset, offset + len(text)


def tokens(text: str) -> Iterator[str]:
    """The tokens of one statement as they are written, without white space and comments."""
    return (text[start:end] for kind, start, end in scan(text) if kind not in _BLANKS)


def variables(text: str) -> Iterator[tuple[str, int]]:
    """The variables of psql that a text names, as in `:name`, `:'name'`, `:"name"` and `:{?name}`, each with its offset."""
    for kind, start, _ in scan(text):
        if kind == "other" and (named := _VARIABLE_NAME.match(text, start)):
            yield next(filter(None, named.groups())), start


def end_of_last_token(text: str) -> int:
    """The offset behind the last token, after which nothing but white space and comments stands."""
    return max((end for kind, _, end in scan(text) if kind not in _BLANKS), default=0)


def end_of_blank(text: str, start: int) -> int:
    """The offset behind white space and comments of the `--` kind, which psql doesn't send before a statement."""
    return _skip(_BLANK, text, start)


def backslashes(text: str) -> Iterator[int]:
    """The offsets of the plain strings with a backslash in them: an escape, if `standard_conforming_strings` is off."""
    return (start for kind, start, end in scan(text) if kind == "quote" and "\\" in text[start:end])


def scan(text: str) -> Iterator[tuple[str, int, int]]:
    """Every token with its kind, start and end, white space and comments too; LexicalError at one that is never closed."""
    offset = 0
    while match := _TOKEN.match(text, offset):
        offset = _token_end(text, match)
        yield match.lastgroup or "", match.start(), offset


def comments(text: str, piece: Piece) -> Iterator[tuple[int, str]]:
    """The `--` comments of a piece, each with its offset in the text."""
    if piece.kind in ("statement", "space"):
        for kind, start, end in scan(text[piece.start : piece.end]):
            if kind == "comment":
                yield piece.start + start, text[piece.start + start : piece.start + end]


def escaped_quotes(text: str, before: int) -> Iterator[tuple[int, bool]]:
    r"""The backslashes before a quote in plain strings that begin before an offset, as in `'Newton\'s laws'`.

    Such a string ends there. Where a word follows, as the `s` does here, hardly anything else can have been meant: told by
    the second value. It reads also what can't be cut.
    """
    for start, end in _plain_strings(text, before):
        if text.endswith("\\'", start + 1, end):
            yield end - 2, _STRAY_WORD.match(text, end) is not None
        elif (quote := text.find("\\'", start, end)) >= 0:
            yield quote, False


def _plain_strings(text: str, before: int) -> Iterator[tuple[int, int]]:
    """Where they begin and end; one that never ends, at the end of the text."""
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
    tokens_of_it = scan(text[start:end])
    return (
        (start + a, start + b)
        for kind, a, b in tokens_of_it
        if kind == "quote" and text[start + a] not in "uU"
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


def _words(statement: str) -> Iterator[str]:
    depth = 0
    seen = (token for token in scan(statement) if token[0] not in _BLANKS)
    for kind, start, end in islice(seen, _TOKENS_SEEN):
        sign = "'" if kind in _STRINGS else '"' if kind == "name" else statement[start:end].upper()
        if depth == 0:
            yield sign
        depth = max(0, depth + (sign == "(") - (sign == ")"))


class _Body:
    """Whether the words that go by stand in a `BEGIN ATOMIC` body: as psql counts, and by the server's grammar.

    psql counts every BEGIN, CASE and END of a CREATE FUNCTION or PROCEDURE outside of parentheses. To the server a body
    begins with BEGIN ATOMIC, and ends with the END that stands where a statement would begin; elsewhere these may be names.
    """

    def __init__(self) -> None:
        self._psqls = 0
        self._servers = 0
        self._suspect = 0
        self._identifiers: list[str] = []
        self._before = ""

    @property
    def is_possible(self) -> bool:
        """Tell whether its first words leave it possible that the statement makes a function."""
        first = self._identifiers
        return first in _MAY_MAKE_A_FUNCTION or self._is_of_a_function

    @property
    def _is_of_a_function(self) -> bool:
        first = self._identifiers
        return first[:2] in _MAKES_A_FUNCTION or first[:4] in _MAKES_A_FUNCTION

    def see(self, token: str, offset: int, *, is_word: bool, is_inside: bool) -> None:
        """Take note of the next token, `is_inside` parentheses or not."""
        word, before = token.upper(), self._before
        self._before = word
        if is_word and len(self._identifiers) < 4:
            self._identifiers.append(word)
        if is_inside or not is_word or not self._is_of_a_function:
            return
        if word in ("BEGIN", "CASE") or (word == "END" and self._psqls <= 1):
            self._suspect = offset
        self._psqls += (
            (word == "BEGIN")
            + (word == "CASE" and self._psqls > 0)
            - (word == "END" and self._psqls > 0)
        )
        if word == "ATOMIC" and before == "BEGIN":
            self._servers = 1
        elif word == "END" and before in (";", "ATOMIC"):
            self._servers = 0

    def is_open(self) -> bool:
        """Tell whether a semicolon here stands in a body; LexicalError where psql and the server differ about it."""
        if self._psqls != self._servers:
            raise LexicalError(
                "psql takes this name for a keyword of a BEGIN ATOMIC body; write it in double quotes",
                self._suspect,
            )
        return self._psqls > 0


def _next_piece(text: str, start: int) -> Piece:
    first = _skip(_BLANK, text, start)
    head = _HEAD.match(text, first)
    if head is None or _may_make_a_function(head):
        return _piece_with_body(text, start)
    offset, parentheses = head.end(), 0
    while (offset := _skip(_STRETCH, text, offset)) < len(text):
        sign = text[offset]
        if sign == "(":
            parentheses += 1
        elif sign == ")":
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
    match = _TOKEN.match(text, offset)
    assert match is not None  # any sign is one, and space is passed over
    return _token_end(text, match)


def _may_make_a_function(head: re.Match[str]) -> bool:
    return head[1].upper() == "CREATE" and (head[2] or "OR").upper() in (
        "OR",
        "FUNCTION",
        "PROCEDURE",
    )


def _piece_with_body(text: str, start: int) -> Piece:
    """The piece of what may make a function: token by token, until its words tell that it does not."""
    first, body, parentheses = -1, _Body(), 0
    offset = start
    while match := _TOKEN.match(text, offset):
        kind, token = match.lastgroup, match.group()
        if kind not in _BLANKS:
            if token == "\\":
                return _meta_command(text, start, match.start(), first)
            if token == ";" and not parentheses and not body.is_open():
                return _statement(text, start, match.end(), first, terminated=True)
            first = match.start() if first < 0 else first
            body.see(token, match.start(), is_word=kind == "word", is_inside=parentheses > 0)
            parentheses = max(0, parentheses + (token == "(") - (token == ")"))
        offset = _token_end(text, match)
        if not body.is_possible:
            offset = _skip(_STRETCH, text, offset)
    if body.is_open():
        raise LexicalError("unterminated BEGIN ATOMIC body", first)
    return _statement(text, start, len(text), first)


def _skip(pattern: re.Pattern[str], text: str, offset: int) -> int:
    match = pattern.match(text, offset)
    return match.end() if match else offset


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
    end, is_plain_to_psql = opening.end(), False
    while True:
        end = _closed(_ESCAPE_END.match(text, end), "quoted string", opening.start())
        continuation = _CONTINUATION.match(text, end)
        if continuation is None:
            return end
        end = continuation.end()
        is_plain_to_psql = is_plain_to_psql or "\n" in continuation.group()
        if is_plain_to_psql:
            _check_continued(text, end)


def _check_continued(text: str, start: int) -> None:
    """psql, which reads line by line, takes the part after a line feed for a string without escapes."""
    escaped, plain = _ESCAPE_END.match(text, start), _STRING_END.match(text, start)
    if (escaped and escaped.end()) != (plain and plain.end()):
        fault = "psql reads this part of an E'…' string without its escapes; write the string on one line"
        raise LexicalError(fault, start - 1)


def _block_comment_end(text: str, opening: re.Match[str]) -> int:
    depth, offset = 1, opening.end()
    while depth:
        edge = _COMMENT_EDGE.search(text, offset)
        if edge is None:
            raise LexicalError("unterminated /* comment", opening.start())
        depth += 1 if edge.group() == "/*" else -1
        offset = edge.end()
    return offset


def _statement(text: str, start: int, end: int, first: int, *, terminated: bool = False) -> Piece:
    """The piece of one statement; of space, where no token stands in it (`first` is negative)."""
    if first < 0:
        return Piece("space", start, end)
    return Piece("statement", start, end, first, terminated, _reads_copy_data(text, first, end))


def _reads_copy_data(text: str, first: int, end: int) -> bool:
    if text[first : first + 4].upper() != "COPY":
        return False
    words = words_of(text[first:end])
    after = words[words.index("FROM") + 1 :] if "FROM" in words else ()
    # The grammar takes either word for either direction, and the direction counts.
    return words[0] == "COPY" and after[:1] in (("STDIN",), ("STDOUT",))


def _meta_command(text: str, start: int, backslash: int, first: int) -> Piece:
    """A backslash: what stands before it is a piece of its own, the command goes to the end of the line."""
    if backslash > start:
        return _statement(text, start, backslash, first)
    line_end = _LINE_END.search(text, backslash)
    assert line_end is not None  # \Z always matches
    return Piece("meta-command", backslash, line_end.end(), backslash)


def _copy_data(text: str, copy: Piece) -> Iterator[Piece]:
    """The data, which psql reads from the next line on; the rest of the statement's own line is ordinary text."""
    line_end = _LINE_END.search(text, copy.end)
    assert line_end is not None  # \Z always matches
    if line_end.end() > copy.end:
        yield _rest_of_line(text, copy.end, line_end.end())
    end = _COPY_END.search(text, line_end.end() - 1)
    if end is None:
        raise LexicalError("unterminated COPY data: no line of \\. ends it", copy.first)
    yield Piece("copy data", line_end.end(), end.end(), line_end.end())


def _rest_of_line(text: str, start: int, end: int) -> Piece:
    if not _BLANK.fullmatch(text, start, end):
        raise LexicalError(
            "after COPY … FROM stdin; nothing may follow on its line: its data begins on the next",
            start,
        )
    return Piece("space", start, end)
