"""A database compared with its files: what differs is named, and nothing else."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Bundle, Database
from rich_schema import RICH

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.catalog.schema_objects import Change, ChangeKind, ObjectKey, Snapshot
from lib.drift.verdict import FilesDrift
from lib.errors import ConfigurationError, IntegrityError
from lib.object_patterns import parse_patterns
from lib.scratch import files_drift
from lib.scratch.files_drift import ServerSchema, changes_between, compare_with_files

MakeContext = Callable[..., RunContext]
ADDED, REMOVED, CHANGED = ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.CHANGED


@pytest.fixture
def compare(make_context: MakeContext, scratch_root: Path) -> Callable[..., FilesDrift]:
    def compared(**changes: object) -> FilesDrift:
        return compare_with_files(make_context(**changes), scratch_root)

    return compared


def apply(context: RunContext) -> None:
    report = migrate(context)
    assert report.error is None, report.error


def test_only_what_differs_is_named(
    db: Database, bundle: Bundle, make_context: MakeContext, compare: Callable[..., FilesDrift]
) -> None:
    bundle.write("001-rich.sql", RICH)
    bundle.write("002-there.sql", "-- Environments: production\ncreate table there (x int);")
    bundle.write("003-later.sql", "create table later (x int);")
    apply(make_context(environment="production", up_to=None))
    bundle.write("004-pending.sql", "create table pending (x int);")
    # As after a copy of production: what counts is what ran.
    db.query("delete from schema_migration_runs")
    found = compare(environment="preview")
    assert found.changes == ()
    assert (found.applied, found.pending) == (3, 1)
    name = f"reader_{secrets.token_hex(8)}"
    db.query(
        "create table mine (x int); create table ignored (x int); create index on ignored (x);"
        "drop index by_body;"
        "alter table later add column note text;"
        "alter table app.users alter column changed_at set not null;"
        "create or replace function app.twice(x int) returns int language sql immutable"
        "    begin atomic select x * 3; end;"
        "alter type app.mood add value 'grumpy';"
        f"create role {name}; grant select on later to {name};"
        "grant select on later to public;"
    )
    try:
        found = compare(environment="preview", drift_ignore=parse_patterns("public.ignored"))
    finally:
        db.query(f"drop owned by {name}; drop role {name}")
    assert found.changes is not None
    assert set(found.changes) == {
        Change("table", "public.mine", ADDED),
        Change("index", "public.by_body", REMOVED),
        Change("column", "public.later.note", ADDED),
        Change("column", "app.users.changed_at", CHANGED),
        Change("function", "app.twice(integer)", CHANGED),
        Change("type", "app.mood", CHANGED),
        Change("privilege", "table public.later", ADDED),
    }


def test_an_older_server_prints_the_same(
    tls_db: Database, bundle: Bundle, make_context: MakeContext, scratch_root: Path
) -> None:
    bundle.write("001-rich.sql", RICH)
    context = make_context(
        migration_target=tls_db.target, status_target=tls_db.target, target=tls_db.target
    )
    apply(context)
    assert compare_with_files(context, scratch_root).changes == ()
    tls_db.query("create or replace view readers as select id, mail, 'x' as body from app.users")
    assert compare_with_files(context, scratch_root).changes == (
        Change("view", "public.readers", CHANGED),
    )


def test_a_role_that_may_read_the_ledger_is_enough(
    db: Database, bundle: Bundle, make_context: MakeContext, compare: Callable[..., FilesDrift]
) -> None:
    bundle.write("001-a.sql", "create schema app; create table app.a (x int);")
    apply(make_context())
    with db.another_role() as theirs:
        reader = theirs.target.parameters["user"]
        db.query(f"grant select on schema_migrations, schema_migration_runs to {reader}")
        found = compare(target=theirs.target)
    assert found.changes == ()


def test_the_schema_of_the_url_is_that_of_the_files(
    db: Database, bundle: Bundle, make_context: MakeContext, compare: Callable[..., FilesDrift]
) -> None:
    bundle.write("001-a.sql", "create table a (x int);")
    db.query("create schema app")
    target = replace(db.target, search_path="app")
    apply(make_context(target=target, migration_target=target))
    assert compare(target=target).changes == ()


@pytest.mark.parametrize("kind", ["missing", "modified"])
def test_without_the_file_that_ran_nothing_can_be_said(
    bundle: Bundle, make_context: MakeContext, compare: Callable[..., FilesDrift], kind: str
) -> None:
    path = bundle.write("001-a.sql", "create table a (x int);")
    bundle.write("002-b.sql", "create table b (x int);")
    apply(make_context())
    if kind == "missing":
        path.unlink()
    else:
        path.write_text("create table a (y int);")
    with pytest.raises(IntegrityError, match="001-a"):
        compare()


def test_without_a_ledger_there_is_nothing_to_compare_with(
    bundle: Bundle, compare: Callable[..., FilesDrift]
) -> None:
    with pytest.raises(ConfigurationError, match="No migration was ever applied to test_"):
        compare()


def test_behind_a_lock_it_is_not_known(
    db: Database,
    bundle: Bundle,
    make_context: MakeContext,
    compare: Callable[..., FilesDrift],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle.write("001-a.sql", "create table a (x int primary key, y text check (y <> 'a'));")
    apply(make_context())
    monkeypatch.setattr(files_drift, "COMPARED_SNAPSHOT", 0.5)
    with db.connect() as locker, locker.transaction():
        locker.execute("lock table a")
        found = compare()
    assert found.changes is None
    assert "locked" in found.reason


FUNCTION, TABLE = ObjectKey("privilege", "function public.f()"), ObjectKey("privilege", "table t")


def schema(objects: dict[ObjectKey, str], *roles: str) -> ServerSchema:
    return ServerSchema(Snapshot(objects, 180000), frozenset(roles))


@pytest.mark.parametrize(
    ("made", "found", "change"),
    [
        # A role that one of the servers does not have.
        ({}, {TABLE: "OWNER=SELECT provider=SELECT"}, None),
        ({TABLE: "OWNER=SELECT app=SELECT"}, {TABLE: 'OWNER=SELECT app=SELECT "a b"=SELECT'}, None),
        # One that both have.
        ({}, {TABLE: "OWNER=SELECT app=SELECT"}, ADDED),
        ({TABLE: "app=SELECT app=UPDATE"}, {TABLE: "app=SELECT"}, CHANGED),
        ({TABLE: '"my app"=SELECT'}, {TABLE: '"my app"=SELECT*'}, CHANGED),
        ({}, {TABLE: "PUBLIC=SELECT"}, ADDED),
        # What everybody may do from the start is shown only beside something else.
        ({}, {FUNCTION: "OWNER=EXECUTE PUBLIC=EXECUTE provider=EXECUTE"}, None),
        ({}, {FUNCTION: "OWNER=EXECUTE"}, ADDED),
        ({FUNCTION: "OWNER=EXECUTE"}, {FUNCTION: ""}, None),
        # Whose it is.
        ({ObjectKey("owner", "table t"): "postgres"}, {ObjectKey("owner", "table t"): "me"}, None),
        ({}, {ObjectKey("default privilege", "me on tables"): "app=SELECT"}, None),
        ({}, {ObjectKey("privilege", "schema public"): "PUBLIC=CREATE"}, ADDED),
        # Line ends of a checkout.
        ({ObjectKey("function", "f()"): "a\r\nb"}, {ObjectKey("function", "f()"): "a\nb"}, None),
    ],
)
def test_privileges_count_for_roles_that_both_servers_have(
    made: dict[ObjectKey, str], found: dict[ObjectKey, str], change: ChangeKind | None
) -> None:
    changes = changes_between(
        schema(made, "app", '"my app"', "here"), schema(found, "app", '"my app"', "provider")
    )
    assert [each.change for each in changes] == ([change] if change else [])


def test_what_an_older_server_does_not_know_is_no_difference() -> None:
    made = schema({TABLE: "PUBLIC=SELECT PUBLIC=MAINTAIN"})
    public = ObjectKey("privilege", "schema public")
    old = Snapshot({TABLE: "PUBLIC=SELECT", public: "PUBLIC=CREATE PUBLIC=USAGE"}, 140000)
    assert changes_between(made, ServerSchema(old, frozenset())) == ()
