"""What scratch servers share: made once, for this user alone, and never in the way."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import connect

from lib.errors import ConfigurationError
from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster
from lib.local.server_folder import common_home, home
from lib.scratch.scratch_server import make_template, scratch_server, unpack_data
from lib.settings.connection_target import ConnectionTarget
from lib.time_limits import UNUSED_VERSION

is_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="for root, another user runs the server"
)


@dataclass
class Place:
    """Servers under a name of their own, which share nothing with those of other tests."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return common_home(self.root, name=self.name)

    def template(self) -> Cluster:
        return make_template(embedded.locate(self.root, name=self.name), self.root, name=self.name)

    @contextmanager
    def server(self) -> Iterator[ConnectionTarget]:
        template = self.template()
        cluster = replace(template, home=self.folder / f"own-{secrets.token_hex(4)}")
        cluster.home.mkdir(mode=0o711)
        unpack_data(template, cluster)
        try:
            yield embedded.start(cluster)
        finally:
            embedded.discard(cluster)

    def identifier(self) -> str:
        """Of the data, as initdb has made them."""
        with self.server() as target, connect(target) as connection:
            query = "select system_identifier::text from pg_control_system()"
            return str(connection.execute(query).fetchone()[0])  # type: ignore[index]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("template"), f"tested-{secrets.token_hex(4)}")
    yield place
    shutil.rmtree(place.folder)


def test_two_servers_begin_with_the_same_data(place: Place) -> None:
    assert place.identifier() == place.identifier()


def test_nobody_else_can_read_or_write_the_data(place: Place) -> None:
    before = os.umask(0)
    try:
        folder = place.template().home / "data-of-postgres"
    finally:
        os.umask(before)
    for path in (folder / "data.tar", folder / "password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (place.folder, folder.parent, folder):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o066
        assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("name", ["password", "data.tar"])
def test_what_is_missing_is_made_again(place: Place, name: str) -> None:
    folder = place.template().home / "data-of-postgres"
    (folder / name).unlink()
    place.template()
    assert sorted(path.name for path in folder.iterdir()) == ["data.tar", "password"]
    with place.server() as target:
        connect(target).close()


def test_a_server_starts_also_from_a_damaged_archive(place: Place) -> None:
    archive = place.template().home / "data-of-postgres" / "data.tar"
    os.truncate(archive, archive.stat().st_size // 2)
    with place.server() as target:
        connect(target).close()
    shutil.rmtree(archive.parent)


def test_a_server_starts_also_without_tar(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place.root))
    version = place.template().home
    shutil.rmtree(version / "data-of-postgres", ignore_errors=True)
    place.template()
    # The room may be needed.
    assert not (version / "new").exists()
    with place.server() as target:
        connect(target).close()


def test_a_version_that_is_not_used_any_more_is_removed(place: Place) -> None:
    used = place.template().home
    unused, recent = place.folder / "version-unused", place.folder / "version-recent"
    for path in (unused, recent):
        (path / "program").mkdir(parents=True)
    for path in (used, unused):
        long_ago = path.stat().st_mtime - 2 * UNUSED_VERSION
        os.utime(path, (long_ago, long_ago))
    place.template()
    assert used.exists()
    assert recent.exists()
    assert not unused.exists()


@is_root
def test_the_programs_are_not_copied_for_each_project(scratch_root: Path) -> None:
    with scratch_server(scratch_root):
        assert not list(home(scratch_root, name="scratch").rglob("initdb"))


@is_root
def test_a_folder_of_another_user_is_not_used(place: Place) -> None:
    place.template()
    os.chown(place.folder, 65534, -1)
    try:
        with pytest.raises(ConfigurationError, match="is not a folder of yours"):
            place.template()
    finally:
        os.chown(place.folder, 0, -1)
