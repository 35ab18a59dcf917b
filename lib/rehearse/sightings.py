"""What a statement did, from what the probes before and after it saw. Pure.

Locks and counts add up in a transaction: what is new after a statement is what it did.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..sql.concurrent_locks import KnownLocks
from ..sql.lexer import tokens
from ..sql.statement import Statement
from .probe_queries import MODES, ForeignKey, Locked, Relation, Relations
from .statement_facts import RelationLock, StatementFacts

_ROW_EXCLUSIVE = MODES.index("RowExclusive")
# `nextval` and the like, which hold nobody up.
_STRONG_ON_SEQUENCE = MODES.index("ShareRowExclusive")
# Relations that are reported when they are made; a sequence comes with its table.
_MADE = ("r", "p", "m", "v", "f", "i", "I")
# These write a table anew where they change its file; what a function has done, the counts tell.
_REWRITING = ("ALTER", "CLUSTER", "REFRESH", "VACUUM")


@dataclass(frozen=True)
class Probe:
    """What was seen after a statement. `target` is the table whose rows the text says it writes."""

    locks: Mapping[int, Locked] = field(default_factory=dict)
    keys: tuple[ForeignKey, ...] = ()
    target: int | None = None


class _Catalog:
    """The relations of a file: those before it, and those that it makes on the way."""

    def __init__(self, relations: Relations, known: Mapping[int, str]) -> None:
        self.by_oid = dict(relations.by_oid)
        self.known = known

    def take_in(self, locks: Mapping[int, Locked]) -> list[Relation]:
        """Remember the relations that are new, and return them."""
        found = (each.relation for each in locks.values())
        made = [each for each in found if each and each.oid not in self.by_oid]
        self.by_oid |= {each.oid: each for each in made}
        return made

    def kind(self, oid: int) -> str:
        """The kind of the relation as in pg_class; empty for one without a name of its own."""
        return self.by_oid[oid].kind if oid in self.by_oid else ""

    def table(self, oid: int) -> int:
        """The table of an index; any other relation itself."""
        return self.by_oid[oid].table if oid in self.by_oid else oid

    def name(self, oid: int) -> str:
        found = self.by_oid.get(oid)
        return self.known.get(oid) or (found.name if found else "")

    def names(self, oids: Iterable[int]) -> tuple[str, ...]:
        """The names of those that existed before the rehearsal, sorted."""
        return _sorted(self.known[oid] for oid in oids if oid in self.known)


@dataclass
class _Held:
    """A lock: since which statement, on which table, at which place in MODES, until which one."""

    since: int
    table: int
    level: int
    until: int
    is_open: bool = True


class _Trail:
    """Which locks each statement acquired, and how long they were held."""

    def __init__(self, catalog: _Catalog) -> None:
        self._catalog = catalog
        self._levels: dict[int, int] = {}
        self._held: list[_Held] = []

    def extend(self, number: int) -> None:
        """Take note that the statement runs while the locks are held."""
        for lock in self._held:
            if lock.is_open:
                lock.until = number

    def follow(self, number: int, probe: Probe) -> None:
        """Compare what is locked after the statement with what was before it."""
        self.extend(number)
        levels: dict[int, int] = {}
        for oid, now in probe.locks.items():
            if now.levels and self._is_reported(oid, max(now.levels)):
                table = self._catalog.table(oid)
                levels[table] = max(levels.get(table, -1), *now.levels)
        for lock in self._held:
            # Rolled back to a savepoint, a transaction lets go of what it has locked since.
            lock.is_open = lock.is_open and levels.get(lock.table, -1) >= lock.level
        for table, level in levels.items():
            if level > self._levels.get(table, -1):
                self._held.append(_Held(number, table, level, number))
        self._levels = levels

    def add(self, number: int, held: Iterable[tuple[int, str]]) -> None:
        """Add the locks, by table, that end with the statement."""
        for table, mode in held:
            self._held.append(_Held(number, table, MODES.index(mode), number, is_open=False))

    def end(self) -> None:
        """Take note that the transaction has ended."""
        self._levels = {}
        for lock in self._held:
            lock.is_open = False

    def locks_of(self, number: int) -> tuple[RelationLock, ...]:
        known = self._catalog.known
        found = (
            RelationLock(known[lock.table], MODES[lock.level], lock.until)
            for lock in self._held
            if lock.since == number and lock.table in known
        )
        return tuple(sorted(found, key=lambda lock: lock.relation))

    def _is_reported(self, oid: int, level: int) -> bool:
        if oid not in self._catalog.known:
            return False
        return self._catalog.kind(oid) != "S" or level >= _STRONG_ON_SEQUENCE


class _Counts:
    """How often tables were read and their rows written in a transaction, statement by statement.

    What a savepoint rolls back stays counted, and is not to be counted again.
    """

    def __init__(self, catalog: _Catalog) -> None:
        self._catalog = catalog
        self._scans: dict[int, int] = {}
        self._writes: dict[int, int] = {}
        self._levels: dict[int, frozenset[int]] = {}

    def scans(self, probe: Probe) -> dict[int, int]:
        """By table, how many scans of it or of its indexes the statement began."""
        scans: dict[int, int] = {}
        for oid, now in probe.locks.items():
            table = self._catalog.table(oid)
            scans[table] = scans.get(table, 0) + now.scans - self._scans.get(oid, 0)
        return scans

    def written(self, probe: Probe) -> set[int]:
        """The tables whose rows it wrote, or would have, if there were any."""
        written = set() if probe.target is None else {probe.target}
        for oid, now in probe.locks.items():
            is_new = _ROW_EXCLUSIVE in now.levels - self._levels.get(oid, frozenset())
            if is_new or now.writes > self._writes.get(oid, 0):
                written.add(oid)
        return {oid for oid in written if self._catalog.kind(oid) in ("r", "p")}

    def take(self, probe: Probe) -> None:
        """Take the probe for what was before the next statement."""
        self._scans |= {oid: each.scans for oid, each in probe.locks.items()}
        self._writes |= {oid: each.writes for oid, each in probe.locks.items()}
        self._levels = {oid: each.levels for oid, each in probe.locks.items()}


class Keys:
    """The foreign keys that a file adds and validates, and the rows deleted that they may concern.

    `validated` has those before the file.
    """

    def __init__(self, catalog: _Catalog, validated: Mapping[int, bool]) -> None:
        self._catalog = catalog
        self._validated = dict(validated)
        self._added: dict[int, int] = {}
        self._deleted: dict[int, int] = {}

    def __bool__(self) -> bool:
        """True if there may be keys to name."""
        return bool(self._added or self._deleted)

    def is_added(self, key: int) -> bool:
        return key in self._added

    def statement_of(self, key: int, references: int) -> int | None:
        """The statement that adds the key, or else first deletes rows of what it references."""
        return self._added.get(key) or self._deleted.get(references)

    def delete(self, number: int, tables: Iterable[int]) -> None:
        """Take note that the statement deletes rows of the tables."""
        self._deleted = dict.fromkeys(tables, number) | self._deleted

    def read_by(self, number: int, probe: Probe, scanned: set[int]) -> Iterator[int]:
        """Yield the two tables of each foreign key that the statement has checked.

        Without rows, one of them may be left alone: by its plan, the server begins with either.
        """
        for key in probe.keys:
            if key.oid not in self._validated:
                self._added[key.oid] = number
            tables = (key.table, key.references)
            # The key of a new column, which is null everywhere, is valid without a look. The
            # partitions of a table are read in its place. A new table has hardly a row to look up.
            is_read = not scanned.isdisjoint(tables) or self._catalog.kind(key.table) == "p"
            is_read = is_read and key.table in self._catalog.known
            if key.is_validated and not self._validated.get(key.oid, False) and is_read:
                yield from tables
            self._validated[key.oid] = key.is_validated


class Sightings:
    """The facts of a file's statements, gathered probe by probe.

    `relations` are those before the file. `known` has by OID the names before the rehearsal, which
    the live database still uses; what is not among them was made by the rehearsal.
    """

    def __init__(self, relations: Relations, known: Mapping[int, str]) -> None:
        self._catalog = _Catalog(relations, known)
        self._trail = _Trail(self._catalog)
        self._filenodes = {oid: each.filenode for oid, each in relations.by_oid.items()}
        self._gone: set[int] = set()
        self._counts = _Counts(self._catalog)
        self._facts: list[StatementFacts] = []
        self.keys = Keys(self._catalog, relations.validated)
        self.partitioned = relations.partitioned

    @property
    def facts(self) -> tuple[StatementFacts, ...]:
        """The facts of the statements so far, with their locks."""
        return tuple(replace(each, locks=self._trail.locks_of(each.number)) for each in self._facts)

    def see(self, facts: StatementFacts, statement: Statement, probe: Probe) -> None:
        """Add a statement: `facts` without what the probe shows."""
        catalog = self._catalog
        made = {each.name for each in catalog.take_in(probe.locks) if each.kind in _MADE}
        dropped = self._dropped(probe)
        scanned = {table for table, count in self._counts.scans(probe).items() if count}
        scanned |= set(self.keys.read_by(facts.number, probe, scanned))
        rewritten, truncated, built = self._files(statement, probe)
        written = self._counts.written(probe)
        if _deletes(statement):
            self.keys.delete(facts.number, written)
        self._facts.append(
            replace(
                facts,
                scans=catalog.names(scanned - truncated),
                rewrites=catalog.names(rewritten),
                truncated=catalog.names(truncated),
                builds=catalog.names(built),
                written=catalog.names(written),
                # An index that the server replaces is neither.
                created=_sorted(made - dropped),
                dropped=_sorted(dropped - made),
            )
        )
        self._trail.follow(facts.number, probe)
        self._counts.take(probe)
        self._filenodes |= {oid: each.filenode for oid, each in probe.locks.items()}

    def add(self, facts: StatementFacts) -> None:
        """Add a statement without a probe."""
        self._facts.append(facts)
        self._trail.extend(facts.number)

    def add_known(
        self, facts: StatementFacts, known: KnownLocks, oids: Mapping[str, int | None]
    ) -> None:
        """Add a statement that runs in no transaction; `oids` has the relations by their names."""
        catalog = self._catalog
        found = [(oids[name], mode) for name, mode in known.named]
        locks = [(catalog.table(oid), mode) for oid, mode in found if oid is not None]
        if known.every_table:
            tables = [oid for oid in catalog.by_oid if catalog.kind(oid) in ("r", "m")]
            locks += [(oid, known.every_table) for oid in tables]
        names = catalog.names(oid for oid, _ in locks)
        self._facts.append(
            replace(
                facts,
                scans=names if known.scans else (),
                rewrites=names if known.rewrites else (),
                builds=names if known.builds else (),
            )
        )
        self._trail.add(facts.number, locks)

    def reach(self, number: int) -> None:
        """Take note that a statement has begun that does not end."""
        self._trail.extend(number)

    def name(self, table: int) -> str:
        """The name of a table, that before the rehearsal if there is one; empty if unknown."""
        return self._catalog.name(table)

    def end_transaction(self) -> None:
        """Take note that the locks are gone, and that the counts begin anew."""
        self._counts = _Counts(self._catalog)
        self._trail.end()

    def _dropped(self, probe: Probe) -> set[str]:
        gone = {oid for oid, each in probe.locks.items() if each.is_dropped} - self._gone
        self._gone |= gone
        return {self._catalog.name(oid) for oid in gone if self._catalog.kind(oid) in _MADE}

    def _files(self, statement: Statement, probe: Probe) -> tuple[set[int], set[int], set[int]]:
        """The tables that were rewritten, those that were emptied, those with an index built."""
        catalog = self._catalog
        changed = {oid for oid, now in probe.locks.items() if self._has_new_file(oid, now)}
        tables = {oid for oid in changed if catalog.kind(oid) != "i"}
        indexed = [catalog.table(oid) for oid in changed - tables]
        rewritten = {
            oid for oid in tables if self._is_rewrite(statement, oid, probe, indexed.count(oid))
        }
        # An index that is replaced may keep the file of the old one.
        files = set(self._filenodes.values())
        made = {
            catalog.table(oid)
            for oid, now in probe.locks.items()
            if catalog.kind(oid) == "i" and oid not in self._filenodes
            if now.filenode is not None and now.filenode not in files
        }
        return rewritten, tables - rewritten, (made | set(indexed)) - tables

    def _is_rewrite(self, statement: Statement, table: int, probe: Probe, indexes: int) -> bool:
        """True if the new file of the table has its rows, and not none of them, as by TRUNCATE.

        A table that is emptied is read only to build each of its indexes.
        """
        if statement.command == "TRUNCATE":
            return False
        is_certain = statement.command in _REWRITING or self._catalog.kind(table) == "m"
        return is_certain or self._counts.scans(probe)[table] > indexes

    def _has_new_file(self, oid: int, now: Locked) -> bool:
        is_stored = self._catalog.kind(oid) in ("r", "m", "i")
        is_older = oid in self._filenodes and now.filenode is not None
        return is_stored and is_older and now.filenode != self._filenodes[oid]


def _deletes(statement: Statement) -> bool:
    """True if the text has a DELETE, which may be that of a common table expression."""
    return statement.command in ("DELETE", "MERGE", "WITH") and "delete" in map(
        str.lower, tokens(statement.text)
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
