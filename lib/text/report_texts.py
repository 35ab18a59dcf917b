"""The reports of `plan`, `baseline` and `resolve` as text for people."""

from ..console.terminal import Style, count_and_span, counted, span
from ..edits.resolve import ResolveReport
from ..escaping import Clean, blocks, message, one_line, signed, table
from ..files.runnable_script import Mode
from ..plan.dry_run_report import DryRun
from ..plan.reports import BaselineReport

_MODES = {
    Mode.TRANSACTION: "in one transaction",
    Mode.ALONE: "alone, outside a transaction",
    Mode.STATEMENTS: "statement by statement, outside a transaction",
}


def plan_text(planned: DryRun, style: Style) -> Clean:
    """Compose, for each file, its mode, timeouts and statements, and what would stop the run."""
    lines = [style.paint("bold", f"Planned Migrations ({len(planned.scripts)}):")]
    # From the document, so that the text and `--json` can't differ.
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
            style.cut(f"      {script.file.line_at(s.offset):>4}  {one_line(s.head)}")
            for s in script.statements
        ]
    if not planned.scripts:
        lines.append("  None")
    if beyond := planned.status.plan.beyond:
        lines.append(f"  Not planned: {count_and_span(beyond)}.")
    found = table(lines, color=style.color)
    # At the end, where a reader of a long plan still sees it.
    if not planned.obstacle:
        return found
    return blocks(
        found, message(""), signed(style.cross, f"`migrate` would stop: {planned.obstacle}")
    )


def baseline_text(report: BaselineReport, style: Style) -> Clean:
    """Compose what was recorded or deleted, and what `migrate` would still apply."""
    return blocks(
        signed(style.tick, _forgotten(report) if report.last is None else _recorded(report)),
        # A line for each of a thousand files would hide the rest.
        table([f"  Still pending: {count_and_span(report.pending)}."]),
    )


def _recorded(report: BaselineReport) -> str:
    where = one_line(f"{report.database} ({report.environment})")
    count = len(report.recorded)
    if not count:
        # Baselining again is no error: a script may do it at each start.
        return f"Nothing to record: {where} has everything up to {report.last}."
    what = (
        f"{count} migrations as applied without running them"
        if count > 1
        else "1 migration as applied without running it"
    )
    return f"Recorded {what}, in {where}: {span(report.recorded)}."


def _forgotten(report: BaselineReport) -> str:
    where = one_line(f"{report.database} ({report.environment})")
    what = counted(len(report.forgotten), "migration")
    return f"Took {what} off the record of {where}: {span(report.forgotten)}. What they made stays."


def resolve_text(report: ResolveReport, style: Style) -> Clean:
    """What the next run does with the file."""
    where = f"at its statement {report.statement}" if report.statement > 1 else "from its start"
    what = f"The progress of {report.version}, recorded by run {report.run}, is resolved."
    then = table([f"  The next run carries the file on {where}."])
    return blocks(signed(style.tick, one_line(what)), then)
