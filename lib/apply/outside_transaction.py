"""A file outside a transaction: one statement after the other, each on record before it starts."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..database.cancel_and_rollback import Settled
from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import keepalives
from ..errors import DatabaseUnavailableError, MigrationFailedError, MigratorError, OutOfTimeError
from ..files.file_progress import Checkpoint, Interruption
from ..files.runnable_script import Script
from ..ledger.records import record_alone
from ..ledger.runs import ALL_ROWS, Contents, RunRecord, note_progress, read_contents
from ..ledger.table_trust import distrust
from ..sql.concurrent import is_concurrent, waits_without_lock_timeout
from ..sql.session_effects import resets_session
from ..sql.statement import Statement
from ..sql.transaction_control import begins_block, ends_block, may_commit_inside
from ..time_limits import CANCEL, CONNECTION_CHECK_MS, IDLE_IN_FILE, NOTE_STATEMENT
from .index_state import DUPLICATE_TABLE, Leftovers, leftovers_of
from .ledger_write_errors import FailedStep
from .resume import Recovery
from .session import GONE, Session
from .statement_errors import statement_error
from .table_waits import TableWait

T = TypeVar("T")

# The parameter that a statement may set, by SET or by set_config.
_SETS = re.compile(r"\bset(?:_config\s*\(\s*'|\s+(?:session\s+|local\s+)?)\"?(\w+)", re.IGNORECASE)


class StatementRun:
    """The run of one such file."""

    def __init__(self, session: Session, script: Script) -> None:
        self.session = session
        self.connection = session.connection
        self.script = script
        self._progress = _Progress(session, script)
        self._settings = _StatementSettings(session, script)
        self._tables = _RunnersTables(session, script)
        self._reset = ";".join(session.reset_statements(script))

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The file's progress; None before its first statement, and once it is recorded."""
        return self._progress.checkpoint

    @property
    def run(self) -> RunRecord:
        """The run, with the runner's tables as they were at the last look."""
        return self._tables.run

    def apply(self, interruption: Interruption | None) -> int | None:
        """Run the rest of the file and record it.

        Returns milliseconds, or None if another run had recorded it. What the file sets in the
        session is undone at the end, also after a failure.
        """
        try:
            with self.connection.cleaning_up_with(self._reset):
                return self._run_all(interruption)
        except BaseException:
            self._reset_session()
            raise

    def _run_all(self, interruption: Interruption | None) -> int | None:
        began = time.monotonic()
        first = (
            _resume(self.session, self.script, self._settings, interruption) if interruption else 0
        )
        for index in range(first, len(self.script.statements)):
            self._run(index)
        self._check_ended()
        return self._record(round((time.monotonic() - began) * 1000))

    def _run(self, index: int) -> None:
        statement = self.script.statements[index]
        self.session.check()
        self.session.check_strings(self.script)
        # Inside a block of the file, a note would be committed or rolled back with the block.
        if not self.connection.in_transaction:
            self._progress.note_next(index, self._tables.note_next)
            self._settings.set_up(index)
            self._progress.open_block(index)
        leftovers: Leftovers | None = None
        try:
            if not self._progress.is_in_block:
                leftovers = leftovers_of(self.connection, statement)
            self._carry_out(index, self._attempt(index, leftovers))
        except StatementError as error:
            more = leftovers.advice if leftovers else ""
            stays = self._progress.kept_before(index)
            step = FailedStep(statement, index + 1, stays=stays, more=more)
            raise statement_error(self.session, self.script, error, step) from None
        except OutOfTimeError as error:
            if self._progress.is_at_end and leftovers is None:
                # It had taken effect when it was canceled: all that is left is to record the file.
                return
            of = f"of the {len(self.script.statements)} in {self.script.file.path}"
            raise OutOfTimeError(f"{error} It was at statement {index + 1} {of}.") from None
        if leftovers and (invalid := leftovers.invalid_index_error(self.script, index)):
            self._progress.set_doubt(in_doubt=False)
            raise invalid
        if self.connection.in_transaction:
            # Nothing in the block takes effect before its COMMIT.
            self._progress.set_doubt(in_doubt=False)
        else:
            self._progress.complete(index)

    def _carry_out(self, index: int, attempt: Callable[[], Rows]) -> None:
        statement = self.script.statements[index]
        wait = TableWait(self.session, self.script, statement, index=index)
        # Of a transaction block only the whole could be tried again; a procedure may have committed
        # before it failed.
        if self._progress.is_in_block or statement.command in ("CALL", "DO"):
            wait.once(attempt)
        else:
            wait.with_retries(lambda _: attempt())

    def _attempt(self, index: int, leftovers: Leftovers | None) -> Callable[[], Rows]:
        statement = self.script.statements[index]

        def attempt() -> Rows:
            if leftovers:
                leftovers.drop()
            # From the moment the statement is sent until the server answers, nobody knows.
            self._progress.set_doubt(in_doubt=True)
            try:
                return self.connection.run(statement.sent, copy_data=statement.copy_chunks())
            except StatementError as error:
                self._progress.set_doubt(in_doubt=self._progress.may_have_committed(statement))
                self.connection.settle()
                if leftovers and error.server_error.sqlstate != DUPLICATE_TABLE:
                    leftovers.clear_away()
                raise
            except BaseException:
                self._progress.judge(index)
                raise

        return attempt

    def _check_ended(self) -> None:
        if self.connection.in_transaction:
            self.connection.settle()
            self._progress.set_doubt(in_doubt=False)
            raise _never_ended(self.script)

    def _record(self, elapsed: int) -> int | None:
        """Write the file's row; return None if another run has written one meanwhile."""
        with self.connection.extend_deadline(CANCEL):
            if not self.session.pooled:
                # A message of its own: a session that was made read-only stays so to the end of its
                # transaction.
                self.connection.run(self._reset)
            self._tables.check_last()
            try:
                self._tables.record(elapsed)
            except StatementError as error:
                if self.session.find_recorded(self.script)[0] is None:
                    step = FailedStep(None, len(self.script.statements))
                    raise statement_error(self.session, self.script, error, step) from None
                return None
            except OutOfTimeError:
                raise OutOfTimeError(
                    f"{self.script.file.path} was carried out, and could not be recorded in time; "
                    "the next run records it."
                ) from None
        self._progress.checkpoint = None
        return elapsed

    def _reset_session(self) -> None:
        """Undo what a file that failed has set; through a pooler it could set nothing."""
        self.connection.settle()
        if self.session.pooled or self.connection.is_closed:
            return
        try:
            with self.connection.extend_deadline(CANCEL):
                self.connection.run(self._reset)
        except (StatementError, MigratorError):
            self.connection.close()


def _never_ended(script: Script) -> MigrationFailedError:
    return MigrationFailedError(
        f"{script.file.path}: the file begins a transaction and never ends it; it was rolled back. "
        "Add its COMMIT.",
        version=script.file.version,
    )


def _resume(
    session: Session, script: Script, settings: "_StatementSettings", interruption: Interruption
) -> int:
    """Clear away what an earlier run left behind; return the index to resume at."""

    def clean_up(text: str) -> None:
        # As one of the file's statements: CONCURRENTLY has no lock timeout.
        statement = Statement(text, 0, len(text), terminated=False)
        settings.set_timeouts(statement)
        wait = TableWait(session, script, statement)
        wait.with_retries(lambda _: session.connection.run(text))

    recovery = Recovery(
        script=script,
        interruption=interruption,
        connection=session.connection,
        timeout=session.run_wait,
        check=session.check,
        carry_out=clean_up,
        tell=session.progress.recovering,
    )
    try:
        return recovery.first_statement()
    except StatementError as error:
        session.connection.settle()
        raise statement_error(session, script, error) from None


class _Progress:
    """How far the file is: its checkpoint, and whether a transaction block of its own is open."""

    def __init__(self, session: Session, script: Script) -> None:
        self.checkpoint: Checkpoint | None = None
        self._connection = session.connection
        self._script = script
        # The index of the BEGIN while a transaction block of the file is open.
        self._block_began: int | None = None

    @property
    def is_in_block(self) -> bool:
        """True while a transaction block of the file is open."""
        return self._block_began is not None

    @property
    def is_at_end(self) -> bool:
        """True if every statement of the file has been carried out."""
        return self.checkpoint == self._script.checkpoint(len(self._script.statements))

    def note_next(self, index: int, note: Callable[[int], Checkpoint]) -> None:
        """Record by `note` that the statement at `index`, outside any block, is next."""
        self._block_began = None
        self.checkpoint = note(index)

    def open_block(self, index: int) -> None:
        """Remember the block that the statement at `index` opens, if it opens one."""
        self._block_began = index if begins_block(self._script.statements[index]) else None

    def kept_before(self, index: int) -> int:
        """Return how many statements stay if the one at `index` fails: not those of its block."""
        return index if self._block_began is None else self._block_began

    def may_have_committed(self, statement: Statement) -> bool:
        """True if a part of the statement may stay although it failed."""
        # In a block, CALL and DO cannot commit:
        # https://www.postgresql.org/docs/current/plpgsql-transactions.html
        return may_commit_inside(statement) and not self.is_in_block

    def set_doubt(self, *, in_doubt: bool) -> None:
        """Set whether the checkpoint's statement may have taken effect."""
        if self.checkpoint:
            self.checkpoint = replace(self.checkpoint, in_doubt=in_doubt)

    def complete(self, index: int) -> None:
        """Count the statement at `index` as carried out."""
        self.checkpoint = self._script.checkpoint(index + 1)

    def judge(self, index: int) -> None:
        """Decide whether a statement that was cut off took effect, as far as the server said."""
        statement = self._script.statements[index]
        settled_as = self._connection.settled_as
        if self._connection.is_closed or settled_as is Settled.UNKNOWN:
            return
        if settled_as is Settled.FINISHED and (ends_block(statement) or not self.is_in_block):
            self.complete(index)
            return
        # A block was rolled back as a whole. For an index, the next run asks the catalog.
        may_stay = may_commit_inside(statement) or is_concurrent(statement)
        self.set_doubt(in_doubt=may_stay and not self.is_in_block)


class _StatementSettings:
    """What the runner sets in the session for each statement; the file's own settings prevail."""

    def __init__(self, session: Session, script: Script) -> None:
        self._session = session
        self._script = script
        # By parameter, the SET that is in force.
        self._current: dict[str, str] = {}
        # The parameters that the statements before the one at `_read` may have set.
        self._set_by_file: set[str] = set()
        self._read = 0

    def set_up(self, index: int) -> None:
        """Set what the statement at `index` needs, except what the file has set itself."""
        statements = self._script.statements
        if index and resets_session(statements[index - 1]):
            self._current = {}
        for earlier in statements[self._read : index]:
            self._set_by_file |= {name.lower() for name in _SETS.findall(earlier.text)}
        self._read = index
        settings = [
            *self._timeouts(statements[index]),
            *keepalives(""),
            f"set idle_in_transaction_session_timeout = '{IDLE_IN_FILE:g}s';",
        ]
        if self._session.notices_departure:
            # An index build that has lost its client is worth more when it is finished.
            check = 0 if waits_without_lock_timeout(statements[index]) else CONNECTION_CHECK_MS
            settings.append(f"set client_connection_check_interval = {check};")
        self._set([setting for setting in settings if setting.split()[1] not in self._set_by_file])

    def set_timeouts(self, statement: Statement) -> None:
        """Set the timeouts for a statement of the runner."""
        self._set(self._timeouts(statement))

    def _timeouts(self, statement: Statement) -> list[str]:
        lock_timeout = self._session.lock_timeout_of(self._script, statement)
        return self._session.timeouts(self._script, lock_timeout)

    def _set(self, settings: list[str]) -> None:
        by_name = {setting.split()[1]: setting for setting in settings}
        changed = {name: sql for name, sql in by_name.items() if self._current.get(name) != sql}
        # Through a transaction pooler a setting would reach the next client of the server session.
        if changed and not self._session.pooled:
            self._session.connection.run("".join(changed.values()))
            self._current |= changed


class _RunnersTables:
    """The runner's tables while the file runs: its progress, and whether the file changes them."""

    def __init__(self, session: Session, script: Script) -> None:
        # The files that this run has applied by now are rows like any other.
        self.run = replace(session.run, contents=ALL_ROWS)
        self._session = session
        self._script = script
        self._has_begun = False
        self._may_observe = True

    def note_next(self, index: int) -> Checkpoint:
        """Record which statement is next."""
        checkpoint = self._script.checkpoint(index)
        what = f"Statement {index + 1} of {len(self._script.statements)} is next, or under way."
        connection = self._connection(index)
        with connection.limit_to(
            NOTE_STATEMENT, "The database stopped answering between two statements."
        ):
            contents = self._ask(
                index, lambda: note_progress(connection, self.run, checkpoint, what)
            )
        self._check(index, contents)
        if not contents.is_under_way:
            raise DatabaseUnavailableError(
                "Another run has begun meanwhile, and has marked this one as interrupted: it "
                "stopped before its next step."
            )
        return checkpoint

    def check_last(self) -> None:
        """Raise if the file's last statement has changed the tables."""
        last = len(self._script.statements)
        connection = self._session.connection
        self._check(last, self._ask(last, lambda: read_contents(connection, self.run)))

    def record(self, elapsed: int) -> None:
        """Write the file's row; `elapsed` in milliseconds."""
        row = self._session.row_of(self._script, elapsed)
        self.run = record_alone(self._session.connection, self.run, row)

    def _connection(self, index: int) -> Connection:
        """The file's own, until a statement may have changed its role; then another if possible."""
        if self._may_observe and self._script.may_have_changed_session(index):
            try:
                return self._session.observer.session(timeout=CANCEL)
            except DatabaseUnavailableError:
                self._may_observe = False
        return self._session.connection

    def _ask(self, index: int, ask: Callable[[], T]) -> T:
        """Ask the tables; if they are gone after a statement of the file, that statement did it."""
        try:
            return ask()
        except StatementError as error:
            if error.server_error.sqlstate in GONE and self._has_begun:
                raise self._changed_error(index) from None
            raise distrust(error) or error from None

    def _check(self, index: int, contents: Contents) -> None:
        """Raise if the statement before the one at `index` has changed rows of the tables."""
        if not self._has_begun:
            self._has_begun = True
            self.run = replace(self.run, contents=contents)
        elif contents.word != self.run.contents.word:
            raise self._changed_error(index)

    def _changed_error(self, index: int) -> MigrationFailedError:
        file, statement = self._script.file, self._script.statements[index - 1]
        line = file.line_at(statement.offset)
        return MigrationFailedError(
            f"{file.path}:{line}: statement {index} of {len(self._script.statements)} has changed "
            "the runner's own tables, public.schema_migrations or public.schema_migration_runs, "
            f"and it ran outside a transaction, so that stays: {statement.head}\n"
            "  Put them back as they were before anything is run again, from a backup or with "
            "`baseline`: by what they hold now, files would be applied again, or production's "
            "claim is lost. Then take the statement out.",
            version=file.version,
            line=line,
        )
