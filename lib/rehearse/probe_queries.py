"""What the server is asked between the statements of a file, and what the answers mean.

A probe runs under whatever the file has set: its search_path may lead to another `=` or another
pg_locks, and its role may own nothing. So every name in it is qualified, operators too, and it
reads only what every role may read. An empty table gives the same answers as a full one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..database.connection import Connection
from ..database.send_and_receive import Row, Rows
from ..database.sql_composition import joined
from ..own_tables import OWN_TABLES

# The modes from the weakest (PostgreSQL manual, "Explicit Locking"), in the order of the server's
# own numbers for them.
MODES = (
    "AccessShare", "RowShare", "RowExclusive", "ShareUpdateExclusive", "Share",
    "ShareRowExclusive", "Exclusive", "AccessExclusive",
)  # fmt: skip
_LEVELS = {f"{mode}Lock": level for level, mode in enumerate(MODES)}

# Counts that wait in the session for their turn would be taken for those of the file's. The server
# reports them before it is ready for the next message.
FLUSH_COUNTS = "select pg_catalog.pg_stat_force_next_flush()"

_RELATIONS = """
select c.oid, c.relkind, pg_relation_filenode(c.oid),
       quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.indrelid
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_index i on i.indexrelid = c.oid
 where c.oid >= 16384 and c.relkind in ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S')
   and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
"""
_FOREIGN_KEYS = (
    "select oid, conrelid, confrelid, convalidated from pg_constraint where contype = 'f'"
)

# The locks of this session, and of each locked relation the file in which it is stored, the scans
# and the rows of this transaction so far, and its name. Relations of the server itself have lower
# OIDs. Their order is that in which the modes were acquired by the server's hash, which is none.
LOCKS_NOW = """
select l.relation, pg_catalog.array_to_string(pg_catalog.array_agg(l.mode), ' '),
       pg_catalog.pg_relation_filenode(l.relation),
       pg_catalog.pg_stat_get_xact_numscans(l.relation),
       pg_catalog.pg_stat_get_xact_tuples_inserted(l.relation)
           operator(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(l.relation)
           operator(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(l.relation),
       c.relkind,
       case when n.nspname operator(pg_catalog.!~~) 'pg\\_%'
            then pg_catalog.quote_ident(n.nspname) operator(pg_catalog.||) '.'
                 operator(pg_catalog.||) pg_catalog.quote_ident(c.relname) end,
       i.indrelid
  from pg_catalog.pg_locks l
  left join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) l.relation
  left join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
  left join pg_catalog.pg_index i on i.indexrelid operator(pg_catalog.=) l.relation
 where l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()
   and l.locktype operator(pg_catalog.=) 'relation'
   and l.relation operator(pg_catalog.>=) '16384'::pg_catalog.oid
 group by l.relation, c.relkind, n.nspname, c.relname, i.indrelid
"""
# Of the locked tables. A key that is validated reads both tables; an empty one is an outer table
# for which the server may read nothing of the other, so the counts would not show it.
FOREIGN_KEYS_NOW = """
select k.oid, k.conrelid, k.confrelid, k.convalidated
  from pg_catalog.pg_constraint k
 where k.contype operator(pg_catalog.=) 'f'
   and k.conrelid operator(pg_catalog.=) any (array(
       select l.relation from pg_catalog.pg_locks l
        where l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()
          and l.locktype operator(pg_catalog.=) 'relation'))
"""

# Foreign keys that are left without an index whose first columns are theirs, in any order. An index
# of a part of the rows does not serve. Keys of partitions stand for that of their table.
UNINDEXED = """
select k.oid, k.conrelid, k.confrelid, quote_ident(k.conname),
       (select string_agg(quote_ident(a.attname), ', ' order by u.place)
          from unnest(k.conkey) with ordinality u (attnum, place)
          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum)
  from pg_constraint k
 where k.contype = 'f' and k.conparentid = 0
   and not exists (
       select from pg_index i
        where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null
          and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
 order by k.conrelid::regclass::text, k.conname
"""


@dataclass(frozen=True)
class Relation:
    """A relation by its name; `table` is the OID of an index's table, else its own."""

    oid: int
    kind: str
    filenode: int | None
    name: str
    table: int

    @property
    def is_index(self) -> bool:
        return self.kind in ("i", "I")


@dataclass(frozen=True)
class Relations:
    """The relations and foreign keys of a database, at one time.

    `validated` has, for each foreign key, whether all rows are known to satisfy it.
    """

    by_oid: Mapping[int, Relation]
    validated: Mapping[int, bool]

    @property
    def partitioned(self) -> frozenset[str]:
        """The names of the tables that have partitions."""
        return frozenset(each.name for each in self.by_oid.values() if each.kind == "p")


@dataclass(frozen=True)
class Locked:
    """What a probe saw of one relation: `levels` are the places of its modes in MODES.

    `scans` and `writes` are counted from the beginning of the transaction. `relation` is None once
    it is dropped, and for what has no name of its own: TOAST, and what is temporary.
    """

    oid: int
    levels: frozenset[int]
    filenode: int | None
    scans: int
    writes: int
    is_dropped: bool
    relation: Relation | None


@dataclass(frozen=True)
class ForeignKey:
    oid: int
    table: int
    references: int
    is_validated: bool


def read_relations(connection: Connection) -> Relations:
    """Read the relations outside of a transaction; the counts of the session begin anew."""
    relations, keys = connection.query(joined(_RELATIONS, _FOREIGN_KEYS))
    if connection.server_version >= 150000:
        connection.run(FLUSH_COUNTS)
    found = (
        _relation(oid, kind, filenode, name, table)
        for oid, kind, filenode, name, table in relations
    )
    return Relations(
        {each.oid: each for each in found if each},
        {key.oid: key.is_validated for key in read_foreign_keys(keys)},
    )


def read_locks(rows: Rows) -> dict[int, Locked]:
    """Read the rows of LOCKS_NOW."""
    return {locked.oid: locked for locked in map(_locked, rows)}


def read_foreign_keys(rows: Rows) -> Iterator[ForeignKey]:
    """Read the rows of FOREIGN_KEYS_NOW."""
    for oid, table, references, is_validated in rows:
        yield ForeignKey(_int(oid), _int(table), _int(references), is_validated == "t")


def _locked(row: Row) -> Locked:
    oid, modes, filenode, scans, writes, kind, name, table = row
    return Locked(
        oid=_int(oid),
        levels=frozenset(_LEVELS[mode] for mode in (modes or "").split() if mode in _LEVELS),
        filenode=None if filenode is None else int(filenode),
        scans=_int(scans),
        writes=_int(writes),
        is_dropped=kind is None,
        relation=_relation(oid, kind, filenode, name, table),
    )


def _relation(
    oid: str | None, kind: str | None, filenode: str | None, name: str | None, table: str | None
) -> Relation | None:
    if kind is None or name is None or name in _OWN_NAMES:
        return None
    number = None if filenode is None else int(filenode)
    return Relation(_int(oid), kind, number, name, _int(table or oid))


_OWN_NAMES = frozenset(f"public.{name}" for name in OWN_TABLES)


def _int(value: str | None) -> int:
    return int(value or 0)
