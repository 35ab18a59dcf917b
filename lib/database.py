"""A connection to PostgreSQL, used through the simple query protocol alone.

The simple protocol is what survives a transaction pooler, and several statements travel in one message, so that a whole
migration costs one round trip. A statement with parameters would keep a snapshot (see `lib.lock`).
"""

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, TypeVar

import psycopg
from psycopg import pq, sql

from lib.errors import DatabaseUnavailableError, OutOfTimeError

T = TypeVar("T")
Row = tuple[str | None, ...]
Rows = list[Row]

# How long a cancelled statement is waited for before the connection is dropped, in seconds.
CANCEL_PATIENCE = 3.0
# How long a wait for the server lasts before anybody looks up, in seconds.
SLICE = 0.25
# What is true of the file under way when a connection is gone.
WHAT_BECAME_OF_IT = (
    "A file under way in a transaction was rolled back, or had just committed; run it again, and what is still pending is "
    "applied."
)


@dataclass(frozen=True)
class Refusal:
    """What the server said about a statement. `position` counts characters of the whole message, from 1.

    `internal_position` counts those of `internal_query`, which is a query that a function ran.
    """

    sqlstate: str
    message: str
    detail: str | None
    hint: str | None
    context: str | None
    position: int | None
    internal_query: str | None = None
    internal_position: int | None = None

    @property
    def more(self) -> tuple[tuple[str, str], ...]:
        """What the server says beside its message, each part with its name."""
        parts = (("Detail", self.detail), ("Hint", self.hint), ("Context", self.context))
        return tuple((name, text) for name, text in parts if text)


class ScriptError(Exception):
    """A message failed. `done` statements of it had succeeded before; what follows was not run."""

    def __init__(self, refusal: Refusal, done: int) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.done = done


class Settled(Enum):
    """What became of a message that was cut off, as far as the server has confirmed it."""

    UNKNOWN = 0
    STOPPED = 1
    FINISHED = 2


class Connection:
    """One connection in autocommit, and the deadline (monotonic seconds) that whatever runs on it must keep.

    `end_by`, later than the deadline, is the last moment for what has to be done after it. `undo` is SQL that follows
    every rollback in the same message: what it undoes never gets back into a pool. `while_waiting` is called every `slice`
    seconds at the latest while an answer is waited for; `heard_at` is when the server last sent anything. `settled_as` says
    what became of a message that was cut off.
    """

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.raw = raw
        self.deadline: float | None = None
        self.end_by: float | None = None
        self.undo = ""
        self.slice = SLICE
        self.while_waiting: Callable[[], None] | None = None
        self.heard_at = time.monotonic()
        self.settled_as = Settled.UNKNOWN
        self.on_notice: Callable[[str, str], None] | None = None
        self.notices: deque[tuple[str, str]] = deque()
        raw.add_notice_handler(self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    @property
    def server_version(self) -> int:
        return self.raw.info.server_version

    @property
    def has_standard_strings(self) -> bool:
        """Tell whether a backslash in '…' is a plain character, as it is by default since PostgreSQL 9.1.

        The server reports each change by itself.
        """
        return self.raw.pgconn.parameter_status(b"standard_conforming_strings") != b"off"

    @property
    def announced_backend(self) -> str:
        """The pid that whoever answered gave as its own; a pooler's is none of the server's."""
        return str(self.raw.info.backend_pid)

    @property
    def in_transaction(self) -> bool:
        return self.raw.info.transaction_status != pq.TransactionStatus.IDLE

    def is_alive(self) -> bool:
        """Tell, without a round trip, whether the server has hung up."""
        try:
            # The server's last words come first, the end of the stream with the next read.
            while select.select([self.raw.pgconn.socket], [], [], 0)[0]:
                self.raw.pgconn.consume_input()
        except psycopg.OperationalError:
            self.raw.close()
        return not self.raw.closed

    @contextmanager
    def granted(self, seconds: float) -> Iterator[None]:
        """Give what has to be done at the end so long from now, whatever the deadline, which holds again afterwards."""
        kept = self.deadline, self.while_waiting
        self.deadline, self.while_waiting = self._moment_in(seconds), None
        try:
            yield
        finally:
            self.deadline, self.while_waiting = kept

    @contextmanager
    def at_most(self, seconds: float, otherwise: str) -> Iterator[None]:
        """Hold to so many seconds what a server that is well answers soon; DatabaseUnavailableError says `otherwise`."""
        kept, limit = self.deadline, time.monotonic() + seconds
        self.deadline = limit if kept is None else min(kept, limit)
        try:
            yield
        except OutOfTimeError:
            if kept is not None and kept <= limit:
                raise
            raise DatabaseUnavailableError(otherwise) from None
        finally:
            self.deadline = kept

    def _moment_in(self, seconds: float) -> float:
        moment = time.monotonic() + seconds
        return moment if self.end_by is None else min(moment, self.end_by)

    def query(self, message: str | sql.Composed) -> list[Rows]:
        """Send one message and return the rows of each of its statements that returns rows. Raises as `run` does."""
        text = message if isinstance(message, str) else message.as_string(None)
        return [_rows(result) for result in self._send(text, ()) if result.nfields]

    def run(self, script: str, *, copy_data: Sequence[Iterable[bytes]] = ()) -> Rows:
        """Send a script as one message, feed its COPYs, and return the rows of the last statement that returns any.

        Raises ScriptError when the server refuses a statement, OutOfTimeError at the deadline, DatabaseUnavailableError
        when the connection is lost. Whatever ends it early cancels the statement under way first.
        """
        results = [result for result in self._send(script, copy_data) if result.nfields]
        return _rows(results[-1]) if results else []

    def _send(self, message: str, copy_data: Sequence[Iterable[bytes]]) -> "list[pq.abc.PGresult]":
        feeds = iter(copy_data)
        results: list[pq.abc.PGresult] = []
        try:
            self.raw.pgconn.send_query(message.encode())
            while (result := self._next_result()) is not None:
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    raise self._refused(_refusal(result), len(results))
                if not self._copies(result, next(feeds, ()) if result.status == pq.ExecStatus.COPY_IN else ()):
                    results.append(result)
        except psycopg.OperationalError:
            self.raw.close()
            raise _lost() from None
        except (ScriptError, DatabaseUnavailableError):
            raise
        except BaseException:
            self.settle()
            raise
        return results

    def _copies(self, result: "pq.abc.PGresult", data: Iterable[bytes]) -> bool:
        """Serve a COPY, if that is what the server has come to."""
        if result.status == pq.ExecStatus.COPY_IN:
            self._feed(data)
        elif result.status == pq.ExecStatus.COPY_OUT:
            self._drain()
        return result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT)

    def _refused(self, refusal: Refusal, done: int) -> ScriptError | DatabaseUnavailableError:
        try:
            self._finish()
        except psycopg.OperationalError:
            self.raw.close()
        return _lost(refusal) if self.raw.closed else ScriptError(refusal, done)

    def _next_result(self) -> "pq.abc.PGresult | None":
        """Wait for the next statement's result, in slices, so that a signal or the deadline is noticed."""
        pgconn = self.raw.pgconn
        while _in_libpq(pgconn.flush):
            self._wait(writing=True)
        while _in_libpq(pgconn.is_busy):
            self._wait()
        result = _in_libpq(pgconn.get_result)
        # What came with the result, and not while it was waited for.
        self._tell()
        return result

    def _feed(self, data: Iterable[bytes]) -> None:
        pgconn = self.raw.pgconn
        for chunk in data:
            while pgconn.put_copy_data(chunk) == 0:
                self._wait(writing=True)
            while pgconn.flush():
                self._wait(writing=True)
        while pgconn.put_copy_end() == 0:
            self._wait(writing=True)

    def _drain(self) -> None:
        """Throw away what a COPY … TO stdout sends."""
        while (size := _in_libpq(lambda: self.raw.pgconn.get_copy_data(1)[0])) != -1:
            if size == 0:
                self._wait()

    def _wait(self, *, writing: bool = False) -> None:
        """Wait for the server, in slices, so that a signal or the deadline is noticed."""
        self._check_deadline()
        if _wait(self.raw.pgconn, self.slice, writing=writing):
            self.heard_at = time.monotonic()
        if not writing:
            _in_libpq(self.raw.pgconn.consume_input)
        self._tell()
        if self.while_waiting and not writing:
            self.while_waiting()

    def _tell(self) -> None:
        """Pass the server's notices on: not in libpq's callback, where what they raise would be swallowed."""
        while self.notices:
            notice = self.notices.popleft()
            if self.on_notice:
                self.on_notice(*notice)

    def _hear(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        more = (("Detail", diagnostic.message_detail), ("Hint", diagnostic.message_hint))
        lines = [diagnostic.message_primary or "", *(f"  {name}: {text}" for name, text in more if text)]
        self.notices.append((diagnostic.severity or "", "\n".join(lines)))

    def _check_deadline(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTimeError("The time allowed ran out.")

    def _finish(self) -> bool:
        """Read what is left of the message, so that the connection can be used again; tells of a refusal in it."""
        refused = False
        with self.granted(CANCEL_PATIENCE):
            while (result := self._next_result()) is not None:
                if result.status == pq.ExecStatus.COPY_IN:
                    self.raw.pgconn.put_copy_end(b"the migration was stopped")
                elif result.status == pq.ExecStatus.COPY_OUT:
                    self._drain()
                refused = refused or result.status == pq.ExecStatus.FATAL_ERROR
        if self.raw.pgconn.status == pq.ConnStatus.BAD:
            self.raw.close()
        return refused

    def settle(self) -> None:
        """Leave nothing open on the connection: cancel what still runs, roll back, and close it if that fails."""
        self.settled_as = Settled.UNKNOWN
        try:
            if self.raw.info.transaction_status == pq.TransactionStatus.ACTIVE:
                self._cancel()
            if not self.raw.closed and self.in_transaction:
                with self.granted(CANCEL_PATIENCE):
                    self.query(f"rollback; {self.undo}")
        except (psycopg.Error, ScriptError, DatabaseUnavailableError, OutOfTimeError):
            self.raw.close()

    def _cancel(self) -> None:
        """Ask the server to stop, and give the connection up if it doesn't answer in time."""
        until = self._moment_in(CANCEL_PATIENCE)
        pgconn = self.raw.pgconn
        while True:
            # A request that overtakes its statement is lost: ask again and again.
            self.raw.cancel_safe(timeout=max(0.1, until - time.monotonic()))
            _wait(pgconn, SLICE)
            pgconn.consume_input()
            if not pgconn.is_busy():
                break
            if time.monotonic() >= until:
                self.raw.close()
                return
        refused = self._finish()
        if not self.raw.closed:
            self.settled_as = Settled.STOPPED if refused else Settled.FINISHED


def _lost(last_words: Refusal | None = None) -> DatabaseUnavailableError:
    said = f" The server said: {last_words.message} (SQLSTATE {last_words.sqlstate})." if last_words else ""
    return DatabaseUnavailableError(
        f"The connection to the database was lost.{said} {WHAT_BECAME_OF_IT}",
        sqlstate=last_words.sqlstate if last_words else None,
    )


def filled(template: str, /, **values: object) -> sql.Composed:
    """A statement with its values as literals, as the simple protocol carries them; what is SQL already stays as it is."""
    literals = {name: v if isinstance(v, sql.Composable) else sql.Literal(v) for name, v in values.items()}
    return sql.SQL(template).format(**literals)


def joined(*statements: str | sql.Composable) -> sql.Composed:
    """Statements as one message."""
    return sql.SQL(";").join([sql.SQL(s) if isinstance(s, str) else s for s in statements])


def keepalives(scope: str) -> list[str]:
    """The SQL by which a server lets go of a client whose machine has vanished within 20 seconds, in place of two hours.

    `scope` is `local ` or nothing.
    """
    return [f"set {scope}tcp_keepalives_{name};" for name in ("idle = 5", "interval = 5", "count = 3")]


class _Signals(threading.local):
    """Whether this thread is inside libpq, and what a signal wanted to raise meanwhile."""

    inside = False
    deferred: BaseException | None = None


_signals = _Signals()


def defer(error: BaseException) -> bool:
    """Keep what a signal's handler wants to raise, if this thread is inside libpq; False if it may raise it at once.

    The server's notices call back from there into Python, and what is raised in a callback is swallowed.
    """
    if _signals.inside:
        _signals.deferred = error
    return _signals.inside


def _in_libpq(call: Callable[[], T]) -> T:
    _signals.inside = True
    try:
        result = call()
    finally:
        _signals.inside = False
    if _signals.deferred is not None:
        deferred, _signals.deferred = _signals.deferred, None
        raise deferred
    return result


def _wait(pgconn: "pq.abc.PGconn", seconds: float, *, writing: bool = False) -> bool:
    """Wait for so long at most; tells whether the server has sent anything."""
    return bool(select.select([pgconn.socket], [pgconn.socket] if writing else [], [], seconds)[0])


def _refusal(result: "pq.abc.PGresult") -> Refusal:
    def field(name: pq.DiagnosticField) -> str | None:
        value = result.error_field(name)
        return None if value is None else value.decode("utf-8", "replace")

    position = field(pq.DiagnosticField.STATEMENT_POSITION)
    internal_position = field(pq.DiagnosticField.INTERNAL_POSITION)
    return Refusal(
        sqlstate=field(pq.DiagnosticField.SQLSTATE) or "",
        message=field(pq.DiagnosticField.MESSAGE_PRIMARY) or "the server gave no message",
        detail=field(pq.DiagnosticField.MESSAGE_DETAIL),
        hint=field(pq.DiagnosticField.MESSAGE_HINT),
        context=field(pq.DiagnosticField.CONTEXT),
        position=int(position) if position else None,
        internal_query=field(pq.DiagnosticField.INTERNAL_QUERY),
        internal_position=int(internal_position) if internal_position else None,
    )


def _rows(result: "pq.abc.PGresult") -> Rows:
    """The rows as text, which is how the simple protocol carries them."""
    return [
        tuple(
            None if (value := result.get_value(row, column)) is None else value.decode("utf-8", "replace")
            for column in range(result.nfields)
        )
        for row in range(result.ntuples)
    ]
