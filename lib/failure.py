"""How a refusal of the server's is told: where in the file, the line there, what more the server says, what to do."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from lib.database import ScriptError
from lib.outgoing import HIDDEN, masked
from lib.place import line_around, line_shown, place_inside
from lib.script import Batch, Mode, Script
from lib.sql_lexer import strings, without_strings
from lib.statement import Statement

# The longest part of a server's message that is passed on, in characters.
LONGEST_MESSAGE = 2000
# What a file can do that fails for being one transaction: unsafe_new_enum_value_usage, out_of_memory for locks,
# invalid_transaction_termination, active_sql_transaction.
_WAYS_OUT = {
    "55P04": "The file is one transaction: put ALTER TYPE … ADD VALUE into a file of its own, before this one.",
    "53200": "The file is one transaction, which holds a lock on each table and index that it makes: cut it in two.",
    "2D000": "The file is one transaction: put `-- Transaction: none` in its header, and this commits as it does in psql.",
    "25001": "The file is one transaction: move this statement to a file of its own, or put `-- Transaction: none` in its "
    "header.",
}
# What the server quotes, in the signs of the languages that it speaks; and from the first of them to the last.
_QUOTED = re.compile(r"""(["“”„»«]).*?["“”„»«]""", re.DOTALL)
_QUOTED_VALUE = re.compile(r"""["“”„»«].*["“”„»«]""", re.DOTALL)
_AT_OR_NEAR = re.compile(r'at or near ".*"', re.DOTALL)
_WORDS = re.compile(r"\w+")
# So much of a message is looked through for secrets, in characters: cut before, half a secret might not be known for one.
_READ = 10 * LONGEST_MESSAGE
# data_exception: what the message quotes is a value.
_DATA_EXCEPTION = "22"
_FUNCTIONS = ("FUNCTION", "PROCEDURE")


@dataclass(frozen=True)
class Sent:
    """A message with statements of a file. So many `characters`, and `statements` of the runner's, stood before them."""

    batch: Batch
    characters: int = 0
    statements: int = 0

    def offset_of(self, error: ScriptError) -> int | None:
        """Where in the file the server stopped; None where it was none of the file's statements."""
        refusal, statement = error.refusal, self.statement_of(error)
        if refusal.position is not None:
            offset = self.batch.offset_in_file(refusal.position - 1 - self.characters)
            if offset is not None:
                return offset
        if statement is None:
            return None
        inside = place_inside(statement, refusal.context, refusal.internal_query, refusal.internal_position)
        return statement.offset if inside is None else inside

    def which(self, error: ScriptError, script: Script) -> str:
        """Which of the file's statements it was, where the server gave no position."""
        count, number = len(script.statements), self.batch.first + error.done - self.statements + 1
        if error.refusal.position is not None or count < 2:
            return ""
        if number > count:
            return "\n  At the file's end, where what was deferred is checked, and the file recorded."
        return f"\n  In statement {number} of {count}." if number > 0 else ""

    def is_secret(self, text: str, offset: int) -> bool:
        """Tell whether the line there, of the file's text, may show a password."""
        start, end = line_around(text, offset)
        shown = (s for s in self.batch.statements if s.offset <= end and (s.copy_data or (0, s.end))[1] >= start)
        return any(statement.is_secretive for statement in shown)

    def is_at_the_end(self, error: ScriptError) -> bool:
        """Tell whether the server stopped at a semicolon that the runner had put in."""
        position = error.refusal.position
        return position is not None and self.batch.is_put_in(position - 1 - self.characters)

    def statement_of(self, error: ScriptError) -> Statement | None:
        """The file's statement that was under way; None where it was none of them."""
        index = error.done - self.statements
        return self.batch.statements[index] if 0 <= index < len(self.batch.statements) else None


@dataclass(frozen=True)
class Failure:
    """What the server refused, and the message that it was in; None for one that held nothing of the file's."""

    script: Script
    error: ScriptError
    sent: Sent | None = None

    @property
    def offset(self) -> int | None:
        """Where in the file the server stopped."""
        return self.sent.offset_of(self.error) if self.sent else None

    @property
    def text(self) -> str:
        """The place, the server's message, the line there, and what more the server says; no secret."""
        refusal, is_secret = self.error.refusal, self._is_secret
        more = [("Hint", refusal.hint)]
        if not is_secret:
            more = [("Detail", refusal.detail), *more, ("Context", refusal.context)]
        return f"{self._place}: {self._message}{self._line()}{self._which}{self._told(more)}"

    @property
    def record(self) -> str:
        """The same for the journal: without Detail and Context, and without the values that the rest may quote."""
        refusal, message = self.error.refusal, self._message
        if refusal.sqlstate.startswith(_DATA_EXCEPTION):
            message = _QUOTED_VALUE.sub(f'"{HIDDEN}"', message)
        line = self._line(hides_all=True)
        return f"{self._place}: {message}{line}{self._which}{self._told([('Hint', refusal.hint)])}"

    @property
    def way_out(self) -> str:
        """What to do about it, where it fails for being one transaction."""
        statement = self.sent.statement_of(self.error) if self.sent else None
        # SET TRANSACTION fails with 25001 too, where it isn't the first.
        is_help = self.script.mode is Mode.TRANSACTION and not (statement and statement.command == "SET")
        sqlstate = self.error.refusal.sqlstate
        return f"\n  {_WAYS_OUT[sqlstate]}" if is_help and sqlstate in _WAYS_OUT else ""

    @property
    def _place(self) -> str:
        offset = self.offset
        return self.script.file.path if offset is None else self.script.file.place(offset)

    @property
    def _which(self) -> str:
        return self.sent.which(self.error, self.script) if self.sent else ""

    @property
    def _message(self) -> str:
        refusal = self.error.refusal
        message = refusal.message
        if self.sent and self.offset is not None and self.sent.is_at_the_end(self.error):
            message = message.replace('at or near ";"', "at end of input")
        if self._is_secret:
            message = _AT_OR_NEAR.sub(f'at or near "{HIDDEN}"', message)
        return f"{_indented(self._quoted(message))} (SQLSTATE {refusal.sqlstate})"

    def _told(self, more: Iterable[tuple[str, str | None]]) -> str:
        """What more the server says."""
        return "".join(f"\n  {name}: {_indented(self._quoted(text))}" for name, text in more if text)

    def _quoted(self, text: str) -> str:
        """A text of the server's without secrets: of what it quotes, only names that the statement has too."""
        text = masked(text[:_READ])
        if self._is_secret:
            text = _QUOTED.sub(lambda found: found.group() if self._knows(found.group()) else f'"{HIDDEN}"', text)
        return text[:LONGEST_MESSAGE]

    def _knows(self, name: str) -> bool:
        """Tell whether the statement has these words outside of its strings."""
        return set(_WORDS.findall(name.lower())) <= self._words

    @cached_property
    def _words(self) -> set[str]:
        shown = masked(without_strings(self._statement.text)) if self._statement else ""
        return set(_WORDS.findall(shown.lower()))

    @cached_property
    def _statement(self) -> Statement | None:
        """The statement of the file that the server refused."""
        offset = self.offset
        if offset is None:
            return self.sent.statement_of(self.error) if self.sent else None
        return next((s for s in self.script.statements if s.offset <= offset < max(s.end, _data(s)[1])), None)

    @property
    def _is_secret(self) -> bool:
        return bool(self._statement and self._statement.is_secretive)

    def _line(self, *, hides_all: bool = False) -> str:
        """The line there, without the strings of whatever on it may hold a secret; or without any, if it `hides_all`.

        Rows for a COPY are not shown where any of them is to be hidden.
        """
        file, offset = self.script.file, self.offset
        if offset is None:
            return ""
        start, end = line_around(file.text, offset)
        there = [s for s in self.script.statements if s.offset <= end and max(s.end, _data(s)[1]) >= start]
        hiding = [s for s in there if hides_all or s.is_secretive]
        if any(_data(s)[0] <= end and _data(s)[1] > start for s in hiding if s.copy_data):
            return ""
        hidden = [span for statement in hiding for span in _strings(statement)]
        offset = next((max(a, start) for a, b in hidden if a < offset < b), offset)
        before = masked(_without(file.text[:offset], start, hidden))
        line = masked(_without(file.text[:end], start, hidden))
        return f"\n{line_shown(line, min(len(before), len(line)), number=file.line_at(offset))}"


def _data(statement: Statement) -> tuple[int, int]:
    return statement.copy_data or (0, 0)


def _strings(statement: Statement) -> Iterator[tuple[int, int]]:
    """Where in the file its strings and comments are; those of the code, where it is code that it has in a string."""
    is_code = statement.command == "DO" or any(word in _FUNCTIONS for word in statement.opening)
    return strings(statement.source[statement.offset : statement.end], statement.offset, is_code=is_code)


def _without(text: str, start: int, hidden: Iterable[tuple[int, int]]) -> str:
    """The text from `start` to its end, without what is hidden."""
    parts: list[str] = []
    for first, last in hidden:
        if last > start and first < len(text):
            parts += [text[start : max(start, first)], f"'{HIDDEN}'"]
            start = last
    return "".join([*parts, text[start:]])


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
