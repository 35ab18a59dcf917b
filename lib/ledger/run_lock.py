"""One run at a time, on a direct connection and through a transaction pooler alike.

A second connection holds a transaction in which it has an advisory lock, while the first one migrates. A transaction
keeps its server connection in every pooler, and the lock is gone the moment the transaction is, however it ends.

- The lock is polled, never waited for: a session that waits for an advisory lock holds a snapshot, for which
  CREATE INDEX CONCURRENTLY waits in turn (PostgreSQL manual, "Building Indexes Concurrently").
- The key stands in the text of the query: with a parameter the extended protocol would keep a portal's snapshot open.
- The heartbeat is a SET, for which the server takes no snapshot either.
- A holder that is frozen or has vanished is let go by `idle_in_transaction_session_timeout`; a living one beats faster.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..database.composing import keepalives
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..deadline import Deadline
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError, MigratorError, OutOfTimeError, RunInProgressError
from ..limits import ANSWER, LOCK_POLL, RELEASE, RunLimits

# Any constant does, as long as every runner has the same one.
KEY = int.from_bytes(b"vercmig")

_NO_ANSWER = "The database stopped answering while the run lock was asked for."
_KEEPALIVES = "".join(keepalives("local "))
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
    """The run lock as a context manager. Enter it to wait for the lock, leave it to let the lock go.

    `connect` opens the connection that holds it; `timeout` is how long another run is waited for, in seconds, and
    RunInProgressError follows. `on_wait` hears of the holder now and then. `backend` is the pid of the server process that
    holds it; `is_silent` tells that a heartbeat went without an answer.
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
        self._beat_sql = (
            "set local idle_in_transaction_session_timeout = "
            f"{milliseconds(self._limits.lock_idle)}"
        )
        self.backend: str | None = None
        self.is_silent = False
        self._lost = threading.Event()
        self._released = threading.Event()
        self._heart: threading.Thread | None = None
        self._beaten_at = 0.0
        # The heart and `check` use the same connection.
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        self._connection = self._connect()
        try:
            self._acquire()
            self._heart = threading.Thread(target=self._keep_beating, name="run lock", daemon=True)
            self._heart.start()
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
        self._released.set()
        if not self._lost.is_set() and not isinstance(
            error, (DatabaseUnavailableError, OutOfTimeError)
        ):
            self._release()
        self._connection.close()

    def _release(self) -> None:
        """Roll back, which spares a pooler the loss of its server connection, if that is done at once."""
        if self._turn.acquire(timeout=RELEASE):
            with (
                suppress(MigratorError, StatementError),
                self._connection.extend_deadline(RELEASE, is_last=True),
            ):
                self._connection.release()
            self._turn.release()

    def check(self) -> None:
        """Raise DatabaseUnavailableError if the lock's connection is gone: another run may have begun."""
        with self._turn:
            # After a freeze of this process the heart may not have come to beat yet.
            if time.monotonic() - self._beaten_at > 2 * self._limits.heartbeat:
                self._beat()
            alive = not self._lost.is_set() and self._connection.is_alive()
        if not alive:
            raise DatabaseUnavailableError(
                "The connection that holds the run lock was lost, so the run stopped before its next step. "
                "Run it again: what is still pending is applied."
            )

    def _acquire(self) -> None:
        deadline, next_report = Deadline.after(self._timeout), Deadline.after(0)
        while not self._try(max(ANSWER, deadline.remaining())):
            if deadline.has_passed():
                raise self._in_progress()
            if next_report.has_passed():
                self._on_wait(self._in_progress())
                next_report = Deadline.after(self._limits.report_every)
            time.sleep(min(random.uniform(*LOCK_POLL), deadline.remaining()))

    def _try(self, seconds: float) -> bool:
        timeout = _NO_TRANSACTION_TIMEOUT if self._connection.server_version >= 170000 else ""
        with self._connection.limit_to(seconds, _NO_ANSWER):
            held, self.backend = self._connection.hold(
                f"{_KEEPALIVES} {self._beat_sql}{timeout}{_TRY}"
            )[0][0]
            if held != "t":
                self._connection.release()
        self._beaten_at = time.monotonic()
        return held == "t"

    def _in_progress(self) -> RunInProgressError:
        with self._connection.limit_to(ANSWER, _NO_ANSWER):
            rows = self._connection.query(_HOLDER, read_only=True)[0]
        return RunInProgressError(*rows[0]) if rows else RunInProgressError(None, None)

    def _keep_beating(self) -> None:
        while not self._lost.is_set() and not self._released.wait(self._limits.heartbeat):
            with self._turn:
                if not self._released.is_set():
                    self._beat()

    def _beat(self) -> None:
        """Keep the transaction from idling out. A missed beat means that the server has let the lock go, or will."""
        try:
            with self._connection.extend_deadline(self._limits.heartbeat_answer):
                self._connection.query(self._beat_sql)
            self._beaten_at = time.monotonic()
        except (StatementError, MigratorError) as error:
            self.is_silent = isinstance(error, OutOfTimeError)
            self._lost.set()
