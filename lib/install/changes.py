"""What is done to the files of a project, as values: nothing here reads or writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigurationError

Action = Literal["install", "update", "uninstall"]
Kind = Literal["added", "merged", "replaced", "removed", "kept"]


@dataclass(frozen=True)
class Merged:
    """A file with what the bundle adds; `wrote` is that part, to be found again later."""

    content: bytes
    wrote: Any


@dataclass(frozen=True)
class Change:
    """One file, before and after; None where there is no file. `why` explains a file kept."""

    path: str
    kind: Kind
    before: bytes | None = None
    after: bytes | None = None
    is_executable: bool = False
    why: str = ""

    @property
    def writes(self) -> bool:
        return self.kind != "kept"

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
    def written(self) -> tuple[Change, ...]:
        """What has to be written, the record last."""
        record = (self.record,) if self.record else ()
        return tuple(change for change in (*self.changes, *record) if change.writes)

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
            "changes": [each.to_dict() for each in _with(self.changes, self.record)],
            "news": list(self.news),
            "notes": list(self.notes),
            "nextSteps": list(self.steps),
        }


def _with(changes: Sequence[Change], record: Change | None) -> list[Change]:
    return [*changes, record] if record and record.writes else [*changes]


# --- What was done ---

_FORMAT = 1


@dataclass(frozen=True)
class Shared:
    """A file of the project with a part of the bundle.

    `before` is the file as it was, None if there was none; `after` the digest with that part.
    """

    before: bytes | None
    after: str
    wrote: Any


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
                    str(name): Shared(_bytes(each["before"]), str(each["after"]), each["wrote"])
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
