"""Files recorded as applied without running them, for a database that already has what they would make."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from lib import catalog, ledger, runner
from lib.database import Connection
from lib.errors import ConfigurationError, DatabaseUnavailableError, MigrationFileError
from lib.job import Job
from lib.lock import RunLock
from lib.migration_files import MigrationFile, discover
from lib.plan import AppliedMigration, Plan
from lib.report import BaselineReport
from lib.status import plan_of, server_errors
from lib.survey import Survey, take_survey

# What is asked of the database is answered within this, in seconds, or it counts as away.
ANSWER_PATIENCE = 30.0
_NO_ANSWER = (
    "The database stopped answering. If the run lock was held already, a pooler may have one server connection alone, and "
    "two are needed: set MIGRATION_DATABASE_URL to a direct connection. Then run it again."
)
_ALL_OR_NONE = "The files are recorded all together or not at all: run it again, and it says which."
_LOOKS_EMPTY = (
    "The database has no table yet, so there is nothing that these files could have made: they are recorded as applied, "
    "and will never be run here. If that isn't meant, `migrate` is the command for a new database."
)


@dataclass(frozen=True)
class _Decision:
    """What one look at the database has led to."""

    survey: Survey
    plan: Plan
    recorded: tuple[MigrationFile, ...]
    must_claim: bool
    warnings: tuple[str, ...]


def baseline(job: Job, wanted: str) -> BaselineReport:
    """Record what is pending up to and including the file that is wanted: all of it, or nothing.

    Nothing is run, or read as SQL. What is in the ledger stays as it is, and what runs in other environments is left out.
    """
    files = discover(job.settings.migrations_dir)
    last = find_file(files, wanted)
    with server_errors():
        with job.connect() as connection:
            survey = _look(job, connection)
            job.progress.connected(job.target, survey)
            decision = _decide(job, connection, survey, files, last)
        for warning in decision.warnings:
            job.progress.warning(warning)
        if decision.recorded or decision.must_claim:
            decision = _decide_and_record(job, files, last)
    return BaselineReport(
        environment=job.settings.environment,
        database=decision.survey.database,
        server_version=decision.survey.server_version,
        last=last.version,
        recorded=decision.recorded,
        pending=tuple(file for file in decision.plan.pending if file.number > last.number),
        warnings=decision.warnings,
    )


def find_file(files: Sequence[MigrationFile], wanted: str) -> MigrationFile:
    """The file of a version, of its number alone, or of a path; ConfigurationError names what there is."""
    version = PurePath(wanted).name.removesuffix(".sql") if wanted.endswith(".sql") else wanted
    number = version.lstrip("0") or "0" if version.isascii() and version.isdigit() else None
    for file in files:
        if version == file.version or number == str(file.number):
            return file
    raise ConfigurationError(f"There is no migration {version!r}. {_what_there_is(files, version)}")


def _what_there_is(files: Sequence[MigrationFile], version: str) -> str:
    if not files:
        return "The folder has none yet."
    of_this_number = [file.version for file in files if version.partition("-")[0].lstrip("0") == str(file.number)]
    near = of_this_number or difflib.get_close_matches(version, [file.version for file in files])
    first, last = files[0].version, files[-1].version
    there_is = f"There is {first}." if first == last else f"There are {first} to {last}."
    return f"Is it {' or '.join(near)}? {there_is}" if near else there_is


def _look(job: Job, connection: Connection) -> Survey:
    with connection.at_most(ANSWER_PATIENCE, _NO_ANSWER):
        return take_survey(connection, job.target)


def _decide(
    job: Job, connection: Connection, survey: Survey, files: tuple[MigrationFile, ...], last: MigrationFile
) -> _Decision:
    """Say what is to be recorded; raises what forbids it: the guard, an applied file that was changed, or a header."""
    runner.check_guard(job, survey)
    plan = plan_of(job, files, survey)
    plan.verify_unchanged()
    recorded = tuple(file for file in plan.pending if file.number <= last.number)
    # Once recorded, a file can't be mended any more, and another database would refuse it.
    if faults := [fault for file in recorded for fault in file.faults]:
        raise MigrationFileError.together(faults)
    with connection.at_most(ANSWER_PATIENCE, _NO_ANSWER):
        looks_empty = bool(recorded) and not catalog.has_tables(connection)
    warnings = (*plan.environment_warnings, *([_LOOKS_EMPTY] if looks_empty else []))
    return _Decision(survey, plan, recorded, runner.must_claim(job, survey), warnings)


def _decide_and_record(job: Job, files: tuple[MigrationFile, ...], last: MigrationFile) -> _Decision:
    """Decide again, now that nobody else may write the ledger, and carry it out."""
    with RunLock(job.connect, patience=job.run_wait, on_wait=job.progress.waiting) as lock, job.connect() as connection:
        decision = _decide(job, connection, _look(job, connection), files, last)
        lock.check()
        # Another run may have done it all while this one waited.
        if decision.recorded or decision.must_claim:
            _record(job, connection, decision)
        return decision


def _record(job: Job, connection: Connection, decision: _Decision) -> None:
    rows = [AppliedMigration(file.version, file.name, checksum=file.checksum) for file in decision.recorded]
    try:
        with connection.at_most(ANSWER_PATIENCE, "The database stopped answering."):
            ledger.create_tables(connection, decision.survey)
            ledger.record_baseline(connection, runner.run_start(job, decision.survey), rows)
    except DatabaseUnavailableError:
        raise DatabaseUnavailableError(f"The connection to the database was lost. {_ALL_OR_NONE}") from None
