"""Views whose text differs only because two versions of PostgreSQL print a query differently.

Since PostgreSQL 16, for one, the table's name no longer stands before a column where it need not.
"""

from collections.abc import Iterator

from psycopg import sql

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from .catalog_query import printed_alike
from .schema_objects import ObjectKey, Snapshot

_VIEWS = ("view", "materialized view")
# One transaction, so that nothing is left, whatever happens. CREATE VIEW runs no function that the
# query calls.
_CREATE = "create temporary view printed_by_this_version as {query}"
_PRINTED = """
select {printed_alike}
  from pg_get_viewdef('pg_temp.printed_by_this_version'::regclass) as printed
"""
_DROP = "drop view pg_temp.printed_by_this_version"


def same_views(connection: Connection, older: Snapshot, newer: Snapshot) -> frozenset[ObjectKey]:
    """Return the views that differ in their text alone, and not for the newer server.

    The connection is to a database of the newer server that has what the views refer to. There each
    text of the older server becomes a temporary view, and what is printed of that is compared.
    Nothing is asked where both servers are of one major version.
    """
    if older.server_version_num // 10000 == newer.server_version_num // 10000:
        return frozenset()
    return frozenset(_same(connection, older, newer))


def _same(connection: Connection, older: Snapshot, newer: Snapshot) -> Iterator[ObjectKey]:
    for key in older.objects.keys() & newer.objects.keys():
        before, after = older.objects[key], newer.objects[key]
        if key.kind not in _VIEWS or before == after:
            continue
        options, _, text = before.partition("\n")
        query = text.rstrip("; \n")
        # One statement, whatever the older server has sent: it may be a stranger's.
        if ";" not in query and after == f"{options}\n{_printed(connection, query)}":
            yield key


def _printed(connection: Connection, query: str) -> str | None:
    """What the server prints of the query; None if it does not take it."""
    create = filled(_CREATE, query=sql.SQL(query))
    printed = filled(_PRINTED, printed_alike=printed_alike("printed"))
    try:
        return connection.query(joined(create, printed, _DROP))[-1][0][0]
    except StatementError:
        return None
