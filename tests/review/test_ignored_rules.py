"""Which findings a comment in a file ignores, and what is said of a comment that is wrong."""

import pytest

from lib.review.finding import Finding, Severity
from lib.review.ignored_rules import read_ignores, sort_out

V = "007-change"
SQL = """-- Header: of the file

alter table a drop column b; -- review: ignore drops-column because it is empty
-- review: ignore rewrites-table, scans-under-lock because the table is small
alter table c
    alter column d type bigint, -- review: ignore changes-type because no code reads it
    alter column e set not null;
drop table f;
/* review: ignore drops-table because this is no comment of a line
-- review: ignore drops-table because nor is this
*/
select '
-- review: ignore drops-table because this is a string', $$
-- review: ignore drops-table because this is a body
$$;
"""


def finding(rule: str, line: int, severity: Severity = Severity.STOP) -> Finding:
    return Finding(rule, severity, V, line, f"{rule} is so.")


def left(*findings: Finding, text: str = SQL) -> list[tuple[str, int]]:
    kept = sort_out(findings, {V: text}, is_complete=False).findings
    return [(each.rule, each.line) for each in kept]


@pytest.mark.parametrize(
    ("rule", "line", "is_ignored"),
    [
        ("drops-column", 3, True),
        ("drops-column", 5, False),
        ("drops-table", 3, False),
        ("rewrites-table", 5, True),
        ("scans-under-lock", 7, True),
        ("scans-under-lock", 3, False),
        ("rewrites-table", 8, False),
        ("changes-type", 5, True),
        ("changes-type", 8, False),
        ("drops-table", 8, False),
        ("drops-table", 12, False),
        ("drops-column", 0, False),
        # As squawk calls it.
        ("ban-drop-column", 3, True),
    ],
)
def test_a_comment_counts_for_its_statement(rule: str, line: int, is_ignored: bool) -> None:
    assert left(finding(rule, line)) == ([] if is_ignored else [(rule, line)])


@pytest.mark.parametrize("line", [0, 2, 3, 4])
def test_a_comment_above_the_first_statement_counts_for_the_file(line: int) -> None:
    text = "-- review: ignore drops-table because none is used\ndrop table a;\ndrop table b;\n"
    assert left(finding("drops-table", line), text=text) == []


def test_a_comment_counts_for_no_other_file() -> None:
    other = Finding("drops-table", Severity.STOP, "008-other", 1, "so")
    text = "-- review: ignore drops-table because none is used\n"
    assert left(other, text=text) == [("drops-table", 1)]


def test_a_name_of_squawks_ignores_what_answers_it() -> None:
    text = "-- review: ignore ban-drop-table because none is used\ndrop table a;"
    assert left(finding("drops-table", 2), finding("drops-column", 2), text=text) == [
        ("drops-column", 2)
    ]


def test_what_is_ignored_is_listed_with_its_reason() -> None:
    result = sort_out([finding("drops-column", 3), finding("drops-table", 8)], {V: SQL})
    assert [each.to_dict() for each in result.ignored] == [
        {**finding("drops-column", 3).to_dict(), "reason": "it is empty"}
    ]


def test_a_reason_holds_nothing_that_a_terminal_obeys() -> None:
    text = "-- review: ignore drops-table because \x1b[2Jnothing\ndrop table a;"
    [ignored] = sort_out([finding("drops-table", 2)], {V: text}).ignored
    assert "\x1b" not in str(ignored.to_dict()["reason"])


@pytest.mark.parametrize(
    ("comment", "rule", "message"),
    [
        ("ignore drops-table", "ignored-without-reason", "no reason"),
        ("ignore drops-table because", "ignored-without-reason", "no reason"),
        ("ignore drops-table because …", "ignored-without-reason", "no reason"),
        ("ignore drops-table it is empty", "ignored-without-reason", "no reason"),
        ("ignore because it is empty", "ignored-without-reason", "no rule"),
        ("ignore", "ignored-without-reason", "no reason"),
        ("ignore drop-table because it is empty", "unknown-rule", "There is no rule drop-table."),
        ("ignore fails because it does not", "unknown-rule", "fails can't be ignored."),
    ],
)
def test_a_comment_that_is_wrong_ignores_nothing(comment: str, rule: str, message: str) -> None:
    text = f"select 1;\n-- review: {comment}\ndrop table a;"
    found = sort_out([finding("drops-table", 3), finding("fails", 3)], {V: text})
    assert found.ignored == ()
    [fault] = [each for each in found.findings if each.line == 2]
    assert (fault.rule, fault.severity) == (rule, Severity.WARN)
    assert message in fault.message or (message == "no reason" and "no rule" in fault.message)


def test_a_rule_that_is_nearly_one_is_guessed() -> None:
    text = "-- review: ignore drops-colum because it is empty\ndrop table a;"
    [fault] = sort_out([], {V: text}).findings
    assert fault.instead == "Did you mean drops-column?"


def test_a_comment_that_ignores_nothing_is_noted_where_all_was_looked_at() -> None:
    text = "select 1;\ndrop table a;\n-- review: ignore drops-table because it is below all\n"
    found = sort_out([finding("drops-table", 2)], {V: text}).findings
    assert [(each.rule, each.severity, each.line) for each in found] == [
        ("drops-table", Severity.STOP, 2),
        ("unused-ignore", Severity.NOTE, 3),
    ]
    assert left(finding("drops-table", 2), text=text) == [("drops-table", 2)]


def test_windows_line_ends_change_nothing() -> None:
    text = SQL.replace("\n", "\r\n")
    assert left(finding("drops-column", 3), finding("scans-under-lock", 7), text=text) == []


def test_a_text_that_cannot_be_cut_ignores_nothing() -> None:
    assert read_ignores(V, "-- review: ignore drops-table because …\nselect 'a") == ()


def test_the_list_begins_with_the_gravest_and_has_no_doubles() -> None:
    findings = [
        finding("drops-index", 9, Severity.NOTE),
        finding("scans-under-lock", 2, Severity.WARN),
        finding("scans-under-lock", 2, Severity.STOP),
        finding("drops-table", 8),
        finding("drops-table", 8),
        # Squawk says it too.
        finding("ban-drop-table", 8, Severity.WARN),
        finding("ban-drop-column", 8, Severity.WARN),
    ]
    expected = [
        ("scans-under-lock", 2),
        ("drops-table", 8),
        ("ban-drop-column", 8),
        ("drops-index", 9),
    ]
    assert left(*findings, text="") == expected
    assert left(*reversed(findings), text="") == expected


def test_time_is_linear_in_the_number_of_comments() -> None:
    text = "-- review: ignore drops-table because it is empty\nselect 1;\n" * 5_000
    assert len(read_ignores(V, text)) == 5_000
