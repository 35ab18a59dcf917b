"""The command `drift`, as a process: what it prints, and how it exits."""

import json

import pytest
from conftest import Bundle, Cli, Database, wait_until

NAME = """odd `name` | <b> @everyone\n# title"""


@pytest.fixture
def migrated(cli: Cli, bundle: Bundle) -> Cli:
    bundle.write("000-a.sql", "create table a (x int)")
    assert cli("migrate").returncode == 0
    return cli


def test_without_a_change_it_exits_with_0(migrated: Cli) -> None:
    found = migrated("drift")
    assert (found.returncode, found.stdout.count("\n")) == (0, 1)
    assert found.stdout.startswith("✓ No drift: ")
    assert "has not changed since run 1 (" in found.stdout


def test_a_change_is_listed_and_it_exits_with_3(migrated: Cli, db: Database) -> None:
    db.query("alter table a add y int")
    found = migrated("drift")
    assert found.returncode == 3
    assert "✗ Drift: 1 change in " in found.stdout
    assert "  + column public.a.y  added\n" in found.stdout
    document = json.loads(migrated("drift", "--json").stdout)
    assert document["drift"] == [{"kind": "column", "identity": "public.a.y", "change": "added"}]
    assert document["since"]["run"] == 1
    status = migrated("status")
    assert status.returncode == 0
    assert "Changed since run 1" in status.stdout
    assert "+ column public.a.y  added" in status.stdout
    document = json.loads(migrated("status", "--json").stdout)
    assert document["drift"] is True
    assert [each["identity"] for each in document["driftChanges"]] == ["public.a.y"]


def test_markdown_holds_any_name(migrated: Cli, db: Database) -> None:
    quoted = NAME.replace('"', '""')
    db.query(f'create table "{quoted}" ()')
    found = migrated("drift", "--markdown")
    assert found.returncode == 3
    lines = found.stdout.rstrip("\n").split("\n")
    assert lines[0].startswith("**Drift: ")
    assert [line for line in lines[2:] if not line.startswith("- added ")] == []
    [line] = [line for line in lines if line.startswith("- added table ")]
    assert line.endswith(" ``")
    assert "# title" in line


def test_what_is_not_known_exits_with_1(cli: Cli, migrated: Cli, db: Database) -> None:
    db.query("drop table public.schema_migration_objects")
    found = migrated("drift", "--json")
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert (document["drift"], document["success"]) == (None, True)
    assert "no run has recorded" in document["reason"]
    assert migrated("drift").returncode == 1


def test_an_empty_database_is_not_known(cli: Cli) -> None:
    found = cli("drift")
    assert found.returncode == 1
    assert "no run is on record" in found.stdout
    accepted = cli("drift", "--accept")
    assert accepted.returncode == 2
    assert "No migration was ever applied" in accepted.stderr


def test_a_database_that_is_away_is_an_error(cli: Cli, db: Database) -> None:
    found = cli("drift", "--json", DATABASE_URL=f"{db.url}_not_there")
    assert found.returncode == 1
    assert json.loads(found.stdout)["success"] is False


def test_accept_takes_the_schema_as_it_is(migrated: Cli, db: Database) -> None:
    db.query("alter table a add y int")
    accepted = migrated("drift", "--accept", "--json")
    document = json.loads(accepted.stdout)
    assert accepted.returncode == 0
    assert document["drift"] == []
    assert [each["identity"] for each in document["accepted"]] == ["public.a.y"]
    assert migrated("drift").returncode == 0
    assert "is what the next run expects" in migrated("drift", "--accept").stdout


def test_stop_exits_with_3_and_names_the_way_out(
    migrated: Cli, bundle: Bundle, db: Database
) -> None:
    db.query("alter table a add y int")
    bundle.write("001-b.sql", "create table b (x int)")
    stopped = migrated("migrate", MIGRATION_DRIFT="stop")
    assert stopped.returncode == 3
    assert "  | + column public.a.y  added\n" in stopped.stderr
    assert "drift --accept" in stopped.stderr
    assert migrated("drift", "--accept").returncode == 0
    assert migrated("migrate", MIGRATION_DRIFT="stop").returncode == 0


def test_a_policy_that_there_is_not_is_an_error(migrated: Cli) -> None:
    refused = migrated("status", MIGRATION_DRIFT="error")
    assert refused.returncode == 2
    assert "MIGRATION_DRIFT: none of off, warn, stop" in refused.stderr


def test_a_run_that_is_killed_before_it_has_recorded_the_schema_leaves_it_unknown(
    migrated: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("001-b.sql", "create table b (x int)")
    bundle.write("002-c.sql", "select pg_sleep(60)")
    process = migrated.start("migrate")
    db.wait_for("pg_sleep(60)")
    process.kill()
    process.communicate()
    wait_until(lambda: db.advisory_locks() == 0, "the server has let go of the killed run")
    assert db.has("b")
    found = migrated("drift")
    assert found.returncode == 1
    assert "its runner is gone" in found.stdout
    bundle.write("002-c.sql", "select 1")
    assert migrated("migrate", MIGRATION_DRIFT="stop").returncode == 0
    assert migrated("drift").returncode == 0
