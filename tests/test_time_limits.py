"""The limits fit into one another, as the page of `lib.limits` says that they do."""

import ast
import re

import pytest
from conftest import ROOT
from sources import syntax

from lib import time_limits
from lib.time_limits import RunLimits

DEFAULTS = RunLimits()
LIB = ROOT / "lib"
MODULES = [path for path in sorted(LIB.rglob("*.py")) if path != LIB / "time_limits.py"]


def seconds_in(code: ast.Module) -> list[str]:
    """The numbers of seconds in a module: in a constant of its own, a sleep, or a timeout."""
    found = [
        ast.unparse(statement)
        for statement in code.body
        if isinstance(statement, ast.Assign) and not isinstance(statement.value, ast.Dict)
        for part in ast.walk(statement.value)
        if isinstance(part, ast.Constant) and isinstance(part.value, float)
    ]
    for node in ast.walk(code):
        if isinstance(node, ast.Call):
            is_sleep = ast.unparse(node.func) == "time.sleep"
            values = [*(node.args if is_sleep else ())]
            values += [word.value for word in node.keywords if word.arg == "timeout"]
            # A timeout of 0 is no limit to choose: it says not to wait.
            if any(isinstance(value, ast.Constant) and value.value for value in values):
                found.append(ast.unparse(node))
    return found


def test_every_limit_on_time_stands_on_the_page_of_limits() -> None:
    found = [(path, seconds) for path in MODULES if (seconds := seconds_in(syntax(path)))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "WAIT = 3.0",
        "PAUSE = (4, 6.0)",
        "time.sleep(0.5)",
        "connect(timeout=2)",
        "lock.acquire(timeout=1.0)",
    ],
)
def test_a_limit_elsewhere_would_be_found(code: str) -> None:
    assert seconds_in(ast.parse(code)) == [code]


def test_the_clean_up_of_a_function_fits_into_its_margin() -> None:
    stop_and_roll_back, look_it_up = 2 * time_limits.CANCEL, time_limits.CANCEL
    needed = stop_and_roll_back + look_it_up + time_limits.RECORD
    assert needed <= time_limits.MARGIN * time_limits.CLEANUP_SHARE < time_limits.MARGIN


def test_the_page_gives_the_moments_that_follow_from_the_limits() -> None:
    deadline = time_limits.DEFAULT_MAX_DURATION - time_limits.MARGIN
    hard_end = deadline + time_limits.MARGIN * time_limits.CLEANUP_SHARE
    moments = re.findall(r"^    (\d+)  ", time_limits.__doc__ or "", re.MULTILINE)
    assert moments == [
        f"{moment:g}" for moment in (0, deadline, hard_end, time_limits.DEFAULT_MAX_DURATION)
    ]


def test_a_heartbeat_that_is_late_still_keeps_the_run_lock() -> None:
    assert 2 * DEFAULTS.heartbeat + DEFAULTS.heartbeat_answer < DEFAULTS.lock_idle


def test_a_command_that_only_reads_ends_within_45_seconds() -> None:
    assert time_limits.CONNECT + time_limits.SURVEY + time_limits.LOCKERS <= 45


def test_a_statement_is_looked_at_before_its_lock_timeout_ends_it() -> None:
    assert DEFAULTS.first_look_share < 1
    assert DEFAULTS.shortest_slice < time_limits.SLICE <= DEFAULTS.first_look


def test_the_server_ends_what_a_frozen_client_holds_after_the_client_would_have() -> None:
    assert time_limits.GRACE > time_limits.CANCEL
