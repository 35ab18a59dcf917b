"""Getting connected: with retries while a failure may pass, and with errors that hold no secret."""

import os
import re
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from ..deadline import Deadline
from ..errors import ConfigurationError, DatabaseUnavailableError, MigratorError
from ..settings import providers as provider
from ..settings.connection_target import ConnectionTarget
from ..settings.search_path import search_path_option
from ..settings.tls import tls_parameters
from ..time_limits import CONNECT_ATTEMPT, RECONNECT_PAUSE, SHORTEST_CONNECT
from .connection import Connection
from .connection_errors import (
    FULL,
    LIMITED,
    NO_IPV6,
    POOLER_REFUSES,
    REFUSED,
    TOO_MANY_CONNECTIONS,
    UNKNOWN,
    Reason,
    quotation,
    recognize,
    recognize_code,
)
from .notices import Listener

T = TypeVar("T")

# The client notices within half a minute that the server's machine has vanished. Not GSSAPI, which
# costs a round trip where there is no Kerberos.
_DEFAULTS = {
    "gssencmode": "disable",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_CODE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})"')


class _NotConnectedError(Exception):
    """An attempt failed. `said` is what libpq or the server said, cleaned of secrets."""

    def __init__(self, reason: Reason, said: str) -> None:
        super().__init__(said)
        self.reason = reason
        self.said = said


def connect(
    target: ConnectionTarget,
    *,
    application_name: str,
    timeout: float,
    deadline: Deadline | None = None,
    on_notice: Listener | None = None,
    on_retry: Callable[[str], None] | None = None,
    cleanup_sql: str = "",
) -> Connection:
    """Connect. While a failure may pass, as when a database wakes up, retry for `timeout` seconds.

    The connection keeps `deadline`. Raises DatabaseUnavailableError, which names the variable and
    the place, but neither user nor password.
    """

    def attempt(seconds: float) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return _log_in(target, application_name, seconds)
        except _NotConnectedError as error:
            raise _unavailable(target, error, timeout) from None

    raw = _with_retries(attempt, timeout, on_retry)
    return Connection(raw, deadline=deadline, on_notice=on_notice, cleanup_sql=cleanup_sql)


def locate(
    target: ConnectionTarget, *, timeout: float, on_retry: Callable[[str], None] | None = None
) -> ConnectionTarget:
    """Ask for the target's place where only AWS knows it, with the same retries.

    Raises MigratorError.
    """
    return _with_retries(lambda _: target.located(), timeout, on_retry)


def _with_retries(
    attempt: Callable[[float], T], timeout: float, on_retry: Callable[[str], None] | None
) -> T:
    """Call `attempt` with the seconds that are left, until it succeeds or fails for good."""
    deadline = Deadline.after(timeout)
    pause, longest_pause = RECONNECT_PAUSE
    while True:
        try:
            return attempt(deadline.remaining())
        except DatabaseUnavailableError as error:
            if error.final or deadline.remaining() <= pause:
                raise
            if on_retry:
                on_retry(error.public)
        time.sleep(pause)
        pause = min(pause * 2, longest_pause)


def _log_in(
    target: ConnectionTarget, application_name: str, seconds: float
) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect once, and once more if the login was refused and a newer one can be had."""
    if target.credential is None:
        return _connect_once(target, {}, application_name, seconds)
    login = target.credential.login()
    try:
        return _connect_once(target, login, application_name, seconds)
    except _NotConnectedError as error:
        if error.reason is not REFUSED or not target.credential.renew(login):
            raise
    return _connect_once(target, target.credential.login(), application_name, seconds)


def _connect_once(
    target: ConnectionTarget, login: Mapping[str, str], application_name: str, timeout: float
) -> psycopg.Connection[tuple[Any, ...]]:
    parameters = {
        # From general to particular: a URL overrides the defaults, and TLS rules the URL.
        **_DEFAULTS,
        **target.parameters,
        **tls_parameters(target),
        **login,
        "application_name": application_name,
        "client_encoding": "utf8",
        "connect_timeout": str(int(max(SHORTEST_CONNECT, min(CONNECT_ATTEMPT, timeout)))),
    }
    try:
        # Transactions are begun by the runner and by files. Nothing is prepared: a transaction
        # pooler may send the next message to a server process that does not know the statement.
        return psycopg.connect("", autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise _not_connected(error, target, login, parameters) from None


def _not_connected(
    error: psycopg.Error,
    target: ConnectionTarget,
    login: Mapping[str, str],
    parameters: Mapping[str, str],
) -> _NotConnectedError:
    """Find the reason of a failure, and quote it without secrets and names."""
    # While it connects, psycopg gives no SQLSTATE: at first, the words are all there is.
    reason = recognize(error)
    # Only what the words do not tell is worth a second connection.
    if reason is UNKNOWN:
        reason = recognize_code(_sqlstate(parameters))
    # Those that the environment or libpq's own files have added, too.
    used = error.pgconn
    secrets = (
        *target.secrets,
        login.get("password", ""),
        _text(used.password if used else None),
    )
    names = (parameters.get("user", ""), _text(used.user if used else None))
    return _NotConnectedError(reason, quotation(error, secrets=secrets, names=names))


def _sqlstate(parameters: Mapping[str, str]) -> str | None:
    """Connect once more, and read the SQLSTATE of the error; None if it can't be read.

    While it connects, libpq shows a SQLSTATE only in its trace of the messages. The trace may hold
    the password, so it is kept in memory, and not for long.
    """
    # Elsewhere the trace would be a file on disk, perhaps with the password in it.
    if not hasattr(os, "memfd_create"):
        return None
    deadline = Deadline.after(float(parameters["connect_timeout"]))
    with (
        os.fdopen(os.memfd_create("trace"), "rb") as trace,
        suppress(psycopg.Error, OSError, ValueError),
    ):
        pgconn = pq.PGconn.connect_start(make_conninfo(**parameters).encode())
        try:
            pgconn.trace(trace.fileno())
            _follow(pgconn, deadline)
            pgconn.untrace()
        finally:
            pgconn.finish()
        trace.seek(0)
        codes = _CODE.findall(trace.read())
        return codes[-1].decode() if codes else None
    return None


def _follow(pgconn: pq.abc.PGconn, deadline: Deadline) -> None:
    """Wait until libpq has connected or failed."""
    # As libpq's manual asks for: "Database Connection Control Functions", PQconnectPoll.
    status = pq.PollingStatus.WRITING
    while (
        status in (pq.PollingStatus.READING, pq.PollingStatus.WRITING) and not deadline.has_passed()
    ):
        reading = [pgconn.socket] if status == pq.PollingStatus.READING else []
        writing = [pgconn.socket] if status == pq.PollingStatus.WRITING else []
        select.select(reading, writing, [], deadline.remaining())
        status = pq.PollingStatus(pgconn.connect_poll())


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def no_search_path(target: ConnectionTarget) -> str:
    """Say why the schema that the URL names is not in force, and what to do."""
    return (
        f"The schema that {target.source} names is not in force through this pooler: tables might "
        "be created in another one. Either set MIGRATION_DATABASE_URL to a direct connection, with "
        "the same schema; or remove the schema from the URL, and name it in the files or give it "
        "to the role: alter role … set search_path = …."
    )


def _unavailable(
    target: ConnectionTarget, error: _NotConnectedError, timeout: float
) -> MigratorError:
    reason, said = error.reason, f" ({error.said})" if error.said else ""
    asked = target.search_path and search_path_option(target.search_path)
    # The URL's schema travels as a startup parameter, which PgBouncer rejects by default.
    if reason is POOLER_REFUSES and asked and asked in target.parameters.get("options", ""):
        return ConfigurationError(no_search_path(target))
    advice = ""
    if reason is REFUSED and target.credential:
        advice = f" {target.credential.advice}"
    elif reason is NO_IPV6:
        advice = f" {provider.ipv4_advice(target.host)}"
    # Not for HTTP, and not at each retry.
    own_advice = f" {target.advice}" if target.advice else ""
    retried = (
        ""
        if reason.final
        else f" Retries ended after {round(timeout, 1):g} s (MIGRATION_CONNECT_TIMEOUT)."
    )
    return DatabaseUnavailableError(
        f"The database at {target.place} (from {target.source}) can't be reached: "
        f"{reason.text}{said}.{advice}{own_advice}{retried}",
        final=reason.final,
        silent=reason.silent,
        public=f"The database can't be reached: {reason.text}.{advice}",
        sqlstate=TOO_MANY_CONNECTIONS if reason in (FULL, LIMITED) else None,
    )
