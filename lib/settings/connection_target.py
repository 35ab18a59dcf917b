"""Where to connect to, and how to name that place to people."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from psycopg import pq

from . import providers
from .aws import Credential
from .search_path import search_path_option


@dataclass(frozen=True)
class ConnectionTarget:
    """A database to connect to, and the variable that names it.

    `source` is that variable; `why` says why it was chosen, or why the address differs from its
    value. `parameters` are those of libpq and may hold a password; a `credential` replaces one.
    `search_path` applies to the files alone. `dropped` and `remarks` are for the log. `is_embedded`
    is True for the database of the project's own embedded server. `advice` says what to do if no
    connection can be made.
    """

    source: str
    parameters: Mapping[str, str] = field(repr=False)
    dropped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    why: str = ""
    # Two targets that differ in it alone are the same place.
    search_path: str = field(default="", compare=False)
    credential: Credential | None = field(default=None, repr=False)
    is_embedded: bool = False
    advice: str = field(default="", compare=False)

    @property
    def host(self) -> str:
        return self.parameters.get("host") or self.parameters.get("hostaddr") or "localhost"

    @property
    def port(self) -> str:
        return self.parameters.get("port") or "5432"

    @property
    def database(self) -> str:
        """The name of the database; empty where libpq takes the name of the user."""
        return self.parameters.get("dbname", "")

    @property
    def address(self) -> str:
        """`host:port`; comma-separated for several hosts."""
        hosts, ports = self.host.split(","), self.port.split(",")
        # As libpq reads them: one port is for all hosts.
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
    def choice(self) -> str:
        """The variable and why it was chosen, as a part of a sentence."""
        return f"from {self.source}, {self.why}" if self.why else f"from {self.source}"

    @property
    def role(self) -> str:
        """The role that logs in; empty if unknown."""
        return providers.role(self.host, self.parameters.get("user", ""))

    @property
    def branch(self) -> str:
        """The provider's name for this branch of the data; empty if it has none."""
        return providers.branch(self.host, self.parameters.get("user", ""))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be printed."""
        names = ("password", "passfile", "sslpassword")
        return tuple(filter(None, map(self.parameters.get, names)))

    @property
    def is_local(self) -> bool:
        return is_local(self.host) and is_local(self.parameters.get("hostaddr", ""))

    @property
    def is_known_direct(self) -> bool:
        """True if the provider documents that each client gets a session of its own here."""
        return providers.is_direct(self.host, self.port)

    @property
    def is_located(self) -> bool:
        """True if the place is known; that of a stored secret is not until the secret is read."""
        return self.credential is None or "host" in self.parameters

    @property
    def needs_verified_host(self) -> bool:
        """True if the credential may be sent only to a host that has proved its name."""
        return self.credential is not None and self.credential.needs_verified_host

    @property
    def direct(self) -> "ConnectionTarget":
        """The same database without its transaction pooler, if the provider names such an address.

        Otherwise the target itself.
        """
        address = providers.direct_address(self.host, self.port)
        # hostaddr says where to connect to, whatever the host is called.
        if address is None or "hostaddr" in self.parameters:
            return self
        why = ", ".join(filter(None, (self.why, address.why)))
        target = replace(self.with_parameters(host=address.host, port=address.port), why=why)
        user = self.parameters.get("user", "")
        return (
            target.with_parameters(user=providers.direct_user(self.host, user)) if user else target
        )

    @property
    def for_files(self) -> "ConnectionTarget":
        """The target of the session that runs the files: the only one with the search_path."""
        if not self.search_path:
            return self
        # A parameter of a connection replaces PGOPTIONS, so its options are repeated here.
        options = self.parameters.get("options") or libpq_default("options")
        option = search_path_option(self.search_path)
        return self.with_parameters(options=" ".join(filter(None, (options, option))))

    def located(self) -> "ConnectionTarget":
        """The target with its place filled in, for which the credential may ask AWS.

        Raises MigratorError.
        """
        if self.credential is None:
            return self
        return self.with_parameters(**self.credential.location()).direct

    def with_parameters(self, **parameters: str) -> "ConnectionTarget":
        return replace(self, parameters={**self.parameters, **parameters})


def is_local(host: str) -> bool:
    """True if the host, or each host of a list, is this machine or a socket on this machine."""
    return all(_is_local(each.strip().lower()) for each in host.split(","))


def _is_local(host: str) -> bool:
    # Without a host libpq connects to a socket; one that begins with @ is in Linux's abstract
    # namespace.
    return host.startswith(("/", "@")) or host in ("", "localhost", "127.0.0.1", "::1")


def libpq_default(keyword: str) -> str:
    """The value that libpq itself would use: from PGSERVICE, from its PG* variable, or built in."""
    name = keyword.encode()
    values = (option.val for option in pq.Conninfo.get_defaults() if option.keyword == name)
    return (next(values, None) or b"").decode()
