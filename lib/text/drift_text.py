"""Changes of a schema as text for people, and as Markdown for a comment on a pull request."""

from collections.abc import Sequence

from ..catalog.schema_objects import Change
from ..console.terminal import Style, counted
from ..drift.verdict import SIGNS, WAYS_OUT, FilesDrift, Verdict, change_lines
from ..escaping import Clean, blocks, message, signed, table
from ..github.markdown import code_span
from ..plan.reports import Document, Status

# A comment on GitHub may have 65,536 characters, and somebody may put text around these.
LONGEST_MARKDOWN = 50_000
_LEGEND = (
    "`+` is in the database alone, `-` in the files alone, and `~` differs. Undo a change in the "
    "database, or put it into a migration that also works where it is made already."
)
_COLORS = {"+": "green", "-": "red", "~": "yellow"}


def changes_text(changes: Sequence[Change], style: Style) -> Clean:
    """Compose a line for each change."""
    lines = []
    for each, line in zip(changes, change_lines(changes), strict=True):
        sign = SIGNS[each.change]
        lines.append(line.replace(sign, style.paint(_COLORS[sign], sign), 1))
    return table(lines, color=style.color)


def changes_markdown(changes: Sequence[Change], *, title: str) -> Clean:
    """Compose a list under a title of ours; a name in it cannot end its code span."""
    lines, length = [f"**{title}**", ""], 0
    for count, each in enumerate(changes):
        line = f"- {each.change.value} {each.kind} {code_span(each.identity)}"
        length += len(line) + 1
        if length > LONGEST_MARKDOWN:
            lines.append(f"- … and {len(changes) - count} more")
            break
        lines.append(line)
    return table(lines)


def drift_part(status: Status, verdict: Verdict | None) -> Document:
    """The part of a status' document on the drift of now; unknown, the last verdict stays."""
    if verdict is None:
        return {}
    document = verdict.to_dict()
    return {
        "drift": status.drift if verdict.has_drift is None else verdict.has_drift,
        "driftChanges": document["drift"],
        "driftReason": document["reason"],
    }


def verdict_text(verdict: Verdict, style: Style, *, place: str) -> Clean:
    """Compose what the command `drift` has found."""
    if verdict.changes is None:
        return message(f"It is not known whether {place} has changed: {verdict.reason}")
    since = f" since {verdict.since}" if verdict.since else ""
    if not verdict.changes:
        return signed(style.tick, f"No drift: {place} has not changed{since}.")
    found = f"Drift: {counted(len(verdict.changes), 'change')} in {place}{since}."
    return blocks(
        signed(style.cross, found), changes_text(verdict.changes, style), message(WAYS_OUT)
    )


def accepted_text(verdict: Verdict, style: Style, *, place: str) -> Clean:
    """Compose what is expected from now on, and what of it is new."""
    end = signed(style.tick, f"The schema of {place} as it is now is what the next run expects.")
    return blocks(changes_text(verdict.changes, style), end) if verdict.changes else end


def verdict_markdown(verdict: Verdict, *, place: str) -> Clean:
    """Compose the same as Markdown."""
    where = code_span(place)
    since = f" since {verdict.since}" if verdict.since else ""
    if verdict.changes is None:
        why = code_span(verdict.reason)
        return table([f"**It is not known whether {where} has changed**", "", why])
    if not verdict.changes:
        return table([f"**No drift: {where} has not changed{since}**"])
    found = f"Drift: {counted(len(verdict.changes), 'change')} in {where}{since}"
    return changes_markdown(verdict.changes, title=found)


def files_drift_text(found: FilesDrift, style: Style) -> Clean:
    """Compose what the command `drift --files` has found."""
    title = _files_title(found, f"{found.database} ({found.environment})")
    if found.changes is None:
        return signed(style.cross, f"{title}: {found.reason}")
    parts = [signed(style.cross if found.changes else style.tick, f"{title}.")]
    if found.changes:
        parts += [changes_text(found.changes, style), message(_LEGEND)]
    if found.pending:
        parts.append(message(f"{counted(found.pending, 'pending file')} left out."))
    return blocks(*parts)


def files_drift_markdown(found: FilesDrift) -> Clean:
    """Compose the same as Markdown."""
    title = _files_title(found, code_span(f"{found.database} ({found.environment})"))
    if not found.changes:
        reason = ["", code_span(found.reason)] if found.reason else []
        return table([f"**{title}**", *reason])
    return changes_markdown(found.changes, title=title)


def _files_title(found: FilesDrift, place: str) -> str:
    files = f"its {counted(found.applied, 'applied file')}"
    if found.changes is None:
        return f"It is not known whether {place} is as made by {files}"
    if not found.changes:
        return f"No drift: {place} is as made by {files}"
    return f"Drift: {counted(len(found.changes), 'change')} in {place} beside {files}"
