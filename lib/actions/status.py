"""The bundle and its database side by side. Writes nothing, locks nothing, and loads nothing that only a run needs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..database import read_only
from ..database.connection import Connection, ServerError, StatementError
from ..errors import DatabaseUnavailableError, LedgerError, MigratorError
from ..files.folder import MigrationFile, discover
from ..ledger.survey import INSUFFICIENT_PRIVILEGE, Survey, read_lockers, take_survey
from ..ledger.trust import GRANTS, UNRECORDED, distrust, told_by
from ..plan.migration_plan import Plan, make_plan
from ..plan.reports import Blocker, Status, named
from .run_context import RunContext

# One look ends within this, in seconds: with the 30 that connecting may take, a command that only reads ends within 45.
LOOK_PATIENCE = 10.0
# Asking who locks the tables takes no longer, in seconds.
LOCKERS_PATIENCE = 2.0
# The longest part of what more the server says that is passed on, in characters.
LONGEST_DETAIL = 2000
UNIQUE_VIOLATION = "23505"
# By SQLSTATE, what to do about an error from the server.
_ADVICE = {
    INSUFFICIENT_PRIVILEGE: f" {GRANTS}",
    UNIQUE_VIOLATION: " If its rows were copied from another database, its sequences are behind them: "
    "select setval(pg_get_serial_sequence('public.schema_migrations', 'id'), max(id)) from public.schema_migrations; "
    "select setval(pg_get_serial_sequence('public.schema_migration_runs', 'id'), max(id)) from "
    "public.schema_migration_runs;",
    read_only.SQLSTATE: f" {read_only.MEANWHILE}",
    **dict.fromkeys(
        ("42P07", "42710"),
        " Something else in schema public has a name that the runner's tables need, or their index: drop or rename it; "
        "psql's \\d+ public.* says whose it is.",
    ),
}


def read_status(context: RunContext, *, patience: float = LOOK_PATIENCE) -> Status:
    """Read the folder and the ledger, over a connection of its own; `patience` as of `survey_database`."""
    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        return read_status_over(connection, context, files, patience=patience)


def read_status_over(
    connection: Connection,
    context: RunContext,
    files: tuple[MigrationFile, ...],
    *,
    patience: float = LOOK_PATIENCE,
) -> Status:
    """`read_status` over a connection that is already there; MigrationFileError for the header of a pending file."""
    with ledger_errors_translated():
        found = status_from_survey(
            context, files, survey_database(connection, context, origins=True, patience=patience)
        )
    found.plan.verify_headers()
    return found


def survey_database(
    connection: Connection,
    context: RunContext,
    *,
    origins: bool = False,
    patience: float = LOOK_PATIENCE,
    otherwise: str = "The database stopped answering while the ledger was read.",
) -> Survey:
    """Take a survey within so many seconds; LedgerError says who locks the tables, if somebody does.

    DatabaseUnavailableError says `otherwise` where no answer of any kind came.
    """
    try:
        with connection.limit_to(patience, otherwise):
            return take_survey(connection, context.target, context.trusted, origins=origins)
    except DatabaseUnavailableError:
        if connection.is_closed:
            raise
        raise LedgerError(_not_read(connection, patience)) from None


def _not_read(connection: Connection, patience: float) -> str:
    lockers: tuple[Blocker, ...] = ()
    with suppress(StatementError, MigratorError), connection.limit_to(LOCKERS_PATIENCE, ""):
        lockers = read_lockers(connection)
    if not lockers:
        return f"The ledger wasn't read within {patience:g} s, and nobody is seen to lock it. Run it again."
    return (
        f"The ledger wasn't read within {patience:g} s: public.schema_migrations or public.schema_migration_runs is locked "
        f"by {named(lockers)}. Wait until that transaction has ended, or end its session: pg_terminate_backend."
    )


def status_from_survey(
    context: RunContext, files: tuple[MigrationFile, ...], survey: Survey
) -> Status:
    """Lay what was read of the database beside the files."""
    return Status(
        environment=context.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        plan=plan_from_survey(context, files, survey),
        last_run=survey.last_run,
        deployment=context.settings.deployment,
        origins=survey.origins,
        owner="production" if survey.belongs_to_production else None,
        is_direct=survey.is_direct,
        advice=survey.tables.open,
    )


def plan_from_survey(context: RunContext, files: tuple[MigrationFile, ...], survey: Survey) -> Plan:
    """Decide what there is to do, under the context's settings."""
    settings = context.settings
    return make_plan(
        files, survey.ledger, environment=settings.environment, strict_order=settings.strict_order
    )


@contextmanager
def ledger_errors_translated() -> Iterator[None]:
    """What the server refuses outside of any migration, as an error of ours, without the driver's text."""
    try:
        yield
    except StatementError as error:
        if (fault := distrust(error)) is not None:
            raise fault from None
        server_error = error.server_error
        hint = _ADVICE.get(server_error.sqlstate, "")
        if told_by(error).get("fault") == "unrecorded":
            raise LedgerError(UNRECORDED) from None
        if told_by(error).get("fault") == "emptied":
            raise LedgerError(
                "A trigger or a rule on the runner's tables would take rows out of public.schema_migrations: nothing was "
                "written. Drop it."
            ) from None
        raise LedgerError(
            f"The database refused the runner's own statement: {server_error.message} (SQLSTATE {server_error.sqlstate})."
            f"{hint}{_more(server_error)}"
        ) from None


def _more(server_error: ServerError) -> str:
    """What more the server says, as the advice of an event trigger; further lines of it are indented."""
    lines = (f"{name}: {text[:LONGEST_DETAIL]}" for name, text in server_error.more)
    return "".join("\n  " + line.replace("\n", "\n    ") for line in lines)
