"""What an installation has done: the record of it in the project, or what can be told without."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .. import COMMAND
from ..errors import ConfigurationError
from . import vercel_json
from .bundle import AT_THE_ROOT, MIGRATIONS, PACKAGE, PYTHON_VERSION, RECORD, Bundle, Names, digest
from .changes import Action, Change, Plan, contents
from .git import Git
from .merges import SHARED, Shared
from .package_manifest import FUNCTIONS

_FORMAT = 1
# Of a kind of files, at most this many are named.
_NAMED = 5


@dataclass(frozen=True)
class Record:
    """What an installation has done, kept in the project for the next update.

    `files` has the digest of each copied file, `folders` those that were made for them.
    """

    version: str
    origin: str | None
    commit: str | None
    package: str
    migrations: str
    files: Mapping[str, str]
    shared: Mapping[str, Shared]
    folders: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        document = {
            "format": _FORMAT,
            "version": self.version,
            "origin": self.origin,
            "commit": self.commit,
            "package": self.package,
            "migrations": self.migrations,
            "files": dict(sorted(self.files.items())),
            "merged": {
                path: {"before": _text(each.before), "after": each.after, "wrote": each.wrote}
                for path, each in sorted(self.shared.items())
            },
            "folders": sorted(self.folders),
        }
        return f"{json.dumps(document, indent=2)}\n".encode()

    @classmethod
    def of(cls, path: str, content: bytes) -> "Record":
        """Read a record; ConfigurationError if it is not one that this version has written.

        It comes from the repository of the project: what it names is checked by the caller.
        """
        try:
            document = json.loads(content)
            if document["format"] != _FORMAT:
                raise ConfigurationError(
                    f"{path} was written by a later version of the bundle. "
                    "Run the command in a clone of that version."
                )
            return cls(
                version=str(document["version"]),
                origin=document["origin"],
                commit=document["commit"],
                package=str(document["package"]),
                migrations=str(document["migrations"]),
                files={str(name): str(value) for name, value in document["files"].items()},
                shared={
                    str(name): Shared(
                        _bytes(each["before"]), str(each["after"]), _wrote(name, each["wrote"])
                    )
                    for name, each in document["merged"].items()
                },
                folders=tuple(map(str, document["folders"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            raise ConfigurationError(
                f"{path}, the record of the installation, is damaged ({type(fault).__name__}): "
                "bring it back with git."
            ) from None


def _text(content: bytes | None) -> str | None:
    # Bytes that are not UTF-8 travel as lone surrogates.
    return None if content is None else content.decode("utf-8", "surrogateescape")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _wrote(name: str, value: Any) -> Any:
    """Return what was written into a shared file; TypeError if it has another form."""
    if name == vercel_json.NAME:
        is_right = all(isinstance(each, dict) for each in value.get("functions", {}).values())
    else:
        is_right = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if not is_right:
        raise TypeError
    return value


# --- In a project ---


@dataclass(frozen=True)
class Request:
    """What was asked for. `side` decides about what both have changed."""

    action: Action
    folder: str
    package: str | None = None
    migrations: str | None = None
    side: Literal["theirs", "ours"] | None = None
    is_forced: bool = False


@dataclass(frozen=True)
class Place:
    """A project, the bundle, and what was asked for."""

    request: Request
    bundle: Bundle
    folder: Path
    git: Git
    top: Path | None

    def read(self, path: str) -> bytes | None:
        return contents(self.folder, path)

    def plan(self, changes: Iterable[Change], **more: object) -> Plan:
        return replace(
            Plan(self.request.action, str(self.folder), self.bundle.version, None, tuple(changes)),
            **more,  # type: ignore[arg-type]
        )


def record_path(place: Place) -> str | None:
    """Return the path of the record; ConfigurationError if there are several."""
    wanted = place.request.package
    found = [
        path.relative_to(place.folder).as_posix()
        for path in sorted(place.folder.glob(f"{wanted or '*'}/{RECORD}"))
        if path.is_file() and b'"migrations"' in path.read_bytes()
    ]
    if len(found) > 1:
        raise ConfigurationError(
            f"Several records were found, {listed(found)}: name one by --package."
        )
    return found[0] if found else None


def recorded_names(place: Place, record: Record) -> Names:
    """Return the names that a record has; a record from elsewhere could name any file."""
    names = place.bundle.checked_names(record.package, record.migrations)
    wanted = place.request.migrations
    if wanted and wanted != names.migrations:
        raise ConfigurationError(
            f"--migrations {wanted}: the migrations are in {names.migrations}/, and stay there."
        )
    for path in (*record.files, *record.shared, *record.folders):
        parts = PurePosixPath(path).parts
        is_ours = (
            path in AT_THE_ROOT
            or path in SHARED
            or parts[:1] in ((names.package,), (names.migrations,), ("api",))
        )
        if not is_ours or ".." in parts or "\\" in path or ":" in path or path != "/".join(parts):
            raise ConfigurationError(
                f"The record of the installation names {path}, which is no file of the bundle: "
                "bring the record back with git."
            )
    return names


def is_filled_by_hand(place: Place) -> bool:
    """Tell whether the bundle was copied without a record, as by git."""
    package = place.request.package or PACKAGE
    entrypoint = place.read(FUNCTIONS[0]) or b""
    return (
        f"from {package}.".encode() in entrypoint
        and b"create_migrate_app" in entrypoint
        and (place.folder / package / "__init__.py").is_file()
    )


def record_by_hand(place: Place) -> Record:
    """Make the record that an installation by hand did not leave."""
    request, bundle = place.request, place.bundle
    if not is_filled_by_hand(place):
        raise ConfigurationError(
            f"Nothing is installed in {request.folder}: `{COMMAND} install {request.folder}`."
        )
    names = bundle.checked_names(request.package or PACKAGE, request.migrations or MIGRATIONS)
    present = _present(place, names)
    known = bundle.known(present.values())
    files = {
        path: digest(content) if is_known else ""
        for (path, content), is_known in zip(present.items(), known, strict=True)
    }
    shared: dict[str, Shared] = {}
    content = place.read(vercel_json.NAME)
    if content is not None:
        wrote = vercel_json.recognized(content)
        shared[vercel_json.NAME] = Shared(None, "", wrote)
    requirements = place.read("requirements.txt")
    if requirements is not None and all(bundle.known([requirements])):
        lines = requirements.decode().split()
        shared["requirements.txt"] = Shared(None, digest(requirements), lines)
    return Record(
        version="0",
        origin=None,
        commit=None,
        package=names.package,
        migrations=names.migrations,
        files=files,
        shared=shared,
        folders=(),
    )


def _present(place: Place, names: Names) -> Mapping[str, bytes]:
    """Return the files of the project that this bundle, or an earlier one, has brought."""
    ever = place.bundle.ever_had(names)
    found: dict[str, bytes] = {}
    for path in sorted(ever):
        content = place.read(path)
        if content is not None and path != PYTHON_VERSION:
            found[path] = content
    return found


def listed(names: Sequence[str]) -> str:
    """Return names for a message, at most a few of them."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
