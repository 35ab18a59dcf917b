"""The files of a run, applied one after the other, and the end of the run recorded."""

from dataclasses import replace
from itertools import pairwise

from ..apply.blocker_watch import Observer
from ..apply.file_by_file import Execution
from ..apply.session import Session
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..drift.run_watch import RunWatch
from ..errors import Interrupted, MigratorError, OutOfTimeError
from ..files.file_progress import Checkpoint
from ..files.runnable_script import Mode, Script
from ..ledger.ledger_state import Survey
from ..ledger.run_lock import RunLock
from ..ledger.runs import RunRecord, finish_run
from ..plan.migration_plan import LEDGER_FILE
from ..plan.reports import AppliedNow, Outcome
from ..time_limits import RECORD
from .connection_for_files import RunConnection
from .run_parameters import RunContext, RunState


class FileRunner:
    """Applies files, each once, and records how the run ended."""

    # Where the files are recorded.
    session_type: type[Session] = Session

    def __init__(
        self,
        context: RunContext,
        database: RunConnection,
        state: RunState,
        lock: RunLock,
        scripts: tuple[Script, ...],
    ) -> None:
        self._context = context
        self.database = database
        self.state = state
        self._lock = lock
        self.scripts = scripts
        assert state.survey is not None  # the scripts are pending by it
        self._survey = state.survey
        self._successors = _successors(scripts, self._survey)

    def apply_all(self, run: RunRecord) -> None:
        """Apply the scripts in order, and record how the run ended."""
        self._execution = Execution(self._session(run), self._successors)
        # Whatever ends the run is recorded: otherwise the next run would have to guess.
        try:
            self._apply_each()
            self._record_end("succeeded")
        except (Interrupted, MigratorError, StatementError) as error:
            self._report_unanswered()
            # An error names its file by itself; a signal knows of none.
            if isinstance(error, Interrupted) and self.state.current:
                error.args = (f"{error} It was at {self.state.current.path}.",)
            outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
            self._record_end(outcome, error, self._execution.checkpoint)
            raise
        finally:
            # After a fault of our own, too, what was sent ahead must not go on without us.
            self._execution.session.connection.settle()
            self._execution.session.observer.close()

    def _apply_each(self) -> None:
        for script in self.scripts:
            self._check()
            self._apply(script)
            # After `alter database … set` or the like, the next file needs a new session to see it.
            if script.changes_defaults and script is not self.scripts[-1]:
                self._begin_new_session()

    def _apply(self, script: Script) -> None:
        self.state.current = script.file
        self._context.progress.started(script.file)
        interruption = self._survey.interruptions.get(script.file.version)
        elapsed = self._execution.apply(script, interruption)
        # None if another run had applied it.
        if elapsed is not None:
            self._report(script, elapsed)
        self.state.settle_current()
        # Only now: a signal may come before the report.
        self._execution.answered(script)

    def _report(self, script: Script, elapsed: int) -> None:
        applied = AppliedNow(script.file.version, script.file.name, elapsed)
        self.state.applied.append(applied)
        self._context.progress.applied(applied)

    def _report_unanswered(self) -> None:
        """Report what has taken effect although nobody has read its answer."""
        reported = {applied.version for applied in self.state.applied}
        for script, elapsed in self._execution.unanswered():
            # A signal may have come right after the report.
            if script.file.version in reported and self.state.current is not script.file:
                continue
            self.state.current = script.file
            if elapsed is not None:
                if script.file.version not in reported:
                    self._report(script, elapsed)
                self.state.settle_current()

    def _check(self) -> None:
        """Raise if the run may not continue: the lock is lost, or its time is up."""
        self._lock.check()
        if self._context.deadline.has_passed():
            raise OutOfTimeError("The time allowed ran out before the next migration began.")

    def _begin_new_session(self) -> None:
        if self.database.is_pooled:
            # A pooler's sessions are not the runner's to end.
            return
        session = self._execution.session
        # The observer knows the old session by its server process.
        session.observer.close()
        session.connection.close()
        self.database.connect()
        self._survey = replace(self._survey, backend=self.database.backend())
        self._execution = Execution(self._session(session.run), self._successors)

    def _session(self, run: RunRecord) -> Session:
        context, is_pooled, survey = self._context, self.database.is_pooled, self._survey
        return self.session_type(
            connection=self.database.current,
            observer=_observer(context, self._lock, None if is_pooled else survey.backend),
            pooled=is_pooled,
            notices_departure=survey.notices_departure,
            run=run,
            lock_timeout=context.settings.lock_timeout,
            lock_retries=context.settings.lock_retries,
            run_wait=context.run_wait,
            progress=context.progress,
            check=self._check,
            limits=context.limits,
            is_new=all(row.version == LEDGER_FILE for row in survey.ledger or ()),
            is_embedded=context.target.is_embedded,
        )

    def _record_end(
        self,
        outcome: Outcome,
        error: BaseException | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Write the run's end, over a new connection if this one is lost.

        If that fails, too, the next run marks this one as interrupted.
        """

        def write(connection: Connection) -> None:
            # A signal may have arrived in the middle of a message.
            connection.settle()
            with connection.extend_deadline(RECORD):
                finish_run(
                    connection,
                    self._execution.session.run,
                    outcome,
                    version=self.state.current.version if self.state.current else None,
                    error=_record_of(error),
                    sqlstate=getattr(error, "sqlstate", None),
                    checkpoint=checkpoint,
                )

        if not self.database.write_somewhere(write, timeout=RECORD):
            self._context.progress.warning(
                "The end of the run could not be recorded; the next run marks it interrupted."
            )


def _observer(context: RunContext, lock: RunLock, backend: str | None) -> Observer:
    """What watches the session of `backend`; None for one that a pooler may change."""
    return Observer(
        context.connect_for_cleanup,
        backend=backend,
        application_name=context.application_name,
        lock_backend=lock.backend,
        is_lock_silent=lambda: lock.is_silent,
        limits=context.limits,
    )


def apply_watched(runner: FileRunner, run: RunRecord, watch: RunWatch | None) -> None:
    """Apply the files of a run, and record the schema that they leave behind."""
    try:
        runner.apply_all(run)
    finally:
        # Also after a failure: what the files before it have made is no drift.
        if watch:
            _look_after(watch, runner, run)


def _look_after(watch: RunWatch, runner: FileRunner, run: RunRecord) -> None:
    """Record the schema, unless the connection is lost: the next run then says so."""
    connection = runner.database.current
    may_have_changed = bool(runner.state.applied) or any(
        script.mode is not Mode.TRANSACTION for script in runner.scripts
    )
    if connection.is_alive():
        with connection.extend_deadline(RECORD):
            watch.look_after(connection, run, changed=may_have_changed)


def _successors(scripts: tuple[Script, ...], survey: Survey) -> dict[str, Script]:
    """By version, the file that may be sent before that version has been answered."""
    return {
        script.file.version: following
        for script, following in pairwise(scripts)
        if following.file.version not in survey.interruptions
    }


def _record_of(error: BaseException | None) -> str | None:
    """The journal's text of an error, which holds no data of rows."""
    if error is None:
        return None
    return error.record if isinstance(error, MigratorError) else str(error)
