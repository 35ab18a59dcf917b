"""A connection in order again after a message was cut off: read to its end, or canceled."""

from enum import Enum

import psycopg
from psycopg import pq

from ..errors import DatabaseUnavailableError
from ..time_limits import CANCEL, SHORTEST_CANCEL, SLICE
from .send_and_receive import Transport
from .server_error import ServerError, StatementError, connection_lost


class Settled(Enum):
    """Whether the server finished a message that was cut off, as far as it has confirmed."""

    UNKNOWN = 0
    STOPPED = 1
    FINISHED = 2


def finish(transport: Transport) -> bool:
    """Read what is left of the message, so that the connection can be used again.

    True if the server reports an error in it.
    """
    has_failed = False
    with transport.keeping(transport.deadline.for_cleanup(CANCEL), is_cleanup=True):
        while (result := transport.next_result()) is not None:
            if result.status == pq.ExecStatus.COPY_IN:
                # The server waits for data: this ends the COPY, and with it the statement.
                transport.pgconn.put_copy_end(b"the migration was stopped")
            elif result.status == pq.ExecStatus.COPY_OUT:
                transport.drain()
            has_failed = has_failed or result.status == pq.ExecStatus.FATAL_ERROR
    # A connection lost while results are read raises nothing: libpq makes a result of it.
    if transport.is_bad:
        transport.raw.close()
    return has_failed


def error_after(
    transport: Transport, server_error: ServerError, done: int
) -> StatementError | DatabaseUnavailableError:
    """Read to the end of a message that failed, or of its pipeline; return the error to raise."""
    try:
        if is_in_pipeline(transport):
            end_pipeline(transport)
        else:
            finish(transport)
    except psycopg.OperationalError:
        transport.raw.close()
    if transport.raw.closed:
        return connection_lost(server_error)
    return StatementError(server_error, done)


def cancel(transport: Transport) -> Settled:
    """Ask the server to stop, and give the connection up if it does not answer in time."""
    deadline = transport.deadline.for_cleanup(CANCEL)
    in_pipeline = is_in_pipeline(transport)
    if in_pipeline:
        send_sync(transport)
    # A request that overtakes its statement, or comes between two of them, is lost: ask again.
    while not _is_stopped(transport, max(SHORTEST_CANCEL, deadline.remaining())):
        if deadline.has_passed():
            transport.raw.close()
            return Settled.UNKNOWN
    # The transaction at which a pipeline was stopped is rolled back, and nothing behind it is run.
    has_failed = in_pipeline or finish(transport)
    if transport.raw.closed:
        return Settled.UNKNOWN
    return Settled.STOPPED if has_failed else Settled.FINISHED


def _is_stopped(transport: Transport, timeout: float) -> bool:
    """Send one request to cancel; True if the answer to what was under way is there."""
    # Over a connection of its own, since this one is busy (PostgreSQL manual, "Canceling Requests
    # in Progress").
    transport.raw.cancel_safe(timeout=timeout)
    # As long as a part of the message is unsent, there is nothing to wait for.
    if transport.pgconn.flush() == 0:
        transport.wait_readable(SLICE)
    transport.pgconn.consume_input()
    if is_in_pipeline(transport):
        return _has_ended_pipeline(transport)
    return not transport.pgconn.is_busy()


def is_in_pipeline(transport: Transport) -> bool:
    return transport.pgconn.pipeline_status != pq.PipelineStatus.OFF


def send_sync(transport: Transport) -> None:
    """Send the end of a pipeline, once: two unanswered ends are more than some poolers bear."""
    if not transport.sync_is_sent:
        transport.sync_is_sent = True
        transport.pgconn.pipeline_sync()


def end_pipeline(transport: Transport) -> None:
    """Read what is left of a pipeline, so that the connection can be used again."""
    send_sync(transport)
    with transport.keeping(transport.deadline.for_cleanup(CANCEL), is_cleanup=True):
        while not transport.is_bad:
            result = transport.next_result()
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                transport.pgconn.exit_pipeline_mode()
                return
    transport.raw.close()


def _has_ended_pipeline(transport: Transport) -> bool:
    """Read what has come of a pipeline without waiting for more; True once its end is answered."""
    while not transport.pgconn.is_busy() and not transport.is_bad:
        result = transport.pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
            transport.pgconn.exit_pipeline_mode()
            return True
    return False
