"""A signal raises at once, except inside libpq; then it raises right after the call."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT

from lib import signals
from lib.errors import Interrupted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the handlers of this process back."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_raises_once_and_later_ones_do_nothing(signum: int, code: int) -> None:
    signals.interrupt_on_signals()
    with pytest.raises(Interrupted, match="Interrupted by SIG") as raised:
        signal.raise_signal(signum)
    signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == code


def test_a_hangup_that_the_caller_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signals.interrupting_signals() == (signal.SIGINT, signal.SIGTERM)


def test_a_call_into_libpq_is_finished_before_the_signal_raises() -> None:
    signals.interrupt_on_signals()
    done = []

    def call() -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append(True)

    with pytest.raises(Interrupted, match="SIGTERM"):
        signals.uninterrupted(call)
    assert done == [True]
    assert signals.uninterrupted(lambda: "next") == "next"


def test_before_anything_has_begun_a_signal_ends_the_process() -> None:
    code = (
        "import signal; from lib import signals; signals.exit_on_signals();"
        "signal.raise_signal(signal.SIGTERM)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 143
