"""One statement: what its words tell of how it has to run, and of what it leaves behind."""

import pytest

from lib.files.folder import parse
from lib.files.script import prepare
from lib.sql.statement import Statement


def statement_of(sql: str) -> Statement:
    return prepare(parse("001-x.sql", f"-- Transaction: none\n{sql}".encode())).statements[0]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("set search_path = app", True),
        ("set local search_path = app", False),
        ("select set_config('a.b', 'c', false)", True),
        ("select pg_catalog.set_config('a.b', 'c', false) as x", True),
        ("select set_config('a.b', 'c', false), f()", False),
        ("reset all", True),
        ("insert into t values (1)", False),
    ],
)
def test_what_changes_nothing_but_its_session(sql: str, expected: bool) -> None:
    assert statement_of(sql).sets_session is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create temporary table x (y int)", True),
        ("create unlogged table x (y int)", False),
        ("prepare p as select 1", True),
        ("prepare transaction 'x'", False),
        ("select pg_advisory_lock(1)", True),
        ("select set_config('a.b', 'c', false), f()", True),
        ("set search_path = app", False),
    ],
)
def test_what_only_its_session_has(sql: str, expected: bool) -> None:
    assert statement_of(sql).leaves_session_state is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("call p()", True),
        ("do $$begin commit; end$$", True),
        ("do $$begin perform 1; end$$", False),
        ("insert into t values ('commit')", False),
    ],
)
def test_what_may_have_committed_a_part_when_it_fails(sql: str, expected: bool) -> None:
    assert statement_of(sql).may_commit is expected


@pytest.mark.parametrize(
    ("sql", "expected"), [("vacuum t", True), ("vacuum full t", False), ("vacuum (full) t", False)]
)
def test_what_waits_without_a_lock_timeout(sql: str, expected: bool) -> None:
    assert statement_of(sql).waits_without_lock_timeout is expected


@pytest.mark.parametrize(
    ("sql", "may"),
    [
        ("create table a (x int)", False),
        ("create index i on a (x); drop table b; comment on table a is 'x'", False),
        ("set search_path = x", True),
        ("SELECT set_config('search_path', '', false)", True),
        ("create temp table t (x int)", True),
        ("do $$ begin perform 1; end $$", True),
        ("select pg_advisory_lock(1)", True),
        ("listen x", True),
        ("alter table a alter x set not null", False),
        ("alter table a add y int default f()", True),
        ("create table a as select f()", True),
        (
            "create table a (x int) partition by list (x); create table b partition of a for values in (1)",
            True,
        ),
        ("create table pg_temp.a (x int)", True),
        ("create index i on a (f(x))", True),
        ("create or replace function f() returns int language sql as 'select 1'", False),
        ("create extension citext", True),
        ("grant select on a to b; revoke select on a from b", False),
        ("insert into a values (1)", True),
        ("(select set_config('a.b', 'c', false))", True),
        ("refresh materialized view a", True),
    ],
)
def test_in_doubt_it_may_set_something(sql: str, may: bool) -> None:
    assert (
        all(each.sets_nothing for each in prepare(parse("001-x.sql", sql.encode())).statements)
        is not may
    )


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
