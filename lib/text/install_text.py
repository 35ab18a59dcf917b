"""What an action does to a project, file by file, as text for people."""

import difflib
from collections import Counter
from collections.abc import Iterator

from ..console.terminal import Style, counted
from ..escaping import Clean, table
from ..install.changes import Change, Plan

_SIGNS = {"added": "+", "merged": "~", "replaced": "~", "removed": "-", "kept": "="}
_COLORS = {"added": "green", "merged": "yellow", "replaced": "yellow", "removed": "red"}
# Of a change to a shared file, at most this many lines are shown.
_SHOWN = 40
_DONE = {"install": "Installed", "update": "Updated to", "uninstall": "Uninstalled"}


def plan_text(plan: Plan, style: Style) -> Clean:
    """Compose what would be done: a line for each folder of copies, the lines of each merge."""
    since = f", from {plan.previous}" if plan.previous and plan.action == "update" else ""
    title = f"{plan.action.capitalize()} in {plan.folder} (version {plan.version}{since})"
    lines = [style.paint("bold", title)]
    lines += [f"Found: {'; '.join(plan.found)}"] if plan.found else []
    lines += _section("New", plan.news)
    lines += ["", *_files(plan, style)]
    lines += _section("Note", plan.notes)
    return table(lines, color=style.color)


def done_text(plan: Plan, style: Style) -> Clean:
    """Compose what was done, and what to do next."""
    count = counted(len(plan.written), "file")
    version = f" {plan.version}" if plan.action != "uninstall" else ""
    lines = [f"{style.tick} {_DONE[plan.action]}{version}: {count} in {plan.folder}."]
    steps = [f"{number}. {step}" for number, step in enumerate(plan.steps, 1)]
    lines += ["", f"Next, in {plan.folder}:", *(f"  {step}" for step in steps)] if steps else []
    return table(lines, color=style.color)


def _section(title: str, texts: tuple[str, ...]) -> list[str]:
    return ["", f"{title}:", *(f"  {text}" for text in texts)] if texts else []


def _files(plan: Plan, style: Style) -> Iterator[str]:
    whole = Counter(map(_group, plan.shown))
    done: set[tuple[str, str]] = set()
    for change in sorted(plan.shown, key=lambda change: (change.kind == "merged", change.path)):
        group = _group(change)
        sign = style.paint(_COLORS.get(change.kind, "dim"), _SIGNS[change.kind])
        if whole[group] > 1 and change.kind != "merged" and not change.why:
            if group not in done:
                done.add(group)
                yield f"  {sign} {group[0]}/  {counted(whole[group], 'file')} {change.kind}"
            continue
        why = f": {change.why}" if change.why else ""
        yield f"  {sign} {change.path}  {change.kind}{why}"
        if change.kind == "merged" or (change.path.endswith(".json") and change.kind == "added"):
            yield from _lines(change, style)


def _group(change: Change) -> tuple[str, str]:
    """A folder of the first level, and what happens there."""
    folder = change.path.partition("/")[0] if "/" in change.path else ""
    return (folder or change.path, change.kind)


def _lines(change: Change, style: Style) -> Iterator[str]:
    before, after = (
        (content or b"").decode(errors="replace").splitlines()
        for content in (change.before, change.after)
    )
    compared = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    lines = [line for line in compared if not line.startswith("@@")]
    for line in lines[:_SHOWN]:
        color = "green" if line.startswith("+") else "red"
        yield f"      {style.paint(color, line)}"
    if len(lines) > _SHOWN:
        yield f"      … and {len(lines) - _SHOWN} more lines"
