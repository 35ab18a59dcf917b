"""The words of one statement, and what messages show of it."""

import pytest

from lib.sql.statement import Statement


def statement_of(sql: str) -> Statement:
    return Statement(sql, 0, len(sql), terminated=False)


@pytest.mark.parametrize(
    ("sql", "head"),
    [
        ("insert into t\n  values ('a'), (2)", "insert into t values ('a'), (2)"),
        ("create role app password 'hunter2'", "create role app password '…'"),
        ("create role app password hunter2", "create role app password …"),
        (
            f"select 'hunter2', {'1, ' * 300} crypt('a', 'b')",
            "select '…', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,…",
        ),
        (f"select crypt('hunter2{'x' * 500}', 'b')", "select crypt(…"),
        (
            "alter database app set app.jwt_secret = $$hunter2$$",
            "alter database app set app.jwt_secret = '…'",
        ),
        (
            "create server s foreign data wrapper w options (host 'h')",
            "create server s foreign data wrapper w options (host '…')",
        ),
    ],
)
def test_its_head_shows_no_string_of_a_statement_that_may_hold_a_secret(
    sql: str, head: str
) -> None:
    assert statement_of(sql).head == head
