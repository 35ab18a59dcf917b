"""Markdown as GitHub renders it, by GitHub's own parser, and what a reader then sees."""

from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

# What the reports consist of; `a` only as a link of ours.
OURS = {
    *("h3", "p", "strong", "code", "pre", "a", "details", "summary", "ul", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_SKIPPED = {"code", "pre", "a"}


class Seen(HTMLParser):
    """The elements of a rendered text, its text outside of code, and its code."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells = 0
        self.prose = ""
        self.code: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        if tag == "code":
            self.code.append("")
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self._open:
            self.code[-1] += data
        # GitHub makes no link of a name or a number in these.
        if not _SKIPPED & {*self._open}:
            self.prose += data


def to_html(markdown: str) -> str:
    return str(
        cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)
    )


def seen(markdown: str) -> Seen:
    return Seen(to_html(markdown))
