"""What counts as applied: by the ledger, by the target branch, or by the database itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Bundle, Database, connect

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import ConfigurationError, IntegrityError
from lib.files.folder import discover
from lib.rehearse.applied_state import AppliedState, LiveDatabase, build, in_database, live_database
from lib.rehearse.throwaway_server import throwaway_server

MakeContext = Callable[..., RunContext]


@pytest.fixture
def applied(db: Database, bundle: Bundle, make_context: MakeContext) -> RunContext:
    """A database to which two files were applied, while a third one is pending."""
    bundle.write("001-users.sql", "create table users (id int);")
    bundle.write("002-there.sql", "-- Environments: preview\ncreate table there (x int);")
    context = make_context(environment="preview")
    report = migrate(context)
    assert report.error is None, report.error
    bundle.write("003-more.sql", "create table more (x int);")
    bundle.write("004-preview.sql", "-- Environments: preview\ncreate table even_more (x int);")
    return make_context(environment="production")


def read(context: RunContext, *, takes_schema: bool = False) -> AppliedState:
    files = discover(context.settings.migrations_dir)
    return in_database(context, files, {}, takes_schema=takes_schema)


def test_the_ledger_says_what_is_applied(applied: RunContext, db: Database) -> None:
    before = db.query("select count(*) from schema_migration_runs")
    state = read(applied)
    # Whatever its header says: it ran there.
    assert [file.version for file in state.applied] == ["001-users", "002-there"]
    assert [file.version for file in state.pending] == ["003-more"]
    assert state.source == f"the applied files of {db.target.database}"
    assert state.live.owner == "postgres"
    assert state.findings == ()
    assert db.query("select count(*) from schema_migration_runs") == before


def test_a_modified_file_and_a_late_one_are_findings(applied: RunContext, bundle: Bundle) -> None:
    bundle.write("001-users.sql", "create table users (id bigint);")
    bundle.write("000-early.sql", "select 1;")
    found = [(each.rule, each.severity, each.version) for each in read(applied).findings]
    assert found == [("modified-file", "stop", "001-users"), ("number-late", "warn", "000-early")]


def test_a_missing_file_is_an_error_unless_the_database_tells(
    applied: RunContext, bundle: Bundle
) -> None:
    (bundle.migrations / "001-users.sql").unlink()
    with pytest.raises(IntegrityError, match=r"001-users.*--from-database"):
        read(applied)
    assert "CREATE TABLE public.users" in read(applied, takes_schema=True).live.schema


def test_what_sessions_begin_with_is_carried_over(applied: RunContext, db: Database) -> None:
    name = db.target.database
    db.query(
        f"alter database {name} set timezone = 'Europe/Berlin';"
        f"alter database {name} set search_path = app, public"
    )
    live = live_database(applied, discover(applied.settings.migrations_dir))
    assert live.defaults == {
        "TimeZone": "Europe/Berlin",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
    }
    assert live.search_path == "app, public"


def test_the_schema_of_the_database_is_restored_without_its_rows(
    applied: RunContext, db: Database, scratch_root: Path
) -> None:
    db.query(
        "create table by_hand (x int); insert into by_hand values (1);"
        "create policy mine on by_hand to pg_monitor using (x = 1)"
    )
    state = read(applied, takes_schema=True)
    assert state.source.startswith("the schema of ")
    with throwaway_server(scratch_root) as server:
        build(server, state)
        with connect(server.target) as connection:
            assert connection.execute("table by_hand").fetchall() == []
            owner = connection.execute(
                "select tableowner from pg_tables where tablename = 'users'"
            ).fetchone()
            assert owner == ("postgres",)


def test_a_schema_that_needs_a_superuser_names_the_other_way(scratch_root: Path) -> None:
    state = AppliedState(
        "the ledger", "production", (), (), live=LiveDatabase(schema="create extension file_fdw;")
    )
    with (
        throwaway_server(scratch_root) as server,
        pytest.raises(ConfigurationError, match=r"permission denied.*--base"),
    ):
        build(server, state)


def test_a_schema_of_the_url_is_made_for_the_applied_files(
    applied: RunContext, scratch_root: Path
) -> None:
    state = read(replace(applied, target=replace(applied.target, search_path="app")))
    with throwaway_server(scratch_root) as server:
        build(server, state)
        with connect(server.target) as connection:
            assert connection.execute("select to_regclass('app.users') is null").fetchone() == (
                False,
            )
