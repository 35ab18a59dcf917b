"""What the value of a variable looks like that was pasted wrong, told without anything of it."""

import re

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "<": ">"}
_SHELL = re.compile(r"(?:export|set|setx|-e|--env)\s+|\$env:", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\s*=\s*|:\s+)\S")
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
# Another variable, as shells, CI systems and other tools name one.
_REFERENCE = re.compile(r"\$\{.*?\}|\$\(.*?\)|\{\{.*?\}\}")
_BARE_REFERENCE = re.compile(r"\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|@[A-Za-z_][\w-]*|process\.env\.\w+")
_BARE_PART = re.compile(r"\$[A-Za-z_]\w*")
# As dashboards show a password that they keep to themselves.
_PLACEHOLDER = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|[*•]{3,}")


def fault(value: str) -> str | None:
    """Say what is wrong with it, as the end of a sentence that the variable's name begins; None if nothing is."""
    value = value.strip()
    if not value:
        return None
    return _hidden(value) or _wrapped(value) or _another_form(value) or _unfilled(value)


def _hidden(value: str) -> str | None:
    for letter, verb in ((value[0], "begins"), (value[-1], "ends")):
        if not letter.isprintable() and not _is_stray(letter):
            # Loaded here: a function has no use for it as long as all is well.
            import unicodedata

            name = unicodedata.name(letter, "a control character")
            return f"{verb} with U+{ord(letter):04X} ({name}), which can't be seen; take it out"
    return None


def _is_stray(letter: str) -> bool:
    """Tell whether it is a byte that is no UTF-8, as Python has it."""
    return 0xDC80 <= ord(letter) <= 0xDCFF


def _wrapped(value: str) -> str | None:
    """What stands around the URL: a command, a name, quotes."""
    if re.match(r"psql\b(?!://)", value, re.IGNORECASE):
        return "holds a command of psql; take psql and the quotes out, and leave the URL"
    bare = _SHELL.sub("", value, count=1) if _SHELL.match(value) else value
    named = _ASSIGNMENT.match(bare)
    if named and named[1].lower() in _KEYWORDS:
        return "is in the form keyword=value; write it as postgresql://USER:PASSWORD@HOST/DATABASE"
    if named:
        return "holds a name and its value; leave only what stands to the right of the name"
    if value[0] in _QUOTES or any(
        value.endswith(end) and _is_alone(value, begin, end) for begin, end in _QUOTES.items()
    ):
        return "stands in quotes or brackets; take them out, they are no part of the value here"
    if value[-1] in ";,":
        return f"ends with a {value[-1]}, which is no part of it; take it out"
    return None


def _is_alone(value: str, begin: str, end: str) -> bool:
    return value.count(end) == 1 and (begin == end or begin not in value)


def _another_form(value: str) -> str | None:
    """A URL for another client."""
    if value.lower().startswith("jdbc:"):
        return "is a URL of JDBC's; write it as postgresql://USER:PASSWORD@HOST/DATABASE"
    if _DRIVER.match(value):
        return "names a driver in its scheme, as SQLAlchemy does; write postgresql:// in its place"
    return None


def _unfilled(value: str) -> str | None:
    """Something was to be put in the place of a part, and wasn't."""
    parts = _parts(value)
    is_named = _BARE_REFERENCE.fullmatch(value) or any(map(_BARE_PART.fullmatch, parts))
    if _REFERENCE.search(value) or is_named:
        return (
            "names another variable, and nobody puts that one's value in its place; write the value itself "
            "(a $ of a password's own as %24)"
        )
    if any(map(_PLACEHOLDER.fullmatch, parts)):
        return "has a placeholder, such as a hidden password, where the part itself belongs; put that there"
    return None


def _parts(value: str) -> tuple[str, ...]:
    """The user, the password, the host and the database of a URL, as they are written."""
    login, _, path = value.partition("://")[2].partition("?")[0].rpartition("@")
    user, _, password = login.partition(":")
    place, _, database = path.partition("/")
    # An address of IPv6 stands in brackets.
    host = "" if place.startswith("[") else place.partition(":")[0]
    return tuple(part for part in (user, password, host, database) if part)
