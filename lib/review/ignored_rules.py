"""Comments that ignore a rule of the review, and the findings that are left. Pure.

`-- review: ignore RULE[, RULE] because REASON` counts for the next statement; on the line on which
a statement ends or within a statement, for that one; above the first statement, for the file.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ..escaping import document_text
from ..sql.lexer import LexicalError
from ..sql.splitter import Piece, comments, split
from .finding import Finding, Severity
from .rules import ANSWERED_BY, RULES

# Cheap, and decides for nearly all files.
_MAY_IGNORE = re.compile(r"--[ \t]*review[ \t]*:", re.IGNORECASE)
_IGNORE = re.compile(r"--+\s*review\s*:\s*ignores?\b\s*(?P<what>.*)", re.IGNORECASE)
_BECAUSE = re.compile(r"(?:^|\s+)because\b[\s:,]*", re.IGNORECASE)
# To ignore that something fails, or that an ignore is wrong, would only hide it.
_NEVER_IGNORED = ("fails", "ignored-without-reason", "unknown-rule")
_EXAMPLE = "-- review: ignore drops-column because no code has read it since May"


@dataclass(frozen=True)
class Ignore:
    """One comment: in which file and line, of which rules, why; and for which lines it counts.

    `first` is 0 for the whole file.
    """

    version: str
    line: int
    rules: tuple[str, ...]
    reason: str
    first: int
    last: int

    def covers(self, finding: Finding) -> bool:
        """True if the comment counts for the finding, under its name or that of squawk."""
        is_here = self.first == 0 or self.first <= finding.line <= self.last
        return (
            finding.version == self.version
            and is_here
            and finding.rule not in _NEVER_IGNORED
            and any(finding.rule in _names_of(rule) for rule in self.rules)
        )


@dataclass(frozen=True)
class IgnoredFinding:
    """A finding that a comment ignores, and the reason that it gives."""

    finding: Finding
    reason: str

    def to_dict(self) -> dict[str, str | int]:
        """Return the JSON document: that of the finding, with the reason."""
        return {**self.finding.to_dict(), "reason": document_text(self.reason)}


@dataclass(frozen=True)
class SortedOut:
    """The findings that count, from the gravest, and those that are ignored."""

    findings: tuple[Finding, ...]
    ignored: tuple[IgnoredFinding, ...]


def sort_out(
    findings: Iterable[Finding], texts: Mapping[str, str], *, is_complete: bool = True
) -> SortedOut:
    """Return one list: without doubles and without what the files ignore, from the gravest.

    `texts` has the text of each file by its version. What is wrong with a comment is a finding of
    its own. Without `is_complete`, not every rule was looked at, and a comment that ignores nothing
    is not reported.
    """
    ignores: list[Ignore] = []
    faults: list[Finding] = []
    for version, text in texts.items():
        for ignore in read_ignores(version, text):
            ignores.append(ignore)
            faults += _faults(ignore)
    counted: list[Finding] = faults
    ignored: list[IgnoredFinding] = []
    used: set[Ignore] = set()
    for finding in dict.fromkeys(findings):
        by = [each for each in ignores if each.reason and each.covers(finding)]
        used.update(by)
        if by:
            ignored.append(IgnoredFinding(finding, by[0].reason))
        else:
            counted.append(finding)
    if is_complete:
        counted += [_idle(each) for each in ignores if each not in used and _is_valid(each)]
    return SortedOut(
        tuple(sorted(_without_doubles(counted), key=_place)),
        tuple(sorted(ignored, key=lambda each: _place(each.finding))),
    )


def read_ignores(version: str, text: str) -> tuple[Ignore, ...]:
    """Return the comments of a file that ignore a rule, also those that are wrong."""
    if not _MAY_IGNORE.search(text):
        return ()
    try:
        pieces = split(text)
    except LexicalError:
        # Such a file is refused as a whole.
        return ()
    return tuple(_ignores(version, text, pieces))


def _ignores(version: str, text: str, pieces: tuple[Piece, ...]) -> Iterator[Ignore]:
    lines = _Lines(text, pieces)
    for piece in pieces:
        for offset, comment in comments(text, piece):
            match = _IGNORE.fullmatch(comment.rstrip())
            if match is None:
                continue
            rules, reason = _read(match["what"])
            first, last = lines.meant_at(offset)
            yield Ignore(version, lines.at(offset), rules, reason, first, last)


class _Lines:
    """The lines of a text, and of its statements."""

    def __init__(self, text: str, pieces: tuple[Piece, ...]) -> None:
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._statements = [piece for piece in pieces if piece.kind == "statement"]
        self._starts = [piece.first for piece in self._statements]

    def at(self, offset: int) -> int:
        return bisect_left(self._breaks, offset) + 1

    def meant_at(self, offset: int) -> tuple[int, int]:
        """The lines for which a comment counts; (0, 0) for the whole file."""
        place = bisect_left(self._starts, offset)
        if not place:
            return 0, 0
        before = self._statements[place - 1]
        if offset < before.end or self.at(offset) == self.at(before.end):
            return self.at(before.first), self.at(before.end)
        # Below the last statement it counts for nothing.
        after = self._statements[place : place + 1]
        return (self.at(after[0].first), self.at(after[0].end)) if after else (-1, -1)


def _read(what: str) -> tuple[tuple[str, ...], str]:
    """Split the rest of the comment into rules and reason; the latter has at least a word."""
    head, *rest = _BECAUSE.split(what, maxsplit=1)
    reason = rest[0].strip() if rest and re.search(r"\w", rest[0]) else ""
    names = tuple(filter(None, re.split(r"[\s,]+", head)))
    # Without "because", it is not known where the rules end.
    return (names if rest else names[:1]), reason


def _names_of(rule: str) -> frozenset[str]:
    """The names under which a rule is found: ours and those of squawk."""
    of_squawk = {name for name, rules in ANSWERED_BY.items() if rule in rules}
    return frozenset({rule, *ANSWERED_BY.get(rule, ()), *of_squawk})


def _is_known(rule: str) -> bool:
    return (rule in RULES or rule in ANSWERED_BY) and rule not in _NEVER_IGNORED


def _is_valid(ignore: Ignore) -> bool:
    return bool(ignore.reason and ignore.rules) and all(map(_is_known, ignore.rules))


def _faults(ignore: Ignore) -> Iterator[Finding]:
    if not ignore.reason or not ignore.rules:
        what = "no rule" if not ignore.rules else "no reason"
        yield _finding(
            ignore,
            "ignored-without-reason",
            f"The comment gives {what}, and ignores nothing.",
            f"Write the rule and the reason, as in:\n{_EXAMPLE}",
        )
    for rule in ignore.rules:
        if rule in _NEVER_IGNORED:
            yield _finding(ignore, "unknown-rule", f"{rule} can't be ignored.")
        elif not _is_known(rule):
            near = get_close_matches(rule.lower(), [*RULES, *ANSWERED_BY], n=1)
            hint = f"Did you mean {near[0]}?" if near else ""
            yield _finding(ignore, "unknown-rule", f"There is no rule {rule[:60]}.", hint)


def _finding(ignore: Ignore, rule: str, fault: str, instead: str = "") -> Finding:
    return Finding(rule, Severity.WARN, ignore.version, ignore.line, fault, instead)


def _idle(ignore: Ignore) -> Finding:
    names = ", ".join(ignore.rules)
    return Finding(
        "unused-ignore",
        Severity.NOTE,
        ignore.version,
        ignore.line,
        f"The comment ignores {names}, which is not found here.",
        "Remove the comment.",
    )


def _without_doubles(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Of what one rule says of one line in the same words, the gravest; of squawk, what is left."""
    kept: dict[tuple[str, int, str, str], Finding] = {}
    found = tuple(findings)
    told = {(each.version, each.line, each.rule) for each in found}
    for each in found:
        answers = ANSWERED_BY.get(each.rule, ())
        if any((each.version, each.line, rule) in told for rule in answers):
            continue
        key = (each.version, each.line, each.rule, each.message)
        if key not in kept or each.severity.is_at_least(kept[key].severity):
            kept[key] = each
    yield from kept.values()


def _place(finding: Finding) -> tuple[int, str, int, str, str]:
    return finding.severity.rank, finding.version, finding.line, finding.rule, finding.message
