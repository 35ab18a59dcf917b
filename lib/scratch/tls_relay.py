"""A port of this machine behind which a server is reached over TLS.

The programs of the embedded PostgreSQL were built without TLS, and most databases accept nothing
else. The relay speaks TLS with the server and plain bytes with the program; the login passes
through it, and only an offer to bind it to the channel is taken out. It serves one connection, on
127.0.0.1.
"""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatabaseUnavailableError
from ..time_limits import CONNECT_ATTEMPT, SLICE

HOST = "127.0.0.1"
_VERIFYING = ("verify-ca", "verify-full")
_CHUNK = 1 << 16
# PostgreSQL manual, "Message Formats": its length, and a code that is no version of the protocol.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# The type and the code of AuthenticationSASL, and the mechanism that libpq takes for an attack
# where it sees no TLS.
_OFFERS_MECHANISMS = (b"R", 10)
_BOUND_TO_CHANNEL = b"SCRAM-SHA-256-PLUS\0"
# The same, "Protocol Flow": what a client names that begins with TLS at once.
_PROTOCOL = "postgresql"


@dataclass(frozen=True)
class Server:
    """Where the server is, and what TLS has to prove: parameters of libpq, as it uses them."""

    address: str
    port: int
    parameters: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.parameters.get("host") or self.address


@contextmanager
def tls_relay(server: Server) -> Iterator[int]:
    """Relay one connection to the server, and yield the port; what is left is cut at the end.

    The server is reached before anything is yielded. Raise DatabaseUnavailableError.
    """
    with _over_tls(server) as upstream, socket.create_server((HOST, 0)) as listener:
        ended = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, upstream, ended), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            # Wakes the thread, which may wait for the server.
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            thread.join(CONNECT_ATTEMPT)


def _over_tls(server: Server) -> ssl.SSLSocket:
    try:
        context = tls_context(server.parameters)
        raw = socket.create_connection((server.address, server.port), CONNECT_ATTEMPT)
        try:
            if server.parameters.get("sslnegotiation") != "direct":
                _ask_for_tls(raw)
            wrapped = context.wrap_socket(raw, server_hostname=server.name)
        except BaseException:
            raw.close()
            raise
    except OSError as error:
        # The text of OpenSSL or of the system: neither holds a name or a password.
        raise DatabaseUnavailableError(
            f"TLS with the database for its dump failed: {error.strerror or error}.", final=True
        ) from None
    wrapped.settimeout(None)
    return wrapped


def _ask_for_tls(raw: socket.socket) -> None:
    raw.sendall(_SSL_REQUEST)
    # One byte and no more: what somebody has slipped in behind it fails the handshake.
    if raw.recv(1) != b"S":
        raise OSError("the server offers none")


def tls_context(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """Return what verifies the server as libpq would with these parameters.

    A channel binding can't pass a relay: where one is required, the server has to prove its name.
    """
    mode, roots = parameters.get("sslmode", "prefer"), parameters.get("sslrootcert", "")
    if parameters.get("channel_binding") == "require":
        mode = "verify-full"
    default_roots = Path("~", ".postgresql", "root.crt").expanduser()
    if not roots and default_roots.is_file():
        roots = str(default_roots)
    # As libpq: with root certificates, `require` verifies them (its manual, "SSL Support").
    verifies = mode in _VERIFYING or bool(mode == "require" and roots)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    context.set_alpn_protocols([_PROTOCOL])
    if verifies:
        _load_roots(context, roots)
    if revoked := parameters.get("sslcrl"):
        context.load_verify_locations(revoked)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if certificate := _own(parameters, "sslcert", "postgresql.crt"):
        context.load_cert_chain(
            certificate,
            _own(parameters, "sslkey", "postgresql.key"),
            # Without one, OpenSSL would ask on the terminal.
            password=parameters.get("sslpassword", ""),
        )
    return context


def _load_roots(context: ssl.SSLContext, roots: str) -> None:
    if roots and roots != "system":
        context.load_verify_locations(roots)
        return
    with suppress(ImportError):
        import certifi

        context.load_verify_locations(certifi.where())
    context.load_default_certs()


def _own(parameters: Mapping[str, str], name: str, default: str) -> str | None:
    """Return the file that the parameter names, or that libpq would find; None without one."""
    if given := parameters.get(name):
        return given
    usual = Path("~", ".postgresql", default).expanduser()
    return str(usual) if usual.is_file() else None


def _serve(listener: socket.socket, upstream: ssl.SSLSocket, ended: threading.Event) -> None:
    # The other end may go away at any time; whoever misses it says so.
    with suppress(OSError):
        while not select.select([listener], [], [], SLICE)[0]:
            if ended.is_set():
                return
        client, _ = listener.accept()
        with client:
            # The first message of the program, and the answer to it.
            upstream.sendall(client.recv(_CHUNK))
            client.sendall(_unbound(*_message(upstream)))
            _pump(client, upstream)


def _message(upstream: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """Read one message of the server: its type, and its body."""
    head = _exactly(upstream, 5)
    return head[:1], _exactly(upstream, int.from_bytes(head[1:], "big") - 4)


def _exactly(upstream: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = upstream.recv(count - len(data))
        if not more:
            raise OSError("the server has hung up")
        data += more
    return data


def _unbound(kind: bytes, body: bytes) -> bytes:
    """Return the message without the mechanism that binds the login to its channel."""
    if (kind, int.from_bytes(body[:4], "big")) == _OFFERS_MECHANISMS:
        body = body.replace(_BOUND_TO_CHANNEL, b"", 1)
    return kind + struct.pack("!i", len(body) + 4) + body


def _pump(client: socket.socket, upstream: ssl.SSLSocket) -> None:
    """Copy both ways until one end closes."""
    # A message of TLS itself makes the socket readable, and is followed by nothing.
    upstream.settimeout(0)
    while True:
        ready = [upstream] if upstream.pending() else select.select([client, upstream], [], [])[0]
        if client in ready:
            data = client.recv(_CHUNK)
            if not data:
                return
            upstream.settimeout(None)
            upstream.sendall(data)
            upstream.settimeout(0)
        if upstream in ready:
            try:
                data = upstream.recv(_CHUNK)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            if not data:
                return
            client.sendall(data)
