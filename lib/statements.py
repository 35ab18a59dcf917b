"""A file outside a transaction: one statement after the other, each on record before it starts."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from lib import catalog, ledger
from lib.database import CANCEL_PATIENCE, KEEPALIVES, Connection, Rows, ScriptError
from lib.errors import MigrationFailedError, MigratorError, OutOfTimeError
from lib.plan import Checkpoint, Interruption
from lib.recovery import DUPLICATE_TABLE, Recovery
from lib.script import Script, Statement
from lib.session import Session
from lib.subject import Subject, Work, subject_of

# The server looks so often, in milliseconds, whether the client of a statement is still there.
DEPARTURE_CHECK = 1000
# Between two messages of a file's own transaction no more than this passes in a client that is alive, in seconds.
IDLE_LIMIT = 60
# How long an index that was left invalid may take to drop right after the failure, in seconds.
DROP_PATIENCE = 10.0
# How long noting a statement may take, in seconds.
NOTE_PATIENCE = 15.0
_SETS_TIMEOUT = re.compile(r"\b(?:lock|statement)_timeout\b", re.IGNORECASE)


class StatementRun:
    """The run of one such file. `checkpoint` is where it has come to; None before its first statement, and at its end."""

    def __init__(self, session: Session, script: Script) -> None:
        self.session = session
        self.connection = session.connection
        self.script = script
        self.checkpoint: Checkpoint | None = None
        self._settings: list[str] = []

    def apply(self, interruption: Interruption | None) -> int | None:
        """Run what is left of the file and record it; returns milliseconds, or None if another run had recorded it.

        What a statement sets in the session is undone at the end, also when it fails.
        """
        began = time.monotonic()
        try:
            first = self._recover(interruption) if interruption else 0
            for index in range(first, len(self.script.statements)):
                self._run(index)
            self._check_ended()
            return self._record(round((time.monotonic() - began) * 1000))
        except BaseException:
            self._reset_session()
            raise

    def _recover(self, interruption: Interruption) -> int:
        """The index of the statement to go on with, after what an earlier run left half-way has been put in order."""

        def drop_index(name: str) -> None:
            statement = f"drop index concurrently if exists {name}"
            self.session.watched(self.script, 0.0, lambda: self.connection.run(statement))

        recovery = Recovery(
            script=self.script,
            interruption=interruption,
            connection=self.connection,
            patience=self.session.run_wait,
            drop_index=drop_index,
            tell=self.session.progress.recovering,
        )
        try:
            return recovery.first_statement()
        except ScriptError as error:
            self.connection.settle()
            raise self.session.failed(self.script, error, done=-1, sent_before=len(self.script.sql)) from None

    def _run(self, index: int) -> None:
        statement = self.script.statements[index]
        in_block = self.connection.in_transaction
        if not in_block:
            self.session.check()
            self._note(index)
            self._set_up(index)
        build: _Build | None = None
        # Inside a transaction of the file's own only the whole of it could be tried again; a procedure may have
        # committed before it failed.
        once = in_block or statement.words[0] in ("CALL", "DO")
        try:
            build = _build_of(self.connection, statement)
            self._carry_out(statement, self._attempt(statement, build), once=once)
        except ScriptError as error:
            before = sum(len(earlier.text) for earlier in self.script.statements[:index])
            more = build.left_behind_text if build else ""
            raise self.session.failed(self.script, error, done=index, sent_before=-before, more=more) from None
        except BaseException as error:
            self._judge(index, in_block=in_block)
            if isinstance(error, OutOfTimeError):
                where = f"statement {index + 1} of the {len(self.script.statements)} in {self.script.file.path}"
                raise OutOfTimeError(f"{error} It was at {where}; the next run goes on from there.") from None
            raise
        if build and (fault := build.fault(self.script, index)):
            self._doubt(in_doubt=False)
            raise fault
        if not self.connection.in_transaction:
            self._mark_run(index)

    def _carry_out(self, statement: Statement, attempt: Callable[[], Rows], *, once: bool) -> None:
        if once:
            self.session.watched(self.script, self.session.lock_timeout_of(self.script, statement), attempt)
        else:
            self.session.with_retries(self.script, attempt, statement)

    def _attempt(self, statement: Statement, build: "_Build | None") -> Callable[[], Rows]:
        copy_data = () if statement.copy_data is None else (statement.copy_data,)

        def attempt() -> Rows:
            if build:
                build.drop_left_behind()
            self._doubt()
            try:
                return self.connection.run(statement.text, copy_data=copy_data)
            except ScriptError as error:
                self._doubt(in_doubt=False)
                self.connection.settle()
                if build and error.refusal.sqlstate != DUPLICATE_TABLE:
                    build.clear_away()
                raise

        return attempt

    def _note(self, index: int) -> None:
        """Note which statement is next: not in the file's own session, which may have another role or be read-only."""
        whole = len(self.script.statements)
        checkpoint = self.script.checkpoint(index)
        session = self.connection if whole == 1 else self.session.observer.session(patience=CANCEL_PATIENCE)
        with session.at_most(NOTE_PATIENCE, "The database stopped answering between two statements."):
            what = f"Statement {index + 1} of {whole} is next, or under way."
            ledger.note_progress(session, self.session.run_id, checkpoint, what)
        self.checkpoint = checkpoint

    def _set_up(self, index: int) -> None:
        """Set what the next statement needs, unless the file has set a timeout of its own by then."""
        statements = self.script.statements
        if self.session.pooled or any(_SETS_TIMEOUT.search(earlier.text) for earlier in statements[:index]):
            return
        settings = [
            *self.session.timeouts(self.script, statements[index], scope=""),
            KEEPALIVES.replace("set local", "set"),
            f"set idle_in_transaction_session_timeout = '{IDLE_LIMIT}s';",
        ]
        if self.session.notices_departure:
            # A build of an index that has lost its client is worth more when it is finished.
            check = 0 if statements[index].waits_without_lock_timeout else DEPARTURE_CHECK
            settings.append(f"set client_connection_check_interval = {check};")
        if settings != self._settings:
            self.connection.run("".join(settings))
            self._settings = settings

    def _doubt(self, *, in_doubt: bool = True) -> None:
        if self.checkpoint:
            self.checkpoint = replace(self.checkpoint, in_doubt=in_doubt)

    def _mark_run(self, index: int) -> None:
        self.checkpoint = self.script.checkpoint(index + 1)

    def _judge(self, index: int, *, in_block: bool) -> None:
        """Say what became of a statement that was cut off, as far as the server has confirmed it."""
        statement = self.script.statements[index]
        if self.connection.raw.closed or self.connection.settled_by_refusal is None:
            return
        if self.connection.settled_by_refusal:
            self._doubt(in_doubt=statement.words[0] in ("CALL", "DO"))
        elif not in_block or statement.commits:
            self._mark_run(index)
        else:
            # The block that it stood in was rolled back.
            self._doubt(in_doubt=False)

    def _check_ended(self) -> None:
        if self.connection.in_transaction:
            self.connection.settle()
            self._doubt(in_doubt=False)
            file = self.script.file
            raise MigrationFailedError(
                f"{file.path}: the file begins a transaction and never ends it; it was rolled back. Add its COMMIT.",
                version=file.version,
            )

    def _record(self, elapsed: int) -> int | None:
        """Write the ledger row, in place of which another run's may have appeared by now."""
        with self.connection.granted(CANCEL_PATIENCE):
            if not self.session.pooled:
                # A message of its own: a session that was made read-only is so to the end of its transaction.
                self.connection.run(ledger.reset_script())
            try:
                self.connection.run(self.session.record_script(self.script, elapsed))
            except ScriptError:
                if self.session.find_recorded(self.script) is None:
                    raise
                return None
        self.checkpoint = None
        return elapsed

    def _reset_session(self) -> None:
        """Undo what a file that failed has set; through a pooler it could set nothing."""
        self.connection.settle()
        if self.session.pooled or self.connection.raw.closed:
            return
        try:
            with self.connection.granted(CANCEL_PATIENCE):
                self.connection.run(ledger.reset_script())
        except (ScriptError, MigratorError):
            self.connection.raw.close()


def _build_of(connection: Connection, statement: Statement) -> "_Build | None":
    subject = subject_of(statement.text) if statement.is_concurrent else None
    return _Build(connection, subject) if subject and subject.work is Work.CREATE else None


class _Build:
    """A CREATE INDEX CONCURRENTLY: what it leaves invalid is dropped, and an invalid one is no success."""

    def __init__(self, connection: Connection, subject: Subject) -> None:
        self._connection = connection
        self._subject = subject
        self._invalid_before = catalog.invalid_indexes(connection, subject)
        self._left_behind: set[str] = set()

    def clear_away(self) -> None:
        """Drop what a build that failed has left; an index that can't be dropped right now is the next run's to drop."""
        with suppress(ScriptError, MigratorError), self._connection.granted(DROP_PATIENCE):
            self._left_behind = catalog.invalid_indexes(self._connection, self._subject) - self._invalid_before
            self.drop_left_behind()

    def drop_left_behind(self) -> None:
        """Drop what an earlier try has left; raises ScriptError as a statement of the file does."""
        for name in sorted(self._left_behind):
            self._connection.run(f"drop index concurrently if exists {name}")
        self._left_behind = set()

    @property
    def left_behind_text(self) -> str:
        if not self._left_behind:
            return ""
        return f"\n  It left {', '.join(sorted(self._left_behind))} invalid, which the next run drops first."

    def fault(self, script: Script, index: int) -> MigrationFailedError | None:
        """What is wrong with an index that `if not exists` took for a good one: some build has left it invalid."""
        if not (self._subject.if_not_exists and self._subject.index):
            return None
        found = catalog.find_index(self._connection, self._subject)
        if found is None or found.is_valid:
            return None
        file = script.file
        line = file.line_at(script.statements[index].offset)
        return MigrationFailedError(
            f"{file.path}:{line}: the index {found.name} was there already, and it is INVALID, since some build of it was "
            f"cut off. Drop it and run this again: drop index concurrently {found.name};",
            version=file.version,
            sqlstate=DUPLICATE_TABLE,
            line=line,
        )
