"""What each statement of a file did in the rehearsal, as values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RelationLock:
    """A lock on a relation that existed before the rehearsal: by which statement, and how long.

    `relation` is as in "public.users"; `mode` as in "AccessExclusive". `until` is the number of the
    last statement that runs while the lock is held: the last of the file in a transaction.
    """

    relation: str
    mode: str
    until: int


@dataclass(frozen=True)
class StatementFacts:
    """What one statement did: `number` counts from 1 in its file, `line` from 1.

    `locks` are those it acquired and no statement before it held, the strongest of each relation;
    that of an index counts for its table. `rewrites`, `truncated`, `scans`, `builds` and `written`
    name tables that existed before the rehearsal: a table that is rewritten, emptied, read as a
    whole or by an index, one of whose indexes is built or rebuilt while the table itself stays, and
    one whose rows the statement writes. `created` and `dropped` name relations. `failure` is what
    the server said, None if it succeeded; `sqlstate` and the line, `failed_at`, belong to it.
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
    truncated: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    sqlstate: str | None = None
    failed_at: int | None = None


@dataclass(frozen=True)
class UnindexedForeignKey:
    """A foreign key for whose columns its table has no index.

    `relation` is the table with the key, `columns` are as in "a, b". A row that is deleted from
    `references`, or changed there, makes the server read all of `relation`. `is_added` if the
    statement adds the key; if not, it deletes rows of `references`.
    """

    statement: int
    relation: str
    name: str
    columns: str
    references: str
    is_added: bool = True


@dataclass(frozen=True)
class FileFacts:
    """What a file did. `not_rehearsed` says why it, or the rest of it, did not run.

    `stopped_at` is the line of the statement from which on it did not, 0 if that is not known.
    `partitioned` names the tables that have partitions.
    """

    version: str
    # In one transaction; if not, each lock ends with its statement.
    is_transaction: bool
    statements: tuple[StatementFacts, ...]
    not_rehearsed: str | None = None
    unindexed: tuple[UnindexedForeignKey, ...] = ()
    stopped_at: int = 0
    partitioned: frozenset[str] = frozenset()


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
