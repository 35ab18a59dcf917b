"""Where to go on with a file that a run outside a transaction left half-way.

The journal says which statement came next, and whether it is in doubt: a run that was cut off can't say whether its last
statement took effect. Then the catalog is asked. What it can't tell either is named, with both ways on, and nothing is run.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lib import catalog
from lib.database import Connection
from lib.errors import LockError, MigrationFailedError
from lib.plan import Interruption
from lib.script import Script, Statement
from lib.subject import Subject, Work, subject_of

# The index was there already: it is none that this file left.
DUPLICATE_TABLE = "42P07"
# How often it is looked whether the server has ended what an earlier run began, in seconds.
POLL = 0.5


@dataclass(frozen=True)
class Recovery:
    """What it takes to go on: the file, what the journal says of it, the session, and how long to wait (seconds).

    `drop_index` drops an invalid index by its name. `tell` hears what was found, in a sentence.
    """

    script: Script
    interruption: Interruption
    connection: Connection
    patience: float
    drop_index: Callable[[str], None]
    tell: Callable[[str], None]

    def first_statement(self) -> int:
        """The index of the statement to go on with, in a session as the statements before it would have left it.

        Raises MigrationFailedError where it can't be known, LockError if the server is still at work for the earlier run.
        """
        script, at = self.script, self.interruption.checkpoint
        index = min(at.statement - 1, len(script.statements))
        if index and not script.begins_with(at.ran_before):
            raise changed_since(script, self.interruption)
        for earlier in script.statements[:index]:
            if earlier.sets_session:
                self.connection.run(earlier.text)
        if index < len(script.statements):
            if at.in_doubt and not self._is_unchanged(index):
                raise _in_doubt(script, self.interruption, index, "it was another one then")
            self._wait_for_the_server(index)
            index += self._has_taken_effect(index)
        if index:
            ran = _count(index, script)
            self.tell(f"{script.file.path}: run {self.interruption.run} had carried out {ran}; going on after that.")
        return index

    def _is_unchanged(self, index: int) -> bool:
        """Tell whether the statement that was noted is the one that stands there now."""
        with_it = self.interruption.checkpoint.with_it
        return with_it.partition(",")[0] == str(index + 1) and self.script.begins_with(with_it)

    def _wait_for_the_server(self, index: int) -> None:
        """Wait while a session of the earlier run, whose client is gone, still carries the statement out."""
        until = time.monotonic() + self.patience
        told = False
        while at_work := catalog.who_carries_out(self.connection, self.script.statements[index].text.strip()):
            pid, since = at_work
            what = f"{self.script.file.path}: the server still carries out statement {index + 1} for an earlier run"
            if time.monotonic() >= until:
                raise LockError(f"{what} (pid {pid}, since {since}). Run it again when that has ended.")
            if not told:
                self.tell(f"{what} (pid {pid}, since {since}); waiting for it.")
                told = True
            time.sleep(POLL)

    def _has_taken_effect(self, index: int) -> bool:
        statement = self.script.statements[index]
        in_doubt = self.interruption.checkpoint.in_doubt
        subject = subject_of(statement.text)
        if subject is not None:
            return self._has_subject_taken_effect(subject, index)
        if in_doubt and not statement.is_repeatable:
            raise _in_doubt(self.script, self.interruption, index, "the catalog can't tell")
        return False

    def _has_subject_taken_effect(self, subject: Subject, index: int) -> bool:
        in_doubt = self.interruption.checkpoint.in_doubt
        if subject.work is Work.CREATE:
            return self._is_index_built(subject, index)
        if subject.work is Work.DROP:
            return in_doubt and not catalog.relation_exists(self.connection, subject.index or "")
        if subject.work is Work.DETACH:
            return self._is_detached(subject)
        self._drop(catalog.invalid_indexes(self.connection, subject, by_reindex=True))
        return False

    def _is_index_built(self, subject: Subject, index: int) -> bool:
        """Tell whether the index is there and valid; one that was left invalid is dropped, to be built again."""
        in_doubt = self.interruption.checkpoint.in_doubt
        if subject.index is None:
            # Which of the table's indexes got the name that the server chose?
            if in_doubt:
                look = "select indexrelid::regclass, indisvalid from pg_index where indrelid = 'the table'::regclass"
                raise _in_doubt(self.script, self.interruption, index, f"its index has no name to look for; see {look}")
            return False
        found = catalog.find_index(self.connection, subject)
        is_ours = self._is_unchanged(index) and self.interruption.sqlstate != DUPLICATE_TABLE
        if found and not found.is_valid and is_ours:
            self._drop({found.name})
            return False
        return in_doubt and found is not None and found.is_valid

    def _is_detached(self, subject: Subject) -> bool:
        is_attached, is_half_off = catalog.is_partition(self.connection, subject)
        if is_half_off:
            self.tell(f"{self.script.file.path}: finishing what run {self.interruption.run} began.")
            self.connection.run(f"alter table {subject.table} detach partition {subject.index} finalize")
            return True
        return self.interruption.checkpoint.in_doubt and not is_attached

    def _drop(self, names: set[str]) -> None:
        for name in sorted(names):
            self.tell(f"{self.script.file.path}: run {self.interruption.run} left the index {name} invalid; dropping it.")
            self.drop_index(name)


def changed_since(script: Script, interruption: Interruption) -> MigrationFailedError:
    """The error for a file whose first statements ran in an earlier run, and are others now."""
    ran = interruption.checkpoint.statement - 1
    version = script.file.version
    return MigrationFailedError(
        f"{script.file.path}: run {interruption.run} carried out {_count(ran, script)} outside a transaction, "
        "and the file has been changed there since. Nothing of it was run.\n"
        "  Either put those statements back as they were: the next run goes on after them.\n"
        f"  Or undo what they did, and have the file run from its start:\n    {_forget(version)}",
        version=version,
    )


def moved(scripts: Iterable[Script], interruption: Interruption) -> MigrationFailedError | None:
    """The error for a file that was renamed after a run had carried a part of it out, if it is among these."""
    ran = interruption.checkpoint.statement - 1
    script = next((script for script in scripts if script.begins_with(interruption.checkpoint.ran_before)), None)
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


def _forget(version: str) -> str:
    return (
        "update public.schema_migration_runs set in_progress_version = null, in_progress_statement = null\n"
        f"     where in_progress_version = '{version}';"
    )


def _in_doubt(script: Script, interruption: Interruption, index: int, why: str) -> MigrationFailedError:
    statement: Statement = script.statements[index]
    file, run = script.file, interruption.run
    line = file.line_at(statement.offset)
    verdict = "update public.schema_migration_runs set failed_version = in_progress_version"
    return MigrationFailedError(
        f"{file.path}:{line}: it isn't known whether statement {index + 1} of {len(script.statements)} has taken effect: "
        f"{statement.head}\n"
        f"  Run {run} was cut off while it was under way, and {why}. Nothing was run. "
        "Look, say which it is, and run it again.\n"
        f"  If it has, go on after it:\n    {verdict}, in_progress_statement = {index + 2} where id = {run};\n"
        f"  If it has not, run it again:\n    {verdict} where id = {run};",
        version=file.version,
        line=line,
    )


def _count(statements: int, script: Script) -> str:
    whole = len(script.statements)
    if statements < whole:
        return f"{statements} of its {whole} statements"
    return "its one statement" if whole == 1 else f"all {whole} statements"
