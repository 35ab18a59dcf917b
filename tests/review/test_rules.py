"""The table of the rules."""

import re

from conftest import ROOT

from lib.review.estimates import BUSY, MB, RATES, SMALL
from lib.review.rules import (
    ANSWERED_BY,
    BY_DEPLOYED_CODE,
    BY_LINT,
    BY_SIZE,
    MISTAKES,
    RULES,
)
from lib.time_limits import STALL


def test_each_name_is_unique_and_in_kebab_case() -> None:
    assert len(RULES) == len(BY_SIZE) + len(BY_DEPLOYED_CODE) + len(MISTAKES) + len(BY_LINT)
    assert [name for name in RULES if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_each_rule_says_in_a_sentence_what_it_finds() -> None:
    assert [rule.name for rule in RULES.values() if not rule.about.endswith(".")] == []


def test_only_what_is_weighed_by_size_depends_on_it() -> None:
    assert {rule for rule in RULES.values() if rule.depends_on_size} == set(BY_SIZE)


def test_what_answers_a_rule_of_squawk_is_a_rule_of_ours() -> None:
    assert {rule for rules in ANSWERED_BY.values() for rule in rules} <= RULES.keys()
    assert not ANSWERED_BY.keys() & RULES.keys()


def test_review_md_has_every_rule_with_its_severity_and_what_it_finds() -> None:
    text = (ROOT / "docs" / "review.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \| (stop|warn|note) \| (.+) \|$", text, re.MULTILINE)
    rules = (*BY_SIZE, *BY_DEPLOYED_CODE, *MISTAKES)
    assert listed == [(rule.name, rule.severity.value, rule.about) for rule in rules]


def test_review_md_has_the_rates_and_the_limits_of_the_estimates() -> None:
    text = (ROOT / "docs" / "review.md").read_text()
    rates = re.findall(r"^\| .+ \| (\d+) MB to (\d+) MB \|$", text, re.MULTILINE)
    assert [(int(slow) * MB, int(fast) * MB) for slow, fast in rates] == list(RATES.values())
    assert f"A table below {SMALL // MB} MB is not mentioned" in text
    assert f"takes longer than {STALL:g} s on a slow server" in text
    assert f"the table is used {BUSY} times a second" in text
