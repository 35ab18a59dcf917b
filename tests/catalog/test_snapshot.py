"""The snapshot: ten changes of ten kinds are found, and nothing else."""

from conftest import Database

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import Change, ChangeKind, ObjectKey, Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.connection import Connection

SCHEMA = """
create type mood as enum ('good', 'bad');
create table people (id serial primary key, mood mood, name text not null);
create index people_name on people (name);
"""


def snapshot_of(db: Database) -> Snapshot:
    with Connection(db.connect()) as connection:
        found = read_snapshot(connection)
    assert isinstance(found, Snapshot)
    return found


def test_a_change_is_named_and_nothing_else(db: Database) -> None:
    db.query(SCHEMA)
    before = snapshot_of(db)
    assert ObjectKey("column", "public.people.name") in before.objects
    db.query("alter type mood add value 'so-so'")
    changes = compare(before.objects, snapshot_of(db).objects)
    assert changes == (Change("type", "public.mood", ChangeKind.CHANGED),)
