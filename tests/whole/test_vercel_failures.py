"""Builds that fail, are killed, orphaned or doubled: nothing is deployed, nothing half applied."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import UNTIL_RELEASED, VERSIONS, Database, wait_until
from vercel_cli import Function, Project, copy_clone, require_machine

require_machine()

STATUS = "/api/migration-status"

pytestmark = pytest.mark.timeout(400)

MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path, db: Database) -> MakeProject:
    """A clone linked to a Vercel project whose variable names the test's database."""

    def make(name: str = "clone", variables: Mapping[str, str] = {}, **files: str) -> Project:
        project = Project(
            copy_clone(tmp_path / name), variables={"DATABASE_URL": db.url, **variables}
        )
        for version, sql in files.items():
            project.write(f"migrations/{version.replace('_', '-').lstrip('-')}.sql", sql)
        return project

    return make


class TestFailure:
    def test_a_failing_migration_fails_the_deploy_and_names_its_place(
        self, make_project: MakeProject, db: Database
    ) -> None:
        project = make_project(
            _004_broken="create table half (x int);\n\nalter table nowhere add column y int;\n"
        )
        built = project.build()
        assert built.exit_code == 1
        assert not built.is_deployable
        assert (
            'migrations/004-broken.sql:3:1: relation "nowhere" does not exist (SQLSTATE 42P01)'
            in built.log
        )
        assert "Building the frontend" not in built.log
        assert not db.has("half")
        assert db.versions() == VERSIONS

    @pytest.mark.parametrize(
        ("variables", "line"),
        [
            ({"DATABASE_URL": ""}, "No database URL is set. Looked up: MIGRATION_DATABASE_URL, "),
            (
                {
                    "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d",
                    "MIGRATION_CONNECT_TIMEOUT": "100ms",
                },
                "The database at 127.0.0.1:1/d (from DATABASE_URL) can't be reached: "
                "nothing listens there (",
            ),
            (
                {"FRONTEND_BUILD_COMMAND": "exit 7"},
                "✗ The build of the frontend failed with exit code 7.",
            ),
            ({"FRONTEND_BUILD_COMMAND": "rmdir public"}, "STATIC_BUILD_NO_OUT_DIR"),
        ],
        ids=["no URL", "dead database", "failing frontend", "no output"],
    )
    def test_whatever_else_fails_fails_the_deploy_with_a_line_of_its_own(
        self, make_project: MakeProject, variables: dict[str, str], line: str
    ) -> None:
        built = make_project(variables=variables).build()
        assert built.exit_code != 0
        assert not built.is_deployable
        assert line in built.log
        assert "hunter2" not in built.log
        assert "Traceback" not in built.log

    def test_a_preview_migrates_its_own_database_and_tells_so(
        self, make_project: MakeProject, db: Database, tmp_path: Path
    ) -> None:
        built = make_project().build(target="preview")
        assert built.exit_code == 0, built.log
        assert built.is_deployable
        assert [run["environment"] for run in db.runs()] == ["preview"]
        environ = built.environ("api/migration-status", VERCEL_ENV="preview", DATABASE_URL=db.url)
        with Function(
            built.unpack("api/migration-status", tmp_path / "task"), built.python, environ
        ) as function:
            document = function.get(STATUS).document
        assert (document["environment"], document["state"]) == ("preview", "up-to-date")


def is_over(process: "subprocess.Popen[str]") -> bool:
    """True if nothing of the process group of the build is left, except zombies."""
    process.poll()
    for path in Path("/proc").glob("[0-9]*/stat"):
        # It may end while it is looked at.
        with suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may hold anything but ends in the last parenthesis, come the
            # state, the parent and the group.
            state, _, group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if group == str(process.pid) and state != "Z":
                return False
    return True


class TestInterruption:
    @pytest.fixture
    def start(
        self, make_project: MakeProject, db: Database
    ) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
        """Start a build; return once a migration is under way. End all that is left at the end."""
        processes: list[subprocess.Popen[str]] = []

        def start(
            name: str, sql: str, word: str = "Migrating", **more: str
        ) -> "subprocess.Popen[str]":
            processes.append(make_project(name, _004_slow=sql, **more).start())
            stdout = processes[-1].stdout
            assert stdout
            log = []
            for line in stdout:
                log.append(line)
                if word in line:
                    break
            else:
                pytest.fail("".join(log))
            db.wait_for("pg_sleep")
            return processes[-1]

        yield start
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    SLOW = "create table slow (x int);\nselect pg_sleep({seconds});"

    def test_builds_that_were_killed_or_vanished_leave_nothing_in_the_way(
        self, start: Callable[..., "subprocess.Popen[str]"], db: Database, make_project: MakeProject
    ) -> None:
        """SIGTERM rolls back, and is recorded; of SIGKILL the next build finds out itself."""
        killed = start("killed", self.SLOW.format(seconds=60))
        os.killpg(killed.pid, signal.SIGTERM)
        wait_until(lambda: is_over(killed), "the build to end", 20)
        assert [run["outcome"] for run in db.runs()] == ["interrupted"]
        assert (db.has("slow"), db.versions(), db.advisory_locks()) == (False, VERSIONS, 0)
        vanished = start("vanished", self.SLOW.format(seconds=3))
        os.killpg(vanished.pid, signal.SIGKILL)
        built = make_project("next", _004_slow=self.SLOW.format(seconds=3)).build()
        assert built.exit_code == 0, built.log
        assert db.versions() == [*VERSIONS, "004-slow"]
        assert "running" not in {run["outcome"] for run in db.runs()}
        assert db.advisory_locks() == 0

    def test_an_orphaned_build_beside_a_new_one_is_harmless(
        self, start: Callable[..., "subprocess.Popen[str]"], db: Database, make_project: MakeProject
    ) -> None:
        """The CLI passes no signal on: once it is killed, build.sh and the runner stay at work."""
        orphaned = start("orphaned", UNTIL_RELEASED)
        os.kill(orphaned.pid, signal.SIGKILL)
        orphaned.wait()
        assert not is_over(orphaned)
        wait = "Waiting for another migration run (migrations build local), since 20"
        newer = start("next", UNTIL_RELEASED, wait, _005_more="create table more (x int)")
        db.query("create table released ()")
        log, _ = newer.communicate(timeout=60)
        assert newer.returncode == 0, log
        wait_until(lambda: is_over(orphaned), "the orphan to end")
        assert db.versions() == [*VERSIONS, "004-slow", "005-more"]
        assert [run["outcome"] for run in db.runs()] == ["succeeded", "succeeded"]

    def test_two_builds_at_once_apply_each_file_once(
        self, make_project: MakeProject, db: Database
    ) -> None:
        projects = [
            make_project(name, _004_slow=self.SLOW.format(seconds=5)) for name in ("one", "two")
        ]
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda project: project.build(), projects))
        assert [built.exit_code for built in both] == [0, 0], both[0].log + both[1].log
        assert sum("Waiting for another migration run" in built.log for built in both) == 1
        assert db.versions() == [*VERSIONS, "004-slow"]
