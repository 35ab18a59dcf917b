"""The sizes of the tables of a live database: read, without waiting for a lock.

The size functions wait for whoever holds a table exclusively, so tables that are locked now have
the sizes that the last vacuum or analyze has noted. If a lock comes meanwhile, all tables have.
"""

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Row, Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..duration import milliseconds
from ..time_limits import SIZES, SIZES_LOCK
from .live_sizes import LiveSizes, TableSize, sizes_of

_TOO_LATE = "The database stopped answering while the sizes were read."
_LOCK_NOT_AVAILABLE = "55P03"
# An object was dropped between two looks at the catalog: internal_error, undefined_table.
_MEANWHILE = ("XX000", "42P01")
# Of a table that was never vacuumed or analyzed, a row is taken to have as many bytes.
BYTES_PER_ROW = 100

# tree: each table with itself and all tables below it, whose sizes are its own too: partitions, and
# tables that inherit. held: the oldest transaction that holds a lock on a table or waits for one;
# a prepared one has no session, and an autovacuum gives way. Of the sessions of other roles the
# server tells no age, unless this role is in pg_read_all_stats.
_FIND = """
with recursive tree as (
    select c.oid as root, c.oid as member
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't' and {which}
    union
    select tree.root, i.inhrelid from tree join pg_inherits i on i.inhparent = tree.member
), lock as materialized (
    select l.relation, l.pid, l.virtualtransaction, l.mode
      from pg_locks l
     where l.locktype = 'relation' and l.pid is distinct from pg_backend_pid()
       and l.database = (select oid from pg_database where datname = current_database())
), session as materialized (
    select pid::text as holder, xact_start as began from pg_stat_get_activity(null)
     where backend_type is distinct from 'autovacuum worker'
    union all
    select '-1/' || transaction::text, prepared from pg_prepared_xacts
), held as materialized (
    select l.relation, extract(epoch from clock_timestamp() - min(s.began)) as age
      from lock l join session s on s.holder = coalesce(l.pid::text, l.virtualtransaction)
     group by l.relation
), locked as materialized (
    select coalesce(i.indrelid, l.relation) as oid
      from lock l left join pg_index i on i.indexrelid = l.relation
     where l.mode = 'AccessExclusiveLock'
), index as materialized (
    select i.indrelid, sum(greatest(c.relpages, 0)) as pages,
           sum(pg_stat_get_numscans(i.indexrelid)) as scans
      from pg_index i join pg_class c on c.oid = i.indexrelid
     group by i.indrelid
), sized as materialized (
    select c.oid, c.reltuples, c.relpages,
           not ({is_rough} or exists (select from locked where locked.oid = c.oid)) as is_exact,
           greatest(c.relpages, 0) + greatest(coalesce(toast.relpages, 0), 0)
               + coalesce(own.pages, 0) + coalesce(of_toast.pages, 0) as pages,
           pg_stat_get_numscans(c.oid) + coalesce(own.scans, 0) as reads,
           pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
               + pg_stat_get_tuples_deleted(c.oid) as writes
      from pg_class c
      left join pg_class toast on toast.oid = c.reltoastrelid
      left join index own on own.indrelid = c.oid
      left join index of_toast on of_toast.indrelid = c.reltoastrelid
     where c.oid in (select member from tree) and c.relkind in ('r', 'm')
), measured as materialized (
    select oid, is_exact, reads, writes, reltuples, relpages,
           -- Only where nobody is in the way; a case is what keeps the server from calling it.
           case when is_exact then pg_total_relation_size(oid) else pages * block end as bytes,
           case when is_exact then pg_relation_size(oid)
                else greatest(relpages, 0)::bigint * block end as heap
      from sized, (select current_setting('block_size')::bigint) as setting (block)
)
select quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       -- As the planner does it: as many rows to a page as when they were counted.
       coalesce(sum(case
           when m.reltuples > 0 and m.relpages > 0
           then m.reltuples / m.relpages * (m.heap / current_setting('block_size')::integer)
           when pg_stat_get_live_tuples(m.oid) > 0 then pg_stat_get_live_tuples(m.oid)
           else m.heap / {bytes_per_row} end), 0)::bigint,
       coalesce(sum(m.bytes), 0)::bigint, coalesce(sum(m.reads), 0)::bigint,
       coalesce(sum(m.writes), 0)::bigint, max(h.age)::bigint,
       coalesce(bool_or(not m.is_exact), false)
  from tree
  join pg_class c on c.oid = tree.root
  join pg_namespace n on n.oid = c.relnamespace
  left join measured m on m.oid = tree.member
  left join held h on h.relation = tree.member
 group by n.nspname, c.relname
"""
# Of a database whose statistics were never reset no time is noted: since the server's start, then.
_READ_DATABASE = """
select current_database(),
       extract(epoch from clock_timestamp() - coalesce(stats_reset, pg_postmaster_start_time()))
  from (select pg_stat_get_db_stat_reset_time(oid) as stats_reset
          from pg_database where datname = current_database()) as statistics
"""
_ALL = """not starts_with(n.nspname::text, 'pg_') and n.nspname <> 'information_schema'"""


def read_sizes(connection: Connection) -> tuple[str, LiveSizes]:
    """Return the name of the database, and the sizes of all its tables.

    Nothing is written. Raises DatabaseUnavailableError if the server does not answer in time, and
    StatementError if it refuses.
    """
    with connection.limit_to(SIZES, _TOO_LATE):
        try:
            [[database], rows] = _read(connection, is_rough=False)
        except StatementError as error:
            if error.server_error.sqlstate not in (_LOCK_NOT_AVAILABLE, *_MEANWHILE):
                raise
            [[database], rows] = _read(connection, is_rough=True)
    name, seconds = database
    return name or "", sizes_of(map(_table, rows), counted_for=_seconds(seconds))


def find_on_record(which: sql.Composable) -> sql.Composed:
    """The query for what is on record of tables: no lock is taken, and no file is looked at.

    `which` is a condition on `pg_class c` and `pg_namespace n`.
    """
    return _find(which, is_rough=True)


def sizes_on_record(rows: Rows) -> LiveSizes:
    """Read the answer to that query."""
    return sizes_of(map(_table, rows))


def _read(connection: Connection, *, is_rough: bool) -> list[Rows]:
    return connection.query(
        joined(
            f"set local lock_timeout = {milliseconds(SIZES_LOCK)}",
            f"set local statement_timeout = {milliseconds(SIZES)}",
            _READ_DATABASE,
            _find(sql.SQL(_ALL), is_rough=is_rough),
        ),
        read_only=True,
    )


def _find(which: sql.Composable, *, is_rough: bool) -> sql.Composed:
    return filled(
        _FIND, which=which, is_rough=sql.SQL(str(is_rough).lower()), bytes_per_row=BYTES_PER_ROW
    )


def _table(row: Row) -> TableSize:
    relation, rows, size, reads, writes, age, is_rough = row
    return TableSize(
        relation=relation or "",
        rows=int(rows or 0),
        bytes=int(size or 0),
        reads=int(reads or 0),
        writes=int(writes or 0),
        oldest_transaction=_seconds(age),
        is_rough=is_rough == "t",
    )


def _seconds(text: str | None) -> int | None:
    # The clock of a statement and that of a transaction may differ by a moment.
    return None if text is None else max(0, int(float(text)))
