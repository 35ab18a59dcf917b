"""Reading the operation of a statement with CONCURRENTLY from its text."""

import pytest

from lib.sql.concurrent import (
    ConcurrentOperation,
    OperationKind,
    parse_concurrent,
    waits_without_lock_timeout,
)
from lib.sql.statement import Statement


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "create index concurrently i on t (x)",
            ConcurrentOperation(OperationKind.CREATE, "i", "t"),
        ),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY app.t (x);",
            ConcurrentOperation(OperationKind.CREATE, "i", "app.t", True),
        ),
        (
            'create index concurrently "My ""Index""" on "App" . "T" (x)',
            ConcurrentOperation(OperationKind.CREATE, '"My ""Index"""', '"App"."T"'),
        ),
        (
            "create index concurrently on t using gin (x)",
            ConcurrentOperation(OperationKind.CREATE, None, "t"),
        ),
        (
            "create /* a */ index -- b\n concurrently\ni on t(x)",
            ConcurrentOperation(OperationKind.CREATE, "i", "t"),
        ),
        (
            "drop index concurrently if exists app.i, j",
            ConcurrentOperation(OperationKind.DROP, "app.i"),
        ),
        ("drop index concurrently i cascade", ConcurrentOperation(OperationKind.DROP, "i")),
        ("reindex index concurrently i", ConcurrentOperation(OperationKind.REINDEX, relation="i")),
        (
            "reindex (verbose, concurrently) table app.t",
            ConcurrentOperation(OperationKind.REINDEX, table="app.t"),
        ),
        (
            "reindex (tablespace fast) table concurrently t",
            ConcurrentOperation(OperationKind.REINDEX, table="t"),
        ),
        (
            "alter table if exists only p detach partition app.q concurrently",
            ConcurrentOperation(OperationKind.DETACH, "app.q", "p"),
        ),
    ],
)
def test_the_operation_has_the_names_of_the_statement(
    sql: str, expected: ConcurrentOperation
) -> None:
    assert parse_concurrent(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "create index i on t (x)",
        "create table concurrently (x int)",
        "drop index i",
        "reindex schema concurrently app",
        "reindex table t",
        "alter table p detach partition q",
        "alter table p detach partition q finalize",
        'create index concurrently U&"\\0061" on t (x)',
        "create index concurrently",
        "vacuum t",
        "",
    ],
)
def test_any_other_statement_has_no_concurrent_operation(sql: str) -> None:
    assert parse_concurrent(sql) is None


@pytest.mark.parametrize(
    ("written", "name"), [("Users_Idx", "users_idx"), ('"Users ""Idx"', 'Users "Idx')]
)
def test_the_relation_name_is_spelled_as_in_the_catalog(written: str, name: str) -> None:
    assert ConcurrentOperation(OperationKind.CREATE, written, "t").relation_name == name


@pytest.mark.parametrize(
    ("sql", "expected"), [("vacuum t", True), ("vacuum full t", False), ("vacuum (full) t", False)]
)
def test_what_waits_without_a_lock_timeout(sql: str, expected: bool) -> None:
    assert waits_without_lock_timeout(Statement(sql, 0, len(sql), terminated=False)) is expected
