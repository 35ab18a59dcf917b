"""Text from outside in Markdown as GitHub renders it, which shows the text as it is.

GitHub makes links of @names, #12, GH-12, hashes of commits and addresses, also where a backslash
stands before them, but never in code. So each word that might mean something becomes code, and all
other words are letters, digits and harmless punctuation.
"""

import re
from collections.abc import Callable, Iterator
from itertools import groupby

from ..escaping import escaped, one_line

# Letters of any script and digits, with what may stand within and around a word of prose.
_PROSE = re.compile(r"""["'(]*\w*(?:['/,–—-]\w+)*["'),.;:?!%…–—→-]*""")
# A decimal or a thousands separator is no path.
_NUMBER = re.compile(r"[(]?\d+(?:[.,]\d+)*[%),.;:]*")
# A hash of a commit, and the key of an issue: GH-12, also that of another tracker.
_REFERENCE = re.compile(r"\b[0-9a-fA-F]{7,}\b|\b[A-Za-z]\w*-\d", re.ASCII)
_AROUND = re.compile(r"""^(["'(]*)(.*?)([)"'.,;:!?]*)$""")


def code_span(text: str) -> str:
    """Return Markdown that shows the text as it is, whatever it holds.

    In a code span nothing but backticks means anything: no HTML, no mention, no link. A longer run
    of backticks encloses shorter ones (CommonMark, "Code spans").
    """
    shown = one_line(text) or " "
    fence = "`" * (longest_run(shown) + 1)
    # A blank on both sides is taken off again.
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def code_in_cell(text: str) -> str:
    """Return the same for the cell of a table.

    There, a `|` ends the cell even in a code span, and a backslash before it may or may not help
    (GitHub Flavored Markdown, "Tables"): both are written as entities.
    """
    if not re.search(r"[|\\]", one_line(text)):
        return code_span(text)
    return code_element(text)


def code_element(text: str) -> str:
    """Return the same as an element of HTML, for where Markdown is not read: in a `<summary>`."""
    entities = re.sub(
        r"[^\w :-]", lambda sign: f"&#{ord(sign[0])};", one_line(text), flags=re.ASCII
    )
    # An underscore is a word character to Python, and emphasis to Markdown.
    return f"<code>{entities.replace('_', '&#95;')}</code>"


def code_block(text: str, language: str = "") -> str:
    """Return a fenced block; the fence is longer than any run of backticks in the text."""
    shown = escaped(text).rstrip("\n")
    fence = "`" * max(3, longest_run(shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def prose(text: str, *, in_cell: bool = False) -> str:
    """Return a line of text in which each word that could mean something is code.

    It must not stand at the beginning of a line, where a number or a dash makes a list.
    """
    code = code_in_cell if in_cell else code_span
    return " ".join(_parts(one_line(text), code))


def longest_run(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def _parts(line: str, code: Callable[[str], str]) -> Iterator[str]:
    for is_plain, words in groupby(line.split(), key=_is_plain):
        together = " ".join(words)
        if is_plain:
            yield together
            continue
        # The punctuation of the sentence stays outside, and so does a bracket around the name.
        match = _AROUND.match(together)
        before, inner, after = match.groups() if match else ("", together, "")
        yield f"{before}{code(inner)}{after}" if inner else code(together)


def _is_plain(word: str) -> bool:
    if _REFERENCE.search(word) or "_" in word:
        return False
    return bool(_NUMBER.fullmatch(word) or _PROSE.fullmatch(word))
