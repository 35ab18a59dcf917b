"""schema.sql: where it stands, what it has to hold, and whether it holds that.

It is made from the files alone, on a scratch server, and never from another database. What it was
made of is noted outside the file, where no two branches can conflict about it.
"""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import ConfigurationError
from ..escaping import one_line
from ..files.folder import SCHEMA as NAME
from ..files.folder import MigrationFile
from ..local.cluster_files import installed_version, make_home, write_private
from ..local.embedded_server import locate
from .chain import build_chain, connect_to_scratch
from .schema_dump import dump, schema_text
from .scratch_server import NAME as SCRATCH
from .scratch_server import scratch_server

# Changes when the same files are to give another text.
_FORMAT = "1"
_MADE = "-- Made by ./migrate schema from "
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)


class FileState(StrEnum):
    """What the file is, compared with the schema that the migrations make."""

    CURRENT = "current"
    STALE = "stale"
    CONFLICT = "conflict"
    MISSING = "missing"
    # Another tool, or somebody, has written it.
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Origin:
    """What the file is made from: a project, the folder of its migrations, and a platform."""

    root: Path
    folder: Path
    files: tuple[MigrationFile, ...]
    platform: str = ""

    @property
    def path(self) -> Path:
        """The file, which stands beside the folder of the migrations."""
        return schema_path(self.root, self.folder)

    @property
    def shown_path(self) -> str:
        """The path for messages, relative to the project if it is in there."""
        return _shown(self.root, self.path)


def schema_path(root: Path, folder: Path) -> Path:
    """Return where the file stands; ConfigurationError if that is outside of the project."""
    # In the folder itself, every `.sql` file is a migration.
    if folder.resolve() == root.resolve():
        raise ConfigurationError(
            f"{NAME} stands beside the folder of the migrations, which is the root of the project "
            "here: name a folder below it in MIGRATIONS_DIR."
        )
    return folder.parent / NAME


def build(origin: Origin) -> str:
    """Return the text of the file, made on a scratch server. Raise what stops a migration."""
    with scratch_server(origin.root, platform=origin.platform) as target:
        # What the platform has is there already where the file is loaded.
        given = frozenset(dump(target)) if origin.platform else frozenset()
        build_chain(target, origin.files)
        entries = [entry for entry in dump(target) if entry not in given]
        with connect_to_scratch(target) as connection:
            major = connection.server_version // 10000
    return schema_text(entries, _first_line(origin, major))


def read(path: Path) -> str | None:
    """Return the text of the file, with LF at the ends of its lines; None if there is none.

    Raise ConfigurationError for a text that is not UTF-8, and for a link: it could lead anywhere.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ConfigurationError(f"{path.name} is not a file; remove it.")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except UnicodeError:
        raise ConfigurationError(
            f"{path.name} is not UTF-8. In PowerShell: "
            f"./migrate schema | Out-File -Encoding utf8 {path.name}"
        ) from None


def state_of(text: str | None, expected: str) -> FileState:
    """Compare the text of the file with what it has to be."""
    if text is None:
        return FileState.MISSING
    if text == expected:
        return FileState.CURRENT
    if not is_ours(text):
        return FileState.FOREIGN
    return FileState.CONFLICT if _CONFLICT.search(text) else FileState.STALE


def is_ours(text: str) -> bool:
    """True if the file may be written: it is empty, as `touch` makes it, or was made here."""
    # After a conflict, the first line may be a marker.
    return not text.strip() or any(line.startswith(_MADE) for line in text.split("\n"))


def refresh(origin: Origin) -> FileState | None:
    """Write the file if the migrations make another schema; return what it was before.

    None if there is no file of ours. It is built only if it, or what it is made from, has changed
    since it was last found current.
    """
    if origin.folder.resolve() == origin.root.resolve():
        return None
    path = origin.path
    text = read(path)
    if text is None or not is_ours(text):
        return None
    if _noted(origin) == _note(origin, text):
        return FileState.CURRENT
    expected = build(origin)
    state = state_of(text, expected)
    if state is not FileState.CURRENT:
        _write(path, expected)
    # Without the note, the next run builds again.
    with contextlib.suppress(OSError):
        write_private(_note_path(origin), _note(origin, expected))
    return state


def _first_line(origin: Origin, major: int) -> str:
    where = one_line(_shown(origin.root, origin.folder))
    platform = f", with MIGRATION_LOCAL_PLATFORM={origin.platform}" if origin.platform else ""
    return (
        f"{_MADE}the files in {where}/ with PostgreSQL {major}{platform}. "
        "Do not edit: after a merge conflict, make it again."
    )


def _shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _note_path(origin: Origin) -> Path:
    shared = locate(origin.root, name=SCRATCH)
    make_home(shared)
    return shared.home / f"{NAME}.note"


def _noted(origin: Origin) -> str | None:
    try:
        return _note_path(origin).read_text()
    except (OSError, UnicodeError):
        return None


def _note(origin: Origin, text: str) -> str:
    """Return a digest of what the file is made from, and of the file."""
    where = _shown(origin.root, origin.folder)
    made_by = (_FORMAT, installed_version(), origin.platform, where)
    files = (f"{file.version} {file.checksum}" for file in origin.files)
    return _digest((*made_by, *files, text))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole, with the owner and the permissions that it has."""
    before = path.stat()
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{NAME}.", suffix=".new", delete=False
    ) as file:
        try:
            file.write(text.encode())
            file.flush()
            os.chmod(file.name, stat.S_IMODE(before.st_mode))  # noqa: PTH101
            if hasattr(os, "chown") and os.geteuid() == 0:
                os.chown(file.name, before.st_uid, before.st_gid)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            Path(file.name).unlink(missing_ok=True)
            raise
