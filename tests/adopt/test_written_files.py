"""New files in the folder: all of them or none, and never over another."""

from pathlib import Path

import pytest

from lib.adopt.written_files import written
from lib.errors import ConfigurationError, Interrupted
from lib.files.folder import parse

FILES = tuple(parse(f"00{number}-a.sql", b"select 1;\r\n") for number in (1, 2))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_are_there_once_the_block_is_left(tmp_path: Path) -> None:
    with written(tmp_path, FILES):
        assert names(tmp_path) == ["001-a.sql", "002-a.sql"]
    assert (tmp_path / "001-a.sql").read_bytes() == b"select 1;\r\n"


@pytest.mark.parametrize("error", [ValueError("no"), Interrupted(2), KeyboardInterrupt()])
def test_whatever_ends_the_block_takes_them_back(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "000-mine.sql").touch()
    with pytest.raises(type(error)), written(tmp_path, FILES):
        raise error
    assert names(tmp_path) == ["000-mine.sql"]


def test_one_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "002-a.sql").write_text("mine")
    with (
        pytest.raises(ConfigurationError, match=r"002-a\.sql is in the folder"),
        written(tmp_path, FILES),
    ):
        pass
    assert names(tmp_path) == ["002-a.sql"]
    assert (tmp_path / "002-a.sql").read_text() == "mine"


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "002-a.sql").symlink_to(tmp_path / "elsewhere.sql")
    with pytest.raises(ConfigurationError), written(folder, FILES):
        pass
    assert names(tmp_path) == ["migrations"]
