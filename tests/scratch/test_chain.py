"""A chain on a scratch server: applied as the runner applies it, and alike for everybody."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import connect

from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.errors import MigrationFailedError
from lib.files.folder import MigrationFile, parse
from lib.scratch.chain import applied_of, build_chain, connect_to_scratch
from lib.scratch.scratch_server import scratch_server
from lib.settings.connection_target import ConnectionTarget


@pytest.fixture(scope="module")
def scratch(scratch_root: Path) -> Iterator[ConnectionTarget]:
    with scratch_server(scratch_root) as target:
        yield target


@pytest.fixture
def target(scratch: ConnectionTarget) -> Iterator[ConnectionTarget]:
    """An empty database on the scratch server."""
    with connect(scratch) as connection:
        connection.execute("create database test strategy file_copy")
    yield scratch.with_parameters(dbname="test")
    with connect(scratch) as connection:
        connection.execute("drop database test with (force)")


def files(*texts: str) -> tuple[MigrationFile, ...]:
    return tuple(parse(f"{n:03}-file.sql", text.encode()) for n, text in enumerate(texts, start=1))


def tables(target: ConnectionTarget) -> list[str]:
    with connect_to_scratch(target) as connection:
        found = read_snapshot(connection)
    assert isinstance(found, Snapshot)
    return sorted(key.identity for key in found.objects if key.kind == "table")


def test_the_files_are_applied_by_the_runner(target: ConnectionTarget) -> None:
    chain = files(
        "create table one (x int);",
        "create index concurrently by_x on one (x);",
        "-- Transaction: none\ncreate table two (x int);\ncreate table three (x int);",
        "-- nothing yet",
    )
    build_chain(target, chain)
    assert tables(target) == ["public.one", "public.three", "public.two"]
    with connect(target) as connection:
        query = "select version from schema_migrations order by version"
        versions = [version for (version,) in connection.execute(query)]
        # Nobody will ask what has changed beside the files.
        [[record]] = connection.execute("select to_regclass('public.schema_migration_objects')")
    assert versions == ["001-file", "002-file", "003-file", "004-file"]
    assert record is None


def test_files_of_another_environment_are_left_out_unless_all_are_wanted(
    target: ConnectionTarget,
) -> None:
    chain = files(
        "create table one (x int);",
        "-- Environments: production\ncreate table two (x int);",
        "-- Environments: preview\ncreate table three (x int);",
    )
    build_chain(target, chain)
    assert tables(target) == ["public.one"]
    build_chain(target, chain, environment="preview")
    assert tables(target) == ["public.one", "public.three"]
    build_chain(target, chain, environment=None)
    assert tables(target) == ["public.one", "public.three", "public.two"]


def test_a_failure_names_the_file_and_what_the_server_lacks(target: ConnectionTarget) -> None:
    chain = files("create table one (x int);", "select 1;\ncreate extension postgis;")
    with pytest.raises(MigrationFailedError, match=r"migrations/002-file\.sql:2") as failed:
        build_chain(target, chain)
    assert "The embedded PostgreSQL does not have postgis" in str(failed.value)
    assert tables(target) == ["public.one"]


def test_variables_of_libpq_change_nothing(
    target: ConnectionTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=pg_catalog")
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere")
    told = "create table told as select current_setting(n) from unnest(array[{}]) n;"
    build_chain(target, files(told.format("'timezone', 'datestyle', 'search_path'")))
    with connect(target, options="-c search_path=public") as connection:
        found = [value for (value,) in connection.execute("table told")]
    assert found == ["UTC", "ISO, MDY", '"$user", public']


def test_the_applied_files_are_those_that_the_ledger_has() -> None:
    chain = files("select 1;", "select 2;", "select 3;")
    assert applied_of(chain, ["003-file", "001-file", "000-gone"]) == (chain[0], chain[2])
