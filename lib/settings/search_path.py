"""The schemas that a URL names. libpq has no parameter for them; Prisma and JDBC have.

https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATH
"""

import re

# True for a list as in PostgreSQL's own search_path, False for bare names between commas.
_IS_LIST = {"schema": False, "search_path": True, "currentschema": True}
_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")
_QUOTED = r'"(?:[^"]|"")*"'
_ITEM = rf'\s*(?:{_QUOTED}|[^",\s]+)\s*'
_LIST = re.compile(rf"{_ITEM}(?:,{_ITEM})*")
_EACH = re.compile(rf'{_QUOTED}|[^",\s]+')
# A comma in quotes does not separate names.
_NAME = re.compile(rf"(?:{_QUOTED}|[^,])+")
# The server splits options at spaces, unless a backslash precedes one.
_OPTION = re.compile(r"(?:^|\s)(?:-c\s*|--)search_path=((?:\\.|[^\s\\])*)", re.IGNORECASE)
_PUBLIC = ("public", '"public"')


def is_schema_parameter(name: str) -> bool:
    """True if a parameter of this name in a URL names schemas."""
    return name.lower() in _IS_LIST


def read_search_path(parameter: str, value: str) -> str:
    """The search_path that the parameter asks for; empty if it names `public` alone, or nothing.

    Raises ValueError for a value that PostgreSQL would not take as a list of names.
    """
    if any(ord(letter) < ord(" ") for letter in value):
        raise ValueError("holds a control character")
    if _IS_LIST[parameter.lower()] and value.strip():
        if not _LIST.fullmatch(value):
            raise ValueError(
                "is not a list of names; quote a name with a space: %22My%20App%22,public"
            )
        names = _EACH.findall(value)
    else:
        names = [_quoted(name.strip()) for name in _NAME.findall(value) if name.strip()]
    is_public = len(names) == 1 and (names[0].lower() == "public" or names[0] in _PUBLIC)
    return "" if is_public else ", ".join(names)


def search_path_in_options(options: str) -> str:
    """The search_path in the `options` of a connection, read likewise; empty if there is none."""
    found = _OPTION.findall(options)
    if not found:
        return ""
    try:
        # The last one wins.
        return read_search_path("search_path", re.sub(r"\\(.)", r"\1", found[-1]))
    except ValueError:
        # The server refuses the connection, and says why.
        return ""


def search_path_option(search_path: str) -> str:
    """The search_path as one of the `options` of a connection."""
    return "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", search_path)


def first_schema(search_path: str) -> str | None:
    """The schema in which objects are created; None for the schema named as the role."""
    first = _EACH.findall(search_path)[0]
    name = str(first[1:-1].replace('""', '"') if first.startswith('"') else first.lower())
    return None if name in ("", "$user") else name


def _quoted(name: str) -> str:
    """The name as it stands, or in quotes if PostgreSQL would change or split it."""
    if _SIMPLE.fullmatch(name) or re.fullmatch(_QUOTED, name):
        return name
    return '"' + name.replace('"', '""') + '"'
