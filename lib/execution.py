"""One file, once: its statements and its ledger row on a connection, tried again while a table is busy."""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lib import ledger
from lib.database import CANCEL_PATIENCE, Connection, Refusal, Rows, ScriptError
from lib.duration import milliseconds
from lib.errors import BusyTableError, MigrationFailedError, MigratorError, OutOfTimeError
from lib.migration_files import MigrationFile
from lib.plan import AppliedMigration
from lib.script import Mode, Script

# lock_not_available and deadlock_detected: the server rolled the file back, and it may go through the next time.
LOCK_CONFLICTS = ("55P03", "40P01")
# A pause between two tries, in lock timeouts: long, so that the application's queries have most of the wait.
PAUSE = (4.0, 6.0)
# active_sql_transaction: the statement "cannot run inside a transaction block", which its words didn't tell.
REFUSES_TRANSACTION = "25001"
_SETS_TIMEOUT = re.compile(r"\b(?:lock|statement)_timeout\b", re.IGNORECASE)
# The longest part of a server's message that is passed on, in characters.
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Execution:
    """How files are run: on which connection, for which run, with which patience (seconds) towards busy tables.

    `pooled` when a transaction pooler is in between, where nothing may be set for a session. `on_retry` hears of a try that
    failed for want of a lock, and of the pause that follows, in seconds.
    """

    connection: Connection
    connect: Callable[[], Connection]
    pooled: bool
    run_id: int
    lock_timeout: float
    lock_retries: int
    on_retry: Callable[[MigrationFile, str, float], None]

    def apply(self, script: Script) -> int | None:
        """Run the script and record it; returns the milliseconds it took, or None if another run had applied it.

        Raises MigrationFailedError or BusyTableError with the place in the file, OutOfTimeError at the connection's
        deadline. A file in a transaction is then rolled back; of another the statements before the failure stay.
        """
        if script.mode is Mode.TRANSACTION:
            return self._apply_in_transaction(script)
        try:
            return self._apply_statements(script)
        except BaseException:
            self._reset_session()
            raise

    def _apply_in_transaction(self, script: Script) -> int | None:
        """The whole file and its ledger row in one message: both commit, or neither."""
        timeouts = _timeouts(script, self.lock_timeout, scope="local ")
        begin = f"begin {script.begin_options};" + "".join(timeouts)
        reset = "set constraints all immediate;" + ledger.reset_script() if script.may_change_session else ""
        message = f"{begin}{script.sql}\n{reset}{self._record(script)}commit"
        try:
            rows = self._with_retries(script, lambda: self.connection.run(message, copy_data=script.copy_data))
        except (ScriptError, OutOfTimeError) as error:
            self.connection.settle()
            if recorded := self._recorded(script):
                elapsed, ours = recorded
                return elapsed if ours else None
            if isinstance(error, ScriptError):
                if error.refusal.sqlstate == REFUSES_TRANSACTION and len(script.statements) == 1:
                    return self.apply(replace(script, mode=Mode.ALONE))
                raise _failed(script, error, done=error.done - 1 - len(timeouts), sent_before=len(begin)) from None
            raise
        return int(rows[-1][0] or 0)

    def _recorded(self, script: Script) -> tuple[int, bool] | None:
        if self.connection.raw.closed:
            return None
        with self.connection.granted(CANCEL_PATIENCE):
            return ledger.find(self.connection, self.run_id, script.file.version)

    def _apply_statements(self, script: Script) -> int:
        """One statement after the other, each noted before it starts; the ledger row right after the last."""
        began = time.monotonic()
        timeouts: list[str] = []
        with self._journal(script) as journal:
            for index in range(len(script.statements)):
                if not self.connection.in_transaction:
                    ledger.note_progress(journal, self.run_id, script.file.version, index + 1)
                    timeouts = self._set_timeouts(script, index, timeouts)
                self._run_statement(script, index)
        self._check_ended(script)
        elapsed = round((time.monotonic() - began) * 1000)
        with self.connection.granted(CANCEL_PATIENCE):
            if not self.pooled:
                # A message of its own: a session that was made read-only is so to the end of its transaction.
                self.connection.run(ledger.reset_script())
            self.connection.run(self._record(script, elapsed))
        return elapsed

    @contextmanager
    def _journal(self, script: Script) -> Iterator[Connection]:
        """Where progress is noted: not in the file's own session, which may have another role by then, or be read-only."""
        if len(script.statements) == 1:
            yield self.connection
        else:
            with self.connect() as journal:
                yield journal

    def _set_timeouts(self, script: Script, index: int, current: list[str]) -> list[str]:
        """Set what the next statement needs, unless the file has set a timeout of its own by then."""
        if self.pooled or any(_SETS_TIMEOUT.search(earlier.text) for earlier in script.statements[:index]):
            return current
        statement = script.statements[index]
        default = 0.0 if statement.waits_without_lock_timeout else self.lock_timeout
        wanted = _timeouts(script, default, scope="")
        if wanted != current:
            self.connection.run("".join(wanted))
        return wanted

    def _reset_session(self) -> None:
        """Undo what a file that failed outside a transaction has set; through a pooler it could set nothing."""
        self.connection.settle()
        if self.pooled or self.connection.raw.closed:
            return
        try:
            with self.connection.granted(CANCEL_PATIENCE):
                self.connection.run(ledger.reset_script())
        except (ScriptError, MigratorError):
            self.connection.raw.close()

    def _run_statement(self, script: Script, index: int) -> None:
        statement = script.statements[index]
        copy_data = () if statement.copy_data is None else (statement.copy_data,)
        # Inside a transaction of the file's own only the whole of it could be tried again; a CONCURRENTLY that failed
        # has left an invalid index behind; a procedure may have committed before it failed.
        once = self.connection.in_transaction or statement.is_concurrent or statement.words[0] in ("CALL", "DO")

        def attempt() -> Rows:
            return self.connection.run(statement.text, copy_data=copy_data)

        try:
            attempt() if once else self._with_retries(script, attempt)
        except ScriptError as error:
            self.connection.settle()
            before = sum(len(earlier.text) for earlier in script.statements[:index])
            raise _failed(script, error, done=index, sent_before=-before) from None

    def _check_ended(self, script: Script) -> None:
        if self.connection.in_transaction:
            self.connection.settle()
            raise MigrationFailedError(
                f"{script.file.path}: the file begins a transaction and never ends it; it was rolled back. Add its COMMIT.",
                version=script.file.version,
            )

    def _with_retries(self, script: Script, attempt: Callable[[], Rows]) -> Rows:
        """Try again what failed for want of a lock, with pauses that are long against the lock timeout."""
        header = script.file.header
        timeout = self.lock_timeout if header.lock_timeout is None else header.lock_timeout
        for _ in range(self.lock_retries):
            try:
                return attempt()
            except ScriptError as error:
                if error.refusal.sqlstate not in LOCK_CONFLICTS:
                    raise
                self.connection.settle()
                pause = random.uniform(*PAUSE) * max(timeout, 0.1)
                self.on_retry(script.file, error.refusal.message, pause)
                self._pause(pause)
        return attempt()

    def _pause(self, seconds: float) -> None:
        deadline = self.connection.deadline
        if deadline is not None and time.monotonic() + seconds >= deadline:
            raise OutOfTimeError("The time allowed ran out while a migration waited for a table; it was rolled back.")
        time.sleep(seconds)

    def _record(self, script: Script, elapsed: int | None = None) -> str:
        file = script.file
        row = AppliedMigration(file.version, file.name, checksum=file.checksum, execution_time_ms=elapsed)
        return ledger.record_script(self.run_id, row)


def _timeouts(script: Script, lock_timeout: float, *, scope: str) -> list[str]:
    header = script.file.header
    lock = lock_timeout if header.lock_timeout is None else header.lock_timeout
    settings = [f"set {scope}lock_timeout = {milliseconds(lock)};"]
    if header.statement_timeout is not None:
        settings.append(f"set {scope}statement_timeout = {milliseconds(header.statement_timeout)};")
    return settings


def _failed(script: Script, error: ScriptError, *, done: int, sent_before: int) -> MigratorError:
    """Say where in the file the server stopped: at the position it gives, else at the statement it had come to."""
    file, refusal = script.file, error.refusal
    offset = None
    if refusal.position is not None and 0 <= refusal.position - 1 - sent_before < len(script.sql):
        offset = script.offset_in_file(refusal.position - 1 - sent_before)
    elif 0 <= done < len(script.statements):
        offset = script.statements[done].offset
    text = _failure_text(file, refusal, offset)
    if script.mode is Mode.STATEMENTS and done:
        text += f"\n  What ran outside a transaction before it stays: {done} of the file's statements."
    elif refusal.sqlstate in LOCK_CONFLICTS:
        text += "\n  A table it needs stayed busy through every try. Nothing of it was applied; run it again later."
    if refusal.sqlstate in LOCK_CONFLICTS:
        return BusyTableError(text, version=file.version, sqlstate=refusal.sqlstate)
    line, column = (None, None) if offset is None else (file.line_at(offset), file.column_at(offset))
    return MigrationFailedError(text, version=file.version, sqlstate=refusal.sqlstate, line=line, column=column)


def _failure_text(file: MigrationFile, refusal: Refusal, offset: int | None) -> str:
    place = file.path if offset is None else f"{file.path}:{file.line_at(offset)}:{file.column_at(offset)}"
    more = (("Detail", refusal.detail), ("Hint", refusal.hint), ("Context", refusal.context))
    lines = [f"{place}: {refusal.message[:LONGEST_MESSAGE]} (SQLSTATE {refusal.sqlstate})"]
    lines += [f"  {name}: {text[:LONGEST_MESSAGE]}" for name, text in more if text]
    return "\n".join(lines)
