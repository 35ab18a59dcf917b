"""How two schemas differ. Pure."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeVar

from .identities import above, subject
from .schema_objects import Change, ChangeKind, ObjectKey

_Definition = TypeVar("_Definition", str, bytes)


def compare(
    before: Mapping[ObjectKey, _Definition], after: Mapping[ObjectKey, _Definition]
) -> tuple[Change, ...]:
    """Return the changes from `before` to `after`, by kind and identity.

    The values are definitions, or hashes of definitions by the same key. What comes or goes with
    another object is no change of its own: the columns of a new table, the owner of a function that
    is gone.
    """
    return tuple(
        sorted(
            (
                *_outermost({key for key in after if key not in before}, ChangeKind.ADDED),
                *_outermost({key for key in before if key not in after}, ChangeKind.REMOVED),
                *_changed(before, after),
            )
        )
    )


def _changed(
    before: Mapping[ObjectKey, _Definition], after: Mapping[ObjectKey, _Definition]
) -> Iterator[Change]:
    for key, definition in after.items():
        if before.get(key, definition) != definition:
            yield Change(*key, ChangeKind.CHANGED)


def _outermost(keys: AbstractSet[ObjectKey], change: ChangeKind) -> Iterator[Change]:
    """The changes of the keys that belong to no other of them."""
    for key in keys:
        of = subject(key)
        # Every object has its owner from the start. A sequence that a column owns is listed without
        # one, and may be given to no column.
        if key.kind != "owner" and (of is key or of not in keys) and keys.isdisjoint(above(of)):
            yield Change(*key, change)
