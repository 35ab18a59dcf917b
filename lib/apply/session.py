"""The session that files run in: what it waits for at most, what it sets, what it undoes.

Who waits for a table is `table_waits`; how a failure is described is `statement_errors`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import reset_statements
from ..duration import milliseconds
from ..errors import MigrationFailedError, MigratorError
from ..files.runnable_script import Script
from ..ledger.records import PreparedRecord, find, find_written, record_statements
from ..ledger.runs import RunRecord
from ..plan.migration_states import AppliedMigration
from ..plan.progress_listener import Progress
from ..sql.concurrent import waits_without_lock_timeout
from ..sql.statement import Statement
from ..time_limits import CANCEL, RunLimits
from .blocker_watch import Observer

T = TypeVar("T")

# undefined_table, undefined_column, invalid_schema_name: what the runner's SQL names is gone.
GONE = ("42P01", "42703", "3F000")
# lock_not_available and deadlock_detected: the server rolled the file back, and another try may
# succeed.
LOCK_CONFLICTS = ("55P03", "40P01")


@dataclass(frozen=True)
class Session:
    """Where files run: on which connection, for which run, and how patient with busy tables.

    `pooled` if a transaction pooler is in between, through which nothing may be set for a session.
    `notices_departure` as in the survey. `lock_timeout` and `run_wait` are in seconds. `check`
    raises if the run may not continue. `prepared` is what the server session keeps from one file
    to the next. `is_new` if no file but the ledger's own was on record before the run.
    `is_embedded` on the embedded PostgreSQL.
    """

    # Where the files are recorded. If that is not the ledger, each runs in a transaction, and
    # `ways_out` has by SQLSTATE what to do about a statement that the server refuses.
    table: ClassVar[str] = "public.schema_migrations"
    is_ledgers: ClassVar[bool] = True
    ways_out: ClassVar[Mapping[str, str]] = {}

    connection: Connection
    observer: Observer
    pooled: bool
    notices_departure: bool
    run: RunRecord
    lock_timeout: float
    lock_retries: int
    run_wait: float
    progress: Progress
    check: Callable[[], None]
    limits: RunLimits = field(default_factory=RunLimits)
    prepared: PreparedRecord = field(default_factory=PreparedRecord)
    is_new: bool = False
    is_embedded: bool = False

    def lock_timeout_of(self, script: Script, statement: Statement | None = None) -> float:
        """Seconds that a file, or one of its statements, waits for a lock; 0 is no limit."""
        limit = script.file.header.lock_timeout
        if limit is not None:
            return limit
        # A statement such as CREATE INDEX CONCURRENTLY holds nobody up while it waits.
        return 0.0 if statement and waits_without_lock_timeout(statement) else self.lock_timeout

    def timeouts(self, script: Script, lock_timeout: float, *, scope: str = "") -> list[str]:
        """The SQL that sets the timeouts of a file; `scope` is `local ` or nothing.

        `lock_timeout` is in seconds. The other timeouts of the role or the database are lifted:
        they are meant for the application's queries.
        """
        # 0 without a header: a migration may take as long as it has to.
        statement_timeout = milliseconds(script.file.header.statement_timeout or 0)
        settings = [
            f"set {scope}lock_timeout = {milliseconds(lock_timeout)};",
            f"set {scope}statement_timeout = {statement_timeout};",
        ]
        if self.connection.server_version >= 170000:
            # To 0, which stops the timer; a longer timeout would not move a timer that runs.
            settings.append(f"set {scope}transaction_timeout = 0;")
        return settings

    def reset_statements(self, script: Script) -> tuple[str, ...]:
        """The SQL that undoes what the file may have set in the session."""
        return reset_statements(direct=not self.pooled, prepared=self.pooled and script.may_prepare)

    def check_strings(self, script: Script) -> None:
        """Raise MigrationFailedError if the server would read the file's strings differently.

        The file was checked under standard_conforming_strings; one of its statements, too, can
        have switched that off.
        """
        if not self.connection.has_standard_strings and script.has_backslashes:
            file = script.file
            raise MigrationFailedError(
                f"{file.path}: standard_conforming_strings is off by now, under which a backslash "
                "is an escape; write such strings as E'…', and take that setting out.",
                version=file.version,
            )

    def row_of(self, script: Script, elapsed: int | None = None) -> AppliedMigration:
        """The file's row in the ledger; `elapsed` in milliseconds."""
        file = script.file
        return AppliedMigration(
            file.version, file.name, checksum=file.checksum, execution_time_ms=elapsed
        )

    def record_statements(
        self, script: Script, *, is_counted: bool, has_notes: bool
    ) -> tuple[str, ...]:
        """The SQL that records the file in its own transaction; the last gives the milliseconds.

        `is_counted` and `has_notes` as for `ledger.records`.
        """
        return record_statements(
            self.run, self.row_of(script), is_counted=is_counted, has_notes=has_notes
        )

    def find_recorded(self, script: Script) -> tuple[tuple[int, bool] | None, bool]:
        """Whether the file is on record, and whether that is known.

        The first is the milliseconds in the file's row and whether this run wrote it, or None if
        there is no row. Without an answer in time, it is not known.
        """
        row = self.row_of(script)
        return self.asked(lambda: (find(self.connection, self.run, row), True)) or (None, False)

    def find_written(self, scripts: Sequence[Script]) -> Mapping[str, int]:
        """Which of the files this run has recorded: by version, the milliseconds in the row.

        Empty if there is no answer in time.
        """
        versions = [script.file.version for script in scripts]
        return self.asked(lambda: find_written(self.connection, self.run, versions)) or {}

    def asked(self, ask: Callable[[], T]) -> T | None:
        """What the ledger says after something has gone wrong; None without an answer in time."""
        # An error here must not hide the one that led here.
        with (
            suppress(StatementError, MigratorError),
            self.connection.extend_deadline(CANCEL),
        ):
            if not self.connection.is_closed:
                return ask()
        return None
