"""A rehearsal as text for people: what each file does, then what is wrong with it."""

from collections.abc import Iterator, Sequence

from ..console.terminal import Style, counted
from ..escaping import PREFIX, Clean, blocks, message, one_line, signed, table
from ..rehearse.rehearsal import Rehearsal
from ..rehearse.statement_facts import FileFacts, StatementFacts
from ..review.advice import BLOCKED_BY
from ..review.finding import Finding, Severity

# Who waits for a lock; weaker ones are those of reading and writing, and nobody waits for them.
_WAITING = {
    **{mode: f"{blocked} wait" for mode, blocked in BLOCKED_BY.items()},
    "ShareUpdateExclusive": "nobody waits but other changes of the schema",
}
_COLORS = {Severity.STOP: "red", Severity.WARN: "yellow", Severity.NOTE: "dim"}
# Of the names in one line.
_MOST_NAMES = 5


def rehearsal_text(found: Rehearsal, style: Style) -> Clean:
    """Compose the report, with the verdict at its end, where a terminal shows it."""
    parts = [_title(found)]
    begun = [file for file in found.files if file.statements or not file.not_rehearsed]
    parts += [_file_part(found, file, style) for file in begun]
    parts += _unrun_part(found.files[len(begun) :])
    parts += [_finding_part(found, each, style) for each in found.findings]
    parts += [_ignored_part(found)] if found.ignored else []
    parts += [message(found.not_linted)] if found.not_linted else []
    return blocks(*parts, _verdict(found, style), between="\n\n")


def _title(found: Rehearsal) -> Clean:
    state = found.state
    rehearsed = counted(len(state.pending), "pending file")
    return message(f"Rehearsed {rehearsed} for {state.environment}, on {state.source}.")


def _file_part(found: Rehearsal, file: FileFacts, style: Style) -> Clean:
    path = one_line(found.path_of(file.version))
    lines = list(_statement_lines(file))
    if file.not_rehearsed:
        lines.append(f"  not rehearsed: {file.not_rehearsed}")
    if not lines:
        lines = ["  nothing that is there already is locked, read or changed"]
    return table([style.paint("bold", path), *lines], color=style.color)


def _unrun_part(files: Sequence[FileFacts]) -> Iterator[Clean]:
    """Name the files of which nothing ran, once with what stopped them."""
    if files:
        versions = _listed([file.version for file in files])
        yield message(f"Not rehearsed, since {files[0].not_rehearsed}: {versions}")


def _statement_lines(file: FileFacts) -> Iterator[str]:
    for each in file.statements:
        if said := "; ".join(_deeds(each, file)):
            yield f"  line {each.line}: {said}"


def _deeds(statement: StatementFacts, file: FileFacts) -> Iterator[str]:
    """Yield what the statement does, from what keeps others waiting."""
    for lock in statement.locks:
        if waiting := _WAITING.get(lock.mode):
            yield f"locks {lock.relation} ({waiting}{_until(lock.until, statement, file)})"
    for names, verb in (
        (statement.rewrites, "rewrites {}"),
        (statement.builds, "builds an index of {}"),
        (statement.truncated, "empties {}"),
        (statement.scans, "reads {}"),
        (statement.written, "writes rows of {}"),
        (statement.dropped, "drops {}"),
    ):
        if names:
            yield verb.format(_listed(names))
    if statement.failure is not None:
        yield f"fails: {statement.failure}"


def _until(until: int, statement: StatementFacts, file: FileFacts) -> str:
    """Say how long a lock is held, if that is longer than the statement takes."""
    last = next((each for each in file.statements if each.number == until), statement)
    return "" if last.line <= statement.line else f" until the commit behind line {last.line}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _finding_part(found: Rehearsal, finding: Finding, style: Style) -> Clean:
    path = found.path_of(finding.version)
    place = f"{path}:{finding.line}" if finding.line else path
    severity = style.paint(_COLORS[finding.severity], finding.severity.value)
    lines = [f"{severity}  {one_line(place)}  {one_line(finding.rule)}"]
    lines += [f"  {line}" for line in finding.message.splitlines()]
    instead = finding.instead.splitlines()
    # What has several lines is SQL, which is easier to copy without a word in front of it.
    lines += (
        [f"{PREFIX}{line}" for line in instead]
        if len(instead) > 1
        else [f"  Instead: {line}" for line in instead]
    )
    return table(lines, color=style.color)


def _ignored_part(found: Rehearsal) -> Clean:
    lines = [
        f"ignored  {found.path_of(each.finding.version)}:{each.finding.line}"
        f"  {each.finding.rule}  because {each.reason}"
        for each in found.ignored
    ]
    return table(lines)


def _verdict(found: Rehearsal, style: Style) -> Clean:
    if not found.state.pending and not found.findings:
        return signed(style.tick, "Nothing is pending.")
    sizes = (
        ""
        if found.sizes
        else (
            " No sizes were known: set the URL of the live database, or give --sizes, and small "
            "tables are not mentioned."
        )
    )
    if not found.findings:
        return signed(style.tick, f"Nothing stands against it.{sizes}")
    counts = (
        counted(number, "warning" if severity is Severity.WARN else severity.value)
        for severity in Severity
        if (number := sum(each.severity is severity for each in found.findings))
    )
    sign = style.cross if found.worst is Severity.STOP else style.dot
    return signed(
        sign,
        f"{', '.join(counts)}.{sizes} To accept a finding, write "
        "`-- review: ignore RULE because REASON` above its statement.",
    )
