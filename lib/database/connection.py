"""A connection to PostgreSQL, and the two ways in which SQL gets to it.

- `query` is the only way for the runner's own SQL: one message, in a transaction in which nothing
  but pg_catalog is searched for the names of functions, operators and types, whatever search_path
  the role, the database or a file has set (PostgreSQL manual, "Writing SECURITY DEFINER Functions
  Safely"; CVE-2018-1058). A statement can't forget to ask for that.
- `run` is for SQL of a file, which keeps its own search_path. `database.pipeline` sends many
  statements in one flight.

Both use the simple protocol, which works through every transaction pooler. A statement with
parameters would keep a snapshot (see `ledger.run_lock`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import psycopg
from psycopg import pq, sql

from ..deadline import Deadline
from ..errors import DatabaseUnavailableError, OutOfTimeError
from ..time_limits import CANCEL
from .cancel_and_rollback import Settled, cancel, error_after, is_in_pipeline
from .notices import Listener
from .send_and_receive import Rows, Transport, rows_of
from .server_error import StatementError, connection_lost, server_error_of
from .sql_composition import OWN_SETTINGS, text_of

_OWN = ";".join(OWN_SETTINGS)


class BaseConnection:
    """The life of a connection, what the server reports of it, and the deadline that it keeps."""

    def __init__(
        self,
        raw: psycopg.Connection[tuple[Any, ...]],
        *,
        deadline: Deadline | None = None,
        on_notice: Listener | None = None,
    ) -> None:
        self.transport = Transport(raw, deadline or Deadline.none(), on_notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.transport.raw.close()

    @property
    def is_closed(self) -> bool:
        """True if this side has closed the connection, or found it closed."""
        return self.transport.raw.closed

    def is_alive(self) -> bool:
        """True unless the server has hung up, which is seen without a round trip."""
        return self.transport.is_alive()

    @property
    def server_version(self) -> int:
        return self.transport.raw.info.server_version

    @property
    def announced_backend(self) -> str:
        """The PID that the other end gave as its own; a pooler's is not one of the server's."""
        # From BackendKeyData, which a pooler makes up (PostgreSQL manual, "Message Formats").
        return str(self.transport.raw.info.backend_pid)

    @property
    def has_standard_strings(self) -> bool:
        """True if a backslash in '…' is a plain character, as it is by default.

        The server reports each change of the parameter by itself.
        """
        value = self.transport.pgconn.parameter_status(b"standard_conforming_strings")
        return value != b"off"

    @property
    def in_transaction(self) -> bool:
        return self.transport.status != pq.TransactionStatus.IDLE

    @property
    def deadline(self) -> Deadline:
        return self.transport.deadline

    @property
    def heard_at(self) -> float:
        """When the server last sent anything, in seconds of `time.monotonic`."""
        return self.transport.heard_at

    def extend_deadline(
        self, seconds: float, *, is_last: bool = False
    ) -> AbstractContextManager[None]:
        """Allow `seconds` for clean-up, overriding the deadline; restore it afterwards.

        With `is_last`, what goes wrong then gets no more time.
        """
        cleanup = self.deadline.for_cleanup(seconds, is_last=is_last)
        return self.transport.keeping(cleanup, is_cleanup=True)

    @contextmanager
    def limit_to(self, seconds: float, otherwise: str) -> Iterator[None]:
        """Allow `seconds` for what a healthy server answers soon.

        Past them DatabaseUnavailableError says `otherwise`; past an earlier deadline,
        OutOfTimeError is raised as ever.
        """
        deadline, limited = self.deadline, self.deadline.clip(seconds)
        try:
            with self.transport.keeping(limited):
                yield
        except OutOfTimeError:
            if limited == deadline:
                raise
            raise DatabaseUnavailableError(otherwise) from None

    def waking(self, call: Callable[[], None], *, every: float) -> AbstractContextManager[None]:
        """Call `call` while an answer is waited for, every `every` seconds or more often."""
        return self.transport.waking(call, every=every)


class Connection(BaseConnection):
    """One connection in autocommit.

    `cleanup_sql` follows every rollback in the same message, so that what it undoes never gets back
    into a pool. `settled_as` says what became of a message that was cut off.
    """

    def __init__(
        self,
        raw: psycopg.Connection[tuple[Any, ...]],
        *,
        deadline: Deadline | None = None,
        on_notice: Listener | None = None,
        cleanup_sql: str = "",
    ) -> None:
        super().__init__(raw, deadline=deadline, on_notice=on_notice)
        self.settled_as = Settled.UNKNOWN
        self._cleanup_sql = cleanup_sql
        # Whether `query` goes on in a transaction that `hold` began.
        self._is_held = False

    @contextmanager
    def cleaning_up_with(self, cleanup_sql: str) -> Iterator[None]:
        """Let another `cleanup_sql` follow a rollback of what runs meanwhile."""
        kept, self._cleanup_sql = self._cleanup_sql, cleanup_sql
        try:
            yield
        except BaseException:
            # What is still open is rolled back while its own clean-up is known.
            if not self.is_closed and self.in_transaction:
                self.settle()
            raise
        finally:
            self._cleanup_sql = kept

    def query(self, message: str | sql.Composed, *, read_only: bool = False) -> list[Rows]:
        """Carry out statements of the runner's own, in a transaction of their own or the held one.

        They are one message. Returns the rows of each statement that returns rows. Raises as `run`
        does; nothing stays then.
        """
        text = text_of(message)
        if self._is_held:
            return self._rows_of(text)
        # In a transaction of a file's, the commit would end the file's.
        assert not self.in_transaction
        # Under another default isolation level of the role, statements might fail to serialize.
        access = "read only" if read_only else ""
        return self._rows_of(f"begin isolation level read committed {access};{_OWN};{text};commit")

    def hold(self, message: str | sql.Composed) -> list[Rows]:
        """Begin a read-only transaction that `query` goes on in until `release`."""
        self._is_held = True
        return self._rows_of(
            f"begin isolation level read committed read only;{_OWN};{text_of(message)}"
        )

    def release(self) -> None:
        """Roll back what `hold` began."""
        self._is_held = False
        self._rows_of("rollback")

    def resolve(self, *names: str | None) -> list[str | None]:
        """Return the OIDs of the relations that a file of this session would find by these names.

        None stands for a relation that does not exist. The search_path is the session's own; what
        the SQL itself names is qualified, and it has no operator.
        """
        to_oid = "pg_catalog.to_regclass({})::pg_catalog.oid"
        found = [sql.SQL(to_oid).format(sql.Literal(name)) for name in names]
        return list(
            self._rows_of(text_of(sql.SQL("select {}").format(sql.SQL(",").join(found))))[0][0]
        )

    def run(self, script: str, *, copy_data: Iterable[bytes] = ()) -> Rows:
        """Send a statement of a file, feed its COPY, and return the last rows that are returned.

        Raises StatementError when the server refuses a statement, OutOfTimeError at the deadline,
        DatabaseUnavailableError when the connection is lost. Whatever ends the statement early
        cancels it first.
        """
        # Only rows count: the message may end with SET and the like.
        results = [result for result in self._send(script, copy_data) if result.nfields]
        return rows_of(results[-1]) if results else []

    def _rows_of(self, text: str) -> list[Rows]:
        try:
            return [rows_of(result) for result in self._send(text) if result.nfields]
        except StatementError:
            self._is_held = False
            # Without the clean-up: only a file sets what would outlive the rollback.
            if self.in_transaction:
                self._send("rollback")
            raise

    def _send(self, message: str, copy_data: Iterable[bytes] = ()) -> "list[pq.abc.PGresult]":
        results: list[pq.abc.PGresult] = []
        with self.guarded():
            self.transport.pgconn.send_query(message.encode())
            # In the simple protocol one message brings a result for each of its statements.
            while (result := self.transport.next_result()) is not None:
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    raise error_after(self.transport, server_error_of(result), len(results))
                if not self.transport.copies(result, copy_data):
                    results.append(result)
        return results

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Leave nothing under way on the connection, whatever ends what is sent and waited for."""
        try:
            yield
        # The socket is gone: there is nothing to cancel or to roll back.
        except psycopg.OperationalError:
            self.close()
            raise connection_lost() from None
        except (StatementError, DatabaseUnavailableError):
            raise
        # A signal, the deadline, or a fault of our own: the statement must not go on without us.
        except BaseException:
            self.settle()
            raise

    def settle(self) -> None:
        """Leave nothing open: cancel what runs, roll back; close the connection if that fails."""
        self.settled_as = Settled.UNKNOWN
        try:
            if self.transport.status == pq.TransactionStatus.ACTIVE or is_in_pipeline(
                self.transport
            ):
                self.settled_as = cancel(self.transport)
            if not self.is_closed and (self.in_transaction or self._is_held):
                self._is_held = False
                # The deadline may be what ended the statement: the rollback needs time of its own.
                with self.extend_deadline(CANCEL):
                    self._rows_of(f"rollback; {self._cleanup_sql}")
        # A closed connection is rolled back by the server.
        except (psycopg.Error, StatementError, DatabaseUnavailableError, OutOfTimeError):
            self.close()
