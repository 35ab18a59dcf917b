"""The status as one HTML document, for people: no script, and nothing from anywhere else.

What is shown is the document that is also the JSON. Its texts may be hostile: a version is the name
of a file in somebody's branch, and a row of the ledger may hold anything.
"""

import base64
import hashlib
from dataclasses import replace
from html import escape
from typing import Any

from ..escaping import escaped
from ..plan.reports import Document
from .endpoint_setup import STATUS_PATH
from .http_endpoint import Answer

# A color only repeats what a word says. In a narrow window each row becomes a block, in which the
# cells name themselves.
_STYLE = """
:root {
  color-scheme: light dark;
  --text: #1b1f24; --quiet: #59636e; --ground: #fff; --line: #d1d9e0;
  --good: #116329; --wait: #7d4e00; --bad: #a40e26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6edf3; --quiet: #9198a1; --ground: #0d1117; --line: #3d444d;
    --good: #56d364; --wait: #e3b341; --bad: #ff8b85;
  }
}
body {
  margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem; }
header {
  display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline;
  justify-content: space-between;
}
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
a { color: inherit; }
.state { padding: .75rem 1rem; border: 1px solid var(--line); border-left: .4rem solid;
  font-weight: 600; }
.good { color: var(--good); }
.wait { color: var(--wait); }
.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: fit-content(40%) 1fr; gap: .25rem 1.5rem; margin: 0; }
dt, caption, thead { color: var(--quiet); }
dd { margin: 0; }
table { width: 100%; table-layout: fixed; border-collapse: collapse; }
caption, th, td { text-align: left; }
caption { padding-bottom: .25rem; }
th, td { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
thead th { font-weight: 600; overflow-wrap: normal; }
thead th:nth-of-type(2) { width: 5.5rem; }
thead th:nth-of-type(4) { width: 12rem; }
thead th:nth-of-type(5) { width: 5.5rem; }
tbody th { font-weight: 400; }
td:empty::before { content: "\\2013"; }
th:nth-of-type(5), td:nth-of-type(4) { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
footer { margin-top: 2rem; color: var(--quiet); font-size: .9rem; }
@media (max-width: 60rem) {
  table, caption, tbody { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: grid; grid-template-columns: 1fr auto; padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  tbody th, td { padding: 0; border: 0; }
  td:nth-of-type(1) { padding-left: 1rem; }
  td:nth-of-type(n + 2) { grid-column: 1 / -1; text-align: left; font-size: .9rem; }
  td:nth-of-type(n + 2):empty { display: none; }
  td:nth-of-type(3)::before { content: "Applied at (UTC): "; }
  td:nth-of-type(4)::before { content: "Duration (ms): "; }
  td:nth-of-type(5)::before { content: "Applied by: "; }
}
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded and nothing runs, even if a text got past the escaping.
_HEADERS = (
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
)

# By state: the tone, what the title says, and what the first line adds to it.
_STATES = {
    "up-to-date": ("good", "Up to date", "every migration of this deployment is applied."),
    "pending": ("wait", "Pending", "{} to be applied."),
    "ahead": ("good", "Ahead", "the database has migrations that this deployment does not have."),
    "modified": (
        "bad",
        "Modified",
        "a migration was changed or renamed after it had been applied.",
    ),
    "uninitialised": (
        "wait",
        "Not initialized",
        "nothing is applied, and there is nothing to apply.",
    ),
}
# The last verdict, which the document repeats.
_DRIFT = {True: "yes, when last looked at", False: "no, when last looked at", None: "not known"}
_TONES = {"applied": "good", "pending": "wait", "modified": "bad", "missing": "wait"}
_COLUMNS = ("Version", "State", "Name", "Applied at (UTC)", "Duration (ms)", "Applied by")


def as_page(answer: Answer, document: Document) -> Answer:
    """Turn an answer in JSON, whose content is `document`, into a page of the same code."""
    page = _status(document) if document["success"] else _failure(answer.code, document["error"])
    return replace(
        answer,
        # As in the JSON, what is invisible or changes the direction of writing is shown escaped.
        body=escaped(page).encode(),
        more_headers=(*_HEADERS, *answer.more_headers),
        content_type="text/html; charset=utf-8",
    )


def _status(document: Document) -> str:
    state = document["state"]
    tone, title, more = _STATES.get(state, ("wait", state, ""))
    waiting = document["pendingMigrations"]
    count = f"{waiting} migration waits" if waiting == 1 else f"{waiting:,} migrations wait"
    deployment, run = document["deployment"], document["lastRun"]
    return _page(
        title,
        tone,
        f"{title}: {more.format(count)}",
        _list(
            ("Environment", document["environment"]),
            ("Database belongs to", document["belongsTo"] or "no environment yet"),
            ("Database", document["database"]),
            ("Server", document["pgVersion"]),
            ("Applied", document["appliedMigrations"]),
            ("Pending", waiting),
            ("Changed since the last run", _DRIFT[document["drift"]]),
        ),
        "<h2>Migrations</h2>",
        _table(document["migrations"], document["migrationsTotal"]),
        "<h2>Last run</h2>",
        _run(run) if run else "<p>No run is on record.</p>",
        "<h2>Deployment</h2>",
        _list(("Commit", deployment["commit"]), ("Ref", deployment["ref"])),
    )


def _failure(code: int, error: str) -> str:
    return _page("Not available", "bad", f"Not available (HTTP {code}): {error}")


def _page(title: str, tone: str, first_line: str, *parts: str) -> str:
    body = "\n".join(parts)
    # An empty address is the address of the page itself, with its parameters.
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)} · Migration status</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main>
<header><h1>Migration status</h1><a href="">Refresh</a></header>
<p class="state {tone}">{escape(first_line)}</p>
{body}
<footer><a href="{STATUS_PATH}">JSON</a></footer>
</main>
</body>
</html>
"""


def _list(*entries: tuple[str, Any]) -> str:
    lines = (f"<dt>{term}</dt><dd>{_text(value) or '–'}</dd>" for term, value in entries)
    return "\n".join(("<dl>", *lines, "</dl>"))


def _table(migrations: list[Document], total: int) -> str:
    if not migrations:
        return "<p>There are no migrations, neither in this deployment nor in the database.</p>"
    shown = len(migrations)
    caption = "The newest first" if shown == total else f"The newest {shown:,} of {total:,}"
    head = "".join(f'<th scope="col" role="columnheader">{column}</th>' for column in _COLUMNS)
    # The roles are those of the elements: some browsers forget them if a row is laid out as a
    # block.
    return "\n".join(
        (
            '<table role="table">',
            f"<caption>{caption}</caption>",
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>',
            '<tbody role="rowgroup">',
            *map(_row, reversed(migrations)),
            "</tbody></table>",
        )
    )


def _row(migration: Document) -> str:
    state = migration["state"]
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{_text(migration["version"])}</th>'
        f'<td role="cell" class="{_TONES.get(state, "")}">{_text(state)}</td>'
        f'<td role="cell">{_text(migration["name"])}</td>'
        f'<td role="cell">{_moment(migration["appliedAt"])}</td>'
        f'<td role="cell">{_text(migration["executionTimeMs"])}</td>'
        f'<td role="cell">{_origin(migration["appliedBy"])}</td></tr>'
    )


def _origin(by: Document | None) -> str:
    """The deployment that applied a migration, as in `0123456 (main)`."""
    if by is None:
        return ""
    ref = f"({by['ref']})" if by["ref"] else ""
    return _text(" ".join(filter(None, ((by["commit"] or "")[:7], ref))))


def _run(run: Document) -> str:
    return _list(
        ("Outcome", run["outcome"]),
        ("Started by", run["source"]),
        ("Started (UTC)", _moment(run["startedAt"])),
        ("Ended (UTC)", _moment(run["finishedAt"])),
        ("Commit", run["commit"]),
    )


def _moment(iso: str | None) -> str:
    """Shorten a time of the document to seconds, as in `2026-11-22 12:44:25`."""
    return (iso or "")[:19].replace("T", " ")


def _text(value: object) -> str:
    return "" if value is None else escape(str(value))
