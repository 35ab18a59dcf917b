"""How large and how busy the tables of a database are: values, and the document of `sizes`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..errors import ConfigurationError
from ..escaping import one_line

# A database of a thousand schemas with a hundred tables each has a document of 20 MB.
LONGEST_DOCUMENT = 64 * 1024 * 1024


@dataclass(frozen=True)
class TableSize:
    """The size and the use of one table, of which `relation` is the name, as in "public.users".

    `rows` are an estimate; `bytes` include indexes and TOAST. `reads` and `writes` are counted
    since the statistics were reset; None where they were not asked for. The age of the oldest
    transaction that holds a lock on the table is in seconds, None if there is none. `is_rough` if
    the bytes are those after the last vacuum or analyze, since the table was locked.
    """

    relation: str
    rows: int
    bytes: int
    reads: int | None = None
    writes: int | None = None
    oldest_transaction: int | None = None
    is_rough: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "table": self.relation,
            "rows": self.rows,
            "bytes": self.bytes,
            "reads": self.reads,
            "writes": self.writes,
            "oldestTransactionSeconds": self.oldest_transaction,
            "isRough": self.is_rough,
        }


@dataclass(frozen=True)
class LiveSizes:
    """The tables of a database by name. A table that is not among them does not exist there.

    `counted_for` is the time in seconds in which reads and writes were counted.
    """

    tables: Mapping[str, TableSize] = field(default_factory=dict)
    counted_for: int | None = None

    def of(self, relation: str) -> TableSize | None:
        """Return the size of a table; None if the database has no such table."""
        return self.tables.get(relation)


@dataclass(frozen=True)
class SizesReport:
    """What the command `sizes` has measured, and where."""

    environment: str
    database: str
    measured_at: datetime
    sizes: LiveSizes

    @property
    def largest_first(self) -> list[TableSize]:
        return sorted(self.sizes.tables.values(), key=lambda table: (-table.bytes, table.relation))

    def to_dict(self) -> dict[str, Any]:
        at = self.measured_at.astimezone(UTC).isoformat(timespec="milliseconds")
        return {
            "success": True,
            "action": "sizes",
            "environment": one_line(self.environment),
            "database": one_line(self.database),
            "measuredAt": at.replace("+00:00", "Z"),
            "countedForSeconds": self.sizes.counted_for,
            "tables": [table.to_dict() for table in self.largest_first],
        }


def read_document(text: str, *, source: str) -> SizesReport:
    """Read what `sizes --json` has printed; `source` names the place of the text in errors.

    What a later version adds is passed over. Raises ConfigurationError for any other text.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _unreadable(source, "it is not JSON") from None
    if not isinstance(document, dict) or document.get("action") != "sizes":
        raise _unreadable(source, "it is not what `sizes --json` prints")
    if document.get("success") is not True:
        raise _unreadable(
            source, f"it holds an error: {one_line(str(document.get('error')))}".rstrip(".")
        )
    try:
        return _report(document)
    except (KeyError, TypeError, ValueError):
        raise _unreadable(source, "a value in it is missing or malformed") from None


def _report(document: Mapping[str, Any]) -> SizesReport:
    tables = [_table(row) for row in document["tables"]]
    return SizesReport(
        environment=_text(document["environment"]),
        database=_text(document["database"]),
        measured_at=datetime.fromisoformat(document["measuredAt"]),
        sizes=sizes_of(tables, counted_for=_count(document.get("countedForSeconds"))),
    )


def sizes_of(tables: Iterable[TableSize], *, counted_for: int | None = None) -> LiveSizes:
    """Make sizes of tables."""
    return LiveSizes({table.relation: table for table in tables}, counted_for)


def _table(row: Mapping[str, Any]) -> TableSize:
    return TableSize(
        relation=_text(row["table"]),
        rows=_count(row["rows"]) or 0,
        bytes=_count(row["bytes"]) or 0,
        reads=_count(row.get("reads")),
        writes=_count(row.get("writes")),
        oldest_transaction=_count(row.get("oldestTransactionSeconds")),
        is_rough=row.get("isRough") is True,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: object) -> int | None:
    if value is None:
        return None
    # JSON has true and 1e400 too.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value


def _unreadable(source: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"The sizes in {source} can't be read: {reason}.")
