"""One run at a time, on a direct connection and through a transaction pooler alike.

While the first connection migrates, a second one holds an advisory lock in a transaction. In every
pooler a transaction keeps its server connection, and however the transaction ends, the lock is gone
at that moment.

- The lock is polled, never waited for: a session that waits for an advisory lock holds a snapshot,
  for which CREATE INDEX CONCURRENTLY waits in turn (PostgreSQL manual, "Building Indexes
  Concurrently").
- The key is part of the query's text: for a parameter, the extended protocol would keep a portal
  with its snapshot open.
- The heartbeat is a SET, for which the server takes no snapshot either.
- `idle_in_transaction_session_timeout` ends a holder that is frozen or has vanished; a living one
  speaks more often.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import keepalives
from ..deadline import Deadline
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError, MigratorError, OutOfTimeError, RunInProgressError
from ..time_limits import ANSWER, LOCK_POLL, RELEASE, RunLimits

# Any constant will do, as long as every runner uses the same one.
KEY = int.from_bytes(b"vercmig")

_NO_ANSWER = "The database stopped answering while the run lock was asked for."
_KEEPALIVES = "".join(keepalives("local "))
# Since PostgreSQL 17: a limit of the role or the database would end the lock with its transaction.
_NO_TRANSACTION_TIMEOUT = "; set local transaction_timeout = 0"
_TRY = f"; select pg_catalog.pg_try_advisory_xact_lock({KEY}), pg_catalog.pg_backend_pid()"
_HOLDER = f"""
select a.application_name, to_char(a.xact_start at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
  from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid)
 where l.locktype = 'advisory' and l.granted and l.objsubid = 1
   and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
   and (l.classid::bigint << 32 | l.objid::bigint) = {KEY}
"""


class RunLock:
    """The run lock as a context manager: entered once the lock is acquired, left to release it.

    `connect` opens the connection that holds the lock. After `timeout` seconds of waiting for
    another run, RunInProgressError is raised; until then `on_wait` is called with it now and then.
    `backend` is the PID of the server process that holds the lock. `is_silent` is true once a
    heartbeat was not answered.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        timeout: float,
        on_wait: Callable[[RunInProgressError], None] = lambda _: None,
        limits: RunLimits | None = None,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._on_wait = on_wait
        self._limits = limits or RunLimits()
        self._heartbeat_sql = (
            "set local idle_in_transaction_session_timeout = "
            f"{milliseconds(self._limits.lock_idle)}"
        )
        self.backend: str | None = None
        self.is_silent = False
        self._lost = threading.Event()
        self._released = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._spoken_at = 0.0
        # The thread of the heartbeat and `check` use the same connection.
        self._in_use = threading.Lock()

    def __enter__(self) -> Self:
        self._connection = self._connect()
        try:
            self._acquire()
            self._heartbeat = threading.Thread(
                target=self._keep_speaking, name="run lock", daemon=True
            )
            self._heartbeat.start()
        # A signal, too: a lock without its context would keep other runs out.
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First, so that the heartbeat says nothing more on the connection.
        self._released.set()
        # Otherwise it is enough to close the connection: the server then rolls back by itself.
        if not self._lost.is_set() and not isinstance(
            error, (DatabaseUnavailableError, OutOfTimeError)
        ):
            self._release()
        self._connection.close()

    def _release(self) -> None:
        """Roll back, if that can be done at once: a pooler then keeps its server connection."""
        if self._in_use.acquire(timeout=RELEASE):
            with (
                suppress(MigratorError, StatementError),
                self._connection.extend_deadline(RELEASE, is_last=True),
            ):
                self._connection.release()
            self._in_use.release()

    def check(self) -> None:
        """Raise DatabaseUnavailableError if the lock may be lost, so that another run may begin."""
        with self._in_use:
            # After a freeze of this process, the heartbeat may be late.
            if time.monotonic() - self._spoken_at > 2 * self._limits.heartbeat:
                self._speak()
            alive = not self._lost.is_set() and self._connection.is_alive()
        if not alive:
            raise DatabaseUnavailableError(
                "The connection that holds the run lock was lost, so the run stopped before its "
                "next step. Run it again: what is still pending is applied."
            )

    def _acquire(self) -> None:
        deadline, next_report = Deadline.after(self._timeout), Deadline.after(0)
        while not self._try(max(ANSWER, deadline.remaining())):
            if deadline.has_passed():
                raise self._in_progress()
            if next_report.has_passed():
                self._on_wait(self._in_progress())
                next_report = Deadline.after(self._limits.report_every)
            # At random, so that builds that wait together do not ask in step.
            time.sleep(min(random.uniform(*LOCK_POLL), deadline.remaining()))

    def _try(self, seconds: float) -> bool:
        """Ask for the lock once; the transaction stays open only with the lock."""
        timeout = _NO_TRANSACTION_TIMEOUT if self._connection.server_version >= 170000 else ""
        with self._connection.limit_to(seconds, _NO_ANSWER):
            held, self.backend = self._connection.hold(
                f"{_KEEPALIVES} {self._heartbeat_sql}{timeout}{_TRY}"
            )[0][0]
            # Between two polls no transaction stays open, which would hold back vacuum.
            if held != "t":
                self._connection.release()
        self._spoken_at = time.monotonic()
        return held == "t"

    def _in_progress(self) -> RunInProgressError:
        """Make the error that names the holder, as far as this role may see it."""
        with self._connection.limit_to(ANSWER, _NO_ANSWER):
            rows = self._connection.query(_HOLDER, read_only=True)[0]
        return RunInProgressError(*rows[0]) if rows else RunInProgressError(None, None)

    def _keep_speaking(self) -> None:
        while not self._lost.is_set() and not self._released.wait(self._limits.heartbeat):
            with self._in_use:
                if not self._released.is_set():
                    self._speak()

    def _speak(self) -> None:
        """Reset the transaction's idle timer. Without an answer, the lock is or will be lost."""
        try:
            with self._connection.extend_deadline(self._limits.heartbeat_answer):
                self._connection.query(self._heartbeat_sql)
            self._spoken_at = time.monotonic()
        except (StatementError, MigratorError) as error:
            self.is_silent = isinstance(error, OutOfTimeError)
            # Not raised here: this is another thread, and `check` raises in that of the run.
            self._lost.set()
