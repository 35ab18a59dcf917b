"""How large and how busy the tables of a database are, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableSize:
    """The size and the use of one table, of which `relation` is the name, as in "public.users".

    `rows` are an estimate; `bytes` include indexes and TOAST. `reads` and `writes` are counted
    since the statistics were reset; None where they were not asked for. The age of the oldest
    transaction that holds a lock on the table is in seconds, None if there is none.
    """

    relation: str
    rows: int
    bytes: int
    reads: int | None = None
    writes: int | None = None
    oldest_transaction: int | None = None


@dataclass(frozen=True)
class LiveSizes:
    """The tables of a database by name. A table that is not among them does not exist there."""

    tables: Mapping[str, TableSize] = field(default_factory=dict)
