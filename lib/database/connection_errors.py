"""Why a connection failed: recognized, put in words of our own, and quoted without secrets.

The text for HTTP is our own alone. What the server or libpq said is for the operator's log, and
goes through `cleaned`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from ..masking import cleaned

TOO_MANY_CONNECTIONS = "53300"
# Characters of a quotation.
# An error page of a proxy, for example, can be much longer.
LONGEST_QUOTATION = 300


@dataclass(frozen=True)
class Reason:
    """What a failure means. `final` if another try is useless, `silent` if nobody answered."""

    text: str
    final: bool
    silent: bool = False


REFUSED = Reason("the user or the password was refused", final=True)
FULL = Reason("the server has no connection left", final=False)
LIMITED = Reason(
    "the role or the database has reached its connection limit, and a run needs two connections",
    final=False,
)
POOLER_REFUSES = Reason("a pooler refuses a parameter of the URL", final=True)
NO_IPV6 = Reason("the host has only an IPv6 address, which can't be reached from here", final=True)
UNKNOWN = Reason("the connection failed for a reason that is not recognized", final=False)
_NO_DATABASE = Reason("there is no such database", final=True)
_NO_ROOM = Reason("the server's pg_hba.conf does not admit this client", final=True)
_UNTRUSTED = Reason("the server refuses this user, or this client by its pg_hba.conf", final=True)
_UNVERIFIED = Reason(
    "the server's certificate is from an authority that is not trusted here; set PGSSLROOTCERT to "
    "the file of its root certificate",
    final=True,
)
_NO_TLS = Reason(
    "the server does not support TLS; if its network is private, add ?sslmode=disable to its URL, "
    "or set PGSSLMODE=disable",
    final=True,
)
_WANTS_TLS = Reason(
    "the server accepts only connections with TLS; write sslmode=require in the URL, and unset "
    "PGSSLMODE",
    final=True,
)
_OPTION = Reason(
    "the server refuses the options that the URL or the environment asks for; remove them",
    final=True,
)
_VALUE = Reason("a parameter of the URL has a value that PostgreSQL's client can't use", final=True)
_NO_BINDING = Reason(
    "channel_binding=require can't be met, since TLS or SCRAM is missing or a pooler is in "
    "between; remove it from the URL",
    final=True,
)
_NO_SUCH_SESSION = Reason("no server is as target_session_attrs in the URL asks for", final=True)
_CLIENT_FILES = Reason(
    "the client's certificate or key, which the URL names, can't be used", final=True
)
_NO_HOST = Reason("the host name is unknown", final=True)
_NO_ENDPOINT = Reason("the endpoint is unknown there, or disabled", final=True)
_DENIED = Reason("the role may not connect to this database", final=True)
_STARTING = Reason("the server is starting up", final=False)
_STOPPING = Reason("the server is shutting down", final=False)
_NOT_NOW = Reason("the server accepts no connections now", final=False)
_SILENT = Reason("no answer in time", final=False, silent=True)
_HUNG_UP = Reason("the server closed the connection before the login", final=False)
_NOT_POSTGRESQL = Reason("the answer is not in PostgreSQL's protocol", final=False)

# What libpq, the server and poolers say, in lower case. The first that is found counts, so that the
# answer of one address of a host goes before the silence of another.
_BY_WORDS: tuple[tuple[str, Reason], ...] = (
    (r'database ".*" does not exist', _NO_DATABASE),
    (r'role ".*" does not exist', REFUSED),
    ("authentication failed", REFUSED),
    (
        "no password supplied",
        Reason("the server asks for a password, and none is given", final=True),
    ),
    (
        "tenant or user not found|tenant/user .*not found",
        Reason("the user or the project is unknown there", final=True),
    ),
    ("no such user", Reason("the user is unknown there", final=True)),
    ("no such database", _NO_DATABASE),
    ("no pg_hba.conf entry.*ssl encryption", _NO_ROOM),
    ("no pg_hba.conf entry.*(?:no encryption|ssl off)", _WANTS_TLS),
    ("no pg_hba.conf entry|pg_hba.conf rejects", _NO_ROOM),
    (r"\bssl connection is required|connection is insecure|fatal:\s+ssl required", _WANTS_TLS),
    ("is not permitted to log in", Reason("the role is not permitted to log in", final=True)),
    (
        "could not translate host name|name or service not known|nodename nor servname"
        "|failed to resolve host",
        _NO_HOST,
    ),
    ("server does not support ssl|server refused tls", _NO_TLS),
    (
        "root certificate file",
        Reason(
            "the file of root certificates that sslrootcert names is missing or empty",
            final=True,
        ),
    ),
    ("certificate verify failed|does not support ssl certificate", _UNVERIFIED),
    (
        "server certificate for",
        Reason("the server's certificate is for another host", final=True),
    ),
    (
        "may not be used with sslrootcert=system",
        Reason("sslrootcert=system needs sslmode=verify-full", final=True),
    ),
    ("certificate file|private key file", _CLIENT_FILES),
    ("channel binding", _NO_BINDING),
    (
        "not currently accepting connections",
        Reason("the database accepts no connections", final=True),
    ),
    ("permission denied for database", _DENIED),
    ("unsupported startup parameter", POOLER_REFUSES),
    (
        "invalid command-line argument|unrecognized configuration parameter"
        "|invalid value for parameter|requires a value"
        '|permission denied to set parameter|parameter ".*" cannot be',
        _OPTION,
    ),
    (
        "invalid sslmode",
        Reason(
            "the sslmode of the URL, or PGSSLMODE, is not known to PostgreSQL's client",
            final=True,
        ),
    ),
    (
        "invalid (channel_binding|target_session_attrs)",
        Reason(
            "channel_binding or target_session_attrs in the URL is not known to PostgreSQL's "
            "client",
            final=True,
        ),
    ),
    (
        r"invalid \w+ value|invalid integer value|authentication method requirement",
        _VALUE,
    ),
    (
        "service file|definition of service",
        Reason("the service that the URL names is not in a service file", final=True),
    ),
    (
        "endpoint could not be found|endpoint has been disabled|endpoint id is not specified",
        _NO_ENDPOINT,
    ),
    ("too many connections for", LIMITED),
    ("too many connections", FULL),
    ("too many clients|remaining connection slots|no more connections allowed|max ?clients", FULL),
    ("not yet accepting connections|starting up", _STARTING),
    ("shutting down", _STOPPING),
    ("connection refused", Reason("nothing listens there", final=False)),
    ("timeout|timed out", _SILENT),
    (
        "network is unreachable|cannot assign requested address|address family not supported"
        "|no route to host",
        Reason("the network is unreachable", final=False),
    ),
    ("server closed the connection|connection reset", _HUNG_UP),
    ("invalid response to ssl|expected authentication request", _NOT_POSTGRESQL),
    # Last: another host, which is away now, may be the one that is asked for.
    ("session is (?:not )?read-only|server is (?:not )?in hot standby", _NO_SUCH_SESSION),
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE = {
    "28P01": REFUSED,
    "28000": _UNTRUSTED,
    "3D000": _NO_DATABASE,
    "42501": _DENIED,
    "42601": _OPTION,
    "42602": _OPTION,
    "42704": _OPTION,
    "22023": _OPTION,
    "55P02": _OPTION,
    "55000": Reason("the database accepts no connections", final=True),
    "0A000": _OPTION,
    TOO_MANY_CONNECTIONS: FULL,
    "57P03": _NOT_NOW,
    "57P01": _STOPPING,
}
_ADDRESS = re.compile(r'connection to server at "([^"]*)"(?: \(([^)]*)\))?')
_NO_WAY = (
    "network is unreachable",
    "cannot assign requested address",
    "address family not supported",
)
_PREFIX = re.compile(
    r"connection failed: "
    r"|connection (?:to server )?(?:at|on) (?:socket )?\"[^\"]*\""
    r"(?: \([^)]*\))?(?:, port \d+)? failed: "
)
_ALL_ATTEMPTS = "\nMultiple connection attempts failed"


def recognize(error: psycopg.Error) -> Reason:
    """Find by its words what a failure means; `UNKNOWN` for words in an unknown language."""
    # Words, since failures of libpq and of poolers have no SQLSTATE.
    text = str(error).lower()
    if _is_ipv6_alone(text):
        return NO_IPV6
    # A ProgrammingError of psycopg has not reached any server.
    unknown = _VALUE if isinstance(error, psycopg.ProgrammingError) else UNKNOWN
    return next((reason for words, reason in _BY_WORDS if re.search(words, text)), unknown)


def recognize_code(sqlstate: str | None) -> Reason:
    """Find by its SQLSTATE what a failure means: that is the same in every language."""
    return _BY_SQLSTATE.get(sqlstate or "", UNKNOWN)


def quotation(error: psycopg.Error, *, secrets: Iterable[str], names: Iterable[str]) -> str:
    """Return what was said, in one line; empty for an error that may quote the URL itself."""
    if isinstance(error, psycopg.ProgrammingError):
        return ""
    said = _PREFIX.sub("", str(error).partition(_ALL_ATTEMPTS)[0])
    # A line that begins with a tab is advice from libpq.
    lines = [line for line in said.split("\n") if line.strip() and not line.startswith("\t")]
    line = " ".join("; ".join(dict.fromkeys(lines)).split())
    return cleaned(line, secrets=secrets, names=names)[:LONGEST_QUOTATION]


def _is_ipv6_alone(text: str) -> bool:
    """True if every address that was tried is an IPv6 address, and none has a route."""
    tried = text.partition(_ALL_ATTEMPTS.lower())[2] or text
    attempts = [line for line in tried.split("\n") if "connection to server" in line]
    return bool(attempts) and all(
        _has_ipv6(line) and any(words in line for words in _NO_WAY) for line in attempts
    )


def _has_ipv6(line: str) -> bool:
    found = _ADDRESS.search(line)
    return found is not None and ":" in (found[2] or found[1])
