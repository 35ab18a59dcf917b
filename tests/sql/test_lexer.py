"""Tokens: the words of a statement, and its strings and comments."""

import pytest

from lib.sql.lexer import strings, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "create index /* x */ concurrently i on t (concurrently, f(x))",
            "CREATE INDEX CONCURRENTLY I ON T (",
        ),
        ("Comment On Table \"T\" is 'vacuum'", "COMMENT ON TABLE \" IS '"),
        (
            "begin isolation level read committed, read only",
            "BEGIN ISOLATION LEVEL READ COMMITTED , READ ONLY",
        ),
        ("select $$vacuum$$, E'x', 1.5e3, $1", "SELECT ' , ' , 1.5E3 , $1"),
        ("reindex (verbose) schema s", "REINDEX ( SCHEMA S"),
    ],
)
def test_the_words_are_those_outside_of_strings_comments_and_parentheses(
    text: str, words: str
) -> None:
    assert words_of(text) == tuple(words.split())


@pytest.mark.parametrize(
    ("sql", "is_code", "expected"),
    [
        ("select 'a', E'b\\'c', $$d$$ -- e", False, ["'a'", "E'b\\'c'", "$$d$$", "-- e"]),
        (
            "do $x$begin perform 'a' /* b */; perform $$c$$; end$x$",
            True,
            ["'a'", "/* b */", "$$c$$"],
        ),
        ("do $x$begin perform 'a'; end$x$", False, ["$x$begin perform 'a'; end$x$"]),
        ("select \"it's\", 'cut off", False, ["'cut off"]),
        ("do $$begin perform 'cut off; end$$", True, ["'cut off; end"]),
    ],
)
def test_the_strings_and_comments_of_a_statement_are_found(
    sql: str, is_code: bool, expected: list[str]
) -> None:
    assert [sql[start:end] for start, end in strings(sql, is_code=is_code)] == expected
    assert [(start + 7, end + 7) for start, end in strings(sql, is_code=is_code)] == list(
        strings(sql, 7, is_code=is_code)
    )
