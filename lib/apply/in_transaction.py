"""One file in one transaction, together with its row in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from ..database.connection import Connection
from ..database.pipeline import carry_out
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import OWN_SETTINGS, keepalives
from ..duration import milliseconds
from ..errors import MigrationFailedError, OutOfTimeError
from ..files.file_progress import Checkpoint, Interruption
from ..files.runnable_script import Mode, Script
from ..ledger.ledger_state import whole
from ..ledger.records import record_statements
from ..ledger.table_trust import told_by
from ..ledger.trust_queries import LOCK
from ..sql.statement import Statement
from ..time_limits import CONNECTION_CHECK_MS, GRACE
from .ledger_write_errors import FailedStep, changed_tables, with_present_contents
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
# These make the server do what the file has deferred to its end.
_AT_END = ("set constraints all immediate", "commit")


class Execution:
    """Applies files in a session, one after the other, each in the mode that it asks for."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._outside: StatementRun | None = None

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
        is_counted = not is_second and _counts_rows(script)
        if not is_counted:
            run = with_present_contents(self.session)
            self.session = replace(self.session, run=run)
        session, connection = self.session, self.session.connection
        transaction = _Transaction(session, script, has_notes=has_notes, is_counted=is_counted)
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
            if isinstance(error, OutOfTimeError):
                raise OutOfTimeError(f"{error} {_outcome(script, is_known=is_known)}") from None
            return self._apply_otherwise(script, error, transaction, is_second=is_second)
        transaction.keep_prepared()
        return whole(rows[-1][0]) or 0

    def _apply_otherwise(
        self, script: Script, error: StatementError, transaction: "_Transaction", *, is_second: bool
    ) -> int | None:
        """Apply the file in another way, if the error says that there is one; else raise."""
        # With several statements, the others would run outside a transaction as well.
        if error.server_error.sqlstate in REFUSES_TRANSACTION and len(script.statements) == 1:
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


def _counts_rows(script: Script) -> bool:
    """True unless the file may switch off track_counts, without which the server counts no rows."""
    return not any("track_counts" in each.text.lower() for each in script.statements)


class _Transaction:
    """What is sent for one file: what its transaction begins with, the file, what records it.

    `is_counted` if the server counts the rows of the ledger that the file deletes or changes. The
    second time they are compared one by one: a session's counts may be of another time.
    """

    def __init__(
        self, session: Session, script: Script, *, has_notes: bool, is_counted: bool
    ) -> None:
        self._session = session
        self._connection = session.connection
        self._script = script
        self._has_notes = has_notes
        self._is_counted = is_counted
        self._uses_prepared = False
        self._steps: tuple[_Step, ...] = ()

    def attempt(self, lock_timeout: float) -> Rows:
        """Carry out the transaction, waiting `lock_timeout` seconds for each lock."""
        self._uses_prepared = self._may_use_prepared()
        if not self._uses_prepared:
            self._session.prepared.forget()
        self._steps = (
            *(_Step(text.removesuffix(";")) for text in self._beginning(lock_timeout)),
            *(_Step(statement.sent, statement) for statement in self._script.statements),
            *(_Step(text) for text in self._end()),
        )
        # Before the next try, the table that this one waited for is noted.
        self._has_notes = True
        return self._carry_out()

    def failed_step(self, error: StatementError) -> FailedStep:
        """What was under way when the server refused it."""
        failed = self._steps[error.done]
        number = sum(step.statement is not None for step in self._steps[: error.done + 1])
        return FailedStep(failed.statement, number, is_at_end=failed.text in _AT_END)

    def _beginning(self, lock_timeout: float) -> list[str]:
        return [
            f"begin {self._script.begin_options}",
            *self._session.timeouts(self._script, lock_timeout, scope="local "),
            *self._deadline(),
            *self._safeguards(),
            # On a new database the disk is waited for once, when the end of the run is recorded: a
            # crash of the server before that takes the last files back whole, with their records.
            *(["set local synchronous_commit = off"] if self._session.is_new else []),
            LOCK,
        ]

    def _may_use_prepared(self) -> bool:
        """True if the file leaves the session's settings and prepared statements as they are."""
        session = self._session
        return (
            session.run.tables.at_a_glance
            and not session.pooled
            and self._is_counted
            and not self._has_notes
            and not self._script.may_change_session
        )

    def keep_prepared(self) -> None:
        """Take note of what the session has after the commit."""
        if self._uses_prepared:
            self._session.prepared.keep(self._session.run)

    def _safeguards(self) -> list[str]:
        """The SQL by which the server notices that this client is gone, or frozen."""
        session = self._session
        if self._uses_prepared and session.prepared.is_ready(session.run):
            # The first of the files has set them for the session.
            return []
        scope = "" if self._uses_prepared else "local "
        settings = keepalives(scope)
        if session.notices_departure:
            interval = f"client_connection_check_interval = {CONNECTION_CHECK_MS}"
            settings.append(f"set {scope}{interval};")
        return settings

    def _deadline(self) -> list[str]:
        """The SQL by which the server ends the transaction of a client that is frozen."""
        deadline = self._connection.deadline
        if not deadline.is_limited or self._connection.server_version < 170000:
            return []
        # PostgreSQL 17 and later. After the runner's own deadline, which gives a better message.
        return [f"set local transaction_timeout = {milliseconds(deadline.remaining() + GRACE)};"]

    def _end(self) -> list[str]:
        session, script = self._session, self._script
        row = session.row_of(script)
        # Deferred triggers fire while the file's search_path is still in force. Twice: they may
        # themselves defer more.
        fire, commit = _AT_END
        if self._uses_prepared:
            return [
                fire,
                fire,
                *OWN_SETTINGS,
                *session.prepared.statements(session.run, row),
                commit,
            ]
        # A file that can't have changed the session needs nothing but the runner's search_path.
        reset = session.reset_statements(script) if script.may_change_session else OWN_SETTINGS
        record = record_statements(
            session.run, row, is_counted=self._is_counted, has_notes=self._has_notes
        )
        return [fire, fire, *reset, *record, commit]

    def _carry_out(self) -> Rows:
        """Send the steps, those that can in one flight. `StatementError.done` counts them all."""
        rows: Rows = []
        done = 0
        for part in _flights(self._steps):
            try:
                self._session.check_strings(self._script)
                rows = self._send(part)
            except StatementError as error:
                error.done += done
                raise
            done += len(part)
            # Without this check, the rest would run, and commit, statement by statement.
            if done < len(self._steps) and not self._connection.in_transaction:
                raise _ended_by_itself(self._script)
        return rows

    def _send(self, part: "Sequence[_Step]") -> Rows:
        if part[0].goes_alone:
            return part[0].run(self._connection)
        return carry_out(self._connection, [step.text for step in part])


@dataclass(frozen=True)
class _Step:
    """One statement that is sent: the file's `statement`, or one of the runner's own."""

    text: str
    statement: Statement | None = None

    @property
    def goes_alone(self) -> bool:
        return self.statement is not None and self.statement.goes_alone

    def run(self, connection: Connection) -> Rows:
        copy_data = self.statement.copy_chunks() if self.statement else ()
        return connection.run(self.text, copy_data=copy_data)


def _flights(steps: "Sequence[_Step]") -> "list[list[_Step]]":
    """The steps in groups of those that can be sent together."""
    flights: list[list[_Step]] = []
    for goes_alone, group in groupby(steps, key=lambda step: step.goes_alone):
        together = list(group)
        flights += [[step] for step in together] if goes_alone else [together]
    return flights


def _outcome(script: Script, *, is_known: bool) -> str:
    version = script.file.version
    if not is_known:
        return (
            f"The server did not confirm that {version} was stopped: it was rolled back, or had "
            "just committed."
        )
    return f"{version} was rolled back."


def _ended_by_itself(script: Script) -> MigrationFailedError:
    """The error for a file that no check should have let through."""
    return MigrationFailedError(
        f"{script.file.path}: the file has ended its own transaction, so a part of it may stay; "
        "the rest was not run. Please report this file.",
        version=script.file.version,
    )


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
