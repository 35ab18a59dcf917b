"""The commands about migrations: one function per command, which returns the exit code.

A command imports what it alone needs: most runs have nothing to apply, and take little longer than
their imports.
"""

from collections.abc import Callable, Mapping

from ..actions.run_parameters import RunContext
from ..calls.command_setup import file_of, load, may_refresh_schema_file, run_context
from ..calls.invocation import Invocation
from ..errors import IntegrityError
from ..escaping import Clean, message
from ..files.folder import has_seeds
from ..plan.reports import Document, validation_document
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import is_on_vercel


def _migrate(call: Invocation) -> int:
    from ..actions.migrate import migrate
    from ..console.terminal import run_text

    source = call.arguments.source
    # Before the database is touched: a build that would deploy broken functions must not migrate.
    if source == "build" and is_on_vercel(call.environ):
        from ..install.package_manifest import check_manifest

        check_manifest(call.root, packages=load(call).packages)
    # Before the database is asked for, which may have to be started.
    up_to = file_of(call, call.arguments.to)
    context = run_context(call, reading=False, source=source, up_to=up_to)
    report = migrate(context)
    if not call.arguments.json:
        if report.error:
            # What was applied before the error is already on the screen.
            raise report.error
        call.console.show(run_text(report, call.console.style))
    if report.has_made_database and _gets_seeds(context):
        from .rebuild_commands import with_seeds

        report = with_seeds(call, context, report)
    schema_file: Document = {}
    if may_refresh_schema_file(context, report):
        from .schema_commands import refresh_file

        schema_file = refresh_file(call, context)
    if call.arguments.json:
        call.console.print_json({**report.to_dict(), **schema_file})
    return report.exit_code


def _gets_seeds(context: RunContext) -> bool:
    """True if a new database is to be filled: that of a preview, or the embedded one."""
    is_previews = context.settings.environment == "preview" and context.source == "build"
    return (is_previews or context.target.is_embedded) and has_seeds(
        context.settings.migrations_dir
    )


def _status(call: Invocation) -> int:
    from ..actions.live_checks import read_status_and_drift
    from ..console.terminal import route_text
    from ..text.drift_text import drift_part
    from ..text.status_text import status_text

    context = run_context(call, reading=True)
    found, verdict = read_status_and_drift(context)
    seeds, seeds_text = _seeds(call, context)
    if call.arguments.json:
        document = found.to_dict()
        if found.last_run:
            document["lastRun"] |= found.last_run.failure()
        call.console.print_json(
            {
                **document,
                "warnings": list(map(message, found.warnings)),
                "connection": _connection(context.target, is_direct=found.is_direct),
                **seeds,
                **drift_part(found, verdict),
            }
        )
    else:
        route = route_text(is_direct=found.is_direct)
        place = f"{context.target.address}, {context.target.choice}; {route}"
        call.console.show(
            status_text(
                found,
                call.console.style,
                place=place,
                migrating=_other_route(context),
                verdict=verdict,
            )
        )
        _show(call, seeds_text)
    return IntegrityError.exit_code if call.arguments.check and not found.is_current else 0


def _seeds(call: Invocation, context: RunContext) -> tuple[Document, tuple[Clean, ...]]:
    """The seeds as a part of the document, and as text; nothing is loaded where there are none."""
    if not has_seeds(context.settings.migrations_dir):
        return {}, ()
    from .rebuild_commands import seeds_shown

    return seeds_shown(call, context)


def _connection(target: ConnectionTarget, *, is_direct: bool) -> Document:
    """Describe the connection, for the command line alone: the public endpoint names no host."""
    return {
        "variable": target.source,
        "why": target.why or None,
        "address": target.place,
        "direct": is_direct,
    }


def _other_route(context: RunContext) -> str | None:
    """Describe the connection that migrations use, if status uses another one."""
    target = context.settings.migration_target
    if target is None or target == context.settings.status_target:
        return None
    return f"{target.place}, {target.choice}" if target.is_located else target.choice


def _history(call: Invocation) -> int:
    from ..actions.status import read_history
    from ..text.history_text import history_text

    found = read_history(run_context(call, reading=True), call.arguments.limit)
    if call.arguments.json:
        call.console.print_json(found.to_dict())
    else:
        _warn(call, found.advice)
        call.console.show(history_text(found, call.console.style))
    return 0


def _validate(call: Invocation) -> int:
    from ..actions.dry_run import validate

    context = run_context(call, reading=True)
    found = validate(context)
    if has_seeds(context.settings.migrations_dir):
        from ..rebuild.seed_folder import discover_seeds, prepare_seeds

        prepare_seeds(discover_seeds(context.settings.migrations_dir))
    if call.arguments.json:
        call.console.print_json(validation_document(found))
        return 0
    _warn(call, found.warnings)
    call.console.say(
        f"Valid: {found.plan.applied_count} applied and unchanged, "
        f"{len(found.plan.pending)} pending and well-formed.",
        sign=call.console.style.tick,
    )
    return 0


def _plan(call: Invocation) -> int:
    from ..actions.dry_run import preview
    from ..text.report_texts import plan_text

    up_to = file_of(call, call.arguments.to)
    context = run_context(call, reading=False, up_to=up_to)
    planned = preview(context)
    seeds, seeds_text = _seeds(call, context)
    if call.arguments.json:
        call.console.print_json({**planned.to_dict(), **seeds})
    else:
        _warn(call, planned.warnings)
        call.console.show(plan_text(planned, call.console.style))
        _show(call, seeds_text)
    # As `migrate` would exit, so that a pipeline can stop before it.
    return planned.obstacle.exit_code if planned.obstacle else 0


def _show(call: Invocation, texts: tuple[Clean, ...]) -> None:
    for text in texts:
        call.console.show(text)


def _warn(call: Invocation, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        call.console.tell(f"Warning: {warning}")


def _baseline(call: Invocation) -> int:
    from ..edits.baseline import baseline, forget
    from ..text.report_texts import baseline_text

    forgotten = call.arguments.forget
    if forgotten:
        report = forget(run_context(call, reading=False, doing="Forgetting in"), forgotten)
    else:
        context = run_context(call, reading=False, doing="Recording in")
        report = baseline(context, call.arguments.version)
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    else:
        call.console.show(baseline_text(report, call.console.style))
    return 0


def _resolve(call: Invocation) -> int:
    from ..edits.resolve import Verdict, resolve
    from ..text.report_texts import resolve_text

    given = vars(call.arguments)
    # argparse has seen to it that one of them is given, though perhaps with an empty value.
    verdict = next(v for v in Verdict if given[v.replace("-", "_")] not in (None, False))
    context = run_context(call, reading=False, doing="Resolving in")
    report = resolve(
        context, call.arguments.version, verdict, renamed_from=call.arguments.renamed_from
    )
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    else:
        call.console.show(resolve_text(report, call.console.style))
    return 0


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {
    "migrate": _migrate,
    "status": _status,
    "history": _history,
    "validate": _validate,
    "plan": _plan,
    "baseline": _baseline,
    "resolve": _resolve,
}
