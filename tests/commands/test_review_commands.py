"""The command `sizes`, as a process: what it prints, and how it exits."""

import json

from conftest import SECRET, Cli, Database


def test_the_tables_are_listed_the_largest_first(cli: Cli, db: Database) -> None:
    db.query("create table a (x int); create table b as select generate_series(1, 5000) x")
    found = cli("sizes")
    assert found.returncode == 0
    assert found.stdout.startswith(f"Tables of {db.target.database} (development): 2\n")
    assert found.stdout.index("public.b ") < found.stdout.index("public.a ")
    assert "  rows  " in found.stdout


def test_json_is_one_document(cli: Cli, db: Database) -> None:
    db.query("create table a (x int)")
    found = cli("sizes", "--json")
    document = json.loads(found.stdout)
    assert (document["success"], document["action"]) == (True, "sizes")
    assert document["database"] == db.target.database
    [table] = document["tables"]
    assert (table["table"], table["rows"], table["bytes"]) == ("public.a", 0, 0)
    assert found.stderr == ""


def test_a_database_without_tables_is_said_to_be_that(cli: Cli, db: Database) -> None:
    assert cli("sizes").stdout == f"{db.target.database} (development) has no tables.\n"


def test_a_name_cannot_stand_in_for_a_line(cli: Cli, db: Database) -> None:
    db.query('create table "a\n::error::b\x1b[31m" (x int)')
    found = cli("sizes")
    assert "\n::error" not in found.stdout
    assert "\x1b" not in found.stdout


def test_a_dead_database_is_an_error_in_either_form(cli: Cli) -> None:
    dead = {"DATABASE_URL": "postgresql://u:hunter2hunter2@127.0.0.1:1/d"}
    limit = {"MIGRATION_CONNECT_TIMEOUT": "1s"}
    found = cli("sizes", **dead, **limit)
    assert (found.returncode, found.stdout) == (1, "")
    document = json.loads(cli("sizes", "--json", **dead, **limit).stdout)
    assert (document["success"], document["action"]) == (False, "sizes")
    assert "hunter2" not in json.dumps(document) + found.stderr


def test_an_address_without_tls_is_a_usage_error(cli: Cli) -> None:
    found = cli("sizes", "--from", "http://app.example.com", MIGRATION_SECRET=SECRET)
    assert found.returncode == 2
    assert "without https" in found.stderr
