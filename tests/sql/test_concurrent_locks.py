"""What statements that can be in no transaction lock: as pg_locks shows it while they wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from conftest import Database, new_database, wait_until

from lib.sql.concurrent_locks import KnownLocks, known_locks
from lib.sql.statement import Statement

SCHEMA = """
create table users (id int primary key, age int);
create index users_age on users (age);
create table parts (n int not null) partition by range (n);
create table parts_low partition of parts for values from (0) to (10);
"""
CONCURRENT, EXCLUSIVE = "ShareUpdateExclusive", "AccessExclusive"


def known(sql: str) -> KnownLocks:
    return known_locks(Statement(sql, 0, len(sql), terminated=sql.endswith(";")))


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("create unique index concurrently if not exists i on only a.users (x);", ["a.users"]),
        ('drop index concurrently if exists "a b"."I";', ['"a b"."I"']),
        ("reindex (concurrently) index i", ["i"]),
        ("reindex table concurrently t", ["t"]),
        ("vacuum t", ["t"]),
        ("vacuum (analyze, verbose) a.t (x, y), u;", ["a.t", "u"]),
        ("VACUUM FREEZE VERBOSE t", ["t"]),
    ],
)
def test_the_names_are_read(sql: str, names: list[str]) -> None:
    assert known(sql).named == tuple((name, CONCURRENT) for name in names)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("vacuum", KnownLocks(every_table=CONCURRENT, scans=True)),
        ("vacuum full;", KnownLocks(every_table=EXCLUSIVE, scans=True, rewrites=True)),
        ("vacuum (full) t", KnownLocks((("t", EXCLUSIVE),), scans=True, rewrites=True)),
        ("vacuum (verbose) fulltext", KnownLocks((("fulltext", CONCURRENT),), scans=True)),
        ("reindex schema s", KnownLocks(every_table=EXCLUSIVE, scans=True, builds=True)),
        (
            "reindex schema concurrently s",
            KnownLocks(every_table=CONCURRENT, scans=True, builds=True),
        ),
        ("create database d", KnownLocks()),
        ("alter system set work_mem = 1", KnownLocks()),
    ],
)
def test_what_is_done_to_the_tables(sql: str, expected: KnownLocks) -> None:
    assert known(sql) == expected


@pytest.fixture(scope="module", params=["server", "tls_server"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database on the server of the tests, and one on Debian's."""
    server = request.getfixturevalue(request.param)
    target = server.target if request.param == "tls_server" else server
    with new_database(target) as created:
        created.query(SCHEMA)
        yield created


@contextmanager
def running(database: Database, sql: str) -> Iterator[int]:
    """Run the statement in a session of its own; give the PID of that session."""
    with database.connect() as session:

        def run() -> None:
            try:
                session.execute(sql)
            except psycopg.Error as error:
                failures.append(error)

        failures: list[psycopg.Error] = []
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield session.info.backend_pid
        finally:
            thread.join()
        assert failures == []


@pytest.mark.parametrize(
    ("sql", "relation"),
    [
        ("create index concurrently made on users (id, age)", "users"),
        ("reindex index concurrently users_age", "users"),
        ("reindex table concurrently users", "users"),
        ("vacuum users", "users"),
        ("vacuum (full) users", "users"),
        ("drop index concurrently made", "users"),
        ("alter table parts detach partition parts_low concurrently", "parts"),
    ],
)
def test_the_mode_is_the_one_that_the_server_waits_for(
    database: Database, sql: str, relation: str
) -> None:
    """Another session holds the mode itself, which conflicts with itself, for as long as needed."""
    if sql.startswith("drop"):
        database.query("create index if not exists made on users (id, age)")
    else:
        database.query("drop index if exists made")
    _, mode = known(sql).named[0]
    with database.connect() as holder:
        holder.execute(f"begin; lock table {relation} in share update exclusive mode")
        waited = (
            "select mode from pg_locks where not granted and pid = {pid}"
            f" and relation = '{relation}'::regclass"
        )
        with running(database, sql) as pid:
            query = waited.format(pid=pid)
            try:
                wait_until(lambda: database.query(query), sql, 30)
                assert database.query(query) == [(f"{mode}Lock",)]
            finally:
                holder.execute("rollback")


def test_a_partition_that_leaves_is_locked_as_a_whole_in_the_end(database: Database) -> None:
    database.query(
        "create table many (n int not null) partition by range (n);"
        "create table many_low partition of many for values from (0) to (10)"
    )
    sql = "alter table many detach partition many_low concurrently"
    assert known(sql).named == (("many", CONCURRENT), ("many_low", EXCLUSIVE))
    with database.connect() as holder:
        # Only the parent is waited for before the second transaction of the statement.
        holder.execute("begin; lock table many_low in access share mode")
        with running(database, sql) as pid:
            query = (
                f"select mode from pg_locks where not granted and pid = {pid}"
                " and relation = 'many_low'::regclass"
            )
            try:
                wait_until(lambda: database.query(query), sql, 30)
                assert database.query(query) == [(f"{EXCLUSIVE}Lock",)]
            finally:
                holder.execute("rollback")
