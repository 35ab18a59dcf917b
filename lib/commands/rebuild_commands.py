"""The commands that fill a development database, or make it anew: one function per command."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..actions.run_parameters import RunContext
from ..calls.command_setup import file_of, load, may_refresh_schema_file, run_context
from ..calls.invocation import Invocation
from ..console.progress_log import ProgressLog
from ..console.terminal import counted, run_text
from ..errors import ConfigurationError
from ..escaping import Clean
from ..files.folder import SEEDS as SEED_FOLDER
from ..files.folder import discover, has_seeds
from ..plan.reports import Document, RunReport
from ..rebuild.file_objects import FileObjects
from ..rebuild.reset import ResetPlan
from ..rebuild.seed_reports import SeedReport
from ..text.rebuild_texts import reset_text, seed_text, seeds_text

SEEDING = "Seeding"


def _seed(call: Invocation) -> int:
    from ..rebuild.seeding import seed

    context = run_context(call, reading=False, doing=SEEDING)
    report = seed(context)
    if call.arguments.json:
        call.console.print_json(report.to_dict())
    else:
        _show(call, context, report)
    return report.exit_code


def _reset(call: Invocation) -> int:
    from ..rebuild.reset import read_files
    from ..rebuild.seed_folder import discover_seeds, prepare_seeds

    settings = load(call)
    # What would stop the files stops the reset, before anything is dropped.
    up_to = file_of(call, call.arguments.to)
    made = read_files(discover(settings.migrations_dir), settings.environment)
    if up_to is None:
        prepare_seeds(discover_seeds(settings.migrations_dir))
    target = settings.migration_target
    if target is None or target.is_embedded:
        dropped = _start_over(call)
        return _rebuild(call, run_context(call, reading=False, up_to=up_to), dropped)
    # One context for all of it: while the question is read, the files with the URL may change.
    context = run_context(call, reading=False, doing="Resetting")
    dropped = _drop(call, context, made)
    progress = context.progress if call.arguments.json else ProgressLog(call.console, "Migrating")
    return _rebuild(call, replace(context, up_to=up_to, progress=progress), dropped)


def _start_over(call: Invocation) -> Document:
    """Make the embedded server anew; the only way that takes roles and other databases along."""
    from ..calls.local_database import cluster_of
    from ..local import embedded_server as embedded

    cluster = cluster_of(call)
    call.secrets += embedded.start_over(cluster, tell=call.console.tell).secrets
    call.console.tell(
        f"Started over: the embedded PostgreSQL in {cluster.home} is new; its former "
        "databases and roles are gone."
    )
    return {"startedOver": True, "dropped": [], "stays": []}


def _drop(call: Invocation, context: RunContext, made: FileObjects) -> Document:
    """Drop what the files have made, once that has been confirmed on the terminal."""
    from ..rebuild.reset import reset

    planned = reset(context, made, lambda planned: _confirm(call, planned))
    call.console.tell(f"Dropped {counted(len(planned.objects), 'object')}.")
    return {
        "startedOver": False,
        "dropped": list(map(str, planned.objects)),
        "stays": list(planned.stays),
    }


def _confirm(call: Invocation, planned: ResetPlan) -> None:
    """Raise unless the place of the database is typed; there is no option that stands in for it."""
    if not (sys.stdin and sys.stdin.isatty() and call.console.err.isatty()):
        raise ConfigurationError(
            f"`reset` would drop what the files have made in {planned.place}. It asks for that "
            "name to be typed on a terminal, and there is none. Nothing was dropped."
        )
    call.console.tell(reset_text(planned))
    if sys.stdin.readline().strip() != planned.place:
        raise ConfigurationError("That is not its name. Nothing was dropped.")


def _rebuild(call: Invocation, context: RunContext, dropped: Document) -> int:
    """Apply the files to the empty database and, without a limit, the seeds."""
    from ..actions.migrate import migrate

    report = migrate(context)
    if not call.arguments.json:
        if report.error:
            raise report.error
        call.console.show(run_text(report, call.console.style))
    if context.up_to is None and not report.error and has_seeds(context.settings.migrations_dir):
        report = with_seeds(call, context, report)
    schema_file: Document = {}
    if may_refresh_schema_file(context, report):
        from .schema_commands import refresh_file

        schema_file = refresh_file(call, context)
    if call.arguments.json:
        call.console.print_json({**report.to_dict(), "action": "reset", **dropped, **schema_file})
    return report.exit_code


def with_seeds(call: Invocation, context: RunContext, report: RunReport) -> RunReport:
    """Apply the seeds after a run that has made the database, and add them to its report."""
    from ..rebuild.seeding import seed

    if not call.arguments.json:
        context = replace(context, progress=ProgressLog(call.console, SEEDING))
    seeded = seed(context, only_if_made=True)
    if not call.arguments.json:
        _show(call, context, seeded)
    return replace(
        report,
        seeds=seeded.applied,
        warnings=(*report.warnings, *seeded.warnings),
        error=seeded.error,
    )


def seeds_shown(call: Invocation, context: RunContext) -> tuple[Document, tuple[Clean, ...]]:
    """The seeds as a part of a JSON document, and as text; both empty without files."""
    from ..rebuild.seed_status import read_seeds

    seeds = read_seeds(context)
    if not seeds:
        return {}, ()
    document = {"seeds": [seed.to_dict() for seed in seeds]}
    return document, (seeds_text(seeds, call.console.style),)


def _show(call: Invocation, context: RunContext, report: SeedReport) -> None:
    if report.error:
        # What was applied before the error is already on the screen.
        raise report.error
    folder = f"{context.settings.migrations_dir.name}/{SEED_FOLDER}"
    call.console.show(seed_text(report, folder, call.console.style))


COMMANDS: Mapping[str, Callable[[Invocation], int]] = {
    "reset": _reset,
    "seed": _seed,
}
