"""The bundle and its database side by side, and the runs on record there.

Writes nothing, locks nothing, and loads nothing that only a run needs: the status function imports
this room on every cold start.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import (
    DatabaseUnavailableError,
    ForeignLedgerError,
    IntegrityError,
    LedgerError,
    MigratorError,
)
from ..files.folder import MigrationFile, discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey, read_lockers, take_survey
from ..ledger.production_guard import PRODUCTION, belongs_to_production
from ..plan.blockers import Blocker, describe_blockers
from ..plan.migration_plan import Plan, converted, make_plan
from ..plan.plan_messages import unadopted_fault
from ..plan.reports import History, Status
from ..time_limits import LOCKERS, SURVEY
from .run_parameters import RunContext


def read_status(context: RunContext, *, timeout: float = SURVEY) -> Status:
    """Read the folder and the ledger, over a connection of its own, within `timeout` seconds."""
    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        found = read_status_over(connection, context, files, timeout=timeout)
        error = adoption_error(connection, found.plan)
    return replace(found, advice=(*found.advice, str(error))) if error else found


def read_history(context: RunContext, count: int, *, timeout: float = SURVEY) -> History:
    """Read the newest `count` runs of the journal, within `timeout` seconds."""
    with ledger_errors_translated(), context.connect() as connection:
        survey = survey_database(connection, context, history=count, timeout=timeout)
    return History(
        environment=context.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        runs=survey.history,
        advice=survey.tables.open,
    )


def read_status_over(
    connection: Connection,
    context: RunContext,
    files: tuple[MigrationFile, ...],
    *,
    timeout: float = SURVEY,
) -> Status:
    """Read the status over an open connection.

    Raises MigrationFileError for a fault in the header of a pending file.
    """
    with ledger_errors_translated(), asking_to_adopt(files):
        found = status_from_survey(
            context, files, survey_database(connection, context, origins=True, timeout=timeout)
        )
    # An applied file with a fault is a warning; a pending one could not be applied.
    found.plan.verify_headers()
    return found


def survey_database(
    connection: Connection,
    context: RunContext,
    *,
    origins: bool = False,
    history: int = 0,
    may_lack_tables: bool = False,
    passes_over_others: bool = False,
    timeout: float = SURVEY,
    otherwise: str = "The database stopped answering while the ledger was read.",
) -> Survey:
    """Take a survey within `timeout` seconds.

    Raises LedgerError, with the sessions that lock the tables, if the server answers other
    questions; DatabaseUnavailableError with the text `otherwise` if it does not.
    """
    try:
        with connection.limit_to(timeout, otherwise):
            return take_survey(
                connection,
                context.target,
                context.trusted,
                origins=origins,
                history=history,
                may_lack_tables=may_lack_tables,
                passes_over_others=passes_over_others,
            )
    except DatabaseUnavailableError:
        # A connection that is still open was put in order: the server answers, only not this.
        if connection.is_closed:
            raise
        raise LedgerError(_not_read(connection, timeout)) from None


def _not_read(connection: Connection, timeout: float) -> str:
    lockers: tuple[Blocker, ...] = ()
    # Asking about locks takes no lock on the tables, so it is answered even now.
    with suppress(StatementError, MigratorError), connection.limit_to(LOCKERS, ""):
        lockers = read_lockers(connection)
    # They may have ended just now, or the role may not see them.
    if not lockers:
        return (
            f"The ledger wasn't read within {timeout:g} s, and nobody is seen to lock it. "
            "Run it again."
        )
    return (
        f"The ledger wasn't read within {timeout:g} s: public.schema_migrations or "
        f"public.schema_migration_runs is locked by {describe_blockers(lockers)}. Wait until that "
        "transaction has ended, or end its session: pg_terminate_backend."
    )


@contextmanager
def asking_to_adopt(files: Sequence[MigrationFile]) -> Iterator[None]:
    """In place of an error about a foreign ledger, ask to adopt it if files were made for that."""
    try:
        yield
    except ForeignLedgerError as error:
        made = [
            file for file in files if file.header.origin and file.header.origin.tool in error.tools
        ]
        if not made:
            raise
        raise IntegrityError(unadopted_fault(made), version=made[0].version) from None


def adoption_error(connection: Connection, plan: Plan) -> IntegrityError | None:
    """The error for due files that another tool may have run here; without such files, no query.

    Once one of the tool's is on record, the others run, except those that the tool has run since.
    """
    made = converted(plan)
    if not made:
        return None
    # Not at the top: nearly no run has such a file.
    from ..catalog.other_ledgers import find_applied, find_other_ledgers

    ledgers = find_other_ledgers(connection)
    unadopted = {ledger.tool for ledger in ledgers} - plan.adopted
    ran = {
        (ledger.tool, name)
        for ledger in ledgers
        if ledger.tool in plan.adopted
        if (names := [by.name for _, by in made if by.tool == ledger.tool])
        for name in find_applied(connection, ledger, names)
    }
    files = [file for file, by in made if by.tool in unadopted or by in ran]
    return IntegrityError(unadopted_fault(files), version=files[0].version) if files else None


def status_from_survey(
    context: RunContext, files: tuple[MigrationFile, ...], survey: Survey
) -> Status:
    """Compare the files with what the survey says."""
    return Status(
        environment=context.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        plan=plan_from_survey(context, files, survey),
        last_run=survey.last_run,
        deployment=context.settings.deployment,
        origins=survey.origins,
        owner=PRODUCTION if belongs_to_production(survey) else None,
        is_direct=survey.is_direct,
        advice=survey.tables.open,
        drift=survey.drift,
    )


def plan_from_survey(context: RunContext, files: tuple[MigrationFile, ...], survey: Survey) -> Plan:
    """Decide what is to be done, under the settings of the context."""
    settings = context.settings
    return make_plan(
        files,
        survey.ledger,
        environment=settings.environment,
        strict_order=settings.strict_order,
        up_to=context.up_to,
        is_embedded=context.target.is_embedded,
    )
