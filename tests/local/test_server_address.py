"""Which URLs mean the embedded server of a project, and what is read of its folder."""

import os
from pathlib import Path

import pytest

from lib.local import server_address, server_folder
from lib.local.server_address import is_named, kept_port, looks_embedded, recognized
from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target

PASSWORD = "Abc-1_" + "x" * 26


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose server has an address; for root too, its folder is in the project."""
    monkeypatch.setattr(server_folder, "is_root", lambda: False)
    home = server_folder.home(tmp_path)
    home.mkdir(parents=True)
    (home / "port").write_text("20123\n")
    (home / "password").write_text(PASSWORD)
    return tmp_path


def target(url: str) -> ConnectionTarget:
    return read_target("DATABASE_URL", url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://postgres:{PASSWORD}@127.0.0.1:20123/postgres",
        f"postgres://postgres:{PASSWORD}@localhost:20123/postgres?sslmode=require",
        f"postgres://postgres:{PASSWORD}@[::1]:20123/",
        f"postgres://postgres:{PASSWORD}@localhost:20123?schema=app&pgbouncer=true",
        f"postgres://postgres:{PASSWORD}@db:20123/postgres?hostaddr=127.0.0.1&host=localhost",
        f"postgresql://postgres:{PASSWORD}@127.0.0.1:20124/postgres",
        f"postgresql://postgres:{PASSWORD}@127.0.0.1/postgres",
    ],
)
def test_a_url_that_names_the_server_means_the_embedded_database(root: Path, url: str) -> None:
    given = target(url)
    found = recognized(given, root)
    assert found.is_embedded
    assert found.choice == "from the embedded PostgreSQL"
    assert (found.search_path, found.dropped) == (given.search_path, given.dropped)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://postgres:{PASSWORD[1:]}@127.0.0.1:20123/postgres",
        "postgresql://postgres@127.0.0.1:20123/postgres",
        f"postgresql://app:{PASSWORD}@127.0.0.1:20123/postgres",
        f"postgresql://postgres:{PASSWORD}@db.example.com:20123/postgres",
        f"postgresql://postgres:{PASSWORD}@localhost:20123/postgres?hostaddr=192.0.2.1",
        f"postgresql://postgres:{PASSWORD}@localhost,127.0.0.1:20123/postgres",
        f"postgresql://postgres:{PASSWORD}@/postgres?host=/tmp&port=20123",
    ],
)
def test_any_other_url_is_only_a_url(root: Path, url: str) -> None:
    assert not is_named(target(url), root)
    assert recognized(target(url), root) == target(url)


def test_another_database_of_the_server_is_not_the_embedded_one(root: Path) -> None:
    other = target(f"postgresql://postgres:{PASSWORD}@127.0.0.1:20123/app")
    assert is_named(other, root)
    assert recognized(other, root) == other
    assert recognized(other, root).source == "DATABASE_URL"


@pytest.mark.parametrize(
    ("login", "is_outdated"),
    [
        (f"postgres:{'x' * 32}@127.0.0.1:20124", True),
        (f"postgres:{'y' * 32}@localhost:20123", True),
        (f"postgres:{'y' * 32}@127.0.0.1:20999", True),
        (f"postgres:{'y' * 32}@db.example.com:20123", False),
        ("postgres:postgres@127.0.0.1:5432", False),
        ("postgres@127.0.0.1:20123", False),
    ],
)
def test_an_outdated_url_has_the_advice_to_write_it_again(
    root: Path, login: str, is_outdated: bool
) -> None:
    given = target(f"postgresql://{login}/postgres")
    assert looks_embedded(given) is is_outdated
    assert ("`python -m lib url --write-env`" in recognized(given, root).advice) is is_outdated


def test_a_url_is_read_back_as_the_server_that_it_names(root: Path) -> None:
    parameters = {"host": "127.0.0.1", "port": "20123", "user": "postgres", "password": PASSWORD}
    url = server_address.url(ConnectionTarget("", parameters))
    assert url == f"postgresql://postgres:{PASSWORD}@127.0.0.1:20123/postgres"
    assert is_named(target(url), root)
    awkward = server_address.url(ConnectionTarget("", {**parameters, "password": "a@/:?#% é"}))
    assert target(awkward).parameters["password"] == "a@/:?#% é"


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "1e3", "२", "20123 x", "1" * 5000])
def test_a_file_without_a_port_keeps_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    assert kept_port(tmp_path) is None


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes among the files")
def test_a_folder_that_a_stranger_has_made_is_not_read(tmp_path: Path) -> None:
    """With a pipe for a file, the command would wait for ever."""
    assert kept_port(tmp_path / "nowhere") is None
    os.mkfifo(tmp_path / "port")
    assert kept_port(tmp_path) is None
    (tmp_path / "port").unlink()
    (tmp_path / "elsewhere").write_text("20123")
    (tmp_path / "port").symlink_to(tmp_path / "elsewhere")
    assert kept_port(tmp_path) is None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("20123")
    assert kept_port(tmp_path) == 20123
    os.chown(tmp_path / "port", 65534, -1)
    assert kept_port(tmp_path) is None
