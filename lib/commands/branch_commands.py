"""The command about the numbers that two branches contend for."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..branches.renumbering import carry_out, find_renumbering
from ..branches.target_branch import base_of_pull_request, default_branch
from ..calls.command_setup import environ_with_files
from ..calls.invocation import Invocation
from ..errors import ConfigurationError
from ..settings.loader import migrations_dir
from ..text.renumber_text import renumber_text


def _renumber(call: Invocation) -> int:
    folder = migrations_dir(environ_with_files(call), root=call.root)
    renumbering = find_renumbering(folder, _base(call, folder), call.environ)
    is_written = renumbering.has_work and not call.arguments.dry_run
    if is_written:
        carry_out(folder, renumbering)
    if call.arguments.json:
        call.console.print_json(renumbering.to_dict(is_written=is_written))
    else:
        style = call.console.style
        call.console.show(renumber_text(renumbering, style, is_written=is_written))
    return 0


def _base(call: Invocation, folder: Path) -> str:
    base = (
        call.arguments.base
        or base_of_pull_request(call.environ)
        or default_branch(folder, call.environ)
    )
    if base is None:
        raise ConfigurationError(
            "The branch that this one will be merged into is not known: name it, as in "
            "--base origin/main."
        )
    return base


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"renumber": _renumber}
