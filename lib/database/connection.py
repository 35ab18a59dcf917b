"""A connection to PostgreSQL, and the two ways in which SQL gets to it.

- `query` is for the runner's own SQL, and its only way: one message, in a transaction in which nothing but pg_catalog is
  searched for the names of functions, operators and types, whatever search_path the role, the database or a file has set
  (PostgreSQL manual, "Writing SECURITY DEFINER Functions Safely"; CVE-2018-1058). A statement can't forget it.
- `run` is for SQL of a file, which keeps its own search_path. Many statements in one flight: `database.pipeline`.

`query` and `run` use the simple protocol, which survives every transaction pooler. A statement with parameters would keep
a snapshot (see `ledger.run_lock`).
"""

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, TypeVar

import psycopg
from psycopg import pq, sql

from ..errors import DatabaseUnavailableError, OutOfTimeError

T = TypeVar("T")
Row = tuple[str | None, ...]
Rows = list[Row]

# How long a cancelled statement is waited for before the connection is dropped, in seconds.
CANCEL_PATIENCE = 3.0
# How long a wait for the server lasts before anybody looks up, in seconds.
SLICE = 0.25
# What stands before every statement of the runner's own: only pg_catalog is searched (pg_temp would be searched first if
# it weren't named), and a row that a policy would hide is an error (PostgreSQL manual, "row_security").
OWN_SETTINGS = ("set local search_path = pg_catalog, pg_temp", "set local row_security = off")
_OWN = ";".join(OWN_SETTINGS)
_TRANSACTION_TIMEOUT = "25P04"
# What is true of the file under way when a connection is gone.
WHAT_BECAME_OF_IT = (
    "A file under way in a transaction was rolled back, or had just committed; run it again, and what is still pending is "
    "applied."
)


@dataclass(frozen=True)
class ServerError:
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


class StatementError(Exception):
    """A statement failed. `done` statements sent with it had succeeded before; what follows was not run."""

    def __init__(self, server_error: ServerError, done: int) -> None:
        super().__init__(server_error.message)
        self.server_error = server_error
        self.done = done


class Settled(Enum):
    """What became of a message that was cut off, as far as the server has confirmed it."""

    UNKNOWN = 0
    STOPPED = 1
    FINISHED = 2


class Connection:
    """One connection in autocommit, and the deadline (monotonic seconds) that whatever runs on it must keep.

    `end_by`, later than the deadline, is the last moment for what has to be done after it.
    `cleanup_sql` follows every rollback in the same message, so that what it undoes never gets back
    into a pool. `while_waiting` is called every `slice` seconds at the latest while an answer is
    waited for; `heard_at` is when the server last sent anything. `settled_as` says what became of a
    message that was cut off.
    """

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.raw = raw
        self.deadline: float | None = None
        self.end_by: float | None = None
        self.cleanup_sql = ""
        self.slice = SLICE
        self.while_waiting: Callable[[], None] | None = None
        self.heard_at = time.monotonic()
        self.settled_as = Settled.UNKNOWN
        # Of a pipeline: whether its end has been sent, after which the server answers and goes on (`database.pipeline`).
        self.sync_is_sent = False
        self._is_held = False
        self.on_notice: Callable[[str, str], None] | None = None
        self.notices: deque[tuple[str, str]] = deque()
        raw.add_notice_handler(self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.raw.close()

    @property
    def is_closed(self) -> bool:
        """True if this side has closed the connection, or found it closed."""
        return self.raw.closed

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
            self.close()
        return not self.is_closed

    @contextmanager
    def extend_deadline(self, seconds: float) -> Iterator[None]:
        """Give what has to be done at the end so long from now, whatever the deadline, which holds again afterwards."""
        kept = self.deadline, self.while_waiting
        self.deadline, self.while_waiting = self._moment_in(seconds), None
        try:
            yield
        finally:
            self.deadline, self.while_waiting = kept

    @contextmanager
    def limit_to(self, seconds: float, otherwise: str) -> Iterator[None]:
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

    def query(self, message: str | sql.Composed, *, read_only: bool = False) -> list[Rows]:
        """Carry out statements of the runner's own, in a transaction of their own or in the one that is held.

        One message. Returns the rows of each statement that returns rows; raises as `run` does, and nothing stays then.
        """
        text = _text(message)
        if self._is_held:
            return self._rows_of(text)
        assert not self.in_transaction  # it would end the file's
        access = "read only" if read_only else ""
        return self._rows_of(f"begin isolation level read committed {access};{_OWN};{text};commit")

    def hold(self, message: str | sql.Composed) -> list[Rows]:
        """Begin a read-only transaction in which `query` goes on until `release`, with these statements first."""
        self._is_held = True
        return self._rows_of(
            f"begin isolation level read committed read only;{_OWN};{_text(message)}"
        )

    def release(self) -> None:
        """Roll back what `hold` began."""
        self._is_held = False
        self._rows_of("rollback")

    def resolve(self, *names: str | None) -> list[str | None]:
        """The oids of relations as a file of this session would find them by these names, by its own search_path.

        None for one that isn't there. All that the SQL names itself is qualified, and it has no operator.
        """
        found = [
            sql.SQL("pg_catalog.to_regclass({})::pg_catalog.oid").format(sql.Literal(name))
            for name in names
        ]
        return list(
            self._rows_of(_text(sql.SQL("select {}").format(sql.SQL(",").join(found))))[0][0]
        )

    def run(self, script: str, *, copy_data: Iterable[bytes] = ()) -> Rows:
        """Send a statement of a file as it is, feed its COPY, and return the rows of the last one that returns any.

        Raises StatementError when the server refuses a statement, OutOfTimeError at the deadline, DatabaseUnavailableError
        when the connection is lost. Whatever ends it early cancels the statement under way first.
        """
        results = [result for result in self._send(script, copy_data) if result.nfields]
        return rows_of(results[-1]) if results else []

    def _rows_of(self, text: str) -> list[Rows]:
        try:
            return [rows_of(result) for result in self._send(text) if result.nfields]
        except StatementError:
            self._is_held = False
            # Nothing was set that would outlive it: `cleanup_sql` is a file's.
            if self.in_transaction:
                self._send("rollback")
            raise

    def _send(self, message: str, copy_data: Iterable[bytes] = ()) -> "list[pq.abc.PGresult]":
        results: list[pq.abc.PGresult] = []
        with self.guarded():
            self.raw.pgconn.send_query(message.encode())
            while (result := self.next_result()) is not None:
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    raise self._refused(server_error_of(result), len(results))
                if not self._copies(result, copy_data):
                    results.append(result)
        return results

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Leave nothing under way on the connection, whatever ends what is sent and waited for."""
        try:
            yield
        except psycopg.OperationalError:
            self.close()
            raise lost() from None
        except (StatementError, DatabaseUnavailableError):
            raise
        except BaseException:
            self.settle()
            raise

    def _copies(self, result: "pq.abc.PGresult", data: Iterable[bytes]) -> bool:
        """Serve a COPY, if that is what the server has come to."""
        if result.status == pq.ExecStatus.COPY_IN:
            self._feed(data)
        elif result.status == pq.ExecStatus.COPY_OUT:
            self._drain()
        return result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT)

    def _refused(
        self, server_error: ServerError, done: int
    ) -> StatementError | DatabaseUnavailableError:
        try:
            self._finish()
        except psycopg.OperationalError:
            self.close()
        return lost(server_error) if self.is_closed else StatementError(server_error, done)

    def next_result(self) -> "pq.abc.PGresult | None":
        """Wait for the next statement's result, in slices, so that a signal or the deadline is noticed."""
        pgconn = self.raw.pgconn
        while _in_libpq(pgconn.flush):
            self.wait(writing=True)
        while _in_libpq(pgconn.is_busy):
            self.wait()
        result = _in_libpq(pgconn.get_result)
        # What came with the result, and not while it was waited for.
        self._tell()
        return result

    def _feed(self, data: Iterable[bytes]) -> None:
        pgconn = self.raw.pgconn
        for chunk in data:
            while pgconn.put_copy_data(chunk) == 0:
                self.wait(writing=True)
            while pgconn.flush():
                self.wait(writing=True)
        while pgconn.put_copy_end() == 0:
            self.wait(writing=True)

    def _drain(self) -> None:
        """Throw away what a COPY … TO stdout sends."""
        while (size := _in_libpq(lambda: self.raw.pgconn.get_copy_data(1)[0])) != -1:
            if size == 0:
                self.wait()

    def wait(self, *, writing: bool = False) -> None:
        """Wait for the server, in slices, so that a signal or the deadline is noticed."""
        self._check_deadline()
        if _wait(self.raw.pgconn, self.slice, writing=writing):
            self.heard_at = time.monotonic()
            # Also while writing: a server that can't get rid of its answers reads no more.
            writing = False
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
        lines = [
            diagnostic.message_primary or "",
            *(f"  {name}: {text}" for name, text in more if text),
        ]
        self.notices.append((diagnostic.severity or "", "\n".join(lines)))

    def _check_deadline(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTimeError("The time allowed ran out.")

    def _finish(self) -> bool:
        """Read what is left of the message, so that the connection can be used again; tells of an error in it."""
        refused = False
        with self.extend_deadline(CANCEL_PATIENCE):
            while (result := self.next_result()) is not None:
                if result.status == pq.ExecStatus.COPY_IN:
                    self.raw.pgconn.put_copy_end(b"the migration was stopped")
                elif result.status == pq.ExecStatus.COPY_OUT:
                    self._drain()
                refused = refused or result.status == pq.ExecStatus.FATAL_ERROR
        if self.raw.pgconn.status == pq.ConnStatus.BAD:
            self.close()
        return refused

    def settle(self) -> None:
        """Leave nothing open on the connection: cancel what still runs, roll back, and close it if that fails."""
        self.settled_as = Settled.UNKNOWN
        try:
            if self.raw.info.transaction_status == pq.TransactionStatus.ACTIVE:
                self._cancel()
            if not self.is_closed and (self.in_transaction or self._is_held):
                self._is_held = False
                with self.extend_deadline(CANCEL_PATIENCE):
                    self._rows_of(f"rollback; {self.cleanup_sql}")
        except (psycopg.Error, StatementError, DatabaseUnavailableError, OutOfTimeError):
            self.close()

    def _cancel(self) -> None:
        """Ask the server to stop, and give the connection up if it doesn't answer in time."""
        until = self._moment_in(CANCEL_PATIENCE)
        pgconn = self.raw.pgconn
        in_pipeline = pgconn.pipeline_status != pq.PipelineStatus.OFF
        if in_pipeline:
            self.send_sync()
        while True:
            # A request that overtakes its statement, or comes between two of them, is lost: ask again and again.
            self.raw.cancel_safe(timeout=max(0.1, until - time.monotonic()))
            if pgconn.flush() == 0:
                _wait(pgconn, SLICE)
            pgconn.consume_input()
            if self._has_ended_pipeline() if in_pipeline else not pgconn.is_busy():
                break
            if time.monotonic() >= until:
                self.close()
                return
        refused = in_pipeline or self._finish()
        if not self.is_closed:
            self.settled_as = Settled.STOPPED if refused else Settled.FINISHED

    def send_sync(self) -> None:
        """Send the end of a pipeline, once: two ends without an answer are more than some poolers bear."""
        if not self.sync_is_sent:
            self.sync_is_sent = True
            self.raw.pgconn.pipeline_sync()

    def end_pipeline(self) -> None:
        """Read what is left of a pipeline, so that the connection can be used again."""
        self.send_sync()
        with self.extend_deadline(CANCEL_PATIENCE):
            while self.raw.pgconn.status != pq.ConnStatus.BAD:
                result = self.next_result()
                if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                    self.raw.pgconn.exit_pipeline_mode()
                    return
        self.close()

    def _has_ended_pipeline(self) -> bool:
        """Read what has come of a pipeline without waiting for more; true once its end is answered."""
        pgconn = self.raw.pgconn
        while not pgconn.is_busy() and pgconn.status != pq.ConnStatus.BAD:
            result = pgconn.get_result()
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                pgconn.exit_pipeline_mode()
                return True
        return False


def lost(last_words: ServerError | None = None) -> DatabaseUnavailableError:
    said = (
        f" The server said: {last_words.message} (SQLSTATE {last_words.sqlstate})."
        if last_words
        else ""
    )
    if last_words and last_words.sqlstate == _TRANSACTION_TIMEOUT:
        said += " If the file sets transaction_timeout, raise it there; that of the role or database is lifted."
    return DatabaseUnavailableError(
        f"The connection to the database was lost.{said} {WHAT_BECAME_OF_IT}",
        sqlstate=last_words.sqlstate if last_words else None,
    )


def filled(template: str, /, **values: object) -> sql.Composed:
    """A statement with its values as literals, as the simple protocol carries them; what is SQL already stays as it is."""
    literals = {
        name: v if isinstance(v, sql.Composable) else sql.Literal(v) for name, v in values.items()
    }
    return sql.SQL(template).format(**literals)


def joined(*statements: str | sql.Composable) -> sql.Composed:
    """Statements as one message."""
    return sql.SQL(";").join([sql.SQL(s) if isinstance(s, str) else s for s in statements])


def _text(message: str | sql.Composable) -> str:
    return message if isinstance(message, str) else message.as_string(None)


def keepalives(scope: str) -> list[str]:
    """The SQL by which a server lets go of a client whose machine has vanished within 20 seconds, in place of two hours.

    `scope` is `local ` or nothing.
    """
    return [
        f"set {scope}tcp_keepalives_{name};" for name in ("idle = 5", "interval = 5", "count = 3")
    ]


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


def server_error_of(result: "pq.abc.PGresult") -> ServerError:
    def field(name: pq.DiagnosticField) -> str | None:
        value = result.error_field(name)
        return None if value is None else value.decode("utf-8", "replace")

    position = field(pq.DiagnosticField.STATEMENT_POSITION)
    internal_position = field(pq.DiagnosticField.INTERNAL_POSITION)
    return ServerError(
        sqlstate=field(pq.DiagnosticField.SQLSTATE) or "",
        message=field(pq.DiagnosticField.MESSAGE_PRIMARY) or "the server gave no message",
        detail=field(pq.DiagnosticField.MESSAGE_DETAIL),
        hint=field(pq.DiagnosticField.MESSAGE_HINT),
        context=field(pq.DiagnosticField.CONTEXT),
        position=int(position) if position else None,
        internal_query=field(pq.DiagnosticField.INTERNAL_QUERY),
        internal_position=int(internal_position) if internal_position else None,
    )


def rows_of(result: "pq.abc.PGresult") -> Rows:
    """The rows as text, which is how the simple protocol carries them."""
    return [
        tuple(
            None
            if (value := result.get_value(row, column)) is None
            else value.decode("utf-8", "replace")
            for column in range(result.nfields)
        )
        for row in range(result.ntuples)
    ]
