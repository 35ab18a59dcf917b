"""The table of the rules."""

import re

from lib.review.rules import (
    ANSWERED_BY,
    BY_DEPLOYED_CODE,
    BY_LINT,
    BY_SIZE,
    MISTAKES,
    RULES,
)


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
