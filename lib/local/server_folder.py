"""Where the embedded PostgreSQL of a project has its files.

Imports nothing but Python: uninstalling the bundle names the folder, and needs no package.
"""

import os
from pathlib import Path

# Where another user reaches what root has put there.
_OF_ROOT = Path("/var/tmp")  # noqa: S108


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
