"""`reset` and seeds on the embedded PostgreSQL: nothing is asked, and roles go as well."""

import functools
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Cli, copy_lib, local_environ, wait_until

from lib.local import embedded_server as embedded

TABLE = "create table things (what text primary key);\n"
SEED = "insert into things values ('a') on conflict do nothing;\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line of a project without a database, in a folder with a blank in its name."""
    root = tmp_path_factory.mktemp("my app")
    copy_lib(root)
    (root / "migrations" / "_seeds").mkdir(parents=True)
    yield Cli(root, local_environ())
    cluster = embedded.locate(root)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.fixture
def files(project: Cli) -> Iterator[Path]:
    """The folder of the migrations, with a table, a file behind it, and a seed."""
    folder = project.root / "migrations"
    for name, text in (
        ("001-things.sql", TABLE),
        ("002-more.sql", "create table more (x int);\n"),
        ("_seeds/a.sql", SEED),
    ):
        (folder / name).write_text(text)
    yield folder
    for path in folder.rglob("*.sql"):
        path.unlink()


@functools.cache
def url_of(root: Path) -> str:
    """The URL of a project's server, which is started and stays valid: one command for all."""
    return Cli(root, local_environ())("url").stdout.strip()


def ask(project: Cli, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url_of(project.root), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_it_starts_over_with_the_same_url_and_without_roles(project: Cli, files: Path) -> None:
    assert project("reset").returncode == 0
    before = project("url").stdout
    ask(project, "create role app; create table mine (x int); insert into things values ('mine')")
    done = project("reset")
    assert done.returncode == 0, done.stderr
    assert "Started over: the embedded PostgreSQL in" in done.stderr
    assert "✓ Applied 2 migrations" in done.stdout
    assert "✓ _seeds/a.sql" in done.stdout
    assert project("url").stdout == before
    assert ask(project, "select what, to_regclass('mine'), to_regrole('app') from things") == [
        ("a", None, None)
    ]


def test_up_to_a_file_there_are_no_seeds(project: Cli, files: Path) -> None:
    document = json.loads(project("reset", "--to", "1", "--json").stdout)
    assert document["action"] == "reset"
    assert document["startedOver"]
    assert [each["version"] for each in document["applied"]] == ["001-things"]
    assert document["pendingMigrations"] == 1
    assert "seeds" not in document
    assert ask(project, "select * from things") == []
    seed = project("seed")
    assert seed.returncode == 2
    assert "002-more is pending" in seed.stderr


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("002-more.sql", "select 1; commit;", ()),
        ("_seeds/a.sql", "vacuum;", ()),
        ("002-more.sql", "select 1;", ("--to", "7")),
    ],
)
def test_what_would_be_refused_is_refused_before_anything_is_dropped(
    project: Cli, files: Path, name: str, text: str, arguments: tuple[str, ...]
) -> None:
    assert project("reset").returncode == 0
    ask(project, "create table if not exists kept (x int)")
    (files / name).write_text(text)
    assert project("reset", *arguments).returncode == 2
    assert ask(project, "select * from kept") == []


def test_the_message_about_a_modified_file_names_it(project: Cli, files: Path) -> None:
    assert project("reset").returncode == 0
    (files / "001-things.sql").write_text(TABLE + "-- changed\n")
    for words in (("migrate",), ("validate",), ("plan",)):
        done = project(*words)
        assert done.returncode == 3
        assert "Or start over, with an empty local database: python -m lib reset." in (
            done.stdout + done.stderr
        )
    assert project("reset").returncode == 0


def test_a_failed_file_is_said_and_the_rest_stays_pending(project: Cli, files: Path) -> None:
    (files / "002-more.sql").write_text("select nope;")
    done = project("reset")
    assert done.returncode == 1
    assert "migrations/002-more.sql:1:8" in done.stderr
    assert ask(project, "select * from things") == []
    (files / "002-more.sql").write_text("create table more (x int);")
    assert project("migrate").returncode == 0
    assert project("seed").returncode == 0
    assert ask(project, "select * from things") == [("a",)]


def test_a_migrate_that_makes_the_database_fills_it_and_later_ones_do_not(
    project: Cli, files: Path
) -> None:
    embedded.start_over(embedded.locate(project.root))
    document = json.loads(project("migrate", "--json").stdout)
    assert [each["name"] for each in document["seeds"]] == ["a.sql"]
    (files / "_seeds" / "b.sql").write_text("insert into things values ('b');")
    assert "seeds" not in json.loads(project("migrate", "--json").stdout)
    assert ask(project, "select * from things") == [("a",)]


def test_another_database_of_the_server_is_not_taken_for_it(project: Cli, files: Path) -> None:
    ask(project, "drop database if exists shop")
    ask(project, "create database shop")
    ask(project, "create table if not exists kept (x int)")
    shop = project("url").stdout.strip().removesuffix("postgres") + "shop"
    with psycopg.connect(shop, autocommit=True) as connection:
        connection.execute("create table somebodys (x int)")
    done = project("reset", DATABASE_URL=shop)
    assert done.returncode == 2
    assert "There is no record of who has migrated this database" in done.stderr
    assert ask(project, "select * from kept") == []


def test_in_production_it_is_refused(project: Cli, files: Path) -> None:
    assert project("reset", MIGRATION_ENVIRONMENT="production").returncode == 2


def test_two_at_once_leave_a_whole_database(project: Cli, files: Path) -> None:
    both = [project.start("reset") for _ in range(2)]
    said = [each.communicate(timeout=120) for each in both]
    codes = sorted(each.returncode for each in both)
    # The sessions of the first may be ended by the second, which then does all of it.
    assert codes[0] == 0, said
    assert ask(project, "select * from things") == [("a",)]


def test_killed_half_way_it_can_be_called_again(project: Cli, files: Path) -> None:
    (files / "002-more.sql").write_text("select pg_sleep(60);")
    process = project.start("reset")
    running = "select 1 from pg_stat_activity where query ~ '^select pg_sleep.60.'"
    wait_until(lambda: _asked(project, running), "the file is under way")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (files / "002-more.sql").write_text("create table more (x int);")
    assert project("reset").returncode == 0
    assert ask(project, "select * from things") == [("a",)]


def _asked(project: Cli, sql: str) -> bool:
    # Between the stop and the start of the server, nobody answers.
    try:
        return bool(ask(project, sql))
    except psycopg.OperationalError:
        return False
