"""A server that refuses whoever connects, in a language of its own."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


@contextmanager
def refusing_server(sqlstate: str, message: str) -> Iterator[int]:
    """Its port. Each client gets this message, under this code."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=_serve, args=(listener, _refusal(sqlstate, message)), daemon=True
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _refusal(sqlstate: str, message: str) -> bytes:
    """https://www.postgresql.org/docs/current/protocol-message-formats.html, ErrorResponse."""
    fields = (f"SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0").encode() + b"\0"
    return b"E" + struct.pack("!I", len(fields) + 4) + fields


def _serve(listener: socket.socket, refusal: bytes) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            while _asks_for_encryption(client):
                client.sendall(b"N")
            client.sendall(refusal)


def _asks_for_encryption(client: socket.socket) -> bool:
    head = client.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        return False
    length, code = struct.unpack("!II", head)
    client.recv(length - 8, socket.MSG_WAITALL) if length > 8 else None
    return code in (_SSL_REQUEST, _GSS_REQUEST)
