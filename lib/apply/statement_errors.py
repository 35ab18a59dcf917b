"""The error for a statement that failed: the place in the file, the server's words, the way out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .. import COMMAND
from ..database import read_only
from ..database.server_error import ServerError, StatementError
from ..errors import BusyTableError, MigrationFailedError, MigratorError
from ..files.runnable_script import Mode, Script
from ..plan.blockers import Blocker, describe_blockers
from ..plan.local_remedies import local_remedy
from ..secret_patterns import HIDDEN
from ..sql.error_position import offset_of
from ..sql.redaction import ALREADY_EXISTS, Redactor, covers, redacted_line
from ..sql.statement import Statement
from .ledger_write_errors import FailedStep, recording_error
from .session import LOCK_CONFLICTS, Session

# What to do about a statement that fails because the file is one transaction:
# unsafe_new_enum_value_usage, out_of_memory (for locks), invalid_transaction_termination,
# active_sql_transaction.
_WAYS_OUT = {
    "55P04": (
        "The file is one transaction: put ALTER TYPE … ADD VALUE into a file of its own, before "
        "this one."
    ),
    "53200": (
        "The file is one transaction, which holds a lock on each table and index that it makes: "
        "cut it in two."
    ),
    "2D000": (
        "The file is one transaction: put `-- Transaction: none` in its header, and this commits "
        "as it does in psql."
    ),
    "25001": (
        "The file is one transaction: move this statement to a file of its own, or put "
        "`-- Transaction: none` in its header."
    ),
}
# object_in_use, in a transaction of the file or in a block of its own.
_IN_USE = "55006"
_PENDING_EVENTS = (
    "If it has pending trigger events: what earlier statements of the file have changed is checked "
    "at the file's end (deferred constraints). Put `set constraints all immediate;` before this "
    "statement, or this statement into a file of its own, after this one."
)
# The other reasons with that SQLSTATE, as far as the server gives them in English.
_IN_USE_OTHERWISE = re.compile(r"active quer|is active|accessed by")
# invalid_table_definition, as for a second primary key, and unique_violation: `if not exists` has
# passed over a table that exists, and a later statement met what that table holds.
_EXISTS_IN_PART = ("42P16", "23505")
_IN_THE_LOG = f"What is shown as {HIDDEN} may be data of rows: the build log has it."


def statement_error(
    session: Session, script: Script, error: StatementError, step: FailedStep | None = None
) -> MigratorError:
    """The error for what the server refused while `script` was applied.

    `step` is what was under way; None for statements of the runner around a file.
    """
    if fault := recording_error(session, script, error, step):
        return fault
    refused = error.server_error
    remedy = local_remedy(refused.sqlstate, refused.message) if session.is_embedded else ""
    failure = _Failure(script, error, step, remedy)
    if failure.sqlstate in LOCK_CONFLICTS:
        return _busy_table_error(failure, session.observer.blockers)
    return _failed_error(failure, session)


def _busy_table_error(failure: "_Failure", blockers: tuple[Blocker, ...]) -> BusyTableError:
    # The journal gets no query of another session: it may hold data.
    unquoted = tuple(replace(blocker, query=None) for blocker in blockers)
    busy = BusyTableError(
        failure.text + _busy_text(failure, blockers),
        version=failure.script.file.version,
        sqlstate=failure.sqlstate,
    )
    return busy.recorded_as(failure.record + _busy_text(failure, unquoted))


def _busy_text(failure: "_Failure", blockers: tuple[Blocker, ...]) -> str:
    held_up = f"\n  It was held up by {describe_blockers(blockers)}." if blockers else ""
    after = _what_stays(failure) or " Nothing of it was applied; run it again later."
    return (
        f"{held_up}{_about_autovacuum(blockers)}\n"
        f"  A table it needs stayed busy through every try.{after}"
    )


def _about_autovacuum(blockers: Sequence[Blocker]) -> str:
    """How to get past an autovacuum (PostgreSQL manual, "Routine Vacuuming")."""
    if any(blocker.prevents_wraparound for blocker in blockers):
        return (
            "\n  An autovacuum that prevents transaction ID wraparound does not give way: wait "
            "until it has ended. After pg_cancel_backend it would soon start again."
        )
    if any(blocker.gives_way for blocker in blockers):
        return (
            "\n  An autovacuum gives way to a session that waits for longer than deadlock_timeout "
            "(1 s by default): let the file wait longer, by `Lock-Timeout` in its header or by "
            "its own SET."
        )
    return ""


def _failed_error(failure: "_Failure", session: Session) -> MigrationFailedError:
    file, offset = failure.script.file, failure.offset
    end = _ways_out(failure, session) + _what_stays(failure)
    # The text is for the log; the journal gets one without data of rows.
    failed = MigrationFailedError(
        failure.text + end,
        version=file.version,
        sqlstate=failure.sqlstate,
        line=None if offset is None else file.line_at(offset),
        column=None if offset is None else file.column_at(offset),
    )
    return failed.recorded_as(failure.record + end)


def _ways_out(failure: "_Failure", session: Session) -> str:
    if session.is_ledgers:
        return _way_out(failure) + _way_out_of_existing(failure, is_new=session.is_new)
    way_out = failure.remedy or session.ways_out.get(failure.sqlstate)
    return f"\n  {way_out}" if way_out else ""


def _way_out(failure: "_Failure") -> str:
    """What to do about a statement that fails in one transaction, or for what the server lacks."""
    if failure.remedy:
        return f"\n  {failure.remedy}"
    if failure.sqlstate == _IN_USE:
        is_other = _IN_USE_OTHERWISE.search(failure.server_error.message)
        return "" if is_other else f"\n  {_PENDING_EVENTS}"
    if failure.sqlstate == read_only.SQLSTATE:
        return f"\n  {read_only.MEANWHILE}"
    way_out = _WAYS_OUT.get(failure.sqlstate)
    statement = failure.step.statement if failure.step else None
    # SET TRANSACTION fails with 25001, too, if it is not the first statement.
    is_set = statement is not None and statement.command == "SET"
    is_help = failure.script.mode is Mode.TRANSACTION and not is_set
    return f"\n  {way_out}" if way_out and is_help else ""


def _way_out_of_existing(failure: "_Failure", *, is_new: bool) -> str:
    """How to record what exists already instead of running it.

    `is_new` if no file but the ledger's own was on record before the run.
    """
    if failure.sqlstate not in (ALREADY_EXISTS + _EXISTS_IN_PART if is_new else ALREADY_EXISTS):
        return ""
    # By its full version: a number might be that of another file by the time it is pasted.
    version = failure.script.file.version
    command = f"{COMMAND} baseline {version}"
    if not is_new:
        return (
            "\n  If all that this file does is there already, record it in place of running it: "
            f"{command}"
        )
    return (
        "\n  No file but the ledger's own was on record here before this run. If the database had "
        "its tables already, record the files that would make them in place of running them: "
        f"{command}\n"
        f"  That records the files up to and including {version}; name the last one whose work is "
        "there. Run it from your own machine, with MIGRATION_DATABASE_URL and "
        "MIGRATION_ENVIRONMENT set for this database."
    )


def _what_stays(failure: "_Failure") -> str:
    """What stays of a file outside a transaction."""
    step = failure.step
    if step is None:
        return ""
    if failure.script.mode is not Mode.STATEMENTS or step.stays < 1:
        return step.more
    return (
        "\n  What ran outside a transaction before it stays: "
        f"{step.stays} of the file's statements. The next run goes on after them.{step.more}"
    )


@dataclass(frozen=True)
class _Failure:
    """What the server refused, and what was under way; None if it was none of a file's steps.

    `remedy` is what to do about it on the embedded PostgreSQL.
    """

    script: Script
    error: StatementError
    step: FailedStep | None
    remedy: str = ""

    @property
    def server_error(self) -> ServerError:
        return self.error.server_error

    @property
    def sqlstate(self) -> str:
        return self.server_error.sqlstate

    @cached_property
    def offset(self) -> int | None:
        """Where in the file the server stopped; None if at none of the file's statements."""
        statement = self.step.statement if self.step else None
        return None if statement is None else offset_of(statement, self.server_error)

    @property
    def text(self) -> str:
        """For the log: the place, the message, the line, what else the server says; no secret."""
        more = [("Hint", self._hint)]
        # Detail and Context quote values, which may be the secret itself.
        if not self._redactor.is_secret:
            more = [
                ("Detail", self.server_error.detail),
                *more,
                ("Context", self.server_error.context),
            ]
        return (
            f"{self._place}: {self._message}{self._state}{self._line()}{self._which}"
            f"{self._parts(more)}"
        )

    @property
    def record(self) -> str:
        """For the journal: the same without Detail and Context, and without data of rows."""
        message, hint = self._message, self._parts([("Hint", self._hint)])
        shown, advice = self._redactor.without_data(message, hint)
        more = "" if (shown, advice) == (message, hint) else f"\n  {_IN_THE_LOG}"
        line = self._line(hides_all=True)
        return f"{self._place}: {shown}{self._state}{line}{self._which}{advice}{more}"

    @property
    def _hint(self) -> str | None:
        """The server's hint, unless a better one is known."""
        return None if self.remedy else self.server_error.hint

    @cached_property
    def _redactor(self) -> Redactor:
        return Redactor(
            self.server_error, self.script.file.text, self.script.statements, self._statement
        )

    @property
    def _statement(self) -> Statement | None:
        """The statement of the file that the server refused."""
        offset = self.offset
        if offset is None:
            return self.step.statement if self.step else None
        return next((s for s in self.script.statements if covers(s, offset)), None)

    @property
    def _place(self) -> str:
        file = self.script.file
        return file.path if self.offset is None else file.place(self.offset)

    @property
    def _message(self) -> str:
        return _indented(self._redactor.message)

    @property
    def _state(self) -> str:
        return f" (SQLSTATE {self.sqlstate})"

    def _line(self, *, hides_all: bool = False) -> str:
        if self.offset is None:
            return ""
        text, statements = self.script.file.text, self.script.statements
        line = redacted_line(text, statements, self.offset, hides_all=hides_all)
        return "" if line is None else f"\n{line}"

    @property
    def _which(self) -> str:
        """Which of the file's statements it was, if the server gave no position."""
        count = len(self.script.statements)
        if self.step is None or self.server_error.position is not None or count < 2:
            return ""
        if self.step.statement is None:
            return (
                "\n  At the file's end, where what was deferred is checked, and the file recorded."
            )
        return f"\n  In statement {self.step.number} of {count}."

    def _parts(self, parts: Iterable[tuple[str, str | None]]) -> str:
        """What the server says beside its message, each part on a line with its name."""
        return "".join(
            f"\n  {name}: {_indented(self._redactor.without_secrets(text))}"
            for name, text in parts
            if text
        )


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
