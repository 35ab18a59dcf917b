"""`schema`, and what `migrate` does about schema.sql on a laptop."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, copy_lib, local_environ

from lib.local import embedded_server as embedded
from lib.local.server_folder import home

THINGS = "create table things (what text primary key);\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line of a project without a database, in a folder with a blank in its name."""
    root = tmp_path_factory.mktemp("my app")
    copy_lib(root)
    (root / "migrations").mkdir()
    yield Cli(root, local_environ())
    cluster = embedded.locate(root)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(home(root, name="scratch"), ignore_errors=True)


@pytest.fixture
def folder(project: Cli) -> Iterator[Path]:
    folder = project.root / "migrations"
    (folder / "001-things.sql").write_text(THINGS)
    yield folder
    for path in (*folder.glob("*.sql"), *project.root.glob("*.sql")):
        path.unlink()


@pytest.fixture(scope="module")
def text(project: Cli) -> str:
    """What `schema` prints for the first file alone."""
    path = project.root / "migrations" / "001-things.sql"
    path.write_text(THINGS)
    done = project("schema")
    path.unlink()
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_migrate_and_reset_keep_the_file_up_to_date(project: Cli, folder: Path, text: str) -> None:
    path = project.root / "schema.sql"
    # Without a file, there is nothing to keep up to date.
    assert project("reset").returncode == 0
    assert not path.exists()
    path.write_text(text)
    (folder / "002-more.sql").write_text("create table more (x int);\n")
    document = json.loads(project("migrate", "--json").stdout)
    assert document["schemaFile"] == {"path": "schema.sql", "written": True}
    assert "CREATE TABLE public.more (" in path.read_text()
    assert "schema.sql" not in project("migrate").stderr
    (folder / "002-more.sql").unlink()
    assert "Brought schema.sql up to date with the files: commit it" in project("reset").stderr
    assert path.read_text() == text
    # Up to one file, it is not the schema of all.
    path.write_text("")
    assert project("migrate", "--to", "1").returncode == 0
    assert path.read_text() == ""


def test_nothing_is_written_in_ci_or_to_another_database(project: Cli, folder: Path) -> None:
    path = project.root / "schema.sql"
    url = project("url").stdout.strip()
    assert project("reset").returncode == 0
    path.touch()
    assert project("migrate", CI="1", DATABASE_URL=url).returncode == 0
    assert (
        project("migrate", VERCEL="1", DATABASE_URL=url, MIGRATION_ENVIRONMENT="x").returncode < 3
    )
    assert path.read_text() == ""


def test_a_failure_to_write_it_does_not_fail_the_run(project: Cli, folder: Path) -> None:
    path = project.root / "schema.sql"
    path.symlink_to("/etc/hostname")
    done = project("migrate")
    assert done.returncode == 0, done.stderr
    assert "schema.sql was not brought up to date: schema.sql is not a file" in done.stderr
    document = json.loads(project("migrate", "--json").stdout)
    assert document["success"]
    assert document["schemaFile"]["written"] is False


def test_ctrl_c_leaves_nothing_behind(project: Cli, folder: Path) -> None:
    (folder / "002-slow.sql").write_text("select pg_sleep(60);\n")
    process = project.start("schema")
    scratch = home(project.root, name="scratch")
    while not list(scratch.glob("run-*/password")):
        assert process.poll() is None
    os.kill(process.pid, 2)
    assert process.wait(60) == 130
    process.communicate()
    assert list(scratch.glob("run-*")) == []


def test_check_says_what_is_wrong_and_what_to_do(project: Cli, folder: Path, text: str) -> None:
    path = project.root / "schema.sql"
    ci = {"CI": "true", "MIGRATE_COMMAND": "./migrate"}

    def check(*options: str) -> tuple[int, str]:
        done = project("schema", "--check", *options, **ci)
        return done.returncode, done.stdout + done.stderr

    code, said = check()
    assert code == 3
    assert "There is no schema.sql. `./migrate schema > schema.sql` makes it." in said
    path.write_text("create table mine ();\n")
    code, said = check()
    assert code == 3
    assert "schema.sql was not made by `./migrate schema`, and is left as it is." in said
    path.write_text(text)
    assert check() == (0, "✓ schema.sql is what the files make.\n")
    path.write_text(text.replace("what text", "what int"))
    code, said = check()
    assert code == 3
    assert "\n  | -    what int NOT NULL\n  | +    what text NOT NULL\n" in said
    assert "schema.sql is not what the files make. `./migrate schema > schema.sql`" in said
    path.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> theirs\n")
    code, said = check("--json")
    assert code == 3
    document = json.loads(said)
    assert document["success"] is False
    assert document["state"] == "conflict"
    assert "schema.sql holds the marks of a merge conflict." in document["error"]


def test_a_file_that_fails_is_named_and_nothing_is_printed(project: Cli, folder: Path) -> None:
    (folder / "002-wrong.sql").write_text("select 1;\nselect no_such_column;\n")
    done = project("schema")
    assert done.returncode == 1
    # As the shell has left it, the file is empty: `migrate` fills it once the files work.
    assert done.stdout == ""
    assert "migrations/002-wrong.sql:2:8" in done.stderr
