"""Getting connected: with patience where a failure may pass, and in words that hold no secret where it doesn't."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from lib.connection_url import ConnectionTarget
from lib.database import Connection
from lib.errors import DatabaseUnavailableError
from lib.tls import tls_parameters

T = TypeVar("T")

# libpq waits for an answer for so long at least, in seconds.
SHORTEST_PATIENCE = 2.0
_REFUSED = "the user or the password was refused"
_UNVERIFIED = "the server's certificate is of no authority that is trusted here; PGSSLROOTCERT names a file of others"
_NO_TLS = "the server has no TLS; if its network is private, add ?sslmode=disable to its URL, or set PGSSLMODE=disable"
# libpq says in words alone why a connection failed: what is recognised, what it means, whether trying again is useless.
_REASONS = (
    ("authentication failed", _REFUSED, True),
    ("no password supplied", "the server asks for a password, and none is given", True),
    ("tenant or user not found", "the user or the project is unknown there", True),
    ("no such user", "the user is unknown there", True),
    ("no such database", "there is no such database", True),
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not admit this client", True),
    ("is not permitted to log in", "the role is not permitted to log in", True),
    ("could not translate host name", "the host name is unknown", True),
    ("name or service not known", "the host name is unknown", True),
    ("nodename nor servname", "the host name is unknown", True),
    ("failed to resolve host", "the host name is unknown", True),
    ("server does not support ssl", _NO_TLS, True),
    ("root certificate file", "the file of root certificates that sslrootcert names is missing, or holds none", True),
    ("certificate verify failed", _UNVERIFIED, True),
    ("server certificate for", "the server's certificate is one of another host's", True),
    ("may not be used with sslrootcert=system", "sslrootcert=system needs sslmode=verify-full", True),
    ("does not support ssl certificate", _UNVERIFIED, True),
    ("not currently accepting connections", "the database accepts no connections", True),
    ("unsupported startup parameter", "a pooler there refuses a parameter of the URL", True),
    ("invalid sslmode", "the sslmode of the URL, or of PGSSLMODE, is none that PostgreSQL's client knows", True),
    ("invalid channel_binding", "the URL's channel_binding is none that PostgreSQL's client knows", True),
    ("invalid target_session_attrs", "the URL's target_session_attrs is none that PostgreSQL's client knows", True),
    ("too many connections", "the role or the database has no connection left", False),
    ("network is unreachable", "the network is unreachable", False),
    ("too many clients", "the server has no connection left", False),
    ("remaining connection slots", "the server has no connection left", False),
    ("starting up", "the server is starting up", False),
    ("shutting down", "the server is shutting down", False),
    ("connection refused", "nothing listens there", False),
    ("timeout", "no answer in time", False),
    ("timed out", "no answer in time", False),
)


def connect(
    target: ConnectionTarget,
    *,
    application_name: str,
    patience: float,
    on_notice: Callable[[str, str], None] | None = None,
    on_retry: Callable[[str], None] | None = None,
) -> Connection:
    """Connect, trying again for `patience` seconds while the failure may pass, as when a database wakes up.

    Raises DatabaseUnavailableError, which names the variable and the place but no user and no password.
    """

    def attempt(seconds: float) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return _log_in(target, application_name, seconds)
        except psycopg.Error as error:
            raise _unavailable(target, error, patience) from None

    connection = Connection(_patiently(attempt, patience, on_retry))
    connection.on_notice = on_notice
    return connection


def locate(target: ConnectionTarget, *, patience: float, on_retry: Callable[[str], None] | None = None) -> ConnectionTarget:
    """Fill in the target's place, as patiently, where somebody has to be asked for it. Raises MigratorError."""
    return _patiently(lambda _: target.located(), patience, on_retry)


def _patiently(attempt: Callable[[float], T], patience: float, on_retry: Callable[[str], None] | None) -> T:
    """Try, with the seconds that are left, until it succeeds, or fails for good, or the time is over."""
    until = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            return attempt(until - time.monotonic())
        except DatabaseUnavailableError as error:
            if error.final or time.monotonic() + pause >= until:
                raise
            if on_retry:
                on_retry(error.public)
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _log_in(target: ConnectionTarget, application_name: str, seconds: float) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect once, and once more if the login was refused and there is another one by now."""
    if target.credential is None:
        return _connect_once(target, {}, application_name, seconds)
    login = target.credential.login()
    try:
        return _connect_once(target, login, application_name, seconds)
    except psycopg.Error as error:
        if _reason(error)[0] != _REFUSED or not target.credential.renew(login):
            raise
    return _connect_once(target, target.credential.login(), application_name, seconds)


def _connect_once(
    target: ConnectionTarget, login: Mapping[str, str], application_name: str, patience: float
) -> psycopg.Connection[tuple[Any, ...]]:
    defaults = {
        "gssencmode": "disable",
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    parameters = {
        **defaults,
        **target.parameters,
        **tls_parameters(target),
        **login,
        "application_name": application_name,
        "client_encoding": "utf8",
        "connect_timeout": str(max(int(SHORTEST_PATIENCE), min(10, int(patience)))),
    }
    return psycopg.connect("", autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]


def _reason(error: psycopg.Error) -> tuple[str, bool]:
    """Why it failed, in our own words, and whether trying again is useless."""
    text = str(error).lower()
    if re.search(r'database ".*" does not exist', text):
        return "there is no such database", True
    if re.search(r'role ".*" does not exist', text):
        return _REFUSED, True
    return next(
        ((reason, final) for pattern, reason, final in _REASONS if pattern in text),
        ("the connection failed for a reason that is not known to pass or to stay", False),
    )


def _unavailable(target: ConnectionTarget, error: psycopg.Error, patience: float) -> DatabaseUnavailableError:
    reason, final = _reason(error)
    if reason == _REFUSED and target.credential:
        reason = f"{reason}. {target.credential.advice}".removesuffix(".")
    tried = "" if final else f" It was tried for {patience:g} s (MIGRATION_CONNECT_TIMEOUT)."
    return DatabaseUnavailableError(
        f"The database at {target.place} (from {target.source}) can't be reached: {reason}.{tried}",
        final=final,
        silent="no answer" in reason,
        public=f"The database can't be reached: {reason}.",
    )
