"""Secrets in text: passwords, keys and tokens are shown as `…`.

Two cases differ. Some secrets are recognized by themselves, such as the password of a URL. Others
are recognized by the statement around them: `create role` may hold a password in any of its
strings, and so all of them are masked.

Pure, and without the lexer, which the status function does not load. Each pattern is compiled when
a text has its sign: compiling all of them takes longer than the rest of a run with nothing to do.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from .secret_patterns import HIDDEN, Credential, credentials, secretive_statements

# A shorter secret may be a common word: it is hidden only where it stands by itself, and a shorter
# name only in quotes.
SHORTEST_TELLING = 4

# Only this many characters of a text are searched for statements with secrets.
_SEARCHED = 1 << 20
_STRING = re.compile(r"(?:\b[eEnNbBxX]|\b[uU]&)?'(?:[^']|'')*'|\$(\w*)\$[\s\S]*?(?:\$\1\$|\Z)")
_FROM_FIRST_STRING = re.compile(r"(?:\b[eEnNbBxX]|\b[uU]&)?'[\s\S]*|\$(\w*)\$[\s\S]*")


def masked(text: str) -> str:
    """Mask the secrets in a text from the server or from a file.

    If one of its strings may be a secret, all strings are masked. The text may be cut off
    anywhere, but mask before cutting: half a URL is no longer recognized.
    """
    return without_credentials(_without_strings(text) if _names_a_secret(text) else text)


def without_credentials(text: str) -> str:
    """Mask only what is recognized by itself: a password in a URL, its hash, an access key."""
    return _hide(credentials(), text)


def lines_without_credentials(lines: Iterable[str]) -> Iterator[str]:
    """Mask each of many short lines, as `without_credentials` does, in a fraction of the time."""
    lines = tuple(lines)
    lower = "\n".join(lines).lower()
    present = [each for each in credentials() if any(sign in lower for sign in each.signs)]
    return (_hide(present, line) for line in lines)


def is_secretive(text: str) -> bool:
    """True if a statement, or a text that quotes one, may hold a secret."""
    return _names_a_secret(text) or without_credentials(text) != text


def _hide(known: Iterable[Credential], text: str) -> str:
    lower = text.lower()
    for signs, pattern, shown in known:
        if any(sign in lower for sign in signs):
            text = _compiled(pattern).sub(shown, text)
    return text


def _names_a_secret(text: str) -> bool:
    # Lower case once, for a substring search that is far faster than the patterns.
    lower = text[:_SEARCHED].lower()
    return any(
        _compiled(pattern).search(lower)
        for sign, pattern in secretive_statements()
        if sign in lower
    )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _without_strings(text: str) -> str:
    """Show every string as `'…'`.

    Where it is uncertain which quotes belong together, nothing after the first quote is shown.
    """
    # A backslash, a doubled quote or a comment can hide where a string ends.
    is_certain = text.count("'") % 2 == 0 and not any(
        sign in text for sign in ("\\'", "''", "--", "/*")
    )
    return (_STRING if is_certain else _FROM_FIRST_STRING).sub(f"'{HIDDEN}'", text)


def cleaned(text: str, *, secrets: Iterable[str], names: Iterable[str] = ()) -> str:
    """Return the text with `***` for each secret and name, and no character a terminal obeys."""
    # The longest first, in case one secret contains another.
    for secret in sorted(set(filter(None, secrets)), key=len, reverse=True):
        pattern = re.escape(secret)
        text = re.sub(
            pattern if len(secret) >= SHORTEST_TELLING else rf"(?<!\w){pattern}(?!\w)", "***", text
        )
    for name in sorted(set(filter(None, names)), key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        quoted = rf"(?<=[\"'«»„“‚‘]){re.escape(name)}(?=[\"'«»“”’])"
        text = re.sub(pattern if len(name) >= SHORTEST_TELLING else quoted, "***", text)
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
