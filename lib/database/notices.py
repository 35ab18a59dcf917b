"""The server's notices, kept until the runner is outside libpq, and then passed on."""

from collections import deque
from collections.abc import Callable

from psycopg.errors import Diagnostic

Listener = Callable[[str, str], None]


class Notices:
    """Notices of one connection. The listener gets each one's severity and its text."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._waiting: deque[tuple[str, str]] = deque()

    def receive(self, diagnostic: Diagnostic) -> None:
        """Keep a notice. libpq calls this back, and would swallow what a listener raises."""
        more = (("Detail", diagnostic.message_detail), ("Hint", diagnostic.message_hint))
        lines = [
            diagnostic.message_primary or "",
            *(f"  {name}: {text}" for name, text in more if text),
        ]
        # The severity and words may be in the language of the server (lc_messages).
        self._waiting.append((diagnostic.severity or "", "\n".join(lines)))

    def pass_on(self) -> None:
        """Give the listener what has come in since the last time."""
        while self._waiting:
            # Taken off first, so that a listener that raises does not get the same notice again.
            notice = self._waiting.popleft()
            if self._listener:
                self._listener(*notice)
