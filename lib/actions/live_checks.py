"""What somebody asks of the live database, apart from a run.

Whether its schema has changed since the last run, or is taken as it is; how large and how busy its
tables are.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .. import COMMAND
from ..database.connection import Connection
from ..drift.live_check import LiveCheck, check_now, record_schema
from ..drift.verdict import DriftReport, Verdict
from ..errors import ConfigurationError, LedgerError, MigratorError
from ..files.folder import discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import check_guard, check_writable
from ..ledger.runs import RunStart, newest_run, record_verdict
from ..ledger.table_trust import tables_now
from ..plan.reports import Status
from ..review.live_sizes import SizesReport
from ..review.sizes_query import read_sizes
from ..time_limits import SURVEY
from .locked_ledger_edit import change_ledger
from .run_parameters import RunContext
from .status import adoption_error, asking_to_adopt, status_from_survey, survey_database

_ACCEPTED_OR_NOT = "The schema is recorded, or it is not: run it again."


@dataclass(frozen=True)
class _Acceptance:
    """What is about to be taken as it is."""

    survey: Survey
    check: LiveCheck

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.survey.tables.open

    @property
    def has_work(self) -> bool:
        return True


def read_drift(context: RunContext) -> DriftReport:
    """Compare the schema with that after the last run, and record the verdict if possible."""
    with ledger_errors_translated(), context.connect() as connection:
        survey = survey_database(connection, context)
        context.progress.connected(context.target, is_direct=survey.is_direct)
        verdict = check_now(connection, survey.tables, context.settings.drift_ignore).verdict
        if verdict.changes is not None and _may_write(context, survey):
            record_verdict(connection, survey.tables, is_drift=bool(verdict.changes))
    return _report(context, survey, verdict)


def read_status_and_drift(
    context: RunContext, *, timeout: float = SURVEY
) -> tuple[Status, Verdict | None]:
    """Read the status, and compare the schema; None where nobody wants to know. Writes nothing."""
    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        with asking_to_adopt(files):
            survey = survey_database(connection, context, origins=True, timeout=timeout)
        status = status_from_survey(context, files, survey)
        status.plan.verify_headers()
        if error := adoption_error(connection, status.plan):
            status = replace(status, advice=(*status.advice, str(error)))
        if context.settings.drift == "off":
            return status, None
        found = check_now(connection, survey.tables, context.settings.drift_ignore)
    advice = (*status.advice, *found.record.advice)
    return replace(status, advice=advice), found.verdict


def accept_schema(context: RunContext) -> DriftReport:
    """Record the schema as it is now, as if the last run had left it so.

    The report has the changes that were accepted. Raises what forbids a run, and LedgerError if
    the schema could not be recorded.
    """

    def decide(connection: Connection, survey: Survey) -> _Acceptance:
        check_guard(survey, context.settings.environment)
        if survey.ledger is None:
            raise ConfigurationError(
                "No migration was ever applied to this database, so no run expects anything of "
                f"its schema: run `{COMMAND} migrate` first."
            )
        check_writable(survey, context.target.source)
        survey.tables.verify_rights()
        ignored = context.settings.drift_ignore
        return _Acceptance(survey, check_now(connection, survey.tables, ignored))

    def write(connection: Connection, acceptance: _Acceptance, _: RunStart) -> None:
        # Those that have just been created, or got columns, too.
        tables = tables_now(connection, context.trusted)
        exists = acceptance.check.record.exists
        run = newest_run(connection, tables)
        if why_not := record_schema(connection, tables, run, exists=exists):
            raise LedgerError(f"The schema could not be recorded: {why_not}")
        record_verdict(connection, tables, is_drift=False)

    accepted = change_ledger(context, decide, write, after_loss=_ACCEPTED_OR_NOT)
    return _report(context, accepted.survey, accepted.check.verdict, is_accepted=True)


def read_live_sizes(context: RunContext) -> SizesReport:
    """Measure the tables, over a connection of its own. Writes nothing."""
    with ledger_errors_translated(), context.connect() as connection:
        database, sizes = read_sizes(connection)
    return SizesReport(context.settings.environment, database, datetime.now(UTC), sizes)


def _may_write(context: RunContext, survey: Survey) -> bool:
    try:
        check_guard(survey, context.settings.environment)
        check_writable(survey, context.target.source)
    except MigratorError:
        return False
    return True


def _report(
    context: RunContext, survey: Survey, verdict: Verdict, *, is_accepted: bool = False
) -> DriftReport:
    return DriftReport(
        context.settings.environment,
        survey.database,
        survey.server_version,
        verdict,
        is_accepted=is_accepted,
    )
