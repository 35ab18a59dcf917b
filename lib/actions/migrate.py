"""Apply what is pending: plan, and only if there is something to do, load and make a run of it."""

from ..errors import Interrupted, MigratorError
from ..files.folder import MigrationFile, discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.production_guard import must_claim
from ..masking import masked
from ..plan.reports import RunReport
from .connection_for_files import RunConnection
from .run_parameters import RunContext, RunState
from .status import asking_to_adopt, plan_from_survey


def migrate(context: RunContext, files: tuple[MigrationFile, ...] | None = None) -> RunReport:
    """Apply what is pending. An error is part of the report, beside what was applied before it.

    `files` stand in for those of the folder.
    """
    state = RunState()

    def pass_on_notice(severity: str, message: str) -> None:
        context.progress.notice(state.current, severity, masked(message))

    try:
        with (
            ledger_errors_translated(),
            RunConnection(context, on_notice=pass_on_notice) as database,
        ):
            _carry_out(context, database, state, files)
    # A value, not an exception: the report has what was committed before.
    except (MigratorError, Interrupted) as error:
        return _report(context, state, error)
    return _report(context, state, None)


def _carry_out(
    context: RunContext,
    database: RunConnection,
    state: RunState,
    files: tuple[MigrationFile, ...] | None,
) -> None:
    if files is None:
        files = discover(context.settings.migrations_dir)
    database.connect()
    try:
        with asking_to_adopt(files):
            survey = state.survey = database.survey()
        plan = plan_from_survey(context, files, survey)
        state.check(plan, context.settings.environment)
    finally:
        # Which database it is matters most if something is wrong with it.
        is_direct = state.survey.is_direct if state.survey else None
        context.progress.connected(context.target, is_direct=is_direct)
    # Production claims its database even when nothing is pending.
    is_claimed = not must_claim(survey, context.settings.environment)
    if not plan.due and not plan.renumbered and is_claimed and not survey.unfinished_runs:
        # Most runs end here, and load nothing that only a run with work needs.
        state.warn(context.progress, *survey.tables.open, *plan.warnings)
        return
    from .locked_run import run_pending

    run_pending(context, database, state, files, plan)


def _report(
    context: RunContext, state: RunState, error: MigratorError | Interrupted | None
) -> RunReport:
    survey = state.survey
    return RunReport(
        environment=context.settings.environment,
        database=survey.database if survey else None,
        server_version=survey.server_version if survey else None,
        applied=tuple(state.applied),
        pending=state.pending,
        warnings=state.warnings,
        review=state.review,
        error=error,
        up_to=context.up_to.version if context.up_to else None,
        beyond=state.beyond,
        renumbered=state.renumbered,
        began_empty=survey is not None and not survey.ledger,
    )
