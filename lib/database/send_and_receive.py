"""What travels over one connection: bytes to the server, results and notices back.

Every wait is cut into slices, so that a signal or the deadline is noticed. What ends a wait early
leaves the connection as it is: `database.cancel_and_rollback` puts it in order.
"""

import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq

from ..deadline import Deadline
from ..errors import OutOfTimeError
from ..signals import uninterrupted
from ..time_limits import SLICE
from .notices import Listener, Notices

Row = tuple[str | None, ...]
Rows = list[Row]

_COPIES = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT)


class Transport:
    """One connection of psycopg's, driven by libpq's asynchronous functions.

    `deadline` is what every wait keeps; `heard_at` is when the server last sent anything, in
    seconds of `time.monotonic`. `sync_is_sent` says whether a pipeline's end has been sent.
    """

    def __init__(
        self,
        raw: psycopg.Connection[tuple[Any, ...]],
        deadline: Deadline,
        on_notice: Listener | None,
    ) -> None:
        self.raw = raw
        self.deadline = deadline
        self.heard_at = time.monotonic()
        self.sync_is_sent = False
        self._slice = SLICE
        self._while_waiting: Callable[[], None] | None = None
        self._notices = Notices(on_notice)
        raw.add_notice_handler(self._notices.receive)

    @property
    def pgconn(self) -> "pq.abc.PGconn":
        return self.raw.pgconn

    @property
    def status(self) -> pq.TransactionStatus:
        return self.raw.info.transaction_status

    @property
    def is_bad(self) -> bool:
        """True if libpq has given the connection up."""
        return self.pgconn.status == pq.ConnStatus.BAD

    def is_alive(self) -> bool:
        """True unless the server has hung up, which is seen without a round trip."""
        try:
            # The server's last words come first, the end of the stream with the next read.
            while select.select([self.pgconn.socket], [], [], 0)[0]:
                self.pgconn.consume_input()
        except psycopg.OperationalError:
            self.raw.close()
        return not self.raw.closed

    @contextmanager
    def keeping(self, deadline: Deadline, *, is_cleanup: bool = False) -> Iterator[None]:
        """Keep another deadline for a while. Nobody looks on while it is for clean-up."""
        kept = self.deadline, self._while_waiting
        self.deadline = deadline
        if is_cleanup:
            self._while_waiting = None
        try:
            yield
        finally:
            self.deadline, self._while_waiting = kept

    @contextmanager
    def waking(self, call: Callable[[], None], *, every: float) -> Iterator[None]:
        """Call `call` while an answer is waited for, every `every` seconds or more often."""
        # A first look that is due sooner than a slice ends needs shorter slices.
        self._while_waiting, self._slice = call, min(SLICE, every)
        try:
            yield
        finally:
            self._while_waiting, self._slice = None, SLICE

    def next_result(self) -> "pq.abc.PGresult | None":
        """Wait for the next statement's result; None at the end of a message."""
        while uninterrupted(self.pgconn.flush):
            self.wait(writing=True)
        while uninterrupted(self.pgconn.is_busy):
            self.wait()
        result = uninterrupted(self.pgconn.get_result)
        # Notices that came with the result, and not while it was waited for.
        self._notices.pass_on()
        return result

    def wait(self, *, writing: bool = False) -> None:
        """Wait for one slice, and take in what the server sends. Raises OutOfTimeError."""
        # At the start of each slice, so that a deadline is passed by at most one slice.
        if self.deadline.has_passed():
            raise OutOfTimeError("The time allowed ran out.")
        if self.wait_readable(self._slice, writing=writing):
            self.heard_at = time.monotonic()
            # Read while writing, too: a server that can't get rid of its answers reads no more.
            writing = False
        if not writing:
            uninterrupted(self.pgconn.consume_input)
        self._notices.pass_on()
        if self._while_waiting and not writing:
            self._while_waiting()

    def wait_readable(self, seconds: float, *, writing: bool = False) -> bool:
        """Wait for up to `seconds`; True if the server has sent anything."""
        socket = [self.pgconn.socket]
        return bool(select.select(socket, socket if writing else [], [], seconds)[0])

    def copies(self, result: "pq.abc.PGresult", data: Iterable[bytes]) -> bool:
        """Serve the COPY that a result asks for; True if it does."""
        if result.status == pq.ExecStatus.COPY_IN:
            self._feed(data)
        elif result.status == pq.ExecStatus.COPY_OUT:
            self.drain()
        return result.status in _COPIES

    def _feed(self, data: Iterable[bytes]) -> None:
        # Chunk by chunk, each sent before the next: libpq would keep all of the data in memory.
        for chunk in data:
            # 0 means that the buffer is full.
            while self.pgconn.put_copy_data(chunk) == 0:
                self.wait(writing=True)
            while self.pgconn.flush():
                self.wait(writing=True)
        while self.pgconn.put_copy_end() == 0:
            self.wait(writing=True)

    def drain(self) -> None:
        """Throw away what a COPY … TO stdout sends."""
        # The size is 0 while no row has come, and -1 at the end.
        while (size := uninterrupted(lambda: self.pgconn.get_copy_data(1)[0])) != -1:
            if size == 0:
                self.wait()


def rows_of(result: "pq.abc.PGresult") -> Rows:
    """Return the rows of a result as text, which is how the simple protocol carries them."""
    columns, get = range(result.nfields), result.get_value
    # A list for each row, since a generator takes half as long again.
    return [
        tuple(
            [
                None if (value := get(row, column)) is None else value.decode("utf-8", "replace")
                for column in columns
            ]
        )
        for row in range(result.ntuples)
    ]
