"""From what pg_dump prints to a migration file: what another server accepts, in one transaction.

Comments and commands of psql are left out, so that a name with a line end in it adds nothing. Each
statement is kept as pg_dump has written it, or left out as a whole.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..catalog.exclusions import PROVIDERS_PUBLICATIONS
from ..sql.splitter import split
from ..sql.statement import Statement, unquoted
from .dump_privileges import (
    Privilege,
    creating,
    granting,
    is_everywhere,
    policy_roles,
    read_privilege,
)
from .surroundings import Surroundings

# What a dump relies on: names are qualified, and a body may name what comes later.
_PREAMBLE = (
    "SELECT pg_catalog.set_config('search_path', '', false);\nSET check_function_bodies = false;"
)
_OF_SESSIONS = ("SET", "RESET", "SELECT")


@dataclass
class CleanDump:
    """The SQL of the file, and what somebody has to know of it, as sentences."""

    sql: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()
    is_empty: bool = True


@dataclass
class _Parts:
    """The statements by where they go, and what was left out, by kind."""

    statements: list[str] = field(default_factory=list)
    privileges: list[Privilege] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    new_roles: dict[str, None] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, kind: str, name: str) -> None:
        self.left_out.setdefault(kind, []).append(name)


def clean_dump(text: str, around: Surroundings) -> CleanDump:
    """Return the file for a plain dump of pg_dump, made with --schema-only and --no-owner.

    Raise LexicalError for a text that is none.
    """
    parts = _Parts()
    for statement in _statements(text):
        _take(statement, around, parts)
    if not parts.statements:
        return CleanDump()
    return CleanDump(_joined(parts, around), tuple(_notes(parts)), is_empty=False)


def _statements(text: str) -> Iterator[Statement]:
    for piece in split(text):
        if piece.kind == "statement":
            yield Statement(text, piece.first, piece.end, piece.terminated)


def _take(statement: Statement, around: Surroundings, parts: _Parts) -> None:
    words = [unquoted(token) for token in statement.tokens]
    kind = " ".join(words[:3])
    if statement.command in _OF_SESSIONS:
        return
    if statement.command in ("GRANT", "REVOKE") or kind == "alter default privileges":
        _take_privilege(statement, around, parts)
        return
    if (reason := _reason_against(words, around)) is not None:
        if reason:
            parts.leave_out(reason, _named(words))
        return
    if kind.startswith("create policy"):
        named = policy_roles(statement)
        new = (role for role in named if not is_everywhere(role, around.roles))
        parts.new_roles.update(dict.fromkeys(new))
    if kind == "create materialized view":
        parts.views.append(_relation(statement.tokens[3:]))
    parts.statements.append(statement.text)


def _take_privilege(statement: Statement, around: Surroundings, parts: _Parts) -> None:
    privilege = read_privilege(statement, around.owner)
    if privilege is None:
        parts.leave_out("default privileges of other roles", "")
    elif _is_of_member(statement, around):
        return
    elif is_everywhere(privilege.role, around.roles):
        parts.statements.append(privilege.text)
    else:
        parts.privileges.append(privilege)


def _is_of_member(statement: Statement, around: Surroundings) -> bool:
    """True for a privilege on what belongs to an extension, which each server sets by itself."""
    words = [unquoted(token) for token in statement.tokens]
    if "on" not in words:
        return False
    # ON [kind] schema.name
    at = words.index("on")
    dot = next((i for i in (at + 2, at + 3) if words[i : i + 1] == ["."]), 0)
    return (words[dot - 1], words[dot + 1]) in around.members if dot else False


def _relation(tokens: tuple[str, ...]) -> str:
    """Return the qualified name at the beginning of the tokens, as it is written."""
    return "".join(tokens[:3]) if tokens[1:2] == (".",) else tokens[0]


# --- What is left out ---

# In which Supabase lets its users put theirs.
_FOR_EXTENSIONS = "extensions"
_MAPPINGS = "user mappings, which hold passwords"
_PUBLICATIONS = "publications, which each environment has of its own"


def _reason_against(words: list[str], around: Surroundings) -> str | None:
    """Return why a statement is left out, for the notes; empty for what goes without saying.

    None for one that is kept.
    """
    kind, name = words[1:2], words[2:3]
    is_kept = True
    if words[0] == "create" and kind == ["extension"]:
        # CREATE EXTENSION IF NOT EXISTS name WITH SCHEMA schema
        is_kept = words[-3] != "schema" or words[-2] not in around.schemas - {_FOR_EXTENSIONS}
    elif words[0] == "create" and kind == ["schema"]:
        is_kept = name != ["public"] and words[2] not in around.schemas
    elif words[:2] == ["comment", "on"]:
        # Only the owner may comment on an extension, and whoever creates one finds the same.
        is_kept = name not in (["extension"], ["publication"]) and words[2:4] != [
            "schema",
            "public",
        ]
    elif words[:3] == ["create", "event", "trigger"]:
        # EXECUTE FUNCTION schema.name
        is_kept = not any(
            word == "." and words[at - 1] in around.schemas for at, word in enumerate(words)
        )
    elif words[:3] == ["create", "user", "mapping"]:
        return _MAPPINGS
    elif kind == ["publication"]:
        is_own = not re.fullmatch(PROVIDERS_PUBLICATIONS, words[2])
        is_made = words[0] == "create" and is_own
        return _PUBLICATIONS if is_made else ""
    return None if is_kept else ""


def _named(words: list[str]) -> str:
    # CREATE PUBLICATION name …, CREATE USER MAPPING FOR name …
    return words[4] if words[1] == "user" else words[2]


# --- The file ---


def _joined(parts: _Parts, around: Surroundings) -> str:
    # In the order of the dump, in which each finds the ones that it reads.
    refreshed = [view for view in parts.views if view in around.populated]
    blocks = [
        creating(parts.new_roles),
        _PREAMBLE,
        *parts.statements,
        *(f"REFRESH MATERIALIZED VIEW {view};" for view in refreshed),
        *granting(parts.privileges),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _notes(parts: _Parts) -> Iterator[str]:
    if parts.new_roles:
        named = _listed(map(unquoted, parts.new_roles))
        yield (
            f"Policies name {named}: the file creates such a role where it is missing, without a "
            "login."
        )
    if roles := sorted({unquoted(each.role) for each in parts.privileges}):
        yield f"Privileges of {_listed(roles)} are granted only where the role is there."
    for kind, names in parts.left_out.items():
        named = _listed(dict.fromkeys(filter(None, names)))
        yield f"Left out: {kind}{f' ({named})' if named else ''}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
