"""A TCP proxy that does one wrong thing at a certain byte of the stream."""

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

Fault = Literal["cut", "delay", "freeze", "silence"]


@dataclass(frozen=True)
class Trouble:
    """What happens to the connection that carries the byte at `at`, counted over all, both ways.

    `cut` resets it; `freeze` stops it for `seconds` and resets it then; `delay` holds this and each
    later piece back; from `silence` on nothing is carried on any connection, and new ones are
    accepted and not answered.
    """

    fault: Fault
    at: int
    seconds: float = 0.0


class FaultProxy:
    """Listens on `port` while entered; `struck` is set once the trouble has come."""

    def __init__(self, target_port: str, trouble: Trouble | None = None) -> None:
        self._target = ("127.0.0.1", int(target_port))
        self._trouble = trouble or Trouble("cut", 1 << 60)
        self._is_first_frozen = False
        self._pause_first = 0.0
        self._carried = 0
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.struck = False
        # How often a client has spoken after the server had.
        self.turns = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._listen)
        return self

    def end(self) -> None:
        """Cut everything."""
        self._ended.set()

    def __exit__(self, *_: object) -> None:
        self.end()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def fall_silent(self) -> None:
        """Have the trouble come with the next byte."""
        self._trouble = Trouble("silence", -1)

    def freeze_first(self) -> None:
        """Carry nothing more on the connection that was made first."""
        self._is_first_frozen = True

    def pause_first(self, seconds: float) -> None:
        """Hold the next piece back on the connection that was made first."""
        self._pause_first = seconds

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        first = True
        while not self._ended.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            self._start(self._relay, client, server, first)
            first = False

    def _relay(self, client: socket.socket, server: socket.socket, is_first: bool) -> None:
        last: socket.socket | None = None
        with client, server, suppress(OSError):
            while not self._ended.is_set():
                if is_first and self._is_first_frozen:
                    self._ended.wait()
                    return
                for source in select.select([client, server], [], [], 0.05)[0]:
                    piece = source.recv(65536)
                    if not piece or not self._carry(piece, client, server):
                        return
                    self.turns += source is client and last is not client
                    last = source
                    if is_first and self._pause_first:
                        pause, self._pause_first = self._pause_first, 0.0
                        self._ended.wait(pause)
                    (server if source is client else client).sendall(piece)

    def _carry(self, piece: bytes, client: socket.socket, server: socket.socket) -> bool:
        """Count the piece, and let the trouble come; False if this connection is over."""
        with self._turn:
            before, self._carried = self._carried, self._carried + len(piece)
        if self._carried <= self._trouble.at or (
            before > self._trouble.at and self._trouble.fault not in ("delay", "silence")
        ):
            return True
        self.struck = True
        if self._trouble.fault == "silence":
            self._ended.wait()
            return False
        if self._trouble.fault == "delay":
            time.sleep(self._trouble.seconds)
            return True
        if self._trouble.fault == "freeze":
            self._ended.wait(self._trouble.seconds)
        for end in (client, server):
            # Linger of 0: a reset, and nothing of what was under way.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
