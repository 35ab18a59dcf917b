"""`rehearse`, as it is called: with a target branch, with a database, with neither."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Bundle, Cli, Database, local_environ
from git_projects import GIT, commit, git

from lib.local.server_folder import home

USERS = "create table users (id bigint primary key, email text);\n"
DROPS = "create table more (x int);\nalter table users drop column email;\n"


@pytest.fixture(scope="module")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A project, in a folder with a blank in its name, whose branch adds one file to `main`."""
    root = tmp_path_factory.mktemp("my app")
    shutil.copytree(ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("*.pyc"))
    (root / "migrations").mkdir()
    (root / "migrations" / "001-users.sql").write_text(USERS)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "checkout", "-q", "-b", "topic")
    (root / "migrations" / "002-drops.sql").write_text(DROPS)
    yield Cli(root, {**local_environ(), **GIT})
    shutil.rmtree(home(root, name="scratch"), ignore_errors=True)


def test_a_branch_is_rehearsed_without_a_database(branch: Cli) -> None:
    done = branch("rehearse", "--base", "main", "--json", CI="1")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert (document["success"], document["verdict"]) == (True, "stop")
    assert document["sizesKnown"] is False
    assert document["source"] == "the files of main"
    [file] = document["files"]
    assert (file["version"], file["notRehearsed"]) == ("002-drops", None)
    assert [each["line"] for each in file["statements"]] == [1, 2]
    assert file["statements"][1]["locks"] == [
        {"relation": "public.users", "mode": "AccessExclusive", "untilStatement": 2}
    ]
    found = [(each["rule"], each["severity"], each["line"]) for each in document["findings"]]
    assert ("drops-column", "stop", 2) in found
    assert document["breaking"] == [
        {
            "kind": "column",
            "object": "public.users.email",
            "change": "is dropped",
            "version": "002-drops",
            "line": 2,
        }
    ]


def test_text_and_markdown_name_the_place_and_what_to_write(branch: Cli) -> None:
    text = branch("rehearse", "--base", "main", "--fail-on", "never")
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("Rehearsed 1 pending file for production, on the files of main.")
    assert "migrations/002-drops.sql\n  line 2: locks public.users (reads and writes wait" in (
        text.stdout
    )
    assert "stop  migrations/002-drops.sql:2  drops-column\n" in text.stdout
    assert "  Instead: Deploy code that no longer uses it" in text.stdout
    markdown = branch("rehearse", "--base", "main", "--markdown")
    assert markdown.returncode == 3
    assert "| ❌ stop | `002-drops.sql:2` |" in markdown.stdout


def test_neither_a_branch_nor_a_database_is_an_error_that_names_both(branch: Cli) -> None:
    done = branch("rehearse", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert "--base origin/main" in error
    assert "database URL" in error
    done = branch("rehearse", "--from-database")
    assert done.returncode == 2
    # No message is cut into lines by the name of an option.
    assert done.stderr.startswith("✗ --from-database needs a database")


def test_sizes_that_cannot_be_read_end_it_before_a_server_starts(branch: Cli) -> None:
    done = branch("rehearse", "--base", "main", "--sizes", "migrations/001-users.sql")
    assert done.returncode == 2
    assert "The sizes in migrations/001-users.sql can't be read" in done.stderr
    failed = {"success": False, "action": "sizes", "error": "No database URL is set."}
    (branch.root / "sizes.json").write_text(json.dumps(failed))
    done = branch("rehearse", "--base", "main", "--sizes", "sizes.json")
    assert done.stderr.endswith("can't be read: it holds an error: No database URL is set.\n")


def test_the_ledger_of_the_database_decides_and_nothing_is_written_there(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("001-users.sql", USERS)
    assert cli("migrate").returncode == 0
    bundle.write("002-drops.sql", DROPS)
    bundle.write("003-index.sql", "create index on users (id);")
    db.query("insert into users select i, 'x' from generate_series(1, 10) i; analyze users")
    runs = db.runs()
    # The server itself refuses whatever would write.
    db.query(f"alter database {db.target.database} set default_transaction_read_only = on")
    try:
        for how in ((), ("--from-database",)):
            done = cli("rehearse", "--json", *how)
            assert done.returncode == 3, done.stdout + done.stderr
            document = json.loads(done.stdout)
            assert document["sizesKnown"] is True
            assert document["environment"] == "production"
            assert document["pending"] == ["002-drops", "003-index"]
            rules = {each["rule"] for each in document["findings"]}
            # Ten rows are locked for no time at all.
            assert "drops-column" in rules
            assert "builds-index-under-lock" not in rules
    finally:
        with db.connect(options="-c default_transaction_read_only=off") as connection:
            connection.execute(
                f"alter database {db.target.database} reset default_transaction_read_only"
            )
        shutil.rmtree(home(bundle.root, name="scratch"), ignore_errors=True)
    assert db.runs() == runs
    assert not db.has("more")


def test_sizes_of_a_file_weigh_what_happens(branch: Cli, tmp_path: Path) -> None:
    document = {
        "success": True,
        "action": "sizes",
        "environment": "production",
        "database": "shop",
        "measuredAt": "2026-11-28T00:00:00.000Z",
        "tables": [{"table": "public.users", "rows": 10**9, "bytes": 50 * 1024**3}],
    }
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps(document))
    (branch.root / "migrations" / "003-index.sql").write_text("create index on users (email);")
    (branch.root / "migrations" / "002-drops.sql").rename(tmp_path / "aside")
    try:
        done = branch("rehearse", "--base", "main", "--sizes", str(sizes), "--json")
    finally:
        (tmp_path / "aside").rename(branch.root / "migrations" / "002-drops.sql")
        (branch.root / "migrations" / "003-index.sql").unlink()
    found = json.loads(done.stdout)
    assert found["sizesKnown"] is True
    [index] = [each for each in found["findings"] if each["rule"] == "builds-index-under-lock"]
    assert (index["severity"], index["version"]) == ("stop", "003-index")
    assert "create index concurrently" in index["instead"]
