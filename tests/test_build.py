"""build.sh as Vercel runs it and as a newcomer does: migrate, then the frontend; whatever fails fails the build."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Database, local_environ

from lib import embedded

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a clone would have."""
    for name in ("api", "lib", "migrations", "frontend"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build.sh", "vercel.json", "requirements.txt", "requirements-local.txt"):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def build(checkout: Path, db: Database) -> Build:
    """The build on Vercel, which has installed the requirements for the Python on the path."""
    python = str(Path(sys.executable).parent)

    def run(**variables: str) -> "subprocess.CompletedProcess[str]":
        environ = local_environ(VERCEL="1", VERCEL_ENV="preview", DATABASE_URL=db.url)
        environ["PATH"] = f"{python}{os.pathsep}{environ['PATH']}"
        return subprocess.run(
            ["bash", "build.sh"],
            cwd=checkout,
            env={**environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )

    return run


def test_it_migrates_and_then_builds_the_frontend(build: Build, checkout: Path, db: Database) -> None:
    done = build(VERCEL_GIT_COMMIT_SHA="c0ffee", VERCEL_DEPLOYMENT_ID="dpl_1")
    assert done.returncode == 0, done.stdout
    versions = sorted(path.stem for path in (ROOT / "migrations").glob("*.sql"))
    assert db.versions() == versions
    assert all(f"✓ {version}  " in done.stdout for version in versions)
    assert done.stdout.index(versions[-1]) < done.stdout.index("Building the frontend")
    for name in ("index.html", "page.js", "style.css", "openapi.json"):
        assert (checkout / "public" / name).is_file()
    [run] = db.runs()
    assert (run["source"], run["environment"], run["git_commit"], run["deployment"]) == (
        "build",
        "preview",
        "c0ffee",
        "dpl_1",
    )


def test_a_second_build_applies_nothing(build: Build, db: Database) -> None:
    build()
    before = db.query("select xmin, * from schema_migrations"), db.query("select xmin, * from schema_migration_runs")
    done = build()
    assert done.returncode == 0
    assert "Nothing to apply" in done.stdout
    assert before == (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )


def test_a_broken_file_fails_the_build_and_mended_it_goes_through(build: Build, checkout: Path, db: Database) -> None:
    broken = checkout / "migrations" / "004-broken.sql"
    broken.write_text("create table half (x int);\n\nalter table nowhere add column y int;\n")
    done = build()
    assert done.returncode == 1
    assert 'migrations/004-broken.sql:3:1: relation "nowhere" does not exist (SQLSTATE 42P01)' in done.stdout
    assert not db.has("half")
    assert db.versions()[-1] == "003-add-usage-tracking"
    assert not (checkout / "public").exists()
    broken.write_text("create table half (x int);\n")
    assert build().returncode == 0
    assert db.versions()[-1] == "004-broken"
    assert (checkout / "public" / "index.html").is_file()


@pytest.mark.parametrize(
    ("variables", "code", "line"),
    [
        ({"DATABASE_URL": ""}, 2, "No database URL is set"),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d", "MIGRATION_CONNECT_TIMEOUT": "100ms"},
            1,
            "can't be reached: nothing listens there",
        ),
        ({"FRONTEND_BUILD_COMMAND": "echo building && exit 7"}, 7, "building"),
    ],
    ids=["no URL", "dead database", "failing frontend"],
)
def test_a_failing_step_fails_the_build_with_its_own_code(
    build: Build, variables: dict[str, str], code: int, line: str
) -> None:
    done = build(**variables)
    assert done.returncode == code
    assert line in done.stdout
    assert "hunter2" not in done.stdout


def test_the_frontend_command_of_the_project_wins(build: Build, checkout: Path) -> None:
    done = build(FRONTEND_BUILD_COMMAND="echo '<p>mine</p>' > public/index.html")
    assert done.returncode == 0
    assert (checkout / "public" / "index.html").read_text() == "<p>mine</p>\n"


def test_a_project_without_a_frontend_builds(build: Build, checkout: Path) -> None:
    shutil.rmtree(checkout / "frontend")
    done = build()
    assert done.returncode == 0
    assert "No frontend to build" in done.stdout
    assert (checkout / "public").is_dir()


def test_no_python_new_enough_is_told(checkout: Path) -> None:
    environ = local_environ(PYTHON="/nowhere/python 3")
    done = subprocess.run(["./build.sh"], cwd=checkout, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found" in done.stderr


@pytest.fixture
def fresh(checkout: Path) -> Iterator[Path]:
    yield checkout
    cluster = embedded.locate(checkout)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.mark.timeout(300)
def test_a_newcomer_with_nothing_set_gets_all_of_it_with_one_command(fresh: Path) -> None:
    """With an empty HOME and no variable, twice: the second time there is nothing to do."""
    home = fresh / "home"
    home.mkdir()
    environ = local_environ(HOME=str(home), PYTHON=sys.executable)
    # As an interrupted first try leaves it.
    (fresh / ".venv" / "bin").mkdir(parents=True)
    (fresh / ".venv" / "bin" / "python").symlink_to(sys.executable + "-that-has-gone")
    for first in (True, False):
        done = subprocess.run(
            ["./build.sh"], cwd=fresh, env=environ, capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("✓ Applied 4 migrations" if first else "✓ Nothing to apply") in done.stdout
        assert "Applied Migrations (4):" in done.stdout
        assert "python -m lib create" in done.stdout
    assert (fresh / "public" / "index.html").is_file()
    status = subprocess.run(
        [".venv/bin/python", "-m", "lib", "status", "--json"],
        cwd=fresh,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(status.stdout)
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 4)
