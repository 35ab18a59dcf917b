"""The embedded server as the database of a command: recognized in a URL, started, announced."""

from dataclasses import replace

from .. import COMMAND
from ..errors import ConfigurationError
from ..local import server_address
from ..local.cluster_files import Cluster
from ..settings.connection_target import ConnectionTarget
from ..settings.connection_url import read_target
from ..settings.database_choice import prefix_of, prefixed_urls
from ..settings.loader import Settings, local_platform, with_env_files
from ..settings.variables import VARIABLE_PREFIX
from .invocation import Invocation


def recognized(call: Invocation, settings: Settings) -> Settings:
    """Mark the targets of the settings that are the embedded database.

    Raise ConfigurationError in production, which never means it.
    """
    targets = (settings.migration_target, settings.status_target)
    if settings.environment == "production":
        sources = (t.source for t in targets if t and server_address.is_named(t, call.root))
        if source := next(sources, None):
            raise ConfigurationError(
                f"{source} names the embedded PostgreSQL. The environment is production, which "
                f"never means the embedded PostgreSQL: set {source} to its database."
            )
    migration, status = (t and server_address.recognized(t, call.root) for t in targets)
    return replace(settings, migration_target=migration, status_target=status)


def started(call: Invocation, target: ConnectionTarget | None) -> ConnectionTarget:
    """Start the embedded server if the target is None or on that server.

    Return where to connect, which is the target itself if it is elsewhere.
    """
    if target is None:
        return start(call, announcement=f"No database URL is set{_with_prefix(call)}: starting")
    if not server_address.is_named(target, call.root):
        return target
    running = start(call, is_offered=False)
    if target.port != running.port:
        call.console.tell(
            f"The URL of the embedded PostgreSQL has an outdated port, {target.port}, in place of "
            f"{running.port}: `{COMMAND} url --write-env` writes it again."
        )
    # What else the URL asks for stays, such as a schema.
    database = target.database or server_address.DATABASE
    parameters = {**target.parameters, **running.parameters, "dbname": database}
    return replace(target, parameters=parameters)


def cluster_of(call: Invocation) -> Cluster:
    """Return the embedded server of this project, with the platform that the variables ask for.

    Raise ConfigurationError if they ask for another one, or if the wheel is not installed.
    """
    from ..local import embedded_server as embedded

    platform = local_platform(with_env_files(call.environ, root=call.root))
    return embedded.locate(call.root, platform=platform)


def _with_prefix(call: Invocation) -> str:
    """Name a variable that an integration has set with a prefix, as `vercel env pull` writes it."""
    names = prefixed_urls(with_env_files(call.environ, root=call.root))
    if not names:
        return ""
    return f" ({VARIABLE_PREFIX.name}={prefix_of(names[0])} would lead to {names[0]})"


def start(
    call: Invocation, *, announcement: str = "Starting", is_offered: bool = True
) -> ConnectionTarget:
    """Start the embedded server unless it is running, after an announcement unless that is empty.

    At the first start its URL is offered to the application.
    """
    from ..local import embedded_server as embedded

    cluster = cluster_of(call)
    is_new = embedded.is_new(cluster)
    if announcement and not embedded.is_running(cluster):
        call.console.tell(
            f"{announcement} the embedded PostgreSQL in {cluster.home} (`{COMMAND} stop` stops it)."
        )
    target = embedded.start(cluster, tell=call.console.tell)
    # Its password is made up at the first start, so the settings do not know it.
    call.secrets += target.secrets
    if is_new and is_offered:
        call.console.tell(
            f"The application can use it too: `{COMMAND} start --write-env` writes its "
            "DATABASE_URL into .env.local."
        )
    return target


def tell_of_others(call: Invocation, settings: Settings) -> None:
    """Say which other database the commands use, if the settings name one."""
    targets = (settings.migration_target, settings.status_target)
    others = (t for t in targets if t and not server_address.is_named(t, call.root))
    # Most often both are the same one.
    for place in dict.fromkeys(map(_described, others)):
        call.console.tell(f"The commands use another database ({place}), not this one.")


def _described(target: ConnectionTarget) -> str:
    return f"{target.place}, {target.choice}" if target.is_located else target.choice


def is_of_embedded(call: Invocation, url: str) -> bool:
    """True if a URL names the embedded server of this project, or looks like an outdated one."""
    try:
        target = read_target("", url)
    except ValueError:
        return False
    return server_address.is_named(target, call.root) or server_address.looks_embedded(target)
