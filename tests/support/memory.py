"""Servers whose files are in memory, where this machine has the room.

A database is 300 files. On a disk, most of the CPU that PostgreSQL takes for the tests goes to the
file system, which makes and removes them: a database took 190 ms of a core, and takes 35 in memory.
"""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster

# Linux has this folder in memory.
_MEMORY = Path("/dev/shm")
# In bytes: the servers of a session need a quarter of it.
_ROOM = 4 * 2**30


def _suits(folder: Path) -> bool:
    """True if servers can run there: in a container, it is small and takes no programs."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    takes_programs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return takes_programs and shutil.disk_usage(folder).total >= _ROOM


# All processes of a session have to find the same one: it depends on nothing that changes.
FOLDER = _MEMORY if _suits(_MEMORY) else Path("/var/tmp")


def locate(root: Path, *, name: str) -> Cluster:
    """Return the cluster that the product has at `root`, but in memory if possible."""
    found = embedded.locate(root, name=name)
    if FOLDER != _MEMORY:
        return found
    label = hashlib.sha256(f"{os.geteuid()} {root.resolve()}".encode()).hexdigest()[:12]
    home = FOLDER / f"embedded-{name}-{label}"
    if not found.runs_as:
        return replace(found, home=home)
    return replace(found, home=home, binaries=home / found.binaries.relative_to(found.home))


def stop(cluster: Cluster) -> None:
    """Stop its server, and free the memory."""
    embedded.stop(cluster)
    if cluster.home.is_relative_to(_MEMORY):
        shutil.rmtree(cluster.home, ignore_errors=True)
