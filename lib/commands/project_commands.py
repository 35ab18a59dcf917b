"""The commands that bring the bundle into a project: one function per command, as for migrations.

They work with nothing but Python installed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..calls.invocation import Invocation
from ..errors import ConfigurationError, MigratorError
from ..install.changes import Plan, carry_out
from ..install.planning import make_plan
from ..install.record import Request
from ..local.server_folder import home
from ..text.install_text import done_text, plan_text


def _change_project(call: Invocation) -> int:
    arguments = call.arguments
    request = Request(
        action=arguments.command,
        folder=arguments.folder,
        package=arguments.package,
        migrations=getattr(arguments, "migrations", None),
        side=getattr(arguments, "side", None),
        is_forced=arguments.force,
    )
    plan = make_plan(request, call.root, call.environ)
    if request.action == "uninstall":
        plan = replace(plan, notes=(*plan.notes, *_about_local_database(Path(plan.folder))))
    if not arguments.json:
        call.console.show(plan_text(plan, call.console.style))
    # After the plan, which shows what they are about.
    if plan.faults:
        raise ConfigurationError(*plan.faults)
    if not plan.written:
        return _report(call, plan, f"Nothing to do: {plan.folder} has version {plan.version}.")
    if arguments.dry_run:
        return _report(call, plan, "Nothing was written: this was a dry run.")
    _confirm(call)
    carry_out(plan)
    if arguments.json:
        call.console.print_json(plan.to_dict(is_done=True))
    else:
        call.console.show(done_text(plan, call.console.style))
    return 0


def _about_local_database(folder: Path) -> tuple[str, ...]:
    """Say what nothing in the project would stop, or find, afterwards."""
    place = home(folder)
    if not place.exists():
        return ()
    running = " If it runs, stop it first: `./migrate stop`. Nothing here does so afterwards."
    return (f"The local database stays too, in {place}: remove that folder yourself.{running}",)


def _report(call: Invocation, plan: Plan, text: str) -> int:
    if call.arguments.json:
        call.console.print_json(plan.to_dict(is_done=False))
    else:
        call.console.say(text)
    return 0


def _confirm(call: Invocation) -> None:
    """Ask, unless told not to; ConfigurationError where there is nobody to ask."""
    if call.arguments.yes:
        return
    if not call.may_ask:
        raise ConfigurationError(
            "Nothing was written: without a terminal, --yes says that all this is wanted, and "
            "--dry-run shows it."
        )
    if not call.is_confirmed("Write this?"):
        raise MigratorError("Nothing was written.")


COMMANDS: Mapping[str, Callable[[Invocation], int]] = dict.fromkeys(
    ("install", "update", "uninstall"), _change_project
)
