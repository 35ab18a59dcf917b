"""How two schemas differ. Pure."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from .schema_objects import Change, ChangeKind, ObjectKey

_Definition = TypeVar("_Definition", str, bytes)


def compare(
    before: Mapping[ObjectKey, _Definition], after: Mapping[ObjectKey, _Definition]
) -> tuple[Change, ...]:
    """Return the changes from `before` to `after`, by kind and identity.

    The values are definitions, or hashes of definitions by the same key.
    """
    return tuple(sorted(_changes(before, after)))


def _changes(
    before: Mapping[ObjectKey, _Definition], after: Mapping[ObjectKey, _Definition]
) -> Iterator[Change]:
    for key in before.keys() - after.keys():
        yield Change(*key, ChangeKind.REMOVED)
    for key in after.keys() - before.keys():
        yield Change(*key, ChangeKind.ADDED)
    for key in before.keys() & after.keys():
        if before[key] != after[key]:
            yield Change(*key, ChangeKind.CHANGED)
