"""Where to resume a file that a run outside a transaction left half-way.

The journal says which statement comes next, and whether it is in doubt: a run that was killed
cannot say whether its last statement took effect. The catalog can, for some statements. For the
others the error names the two commands that resolve the doubt, and nothing is run.
"""

import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .. import COMMAND
from ..database.connection import Connection
from ..deadline import Deadline
from ..errors import LockError, MigrationFailedError
from ..files.file_progress import Interruption
from ..files.runnable_script import Script
from ..sql.concurrent import ConcurrentOperation, OperationKind, parse_concurrent
from ..sql.session_effects import is_repeatable, leaves_session_state, sets_session
from ..time_limits import ANSWER, EARLIER_RUN_POLL
from . import index_state

_INDEXES_OF_A_TABLE = (
    "select indexrelid::regclass, indisvalid from pg_index where indrelid = 'the table'::regclass"
)

# The pid of a session, and since when its statement runs.
Who = tuple[str, str]


@dataclass(frozen=True)
class Recovery:
    """Finds the statement to resume at, and clears away what an earlier run left behind.

    `timeout` (seconds) limits the wait for a statement of the earlier run. `check` raises if the
    run may not go on. `carry_out` runs a clean-up statement as one of the file's. `tell` receives
    what was found, as a sentence.
    """

    script: Script
    interruption: Interruption
    connection: Connection
    timeout: float
    check: Callable[[], None]
    carry_out: Callable[[str], None]
    tell: Callable[[str], None]

    def first_statement(self) -> int:
        """Return the index of the statement to resume at; the session has the settings before it.

        Raises MigrationFailedError if it cannot be known, LockError if the server still carries
        out a statement of the earlier run.
        """
        script = self.script
        index = max(0, min(self.interruption.checkpoint.statement - 1, len(script.statements)))
        _check_unchanged(script, self.interruption, index)
        if index < len(script.statements):
            # Before any role of the file's is set, which might not see the other session.
            unit = script.statements[index : script.block_end(index)]
            self._wait_while(
                index, lambda: index_state.who_carries_out(self.connection, [s.sent for s in unit])
            )
        # The new session lacks what the file has set, as its search_path.
        for earlier in script.statements[:index]:
            if sets_session(earlier):
                self.connection.run(earlier.sent)
        if index < len(script.statements) and self._has_taken_effect(index):
            index = script.block_end(index)
        if index:
            run, ran = self.interruption.run, _count(index, script)
            self.tell(f"{script.file.path}: run {run} had carried out {ran}; resuming after that.")
        return index

    def _wait_while(self, index: int, who: Callable[[], Who | None]) -> None:
        """Wait while a session of an earlier run, whose client is gone, still works on `index`."""
        deadline = Deadline.after(self.timeout)
        # Said once: the wait may last for hours.
        is_told = False
        while at_work := self._look(who):
            pid, since = at_work
            what = (
                f"{self.script.file.path}: the server still carries out statement {index + 1} "
                f"for an earlier run (pid {pid}, since {since})"
            )
            if deadline.has_passed():
                raise LockError(f"{what}. Run it again when that has ended.")
            if not is_told:
                self.tell(f"{what}; waiting for it.")
                is_told = True
            # Polled: there is no event by which a session learns that another one has ended.
            time.sleep(EARLIER_RUN_POLL)
            self.check()

    def _look(self, who: Callable[[], Who | None]) -> Who | None:
        with self.connection.limit_to(
            ANSWER, "The database stopped answering, outside of any migration."
        ):
            return who()

    def _has_taken_effect(self, index: int) -> bool:
        statement = self.script.statements[index]
        is_in_doubt = self.interruption.checkpoint.in_doubt
        operation = parse_concurrent(statement.text)
        if operation is not None:
            return self._has_operation_taken_effect(operation, index)
        if is_in_doubt and not is_repeatable(statement):
            raise in_doubt_error(self.script, self.interruption, index, "the catalog cannot tell")
        return False

    def _has_operation_taken_effect(self, operation: ConcurrentOperation, index: int) -> bool:
        is_in_doubt = self.interruption.checkpoint.in_doubt
        if operation.kind is OperationKind.CREATE:
            return self._is_index_built(operation, index)
        if operation.kind is OperationKind.DROP:
            return is_in_doubt and not index_state.relation_exists(
                self.connection, operation.relation or ""
            )
        if operation.kind is OperationKind.DETACH:
            return self._is_detached(operation)
        if self._has_begun(index):
            self._drop(index_state.invalid_indexes(self.connection, operation, by_reindex=True))
        return False

    def _has_begun(self, index: int) -> bool:
        """True if this very statement had begun, so that it may have left an index behind."""
        sqlstate = self.interruption.sqlstate
        # Refused because the name was taken: the index under that name is not from this file.
        refused = sqlstate in (None, index_state.DUPLICATE_TABLE)
        had_begun = self.interruption.checkpoint.in_doubt or not refused
        return had_begun and _is_the_same(self.script, self.interruption, index)

    def _is_index_built(self, operation: ConcurrentOperation, index: int) -> bool:
        """True if the index exists and is valid; an invalid one is dropped, to be built again."""
        is_in_doubt = self.interruption.checkpoint.in_doubt
        if operation.relation is None:
            # The server chose the name, so nobody knows which of the table's indexes it is.
            if is_in_doubt:
                why = f"its index has no name to look for; see {_INDEXES_OF_A_TABLE}"
                raise in_doubt_error(self.script, self.interruption, index, why)
            return False
        found = index_state.find_index(self.connection, operation)
        if found and not found.is_valid:
            invalid = found
            self._wait_while(index, lambda: index_state.who_builds(self.connection, invalid))
            found = index_state.find_index(self.connection, operation)
        if found and not found.is_valid and self._has_begun(index):
            self._drop({found.name})
            return False
        return is_in_doubt and found is not None and found.is_valid

    def _is_detached(self, operation: ConcurrentOperation) -> bool:
        is_attached, is_half_off = index_state.is_partition(self.connection, operation)
        if is_half_off:
            self.tell(f"{self.script.file.path}: finishing what run {self.interruption.run} began.")
            self.check()
            # FINALIZE completes a DETACH CONCURRENTLY that was cut off (manual, ALTER TABLE).
            self.carry_out(
                f"alter table {operation.table} detach partition {operation.relation} finalize"
            )
            return True
        return self.interruption.checkpoint.in_doubt and not is_attached

    def _drop(self, names: set[str]) -> None:
        path, run = self.script.file.path, self.interruption.run
        for name in sorted(names):
            self.tell(f"{path}: run {run} left the index {name} invalid; dropping it.")
            self.check()
            # IF EXISTS: somebody may have dropped it in the meantime.
            self.carry_out(f"drop index concurrently if exists {name}")


def _check_unchanged(script: Script, interruption: Interruption, index: int) -> None:
    """Raise if the statements before `index` have changed, or made what ended with their session.

    Also if the statement in doubt at `index` has changed.
    """
    at = interruption.checkpoint
    # A verdict by hand, as earlier versions asked for, leaves the digests behind the number.
    if index and not any(
        digest is not None and digest.count >= index and script.begins_with(digest)
        for digest in (at.completed, at.including_next)
    ):
        raise changed_error(script, interruption)
    if index == len(script.statements):
        return
    for number, earlier in enumerate(script.statements[:index]):
        # A temporary table, a cursor, a prepared statement: what follows may need it.
        if leaves_session_state(earlier):
            raise _session_gone_error(script, interruption, number)
    if at.in_doubt and not _is_the_same(script, interruption, index):
        raise in_doubt_error(script, interruption, index, "it has changed since")


def _is_the_same(script: Script, interruption: Interruption, index: int) -> bool:
    """True if the statement, or block, that was under way is the one at `index` now."""
    noted = interruption.checkpoint.including_next
    return noted == script.digests[script.block_end(index)]


def changed_error(script: Script, interruption: Interruption) -> MigrationFailedError:
    """The error for a file whose first statements ran in an earlier run, and have changed since."""
    at, version = interruption.checkpoint, script.file.version
    ran = _count(max(0, at.statement - 1), script)
    what = "and they have changed since" if at.completed else "and kept no digest of them"
    restore = "  Either restore them: the next run resumes after them.\n" if at.completed else ""
    return MigrationFailedError(
        f"{script.file.path}: run {interruption.run} carried out {ran} outside a transaction, "
        f"{what}. Nothing was run.\n{restore}{_from_start(version)}",
        version=version,
    )


def renamed_half_way_error(
    scripts: Iterable[Script], interruption: Interruption
) -> MigrationFailedError | None:
    """The error for a file that was renamed after a part of it ran; None if none of these is it."""
    at = interruption.checkpoint
    script = next((script for script in scripts if script.begins_with(at.completed)), None)
    if at.statement <= 1 or script is None:
        return None
    version = script.file.version
    ran = _count(at.statement - 1, script)
    return MigrationFailedError(
        f"{script.file.path}: run {interruption.run} carried out {ran} outside a transaction, "
        f"when its name was {at.version}. Nothing was run.\n"
        "  Either restore that name: the next run resumes where that run stopped.\n"
        f"  Or let the record follow:\n    {_resolve(version, '--renamed-from', at.version)}\n"
        f"{_from_start(at.version)}",
        version=version,
    )


def in_doubt_error(
    script: Script, interruption: Interruption, index: int, why: str
) -> MigrationFailedError:
    """The error for a statement, or transaction block, that may have taken effect or not."""
    file, end = script.file, script.block_end(index)
    line = file.line_at(script.statements[index].offset)
    is_block = end > index + 1
    what = f"the block of statements {index + 1} to {end}" if is_block else f"statement {end}"
    return MigrationFailedError(
        f"{file.path}:{line}: it is not known whether {what} of {len(script.statements)} has taken "
        f"effect: {script.statements[index].head}\n"
        f"  Run {interruption.run} was cut off while it was under way, and {why}. "
        "Nothing was run. Look at the database, record what you find, and run it again.\n"
        f"  If it took effect, resume after it:\n    {_resolve(file.version, '--took-effect')}\n"
        f"  If it did not, run it again:\n    {_resolve(file.version, '--did-not')}",
        version=file.version,
        line=line,
    )


def _session_gone_error(
    script: Script, interruption: Interruption, index: int
) -> MigrationFailedError:
    file, statement = script.file, script.statements[index]
    line = file.line_at(statement.offset)
    ran = _count(interruption.checkpoint.statement - 1, script)
    return MigrationFailedError(
        f"{file.path}:{line}: run {interruption.run} carried out {ran}, and what this one made "
        f"ended with its session: {statement.head}\n"
        "  Nothing was run, since the rest of the file may need it.\n"
        f"{_from_start(file.version, first='Undo')}",
        version=file.version,
        line=line,
    )


def _from_start(version: str, *, first: str = "Or undo") -> str:
    command = _resolve(version, "--from-start")
    return f"  {first} what they did, and have the file run from its start:\n    {command}"


def _resolve(version: str, *verdict: str) -> str:
    """The command that records a verdict (`edits.resolve`)."""
    return f"{COMMAND} {shlex.join(('resolve', version, *verdict))}"


def _count(statements: int, script: Script) -> str:
    whole = len(script.statements)
    if statements < whole:
        return f"{statements} of its {whole} statements"
    return "its one statement" if whole == 1 else f"all {whole} statements"
