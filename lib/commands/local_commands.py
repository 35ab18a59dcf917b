"""The commands about what runs on this machine: one function per command, as for migrations."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from .. import COMMAND
from ..calls.command_setup import database_for, environ_with_files, load
from ..calls.invocation import DEFAULT_PORT, Invocation
from ..errors import ConfigurationError
from ..settings.connection_target import ConnectionTarget
from ..settings.database_choice import without_database
from ..settings.loader import migrations_dir


def _serve(call: Invocation) -> int:
    settings = load(call)
    environ, fallback = environ_with_files(call), None
    targets = (settings.migration_target, settings.status_target)
    # The endpoints find the variables of a database by themselves, but not the embedded one.
    if all(target is None or target.is_embedded for target in targets):
        fallback = database_for(call, settings, reading=True)
        environ = without_database(environ)
    elif not settings.is_hosted:
        from ..calls.local_database import started

        for target in filter(None, targets):
            started(call, target)
    port = call.arguments.port
    # Next.js takes the default port too.
    ports = (DEFAULT_PORT, 0) if port is None else (port,)
    call.serve(environ, call.root, fallback, ports)
    return 0


def _url(call: Invocation) -> int:
    from ..calls.local_database import start
    from ..local.server_address import url

    writes = call.arguments.write_env
    target = start(call, is_offered=not writes)
    if writes:
        call.console.tell(_write_env(call, target))
    _tell_of_others(call)
    if call.arguments.json:
        call.console.print_json({"success": True, "action": "url", "url": url(target)})
    else:
        call.console.show_secret(url(target))
    return 0


def _start(call: Invocation) -> int:
    from ..calls.local_database import start
    from ..local.embedded_server import locate
    from ..local.env_file import NAME

    target = start(call, announcement="", is_offered=False)
    call.console.say(
        f"The embedded PostgreSQL runs at {target.place}, with its data in "
        f"{locate(call.root).home} (`{COMMAND} stop` stops it)."
    )
    call.console.say(
        _write_env(call, target)
        if call.arguments.write_env
        else f"`{COMMAND} url` prints its URL for the application; "
        f"`{COMMAND} start --write-env` writes it into {NAME}."
    )
    _tell_of_others(call)
    return 0


def _write_env(call: Invocation, target: ConnectionTarget) -> str:
    """Write the URL for the application, and return what is to be said of it."""
    from ..calls.local_database import is_of_embedded
    from ..local import env_file, server_address

    url = server_address.url(target)
    is_written = env_file.write_url(
        call.root, url, lambda value: is_of_embedded(call, value), call.environ
    )
    did = "now sets" if is_written else "already sets"
    text = f"{env_file.NAME} {did} {env_file.VARIABLE} to the local database."
    first = env_file.FIRST_IN_DEVELOPMENT
    if env_file.sets_variable(call.root, first, to_other_than=url):
        text += f" But {first} sets it, too, and Next.js reads that file first."
    return text


def _tell_of_others(call: Invocation) -> None:
    from ..calls.local_database import tell_of_others

    # A command that needs these settings reports their faults.
    with suppress(ConfigurationError):
        tell_of_others(call, load(call))


def _psql(call: Invocation) -> int:
    from ..calls.local_database import start
    from ..local.embedded_server import locate
    from ..local.psql_session import run_psql

    target = start(call)
    _tell_of_others(call)
    return run_psql(locate(call.root), target, call.arguments.passed_on, call.environ)


def _stop(call: Invocation) -> int:
    from ..local import embedded_server as embedded
    from ..scratch.scratch_server import remove_leftovers

    is_stopped = embedded.stop(embedded.locate(call.root))
    remove_leftovers(call.root)
    call.console.say(
        "Stopped the embedded PostgreSQL." if is_stopped else "No embedded PostgreSQL is running."
    )
    return 0


def _create(call: Invocation) -> int:
    from ..local.new_migration import Source, create_file, description_from

    words, origin = call.arguments.description, call.arguments.from_file
    if not words and origin in (None, "-"):
        raise ConfigurationError("A description is needed, as in: create add invoices table.")
    source = None
    if origin is not None:
        source = Source("standard input" if origin == "-" else origin, _read(origin))
    path = create_file(
        migrations_dir(environ_with_files(call), root=call.root),
        " ".join(words) or description_from(origin),
        today=datetime.now(UTC).date(),
        source=source,
    )
    # So that `$EDITOR "$(… create …)"` works in every folder.
    here = Path.cwd()
    call.console.say(str(path.relative_to(here) if path.is_relative_to(here) else path))
    return 0


def _read(origin: str) -> bytes:
    if origin != "-":
        try:
            return Path(origin).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{origin} can't be read: {error.strerror}.") from None
    if sys.stdin is None:
        raise ConfigurationError("Standard input is closed, and --from - reads it.")
    return sys.stdin.buffer.read()


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {
    "create": _create,
    "serve": _serve,
    "start": _start,
    "stop": _stop,
    "url": _url,
    "psql": _psql,
}
