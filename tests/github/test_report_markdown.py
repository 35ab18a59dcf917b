"""The comment as a reviewer sees it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from github_markdown import OURS, seen
from hypothesis import given
from hypothesis import strategies as st

from lib import COMMAND
from lib.github.report_document import report_of
from lib.github.report_markdown import LONGEST_COMMENT, Place, compose, title_of, units
from lib.review.finding import Severity

PLACE = Place(
    "apps/web/migrations",
    blob="https://github.com/acme/shop/blob/0123456789abcdef0123456789abcdef01234567",
    run="https://github.com/acme/shop/actions/runs/99",
    commit="0123456789abcdef0123456789abcdef01234567",
)
HOSTILE = "`x` ```` | \\| <img src=x> @everyone #1 https://evil.example \n# t\n</details>"


def finding(**more: Any) -> dict[str, Any]:
    return {
        "rule": "rewrites-table",
        "severity": "stop",
        "version": "005-change-type",
        "line": 3,
        "message": "It rewrites public.orders (50 GB).",
        "instead": "alter table public.orders add column total_new bigint;",
        **more,
    }


def document(*findings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    statement = {
        "line": 3,
        "locks": [{"relation": "public.orders", "mode": "AccessExclusive"}],
        "rewrites": ["public.orders"],
        "scans": [],
    }
    return {
        "success": True,
        "files": [{"version": "005-change-type", "statements": [statement]}],
        "findings": list(findings),
        "breaking": [],
        **more,
    }


def test_the_verdict_comes_first_and_the_gravest_finding_next() -> None:
    report = report_of(document(finding(severity="note", line=1), finding()))
    lines = compose(report, PLACE).split("\n")
    assert lines[0] == "### ❌ 1 pending migration: 1 stop, 1 note"
    assert lines[4].startswith("| ❌ stop | [`005-change-type.sql:3`](")
    assert lines[5].startswith("| note | ")


def test_a_finding_leads_to_its_line() -> None:
    shown = seen(compose(report_of(document(finding())), PLACE))
    assert shown.links == [
        f"{PLACE.blob}/apps/web/migrations/005-change-type.sql#L3",
        PLACE.run,
    ]


def test_the_sql_to_write_instead_is_folded_away_with_the_way_to_ignore_the_finding() -> None:
    text = compose(report_of(document(finding())), PLACE)
    assert "```sql\nalter table public.orders add column total_new bigint;\n```" in text
    assert "`-- review: ignore RULE because …`" in text


def test_without_a_finding_it_is_green() -> None:
    text = compose(report_of(document()), PLACE)
    assert text.startswith("### ✅ 1 pending migration: nothing found\n")


def test_with_nothing_pending_it_says_so() -> None:
    report = report_of({**document(), "files": []})
    assert report.is_empty
    assert compose(report, Place()) == "### ✅ No migration of this pull request is pending"


def test_a_rehearsal_that_could_not_run_says_why() -> None:
    report = report_of({"success": False, "error": "No such branch: origin/main."})
    text = compose(report, Place())
    assert text.startswith("### ❌ The migrations could not be rehearsed")
    assert "No such branch: origin/main." in text


def test_what_was_locked_is_a_table_of_its_own() -> None:
    text = compose(report_of(document()), PLACE)
    assert (
        "| `005-change-type.sql:3` | `public.orders` | reads and writes (ACCESS EXCLUSIVE) "
        "| rewrites it |" in text
    )


def test_a_lock_that_blocks_nobody_is_left_out() -> None:
    harmless = {"line": 1, "locks": [{"relation": "public.a", "mode": "AccessShare"}]}
    statement = {**harmless, "rewrites": [], "scans": []}
    files = [{"version": "001-x", "statements": [statement]}]
    assert "locked" not in compose(report_of(document(files=files)), PLACE)


@pytest.mark.parametrize(
    ("known", "said"),
    [(True, "weighed by the sizes"), (False, "were not known"), (None, "throw-away server.")],
)
def test_it_says_whether_sizes_were_known(known: bool | None, said: str) -> None:
    assert said in compose(report_of(document(sizesKnown=known)), PLACE)


def test_what_was_not_rehearsed_is_not_folded_away() -> None:
    files = [{"version": "006-x", "statements": [], "notRehearsed": "It needs a superuser."}]
    text = compose(report_of(document(files=files)), PLACE)
    assert "**Not rehearsed:** `006-x.sql`: It needs a superuser." in text


def test_what_is_ignored_is_folded_away_with_its_reason() -> None:
    ignored = [{**finding(), "reason": "Nobody reads public.orders at night."}]
    text = compose(report_of(document(ignored=ignored)), PLACE)
    assert "<summary>Ignored, each for a reason (1)</summary>" in text
    assert "- `005-change-type.sql:3` `rewrites-table`: Nobody reads `public.orders` at" in text


def test_files_that_did_not_run_are_pending_too() -> None:
    report = report_of(document(finding(), pending=["005-change-type", "006-x"]))
    assert title_of(report) == "2 pending migrations: 1 stop"


def test_a_command_to_type_is_code() -> None:
    command = f"{COMMAND} renumber --base origin/main"
    text = compose(report_of(document(finding(instead=command))), PLACE)
    assert f"Instead: `{command}`\n" in text
    text = compose(report_of(document(finding(instead=f"{command}, then push"))), PLACE)
    assert f"Instead: `{command}`, then push\n" in text


@given(st.text() | st.just(HOSTILE), st.text() | st.just(HOSTILE))
def test_no_name_and_no_sql_breaks_out(name: str, sql: str) -> None:
    hostile = finding(rule=name, version=name, message=name, instead=sql)
    statement = {
        "line": 1,
        "locks": [{"relation": name, "mode": name}, {"relation": name, "mode": "Share"}],
        "rewrites": [name],
        "scans": [name],
    }
    files = [{"version": name, "statements": [statement], "notRehearsed": name}]
    ignored = [{**hostile, "reason": name}]
    document_ = document(hostile, finding(), files=files, ignored=ignored, pending=[name])
    text = compose(report_of(document_), PLACE)
    shown = seen(text)
    assert {*shown.tags} <= OURS
    assert shown.tags.count("h3") == 1
    assert shown.tags.count("details") == shown.tags.count("summary")
    assert all(link.startswith("https://github.com/acme/shop/") for link in shown.links)
    assert "@everyone" not in shown.prose
    assert "evil" not in shown.prose


def test_a_path_out_of_the_folder_is_no_link() -> None:
    text = compose(report_of(document(finding(version="../../x"))), PLACE)
    assert seen(text).links == [PLACE.run]


def test_a_long_report_is_cut_with_a_link_to_the_run() -> None:
    many = [finding(line=number, instead="select 'ü𝄞';\n" * 200) for number in range(1, 200)]
    text = compose(report_of(document(*many)), PLACE)
    assert LONGEST_COMMENT - 5000 < units(text) <= LONGEST_COMMENT
    assert "[see the run](https://github.com/acme/shop/actions/runs/99)." in text
    assert "… and 149 more findings." in text
    assert {*seen(text).tags} <= OURS


def test_the_longest_report_that_is_read_still_fits() -> None:
    long = "`|\\" * 1300
    one = finding(message=long, rule=long, version=long, instead=long)
    assert units(compose(report_of(document(*[one] * 1000)), PLACE)) <= LONGEST_COMMENT


def test_the_title_is_one_line_of_words() -> None:
    assert title_of(report_of(document(finding()))) == "1 pending migration: 1 stop"


def test_findings_are_sorted_and_more_can_be_added() -> None:
    report = report_of(document(finding(severity="warn"), finding(severity="note")))
    more = report_of(document(finding())).findings
    assert [each.severity for each in report.with_findings(more).findings] == list(Severity)
    assert json.dumps(document(finding()))
