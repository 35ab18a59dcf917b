"""What the files create beside tables in public: schemas, and what no reset can take back."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..files.runnable_script import Script
from ..settings.providers import PROVIDERS_SCHEMAS
from ..sql.statement import Statement, unquoted

_PROVIDERS_SCHEMAS = re.compile(PROVIDERS_SCHEMAS, re.IGNORECASE)
# What is of the whole server, or of the database and in no schema.
_OUTSIDE_SCHEMAS = {
    "role": "role",
    "user": "role",
    "group": "role",
    "database": "database",
    "tablespace": "tablespace",
    "extension": "extension",
    "publication": "publication",
    "subscription": "subscription",
    "server": "server",
    "language": "language",
}


def is_a_providers(schema: str) -> bool:
    """True for a schema of the server, or one that a provider or an extension makes."""
    return _PROVIDERS_SCHEMAS.fullmatch(schema) is not None


@dataclass(frozen=True)
class FileObjects:
    """The schemas that the files create, without those of providers; what stays after a reset."""

    schemas: tuple[str, ...]
    stays: tuple[str, ...]


def file_objects(scripts: Iterable[Script]) -> FileObjects:
    """Read the names from the files' CREATE statements. What a DO block creates is not seen."""
    schemas: dict[str, None] = {}
    stays: dict[str, None] = {}
    for kind, name in _created(scripts):
        if kind != "schema":
            stays[f"{kind} {name}"] = None
        elif is_a_providers(name):
            stays[f"schema {name}"] = None
        elif name != "public":
            schemas[name] = None
    return FileObjects(tuple(schemas), tuple(stays))


def _created(scripts: Iterable[Script]) -> Iterator[tuple[str, str]]:
    for script in scripts:
        for statement in script.statements:
            if statement.command == "CREATE":
                yield from _name_in(statement)


def _name_in(statement: Statement) -> Iterator[tuple[str, str]]:
    words = [unquoted(token) for token in statement.tokens][1:]
    if words[:2] == ["event", "trigger"]:
        yield "event trigger", "".join(words[2:3])
        return
    while words[:1] in (["or"], ["replace"], ["trusted"], ["procedural"]):
        words = words[1:]
    kind, rest = "".join(words[:1]), words[1:]
    if rest[:3] == ["if", "not", "exists"]:
        rest = rest[3:]
    name = "".join(rest[:1])
    if kind == "schema":
        # Without a name of its own, the schema has that of the role.
        yield kind, "".join(rest[1:2]) if name == "authorization" else name
    elif kind in _OUTSIDE_SCHEMAS and (kind, name) != ("user", "mapping"):
        yield _OUTSIDE_SCHEMAS[kind], name
