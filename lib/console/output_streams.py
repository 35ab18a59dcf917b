"""The output of a command: results go to standard output, diagnostics to standard error."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TextIO

from ..escaping import Clean, document, escaped, message, signed, table, unmasked
from ..plan.reports import Document
from .terminal import Style, columns_of, fit_quotes


@dataclass
class Console:
    """The two streams of a command, and whether a progress bar is still open on one of them."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]
    bar_is_open: bool = False
    bar_stays: bool = False

    @property
    def is_live(self) -> bool:
        """True if a line on standard error may be overwritten. A log would keep each of them."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb"

    @property
    def style(self) -> Style:
        """What standard output can show."""
        return Style.of(self.out, self.environ)

    @property
    def error_style(self) -> Style:
        """What standard error can show."""
        return Style.of(self.err, self.environ)

    def say(self, text: str, *, sign: str = "") -> None:
        """Print a result, behind `sign` if one is given."""
        self._print(signed(sign, text) if sign else message(text), self.out)

    def tell(self, text: str, *, sign: str = "") -> None:
        """Print a diagnostic, behind `sign` if one is given."""
        self._print(signed(sign, text) if sign else message(text), self.err)

    def show(self, text: Clean) -> None:
        """Print a result that `terminal` has composed."""
        self._print(text, self.out)

    def show_secret(self, text: str) -> None:
        """Print a result that is a secret, alone on its line, for whoever has asked for it."""
        self._print(unmasked(text), self.out)

    def show_file(self, text: str) -> None:
        """Print a text for a file: as it is, in UTF-8; on a terminal escaped.

        Raise OSError if it cannot be written: half of it would look like all of it.
        """
        if self.out.isatty() or not isinstance(self.out, TextIOWrapper):
            self._print(Clean(escaped(text).rstrip("\n")), self.out)
            return
        self.out.flush()
        self.out.buffer.write(text.encode())
        self.out.buffer.flush()

    def show_bar(self, bar: str, *, stays: bool = True) -> None:
        """Print a line on standard error that the next bar overwrites.

        Any other text ends it, or removes it unless it `stays`. It is cut to the terminal's width:
        of a line that wraps, a part would stay.
        """
        width = columns_of(self.err)
        line = Clean(table([bar])[: width - 1 if width else None])
        # Before the line is written: a signal that comes meanwhile has something to remove.
        self.bar_is_open, self.bar_stays = True, stays
        self._write(line, self.err, before="\r", end="\x1b[K")

    def print_json(self, content: Document) -> None:
        """Print a document as a result."""
        self._print(document(content, indent=2), self.out)

    def _print(self, text: Clean, stream: TextIO) -> None:
        if self.bar_is_open:
            self._write(Clean(""), self.err, end="\n" if self.bar_stays else "\r\x1b[K")
            self.bar_is_open = False
        self._write(text, stream)

    @staticmethod
    def _write(text: Clean, stream: TextIO, *, before: str = "", end: str = "\n") -> None:
        # In one piece, which a signal cannot cut: a stream by lines would write each at a "\r".
        whole = f"{before}{fit_quotes(text, columns_of(stream))}{end}"
        try:
            print(whole, file=stream, end="", flush=True)
        except OSError:
            # The reader of a pipe has gone, or the disk is full. Neither may stop a migration
            # half-way through its chain.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123  a device, not a path of ours
                os.dup2(nowhere.fileno(), stream.fileno())


def printable(stream: TextIO | None) -> TextIO:
    """Return a stream that prints any text; the null device if the caller has closed the stream."""
    if stream is None:
        # Open until the process ends.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream
