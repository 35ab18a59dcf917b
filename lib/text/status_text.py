"""The status as text for people."""

from collections.abc import Sequence

from ..console.terminal import Style, moment_text
from ..deployment import Deployment
from ..drift.verdict import MOST_IN_A_LOG, Verdict, change_lines
from ..escaping import Clean, blocks, one_line, table
from ..plan.migration_states import Entry
from ..plan.reports import Status
from .history_text import commit_text, reason_lines

_STATES = {
    "ahead": ": this bundle lacks applied migrations (a rollback, an older branch)",
    "pending": ": the database lacks migrations of this bundle",
    "modified": ": a file was changed after being applied",
}


def status_text(
    status: Status,
    style: Style,
    *,
    place: str,
    migrating: str | None = None,
    verdict: Verdict | None = None,
) -> Clean:
    """Compose the whole status, with anything unusual at the end.

    `place` is where the status was read; `migrating` is the connection that migrations use, if
    that is another one. `verdict` is what a comparison of the schema has come to just now.
    """
    applied = [entry for entry in status.plan.entries if entry.is_applied]
    parts = [
        [style.paint("bold", "Migration Status")],
        [
            one_line(f"Database: {status.database} (PostgreSQL {status.server_version}, {place})"),
            *([one_line(f"Migrations go to: {migrating}")] if migrating else []),
            one_line(f"Environment: {status.environment}; {_owner(status)}"),
            f"State: {status.plan.state}{_STATES.get(status.plan.state, '')}",
            # Known on Vercel alone.
            *([f"Deployment: {by}"] if (by := _deployment(status.deployment)) else []),
        ],
        [
            style.paint("bold", f"Applied Migrations ({len(applied)}):"),
            *(_applied_lines(status, applied, style) if applied else ["  None"]),
        ],
        [
            style.paint("bold", "Pending Migrations:"),
            *(_pending_lines(status, style) or ["  None"]),
        ],
        *_failure_parts(status, style),
        *_drift_parts(status, verdict, style),
        *_odd_parts(status, style),
        *_advice_parts(status, style),
    ]
    return blocks(*(table(part, color=style.color) for part in parts), between="\n\n")


def _owner(status: Status) -> str:
    if status.owner is None:
        return "production has not claimed this database"
    if status.owner == status.environment:
        return "this database belongs to it"
    return f"this database belongs to {status.owner}, which alone may migrate it"


def _deployment(deployment: Deployment) -> str:
    """Describe a deployment as far as it is known, as in `0123456789ab (main), dpl_x`."""
    commit = commit_text(deployment.commit, deployment.ref)
    return one_line(", ".join(filter(None, (commit, deployment.id))))


def _applied_lines(status: Status, applied: Sequence[Entry], style: Style) -> list[str]:
    """Compose a line for each, without the columns for which a narrow terminal has no room."""
    # Rows of another tool may have versions of any length.
    width = max(len(one_line(entry.version)) for entry in status.plan.entries)
    lines: list[tuple[str, str]] = []
    # The least important column goes first: by whom a file was applied, then how long it took.
    for columns in (4, 3, 2):
        lines = [
            (_sign(entry, style), _applied_line(entry, status.origin(entry), width, columns))
            for entry in applied
        ]
        # Before each line, a sign between blanks.
        if style.width is None or max(len(line) for _, line in lines) + 4 <= style.width:
            break
    return [f"  {sign} {line}" for sign, line in lines]


def _sign(entry: Entry, style: Style) -> str:
    return style.tick if entry.state == "applied" else style.cross


def _applied_line(entry: Entry, origin: Deployment | None, width: int, columns: int) -> str:
    took = "" if entry.execution_time_ms is None else f"{entry.execution_time_ms} ms"
    by = _deployment(origin) if origin and columns > 3 else ""
    odd = "" if entry.state == "applied" else entry.state
    # Columns of fixed width, so that lines are aligned also where a duration is unknown.
    line = f"{one_line(entry.version):<{width}}  {moment_text(entry.applied_at):<23}"
    if columns > 2:
        line += f"  {took:>8}"
    return "  ".join(filter(None, (line, odd, by))).rstrip()


def _failure_parts(status: Status, style: Style) -> list[list[str]]:
    run = status.last_run
    if run is None or run.outcome not in ("failed", "interrupted"):
        return []
    title = style.paint("yellow", f"Last Run {run.outcome}, {moment_text(run.finished_at)}:")
    return [[title, *reason_lines(run)]]


def _drift_parts(status: Status, verdict: Verdict | None, style: Style) -> list[list[str]]:
    if verdict is None or verdict.has_drift is False or verdict.is_first:
        return []
    since = f" since {verdict.since}" if verdict.since else ""
    if verdict.changes is None:
        last = {True: "; it had, when last looked at", False: "; it had not, when last looked at"}
        when = last.get(status.drift, "") if status.drift is not None else ""
        title = style.paint("yellow", f"Not known whether the schema has changed{since}{when}:")
        return [[title, f"  {one_line(verdict.reason)}"]]
    title = style.paint("yellow", f"Changed{since} ({len(verdict.changes)}):")
    return [[title, *change_lines(verdict.changes, most=MOST_IN_A_LOG)]]


def _advice_parts(status: Status, style: Style) -> list[list[str]]:
    if not status.advice:
        return []
    return [[style.paint("yellow", "Warning:"), *(f"  {one_line(text)}" for text in status.advice)]]


def _odd_parts(status: Status, style: Style) -> list[list[str]]:
    plan = status.plan
    # The most serious first.
    lists: list[tuple[str, Sequence[str]]] = [
        ("Modified after being applied", [file.version for file in plan.modified]),
        (
            "Renamed after being applied",
            [f"{row.version} is now {file.version}" for row, file in plan.renamed],
        ),
        ("Missing from this bundle", [row.version for row in plan.missing]),
        ("Late: numbered below the newest applied one", [file.version for file in plan.late]),
        (
            "Skipped in this environment",
            [entry.version for entry in plan.entries if entry.state == "skipped"],
        ),
        (
            "Unknown environment in the header",
            [f"{file.version}: {name}" for file, name in plan.unknown_environments],
        ),
        ("Applied, but would be refused now", [str(fault) for fault in plan.applied_faults]),
        ("Skipped here, but refused elsewhere", [str(fault) for fault in plan.skipped_faults]),
    ]
    return [
        [
            style.paint("yellow", f"{title} ({len(found)}):"),
            *(f"  {style.dot} {one_line(line)}" for line in found),
        ]
        for title, found in lists
        if found
    ]


def _pending_lines(status: Status, style: Style) -> list[str]:
    former = {file.version: row.version for row, file in status.plan.renumbered}
    return [
        f"  {style.dot} {entry.version}"
        + (one_line(f"  applied as {former[entry.version]}") if entry.version in former else "")
        for entry in status.plan.entries
        if entry.state == "pending"
    ]
