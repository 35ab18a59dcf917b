"""Annotations are escaped as GitHub's runner reads them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from lib.github.annotations import annotations, notice
from lib.github.report_document import Report
from lib.github.report_markdown import Place
from lib.review.finding import Finding, Severity

PLACE = Place("apps/web/migrations")
# As the runner reads a line: the command, its properties, its text.
_COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")


def read(line: str) -> tuple[str, dict[str, str], str]:
    match = _COMMAND.fullmatch(line)
    assert match, line
    properties = dict(each.split("=", 1) for each in match[2].split(","))
    return match[1], {key: decoded(value) for key, value in properties.items()}, decoded(match[3])


def decoded(text: str) -> str:
    signs = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
    return re.sub("|".join(signs), lambda match: signs[match[0]], text)


def finding(severity: Severity = Severity.STOP, **more: str) -> Finding:
    given = {"rule": "fails", "version": "005-x", "message": "m", "instead": "", **more}
    return Finding(severity=severity, line=3, **given)


def test_each_finding_is_at_its_line() -> None:
    line = annotations(Report(findings=(finding(message="100% of\nit", instead="a;"),)), PLACE)
    assert line == (
        "::error file=apps/web/migrations/005-x.sql,line=3,title=fails::"
        "100%25 of%0Ait%0AInstead:%0Aa;"
    )


def test_ten_of_each_level_are_shown_and_no_more() -> None:
    many = tuple(finding(severity) for severity in Severity for _ in range(15))
    levels = [read(line)[0] for line in annotations(Report(findings=many), PLACE).split("\n")]
    assert levels == ["error"] * 10 + ["warning"] * 10 + ["notice"] * 10


@given(st.text(), st.text())
def test_no_text_ends_its_annotation(name: str, text: str) -> None:
    lines = annotations(Report(findings=(finding(rule=name, version=name, message=text),)), PLACE)
    assert len(lines.splitlines()) == 1
    level, properties, said = read(lines)
    assert level == "error"
    assert {*properties} <= {"file", "line", "title"}
    assert said.startswith(name[:0])


def test_a_finding_without_a_file_names_it_in_the_text() -> None:
    line = annotations(Report(findings=(finding(version="../../etc"),)), PLACE)
    assert line == "::error title=fails::../../etc: m"


def test_an_error_and_a_notice_are_annotations_of_the_run() -> None:
    assert annotations(Report(error="a\nb"), PLACE) == "::error title=Migrations::a%0Ab"
    assert notice("50%") == "::notice title=Migrations::50%25"
