"""Many statements in one flight, each by a message of its own.

So `current_query()` and `statement_timestamp()` give what they give under psql, and an error's position is that of its own
statement. libpq's pipeline mode does it: the messages of the extended protocol follow one another, and one Sync ends them
(PostgreSQL manual, "Pipeline Mode"; a COPY can't be among them). After an error the server passes over what is left.

A server that is at a statement reads nothing of what comes after it, and learns that its client is gone from the end of the
stream, which comes last. So no more is sent ahead than its receive buffer takes.
"""

from collections.abc import Sequence

from psycopg import OperationalError, pq

from ..errors import DatabaseUnavailableError
from .connection import Connection, Rows, StatementError, lost, rows_of, server_error_of

# How much may be sent behind the statement that the server is at, in bytes: less than a TCP receive buffer is at its least.
AHEAD = 32 * 1024
# What the messages of one statement take besides its text, in bytes: Parse, Bind, Describe, Execute.
ENVELOPE = 64


def carry_out(connection: Connection, statements: Sequence[str]) -> Rows:
    """Send the statements, and return the rows of the last one that returns any; raises as `Connection.run` does.

    They take one flight, or as many as it takes to send no more than `AHEAD` before an answer. The first that fails ends
    it: `StatementError.done` counts those before it. In a transaction that they have begun, nothing of them stays then.
    """
    with connection.guarded():
        return _Flight(connection, statements).carry_out()


class _Flight:
    """Statements on their way, counted as they are sent and answered."""

    def __init__(self, connection: Connection, statements: Sequence[str]) -> None:
        self._connection = connection
        self._pgconn = connection.raw.pgconn
        self._messages = [statement.encode() for statement in statements]
        self._sent = 0
        self._answered = 0
        self._ahead = 0

    def carry_out(self) -> Rows:
        last: pq.abc.PGresult | None = None
        self._connection.sync_is_sent = False
        self._pgconn.enter_pipeline_mode()
        while self._answered < len(self._messages):
            self._send_ahead()
            result = self._read()
            # The rows of the others are nobody's: made into Python's, millions of them would take seconds.
            last = result if result.nfields else last
        self._connection.end_pipeline()
        if self._connection.is_closed:
            raise lost()
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
            self._connection.send_sync()
        elif self._sent > began:
            # Without it the server would keep its answers until its buffer is full.
            self._pgconn.send_flush_request()

    def _size(self, number: int) -> int:
        return len(self._messages[number]) + ENVELOPE

    def _read(self) -> "pq.abc.PGresult":
        result = self._connection.next_result()
        if result is None:
            raise lost()
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise self._refused(result)
        self._connection.next_result()
        self._ahead -= self._size(self._answered)
        self._answered += 1
        return result

    def _refused(self, result: "pq.abc.PGresult") -> StatementError | DatabaseUnavailableError:
        server_error = server_error_of(result)
        try:
            self._connection.end_pipeline()
        except OperationalError:
            self._connection.close()
        return (
            lost(server_error)
            if self._connection.is_closed
            else StatementError(server_error, self._answered)
        )
