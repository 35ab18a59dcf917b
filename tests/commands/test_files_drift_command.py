"""`drift --files`, as it is called: text, JSON, Markdown, and the exit codes."""

import json
import shutil
from collections.abc import Iterator

import pytest
from conftest import Bundle, Cli, Database

from lib.local.server_folder import home


@pytest.fixture
def project(cli: Cli) -> Iterator[Cli]:
    yield cli
    shutil.rmtree(home(cli.root, name="scratch"), ignore_errors=True)


def test_it_exits_with_3_and_lists_the_changes(project: Cli, bundle: Bundle, db: Database) -> None:
    bundle.write("001-a.sql", "create table a (x int, y int);")
    assert project("migrate").returncode == 0
    bundle.write("002-b.sql", "create table b (x int);")
    place = f"{db.target.database} (development)"
    # CI has no embedded database, and builds the files on it all the same.
    none = project("drift", "--files", CI="1")
    assert none.returncode == 0, none.stderr
    assert none.stdout == (
        f"✓ No drift: {place} is as made by its 1 applied file.\n1 pending file left out.\n"
    )
    db.query('alter table a drop column y; create table "`<b>`" (x int)')
    text = project("drift", "--files")
    assert text.returncode == 3
    assert text.stdout.startswith(f"✗ Drift: 2 changes in {place} beside its 1 applied file.\n")
    assert "  - column public.a.y  removed\n" in text.stdout
    document = json.loads(project("drift", "--files", "--json").stdout)
    assert document["success"] is True
    assert document["drift"] == [
        {"kind": "column", "identity": "public.a.y", "change": "removed"},
        {"kind": "table", "identity": 'public."`<b>`"', "change": "added"},
    ]
    assert document["files"] == {"applied": 1, "pending": 1}
    markdown = project("drift", "--files", "--markdown")
    assert markdown.returncode == 3
    assert markdown.stdout == (
        f"**Drift: 2 changes in `{place}` beside its 1 applied file**\n\n"
        "- removed column `public.a.y`\n"
        '- added table `` public."`<b>`" ``\n'
    )


def test_a_file_that_is_gone_is_told_in_json_too(project: Cli, bundle: Bundle) -> None:
    path = bundle.write("001-a.sql", "create table a (x int);")
    assert project("migrate").returncode == 0
    path.unlink()
    done = project("drift", "--files", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert document["success"] is False
    assert document["version"] == "001-a"
