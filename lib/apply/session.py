"""The session that files run in: how long it waits for a table, who looks on, and how its failures are told."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace

from ..database.connection import Connection
from ..database.server_error import ServerError, StatementError
from ..database.transport import Rows
from ..deadline import Deadline
from ..duration import in_words, milliseconds
from ..errors import (
    BusyTableError,
    LedgerError,
    MigrationFailedError,
    MigratorError,
    OutOfTimeError,
)
from ..files.script import Mode, Script
from ..ledger import writes as ledger
from ..ledger.survey import INSUFFICIENT_PRIVILEGE
from ..ledger.trust import GRANTS, code_on_tables, distrust, told_by
from ..ledger.writes import RunRecord
from ..limits import (
    ANSWER,
    CANCEL,
    LONGEST_DEADLOCK_TIMEOUT,
    NOTE_OBSTACLE,
    OUTLAST_DEADLOCK_TIMEOUT,
    SPEAK_EVERY,
    STILL_HELD_POLL,
    TABLE_PAUSE,
    RunLimits,
)
from ..masking import masked
from ..plan.migration_plan import AppliedMigration
from ..plan.progress import Progress
from ..plan.reports import Blocker, named
from ..sql.concurrent import waits_without_lock_timeout
from ..sql.statement import Statement
from .failure_text import Failure, Sent
from .observer import Observer, Sight

# undefined_table, undefined_column, invalid_schema_name: what the runner looks for is not there any more.
GONE = ("42P01", "42703", "3F000")
# lock_not_available and deadlock_detected: the server rolled the file back, and it may go through the next time.
LOCK_CONFLICTS = ("55P03", "40P01")


class Patience:
    """How many seconds a try waits for a lock at least, where it waits with a limit at all."""

    seconds = 0.0


@dataclass(frozen=True)
class Session:
    """Where files run: on which connection, for which run, with which timeout (seconds) towards busy tables.

    `pooled` when a transaction pooler is in between, where nothing may be set for a session; `notices_departure` as the
    survey says it. `check` raises when the run may not go on. `is_new` where no file was on record before the run, but
    for the ledger's own. `least` is for a try that waits longer than others.
    """

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
    is_new: bool = False
    least: Patience = field(default_factory=Patience)

    def lock_timeout_of(self, script: Script, statement: Statement | None = None) -> float:
        """What a file waits for a lock at most, or a statement of it, in seconds; 0 is no limit."""
        limit = script.file.header.lock_timeout
        if limit is None:
            limit = (
                0.0 if statement and waits_without_lock_timeout(statement) else self.lock_timeout
            )
        return max(limit, self.least.seconds) if limit else 0.0

    def timeouts(
        self, script: Script, statement: Statement | None = None, *, scope: str
    ) -> list[str]:
        """The SQL that sets the timeouts of a file, or of a statement of it; `scope` is `local ` or nothing.

        Those that the role or the database has are lifted: they are meant for the application's queries.
        """
        settings = [
            f"set {scope}lock_timeout = {milliseconds(self.lock_timeout_of(script, statement))};",
            f"set {scope}statement_timeout = {milliseconds(script.file.header.statement_timeout or 0)};",
        ]
        if self.connection.server_version >= 170000:
            # By 0: a longer one would not move a timer that runs.
            settings.append(f"set {scope}transaction_timeout = 0;")
        return settings

    def watched(self, script: Script, lock_timeout: float, attempt: Callable[[], Rows]) -> Rows:
        """Carry it out while the observer looks on, and tell of what it sees."""
        limits = self.limits
        first = limits.first_look
        if lock_timeout:
            first = min(first, lock_timeout * limits.first_look_share)
        next_report = limits.report_every

        def tell(sight: Sight, seconds: float) -> None:
            nonlocal next_report
            if sight.index and not sight.blockers:
                self.progress.building(script.file, sight.index, seconds)
            elif seconds >= next_report:
                next_report = seconds + limits.report_every
                self.progress.still_running(script.file, sight.blockers, seconds)

        with self.observer.watching(self.connection, first=first, tell=tell):
            return attempt()

    def with_retries(
        self, script: Script, attempt: Callable[[], Rows], statement: Statement | None = None
    ) -> Rows:
        """Try again what failed for want of a lock, with pauses that are long against the lock timeout.

        One of the tries is longer, where it is an autovacuum that holds the table.
        """
        lock_timeout = longest = self.lock_timeout_of(script, statement)
        timeout = lock_timeout
        for _ in range(self.lock_retries):
            try:
                return self._try(script, attempt, timeout, lock_timeout)
            except StatementError as error:
                if error.server_error.sqlstate not in LOCK_CONFLICTS:
                    raise
                self.connection.settle()
                timeout = self._enough_for_autovacuum(script, longest) or lock_timeout
                longest = max(longest, timeout)
                self._wait_for_the_table(
                    script, error.server_error, timeout if timeout > lock_timeout else None
                )
                self.check()
        return self._try(script, attempt, timeout, lock_timeout)

    def _try(
        self, script: Script, attempt: Callable[[], Rows], timeout: float, lock_timeout: float
    ) -> Rows:
        """Carry it out, waiting for each lock for up to `timeout` seconds, which may be more than the lock timeout."""
        if timeout == lock_timeout:
            return self.watched(script, lock_timeout, attempt)
        self.least.seconds = timeout
        try:
            with (
                nullcontext()
                if script.mode is Mode.TRANSACTION
                else self._lock_timeout_set(timeout)
            ):
                return self.watched(script, timeout, attempt)
        finally:
            self.least.seconds = 0.0

    @contextmanager
    def _lock_timeout_set(self, seconds: float) -> Iterator[None]:
        """Set it for what runs outside a transaction, and bring back what held before."""
        before = self.connection.query("select pg_catalog.current_setting('lock_timeout')")[0][0][0]
        self.connection.run(f"set lock_timeout = {milliseconds(seconds)}")
        try:
            yield
        finally:
            # A connection that is gone, or out of time, needs it no more.
            with suppress(StatementError, MigratorError):
                self.connection.run(f"set lock_timeout = '{before}'")

    def _enough_for_autovacuum(self, script: Script, waited: float) -> float | None:
        """How long to wait for an autovacuum to give way, in seconds; None where that was done, or makes no sense.

        The server ends it when the one who waits looks for deadlocks, after `deadlock_timeout`: a lock timeout that is
        shorter never gets past it. PostgreSQL manual, "Routine Vacuuming".
        """
        blockers = self.observer.blockers
        may_set = (
            not _sets_lock_timeout(script) if script.mode is Mode.TRANSACTION else not self.pooled
        )
        if not (waited and may_set and blockers and all(blocker.gives_way for blocker in blockers)):
            return None
        deadlock_timeout = self.observer.deadlock_timeout()
        if deadlock_timeout is None or deadlock_timeout > LONGEST_DEADLOCK_TIMEOUT:
            return None
        enough = deadlock_timeout + OUTLAST_DEADLOCK_TIMEOUT
        return enough if enough > waited else None

    def _wait_for_the_table(
        self, script: Script, server_error: ServerError, longer: float | None
    ) -> None:
        pause = random.uniform(*TABLE_PAUSE) * max(self.lock_timeout_of(script), 0.1)
        held_up = f"; held up by {named(self.observer.blockers)}" if self.observer.blockers else ""
        unquoted = tuple(replace(blocker, query=None) for blocker in self.observer.blockers)
        recorded = f"; held up by {named(unquoted)}" if unquoted else ""
        # What a function has raised may quote a row.
        what = (
            f"SQLSTATE {server_error.sqlstate}"
            if server_error.context
            else masked(server_error.message)
        )
        then = (
            f"; autovacuum gives way to the next try, which waits {in_words(longer)}"
            if longer
            else ""
        )
        reason = f"{masked(server_error.message)}{held_up}{then}"
        self.progress.retrying(script.file, reason, pause)
        with suppress(StatementError, MigratorError):
            observing = self.observer.session()
            with observing.extend_deadline(NOTE_OBSTACLE):
                ledger.note_obstacle(observing, self.run, f"{script.file.path}: {what}{recorded}")
        if self.connection.deadline.remaining() <= pause:
            raise OutOfTimeError(
                f"The time allowed ran out while a migration waited for a table: {reason}."
            )
        self._sleep(pause)
        if longer:
            return
        # While the same transaction holds the table, another try would only hold up the application once more.
        deadline = self.connection.deadline.clip(pause)
        while not deadline.has_passed() and self.observer.still_hold():
            self._sleep(STILL_HELD_POLL)

    def _sleep(self, seconds: float) -> None:
        """Sleep, and speak now and then: a session that is idle for long is ended where `idle_session_timeout` is set."""
        pause = Deadline.after(seconds)
        while (left := pause.remaining()) > 0:
            time.sleep(min(left, SPEAK_EVERY))
            with self.connection.limit_to(
                ANSWER, "The database stopped answering while a table was waited for."
            ):
                self.connection.query("select 1")

    def recorded(self, script: Script, elapsed: int | None = None) -> AppliedMigration:
        """The file's row in the ledger; `elapsed` in milliseconds."""
        file = script.file
        return AppliedMigration(
            file.version, file.name, checksum=file.checksum, execution_time_ms=elapsed
        )

    def check_strings(self, script: Script) -> None:
        """Stop before the server would read what comes next otherwise than it was checked: a file can have set that too."""
        if not self.connection.has_standard_strings and script.has_backslashes:
            file = script.file
            raise MigrationFailedError(
                f"{file.path}: standard_conforming_strings is off by now, under which a backslash is an escape; write such "
                "strings as E'…', and take that setting out.",
                version=file.version,
            )

    def reset_statements(self, script: Script) -> tuple[str, ...]:
        """The SQL that undoes what the file may have set in the session."""
        return ledger.reset_statements(
            direct=not self.pooled, prepared=self.pooled and script.may_prepare
        )

    def find_recorded(self, script: Script) -> tuple[tuple[int, bool] | None, bool]:
        """The milliseconds in the file's ledger row and whether this run wrote it; and whether that is known.

        None if there is no row, and where no answer is to be had in time: then it isn't known.
        """
        # What goes wrong here must not hide why it is asked.
        with (
            suppress(StatementError, MigratorError),
            self.connection.extend_deadline(CANCEL),
        ):
            if not self.connection.is_closed:
                return ledger.find(self.connection, self.run, script.file.version), True
        return None, False

    def failed(
        self,
        script: Script,
        error: StatementError,
        sent: Sent | None = None,
        *,
        stays: int = 0,
        more: str = "",
    ) -> MigratorError:
        """Say where in the file the server stopped: at the position it gives, else at the statement it had come to.

        `sent` is what failed, None for the runner's own statements around a file. `stays` of the file's statements stay;
        `more` is added to the text.
        """
        if fault := self._fault_of_tables(script, error, sent):
            return fault
        failure = Failure(script, error, sent)
        file, sqlstate, offset = script.file, error.server_error.sqlstate, failure.offset
        if sqlstate in LOCK_CONFLICTS:
            end = self._busy_text(script, stays, more)
            busy = BusyTableError(failure.text + end, version=file.version, sqlstate=sqlstate)
            return busy.recorded_as(
                failure.record + self._busy_text(script, stays, more, shows_queries=False)
            )
        line, column = (
            (None, None) if offset is None else (file.line_at(offset), file.column_at(offset))
        )
        end = (
            failure.way_out
            + failure.way_out_of_existing(is_new=self.is_new)
            + _what_stays(script, stays)
            + more
        )
        failed = MigrationFailedError(
            failure.text + end, version=file.version, sqlstate=sqlstate, line=line, column=column
        )
        return failed.recorded_as(failure.record + end)

    def _fault_of_tables(
        self, script: Script, error: StatementError, sent: Sent | None
    ) -> MigratorError | None:
        """The error where a statement of the runner's own has failed, which is none of the file's."""
        if sent is not None and sent.statement is not None:
            return None
        file, fault, server_error = script.file, told_by(error).get("fault"), error.server_error
        is_files = sent is not None and sent.number > 0 and not sent.is_at_end
        if fault == "emptied" or (
            is_files and server_error.sqlstate in GONE and not server_error.context
        ):
            return _meddling(
                script,
                "it would take rows out of the runner's own tables, public.schema_migrations and "
                "public.schema_migration_runs, or change them: the next run would apply files again, or production's claim "
                "would be lost",
            )
        if is_files and (
            fault in ("policy", "code", "kind") or server_error.sqlstate == INSUFFICIENT_PRIVILEGE
        ):
            reason = str(distrust(error) or server_error.message).rstrip(".")
            return _meddling(
                script,
                f"it changes the runner's own tables, or whose they are, and could not be recorded: {reason}",
            )
        if fault == "unrecorded":
            code = ""
            with suppress(StatementError, MigratorError):
                code = code_on_tables(self.connection)
            then = (
                "it was rolled back"
                if script.mode is Mode.TRANSACTION
                else "what it did stays, and it is not on record"
            )
            return MigrationFailedError(
                f"{file.path}: its row in public.schema_migrations was not there after it had been written, so {then}. "
                f"{_culprits(code)}",
                version=file.version,
            )
        if sent is not None and sent.is_at_end:
            return None
        if error.server_error.sqlstate in LOCK_CONFLICTS:
            held_up = f" by {named(self.observer.blockers)}" if self.observer.blockers else ""
            return BusyTableError(
                f"{file.version} could not be recorded, and was not applied: the runner's own tables, "
                f"public.schema_migrations and public.schema_migration_runs, stayed locked{held_up} through every try. Run "
                "it again later.",
                version=file.version,
                sqlstate=error.server_error.sqlstate,
            )
        return distrust(error) or _own_failure(script, error.server_error)

    def _busy_text(
        self, script: Script, stays: int, more: str, *, shows_queries: bool = True
    ) -> str:
        blockers = tuple(
            b if shows_queries else replace(b, query=None) for b in self.observer.blockers
        )
        held_up = f"\n  It was held up by {named(blockers)}." if blockers else ""
        held_up += _about_autovacuum(self.observer.blockers)
        after = (
            _what_stays(script, stays) + more
        ) or " Nothing of it was applied; run it again later."
        return f"{held_up}\n  A table it needs stayed busy through every try.{after}"


def _meddling(script: Script, what: str) -> MigrationFailedError:
    return MigrationFailedError(
        f"{script.file.path}: {what}. It was rolled back. Leave these two tables out, as in: where tablename not like "
        "'schema_migration%'.",
        version=script.file.version,
    )


def _own_failure(script: Script, server_error: ServerError) -> LedgerError:
    """The error of what is no statement of the file's, and has no place in it."""
    what = f"{masked(server_error.message)} (SQLSTATE {server_error.sqlstate})"
    way_out = {
        "42501": GRANTS,
        "23505": "The ids of the table are behind its rows: select setval(pg_get_serial_sequence("
        "'public.schema_migrations', 'id'), max(id)) from public.schema_migrations; if the file itself sets sequences "
        "back, have it leave this one out.",
    }.get(server_error.sqlstate, "")
    if server_error.context:
        way_out = (
            "A trigger on the runner's tables runs while only pg_catalog is searched: give its function a search_path of "
            f"its own, alter function … set search_path = public.\n  Context: {masked(server_error.context)}"
        )
    return LedgerError(
        f"{script.file.version} could not be recorded, and was not applied: {what}. {way_out}".strip()
    )


def _culprits(code: str) -> str:
    if not code:
        return "The file itself puts a rule or a trigger on the runner's tables: take it out."
    return f"Something there does something else instead: {code}. Drop it, or have it let the runner's rows through."


def _sets_lock_timeout(script: Script) -> bool:
    """Tell whether a file says itself how long it waits, after what the runner says at its start."""
    return any((statement.setting or ("",))[0] == "lock_timeout" for statement in script.statements)


def _about_autovacuum(blockers: Sequence[Blocker]) -> str:
    if any(blocker.prevents_wraparound for blocker in blockers):
        return (
            "\n  An autovacuum that prevents transaction ID wraparound does not give way: wait until it has ended. After "
            "pg_cancel_backend it would soon begin anew."
        )
    if any(blocker.gives_way for blocker in blockers):
        return (
            "\n  An autovacuum gives way to who waits for longer than deadlock_timeout (1 s by default): let the "
            "file wait longer, by `Lock-Timeout` in its header or by its own SET."
        )
    return ""


def _what_stays(script: Script, stays: int) -> str:
    if script.mode is not Mode.STATEMENTS or stays < 1:
        return ""
    count = f"{stays} of the file's statements"
    return f"\n  What ran outside a transaction before it stays: {count}. The next run goes on after them."
