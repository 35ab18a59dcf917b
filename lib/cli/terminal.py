"""Reports as text for people: coloured on a terminal, plain in a log, ASCII without UTF-8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from ..actions.resolve import ResolveReport
from ..clean_text import Clean, blocks, message, one_line, signed, table
from ..deployment import Deployment
from ..duration import in_words
from ..files.folder import MigrationFile
from ..files.script import Mode
from ..plan.activity import IndexProgress
from ..plan.dry_run import DryRun
from ..plan.migration_plan import AppliedMigration, Entry
from ..plan.reports import BaselineReport, RunReport, Status

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}
_STATES = {
    "ahead": ": this bundle lacks applied migrations (a rollback, an older branch)",
    "pending": ": the database lacks migrations of this bundle",
    "modified": ": a file was changed after being applied",
}
_MODES = {
    Mode.TRANSACTION: "in one transaction",
    Mode.ALONE: "alone, outside a transaction",
    Mode.STATEMENTS: "statement by statement, outside a transaction",
}


@dataclass(frozen=True)
class Style:
    """What a stream can show."""

    colour: bool = False
    unicode: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> "Style":
        """Detect colour (see https://no-color.org) and whether the encoding has the signs."""
        colour = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(
            colour=colour, unicode=(stream.encoding or "").lower().replace("-", "") == "utf8"
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

    def paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text


def progress_bar(index: IndexProgress, style: Style, *, width: int = 24) -> str:
    """Draw how far a phase of an index build is, as in `[######------------------]  25%`."""
    full, empty = ("█", "░") if style.unicode else ("#", "-")
    filled = width * index.percent // 100
    return f"[{full * filled}{empty * (width - filled)}] {index.percent:3d}%"


def route_text(*, is_direct: bool) -> str:
    """Describe how a connection reaches the server."""
    return "direct" if is_direct else "through a pooler or a proxy"


def status_text(status: Status, style: Style, *, place: str, migrating: str | None = None) -> Clean:
    """Compose the whole status, with anything unusual at the end.

    `place` is where the status was read; `migrating` is the connection that migrations use, if
    that is another one.
    """
    plan = status.plan
    applied = [entry for entry in plan.entries if entry.is_applied]
    width = max((len(one_line(entry.version)) for entry in plan.entries), default=0)
    parts = [
        [style.paint("bold", "Migration Status")],
        [
            one_line(f"Database: {status.database} (PostgreSQL {status.server_version}, {place})"),
            *([one_line(f"Migrations go to: {migrating}")] if migrating else []),
            one_line(f"Environment: {status.environment}; {_owner(status)}"),
            f"State: {status.plan.state}{_STATES.get(status.plan.state, '')}",
            *([f"Deployment: {by}"] if (by := _deployment(status.deployment)) else []),
        ],
        [
            style.paint("bold", f"Applied Migrations ({len(applied)}):"),
            *(
                [_applied_line(entry, status.origin(entry), style, width) for entry in applied]
                or ["  None"]
            ),
        ],
        [
            style.paint("bold", "Pending Migrations:"),
            *([f"  {style.dot} {file.version}" for file in plan.pending] or ["  None"]),
        ],
        *_odd_parts(status, style),
        *_advice_parts(status, style),
    ]
    return blocks(*(table(part, colour=style.colour) for part in parts), between="\n\n")


def _owner(status: Status) -> str:
    if status.owner is None:
        return "production has not claimed this database"
    if status.owner == status.environment:
        return "this database belongs to it"
    return f"this database belongs to {status.owner}, which alone may migrate it"


def _deployment(deployment: Deployment) -> str:
    """Describe a deployment as far as it is known, as in `0123456789ab (main), dpl_x`."""
    ref = f"({deployment.ref})" if deployment.ref else ""
    commit = " ".join(filter(None, ((deployment.commit or "")[:12], ref)))
    return one_line(", ".join(filter(None, (commit, deployment.id))))


def _applied_line(entry: Entry, origin: Deployment | None, style: Style, width: int) -> str:
    sign = style.tick if entry.state == "applied" else style.cross
    took = "" if entry.execution_time_ms is None else f"{entry.execution_time_ms} ms"
    by = _deployment(origin) if origin else ""
    odd = "" if entry.state == "applied" else entry.state
    line = (
        f"  {sign} {one_line(entry.version):<{width}}  {_moment(entry.applied_at):<23}  {took:>8}"
    )
    return "  ".join(filter(None, (line, odd, by))).rstrip()


def _advice_parts(status: Status, style: Style) -> list[list[str]]:
    if not status.advice:
        return []
    return [[style.paint("yellow", "Warning:"), *(f"  {one_line(text)}" for text in status.advice)]]


def _odd_parts(status: Status, style: Style) -> list[list[str]]:
    plan = status.plan
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


def plan_text(planned: DryRun, style: Style) -> Clean:
    """Compose, for each file, its mode, timeouts and statements, and what would stop the run."""
    lines = [style.paint("bold", f"Planned Migrations ({len(planned.scripts)}):")]
    for script, document in zip(planned.scripts, planned.to_dict()["plan"], strict=True):
        timeouts = f"lock timeout {document['lockTimeout'] or 'none'}"
        if document["statementTimeout"]:
            timeouts += f", statement timeout {document['statementTimeout']}"
        how = (
            "no statement yet, stays pending"
            if script in planned.held
            else f"{_MODES[script.mode]}, {timeouts}"
        )
        lines.append(f"  {style.dot} {script.file.version}: {how}")
        lines += [
            f"      {script.file.line_at(s.offset):>4}  {one_line(s.head)}"
            for s in script.statements
        ]
    if not planned.scripts:
        lines.append("  None")
    found = table(lines, colour=style.colour)
    if not planned.obstacle:
        return found
    return blocks(
        found, message(""), signed(style.cross, f"`migrate` would stop: {planned.obstacle}")
    )


def run_text(report: RunReport, style: Style) -> Clean:
    """Compose the last line of a run that succeeded."""
    where = one_line(f"{report.database} ({report.environment})")
    if not report.applied:
        held = (
            f" but for {_counted(report.pending, 'file')} without a statement"
            if report.pending
            else ""
        )
        return signed(style.tick, f"Nothing to apply: {where} is up to date{held}.")
    count = len(report.applied)
    total = in_words(sum(migration.execution_time_ms for migration in report.applied) / 1000)
    what = _counted(count, "migration")
    return signed(style.tick, f"Applied {what} to {where} in {total}.")


def baseline_text(report: BaselineReport, style: Style) -> Clean:
    """Compose what was recorded or deleted, and what `migrate` would still apply."""
    return blocks(
        signed(style.tick, _forgotten(report) if report.last is None else _recorded(report)),
        # A line for each of a thousand files would hide the rest.
        table([f"  Still pending: {_count_and_span(report.pending)}."]),
    )


def _recorded(report: BaselineReport) -> str:
    where = one_line(f"{report.database} ({report.environment})")
    count = len(report.recorded)
    if not count:
        return f"Nothing to record: {where} has everything up to {report.last}."
    what = (
        f"{count} migrations as applied without running them"
        if count > 1
        else "1 migration as applied without running it"
    )
    return f"Recorded {what}, in {where}: {_span(report.recorded)}."


def _forgotten(report: BaselineReport) -> str:
    where = one_line(f"{report.database} ({report.environment})")
    what = _counted(len(report.forgotten), "migration")
    return (
        f"Took {what} off the record of {where}: {_span(report.forgotten)}. What they made stays."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _count_and_span(files: Sequence[MigrationFile]) -> str:
    return f"{len(files)}, {_span(files)}" if files else "none"


def resolve_text(report: ResolveReport, style: Style) -> Clean:
    """What the next run does with the file."""
    where = f"at its statement {report.statement}" if report.statement > 1 else "from its start"
    what = f"The progress of {report.version}, recorded by run {report.run}, is resolved."
    then = table([f"  The next run carries the file on {where}."])
    return blocks(signed(style.tick, one_line(what)), then)


def _span(files: Sequence[MigrationFile | AppliedMigration]) -> str:
    first, last = files[0].version, files[-1].version
    return first if first == last else f"{first} to {last}"


def _moment(moment: datetime | None) -> str:
    return (
        "at an unknown time"
        if moment is None
        else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )
