"""A terminal of a chosen width, and what is shown on it."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass
class Terminal:
    """A pseudo-terminal: what is written to `stream` is read by `shown`."""

    controller: int
    stream: TextIO

    def shown(self, *, until: str = "", seconds: float = 60) -> str:
        text = b""
        while select.select([self.controller], [], [], seconds if until else 0)[0]:
            try:
                read = os.read(self.controller, 65536)
            except OSError:  # Linux: every other end is closed
                break
            text += read
            if not read or (until and re.search(until, text.decode())):
                break
        return text.decode().replace("\r\n", "\n")


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    controller, device = pty.openpty()
    fcntl.ioctl(device, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with os.fdopen(device, "w") as stream:
            yield Terminal(controller, stream)
    finally:
        os.close(controller)
