"""One statement of a file: its place, its words, and what is sent to the server for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from ..masking import is_secretive, masked
from .lexer import tokens, without_strings, words_of

# COPY data is sent in chunks of this many characters.
_COPY_CHUNK = 1 << 18
# Enough words to tell the kind of the statement, and enough tokens for the names in it.
OPENING_WORDS = 5
_TOKENS_KEPT = 60
# The head is the beginning of a statement, cut to this width after 400 characters are read.
_HEAD_READ = 400
_HEAD_WIDTH = 60

_WORD = re.compile(r"[A-Za-z_][\w$]*")
_PARAMETER = re.compile(r"\$[0-9]")
_SECRET_COLUMN = re.compile(r"passw|secret|token|api_?key|credential", re.IGNORECASE)
_SET_CONFIG = re.compile(r"\bset_config\s*\(\s*'(\w+)'\s*,\s*'([^']*)'", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Statement:
    """A stretch of the text of a file, from the first token at `offset` to `end`.

    `terminated` is true if the stretch includes the semicolon. `copy_data` is the stretch of the
    data of a `COPY … FROM stdin`. `lead` is the offset of a `/* */` comment before the statement,
    which psql sends with it. The text is not copied until it is needed.
    """

    source: str = field(repr=False)
    offset: int
    end: int
    terminated: bool = True
    copy_data: tuple[int, int] | None = None
    lead: int | None = None

    @property
    def text(self) -> str:
        """The statement with its semicolon, as it enters the digests in the journal."""
        return self.source[self.offset : self.end] + ("" if self.terminated else "\n;")

    @property
    def sent_from(self) -> int:
        """The offset in the file at which `sent` begins."""
        return self.offset if self.lead is None else self.lead

    @property
    def sent(self) -> str:
        """The text that is sent to the server; psql would send the same."""
        return self.source[self.sent_from : self.end]

    @property
    def goes_alone(self) -> bool:
        """True if the statement can't be part of a pipeline: a COPY, or one with a parameter."""
        # Most statements have no dollar sign and a digit; only for the others is the text cut.
        return self.command == "COPY" or (
            bool(_PARAMETER.search(self.text))
            and any(_PARAMETER.match(token) for token in tokens(self.text))
        )

    @cached_property
    def is_secretive(self) -> bool:
        """True if the statement, or its COPY data, may hold a secret that must not be logged."""
        return is_secretive(self.text) or bool(self.copy_data and _SECRET_COLUMN.search(self.text))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The first tokens as they are written."""
        return tuple(islice(tokens(self.source[self.offset : self.end]), _TOKENS_KEPT))

    @cached_property
    def command(self) -> str:
        """The first word in upper case; empty if the statement begins with another token."""
        word = _WORD.match(self.source, self.offset)
        return word.group().upper() if word else ""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The first words and signs outside parentheses, in upper case, without the semicolon."""
        return words_of(self._without_semicolon)

    @cached_property
    def opening(self) -> tuple[str, ...]:
        """The first few of `words`, which cost less to find."""
        return words_of(self._without_semicolon, OPENING_WORDS)

    @property
    def _without_semicolon(self) -> str:
        return self.source[self.offset : self.end - 1 if self.terminated else self.end]

    @property
    def head(self) -> str:
        """The first words on one line, for messages; masked if a string may be a secret."""
        text = self.source[self.offset : min(self.end, self.offset + _HEAD_READ)].removesuffix(";")
        line = masked(without_strings(text)) if is_secretive(self.text) else " ".join(text.split())
        return line if len(line) <= _HEAD_WIDTH else f"{line[: _HEAD_WIDTH - 1]}…"

    @property
    def setting(self) -> tuple[str, str] | None:
        """The parameter and the value of a SET or of set_config: `("client_encoding", "LATIN1")`.

        None for any other statement.
        """
        if self.command == "SELECT":
            called = _SET_CONFIG.search(self.text)
            return (called[1].lower(), called[2]) if called else None
        if self.command != "SET":
            return None
        words = [unquoted(token) for token in self.tokens if token != ";"][1:]
        # SET LOCAL and SET SESSION set the same parameters.
        if words[:1] in (["local"], ["session"]):
            del words[0]
        # SET NAMES is the spelling of the SQL standard for client_encoding.
        if words[:1] == ["names"]:
            return "client_encoding", " ".join(words[1:2])
        return (words[0], "".join(words[2:])) if words[1:2] in (["="], ["to"]) else None

    def copy_chunks(self) -> Iterator[bytes]:
        """Yield the COPY data in chunks, encoded as UTF-8."""
        start, end = self.copy_data or (0, 0)
        # In chunks, so that the data is not in memory a second time as bytes.
        for at in range(start, end, _COPY_CHUNK):
            yield self.source[at : min(end, at + _COPY_CHUNK)].encode()


def unquoted(token: str) -> str:
    """Return a name as the server folds it; for a quoted name or a string, what is quoted."""
    if token[-1:] in ("'", '"'):
        return token[token.index(token[-1]) + 1 : -1]
    return token.lower()


def is_on(value: str) -> bool:
    """True if the server reads the value of a boolean parameter as true.

    The server accepts any unique prefix of a word, as in `t` or `ye`.
    """
    value = value.lower()
    return value in ("1", "on") or (
        value != "" and any(word.startswith(value) for word in ("true", "yes"))
    )
