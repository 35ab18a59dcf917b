"""Where to go on with a file that a run outside a transaction left half-way.

The journal says which statement came next, and whether it is in doubt: a run that was cut off can't say whether its last
statement took effect. Then the catalog is asked. What it can't tell either is named, with both ways on, and nothing is run.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..database.connection import Connection
from ..deadline import Deadline
from ..errors import LockError, MigrationFailedError
from ..files.checkpoint import Interruption
from ..files.script import Script
from ..limits import ANSWER, EARLIER_RUN_POLL
from ..sql.concurrent import ConcurrentOperation, OperationKind, parse_concurrent
from ..sql.effects import is_repeatable, leaves_session_state, sets_session
from . import catalog

# The index was there already: it is none that this file left.
DUPLICATE_TABLE = "42P07"

Who = tuple[str, str]


@dataclass(frozen=True)
class Recovery:
    """What it takes to go on: the file, what the journal says of it, the session, and how long to wait (seconds).

    `check` raises when the run may not go on. `carry_out` runs a statement that puts something in order, as one of the
    file's would run. `tell` hears what was found, in a sentence.
    """

    script: Script
    interruption: Interruption
    connection: Connection
    timeout: float
    check: Callable[[], None]
    carry_out: Callable[[str], None]
    tell: Callable[[str], None]

    def first_statement(self) -> int:
        """The index of the statement to go on with, in a session that has what the statements before it had set.

        Raises MigrationFailedError where it can't be known, LockError if the server is still at work for the earlier run.
        """
        script = self.script
        index = max(0, min(self.interruption.checkpoint.statement - 1, len(script.statements)))
        self._check_unchanged(index)
        if index < len(script.statements):
            # Before any role of the file's, which might not see it.
            unit = script.statements[index : script.block_end(index)]
            self._wait_while(
                index, lambda: catalog.who_carries_out(self.connection, [s.sent for s in unit])
            )
        for earlier in script.statements[:index]:
            if sets_session(earlier):
                self.connection.run(earlier.sent)
        if index < len(script.statements) and self._has_taken_effect(index):
            index = script.block_end(index)
        if index:
            ran = _count(index, script)
            self.tell(
                f"{script.file.path}: run {self.interruption.run} had carried out {ran}; going on after that."
            )
        return index

    def _check_unchanged(self, index: int) -> None:
        """Stop if what would be skipped is not what ran, or had made what only its own session had."""
        at = self.interruption.checkpoint
        if index and not any(
            digest is not None and digest.count >= index and self.script.begins_with(digest)
            for digest in (at.completed, at.including_next)
        ):
            raise changed_since(self.script, self.interruption)
        for place, earlier in enumerate(self.script.statements[:index]):
            if leaves_session_state(earlier) and index < len(self.script.statements):
                raise _session_gone(self.script, self.interruption, place)
        if at.in_doubt and index < len(self.script.statements) and not self._is_the_same(index):
            raise in_doubt(self.script, self.interruption, index, "it was another one then")

    def _is_the_same(self, index: int) -> bool:
        """Tell whether the statement that was noted is the one that stands there now."""
        noted = self.interruption.checkpoint.including_next
        return noted == self.script.digests[self.script.block_end(index)]

    def _wait_while(self, index: int, who: Callable[[], Who | None]) -> None:
        """Wait while a session of an earlier run, whose client is gone, is still at it."""
        deadline = Deadline.after(self.timeout)
        told = False
        while at_work := self._look(who):
            pid, since = at_work
            what = f"{self.script.file.path}: the server still carries out statement {index + 1} for an earlier run"
            if deadline.has_passed():
                raise LockError(
                    f"{what} (pid {pid}, since {since}). Run it again when that has ended."
                )
            if not told:
                self.tell(f"{what} (pid {pid}, since {since}); waiting for it.")
                told = True
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
            raise in_doubt(self.script, self.interruption, index, "the catalog can't tell")
        return False

    def _has_operation_taken_effect(self, operation: ConcurrentOperation, index: int) -> bool:
        is_in_doubt = self.interruption.checkpoint.in_doubt
        if operation.kind is OperationKind.CREATE:
            return self._is_index_built(operation, index)
        if operation.kind is OperationKind.DROP:
            return is_in_doubt and not catalog.relation_exists(
                self.connection, operation.relation or ""
            )
        if operation.kind is OperationKind.DETACH:
            return self._is_detached(operation)
        if self._was_begun(index):
            self._drop(catalog.invalid_indexes(self.connection, operation, by_reindex=True))
        return False

    def _was_begun(self, index: int) -> bool:
        """Tell whether this very statement had begun, so that what it leaves behind may be there."""
        sqlstate = self.interruption.sqlstate
        had_begun = self.interruption.checkpoint.in_doubt or sqlstate not in (None, DUPLICATE_TABLE)
        return had_begun and self._is_the_same(index)

    def _is_index_built(self, operation: ConcurrentOperation, index: int) -> bool:
        """Tell whether the index is there and valid; one that was left invalid is dropped, to be built again."""
        is_in_doubt = self.interruption.checkpoint.in_doubt
        if operation.relation is None:
            # Which of the table's indexes got the name that the server chose?
            if is_in_doubt:
                look = "select indexrelid::regclass, indisvalid from pg_index where indrelid = 'the table'::regclass"
                raise in_doubt(
                    self.script,
                    self.interruption,
                    index,
                    f"its index has no name to look for; see {look}",
                )
            return False
        found = catalog.find_index(self.connection, operation)
        if found and not found.is_valid:
            invalid = found
            self._wait_while(index, lambda: catalog.who_builds(self.connection, invalid))
            found = catalog.find_index(self.connection, operation)
        if found and not found.is_valid and self._was_begun(index):
            self._drop({found.name})
            return False
        return is_in_doubt and found is not None and found.is_valid

    def _is_detached(self, operation: ConcurrentOperation) -> bool:
        is_attached, is_half_off = catalog.is_partition(self.connection, operation)
        if is_half_off:
            self.tell(f"{self.script.file.path}: finishing what run {self.interruption.run} began.")
            self.check()
            self.carry_out(
                f"alter table {operation.table} detach partition {operation.relation} finalize"
            )
            return True
        return self.interruption.checkpoint.in_doubt and not is_attached

    def _drop(self, names: set[str]) -> None:
        for name in sorted(names):
            self.tell(
                f"{self.script.file.path}: run {self.interruption.run} left the index {name} invalid; dropping it."
            )
            self.check()
            self.carry_out(f"drop index concurrently if exists {name}")


def changed_since(script: Script, interruption: Interruption) -> MigrationFailedError:
    """The error for a file whose first statements ran in an earlier run, and are others now."""
    at, version = interruption.checkpoint, script.file.version
    ran = _count(max(0, at.statement - 1), script)
    what = (
        "and the file has been changed there since"
        if at.completed
        else "and kept no digest of them"
    )
    back = (
        "  Either put those statements back as they were: the next run goes on after them.\n"
        if at.completed
        else ""
    )
    return MigrationFailedError(
        f"{script.file.path}: run {interruption.run} carried out {ran} outside a transaction, {what}. Nothing was run.\n"
        f"{back}  Or undo what they did, and have the file run from its start:\n    {_forget(version)}",
        version=version,
    )


def moved(scripts: Iterable[Script], interruption: Interruption) -> MigrationFailedError | None:
    """The error for a file that was renamed after a run had carried a part of it out, if it is among these."""
    ran = interruption.checkpoint.statement - 1
    script = next(
        (script for script in scripts if script.begins_with(interruption.checkpoint.completed)),
        None,
    )
    if ran < 1 or script is None:
        return None
    was, version = interruption.checkpoint.version, script.file.version
    return MigrationFailedError(
        f"{script.file.path}: run {interruption.run} carried out {_count(ran, script)} outside a transaction, when it was "
        f"called {was}. Nothing was run.\n"
        "  Either give it that name again: the next run goes on where that one stopped.\n"
        "  Or let the record follow it:\n"
        f"    update public.schema_migration_runs set in_progress_version = '{version}' where id = {interruption.run};\n"
        f"  Or undo what they did, and have it run from its start:\n    {_forget(was)}",
        version=version,
    )


def in_doubt(
    script: Script, interruption: Interruption, index: int, why: str
) -> MigrationFailedError:
    """The error for a statement, or a block of the file's own, of which nobody knows whether it has taken effect."""
    file, run, end = script.file, interruption.run, script.block_end(index)
    line = file.line_at(script.statements[index].offset)
    what = (
        f"statement {index + 1}"
        if end == index + 1
        else f"the block of statements {index + 1} to {end}"
    )
    verdict = "update public.schema_migration_runs set failed_version = in_progress_version"
    return MigrationFailedError(
        f"{file.path}:{line}: it isn't known whether {what} of {len(script.statements)} has taken effect: "
        f"{script.statements[index].head}\n"
        f"  Run {run} was cut off while it was under way, and {why}. Nothing was run. "
        "Look, say which it is, and run it again.\n"
        f"  If it has, go on after it:\n    {verdict}, in_progress_statement = {end + 1} where id = {run};\n"
        f"  If it has not, run it again:\n    {verdict} where id = {run};",
        version=file.version,
        line=line,
    )


def _session_gone(script: Script, interruption: Interruption, place: int) -> MigrationFailedError:
    file, statement = script.file, script.statements[place]
    line = file.line_at(statement.offset)
    ran = _count(interruption.checkpoint.statement - 1, script)
    return MigrationFailedError(
        f"{file.path}:{line}: run {interruption.run} carried out {ran}, and what this one made ended with its session: "
        f"{statement.head}\n"
        "  Nothing was run, since the rest of the file may need it. Undo what those statements did, and have the file run "
        f"from its start:\n    {_forget(file.version)}",
        version=file.version,
        line=line,
    )


def _forget(version: str) -> str:
    return (
        "update public.schema_migration_runs set in_progress_version = null, in_progress_statement = null "
        f"where in_progress_version = '{version}';"
    )


def _count(statements: int, script: Script) -> str:
    whole = len(script.statements)
    if statements < whole:
        return f"{statements} of its {whole} statements"
    return "its one statement" if whole == 1 else f"all {whole} statements"
