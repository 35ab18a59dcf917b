"""One schema on two versions of PostgreSQL: what is printed differently is no difference."""

import pytest
from conftest import Database
from tampered_schema import SCHEMA

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import ObjectKey, Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.catalog.view_texts import same_views
from lib.database.connection import Connection
from lib.object_patterns import ROLE_KINDS

NAMES = ObjectKey("view", "app.names")
VIEWS = """
create view app.joined as select people.name, i.qty from app.people, app."Order items" i;
create view app.nested as
    select parent.a from app.parent where exists (select 1 from app.child where child.a > 1);
create view app.united as select parent.a from app.parent union select child.a from app.child;
create view app."of 100%" as select people.name, '{} % x' as "%s" from app.people;
create materialized view app.kept as select parent.a + 1 as b from app.parent order by parent.a;
"""


def look(db: Database) -> Snapshot:
    with Connection(db.connect()) as connection:
        found = read_snapshot(connection, limit=30)
    assert isinstance(found, Snapshot), found
    return found


@pytest.fixture
def older(tls_db: Database, db: Database) -> Database:
    """The schema on an older server; on the newer one too."""
    for each in (tls_db, db):
        each.query(SCHEMA)
        each.query(VIEWS)
    return tls_db


def test_the_same_schema_differs_in_nothing(older: Database, db: Database) -> None:
    before, after = look(older), look(db)
    if before.server_version_num >= 160000:
        pytest.skip("both servers print views alike")
    different = {
        ObjectKey(each.kind, each.identity)
        for each in compare(before.objects, after.objects)
        if each.kind not in ROLE_KINDS
    }
    assert NAMES in different
    with Connection(db.connect()) as connection:
        assert same_views(connection, before, after) == different
        assert connection.run("select 1 from pg_class where relname ~ '^printed'") == []


def test_a_view_that_differs_stays_a_difference(older: Database, db: Database) -> None:
    older.query(
        "create or replace view app.names as"
        " select people.name from app.people where people.born > '2020-01-03'"
    )
    before, after = look(older), look(db)
    with Connection(db.connect()) as connection:
        assert NAMES not in same_views(connection, before, after)


@pytest.mark.parametrize(
    "text",
    [
        " SELECT 1 AS a; create table public.broken_in (a int);",
        " SELECT 1 AS a); create table public.broken_in (a int) --",
        " SELECT nope;",
        " SELECT",
        "",
    ],
)
def test_a_text_that_is_no_query_is_a_difference_and_runs_nothing(db: Database, text: str) -> None:
    key = ObjectKey("view", "public.v")
    before, after = (Snapshot({key: f"\n{each}"}, version) for each, version in (
        (text, 150000), (" SELECT 1 AS a;", 180000)
    ))  # fmt: skip
    with Connection(db.connect()) as connection:
        assert same_views(connection, before, after) == frozenset()
    assert not db.has("public.broken_in")


def test_nothing_is_asked_of_one_version(db: Database) -> None:
    db.query("create view public.v as select 1 as a")
    snapshot = look(db)
    with Connection(db.connect()) as connection:
        connection.close()
        assert same_views(connection, snapshot, snapshot) == frozenset()
