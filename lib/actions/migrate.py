"""The way through: files and ledger to a plan, the plan under the lock, each file once, the outcome as a value."""

from contextlib import ExitStack, suppress
from dataclasses import replace

from ..apply.in_transaction import Execution
from ..apply.observer import Observer
from ..apply.resume import moved
from ..apply.session import Session
from ..database.connection import Connection
from ..database.connection_errors import TOO_MANY_CONNECTIONS
from ..database.login import no_search_path
from ..database.server_error import StatementError
from ..errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    Interrupted,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
)
from ..files.checkpoint import Checkpoint, Interruption
from ..files.folder import MigrationFile, discover
from ..files.script import Mode, Script
from ..ledger import writes as ledger
from ..ledger.guard import check_guard, check_writable, must_claim
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.run_lock import RunLock
from ..ledger.schema import prepare_tables
from ..ledger.survey import Survey
from ..limits import ANSWER, RECORD, SECOND_CONNECTION, STALE_RUN
from ..masking import masked
from ..plan.dry_run import held_warnings
from ..plan.migration_plan import Plan
from ..plan.reports import AppliedNow, Outcome, RunReport
from ..settings.search_path import first_schema
from .preview import has_work, held_back, prepare_pending
from .run_context import RunContext
from .status import plan_from_survey, survey_database

# The file that makes the ledger, and nothing else.
LEDGERS_OWN_FILE = "000-create-migration-table"
_CONNECTION_LIMITS = """
select r.rolconnlimit, d.datconnlimit from pg_catalog.pg_roles r, pg_catalog.pg_database d
 where r.rolname = session_user and d.datname = current_database()
"""
_SEARCH_PATH = "select pg_catalog.current_setting('search_path'), pg_catalog.current_schema()"
_NO_ANSWER = "The database stopped answering, outside of any migration: run it again, and what is still pending is applied."


def migrate(context: RunContext) -> RunReport:
    """Apply what is pending. Whatever goes wrong is in the report, beside what had been applied before it."""
    run = _Run(context)
    try:
        with ledger_errors_translated():
            run.go()
    except (MigratorError, Interrupted) as error:
        return run.report(error)
    return run.report(None)


class _Run:
    """One run, from the files to the journal's last word."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.settings = context.settings
        self.survey: Survey | None = None
        self.pending: int | None = None
        self.warnings: tuple[str, ...] = ()
        self.applied: list[AppliedNow] = []
        self.current: MigrationFile | None = None
        self.run: ledger.RunRecord | None = None
        # The server processes that this connection has had, each time the database was looked at.
        self.backends: set[str | None] = set()
        self._connections = ExitStack()

    def report(self, error: MigratorError | Interrupted | None) -> RunReport:
        return RunReport(
            environment=self.settings.environment,
            database=self.survey.database if self.survey else None,
            server_version=self.survey.server_version if self.survey else None,
            applied=tuple(self.applied),
            pending=self.pending,
            warnings=self.warnings,
            error=error,
        )

    def go(self) -> None:
        files = discover(self.settings.migrations_dir)
        with self._connections:
            self._connect()
            plan, survey = self._first_look(files)
            scripts = prepare_pending(plan.pending)
            if has_work(self.context, survey, scripts):
                check_writable(survey, self.context.target.source)
                waiting = self.context.progress.waiting
                with RunLock(
                    self._connect_another,
                    timeout=self.context.run_wait,
                    on_wait=waiting,
                    limits=self.context.limits,
                ) as lock:
                    self._migrate_locked(files, scripts, lock)
            else:
                self._warn(plan, survey, scripts)
                if survey.unfinished_runs:
                    self._interrupt_stale_runs(survey)

    def _connect(self) -> None:
        self.connection = self._connections.enter_context(
            self.context.connect(
                on_notice=self._notice, for_files=True, cleanup_sql=ledger.reset_script()
            )
        )
        self.backends = set()
        _check_strings(self.connection)
        self._check_search_path()

    def _connect_another(self) -> Connection:
        """The run lock's. Where only one connection is allowed, no wait helps."""
        try:
            return self.context.connect(timeout=0.0)
        except DatabaseUnavailableError as error:
            if error.sqlstate == TOO_MANY_CONNECTIONS:
                self._check_connection_limits()
        return self.context.connect()

    def _check_connection_limits(self) -> None:
        with self.connection.limit_to(ANSWER, _NO_ANSWER):
            [[limits]] = self.connection.query(_CONNECTION_LIMITS, read_only=True)
        for limit, owner in zip(limits, ("role", "database"), strict=True):
            if limit == "1":
                raise DatabaseUnavailableError(
                    f"The {owner} that {self.context.target.source} names may have one connection at "
                    f"a time, and a run needs two, now and then a third: alter {owner} … connection limit 5.",
                    final=True,
                    public=f"The {owner} may have one connection at a time, and a run needs two.",
                )

    def _check_search_path(self) -> None:
        """A pooler may leave out what it doesn't know, and the tables would land elsewhere."""
        target = self.context.target
        if not target.search_path:
            return
        with self.connection.limit_to(ANSWER, _NO_ANSWER):
            # As the files will have it; it has no name that a search_path could lead elsewhere.
            [[found, schema]] = self.connection.run(_SEARCH_PATH)
        if found != target.search_path:
            raise ConfigurationError(no_search_path(target))
        wanted = first_schema(target.search_path)
        if wanted and schema != wanted:
            where = f"lands in {schema}" if schema else "fails"
            self.context.progress.warning(
                f"The schema {wanted}, which {target.source} names, is not there or not open to this role: until a file "
                f"makes it, what is made without naming a schema {where}."
            )

    def _interrupt_stale_runs(self, survey: Survey) -> None:
        """Mark runs whose runner is gone, unless the lock is held: then one of them is at work, and all is well.

        It is bookkeeping: a run with nothing to apply doesn't fail for it.
        """
        timeout = min(self.context.run_wait, STALE_RUN)
        lock = RunLock(self._connect_another, timeout=timeout, limits=self.context.limits)
        with (
            suppress(MigratorError, StatementError),
            lock,
            self.connection.limit_to(ANSWER, _NO_ANSWER),
        ):
            ledger.interrupt_stale_runs(self.connection, survey.tables)

    def _first_look(self, files: tuple[MigrationFile, ...]) -> tuple[Plan, Survey]:
        """Look, and say which database it is, whatever comes of it."""
        try:
            return self._look(files)
        finally:
            is_direct = self.survey.is_direct if self.survey else None
            self.context.progress.connected(self.context.target, is_direct=is_direct)

    def _look(self, files: tuple[MigrationFile, ...]) -> tuple[Plan, Survey]:
        survey = self.survey = survey_database(
            self.connection, self.context, timeout=ANSWER, otherwise=_NO_ANSWER
        )
        self.backends.add(survey.backend)
        plan = plan_from_survey(self.context, files, survey)
        self.pending = len(plan.pending)
        check_guard(survey, self.settings.environment)
        plan.verify()
        return plan, survey

    def _warn(self, plan: Plan, survey: Survey, held: tuple[Script, ...]) -> None:
        self.warnings = (*survey.tables.open, *plan.warnings, *held_warnings(held))
        for warning in self.warnings:
            self.context.progress.warning(warning)

    def _migrate_locked(
        self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...], lock: RunLock
    ) -> None:
        """Plan again from what the ledger says now that nobody else may write it, and carry the plan out."""
        plan, survey = self._look_again(files)
        prepared = {script.file.version: script for script in scripts}
        # Another run may have changed what is pending, after the first look.
        missing = [file for file in plan.pending if file.version not in prepared]
        prepared |= {script.file.version: script for script in prepare_pending(missing)}
        scripts = tuple(prepared[file.version] for file in plan.pending)
        held = held_back(self.context, scripts)
        self._warn(plan, survey, held)
        scripts = scripts[: len(scripts) - len(held)]
        pooled = self._is_pooled(scripts, lock)
        if pooled:
            _check_sessions(scripts)
            if self.context.target.search_path:
                raise ConfigurationError(no_search_path(self.context.target))
        if not scripts and not must_claim(survey, self.settings.environment):
            # Another run has done it all while this one waited.
            return
        check_writable(survey, self.context.target.source)
        self._check_interruptions(files, scripts, survey)
        survey.tables.verify_rights()
        with self.connection.limit_to(ANSWER, _NO_ANSWER):
            prepare_tables(
                self.connection,
                survey.tables,
                reader=self.context.reader,
                lock_timeout=self.settings.lock_timeout,
            )
            outcome: Outcome = "running" if scripts else "succeeded"
            start = run_start(self.context, survey)
            self.run = ledger.start_run(
                self.connection, self.context.trusted, start, outcome=outcome
            )
        if scripts:
            self._apply_all(scripts, survey, lock, pooled=pooled)

    def _check_interruptions(
        self, files: tuple[MigrationFile, ...], scripts: tuple[Script, ...], survey: Survey
    ) -> None:
        """Mention what a run left half-way of a file that is not in this bundle; refuse it under another name."""
        names = {file.version for file in files}
        for version, interruption in survey.interruptions.items():
            if version in names:
                continue
            if fault := moved(scripts, interruption):
                raise fault
            at = f"statement {interruption.checkpoint.statement} of {version}, which is not in this bundle"
            self.context.progress.warning(f"Run {interruption.run} stopped at {at}.")

    def _look_again(self, files: tuple[MigrationFile, ...]) -> tuple[Plan, Survey]:
        """Look while the lock is held: in a pool of one server connection, the lock has that one, and no answer comes."""
        if not self.connection.is_alive():
            # It was idle for as long as another run was waited for.
            self._connect()
        if self.survey is None or self.connection.announced_backend == self.survey.backend:
            return self._look(files)
        otherwise = (
            "The database stopped answering once the run lock was held. A run needs two server connections at a time, "
            "and the pooler may have one alone: set MIGRATION_DATABASE_URL to a direct connection."
        )
        with self.connection.limit_to(SECOND_CONNECTION, otherwise):
            return self._look(files)

    def _is_pooled(self, scripts: tuple[Script, ...], lock: RunLock) -> bool:
        """Tell whether a transaction pooler is in between, where each transaction may have another server process.

        A server gives its own process's pid on connecting, a pooler something else; whether it is in session mode is
        asked only where it matters, and several times, since a busy pool may give the same process again.
        """
        if {self.connection.announced_backend} == self.backends:
            return False
        if (
            all(script.mode is Mode.TRANSACTION for script in scripts)
            and not self.context.target.search_path
        ):
            return not self.context.target.is_known_direct
        self.backends |= {ledger.backend(self.connection) for _ in range(10)}
        return len(self.backends) > 1 or lock.backend in self.backends

    def _apply_all(
        self, scripts: tuple[Script, ...], survey: Survey, lock: RunLock, *, pooled: bool
    ) -> None:
        self.execution = Execution(self._session(survey, lock, pooled=pooled))
        try:
            self._apply_each(scripts, survey, lock, pooled=pooled)
        except (Interrupted, MigratorError, StatementError) as error:
            if isinstance(error, Interrupted) and self.current:
                error.args = (f"{error} It was at {self.current.path}.",)
            outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
            self._record_end(outcome, error, self.execution.checkpoint)
            raise
        else:
            self._record_end("succeeded")
        finally:
            self.execution.session.observer.close()

    def _apply_each(
        self, scripts: tuple[Script, ...], survey: Survey, lock: RunLock, *, pooled: bool
    ) -> None:
        for script in scripts:
            self.execution.session.check()
            self._apply(script, survey.interruptions.get(script.file.version))
            if script.changes_defaults and not pooled and script is not scripts[-1]:
                self._begin_anew(survey, lock)

    def _session(self, survey: Survey, lock: RunLock, *, pooled: bool) -> Session:
        assert self.run is not None  # it is begun before any file
        observer = Observer(
            self.context.connect_for_cleanup,
            backend=None if pooled else survey.backend,
            application_name=self.context.application_name,
            lock_backend=lock.backend,
            is_lock_silent=lambda: lock.is_silent,
            limits=self.context.limits,
        )

        def check() -> None:
            lock.check()
            self._check_deadline()

        return Session(
            connection=self.connection,
            observer=observer,
            pooled=pooled,
            notices_departure=survey.notices_departure,
            run=self.run,
            lock_timeout=self.settings.lock_timeout,
            lock_retries=self.settings.lock_retries,
            run_wait=self.context.run_wait,
            progress=self.context.progress,
            check=check,
            limits=self.context.limits,
            is_new=all(row.version == LEDGERS_OWN_FILE for row in survey.ledger or ()),
        )

    def _begin_anew(self, survey: Survey, lock: RunLock) -> None:
        """Go on in a new session: the file before has changed what one begins with, as `alter database … set` does."""
        self.execution.session.observer.close()
        self.connection.close()
        self._connect()
        with self.connection.limit_to(ANSWER, _NO_ANSWER):
            survey = replace(survey, backend=ledger.backend(self.connection))
        self.execution = Execution(self._session(survey, lock, pooled=False))

    def _apply(self, script: Script, interruption: Interruption | None) -> None:
        self.current = script.file
        self.context.progress.started(script.file)
        elapsed = self.execution.apply(script, interruption)
        self.run = self.execution.session.run
        self.current = None
        self.pending = (self.pending or 1) - 1
        if elapsed is not None:
            self.applied.append(AppliedNow(script.file.version, script.file.name, elapsed))
            self.context.progress.applied(self.applied[-1])

    def _check_deadline(self) -> None:
        if self.context.deadline.has_passed():
            raise OutOfTimeError("The time allowed ran out before the next migration began.")

    def _record_end(
        self,
        outcome: Outcome,
        error: BaseException | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Write the run's end, over a new connection if this one is gone; failing that, the next run writes it."""

        def write(connection: Connection) -> None:
            assert self.run is not None  # it is begun before any file
            connection.settle()
            with connection.extend_deadline(RECORD):
                ledger.finish_run(
                    connection,
                    self.run,
                    outcome,
                    version=self.current.version if self.current else None,
                    error=error.record
                    if isinstance(error, MigratorError)
                    else None
                    if error is None
                    else str(error),
                    sqlstate=getattr(error, "sqlstate", None),
                    checkpoint=checkpoint,
                )

        with suppress(StatementError, MigratorError):
            if self.connection.is_alive():
                write(self.connection)
                return
        with suppress(StatementError, MigratorError):
            if self.context.may_still_connect:
                with self.context.connect_for_cleanup(RECORD) as connection:
                    write(connection)
                return
        self.context.progress.warning(
            "The end of the run could not be recorded; the next run marks it interrupted."
        )

    def _notice(self, severity: str, message: str) -> None:
        self.context.progress.notice(self.current, severity, masked(message))


def _check_sessions(scripts: tuple[Script, ...]) -> None:
    """Through a transaction pooler statements may land on any session, and what one sets would leak to other clients."""
    for script in scripts:
        if script.needs_a_session:
            what = (
                "its timeouts need"
                if len(script.statements) == 1
                else "its statements outside a transaction need"
            )
            raise MigrationFileError(
                f"{what} a session of their own, and this connection goes through a transaction pooler; "
                "set MIGRATION_DATABASE_URL to a direct connection",
                file=script.file.path,
                version=script.file.version,
            )


def _check_strings(connection: Connection) -> None:
    if not connection.has_standard_strings:
        raise ConfigurationError(
            "The database has standard_conforming_strings off, under which the server would read the files otherwise than "
            "they were checked: alter database … set standard_conforming_strings = on."
        )


def run_start(context: RunContext, survey: Survey) -> ledger.RunStart:
    """Who runs, for the journal."""
    deployment = context.settings.deployment
    return ledger.RunStart(
        source=context.source,
        environment=context.settings.environment,
        commit=deployment.commit,
        ref=deployment.ref,
        deployment=deployment.id,
        fingerprint=str(survey.fingerprint),
    )
