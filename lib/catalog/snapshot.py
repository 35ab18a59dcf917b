"""The schema of a database, read in one statement; behind a lock or past its time, unknown."""

from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError
from ..time_limits import SNAPSHOT
from .catalog_query import list_objects
from .exclusions import Exclusions
from .schema_objects import ObjectKey, Snapshot, UnknownSchema

_TOO_LATE = "The catalog did not answer in time."
LOCK_NOT_AVAILABLE, QUERY_CANCELED = "55P03", "57014"
# An object was dropped between the two looks at the catalog that printing its definition takes:
# internal_error, undefined_table, undefined_object, undefined_function, undefined_column.
_MEANWHILE = ("XX000", "42P01", "42704", "42883", "42703")
# Who holds a lock that a reader waits for. The names of tables and applications are anybody's.
_FIND_LOCKS = """
select format('%I.%I', n.nspname, c.relname), l.pid, a.application_name,
       extract(epoch from clock_timestamp() - a.xact_start)::integer
  from pg_locks l
  join pg_class c on c.oid = l.relation
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.granted
   and l.database = (select oid from pg_database where datname = current_database())
   and c.relkind in ('r', 'p', 'f', 'v', 'm') and c.relpersistence <> 't'
 order by a.xact_start, l.pid, n.nspname, c.relname limit 1
"""


def read_snapshot(
    connection: Connection,
    *,
    exclusions: Exclusions = Exclusions(),  # noqa: B008 # frozen
    limit: float = SNAPSHOT,
) -> Snapshot | UnknownSchema:
    """Read the schema in one read-only transaction that takes at most `limit` seconds.

    Nothing stays set in the session. A lock in the way, too little time, or a server that refuses
    makes it unknown.
    """
    try:
        # The server keeps the limit; this is for one that does not answer at all.
        with connection.limit_to(limit * 2, _TOO_LATE):
            rows = _read(connection, exclusions, limit)
    except StatementError as error:
        return UnknownSchema(_reason(connection, error, limit))
    except DatabaseUnavailableError as error:
        return UnknownSchema(str(error))
    objects, places = _objects(rows, exclusions)
    return Snapshot(objects, connection.server_version, places)


def _read(connection: Connection, exclusions: Exclusions, limit: float) -> Rows:
    message = joined(
        # Shorter than the limit of the statement, which would otherwise always end first.
        f"set local lock_timeout = {milliseconds(limit / 2)}",
        f"set local statement_timeout = {milliseconds(limit)}",
        list_objects(exclusions, connection.server_version),
    )
    try:
        return connection.query(message, read_only=True)[-1]
    except StatementError as error:
        if error.server_error.sqlstate not in _MEANWHILE:
            raise
    return connection.query(message, read_only=True)[-1]


def _objects(
    rows: Rows, exclusions: Exclusions
) -> tuple[dict[ObjectKey, str], dict[ObjectKey, str]]:
    objects: dict[ObjectKey, str] = {}
    places: dict[ObjectKey, str] = {}
    for kind, identity, definition, place in rows:
        key = ObjectKey(kind or "", identity or "")
        if exclusions.patterns and exclusions.covers(key, place=place):
            continue
        objects[key] = definition or ""
        if place:
            places[key] = place
    return objects, places


def _reason(connection: Connection, error: StatementError, limit: float) -> str:
    server_error = error.server_error
    if server_error.sqlstate == LOCK_NOT_AVAILABLE:
        return _locked(connection, limit)
    if server_error.sqlstate == QUERY_CANCELED:
        return f"The catalog took longer than {limit:g} s to answer."
    return (
        f"The server refused to read its catalog: {server_error.message} "
        f"(SQLSTATE {server_error.sqlstate})."
    )


def _locked(connection: Connection, limit: float) -> str:
    """Name the table that is locked, and by whom, as far as that can still be found out."""
    try:
        with connection.limit_to(limit, _TOO_LATE):
            locks = connection.query(filled(_FIND_LOCKS), read_only=True)[-1]
    except (StatementError, DatabaseUnavailableError):
        locks = []
    if not locks:
        return "A table is locked by another session."
    [(table, pid, application, seconds)] = locks
    who = f"{application}, PID {pid}" if application else f"PID {pid}"
    since = f", since {seconds} s" if seconds is not None else ""
    return f"{table} is locked by another session ({who}{since})."
