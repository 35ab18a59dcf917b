"""The schemas that a URL names. PostgreSQL's client has no parameter for them; Prisma and JDBC have.

https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATH
"""

import re

# By the parameter, in lower case: whether the value is a list as PostgreSQL's search_path has it, or names.
_IS_LIST = {"schema": False, "search_path": True, "currentschema": True}
_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")
_QUOTED = r'"(?:[^"]|"")*"'
_ITEM = rf'\s*(?:{_QUOTED}|[^",\s]+)\s*'
_LIST = re.compile(rf"{_ITEM}(?:,{_ITEM})*")
_EACH = re.compile(rf'{_QUOTED}|[^",\s]+')
# A comma within quotes parts nothing.
_NAME = re.compile(rf"(?:{_QUOTED}|[^,])+")
# As PostgreSQL's server splits them: at spaces, of which a backslash hides one.
_OPTION = re.compile(r"(?:^|\s)(?:-c\s*|--)search_path=((?:\\.|[^\s\\])*)", re.IGNORECASE)
_PUBLIC = ("public", '"public"')


def says_where(parameter: str) -> bool:
    """Tell whether a URL's parameter of this name says in which schema things are."""
    return parameter.lower() in _IS_LIST


def read_search_path(parameter: str, value: str) -> str:
    """The search_path that the parameter asks for; empty where that is `public`, or nothing.

    ValueError where PostgreSQL would not take it for a list of names.
    """
    if any(ord(letter) < ord(" ") for letter in value):
        raise ValueError("holds a control character")
    if _IS_LIST[parameter.lower()] and value.strip():
        if not _LIST.fullmatch(value):
            raise ValueError(
                "is no list of names; a name with a space stands in quotes: %22My%20App%22,public"
            )
        names = _EACH.findall(value)
    else:
        names = [_quoted(name.strip()) for name in _NAME.findall(value) if name.strip()]
    is_public = len(names) == 1 and (names[0].lower() == "public" or names[0] in _PUBLIC)
    return "" if is_public else ", ".join(names)


def search_path_of_options(options: str) -> str:
    """The search_path among the `options` of a connection, as read_search_path gives it; empty where there is none."""
    found = _OPTION.findall(options)
    if not found:
        return ""
    try:
        return read_search_path("search_path", re.sub(r"\\(.)", r"\1", found[-1]))
    except ValueError:
        # The server will say so.
        return ""


def first_name(search_path: str) -> str | None:
    """The schema that things are to be made in; None where it is the role's own."""
    first = _EACH.findall(search_path)[0]
    name = str(first[1:-1].replace('""', '"') if first.startswith('"') else first.lower())
    return None if name in ("", "$user") else name


def option(search_path: str) -> str:
    """It as the server takes it among the `options` of a connection, where a backslash hides a space."""
    return "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", search_path)


def _quoted(name: str) -> str:
    """A name as it is, or in quotes where it would be read otherwise."""
    if _SIMPLE.fullmatch(name) or re.fullmatch(_QUOTED, name):
        return name
    return '"' + name.replace('"', '""') + '"'
