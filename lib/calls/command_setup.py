"""What a command needs: its settings, its database, its run context."""

from collections.abc import Mapping

from ..actions.run_parameters import RunContext
from ..console.progress_log import ProgressLog
from ..database.login import locate
from ..files.folder import MigrationFile, discover, has_schema_file
from ..plan.progress_listener import Progress
from ..plan.reports import RunReport, Source
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings, load_settings, migrations_dir, with_env_files
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
    # On Vercel and in CI a URL is no more than a URL.
    if settings.is_hosted or not any(
        map(_is_here, (settings.migration_target, settings.status_target))
    ):
        return settings
    from .local_database import recognized

    return recognized(call, settings)


def _is_here(target: ConnectionTarget | None) -> bool:
    return target is not None and target.is_local


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
    """Return the database of the settings; the embedded one, started, if they name it or none."""
    target = settings.status_target if reading else settings.migration_target
    if target is None or (target.is_local and not settings.is_hosted):
        # Imported here: most databases are elsewhere.
        from .local_database import started

        target = started(call, target)
    return locate(
        target,
        timeout=settings.connect_timeout_or(CONNECT),
        on_retry=lambda reason: call.console.tell(f"{reason} Trying again."),
    )


def may_refresh_schema_file(context: RunContext, report: RunReport) -> bool:
    """True if a run may have to be followed by a look at schema.sql.

    On the embedded server alone, which is on a laptop: in CI and on Vercel, files are committed.
    """
    return (
        context.target.is_embedded
        and context.up_to is None
        and report.error is None
        and has_schema_file(context.settings.migrations_dir)
    )
