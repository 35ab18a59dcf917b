"""The folder in which another tool has its files."""

from pathlib import Path

from ..errors import ConfigurationError
from ..escaping import one_line
from ..tools.tool import Tool


def find_folder(tool: Tool, root: Path, given: str | None, migrations: Path) -> Path:
    """Return the folder that was given, else the usual one of the tool that there is.

    `migrations` is our own. Raises ConfigurationError if there is none, or more than one.
    """
    folder = _given(given) if given is not None else _usual(tool, root, migrations)
    if _is_ours(folder, migrations):
        raise ConfigurationError(
            f"{shown(folder, root)} belongs to the runner's own migrations. Move {tool.title}'s "
            f"files to a folder of their own, such as old-{shown(migrations, root)}, and name that "
            "with --from. Or leave them there, and set MIGRATIONS_DIR to a new folder for the "
            "runner's."
        )
    return folder


def shown(folder: Path, root: Path) -> str:
    """Return how messages name a folder."""
    try:
        return one_line(folder.resolve().relative_to(root.resolve()).as_posix())
    except ValueError:
        return one_line(str(folder))


def _is_ours(folder: Path, migrations: Path) -> bool:
    """True for our folder, and for one in it that is not set aside."""
    try:
        below = folder.resolve().relative_to(migrations.resolve())
    except ValueError:
        return False
    return not any(part.startswith(("_", ".")) for part in below.parts)


def _given(given: str) -> Path:
    folder = Path(given)
    if not folder.is_dir():
        raise ConfigurationError(f"--from: there is no folder {one_line(given)!r}.")
    return folder


def _usual(tool: Tool, root: Path, migrations: Path) -> Path:
    # What somebody else's link leads to would be copied into the repository.
    found = [
        root / name
        for name in tool.folders
        if (root / name).is_dir() and (root / name).resolve().is_relative_to(root.resolve())
    ]
    if not found:
        raise ConfigurationError(
            f"None of the folders in which {tool.title} usually has its files is here: "
            f"{', '.join(tool.folders)}. Name it with --from."
        )
    # Several tools call theirs `migrations`, too: ours counts only if there is no other.
    found = [each for each in found if not _is_ours(each, migrations)] or found
    if len(found) > 1:
        raise ConfigurationError(
            f"Several folders may hold {tool.title}'s files: "
            f"{', '.join(shown(folder, root) for folder in found)}. Name one with --from."
        )
    return found[0]
