"""A real PgBouncer in transaction mode, in front of every database of the test server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from daemon import free_port, give, listens, private_folder, running

from lib.settings.connection_target import ConnectionTarget

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: ConnectionTarget, *settings: str) -> Iterator[int]:
    """Yield its port; the settings given here come last, and prevail."""
    assert PGBOUNCER is not None
    port = free_port()
    user, password = server.parameters["user"], server.parameters["password"]
    with private_folder("pgbouncer") as folder:
        (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
            f"listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=scram-sha-256\n"
            f"auth_file={folder}/users.txt\npool_mode=transaction\ndefault_pool_size=20\nmax_client_conn=200\n"
            + "\n".join(settings)
        )
        give(folder)
        with running([PGBOUNCER, "-q", folder / "pgbouncer.ini"], folder, lambda: listens(port)):
            yield port
