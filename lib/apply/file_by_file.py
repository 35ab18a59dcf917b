"""Files applied in a session, one after the other, each in the mode that it asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..database.server_error import StatementError
from ..errors import MigrationFailedError, OutOfTimeError
from ..files.file_progress import Checkpoint, Interruption
from ..files.runnable_script import Mode, Script
from ..ledger.ledger_state import whole
from ..ledger.table_trust import told_by
from .in_transaction import Transaction, UnderWay, counts_rows
from .ledger_write_errors import changed_tables, with_present_contents
from .outside_transaction import StatementRun
from .resume import changed_error, in_doubt_error
from .session import Session
from .statement_errors import statement_error
from .table_waits import TableWait

# active_sql_transaction: the statement "cannot run inside a transaction block", which its words did
# not say. invalid_transaction_termination: a DO block or a procedure commits.
REFUSES_TRANSACTION = ("25001", "2D000")
# invalid_sql_statement_name, duplicate_prepared_statement, and feature_not_supported for a plan
# that no longer fits: code that the file has called can have taken the runner's prepared statements
# away.
NOT_PREPARED = ("26000", "42P05", "0A000")


class Execution:
    """Applies files in a session, one after the other, each in the mode that it asks for.

    `successors` has, by version, the file that may be sent before that version has been answered:
    the next one of the run, unless an earlier run has left it half-way.
    """

    def __init__(self, session: Session, successors: Mapping[str, Script] | None = None) -> None:
        self.session = session
        self._outside: StatementRun | None = None
        self._under_way = UnderWay(successors or {})

    @property
    def checkpoint(self) -> Checkpoint | None:
        """How far a file outside a transaction has come; None if there is no such file."""
        return self._outside.checkpoint if self._outside else None

    def apply(self, script: Script, interruption: Interruption | None = None) -> int | None:
        """Run the script and record it. Returns milliseconds, or None if another run applied it.

        `interruption` is where an earlier run left the file. Raises MigrationFailedError or
        BusyTableError with the place in the file, OutOfTimeError at the connection's deadline. A
        file in a transaction is then rolled back. Of any other file the statements before the
        failure stay, and the next run resumes after them.
        """
        if interruption and script.mode is Mode.TRANSACTION:
            script = _resume_mode(script, interruption)
        if script.mode is Mode.TRANSACTION:
            cleanup_sql = ";".join(self.session.reset_statements(script))
            with self.session.connection.cleaning_up_with(cleanup_sql):
                return self._apply_in_transaction(script, has_notes=interruption is not None)
        return self._apply_outside(script, interruption)

    def answered(self, script: Script) -> None:
        """Take note that the script, which has been applied, is reported."""
        self._under_way.answered(script)

    def unanswered(self) -> Iterator[tuple[Script, int | None]]:
        """End what is under way, and yield the files that nobody has reported.

        With each, the milliseconds of a file that this run has applied all the same; None for the
        one at which the server was stopped, which is the last.
        """
        self.session.connection.settle()
        scripts = [transaction.script for transaction in self._under_way.clear()]
        written = self.session.find_written(scripts) if scripts else {}
        for script in scripts:
            elapsed = written.get(script.file.version)
            yield script, elapsed
            if elapsed is None:
                return

    def _apply_outside(
        self, script: Script, interruption: Interruption | None = None
    ) -> int | None:
        if self.session.prepared.is_ready(self.session.run):
            # The runner's own prepared statements, whose names the file might use otherwise.
            self.session.connection.run("deallocate all")
        # It leaves the session as it began, without what was set there.
        self.session.prepared.forget()
        self._outside = StatementRun(self.session, script)
        elapsed = self._outside.apply(interruption)
        self.session = replace(self.session, run=self._outside.run)
        self._outside = None
        return elapsed

    def _apply_in_transaction(
        self, script: Script, *, has_notes: bool, is_second: bool = False
    ) -> int | None:
        """Send the file and its row in one flight, or in several if the file has a COPY.

        `has_notes` if the journal says something about the file that its row takes back.
        """
        is_counted = not is_second and counts_rows(script)
        if not is_counted:
            run = with_present_contents(self.session)
            self.session = replace(self.session, run=run)
        session, connection = self.session, self.session.connection
        transaction = self._under_way.find(script) or Transaction(
            session, script, has_notes=has_notes, is_counted=is_counted, under_way=self._under_way
        )
        try:
            rows = TableWait(session, script).with_retries(transaction.attempt)
        except BaseException as error:
            session.prepared.forget()
            if not isinstance(error, (StatementError, OutOfTimeError)):
                raise
            connection.settle()
            # The answer to a COMMIT can be lost: the ledger knows whether it took effect.
            recorded, is_known = session.find_recorded(script)
            if recorded:
                elapsed, is_ours = recorded
                return elapsed if is_ours else None
            self._under_way.clear()
            if isinstance(error, OutOfTimeError):
                raise OutOfTimeError(f"{error} {_outcome(script, is_known=is_known)}") from None
            return self._apply_otherwise(script, error, transaction, is_second=is_second)
        transaction.keep_prepared()
        return whole(rows[-1][0]) or 0

    def _apply_otherwise(
        self, script: Script, error: StatementError, transaction: "Transaction", *, is_second: bool
    ) -> int | None:
        """Apply the file in another way, if the error says that there is one; else raise."""
        # With several statements, the others would run outside a transaction as well.
        is_alone = self.session.is_ledgers and len(script.statements) == 1
        if is_alone and error.server_error.sqlstate in REFUSES_TRANSACTION:
            return self._apply_alone(script, error.server_error.sqlstate)
        step = transaction.failed_step(error)
        if step.statement is None and not is_second:
            is_prepared_anew = told_by(error).get("fault") == "prepared"
            if is_prepared_anew or error.server_error.sqlstate in NOT_PREPARED:
                return self._apply_in_transaction(script, has_notes=True, is_second=True)
            tables = changed_tables(self.session, error)
            if tables is not None:
                self.session = replace(self.session, run=replace(self.session.run, tables=tables))
                return self._apply_in_transaction(script, has_notes=True, is_second=True)
        raise statement_error(self.session, script, error, step) from None

    def _apply_alone(self, script: Script, sqlstate: str) -> int | None:
        """Run a single statement outside a transaction, once the server has refused one for it."""
        alone = replace(script, mode=Mode.ALONE)
        if self.session.pooled and alone.needs_a_session:
            raise MigrationFailedError(
                f"{script.file.path}: its statement can't run inside a transaction, its timeouts "
                "need a session of their own then, and this connection goes through a transaction "
                "pooler; set MIGRATION_DATABASE_URL to a direct connection.",
                version=script.file.version,
                sqlstate=sqlstate,
            )
        return self._apply_outside(alone)


def _outcome(script: Script, *, is_known: bool) -> str:
    version = script.file.version
    if not is_known:
        return (
            f"The server did not confirm that {version} was stopped: it was rolled back, or had "
            "just committed."
        )
    return f"{version} was rolled back."


def _resume_mode(script: Script, interruption: Interruption) -> Script:
    """A file in a transaction that an earlier run began without one, in the mode it can run in."""
    at = interruption.checkpoint
    if at.statement == 1 and not at.in_doubt:
        # Nothing of it has taken effect.
        return script
    if len(script.statements) == 1 and at.statement == 1:
        return replace(script, mode=Mode.ALONE)
    if at.statement == 1:
        raise in_doubt_error(script, interruption, 0, "the file is one transaction now")
    raise changed_error(script, interruption)
