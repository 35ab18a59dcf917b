"""One file on a scratch database, statement by statement, and a probe after each.

The statements reach the server as in a real run: the same texts, in the same mode, each as a
message of its own. Nobody else is on the server, so nothing is tried again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile

from psycopg import sql

from ..database.connection import Connection
from ..database.pipeline import Flight, carry_out
from ..database.server_error import StatementError
from ..database.sql_composition import filled, reset_script, reset_statements, text_of
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError, MigratorError
from ..files.runnable_script import Mode, Script
from ..masking import masked
from ..plan.local_remedies import local_remedy
from ..sql.concurrent_locks import known_locks
from ..sql.error_position import offset_of
from ..sql.lexer import without_strings
from ..sql.redaction import Redactor
from ..sql.statement import Statement
from ..sql.transaction_control import begins_block, ends_block, refuses_transaction
from .probe_queries import (
    FLUSH_COUNTS,
    FOREIGN_KEYS_NOW,
    LOCKS_NOW,
    UNINDEXED,
    Relations,
    read_foreign_keys,
    read_locks,
    read_relations,
)
from .sightings import Probe, Sightings
from .statement_facts import FileFacts, StatementFacts, UnindexedForeignKey

# active_sql_transaction, invalid_transaction_termination: the words of the statement did not say
# that it runs in no transaction.
_REFUSES_TRANSACTION = ("25001", "2D000")
# insufficient_privilege: the file's role is no superuser, and is not to become one.
_LACKS_RIGHT = "42501"
_CANCELED = "57014"
# disk_full, out_of_memory, configuration_limit_exceeded (such as temp_file_limit).
_TAKES_TOO_MUCH = ("53100", "53200", "53400")
# These lock nothing; some of them would have to stand before the first query of a transaction.
_UNSEEN = ("SET", "RESET", "BEGIN", "START")
_NO_QUERY = ("SET", "RESET", "LOCK", "SAVEPOINT", "RELEASE", "SHOW", "LISTEN")
# Outside of a block, PostgreSQL refuses these, or they do nothing.
_FOR_BLOCKS = ("LOCK", "DECLARE", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "END", "ABORT")
_BEFORE_TARGET = {"INSERT", "INTO", "UPDATE", "DELETE", "FROM", "MERGE", "COPY", "ONLY"}
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY")


@dataclass(frozen=True)
class Conditions:
    """Under what a file is observed.

    `known` has, by OID, the names of the relations before the rehearsal; None if this file is its
    first. `time_zone` is that of the target: under another, a change of type may rewrite a table
    that it would leave alone. `statement_timeout` is in seconds, 0 for none. `record` is the SQL
    that records the file, sent with it as in a real run.
    """

    known: Mapping[int, str] | None = None
    time_zone: str | None = None
    statement_timeout: float = 0.0
    record: Sequence[str] = ()


def names_of(relations: Relations) -> dict[int, str]:
    """Return the names by OID, as `Conditions.known` takes them."""
    return {oid: relation.name for oid, relation in relations.by_oid.items()}


def observe_file(
    connection: Connection, script: Script, conditions: Conditions | None = None
) -> FileFacts:
    """Run the file, commit it, and return what each of its statements did.

    What fails is a value: the statement's `failure`, or `not_rehearsed` for what only this server
    refuses. Of a file in a transaction nothing stays then. Raises OutOfTimeError at the
    connection's deadline.
    """
    conditions = conditions or Conditions()
    observation = _Observation(connection, script, conditions)
    failed = None
    try:
        with connection.cleaning_up_with(reset_script(direct=True)):
            failed = observation.carry_out()
    except DatabaseUnavailableError as error:
        # A file can end its own session.
        failed = _Failed(observation.number, str(error), "", None)
    if failed and failed.sqlstate in _REFUSES_TRANSACTION and _may_run_alone(script):
        return observe_file(connection, replace(script, mode=Mode.ALONE), conditions)
    return observation.facts(failed)


def _may_run_alone(script: Script) -> bool:
    return script.mode is Mode.TRANSACTION and len(script.statements) == 1


@dataclass(frozen=True)
class _Failed:
    """What the server refused: which statement, in which words, at which line."""

    number: int
    message: str
    sqlstate: str
    line: int | None

    @property
    def not_rehearsed(self) -> str | None:
        """Why the real server might accept what this one has refused; None if it would not."""
        if self.sqlstate == _LACKS_RIGHT:
            return (
                f"statement {self.number} needs a right that a rehearsal does not give: "
                f"{self.message}"
            )
        if local_remedy(self.sqlstate, self.message):
            return (
                f"statement {self.number} needs what the embedded PostgreSQL lacks: {self.message}"
            )
        if self.sqlstate == _CANCELED:
            return f"statement {self.number} took longer than a rehearsal allows: {self.message}"
        if self.sqlstate in _TAKES_TOO_MUCH:
            return (
                f"statement {self.number} takes more of the machine than a rehearsal gives: "
                f"{self.message}"
            )
        return None


class _RefusedError(Exception):
    """The server refused a statement of the file, or of what is deferred to its end."""

    def __init__(self, failed: _Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class _Observation:
    """A file under way."""

    def __init__(self, connection: Connection, script: Script, conditions: Conditions) -> None:
        relations = read_relations(connection)
        known = names_of(relations) if conditions.known is None else conditions.known
        self._connection = connection
        self._script = script
        self._conditions = conditions
        self._sightings = Sightings(relations, known)
        self._steps = _Steps(connection, script, self._sightings)

    @property
    def number(self) -> int:
        """The statement that the file is at, from 1."""
        return self._steps.number

    def carry_out(self) -> _Failed | None:
        """Run the file; return what the server refused, None if it has accepted everything."""
        run = self._whole if self._script.mode is Mode.TRANSACTION else self._one_by_one
        try:
            run()
        except _RefusedError as refused:
            self._sightings.reach(self.number)
            self._connection.settle()
            return refused.failed
        finally:
            self._reset()
        return None

    def facts(self, failed: _Failed | None) -> FileFacts:
        """Return the facts of the statements that ran, the last of which may have failed."""
        not_rehearsed = failed.not_rehearsed if failed else None
        statements = self._sightings.facts
        if failed and not not_rehearsed:
            statements = self._with_failure(statements, failed)
        return FileFacts(
            self._script.file.version,
            self._script.mode is Mode.TRANSACTION,
            statements,
            not_rehearsed,
            () if failed else self._unindexed(),
            partitioned=self._sightings.partitioned,
        )

    def _with_failure(
        self, statements: tuple[StatementFacts, ...], failed: _Failed
    ) -> tuple[StatementFacts, ...]:
        before = tuple(each for each in statements if each.number < failed.number)
        # What is deferred to the end fails after the last statement has been seen.
        seen = next((each for each in statements if each.number == failed.number), None)
        last = replace(
            seen or self._steps.bare(failed.number),
            failure=failed.message,
            sqlstate=failed.sqlstate or None,
            failed_at=failed.line,
        )
        return (*before, last)

    def _whole(self) -> None:
        """Run the file in one transaction."""
        steps = self._steps
        with steps.refusals(None):
            settings = _settings(self._script, self._conditions, "local ")
            carry_out(self._connection, [f"begin {self._script.begin_options}", *settings])
        unprobed = _transaction_modes(self._script.statements)
        for statement in steps.each():
            if steps.number <= unprobed or statement.command in _UNSEEN:
                steps.run_unseen(statement)
            else:
                steps.run_seen(statement)
            if not self._connection.in_transaction:
                raise _RefusedError(steps.failed_with("the file has ended its own transaction"))
        # As in a real run, deferred triggers fire under the file's settings, twice.
        fire = "set constraints all immediate"
        end = [fire, fire, *reset_statements(direct=True), *self._conditions.record, "commit"]
        with steps.refusals(None):
            carry_out(self._connection, end)
        self._sightings.end_transaction()

    def _one_by_one(self) -> None:
        """Run the statements outside of a transaction, or in the file's own blocks."""
        steps = self._steps
        self._connection.run(";".join(_settings(self._script, self._conditions, "")))
        for statement in steps.each():
            if self._connection.in_transaction:
                self._run_in_block(statement)
            elif begins_block(statement):
                self._flush_counts()
                steps.run_unseen(statement)
            elif refuses_transaction(statement) or statement.command in (*_UNSEEN, *_FOR_BLOCKS):
                steps.run_by_manual(statement)
            else:
                self._run_in_its_own(statement)
        if self._conditions.record:
            self._reset()
            self._connection.query(";".join(self._conditions.record))

    def _run_in_block(self, statement: Statement) -> None:
        if ends_block(statement) or statement.command in _UNSEEN:
            self._steps.run_unseen(statement)
        else:
            self._steps.run_seen(statement)
        if not self._connection.in_transaction:
            self._sightings.end_transaction()

    def _run_in_its_own(self, statement: Statement) -> None:
        """Run a statement in a transaction of its own, so that its locks are there to be seen."""
        steps = self._steps
        self._flush_counts()
        self._connection.run("begin")
        try:
            steps.run_seen(statement)
        except _RefusedError as refused:
            if refused.failed.sqlstate not in _REFUSES_TRANSACTION:
                raise
            # What the file has set for its session stays.
            self._connection.run("rollback")
            steps.run_by_manual(statement)
            return
        with steps.refusals(statement):
            self._connection.run("commit")
        self._sightings.end_transaction()

    def _flush_counts(self) -> None:
        if self._connection.server_version >= 150000:
            self._connection.run(FLUSH_COUNTS)

    def _unindexed(self) -> tuple[UnindexedForeignKey, ...]:
        """The keys without an index that the file adds, or of whose other table it deletes rows."""
        seen = self._sightings
        rows = self._connection.query(UNINDEXED)[0] if seen.keys else []
        return tuple(
            UnindexedForeignKey(
                number,
                seen.name(int(table or 0)),
                name or "",
                columns or "",
                seen.name(int(references or 0)),
                is_added=seen.keys.is_added(int(oid or 0)),
            )
            for oid, table, references, name, columns in rows
            if (number := seen.keys.statement_of(int(oid or 0), int(references or 0)))
        )

    def _reset(self) -> None:
        """Undo what the file has set in the session; a session that is lost needs none of it."""
        with suppress(StatementError, MigratorError):
            if not self._connection.is_closed:
                self._connection.run(reset_script(direct=True))


class _Steps:
    """The statements of a file, each sent and seen. `number` is the one under way, from 1."""

    def __init__(self, connection: Connection, script: Script, sightings: Sightings) -> None:
        self.number = 1
        self._connection = connection
        self._script = script
        self._sightings = sightings

    def each(self) -> Iterator[Statement]:
        """Yield the statements, and count them."""
        for number, statement in enumerate(self._script.statements, start=1):
            self.number = number
            self._check_strings(statement)
            yield statement

    def run_unseen(self, statement: Statement) -> None:
        """Run a statement that locks nothing, without a probe."""
        with self.refusals(statement):
            self._send(statement)
        self._sightings.add(self.bare(self.number))

    def run_seen(self, statement: Statement) -> None:
        """Run a statement and the probe, in one flight if the statement can be part of one."""
        with self.refusals(statement):
            if statement.goes_alone:
                self._send(statement)
            texts = [] if statement.goes_alone else [statement.sent]
            flight = Flight(self._connection, [*texts, *_probe(statement)])
            # The rows of the statement itself are not read.
            found = flight.read(len(texts) + 1)[0][0]
            locks, keys = flight.read(1), flight.read(1)
        target = None if found is None else int(found)
        probe = Probe(read_locks(locks), tuple(read_foreign_keys(keys)), target)
        self._sightings.see(self.bare(self.number), statement, probe)

    def run_by_manual(self, statement: Statement) -> None:
        """Run a statement that no probe can follow, and add the locks that the manual gives it."""
        known = known_locks(statement)
        # Before the statement runs: it may drop them.
        oids = {name: self._resolve(name) for name, _ in known.named}
        with self.refusals(statement):
            self._send(statement)
        self._sightings.add_known(self.bare(self.number), known, oids)

    def bare(self, number: int) -> StatementFacts:
        """The statement without what it did."""
        file, statements = self._script.file, self._script.statements
        if not statements:
            return StatementFacts(number, 0, "")
        statement = statements[number - 1]
        shown = without_strings(statement.text) if statement.is_secretive else statement.text
        return StatementFacts(number, file.line_at(statement.offset), masked(shown))

    @contextmanager
    def refusals(self, statement: Statement | None) -> Iterator[None]:
        """Raise what the server refuses as _RefusedError; `statement` is None around the file."""
        try:
            yield
        except StatementError as error:
            raise _RefusedError(self._failed(statement, error)) from None

    def failed_with(self, message: str, line: int | None = None, sqlstate: str = "") -> _Failed:
        return _Failed(self.number, message, sqlstate, line)

    def _send(self, statement: Statement) -> None:
        self._connection.run(statement.sent, copy_data=statement.copy_chunks())

    def _resolve(self, name: str) -> int | None:
        """The relation that the file would find by this name, before its statement runs."""
        with suppress(StatementError):
            [found] = self._connection.resolve(name)
            return None if found is None else int(found)
        return None

    def _check_strings(self, statement: Statement) -> None:
        """Refuse what a real run refuses: strings that the server would read differently."""
        if not self._connection.has_standard_strings and self._script.has_backslashes:
            line = self._script.file.line_at(statement.offset)
            off = "standard_conforming_strings is off by now, under which a backslash is an escape"
            raise _RefusedError(self.failed_with(off, line))

    def _failed(self, statement: Statement | None, error: StatementError) -> _Failed:
        refused, file = error.server_error, self._script.file
        if error.done:
            # At the probe, which a timeout of the file's own can end.
            refused = replace(refused, position=None, context=None)
        message = Redactor(refused, file.text, self._script.statements, statement).message
        if statement is None:
            message = f"at the file's end, where what was deferred is checked: {message}"
        line = None if statement is None else file.line_at(offset_of(statement, refused))
        return self.failed_with(message, line, refused.sqlstate)


def _settings(script: Script, conditions: Conditions, scope: str) -> list[str]:
    """The SQL that sets what holds for a file; `scope` is `local ` or nothing."""
    header = script.file.header
    limits = [each for each in (conditions.statement_timeout, header.statement_timeout) if each]
    settings = [
        f"set {scope}lock_timeout = {milliseconds(header.lock_timeout or 0)}",
        f"set {scope}statement_timeout = {milliseconds(min(limits, default=0))}",
        # A scan by several processes is none of this session's.
        f"set {scope}max_parallel_maintenance_workers = 0",
        f"set {scope}max_parallel_workers_per_gather = 0",
    ]
    if conditions.time_zone:
        zone = sql.Literal(conditions.time_zone).as_string(None)
        settings.append(f"set {scope}timezone = {zone}")
    return settings


def _probe(statement: Statement) -> list[str]:
    """What is asked after a statement: the OID of the table whose rows it writes, locks, keys."""
    target = "select null"
    if name := _target(statement):
        # As the file's search_path finds it.
        target = text_of(filled("select pg_catalog.to_regclass({name})::pg_catalog.oid", name=name))
    return [target, LOCKS_NOW, FOREIGN_KEYS_NOW]


def _target(statement: Statement) -> str:
    """The name, as written, of the table whose rows the statement writes; empty if unknown."""
    if statement.command not in _WRITES:
        return ""
    if statement.command == "COPY" and "FROM" not in statement.words:
        return ""
    tokens = list(dropwhile(lambda token: token.upper() in _BEFORE_TARGET, statement.tokens))
    name = tokens[:1]
    while tokens[len(name) : len(name) + 1] == ["."]:
        name = tokens[: len(name) + 2]
    return "".join(name)


def _transaction_modes(statements: Sequence[Statement]) -> int:
    """How many statements come before the end of the last SET TRANSACTION.

    It would fail behind a query, such as a probe. So only statements are counted that are no query.
    """
    first = list(takewhile(lambda statement: statement.command in _NO_QUERY, statements))
    return max(
        (number for number, statement in enumerate(first, start=1) if _sets_mode(statement)),
        default=0,
    )


def _sets_mode(statement: Statement) -> bool:
    name = (statement.setting or ("",))[0]
    return "TRANSACTION" in statement.opening[1:3] or name.startswith("transaction_")
