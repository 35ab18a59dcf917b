"""The words and names of a statement, read from left to right."""

import pytest

from lib.sql.statement_reader import Name, StatementReader


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Users", Name(None, "users")),
        ("public . Users x", Name("public", "users")),
        ("shop.public.users", Name("public", "users")),
        ('"Odd ""one"""."B"', Name('Odd "one"', "B")),
        ('U&"d\\0061t\\+000061\\\\"', Name(None, "data\\")),
        ("U&\"d!0061!!\" UESCAPE '!'", Name(None, "da!")),
        (r'U&"\D83D\DE00"', Name(None, "\U0001f600")),
        # The server refuses these.
        (r'U&"\D83D"', Name(None, "\ufffd")),
        (r'U&"\0000"', Name(None, r"\0000")),
        ("Ünder", Name(None, "Ünder")),
        ("'text'", None),
        ("1", None),
        ("", None),
        ("a.", None),
    ],
)
def test_a_name_is_read_as_the_server_folds_it(text: str, name: Name | None) -> None:
    assert StatementReader.of(text).name() == name


def test_a_name_is_shown_with_quotes_only_where_it_needs_them() -> None:
    assert str(Name("s", 'odd"one')) == 's."odd""one"'
    assert str(Name(None, "plain_1")) == "plain_1"


def test_a_list_is_cut_at_the_commas_outside_parentheses() -> None:
    reader = StatementReader.of("a (b, c), d[1, 2], 'e, f';")
    assert [part.text() for part in reader.parts()] == ["a (b, c)", "d[1, 2]", "'e, f'"]


def test_words_are_found_outside_parentheses_alone() -> None:
    reader = StatementReader.of("(select 1 from b) from c")
    assert reader.find("FROM")
    assert reader.name() == Name(None, "c")
    assert not reader.find("FROM")


def test_nothing_moves_where_the_words_are_not_next() -> None:
    reader = StatementReader.of("if exists t")
    assert not reader.take("IF", "NOT", "EXISTS")
    assert reader.take("IF", "EXISTS")
    assert reader.names() == (Name(None, "t"),)
    assert reader.is_at_end
