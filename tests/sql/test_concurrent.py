"""What a statement with CONCURRENTLY works on, read from its text."""

import pytest

from lib.sql.concurrent import Subject, Work, subject_of


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create index concurrently i on t (x)", Subject(Work.CREATE, "i", "t")),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY app.t (x);",
            Subject(Work.CREATE, "i", "app.t", True),
        ),
        (
            'create index concurrently "My ""Index""" on "App" . "T" (x)',
            Subject(Work.CREATE, '"My ""Index"""', '"App"."T"'),
        ),
        ("create index concurrently on t using gin (x)", Subject(Work.CREATE, None, "t")),
        ("create /* a */ index -- b\n concurrently\ni on t(x)", Subject(Work.CREATE, "i", "t")),
        ("drop index concurrently if exists app.i, j", Subject(Work.DROP, "app.i")),
        ("drop index concurrently i cascade", Subject(Work.DROP, "i")),
        ("reindex index concurrently i", Subject(Work.REINDEX, index="i")),
        ("reindex (verbose, concurrently) table app.t", Subject(Work.REINDEX, table="app.t")),
        ("reindex (tablespace fast) table concurrently t", Subject(Work.REINDEX, table="t")),
        (
            "alter table if exists only p detach partition app.q concurrently",
            Subject(Work.DETACH, "app.q", "p"),
        ),
    ],
)
def test_the_names_are_those_of_the_statement(sql: str, expected: Subject) -> None:
    assert subject_of(sql) == expected


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
def test_of_any_other_statement_nothing_is_said(sql: str) -> None:
    assert subject_of(sql) is None


@pytest.mark.parametrize(
    ("written", "name"), [("Users_Idx", "users_idx"), ('"Users ""Idx"', 'Users "Idx')]
)
def test_an_index_has_the_name_that_the_catalog_gives_it(written: str, name: str) -> None:
    assert Subject(Work.CREATE, written, "t").index_name == name
