"""A TCP proxy that makes a near PostgreSQL far, and counts how often its client waits."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"

# The first message of a connection has no type but a code (PostgreSQL manual, "Message Formats").
_OPENINGS = {
    80877103: "SSLRequest",
    80877104: "GSSENCRequest",
    80877102: "CancelRequest",
    196608: "startup",
    196610: "startup",
}
_MESSAGES = {
    b"B": "Bind",
    b"C": "Close",
    b"D": "Describe",
    b"E": "Execute",
    b"H": "Flush",
    b"P": "Parse",
    b"S": "Sync",
    b"X": "Terminate",
    b"c": "CopyDone",
    b"d": "CopyData",
    b"p": "password",
}


@dataclass(frozen=True)
class Flight:
    """One wait for an answer: the connection (from 1), and what the client had sent by then."""

    connection: int
    asked: str


@dataclass
class _Conversation:
    """Reads along on one connection."""

    number: int
    flights: list[Flight]
    _unread: bytes = b""
    _asked: list[str] = field(default_factory=list)
    _opened: bool = False

    def ask(self, data: bytes) -> None:
        self._unread += data
        while message := self._next_message():
            self._asked.append(message)

    def answer(self, data: bytes) -> None:
        if data and self._asked:
            self.flights.append(Flight(self.number, ", ".join(self._asked)))
            self._asked.clear()

    def _next_message(self) -> str | None:
        typed = int(self._opened)
        if len(self._unread) < typed + 4:
            return None
        end = typed + struct.unpack_from("!I", self._unread, typed)[0]
        if len(self._unread) < end:
            return None
        message, self._unread = self._unread[:end], self._unread[end:]
        return self._name(message) if self._opened else self._name_of_opening(message)

    def _name_of_opening(self, message: bytes) -> str:
        name = _OPENINGS.get(struct.unpack_from("!I", message, 4)[0], "startup")
        self._opened = name == "startup"
        return name

    def _name(self, message: bytes) -> str:
        if message[:1] in (b"Q", b"P"):
            text = message[5:].rstrip(b"\0").lstrip(b"\0").decode(errors="replace")
            return " ".join(text.split())
        return _MESSAGES.get(message[:1], repr(message[:1]))


class FarServer:
    """While entered, `port` leads to the server at `host` and `server_port`, `delay` seconds away.

    Order is kept, and what travels together arrives together: only waiting costs. A TCP handshake
    costs nothing.
    """

    def __init__(self, host: str, server_port: int, delay: float) -> None:
        self.port = 0
        self._flights: list[Flight] = []
        self._connections = 0
        self._server = (host, server_port)
        self._delay = delay
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="far server", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._call(asyncio.start_server(self._meet, HOST, 0))
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def take(self) -> tuple[Flight, ...]:
        """The flights since the last call, in order."""
        taken, self._flights, self._connections = tuple(self._flights), [], 0
        return taken

    def _call(self, coroutine: Coroutine[Any, Any, asyncio.Server]) -> asyncio.Server:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=5)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        conversation = _Conversation(self._connections, self._flights)
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        await asyncio.gather(
            self._carry(reader, server_writer, conversation.ask),
            self._carry(server_reader, writer, conversation.answer),
        )

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hear: Callable[[bytes], None],
    ) -> None:
        """Hand on what is read, each piece `delay` after it came; the end of the stream too."""
        road: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(road, writer))
        data = b"-"
        while data:
            try:
                data = await reader.read(1 << 16)
            except OSError:
                data = b""
            hear(data)
            road.put_nowait((self._loop.time() + self._delay, data))
        await delivery

    async def _deliver(
        self, road: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await road.get()
                await asyncio.sleep(due - self._loop.time())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()
