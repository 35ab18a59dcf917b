"""The tokens of a statement, read from left to right: its words, and the names in it."""

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .lexer import BLANKS, STRINGS, scan

_OPENING, _CLOSING = ("(", "["), (")", "]")


class Name(NamedTuple):
    """The name of an object as the catalog holds it, without quotes; `schema` if it is written."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return ".".join(shown(part) for part in self if part is not None)


class Token(NamedTuple):
    """A token, the kind that the lexer gives it, and its place in the text."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.text.upper()


class StatementReader:
    """Steps over the tokens of a statement. Nothing moves where what is asked for is not next."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @classmethod
    def of(cls, text: str) -> "StatementReader":
        """Read a statement, up to its semicolon. LexicalError at a token that is never closed."""
        tokens = tuple(
            Token(kind, text[start:end], start, end)
            for kind, start, end in scan(text)
            if kind not in BLANKS
        )
        return cls(tokens[:-1] if tokens and tokens[-1].text == ";" else tokens)

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def peek(self, ahead: int = 0) -> str:
        """Return a token that is to come as a word in upper case; empty at the end."""
        at = self._at + ahead
        return self._tokens[at].word if at < len(self._tokens) else ""

    def step(self) -> None:
        self._at += 1

    def take(self, *words: str) -> bool:
        """Step over these words if they come next."""
        if any(self.peek(ahead) != word for ahead, word in enumerate(words)):
            return False
        self._at += len(words)
        return True

    def take_one_of(self, *words: str) -> str:
        """Step over one of these words, and return it; empty if none of them comes next."""
        return next((word for word in words if self.take(word)), "")

    def identifier(self) -> str | None:
        """Step over one name without dots, as the server folds it."""
        if self.is_at_end or self._tokens[self._at].kind not in ("word", "name"):
            return None
        token = self._tokens[self._at]
        self.step()
        if token.kind == "word":
            return _folded(token.text)
        quoted = token.text[token.text.index('"') + 1 : -1].replace('""', '"')
        if token.text[0] not in "uU":
            return quoted
        return _decoded(quoted, self._escape_sign())

    def name(self) -> Name | None:
        """Step over a name, which may be qualified; the database in it is left out."""
        parts = [self.identifier()]
        while parts[-1] is not None and self.take("."):
            parts.append(self.identifier())
        last = parts[-1]
        return None if last is None else Name(parts[-2] if len(parts) > 1 else None, last)

    def names(self) -> tuple[Name, ...]:
        """Step over names with commas between them, each with ONLY or `*`, or with arguments."""
        found: list[Name] = []
        while True:
            self.take("ONLY")
            if (name := self.name()) is None:
                return tuple(found)
            found.append(name)
            self.take("*")
            self.inside()
            if not self.take(","):
                return tuple(found)

    def inside(self) -> tuple["StatementReader", ...]:
        """Step over `(…)`, and return what stands between the commas in it; else nothing."""
        if self.peek() != "(":
            return ()
        start, depth = self._at + 1, 0
        while not self.is_at_end:
            depth += (self.peek() in _OPENING) - (self.peek() in _CLOSING)
            self.step()
            if depth == 0:
                break
        end = self._at - 1 if depth == 0 else self._at
        return StatementReader(self._tokens[start:end]).parts()

    def parts(self) -> tuple["StatementReader", ...]:
        """Return the rest, cut at each comma outside parentheses."""
        cut, start, depth = [], self._at, 0
        for at in range(self._at, len(self._tokens)):
            word = self._tokens[at].text
            depth += (word in _OPENING) - (word in _CLOSING)
            if word == "," and depth == 0:
                cut.append(StatementReader(self._tokens[start:at]))
                start = at + 1
        return (*cut, StatementReader(self._tokens[start:]))

    def words(self) -> tuple[str, ...]:
        """Return the rest outside parentheses, in upper case; `'` stands for a string."""
        found, depth = [], 0
        for token in self._tokens[self._at :]:
            if depth == 0:
                found.append("'" if token.kind in STRINGS else token.word)
            depth = max(0, depth + (token.text == "(") - (token.text == ")"))
        return tuple(found)

    def find(self, *words: str) -> bool:
        """Step to after the first place outside parentheses with these words; else stay."""
        depth = 0
        for at in range(self._at, len(self._tokens)):
            if depth == 0 and all(self.peek(at - self._at + n) == w for n, w in enumerate(words)):
                self._at = at + len(words)
                return True
            depth += (self._tokens[at].text == "(") - (self._tokens[at].text == ")")
        return False

    def text(self) -> str:
        """Return the rest on one line, without comments."""
        rest = self._tokens[self._at :]
        ends = (rest[0].start, *(token.end for token in rest)) if rest else ()
        return "".join(
            token.text if token.start == end else f" {token.text}"
            for token, end in zip(rest, ends, strict=False)
        )

    def _escape_sign(self) -> str:
        if self.peek() != "UESCAPE" or self._at + 1 >= len(self._tokens):
            return "\\"
        sign = self._tokens[self._at + 1].text[1:-1]
        self._at += 2
        return sign or "\\"


def _decoded(text: str, sign: str) -> str:
    r"""Decode the escapes of a U&"…" name, as in `d\0061t\+000061`; `sign` begins them."""
    mark = re.escape(sign)

    def letter(match: re.Match[str]) -> str:
        if match[1]:
            return sign
        code = int(match[2] or match[3], 16)
        return chr(code) if 0 < code <= sys.maxunicode else match[0]

    escape = rf"{mark}(?:({mark})|\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}}))"
    found = re.sub(escape, letter, text)
    # Two surrogates are one character; one alone is none, and the server refuses it.
    return found.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _folded(name: str) -> str:
    """Fold to lower case as the server does: in a UTF-8 database only A to Z change."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def shown(name: str) -> str:
    """Return a name with quotes where it needs them; a keyword is shown as it is."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_$]*", name)
    return name if plain else '"' + name.replace('"', '""') + '"'
