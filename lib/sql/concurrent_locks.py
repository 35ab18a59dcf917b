"""What statements that can be in no transaction lock, for whoever cannot look while they run.

Their locks are gone when they have ended, and on empty tables they end before another session could
look. The modes are fixed (PostgreSQL manual, "Explicit Locking", and the "Notes" of each command);
the tests see each of them in pg_locks, while another session keeps the statement waiting.
"""

import re
from dataclasses import dataclass

from .concurrent import ConcurrentOperation, OperationKind, parse_concurrent
from .statement import Statement

# The table of an index that is built, dropped or rebuilt, of a partition that leaves, of VACUUM.
_CONCURRENT = "ShareUpdateExclusive"
# The partition itself, in the second transaction of its statement; the table of VACUUM FULL.
_EXCLUSIVE = "AccessExclusive"
_VACUUM = re.compile(
    r"vacuum\b\s*(?:\([^)]*\))?(?:\s*\b(?:full|freeze|verbose|analyze|only)\b)*", re.I
)
_FULL = re.compile(r"\bfull\b", re.IGNORECASE)
_COLUMNS = re.compile(r"\([^)]*\)")
# REINDEX of these goes through many tables, each in a transaction of its own.
_MANY = {"SCHEMA", "DATABASE", "SYSTEM"}


@dataclass(frozen=True)
class KnownLocks:
    """The locks by the names in the statement, as written, and the modes as in "AccessExclusive".

    The name of an index stands for its table. `every_table` is the mode of all tables, if the
    statement names none. The other fields say what is done to the tables that are named.
    """

    named: tuple[tuple[str, str], ...] = ()
    every_table: str | None = None
    scans: bool = False
    rewrites: bool = False
    builds: bool = False


def known_locks(statement: Statement) -> KnownLocks:
    """Return what the manual says of a statement that runs in no transaction."""
    if operation := parse_concurrent(statement.text):
        return _of_operation(operation)
    if statement.command == "VACUUM":
        return _of_vacuum(statement.text)
    if statement.command == "REINDEX" and _MANY & set(statement.words):
        is_concurrent = "concurrently" in statement.text.lower()
        mode = _CONCURRENT if is_concurrent else _EXCLUSIVE
        return KnownLocks(every_table=mode, scans=True, builds=True)
    return KnownLocks()


def _of_operation(operation: ConcurrentOperation) -> KnownLocks:
    relation, table = operation.relation, operation.table
    if operation.kind is OperationKind.DETACH:
        pairs = ((table, _CONCURRENT), (relation, _EXCLUSIVE))
        return KnownLocks(tuple((name, mode) for name, mode in pairs if name))
    # The index of CREATE INDEX is not there yet.
    name = table if operation.kind is OperationKind.CREATE else table or relation
    is_built = operation.kind is not OperationKind.DROP
    named = ((name, _CONCURRENT),) if name else ()
    return KnownLocks(named, scans=is_built, builds=is_built)


def _of_vacuum(text: str) -> KnownLocks:
    options = _VACUUM.match(text)
    before = options[0] if options else ""
    is_full = bool(_FULL.search(before))
    mode = _EXCLUSIVE if is_full else _CONCURRENT
    # A table may be followed by its columns.
    listed = _COLUMNS.sub("", text[len(before) :].rstrip("; \n\t")).split(",")
    names = tuple(name.strip() for name in listed if name.strip())
    return KnownLocks(
        tuple((name, mode) for name in names),
        every_table=None if names else mode,
        scans=True,
        rewrites=is_full,
    )
