"""What a surface hands to the runner: settings, a database, the time allowed, and somebody who hears of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..database import login
from ..database.connection import Connection
from ..plan.progress import Progress
from ..plan.reports import Source
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings

# A connection made with no more patience than this, in seconds, is made past the deadline too: it records a run's end.
RECORD_PATIENCE = 3.0


@dataclass(frozen=True)
class RunContext:
    """Who asks for what. `deadline` is in monotonic seconds, `run_wait` and `connect_patience` in seconds.

    `ending` is how many seconds there are after the deadline to cancel, to roll back and to record; None is no limit.
    """

    settings: Settings
    target: ConnectionTarget
    source: Source = "cli"
    run_wait: float = 0.0
    connect_patience: float = 30.0
    deadline: float | None = None
    ending: float | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The roles whose tables are trusted besides the usual: the one that migrates, and the one that is named."""
        migrating = self.settings.migration_target or self.target
        return tuple(filter(None, (migrating.role, self.settings.ledger_owner)))

    @property
    def reader(self) -> str | None:
        """The role that reads the status, where its name is known."""
        return self.settings.status_target.role if self.settings.status_target else None

    @property
    def is_from_laptop(self) -> bool:
        """Tell whether somebody may still be writing the files: what Vercel or a CI has is what was committed."""
        return self.source != "admin" and not self.settings.is_hosted

    @property
    def application_name(self) -> str:
        """What pg_stat_activity says of a run's sessions: who they are, and of which commit."""
        commit = self.settings.deployment.commit
        return f"migrations {self.source} {commit[:12] if commit else 'local'}"

    def connect(
        self,
        *,
        patience: float | None = None,
        on_notice: Callable[[str, str], None] | None = None,
        for_files: bool = False,
    ) -> Connection:
        """Connect, within the deadline. `patience` stands in for that of the context, in seconds."""
        connection = login.connect(
            self.target.for_files if for_files else self.target,
            application_name=self.application_name,
            patience=self._patience(self.connect_patience if patience is None else patience),
            on_notice=on_notice,
            on_retry=self.progress.retrying_connection if patience is None else None,
        )
        connection.deadline = self.deadline
        if self.deadline is not None and self.ending is not None:
            connection.end_by = self.deadline + self.ending
        return connection

    @property
    def may_still_connect(self) -> bool:
        """Tell whether a connection that isn't answered would still end in time."""
        if self.deadline is None or self.ending is None:
            return True
        return self.deadline + self.ending - time.monotonic() >= login.SHORTEST_PATIENCE

    def _patience(self, seconds: float) -> float:
        if self.deadline is None:
            return seconds
        # A connection made with little patience may be the one that records the end.
        extra = (
            0.0
            if seconds > RECORD_PATIENCE
            else RECORD_PATIENCE
            if self.ending is None
            else self.ending
        )
        return max(0.0, min(seconds, self.deadline + extra - time.monotonic()))
