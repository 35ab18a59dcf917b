"""Where the embedded PostgreSQL of a project has its files.

Imports nothing but Python: uninstalling the bundle names the folder, and needs no package.
"""

import os
from pathlib import Path


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def home(root: Path, *, name: str = "postgres") -> Path:
    """Return the folder of the server of the project at `root`."""
    if not is_root():
        return root / ".local" / name
    import hashlib

    # Where the unprivileged user reaches it. One machine may hold several projects.
    label = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"embedded-{name}-{label}"  # noqa: S108
