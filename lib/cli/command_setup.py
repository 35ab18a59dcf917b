"""One command as it was called, and what each command needs: settings, a database, a context."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import COMMAND
from ..actions.run_parameters import RunContext
from ..database.login import locate
from ..plan.progress_listener import Progress
from ..plan.reports import Source
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings, load_settings, with_env_files
from ..time_limits import CONNECT
from .output_streams import Console
from .progress_log import ProgressLog

# Serves until a signal ends the process: the environment, the bundle, the database to use where
# the environment names none, the port.
Serve = Callable[[Mapping[str, str], Path, ConnectionTarget | None, int], None]


@dataclass
class Invocation:
    """A command: its arguments, the environment, the bundle, and where the command prints.

    `secrets` grows with everything that no traceback may show.
    """

    arguments: argparse.Namespace
    environ: Mapping[str, str]
    root: Path
    console: Console
    serve: Serve
    secrets: list[str] = field(default_factory=list)

    @property
    def environ_with_files(self) -> Mapping[str, str]:
        """The environment, completed from the files that hold variables on a laptop."""
        return with_env_files(self.environ, root=self.root)

    def settings(self) -> Settings:
        """Read the settings; ConfigurationError names all faults."""
        settings = load_settings(self.environ_with_files, root=self.root)
        # Before a connection is tried, whose error might quote them.
        self.secrets += settings.secrets
        return settings

    def context(
        self, *, reading: bool, source: Source = "cli", doing: str = "Migrating"
    ) -> RunContext:
        """Make the run context; with `reading`, on the database that status reads."""
        settings = self.settings()
        return RunContext(
            settings=settings,
            target=self.target(settings, reading=reading),
            source=source,
            run_wait=settings.run_wait,
            connect_timeout=settings.connect_timeout_or(CONNECT),
            # Beside --json, nothing else is printed.
            progress=Progress() if self.arguments.json else ProgressLog(self.console, doing),
        )

    def target(self, settings: Settings, *, reading: bool) -> ConnectionTarget:
        """Return the database of the settings, or the embedded one if they name none."""
        target = settings.status_target if reading else settings.migration_target
        if target is None:
            return self._embedded_target()
        return locate(
            target,
            timeout=settings.connect_timeout_or(CONNECT),
            on_retry=lambda reason: self.console.tell(f"{reason} Trying again."),
        )

    def _embedded_target(self) -> ConnectionTarget:
        from ..local import embedded_server as embedded

        cluster = embedded.locate(self.root)
        if not embedded.is_running(cluster):
            self.console.tell(
                f"No database URL is set: starting the embedded PostgreSQL in {cluster.home} "
                f"(`{COMMAND} stop` stops it)."
            )
        target = embedded.start(cluster)
        # Its password is made up at the first start, so the settings do not know it.
        self.secrets += target.secrets
        return target
