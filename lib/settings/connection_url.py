"""A database URL, read with care: what libpq would misunderstand is refused by the variable's name, never by its value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import unquote

import psycopg
from psycopg import conninfo, pq

from . import pasted_values as pasted
from . import providers as provider
from .search_path import option, read_search_path, says_where, search_path_of_options

_SCHEME = re.compile(r"(?:postgres|postgresql)://", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

ENCODE = "percent-encode them in the user and the password: @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25"


# node-postgres' own, for a server whose certificate nobody looks at.
NO_VERIFY = "no-verify"


class PrismaUrlError(ValueError):
    """The URL is of Prisma's own protocol."""


class Credential(Protocol):
    """What stands in for a password: it is asked for whenever a connection is made.

    `needs_verified_host` where it goes to a host only that has proved its name; `advice` is for one that was refused.
    """

    @property
    def needs_verified_host(self) -> bool: ...

    @property
    def advice(self) -> str: ...

    def locate(self, target: "ConnectionTarget") -> "ConnectionTarget":
        """Fill in of the target what only this knows."""

    def login(self) -> Mapping[str, str]:
        """The parameters that log in: a password, or a user and a password."""

    def renew(self, refused: Mapping[str, str], /) -> bool:
        """The server has refused this login; tells whether there is another one to try."""


@dataclass(frozen=True)
class ConnectionTarget:
    """Where to connect. `source` is the variable's name, `why` how it came to be that one, or that address.

    The parameters are libpq's and may hold a password; a `credential` stands in for one. `search_path` is where the files
    are to make and find things; `dropped` and `remarks` are for the log.
    """

    source: str
    parameters: Mapping[str, str] = field(repr=False)
    dropped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    why: str = ""
    # No part of where to connect.
    search_path: str = field(default="", compare=False)
    credential: Credential | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return self.parameters.get("host") or self.parameters.get("hostaddr") or "localhost"

    @property
    def port(self) -> str:
        return self.parameters.get("port") or "5432"

    @property
    def database(self) -> str:
        """Its name, empty where the server is left to take it from the user's."""
        return self.parameters.get("dbname", "")

    @property
    def address(self) -> str:
        """`host:port`, of each host where there are several."""
        hosts, ports = self.host.split(","), self.port.split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        pairs = zip(hosts, ports, strict=False)
        return ",".join(
            f"{f'[{host}]' if ':' in host else host}:{port or '5432'}" for host, port in pairs
        )

    @property
    def place(self) -> str:
        """`host:port/database`, without user or password, for messages to the operator."""
        return "/".join(filter(None, (self.address, self.database)))

    @property
    def is_local(self) -> bool:
        return is_local(self.host) and is_local(self.parameters.get("hostaddr", ""))

    @property
    def branch(self) -> str:
        """The provider's own name of this branch of the data, empty where it has none."""
        return provider.branch(self.host, self.parameters.get("user", ""))

    @property
    def role(self) -> str:
        """The role that logs in, empty where it isn't known."""
        return provider.role(self.host, self.parameters.get("user", ""))

    @property
    def choice(self) -> str:
        """Which variable it is of, and why that one, for a sentence."""
        return f"from {self.source}, {self.why}" if self.why else f"from {self.source}"

    @property
    def direct(self) -> "ConnectionTarget":
        """The same database without a transaction pooler, where its provider's names tell how; else this one."""
        address = provider.direct_address(self.host, self.port)
        if address is None or "hostaddr" in self.parameters:
            return self
        why = ", ".join(filter(None, (self.why, address.why)))
        return replace(
            self,
            parameters={**self.parameters, "host": address.host, "port": address.port},
            why=why,
        )

    @property
    def for_files(self) -> "ConnectionTarget":
        """The same for the session that files run in, where alone the search_path counts."""
        if not self.search_path:
            return self
        given = self.parameters.get("options") or _libpqs_own_options()
        options = " ".join(filter(None, (given, option(self.search_path))))
        return replace(self, parameters={**self.parameters, "options": options})

    @property
    def is_known_direct(self) -> bool:
        """Tell whether the provider says that each client has a session of its own there, whoever answers."""
        return provider.is_direct(self.host, self.port)

    @property
    def needs_verified_host(self) -> bool:
        """Tell whether what logs in goes to a host only that has proved its name."""
        return self.credential is not None and self.credential.needs_verified_host

    @property
    def is_located(self) -> bool:
        """Tell whether its place is known; a stored secret's isn't before it is read."""
        return self.credential is None or "host" in self.parameters

    def located(self) -> "ConnectionTarget":
        """The same with its place filled in, for which a credential may have to be asked. Raises MigratorError."""
        return self.credential.locate(self) if self.credential else self

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed."""
        return tuple(
            value
            for key in ("password", "passfile", "sslpassword")
            if (value := self.parameters.get(key))
        )


def is_local(host: str) -> bool:
    """Tell whether it is this machine, or a socket on it; of a list, whether each is."""
    return all(_is_local(each.strip().lower()) for each in host.split(","))


def _is_local(host: str) -> bool:
    # An empty one is libpq's own: a socket.
    return host.startswith(("/", "@")) or host in ("", "localhost", "127.0.0.1", "::1")


def read_target(source: str, url: str) -> ConnectionTarget:
    """Read the URL that the variable `source` holds; ValueError with a message that is safe to print."""
    if fault := pasted.fault(url):
        raise ValueError(f"{source} {fault}")
    url = _lower_scheme(url.strip())
    if url.lower().startswith(("prisma://", "prisma+postgres://")):
        raise PrismaUrlError(
            f"{source} is an address of Prisma's own protocol, not of a PostgreSQL; "
            "set MIGRATION_DATABASE_URL to the postgres:// URL of the same database"
        )
    if not _SCHEME.match(url):
        raise ValueError(
            f"{source} is no PostgreSQL URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    base, _, query = url.partition("?")
    _check_encoding(source, base)
    asked = _read_query(source, query)
    try:
        parameters = conninfo.conninfo_to_dict(f"{base}?{asked.kept}" if asked.kept else base)
    except (psycopg.Error, UnicodeError):
        raise ValueError(
            f"{source} can't be read as a PostgreSQL URL; if it holds special characters, {ENCODE}"
        ) from None
    checked = checked_parameters(source, parameters)
    search_path = asked.search_path or search_path_of_options(checked.get("options", ""))
    target = ConnectionTarget(
        source, checked, asked.dropped, asked.remarks, search_path=search_path
    )
    check_host(source, target.host)
    _check_lists(source, target)
    return target


def check_host(source: str, host: str) -> None:
    """ValueError for a database that looks like PostgreSQL and can't be migrated by this."""
    if provider.is_dsql(host):
        raise ValueError(
            f"{source} names an Aurora DSQL cluster, which can't be migrated by this: it takes one DDL statement a "
            "transaction and has no advisory locks. Aurora PostgreSQL can be"
        )


def _check_lists(source: str, target: ConnectionTarget) -> None:
    """PostgreSQL's client pairs hosts, addresses and ports; one port is good for all of them."""
    lists = {key: target.parameters.get(key, "") for key in ("host", "hostaddr", "port")}
    counts = {key: value.count(",") + 1 for key, value in lists.items() if value}
    if counts.get("port") == 1 or len(counts) == 1:
        counts.pop("port", None)
    if len(set(counts.values())) > 1:
        told = " and ".join(f"{count} of {key}" for key, count in counts.items())
        raise ValueError(f"{source} names {told}; name as many of each, or one port for all hosts")


def _lower_scheme(url: str) -> str:
    """Write the scheme as libpq knows it: in lower case alone."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def _check_encoding(source: str, base: str) -> None:
    authority = base.partition("://")[2]
    user, _, password = authority.rpartition("@")[0].partition(":")
    for part, text in (("user", user), ("password", password)):
        raw = [sign for sign in "@/" if sign in text] + ["%"] * bool(_PERCENT.search(text))
        if raw:
            raise ValueError(f"the {part} in {source} holds a raw {' and '.join(raw)}; {ENCODE}")
    if any(sign.isspace() for sign in base):
        raise ValueError(
            f"{source} holds a space or a line break; take it out, or encode it as %20"
        )


@dataclass(frozen=True)
class _Query:
    """What comes of a URL's parameters: those for libpq, the names of those left out, and what is for ourselves."""

    kept: str
    dropped: tuple[str, ...]
    remarks: tuple[str, ...]
    search_path: str


def _read_query(source: str, query: str) -> _Query:
    """Part the parameters that libpq knows from those it doesn't, of which the names are printed."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    pairs = [pair for pair in query.split("&") if pair]
    # libpq reads ssl=true, as JDBC writes it, although no option has that name.
    kept = [pair for pair in pairs if _name(pair) in known or pair == "ssl=true"]
    unknown = [pair for pair in pairs if pair not in kept]
    if any("@" in pair for pair in unknown):
        raise ValueError(
            f"the password in {source} holds a raw ?, or a parameter a raw @; {ENCODE}"
        )
    dropped = sorted({pair.partition("=")[0] for pair in unknown if not says_where(_name(pair))})
    modes = [pair for pair in kept if _name(pair) == "sslmode" and _value(pair) == NO_VERIFY]
    return _Query(
        kept="&".join("sslmode=require" if pair in modes else pair for pair in kept),
        dropped=tuple(dropped),
        remarks=(f"sslmode={NO_VERIFY} read as require",) if modes else (),
        search_path=_search_path(source, [pair for pair in unknown if says_where(_name(pair))]),
    )


def _search_path(source: str, pairs: list[str]) -> str:
    """The one that the parameters ask for together, empty where they ask for none but public."""
    found: set[str] = set()
    for pair in pairs:
        try:
            found.add(read_search_path(_name(pair), _value(pair)))
        except ValueError as error:
            raise ValueError(f"the {_name(pair)} in {source} {error}") from None
    if len(found) > 1:
        raise ValueError(
            f"{source} says in several ways which schemas it means, and they differ; leave one"
        )
    return next(iter(found), "")


def _name(pair: str) -> str:
    return unquote(pair.partition("=")[0])


def _value(pair: str) -> str:
    return unquote(pair.partition("=")[2])


def _libpqs_own_options() -> str:
    """What PGOPTIONS says, or a service that PGSERVICE names."""
    found = (option.val for option in pq.Conninfo.get_defaults() if option.keyword == b"options")
    return (next(found, None) or b"").decode()


def checked_parameters(source: str, parameters: Mapping[str, object]) -> dict[str, str]:
    """Those that are given, as text; ValueError names the `source` of a port that is none."""
    checked = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    for port in checked.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(
                f"{source} can't be read: its port is no number; if it holds special characters, {ENCODE}"
            )
    return checked
