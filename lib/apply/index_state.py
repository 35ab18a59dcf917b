"""What the catalog says about an index, a partition, or a statement that another session runs.

And what an index build CONCURRENTLY leaves invalid: found, dropped, never taken for a success.
Names from a file are looked up as its session would do (`Connection.resolve`), all else by oid.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from psycopg import sql

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled
from ..errors import MigrationFailedError, MigratorError
from ..files.runnable_script import Script
from ..sql.concurrent import ConcurrentOperation, OperationKind, is_concurrent, parse_concurrent
from ..sql.statement import Statement
from ..time_limits import DROP_INDEX

# duplicate_table: the index existed before the statement, so the file did not leave it behind.
DUPLICATE_TABLE = "42P07"

# An index is in the schema of its table, whatever search_path is in force.
_INDEX = """
select x.indisvalid, pg_catalog.format('%I.%I', n.nspname, i.relname)
  from pg_catalog.pg_class t
  join pg_catalog.pg_namespace n on n.oid = t.relnamespace
  join pg_catalog.pg_class i on i.relnamespace = t.relnamespace and i.relname = {index}::name
  join pg_catalog.pg_index x on x.indexrelid = i.oid and x.indrelid = t.oid
 where t.oid = {table}::oid
"""
_INVALID = """
select pg_catalog.format('%I.%I', n.nspname, i.relname)
  from pg_catalog.pg_index x
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  join pg_catalog.pg_namespace n on n.oid = i.relnamespace
 where not x.indisvalid and i.relkind = 'i'
   and not exists (select from pg_catalog.pg_stat_progress_create_index p
                    where p.index_relid = x.indexrelid)
   and x.indrelid = coalesce(
           (select indrelid from pg_catalog.pg_index where indexrelid = {index}::oid),
           {table}::oid)
"""
# The suffixes that REINDEX CONCURRENTLY gives (PostgreSQL manual, REINDEX).
_INVALID_BY_REINDEX = _INVALID + " and i.relname ~ '_cc(?:new|old)[0-9]*$'"
_PARTITION = """
select inhdetachpending from pg_catalog.pg_inherits
 where inhrelid = {partition}::oid and inhparent = {table}::oid
"""
# The server keeps only the beginning of a query (track_activity_query_size, 1 kB by default): 200
# characters are enough to tell two statements apart.
_AT_WORK = """
select a.pid, to_char(a.query_start at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
  from pg_catalog.pg_stat_activity a, pg_catalog.unnest(array[{texts}]::text[]) as t (text)
 where a.datname = current_database() and a.pid <> pg_catalog.pg_backend_pid()
   and (a.state = 'active'
        or a.state ~ '^idle in transaction' and a.application_name ~ '^migrations ')
   and (a.query = t.text
        or length(a.query) > 200
        and pg_catalog.starts_with(t.text, pg_catalog.left(a.query, 200)))
 limit 1
"""
# Tables of an extension (deptype e) do not count: many providers install some from the start.
_HAS_TABLES = """
select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f')
       and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and not (n.nspname = 'public'
                and c.relname in ('schema_migrations', 'schema_migration_runs'))
       and not exists (select from pg_catalog.pg_depend d
                        where d.classid = 'pg_catalog.pg_class'::regclass
                          and d.objid = c.oid and d.deptype = 'e'))
"""
# Without a row in pg_stat_activity, the role may not see whose session it is.
_BUILDING = """
select p.pid, to_char(a.query_start at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
  from pg_catalog.pg_stat_progress_create_index p
  left join pg_catalog.pg_stat_activity a using (pid)
 where p.index_relid = pg_catalog.to_regclass({name})
"""


@dataclass(frozen=True)
class Index:
    """An index in the catalog. `name` is qualified and quoted, for SQL."""

    name: str
    is_valid: bool


def find_index(connection: Connection, operation: ConcurrentOperation) -> Index | None:
    """The index that the operation names, on the table that the session would find."""
    [table] = connection.resolve(operation.table)
    rows = connection.query(
        filled(_INDEX, index=operation.relation_name, table=table), read_only=True
    )[0]
    return Index(rows[0][1] or "", rows[0][0] == "t") if rows else None


def relation_exists(connection: Connection, name: str) -> bool:
    """True if the session would find a relation by this name."""
    return connection.resolve(name) != [None]


def has_tables(connection: Connection) -> bool:
    """True if there is any table besides the system's, extensions', and the runner's own two."""
    return connection.query(_HAS_TABLES, read_only=True)[0][0][0] == "t"


def invalid_indexes(
    connection: Connection, operation: ConcurrentOperation, *, by_reindex: bool = False
) -> set[str]:
    """The names, qualified and quoted, of the invalid indexes on the table of the operation.

    Without those that are being built at the moment. With `by_reindex`, only those that an
    unfinished REINDEX CONCURRENTLY leaves.
    """
    query = _INVALID_BY_REINDEX if by_reindex else _INVALID
    index, table = connection.resolve(operation.relation if by_reindex else None, operation.table)
    rows = connection.query(filled(query, index=index, table=table), read_only=True)[0]
    return {row[0] or "" for row in rows}


def is_partition(connection: Connection, operation: ConcurrentOperation) -> tuple[bool, bool]:
    """Whether the partition is still attached, and whether a DETACH CONCURRENTLY is unfinished."""
    partition, table = connection.resolve(operation.relation, operation.table)
    rows = connection.query(filled(_PARTITION, partition=partition, table=table), read_only=True)[0]
    return bool(rows), bool(rows) and rows[0][0] == "t"


def who_carries_out(connection: Connection, messages: Iterable[str]) -> tuple[str, str] | None:
    """The pid of another session that runs one of these messages, and since when.

    Also of a session of an earlier run that has sent one and still has its transaction open. None
    if there is no such session, or if the role may not see it.
    """
    texts = sql.SQL(",").join(map(sql.Literal, messages))
    return _who(connection, sql.SQL(_AT_WORK).format(texts=texts))


def who_builds(connection: Connection, index: Index) -> tuple[str, str] | None:
    """The pid of the session that is building this index, by whatever statement, and since when."""
    return _who(connection, filled(_BUILDING, name=index.name))


def _who(connection: Connection, query: sql.Composed) -> tuple[str, str] | None:
    rows = connection.query(query, read_only=True)[0]
    return (rows[0][0] or "", rows[0][1] or "a time unknown") if rows else None


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
            found = find_index(self._connection, operation)
            # Invalid is also an index that another session is building now.
            is_left = found and not found.is_valid and not who_builds(self._connection, found)
            return {found.name} if found and is_left else set()
        by_reindex = operation.kind is OperationKind.REINDEX
        return invalid_indexes(self._connection, operation, by_reindex=by_reindex)

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
        found = find_index(self._connection, self._operation)
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
