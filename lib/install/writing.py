"""A plan carried out: every file is written, or none."""

import contextlib
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigurationError, MigratorError
from ..signals import interrupting_signals
from .changes import Change, Plan
from .project import links

_READABLE_BITS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def carry_out(plan: Plan) -> None:
    """Write all changes; if one fails or a signal comes, take back what was written."""
    folder = Path(plan.folder)
    writer = _Writer(folder)
    try:
        for change in plan.written:
            writer.write(change)
    except BaseException:
        # A second Ctrl-C must not leave half of it.
        with _undisturbed():
            writer.take_back()
        raise
    for name in sorted(plan.empty_folders, reverse=True):
        with contextlib.suppress(OSError):
            (folder / name).rmdir()


@dataclass
class _Writer:
    """Writes files of a project, and remembers how to take that back."""

    folder: Path
    done: list[tuple[Path, bytes | None, int]] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)

    def write(self, change: Change) -> None:
        """Write or remove one file, which has to be as it was when the plan was made."""
        path = self.folder / change.path
        is_there = path.is_file()
        found = path.read_bytes() if is_there else None
        if found != change.before or links(self.folder, (change.path,)):
            raise ConfigurationError(
                f"{change.path} was changed by somebody else meanwhile; nothing was written."
            )
        mode = stat.S_IMODE(path.stat().st_mode) if is_there else self._new_mode()
        self.done.append((path, found, mode))
        if change.after is None:
            path.unlink()
            return
        self._make_folder(path.parent)
        if change.is_executable:
            # For those who may read it.
            mode |= (mode & _READABLE_BITS) >> 2
        _replace(path, change.after, mode)

    def take_back(self) -> None:
        """Bring back every file and folder, the last one first; MigratorError names the rest."""
        lost: list[str] = []
        for path, content, mode in reversed(self.done):
            try:
                if content is not None:
                    _replace(path, content, mode)
                # Below something that is no folder, no file was written.
                elif path.is_file():
                    path.unlink()
            except OSError:
                lost.append(path.relative_to(self.folder).as_posix())
        for folder in reversed(self.made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if lost:
            raise MigratorError(
                f"Writing failed half-way, and these files could not be brought back: "
                f"{', '.join(lost)}. `git status` shows what is left; `git checkout` restores it."
            )

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            self._make_folder(folder.parent)
            folder.mkdir()
            self.made.append(folder)

    @staticmethod
    def _new_mode() -> int:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file in one step: a reader sees the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, mode)  # noqa: PTH101  a name, as mkstemp gives it
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore the signals that end a process."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in interrupting_signals()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
