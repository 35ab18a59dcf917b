"""Whether a statement begins or ends a transaction, or refuses one."""

import pytest

from lib.sql.statement import Statement
from lib.sql.transaction_control import (
    begin_options,
    begins_block,
    chains,
    commits,
    ends_block,
    may_commit_inside,
    refuses_transaction,
)


def statement_of(sql: str) -> Statement:
    return Statement(sql, 0, len(sql), terminated=False)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("call p()", True),
        ("do $$begin commit; end$$", True),
        ("do $$begin perform 1; end$$", False),
        ("insert into t values ('commit')", False),
    ],
)
def test_a_call_and_a_block_with_commit_may_commit_a_part(sql: str, expected: bool) -> None:
    assert may_commit_inside(statement_of(sql)) is expected


@pytest.mark.parametrize(
    ("sql", "options"),
    [
        ("begin", ""),
        ("begin work", ""),
        (
            "BEGIN TRANSACTION isolation level serializable, read only",
            "ISOLATION LEVEL SERIALIZABLE , READ ONLY",
        ),
        ("start transaction read write", "READ WRITE"),
    ],
)
def test_a_block_begins_with_its_options(sql: str, options: str) -> None:
    assert begins_block(statement_of(sql))
    assert begin_options(statement_of(sql)) == options


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("commit", (True, True, False)),
        ("end", (True, True, False)),
        ("commit and chain", (True, False, True)),
        ("commit prepared 'x'", (True, False, False)),
        ("prepare transaction 'x'", (True, False, False)),
        ("prepare p as select 1", (False, False, False)),
        ("abort", (True, False, False)),
        ("rollback", (True, False, False)),
        ("rollback and chain", (True, False, True)),
        ("rollback to savepoint a", (False, False, False)),
        ("savepoint a", (False, False, False)),
    ],
)
def test_a_block_ends_in_one_of_several_ways(sql: str, expected: tuple[bool, bool, bool]) -> None:
    statement = statement_of(sql)
    assert (ends_block(statement), commits(statement), chains(statement)) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create database app", True),
        ("alter database app set tablespace fast", True),
        ("alter database app set search_path = app", False),
        ("reindex database app", True),
        ("reindex table t", False),
        ("cluster verbose", True),
        ("cluster t", False),
        ("create subscription s connection 'x' publication p", True),
        ("create subscription s connection 'x' publication p with (create_slot = false)", False),
        ("alter subscription s refresh publication", True),
        ("alter subscription s disable", False),
        ("create index concurrently i on t (x)", True),
        ("create index i on t (x)", False),
        ("discard all", True),
        ("discard temp", False),
        ("vacuum t", True),
    ],
)
def test_some_statements_refuse_a_transaction(sql: str, expected: bool) -> None:
    assert refuses_transaction(statement_of(sql)) is expected
