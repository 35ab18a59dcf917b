"""What another number changes in a file: its former name in the header, and its `Version` line.

Both can be undone exactly, so the checksum of the file as it was can be told from the present one.
"""

import codecs
import re
from collections.abc import Iterator

from .folder import MigrationFile, checksums_of
from .header import SQITCH_FIRST_LINE, leading_comments

_WAS = re.compile(r"--+\s*was\s*:\s*(.*?)\s*", re.IGNORECASE | re.ASCII)
_VERSION = re.compile(r"--+\s*version\s*:\s*(.*?)\s*", re.IGNORECASE | re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
_LAST_LINE_END = re.compile(r"(?:\r\n|\n|\r)\Z")


def renumbered_content(file: MigrationFile, version: str) -> bytes:
    """Return the content of the file as it is under another version; all else stays."""
    text = _add_name(_with_number(file.text, version), file.version)
    mark = codecs.BOM_UTF8 if file.content.startswith(codecs.BOM_UTF8) else b""
    return mark + text.encode()


def former_checksums(file: MigrationFile, former: str) -> frozenset[str]:
    """Return the checksums that a ledger may hold for the file as it was under `former`.

    Empty if the header does not name that version.
    """
    if former not in file.header.was:
        return frozenset()
    text = _without_names(file.text, keep=file.header.was.index(former))
    found = (checksums_of(each.encode()) for each in _as_numbered(text, former))
    return frozenset().union(*found)


def _with_number(text: str, version: str) -> str:
    span = _value(text, _VERSION)
    if span is None or not _is_number(text[slice(*span)]):
        return text
    start, end = span
    return f"{text[:start]}{_digits(version).zfill(end - start)}{text[end:]}"


def _as_numbered(text: str, version: str) -> Iterator[str]:
    """Yield the text with each way to write the number of the version in its `Version` line."""
    span = _value(text, _VERSION)
    if span is None or not _is_number(text[slice(*span)]):
        yield text
        return
    start, end = span
    digits = _digits(version)
    # One that had fewer digits than now was written with fewer, or with zeros.
    for width in range(len(digits), max(end - start, len(digits)) + 1):
        yield f"{text[:start]}{digits.zfill(width)}{text[end:]}"


def _digits(version: str) -> str:
    return version.partition("-")[0].lstrip("0") or "0"


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit()


def _add_name(text: str, former: str) -> str:
    if names := _value(text, _WAS):
        return f"{text[: names[1]]}, {former}{text[names[1] :]}"
    at = _place(text)
    # That of the line above: of another one, the CR could become one line end with an LF behind it.
    line_end = _LAST_LINE_END.search(text, 0, at) or _LINE_END.search(text)
    return f"{text[:at]}-- Was: {former}{line_end.group() if line_end else chr(10)}{text[at:]}"


def _place(text: str) -> int:
    """Return where the line with the former name goes: behind that with the version, or on top."""
    version = _value(text, _VERSION)
    first = next(leading_comments(text), None)
    if version is None and first and SQITCH_FIRST_LINE.match(first[1]):
        # Sqitch's own line has to stay the first.
        version = (first[0], first[0] + len(first[1]))
    end = _LINE_END.search(text, version[1]) if version else None
    return end.end() if end else 0


def _without_names(text: str, *, keep: int) -> str:
    """Return the text with the first `keep` of the former names; with none, without the line."""
    names = _value(text, _WAS)
    assert names is not None  # the header has them
    start, end = names
    if keep:
        kept = ",".join(text[start:end].split(",")[:keep]).rstrip()
        return f"{text[:start]}{kept}{text[end:]}"
    line = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    after = _LINE_END.search(text, end)
    return text[:line] + (text[after.end() :] if after else "")


def _value(text: str, pattern: re.Pattern[str]) -> tuple[int, int] | None:
    """Return where the value of the first line of the header that matches begins and ends."""
    for offset, comment in leading_comments(text):
        if match := pattern.fullmatch(comment):
            return offset + match.start(1), offset + match.end(1)
    return None
