"""Durations: what people write is read, the rest is refused, and what is printed is read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.duration import LONGEST, in_words, milliseconds, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("10min", 600),
        ("1h", 3600),
        ("30", 30),
        ("0", 0),
        ("0s", 0),
        ("0.5", 0.5),
        ("1.5s", 1.5),
        ("2 s", 2),
        ("  2s\t", 2),
        ("2S", 2),
        ("500MS", 0.5),
        ("10Min", 600),
        ("007", 7),
        (str(LONGEST), LONGEST),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "ms",
        "-1s",
        "+1s",
        "1m",
        "1d",
        ".5s",
        "1.",
        "1,5s",
        "1e3",
        "0x10",
        "soon",
        "nan",
        "inf",
        "1 minute",
        "1s 2s",
        "٣s",
        "2ſ",
        "1s\n2s",
    ],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"not a duration; write 500ms, 2s, 10min or a number of seconds"
    ):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", [str(LONGEST + 1), "25000h", "9" * 400, "9" * 400 + "min"], ids=lambda text: text[:9]
)
def test_a_duration_longer_than_postgres_can_be_told_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than PostgreSQL allows"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["hunter2-sentinel", "99999999s", "hunter2 10s"])
def test_the_error_does_not_repeat_the_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 500ms|longer than") as raised:
        parse_duration(text)
    assert text not in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, 0),
        (2, 2000),
        (0.5, 500),
        (0.0001, 1),
        (0.0014, 1),
        (0.0016, 2),
        (LONGEST, 2_147_483_000),
    ],
)
def test_milliseconds_never_round_a_small_duration_to_no_limit(
    seconds: float, expected: int
) -> None:
    assert milliseconds(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.5, "500ms"),
        (1, "1s"),
        (1.25, "1.25s"),
        (59.9, "59.9s"),
        (60, "1min"),
        (90, "90s"),
        (600, "10min"),
        (5400, "90min"),
        (123_456.789, "123456.789s"),
        (1_234_567, "1234567s"),
        (LONGEST, "2147483s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_keeps_it_whole(
    seconds: float, words: str
) -> None:
    assert in_words(seconds) == words


@given(st.floats(min_value=0.001, max_value=LONGEST))
def test_what_is_written_reads_as_the_same_duration_to_the_millisecond(seconds: float) -> None:
    assert parse_duration(in_words(seconds)) == pytest.approx(seconds, abs=0.0005001)
