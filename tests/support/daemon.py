"""A server that a test starts by itself: in its own folder, on a free port, ended by its pid.

Neither PgBouncer nor PostgreSQL runs as root: an unprivileged user then runs it, and must be able
to read the folder. The folders of pytest belong to root alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import memory


def demoted() -> dict[str, Any]:
    """What subprocess is told of the user to run as: nothing, but for root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def private_folder(name: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=memory.FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def give(folder: Path) -> None:
    """Hand the folder and what is in it to the user that the server runs as."""
    if user := demoted().get("user"):
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    is_ready: Callable[[], bool],
    environ: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run the server, its output in `server.log`. SIGINT is a fast shutdown to both servers."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **demoted(),
        )
    try:
        _wait(is_ready, process, log)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


def _wait(is_ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    name = log.parent.name
    until = time.monotonic() + 20
    while not is_ready():
        assert process.poll() is None, f"{name} ended: {log.read_text()}"
        assert time.monotonic() < until, f"{name} did not start: {log.read_text()}"
        time.sleep(0.05)
