"""How long a file waits for a table, how often it tries again, and what it does in between.

A statement that waits for a lock holds up every query that comes after it. So tries are short and
pauses long; only an autovacuum, which gives way to a patient session, gets a longer try.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import ServerError, StatementError
from ..deadline import Deadline
from ..duration import in_words, milliseconds
from ..errors import MigratorError, OutOfTimeError
from ..files.runnable_script import Mode, Script
from ..ledger.runs import note_obstacle
from ..masking import masked
from ..plan.blockers import describe_blockers
from ..sql.statement import Statement
from ..time_limits import (
    ANSWER,
    LONGEST_DEADLOCK_TIMEOUT,
    NOTE_OBSTACLE,
    OUTLAST_DEADLOCK_TIMEOUT,
    SPEAK_EVERY,
    STILL_HELD_POLL,
    TABLE_PAUSE,
)
from .blocker_watch import Sight
from .session import LOCK_CONFLICTS, Session


class TableWait:
    """The tries of a file, or of one of its statements outside a transaction, to get its locks."""

    def __init__(
        self,
        session: Session,
        script: Script,
        statement: Statement | None = None,
        *,
        index: int | None = None,
    ) -> None:
        self._session = session
        self._connection = session.connection
        self._observer = session.observer
        self._script = script
        # None for statements that are sent together: they are answered together.
        self._position = None if index is None else (index + 1, len(script.statements))
        self._lock_timeout = session.lock_timeout_of(script, statement)

    def once(self, attempt: Callable[[], Rows]) -> Rows:
        """Carry out what cannot be tried again, observed."""
        return self._observed(self._lock_timeout, attempt)

    def with_retries(self, attempt: Callable[[float], Rows]) -> Rows:
        """Carry out `attempt`, and try again if it fails for want of a lock.

        `attempt` gets the seconds to wait for each lock, 0 for no limit. A try may get more than
        the lock timeout, if an autovacuum holds the table.
        """
        timeout = longest = self._lock_timeout
        for _ in range(self._session.lock_retries):
            try:
                return self._try(attempt, timeout)
            except StatementError as error:
                if error.server_error.sqlstate not in LOCK_CONFLICTS:
                    raise
                # Rolled back, so that no lock of the failed try is held during the pause.
                self._connection.settle()
                # The observer still knows who held the table.
                longer = self._enough_for_autovacuum(longest)
                timeout = longer or self._lock_timeout
                longest = max(longest, timeout)
                self._pause(error.server_error, longer)
                self._session.check()
        # The last try stands outside of the loop: its error is the file's, and no pause follows.
        return self._try(attempt, timeout)

    def _try(self, attempt: Callable[[float], Rows], timeout: float) -> Rows:
        # A file in a transaction sets the lock timeout itself, as a part of the transaction.
        is_set_here = timeout != self._lock_timeout and self._script.mode is not Mode.TRANSACTION
        with self._lock_timeout_set(timeout) if is_set_here else nullcontext():
            return self._observed(timeout, lambda: attempt(timeout))

    def _observed(self, timeout: float, attempt: Callable[[], Rows]) -> Rows:
        """Carry out `attempt` while the observer watches it, and report what the observer sees."""
        limits = self._session.limits
        first = limits.first_look
        # Well before the lock timeout, or there would be nobody to see.
        if timeout:
            first = min(first, timeout * limits.first_look_share)
        next_report = limits.report_every

        def report(sight: Sight | None, seconds: float) -> None:
            nonlocal next_report
            progress, file = self._session.progress, self._script.file
            if sight is None:
                progress.working(file, self._position, seconds)
            elif sight.index and not sight.blockers:
                progress.building(file, sight.index, seconds)
            elif seconds >= next_report:
                next_report = seconds + limits.report_every
                progress.still_running(file, sight.blockers, seconds)

        with self._observer.watching(self._connection, first=first, report=report):
            return attempt()

    @contextmanager
    def _lock_timeout_set(self, seconds: float) -> Iterator[None]:
        """Set the lock timeout of the session, and restore the previous one."""
        [[[before]]] = self._connection.query("select pg_catalog.current_setting('lock_timeout')")
        self._connection.run(f"set lock_timeout = {milliseconds(seconds)}")
        try:
            yield
        finally:
            # A connection that is lost, or out of time, has no use for it.
            with suppress(StatementError, MigratorError):
                self._connection.run(f"set lock_timeout = '{before}'")

    def _enough_for_autovacuum(self, waited: float) -> float | None:
        """Seconds to wait so that an autovacuum gives way; None if that makes no difference.

        The server cancels an autovacuum when the session that waits for it checks for deadlocks,
        after `deadlock_timeout`: a shorter lock timeout never gets past one. PostgreSQL manual,
        "Routine Vacuuming".
        """
        blockers = self._observer.blockers
        if not (waited and blockers and all(blocker.gives_way for blocker in blockers)):
            return None
        if not _may_wait_longer(self._session, self._script):
            return None
        deadlock_timeout = self._observer.deadlock_timeout()
        if deadlock_timeout is None or deadlock_timeout > LONGEST_DEADLOCK_TIMEOUT:
            return None
        enough = deadlock_timeout + OUTLAST_DEADLOCK_TIMEOUT
        # If a try has lasted that long already, another one would not help.
        return enough if enough > waited else None

    def _pause(self, server_error: ServerError, longer: float | None) -> None:
        """Report the failed try, and pause before the next one, which may wait `longer` seconds."""
        # At random, so that two runs do not try in step.
        pause = random.uniform(*TABLE_PAUSE) * max(self._session.lock_timeout_of(self._script), 0.1)
        reason = self._reason(server_error, longer)
        self._session.progress.retrying(self._script.file, reason, pause)
        self._note_obstacle(server_error)
        if self._connection.deadline.remaining() <= pause:
            raise OutOfTimeError(
                f"The time allowed ran out while a migration waited for a table: {reason}."
            )
        _sleep(self._connection, pause)
        if longer:
            return
        # Another try would only hold up the application while the same transaction has the table.
        deadline = self._connection.deadline.clip(pause)
        while not deadline.has_passed() and self._observer.still_hold():
            _sleep(self._connection, STILL_HELD_POLL)

    def _reason(self, server_error: ServerError, longer: float | None) -> str:
        blockers = self._observer.blockers
        held_up = f"; held up by {describe_blockers(blockers)}" if blockers else ""
        then = (
            f"; autovacuum gives way to the next try, which waits {in_words(longer)}"
            if longer
            else ""
        )
        return f"{masked(server_error.message)}{held_up}{then}"

    def _note_obstacle(self, server_error: ServerError) -> None:
        """Note in the journal what the run waits for; a failure to do so changes nothing."""
        blockers = tuple(replace(blocker, query=None) for blocker in self._observer.blockers)
        held_up = f"; held up by {describe_blockers(blockers)}" if blockers else ""
        # A message that a function raised may quote a row.
        message = masked(server_error.message)
        what = f"SQLSTATE {server_error.sqlstate}" if server_error.context else message
        with suppress(StatementError, MigratorError):
            observing = self._observer.session()
            with observing.extend_deadline(NOTE_OBSTACLE):
                note_obstacle(
                    observing, self._session.run, f"{self._script.file.path}: {what}{held_up}"
                )


def _may_wait_longer(session: Session, script: Script) -> bool:
    """True if the runner decides about the lock timeout, and not the file or a pooler."""
    if script.mode is not Mode.TRANSACTION:
        # Through a pooler, a setting of the session would reach another client.
        return not session.pooled
    settings = (statement.setting for statement in script.statements)
    return not any(setting and setting[0] == "lock_timeout" for setting in settings)


def _sleep(connection: Connection, seconds: float) -> None:
    """Sleep, with a query now and then: `idle_session_timeout` would end a silent session."""
    pause = Deadline.after(seconds)
    while (left := pause.remaining()) > 0:
        time.sleep(min(left, SPEAK_EVERY))
        with connection.limit_to(
            ANSWER, "The database stopped answering while a table was waited for."
        ):
            connection.query("select 1")
