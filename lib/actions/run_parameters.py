"""What a surface hands to the runner, and what a run has come to."""

from dataclasses import dataclass, field

from ..database import login
from ..database.connection import Connection
from ..database.notices import Listener
from ..deadline import Deadline
from ..files.folder import MigrationFile
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import check_guard
from ..plan.migration_plan import Plan
from ..plan.progress_listener import Progress
from ..plan.reports import AppliedNow, FileReview, Renumbered, Source
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings
from ..time_limits import CONNECT, SHORTEST_CONNECT, RunLimits


@dataclass(frozen=True)
class RunContext:
    """Who asks for what, and the time for it. `run_wait` and `connect_timeout` are in seconds.

    `up_to` is the last file that a run may apply, None if it may apply all.
    """

    settings: Settings
    target: ConnectionTarget
    source: Source = "cli"
    up_to: MigrationFile | None = None
    run_wait: float = 0.0
    connect_timeout: float = CONNECT
    deadline: Deadline = field(default_factory=Deadline.none)
    limits: RunLimits = field(default_factory=RunLimits)
    progress: Progress = field(default_factory=Progress)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The roles whose tables are trusted: the one that migrates, and MIGRATION_LEDGER_OWNER."""
        # Another role may read the status; it has to trust the tables of the one that migrates.
        migrating = self.settings.migration_target or self.target
        return tuple(filter(None, (migrating.role, self.settings.ledger_owner)))

    @property
    def reader(self) -> str | None:
        """The role that reads the status, if its name is known."""
        return self.settings.status_target.role if self.settings.status_target else None

    @property
    def is_from_laptop(self) -> bool:
        """True if somebody may still write the files; on Vercel and in CI they are committed."""
        return self.source != "admin" and not self.settings.is_hosted

    @property
    def application_name(self) -> str:
        """The name of a run's sessions in pg_stat_activity: the surface and the commit."""
        # NAMEDATALEN limits the name to 63 bytes.
        commit = self.settings.deployment.commit
        return f"migrations {self.source} {commit[:12] if commit else 'local'}"

    def connect(
        self,
        *,
        timeout: float | None = None,
        on_notice: Listener | None = None,
        for_files: bool = False,
        cleanup_sql: str = "",
    ) -> Connection:
        """Connect within the deadline. `timeout` stands in for that of the context, in seconds."""
        seconds = self.connect_timeout if timeout is None else timeout
        return self._connect(
            self.deadline.clip(seconds),
            on_notice=on_notice,
            for_files=for_files,
            cleanup_sql=cleanup_sql,
            is_reported=timeout is None,
        )

    def connect_for_cleanup(self, timeout: float) -> Connection:
        """Connect within `timeout` seconds, past the deadline too: this one may record the end."""
        return self._connect(self.deadline.for_cleanup(timeout))

    @property
    def may_still_connect(self) -> bool:
        """True if a connection that is not answered would still end in time."""
        return self.deadline.remaining_for_cleanup() >= SHORTEST_CONNECT

    def _connect(
        self,
        connect_by: Deadline,
        *,
        on_notice: Listener | None = None,
        for_files: bool = False,
        cleanup_sql: str = "",
        is_reported: bool = False,
    ) -> Connection:
        return login.connect(
            self.target.for_files if for_files else self.target,
            application_name=self.application_name,
            timeout=connect_by.remaining(),
            deadline=self.deadline,
            on_notice=on_notice,
            # A short wait has another way on, of which the caller speaks.
            on_retry=self.progress.retrying_connection if is_reported else None,
            cleanup_sql=cleanup_sql,
        )


@dataclass
class RunState:
    """What a run has come to; its report is made of it, however the run ends.

    `pending` counts files and is None until they are known. `beyond` are those of them that the
    run may not apply. `review` is what was found before the first. `current` is the file under way.
    """

    survey: Survey | None = None
    pending: int | None = None
    beyond: tuple[MigrationFile, ...] = ()
    warnings: tuple[str, ...] = ()
    review: FileReview = field(default_factory=FileReview)
    applied: list[AppliedNow] = field(default_factory=list)
    current: MigrationFile | None = None
    renumbered: tuple[Renumbered, ...] = ()

    def check(self, plan: Plan, environment: str) -> None:
        """Raise what forbids a run: the guard, then the ledger's integrity."""
        assert self.survey is not None  # the plan was made of it
        self.pending, self.beyond = plan.pending_count, plan.beyond
        # The guard first: of a foreign database, nothing else matters.
        check_guard(self.survey, environment)
        plan.verify()

    def warn(self, progress: Progress, *warnings: str) -> None:
        """Keep the warnings, and pass them on."""
        self.warnings = warnings
        for warning in warnings:
            progress.warning(warning)

    def warn_also(self, progress: Progress, warning: str) -> None:
        """Add a warning to those that are kept, and pass it on."""
        self.warnings += (warning,)
        progress.warning(warning)

    def settle_current(self) -> None:
        """Take note that the current file is pending no more."""
        self.current = None
        self.pending = (self.pending or 1) - 1
