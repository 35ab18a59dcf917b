"""Extensions in SQL for the embedded PostgreSQL, in place of two that its wheel leaves out.

pgcrypto and uuid-ossp need libraries of C, OpenSSL among them. What they can do without is written
in SQL in `extensions/`, where the server finds it through `extension_control_path`: a database that
was dumped here has ordinary `create extension` commands, and gets the real ones where they exist.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .cluster_files import Cluster

_SOURCES = Path(__file__).with_name("extensions")
# Both extensions need it, and neither may depend on a function of the other.
_SHA1 = "sha1"


def add_stand_ins(cluster: Cluster) -> tuple[str, ...]:
    """Write the extensions for a server that is about to start, and return its settings for them.

    None if the path of the cluster cannot be set.
    """
    folder = cluster.home / "stand-ins"
    if not can_be_set(folder):
        return ()
    write_extensions(folder, stand_ins())
    return (f"extension_control_path={control_path(folder)}",)


def can_be_set(folder: Path) -> bool:
    """True unless the path holds the separator of such settings, which cannot be escaped."""
    return os.pathsep not in str(folder)


def control_path(folder: Path) -> str:
    """The value of `extension_control_path`: what the wheel has itself comes first."""
    return f"$system{os.pathsep}{folder}"


def stand_ins() -> dict[str, str]:
    """The files of the two extensions: by name, the text."""
    texts = read_files(_SOURCES)
    sha1 = texts.pop(f"{_SHA1}.sql", "").rstrip("\n")
    return {name: text.replace(f"@{_SHA1}@", sha1) for name, text in texts.items()}


def read_files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.*")}


def write_extensions(folder: Path, files: Mapping[str, str]) -> None:
    """Write control files and scripts where the user who runs the server can read them."""
    shutil.rmtree(folder, ignore_errors=True)
    # The server appends this name to each folder of the setting.
    target = folder / "extension"
    target.mkdir(parents=True)
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8", newline="\n")
    for path in (folder, *folder.rglob("*")):
        # umask 077 would keep the unprivileged user out.
        path.chmod(0o755 if path.is_dir() else 0o644)
