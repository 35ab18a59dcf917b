"""What Vercel makes of this bundle: built by its CLI, served by its runtime, on a real database."""

import functools
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import COMMIT, ROOT, SECRET, VERSIONS, Database, new_database, wait_until
from vercel_cli import (
    DEFAULT_PYTHON,
    OTHER_PYTHONS,
    Built,
    Function,
    Invoked,
    Project,
    compile_loaded,
    copy_clone,
    find_python,
    invoke,
    require_machine,
)

from lib.settings.connection_target import ConnectionTarget

require_machine()

FUNCTIONS = ("api/migrate", "api/migration-status")
STATUS, MIGRATE = "/api/migration-status", "/api/migrate"
# The command line, and what it alone needs, stay at home.
NOT_DEPLOYED = (
    r"lib/(__main__\.py"
    r"|(adopt|branches|calls|cli|commands|console|edits|github|install|interface|local|rebuild|rehearse"
    r"|scratch|text|tools)/.*)"
)
PACKAGES = {
    "blinker", "certifi", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "psycopg",
    "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py", "werkzeug",
}  # fmt: skip
# What Vercel adds to every Python function.
VERCELS_OWN = {"_virtualenv.pth", "_virtualenv.py", "pip", "vercel_runtime"}

pytestmark = pytest.mark.timeout(400)

# For what the version of Python cannot change once a cold instance has answered: how requests are
# parsed, which .ci/run tests under every version without Vercel, and what PostgreSQL does.
default_python = pytest.mark.parametrize("deployment", [DEFAULT_PYTHON], indirect=True)


def backends(db: Database) -> list[int]:
    """The server processes of the clients of this database, but for the one that asks."""
    others = (
        "backend_type = 'client backend' and datname = current_database() "
        "and pid <> pg_backend_pid()"
    )
    return [row[0] for row in db.query(f"select pid from pg_stat_activity where {others}")]


@dataclass(frozen=True)
class Deployment:
    """A build of production, its functions as the platform lays them out, and its database."""

    built: Built
    db: Database
    tasks: Path

    def environ(self, function: str, **variables: str) -> dict[str, str]:
        ours = {
            "VERCEL": "1",
            "VERCEL_ENV": "production",
            "VERCEL_GIT_COMMIT_SHA": COMMIT,
            "DATABASE_URL": self.db.url,
            "MIGRATION_SECRET": SECRET,
        }
        return self.built.environ(function, **{**ours, **variables})

    def start(self, function: str, **variables: str) -> Function:
        """A cold instance."""
        return Function(
            self.tasks / function, self.built.python, self.environ(function, **variables)
        )

    def invoke(self, function: str, *events: dict[str, object]) -> Invoked:
        return invoke(self.tasks / function, self.built.python, self.environ(function), events)


def python_versions() -> Iterator[str]:
    """The default always, so that its absence is told; of the others those that are here."""
    for version in (DEFAULT_PYTHON, *OTHER_PYTHONS):
        if version == DEFAULT_PYTHON or find_python(version):
            yield version


@pytest.fixture(scope="module")
def deploy(
    server: ConnectionTarget, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Deployment]]:
    """Build production with a Python, once for all tests, in whatever order they come."""
    with ExitStack() as databases:

        @functools.cache
        def deploy(version: str) -> Deployment:
            folder = tmp_path_factory.mktemp("deployment")
            database = databases.enter_context(new_database(server))
            project = Project(
                copy_clone(folder / "clone"),
                version,
                {"DATABASE_URL": database.url, "MIGRATION_SECRET": SECRET},
            )
            # What lies about in a folder that people work in, and must not travel.
            for name in (
                ".env",
                ".env.local",
                "src/page.tsx",
                "lib/shared.ts",
                "data/dump.sql",
                "migrations/.pgpass",
                "migrations/_seeds/users.sql",
            ):
                project.write(name, f"PASSWORD={SECRET}")
            project.write(".python-version", f"{version}\n")
            built = project.build()
            for function in built.functions & set(FUNCTIONS):
                task = built.unpack(function, folder / "tasks" / function)
                compile_loaded(task, built.python)
            return Deployment(built, database, folder / "tasks")

        yield deploy


@pytest.fixture(params=python_versions())
def deployment(request: pytest.FixtureRequest, deploy: Callable[[str], Deployment]) -> Deployment:
    deployment = deploy(request.param)
    assert deployment.built.exit_code == 0, deployment.built.log
    return deployment


class TestBuild:
    def test_it_migrates_first_and_then_builds_the_frontend_and_the_functions(
        self, deployment: Deployment
    ) -> None:
        log = deployment.built.log
        assert deployment.db.versions() == VERSIONS
        assert deployment.built.is_deployable
        places = [log.index(f"✓ {version}  ") for version in VERSIONS]
        places += [log.index("Building the frontend"), log.index("Build Completed")]
        assert places == sorted(places)

    def test_the_run_is_on_record_as_productions_build(self, deployment: Deployment) -> None:
        first = deployment.db.runs()[0]
        assert (first["source"], first["environment"], first["outcome"]) == (
            "build",
            "production",
            "succeeded",
        )
        assert first["applied"] == VERSIONS

    def test_both_functions_are_there_and_nothing_else_is_served(
        self, deployment: Deployment
    ) -> None:
        assert deployment.built.functions == set(FUNCTIONS)
        assert deployment.built.static == {"index.html", "openapi.json"}

    @pytest.mark.parametrize(
        ("function", "duration"), [("api/migrate", 300), ("api/migration-status", 15)]
    )
    def test_a_function_has_the_time_and_the_python_it_asks_for(
        self, deployment: Deployment, function: str, duration: int
    ) -> None:
        config = deployment.built.config(function)
        assert config["maxDuration"] == duration
        assert config["handler"] == "vc__handler__python.vc_handler"
        wanted = (deployment.built.root / ".python-version").read_text().strip()
        assert config["runtime"] == f"python{wanted}"

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_a_function_holds_these_files_and_no_other(
        self, deployment: Deployment, function: str
    ) -> None:
        files = set(deployment.built.files(function))
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").rglob("*.py")}
        assert {name for name in files if not name.startswith("_vendor/")} == {
            "vc__handler__python.py",
            "vercel.json",
            *(f"{name}.py" for name in FUNCTIONS),
            *(name for name in modules if not re.fullmatch(NOT_DEPLOYED, name)),
            *(f"migrations/{version}.sql" for version in VERSIONS),
        }
        packages = {name.split("/")[1] for name in files if name.startswith("_vendor/")}
        assert {
            name for name in packages if not name.endswith(".dist-info")
        } <= PACKAGES | VERCELS_OWN

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_a_function_is_at_most_22_mb_of_which_vercel_adds_a_third(
        self, deployment: Deployment, function: str
    ) -> None:
        """The bound on all leaves room for the next pip, which Vercel chooses; ours does not."""
        sizes = {
            name: path.stat().st_size for name, path in deployment.built.files(function).items()
        }
        theirs = sum(
            size
            for name, size in sizes.items()
            if re.match(r"_vendor/(pip|vercel_runtime)\b", name)
        )
        assert sum(sizes.values()) - theirs <= 15_200_000
        assert sum(sizes.values()) <= 22 * 2**20

    def test_the_log_of_the_build_holds_no_secret(self, deployment: Deployment) -> None:
        assert deployment.db.url not in deployment.built.log
        assert SECRET not in deployment.built.log


class TestStatus:
    def test_cold_and_warm_it_tells_the_state_of_the_database(self, deployment: Deployment) -> None:
        with deployment.start("api/migration-status") as function:
            cold, warm = function.get(STATUS), function.get(f"{STATUS}?check=1")
        assert (cold.code, warm.code) == (200, 200)
        assert cold.document["state"] == "up-to-date"
        assert cold.document["environment"] == "production"
        assert cold.document["deployment"]["commit"] == COMMIT
        assert cold.headers["content-type"] == "application/json"
        assert (
            cold.headers["cache-control"]
            == "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
        )

    def test_it_serves_the_page(self, deployment: Deployment) -> None:
        with deployment.start("api/migration-status") as function:
            page = function.get(f"{STATUS}?format=page")
        assert page.code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert all(f">{version}</th>" in page.body.decode() for version in VERSIONS)

    def test_as_a_lambda_it_answers_the_same_and_loads_only_what_a_look_needs(
        self, deployment: Deployment
    ) -> None:
        event: dict[str, object] = {
            "method": "GET",
            "path": STATUS,
            "headers": {"host": "app.example"},
        }
        invoked = deployment.invoke("api/migration-status", event, event)
        assert [answer["statusCode"] for answer in invoked.answers] == [200, 200]
        assert json.loads(invoked.answers[0]["body"])["appliedMigrations"] == len(VERSIONS)
        unwanted = {
            "boto3",
            "click",
            "flask",
            "jinja2",
            "werkzeug",
            "lib.web.status_page",
            "lib.sql.lexer",
            "lib.files.runnable_script",
            "lib.actions.migrate",
            "lib.ledger.run_lock",
        }
        assert not unwanted & invoked.modules

    @default_python
    def test_what_is_no_get_of_its_path_is_refused_in_json(self, deployment: Deployment) -> None:
        with deployment.start("api/migration-status") as function:
            head = function.request("HEAD", STATUS)
            assert (head.code, head.body) == (200, b"")
            assert int(head.headers["content-length"]) > 0
            for method in ("POST", "OPTIONS", "DELETE"):
                answer = function.request(method, STATUS)
                assert (answer.code, answer.headers["allow"]) == (405, "GET, HEAD")
                assert answer.document["success"] is False
            for path in ("/", "/api/other", f"{STATUS}%00", "/api//migration-status"):
                answer = function.get(path)
                assert (answer.code, answer.document["success"]) == (404, False)
            for path in (f"{STATUS}.py", f"{STATUS}/", f"{STATUS}?check=%zz&check=1&&x"):
                assert function.get(path).code == 200

    @default_python
    def test_a_flood_in_parallel_threads_is_answered_over_one_connection(
        self, deployment: Deployment
    ) -> None:
        wait_until(lambda: not backends(deployment.db), "the backends of earlier functions to end")
        with deployment.start("api/migration-status") as function, ThreadPoolExecutor(16) as pool:
            codes = list(
                pool.map(lambda number: function.get(f"{STATUS}?x={number}").code, range(100))
            )
            assert len(backends(deployment.db)) == 1
        assert codes == [200] * 100

    @default_python
    def test_a_warm_connection_that_died_is_replaced_without_a_trace(
        self, deployment: Deployment
    ) -> None:
        wait_until(lambda: not backends(deployment.db), "the backends of earlier functions to end")
        with deployment.start("api/migration-status") as function:
            assert function.get(STATUS).code == 200
            [first] = backends(deployment.db)
            deployment.db.query(f"select pg_terminate_backend({first})")
            wait_until(lambda: not backends(deployment.db), "the backend to end")
            # An answer is remembered for two seconds.
            time.sleep(2.1)
            assert function.get(STATUS).code == 200
            assert backends(deployment.db) not in ([], [first])

    @default_python
    def test_with_the_database_away_it_is_503_and_tells_nothing_of_it(
        self, deployment: Deployment
    ) -> None:
        url = "postgresql://hunter:hunter2@127.0.0.2:1/secretdb"
        variables = {"DATABASE_URL": url, "MIGRATION_CONNECT_TIMEOUT": "100ms"}
        with deployment.start("api/migration-status", **variables) as function:
            answer = function.get(STATUS)
        assert answer.code == 503
        assert answer.document == {"success": False, "error": "The database can't be reached."}
        assert answer.headers["cache-control"] == "no-store"
        assert not {
            word
            for word in ("hunter", "secretdb", "127.0.0.2")
            if word in function.log + function.output
        }

    @default_python
    def test_without_any_variable_it_starts_and_says_so(self, deployment: Deployment) -> None:
        with deployment.start("api/migration-status", DATABASE_URL="") as function:
            assert function.get(STATUS).document == {
                "success": False,
                "error": "The database is not configured.",
            }


class TestMigrate:
    @pytest.fixture
    def empty(self, deployment: Deployment, server: ConnectionTarget) -> Iterator[Deployment]:
        """The same functions before a database that nothing has been applied to."""
        with new_database(server) as database:
            yield Deployment(deployment.built, database, deployment.tasks)

    def test_cold_it_applies_everything_and_warm_nothing_more(self, empty: Deployment) -> None:
        headers = {"Authorization": f"Bearer {SECRET}"}
        with empty.start("api/migrate") as function:
            cold, warm = (function.request("POST", MIGRATE, headers) for _ in range(2))
        assert (cold.code, warm.code) == (200, 200)
        assert [migration["version"] for migration in cold.document["applied"]] == VERSIONS
        assert warm.document["applied"] == []
        assert empty.db.versions() == VERSIONS
        [run] = empty.db.runs()
        assert (run["source"], run["environment"], run["git_commit"]) == (
            "admin",
            "production",
            COMMIT,
        )

    def test_as_a_lambda_it_applies_everything_too(self, empty: Deployment) -> None:
        event: dict[str, object] = {
            "method": "POST",
            "path": MIGRATE,
            "headers": {"authorization": f"Bearer {SECRET}"},
            "body": '{"action": "migrate"}',
        }
        invoked = empty.invoke("api/migrate", event)
        assert invoked.answers[0]["statusCode"] == 200
        assert empty.db.versions() == VERSIONS
        assert "boto3" not in invoked.modules

    @default_python
    def test_requests_at_once_apply_each_file_once(self, empty: Deployment) -> None:
        headers = {"Authorization": f"Bearer {SECRET}"}
        with empty.start("api/migrate") as function, ThreadPoolExecutor(8) as pool:
            codes = set(
                pool.map(lambda _: function.request("POST", MIGRATE, headers).code, range(8))
            )
        assert 200 in codes
        assert codes <= {200, 409}
        assert empty.db.versions() == VERSIONS

    @default_python
    def test_whoever_has_no_token_gets_nothing_done(self, empty: Deployment) -> None:
        with empty.start("api/migrate") as function:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET}):
                answer = function.request("POST", MIGRATE, headers, "{")
                assert (answer.code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert function.get(MIGRATE).headers["allow"] == "POST"
        assert SECRET not in function.log + function.output
        with empty.start("api/migrate", MIGRATION_SECRET="") as function:
            assert function.request("POST", MIGRATE, {"Authorization": "Bearer "}).code == 503
        assert not empty.db.has("schema_migrations")

    @default_python
    def test_a_body_that_is_no_known_action_is_refused(self, empty: Deployment) -> None:
        headers = {"Authorization": f"Bearer {SECRET}"}
        with empty.start("api/migrate") as function:
            codes = [
                function.request("POST", MIGRATE, headers, body).code
                for body in ("x" * 17000, "[1]", "ü".encode())
            ]
            chunked = {**headers, "Transfer-Encoding": "chunked"}
            code = function.request("POST", MIGRATE, chunked, b"2\r\n{}\r\n0\r\n\r\n").code
        assert codes == [413, 400, 400]
        assert code == 200

    @default_python
    def test_its_own_end_comes_before_vercels(self, empty: Deployment, tmp_path: Path) -> None:
        """The functions' `vercel.json` travels with them, and says how long that is."""
        task = tmp_path / "task"
        empty.built.unpack("api/migrate", task)
        settings = json.loads((task / "vercel.json").read_text())
        settings["functions"]["api/migrate.py"]["maxDuration"] = 8
        (task / "vercel.json").write_text(json.dumps(settings))
        (task / "migrations" / "004-slow.sql").write_text(
            "create table slow (x int);\nselect pg_sleep(60);"
        )
        with Function(task, empty.built.python, empty.environ("api/migrate")) as function:
            answer = function.request("POST", MIGRATE, {"Authorization": f"Bearer {SECRET}"})
        assert answer.code == 504
        assert [migration["version"] for migration in answer.document["applied"]] == VERSIONS
        assert not empty.db.has("slow")


@pytest.mark.parametrize(
    ("method", "function"), [("POST", "api/migrate"), ("GET", "api/migration-status")]
)
def test_a_function_writes_nothing_into_its_own_folder(
    deployment: Deployment, tmp_path: Path, method: str, function: str
) -> None:
    """The platform's is read-only."""
    task = deployment.built.unpack(function, tmp_path / "task")
    before = sorted(task.rglob("*"))
    headers = {"authorization": f"Bearer {SECRET}"}
    event: dict[str, object] = {"method": method, "path": f"/{function}", "headers": headers}
    [answer] = invoke(task, deployment.built.python, deployment.environ(function), [event]).answers
    assert answer["statusCode"] == 200
    assert sorted(task.rglob("*")) == before


@default_python
def test_a_preview_never_touches_productions_database(
    deployment: Deployment, tmp_path: Path
) -> None:
    db = deployment.db
    before = db.query("select * from schema_migrations"), db.runs()
    preview = Project(copy_clone(tmp_path / "preview"), variables={"DATABASE_URL": db.url})
    preview.write("migrations/004-new.sql", "create table new (x int)")
    built = preview.build(target="preview")
    assert built.exit_code == 1
    assert not built.is_deployable
    assert "This database belongs to production, and this run's environment is preview" in built.log
    assert (db.query("select * from schema_migrations"), db.runs()) == before
