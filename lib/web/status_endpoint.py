"""`GET /api/migration-status`: public and read-only, as JSON or as a page."""

import threading
import time
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..actions.run_parameters import RunContext
from ..actions.status import read_status_over
from ..database.connection import Connection
from ..errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    IntegrityError,
    LedgerError,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
    WebTokenRefusedError,
)
from ..files.folder import MigrationFile, discover
from ..plan.reports import Document, Status
from ..time_limits import KEPT_CONNECTION, REMEMBERED
from .endpoint_setup import STATUS_PATH, WEB_TOKEN_HEADER, Service
from .http_endpoint import (
    INTERNAL_ERROR,
    NO_STORE,
    Answer,
    BadRequestError,
    Endpoint,
    Request,
    log_internal_error,
)

# The CDN answers by itself for 5 seconds, and for 30 more from its copy while it asks again.
STATUS_CACHE = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
# The most migrations in an answer; all of them are behind the token.
NEWEST = 1000
# The values of the parameter `format`; without it, the answer is JSON.
JSON, PAGE = FORMATS = ("json", "page")

_NO_LEDGER = "The ledger of migrations can't be read."
_PUBLIC_FAILURES: tuple[tuple[type[MigratorError], str], ...] = (
    (ConfigurationError, "The database is not configured."),
    (MigrationFileError, "The migration files of this deployment can't be read."),
    (LedgerError, _NO_LEDGER),
    # Raised where another tool's table has the name of the ledger, and files were made of its own.
    (IntegrityError, _NO_LEDGER),
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
        if (form := request.parameter("format") or JSON) not in FORMATS:
            raise BadRequestError(f"The format is unknown; it is one of {', '.join(FORMATS)}.")
        return self._reader.read(
            request.header(WEB_TOKEN_HEADER) or "",
            form,
            is_check=request.parameter("check") == "1",
        )

    def refuse(self, request: Request, code: int, text: str, **headers: str) -> Answer:
        """Answer with an error, which is a page too if the request asks for the page."""
        answer = super().refuse(request, code, text, **headers)
        if request.parameter("format") != PAGE:
            return answer
        return _as_page(answer, _failure(text))

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

    code: int
    document: Document
    is_current: bool = False
    refused_token: str | None = field(default=None, repr=False)
    since: float = field(default_factory=time.monotonic)

    def serves(self, web_token: str, remembered: float) -> bool:
        """True if this look is fresh, and does not blame a token that the request does not have.

        Anybody may send a worthless token; the next request may bring a good one.
        """
        is_fresh = time.monotonic() - self.since < remembered
        return is_fresh and self.refused_token in (None, web_token)

    @cached_property
    def json(self) -> Answer:
        """The answer as JSON."""
        # A failure is never cached by the CDN.
        cache = STATUS_CACHE if self.code == 200 else NO_STORE
        return Answer.of(self.code, self.document, cache=cache)

    @cached_property
    def page(self) -> Answer:
        """The same for people, made when somebody asks for it first."""
        return _as_page(self.json, self.document)

    def answer(self, form: str, *, is_check: bool) -> Answer:
        """Return the answer in a form; to a check, 503 unless nothing is pending or modified."""
        answer = self.page if form == PAGE else self.json
        if not is_check or self.is_current or self.code != 200:
            return answer
        return replace(answer, code=503, cache=NO_STORE)


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

    def read(self, web_token: str, form: str, *, is_check: bool) -> Answer:
        """Answer from the latest look, or from a new one, with the web token of the request."""
        # Under the lock all wait for one look, in place of a connection for each request; and for
        # one page.
        with self._lock:
            if self._latest is None or not self._latest.serves(web_token, self._remembered):
                self._latest = self._look(web_token)
            return self._latest.answer(form, is_check=is_check)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _look(self, web_token: str) -> Look:
        try:
            context = self._service.context(admin=False, web_token=web_token)
            status = self._status(context, discover(context.settings.migrations_dir))
            return Look(200, status.to_dict(newest=NEWEST), is_current=status.is_current)
        except MigratorError as error:
            depends_on_token = isinstance(
                error, WebTokenRefusedError if web_token else _WITHOUT_A_TOKEN
            )
            # 503, so that a monitor notices.
            return Look(
                503,
                _failure(_public_text(error)),
                refused_token=web_token if depends_on_token else None,
            )
        except Exception as error:
            # Remembered as any other answer is, so that a flood of requests costs no more.
            log_internal_error(error)
            return Look(500, _failure(INTERNAL_ERROR))

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


def _failure(text: str) -> Document:
    return {"success": False, "error": text}


def _as_page(answer: Answer, document: Document) -> Answer:
    # Only here: a cold start that answers a monitor does not need the page.
    from .status_page import as_page

    return as_page(answer, document)


def _public_text(error: MigratorError) -> str:
    """What the public may know of an error: neither host, user nor any text of the driver."""
    return next(
        (text for kind, text in _PUBLIC_FAILURES if isinstance(error, kind)), _DATABASE_AWAY
    )
