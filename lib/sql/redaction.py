"""What of a server's message may be shown: no secrets in the log, no data in the journal.

A message quotes parts of the statement, names of objects, and values of rows, without saying which
is which. The statement itself tells: words that stand in its code are no data.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from ..masking import masked
from ..secret_patterns import HIDDEN
from .error_position import line_bounds, shown_line
from .lexer import strings, without_strings
from .statement import Statement

# The longest part of a server's message that is shown, in characters.
LONGEST_MESSAGE = 2000
# How much of a message is searched for secrets, in characters. More than is shown: half a secret,
# cut off at the end, might not be recognized as one.
_SEARCHED = 10 * LONGEST_MESSAGE

# What the server quotes, in the quotation marks of the languages that it speaks; and everything
# from the first mark to the last.
_QUOTED = re.compile(r"""(["“”„»«]).*?(?:["“”„»«]|\Z)""", re.DOTALL)
_QUOTED_VALUE = re.compile(r"""["“”„»«].*["“”„»«]|["“”„»«].*\Z""", re.DOTALL)
_AT_OR_NEAR = re.compile(r'at or near ".*"', re.DOTALL)
_WORDS = re.compile(r"\w+")
# A value without quotation marks: at the end, or the bytes of a character.
_BARE_VALUE = re.compile(r"(?<=: )[^\"]*\d[^\"]*\Z|\b0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")
_PLAIN_NAME = re.compile(r"[a-z_][\w.]*")

# Class 22, data_exception: what the message quotes is a value.
_DATA_EXCEPTION = "22"
# duplicate_schema, duplicate_table, duplicate_column, duplicate_object, duplicate_function.
ALREADY_EXISTS = ("42P06", "42P07", "42701", "42710", "42723")
# What the message quotes is the name of an object that exists: integrity_constraint_violation
# (class 23), invalid_table_definition, invalid_object_definition,
# ambiguous_column, grouping_error, datatype_mismatch, wrong_object_type, invalid_foreign_key,
# generated_always, insufficient_privilege, dependent_objects_still_exist,
# unsafe_new_enum_value_usage.
_NAMES_OBJECTS = (
    "23", "42P16", "42P17", "42702", "42803", "42804", "42809", "42830", "428C9", "42501", "2BP01",
    "55P04",
)  # fmt: skip
# undefined_column, undefined_function: the name may stand in the message without quotation marks.
_UNQUOTED_NAME = ("42703", "42883")

# raise_exception and assert_failure. Raised with another SQLSTATE, or in another language than
# PL/pgSQL, an error is recognized by the first line of its context, in every language.
_RAISED = ("P0001", "P0004")
_AT_RAISE = re.compile(r"[^\n]*(?:\bRAISE|\bASSERT|PL/(?!pgSQL))")
# A RAISE or ASSERT in a file, to its semicolon.
_RAISE = re.compile(r"\b(?:raise|assert)\b(?:[^;']|'[^']*'){0,2000}", re.IGNORECASE)
_PARTS = re.compile(r"[^\s'\"]+")
_PUNCTUATION = ".,:;!?()[]{}<>%|"
_SEVERAL_HIDDEN = re.compile(rf"{HIDDEN}(?:\s+{HIDDEN})+")

_FUNCTIONS = ("FUNCTION", "PROCEDURE")
# Commands that run no SQL made of rows, and the kinds of object whose commands may still read rows.
_UTILITIES = ("CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "SECURITY")
_KINDS_WITH_ROWS = {"TABLE", "VIEW", "INDEX"}


class ErrorFields(Protocol):
    """The fields of an error from the server that tell where the words of its message come from."""

    @property
    def sqlstate(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def context(self) -> str | None: ...
    @property
    def position(self) -> int | None: ...
    @property
    def internal_query(self) -> str | None: ...


@dataclass(frozen=True)
class Redactor:
    """Redacts what the server said about `statement`, one of a file's; None if it was none of them.

    `text` is the whole file, `statements` are all of it.
    """

    error: ErrorFields
    text: str
    statements: Sequence[Statement]
    statement: Statement | None

    @property
    def is_secret(self) -> bool:
        """True if the statement holds a secret, such as the password of a role."""
        return bool(self.statement and self.statement.is_secretive)

    @property
    def message(self) -> str:
        """The server's message without secrets."""
        message = self.error.message
        if self.is_secret:
            message = _AT_OR_NEAR.sub(f'at or near "{HIDDEN}"', message)
        return self.without_secrets(message)

    def without_secrets(self, text: str) -> str:
        """A text from the server without secrets, cut to the length that is shown.

        If the statement holds a secret, only words that its code has, too, stay quoted.
        """
        text = masked(text[:_SEARCHED])
        if self.is_secret:
            text = _QUOTED.sub(
                lambda found: found[0] if self._is_in_statement(found[0]) else f'"{HIDDEN}"', text
            )
        return text[:LONGEST_MESSAGE]

    def without_data(self, message: str, hint: str) -> tuple[str, str]:
        """The message and the hint without what may be data of rows."""
        if self._is_raised:
            return self._as_in_raise(message), self._as_in_raise(hint)
        return self._without_values(message), hint

    @property
    def _is_raised(self) -> bool:
        """True if the message was written by somebody's code and not by the server."""
        return self.error.sqlstate in _RAISED or bool(_AT_RAISE.match(self.error.context or ""))

    def _as_in_raise(self, text: str) -> str:
        """Hide every word that no RAISE of the file has: the others may come from rows."""
        raised = re.sub(r"\\[nrt]", " ", " ".join(_RAISE.findall(self.text)))
        known = {part.strip(_PUNCTUATION) for part in _PARTS.findall(raised)} | {"", "Hint", HIDDEN}
        text = _PARTS.sub(
            lambda part: part[0] if part[0].strip(_PUNCTUATION) in known else HIDDEN, text
        )
        return _SEVERAL_HIDDEN.sub(HIDDEN, text)

    def _without_values(self, message: str) -> str:
        """Hide the values in a message of the server's own; names of the file's objects stay."""
        sqlstate = self.error.sqlstate
        if sqlstate.startswith(_DATA_EXCEPTION):
            return _BARE_VALUE.sub(HIDDEN, _QUOTED_VALUE.sub(f'"{HIDDEN}"', message))
        if sqlstate.startswith(_NAMES_OBJECTS) or (sqlstate in ALREADY_EXISTS and self._is_utility):
            return message
        for found in _QUOTED.finditer(message):
            if not self._is_in_file(found.group()):
                # To the last mark: a value may hold quotation marks itself.
                rest = _QUOTED_VALUE.sub(f'"{HIDDEN}"', message[found.start() :])
                return message[: found.start()] + rest
        is_bare = sqlstate in _UNQUOTED_NAME and not _QUOTED.search(message)
        return HIDDEN if is_bare and self._may_come_from_rows else message

    def _is_in_file(self, name: str) -> bool:
        """True if the file has these words in its code; the statement itself is searched first."""
        words = set(_WORDS.findall(name.lower()))
        if not words:
            return not self._may_come_from_rows
        if self.statement and words <= _words_of_code([self.statement]):
            return True
        return words <= self._file_words or self._is_in_literal(name[1:-1])

    def _is_in_literal(self, name: str) -> bool:
        """True if the server read the name in a string of the statement, as in nextval('a_seq')."""
        is_at_a_place = self.error.position is not None and bool(_PLAIN_NAME.fullmatch(name))
        return is_at_a_place and bool(self.statement and name in self.statement.text)

    @property
    def _may_come_from_rows(self) -> bool:
        """True if the server may have read a name in a row, and not in the file."""
        if query := self.error.internal_query:
            # PERFORM reaches the server as SELECT.
            return query.removeprefix("SELECT").strip() not in self.text
        if self.error.position is not None or self.statement is None:
            return self.error.position is None
        return not self._is_utility or bool(_KINDS_WITH_ROWS & set(self.statement.opening))

    @property
    def _is_utility(self) -> bool:
        return bool(self.statement and self.statement.command in _UTILITIES)

    @cached_property
    def _file_words(self) -> set[str]:
        return _words_of_code(self.statements)

    def _is_in_statement(self, name: str) -> bool:
        """True if the statement has these words outside of its strings."""
        return set(_WORDS.findall(name.lower())) <= self._statement_words

    @cached_property
    def _statement_words(self) -> set[str]:
        shown = masked(without_strings(self.statement.text)) if self.statement else ""
        return set(_WORDS.findall(shown.lower()))


def redacted_line(
    text: str, statements: Sequence[Statement], offset: int, *, hides_all: bool = False
) -> str | None:
    """The file's line at `offset`, marked, without the strings of statements that hold a secret.

    With `hides_all`, without any string. None if the line has rows for a COPY to be hidden.
    """
    start, end = line_bounds(text, offset)
    on_line = [s for s in statements if s.offset <= end and max(s.end, _data(s)[1]) >= start]
    hiding = [s for s in on_line if hides_all or s.is_secretive]
    if any(_data(s)[0] <= end and _data(s)[1] > start for s in hiding if s.copy_data):
        return None
    hidden = [span for statement in hiding for span in _strings(statement)]
    # The mark must not point into what is hidden: its place would tell how long that is.
    offset = next((max(first, start) for first, last in hidden if first < offset < last), offset)
    before = masked(_without(text[:offset], start, hidden))
    line = masked(_without(text[:end], start, hidden))
    number = text.count("\n", 0, offset) + 1
    return shown_line(line, min(len(before), len(line)), number=number)


def covers(statement: Statement, offset: int) -> bool:
    """True if the place in the file is within the statement, or within the rows for its COPY."""
    return statement.offset <= offset < max(statement.end, _data(statement)[1])


def _data(statement: Statement) -> tuple[int, int]:
    return statement.copy_data or (0, 0)


def _strings(statement: Statement) -> Iterator[tuple[int, int]]:
    """Where in the file the statement's strings and comments are.

    For a statement that has code in a string, DO and CREATE FUNCTION, those within that code.
    """
    is_code = statement.command == "DO" or any(word in _FUNCTIONS for word in statement.opening)
    return strings(
        statement.source[statement.offset : statement.end], statement.offset, is_code=is_code
    )


def _words_of_code(statements: Iterable[Statement]) -> set[str]:
    """The words outside of strings and comments, in lower case."""
    words: set[str] = set()
    for each in statements:
        hidden = ((first - each.offset, end - each.offset) for first, end in _strings(each))
        words.update(_WORDS.findall(_without(each.text, 0, hidden).lower()))
    return words


def _without(text: str, start: int, hidden: Iterable[tuple[int, int]]) -> str:
    """The text from `start` to its end, without the hidden spans."""
    parts: list[str] = []
    for first, last in hidden:
        if last > start and first < len(text):
            parts += [text[start : max(start, first)], f"'{HIDDEN}'"]
            start = last
    return "".join([*parts, text[start:]])
