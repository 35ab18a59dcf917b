"""The objects of a schema, and the changes between two schemas, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ..escaping import one_line


class ObjectKey(NamedTuple):
    """Which object: its kind, as in "column", and its identity, as in "public.users.email"."""

    kind: str
    identity: str


@dataclass(frozen=True, repr=False)
class Snapshot:
    """The objects of a database with their definitions.

    Definitions hold secrets, such as the key that a webhook's trigger sends: neither `repr` nor a
    log shows them. `server_version_num` is as in 180006. `places` has what an object is below, or
    is of, as in "table public.users".
    """

    objects: Mapping[ObjectKey, str]
    server_version_num: int
    places: Mapping[ObjectKey, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UnknownSchema:
    """A schema that could not be read, and why, in a sentence for people."""

    reason: str


class ChangeKind(StrEnum):
    """What happened to an object, from the first of two schemas to the second."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, order=True)
class Change:
    """One object that differs between two schemas."""

    kind: str
    identity: str
    change: ChangeKind

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.kind, self.identity)

    def to_dict(self) -> dict[str, str]:
        """Return the JSON document of the change, without what a terminal obeys in a name."""
        identity = one_line(self.identity)
        return {"kind": self.kind, "identity": identity, "change": self.change.value}
