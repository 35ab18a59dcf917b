"""The embedded PostgreSQL that all contenders meet, and the databases made on it."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from contenders import ROOT, Contender, absent
from proxy import HOST

sys.path.insert(0, str(ROOT))

from lib.local import embedded_server as embedded
from lib.settings.connection_target import ConnectionTarget


class BenchError(Exception):
    """A contender failed, or did not do what it was asked to."""


class Server:
    """The running server, its psql, and the databases made so far."""

    def __init__(self, target: ConnectionTarget, psql: Path) -> None:
        self.target = target
        self.psql = psql
        self.databases: list[str] = []

    def environ(self, database: str, port: int | None = None) -> dict[str, str]:
        """Return the environment with this database, as a URL and in variables of libpq."""
        p = self.target.parameters
        at = str(port or p["port"])
        ours = ("VERCEL", "MIGRATION", "POSTGRES_", "DATABASE_", "PG", "PYTHON", "DBMATE")
        kept = {
            key: value
            for key, value in os.environ.items()
            if key != "CI" and not key.startswith(ours)
        }
        return {
            **kept,
            "DATABASE_URL": f"postgresql://{p['user']}:{quote(p['password'])}@{HOST}:{at}/{database}?sslmode=disable",
            "PGHOST": HOST,
            "PGPORT": at,
            "PGUSER": p["user"],
            "PGPASSWORD": p["password"],
            "PGDATABASE": database,
            "PGSSLMODE": "disable",
        }

    def create_database(self, template: str = "template1") -> str:
        name = f"bench_{os.getpid()}_{len(self.databases)}"
        self.databases.append(name)
        self.query("postgres", f"create database {name} template {template}")
        return name

    def create_with_tables(self, table: str, count: int) -> str:
        """Make a database with tables from a template, in which {0} is the number of each."""
        database = self.create_database()
        with self.connect(database) as connection:
            for number in range(count):
                connection.execute(table.format(number).encode())
            connection.execute("analyze")
        return database

    def drop_database(self, name: str) -> None:
        self.query("postgres", f"drop database if exists {name} with (force)")

    def drop_all(self) -> None:
        for name in self.databases:
            self.drop_database(name)

    def connect(self, database: str, name: str = "bench") -> psycopg.Connection:
        """A connection in autocommit; `name` is its application_name."""
        parameters: dict[str, Any] = {
            **self.target.parameters,
            "dbname": database,
            "application_name": name,
        }
        return psycopg.connect(**parameters, autocommit=True)

    def query(self, database: str, statement: str) -> str:
        """Run one statement; the first value it returns, as text."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            return str((cursor.fetchone() or ("",))[0]) if cursor.description else ""

    def print_facts(self, *more: str) -> None:
        """When, where and what, so that a table can be told from a later one."""
        version = self.query("postgres", "show server_version")
        facts = [
            f"{datetime.now(UTC):%Y-%m-%d}",
            f"{os.cpu_count()} cores",
            f"load {os.getloadavg()[0]:.1f}",
        ]
        facts += [
            f"PostgreSQL {version}",
            f"Python {platform.python_version()}",
            f"psycopg {psycopg.__version__}",
        ]
        print(", ".join([*facts, *more]), flush=True)

    def print_place(self, found: Sequence[Contender]) -> None:
        """The same, with the contenders that are there, and those that are not."""
        self.print_facts(
            *(f"{contender.name} {contender.version}" for contender in found if contender.version)
        )
        for name in absent(found):
            print(f"{name} is not installed and is left out (`python bench/compare.py --install`).")


@contextmanager
def started() -> Iterator[Server]:
    """The server, started if need be; one that ran before is left running."""
    cluster = embedded.locate(ROOT, name="bench")
    ran_before = embedded.is_running(cluster)
    server = Server(embedded.start(cluster), cluster.binaries / "bin" / "psql")
    try:
        yield server
    finally:
        server.drop_all()
        if not ran_before:
            embedded.stop(cluster)


def exit_code_of(work: Callable[[], None]) -> int:
    """Do it as a program does: SIGTERM ends it in order, and what went wrong is told on stderr."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        work()
    except (BenchError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
