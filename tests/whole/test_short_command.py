"""./migrate as people call it: from any folder, by any name, with nothing of its own in the way."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Database, local_environ

from lib import __version__

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose .venv is filled, with the packages of the tests, in a path with blanks."""
    root = tmp_path / "my app's"
    shutil.copytree(ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "migrations").mkdir()
    for name in ("build.sh", "migrate", "requirements.txt", "requirements-local.txt"):
        shutil.copy2(ROOT / name, root / name)
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(str(Path(pytest.__file__).parents[1]))
    version = "Python " + sys.version.split()[0]
    wanted = [(root / name).read_text() for name in ("requirements.txt", "requirements-local.txt")]
    (venv / "installed").write_text("\n".join([version, *map(str.rstrip, wanted)]))
    return root


@pytest.fixture
def migrate(project: Path, db: Database) -> Run:
    def run(*words: str, cwd: Path = project, **variables: str) -> Any:
        return subprocess.run(
            words,
            cwd=cwd,
            env=local_environ(DATABASE_URL=db.url, **variables),
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.mark.parametrize(
    ("where", "name"), [(".", "./migrate"), ("a folder/deep", "../../migrate"), (".", "absolute")]
)
def test_it_works_from_every_folder_and_messages_name_it_as_it_was_called(
    where: str, name: str, project: Path, migrate: Run
) -> None:
    folder = project / where
    folder.mkdir(parents=True, exist_ok=True)
    if name == "absolute":
        name = str(project / "migrate")
    done = migrate(name, "status", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["state"] == "uninitialised"
    shown = name.replace("'", r"\'").replace(" ", r"\ ")
    assert migrate(name, "status", "--help", cwd=folder).stdout.startswith(f"usage: {shown} status")
    assert migrate(name, "nonsense", cwd=folder).stderr.startswith(f"usage: {shown}")


def test_a_link_in_another_folder_leads_to_the_project(
    project: Path, tmp_path: Path, migrate: Run
) -> None:
    (project / "link").symlink_to("migrate")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "shop").symlink_to(project / "link")
    done = migrate("bin/shop", "--version", cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"{__version__}\n", "")


def test_bash_runs_it_too(project: Path, migrate: Run) -> None:
    (project / "migrate").chmod(0o644)
    assert migrate("bash", "migrate").stdout.startswith("usage: bash migrate ")


def test_without_it_messages_name_the_package(project: Path, migrate: Run) -> None:
    done = migrate(".venv/bin/python", "-m", "lib")
    assert done.stdout.startswith("usage: python -m lib ")


def test_nothing_in_the_folder_of_the_caller_takes_its_place(project: Path, migrate: Run) -> None:
    folder = project / "sub"
    (folder / "lib").mkdir(parents=True)
    for name in ("json.py", "lib/__init__.py", "lib/__main__.py"):
        (folder / name).write_text("raise SystemExit('taken')")
    done = migrate("../migrate", "status", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_arguments_and_the_exit_code_arrive_as_they_are(
    project: Path, migrate: Run, db: Database
) -> None:
    assert migrate("./migrate").returncode == 2
    done = migrate("./migrate", "baseline", "a  b'$(touch made)")
    assert done.returncode == 2
    assert 'There is no migration "a  b\'$(touch made)"' in done.stderr
    (project / "migrations" / "000-a.sql").write_text("select 1/0")
    assert migrate("./migrate", "migrate").returncode == 1
    assert migrate("./migrate", "status", "--check").returncode == 3


def test_a_signal_reaches_the_runner(project: Path, db: Database) -> None:
    (project / "migrations" / "000-a.sql").write_text("create table a (); select pg_sleep(60)")
    running = subprocess.Popen(
        ["./migrate", "migrate"],
        cwd=project,
        env=local_environ(DATABASE_URL=db.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    db.wait_for("pg_sleep(60)")
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 143
    assert not db.has("a")


def test_on_vercel_the_python_is_that_which_has_the_packages(
    project: Path, migrate: Run, tmp_path: Path
) -> None:
    shutil.rmtree(project / ".venv")
    done = migrate("./migrate", "status", VERCEL="1", PYTHON=sys.executable)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (project / ".venv").exists()


def test_a_command_waits_for_another_that_makes_the_environment(
    project: Path, tmp_path: Path
) -> None:
    made = (project / ".venv").rename(tmp_path / "made")
    with (project / "requirements.txt").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            ["./migrate", "--version"],
            cwd=project,
            env=local_environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "Waiting for another command, which makes .venv\n"
        made.rename(project / ".venv")
    assert waiting.communicate(timeout=60) == (f"{__version__}\n", "")


def test_a_python_that_is_too_old_is_told_on_standard_error(project: Path, migrate: Run) -> None:
    shutil.rmtree(project / ".venv")
    done = migrate("./migrate", "url", PYTHON="/nowhere/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Python 3.11 or newer was found: PYTHON names /nowhere/python" in done.stderr
