"""One file in one transaction, together with its row in the ledger, and what follows it at once."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..database.connection import Connection
from ..database.pipeline import Flight, carry_out
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import OWN_SETTINGS, keepalives
from ..duration import milliseconds
from ..errors import MigrationFailedError
from ..files.runnable_script import Mode, Script
from ..ledger.trust_queries import LOCK
from ..sql.statement import Statement
from ..time_limits import CONNECTION_CHECK_MS, GRACE
from .ledger_write_errors import FailedStep
from .session import Session

# These make the server do what the file has deferred to its end.
_AT_END = ("set constraints all immediate", "commit")


def counts_rows(script: Script) -> bool:
    """True unless the file may switch off track_counts, without which the server counts no rows."""
    return not any("track_counts" in each.text.lower() for each in script.statements)


@dataclass(frozen=True)
class _Frame:
    """What is sent around a file: what its transaction begins with, and what records it.

    `has_notes` if the journal says something about the file that its row takes back. `is_counted`
    if the server counts the rows of the ledger that the file deletes or changes. `uses_prepared` if
    what records the file is prepared in the session, `is_prepared` if it was so before this file.
    """

    session: Session
    script: Script
    has_notes: bool
    is_counted: bool
    uses_prepared: bool
    is_prepared: bool

    def beginning(self, lock_timeout: float) -> list[str]:
        """The SQL before the file, which waits `lock_timeout` seconds for each lock."""
        return [
            f"begin {self.script.begin_options}",
            *self.session.timeouts(self.script, lock_timeout, scope="local "),
            *self._deadline(),
            *self._safeguards(),
            # On a new database the disk is waited for once, when the end of the run is recorded: a
            # crash of the server before that takes the last files back whole, with their records.
            *(["set local synchronous_commit = off"] if self.session.is_new else []),
            LOCK,
        ]

    def _safeguards(self) -> list[str]:
        """The SQL by which the server notices that this client is gone, or frozen."""
        if self.is_prepared:
            # The first of the files has set them for the session.
            return []
        scope = "" if self.uses_prepared else "local "
        settings = keepalives(scope)
        if self.session.notices_departure:
            interval = f"client_connection_check_interval = {CONNECTION_CHECK_MS}"
            settings.append(f"set {scope}{interval};")
        return settings

    def _deadline(self) -> list[str]:
        """The SQL by which the server ends the transaction of a client that is frozen."""
        connection = self.session.connection
        if not connection.deadline.is_limited or connection.server_version < 170000:
            return []
        # PostgreSQL 17 and later. After the runner's own deadline, which gives a better message.
        limit = milliseconds(connection.deadline.remaining() + GRACE)
        return [f"set local transaction_timeout = {limit};"]

    def end(self) -> list[str]:
        """The SQL after the file."""
        session, script = self.session, self.script
        # Deferred triggers fire while the file's search_path is still in force. Twice: they may
        # themselves defer more.
        fire, commit = _AT_END
        if self.uses_prepared:
            row = session.row_of(script)
            record = session.prepared.statements(session.run, row, is_prepared=self.is_prepared)
            return [fire, fire, *OWN_SETTINGS, *record, commit]
        # A file that can't have changed the session needs nothing but the runner's search_path.
        reset = session.reset_statements(script) if script.may_change_session else OWN_SETTINGS
        record = session.record_statements(
            script, is_counted=self.is_counted, has_notes=self.has_notes
        )
        return [fire, fire, *reset, *record, commit]


class Transaction:
    """The transaction of one file, sent as often as it takes.

    `has_notes` and `is_counted` as for what is sent around the file. The second time the ledger's
    rows are compared one by one: a session's counts may be of another time.
    """

    def __init__(
        self,
        session: Session,
        script: Script,
        *,
        has_notes: bool,
        is_counted: bool,
        under_way: "UnderWay",
    ) -> None:
        self.script = script
        self._session = session
        self._connection = session.connection
        self._has_notes = has_notes
        self._is_counted = is_counted
        self._under_way = under_way
        self._uses_prepared = False
        self._steps: tuple[_Step, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The SQL of its steps."""
        return [step.text for step in self._steps]

    def attempt(self, lock_timeout: float) -> Rows:
        """Carry out the transaction, waiting `lock_timeout` seconds for each lock."""
        session = self._session
        if not self._under_way.has(self):
            self._uses_prepared = self._may_use_prepared()
            if not self._uses_prepared:
                session.prepared.forget()
            self._set_steps(lock_timeout, is_prepared=session.prepared.is_ready(session.run))
        # Before the next try, the table that this one waited for is noted.
        self._has_notes = True
        return self._carry_out()

    def followed_by(self, script: Script) -> "Transaction | None":
        """The transaction of the next file, if it may be sent before this one is answered."""
        following = Transaction(
            self._session,
            script,
            has_notes=False,
            is_counted=counts_rows(script),
            under_way=self._under_way,
        )
        may_follow = (
            script.mode is Mode.TRANSACTION
            and following._may_use_prepared()
            and self._uses_prepared
            # After the file in front, the next one may need a new session.
            and not self.script.changes_defaults
            # The server's own limit counts from the begin of each transaction: a client that is
            # frozen would have as many of them as had been sent.
            and not self._connection.deadline.is_limited
            # `check_strings` needs to know what the files before have left.
            and not script.has_backslashes
            and not any(statement.goes_alone for statement in script.statements)
        )
        if not may_follow:
            return None
        following._uses_prepared = True
        following._set_steps(self._session.lock_timeout_of(script), is_prepared=True)
        return following

    def failed_step(self, error: StatementError) -> FailedStep:
        """What was under way when the server refused it."""
        failed = self._steps[error.done]
        number = sum(step.statement is not None for step in self._steps[: error.done + 1])
        return FailedStep(failed.statement, number, is_at_end=failed.text in _AT_END)

    def keep_prepared(self) -> None:
        """Take note of what the session has after the commit."""
        if self._uses_prepared:
            self._session.prepared.keep(self._session.run)

    def _may_use_prepared(self) -> bool:
        """True if the file leaves the session's settings and prepared statements as they are."""
        session = self._session
        return (
            session.is_ledgers
            and session.run.tables.at_a_glance
            and not session.pooled
            and self._is_counted
            and not self._has_notes
            and not self.script.may_change_session
        )

    def _set_steps(self, lock_timeout: float, *, is_prepared: bool) -> None:
        frame = _Frame(
            self._session,
            self.script,
            has_notes=self._has_notes,
            is_counted=self._is_counted,
            uses_prepared=self._uses_prepared,
            is_prepared=is_prepared,
        )
        self._steps = (
            *(_Step(text.removesuffix(";")) for text in frame.beginning(lock_timeout)),
            *(_Step(statement.sent, statement) for statement in self.script.statements),
            *(_Step(text) for text in frame.end()),
        )

    def _carry_out(self) -> Rows:
        """Send the steps, those that can in one flight. `StatementError.done` counts them all."""
        rows: Rows = []
        done = 0
        parts = _flights(self._steps)
        if len(parts) == 1:
            self._session.check_strings(self.script)
            return self._under_way.carry_out(self, self._connection)
        for part in parts:
            try:
                self._session.check_strings(self.script)
                rows = self._send(part)
            except StatementError as error:
                error.done += done
                raise
            done += len(part)
            # Without this check, the rest would run, and commit, statement by statement.
            if done < len(self._steps) and not self._connection.in_transaction:
                raise _ended_by_itself(self.script)
        return rows

    def _send(self, part: "Sequence[_Step]") -> Rows:
        if part[0].goes_alone:
            return part[0].run(self._connection)
        return carry_out(self._connection, [step.text for step in part])


class UnderWay:
    """The transactions that are sent and not answered yet, in one flight.

    Behind a file's, those of the next files are sent before it is answered: otherwise a far server
    would wait a round trip for each file, and a near one for the client. Only files that leave the
    session as it is travel like this, so that nothing about the next one depends on the answers,
    and only where no deadline is to be kept.
    After an error the server skips what is left: nothing is run behind a file that failed.
    """

    def __init__(self, successors: Mapping[str, Script]) -> None:
        self._successors = successors
        self._transactions: deque[Transaction] = deque()
        self._flight: Flight | None = None

    def find(self, script: Script) -> Transaction | None:
        """The script's transaction, if it is under way: it is the first then."""
        first = self._transactions[0] if self._transactions else None
        return first if first and first.script is script else None

    def has(self, transaction: Transaction) -> bool:
        return bool(self._transactions) and self._transactions[0] is transaction

    def answered(self, script: Script) -> None:
        """Take note that it is known what has become of the script, if it was under way."""
        if self.find(script):
            self._transactions.popleft()

    def clear(self) -> tuple[Transaction, ...]:
        """Forget those that are under way, and return them."""
        transactions = tuple(self._transactions)
        self._transactions.clear()
        return transactions

    def carry_out(self, transaction: Transaction, connection: Connection) -> Rows:
        """Send the transaction, unless it is under way, and wait for its answers."""
        texts = transaction.texts
        try:
            if not self.has(transaction):
                self._transactions = deque([transaction])
                self._flight = Flight(connection, texts, self._following)
            assert self._flight is not None  # the transaction is in it
            return self._flight.read(len(texts))
        except StatementError:
            # It ended the flight, so nothing is under way any more.
            self._transactions.clear()
            raise

    def _following(self) -> Sequence[str]:
        """The SQL of the next file, if it may be sent now."""
        last = self._transactions[-1]
        script = self._successors.get(last.script.file.version)
        transaction = last.followed_by(script) if script else None
        if transaction is None:
            return ()
        self._transactions.append(transaction)
        return transaction.texts


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


def _ended_by_itself(script: Script) -> MigrationFailedError:
    """The error for a file that no check should have let through."""
    return MigrationFailedError(
        f"{script.file.path}: the file has ended its own transaction, so a part of it may stay; "
        "the rest was not run. Please report this file.",
        version=script.file.version,
    )
