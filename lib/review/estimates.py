"""How long work on a table of a known size takes, about, and how severe that is under a lock.

The fast rates are about those of a table of 300,000 rows in memory on an idle machine: 2.3 s to
write it anew with a default that is computed for each row, 0.5 s with another type of a column,
0.1 s to build an index, 14 ms to read it from end to end, 2.2 s to update every row. The slow ones
are below what the same work reached on two cores with seven times as much to do, on tables of up to
a million rows (bench/README.md). What is true of yours is between the two, or beyond them.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..time_limits import STALL
from .finding import Severity
from .live_sizes import TableSize

MB = 1024 * 1024
# Below it, no lock is held for long enough to be noticed.
SMALL = 64 * MB
# In reads and writes a second, on the average: a lock of a moment makes some of them wait.
BUSY = 100
# A transaction that is as old as this many seconds may well go on for longer than a lock is
# waited for.
OLD = 1

_SPANS = ((86400, "days"), (3600, "hours"), (60, "min"))
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class Work(StrEnum):
    """What takes as long as its table is large."""

    REWRITE = "rewrite"
    SCAN = "scan"
    INDEX = "index"
    WRITE = "write"


@dataclass(frozen=True)
class Estimate:
    """A time in seconds, on a fast and on a slow server."""

    fast: float
    slow: float

    def __str__(self) -> str:
        if self.slow < 1:
            return "less than a second"
        fast, slow = _rounded(self.fast), _rounded(self.slow)
        if self.fast < 1:
            return f"up to {slow}"
        if fast == slow:
            return f"about {slow}"
        # The unit once, if it is the same: "2 to 28 min".
        amount, _, unit = fast.partition(" ")
        return f"{amount if slow.endswith(f' {unit}') else fast} to {slow}"


# The slow and the fast rate, in bytes a second, of a table with its indexes.
RATES = {
    Work.REWRITE: (5 * MB, 60 * MB),
    Work.SCAN: (100 * MB, 2048 * MB),
    Work.INDEX: (30 * MB, 300 * MB),
    Work.WRITE: (5 * MB, 20 * MB),
}


def estimate(work: Work, size: int) -> Estimate:
    """Estimate how long the work takes on a table of so many bytes."""
    slow, fast = RATES[work]
    return Estimate(size / fast, size / slow)


def severity_under_lock(work: Work, size: TableSize | None) -> Severity | None:
    """How severe it is that others wait while the work is done; None if they hardly notice.

    Without a size it is not known, which is a warning.
    """
    if size is None:
        return Severity.WARN
    if is_small(size):
        return None
    return Severity.STOP if estimate(work, size.bytes).slow >= STALL else Severity.WARN


def is_small(size: TableSize) -> bool:
    return size.bytes < SMALL


def is_old(size: TableSize) -> bool:
    """True if a transaction that is not new holds a lock on the table."""
    return size.oldest_transaction is not None and size.oldest_transaction >= OLD


def uses_a_second(size: TableSize, counted_for: int | None) -> float:
    """How many reads and writes the table has in a second, on the average; 0 if not known."""
    return ((size.reads or 0) + (size.writes or 0)) / counted_for if counted_for else 0.0


def size_text(size: TableSize) -> str:
    """The size in words, as in "48,211,904 rows, 21 GB"."""
    return f"{size.rows:,} row{'' if size.rows == 1 else 's'}, {bytes_text(size.bytes)}"


def work_text(work: Work, size: TableSize) -> str:
    """The size, and how long the work takes, as in "9 rows, 1.0 GB: about 2 to 20 s"."""
    return f"{size_text(size)}: {estimate(work, size.bytes)}"


def bytes_text(size: int) -> str:
    """A size in the unit that people would use, with powers of 1024 as PostgreSQL has them."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    digits = 1 if unit and amount < 10 else 0
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def span_text(seconds: int) -> str:
    """A length of time as people would say it: in its largest unit."""
    unit, name = next((each for each in _SPANS if seconds >= 2 * each[0]), (1, "s"))
    return f"{seconds // unit} {name}"


def _rounded(seconds: float) -> str:
    """A time with one or two digits: an estimate knows no more."""
    digits = 10 ** max(0, len(str(int(seconds))) - 2)
    return span_text(round(seconds / digits) * digits)
