"""The command about what has changed in the database beside the migrations."""

from collections.abc import Callable, Mapping

from ..actions.live_checks import accept_schema, read_drift
from ..calls.command_setup import environ_with_files, run_context
from ..calls.invocation import Invocation
from ..escaping import one_line
from ..settings.loader import local_platform
from ..text.drift_text import (
    accepted_text,
    files_drift_markdown,
    files_drift_text,
    verdict_markdown,
    verdict_text,
)


def _drift(call: Invocation) -> int:
    if call.arguments.files:
        return _drift_from_files(call)
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


def _drift_from_files(call: Invocation) -> int:
    # Not at the top: it loads all that builds a schema.
    from ..scratch.files_drift import compare_with_files

    context = run_context(call, reading=True, doing="Comparing")
    platform = local_platform(environ_with_files(call))
    found = compare_with_files(context, call.root, platform=platform)
    if call.arguments.json:
        call.console.print_json(found.to_dict())
    elif call.arguments.markdown:
        call.console.show(files_drift_markdown(found))
    else:
        call.console.show(files_drift_text(found, call.console.style))
    return found.exit_code


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {"drift": _drift}
