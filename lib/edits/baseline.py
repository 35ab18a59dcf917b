"""Record files as applied without running them, for a database that already has their work.

And take rows off the record whose files are gone, as after many files have been merged into one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..actions.locked_ledger_edit import change_ledger
from ..actions.run_parameters import RunContext
from ..actions.status import plan_from_survey
from ..apply import index_state
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import ConfigurationError, LedgerError, MigrationFileError
from ..files.folder import MigrationFile, discover
from ..ledger.ledger_state import INSUFFICIENT_PRIVILEGE, Survey
from ..ledger.production_guard import check_guard, check_writable, must_claim
from ..ledger.records import delete_records, record_baseline
from ..ledger.runs import RunStart
from ..plan.file_choice import find_file, is_it, version_of
from ..plan.migration_plan import Plan
from ..plan.migration_states import AppliedMigration, has_number
from ..plan.reports import BaselineReport
from ..time_limits import ANSWER

_RECORDED_OR_NOT = (
    "The files are recorded all together or not at all: run it again, and it says which."
)
_FORGOTTEN_OR_NOT = "All of them were forgotten, or none: `status` says which."
_RIGHTS_TO_FORGET = (
    "Nothing was forgotten. Grant the role delete on public.schema_migrations, which no migration "
    "needs. It also needs usage on schema public, select on both of the runner's tables there, and "
    "insert and update on public.schema_migration_runs."
)
_LOOKS_EMPTY = (
    "The database has no table yet, so there is nothing that these files could have made: they are "
    "recorded as applied, and will never be run here. If that isn't meant, `migrate` is the "
    "command for a new database."
)


@dataclass(frozen=True)
class _Recording:
    """What is to be recorded, as decided from one survey."""

    survey: Survey
    plan: Plan
    files: tuple[MigrationFile, ...]
    must_claim: bool
    warnings: tuple[str, ...]

    @property
    def has_work(self) -> bool:
        return bool(self.files) or self.must_claim


@dataclass(frozen=True)
class _Removal:
    """Which rows are to be taken off the ledger, as decided from one survey."""

    survey: Survey
    plan: Plan
    rows: tuple[AppliedMigration, ...]
    warnings: tuple[str, ...] = ()

    @property
    def has_work(self) -> bool:
        return True


def baseline(context: RunContext, wanted: str) -> BaselineReport:
    """Record what is pending up to and including the file `wanted`: all of it, or nothing.

    Nothing is run, or read as SQL. Rows of the ledger stay as they are, and files of other
    environments are left out.
    """
    files = discover(context.settings.migrations_dir)
    last = find_file(files, wanted)

    def decide(connection: Connection, survey: Survey) -> _Recording:
        return _decide(context, connection, survey, files, last)

    def write(connection: Connection, recording: _Recording, start: RunStart) -> None:
        rows = [
            AppliedMigration(file.version, file.name, checksum=file.checksum)
            for file in recording.files
        ]
        record_baseline(connection, context.trusted, start, rows)

    recording = change_ledger(context, decide, write, after_loss=_RECORDED_OR_NOT)
    return BaselineReport(
        environment=context.settings.environment,
        database=recording.survey.database,
        server_version=recording.survey.server_version,
        last=last.version,
        recorded=recording.files,
        pending=tuple(file for file in recording.plan.pending if file.number > last.number),
        warnings=recording.warnings,
    )


def _decide(
    context: RunContext,
    connection: Connection,
    survey: Survey,
    files: tuple[MigrationFile, ...],
    last: MigrationFile,
) -> _Recording:
    """Decide what is to be recorded.

    Raises what forbids it: the guard, an applied file that was changed, or a file's header.
    """
    # As for a run: recording files would hide them from production.
    check_guard(survey, context.settings.environment)
    plan = plan_from_survey(context, files, survey)
    plan.verify_unchanged()
    # By number, not by place: `plan.pending` may hold a late file, numbered below applied ones.
    recorded = tuple(file for file in plan.pending if file.number <= last.number)
    # Once recorded, a file can no longer be corrected, and another database would refuse it.
    if faults := [fault for file in recorded for fault in file.faults]:
        raise MigrationFileError.together(faults)
    with connection.limit_to(ANSWER, "The database stopped answering."):
        looks_empty = bool(recorded) and not index_state.has_tables(connection)
    warnings = (
        *survey.tables.open,
        *plan.environment_warnings,
        *([_LOOKS_EMPTY] if looks_empty else []),
    )
    # Production claims its database even if there is no file to record.
    claims = must_claim(survey, context.settings.environment)
    if recorded or claims:
        check_writable(survey, context.target.source)
        survey.tables.verify_rights()
    return _Recording(survey, plan, recorded, claims, warnings)


def forget(context: RunContext, wanted: Sequence[str]) -> BaselineReport:
    """Take the rows of versions whose files are gone off the ledger: all of `wanted`, or none.

    Raises ConfigurationError for versions without a row, and for those whose file is in the bundle.
    """
    files = discover(context.settings.migrations_dir)

    def decide(_: Connection, survey: Survey) -> _Removal:
        check_guard(survey, context.settings.environment)
        plan = plan_from_survey(context, files, survey)
        # A row whose file was renamed looks like one whose file is gone: forgetting it would run
        # the file again.
        plan.verify_unchanged()
        rows = find_rows(plan, files, wanted)
        check_writable(survey, context.target.source)
        return _Removal(survey, plan, rows)

    def write(connection: Connection, removal: _Removal, start: RunStart) -> None:
        versions = [row.version for row in removal.rows]
        try:
            delete_records(connection, context.trusted, start, versions)
        except StatementError as error:
            # Only `forget` deletes rows, so the usual grants leave DELETE out.
            if error.server_error.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise
            raise LedgerError(
                f"{error.server_error.message} (SQLSTATE {INSUFFICIENT_PRIVILEGE}). "
                f"{_RIGHTS_TO_FORGET}"
            ) from None

    removal = change_ledger(context, decide, write, after_loss=_FORGOTTEN_OR_NOT)
    return BaselineReport(
        environment=context.settings.environment,
        database=removal.survey.database,
        server_version=removal.survey.server_version,
        forgotten=removal.rows,
        pending=removal.plan.pending,
    )


def find_rows(
    plan: Plan, files: Sequence[MigrationFile], wanted: Sequence[str]
) -> tuple[AppliedMigration, ...]:
    """The rows of versions, of numbers alone, or of paths.

    Raises ConfigurationError with a line for each that cannot be forgotten.
    """
    rows: dict[str, AppliedMigration] = {}
    faults = []
    for each in wanted:
        version = version_of(each)
        # Only rows without a file: the next run would apply the others again.
        moving = {row.version: file.path for row, file in plan.renumbered}
        if version in moving:
            faults.append(
                f"{version!r} can't be forgotten: its file is in the bundle, {moving[version]}."
            )
            continue
        found = [
            row
            for row in plan.missing
            if row.version in (each, version) or has_number(row.version, version)
        ]
        if len(found) == 1:
            rows[found[0].version] = found[0]
        else:
            why_not = _why_not(found, files, version) or _not_on_record(plan, version)
            faults.append(f"{version!r} can't be forgotten: {why_not}")
    if faults:
        raise ConfigurationError(*faults, "Nothing was forgotten.")
    return tuple(rows.values())


def _why_not(
    found: Sequence[AppliedMigration], files: Sequence[MigrationFile], version: str
) -> str:
    """Why a version on record can't be forgotten; empty for one that is not on record."""
    if found:
        return f"several rows have this number: {', '.join(row.version for row in found)}."
    for file in files:
        if version == file.version or has_number(file.version, version):
            return f"its file is in the bundle, {file.path}."
    return ""


def _not_on_record(plan: Plan, version: str) -> str:
    # Only those that could be forgotten.
    likely = is_it(version, [row.version for row in plan.missing])
    return f"it is not on record in this database. {likely}".rstrip()
