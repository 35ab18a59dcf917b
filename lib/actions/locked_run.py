"""A run that has something to do: lock, plan again, give new numbers, have the files applied."""

from contextlib import suppress
from dataclasses import replace
from functools import partial

from ..apply.resume import renamed_half_way_error
from ..database.connection import Connection
from ..database.login import no_search_path
from ..database.server_error import StatementError
from ..drift.run_watch import RunWatch
from ..errors import (
    ConfigurationError,
    LedgerError,
    MigrationFileError,
    MigratorError,
)
from ..files.folder import MigrationFile
from ..files.prepare_script import prepare_all
from ..files.runnable_script import Mode, Script
from ..ledger.ledger_state import INSUFFICIENT_PRIVILEGE, Survey
from ..ledger.production_guard import check_writable, must_claim
from ..ledger.records import renumber_records
from ..ledger.run_lock import RunLock
from ..ledger.runs import RunRecord, interrupt_stale_runs, start_run
from ..ledger.schema import (
    RENUMBERED,
    add_rare_column,
    creation,
    prepare_tables,
    upgrade_journal,
)
from ..plan.dry_run_report import held_warnings
from ..plan.migration_plan import Plan
from ..plan.reports import Outcome, Renumbered
from ..time_limits import ANSWER, STALE_RUN
from .connection_for_files import NO_ANSWER, RunConnection
from .dry_run import has_work, held_back, scripts_to_run
from .file_runner import FileRunner, apply_watched
from .locked_ledger_edit import start_of_run
from .review_check import review_run
from .run_parameters import RunContext, RunState
from .status import adoption_error, plan_from_survey

_RIGHT_TO_RENUMBER = (
    "A file has another number, and its row in the ledger is to follow. Grant it, as the table's "
    "owner: grant update on public.schema_migrations to ROLE. Nothing was applied."
)
_UNRECORDED = (
    "Rows of the ledger got new versions, and public.schema_migration_runs, which an earlier "
    "version created, has no column that says which. As the table's owner, for the next time: "
    "{alter};"
)


def run_pending(
    context: RunContext,
    database: RunConnection,
    state: RunState,
    files: tuple[MigrationFile, ...],
    plan: Plan,
) -> None:
    """Apply the due files of `plan`, claim the database, or tidy up after a run that is gone.

    `state` holds the survey that the plan was made of, and is kept up to date.
    """
    assert state.survey is not None  # the plan was made of it
    if unadopted := adoption_error(database.current, plan):
        raise unadopted
    # A refused file is found before the lock is waited for, also one behind the limit.
    scripts = prepare_all(plan.pending)
    # Without work the lock isn't taken: a build with nothing to apply never waits for another.
    if has_work(context, state.survey, plan, scripts):
        check_writable(state.survey, context.target.source)
        with RunLock(
            database.connect_for_lock,
            timeout=context.run_wait,
            on_wait=context.progress.waiting,
            limits=context.limits,
        ) as lock:
            _LockedRun(context, database, state, lock).carry_out(files, scripts)
    else:
        held = held_back(context, plan, scripts)
        state.warn(
            context.progress, *state.survey.tables.open, *plan.warnings, *held_warnings(held)
        )
        if state.survey.unfinished_runs:
            _interrupt_stale_runs(context, database, state.survey)


class _LockedRun:
    """A run while it holds the run lock."""

    def __init__(
        self, context: RunContext, database: RunConnection, state: RunState, lock: RunLock
    ) -> None:
        self._context = context
        self._database = database
        self._state = state
        self._lock = lock

    def carry_out(self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...]) -> None:
        """Plan again, now that nobody else may write the ledger, and carry the plan out."""
        context, environment = self._context, self._context.settings.environment
        # The first survey is out of date by now: another run may have had the lock in between.
        survey = self._state.survey = self._database.survey_under_lock()
        plan = plan_from_survey(context, files, survey)
        self._state.check(plan, environment)
        unrecorded: tuple[str, ...] = ()
        if plan.renumbered:
            plan, unrecorded = self._renumber(files, plan, survey)
            survey = self._state.survey
        scripts = _scripts_of(plan, scripts)
        held = held_back(context, plan, scripts)
        self._state.warn(
            context.progress,
            *survey.tables.open,
            *unrecorded,
            *plan.warnings,
            *held_warnings(held),
        )
        scripts = scripts_to_run(context, plan, scripts)
        check_pooler(context, self._database, self._lock, scripts)
        if not scripts and not must_claim(survey, environment):
            # Another run has done it all while this one waited.
            return
        # Only now: a standby is fine for a run that has nothing to write.
        check_writable(survey, context.target.source)
        self._check_interruptions(files, scripts, survey)
        survey.tables.verify_rights()
        if not scripts:
            begin_run(context, self._database, survey, outcome="succeeded")
            return
        review_run(context, self._database.current, self._state, scripts)
        runner = FileRunner(context, self._database, self._state, self._lock, scripts)
        watch = look_before(context, self._database, self._state)
        run = begin_run(context, self._database, survey, watch=watch)
        apply_watched(runner, run, watch)

    def _renumber(
        self, files: tuple[MigrationFile, ...], plan: Plan, survey: Survey
    ) -> tuple[Plan, tuple[str, ...]]:
        """Give the rows of renumbered files their new versions.

        Return the plan after that, and warnings.
        """
        context, database = self._context, self._database
        check_writable(survey, context.target.source)
        unrecorded = give_new_numbers(context, database.current, survey, plan)
        self._state.renumbered = tuple(
            Renumbered(row.version, file.version) for row, file in plan.renumbered
        )
        for each in self._state.renumbered:
            context.progress.renumbered(each)
        self._state.survey = database.survey()
        plan = plan_from_survey(context, files, self._state.survey)
        self._state.check(plan, context.settings.environment)
        return plan, unrecorded

    def _check_interruptions(
        self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...], survey: Survey
    ) -> None:
        """Warn of files left half-way that this bundle lacks; raise if one has another name now."""
        names = {file.version for file in files}
        for version, interruption in survey.interruptions.items():
            if version in names:
                continue
            # Under its new name, the file would run its first statements a second time.
            if fault := renamed_half_way_error(scripts, interruption):
                raise fault
            self._context.progress.warning(
                f"Run {interruption.run} stopped at statement {interruption.checkpoint.statement} "
                f"of {version}, which is not in this bundle."
            )


def give_new_numbers(
    context: RunContext, connection: Connection, survey: Survey, plan: Plan
) -> tuple[str, ...]:
    """Write the new versions of renumbered files into the ledger; the run lock must be held.

    Return a warning if the journal has no column for them, and the role may not add it.
    """
    lock_timeout = context.settings.lock_timeout
    rows = [
        (row.version, replace(row, version=file.version, name=file.name, checksum=file.checksum))
        for row, file in plan.renumbered
    ]
    with connection.limit_to(ANSWER, NO_ANSWER):
        prepare_tables(
            connection,
            survey.tables,
            reader=context.reader,
            lock_timeout=lock_timeout,
            rare=(RENUMBERED,),
        )
        alter = add_rare_column(connection, survey.tables, RENUMBERED, lock_timeout=lock_timeout)
        try:
            renumber_records(
                connection,
                context.trusted,
                start_of_run(context, survey),
                rows,
                is_noted=alter is None,
            )
        except StatementError as error:
            # No other part of a run updates rows, so the usual grants leave UPDATE out.
            if error.server_error.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise
            raise LedgerError(
                f"{error.server_error.message} (SQLSTATE {INSUFFICIENT_PRIVILEGE}). "
                f"{_RIGHT_TO_RENUMBER}"
            ) from None
    return (_UNRECORDED.format(alter=alter),) if alter else ()


def check_pooler(
    context: RunContext, database: RunConnection, lock: RunLock, scripts: tuple[Script, ...]
) -> None:
    """Raise if a transaction pooler is in between and the files cannot bear one.

    Whatever a file sets for its session would reach another client there.
    """
    target = context.target
    database.detect_pooler(
        matters=bool(target.search_path)
        or any(script.mode is not Mode.TRANSACTION for script in scripts),
        lock_backend=lock.backend,
    )
    if database.is_pooled:
        check_sessions(scripts)
        if target.search_path:
            raise ConfigurationError(no_search_path(target))


def look_before(context: RunContext, database: RunConnection, state: RunState) -> RunWatch | None:
    """Compare the schema with that after the last run; DriftError if it stops this one.

    None if the settings say that nobody wants to know.
    """
    if context.settings.drift == "off":
        return None
    assert state.survey is not None  # the run has begun
    watch = RunWatch(
        context.settings.drift_ignore,
        stops=context.settings.drift == "stop",
        warn=partial(state.warn_also, context.progress),
    )
    with database.current.limit_to(ANSWER, NO_ANSWER):
        watch.look_before(database.current, state.survey.tables)
    return watch


def begin_run(
    context: RunContext,
    database: RunConnection,
    survey: Survey,
    *,
    outcome: Outcome = "running",
    watch: RunWatch | None = None,
) -> RunRecord:
    """Record the run in the journal; a run with nothing to apply has ended with that."""
    connection = database.current
    with connection.limit_to(ANSWER, NO_ANSWER):
        # Under the lock, so that two runs never alter the tables at once.
        upgrade_journal(connection, survey.tables, lock_timeout=context.settings.lock_timeout)
        return start_run(
            connection,
            context.trusted,
            replace(
                start_of_run(context, survey),
                drift=watch.has_drift if watch else None,
                is_drift_checked=watch is not None,
            ),
            outcome=outcome,
            creation=creation(survey.tables, context.reader),
        )


def _scripts_of(plan: Plan, scripts: tuple[Script, ...]) -> tuple[Script, ...]:
    """The scripts of the plan; another run may have changed what is pending meanwhile."""
    prepared = {script.file.version: script for script in scripts}
    missing = [file for file in plan.pending if file.version not in prepared]
    prepared |= {script.file.version: script for script in prepare_all(missing)}
    return tuple(prepared[file.version] for file in plan.pending)


def _interrupt_stale_runs(context: RunContext, database: RunConnection, survey: Survey) -> None:
    """Mark runs whose runner is gone; if the lock is held, one of them is still at work.

    A run with nothing to apply does not fail for this bookkeeping.
    """
    timeout = min(context.run_wait, STALE_RUN)
    with (
        suppress(MigratorError, StatementError),
        RunLock(database.connect_for_lock, timeout=timeout, limits=context.limits),
        database.current.limit_to(ANSWER, NO_ANSWER),
    ):
        interrupt_stale_runs(database.current, survey.tables)


def check_sessions(scripts: tuple[Script, ...]) -> None:
    """Raise MigrationFileError for a file that cannot run through a transaction pooler."""
    for script in scripts:
        if script.needs_a_session:
            what = (
                "its timeouts need"
                if len(script.statements) == 1
                else "its statements outside a transaction need"
            )
            raise MigrationFileError(
                f"{what} a session of their own, and this connection goes through a transaction "
                "pooler; set MIGRATION_DATABASE_URL to a direct connection",
                file=script.file.path,
                version=script.file.version,
            )
