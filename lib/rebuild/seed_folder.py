"""The seeds: SQL files of any name in `migrations/_seeds`, read as strictly as migrations."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import MigrationFileError
from ..escaping import one_line
from ..files.folder import (
    SEEDS,
    MigrationFile,
    entries_of,
    file_of,
    has_seeds,
    is_sql,
    leads_out,
    read_file,
)
from ..files.prepare_script import prepare_all
from ..files.runnable_script import Mode, Script


def discover_seeds(migrations: Path) -> tuple[MigrationFile, ...]:
    """Read every seed of the folder of the migrations, in the order of their names, byte by byte.

    MigrationFileError with the faults of all files. Without a folder of seeds there is none.
    """
    if not has_seeds(migrations):
        return ()
    directory = migrations / SEEDS
    folder = f"{migrations.name}/{SEEDS}"
    if leads_out(directory, migrations):
        raise MigrationFileError(
            "the folder is a link out of this one; put what it holds here", file=folder
        )
    files: list[MigrationFile] = []
    faults: list[MigrationFileError] = []
    # By bytes, so that the order is the same on every machine.
    for path in sorted(filter(is_sql, entries_of(directory)), key=os.fsencode):
        try:
            files.append(_seed(path, directory, folder))
        except MigrationFileError as fault:
            faults.append(fault)
    faults.extend(_faults_below(directory, folder))
    if faults:
        raise MigrationFileError.together(faults)
    return tuple(files)


def prepare_seeds(seeds: Sequence[MigrationFile]) -> tuple[Script, ...]:
    """Prepare every seed; one MigrationFileError with the faults of all that are refused."""
    scripts = prepare_all(seeds)
    if faults := [_outside(script) for script in scripts if script.mode is not Mode.TRANSACTION]:
        raise MigrationFileError.together(faults)
    return scripts


def _seed(path: Path, directory: Path, folder: str) -> MigrationFile:
    # A name of the file system may hold anything, such as bytes that are not UTF-8.
    name = one_line(path.name)
    return file_of(
        read_file(path, directory, folder),
        path=f"{folder}/{name}",
        version=f"{SEEDS}/{name}",
        name=name,
        number=None,
    )


def _outside(script: Script) -> MigrationFileError:
    return MigrationFileError(
        "a seed runs in one transaction with its record, so this can't be one; put it into a "
        "migration",
        file=script.file.path,
        version=script.file.version,
    )


def _faults_below(directory: Path, folder: str) -> Iterator[MigrationFileError]:
    """Yield the faults of `.sql` files in subfolders, which would never be applied."""
    # Links are not followed: what they lead to may be outside.
    for parent, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
        if Path(parent) == directory:
            continue
        below = f"{folder}/{Path(parent).relative_to(directory).as_posix()}"
        for name in sorted(names):
            if is_sql(Path(name)):
                yield MigrationFileError(
                    "the file is in a subfolder, where no seed is applied",
                    file=one_line(f"{below}/{name}"),
                    way_out=(
                        f"move it to {folder}, or begin the folder's name with _ to set it aside"
                    ),
                )
