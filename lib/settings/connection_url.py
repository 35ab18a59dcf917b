"""Read a database URL, and refuse what libpq would accept and misread.

Messages name the variable and never quote the URL, which can contain a password.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import psycopg
from psycopg import conninfo, pq

from . import pasted_values
from .connection_target import ConnectionTarget
from .providers import DSQL_REFUSED, is_dsql
from .search_path import is_schema_parameter, read_search_path, search_path_in_options

_SCHEME = re.compile(r"(?:postgres|postgresql)://", re.IGNORECASE)
# libpq takes all before the first @ for the login, with any ? in it, unless a / comes first.
_LOGIN = re.compile(r"[^@/]*@")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# How node-postgres asks for TLS without looking at the certificate: `require` to libpq.
NO_VERIFY = "no-verify"
ENCODE = (
    "percent-encode them in the user and the password: "
    "@ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25"
)
_SCHEMAS_DIFFER = "{source} names its schemas in several ways that differ; keep one"


class PrismaUrlError(ValueError):
    """The URL is for the protocol of Prisma, not for PostgreSQL."""


def read_target(source: str, url: str) -> ConnectionTarget:
    """Read the URL in the variable `source`.

    Raises ValueError, whose message is safe to print; PrismaUrlError for a URL of Prisma.
    """
    # Before parsing: of quotes or a pasted command, libpq would only say that the URL is invalid.
    if fault := pasted_values.fault(url):
        raise ValueError(f"{source} {fault}")
    base, query = _split(_with_known_scheme(source, url.strip()))
    _check_encoding(source, base)
    asked = _read_query(source, query)
    try:
        parameters = conninfo.conninfo_to_dict(f"{base}?{asked.kept}" if asked.kept else base)
    except (psycopg.Error, UnicodeError):
        # The message of libpq is dropped, because it quotes the password. UnicodeError: an encoded
        # byte that is not UTF-8.
        raise ValueError(
            f"{source} can't be read as a PostgreSQL URL; if it holds special characters, {ENCODE}"
        ) from None
    checked = checked_parameters(source, parameters)
    in_options = search_path_in_options(checked.get("options", ""))
    if asked.search_path and in_options and asked.search_path != in_options:
        raise ValueError(_SCHEMAS_DIFFER.format(source=source))
    target = ConnectionTarget(
        source,
        checked,
        asked.dropped,
        asked.remarks,
        search_path=asked.search_path or in_options,
    )
    check_host(source, target.host)
    _check_lists(source, checked)
    return target


def check_host(source: str, host: str) -> None:
    """Raise ValueError for a database that looks like PostgreSQL and can't be migrated."""
    if is_dsql(host):
        raise ValueError(f"{source} {DSQL_REFUSED}")


def checked_parameters(source: str, parameters: Mapping[str, object]) -> dict[str, str]:
    """The parameters that are set, as text. Raises ValueError for a port that cannot be one."""
    checked = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    for port in checked.get("port", "").split(","):
        is_number = port.isascii() and port.isdigit() and len(port) <= 5
        if port and not (is_number and 0 < int(port) < 65536):
            # A raw character in a password moves what follows into the port.
            raise ValueError(
                f"{source} can't be read: its port is not a number from 1 to 65535; "
                f"if the URL holds special characters, {ENCODE}"
            )
    return checked


def _with_known_scheme(source: str, url: str) -> str:
    """The URL with its scheme in lower case, which is all that libpq takes."""
    if url.lower().startswith(("prisma://", "prisma+postgres://")):
        raise PrismaUrlError(
            f"{source} is for the protocol of Prisma, not for PostgreSQL; "
            "set MIGRATION_DATABASE_URL to the postgres:// URL of the same database"
        )
    if not _SCHEME.match(url):
        raise ValueError(
            f"{source} is not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def _split(url: str) -> tuple[str, str]:
    """The URL without its parameters, and these; a ? in the login does not begin them."""
    scheme, separator, rest = url.partition("://")
    login = _LOGIN.match(rest)
    end = login.end() if login else 0
    location, _, query = rest[end:].partition("?")
    return f"{scheme}{separator}{rest[:end]}{location}", query


def _check_encoding(source: str, base: str) -> None:
    """Raise ValueError where libpq would split the URL at a character of the password."""
    authority = base.partition("://")[2]
    # libpq ends the login at the first @ or /; whoever wrote the URL meant the last @. A ? in the
    # login is part of it to libpq, and begins the parameters to other clients.
    user, _, password = authority.rpartition("@")[0].partition(":")
    for part, text in (("user", user), ("password", password)):
        raw = [sign for sign in "@/?" if sign in text] + ["%"] * bool(_STRAY_PERCENT.search(text))
        if raw:
            raise ValueError(f"the {part} in {source} holds a raw {' and '.join(raw)}; {ENCODE}")
    if any(sign.isspace() for sign in base):
        raise ValueError(
            f"{source} holds a space or a line break; take it out, or encode it as %20"
        )


def _check_lists(source: str, parameters: Mapping[str, str]) -> None:
    """Raise ValueError for lists that libpq can't pair; one port serves for all hosts."""
    lists = {key: parameters.get(key, "") for key in ("host", "hostaddr", "port")}
    counts = {key: value.count(",") + 1 for key, value in lists.items() if value}
    # One port serves for all hosts, and a single list has nothing to be paired with.
    if counts.get("port") == 1 or len(counts) == 1:
        counts.pop("port", None)
    if len(set(counts.values())) > 1:
        named = " and ".join(f"{count} of {key}" for key, count in counts.items())
        raise ValueError(f"{source} names {named}; name as many of each, or one port for all hosts")


@dataclass(frozen=True)
class _Query:
    """The parameters of a URL: those kept for libpq, and what is read from the others."""

    kept: str
    dropped: tuple[str, ...]
    remarks: tuple[str, ...]
    search_path: str


def _read_query(source: str, query: str) -> _Query:
    """Separate the parameters that libpq knows from those of other clients."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    pairs = [pair for pair in query.split("&") if pair]
    # libpq reads ssl=true, as JDBC writes it, although no option has that name.
    kept = [pair for pair in pairs if _name(pair) in known or pair == "ssl=true"]
    unknown = [pair for pair in pairs if pair not in kept]
    # With an @ this is the rest of a password; even its name must not be printed.
    if any("@" in pair for pair in unknown):
        raise ValueError(
            f"the password in {source} holds a raw ?, or a parameter a raw @; {ENCODE}"
        )
    schemas = [pair for pair in unknown if is_schema_parameter(_name(pair))]
    modes = [pair for pair in kept if _name(pair) == "sslmode" and _value(pair) == NO_VERIFY]
    return _Query(
        kept="&".join("sslmode=require" if pair in modes else pair for pair in kept),
        dropped=tuple(sorted({pair.partition("=")[0] for pair in unknown if pair not in schemas})),
        remarks=(f"sslmode={NO_VERIFY} read as require",) if modes else (),
        search_path=_search_path(source, schemas),
    )


def _search_path(source: str, pairs: list[str]) -> str:
    """The search_path that the parameters agree on; empty if they ask for none but public."""
    found: set[str] = set()
    for pair in pairs:
        try:
            found.add(read_search_path(_name(pair), _value(pair)))
        except ValueError as error:
            raise ValueError(f"the {_name(pair)} in {source} {error}") from None
    if len(found) > 1:
        raise ValueError(_SCHEMAS_DIFFER.format(source=source))
    return next(iter(found), "")


def _name(pair: str) -> str:
    return unquote(pair.partition("=")[0])


def _value(pair: str) -> str:
    return unquote(pair.partition("=")[2])
