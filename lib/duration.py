"""Durations in variables and headers: `500ms`, `2s`, `10min`, or a number of seconds."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|)", re.IGNORECASE | re.ASCII)

# In seconds. The timeouts of PostgreSQL are an int of milliseconds.
LONGEST = 2_147_483


def parse_duration(text: str) -> float:
    """Return seconds; ValueError if `text` is not a duration, or is longer than PostgreSQL allows.

    The error does not repeat `text`, which may be a secret in the wrong variable.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a duration; write 500ms, 2s, 10min or a number of seconds")
    # A number without a unit is in seconds, where PostgreSQL would read milliseconds.
    seconds = float(match[1]) * _UNITS[match[2].lower()]
    if seconds > LONGEST:
        raise ValueError("longer than PostgreSQL allows, which is 24 days")
    return seconds


def milliseconds(seconds: float) -> int:
    """Round to whole milliseconds.

    A small duration is at least 1, because PostgreSQL reads 0 as "no limit".
    """
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def in_words(seconds: float) -> str:
    """Write a duration, to the millisecond, in a form that `parse_duration` reads."""
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:g}min"
    if seconds >= 1 or seconds == 0:
        return f"{round(seconds, 3):.10g}s"
    return f"{milliseconds(seconds)}ms"
