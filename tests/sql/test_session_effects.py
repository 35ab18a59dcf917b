"""What a statement leaves behind in its session."""

import pytest

from lib.sql.session_effects import (
    is_repeatable,
    leaves_session_state,
    may_change_session,
    sets_session,
)
from lib.sql.statement import Statement


def statement_of(sql: str) -> Statement:
    return Statement(sql, 0, len(sql), terminated=False)


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
def test_some_statements_change_only_their_session(sql: str, expected: bool) -> None:
    assert sets_session(statement_of(sql)) is expected


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
def test_some_statements_make_what_only_their_session_has(sql: str, expected: bool) -> None:
    assert leaves_session_state(statement_of(sql)) is expected


@pytest.mark.parametrize(
    ("sql", "may"),
    [
        ("create table a (x int)", False),
        ("create index i on a (x)", False),
        ("drop table b", False),
        ("comment on table a is 'x'", False),
        ("set search_path = x", True),
        ("SELECT set_config('search_path', '', false)", True),
        ("create temp table t (x int)", True),
        ("do $$ begin perform 1; end $$", True),
        ("select pg_advisory_lock(1)", True),
        ("listen x", True),
        ("alter table a alter x set not null", False),
        ("alter table a add column if not exists y text not null", False),
        ("alter table a add y int, add column z some_domain", True),
        ("alter table a add y app.some_domain", True),
        ("alter table a " + ", ".join(f"add y{n} int" for n in range(50)), True),
        ("alter table a add y int default f()", True),
        ("create table a as select f()", True),
        ("create table b partition of a for values in (1)", True),
        ("create table pg_temp.a (x int)", True),
        ("create index i on a (f(x))", True),
        ("create or replace function f() returns int language sql as 'select 1'", False),
        ("create extension citext", True),
        ("grant select on a to b", False),
        ("revoke select on a from b", False),
        ("insert into a values (1)", True),
        ("(select set_config('a.b', 'c', false))", True),
        ("refresh materialized view a", True),
    ],
)
def test_a_statement_may_change_its_session_unless_it_is_known_not_to(sql: str, may: bool) -> None:
    assert may_change_session(statement_of(sql)) is may


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create table if not exists t (x int)", True),
        ("create unique index concurrently if not exists i on t (x)", True),
        ("drop foreign data wrapper if exists w", True),
        ("create or replace view v as select 1", True),
        ("vacuum t", True),
        ("set search_path = app", True),
        ("create table t (x int)", False),
        ("drop table t", False),
        ("insert into t values (1)", False),
    ],
)
def test_some_statements_change_nothing_when_repeated(sql: str, expected: bool) -> None:
    assert is_repeatable(statement_of(sql)) is expected
