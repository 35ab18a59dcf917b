"""Files recorded as applied without running them, for a database that already has what they would make.

And rows taken off the record whose files are gone, as when many files have been made into one.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..apply import catalog
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import ConfigurationError, DatabaseUnavailableError, LedgerError, MigrationFileError
from ..files.folder import MigrationFile, discover
from ..ledger import writes as ledger
from ..ledger.guard import check_guard, check_writable, must_claim
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.run_lock import RunLock
from ..ledger.schema import prepare_tables
from ..ledger.survey import INSUFFICIENT_PRIVILEGE, Survey
from ..limits import ANSWER
from ..plan.migration_plan import AppliedMigration, Plan, number_of
from ..plan.reports import BaselineReport
from . import migrate as runner
from .run_context import RunContext
from .status import plan_from_survey, survey_database

_NO_ANSWER = (
    "The database stopped answering. If the run lock was held already, a pooler may have one server connection alone, and "
    "two are needed: set MIGRATION_DATABASE_URL to a direct connection. Then run it again."
)
_ALL_OR_NONE = "The files are recorded all together or not at all: run it again, and it says which."
_RIGHTS_TO_FORGET = (
    "Nothing was forgotten. Grant the role delete on public.schema_migrations, which no migration needs. "
    "It also needs usage on schema public, select on both of the runner's tables there, and insert and "
    "update on public.schema_migration_runs."
)
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


def baseline(context: RunContext, wanted: str) -> BaselineReport:
    """Record what is pending up to and including the file that is wanted: all of it, or nothing.

    Nothing is run, or read as SQL. What is in the ledger stays as it is, and what runs in other environments is left out.
    """
    files = discover(context.settings.migrations_dir)
    last = find_file(files, wanted)
    with ledger_errors_translated():
        with context.connect() as connection:
            survey = _look(context, connection)
            context.progress.connected(context.target, is_direct=survey.is_direct)
            decision = _decide(context, connection, survey, files, last)
        for warning in decision.warnings:
            context.progress.warning(warning)
        if decision.recorded or decision.must_claim:
            decision = _decide_and_record(context, files, last)
    return BaselineReport(
        environment=context.settings.environment,
        database=decision.survey.database,
        server_version=decision.survey.server_version,
        last=last.version,
        recorded=decision.recorded,
        pending=tuple(file for file in decision.plan.pending if file.number > last.number),
        warnings=decision.warnings,
    )


def forget(context: RunContext, wanted: Sequence[str]) -> BaselineReport:
    """Take the rows of versions whose files are gone off the ledger: all that are wanted, or none.

    ConfigurationError names those that are on record nowhere, or whose file is in the bundle.
    """
    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated():
        with context.connect() as connection:
            survey = _look(context, connection)
            context.progress.connected(context.target, is_direct=survey.is_direct)
            _forgettable(context, survey, files, wanted)
        with (
            RunLock(
                context.connect, timeout=context.run_wait, on_wait=context.progress.waiting
            ) as lock,
            context.connect() as connection,
        ):
            survey = _look(context, connection)
            rows, plan = _forgettable(context, survey, files, wanted)
            lock.check()
            _forget(context, connection, survey, rows)
    return BaselineReport(
        environment=context.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        forgotten=rows,
        pending=plan.pending,
    )


def find_rows(
    plan: Plan, files: Sequence[MigrationFile], wanted: Sequence[str]
) -> tuple[AppliedMigration, ...]:
    """The rows of versions, of numbers alone, or of paths; ConfigurationError has a line for each that can't go."""
    rows: dict[str, AppliedMigration] = {}
    faults = []
    for each in wanted:
        version = _version_of(each)
        found = [
            row
            for row in plan.missing
            if row.version in (each, version) or _has_number(row.version, version)
        ]
        if len(found) == 1:
            rows[found[0].version] = found[0]
        else:
            faults.append(f"{version!r} can't be forgotten: {_why_not(found, files, version)}.")
    if faults:
        raise ConfigurationError(*faults, "Nothing was forgotten.")
    return tuple(rows.values())


def _why_not(
    found: Sequence[AppliedMigration], files: Sequence[MigrationFile], version: str
) -> str:
    if found:
        return f"several rows have this number: {', '.join(row.version for row in found)}"
    for file in files:
        if version == file.version or _has_number(file.version, version):
            return f"its file is in the bundle, {file.path}"
    return "it is not on record in this database"


def _has_number(version: str, digits: str) -> bool:
    return (
        digits.isascii()
        and digits.isdigit()
        and str(number_of(version)) == (digits.lstrip("0") or "0")
    )


def _version_of(wanted: str) -> str:
    return PurePath(wanted).name.removesuffix(".sql") if wanted.endswith(".sql") else wanted


def _forgettable(
    context: RunContext, survey: Survey, files: tuple[MigrationFile, ...], wanted: Sequence[str]
) -> tuple[tuple[AppliedMigration, ...], Plan]:
    """The rows, and the plan; raises what forbids it: the guard, or an applied file that was changed or renamed."""
    check_guard(survey, context.settings.environment)
    plan = plan_from_survey(context, files, survey)
    plan.verify_unchanged()
    rows = find_rows(plan, files, wanted)
    check_writable(survey, context.target.source)
    return rows, plan


def _forget(
    context: RunContext, connection: Connection, survey: Survey, rows: Sequence[AppliedMigration]
) -> None:
    try:
        with connection.limit_to(ANSWER, "The database stopped answering."):
            prepare_tables(
                connection,
                survey.tables,
                reader=context.reader,
                lock_timeout=context.settings.lock_timeout,
            )
            ledger.forget(
                connection,
                context.trusted,
                runner.run_start(context, survey),
                [row.version for row in rows],
            )
    except DatabaseUnavailableError:
        raise DatabaseUnavailableError(
            "The connection to the database was lost. All of them were forgotten, or none: `status` says which."
        ) from None
    except StatementError as error:
        if error.server_error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise LedgerError(
            f"{error.server_error.message} (SQLSTATE {INSUFFICIENT_PRIVILEGE}). {_RIGHTS_TO_FORGET}"
        ) from None


def find_file(files: Sequence[MigrationFile], wanted: str) -> MigrationFile:
    """The file of a version, of its number alone, or of a path; ConfigurationError names what there is."""
    version = _version_of(wanted)
    for file in files:
        if version == file.version or _has_number(file.version, version):
            return file
    raise ConfigurationError(f"There is no migration {version!r}. {_what_there_is(files, version)}")


def _what_there_is(files: Sequence[MigrationFile], version: str) -> str:
    if not files:
        return "The folder has none yet."
    of_this_number = [
        file.version for file in files if version.partition("-")[0].lstrip("0") == str(file.number)
    ]
    near = of_this_number or difflib.get_close_matches(version, [file.version for file in files])
    first, last = files[0].version, files[-1].version
    there_is = f"There is {first}." if first == last else f"There are {first} to {last}."
    return f"Is it {' or '.join(near)}? {there_is}" if near else there_is


def _look(context: RunContext, connection: Connection) -> Survey:
    return survey_database(connection, context, timeout=ANSWER, otherwise=_NO_ANSWER)


def _decide(
    context: RunContext,
    connection: Connection,
    survey: Survey,
    files: tuple[MigrationFile, ...],
    last: MigrationFile,
) -> _Decision:
    """Say what is to be recorded; raises what forbids it: the guard, an applied file that was changed, or a header."""
    check_guard(survey, context.settings.environment)
    plan = plan_from_survey(context, files, survey)
    plan.verify_unchanged()
    recorded = tuple(file for file in plan.pending if file.number <= last.number)
    # Once recorded, a file can't be mended any more, and another database would refuse it.
    if faults := [fault for file in recorded for fault in file.faults]:
        raise MigrationFileError.together(faults)
    with connection.limit_to(ANSWER, _NO_ANSWER):
        looks_empty = bool(recorded) and not catalog.has_tables(connection)
    warnings = (
        *survey.tables.open,
        *plan.environment_warnings,
        *([_LOOKS_EMPTY] if looks_empty else []),
    )
    claims = must_claim(survey, context.settings.environment)
    if recorded or claims:
        check_writable(survey, context.target.source)
    return _Decision(survey, plan, recorded, claims, warnings)


def _decide_and_record(
    context: RunContext, files: tuple[MigrationFile, ...], last: MigrationFile
) -> _Decision:
    """Decide again, now that nobody else may write the ledger, and carry it out."""
    with (
        RunLock(
            context.connect, timeout=context.run_wait, on_wait=context.progress.waiting
        ) as lock,
        context.connect() as connection,
    ):
        decision = _decide(context, connection, _look(context, connection), files, last)
        lock.check()
        # Another run may have done it all while this one waited.
        if decision.recorded or decision.must_claim:
            _record(context, connection, decision)
        return decision


def _record(context: RunContext, connection: Connection, decision: _Decision) -> None:
    decision.survey.tables.verify_rights()
    rows = [
        AppliedMigration(file.version, file.name, checksum=file.checksum)
        for file in decision.recorded
    ]
    try:
        with connection.limit_to(ANSWER, "The database stopped answering."):
            prepare_tables(
                connection,
                decision.survey.tables,
                reader=context.reader,
                lock_timeout=context.settings.lock_timeout,
            )
            ledger.record_baseline(
                connection, context.trusted, runner.run_start(context, decision.survey), rows
            )
    except DatabaseUnavailableError:
        raise DatabaseUnavailableError(
            f"The connection to the database was lost. {_ALL_OR_NONE}"
        ) from None
