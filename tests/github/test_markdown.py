"""Text from outside is shown as it is, whatever it holds, by GitHub's own parser of Markdown."""

import re

import pytest
from github_markdown import OURS, seen
from hypothesis import given
from hypothesis import strategies as st

from lib.escaping import one_line
from lib.github.markdown import code_block, code_element, code_in_cell, code_span, prose

# What GitHub makes a link of, outside of code.
LINKED = re.compile(r"@\w|#\d|\bGH-\d|\b[0-9a-f]{7,}\b|://|www\.|:\w+:", re.IGNORECASE)
HOSTILE = [
    "ping @everyone and @org/team, see #12, GH-12 and owner/repo#3",
    "fixed in 0123456789abcdef0123456789abcdef01234567, or 0123abc",
    "see https://evil.example/?a=1 or www.evil.example, mail x@evil.example",
    "<img src=x onerror=alert(1)> <!-- hidden --> <details><summary>x</summary>",
    "![i](https://evil.example/x.png) [a](javascript:alert(1)) **b** ~~c~~ $d$ :tada:",
    "a | b \\| c \\\\| d `e|f` ``g`` |",
    "</details>\n\n# Title\n\n::error::x\n```\nfence",
    "public.users \u202e reversed \x1b[31m red \u200b zero",
    "- list\n1. list\n> quote\n---\n===",
    "&lt;b&gt; &#64;everyone &commat;everyone",
    "user_id and *x* and _y_ \\@everyone",
]

ANY = st.sampled_from(HOSTILE) | st.text(
    st.characters(codec="utf-8") | st.sampled_from("`` ||\\\\<@#*_[]()!~:/.&;\n0a-")
)


@given(ANY)
def test_a_code_span_holds_any_text(text: str) -> None:
    shown = seen(f"x {code_span(text)} y")
    assert shown.tags == ["p", "code"]
    assert shown.code[0].strip() == one_line(text).strip()


@given(ANY)
def test_a_cell_holds_any_text(text: str) -> None:
    shown = seen(f"| a | b |\n|---|---|\n| {code_in_cell(text)} | z |")
    assert shown.tags.count("td") == 2
    assert shown.tags.count("code") == 1
    assert shown.code[0].strip() == one_line(text).strip()
    assert shown.prose.rstrip().endswith("z")


@given(ANY)
def test_an_element_of_code_holds_any_text(text: str) -> None:
    shown = seen(f"<details><summary>{code_element(text)} x</summary>\n\ny\n\n</details>")
    assert shown.tags == ["details", "summary", "code", "p"]
    assert shown.code[0] == one_line(text)


@given(ANY)
def test_a_fence_holds_any_text(text: str) -> None:
    shown = seen(f"{code_block(text, 'sql')}\n\nafter")
    assert shown.tags == ["pre", "code", "p"]
    assert shown.prose.strip() == "after"


@given(ANY)
def test_prose_has_no_meaning_outside_of_code(text: str) -> None:
    for line in (f"Why: {prose(text)}", f"| a |\n|---|\n| {prose(text, in_cell=True)} |"):
        shown = seen(line)
        assert {*shown.tags} <= {"p", "code", "table", "thead", "tbody", "tr", "th", "td"}
        assert shown.tags.count("td") <= 1
        assert not LINKED.search(shown.prose), shown.prose


@pytest.mark.parametrize("text", HOSTILE)
def test_prose_keeps_every_word(text: str) -> None:
    shown = seen(f"Why: {prose(text)}")
    # In the order of the text, whether code or not.
    words = [word for word in one_line(text).split() if word.isalpha()]
    whole = shown.prose + " ".join(shown.code)
    assert all(word in whole for word in words)
    assert {*shown.tags} <= OURS


def test_a_sentence_stays_a_sentence() -> None:
    text = "It rewrites public.orders (12.5 GB, about 300,000 rows), which takes 2-3 min."
    assert prose(text) == (
        "It rewrites `public.orders` (12.5 GB, about 300,000 rows), which takes 2-3 min."
    )


def test_what_cannot_be_seen_is_shown() -> None:
    assert "\\u202e" in prose("a\u202eb")
    assert "\\u202e" in code_block("a\u202eb")
