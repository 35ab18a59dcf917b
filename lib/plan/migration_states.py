"""A row of the ledger, and one migration as the bundle and the ledger together show it."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

EntryState = Literal["applied", "pending", "modified", "missing", "skipped"]

# Another runner may have named a version without a number.
_NUMBERED = re.compile(r"([0-9]{3,})-", re.ASCII)


@dataclass(frozen=True)
class AppliedMigration:
    """A row of the ledger. Times are in UTC; what another runner left null is None."""

    version: str
    name: str
    applied_at: datetime | None = None
    execution_time_ms: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Entry:
    """One migration, as the bundle and the ledger together show it."""

    version: str
    name: str
    state: EntryState
    applied_at: datetime | None = None
    execution_time_ms: int | None = None

    @property
    def is_applied(self) -> bool:
        """True if the ledger has this migration, with or without a file."""
        return self.state in ("applied", "modified", "missing")


def number_of(version: str) -> int | None:
    """Return the number that a version begins with; None for a version of another runner."""
    match = _NUMBERED.match(version)
    return int(match[1]) if match else None


def has_number(version: str, digits: str) -> bool:
    """True if `digits` are the number of this version, with or without leading zeros."""
    # str.isdigit accepts characters such as `²`, which are no digits of a number.
    return (
        digits.isascii()
        and digits.isdigit()
        and str(number_of(version)) == (digits.lstrip("0") or "0")
    )


def row_order(row: AppliedMigration | Entry) -> tuple[int, str]:
    """Sort by number; versions without a number come first."""
    number = number_of(row.version)
    return (-1 if number is None else number, row.version)
