"""An LDAP server that knows only the simple bind, by which PostgreSQL asks about a password.

The messages are those of RFC 4511, of which the `ldap` method of PostgreSQL in its simple mode
sends a bind and an unbind.
"""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO

BIND_REQUEST, BIND_RESPONSE = 0x60, 0x61
SUCCESS, INVALID_CREDENTIALS = 0, 49

Refusal = Callable[[str, str], str]


@contextmanager
def bind_responder(refusal: Refusal) -> Iterator[int]:
    """Yield its port. `refusal(name, password)` returns why a bind is refused, or an empty text.

    PostgreSQL writes the reason into its own log, never to the client.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while answer := _answer(self.rfile, refusal):
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _answer(stream: BufferedIOBase, refusal: Refusal) -> bytes:
    """Answer the next message; nothing after the last one, and to anything but a bind."""
    _, message = _read(stream)
    body = BytesIO(message)
    _, number = _read(body)
    operation, content = _read(body)
    if operation != BIND_REQUEST:
        return b""
    request = BytesIO(content)
    _version, (_, name), (_, password) = _read(request), _read(request), _read(request)
    reason = refusal(name.decode(errors="replace"), password.decode(errors="replace"))
    code = INVALID_CREDENTIALS if reason else SUCCESS
    result = _element(0x0A, bytes([code])) + _element(0x04, b"") + _element(0x04, reason.encode())
    return _element(0x30, _element(0x02, number) + _element(BIND_RESPONSE, result))


def _read(stream: BufferedIOBase) -> tuple[int, bytes]:
    """An element's tag and content; an empty one where the stream is at its end."""
    head = stream.read(2)
    if len(head) < 2:
        return 0, b""
    tag, length = head
    if length & 0x80:
        length = int.from_bytes(stream.read(length & 0x7F))
    return tag, stream.read(length)


def _element(tag: int, content: bytes) -> bytes:
    """Write the length in its long form, which BER allows however short it is."""
    return bytes([tag, 0x84]) + len(content).to_bytes(4) + content
