"""The tables of docs/review-compared.md, from the answers in judged.json."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from judged_statements import STATEMENTS, Judged

PAGE = Path(__file__).parent.parent / "docs" / "review-compared.md"
# A wait from which it counts as one, in milliseconds.
STALL = 50
SIZES = ("100 rows", "measured", "10 GB")
MEANINGS = {
    "0A000": "refused by the server",
    "22P02": "unknown value",
    "23502": "null",
    "23505": "duplicate",
    "42501": "not permitted",
    "42703": "no such column",
    "42883": "no such function",
    "42P01": "no such table",
    "no rows": "rows are gone",
}
_PART = re.compile(r"(<!-- (\w+), from bench/judged.json -->\n).*?(<!-- end -->)", re.DOTALL)

Answers = Mapping[str, Any]
Speaks = Callable[[Judged, Answers], bool]


def written(data: Answers) -> str:
    """Return the page with its tables made anew; the text around them stays as it is."""
    parts = {"facts": facts, "table": table, "counts": counts, "wrong": wrong, "files": files}
    return _PART.sub(
        lambda match: f"{match[1]}{parts[match[2]](data)}\n{match[3]}",
        PAGE.read_text(encoding="utf-8"),
    )


def facts(data: Answers) -> str:
    known = data["facts"]
    return (
        f"{known['date']}: PostgreSQL {known['postgres']}, squawk-cli {known['squawk']},"
        f" {known['cores']} cores, load {known['load']}.\n"
        f"`users` has {known['rows']:,} rows and {known['bytes'] / 1e6:.0f} MB with its five"
        f" indexes; `teams` has {known['rows'] // 5:,} rows."
    )


def table(data: Answers) -> str:
    head = (
        "file",
        "what it did",
        "squawk",
        "strong_migrations",
        *(f"`rehearse`, {size}" for size in sizes(data)),
    )
    return markdown(head, (row(judged, data["files"][judged.name]) for judged in STATEMENTS))


def sizes(data: Answers) -> tuple[str, ...]:
    if not is_rehearsed(data):
        return ()
    return (SIZES[0], f"{data['facts']['bytes'] / 1e6:.0f} MB", SIZES[2])


def is_rehearsed(data: Answers) -> bool:
    return any("rehearse" in file for file in data["files"].values())


def row(judged: Judged, file: Answers) -> Iterator[str]:
    yield judged.name
    yield verdict(file["measured"])
    yield ", ".join(file["squawk"])
    yield strong(judged)
    for size in SIZES if "rehearse" in file else ():
        yield ", ".join(file["rehearse"][size])


def strong(judged: Judged) -> str:
    return "not looked at" if judged.strong == "execute" else judged.strong


def verdict(measured: Answers) -> str:
    """What the file did, in words: the gravest first."""
    return "; ".join(harm(measured)) or f"harmless, {span(measured['took'])}"


def harm(measured: Answers) -> Iterator[str]:
    if measured["failed"]:
        yield f"fails: {meaning(measured['failed'])}"
    if measured["breaks"]:
        yield f"breaks deployed code: {', '.join(map(meaning, measured['breaks']))}"
    if measured["reads"] >= STALL:
        yield f"stalls reads and writes for {span(measured['reads'])}"
    elif measured["writes"] >= STALL:
        yield f"stalls writes for {span(measured['writes'])}"
    if measured["types"]:
        yield f"deployed code gets another type ({', '.join(measured['types'])})"
    if measured["cached"]:
        yield "prepared statements fail"


def meaning(code: str) -> str:
    return MEANINGS.get(code, code)


def span(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def counts(data: Answers) -> str:
    """How often each one speaks where there is harm, and where there is none."""
    harmful: list[tuple[Judged, Answers]] = []
    harmless: list[tuple[Judged, Answers]] = []
    for judged in STATEMENTS:
        file = data["files"][judged.name]
        (harmful if any(harm(file["measured"])) else harmless).append((judged, file))
    lines = [
        (
            name,
            f"{sum(speaks(*each) for each in harmful)} of {len(harmful)}",
            f"{sum(speaks(*each) for each in harmless)} of {len(harmless)}",
        )
        for name, speaks in SPEAKERS.items()
        if is_rehearsed(data) or "rehearse" not in name
    ]
    return markdown(("", "speaks where there is harm", "speaks where there is none"), lines)


SPEAKERS: dict[str, Speaks] = {
    "squawk, without style and what the runner does": lambda _, file: bool(file["squawk"]),
    "squawk, as it comes": lambda _, file: bool(file["squawk_by_default"]),
    "strong_migrations, by a check": lambda judged, _: judged.strong not in ("", "execute"),
    "strong_migrations, with what it refuses unseen": lambda judged, _: bool(judged.strong),
    "`rehearse`, a stop or a warning": lambda _, file: any(map(is_loud, said(file))),
    "`rehearse`, with its notes": lambda _, file: bool(said(file)),
}


def said(file: Answers) -> list[str]:
    """What the rehearsal says by the size of the measured table."""
    return list(file.get("rehearse", {}).get(SIZES[1], ()))


def is_loud(rule: str) -> bool:
    return not rule.endswith("(note)")


def wrong(data: Answers) -> str:
    """Where the rehearsal, with the table's size, and what was seen do not agree."""
    if not is_rehearsed(data):
        return "Not compared yet."
    lines = []
    for judged in STATEMENTS:
        file = data["files"][judged.name]
        if any(map(is_loud, said(file))) != any(harm(file["measured"])):
            lines.append((judged.name, verdict(file["measured"]), ", ".join(said(file))))
    return markdown(("file", "what it did", "`rehearse` says"), lines) if lines else "Nowhere."


def files(_: Answers) -> str:
    lines = [(judged.name, code(judged.before), code(judged.sql)) for judged in STATEMENTS]
    return markdown(("file", "applied before", "SQL"), lines)


def code(sql: str) -> str:
    return "<br>".join(f"`{line}`" for line in sql.split("\n")) if sql else ""


def markdown(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    first = tuple(head)
    made = [first, ("---",) * len(first), *map(tuple, lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in made)
