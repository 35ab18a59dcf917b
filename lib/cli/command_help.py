"""What is told about all commands together: the help that groups them, and the likely word."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

# A narrower terminal gets lines of this width all the same: words would be cut.
NARROWEST = 40


def overview(
    usage: str, about: str, sections: Mapping[str, Sequence[tuple[str, str]]], end: str, width: int
) -> str:
    """Compose the help of the program; `sections` has the commands under their titles."""
    width = max(width, NARROWEST)
    # As wide as the longest name, so that the columns of all sections are aligned.
    column = max(len(name) for rows in sections.values() for name, _ in rows) + 4
    blocks = [f"usage: {usage}", textwrap.fill(about, width)]
    for title, rows in sections.items():
        lines = [f"{title}:", *(_row(name, text, column, width) for name, text in rows)]
        blocks.append("\n".join(lines))
    blocks += [textwrap.fill(part, width) for part in end.split("\n\n")]
    return "\n\n".join(blocks) + "\n"


def _row(name: str, text: str, column: int, width: int) -> str:
    return textwrap.fill(
        text, width, initial_indent=f"  {name}".ljust(column), subsequent_indent=" " * column
    )


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the one that is nearest, if any is."""
    # A right word, as nearly all are, needs no nearest one.
    import difflib

    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]}?" if near else ""
