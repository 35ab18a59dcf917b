"""Many statements in one flight, each by a message of its own.

So `current_query()` and `statement_timestamp()` give what they give under psql, and an error's
position is that of its own statement. libpq's pipeline mode does it: the messages of the extended
protocol follow one another, and one Sync ends them (PostgreSQL manual, "Pipeline Mode"; a COPY
can't be among them). After an error the server skips what is left.

A server that is at a statement reads nothing of what comes after it, and learns that its client is
gone from the end of the stream, which comes last. So no more is sent ahead than its receive buffer
takes.
"""

from collections import deque
from collections.abc import Callable, Sequence

from psycopg import pq

from ..signals import uninterrupted
from .cancel_and_rollback import end_pipeline, error_after, send_sync
from .connection import Connection
from .send_and_receive import Rows, rows_of
from .server_error import connection_lost, server_error_of

# Bytes sent ahead of the statement that the server is at: fewer than the smallest receive buffer.
AHEAD = 32 * 1024
# Bytes of the messages of one statement beside its text: Parse, Bind, Describe, Execute.
ENVELOPE = 64


def carry_out(connection: Connection, statements: Sequence[str]) -> Rows:
    """Send the statements, and return the last rows that are returned.

    They take one flight, or as many as it takes to send no more than `AHEAD` before an answer.
    Raises as `Flight.read` does.
    """
    return Flight(connection, statements).read(len(statements))


class Flight:
    """Statements on their way, counted as they are sent and answered.

    `following` returns the transaction to be sent behind them, again and again until it returns
    nothing. Until the last answer is read, nothing else may be sent on the connection; `settle`
    ends a flight that nobody reads to its end.
    """

    def __init__(
        self,
        connection: Connection,
        statements: Sequence[str],
        following: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._pgconn = connection.transport.pgconn
        self._following = following
        self._unsent = deque(map(str.encode, statements))
        # The transaction that follows, until all of it may be sent.
        self._next: list[bytes] = []
        # The bytes of each.
        self._unanswered: deque[int] = deque()
        self._ahead = 0
        with connection.guarded():
            self._transport.sync_is_sent = False
            self._pgconn.enter_pipeline_mode()

    def read(self, count: int) -> Rows:
        """Wait for the answers to the next `count` statements; return the last rows among them.

        Raises as `Connection.run` does: the first statement that fails ends the flight, and
        `StatementError.done` counts those before it in this call. In a transaction that they began,
        nothing of them stays then.
        """
        last: pq.abc.PGresult | None = None
        with self._connection.guarded():
            for done in range(count):
                self._send_ahead()
                result = self._read(done)
                # Nobody reads the other rows: to turn millions of them into Python's takes seconds.
                last = result if result.nfields else last
            if not (self._unanswered or self._unsent or self._next):
                end_pipeline(self._transport)
                if self._transport.raw.closed:
                    raise connection_lost()
        return rows_of(last) if last else []

    def _send_ahead(self) -> None:
        """Fill up what may be sent; one statement may always be sent, however long it is."""
        if self._transport.sync_is_sent or (self._unanswered and self._ahead > AHEAD // 2):
            return
        has_sent = False
        while self._unsent or self._take_next():
            size = len(self._unsent[0]) + ENVELOPE
            if self._unanswered and self._ahead + size > AHEAD:
                break
            self._pgconn.send_query_params(self._unsent.popleft(), None)
            self._unanswered.append(size)
            self._ahead += size
            has_sent = True
        if not self._unsent and not self._next:
            send_sync(self._transport)
        elif has_sent:
            # Without a Flush the server keeps its answers until its buffer is full.
            self._pgconn.send_flush_request()

    def _take_next(self) -> bool:
        """Take the transaction that follows; false if there is none, or it does not fit yet.

        The server would begin one of which a part is missing, and keep its locks for as long as
        this client is busy, or stopped.
        """
        if not self._next:
            self._next = list(map(str.encode, self._following()))
        size = sum(len(message) + ENVELOPE for message in self._next)
        if not self._next or (self._unanswered and self._ahead + size > AHEAD):
            return False
        if self._unanswered:
            # What is in front is answered when it has ended, and not with what follows.
            self._pgconn.send_flush_request()
            # libpq sends 8 kB as soon as it has them, which would end somewhere in what follows.
            uninterrupted(self._pgconn.flush)
        self._unsent.extend(self._next)
        self._next = []
        return True

    def _read(self, done: int) -> "pq.abc.PGresult":
        """Wait for the result of the next statement, and for the end of its messages."""
        result = self._transport.next_result()
        if result is None:
            raise connection_lost()
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_after(self._transport, server_error_of(result), done)
        self._transport.next_result()
        self._ahead -= self._unanswered.popleft()
        return result
