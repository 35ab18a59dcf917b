"""What each statement of a file did in the rehearsal, as values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RelationLock:
    """A lock on a relation that existed before the file: by which statement, and as far as where.

    `relation` is as in "public.users"; `mode` as in "AccessExclusive". `until` is the number of the
    last statement that runs while the lock is held: the last of the file in a transaction.
    """

    relation: str
    mode: str
    until: int


@dataclass(frozen=True)
class StatementFacts:
    """What one statement did: `number` counts from 1 in its file, `line` from 1.

    `locks` are those it acquired and no statement before it held; `rewrites` and `scans` name
    tables that existed before the rehearsal; `created` and `dropped` name relations, `written` the
    tables whose rows it wrote. `failure` is what the server said, None if it succeeded.
    """

    number: int
    line: int
    text: str
    locks: tuple[RelationLock, ...] = ()
    rewrites: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class FileFacts:
    """What a file did. `not_rehearsed` says why it, or the rest of it, did not run."""

    version: str
    # In one transaction; if not, each lock ends with its statement.
    is_transaction: bool
    statements: tuple[StatementFacts, ...]
    not_rehearsed: str | None = None


@dataclass(frozen=True)
class Breaking:
    """An object that deployed code may still use: gone, changed, or newly required.

    `kind` is as in "column", `object` as in "public.users.email"; `change` says what happened.
    """

    kind: str
    object: str
    change: str
    version: str
    line: int
