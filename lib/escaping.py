r"""Text for people, made safe for a terminal, a log, the journal and an HTTP response.

Three kinds of text leave the package: a message, a table of lines, a JSON document. Each has the
type `Clean`, the only one that is printed, so that no new message can bypass this module. Text from
outside (from the server, in a file name, in a variable) may hold line breaks, and sequences that a
terminal or a CI system obeys. An escape character is shown as `\x1b`. A continuation line begins
with `  | `; an indent would not do, because CI systems trim blanks before they look for a command
such as `::error`. Secrets are masked.
"""

import json
import re
from collections.abc import Iterable
from typing import NewType

from .masking import lines_without_credentials, without_credentials

Clean = NewType("Clean", str)

PREFIX = "  | "

# Control characters but for line feed and tab (C0, DEL, C1); characters that are invisible or
# change the direction of writing; line and paragraph separators; surrogates, which stand for bytes
# that are not UTF-8; tags.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_CONTROL = re.compile(f"[{_UNSEEN}]")
_CONTROL_AND_BREAKS = re.compile(f"[{_UNSEEN}\t\n]")
# `##[command]` of GitHub, `##vso[…]` of Azure and `##teamcity[…]` work anywhere in a line.
_COMMAND_IN_LINE = re.compile(r"##(?=\w*\[)")
# The allowed beginnings of a message: no command of a CI system, and no mark of a result. One is
# the name of an option.
_HARMLESS_BEGINNING = re.compile(r"""[^\W_]|[_./"'`(<…]|--[a-z]""")
# A line that is quoted from a file begins with its number, the caret line with a blank gutter.
_GUTTER = re.compile(r" {2,12}(?:[0-9]+ )?\|(?: |$)")
# The colors of `cli.terminal`.
_COLOR = re.compile(r"(\x1b\[(?:0|1|2|31|32|33)m)")


def message(text: str) -> Clean:
    """Return a message of one or more lines; those after the first begin with the prefix."""
    first, *others = escaped(without_credentials(text)).rstrip("\n").split("\n")
    first = first if _is_harmless(first) else _behind_prefix(first)
    return Clean("\n".join([first, *map(_behind_prefix, others)]))


def document_text(text: str) -> str:
    """Escape the lines of a value in a JSON document: without a prefix, since SQL is copied.

    Only `document` may print such a text, which has no line breaks then.
    """
    return escaped(without_credentials(text)).rstrip("\n")


def table(lines: Iterable[str], *, color: bool = False) -> Clean:
    """Return lines that the runner has laid out, each of them one line.

    With `color`, the colors of the runner stay.
    """
    masked_lines = lines_without_credentials(lines)
    return Clean("\n".join(map(_colored if color else one_line, masked_lines)))


def document(value: object, *, indent: int | None = None) -> Clean:
    r"""Return a JSON document; what a terminal obeys is written as an escape, as in `\u202e`."""
    encoded = _CONTROL.sub(_as_json, json.dumps(value, indent=indent, ensure_ascii=False))
    return Clean(_COMMAND_IN_LINE.sub(r"#\\u0023", encoded))


def unmasked(text: str) -> Clean:
    """Return a line that shows a secret, because somebody has asked for just that."""
    return Clean(one_line(text))


def blocks(*parts: Clean, between: str = "\n") -> Clean:
    """Join several clean texts."""
    return Clean(between.join(parts))


def signed(sign: str, text: str) -> Clean:
    """Return a message after a sign of the runner, which may be colored."""
    return Clean(f"{sign} {message(text)}")


def one_line(text: str) -> str:
    r"""Escape a text that becomes part of a line; a line break is shown as `\n`."""
    return _COMMAND_IN_LINE.sub(r"#\\x23", _CONTROL_AND_BREAKS.sub(_as_escape, text))


def escaped(text: str) -> str:
    """Escape all that a terminal or a CI system obeys, except line breaks and tabs."""
    return _COMMAND_IN_LINE.sub(r"#\\x23", _CONTROL.sub(_as_escape, text.replace("\r\n", "\n")))


def _is_harmless(line: str) -> bool:
    return not line or bool(_HARMLESS_BEGINNING.match(line.lstrip(" \t")))


def _behind_prefix(line: str) -> str:
    # A line with a gutter is safe already; and a message that passes twice stays as it is.
    return line if _GUTTER.match(line) else f"{PREFIX}{line.removeprefix('  ')}".rstrip(" ")


def _colored(line: str) -> str:
    # With a group in the pattern, every second part is a color.
    parts = _COLOR.split(line)
    return "".join(part if place % 2 else one_line(part) for place, part in enumerate(parts))


def _as_escape(found: re.Match[str]) -> str:
    sign, code = found.group(), ord(found.group())
    if sign in "\n\r\t":
        return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}[sign]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    # JSON has escapes of four digits only; a surrogate pair stands for a higher code point.
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
