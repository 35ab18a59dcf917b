"""A file outside a transaction: one statement after the other, each on record before it starts."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from ..database.composing import keepalives
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.settling import Settled
from ..database.transport import Rows
from ..errors import DatabaseUnavailableError, MigrationFailedError, MigratorError, OutOfTimeError
from ..files.checkpoint import Checkpoint, Interruption
from ..files.script import Script
from ..ledger.records import record_alone
from ..ledger.runs import Contents, note_progress, read_contents
from ..ledger.trust import distrust
from ..limits import CANCEL, CONNECTION_CHECK_MS, DROP_INDEX, IDLE_IN_FILE, NOTE_STATEMENT
from ..sql.concurrent import (
    ConcurrentOperation,
    OperationKind,
    is_concurrent,
    parse_concurrent,
    waits_without_lock_timeout,
)
from ..sql.effects import resets_session
from ..sql.statement import Statement
from ..sql.transaction_control import begins_block, ends_block, may_commit_inside
from . import catalog
from .recording_errors import FailedStep
from .resume import DUPLICATE_TABLE, Recovery
from .session import GONE, Session
from .statement_errors import statement_error
from .table_waits import TableWait

T = TypeVar("T")

# The parameters that a statement names where it may set them.
_SETS = re.compile(r"\bset(?:_config\s*\(\s*'|\s+(?:session\s+|local\s+)?)\"?(\w+)", re.IGNORECASE)


class StatementRun:
    """The run of one such file. `checkpoint` is where it has come to; None before its first statement, and at its end."""

    def __init__(self, session: Session, script: Script) -> None:
        self.session = session
        self.connection = session.connection
        self.script = script
        self.checkpoint: Checkpoint | None = None
        self._settings: dict[str, str] = {}
        # What the statements before the one at `_read` may have set themselves.
        self._set_by_file: set[str] = set()
        self._read = 0
        self._block_began: int | None = None
        self._may_observe = True
        self._reset = ";".join(session.reset_statements(script))
        self.run = session.run
        self._has_begun = False

    def apply(self, interruption: Interruption | None) -> int | None:
        """Run what is left of the file and record it; returns milliseconds, or None if another run had recorded it.

        What a statement sets in the session is undone at the end, also when it fails.
        """
        try:
            with self.connection.cleaning_up_with(self._reset):
                return self._run_all(interruption)
        except BaseException:
            self._reset_session()
            raise

    def _run_all(self, interruption: Interruption | None) -> int | None:
        began = time.monotonic()
        first = self._recover(interruption) if interruption else 0
        for index in range(first, len(self.script.statements)):
            self._run(index)
        self._check_ended()
        return self._record(round((time.monotonic() - began) * 1000))

    def _recover(self, interruption: Interruption) -> int:
        """The index of the statement to go on with, after what an earlier run left half-way has been put in order."""
        recovery = Recovery(
            script=self.script,
            interruption=interruption,
            connection=self.connection,
            timeout=self.session.run_wait,
            check=self.session.check,
            carry_out=self._put_in_order,
            tell=self.session.progress.recovering,
        )
        try:
            return recovery.first_statement()
        except StatementError as error:
            self.connection.settle()
            raise statement_error(self.session, self.script, error) from None

    def _put_in_order(self, text: str) -> None:
        """Carry out a statement of ours as one of the file's: `… concurrently` without a lock timeout."""
        statement = Statement(text, 0, len(text), terminated=False)
        lock_timeout = self.session.lock_timeout_of(self.script, statement)
        self._set(self.session.timeouts(self.script, lock_timeout))
        wait = TableWait(self.session, self.script, statement)
        wait.with_retries(lambda _: self.connection.run(text))

    def _run(self, index: int) -> None:
        statement = self.script.statements[index]
        self.session.check()
        self.session.check_strings(self.script)
        if not self.connection.in_transaction:
            self._block_began = None
            self._note(index)
            self._set_up(index)
            self._block_began = index if begins_block(statement) else None
        is_in_block = self._block_began is not None
        leftovers: _Leftovers | None = None
        # Inside a transaction of the file's own only the whole of it could be tried again; a procedure may have
        # committed before it failed.
        once = is_in_block or statement.command in ("CALL", "DO")
        try:
            leftovers = None if is_in_block else _leftovers_of(self.connection, statement)
            self._carry_out(statement, self._attempt(index, leftovers), once=once)
        except StatementError as error:
            stays = index if self._block_began is None else self._block_began
            more = leftovers.text if leftovers else ""
            step = FailedStep(statement, index + 1, stays=stays, more=more)
            raise statement_error(self.session, self.script, error, step) from None
        except OutOfTimeError as error:
            where = f"statement {index + 1} of the {len(self.script.statements)} in {self.script.file.path}"
            raise OutOfTimeError(f"{error} It was at {where}.") from None
        if leftovers and (fault := leftovers.fault(self.script, index)):
            self._doubt(in_doubt=False)
            raise fault
        if self.connection.in_transaction:
            # Nothing of the block has taken effect before its COMMIT.
            self._doubt(in_doubt=False)
        else:
            self._mark_run(index)

    def _carry_out(self, statement: Statement, attempt: Callable[[], Rows], *, once: bool) -> None:
        wait = TableWait(self.session, self.script, statement)
        if once:
            wait.once(attempt)
        else:
            wait.with_retries(lambda _: attempt())

    def _attempt(self, index: int, leftovers: "_Leftovers | None") -> Callable[[], Rows]:
        statement = self.script.statements[index]

        def attempt() -> Rows:
            if leftovers:
                leftovers.drop()
            self._doubt()
            try:
                return self.connection.run(statement.sent, copy_data=statement.copy_chunks())
            except StatementError as error:
                self._doubt(in_doubt=may_commit_inside(statement) and self._block_began is None)
                self.connection.settle()
                if leftovers and error.server_error.sqlstate != DUPLICATE_TABLE:
                    leftovers.clear_away()
                raise
            except BaseException:
                self._judge(index)
                raise

        return attempt

    def _judge(self, index: int) -> None:
        """Say what became of a statement that was cut off, as far as the server has confirmed it."""
        statement = self.script.statements[index]
        settled_as = self.connection.settled_as
        if self.connection.is_closed or settled_as is Settled.UNKNOWN:
            return
        is_in_block = self._block_began is not None
        if settled_as is Settled.FINISHED and (ends_block(statement) or not is_in_block):
            self._mark_run(index)
        else:
            # What stood in a block was rolled back with it. Of an index the catalog is asked.
            self._doubt(
                in_doubt=not is_in_block
                and (may_commit_inside(statement) or is_concurrent(statement))
            )

    def _note(self, index: int) -> None:
        """Note which statement is next, in a session that no statement of the file may have given another role."""
        checkpoint = self.script.checkpoint(index)
        what = f"Statement {index + 1} of {len(self.script.statements)} is next, or under way."
        session = self._noting_session(index)
        with session.limit_to(
            NOTE_STATEMENT, "The database stopped answering between two statements."
        ):
            contents = self._of_tables(
                index, lambda: note_progress(session, self.run, checkpoint, what)
            )
        self._check_contents(index, contents)
        if not contents.is_under_way:
            raise DatabaseUnavailableError(
                "Another run has begun meanwhile, and has marked this one as interrupted: it stopped before its next step."
            )
        self.checkpoint = checkpoint

    def _of_tables(self, index: int, ask: Callable[[], T]) -> T:
        """Ask the runner's tables; what fails there after a statement of the file has run, is that one's doing."""
        try:
            return ask()
        except StatementError as error:
            if error.server_error.sqlstate in GONE and self._has_begun:
                raise self._meddled(index) from None
            raise distrust(error) or error from None

    def _check_contents(self, index: int, contents: Contents) -> None:
        """Stop if the statement before the one at `index` has taken rows out of the runner's tables, or changed them."""
        if not self._has_begun:
            self._has_begun = True
            self.run = replace(self.run, contents=contents)
        elif contents.word != self.run.contents.word:
            raise self._meddled(index)

    def _meddled(self, index: int) -> MigrationFailedError:
        file, statement = self.script.file, self.script.statements[index - 1]
        line = file.line_at(statement.offset)
        return MigrationFailedError(
            f"{file.path}:{line}: statement {index} of {len(self.script.statements)} has changed the runner's own tables, "
            f"public.schema_migrations or public.schema_migration_runs, and it ran outside a transaction, so that stays: "
            f"{statement.head}\n  Put them back as they were before anything is run again, from a backup or with "
            "`baseline`: by what they hold now, files would be applied again, or production's claim is lost. Then take the "
            "statement out.",
            version=file.version,
            line=line,
        )

    def _noting_session(self, index: int) -> Connection:
        """The file's own session, until it may have been changed; then another, if one is to be had."""
        if self._may_observe and self.script.may_have_changed_session(index):
            try:
                return self.session.observer.session(timeout=CANCEL)
            except DatabaseUnavailableError:
                self._may_observe = False
        return self.connection

    def _set_up(self, index: int) -> None:
        """Set what the next statement needs, but for what an earlier one of the file has set itself."""
        if self.session.pooled:
            return
        statement = self.script.statements[index]
        lock_timeout = self.session.lock_timeout_of(self.script, statement)
        if index and resets_session(self.script.statements[index - 1]):
            self._settings = {}
        settings = [
            *self.session.timeouts(self.script, lock_timeout),
            *keepalives(""),
            f"set idle_in_transaction_session_timeout = '{IDLE_IN_FILE:g}s';",
        ]
        if self.session.notices_departure:
            # A build of an index that has lost its client is worth more when it is finished.
            check = 0 if waits_without_lock_timeout(statement) else CONNECTION_CHECK_MS
            settings.append(f"set client_connection_check_interval = {check};")
        for earlier in self.script.statements[self._read : index]:
            self._set_by_file |= {name.lower() for name in _SETS.findall(earlier.text)}
        self._read = index
        self._set([setting for setting in settings if setting.split()[1] not in self._set_by_file])

    def _set(self, settings: list[str]) -> None:
        changed = {setting.split()[1]: setting for setting in settings}
        changed = {
            name: setting
            for name, setting in changed.items()
            if self._settings.get(name) != setting
        }
        if changed and not self.session.pooled:
            self.connection.run("".join(changed.values()))
            self._settings |= changed

    def _doubt(self, *, in_doubt: bool = True) -> None:
        if self.checkpoint:
            self.checkpoint = replace(self.checkpoint, in_doubt=in_doubt)

    def _mark_run(self, index: int) -> None:
        self.checkpoint = self.script.checkpoint(index + 1)

    def _check_ended(self) -> None:
        if self.connection.in_transaction:
            self.connection.settle()
            self._doubt(in_doubt=False)
            file = self.script.file
            raise MigrationFailedError(
                f"{file.path}: the file begins a transaction and never ends it; it was rolled back. Add its COMMIT.",
                version=file.version,
            )

    def _record(self, elapsed: int) -> int | None:
        """Write the ledger row, in place of which another run's may have appeared by now."""
        with self.connection.extend_deadline(CANCEL):
            if not self.session.pooled:
                # A message of its own: a session that was made read-only is so to the end of its transaction.
                self.connection.run(self._reset)
            last = len(self.script.statements)
            self._check_contents(
                last, self._of_tables(last, lambda: read_contents(self.connection, self.run))
            )
            try:
                row = self.session.row_of(self.script, elapsed)
                self.run = record_alone(self.connection, self.run, row)
            except StatementError as error:
                if self.session.find_recorded(self.script)[0] is None:
                    step = FailedStep(None, last)
                    raise statement_error(self.session, self.script, error, step) from None
                return None
            except OutOfTimeError:
                path = self.script.file.path
                raise OutOfTimeError(
                    f"{path} was carried out, and could not be recorded in time; the next run does."
                ) from None
        self.checkpoint = None
        return elapsed

    def _reset_session(self) -> None:
        """Undo what a file that failed has set; through a pooler it could set nothing."""
        self.connection.settle()
        if self.session.pooled or self.connection.is_closed:
            return
        try:
            with self.connection.extend_deadline(CANCEL):
                self.connection.run(self._reset)
        except (StatementError, MigratorError):
            self.connection.close()


def _leftovers_of(connection: Connection, statement: Statement) -> "_Leftovers | None":
    operation = parse_concurrent(statement.text) if is_concurrent(statement) else None
    return (
        _Leftovers(connection, operation)
        if operation and operation.kind in (OperationKind.CREATE, OperationKind.REINDEX)
        else None
    )


class _Leftovers:
    """What an index build CONCURRENTLY leaves invalid is dropped, and an index that is invalid is no success."""

    def __init__(self, connection: Connection, operation: ConcurrentOperation) -> None:
        self._connection = connection
        self._operation = operation
        self._names: set[str] = set()
        self._before = self._invalid()

    def clear_away(self) -> None:
        """Drop what a build that failed has left; an index that can't be dropped right now is the next run's to drop."""
        with (
            suppress(StatementError, MigratorError),
            self._connection.extend_deadline(DROP_INDEX),
        ):
            self._names = self._invalid() - self._before
            self.drop()

    def drop(self) -> None:
        """Drop what an earlier try has left; raises StatementError as a statement of the file does."""
        for name in sorted(self._names & self._invalid() if self._names else ()):
            self._connection.run(f"drop index concurrently if exists {name}")
        self._names = set()

    def _invalid(self) -> set[str]:
        """The invalid indexes that may be this statement's: the one that it names, else those of its table."""
        if self._operation.kind is OperationKind.CREATE and self._operation.relation:
            found = catalog.find_index(self._connection, self._operation)
            return (
                {found.name}
                if found and not found.is_valid and not catalog.who_builds(self._connection, found)
                else set()
            )
        by_reindex = self._operation.kind is OperationKind.REINDEX
        return catalog.invalid_indexes(self._connection, self._operation, by_reindex=by_reindex)

    @property
    def text(self) -> str:
        if not self._names:
            return ""
        names = ", ".join(sorted(self._names))
        if self._operation.kind is OperationKind.CREATE and not self._operation.relation:
            return f"\n  It left {names} invalid. Drop it: drop index concurrently {names};"
        return f"\n  It left {names} invalid, which the next run drops first."

    def fault(self, script: Script, index: int) -> MigrationFailedError | None:
        """What is wrong with an index that `if not exists` took for a good one: some build has left it invalid."""
        if not (self._operation.if_not_exists and self._operation.relation):
            return None
        found = catalog.find_index(self._connection, self._operation)
        if found is None or found.is_valid:
            return None
        file = script.file
        line = file.line_at(script.statements[index].offset)
        return MigrationFailedError(
            f"{file.path}:{line}: the index {found.name} was there already, and it is INVALID, since some build of it was "
            f"cut off. Drop it and run this again: drop index concurrently {found.name};",
            version=file.version,
            sqlstate=DUPLICATE_TABLE,
            line=line,
        )
