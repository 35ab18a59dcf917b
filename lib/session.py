"""The session that files run in: how long it waits for a table, who looks on, and how its failures are told."""

import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lib import ledger
from lib.database import CANCEL_PATIENCE, Connection, Refusal, Rows, ScriptError
from lib.duration import milliseconds
from lib.errors import BusyTableError, MigrationFailedError, MigratorError, OutOfTimeError
from lib.failure import Failure, Sent
from lib.job import Progress
from lib.observer import Observer, Sight
from lib.outgoing import masked
from lib.plan import AppliedMigration
from lib.report import named
from lib.script import Mode, Script
from lib.statement import Statement

# lock_not_available and deadlock_detected: the server rolled the file back, and it may go through the next time.
LOCK_CONFLICTS = ("55P03", "40P01")
# A pause between two tries, in lock timeouts: long, so that the application's queries have most of the wait.
PAUSE = (4.0, 6.0)
# Past the pause it is looked so often, in seconds, for as long again, whether the same transaction holds the table still.
STILL_HELD_POLL = 0.5
# In a pause the session says something so often, in seconds, and is answered within so many.
SPEAKS_EVERY = 1.0
SILENCE = 30.0
# How long noting a blocker may take, in seconds: it is there for whoever looks, and nothing depends on it.
NOTE_PATIENCE = 2.0
# A statement is looked at for the first time after so many seconds, or so much of its lock timeout.
FIRST_LOOK = 0.5
FIRST_LOOK_SHARE = 0.4
# What takes long is told after so many seconds, and again after as many.
TOLD_EVERY = 15.0


@dataclass(frozen=True)
class Session:
    """Where files run: on which connection, for which run, with which patience (seconds) towards busy tables.

    `pooled` when a transaction pooler is in between, where nothing may be set for a session; `notices_departure` as the
    survey says it. `check` raises when the run may not go on.
    """

    connection: Connection
    observer: Observer
    pooled: bool
    notices_departure: bool
    run_id: int
    lock_timeout: float
    lock_retries: int
    run_wait: float
    progress: Progress
    check: Callable[[], None]

    def lock_timeout_of(self, script: Script, statement: Statement | None = None) -> float:
        """What a file waits for a lock at most, or a statement of it, in seconds; 0 is no limit."""
        given = script.file.header.lock_timeout
        if given is not None:
            return given
        return 0.0 if statement and statement.waits_without_lock_timeout else self.lock_timeout

    def timeouts(self, script: Script, statement: Statement | None = None, *, scope: str) -> list[str]:
        """The SQL that sets the timeouts of a file, or of a statement of it; `scope` is `local ` or nothing."""
        settings = [f"set {scope}lock_timeout = {milliseconds(self.lock_timeout_of(script, statement))};"]
        if (limit := script.file.header.statement_timeout) is not None:
            settings.append(f"set {scope}statement_timeout = {milliseconds(limit)};")
        return settings

    def watched(self, script: Script, lock_timeout: float, attempt: Callable[[], Rows]) -> Rows:
        """Carry it out while the observer looks on, and tell of what it sees."""
        first = min(FIRST_LOOK, lock_timeout * FIRST_LOOK_SHARE) if lock_timeout else FIRST_LOOK
        next_word = TOLD_EVERY

        def tell(sight: Sight, seconds: float) -> None:
            nonlocal next_word
            if sight.index and not sight.blockers:
                self.progress.building(script.file, sight.index, seconds)
            elif seconds >= next_word:
                next_word = seconds + TOLD_EVERY
                self.progress.still_running(script.file, sight.blockers, seconds)

        with self.observer.watching(self.connection, first=first, tell=tell):
            return attempt()

    def with_retries(self, script: Script, attempt: Callable[[], Rows], statement: Statement | None = None) -> Rows:
        """Try again what failed for want of a lock, with pauses that are long against the lock timeout."""
        lock_timeout = self.lock_timeout_of(script, statement)
        for _ in range(self.lock_retries):
            try:
                return self.watched(script, lock_timeout, attempt)
            except ScriptError as error:
                if error.refusal.sqlstate not in LOCK_CONFLICTS:
                    raise
                self.connection.settle()
                self._wait_for_the_table(script, error.refusal)
                self.check()
        return self.watched(script, lock_timeout, attempt)

    def _wait_for_the_table(self, script: Script, refusal: Refusal) -> None:
        pause = random.uniform(*PAUSE) * max(self.lock_timeout_of(script), 0.1)
        held_up = f"; held up by {named(self.observer.blockers)}" if self.observer.blockers else ""
        reason = f"{masked(refusal.message)}{held_up}"
        self.progress.retrying(script.file, reason, pause)
        with suppress(ScriptError, MigratorError):
            observing = self.observer.session()
            with observing.granted(NOTE_PATIENCE):
                ledger.note_obstacle(observing, self.run_id, f"{script.file.path}: {reason}")
        deadline = self.connection.deadline
        if deadline is not None and time.monotonic() + pause >= deadline:
            raise OutOfTimeError(f"The time allowed ran out while a migration waited for a table: {reason}.")
        self._sleep(pause)
        # While the same transaction holds the table, another try would only hold up the application once more.
        until = min(time.monotonic() + pause, deadline or math.inf)
        while time.monotonic() < until and self.observer.still_hold():
            self._sleep(STILL_HELD_POLL)

    def _sleep(self, seconds: float) -> None:
        """Sleep, and speak now and then: a session that is idle for long is ended where `idle_session_timeout` is set."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SPEAKS_EVERY))
            with self.connection.at_most(SILENCE, "The database stopped answering while a table was waited for."):
                self.connection.query("select 1")

    def record_script(self, script: Script, elapsed: int | None = None) -> str:
        """The SQL that records the file; `elapsed` in milliseconds, measured from the transaction's start if not given."""
        file = script.file
        row = AppliedMigration(file.version, file.name, checksum=file.checksum, execution_time_ms=elapsed)
        return ledger.record_script(self.run_id, row)

    def check_strings(self, script: Script) -> None:
        """Stop before the server would read what comes next otherwise than it was checked: a file can have set that too."""
        if not self.connection.has_standard_strings and script.has_backslashes:
            file = script.file
            raise MigrationFailedError(
                f"{file.path}: standard_conforming_strings is off by now, under which a backslash is an escape; write such "
                "strings as E'…', and take that setting out.",
                version=file.version,
            )

    def reset_script(self, script: Script) -> str:
        """The SQL that undoes what the file may have set in the session."""
        return ledger.reset_script(direct=not self.pooled, prepared=self.pooled and script.may_prepare)

    def find_recorded(self, script: Script) -> tuple[int, bool] | None:
        """The milliseconds in the file's ledger row, and whether this run wrote it; None if no row is to be had."""
        if self.connection.raw.closed:
            return None
        # What goes wrong here must not hide why it is asked.
        with suppress(ScriptError, MigratorError), self.connection.granted(CANCEL_PATIENCE):
            return ledger.find(self.connection, self.run_id, script.file.version)
        return None

    def failed(
        self,
        script: Script,
        error: ScriptError,
        sent: Sent | None = None,
        *,
        stays: int = 0,
        more: str = "",
    ) -> MigratorError:
        """Say where in the file the server stopped: at the position it gives, else at the statement it had come to.

        `sent` is the message that failed, None for one that held nothing of the file's. `stays` of the file's statements
        stay; `more` is added to the text.
        """
        failure = Failure(script, error, sent)
        file, sqlstate, offset = script.file, error.refusal.sqlstate, failure.offset
        if sqlstate in LOCK_CONFLICTS:
            end = self._busy_text(script, stays, more)
            busy = BusyTableError(failure.text + end, version=file.version, sqlstate=sqlstate)
            return busy.recorded_as(failure.record + end)
        line, column = (None, None) if offset is None else (file.line_at(offset), file.column_at(offset))
        end = failure.way_out + _what_stays(script, stays) + more
        failed = MigrationFailedError(failure.text + end, version=file.version, sqlstate=sqlstate, line=line, column=column)
        return failed.recorded_as(failure.record + end)

    def _busy_text(self, script: Script, stays: int, more: str) -> str:
        held_up = f"\n  It was held up by {named(self.observer.blockers)}." if self.observer.blockers else ""
        after = (_what_stays(script, stays) + more) or " Nothing of it was applied; run it again later."
        return f"{held_up}\n  A table it needs stayed busy through every try.{after}"


def _what_stays(script: Script, stays: int) -> str:
    if script.mode is not Mode.STATEMENTS or stays < 1:
        return ""
    count = f"{stays} of the file's statements"
    return f"\n  What ran outside a transaction before it stays: {count}. The next run goes on after them."
