"""One finding of a review."""

from lib.review.finding import Finding, Severity


def test_a_severity_is_at_least_itself_and_whatever_is_milder() -> None:
    assert Severity.STOP.is_at_least(Severity.WARN)
    assert Severity.WARN.is_at_least(Severity.WARN)
    assert not Severity.NOTE.is_at_least(Severity.WARN)


def test_nothing_that_a_terminal_obeys_is_in_the_document_of_a_finding() -> None:
    finding = Finding("drops-column", Severity.STOP, "001-\x1b[2J", 3, "gone\u202e", "a\x07")
    document = finding.to_dict()
    assert document["severity"] == "stop"
    assert "\x1b" not in str(document["version"])
    assert "\u202e" not in str(document["message"])
    assert "\x07" not in str(document["instead"])


def test_the_sql_in_the_document_can_be_copied() -> None:
    sql = "-- File 1:\ncreate index concurrently on a (b);\n-- File 2:\nselect 1;"
    document = Finding("drops-column", Severity.STOP, "001-a", 3, "one\ntwo", sql).to_dict()
    assert (document["message"], document["instead"]) == ("one\ntwo", sql)
