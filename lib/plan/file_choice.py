"""Which file a user means: by its version, by its number alone, or by its path."""

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
    first, last = files[0].version, files[-1].version
    there_is = f"There is {first}." if first == last else f"There are {first} to {last}."
    likely = is_it(version, [file.version for file in files])
    return f"{likely} {there_is}" if likely else there_is


def is_it(version: str, versions: Sequence[str]) -> str:
    """Ask whether one of `versions` is meant that looks like `version`; empty if none does."""
    of_this_number = [each for each in versions if has_number(each, version.partition("-")[0])]
    # A number with a wrong name is the likelier typo.
    # Not loaded by the many runs that name no version.
    import difflib

    near = of_this_number or difflib.get_close_matches(version, versions)
    return f"Is it {' or '.join(near)}?" if near else ""


def version_of(wanted: str) -> str:
    """The version that a path names; any other text as it is."""
    # A path as a shell completes it.
    return PurePath(wanted).name.removesuffix(".sql") if wanted.endswith(".sql") else wanted
