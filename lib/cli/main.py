"""One command from its words to its exit code: signals, and how a failure is shown."""

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .. import ROOT
from ..calls.invocation import Invocation, Serve
from ..console.output_streams import Console, printable
from ..errors import Interrupted, MigratorError, not_installed
from ..masking import cleaned
from ..plan.reports import error_document
from ..signals import interrupt_on_signals
from .options import read_arguments


def _do_nothing() -> None:
    pass


def main(
    argv: Sequence[str],
    environ: Mapping[str, str],
    serve: Serve,
    *,
    root: Path = ROOT,
    on_imported: Callable[[], None] = _do_nothing,
) -> int:
    """Run one command and return its exit code. `on_imported` is called before it begins."""
    console = Console(printable(sys.stdout), printable(sys.stderr), environ)
    call = Invocation(read_arguments(argv), environ, root, console, serve)
    # Before anything is opened that would have to be closed in order.
    interrupt_on_signals()
    try:
        run = _command(call.arguments)
        on_imported()
        return run(call)
    except (MigratorError, Interrupted) as error:
        return _fail(call, error)
    # A full disk, or a file without permission: a sentence is enough, no traceback is needed.
    except OSError as error:
        text = f"{error.filename or 'The system'}: {error.strerror or error}."
        return _fail(call, MigratorError(text))
    # A package that this command alone needs, as `serve` needs flask.
    except ImportError as error:
        return _fail(call, not_installed(error))
    except Exception as error:
        return _fail(call, _internal_error(error))


def _command(arguments: argparse.Namespace) -> Callable[[Invocation], int]:
    """Import what the group of the command needs, and return what runs the command."""
    if arguments.group in ("branches", "review", "github"):
        return _command_of_review(arguments)
    if arguments.group == "local":
        from ..commands.local_commands import COMMANDS
    elif arguments.group == "shell":
        from .completion import COMMANDS
    elif arguments.group == "project":
        from ..commands.project_commands import COMMANDS
    elif arguments.group == "adopt":
        from ..commands.adopt_commands import COMMANDS
    elif arguments.group == "drift":
        from ..commands.drift_commands import COMMANDS
    elif arguments.group == "rebuild":
        from ..commands.rebuild_commands import COMMANDS
    elif arguments.group == "schema":
        from ..commands.schema_commands import COMMANDS
    else:
        from ..commands.migration_commands import COMMANDS
    return COMMANDS[arguments.command]


def _command_of_review(arguments: argparse.Namespace) -> Callable[[Invocation], int]:
    """The same for what is done before a push, or in a pull request."""
    if arguments.group == "branches":
        from ..commands.branch_commands import COMMANDS
    elif arguments.group == "github":
        from ..commands.github_commands import COMMANDS
    else:
        from ..commands.review_commands import COMMANDS
    return COMMANDS[arguments.command]


def _fail(call: Invocation, error: MigratorError | Interrupted) -> int:
    if call.arguments.json:
        call.console.print_json({**error_document(error), "action": call.arguments.command})
    else:
        # On standard error, whose encoding and terminal may differ from those of standard output.
        call.console.tell(str(error), sign=call.console.error_style.cross)
    if call.arguments.debug:
        trace = "".join(traceback.format_exception(error))
        call.console.tell(cleaned(trace, secrets=call.secrets))
    return error.exit_code


def _internal_error(error: Exception) -> MigratorError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    internal = MigratorError(
        f"An error of the runner itself: {type(error).__name__} at "
        f"{Path(place.filename).name}:{place.lineno}. "
        "Run the command again with --debug for the traceback, and please report it."
    )
    internal.__cause__ = error
    return internal
