"""Changes as text and as Markdown, whatever the names in the database are."""

import pytest

from lib.catalog.schema_objects import Change, ChangeKind
from lib.console.terminal import Style
from lib.drift.verdict import Verdict, drift_text
from lib.text.drift_text import (
    LONGEST_MARKDOWN,
    changes_markdown,
    changes_text,
    verdict_markdown,
    verdict_text,
)

PLAIN = Style(unicode=True)
HOSTILE = 'public."`x` | <img src=x> @everyone\n# title\n::error::x ```'


def change(identity: str, kind: ChangeKind = ChangeKind.ADDED) -> Change:
    return Change("table", identity, kind)


def test_each_change_has_its_sign() -> None:
    each = [change("public.a"), change("b", ChangeKind.REMOVED), change("c", ChangeKind.CHANGED)]
    assert changes_text(each, PLAIN) == (
        "  + table public.a  added\n  - table b  removed\n  ~ table c  changed"
    )


def test_a_name_cannot_leave_its_line() -> None:
    markdown = changes_markdown([change(HOSTILE)], title="1 change")
    title, blank, line = markdown.split("\n")
    assert (title, blank) == ("**1 change**", "")
    assert line.startswith("- added table ```` public")
    assert line.endswith(" ````")
    assert len(changes_text([change(HOSTILE)], PLAIN).split("\n")) == 1


def test_a_long_list_is_cut_where_github_would_refuse_it() -> None:
    many = [change(f"public.table_{number}") for number in range(10_000)]
    markdown = changes_markdown(many, title="Many")
    assert len(markdown) < LONGEST_MARKDOWN + 100
    shown = markdown.count("added table")
    assert markdown.endswith(f"- … and {10_000 - shown} more")


def test_a_log_has_the_first_changes_and_counts_the_others() -> None:
    text = drift_text(Verdict(tuple(change(f"t{number}") for number in range(30))))
    assert "30 changes" in text
    assert "… and 10 more" in text


@pytest.mark.parametrize("text", [verdict_text, verdict_markdown])
def test_what_is_not_known_does_not_look_like_no_drift(text: object) -> None:
    how = {"place": "app (production)"}
    verdict = Verdict(None, "a table is locked.")
    shown = (
        verdict_text(verdict, PLAIN, **how)
        if text is verdict_text
        else verdict_markdown(verdict, **how)
    )
    assert "not known" in shown
    assert "a table is locked." in shown
    assert "No drift" not in shown
