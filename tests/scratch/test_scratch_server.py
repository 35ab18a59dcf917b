"""A scratch server: fresh, alone, and gone after its use, whatever ends that."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import ROOT, connect, local_environ, wait_until

from lib.errors import ConfigurationError
from lib.local import cluster_files
from lib.local.server_folder import folder_in_memory, home
from lib.scratch.scratch_server import remove_leftovers, scratch_cluster, scratch_server
from lib.settings.connection_target import ConnectionTarget
from lib.settings.variables import SUPABASE

# Says where its server is, and waits to be ended.
_HOLDER = """
import sys, time
from pathlib import Path
from lib.errors import Interrupted
from lib.scratch.scratch_server import scratch_server
from lib.signals import interrupt_on_signals

interrupt_on_signals()
try:
    with scratch_server(Path(sys.argv[1])) as target:
        print(target.parameters["port"], target.parameters["password"], flush=True)
        time.sleep(120)
except Interrupted as error:
    sys.exit(error.exit_code)
"""


def runs(root: Path) -> list[str]:
    """What is left in the folder of the scratch servers."""
    return sorted(path.name for path in home(root, name="scratch").glob("run-*"))


def answers(target: ConnectionTarget) -> bool:
    try:
        connect(target, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def holder(scratch_root: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has a scratch server."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(scratch_root)],
        cwd=ROOT,
        env=local_environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def target_of(process: "subprocess.Popen[str]") -> ConnectionTarget:
    assert process.stdout
    port, password = process.stdout.readline().split()
    return ConnectionTarget(
        "a scratch server",
        {
            "host": "127.0.0.1",
            "port": port,
            "password": password,
            "user": "postgres",
            "dbname": "postgres",
        },
    )


def test_two_servers_are_apart_and_gone_afterwards(scratch_root: Path) -> None:
    with scratch_server(scratch_root) as one, scratch_server(scratch_root) as other:
        assert one.port != other.port
        with connect(one) as connection:
            connection.execute("create table mine (x int); create role mine")
        with connect(other) as connection:
            found = connection.execute("select to_regclass('mine'), to_regrole('mine')").fetchone()
            assert found == (None, None)
            assert connection.execute("show timezone").fetchone() == ("UTC",)
        assert one.is_embedded
    assert not answers(one)
    assert not answers(other)
    assert runs(scratch_root) == []


def test_an_error_in_the_block_leaves_nothing_behind(scratch_root: Path) -> None:
    with pytest.raises(LookupError, match="mine"), scratch_server(scratch_root) as target:
        raise LookupError("mine")
    assert not answers(target)
    assert runs(scratch_root) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    scratch_root: Path, holder: "subprocess.Popen[str]", signum: signal.Signals
) -> None:
    target = target_of(holder)
    assert answers(target)
    holder.send_signal(signum)
    assert holder.wait(60) == 128 + signum
    assert not answers(target)
    assert runs(scratch_root) == []


def test_a_signal_while_it_starts_leaves_nothing_behind(
    scratch_root: Path, holder: "subprocess.Popen[str]"
) -> None:
    wait_until(lambda: list(home(scratch_root, name="scratch").glob("run-*")), "its folder")
    holder.send_signal(signal.SIGTERM)
    assert holder.wait(60) == 128 + signal.SIGTERM
    assert runs(scratch_root) == []


def test_the_next_one_removes_what_a_killed_process_has_left(
    scratch_root: Path, holder: "subprocess.Popen[str]"
) -> None:
    target = target_of(holder)
    [folder, lock] = runs(scratch_root)
    assert lock == f"{folder}.lock"
    # While its process lives, it stays.
    with scratch_server(scratch_root):
        assert answers(target)
    data = folder_in_memory(f"embedded-scratch-{folder}", room=0)
    holder.kill()
    holder.wait()
    assert answers(target)
    with scratch_server(scratch_root):
        assert not answers(target)
        assert folder not in runs(scratch_root)
        assert data is None or not data.exists()


@pytest.mark.parametrize("room", [0, 2**60])
def test_the_data_is_in_memory_where_there_is_room(scratch_root: Path, room: int) -> None:
    if room == 0 and folder_in_memory("any", room=0) is None:
        pytest.skip("this machine has no file system in memory")
    with scratch_cluster(scratch_root, room=room) as (cluster, target):
        assert answers(target)
        assert (cluster.home / "data").exists() == bool(room)
    assert not cluster.data.parent.exists()


def test_leftovers_can_be_removed_without_a_new_one(
    scratch_root: Path, holder: "subprocess.Popen[str]"
) -> None:
    target_of(holder)
    living = runs(scratch_root)
    folder = home(scratch_root, name="scratch")
    (folder / "run-dead").mkdir()
    (folder / "run-dead.lock").touch()
    remove_leftovers(scratch_root)
    assert runs(scratch_root) == living


def test_it_has_what_the_platform_has(scratch_root: Path) -> None:
    with (
        scratch_server(scratch_root, platform=SUPABASE) as target,
        connect(target) as connection,
    ):
        found = connection.execute("select to_regclass('auth.users') is not null").fetchone()
    assert found == (True,)


def test_without_the_wheel_the_error_says_what_it_is_for(
    scratch_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_files, "PACKAGE", "no_such_package")
    with (
        pytest.raises(ConfigurationError, match=r"pip install -r requirements-local\.txt"),
        scratch_server(scratch_root),
    ):
        pass
