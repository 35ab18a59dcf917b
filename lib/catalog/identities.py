"""What the identity of an object says of others: what it is of, what it is below. Pure.

A dot or a comma within a quoted name, or within the arguments of a function, separates nothing.
"""

import re

from ..object_patterns import ARGUMENTS, KINDS, QUOTED
from .schema_objects import ObjectKey

_PART = re.compile(rf"(?:{QUOTED}|{ARGUMENTS}|[^.\"()])+")
_BY_LENGTH = sorted(KINDS, key=len, reverse=True)
# "table public.users": the identity of an owner, a privilege or a comment.
_OF_ANOTHER = ("owner", "privilege", "comment")
# "public.users.email", and what may be before the last dot.
_BELOW = ("column", "constraint", "trigger", "policy", "rule")
# "pub public.users": what a publication publishes.
_OF_PUBLICATION = ("publication table", "publication schema")
_PUBLICATION = re.compile(rf"({QUOTED}|[^\s\"]+) ")
_ABOVE = ("table", "foreign table", "view", "materialized view", "type")


def addressed(text: str) -> ObjectKey | None:
    """Split "materialized view public.totals" into the kind and the identity."""
    for kind in _BY_LENGTH:
        if text.startswith(f"{kind} "):
            return ObjectKey(kind, text[len(kind) + 1 :])
    return None


def subject(key: ObjectKey) -> ObjectKey:
    """What an owner, a privilege or a comment is of; any other object itself."""
    return (addressed(key.identity) if key.kind in _OF_ANOTHER else None) or key


def above(key: ObjectKey) -> tuple[ObjectKey, ...]:
    """What holds a column, a constraint or the like: of tables, views and types, one exists."""
    if key.kind in _OF_PUBLICATION and (match := _PUBLICATION.match(key.identity)):
        return (ObjectKey("publication", match[1]),)
    if key.kind not in _BELOW:
        return ()
    identity = ".".join(parts(key.identity)[:2])
    return tuple(ObjectKey(kind, identity) for kind in _ABOVE)


def parts(identity: str) -> list[str]:
    """Split `public."a.b".email` at its dots."""
    return _PART.findall(identity)
