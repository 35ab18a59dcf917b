"""One file on a full database, while deployed code reads and writes: who waits, who fails."""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import psycopg
from judged_statements import APPLICATION, FILL, INDEXES, SCHEMA, Judged
from server import Server

# What the deployed code does with each thing that it knows.
READS = {
    "users": "select id, name, email, code, score, price, created_at, team_id, legacy, status"
    " from users where id = %(key)s",
    "teams": "select name from teams where id = %(key)s",
    "members": "select team_id from members where team_id = %(key)s limit 1",
    "label": "select label(%(key)s)",
    "team_sizes": "select users from team_sizes where team_id = %(key)s",
}
WRITES = {
    "users": (
        "update users set score = score + 1 where id = %(key)s",
        "insert into users (name, email, code, score, price, team_id, legacy, status)"
        " values ('new', %(new)s, %(code)s, 1, 2, 3, 'old', 'new')",
    ),
    "teams": ("update teams set name = 'team' where id = %(key)s",),
}
# A query begins so often, in seconds, unless the one before it has not ended.
EVERY = 0.004
# Who waits for whom is asked so often, in seconds.
WATCH = 0.010
# The deployed code runs for so long before the file begins and after it ended, in seconds.
MARGIN = 0.2
# An answer that is awaited for longer is a fault of the bench, in seconds.
PATIENCE = 60
WAITS = "select pid from unnest(%s::int[]) pid where %s = any(pg_blocking_pids(pid))"


@dataclass
class Caller:
    """One session of the deployed code: its longest wait for the file, and its failures."""

    connection: psycopg.Connection
    queries: tuple[str, ...]
    keys: int
    began: float = 0.0
    waited: bool = False
    longest: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)

    def call_steadily(self, stopped: Event) -> None:
        number = 0
        while not stopped.wait(EVERY):
            self.call(self.queries[number % len(self.queries)])
            number += 1

    def call(self, query: str) -> None:
        key = random.randrange(1, self.keys)
        values = {"key": key, "new": unused(), "code": unused()}
        self.waited, self.began = False, time.perf_counter()
        try:
            self.connection.execute(query, values, prepare=True)
        except psycopg.Error as error:
            name = type(error).__name__
            self.faults[name] = self.faults.get(name, 0) + 1
        if self.waited:
            self.longest = max(self.longest, time.perf_counter() - self.began)


@dataclass(frozen=True)
class Measured:
    """What was seen: milliseconds of the file, and of the longest waits for its locks.

    `failed` is the SQLSTATE with which the file failed; `breaks` are the SQLSTATEs of the deployed
    code's queries afterwards; `cached` whether prepared statements failed once; `types` says which
    types of columns the deployed code now gets.
    """

    took: float
    reads: float
    writes: float
    failed: str = ""
    breaks: tuple[str, ...] = ()
    cached: bool = False
    types: tuple[str, ...] = ()


class Scene:
    """The full database, and a copy of it for each file."""

    def __init__(self, server: Server, rows: int) -> None:
        self.server = server
        self.rows = rows
        self.template = self._fill()

    def _fill(self) -> str:
        database = self.server.create_database()
        with self.server.connect(database) as connection:
            for script in (SCHEMA, FILL.format(rows=self.rows), INDEXES):
                connection.execute(script.encode())
            admit_application(connection)
            connection.execute("vacuum (freeze, analyze)")
            connection.execute("checkpoint")
        return database

    def bytes_of(self, relation: str) -> int:
        query = f"select pg_total_relation_size('{relation}')"
        return int(self.server.query(self.template, query))

    def measure(self, judged: Judged) -> Measured:
        """Run the file on a copy of the database, which is dropped again."""
        database = self.server.create_database(template=self.template)
        try:
            with self.server.connect(database) as connection:
                for statement in filter(None, judged.before.split(";\n")):
                    connection.execute(statement.encode())
            return self._run(database, judged)
        finally:
            self.server.drop_database(database)

    def _run(self, database: str, judged: Judged) -> Measured:
        before = self._answers(database, judged)
        with ExitStack() as stack:
            file = stack.enter_context(self.server.connect(database, "file"))
            file.execute(f"set timezone to '{judged.time_zone}'".encode())
            if judged.report:
                stack.enter_context(self._report(database, judged.report))
            readers, writers = stack.enter_context(self._load(database, judged, file))
            time.sleep(MARGIN)
            began = time.perf_counter()
            failed = run_file(file, judged)
            took = time.perf_counter() - began
            time.sleep(MARGIN)
        after = self._answers(database, judged)
        return Measured(
            took * 1000,
            max(caller.longest for caller in readers) * 1000,
            max((caller.longest for caller in writers), default=0.0) * 1000,
            failed,
            tuple(sorted({fault for fault, _ in after.values() if fault})),
            any("FeatureNotSupported" in caller.faults for caller in (*readers, *writers)),
            tuple(changed_types(before, after)),
        )

    @contextmanager
    def _report(self, database: str, seconds: float) -> Iterator[None]:
        connection = self.server.connect(database, "report")
        try:
            query = f"select count(*), pg_sleep({seconds}) from users"
            connection.pgconn.send_query(query.encode())
            yield
        finally:
            connection.close()

    @contextmanager
    def _load(
        self, database: str, judged: Judged, file: psycopg.Connection
    ) -> Iterator[tuple[list[Caller], list[Caller]]]:
        stopped = Event()
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(9))
            made = [
                [self._caller(stack, database, (READS[name],)) for name in judged.load],
                [
                    self._caller(stack, database, WRITES[name])
                    for name in judged.load
                    if name in WRITES
                ],
            ]
            callers = [*made[0], *made[1]]
            work = [pool.submit(caller.call_steadily, stopped) for caller in callers]
            watcher = stack.enter_context(self.server.connect(database, "watch"))
            work.append(pool.submit(watch, watcher, file, callers, stopped))
            try:
                yield made[0], made[1]
            finally:
                stopped.set()
                for each in work:
                    each.result()

    def _caller(self, stack: ExitStack, database: str, queries: tuple[str, ...]) -> Caller:
        connection = stack.enter_context(self.server.connect(database, "application"))
        connection.execute(f"set role {APPLICATION}".encode())
        connection.execute(f"set statement_timeout = '{PATIENCE}s'".encode())
        return Caller(connection, queries, self.rows // 5)

    def _answers(self, database: str, judged: Judged) -> dict[str, tuple[str, dict[str, int]]]:
        """What each query of the deployed code fails with, and the types of its columns."""
        found: dict[str, tuple[str, dict[str, int]]] = {}
        queries = [query for name in judged.load for query in (READS[name], *WRITES.get(name, ()))]
        with self.server.connect(database) as connection:
            connection.execute(f"set role {APPLICATION}".encode())
            for query in queries:
                found[query] = answer(connection, query)
        return found


def admit_application(connection: psycopg.Connection) -> None:
    """Make the role of the deployed code, unless the server has it, and let it use the tables."""
    known = "select 1 from pg_roles where rolname = %s"
    if not connection.execute(known, (APPLICATION,)).fetchone():
        connection.execute(f"create role {APPLICATION}".encode())
    tables = "select, insert, update, delete on all tables in schema public"
    for right in (tables, "usage on sequence users_id"):
        connection.execute(f"grant {right} to {APPLICATION}".encode())


def unused() -> str:
    """A text that no row has, as short as those that are there."""
    return f"n{random.getrandbits(36):x}"


def answer(connection: psycopg.Connection, query: str) -> tuple[str, dict[str, int]]:
    values = {"key": 1, "new": unused(), "code": unused()}
    try:
        cursor: psycopg.Cursor[Any] = connection.execute(query, values)
    except psycopg.Error as error:
        return error.sqlstate or "", {}
    if cursor.description is None:
        return "", {}
    # Row level security hides what deployed code reads: no error, and no row.
    fault = "no rows" if not cursor.fetchall() else ""
    return fault, {column.name: column.type_code for column in cursor.description}


def changed_types(
    before: dict[str, tuple[str, dict[str, int]]], after: dict[str, tuple[str, dict[str, int]]]
) -> Iterator[str]:
    for query, (_, columns) in before.items():
        for name, old in columns.items():
            new = after[query][1].get(name, old)
            if new != old:
                yield f"{name}: {type_name(old)} to {type_name(new)}"


def type_name(oid: int) -> str:
    found = psycopg.adapters.types.get(oid)
    return found.name if found else str(oid)


def run_file(connection: psycopg.Connection, judged: Judged) -> str:
    """Run the file as the runner does, in one transaction or alone; its SQLSTATE if it fails."""
    statements: Sequence[str] = judged.sql.split(";\n")
    connection.execute(f"set statement_timeout = '{PATIENCE}s'".encode())
    try:
        if judged.alone:
            connection.execute(judged.sql.encode())
        else:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return ""


def watch(
    watcher: psycopg.Connection, file: psycopg.Connection, callers: list[Caller], stopped: Event
) -> None:
    """Mark the calls that wait for a lock of the file, or behind one that the file waits for."""
    by_pid = {caller.connection.info.backend_pid: caller for caller in callers}
    blocker = file.info.backend_pid
    while not stopped.wait(WATCH):
        began = time.perf_counter()
        for (pid,) in watcher.execute(WAITS, (list(by_pid), blocker)).fetchall():
            caller = by_pid[pid]
            # A call that began after the question is another one than the one that waits.
            if caller.began < began:
                caller.waited = True
