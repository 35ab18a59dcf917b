"""What a command needs: its settings, its database, its run context."""

from collections.abc import Mapping

from .. import COMMAND
from ..actions.run_parameters import RunContext
from ..database.login import locate
from ..files.folder import MigrationFile, discover
from ..plan.progress_listener import Progress
from ..plan.reports import Source
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings, load_settings, migrations_dir, with_env_files
from ..settings.variables import LOCAL_PLATFORM
from ..text.progress_log import ProgressLog
from ..time_limits import CONNECT
from .invocation import Invocation


def environ_with_files(call: Invocation) -> Mapping[str, str]:
    """Return the environment, completed from the files that hold variables on a laptop."""
    return with_env_files(call.environ, root=call.root)


def load(call: Invocation) -> Settings:
    """Read the settings; ConfigurationError names all faults."""
    settings = load_settings(environ_with_files(call), root=call.root)
    # Before a connection is tried, whose error might quote them.
    call.secrets += settings.secrets
    return settings


def run_context(
    call: Invocation,
    *,
    reading: bool,
    source: Source = "cli",
    doing: str = "Migrating",
    up_to: MigrationFile | None = None,
) -> RunContext:
    """Make the run context; with `reading`, on the database that status reads."""
    settings = load(call)
    return RunContext(
        settings=settings,
        target=database_for(call, settings, reading=reading),
        source=source,
        up_to=up_to,
        run_wait=settings.run_wait,
        connect_timeout=settings.connect_timeout_or(CONNECT),
        # Beside --json, nothing else is printed.
        progress=Progress() if call.arguments.json else ProgressLog(call.console, doing),
    )


def file_of(call: Invocation, wanted: str | None) -> MigrationFile | None:
    """Find the file that an option names; None without the option.

    Raises ConfigurationError if there is no such file.
    """
    if wanted is None:
        return None
    # Not at the top: it is rarely asked for, and every command loads this room.
    from ..plan.file_choice import find_file

    files = discover(migrations_dir(environ_with_files(call), root=call.root))
    return find_file(files, wanted)


def database_for(call: Invocation, settings: Settings, *, reading: bool) -> ConnectionTarget:
    """Return the database of the settings, or the embedded one if they name none."""
    target = settings.status_target if reading else settings.migration_target
    if target is None:
        return _embedded_target(call)
    return locate(
        target,
        timeout=settings.connect_timeout_or(CONNECT),
        on_retry=lambda reason: call.console.tell(f"{reason} Trying again."),
    )


def _embedded_target(call: Invocation) -> ConnectionTarget:
    from ..local import embedded_server as embedded

    platform = LOCAL_PLATFORM.read(environ_with_files(call))
    cluster = embedded.locate(call.root, platform=platform)
    if not embedded.is_running(cluster):
        call.console.tell(
            f"No database URL is set: starting the embedded PostgreSQL in {cluster.home} "
            f"(`{COMMAND} stop` stops it)."
        )
    target = embedded.start(cluster)
    # Its password is made up at the first start, so the settings do not know it.
    call.secrets += target.secrets
    return target
