"""One notion of time: a deadline that is handed down, clipped, and extended for clean-up.

Elsewhere a *timeout* is a duration in seconds; a *deadline* is a moment. There is no third word.
"""

import math
import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Deadline:
    """The moment by which work ends, and the later one by which its clean-up ends.

    Both are in seconds of `time.monotonic`, which no change of the system's clock moves; infinity
    stands for no limit.
    """

    at: float = math.inf
    # The platform kills the process soon after this moment.
    hard_at: float = math.inf

    @classmethod
    def none(cls) -> Self:
        """Return a deadline that never passes."""
        return cls()

    @classmethod
    def after(cls, seconds: float, *, cleanup: float = math.inf) -> Self:
        """Return the deadline `seconds` from now, with `cleanup` seconds for the work after it."""
        at = time.monotonic() + seconds
        return cls(at, at + cleanup)

    @property
    def is_limited(self) -> bool:
        """True if the deadline passes at all."""
        return self.at < math.inf

    def remaining(self) -> float:
        """Return the seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.at - time.monotonic())

    def remaining_for_cleanup(self) -> float:
        """Return the seconds until the hard end, 0 once it has passed."""
        return max(0.0, self.hard_at - time.monotonic())

    def has_passed(self) -> bool:
        return time.monotonic() >= self.at

    def clip(self, seconds: float) -> "Deadline":
        """Return the earlier of this deadline and `seconds` from now; the hard end stays."""
        return Deadline(min(self.at, time.monotonic() + seconds), self.hard_at)

    def for_cleanup(self, seconds: float, *, is_last: bool = False) -> "Deadline":
        """Return the deadline of clean-up: `seconds` from now, but never past the hard end.

        With `is_last`, clean-up of this clean-up gets no more time.
        """
        at = min(time.monotonic() + seconds, self.hard_at)
        return Deadline(at, at if is_last else self.hard_at)
