"""What a run would do now, and what would stop it. Applies nothing."""

from dataclasses import replace

from ..database.connection import Connection
from ..errors import MigratorError
from ..files.folder import discover
from ..files.runnable_script import Script, without_statements_at_the_end
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import check_guard, must_claim, read_only_error
from ..plan.dry_run_report import DryRun
from ..plan.migration_plan import Plan
from ..plan.reports import FileReview, Status
from ..time_limits import SURVEY
from .run_parameters import RunContext
from .status import adoption_error, asking_to_adopt, status_from_survey, survey_database


def preview(context: RunContext, *, timeout: float = SURVEY) -> DryRun:
    """Return what `migrate` would do now. Writes nothing, locks nothing.

    The ledger is read within `timeout` seconds.
    """
    # Not at the top: the endpoint that migrates loads this room, and mostly has nothing to prepare.
    from ..files.prepare_script import prepare_all

    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        with asking_to_adopt(files):
            survey = survey_database(connection, context, timeout=timeout)
        status = status_from_survey(context, files, survey)
        unadopted = adoption_error(connection, status.plan)
        drifted = _drift_error(context, connection, survey, status.plan)
        scripts = prepare_all(status.plan.pending)
        review = _review(context, connection, scripts_to_run(context, status.plan, scripts))
    due = {file.version for file in status.plan.due}
    half_done = tuple(left for version, left in survey.interruptions.items() if version in due)
    # An obstacle is a part of the preview: the files are shown all the same.
    obstacle = _obstacle(context, survey, status.plan) or unadopted or drifted or review.error
    if has_work(context, survey, status.plan, scripts):
        obstacle = obstacle or read_only_error(survey, context.target.source)
    return DryRun(
        status,
        _due(status.plan, scripts),
        context.settings.lock_timeout,
        obstacle,
        half_done,
        held_back(context, status.plan, scripts),
        review,
    )


def validate(context: RunContext, *, timeout: float = SURVEY) -> Status:
    """Check that every applied file is present and unchanged, and every other file well-formed.

    Raises the first kind of fault. A fault in an applied file is a warning: the file cannot be
    changed any more, and another tool or `baseline` may have recorded it. The ledger is read
    within `timeout` seconds.
    """
    from ..files.prepare_script import faults_of, prepare_all

    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        with asking_to_adopt(files):
            survey = survey_database(connection, context, origins=True, timeout=timeout)
        status = status_from_survey(context, files, survey)
        unadopted = adoption_error(connection, status.plan)
    # A modified file is applied, too: `verify_complete` refuses it for what it is.
    applied = {
        entry.version for entry in status.plan.entries if entry.state in ("applied", "modified")
    }
    prepare_all(file for file in files if file.version not in applied)
    status.plan.verify_complete()
    if unadopted:
        raise unadopted
    faults = faults_of(file for file in files if file.version in applied)
    return replace(status, plan=replace(status.plan, applied_faults=faults))


def held_back(context: RunContext, plan: Plan, scripts: tuple[Script, ...]) -> tuple[Script, ...]:
    """The due scripts that stay pending for now, of those of all pending files."""
    return _due(plan, _unwritten(context, scripts))


def scripts_to_run(
    context: RunContext, plan: Plan, scripts: tuple[Script, ...]
) -> tuple[Script, ...]:
    """The scripts that a run applies, of those of all pending files."""
    return _due(plan, scripts[: len(scripts) - len(_unwritten(context, scripts))])


def _unwritten(context: RunContext, scripts: tuple[Script, ...]) -> tuple[Script, ...]:
    """The last scripts, if they have no statement yet and somebody may still be writing them."""
    return without_statements_at_the_end(scripts) if context.is_from_laptop else ()


def _due(plan: Plan, scripts: tuple[Script, ...]) -> tuple[Script, ...]:
    return tuple(script for script in scripts if plan.is_due(script.file))


def has_work(context: RunContext, survey: Survey, plan: Plan, scripts: tuple[Script, ...]) -> bool:
    """True if a run has to write: a script to apply, a new number, or production's claim."""
    return bool(scripts_to_run(context, plan, scripts) or plan.renumbered) or must_claim(
        survey, context.settings.environment
    )


def _drift_error(
    context: RunContext, connection: Connection, survey: Survey, plan: Plan
) -> MigratorError | None:
    """The error of a run that drift would stop; nothing is asked where nothing is due."""
    if context.settings.drift != "stop" or not plan.due:
        return None
    # Not at the top, for the reason above.
    from ..drift.live_check import check_now
    from ..drift.verdict import DriftError

    verdict = check_now(connection, survey.tables, context.settings.drift_ignore).verdict
    return DriftError(verdict) if verdict.has_drift else None


def _review(context: RunContext, connection: Connection, scripts: tuple[Script, ...]) -> FileReview:
    """What a review says of the files that a run would apply; most requests have none."""
    if not scripts or context.settings.review == "off":
        return FileReview()
    # Not at the top, for the reason above.
    from .review_check import review_pending

    return review_pending(context, connection, scripts)


def _obstacle(context: RunContext, survey: Survey, plan: Plan) -> MigratorError | None:
    """The error that would stop a run before it begins: the guard's, then the ledger's."""
    try:
        check_guard(survey, context.settings.environment)
        plan.verify()
    except MigratorError as error:
        return error
    return None
