"""One file, once: its SQL and its ledger row in one transaction, or each statement by itself."""

from dataclasses import dataclass, replace
from itertools import groupby

from ..database.composing import OWN_SETTINGS, keepalives
from ..database.connection import Connection
from ..database.pipeline import carry_out
from ..database.server_error import StatementError
from ..database.transport import Rows
from ..duration import milliseconds
from ..errors import MigrationFailedError, OutOfTimeError
from ..files.checkpoint import Checkpoint, Interruption
from ..files.script import Mode, Script
from ..ledger import writes as ledger
from ..ledger.survey import whole
from ..ledger.trust import LOCK, distrust, told_by
from ..limits import CONNECTION_CHECK_MS, GRACE
from ..sql.statement import Statement
from .failure_text import Sent
from .outside_transaction import StatementRun
from .resume import changed_since, in_doubt
from .session import Session

# active_sql_transaction: the statement "cannot run inside a transaction block", which its words didn't tell.
# invalid_transaction_termination: a DO or a procedure commits.
REFUSES_TRANSACTION = ("25001", "2D000")
# What of a file the server may put off to its end.
_AT_END = ("set constraints all immediate", "commit")


class Execution:
    """Applies files in a session, one after the other."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._outside: StatementRun | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where a file outside a transaction has come to; None while there is none."""
        return self._outside.checkpoint if self._outside else None

    def apply(self, script: Script, interruption: Interruption | None = None) -> int | None:
        """Run the script and record it; returns the milliseconds it took, or None if another run had applied it.

        `interruption` is where an earlier run left the file. Raises MigrationFailedError or BusyTableError with the place
        in the file, OutOfTimeError at the connection's deadline. A file in a transaction is then rolled back; of another
        the statements before the failure stay, and the next run goes on after them.
        """
        if interruption and script.mode is Mode.TRANSACTION:
            script = _as_it_began(script, interruption)
        if script.mode is Mode.TRANSACTION:
            cleanup_sql = ";".join(self.session.reset_statements(script))
            with self.session.connection.cleaning_up_with(cleanup_sql):
                return self._apply_in_transaction(script, has_notes=interruption is not None)
        return self._apply_outside(script, interruption)

    def _apply_outside(
        self, script: Script, interruption: Interruption | None = None
    ) -> int | None:
        self._outside = StatementRun(self.session, script)
        elapsed = self._outside.apply(interruption)
        self.session = replace(self.session, run=self._outside.run)
        self._outside = None
        return elapsed

    def _apply_in_transaction(
        self, script: Script, *, has_notes: bool, again: bool = False
    ) -> int | None:
        """The whole file and its ledger row in one flight, or in more where a COPY is among it: both commit, or neither."""
        session, connection = self.session, self.session.connection
        steps: tuple[_Step, ...] = ()

        def attempt() -> Rows:
            nonlocal steps, has_notes
            # What seemed to be gone is looked for row by row the second time: a session's counts may be of other times too.
            steps = self._steps(script, is_counted=not again, has_notes=has_notes)
            # Before the next try, the table that is waited for is noted.
            has_notes = True
            return self._carry_out(script, steps)

        try:
            rows = session.with_retries(script, attempt)
        except (StatementError, OutOfTimeError) as error:
            connection.settle()
            recorded, is_known = session.find_recorded(script)
            if recorded:
                elapsed, ours = recorded
                return elapsed if ours else None
            if isinstance(error, OutOfTimeError):
                raise OutOfTimeError(
                    f"{error} {_what_became_of(script, is_known=is_known)}"
                ) from None
            if error.server_error.sqlstate in REFUSES_TRANSACTION and len(script.statements) == 1:
                return self._apply_alone(script, error.server_error.sqlstate)
            sent = _sent(steps, error)
            if sent.statement is None and not again and self._are_other_tables(error):
                return self._apply_in_transaction(script, has_notes=True, again=True)
            raise session.failed(script, error, sent) from None
        return whole(rows[-1][0]) or 0

    def _are_other_tables(self, error: StatementError) -> bool:
        """True if the runner's tables are to be looked at once more: changed, or with rows gone, it seems.

        Somebody may have rewritten them (VACUUM FULL), and what the file puts on them is to be weighed.
        """
        if told_by(error).get("fault") not in ("changed", "emptied", "code", "policy", "kind"):
            return False
        try:
            tables = ledger.tables_now(self.session.connection, self.session.run)
        except StatementError as fault:
            # It is there without the file, which was rolled back.
            raise distrust(fault) or error from None
        self.session = replace(self.session, run=replace(self.session.run, tables=tables))
        return True

    def _steps(self, script: Script, *, is_counted: bool, has_notes: bool) -> "tuple[_Step, ...]":
        """All that travels: what the transaction begins with, the file, and what records it."""
        session = self.session
        begin = [
            f"begin {script.begin_options}",
            *session.timeouts(script, scope="local "),
            *self._safeguards(),
            LOCK,
        ]
        # The file's deferred triggers are fired while its own search_path is in force: twice, since they may put off more.
        end = [_AT_END[0], _AT_END[0]]
        end += session.reset_statements(script) if script.may_change_session else OWN_SETTINGS
        is_counted = is_counted and not any(
            "track_counts" in each.text.lower() for each in script.statements
        )
        end += [
            *ledger.record_statements(
                session.run, session.recorded(script), is_counted=is_counted, has_notes=has_notes
            ),
            _AT_END[1],
        ]
        return (
            *(_Step(text.removesuffix(";")) for text in begin),
            *(_Step(statement.sent, statement) for statement in script.statements),
            *(_Step(text) for text in end),
        )

    def _carry_out(self, script: Script, steps: "tuple[_Step, ...]") -> Rows:
        """Send the steps, those that can in one flight; raises StatementError with the number of them that were done."""
        connection = self.session.connection
        rows: Rows = []
        done = 0
        for alone, group in groupby(steps, key=lambda step: step.goes_alone):
            for part in ([step] for step in group) if alone else [list(group)]:
                try:
                    self.session.check_strings(script)
                    rows = (
                        part[0].run(connection)
                        if alone
                        else carry_out(connection, [step.text for step in part])
                    )
                except StatementError as error:
                    error.done += done
                    raise
                done += len(part)
                if done < len(steps) and not connection.in_transaction:
                    raise _ended_by_itself(script)
        return rows

    def _safeguards(self) -> list[str]:
        """What lets the server notice by itself that this client is gone, or frozen past its deadline."""
        settings = keepalives("local ")
        if self.session.notices_departure:
            settings.append(f"set local client_connection_check_interval = {CONNECTION_CHECK_MS};")
        connection = self.session.connection
        if connection.deadline.is_limited and connection.server_version >= 170000:
            longest = milliseconds(connection.deadline.remaining() + GRACE)
            settings.append(f"set local transaction_timeout = {longest};")
        return settings

    def _apply_alone(self, script: Script, sqlstate: str) -> int | None:
        """Run a single statement again that turned out to refuse a transaction."""
        alone = replace(script, mode=Mode.ALONE)
        if self.session.pooled and alone.needs_a_session:
            raise MigrationFailedError(
                f"{script.file.path}: its statement can't run inside a transaction, its timeouts need a session of their "
                "own then, and this connection goes through a transaction pooler; set MIGRATION_DATABASE_URL to a direct "
                "connection.",
                version=script.file.version,
                sqlstate=sqlstate,
            )
        return self._apply_outside(alone)


@dataclass(frozen=True)
class _Step:
    """One statement of what travels: the file's `statement`, or one of the runner's own."""

    text: str
    statement: Statement | None = None

    @property
    def goes_alone(self) -> bool:
        return self.statement is not None and self.statement.goes_alone

    def run(self, connection: Connection) -> Rows:
        return connection.run(
            self.text, copy_data=self.statement.copy_chunks() if self.statement else ()
        )


def _sent(steps: "tuple[_Step, ...]", error: StatementError) -> Sent:
    """What was under way when the server refused it."""
    failed = steps[error.done]
    number = sum(step.statement is not None for step in steps[: error.done + 1])
    return Sent(failed.statement, number, is_at_end=failed.text in _AT_END)


def _what_became_of(script: Script, *, is_known: bool) -> str:
    version = script.file.version
    if not is_known:
        return f"The server did not confirm that {version} was stopped: it was rolled back, or had just committed."
    return f"{version} was rolled back."


def _ended_by_itself(script: Script) -> MigrationFailedError:
    """The error for what no check should have let through."""
    return MigrationFailedError(
        f"{script.file.path}: the file has ended its own transaction, so a part of it may stay; the rest was not run. "
        "Please report this file.",
        version=script.file.version,
    )


def _as_it_began(script: Script, interruption: Interruption) -> Script:
    """A file that runs in a transaction now, of which an earlier run may have carried something out without one."""
    at = interruption.checkpoint
    if at.statement == 1 and not at.in_doubt:
        return script
    if len(script.statements) == 1 and at.statement == 1:
        return replace(script, mode=Mode.ALONE)
    if at.statement == 1:
        raise in_doubt(script, interruption, 0, "the file is one transaction by now")
    raise changed_since(script, interruption)
