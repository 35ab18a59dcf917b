"""Recognize a value that was pasted wrong, and say so without quoting any of the value."""

import re

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "<": ">"}
_SHELL = re.compile(r"(?:export|set|setx|-e|--env)\s+|\$env:", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\s*=\s*|:\s+)\S")
# The commonest keywords of libpq, in whose other form a connection is written keyword=value.
_KEYWORDS = (
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "service",
    "sslmode",
    "user",
)
_DRIVER = re.compile(r"(?:postgres|postgresql)\+\w+://", re.IGNORECASE)
# Another variable, as shells, CI systems and other tools write one.
_REFERENCE = re.compile(r"\$\{.*?\}|\$\(.*?\)|\{\{.*?\}\}")
_BARE_REFERENCE = re.compile(r"\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|@[A-Za-z_][\w-]*|process\.env\.\w+")
_BARE_PART = re.compile(r"\$[A-Za-z_]\w*")
# What dashboards show in place of a password.
_PLACEHOLDER = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|[*•]{3,}")


def fault(value: str) -> str | None:
    """Say what is wrong, as the end of a sentence that begins with the variable's name.

    None if nothing is.
    """
    value = value.strip()
    if not value:
        return None
    return _hidden(value) or _wrapped(value) or _another_form(value) or _unfilled(value)


def _hidden(value: str) -> str | None:
    """A character at either end that nobody sees."""
    for letter, verb in ((value[0], "begins"), (value[-1], "ends")):
        if not letter.isprintable() and not _is_undecoded(letter):
            # Imported here, because a function needs it for a fault alone.
            import unicodedata

            name = unicodedata.name(letter, "a control character")
            return f"{verb} with U+{ord(letter):04X} ({name}), which can't be seen; take it out"
    return None


def _is_undecoded(letter: str) -> bool:
    """True for a surrogate, which Python puts in place of a byte that is not UTF-8."""
    return 0xDC80 <= ord(letter) <= 0xDCFF


def _wrapped(value: str) -> str | None:
    """A command, a name or quotes around the URL."""
    if re.match(r"psql\b(?!://)", value, re.IGNORECASE):
        return "holds a psql command; take psql and the quotes out, and leave the URL"
    bare = _SHELL.sub("", value, count=1) if _SHELL.match(value) else value
    assignment = _ASSIGNMENT.match(bare)
    if assignment and assignment[1].lower() in _KEYWORDS:
        return "is in the form keyword=value; write it as postgresql://USER:PASSWORD@HOST/DATABASE"
    if assignment:
        return "holds a name and its value; leave only what stands to the right of the name"
    if value[0] in _QUOTES or any(
        value.endswith(end) and _is_unpaired(value, begin, end) for begin, end in _QUOTES.items()
    ):
        return "stands in quotes or brackets; take them out, they are no part of the value here"
    if value[-1] in ";,":
        return f"ends with a {value[-1]}, which is no part of the value; take it out"
    return None


def _is_unpaired(value: str, begin: str, end: str) -> bool:
    """True if the closing quote at the end has no opening one within the value."""
    return value.count(end) == 1 and (begin == end or begin not in value)


def _another_form(value: str) -> str | None:
    """A URL for another client."""
    if value.lower().startswith("jdbc:"):
        return "is a JDBC URL; write it as postgresql://USER:PASSWORD@HOST/DATABASE"
    if _DRIVER.match(value):
        return "names a driver in its scheme, as SQLAlchemy does; write postgresql:// in its place"
    return None


def _unfilled(value: str) -> str | None:
    """A part that was to be replaced."""
    parts = _parts(value)
    is_bare = _BARE_REFERENCE.fullmatch(value) or any(map(_BARE_PART.fullmatch, parts))
    if _REFERENCE.search(value) or is_bare:
        return (
            "names another variable, which nothing replaces by its value; write the value itself "
            "(a $ in a password as %24)"
        )
    if any(map(_PLACEHOLDER.fullmatch, parts)):
        return "has a placeholder, such as a hidden password; replace it by the part itself"
    return None


def _parts(value: str) -> tuple[str, ...]:
    """The user, the password, the host and the database of a URL, as they are written."""
    login, _, path = value.partition("://")[2].partition("?")[0].rpartition("@")
    user, _, password = login.partition(":")
    address, _, database = path.partition("/")
    # An IPv6 address stands in brackets, which are no placeholder.
    host = "" if address.startswith("[") else address.partition(":")[0]
    return tuple(part for part in (user, password, host, database) if part)
