"""A report as annotations, which GitHub shows at the lines of the files.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from collections import Counter
from collections.abc import Iterator

from ..escaping import Clean, escaped, one_line
from ..review.finding import Finding, Severity
from .report_document import Report
from .report_markdown import Place

# GitHub shows this many of each level for one step, and drops those that follow.
MOST_OF_EACH = 10
_LEVELS = {Severity.STOP: "error", Severity.WARN: "warning", Severity.NOTE: "notice"}


def annotations(report: Report, place: Place) -> Clean:
    """Compose a line for each finding, the gravest first, as far as GitHub shows them."""
    if report.error:
        return Clean(f"::error title=Migrations::{_data(report.error)}")
    return Clean("\n".join(_lines(report, place)))


def notice(text: str) -> Clean:
    """Compose an annotation of the run as a whole."""
    return Clean(f"::notice title=Migrations::{_data(text)}")


def _lines(report: Report, place: Place) -> Iterator[str]:
    shown: Counter[Severity] = Counter()
    for each in report.findings:
        shown[each.severity] += 1
        if shown[each.severity] <= MOST_OF_EACH:
            yield _line(each, place)


def _line(finding: Finding, place: Place) -> str:
    properties = []
    if path := place.path(finding.version):
        properties += [f"file={_property(path)}", f"line={max(finding.line, 1)}"]
    properties.append(f"title={_property(finding.rule)}")
    # Without a file of its own, the name stands in the text.
    text = finding.message if path else f"{finding.version}: {finding.message}"
    instead = f"\nInstead:\n{finding.instead}" if finding.instead else ""
    return f"::{_LEVELS[finding.severity]} {','.join(properties)}::{_data(text + instead)}"


def _data(text: str) -> str:
    return escaped(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return one_line(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
