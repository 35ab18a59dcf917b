"""The files of a plan, applied one after the other, and the end of the run, recorded."""

from contextlib import suppress
from dataclasses import replace

from ..apply.in_transaction import Execution
from ..apply.observer import Observer
from ..apply.session import Session
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import Interrupted, MigratorError, OutOfTimeError
from ..files.checkpoint import Checkpoint, Interruption
from ..files.folder import MigrationFile
from ..files.script import Script
from ..ledger.run_lock import RunLock
from ..ledger.runs import RunRecord, finish_run
from ..ledger.survey import Survey
from ..limits import RECORD
from ..plan.reports import AppliedNow, Outcome
from .run_connection import RunConnection
from .run_context import RunContext

# The file that creates the ledger, and nothing else.
LEDGER_FILE = "000-create-migration-table"


class FileRunner:
    """Applies files, each once. `applied` lists them, `current` is the one under way.

    `done` counts the files that are no longer pending: another run may have applied some.
    """

    def __init__(self, context: RunContext, database: RunConnection, lock: RunLock) -> None:
        self._context = context
        self._database = database
        self._lock = lock
        self.applied: list[AppliedNow] = []
        self.current: MigrationFile | None = None
        self.done = 0

    def apply_all(self, scripts: tuple[Script, ...], survey: Survey, run: RunRecord) -> None:
        """Apply the scripts in order, and record how the run ended."""
        self._execution = Execution(self._session(survey, run))
        try:
            self._apply_each(scripts, survey)
        except (Interrupted, MigratorError, StatementError) as error:
            if isinstance(error, Interrupted) and self.current:
                error.args = (f"{error} It was at {self.current.path}.",)
            outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
            self._record_end(outcome, error, self._execution.checkpoint)
            raise
        else:
            self._record_end("succeeded")
        finally:
            self._execution.session.observer.close()

    def _apply_each(self, scripts: tuple[Script, ...], survey: Survey) -> None:
        for script in scripts:
            self._check()
            self._apply(script, survey.interruptions.get(script.file.version))
            # After `alter database … set` or the like, the next file needs a new session to see it.
            # A pooler's sessions are not the runner's to end.
            if (
                script.changes_defaults
                and not self._database.is_pooled
                and script is not scripts[-1]
            ):
                self._begin_new_session(survey)

    def _apply(self, script: Script, interruption: Interruption | None) -> None:
        self.current = script.file
        self._context.progress.started(script.file)
        elapsed = self._execution.apply(script, interruption)
        self.current = None
        self.done += 1
        if elapsed is not None:
            self.applied.append(AppliedNow(script.file.version, script.file.name, elapsed))
            self._context.progress.applied(self.applied[-1])

    def _check(self) -> None:
        """Raise if the run may not continue: the lock is lost, or its time is up."""
        self._lock.check()
        if self._context.deadline.has_passed():
            raise OutOfTimeError("The time allowed ran out before the next migration began.")

    def _begin_new_session(self, survey: Survey) -> None:
        session = self._execution.session
        session.observer.close()
        session.connection.close()
        self._database.connect()
        survey = replace(survey, backend=self._database.backend())
        self._execution = Execution(self._session(survey, session.run))

    def _session(self, survey: Survey, run: RunRecord) -> Session:
        context, is_pooled = self._context, self._database.is_pooled
        observer = Observer(
            context.connect_for_cleanup,
            backend=None if is_pooled else survey.backend,
            application_name=context.application_name,
            lock_backend=self._lock.backend,
            is_lock_silent=lambda: self._lock.is_silent,
            limits=context.limits,
        )
        return Session(
            connection=self._database.current,
            observer=observer,
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
            connection.settle()
            with connection.extend_deadline(RECORD):
                finish_run(
                    connection,
                    self._execution.session.run,
                    outcome,
                    version=self.current.version if self.current else None,
                    error=_record_of(error),
                    sqlstate=getattr(error, "sqlstate", None),
                    checkpoint=checkpoint,
                )

        with suppress(StatementError, MigratorError):
            if self._database.current.is_alive():
                write(self._database.current)
                return
        with suppress(StatementError, MigratorError):
            if self._context.may_still_connect:
                with self._context.connect_for_cleanup(RECORD) as connection:
                    write(connection)
                return
        self._context.progress.warning(
            "The end of the run could not be recorded; the next run marks it interrupted."
        )


def _record_of(error: BaseException | None) -> str | None:
    """The journal's text of an error, which holds no data of rows."""
    if error is None:
        return None
    return error.record if isinstance(error, MigratorError) else str(error)
