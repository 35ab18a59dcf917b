"""Files whose numbers the target branch has taken get the next free ones, all of them or none."""

import json
import os
from pathlib import Path

import pytest
from conftest import Cli, Database
from git_projects import GIT, commit, git, tree

from lib.branches.renumbering import carry_out, find_renumbering, renumbering_of
from lib.branches.target_branch import compared
from lib.console.terminal import Style
from lib.errors import ConfigurationError
from lib.files.folder import discover, parse
from lib.text.renumber_text import renumber_text

ENVIRON = {**os.environ, **GIT}


def moves(own: tuple[str, ...], on_main: tuple[str, ...]) -> list[tuple[str, str]]:
    here = [parse(f"{name}.sql", name.encode()) for name in (*on_main, *own)]
    found = renumbering_of(compared("main", sorted(here, key=_order), here[: len(on_main)], []))
    return [(move.file.version, move.version) for move in found.moves]


def _order(file: object) -> tuple[int, str]:
    version = getattr(file, "version", "")
    return int(version.split("-")[0]), version


@pytest.mark.parametrize(
    ("own", "on_main", "expected"),
    [
        ((), ("001-a",), []),
        (("000-a",), (), []),
        (("002-b",), ("001-a",), []),
        (("009-b",), ("001-a",), []),
        (("001-b",), ("001-a",), [("001-b", "002-b")]),
        # Below the newest, though its number is free.
        (("002-b",), ("001-a", "003-c"), [("002-b", "004-b")]),
        # Those behind it keep their places; one that is far enough away stays.
        (
            ("002-x", "003-y", "009-z"),
            ("001-a", "002-b", "003-c"),
            [("002-x", "004-x"), ("003-y", "005-y")],
        ),
        (("002-x", "003-x"), ("002-a",), [("002-x", "003-x"), ("003-x", "004-x")]),
        # Two of the branch's own.
        (("002-x", "002-y"), ("001-a",), [("002-y", "003-y")]),
        (("999-x", "0999-y"), ("999-a",), [("0999-y", "1000-y"), ("999-x", "1001-x")]),
    ],
)
def test_a_file_moves_as_far_as_it_has_to(
    own: tuple[str, ...], on_main: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert moves(own, on_main) == expected


def test_two_files_that_the_target_branch_has_with_one_number_are_named_and_stay() -> None:
    both = [parse(f"{name}.sql", name.encode()) for name in ("001-a", "002-b", "002-c")]
    found = renumbering_of(compared("main", both, both, both))
    assert not found.has_work
    text = renumber_text(found, Style(color=False), is_written=False)
    assert "002-b and 002-c have one number and are both there already" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A branch with two files, of whose numbers `main` has taken the first."""
    folder = tmp_path / "my project" / "migrations"
    folder.mkdir(parents=True)
    git(folder.parent, "init", "-q", "-b", "main")
    (folder / "001-a.sql").write_text("create table a ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "-b", "topic")
    (folder / "002-x.sql").write_bytes(b"-- Version: 002\r\ncreate table x ();\r\n")
    (folder / "003-x.sql").write_text("create table y ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "main")
    (folder / "002-b.sql").write_text("create table b ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "topic")
    return folder


def test_all_are_moved_and_nothing_else_is_written(folder: Path) -> None:
    found = find_renumbering(folder, "main", ENVIRON)
    before = tree(folder.parent)
    assert find_renumbering(folder, "main", ENVIRON) == found
    assert tree(folder.parent) == before
    carry_out(folder, found)
    assert tree(folder) == {
        "001-a.sql": b"create table a ();\n",
        "003-x.sql": b"-- Version: 003\r\n-- Was: 002-x\r\ncreate table x ();\r\n",
        "004-x.sql": b"-- Was: 003-x\ncreate table y ();\n",
    }
    assert not find_renumbering(folder, "main", ENVIRON).has_work
    commit(folder)
    git(folder, "merge", "-q", "main")
    assert [file.version for file in discover(folder)] == ["001-a", "002-b", "003-x", "004-x"]


def test_also_once_the_target_branch_is_merged(folder: Path) -> None:
    git(folder, "merge", "-q", "main")
    carry_out(folder, find_renumbering(folder, "main", ENVIRON))
    assert [file.version for file in discover(folder)] == ["001-a", "002-b", "003-x", "004-x"]


@pytest.mark.parametrize("killed_after", [1, 2])
def test_after_a_kill_the_next_call_finishes(folder: Path, killed_after: int) -> None:
    contents = tree(folder)
    carry_out(folder, find_renumbering(folder, "main", ENVIRON))
    done = tree(folder)
    # As the files are written: 004-x, 003-x, and then 002-x is removed.
    for name in ("004-x.sql", "003-x.sql")[killed_after:]:
        _restore(folder / name, contents.get(name))
    _restore(folder / "002-x.sql", contents["002-x.sql"])
    carry_out(folder, find_renumbering(folder, "main", ENVIRON))
    assert tree(folder) == done


def _restore(path: Path, content: bytes | str | None) -> None:
    if content is None:
        path.unlink()
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)


def test_a_file_that_has_changed_meanwhile_leaves_all_as_it_was(folder: Path) -> None:
    found = find_renumbering(folder, "main", ENVIRON)
    before = tree(folder)
    (folder / "002-x.sql").write_text("changed meanwhile")
    with pytest.raises(ConfigurationError, match="changed by somebody else"):
        carry_out(folder, found)
    assert tree(folder) == {**before, "002-x.sql": b"changed meanwhile"}


def test_what_is_in_the_way_is_named(folder: Path) -> None:
    git(folder, "checkout", "-q", "main")
    (folder / "003-c.sql").write_text("create table c ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "-B", "conflict", "topic")
    (folder / "001-a.sql").write_text("create table aa ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "main")
    (folder / "001-a.sql").write_text("create table aaa ();\n")
    commit(folder)
    git(folder, "checkout", "-q", "conflict")
    with pytest.raises(Exception, match="non-zero exit status"):
        git(folder, "merge", "-q", "main")
    with pytest.raises(ConfigurationError, match="merge conflicts"):
        find_renumbering(folder, "main", ENVIRON)


def test_the_command_shows_moves_and_says_what_to_do_next(
    cli: Cli, folder: Path, db: Database
) -> None:
    where = {"MIGRATIONS_DIR": str(folder), "GIT_CONFIG_GLOBAL": os.devnull}
    unknown = cli("renumber", **where)
    assert (unknown.returncode, "--base origin/main" in unknown.stderr) == (2, True)
    before = tree(folder)
    dry = cli("renumber", "--base", "main", "--dry-run", **where)
    assert "Would renumber beside main" in dry.stdout
    assert "  002-x is now 003-x\n  003-x is now 004-x\n" in dry.stdout
    assert tree(folder) == before
    done = cli("renumber", "--base", "main", "--json", **where)
    assert json.loads(done.stdout) == {
        "success": True,
        "action": "renumber",
        "base": "main",
        "renumbered": [
            {"from": "002-x", "version": "003-x"},
            {"from": "003-x", "version": "004-x"},
        ],
        "written": True,
    }
    again = cli("renumber", "--base", "main", **where)
    assert (again.returncode, "Nothing to renumber beside main" in again.stdout) == (0, True)
    failed = cli("renumber", "--base", "-x", "--json", **where)
    assert failed.returncode == 2
