"""How an error from the server is told: where in the file, the line there, what more the server says, what to do."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .. import COMMAND
from ..database import read_only
from ..database.server_error import ServerError, StatementError
from ..files.script import Mode, Script
from ..masking import masked
from ..secret_patterns import HIDDEN
from ..sql.error_position import line_around, line_shown, place_inside
from ..sql.lexer import end_of_last_token, strings, without_strings
from ..sql.statement import Statement

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
# object_in_use, in a transaction of the file or in a block of its own.
_IN_USE = "55006"
_PENDING_EVENTS = (
    "If it has pending trigger events: what earlier statements of the file have changed is to be checked at its end "
    "(deferred constraints). Put `set constraints all immediate;` before this statement, or this statement into a file of "
    "its own, after this one."
)
# The same SQLSTATE's other reasons, as far as the server says them in English.
_IN_USE_OTHERWISE = re.compile(r"active quer|is active|accessed by")
# duplicate_schema, duplicate_table, duplicate_column, duplicate_object, duplicate_function.
ALREADY_EXISTS = ("42P06", "42P07", "42701", "42710", "42723")
# A second primary key, and rows that are there: what `if not exists` has let through to on a database with tables.
EXISTS_IN_PART = ("42P16", "23505")
# What the server quotes, in the signs of the languages that it speaks; and from the first of them to the last.
_QUOTED = re.compile(r"""(["“”„»«]).*?(?:["“”„»«]|\Z)""", re.DOTALL)
_QUOTED_VALUE = re.compile(r"""["“”„»«].*["“”„»«]|["“”„»«].*\Z""", re.DOTALL)
_AT_OR_NEAR = re.compile(r'at or near ".*"', re.DOTALL)
_WORDS = re.compile(r"\w+")
# So much of a message is looked through for secrets, in characters: cut before, half a secret might not be known for one.
_READ = 10 * LONGEST_MESSAGE
# data_exception: what the message quotes is a value.
_DATA_EXCEPTION = "22"
# What the message quotes is the name of what is there: integrity_constraint_violation, invalid_table_definition,
# invalid_object_definition, ambiguous_column, grouping_error, datatype_mismatch, wrong_object_type, invalid_foreign_key,
# generated_always, insufficient_privilege, dependent_objects_still_exist, unsafe_new_enum_value_usage.
_NAMES_WHAT_IS = (
    "23", "42P16", "42P17", "42702", "42803", "42804", "42809", "42830", "428C9", "42501", "2BP01", "55P04"
)  # fmt: skip
# A value without quotes: at the end, and the bytes of a letter.
_BARE_VALUE = re.compile(r"(?<=: )[^\"]*\d[^\"]*\Z|\b0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")
_PLAIN_NAME = re.compile(r"[a-z_][\w.]*")
# undefined_column, undefined_function: the name may stand there without quotes.
_UNQUOTED = ("42703", "42883")
# raise_exception and assert_failure; and what a context begins with, in every language, where it was raised with another
# SQLSTATE, or in another language than PL/pgSQL.
_RAISED = ("P0001", "P0004")
_AT_RAISE = re.compile(r"[^\n]*(?:\bRAISE|\bASSERT|PL/(?!pgSQL))")
_RAISE = re.compile(r"\b(?:raise|assert)\b(?:[^;']|'[^']*'){0,2000}", re.IGNORECASE)
_PARTS = re.compile(r"[^\s'\"]+")
_PUNCTUATION = ".,:;!?()[]{}<>%|"
_SEVERAL_HIDDEN = re.compile(rf"{HIDDEN}(?:\s+{HIDDEN})+")
_IN_THE_LOG = f"What is shown as {HIDDEN} may be data of rows: the build log has it."
_FUNCTIONS = ("FUNCTION", "PROCEDURE")
# Statements that run no SQL made of rows, and those kinds of them that may read rows.
_UTILITIES = ("CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "SECURITY")
_KINDS_WITH_ROWS = {"TABLE", "VIEW", "INDEX"}


@dataclass(frozen=True)
class Sent:
    """What was under way when the server refused it: a statement of the file, or, None, one of the runner's own.

    `number` is the statement's place in the file, counted from 1. `is_at_end` where the server was at what the file had
    put off: its deferred constraints.
    """

    statement: Statement | None
    number: int
    is_at_end: bool = False

    def offset_of(self, server_error: ServerError) -> int | None:
        """Where in the file the server stopped; None where it was none of the file's statements."""
        statement = self.statement
        if statement is None:
            return None
        if server_error.position is not None:
            # Past its last character is "at end of input".
            last = statement.offset + end_of_last_token(
                statement.source[statement.offset : statement.end]
            )
            return min(statement.sent_from + server_error.position - 1, last)
        inside = place_inside(
            statement,
            server_error.context,
            server_error.internal_query,
            server_error.internal_position,
        )
        return statement.offset if inside is None else inside

    def which(self, server_error: ServerError, script: Script) -> str:
        """Which of the file's statements it was, where the server gave no position."""
        count = len(script.statements)
        if server_error.position is not None or count < 2:
            return ""
        if self.statement is None:
            return (
                "\n  At the file's end, where what was deferred is checked, and the file recorded."
            )
        return f"\n  In statement {self.number} of {count}."


@dataclass(frozen=True)
class Failure:
    """What the server refused, and what was under way; None for what was none of a file's steps."""

    script: Script
    error: StatementError
    sent: Sent | None = None

    @property
    def offset(self) -> int | None:
        """Where in the file the server stopped."""
        return self.sent.offset_of(self.error.server_error) if self.sent else None

    @property
    def text(self) -> str:
        """The place, the server's message, the line there, and what more the server says; no secret."""
        server_error, is_secret = self.error.server_error, self._is_secret
        more = [("Hint", server_error.hint)]
        if not is_secret:
            more = [("Detail", server_error.detail), *more, ("Context", server_error.context)]
        return f"{self._place}: {self._message}{self._state}{self._line()}{self._which}{self._told(more)}"

    @property
    def record(self) -> str:
        """The same for the journal: without Detail and Context, and without the values that the rest may quote."""
        line, message, hint = (
            self._line(hides_all=True),
            self._message,
            self._told([("Hint", self.error.server_error.hint)]),
        )
        shown, advice = self._without_values(message), hint
        if self._is_raised:
            shown, advice = self._as_in_file(message), self._as_in_file(hint)
        more = "" if (shown, advice) == (message, hint) else f"\n  {_IN_THE_LOG}"
        return f"{self._place}: {shown}{self._state}{line}{self._which}{advice}{more}"

    @property
    def way_out(self) -> str:
        """What to do about it, where it fails for being one transaction."""
        server_error = self.error.server_error
        if server_error.sqlstate == _IN_USE:
            return (
                "" if _IN_USE_OTHERWISE.search(server_error.message) else f"\n  {_PENDING_EVENTS}"
            )
        if server_error.sqlstate == read_only.SQLSTATE:
            return f"\n  {read_only.MEANWHILE}"
        statement = self.sent.statement if self.sent else None
        # SET TRANSACTION fails with 25001 too, where it isn't the first.
        is_help = self.script.mode is Mode.TRANSACTION and not (
            statement and statement.command == "SET"
        )
        return (
            f"\n  {_WAYS_OUT[server_error.sqlstate]}"
            if is_help and server_error.sqlstate in _WAYS_OUT
            else ""
        )

    def way_out_of_existing(self, *, is_new: bool) -> str:
        """How to record what is there already in place of running it; `is_new` where nothing was on record before."""
        if self.error.server_error.sqlstate not in (
            ALREADY_EXISTS + EXISTS_IN_PART if is_new else ALREADY_EXISTS
        ):
            return ""
        version = self.script.file.version
        command = f"{COMMAND} baseline {version}"
        if not is_new:
            return f"\n  If all that this file does is there already, record it in place of running it: {command}"
        return (
            "\n  No file but the ledger's own was on record here before this run. If the database had its tables already, "
            f"record the files that would make them in place of running them: {command}\n"
            f"  That records the files up to and including {version}; name the last one whose work is there. Run it from "
            "your own machine, with MIGRATION_DATABASE_URL and MIGRATION_ENVIRONMENT set for this database."
        )

    @property
    def _place(self) -> str:
        offset = self.offset
        return self.script.file.path if offset is None else self.script.file.place(offset)

    @property
    def _which(self) -> str:
        return self.sent.which(self.error.server_error, self.script) if self.sent else ""

    @property
    def _message(self) -> str:
        server_error = self.error.server_error
        message = server_error.message
        if self._is_secret:
            message = _AT_OR_NEAR.sub(f'at or near "{HIDDEN}"', message)
        return _indented(self._quoted(message))

    @property
    def _state(self) -> str:
        return f" (SQLSTATE {self.error.server_error.sqlstate})"

    @property
    def _is_raised(self) -> bool:
        """Tell whether somebody's code has written the message, and not the server."""
        server_error = self.error.server_error
        return server_error.sqlstate in _RAISED or bool(_AT_RAISE.match(server_error.context or ""))

    def _as_in_file(self, text: str) -> str:
        """What was raised, and of it only the words that a RAISE of the file has itself: the others may be of rows."""
        raised = re.sub(r"\\[nrt]", " ", " ".join(_RAISE.findall(self.script.file.text)))
        known = {part.strip(_PUNCTUATION) for part in _PARTS.findall(raised)} | {"", "Hint", HIDDEN}
        text = _PARTS.sub(
            lambda part: part[0] if part[0].strip(_PUNCTUATION) in known else HIDDEN, text
        )
        return _SEVERAL_HIDDEN.sub(HIDDEN, text)

    def _without_values(self, message: str) -> str:
        """The server's message without what it may quote of a row; it keeps the names that the file has, too."""
        sqlstate = self.error.server_error.sqlstate
        if sqlstate.startswith(_DATA_EXCEPTION):
            return _BARE_VALUE.sub(HIDDEN, _QUOTED_VALUE.sub(f'"{HIDDEN}"', message))
        if sqlstate.startswith(_NAMES_WHAT_IS) or (sqlstate in ALREADY_EXISTS and self._is_utility):
            return message
        for found in _QUOTED.finditer(message):
            if not self._is_in_file(found.group()):
                # A value may hold such signs itself.
                return message[: found.start()] + _QUOTED_VALUE.sub(
                    f'"{HIDDEN}"', message[found.start() :]
                )
        is_bare = sqlstate in _UNQUOTED and not _QUOTED.search(message)
        return HIDDEN if is_bare and self._may_be_of_rows else message

    def _is_in_file(self, name: str) -> bool:
        """Tell whether the file has these words outside of its strings, the statement itself being looked at first."""
        words = set(_WORDS.findall(name.lower()))
        if not words:
            return not self._may_be_of_rows
        if self._statement and words <= _words_of_code([self._statement]):
            return True
        return words <= self._file_words or self._is_in_literal(name[1:-1])

    def _is_in_literal(self, name: str) -> bool:
        """Tell whether the server has read a name in a string where the file has it, as in `nextval('a_seq')`."""
        is_there = self.error.server_error.position is not None and bool(
            _PLAIN_NAME.fullmatch(name)
        )
        return is_there and bool(self._statement and name in self._statement.text)

    @cached_property
    def _file_words(self) -> set[str]:
        return _words_of_code(self.script.statements)

    @property
    def _may_be_of_rows(self) -> bool:
        """Tell whether the server may have read a name in a row, and not in the file."""
        server_error, statement = self.error.server_error, self._statement
        if query := server_error.internal_query:
            # PERFORM reaches the server as SELECT.
            return query.removeprefix("SELECT").strip() not in self.script.file.text
        if server_error.position is not None or statement is None:
            return server_error.position is None
        return not self._is_utility or bool(_KINDS_WITH_ROWS & set(statement.opening))

    @property
    def _is_utility(self) -> bool:
        return bool(self._statement and self._statement.command in _UTILITIES)

    def _told(self, more: Iterable[tuple[str, str | None]]) -> str:
        """What more the server says."""
        return "".join(
            f"\n  {name}: {_indented(self._quoted(text))}" for name, text in more if text
        )

    def _quoted(self, text: str) -> str:
        """A text of the server's without secrets: of what it quotes, only names that the statement has too."""
        text = masked(text[:_READ])
        if self._is_secret:
            text = _QUOTED.sub(
                lambda found: found.group() if self._knows(found.group()) else f'"{HIDDEN}"', text
            )
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
            return self.sent.statement if self.sent else None
        return next(
            (s for s in self.script.statements if s.offset <= offset < max(s.end, _data(s)[1])),
            None,
        )

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
        there = [
            s
            for s in self.script.statements
            if s.offset <= end and max(s.end, _data(s)[1]) >= start
        ]
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
    return strings(
        statement.source[statement.offset : statement.end], statement.offset, is_code=is_code
    )


def _words_of_code(statements: Iterable[Statement]) -> set[str]:
    """The words that stand outside of strings and comments, in lower case."""
    words: set[str] = set()
    for each in statements:
        hidden = ((first - each.offset, end - each.offset) for first, end in _strings(each))
        words.update(_WORDS.findall(_without(each.text, 0, hidden).lower()))
    return words


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
