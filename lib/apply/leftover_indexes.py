"""Indexes that a build CONCURRENTLY leaves invalid: found, dropped, never taken for a success."""

from contextlib import suppress

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import MigrationFailedError, MigratorError
from ..files.runnable_script import Script
from ..sql.concurrent import ConcurrentOperation, OperationKind, is_concurrent, parse_concurrent
from ..sql.statement import Statement
from ..time_limits import DROP_INDEX
from . import index_state
from .resume import DUPLICATE_TABLE


def leftovers_of(connection: Connection, statement: Statement) -> "Leftovers | None":
    """The leftovers of an index build CONCURRENTLY; None for every other statement."""
    operation = parse_concurrent(statement.text) if is_concurrent(statement) else None
    # DROP INDEX and DETACH PARTITION leave no index; what they leave half done, `resume` finishes.
    if operation is None or operation.kind not in (OperationKind.CREATE, OperationKind.REINDEX):
        return None
    return Leftovers(connection, operation)


class Leftovers:
    """What one statement leaves invalid. Indexes that were invalid before it are not its own."""

    def __init__(self, connection: Connection, operation: ConcurrentOperation) -> None:
        self._connection = connection
        self._operation = operation
        self._names: set[str] = set()
        # Before the statement: somebody else's invalid index must not be dropped as ours.
        self._before = self._invalid()

    def clear_away(self) -> None:
        """Drop what a failed build has left; if the table is busy now, the next run drops it."""
        with suppress(StatementError, MigratorError), self._connection.extend_deadline(DROP_INDEX):
            # A build that fails leaves an invalid index, which slows writes down and makes the name
            # taken (PostgreSQL manual, "Building Indexes Concurrently").
            self._names = self._invalid() - self._before
            self.drop()

    def drop(self) -> None:
        """Drop what an earlier try has left; raises StatementError as the file's statements do."""
        # Looked up again: somebody may have dropped or rebuilt the index during the pause.
        for name in sorted(self._names & self._invalid() if self._names else ()):
            self._connection.run(f"drop index concurrently if exists {name}")
        self._names = set()

    def _invalid(self) -> set[str]:
        """The invalid indexes that may be the statement's: the one it names, or its table's."""
        operation = self._operation
        if operation.kind is OperationKind.CREATE and operation.relation:
            found = index_state.find_index(self._connection, operation)
            # Invalid is also an index that another session is building now.
            is_left = (
                found and not found.is_valid and not index_state.who_builds(self._connection, found)
            )
            return {found.name} if found and is_left else set()
        by_reindex = operation.kind is OperationKind.REINDEX
        return index_state.invalid_indexes(self._connection, operation, by_reindex=by_reindex)

    @property
    def advice(self) -> str:
        """What is still there after the failure, for the end of its message."""
        if not self._names:
            return ""
        names = ", ".join(sorted(self._names))
        if self._operation.kind is OperationKind.CREATE and not self._operation.relation:
            # Without a name in the file, the next run cannot know whose index it is.
            return f"\n  It left {names} invalid. Drop it: drop index concurrently {names};"
        return f"\n  It left {names} invalid, which the next run drops first."

    def invalid_index_error(self, script: Script, index: int) -> MigrationFailedError | None:
        """The error for an invalid index of an earlier build, which IF NOT EXISTS accepts."""
        if not (self._operation.if_not_exists and self._operation.relation):
            return None
        found = index_state.find_index(self._connection, self._operation)
        # Valid: IF NOT EXISTS may skip it.
        if found is None or found.is_valid:
            return None
        file = script.file
        line = file.line_at(script.statements[index].offset)
        return MigrationFailedError(
            f"{file.path}:{line}: the index {found.name} was there already, and it is INVALID, "
            "since some build of it was cut off. Drop it and run this again: "
            f"drop index concurrently {found.name};",
            version=file.version,
            sqlstate=DUPLICATE_TABLE,
            line=line,
        )
