"""New files in the folder of the migrations: all of them or none, and never over another."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import ConfigurationError, MigratorError
from ..files.folder import MigrationFile
from ..signals import uninterrupted


@contextmanager
def written(directory: Path, files: Sequence[MigrationFile]) -> Iterator[None]:
    """Write the files; if that or the block fails, or a signal comes, take them back."""
    done: list[Path] = []

    def write(file: MigrationFile) -> None:
        path = directory / f"{file.version}.sql"
        _write_new(path, file.content)
        done.append(path)

    try:
        for file in files:
            # A signal waits for the end of each file, so that none is made unnoticed.
            uninterrupted(partial(write, file))
        yield
    except BaseException:
        uninterrupted(lambda: _take_back(done))
        raise


def _write_new(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, as one that was not there."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    mask = os.umask(0)
    os.umask(mask)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~mask)  # noqa: PTH101  a name, as mkstemp gives it
        _link(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(made: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link never replaces a file.
        os.link(made, path)
    except FileExistsError:
        raise ConfigurationError(
            f"{path.name} is in the folder of the migrations already. Nothing was recorded; run "
            "it again."
        ) from None
    except OSError:
        # Some file systems have no links.
        if path.exists():
            raise
        made.rename(path)


def _take_back(done: Sequence[Path]) -> None:
    lost = []
    for path in done:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            lost.append(path.name)
    if lost:
        raise MigratorError(
            "The adoption failed, and these files could not be taken back: "
            f"{', '.join(lost)}. Remove them, or run it again."
        )
