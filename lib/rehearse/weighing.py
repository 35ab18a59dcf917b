"""What the facts of a rehearsal mean for the live tables: facts and sizes in, findings out. Pure.

A table that the live database does not have is new, and nobody waits for it. Where no database was
asked, all sizes are unknown, and nothing is worse than a warning.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..review.advice import BLOCKED_BY, DONE, RULE_OF_WORK, WRITE_IN_BATCHES, one_transaction
from ..review.estimates import (
    BUSY,
    Work,
    is_old,
    is_small,
    severity_under_lock,
    size_text,
    span_text,
    uses_a_second,
    work_text,
)
from ..review.finding import Finding, Severity
from ..review.live_sizes import LiveSizes, TableSize
from ..review.safer_sql import index_for_key, safer_way
from ..review.statement_effects import Clause, EffectKind, effects_of
from ..sql.statement import Statement
from .statement_facts import FileFacts, RelationLock, StatementFacts, UnindexedForeignKey

# Statements whose scans are wanted, and as long as their conditions make them.
_QUERIES = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "VALUES", "TABLE")
# They add rows, and leave those alone that are there.
_ADDING = ("INSERT", "COPY")
_UNKNOWN = "its size is not known, since no database was asked"
_WAITING = (
    "While it is waited for, all others wait behind it, for no longer than MIGRATION_LOCK_TIMEOUT "
    "at a time."
)
_FILE_OF_ITS_OWN = (
    "Put it into a file of its own: the locks of the statements before it are held until their "
    "transaction ends."
)


def weigh(files: Iterable[FileFacts], sizes: LiveSizes | None) -> tuple[Finding, ...]:
    """Judge what the files did by the tables of the live database; None if none was asked."""
    return tuple(finding for file in files for finding in _FileOnScale(file, _Scale(sizes)).weigh())


@dataclass(frozen=True)
class _Scale:
    """The live tables."""

    sizes: LiveSizes | None

    def is_live(self, relation: str) -> bool:
        """True unless the table is known to be new."""
        return self.sizes is None or self.sizes.of(relation) is not None

    def size(self, relation: str) -> TableSize | None:
        return self.sizes.of(relation) if self.sizes else None

    def uses(self, size: TableSize) -> float:
        return uses_a_second(size, self.sizes.counted_for if self.sizes else None)

    def severity(self, task: "_Task") -> Severity | None:
        """How severe it is that others wait for the work; None if they hardly do."""
        if not self.is_live(task.relation):
            return None
        severity = severity_under_lock(task.work, self.size(task.relation))
        return severity if task.is_certain or severity is None else Severity.WARN

    def is_noticed(self, relation: str) -> bool:
        """True if somebody may notice a lock on the table, however short."""
        if not self.is_live(relation):
            return False
        size = self.size(relation)
        return size is None or not is_small(size) or is_old(size) or self.uses(size) >= BUSY

    def is_used(self, relation: str) -> bool:
        """True unless the table is new, or was neither read nor written as far as is known."""
        size = self.size(relation)
        return self.is_live(relation) and (
            size is None or size.reads is None or bool(size.reads or size.writes)
        )

    def how_long(self, task: "_Task") -> str:
        size = self.size(task.relation)
        return _UNKNOWN if size is None else work_text(task.work, size)


@dataclass(frozen=True)
class _Task:
    """Work of a statement on a table; not certain if its rows are those that a condition finds."""

    relation: str
    work: Work
    is_certain: bool = True


@dataclass(frozen=True)
class _Held:
    """A lock that others wait for, and the statement that acquired it."""

    lock: RelationLock
    by: StatementFacts

    @property
    def blocks(self) -> str:
        return BLOCKED_BY[self.lock.mode]


class _Locks:
    """The locks of a file that others wait for, in the order in which they were acquired."""

    def __init__(self, file: FileFacts) -> None:
        self.all = tuple(
            _Held(lock, statement)
            for statement in file.statements
            for lock in statement.locks
            if lock.mode in BLOCKED_BY
        )

    def during(self, number: int) -> Mapping[str, _Held]:
        """The strongest lock on each table that is held while a statement runs."""
        held: dict[str, _Held] = {}
        for each in self.all:
            relation = each.lock.relation
            if each.by.number <= number <= each.lock.until and (
                relation not in held or _level(each) > _level(held[relation])
            ):
                held[relation] = each
        return held


class _FileOnScale:
    """One file, and what its statements do to the live tables."""

    def __init__(self, file: FileFacts, scale: _Scale) -> None:
        self._file = file
        self._scale = scale
        self._locks = _Locks(file)

    def weigh(self) -> Iterator[Finding]:
        for statement in self._file.statements:
            if statement.failure is None:
                yield from self._statement(statement)
        yield from _several_tables(self._file, self._scale)
        for key in self._file.unindexed:
            yield from _unindexed(self._file, self._scale, key)

    def _statement(self, statement: StatementFacts) -> Iterator[Finding]:
        tasks = tuple(_tasks(statement))
        found = [*self._under_its_lock(statement, tasks)]
        heavy = {task.relation for task in tasks if self._scale.severity(task)}
        meanwhile = [*self._meanwhile(statement, tasks)]
        yield from found
        yield from meanwhile
        if not meanwhile:
            yield from self._many_rows(statement, tasks)
        yield from self._brief(statement, but=heavy if found else set())

    def _under_its_lock(
        self, statement: StatementFacts, tasks: tuple[_Task, ...]
    ) -> Iterator[Finding]:
        """Find work on tables that others wait for because the tables themselves are locked.

        The same work on several tables, as of a foreign key, is one finding: one SQL mends it.
        """
        locks = self._locks.during(statement.number)
        found: dict[Work, list[tuple[Severity, _Task, _Held]]] = {}
        for task in tasks:
            held, severity = locks.get(task.relation), self._scale.severity(task)
            if held and severity and task.work is not Work.WRITE:
                found.setdefault(task.work, []).append((severity, task, held))
        for work, each in found.items():
            each.sort(key=lambda item: item[0].rank)
            messages = (self._under_lock(statement, task, held) for _, task, held in each)
            is_own = all(held.by is statement for _, _, held in each)
            instead = self._safer_way(statement) or ("" if is_own else _FILE_OF_ITS_OWN)
            yield _found(
                self._file, RULE_OF_WORK[work], each[0][0], statement, " ".join(messages), instead
            )

    def _safer_way(self, statement: StatementFacts) -> str:
        return safer_way(statement.text, partitioned=self._file.partitioned)

    def _under_lock(self, statement: StatementFacts, task: _Task, held: _Held) -> str:
        since = "" if held.by is statement else f", since line {held.by.line}"
        return (
            f"{task.relation} {DONE[task.work]} while its {held.blocks} wait{since} "
            f"({self._scale.how_long(task)})."
        )

    def _meanwhile(self, statement: StatementFacts, tasks: tuple[_Task, ...]) -> Iterator[Finding]:
        """Find work during which a lock of an earlier statement is held."""
        severities = {task: found for task in tasks if (found := self._scale.severity(task))}
        if not severities:
            return
        task = min(severities, key=lambda each: severities[each].rank)
        # What it does to a table that it locks itself is found as that.
        found_itself = {each.relation for each in severities if each.work is not Work.WRITE}
        waiting = [
            held
            for relation, held in self._locks.during(statement.number).items()
            if (held.by is not statement or _command(statement) == "REFRESH")
            and self._scale.is_used(relation)
            and relation not in found_itself
        ]
        if not waiting:
            return
        locks = ", ".join(
            f"{each.blocks} of {each.lock.relation} (line {each.by.line})" for each in waiting
        )
        message = (
            f"{task.relation} {DONE[task.work]} ({self._scale.how_long(task)}), and until the "
            f"transaction ends these wait: {locks}."
        )
        instead = self._safer_way(statement)
        if waiting[0].by is not statement:
            batches = f" {WRITE_IN_BATCHES}" if task.work is Work.WRITE else ""
            instead = f"{_FILE_OF_ITS_OWN}{batches}"
        severity = severities[task]
        yield _found(self._file, "works-while-locking", severity, statement, message, instead)

    def _many_rows(self, statement: StatementFacts, tasks: tuple[_Task, ...]) -> Iterator[Finding]:
        for task in tasks:
            severity = self._scale.severity(task)
            if task.work is not Work.WRITE or severity is None:
                continue
            which = "all rows" if task.is_certain else "as many rows as its condition finds"
            how_long = f"{self._scale.how_long(task)}{'' if task.is_certain else ' for all'}"
            message = one_transaction(which, task.relation, how_long)
            if not task.is_certain:
                severity = Severity.NOTE
            yield _found(
                self._file, "writes-many-rows", severity, statement, message, WRITE_IN_BATCHES
            )

    def _brief(self, statement: StatementFacts, *, but: set[str]) -> Iterator[Finding]:
        """Find locks that are short, but may have to be waited for, while all others wait too."""
        for held in self._locks.all:
            relation = held.lock.relation
            size = self._scale.size(relation)
            if held.by is not statement or size is None or relation in but:
                continue
            if is_old(size):
                age = span_text(size.oldest_transaction or 0)
                reason = f"a transaction that is {age} old holds a lock on it"
                severity = Severity.WARN
            elif (uses := self._scale.uses(size)) >= BUSY:
                reason = f"it is used {uses:,.0f} times a second"
                severity = Severity.NOTE
            else:
                continue
            message = f"The lock on {relation} blocks {held.blocks}, and {reason}. {_WAITING}"
            yield _found(self._file, "waits-behind-lock", severity, statement, message)


def _several_tables(file: FileFacts, scale: _Scale) -> Iterator[Finding]:
    if not file.is_transaction:
        return
    first: dict[str, _Held] = {}
    for held in _Locks(file).all:
        if scale.is_noticed(held.lock.relation):
            first.setdefault(held.lock.relation, held)
    statements = {held.by.number: held.by for held in first.values()}
    # Of a single statement, as of a foreign key, the tables can't be locked apart.
    if len(first) < 2 or len(statements) < 2:
        return
    names = ", ".join(f"{name} (line {held.by.line})" for name, held in first.items())
    message = (
        f"One transaction locks {len(first)} tables, and holds the first while it waits for "
        f"the next: {names}. With an application that uses them in another order, it may deadlock."
    )
    severity = Severity.NOTE if scale.sizes is None else Severity.WARN
    second = sorted(statements)[1]
    instead = "Change each table in a file of its own."
    yield _found(file, "locks-several-tables", severity, statements[second], message, instead)


def _unindexed(file: FileFacts, scale: _Scale, key: UnindexedForeignKey) -> Iterator[Finding]:
    relation = key.relation
    size = scale.size(relation)
    if not scale.is_live(relation) or (size is not None and is_small(size)):
        return
    how_large = _UNKNOWN if size is None else size_text(size)
    message = (
        f"The foreign key {key.name} of {relation} ({how_large}) has no index on "
        f"{key.columns}: each row that is deleted from {key.references}, or gets "
        f"another key there, makes the server read all of {relation}."
        if key.is_added
        else f"Each row that is deleted from {key.references} makes the server read all of "
        f"{relation} ({how_large}), whose foreign key {key.name} has no index on {key.columns}."
    )
    statement = next(each for each in file.statements if each.number == key.statement)
    yield _found(
        file,
        "foreign-key-without-index",
        Severity.WARN,
        statement,
        message,
        index_for_key(relation, key.columns, before="the foreign key" if key.is_added else "this"),
    )


def _found(
    file: FileFacts,
    rule: str,
    severity: Severity,
    statement: StatementFacts,
    message: str,
    instead: str = "",
) -> Finding:
    return Finding(rule, severity, file.version, statement.line, message, instead)


def _level(held: _Held) -> int:
    return tuple(BLOCKED_BY).index(held.lock.mode)


def _tasks(statement: StatementFacts) -> Iterator[_Task]:
    """What the statement does that takes as long as its tables are large, each table once."""
    if _is_concurrent_refresh(statement):
        return
    rewritten, built = set(statement.rewrites), set(statement.builds) - set(statement.rewrites)
    yield from (_Task(name, Work.REWRITE) for name in sorted(rewritten))
    yield from (_Task(name, Work.INDEX) for name in sorted(built))
    if not _is_query(statement):
        others = set(statement.scans) - rewritten - built - set(statement.written)
        yield from (_Task(name, Work.SCAN) for name in sorted(others))
    if _command(statement) in _ADDING:
        return
    for name in sorted(set(statement.written) & set(statement.scans) - rewritten):
        yield _Task(name, Work.WRITE, is_certain=_has_no_condition(statement))


def _command(statement: StatementFacts) -> str:
    return _read(statement).command


def _is_query(statement: StatementFacts) -> bool:
    return _command(statement) in _QUERIES


def _is_concurrent_refresh(statement: StatementFacts) -> bool:
    """True if only writers of a materialized view wait: there are none but others that refresh."""
    return any(
        effect.kind is EffectKind.REFRESH and effect.has(Clause.CONCURRENTLY)
        for effect in effects_of(_read(statement))
    )


def _has_no_condition(statement: StatementFacts) -> bool:
    return any(
        effect.kind in (EffectKind.UPDATE, EffectKind.DELETE) and not effect.has(Clause.WHERE)
        for effect in effects_of(_read(statement))
    )


def _read(statement: StatementFacts) -> Statement:
    return Statement(statement.text, 0, len(statement.text))
