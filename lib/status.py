"""The bundle and its database side by side. Writes nothing, locks nothing, and loads nothing that only a run needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from lib.database import Connection, ScriptError
from lib.errors import LedgerError
from lib.job import Job
from lib.migration_files import MigrationFile, discover
from lib.plan import Plan, make_plan
from lib.report import Status
from lib.survey import INSUFFICIENT_PRIVILEGE, Survey, take_survey


def read_status(job: Job) -> Status:
    """Read the folder and the ledger, over a connection of its own."""
    files = discover(job.settings.migrations_dir)
    with server_errors(), job.connect() as connection:
        return read_status_over(connection, job, files)


def read_status_over(connection: Connection, job: Job, files: tuple[MigrationFile, ...]) -> Status:
    """`read_status` over a connection that is already there; MigrationFileError for the header of a pending file."""
    with server_errors():
        found = status_of(job, files, take_survey(connection, job.target, origins=True))
    found.plan.verify_headers()
    return found


def status_of(job: Job, files: tuple[MigrationFile, ...], survey: Survey) -> Status:
    """Lay what was read of the database beside the files."""
    return Status(
        environment=job.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        plan=plan_of(job, files, survey),
        last_run=survey.last_run,
        deployment=job.settings.deployment,
        origins=survey.origins,
        owner="production" if survey.belongs_to_production else None,
        is_direct=survey.is_direct,
    )


def plan_of(job: Job, files: tuple[MigrationFile, ...], survey: Survey) -> Plan:
    """Decide what there is to do, under the job's settings."""
    settings = job.settings
    return make_plan(files, survey.ledger, environment=settings.environment, strict_order=settings.strict_order)


@contextmanager
def server_errors() -> Iterator[None]:
    """What the server refuses outside of any migration, as an error of ours, without the driver's text."""
    try:
        yield
    except ScriptError as error:
        refusal = error.refusal
        hint = (
            " Grant the role usage and create on schema public, and select, insert and update on the runner's tables there."
            if refusal.sqlstate == INSUFFICIENT_PRIVILEGE
            else ""
        )
        raise LedgerError(
            f"The database refused the runner's own statement: {refusal.message} (SQLSTATE {refusal.sqlstate}).{hint}"
        ) from None
