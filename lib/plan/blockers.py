"""What the server does while a statement waits or runs: who is in the way, how far an index is."""

from dataclasses import dataclass

from ..escaping import one_line

# Values of pg_stat_activity.backend_type.
AUTOVACUUM, CLIENT = "autovacuum worker", "client backend"


@dataclass(frozen=True)
class Blocker:
    """A session that holds what a migration waits for, as far as the role may see.

    `seconds` is the age of its transaction, and `began` when that transaction began, in seconds
    since 1970. `query` is the head of its query, without the strings in it. `prevents_wraparound`
    marks an autovacuum that does not give way. `pid` is 0 for a prepared transaction.
    """

    pid: int
    seconds: int | None = None
    application: str | None = None
    state: str | None = None
    query: str | None = None
    began: str | None = None
    backend_type: str | None = None
    prevents_wraparound: bool = False

    @property
    def gives_way(self) -> bool:
        """True if the server cancels it for a session that waits longer than `deadlock_timeout`."""
        return self.backend_type == AUTOVACUUM and not self.prevents_wraparound

    def __str__(self) -> str:
        # pg_blocking_pids gives 0 for a prepared transaction, which has no session.
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        known = [
            # What is usual is left out.
            "" if self.backend_type == CLIENT else self.backend_type or "",
            "to prevent wraparound" if self.prevents_wraparound else "",
            f"application {self.application}" if self.application else "",
            f"in a transaction for {self.seconds} s" if self.seconds is not None else "",
            self.state or "",
        ]
        about = ", ".join(filter(None, known))
        shown = one_line(": ".join(filter(None, [about, self.query])))
        return f"pid {self.pid} ({shown})" if shown else f"pid {self.pid}"


def describe_blockers(blockers: tuple[Blocker, ...]) -> str:
    """Name all blockers, as a part of a sentence."""
    return " and ".join(map(str, blockers))


@dataclass(frozen=True)
class IndexProgress:
    """How far an index is: the phase as the server calls it, and how many of its units are done."""

    phase: str
    total: int
    done: int

    @property
    def percent(self) -> int:
        """Percentage of the phase, not of the whole build; 0 if the server gives no total."""
        # The total may be an estimate, which `done` can pass.
        return min(100, 100 * self.done // self.total) if self.total else 0
