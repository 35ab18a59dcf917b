"""The report of a rehearsal as Markdown: first the verdict, then what to look at, then the rest."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .. import COMMAND
from ..console.terminal import counted
from ..escaping import Clean, blocks
from ..review.advice import BLOCKED_BY
from ..review.finding import Finding, Severity
from .markdown import code_block, code_element, code_in_cell, code_span, prose
from .report_document import Report, ReportedFile, ReportedStatement, file_name

# GitHub takes 65,536 characters; the rest is for whoever puts something around it.
LONGEST_COMMENT = 60_000
# Of each table. What comes first is what matters most.
MOST_ROWS = 50
# Of a message, in a table.
_LONGEST_CELL = 300

SIGNS = {Severity.STOP: "❌ stop", Severity.WARN: "⚠️ warn", Severity.NOTE: "note"}
_RULE = re.compile(r"[a-z][a-z0-9-]{0,60}")


@dataclass(frozen=True)
class Place:
    """Where the files are: their folder in the repository, and addresses for links.

    `blob` is the address of the root of the repository at the commit, `run` that of the whole
    report; either may be empty. `commit` is shown.
    """

    folder: str = "migrations"
    blob: str = ""
    run: str = ""
    commit: str = ""

    def path(self, version: str) -> str:
        """Return the path of a file in the repository; empty if it can have none."""
        name = file_name(version)
        return f"{self.folder}/{name}".removeprefix("./") if name else ""


def compose(report: Report, place: Place, *, longest: int = LONGEST_COMMENT) -> Clean:
    """Compose the whole report; what does not fit in is counted, with a link to the run."""
    if report.error:
        return _cut(
            [f"### ❌ {_ERROR}", code_block(report.error, "text"), *_end(place)], place, longest
        )
    if report.is_empty:
        return _cut([f"### ✅ {_NOTHING_PENDING}", *_end(place)], place, longest)
    parts = [f"### {_title(report)}", *_table(report.findings, place)]
    parts += map(_unrehearsed, (file for file in report.files if file.not_rehearsed))
    parts += [_details(each) for each in report.findings if _has_more(each)]
    parts += [*_locks(report.files), *_ignored(report)]
    parts += [*_way_to_ignore(report.findings), _footnote(report), *_end(place)]
    return _cut(parts, place, longest)


_ERROR = "The migrations could not be rehearsed"
_NOTHING_PENDING = "No migration of this pull request is pending"


def title_of(report: Report) -> str:
    """Return the verdict in a line of words."""
    if report.error:
        return _ERROR
    if report.is_empty:
        return _NOTHING_PENDING
    return _title(report).partition(" ")[2]


def _title(report: Report) -> str:
    files = counted(len(report.pending), "pending migration")
    if not report.findings:
        return f"✅ {files}: nothing found"
    counts = [
        f"{counted(number, word)}"
        for severity, word in (
            (Severity.STOP, "stop"), (Severity.WARN, "warning"), (Severity.NOTE, "note"),
        )
        if (number := sum(each.severity is severity for each in report.findings))
    ]  # fmt: skip
    sign = {Severity.STOP: "❌", Severity.WARN: "⚠️"}.get(report.findings[0].severity, "✅")
    return f"{sign} {files}: {', '.join(counts)}"


def _table(findings: Sequence[Finding], place: Place) -> Iterator[str]:
    if not findings:
        return
    rows = ["| | where | what | rule |", "|---|---|---|---|"]
    for each in findings[:MOST_ROWS]:
        cells = (SIGNS[each.severity], _where(each, place), _short(each.message), _rule(each.rule))
        rows.append(f"| {' | '.join(cells)} |")
    yield "\n".join(rows)
    if len(findings) > MOST_ROWS:
        yield f"… and {counted(len(findings) - MOST_ROWS, 'more finding')}."


def _where_only(finding: Finding) -> str:
    name = file_name(finding.version) or finding.version
    return code_in_cell(f"{name}{f':{finding.line}' if finding.line else ''}")


def _where(finding: Finding, place: Place) -> str:
    shown = _where_only(finding)
    path = place.path(finding.version)
    if not place.blob or not path:
        return shown
    anchor = f"#L{finding.line}" if finding.line else ""
    return f"[{shown}]({place.blob}/{quote(path)}{anchor})"


def _short(text: str) -> str:
    first = text.partition("\n")[0]
    if len(first) > _LONGEST_CELL:
        first = f"{first[:_LONGEST_CELL].rpartition(' ')[0] or first[:_LONGEST_CELL]} …"
    return prose(first, in_cell=True)


def _rule(rule: str) -> str:
    return f"`{rule}`" if _RULE.fullmatch(rule) else code_in_cell(rule)


def _has_more(finding: Finding) -> bool:
    return bool(finding.instead) or "\n" in finding.message or len(finding.message) > _LONGEST_CELL


def _details(finding: Finding) -> str:
    name = file_name(finding.version) or finding.version
    line = f":{finding.line}" if finding.line else ""
    what = "what to write instead" if finding.instead else "the whole message"
    summary = f"{code_element(f'{name}{line}')} {code_element(finding.rule)}: {what}"
    return _folded(summary, [*_message(finding), *_instead(finding.instead)])


def _message(finding: Finding) -> Iterator[str]:
    """Yield the message, unless the table has all of it."""
    first, _, others = finding.message.partition("\n")
    if others or len(first) > _LONGEST_CELL:
        # Behind a word of ours: a number or a dash would make a list at the beginning of a line.
        yield f"Why: {prose(first)}"
    if others:
        yield code_block(others, "text")


def _instead(text: str) -> Iterator[str]:
    if not text:
        return
    if text.startswith(f"{COMMAND} "):
        command, comma, others = text.partition(",")
        yield f"Instead: {code_span(command)}{comma}{f' {prose(others)}' if others else ''}"
    elif _is_sql(text):
        yield code_block(text, "sql")
    else:
        yield f"Instead: {prose(text)}"


def _is_sql(text: str) -> bool:
    return "\n" in text or text.rstrip().endswith(";") or text.lstrip().startswith("--")


def _way_to_ignore(findings: Iterable[Finding]) -> Iterator[str]:
    if any(each.line for each in findings):
        comment = code_span("-- review: ignore RULE because …")
        yield f"To accept a finding, write {comment} above its statement."


def _unrehearsed(file: ReportedFile) -> str:
    name = code_span(file_name(file.version) or file.version)
    return f"**Not rehearsed:** {name}: {prose(file.not_rehearsed)}"


def _locks(files: Iterable[ReportedFile]) -> Iterator[str]:
    rows = [row for file in files for row in _lock_rows(file)]
    if not rows:
        return
    table = ["| statement | locks | which blocks | and |", "|---|---|---|---|", *rows[:MOST_ROWS]]
    more = f"… and {counted(len(rows) - MOST_ROWS, 'more lock')}."
    yield _folded(
        f"What the statements locked ({len(rows)})",
        ["\n".join(table), *([more] if len(rows) > MOST_ROWS else [])],
    )


def _lock_rows(file: ReportedFile) -> Iterator[str]:
    """Yield the locks that an application waits for."""
    for statement in file.statements:
        place = code_in_cell(f"{file_name(file.version) or file.version}:{statement.line}")
        for relation, mode in statement.locks:
            if blocked := BLOCKED_BY.get(mode):
                cells = (place, code_in_cell(relation), f"{blocked} ({_words(mode)})")
                yield f"| {' | '.join((*cells, _work(statement, relation)))} |"


def _work(statement: ReportedStatement, relation: str) -> str:
    if relation in statement.rewrites:
        return "rewrites it"
    return "reads all of it" if relation in statement.scans else ""


def _words(mode: str) -> str:
    """Return a mode as PostgreSQL's manual writes it: ACCESS EXCLUSIVE."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", mode).upper()


def _ignored(report: Report) -> Iterator[str]:
    rows = [
        f"- {_where_only(finding)} {_rule(finding.rule)}: {prose(reason)}"
        for finding, reason in report.ignored[:MOST_ROWS]
    ]
    if rows:
        yield _folded(f"Ignored, each for a reason ({len(report.ignored)})", ["\n".join(rows)])


def _footnote(report: Report) -> str:
    said = "Run on an empty copy of the schema, on a throw-away server"
    if report.has_sizes is None:
        return f"{said}."
    sizes = "weighed by the sizes of the live tables"
    return (
        f"{said}; {sizes if report.has_sizes else 'the sizes of the live tables were not known'}."
    )


def _end(place: Place) -> Iterator[str]:
    of = [f"Commit {code_span(place.commit[:12])}"] if place.commit else []
    run = [f"[the whole report]({place.run})"] if place.run else []
    if of or run:
        yield ", ".join([*of, *run])


def _folded(summary: str, parts: Iterable[str]) -> str:
    # Markdown is read again after an empty line.
    return "\n\n".join([f"<details><summary>{summary}</summary>", *parts, "</details>"])


def _cut(parts: Sequence[str], place: Place, longest: int) -> Clean:
    """Join the parts as far as they fit; the first always does."""
    shown = [parts[0]]
    length = units(parts[0])
    for number, part in enumerate(parts[1:], start=1):
        # For this line itself.
        if length + units(part) > longest - 300:
            link = f": [see the run]({place.run})" if place.run else ""
            shown.append(
                f"… {counted(len(parts) - number, 'part')} left out, which would be too long{link}."
            )
            break
        shown.append(part)
        length += units(part) + 2
    return blocks(*map(Clean, shown), between="\n\n")


def units(text: str) -> int:
    """Return the length as JavaScript counts it, which is never less than any other count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
