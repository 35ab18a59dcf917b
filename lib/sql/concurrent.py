"""What a statement with CONCURRENTLY works on: the index, the table, the partition, as the statement names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from .lexer import tokens

# More tokens than stand before the last name that matters.
_LONGEST = 30


class Work(StrEnum):
    """What is done to an index or a partition, while the table stays in use."""

    CREATE = "create index"
    DROP = "drop index"
    REINDEX = "reindex"
    DETACH = "detach partition"


@dataclass(frozen=True)
class Subject:
    """What a statement works on. Names stand as in the SQL, quotes included; None where it gives none.

    `index` is the index (of `DETACH`: the partition), `table` its table. `if_not_exists` is that of CREATE INDEX.
    """

    work: Work
    index: str | None = None
    table: str | None = None
    if_not_exists: bool = False

    @property
    def index_name(self) -> str:
        """The index's name without quotes, as the catalog has it."""
        name = self.index or ""
        return name[1:-1].replace('""', '"') if name.startswith('"') else _folded(name)


def _folded(name: str) -> str:
    """In lower case as the server has it: of a name in UTF-8 it changes A to Z alone."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def subject_of(text: str) -> Subject | None:
    """Read what a statement works on; None for one without CONCURRENTLY, and for names written as `U&"…"`."""
    words = _Words(list(islice(tokens(text), _LONGEST)))
    subject = _create_index(words) or _drop_index(words) or _reindex(words) or _detach(words)
    names = () if subject is None else (subject.index or "", subject.table or "")
    return None if any(name[:2].upper() == "U&" for name in names) else subject


class _Words:
    """The tokens of a statement, read from the left."""

    def __init__(self, found: Sequence[str]) -> None:
        self._tokens = found
        self._upper = [token.upper() for token in found]
        self._at = 0

    def take(self, *words: str) -> bool:
        """Step over these words, if they come next."""
        if tuple(self._upper[self._at : self._at + len(words)]) != words:
            return False
        self._at += len(words)
        return True

    def start(self, *words: str) -> bool:
        self._at = 0
        return self.take(*words)

    def is_next(self, word: str) -> bool:
        return self._upper[self._at : self._at + 1] == [word]

    def name(self) -> str | None:
        """Step over a name, qualified or not."""
        parts = self._tokens[self._at : self._at + 1]
        self._at += 1
        while self.take("."):
            parts = [*parts, ".", *self._tokens[self._at : self._at + 1]]
            self._at += 1
        return "".join(parts) or None

    def skip_parentheses(self) -> bool:
        """Step over `(…)`, if that comes next, and tell whether CONCURRENTLY stood in it."""
        if not self.take("("):
            return False
        end = (
            self._upper.index(")", self._at) if ")" in self._upper[self._at :] else len(self._upper)
        )
        inside, self._at = self._upper[self._at : end], end + 1
        return "CONCURRENTLY" in inside


def _create_index(words: _Words) -> Subject | None:
    if not (
        words.start("CREATE", "INDEX", "CONCURRENTLY")
        or words.start("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY")
    ):
        return None
    if_not_exists = words.take("IF", "NOT", "EXISTS")
    index = None if words.is_next("ON") else words.name()
    if not words.take("ON"):
        return None
    words.take("ONLY")
    return Subject(Work.CREATE, index, words.name(), if_not_exists)


def _drop_index(words: _Words) -> Subject | None:
    if not words.start("DROP", "INDEX", "CONCURRENTLY"):
        return None
    words.take("IF", "EXISTS")
    return Subject(Work.DROP, words.name())


def _reindex(words: _Words) -> Subject | None:
    if not words.start("REINDEX"):
        return None
    concurrently = words.skip_parentheses()
    kind = next((kind for kind in ("INDEX", "TABLE") if words.take(kind)), None)
    concurrently = words.take("CONCURRENTLY") or concurrently
    if kind is None or not concurrently:
        return None
    name = words.name()
    return (
        Subject(Work.REINDEX, index=name) if kind == "INDEX" else Subject(Work.REINDEX, table=name)
    )


def _detach(words: _Words) -> Subject | None:
    if not words.start("ALTER", "TABLE"):
        return None
    words.take("IF", "EXISTS")
    words.take("ONLY")
    table = words.name()
    if not words.take("DETACH", "PARTITION"):
        return None
    partition = words.name()
    return Subject(Work.DETACH, partition, table) if words.take("CONCURRENTLY") else None
