"""`GET /api/migration-status`: public and read-only."""

import threading
import time
from dataclasses import dataclass, field, replace

from ..actions.run_parameters import RunContext
from ..actions.status import read_status_over
from ..database.connection import Connection
from ..errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    LedgerError,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
    WebTokenRefusedError,
)
from ..files.folder import MigrationFile, discover
from ..plan.reports import Status
from ..time_limits import KEPT_CONNECTION, REMEMBERED
from .endpoint_setup import STATUS_PATH, WEB_TOKEN_HEADER, Service
from .http_endpoint import NO_STORE, Answer, Endpoint, Request, internal_error

# The CDN answers by itself for 5 seconds, and for 30 more from its copy while it asks again.
STATUS_CACHE = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
# The most migrations in an answer; all of them are behind the token.
NEWEST = 1000

_PUBLIC_FAILURES: tuple[tuple[type[MigratorError], str], ...] = (
    (ConfigurationError, "The database is not configured."),
    (MigrationFileError, "The migration files of this deployment can't be read."),
    (LedgerError, "The ledger of migrations can't be read."),
)
_DATABASE_AWAY = "The database can't be reached."
# Without a token there are no credentials, which looks like a fault of the configuration.
_WITHOUT_A_TOKEN = (WebTokenRefusedError, ConfigurationError)


class StatusEndpoint(Endpoint):
    """The state of the database, and with `check=1` a 503 unless that state is current."""

    path = STATUS_PATH
    methods = ("GET", "HEAD")

    def __init__(self, service: Service, *, remembered: float = REMEMBERED) -> None:
        self._reader = StatusReader(service, remembered)

    def respond(self, request: Request) -> Answer:
        look = self._reader.read(request.header(WEB_TOKEN_HEADER) or "")
        return look.checked if request.parameter("check") == "1" else look.answer

    def close(self) -> None:
        """Close the connection to the database."""
        self._reader.close()


def create_status_app(
    service: Service | None = None, *, remembered: float = REMEMBERED
) -> StatusEndpoint:
    """Make the application, for the environment of this process unless a service is given.

    An answer serves the requests of `remembered` seconds.
    """
    return StatusEndpoint(service or Service(), remembered=remembered)


@dataclass(frozen=True)
class Look:
    """What one look at the database came to.

    `refused_token` is the web token of a request for which AWS gave no credentials, empty for a
    request without a token; None if the look did not depend on a token.
    """

    answer: Answer
    is_current: bool = False
    refused_token: str | None = field(default=None, repr=False)
    since: float = field(default_factory=time.monotonic)

    def serves(self, web_token: str, remembered: float) -> bool:
        """True if this look is fresh, and does not blame a token that the request does not have.

        Anybody may send a worthless token; the next request may bring a good one.
        """
        is_fresh = time.monotonic() - self.since < remembered
        return is_fresh and self.refused_token in (None, web_token)

    @property
    def checked(self) -> Answer:
        """The answer to `check=1`: 503 unless nothing is pending or modified."""
        if self.is_current or self.answer.code != 200:
            return self.answer
        return replace(self.answer, code=503, cache=NO_STORE)


class StatusReader:
    """Answers many requests from one look at the database, with one look under way at a time.

    The connection is kept for the next look, and replaced if it has died meanwhile.
    """

    def __init__(self, service: Service, remembered: float) -> None:
        self._service = service
        self._remembered = remembered
        self._lock = threading.Lock()
        self._latest: Look | None = None
        self._connection: Connection | None = None

    def read(self, web_token: str) -> Look:
        """Return the latest look, or take a new one, with the web token of the request."""
        # Under the lock all wait for one look, in place of a connection for each request.
        with self._lock:
            if self._latest is None or not self._latest.serves(web_token, self._remembered):
                self._latest = self._look(web_token)
            return self._latest

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _look(self, web_token: str) -> Look:
        try:
            context = self._service.context(admin=False, web_token=web_token)
            status = self._status(context, discover(context.settings.migrations_dir))
            answer = Answer.of(200, status.to_dict(newest=NEWEST), cache=STATUS_CACHE)
            return Look(answer, is_current=status.is_current)
        except MigratorError as error:
            depends_on_token = isinstance(
                error, WebTokenRefusedError if web_token else _WITHOUT_A_TOKEN
            )
            # 503, so that a monitor notices; never cached by the CDN.
            answer = Answer.error(503, _public_text(error))
            return Look(answer, refused_token=web_token if depends_on_token else None)
        except Exception as error:
            # Remembered as any other answer is, so that a flood of requests costs no more.
            return Look(internal_error(error))

    def _status(self, context: RunContext, files: tuple[MigrationFile, ...]) -> Status:
        if self._connection is not None and not self._connection.is_closed:
            try:
                # A function sleeps between requests, so the connection may have died unnoticed.
                with self._connection.extend_deadline(KEPT_CONNECTION):
                    return read_status_over(self._connection, context, files)
            except (DatabaseUnavailableError, OutOfTimeError):
                self._connection.close()
        self._connection = context.connect()
        return read_status_over(self._connection, context, files)


def _public_text(error: MigratorError) -> str:
    """What the public may know of an error: neither host, user nor any text of the driver."""
    return next(
        (text for kind, text in _PUBLIC_FAILURES if isinstance(error, kind)), _DATABASE_AWAY
    )
