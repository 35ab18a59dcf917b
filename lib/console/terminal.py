"""What a terminal can show, and the text of a run: colored, or plain, or in ASCII only."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from ..duration import in_words
from ..escaping import Clean, blocks, one_line, signed, table
from ..files.folder import MigrationFile
from ..plan.blockers import IndexProgress
from ..plan.migration_states import AppliedMigration
from ..plan.reports import RunReport

# Too little of a quoted line would tell nothing.
NARROWEST_QUOTE = 20
_QUOTE = re.compile(r"^( *[0-9]+ \| )(.*)\n( +\| )( *)\^", re.MULTILINE)
_COLORS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}


@dataclass(frozen=True)
class Style:
    """What a stream can show. `width` is in columns, None where lines may have any length."""

    color: bool = False
    unicode: bool = False
    width: int | None = None

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> "Style":
        """Detect color (see https://no-color.org) and whether the encoding has the signs."""
        # TERM=dumb is how editors and CI systems ask for text without escapes.
        color = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(
            color=color,
            # In Latin-1 or ASCII the signs would become question marks.
            unicode=(stream.encoding or "").lower().replace("-", "") == "utf8",
            width=columns_of(stream),
        )

    @property
    def tick(self) -> str:
        return self.paint("green", "✓" if self.unicode else "[x]")

    @property
    def cross(self) -> str:
        return self.paint("red", "✗" if self.unicode else "[!]")

    @property
    def dot(self) -> str:
        return self.paint("yellow", "•" if self.unicode else "*")

    def cut(self, line: str) -> str:
        """Return a line without color as far as the terminal shows it without a break."""
        fits = self.width is None or len(line) <= self.width
        return line if fits else f"{line[: (self.width or 0) - 1]}…"

    def paint(self, color: str, text: str) -> str:
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.color else text


def columns_of(stream: TextIO) -> int | None:
    """Return the width of a terminal; None if the stream is none, or does not know its width."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def fit_quotes(text: Clean, width: int | None) -> Clean:
    """Cut the quoted lines of an error to a terminal, around the caret that stands below.

    The terminal would break a long line, and the caret would point at nothing.
    """

    def fit(quote: re.Match[str]) -> str:
        gutter, line, below, blanks = quote.groups()
        room, caret = (width or 0) - len(gutter), len(blanks)
        length = max(len(line), caret + 1)
        if length <= room or room < NARROWEST_QUOTE:
            return quote[0]
        start = max(0, min(caret - room // 2, length - room))
        shown = line[start : start + room]
        if start:
            shown = f"…{shown[1:]}"
        if start + room < len(line):
            shown = f"{shown[:-1]}…"
        return f"{gutter}{shown}\n{below}{' ' * (caret - start)}^"

    return Clean(_QUOTE.sub(fit, text)) if width else text


def progress_bar(index: IndexProgress, style: Style, *, width: int = 24) -> str:
    """Draw how far a phase of an index build is, as in `[######------------------]  25%`."""
    full, empty = ("█", "░") if style.unicode else ("#", "-")
    filled = width * index.percent // 100
    return f"[{full * filled}{empty * (width - filled)}] {index.percent:3d}%"


def route_text(*, is_direct: bool) -> str:
    """Describe how a connection reaches the server."""
    return "direct" if is_direct else "through a pooler or a proxy"


def run_text(report: RunReport, style: Style) -> Clean:
    """Compose the last lines of a run that succeeded."""
    end = signed(style.tick, _what_was_applied(report))
    if not report.up_to:
        return end
    return blocks(end, table([f"  Still pending: {count_and_span(report.beyond)}."]))


def _what_was_applied(report: RunReport) -> str:
    where = one_line(f"{report.database} ({report.environment})")
    up_to = f", up to {report.up_to}" if report.up_to else ""
    # Files without a statement stay pending on a laptop, where somebody may be writing them.
    held = (report.pending or 0) - len(report.beyond)
    if not report.applied:
        but = f" but for {counted(held, 'file')} without a statement" if held else ""
        return f"Nothing to apply: {where} is up to date{up_to}{but}."
    count = len(report.applied)
    total = in_words(sum(migration.execution_time_ms for migration in report.applied) / 1000)
    return f"Applied {counted(count, 'migration')} to {where} in {total}{up_to}."


def count_and_span(files: Sequence[MigrationFile]) -> str:
    """Return how many files there are, and the first and the last of them."""
    return f"{len(files)}, {span(files)}" if files else "none"


def span(files: Sequence[MigrationFile | AppliedMigration]) -> str:
    """Return the first and the last version: a line for each of a thousand would hide the rest."""
    first, last = files[0].version, files[-1].version
    return first if first == last else f"{first} to {last}"


def moment_text(moment: datetime | None) -> str:
    """Write a time in UTC."""
    return (
        "at an unknown time"
        if moment is None
        else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def counted(count: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless the number is 1."""
    return f"{count} {noun}{'s' * (count != 1)}"
