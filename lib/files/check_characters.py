"""Invisible characters in SQL, which PostgreSQL takes for a part of a name.

The error of the server would show a name that looks right.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from ..sql.lexer import LexicalError, scan, words_of
from ..sql.splitter import Piece
from .folder import MigrationFile

# Control characters, spaces, characters without a width, and those that change the direction.
_UNSEEN = re.compile(
    "[\x01-\x08\x0e-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180e"
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# Joiners change the letters beside them, as in Persian and in Indic scripts; a variation selector
# changes the character before it, as in emoji.
_JOINERS = "\u200c\u200d"
_VARIANTS = re.compile("[\u034f\u180b-\u180d\ufe00-\ufe0f\U000e0020-\U000e01ef]")


def check_characters(file: MigrationFile, pieces: Sequence[Piece]) -> None:
    """Refuse invisible characters outside strings, comments and quoted names."""
    # One search decides for nearly all files.
    if not _UNSEEN.search(file.text):
        return
    unseen = list(_unseen(file.text, pieces))
    if not unseen:
        return
    # Only the first is named: a text pasted from a web page may hold hundreds.
    first = unseen[0]
    letter = file.text[first]
    name = f"U+{ord(letter):04X} {unicodedata.name(letter, 'CONTROL CHARACTER')}"
    is_space = unicodedata.category(letter) == "Zs"
    way_out = "write an ordinary space" if is_space else "take it out, or put it in quotes"
    more = f" (and {len(unseen) - 1} more such characters)" if len(unseen) > 1 else ""
    place = f"{file.line_at(first)}:{file.column_at(first)}"
    raise file.error_at(
        first,
        f"{name} at {place} is invisible, and PostgreSQL does not skip it; {way_out}{more}",
    )


def _unseen(text: str, pieces: Sequence[Piece]) -> Iterator[int]:
    """Yield the offsets of invisible characters; only pieces that hold one are scanned."""
    starts = [piece.start for piece in pieces]
    end = 0
    for match in _UNSEEN.finditer(text):
        if match.start() < end:
            continue
        piece = pieces[bisect_right(starts, match.start()) - 1]
        end = piece.end
        if piece.kind == "statement":
            yield from _unseen_in(text, piece.first, piece.end)


def _unseen_in(text: str, start: int, end: int) -> Iterator[int]:
    statement = text[start:end]
    for kind, at, stop in scan(statement):
        # Inside strings, quoted names and comments they are data, and can do no harm.
        if kind in ("word", "number", "other"):
            found = _UNSEEN.finditer(statement, at, stop)
            yield from (
                start + each.start()
                for each in found
                if not _is_part(statement[at:stop], each.start() - at)
            )
        elif kind == "dollar" and _is_read_as_sql(statement):
            yield from _unseen_in_body(text, start + at, start + stop)


def _is_part(name: str, at: int) -> bool:
    """True if the character at `at` changes a letter beside it, and is visible by that."""
    if name[at] in _JOINERS:
        return _is_seen(name[:at]) and _is_seen(name[:at:-1])
    return bool(_VARIANTS.match(name[at])) and _is_seen(name[:at])


def _is_seen(letters: str) -> bool:
    """True if the last letter, variation selectors aside, can be joined or varied."""
    base = next(
        (
            letter
            for letter in reversed(letters)
            if letter not in _JOINERS and not _VARIANTS.match(letter)
        ),
        "a",
    )
    return not base.isascii() and not _UNSEEN.match(base)


def _is_read_as_sql(statement: str) -> bool:
    """True if the body of a DO or of a function is in SQL or PL/pgSQL."""
    words = words_of(statement)
    language = words[words.index("LANGUAGE") + 1 :][:1] if "LANGUAGE" in words else ()
    return language in (("PLPGSQL",), ("SQL",)) or (words[:1] == ("DO",) and not language)


def _unseen_in_body(text: str, start: int, end: int) -> Iterator[int]:
    tag = text.index("$", start + 1) + 1 - start
    try:
        yield from list(_unseen_in(text, start + tag, end - tag))
    # The body may be in another language after all; the server will read it.
    except LexicalError:
        return
