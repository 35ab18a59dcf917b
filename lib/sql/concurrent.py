"""Operations with CONCURRENTLY: what a statement does, and to which index, table or partition."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from .lexer import tokens
from .statement import Statement

# The last name that matters stands among the first 30 tokens.
_TOKENS_READ = 30
# Options in parentheses are none of `words`, which leave out what parentheses enclose.
_REINDEX_OPTION = re.compile(r"reindex\s*\([^)]*\bconcurrently\b", re.IGNORECASE)
_VACUUM_FULL = re.compile(r"vacuum\s*\([^)]*\bfull\b", re.IGNORECASE)


class OperationKind(StrEnum):
    """What happens to an index or a partition while its table stays in use."""

    CREATE = "create index"
    DROP = "drop index"
    REINDEX = "reindex"
    DETACH = "detach partition"


@dataclass(frozen=True)
class ConcurrentOperation:
    """An operation and the names in its statement, as written, quotes included; None if absent.

    `relation` is the index, or for `DETACH` the partition; `table` is its table. `if_not_exists`
    belongs to CREATE INDEX.
    """

    kind: OperationKind
    relation: str | None = None
    table: str | None = None
    if_not_exists: bool = False

    @property
    def relation_name(self) -> str:
        """The name of the relation without quotes, as the catalog holds it."""
        name = self.relation or ""
        return name[1:-1].replace('""', '"') if name.startswith('"') else _folded(name)


def _folded(name: str) -> str:
    """Fold to lower case as the server does: in a UTF-8 database only A to Z change."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def is_concurrent(statement: Statement) -> bool:
    """True for CREATE INDEX, DROP INDEX, REINDEX and DETACH PARTITION with CONCURRENTLY."""
    command = statement.command
    if command not in ("CREATE", "DROP", "REINDEX", "ALTER"):
        return False
    # Nearly every statement ends here, before its words are cut.
    if "concurrently" not in statement.text.lower():
        return False
    if command == "REINDEX" and _REINDEX_OPTION.match(statement.text):
        return True
    if "CONCURRENTLY" not in statement.words:
        return False
    if command == "ALTER":
        return statement.opening[1:2] == ("TABLE",) and "DETACH" in statement.words
    return command == "REINDEX" or "INDEX" in statement.opening[:3]


def waits_without_lock_timeout(statement: Statement) -> bool:
    """True if a lock timeout would do harm, and the statement blocks no other session.

    CONCURRENTLY waits for old transactions by locks, and a timeout leaves an invalid index. VACUUM
    blocks nobody, but VACUUM FULL locks its table as ALTER TABLE does.
    """
    if statement.command != "VACUUM":
        return is_concurrent(statement)
    return "FULL" not in statement.words and not _VACUUM_FULL.match(statement.text)


def parse_concurrent(text: str) -> ConcurrentOperation | None:
    """Read the operation of a statement; None without CONCURRENTLY, and for `U&"…"` names."""
    words = _Words(list(islice(tokens(text), _TOKENS_READ)))
    operation = _create_index(words) or _drop_index(words) or _reindex(words) or _detach(words)
    names = () if operation is None else (operation.relation or "", operation.table or "")
    # Such a name would have to be decoded first; nobody writes one here.
    return None if any(name[:2].upper() == "U&" for name in names) else operation


class _Words:
    """The tokens of a statement, read from left to right."""

    def __init__(self, written: Sequence[str]) -> None:
        self._tokens = written
        self._upper = [token.upper() for token in written]
        self._at = 0

    def take(self, *words: str) -> bool:
        """Step over these words if they come next."""
        if tuple(self._upper[self._at : self._at + len(words)]) != words:
            return False
        self._at += len(words)
        return True

    def start(self, *words: str) -> bool:
        """Go back to the first token, and step over these words if the statement begins so."""
        self._at = 0
        return self.take(*words)

    def is_next(self, word: str) -> bool:
        return self._upper[self._at : self._at + 1] == [word]

    def name(self) -> str | None:
        """Step over a name, which may be qualified, and return the name as written."""
        parts = self._tokens[self._at : self._at + 1]
        self._at += 1
        while self.take("."):
            parts = [*parts, ".", *self._tokens[self._at : self._at + 1]]
            self._at += 1
        return "".join(parts) or None

    def skip_parentheses(self) -> bool:
        """Step over `(…)` if that comes next; true if CONCURRENTLY is one of the options."""
        if not self.take("("):
            return False
        is_closed = ")" in self._upper[self._at :]
        end = self._upper.index(")", self._at) if is_closed else len(self._upper)
        inside, self._at = self._upper[self._at : end], end + 1
        return "CONCURRENTLY" in inside


def _create_index(words: _Words) -> ConcurrentOperation | None:
    if not (
        words.start("CREATE", "INDEX", "CONCURRENTLY")
        or words.start("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY")
    ):
        return None
    if_not_exists = words.take("IF", "NOT", "EXISTS")
    # Without a name, the server chooses one.
    index = None if words.is_next("ON") else words.name()
    if not words.take("ON"):
        return None
    words.take("ONLY")
    return ConcurrentOperation(OperationKind.CREATE, index, words.name(), if_not_exists)


def _drop_index(words: _Words) -> ConcurrentOperation | None:
    if not words.start("DROP", "INDEX", "CONCURRENTLY"):
        return None
    words.take("IF", "EXISTS")
    return ConcurrentOperation(OperationKind.DROP, words.name())


def _reindex(words: _Words) -> ConcurrentOperation | None:
    if not words.start("REINDEX"):
        return None
    # Both spellings: REINDEX (CONCURRENTLY) INDEX i, and REINDEX INDEX CONCURRENTLY i.
    concurrently = words.skip_parentheses()
    # SCHEMA, DATABASE and SYSTEM name no single index to look for.
    target = next((target for target in ("INDEX", "TABLE") if words.take(target)), None)
    concurrently = words.take("CONCURRENTLY") or concurrently
    if target is None or not concurrently:
        return None
    name = words.name()
    if target == "INDEX":
        return ConcurrentOperation(OperationKind.REINDEX, relation=name)
    return ConcurrentOperation(OperationKind.REINDEX, table=name)


def _detach(words: _Words) -> ConcurrentOperation | None:
    if not words.start("ALTER", "TABLE"):
        return None
    words.take("IF", "EXISTS")
    words.take("ONLY")
    table = words.name()
    if not words.take("DETACH", "PARTITION"):
        return None
    partition = words.name()
    return (
        ConcurrentOperation(OperationKind.DETACH, partition, table)
        if words.take("CONCURRENTLY")
        else None
    )
