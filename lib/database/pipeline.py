"""Many statements in one flight, each by a message of its own.

So `current_query()` and `statement_timestamp()` give what they give under psql, and an error's
position is that of its own statement. libpq's pipeline mode does it: the messages of the extended
protocol follow one another, and one Sync ends them (PostgreSQL manual, "Pipeline Mode"; a COPY
can't be among them). After an error the server skips what is left.

A server that is at a statement reads nothing of what comes after it, and learns that its client is
gone from the end of the stream, which comes last. So no more is sent ahead than its receive buffer
takes.
"""

from collections.abc import Sequence

from psycopg import pq

from .cancel_and_rollback import end_pipeline, error_after, send_sync
from .connection import Connection
from .send_and_receive import Rows, Transport, rows_of
from .server_error import connection_lost, server_error_of

# Bytes sent ahead of the statement that the server is at: fewer than the smallest receive buffer.
AHEAD = 32 * 1024
# Bytes of the messages of one statement beside its text: Parse, Bind, Describe, Execute.
ENVELOPE = 64


def carry_out(connection: Connection, statements: Sequence[str]) -> Rows:
    """Send the statements, and return the last rows that are returned.

    They take one flight, or as many as it takes to send no more than `AHEAD` before an answer.
    Raises as `Connection.run` does: the first statement that fails ends the flight, and
    `StatementError.done` counts those before it. In a transaction that they began, nothing of them
    stays then.
    """
    with connection.guarded():
        return _Flight(connection.transport, statements).carry_out()


class _Flight:
    """Statements on their way, counted as they are sent and answered."""

    def __init__(self, transport: Transport, statements: Sequence[str]) -> None:
        self._transport = transport
        self._pgconn = transport.pgconn
        self._messages = [statement.encode() for statement in statements]
        self._sent = 0
        self._answered = 0
        self._ahead = 0

    def carry_out(self) -> Rows:
        last: pq.abc.PGresult | None = None
        self._transport.sync_is_sent = False
        self._pgconn.enter_pipeline_mode()
        while self._answered < len(self._messages):
            self._send_ahead()
            result = self._read()
            # Nobody reads the other rows: to turn millions of them into Python's takes seconds.
            last = result if result.nfields else last
        end_pipeline(self._transport)
        if self._transport.raw.closed:
            raise connection_lost()
        return rows_of(last) if last else []

    def _send_ahead(self) -> None:
        """Fill up what may be sent; one statement may always be sent, however long it is."""
        if self._answered < self._sent and self._ahead > AHEAD // 2:
            return
        began = self._sent
        while self._sent < len(self._messages):
            size = self._size(self._sent)
            if self._answered < self._sent and self._ahead + size > AHEAD:
                break
            self._pgconn.send_query_params(self._messages[self._sent], None)
            self._sent += 1
            self._ahead += size
        if self._sent == len(self._messages):
            send_sync(self._transport)
        elif self._sent > began:
            # Without a Flush the server keeps its answers until its buffer is full.
            self._pgconn.send_flush_request()

    def _size(self, number: int) -> int:
        return len(self._messages[number]) + ENVELOPE

    def _read(self) -> "pq.abc.PGresult":
        """Wait for the result of the next statement, and for the end of its messages."""
        result = self._transport.next_result()
        if result is None:
            raise connection_lost()
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_after(self._transport, server_error_of(result), self._answered)
        self._transport.next_result()
        self._ahead -= self._size(self._answered)
        self._answered += 1
        return result
