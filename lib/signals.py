"""The signals that end a process in order: which they are, and when they may raise."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import Interrupted

T = TypeVar("T")


def interrupting_signals() -> tuple[signal.Signals, ...]:
    """Return those that end a run; SIGHUP too, unless the caller ignores it, as nohup does."""
    # Windows has no SIGHUP.
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hangup)


def exit_on_signals() -> None:
    """Let each of them end the process at once: there is nothing to clean up yet."""
    for each in interrupting_signals():
        # 128 plus the number is the exit code that a shell gives for a signal.
        signal.signal(each, lambda signum, _: sys.exit(128 + signum))


def interrupt_on_signals() -> None:
    """Let the first of them raise Interrupted; while that is handled, more of them do nothing."""
    caught = interrupting_signals()

    def interrupt(signum: int, _frame: object) -> None:
        for each in caught:
            # A second Ctrl-C must not cut off the rollback that the first one has begun.
            signal.signal(each, signal.SIG_IGN)
        interrupted = Interrupted(signum)
        if not defer(interrupted):
            raise interrupted

    for each in caught:
        signal.signal(each, interrupt)


# By thread: Python runs handlers of signals in the main thread, while others use libpq, too.
class _Pending(threading.local):
    """Whether this thread is inside a call that no signal may cut, and the error that waits."""

    is_inside = False
    error: BaseException | None = None


_pending = _Pending()


def defer(error: BaseException) -> bool:
    """Keep an error for the end of `uninterrupted`; False if it may be raised at once."""
    if _pending.is_inside:
        _pending.error = error
    return _pending.is_inside


def uninterrupted(call: Callable[[], T]) -> T:
    """Make a call that is not to be cut, and raise what a signal wanted to raise after it.

    During a call of libpq, the server's notices call back into Python, where what a handler
    raises is swallowed.
    """
    _pending.is_inside = True
    try:
        result = call()
    finally:
        _pending.is_inside = False
    if _pending.error is not None:
        error, _pending.error = _pending.error, None
        raise error
    return result
