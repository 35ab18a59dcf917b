"""How a refusal of the server's is told: where in the file, the line there, what more the server says, what to do."""

import re
from dataclasses import dataclass

from lib import read_only
from lib.database import Refusal, ScriptError
from lib.place import excerpt, line_around, place_inside
from lib.script import Mode, Script
from lib.sql_lexer import end_of_last_token
from lib.statement import Statement, is_secretive

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
_AT_OR_NEAR = re.compile(r'at or near ".*"')


@dataclass(frozen=True)
class Sent:
    """What was under way when the server refused it: a statement of the file, or, None, one of the runner's own.

    `number` is the statement's place in the file, counted from 1. `is_at_end` where the server was at what the file had
    put off: its deferred constraints.
    """

    statement: Statement | None
    number: int
    is_at_end: bool = False

    def offset_of(self, refusal: Refusal) -> int | None:
        """Where in the file the server stopped; None where it was none of the file's statements."""
        statement = self.statement
        if statement is None:
            return None
        if refusal.position is not None:
            # Past its last character is "at end of input".
            last = statement.offset + end_of_last_token(statement.source[statement.offset : statement.end])
            return min(statement.sent_from + refusal.position - 1, last)
        inside = place_inside(statement, refusal.context, refusal.internal_query, refusal.internal_position)
        return statement.offset if inside is None else inside

    def which(self, refusal: Refusal, script: Script) -> str:
        """Which of the file's statements it was, where the server gave no position."""
        count = len(script.statements)
        if refusal.position is not None or count < 2:
            return ""
        if self.statement is None:
            return "\n  At the file's end, where what was deferred is checked, and the file recorded."
        return f"\n  In statement {self.number} of {count}."

    def is_secret(self, script: Script, offset: int) -> bool:
        """Tell whether the line there, of the file's text, may show a password."""
        start, end = line_around(script.file.text, offset)
        shown = (s for s in script.statements if s.offset <= end and (s.copy_data or (0, s.end))[1] >= start)
        return any(statement.is_secretive for statement in shown)


@dataclass(frozen=True)
class Failure:
    """What the server refused, and what was under way; None for what was none of a file's steps."""

    script: Script
    error: ScriptError
    sent: Sent | None = None

    @property
    def offset(self) -> int | None:
        """Where in the file the server stopped."""
        return self.sent.offset_of(self.error.refusal) if self.sent else None

    @property
    def text(self) -> str:
        """The place, the server's message, the line there, and what more the server says; no password."""
        file, refusal, offset = self.script.file, self.error.refusal, self.offset
        place = file.path if offset is None else file.place(offset)
        if self.sent is None or offset is None:
            return f"{place}: {_message(refusal)}{self._which}{_details(refusal)}"
        message = _message(refusal)
        if self.sent.is_secret(self.script, offset):
            message = _AT_OR_NEAR.sub('at or near "…"', message)
            return f"{place}: {message}{self._which}"
        return f"{place}: {message}\n{excerpt(file.text, offset)}{self._which}{_details(refusal)}"

    @property
    def _which(self) -> str:
        return self.sent.which(self.error.refusal, self.script) if self.sent else ""

    @property
    def way_out(self) -> str:
        """What to do about it, where it fails for being one transaction."""
        refusal = self.error.refusal
        if refusal.sqlstate == _IN_USE:
            return "" if _IN_USE_OTHERWISE.search(refusal.message) else f"\n  {_PENDING_EVENTS}"
        if refusal.sqlstate == read_only.SQLSTATE:
            return f"\n  {read_only.MEANWHILE}"
        statement = self.sent.statement if self.sent else None
        # SET TRANSACTION fails with 25001 too, where it isn't the first.
        is_help = self.script.mode is Mode.TRANSACTION and not (statement and statement.command == "SET")
        return f"\n  {_WAYS_OUT[refusal.sqlstate]}" if is_help and refusal.sqlstate in _WAYS_OUT else ""

    def way_out_of_existing(self, *, is_new: bool) -> str:
        """How to record what is there already in place of running it; `is_new` where nothing was on record before."""
        if self.error.refusal.sqlstate not in (ALREADY_EXISTS + EXISTS_IN_PART if is_new else ALREADY_EXISTS):
            return ""
        version = self.script.file.version
        command = f"python -m lib baseline {version}"
        if not is_new:
            return f"\n  If all that this file does is there already, record it in place of running it: {command}"
        return (
            "\n  No file but the ledger's own was on record here before this run. If the database had its tables already, "
            f"record the files that would make them in place of running them: {command}\n"
            f"  That records the files up to and including {version}; name the last one whose work is there. Run it from "
            "your own machine, with MIGRATION_DATABASE_URL and MIGRATION_ENVIRONMENT set for this database."
        )


def _message(refusal: Refusal) -> str:
    return f"{_indented(refusal.message[:LONGEST_MESSAGE])} (SQLSTATE {refusal.sqlstate})"


def _details(refusal: Refusal) -> str:
    """What more the server says, but for what may show a password."""
    shown = ((name, text) for name, text in refusal.more if not is_secretive(text))
    return "".join(f"\n  {name}: {_indented(text[:LONGEST_MESSAGE])}" for name, text in shown)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
