"""The runs on record as text, letter for letter, in 60 columns."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest

from lib.console.terminal import Style
from lib.plan.reports import History, PastRun
from lib.text.history_text import WIDTH, history_text

SIGNS = Style(unicode=True)
WHEN = datetime(2026, 11, 27, 19, 42, 18, tzinfo=UTC)
DONE = PastRun(
    7, "succeeded", "build", WHEN, WHEN + timedelta(seconds=1.25), "4f9c1d2aa0b3" + "0" * 28,
    "production", ref="main", deployment="dpl_1", applied=("004-a",),
)  # fmt: skip
FAILED = replace(
    DONE, outcome="failed", failed_version="005-b", sqlstate="42P01", applied=(),
    error='migrations/005-b.sql:1:1: relation "x" does not exist (SQLSTATE 42P01)\n  1 | …',
)  # fmt: skip


def text_of(*runs: PastRun) -> str:
    return history_text(History("production", "shop", "18.6", runs), SIGNS)


def test_a_run_that_succeeded_and_one_that_failed() -> None:
    assert text_of(replace(FAILED, id=8), DONE) == dedent(
        """\
        Runs on record in shop (production), the newest first:

        ✗ 2026-11-27 19:42:18 UTC  failed in 1.25s
          run 8, build, production, 4f9c1d2aa0b3 (main)
          applied nothing
          | migrations/005-b.sql:1:1: relation "x" does not exist
          | (SQLSTATE 42P01)

        ✓ 2026-11-27 19:42:18 UTC  succeeded in 1.25s
          run 7, build, production, 4f9c1d2aa0b3 (main)
          applied 1 file: 004-a"""
    )


def test_a_run_under_way_has_no_duration_and_says_where_it_is() -> None:
    run = replace(DONE, outcome="running", finished_at=None, in_progress_version="005-b")
    run = replace(run, error="Statement 2 of 5: create index concurrently …")
    assert text_of(run).splitlines()[2:] == [
        "• 2026-11-27 19:42:18 UTC  running",
        "  run 7, build, production, 4f9c1d2aa0b3 (main)",
        "  applied 1 file: 004-a",
        "  stopped in 005-b",
        "  | Statement 2 of 5: create index concurrently …",
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1000])
def test_a_long_list_of_names_is_cut_and_counted(count: int) -> None:
    applied = tuple(f"{number:03}-add-invoices" for number in range(count))
    line = text_of(replace(DONE, applied=applied)).splitlines()[-1]
    assert len(line) <= WIDTH
    shown = line.count("-add-invoices")
    rest = f" and {count - shown} more" if shown < count else ""
    assert line.startswith(f"  applied {count} file{'s' * (count > 1)}: 000-add-invoices")
    assert line.endswith(f"-add-invoices{rest}")


def test_two_names_that_are_equal_are_both_counted() -> None:
    line = text_of(replace(DONE, applied=("004-a", "005-b", "005-b"))).splitlines()[-1]
    assert line == "  applied 3 files: 004-a, 005-b, 005-b"


def test_no_text_from_outside_begins_a_line_or_moves_the_cursor() -> None:
    hostile = "::error::x " * 20 + "\x1b[2J\n::set-output"
    run = replace(FAILED, failed_version="\n::x", error=hostile, environment="\n::y", ref="\r::z")
    text = text_of(replace(run, applied=("\n::a", "::b")))
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]
    assert "\x1b" not in text


@pytest.mark.parametrize("words", range(30))
def test_a_password_is_masked_also_where_the_line_is_wrapped(words: int) -> None:
    # Where a line ends between the two, the second is not recognized any more.
    run = replace(FAILED, error=f"{'ab ' * words}password = hunter2-sentinel", failed_version=None)
    text = text_of(run)
    assert "password" in text
    assert "hunter2" not in text


def test_the_digests_of_an_earlier_version_are_not_shown() -> None:
    digest = f"2, sha256 {'0' * 64}"
    error = f"Statement 3 of 5. Statements before it: {digest}; with it: {digest}"
    text = text_of(replace(FAILED, error=error, sqlstate=None))
    assert text.endswith("\n  | 005-b: Statement 3 of 5.")


def test_a_failure_without_a_reason_is_one_all_the_same() -> None:
    run = replace(FAILED, failed_version=None, error=None, sqlstate=None)
    assert text_of(run).endswith("\n  applied nothing")


def test_a_run_without_a_migration_says_what_it_may_have_been() -> None:
    run = replace(FAILED, outcome="succeeded", failed_version=None, error=None, sqlstate=None)
    assert text_of(run).endswith("\n  applied no migration: seeds, or baseline --forget")


def test_without_a_run_it_says_so() -> None:
    assert text_of() == (
        "No run is on record in shop (production): none has had anything to apply there."
    )
