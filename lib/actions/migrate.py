"""Apply what is pending: plan, take the run lock, plan again, apply each file once, report."""

from contextlib import suppress

from ..apply.resume import renamed_midway_error
from ..database.server_error import StatementError
from ..errors import Interrupted, MigratorError
from ..files.folder import MigrationFile, discover
from ..files.script import Script
from ..ledger.guard import check_guard, check_writable, must_claim
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.run_lock import RunLock
from ..ledger.runs import RunRecord, interrupt_stale_runs, start_run
from ..ledger.survey import Survey
from ..limits import ANSWER, STALE_RUN
from ..masking import masked
from ..plan.dry_run import held_warnings
from ..plan.migration_plan import Plan
from ..plan.reports import Outcome, RunReport
from .file_runner import FileRunner
from .ledger_change import prepare_run
from .preview import has_work, held_back, prepare_pending
from .run_connection import NO_ANSWER, RunConnection
from .run_context import RunContext
from .status import plan_from_survey


def migrate(context: RunContext) -> RunReport:
    """Apply what is pending. An error is part of the report, beside what was applied before it."""
    run = _Run(context)
    try:
        with ledger_errors_translated():
            run.carry_out()
    except (MigratorError, Interrupted) as error:
        return run.report(error)
    return run.report(None)


class _Run:
    """One run, and what its report says however it ends."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._database = RunConnection(context, on_notice=self._pass_on_notice)
        self._survey: Survey | None = None
        self._pending: int | None = None
        self._warnings: tuple[str, ...] = ()
        self._files: FileRunner | None = None

    def report(self, error: MigratorError | Interrupted | None) -> RunReport:
        done = self._files.done if self._files else 0
        return RunReport(
            environment=self._context.settings.environment,
            database=self._survey.database if self._survey else None,
            server_version=self._survey.server_version if self._survey else None,
            applied=tuple(self._files.applied) if self._files else (),
            pending=None if self._pending is None else self._pending - done,
            warnings=self._warnings,
            error=error,
        )

    def carry_out(self) -> None:
        files = discover(self._context.settings.migrations_dir)
        with self._database:
            self._database.connect()
            try:
                survey = self._survey = self._database.survey()
                plan = self._plan(files, survey)
            finally:
                # Which database it is matters most if something is wrong with it.
                is_direct = self._survey.is_direct if self._survey else None
                self._context.progress.connected(self._context.target, is_direct=is_direct)
            # A refused file is found before the lock is waited for.
            scripts = prepare_pending(plan.pending)
            if has_work(self._context, survey, scripts):
                check_writable(survey, self._context.target.source)
                with RunLock(
                    self._database.connect_for_lock,
                    timeout=self._context.run_wait,
                    on_wait=self._context.progress.waiting,
                    limits=self._context.limits,
                ) as lock:
                    self._migrate_locked(files, scripts, lock)
            else:
                self._warn(plan, survey, scripts)
                if survey.unfinished_runs:
                    self._interrupt_stale_runs(survey)

    def _plan(self, files: tuple[MigrationFile, ...], survey: Survey) -> Plan:
        """Plan, and raise what forbids a run: the guard, then the ledger's integrity."""
        plan = plan_from_survey(self._context, files, survey)
        self._pending = len(plan.pending)
        check_guard(survey, self._context.settings.environment)
        plan.verify()
        return plan

    def _warn(self, plan: Plan, survey: Survey, held: tuple[Script, ...]) -> None:
        self._warnings = (*survey.tables.open, *plan.warnings, *held_warnings(held))
        for warning in self._warnings:
            self._context.progress.warning(warning)

    def _migrate_locked(
        self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...], lock: RunLock
    ) -> None:
        """Plan again, now that nobody else may write the ledger, and carry the plan out."""
        survey = self._survey = self._database.survey_under_lock()
        plan = self._plan(files, survey)
        prepared = {script.file.version: script for script in scripts}
        # Another run may have changed what is pending, after the first survey.
        missing = [file for file in plan.pending if file.version not in prepared]
        prepared |= {script.file.version: script for script in prepare_pending(missing)}
        scripts = tuple(prepared[file.version] for file in plan.pending)
        held = held_back(self._context, scripts)
        self._warn(plan, survey, held)
        scripts = scripts[: len(scripts) - len(held)]
        self._database.detect_pooler(scripts, lock)
        if not scripts and not must_claim(survey, self._context.settings.environment):
            # Another run has done it all while this one waited.
            return
        check_writable(survey, self._context.target.source)
        self._check_interruptions(files, scripts, survey)
        survey.tables.verify_rights()
        run = self._start(survey, "running" if scripts else "succeeded")
        if scripts:
            self._files = FileRunner(self._context, self._database, lock)
            self._files.apply_all(scripts, survey, run)

    def _start(self, survey: Survey, outcome: Outcome) -> RunRecord:
        """Record the run in the journal; a run with nothing to apply has ended with that."""
        connection = self._database.current
        with connection.limit_to(ANSWER, NO_ANSWER):
            start = prepare_run(self._context, connection, survey)
            return start_run(connection, self._context.trusted, start, outcome=outcome)

    def _check_interruptions(
        self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...], survey: Survey
    ) -> None:
        """Warn of files left midway that this bundle lacks; raise if one has another name now."""
        names = {file.version for file in files}
        for version, interruption in survey.interruptions.items():
            if version in names:
                continue
            if fault := renamed_midway_error(scripts, interruption):
                raise fault
            self._context.progress.warning(
                f"Run {interruption.run} stopped at statement {interruption.checkpoint.statement} "
                f"of {version}, which is not in this bundle."
            )

    def _interrupt_stale_runs(self, survey: Survey) -> None:
        """Mark runs whose runner is gone; if the lock is held, one of them is still at work.

        A run with nothing to apply does not fail for this bookkeeping.
        """
        timeout = min(self._context.run_wait, STALE_RUN)
        connect, limits = self._database.connect_for_lock, self._context.limits
        with (
            suppress(MigratorError, StatementError),
            RunLock(connect, timeout=timeout, limits=limits),
            self._database.current.limit_to(ANSWER, NO_ANSWER),
        ):
            interrupt_stale_runs(self._database.current, survey.tables)

    def _pass_on_notice(self, severity: str, message: str) -> None:
        current = self._files.current if self._files else None
        self._context.progress.notice(current, severity, masked(message))
