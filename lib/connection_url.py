"""A database URL, read with care: what libpq would misunderstand is refused by the variable's name, never by its value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import unquote

import psycopg
from psycopg import conninfo, pq

from lib import provider

_SCHEME = re.compile(r"(?:postgres|postgresql)://", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

ENCODE = "percent-encode them in the user and the password: @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25"


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

    The parameters are libpq's and may hold a password; a `credential` stands in for one.
    """

    source: str
    parameters: Mapping[str, str] = field(repr=False)
    dropped: tuple[str, ...] = ()
    why: str = ""
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
        """`host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """`host:port/database`, without user or password, for messages to the operator."""
        return "/".join(filter(None, (self.address, self.database)))

    @property
    def is_local(self) -> bool:
        return is_local(self.host)

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
        return replace(self, parameters={**self.parameters, "host": address.host, "port": address.port}, why=why)

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
        return tuple(value for key in ("password", "passfile", "sslpassword") if (value := self.parameters.get(key)))


def is_local(host: str) -> bool:
    """Tell whether it is this machine, or a socket on it."""
    return host.startswith(("/", "@")) or host.lower() in ("localhost", "127.0.0.1", "::1")


def read_target(source: str, url: str) -> ConnectionTarget:
    """Read the URL that the variable `source` holds; ValueError with a message that is safe to print."""
    url = _lower_scheme(url.strip())
    if url.lower().startswith(("prisma://", "prisma+postgres://")):
        raise PrismaUrlError(
            f"{source} is an address of Prisma's own protocol, not of a PostgreSQL; "
            "set MIGRATION_DATABASE_URL to the postgres:// URL of the same database"
        )
    if not _SCHEME.match(url):
        raise ValueError(f"{source} is no PostgreSQL URL; write postgresql://USER:PASSWORD@HOST/DATABASE")
    base, _, query = url.partition("?")
    _check_encoding(source, base)
    kept, dropped = _known_parameters(source, query)
    try:
        parameters = conninfo.conninfo_to_dict(f"{base}?{kept}" if kept else base)
    except (psycopg.Error, UnicodeError):
        raise ValueError(f"{source} can't be read as a PostgreSQL URL; if it holds special characters, {ENCODE}") from None
    target = ConnectionTarget(source, checked_parameters(source, parameters), dropped)
    check_host(source, target.host)
    return target


def check_host(source: str, host: str) -> None:
    """ValueError for a database that looks like PostgreSQL and can't be migrated by this."""
    if provider.is_dsql(host):
        raise ValueError(
            f"{source} names an Aurora DSQL cluster, which can't be migrated by this: it takes one DDL statement a "
            "transaction and has no advisory locks. Aurora PostgreSQL can be"
        )


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
        raise ValueError(f"{source} holds a space or a line break; take it out, or encode it as %20")


def _known_parameters(source: str, query: str) -> tuple[str, tuple[str, ...]]:
    """Part the parameters that libpq knows from the names of those it doesn't, which are printed."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    pairs = [pair for pair in query.split("&") if pair]
    # libpq reads ssl=true, as JDBC writes it, although no option has that name.
    kept = [pair for pair in pairs if unquote(pair.partition("=")[0]) in known or pair == "ssl=true"]
    unknown = [pair for pair in pairs if pair not in kept]
    if any("@" in pair for pair in unknown):
        raise ValueError(f"the password in {source} holds a raw ?, or a parameter a raw @; {ENCODE}")
    return "&".join(kept), tuple(sorted({pair.partition("=")[0] for pair in unknown}))


def checked_parameters(source: str, parameters: Mapping[str, object]) -> dict[str, str]:
    """Those that are given, as text; ValueError names the `source` of a port that is none."""
    checked = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    for port in checked.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{source} can't be read: its port is no number; if it holds special characters, {ENCODE}")
    return checked
