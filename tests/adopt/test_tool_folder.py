"""Where another tool's files are looked for."""

from pathlib import Path

import pytest

from lib.adopt.tool_folder import find_folder
from lib.errors import ConfigurationError
from lib.tools.known_tools import find_tool

GOOSE = find_tool("goose")


def test_our_own_folder_is_not_taken_for_the_tools(tmp_path: Path) -> None:
    for name in ("migrations", "db/migrations"):
        (tmp_path / name).mkdir(parents=True)
    ours = tmp_path / "migrations"
    assert find_folder(GOOSE, tmp_path, None, ours) == tmp_path / "db" / "migrations"


def test_a_tool_whose_folder_is_ours_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    with pytest.raises(
        ConfigurationError,
        match=r"^migrations belongs to the runner's own migrations.* such as old-migrations, and",
    ):
        find_folder(GOOSE, tmp_path, None, tmp_path / "migrations")


def test_a_folder_in_ours_is_ours_unless_it_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "migrations" / "committed").mkdir(parents=True)
    (tmp_path / "migrations" / "_old").mkdir()
    ours = tmp_path / "migrations"
    with pytest.raises(ConfigurationError, match=r"^migrations/committed belongs to the runner's"):
        find_folder(find_tool("graphile-migrate"), tmp_path, None, ours)
    given = str(ours / "_old")
    assert find_folder(GOOSE, tmp_path, given, ours) == Path(given)


def test_several_usual_folders_are_named(tmp_path: Path) -> None:
    for name in ("migrations", "db/migrations"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"files: db/migrations, migrations\. Name one"):
        find_folder(GOOSE, tmp_path, None, tmp_path / "ours")
