"""A deadline is clipped, never lengthened, on its way down; clean-up ends at the hard end."""

import time

import pytest

from lib.deadline import Deadline


def test_no_deadline_never_passes_and_clips_to_whatever_is_asked() -> None:
    none = Deadline.none()
    assert not none.has_passed()
    assert not none.is_limited
    assert none.remaining() == none.remaining_for_cleanup() == float("inf")
    assert 4 < none.clip(5).remaining() <= 5


def test_a_deadline_passes_at_its_moment() -> None:
    deadline = Deadline.after(0.05)
    assert deadline.is_limited
    assert not deadline.has_passed()
    time.sleep(deadline.remaining())
    assert deadline.has_passed()
    assert deadline.remaining() == 0


@pytest.mark.parametrize(("seconds", "expected"), [(1, 1), (60, 10)])
def test_clipping_gives_the_earlier_of_both(seconds: float, expected: float) -> None:
    clipped = Deadline.after(10, cleanup=3).clip(seconds)
    assert expected - 0.5 < clipped.remaining() <= expected
    assert 12 < clipped.remaining_for_cleanup() <= 13


def test_clean_up_goes_on_past_the_deadline() -> None:
    cleanup = Deadline.after(-1, cleanup=5).for_cleanup(2)
    assert 1.5 < cleanup.remaining() <= 2


def test_clean_up_never_goes_past_the_hard_end() -> None:
    cleanup = Deadline.after(-1, cleanup=3).for_cleanup(60)
    assert 1.5 < cleanup.remaining() <= 2
    assert Deadline.after(-5, cleanup=3).for_cleanup(60).has_passed()


def test_the_last_clean_up_has_no_clean_up_of_its_own() -> None:
    last = Deadline.after(10).for_cleanup(1, is_last=True)
    assert last.for_cleanup(60).remaining() <= 1
    assert Deadline.after(10).for_cleanup(1).for_cleanup(60).remaining() > 50


def test_a_deadline_is_a_value() -> None:
    deadline = Deadline.after(1)
    assert deadline == Deadline(deadline.at, deadline.hard_at)
    with pytest.raises(AttributeError, match="cannot assign"):
        deadline.at = 0.0  # type: ignore[misc]
