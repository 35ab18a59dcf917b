"""The command that carries on the history of another tool."""

import argparse
import shlex
from collections.abc import Callable, Mapping

from .. import COMMAND
from ..adopt.adopting import Request, adopt
from ..adopt.adoption import Adoption
from ..calls.command_setup import environ_with_files, run_context
from ..calls.invocation import Invocation
from ..errors import ConfigurationError, IntegrityError, MigratorError
from ..text.adoption_text import adoption_text, outcome_text


def _adopt(call: Invocation) -> int:
    arguments = call.arguments
    request = Request(
        tool=arguments.tool,
        root=call.root,
        environ=call.environ,
        folder=arguments.from_folder,
        applies=arguments.apply,
        accepts_differences=arguments.accept_differences,
        build_command=environ_with_files(call).get("FRONTEND_BUILD_COMMAND"),
    )
    context = run_context(call, reading=False, doing="Adopting in")
    adoption = adopt(context, request, lambda found: _confirm(call, found))
    return _report(call, adoption)


def _report(call: Invocation, adoption: Adoption) -> int:
    obstacles = tuple(adoption.obstacles(accepts_differences=call.arguments.accept_differences))
    error = IntegrityError(_in_the_way(obstacles)) if obstacles else None
    if call.arguments.json:
        failure = {"success": False, "error": str(error)} if error else {"success": True}
        call.console.print_json({**failure, "action": "adopt", **adoption.to_dict()})
        return error.exit_code if error else 0
    # With --apply, the plan is shown before the question.
    if error or not adoption.has_just_applied:
        call.console.show(adoption_text(adoption, call.console.style))
    if error:
        raise error
    command = _command(call.arguments)
    call.console.show(outcome_text(adoption, call.console.style, command=command))
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """Return the command to type next, which reads the same folder as this one."""
    folder, accepts = arguments.from_folder, arguments.accept_differences
    place = f" --from {shlex.quote(folder)}" if folder is not None else ""
    accepted = " --accept-differences" if accepts else ""
    return f"{COMMAND} adopt {arguments.tool}{place}{accepted}"


def _in_the_way(obstacles: tuple[str, ...]) -> str:
    return f"Nothing was recorded: {'; '.join(obstacles)}."


def _confirm(call: Invocation, adoption: Adoption) -> None:
    """Show the plan and ask, if the tool is still called somewhere."""
    if not call.arguments.json:
        call.console.show(adoption_text(adoption, call.console.style))
    if not adoption.callers or call.arguments.yes:
        return
    if not call.may_ask:
        places = ", ".join(f"{each.file}:{each.line}" for each in adoption.callers)
        raise ConfigurationError(
            f"{adoption.title} is still called in {places}: once it is adopted, it must not run on "
            "this database any more. Nothing was written or recorded. Remove these calls; or, if "
            "they do not reach this database, say so with --yes."
        )
    if not call.is_confirmed("None of these calls reaches this database any more. Adopt it?"):
        raise MigratorError("Nothing was written or recorded.")


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"adopt": _adopt}
