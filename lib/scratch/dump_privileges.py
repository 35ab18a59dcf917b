"""What a dump says of roles: they belong to a server, and another one may lack them.

A privilege of PUBLIC, or of a role that every server of the platform has, stays as it is. One of
another role is granted where that role is there. A policy can't be left out, since it protects
rows: its roles are created where they are missing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ..sql.lexer import tokens
from ..sql.statement import Statement, unquoted

_KEYWORDS = frozenset({"PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER"})
_ENDS_OF_ROLES = ("USING", "WITH", ";")


@dataclass(frozen=True)
class Privilege:
    """A GRANT, a REVOKE or an ALTER DEFAULT PRIVILEGES, and the one role that it concerns.

    `role` is as it is written in SQL.
    """

    text: str = field(repr=False)
    role: str


def read_privilege(statement: Statement, owner: str) -> Privilege | None:
    """Return the privilege; None for default privileges of another role than the `owner`."""
    words = tuple(tokens(statement.text))
    text = statement.text
    if words[0].upper() == "ALTER":
        # ALTER DEFAULT PRIVILEGES FOR ROLE owner …: without it, the role that runs it is meant.
        if [word.upper() for word in words[3:5]] != ["FOR", "ROLE"] or unquoted(words[5]) != owner:
            return None
        text = " ".join(("ALTER DEFAULT PRIVILEGES", _after_role(text, words)))
    return Privilege(text, _grantee(words))


def _after_role(text: str, words: Sequence[str]) -> str:
    """Return what follows the role of an ALTER DEFAULT PRIVILEGES FOR ROLE."""
    at = 0
    for word in words[:6]:
        at = text.index(word, at) + len(word)
    return text[at:].lstrip()


def _grantee(words: Sequence[str]) -> str:
    """Return the role behind the last TO or FROM: pg_dump writes a statement for each role."""
    at = max(i for i, word in enumerate(words) if word.upper() in ("TO", "FROM"))
    return words[at + 1]


def policy_roles(statement: Statement) -> Iterator[str]:
    """Yield the roles that a CREATE POLICY names."""
    words = iter(tokens(statement.text))
    for word in words:
        # The names of the policy and its table are before it, the latter behind ON.
        if word.upper() == "TO":
            break
        if word.upper() in _ENDS_OF_ROLES:
            return
    for word in words:
        if word.upper() in _ENDS_OF_ROLES:
            return
        if word != ",":
            yield word


def is_everywhere(role: str, platform_roles: Iterable[str]) -> bool:
    """True if each server has the role, which is as it is written in SQL."""
    name = unquoted(role)
    # No role of a user's may begin with pg_.
    return role.upper() in _KEYWORDS or name.startswith("pg_") or name in platform_roles


def creating(roles: Iterable[str]) -> str:
    """Return the SQL that creates the roles where they are missing."""
    return "\n".join(_if(f"not {_exists(role)}", f"create role {role} nologin;") for role in roles)


def granting(privileges: Iterable[Privilege]) -> Iterator[str]:
    """Yield the SQL for each role: its privileges, if the role is there."""
    by_role = sorted(privileges, key=lambda each: unquoted(each.role))
    for role, group in groupby(by_role, key=lambda each: each.role):
        yield _if(_exists(role), *(each.text for each in group))


def _if(condition: str, *statements: str) -> str:
    """Return a block that runs the statements if the condition holds."""
    lines = "\n".join(f"        {statement}" for statement in statements)
    body = f"begin\n    if {condition} then\n{lines}\n    end if;\nend"
    tag, number = "$$", 0
    while tag in body:
        number += 1
        tag = f"$body{number}$"
    return f"do {tag} {body} {tag};"


def _exists(role: str) -> str:
    name = unquoted(role).replace('""', '"').replace("'", "''")
    return f"exists (select from pg_catalog.pg_roles where rolname = '{name}')"
