"""The command about what has changed in the database beside the migrations."""

from collections.abc import Callable, Mapping

from ..actions.drift_check import accept_schema, read_drift
from ..escaping import one_line
from ..text.drift_text import accepted_text, verdict_markdown, verdict_text
from .command_setup import run_context
from .invocation import Invocation
from .schema_commands import files_drift


def _drift(call: Invocation) -> int:
    if call.arguments.files:
        return files_drift(call)
    context = run_context(call, reading=False, doing="Comparing")
    report = accept_schema(context) if call.arguments.accept else read_drift(context)
    place = one_line(f"{report.database} ({report.environment})")
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    elif report.is_accepted:
        call.console.show(accepted_text(report.verdict, call.console.style, place=place))
    elif call.arguments.markdown:
        call.console.show(verdict_markdown(report.verdict, place=place))
    else:
        call.console.show(verdict_text(report.verdict, call.console.style, place=place))
    return report.exit_code


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"drift": _drift}
