"""The schema of now: compared with the recorded one, or recorded in its place."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..catalog.catalog_query import list_objects
from ..catalog.comparison import compare
from ..catalog.exclusions import Exclusions
from ..catalog.schema_objects import Change, Snapshot, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..database.connection import Connection
from ..ledger.table_trust import Tables
from ..object_patterns import ObjectPattern
from ..own_tables import LEDGER, RUNS
from .schema_hashes import HashedSchema
from .schema_record import Record, read_record, write_record
from .verdict import Verdict

_NO_RUN = "no run is on record in it yet."


@dataclass(frozen=True)
class LiveCheck:
    """One comparison: its verdict, and the record that it was made with."""

    verdict: Verdict
    record: Record


def check_now(
    connection: Connection, tables: Tables, ignored: Sequence[ObjectPattern]
) -> LiveCheck:
    """Compare the schema of now with the recorded one, without what matches a pattern.

    The schema is read only where there is one to compare with. Raises what does not concern the
    comparison, such as the loss of the connection.
    """
    if not {LEDGER, RUNS} <= set(tables.found):
        missing = Record(None, _NO_RUN, exists=None)
        return LiveCheck(Verdict(None, _NO_RUN, is_first=True), missing)
    record = read_record(connection, tables, _form(connection))
    if record.schema is None:
        is_first = record.exists is False
        return LiveCheck(Verdict(None, record.reason, record.since, is_first), record)
    found = read_snapshot(connection)
    if isinstance(found, UnknownSchema):
        return LiveCheck(Verdict(None, found.reason, record.since), record)
    return LiveCheck(_compared(record.schema, found, record, ignored), record)


def record_schema(
    connection: Connection, tables: Tables, run: int, *, exists: bool | None
) -> str | None:
    """Record the schema of now as that after `run`; return why it could not be, or None.

    `exists` as of `Record`.
    """
    found = read_snapshot(connection)
    if isinstance(found, UnknownSchema):
        return found.reason
    schema, form = HashedSchema.of(found.objects, found.places), _form(connection)
    return write_record(connection, tables, run, schema, form, exists=exists)


def _form(connection: Connection) -> str:
    """How definitions are written: a digest of the query that lists them."""
    # A later version of the bundle may put another fact into a definition, or leave one out.
    query = list_objects(Exclusions(), connection.server_version)
    return hashlib.blake2b(query.encode(), digest_size=16).hexdigest()


def _compared(
    before: HashedSchema, found: Snapshot, record: Record, ignored: Sequence[ObjectPattern]
) -> Verdict:
    after = HashedSchema.of(found.objects, found.places, before.key)
    # On both sides, and only here: a pattern that is added or removed later is not drift.
    exclusions = Exclusions(tuple(ignored))
    places = {**after.places, **before.places}

    def is_ignored(change: Change) -> bool:
        return exclusions.covers(change.key, place=places.get(change.key))

    changes = compare(before.hashes, after.hashes)
    return Verdict(tuple(each for each in changes if not is_ignored(each)), since=record.since)
