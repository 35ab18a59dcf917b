"""The schema of a database, read in one statement; behind a lock or past its time, unknown."""

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import joined
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError
from ..time_limits import SNAPSHOT
from .catalog_query import LIST_OBJECTS, PINNED_SETTINGS
from .schema_objects import ObjectKey, Snapshot, UnknownSchema

_TOO_LATE = "The catalog did not answer in time."
LOCK_NOT_AVAILABLE, QUERY_CANCELED = "55P03", "57014"
_REASONS = {
    LOCK_NOT_AVAILABLE: "A table is locked by another session.",
    QUERY_CANCELED: f"The catalog took longer than {SNAPSHOT:g} s to answer.",
}


def read_snapshot(connection: Connection, *, limit: float = SNAPSHOT) -> Snapshot | UnknownSchema:
    """Read the schema in one read-only transaction that takes at most `limit` seconds.

    Nothing stays set in the session. A lock in the way, or too little time, makes it unknown; what
    else goes wrong is raised.
    """
    limits = (
        f"set local lock_timeout = {milliseconds(limit)}",
        f"set local statement_timeout = {milliseconds(limit)}",
    )
    try:
        with connection.limit_to(limit * 2, _TOO_LATE):
            rows = connection.query(
                joined(*limits, *PINNED_SETTINGS, LIST_OBJECTS), read_only=True
            )[-1]
    except StatementError as error:
        if reason := _REASONS.get(error.server_error.sqlstate or ""):
            return UnknownSchema(reason)
        raise
    except DatabaseUnavailableError as error:
        return UnknownSchema(str(error))
    objects = {ObjectKey(kind or "", name or ""): text or "" for kind, name, text in rows}
    return Snapshot(objects, connection.server_version)
