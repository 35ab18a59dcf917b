"""The report of a rehearsal as it is found in a file: checked, and cut to a bearable size.

The file was made in a process that has run a stranger's SQL, so it may hold anything.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import MigratorError
from ..escaping import PREFIX
from ..files.folder import NAME
from ..review.finding import Finding, Severity

T = TypeVar("T")

LARGEST_REPORT = 8 << 20
# Of each list, and of each text: more is of use to nobody who reads a comment.
MOST_ENTRIES = 1000
LONGEST_TEXT = 4000


@dataclass(frozen=True)
class ReportedStatement:
    """What a statement did: each lock is a relation and a mode."""

    line: int
    locks: tuple[tuple[str, str], ...]
    rewrites: tuple[str, ...]
    scans: tuple[str, ...]


@dataclass(frozen=True)
class ReportedFile:
    """What a file did; `not_rehearsed` says why it, or the rest of it, did not run."""

    version: str
    statements: tuple[ReportedStatement, ...]
    not_rehearsed: str


@dataclass(frozen=True)
class Report:
    """The report. `error` says why there is none; `has_sizes` is None if that is not said.

    `pending` are the versions of all pending files, also of those that could not run. `ignored` are
    findings that a comment in the file ignores, each with the reason.
    """

    pending: tuple[str, ...] = ()
    files: tuple[ReportedFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    ignored: tuple[tuple[Finding, str], ...] = ()
    error: str = ""
    has_sizes: bool | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing is pending, and nothing is wrong."""
        return not (self.pending or self.findings or self.error)

    @property
    def worst(self) -> Severity | None:
        """The gravest severity, or None without a finding."""
        return self.findings[0].severity if self.findings else None

    def with_findings(self, more: tuple[Finding, ...]) -> "Report":
        """Return the report with more findings, each in its place."""
        return replace(self, findings=_sorted((*self.findings, *more)))


class _RefusedError(Exception):
    """The report is not one; the text says where."""


def read_report(path: Path) -> Report:
    """Read the file; MigratorError if it is no report."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_REPORT + 1)
    except OSError as error:
        raise MigratorError(f"{path.name} can't be read: {error.strerror}.") from None
    if len(content) > LARGEST_REPORT:
        raise MigratorError(f"{path.name} is larger than {LARGEST_REPORT >> 20} MiB.")
    try:
        return report_of(json.loads(content))
    except (ValueError, RecursionError):
        said = "it is not a JSON document"
    except _RefusedError as refused:
        said = str(refused)
    raise MigratorError(f"{path.name} is not what `rehearse --json` prints: {said}.")


def report_of(document: object) -> Report:
    """Return the report in a document."""
    whole = _mapping(document, "the document")
    if whole.get("success") is False and whole.get("error"):
        return Report(error=_without_prefix(_text(whole["error"], "error")))
    files = tuple(_each(whole, "files", _file))
    has_pending, has_ignored = "pending" in whole, "ignored" in whole
    return Report(
        pending=tuple(
            _each(whole, "pending", _text) if has_pending else (f.version for f in files)
        ),
        files=files,
        findings=_sorted(tuple(_each(whole, "findings", _finding))),
        ignored=tuple(_each(whole, "ignored", _ignored)) if has_ignored else (),
        has_sizes=_has_sizes(whole),
    )


def _without_prefix(text: str) -> str:
    """Return an error without what keeps a log from obeying its lines: findings have none."""
    return "\n".join(line.removeprefix(PREFIX) for line in text.split("\n"))


def file_name(version: str) -> str:
    """Return the name of the file of a version; empty if no file can have it."""
    name = f"{version}.sql"
    return name if NAME.fullmatch(name) else ""


def _sorted(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: (each.severity.rank, each.version, each.line)))


def _has_sizes(whole: Mapping[str, Any]) -> bool | None:
    known = whole.get("sizesKnown")
    return known if isinstance(known, bool) else None


def _file(value: object, place: str) -> ReportedFile:
    each = _mapping(value, place)
    return ReportedFile(
        _text(each.get("version"), f"{place}.version"),
        tuple(_each(each, "statements", _statement, place)),
        _text(each.get("notRehearsed") or "", f"{place}.notRehearsed"),
    )


def _statement(value: object, place: str) -> ReportedStatement:
    each = _mapping(value, place)
    return ReportedStatement(
        _line(each.get("line"), f"{place}.line"),
        tuple(_each(each, "locks", _lock, place)),
        tuple(_each(each, "rewrites", _text, place)),
        tuple(_each(each, "scans", _text, place)),
    )


def _lock(value: object, place: str) -> tuple[str, str]:
    each = _mapping(value, place)
    return _text(each.get("relation"), place), _text(each.get("mode"), place)


def _finding(value: object, place: str) -> Finding:
    each = _mapping(value, place)
    try:
        severity = Severity(_text(each.get("severity"), place))
    except ValueError:
        raise _RefusedError(f"{place}.severity is none of {', '.join(Severity)}") from None
    return Finding(
        rule=_text(each.get("rule"), f"{place}.rule"),
        severity=severity,
        version=_text(each.get("version"), f"{place}.version"),
        line=_line(each.get("line"), f"{place}.line"),
        message=_text(each.get("message"), f"{place}.message"),
        instead=_text(each.get("instead") or "", f"{place}.instead"),
    )


def _ignored(value: object, place: str) -> tuple[Finding, str]:
    reason = _mapping(value, place).get("reason")
    return _finding(value, place), _text(reason, f"{place}.reason")


def _each(
    whole: Mapping[str, Any], key: str, read: Callable[[object, str], T], place: str = ""
) -> Iterator[T]:
    name = f"{place}.{key}" if place else key
    values = whole.get(key)
    if not isinstance(values, list):
        raise _RefusedError(f"{name} is not a list")
    for number, value in enumerate(values[:MOST_ENTRIES]):
        yield read(value, f"{name}[{number}]")


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _RefusedError(f"{place} is not an object")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"{place} is not a text")
    return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"


def _line(value: object, place: str) -> int:
    # True is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**7:
        raise _RefusedError(f"{place} is not the number of a line")
    return value
