"""The commands about what runs on this machine: one function per command, as for migrations."""

from collections.abc import Callable, Mapping

from .command_setup import database_for, environ_with_files, load
from .invocation import Invocation


def _serve(call: Invocation) -> int:
    settings = load(call)
    # Only without a database URL: the endpoints find the variables of a database by themselves.
    fallback = None
    if settings.status_target is None:
        fallback = database_for(call, settings, reading=True)
    call.serve(environ_with_files(call), call.root, fallback, call.arguments.port)
    return 0


def _stop(call: Invocation) -> int:
    from ..local import embedded_server as embedded

    is_stopped = embedded.stop(embedded.locate(call.root))
    call.console.say(
        "Stopped the embedded PostgreSQL." if is_stopped else "No embedded PostgreSQL is running."
    )
    return 0


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {
    "serve": _serve,
    "stop": _stop,
}
