"""What is done to the files of a project: planned as a value, carried out whole or not at all."""

import contextlib
import functools
import os
import signal
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..errors import ConfigurationError, MigratorError
from ..signals import interrupting_signals, uninterrupted

Action = Literal["install", "update", "uninstall"]
_READABLE_BITS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH

Kind = Literal["added", "merged", "replaced", "removed", "kept"]


@dataclass(frozen=True)
class Merged:
    """A file with what the bundle adds; `wrote` is that part, to be found again later."""

    content: bytes
    wrote: Any


@dataclass(frozen=True)
class Change:
    """One file, before and after; None where there is no file.

    `is_ours` says that `before` is what an earlier action wrote. `why` explains a file kept.
    """

    path: str
    kind: Kind
    before: bytes | None = None
    after: bytes | None = None
    is_executable: bool = False
    is_ours: bool = False
    why: str = ""

    @property
    def writes(self) -> bool:
        return self.kind != "kept"

    @property
    def replaces_work(self) -> bool:
        """True if there is something that may be nowhere else."""
        return self.writes and self.before is not None and not self.is_ours

    def to_dict(self) -> dict[str, object]:
        return {"path": self.path, "change": self.kind, **({"why": self.why} if self.why else {})}


@dataclass(frozen=True)
class Plan:
    """All that an action would do to a project.

    `found` describes the project, `news` is what the changelog says of the versions between,
    `notes` is what the reader should know, `steps` is what to do afterwards. `record` is the file
    that the action keeps for the next one. `empty_folders` are removed if nothing is left in them.
    `faults` prevent the action.
    """

    action: Action
    folder: str
    version: str
    previous: str | None
    changes: tuple[Change, ...]
    record: Change | None = None
    empty_folders: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    news: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[Change, ...]:
        """All changes, the record last; a record that stays as it is says nothing."""
        record = (self.record,) if self.record and self.record.writes else ()
        return (*self.changes, *record)

    @property
    def written(self) -> tuple[Change, ...]:
        """What has to be written, the record last."""
        return tuple(change for change in self.shown if change.writes)

    def to_dict(self, *, is_done: bool) -> dict[str, object]:
        """Return the JSON document; `is_done` is false for a dry run."""
        return {
            "success": True,
            "action": self.action,
            "folder": self.folder,
            "version": self.version,
            "previousVersion": self.previous,
            "written": is_done,
            "found": list(self.found),
            "changes": [each.to_dict() for each in self.shown],
            "news": list(self.news),
            "notes": list(self.notes),
            "nextSteps": list(self.steps),
        }


def missing_folders(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the folders, as paths in the project, that these files need and that do not exist."""
    parents = {parent for path in paths for parent in (folder / path).parents}
    inside = (each for each in parents if each.is_relative_to(folder) and not each.exists())
    return tuple(sorted(each.relative_to(folder).as_posix() for each in inside))


# --- Carried out ---


def contents(folder: Path, path: str) -> bytes | None:
    """Return what a file of a project holds; None where there is no file."""
    place = folder / path
    return place.read_bytes() if place.is_file() else None


def links(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the links on the way to these paths: what is written must not leave the folder."""
    places = {
        place
        for name in paths
        for place in (folder / name, *(folder / name).parents)
        if place != folder and place.is_relative_to(folder)
    }
    return tuple(
        f"{place.relative_to(folder).as_posix()} is a link, and this command writes through none: "
        "replace it by what it leads to."
        for place in sorted(places)
        if place.is_symlink()
    )


def not_files(folder: Path, paths: Collection[str]) -> tuple[str, ...]:
    """Return what stands where a file, or a folder for it, has to be."""
    parents = {parent for path in paths for parent in PurePosixPath(path).parents}
    there = {place: folder / place for place in {*map(PurePosixPath, paths), *parents}}
    return tuple(
        f"{place} is there already, and is no {'folder' if place in parents else 'file'}: "
        "rename it."
        for place, path in sorted(there.items())
        if path.exists()
        if not (path.is_dir() if place in parents else path.is_file())
    )


def carry_out(plan: Plan) -> None:
    """Write all changes; if one fails or a signal comes, take back what was written."""
    folder = Path(plan.folder)
    write_all(folder, plan.written)
    with _undisturbed():
        for name in sorted(plan.empty_folders, reverse=True):
            with contextlib.suppress(OSError):
                (folder / name).rmdir()


def write_all(folder: Path, changes: Iterable[Change]) -> None:
    """Write changes to the files of a folder; if one fails, take back those before it."""
    writer = _Writer(folder)
    with _alone_in(folder):
        try:
            for change in changes:
                # A signal waits for the end of each file, so that nothing is made unnoticed.
                uninterrupted(functools.partial(writer.write, change))
        except BaseException:
            # A second Ctrl-C must not leave half of it.
            with _undisturbed():
                writer.take_back()
            raise


@dataclass
class _Writer:
    """Writes files of a project, and remembers how to take that back."""

    folder: Path
    done: list[tuple[Path, bytes | None, int]] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)

    def write(self, change: Change) -> None:
        """Write or remove one file, which has to be as it was when the plan was made."""
        path = self.folder / change.path
        found = contents(self.folder, change.path)
        if found != change.before or links(self.folder, (change.path,)):
            raise ConfigurationError(
                f"{change.path} was changed by somebody else meanwhile; nothing was written."
            )
        mode = stat.S_IMODE(path.stat().st_mode) if found is not None else self._new_mode()
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
        """Bring back every file and folder; MigratorError names the rest."""
        lost: list[str] = []
        # What was added goes first: on a full disk, that makes room for what was there.
        for path, content, mode in sorted(self.done, key=lambda each: each[1] is not None):
            try:
                _bring_back(path, content, mode)
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


def _bring_back(path: Path, content: bytes | None, mode: int) -> None:
    # Below something that is no folder, no file was written.
    present = path.read_bytes() if path.is_file() else None
    if content is None and present is not None:
        path.unlink()
    # The file that could not be written is still the old one, and there may be no room for it.
    elif content is not None and present != content:
        _replace(path, content, mode)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one action at a time write: of two, one would take back what both have written."""
    with contextlib.ExitStack() as stack:
        # Windows has no such lock, nor have some file systems of a network.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            opened = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield


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
