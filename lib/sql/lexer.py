r"""The tokens of SQL, as psql and PostgreSQL cut them.

The rules are those of `src/fe_utils/psqlscan.l` in PostgreSQL. psql reads line by line, and guesses
where the grammar of the server knows better: in an `E'…'` string that continues on the next line.
Where the two would cut differently, nobody can say what the text means, and it is refused.

Pure: text in, tokens out. Time and memory are linear in the text.
"""

import re
from collections.abc import Iterator
from itertools import islice

# The words of a statement that are kept, and the tokens among which they are looked for: enough
# for `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`, and for a COPY of a table with 1600 columns.
WORDS_KEPT = 40
_TOKENS_READ = 4000

# Letters, "_" and everything beyond ASCII. Negated sets compile in a twentieth of the time.
START = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]"
_TAG = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_REST = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_WORD = rf"{START}{_REST}*+"
# A word that is not the prefix of a string, as in E'…', or of U&"…".
BARE_WORD = rf"(?![eEbBxXnN]'|[uU]&){_WORD}"
_DIGITS = r"[0-9]++(?:_[0-9][0-9]*+)*+"
# A number, and what PostgreSQL rejects right after it: `1e5`, `1.`, `.5`, `0x1f`, `1e+`, `2nd`.
# The two dots of `1..2` do not belong to it.
NUMBER = (
    rf"(?:{_DIGITS}(?:\.(?!\.)(?:{_DIGITS})?)?|\.{_DIGITS})"
    rf"(?:[eE][-+](?:{_DIGITS}(?:{_WORD})?)?|{_WORD})?"
)
# A variable of psql, which stays as it is if psql has none of that name.
VARIABLE = rf":(?::|=|{_TAG}++)?"
TOKEN = re.compile(
    rf"""
      (?P<space>     [ \t\n\r\f\v]++ )
    | (?P<comment>   --[^\n\r]*+ )
    | (?P<block>     /\* )
    | (?P<escape>    [eE]' )
    | (?P<quote>     (?:[uU]&|[bBxXnN])?' )
    | (?P<name>      (?:[uU]&)?" )
    | (?P<dollar>    \$(?:{START}{_TAG}*+)?\$ )
    | (?P<word>      (?![uU]&){_WORD} )
    | (?P<number>    {NUMBER} | \$[0-9]++(?:{_WORD})? )
    | (?P<other>     {VARIABLE} | [^ \t\n\r\f\v] )
    """,
    re.VERBOSE,
)
# Possessive quantifiers (`++`, `*+`) keep a doubled quote from being taken for the end, and keep
# any text from making the search slow. A repeated group begins with plain characters that decide
# whether it matches: after a later failure, Python before 3.11.5 does not go back to the beginning
# of the group (gh-106052).
_UNESCAPED = r"[^'\\]*+(?:\\[\s\S][^'\\]*+)*+"
TO_QUOTE = r"[^']*+(?:''[^']*+)*+'"
TO_NAMES_END = r'[^"]*+(?:""[^"]*+)*+"'
TO_ESCAPED_QUOTE = rf"{_UNESCAPED}(?:''{_UNESCAPED})*+'"
_STRING_END = re.compile(TO_QUOTE)
_NAME_END = re.compile(TO_NAMES_END)
_ESCAPE_END = re.compile(TO_ESCAPED_QUOTE)
_SPACE = r"[ \t\n\r\f\v]*+"
BLANK = re.compile(rf"{_SPACE}(?:--[^\n\r]*+{_SPACE})*+")
# A string of the E kind continues after white space with a line break, as in 'a'⏎'b'.
_CONTINUATION = re.compile(
    rf"[ \t\f\v]*+(?:--[^\n\r]*+)?+[\n\r]{_SPACE}(?:--[^\n\r]*+[\n\r]{_SPACE})*+'"
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_VARIABLE_NAME = re.compile(rf":(?:({_TAG}+)|'({_TAG}+)'|\"({_TAG}+)\"|\{{\?({_TAG}+)\}})")
BLANKS = ("space", "comment", "block")
STRINGS = ("escape", "quote", "dollar")


class LexicalError(ValueError):
    """The text can't be cut.

    What begins at `offset` is never closed, or psql and the server would read it differently.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def scan(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield every token with its kind, start and end, including white space and comments.

    LexicalError at a token that is never closed.
    """
    offset = 0
    while match := TOKEN.match(text, offset):
        offset = token_end(text, match)
        yield match.lastgroup or "", match.start(), offset


def tokens(text: str) -> Iterator[str]:
    """Return the tokens of a statement as written, without white space and comments."""
    return (text[start:end] for kind, start, end in scan(text) if kind not in BLANKS)


def words_of(statement: str, count: int = WORDS_KEPT) -> tuple[str, ...]:
    """Return the first words and signs outside parentheses, in upper case.

    `'` stands for a string, `"` for a quoted name.
    """
    return tuple(islice(_words(statement), count))


def without_strings(text: str) -> str:
    """Return the text on one line, with `'…'` for every string and without comments.

    The text may be cut off anywhere.
    """
    parts: list[str] = []
    try:
        for kind, start, end in scan(text):
            parts.append("'…'" if kind in STRINGS else " " if kind in BLANKS else text[start:end])
    except LexicalError:
        parts.append("…")
    return " ".join("".join(parts).split())


def strings(text: str, offset: int = 0, *, is_code: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the strings and comments of a statement: where each begins and ends.

    `offset` is that of the text, and is added. With `is_code`, dollar-quoted strings are the bodies
    of functions, and the strings inside them are yielded instead. What is never closed extends to
    the end of the text.
    """
    try:
        for kind, start, end in scan(text):
            if kind == "dollar" and is_code:
                tag = text.index("$", start + 1) + 1 - start
                yield from strings(text[start + tag : end - tag], offset + start + tag)
            elif kind in STRINGS or kind in ("comment", "block"):
                yield offset + start, offset + end
    except LexicalError as fault:
        yield offset + fault.offset, offset + len(text)


def variables(text: str) -> Iterator[tuple[str, int]]:
    """Yield the psql variables of a text with their offsets.

    The forms are `:name`, `:'name'`, `:"name"` and `:{?name}`.
    """
    for kind, start, _ in scan(text):
        if kind == "other" and (named := _VARIABLE_NAME.match(text, start)):
            yield next(filter(None, named.groups())), start


def backslashes(text: str) -> Iterator[int]:
    """Return the offsets of the plain strings that contain a backslash.

    It is an escape if `standard_conforming_strings` is off.
    """
    return (start for kind, start, end in scan(text) if kind == "quote" and "\\" in text[start:end])


def end_of_last_token(text: str) -> int:
    """Return the offset after the last token; only white space and comments follow."""
    return max((end for kind, _, end in scan(text) if kind not in BLANKS), default=0)


def end_of_blank(text: str, start: int) -> int:
    """Return the offset after white space and `--` comments, which psql does not send."""
    return skip(BLANK, text, start)


def _words(statement: str) -> Iterator[str]:
    depth = 0
    seen = (token for token in scan(statement) if token[0] not in BLANKS)
    for kind, start, end in islice(seen, _TOKENS_READ):
        sign = "'" if kind in STRINGS else '"' if kind == "name" else statement[start:end].upper()
        if depth == 0:
            yield sign
        depth = max(0, depth + (sign == "(") - (sign == ")"))


def skip(pattern: re.Pattern[str], text: str, offset: int) -> int:
    match = pattern.match(text, offset)
    return match.end() if match else offset


def token_end(text: str, match: re.Match[str]) -> int:
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
    """Refuse a continued E'…' string of which psql and the server see different ends.

    psql reads line by line, and takes the part after a line feed for a string without escapes.
    """
    escaped, plain = _ESCAPE_END.match(text, start), _STRING_END.match(text, start)
    if (escaped and escaped.end()) != (plain and plain.end()):
        raise LexicalError(
            "psql reads this part of an E'…' string without its escapes; "
            "write the string on one line",
            start - 1,
        )


def _block_comment_end(text: str, opening: re.Match[str]) -> int:
    depth, offset = 1, opening.end()
    while depth:
        edge = _COMMENT_EDGE.search(text, offset)
        if edge is None:
            raise LexicalError("unterminated /* comment", opening.start())
        depth += 1 if edge.group() == "/*" else -1
        offset = edge.end()
    return offset
