"""A real PgBouncer in transaction mode, in front of every database of the test server."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.connection_url import ConnectionTarget

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: ConnectionTarget) -> Iterator[int]:
    """Its port, for as long as it is wanted."""
    assert PGBOUNCER is not None
    # PgBouncer won't run as root, and the user it then runs as must be able to read its folder.
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/var/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user, password = server.parameters["user"], server.parameters["password"]
    (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
        f"listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=scram-sha-256\n"
        f"auth_file={folder}/users.txt\npool_mode=transaction\ndefault_pool_size=20\nmax_client_conn=200\n"
    )
    demote = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if demote:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "nobody")
    process = subprocess.Popen([PGBOUNCER, "-q", str(folder / "pgbouncer.ini")], **demote)
    try:
        _wait_for(port)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, "PgBouncer did not start"
            time.sleep(0.05)
