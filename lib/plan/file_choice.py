"""Which file a user means: by its version, by its number alone, or by its path."""

import difflib
from collections.abc import Sequence
from pathlib import PurePath

from ..errors import ConfigurationError
from ..files.folder import MigrationFile
from .migration_states import has_number


def find_file(files: Sequence[MigrationFile], wanted: str) -> MigrationFile:
    """The file of a version, of its number alone, or of a path.

    Raises ConfigurationError, which names similar files, if there is none.
    """
    version = version_of(wanted)
    for file in files:
        if version == file.version or has_number(file.version, version):
            return file
    raise ConfigurationError(f"There is no migration {version!r}. {_existing(files, version)}")


def _existing(files: Sequence[MigrationFile], version: str) -> str:
    """Which files there are, those first that look like `version`."""
    if not files:
        return "The folder has none yet."
    of_this_number = [
        file.version for file in files if version.partition("-")[0].lstrip("0") == str(file.number)
    ]
    # A number with a wrong name is the likelier typo.
    near = of_this_number or difflib.get_close_matches(version, [file.version for file in files])
    first, last = files[0].version, files[-1].version
    there_is = f"There is {first}." if first == last else f"There are {first} to {last}."
    return f"Is it {' or '.join(near)}? {there_is}" if near else there_is


def version_of(wanted: str) -> str:
    """The version that a path names; any other text as it is."""
    # A path as a shell completes it.
    return PurePath(wanted).name.removesuffix(".sql") if wanted.endswith(".sql") else wanted
