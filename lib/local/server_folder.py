"""Where the embedded PostgreSQL of a project has its files.

Imports nothing but Python: uninstalling the bundle names the folder, and needs no package.
"""

import os
from pathlib import Path

# Where another user reaches what root has put there.
_OF_ROOT = Path("/var/tmp")  # noqa: S108
# On Linux, a file system in memory, where everybody may make a folder.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108
_MEMORY_OF_MACHINE = Path("/proc/meminfo")


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def home(root: Path, *, name: str = "postgres") -> Path:
    """Return the folder of the server of the project at `root`."""
    if not is_root():
        return root / ".local" / name
    import hashlib

    # One machine may hold several projects.
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return _OF_ROOT / f"embedded-{name}-{label}"


def common_home(root: Path, *, name: str) -> Path:
    """Return the folder of what the servers of several projects share; for root, one for all."""
    return _OF_ROOT / f"embedded-{name}" if is_root() else home(root, name=name)


def folder_in_memory(name: str, *, room: int) -> Path | None:
    """Return a folder of this name in memory; None unless `room` bytes are available there.

    What is thrown away need not reach the disk. The machine has to have as much left as the file
    system: a server must not take what others need.
    """
    return _IN_MEMORY / name if room <= min(_room_in_memory(), _memory_left()) else None


def _room_in_memory() -> int:
    try:
        found = os.statvfs(_IN_MEMORY)
    except (OSError, AttributeError):
        return 0
    return found.f_bavail * found.f_frsize if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else 0


def _memory_left() -> int:
    try:
        lines = _MEMORY_OF_MACHINE.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    # As in "MemAvailable:   10915840 kB".
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(found, "0")) * 1024
