"""What a surface hands to the runner: settings, a database, the time allowed, and somebody who hears of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lib import login
from lib.connection_url import ConnectionTarget
from lib.database import Connection
from lib.errors import RunInProgressError
from lib.migration_files import MigrationFile
from lib.report import AppliedNow, Source
from lib.settings import Settings

# A connection made with no more patience than this, in seconds, is made past the deadline too: it records a run's end.
RECORD_PATIENCE = 3.0


class Progress:
    """Hears of a run as it goes. This one keeps silent."""

    def retrying_connection(self, reason: str) -> None: ...
    def connected(self, target: ConnectionTarget) -> None: ...
    def warning(self, text: str) -> None: ...
    def waiting(self, holder: RunInProgressError) -> None: ...
    def started(self, file: MigrationFile) -> None: ...
    def applied(self, migration: AppliedNow) -> None: ...
    def retrying(self, file: MigrationFile, reason: str, pause: float) -> None: ...
    def notice(self, file: MigrationFile | None, severity: str, message: str) -> None: ...


@dataclass(frozen=True)
class Job:
    """Who asks for what. `deadline` is in monotonic seconds, `run_wait` and `connect_patience` in seconds."""

    settings: Settings
    target: ConnectionTarget
    source: Source = "cli"
    run_wait: float = 0.0
    connect_patience: float = 30.0
    deadline: float | None = None
    progress: Progress = field(default_factory=Progress)

    def connect(self, *, patience: float | None = None, on_notice: Callable[[str, str], None] | None = None) -> Connection:
        commit = self.settings.deployment.commit
        patience = self.connect_patience if patience is None else patience
        if self.deadline is not None and patience > RECORD_PATIENCE:
            patience = max(0.0, min(patience, self.deadline - time.monotonic()))
        connection = login.connect(
            self.target,
            application_name=f"migrations {self.source} {commit[:12] if commit else 'local'}",
            patience=patience,
            on_notice=on_notice,
            on_retry=self.progress.retrying_connection,
        )
        connection.deadline = self.deadline
        return connection
