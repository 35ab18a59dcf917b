"""What is wrong with a pattern for objects; tests/catalog/ has what a right one covers."""

import pytest

from lib.object_patterns import parse_patterns


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no pattern"),
        (" , ", "no pattern"),
        (
            "tabel:public.a",
            "an unknown kind before a colon; the kinds are schema, extension, table",
        ),
        ("table:", "nothing behind the colon"),
        ('public."a', "not closed"),
        ("public.f(integer", "not closed"),
        ("public.f(integer))", "not closed"),
    ],
)
def test_a_pattern_that_means_nothing_is_an_error(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_patterns(text)


def test_an_error_does_not_repeat_what_may_be_a_secret() -> None:
    with pytest.raises(ValueError, match="kind") as caught:
        parse_patterns("postgres://user:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
