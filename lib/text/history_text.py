"""The runs on record as text for people, on a terminal of 60 columns."""

import re
import textwrap
from collections.abc import Iterator

from ..console.terminal import Style, counted, moment_text
from ..duration import in_words
from ..escaping import PREFIX, Clean, blocks, message, one_line, table
from ..masking import without_credentials
from ..plan.reports import History, PastRun, Run

WIDTH = 60
_NONE = "No run is on record in {where}: none has had anything to apply there."
# A file outside a transaction, in a journal of an earlier version: the marks are for the runner.
_MARKS = re.compile(r";? ?(?:Statements before it|with it): \d+, sha256 [0-9a-f]{64}\.?")


def history_text(history: History, style: Style) -> Clean:
    """Compose a block of lines for each run, the newest first."""
    where = f"{history.database} ({history.environment})"
    if not history.runs:
        return message(_NONE.format(where=where))
    title = style.paint("bold", one_line(f"Runs on record in {where}, the newest first:"))
    parts = [[title], *([*_lines(run, style)] for run in history.runs)]
    return blocks(*(table(part, color=style.color) for part in parts), between="\n\n")


def _lines(run: PastRun, style: Style) -> Iterator[str]:
    yield f"{_sign(run, style)} {moment_text(run.started_at)}  {one_line(_end(run))}"
    by = ", ".join(filter(None, (run.source, run.environment, commit_text(run.commit, run.ref))))
    yield f"  run {run.id}, {one_line(by)}"
    yield f"  applied {_names(run)}"
    if run.in_progress_version:
        yield f"  stopped in {one_line(run.in_progress_version)}"
    for each in run.renumbered:
        yield f"  {one_line(each.former)} is now {one_line(each.version)}"
    if run.outcome != "succeeded":
        yield from reason_lines(run)


def _sign(run: PastRun, style: Style) -> str:
    if run.outcome == "running":
        return style.dot
    return style.tick if run.outcome == "succeeded" else style.cross


def _end(run: PastRun) -> str:
    return run.outcome if run.duration is None else f"{run.outcome} in {in_words(run.duration)}"


def commit_text(commit: str | None, ref: str | None) -> str:
    """Describe a commit as far as it is known, as in `0123456789ab (main)`."""
    # Twelve digits are unique in practice, also in a large repository.
    return " ".join(filter(None, ((commit or "")[:12], f"({ref})" if ref else "")))


def _names(run: PastRun) -> str:
    """How many files there are, and as many of their names as the line has room for."""
    if run.renumbered and not run.applied:
        return "no migration: rows got new numbers"
    if not run.applied and run.outcome == "succeeded":
        # What it did is not on record: these two write into other tables, or remove rows.
        return "no migration: seeds, or baseline --forget"
    if not run.applied:
        return "nothing"
    first, *others = map(one_line, run.applied)
    line = f"{counted(len(run.applied), 'file')}: {first}"
    for place, name in enumerate(others, 1):
        left = len(run.applied) - place - 1
        rest = f" and {left} more" if left else ""
        if len(f"  applied {line}, {name}{rest}") > WIDTH:
            return f"{line} and {left + 1} more"
        line += f", {name}"
    return line


def reason_lines(run: Run) -> Iterator[str]:
    """Which file failed, and the first line of the recorded reason."""
    # Masked as a whole: a part of a URL is no longer recognized.
    reason = without_credentials(_MARKS.sub("", run.error or "")).partition("\n")[0].strip()
    # An error of a file begins with its path.
    if run.failed_version and run.failed_version not in reason:
        reason = ": ".join(filter(None, (run.failed_version, reason)))
    if run.sqlstate and run.sqlstate not in reason:
        reason = f"{reason} (SQLSTATE {run.sqlstate})"
    # Behind the prefix, so that no text of the server begins a line.
    return (
        f"{PREFIX}{line}"
        for line in textwrap.wrap(
            one_line(reason),
            WIDTH - len(PREFIX),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
