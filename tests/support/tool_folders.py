"""Folders of other migration tools, written for a test."""

from collections.abc import Mapping
from pathlib import Path

from lib.tools.tool import History


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by their paths in the folder, which is returned; each text as it is."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def outline(history: History) -> list[str]:
    """Each migration in a word or two: its name, whether it is applied, and how it is verified."""
    return [
        f"{one.name} {'applied' if one.is_applied else 'pending'}"
        + (f" {one.verified}" if one.verified else "")
        for one in history.migrations
    ]


def faults(history: History) -> list[str]:
    return [f"{one.place} {one.fault}" for one in history.problems]
