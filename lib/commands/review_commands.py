"""The commands about what a migration does to a live database."""

from collections.abc import Callable, Mapping

from ..actions.live_sizes_check import check_live_sizes
from ..calls.command_setup import run_context
from ..calls.invocation import Invocation
from ..text.sizes_text import sizes_text


def _sizes(call: Invocation) -> int:
    # What a migration meets is what the role that migrates sees, on the server that is migrated.
    report = check_live_sizes(run_context(call, reading=False, doing="Measuring"))
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    else:
        call.console.show(sizes_text(report, call.console.style))
    return 0


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"sizes": _sizes}
