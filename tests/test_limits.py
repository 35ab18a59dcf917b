"""The limits fit into one another, as the page of `lib.limits` says that they do."""

import re

from lib import limits
from lib.limits import RunLimits

DEFAULTS = RunLimits()


def test_the_clean_up_of_a_function_fits_into_its_margin() -> None:
    stop_and_roll_back, look_it_up = 2 * limits.CANCEL, limits.CANCEL
    needed = stop_and_roll_back + look_it_up + limits.RECORD
    assert needed <= limits.MARGIN * limits.CLEANUP_SHARE < limits.MARGIN


def test_the_page_gives_the_moments_that_follow_from_the_limits() -> None:
    deadline = limits.DEFAULT_MAX_DURATION - limits.MARGIN
    hard_end = deadline + limits.MARGIN * limits.CLEANUP_SHARE
    moments = re.findall(r"^    (\d+)  ", limits.__doc__ or "", re.MULTILINE)
    assert moments == [
        f"{moment:g}" for moment in (0, deadline, hard_end, limits.DEFAULT_MAX_DURATION)
    ]


def test_a_heartbeat_that_is_late_still_keeps_the_run_lock() -> None:
    assert 2 * DEFAULTS.heartbeat + DEFAULTS.heartbeat_answer < DEFAULTS.lock_idle


def test_a_command_that_only_reads_ends_within_45_seconds() -> None:
    assert limits.CONNECT + limits.SURVEY + limits.LOCKERS <= 45


def test_a_statement_is_looked_at_before_its_lock_timeout_ends_it() -> None:
    assert DEFAULTS.first_look_share < 1
    assert DEFAULTS.shortest_slice < limits.SLICE <= DEFAULTS.first_look


def test_the_server_ends_what_a_frozen_client_holds_after_the_client_would_have() -> None:
    assert limits.GRACE > limits.CANCEL
