"""`GET /api/migration-status`: public and read-only.

A plain WSGI application. Flask alone would take longer to import than all the rest of a cold start, for one path and one
parameter, and a test holds what may be loaded here.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from ..actions.run_context import RunContext
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
from ..limits import KEPT_CONNECTION
from ..plan.reports import Document, Status
from .shell import (
    NO_CACHE,
    STATUS_PATH,
    WEB_TOKEN_HEADER,
    Service,
    answer_headers,
    encode_body,
    internal_error,
)

# The CDN answers for so many seconds by itself, and from what it has while it asks again.
STATUS_CACHE = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
# How long an answer, or a failure, serves every request of this process, in seconds.
REMEMBERED = 2.0
# An answer holds so many of the migrations; all of them are behind the token.
NEWEST = 1000

_PATHS = tuple(f"{STATUS_PATH}{ending}" for ending in ("", "/", ".py", ".py/"))
_METHODS = ("GET", "HEAD")
_WEB_TOKEN = f"HTTP_{WEB_TOKEN_HEADER.upper().replace('-', '_')}"
_PUBLIC_FAILURES: tuple[tuple[type[MigratorError], str], ...] = (
    (ConfigurationError, "The database is not configured."),
    (MigrationFileError, "The migration files of this deployment can't be read."),
    (LedgerError, "The ledger of migrations can't be read."),
)
_WITHOUT_A_TOKEN = (WebTokenRefusedError, ConfigurationError)
_DATABASE_AWAY = "The database can't be reached."


@dataclass(frozen=True)
class Answer:
    """The answer that serves every request for a while: encoded once. `is_current` as the status has it.

    `refused` is the web token that led nowhere, empty for none, if the failure may be that.
    """

    code: int
    body: bytes
    is_current: bool = False
    refused: str | None = field(default=None, repr=False)
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, code: int, document: Document, *, is_current: bool = False) -> "Answer":
        return cls(code, encode_body(document), is_current)

    @classmethod
    def refusal(cls, code: int, error: str) -> "Answer":
        return cls.of(code, {"success": False, "error": error})

    def serves(self, web_token: str | None) -> bool:
        """Tell whether it will do for a request: anybody may send a token that is none, and the next one's may do."""
        is_fresh = time.monotonic() - self.since < REMEMBERED
        return is_fresh and self.refused in (None, web_token or "")

    def checked(self) -> "Answer":
        """What `check=1` makes of it: 503 unless nothing is pending or modified."""
        return self if self.is_current or self.code != HTTPStatus.OK else replace(self, code=503)


class StatusApp:
    """The application: one path, two methods, and what `check=1` makes of the state."""

    def __init__(self, service: Service) -> None:
        self._reader = StatusReader(service)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        try:
            answer, extra = self._respond(environ)
        except Exception as error:
            answer, extra = Answer.of(500, internal_error(error)), {}
        cache = STATUS_CACHE if answer.code == HTTPStatus.OK else NO_CACHE
        fields = {**answer_headers(cache), **extra, "Content-Length": str(len(answer.body))}
        start_response(f"{answer.code} {HTTPStatus(answer.code).phrase}", list(fields.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def close(self) -> None:
        """Let the connection to the database go."""
        self._reader.close()

    def _respond(self, environ: dict[str, Any]) -> tuple[Answer, dict[str, str]]:
        if environ.get("PATH_INFO") not in _PATHS:
            return Answer.refusal(404, f"Only {STATUS_PATH} is served here."), {}
        if environ["REQUEST_METHOD"] not in _METHODS:
            return Answer.refusal(405, "Only GET and HEAD are allowed."), {
                "Allow": ", ".join(_METHODS)
            }
        answer = self._reader.read(environ.get(_WEB_TOKEN))
        wants_check = parse_qs(environ.get("QUERY_STRING", "")).get("check", [""])[0] == "1"
        return answer.checked() if wants_check else answer, {}


def create_status_app(service: Service | None = None) -> StatusApp:
    """Make the application, for the environment of this process unless a service is given."""
    return StatusApp(service or Service())


class StatusReader:
    """Answers from one look at the database for two seconds, with one look under way at a time.

    The connection is kept for the next look, and made anew when it has died meanwhile.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._connection: Connection | None = None

    def read(self, web_token: str | None = None) -> Answer:
        """The answer; `web_token` is the request's, for a look at a database that wants it."""
        with self._lock:
            if self._answer is None or not self._answer.serves(web_token):
                self._answer = self._look(web_token)
            return self._answer

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()

    def _look(self, web_token: str | None) -> Answer:
        try:
            context = self._service.context(admin=False, web_token=web_token)
            status = self._status(context, discover(context.settings.migrations_dir))
            return Answer.of(200, status.to_dict(newest=NEWEST), is_current=status.is_current)
        except MigratorError as error:
            # Without a token there are no credentials, which is a configuration's fault by the look of it.
            is_of_token = isinstance(error, WebTokenRefusedError if web_token else _WITHOUT_A_TOKEN)
            refused = (web_token or "") if is_of_token else None
            return replace(Answer.refusal(503, _public_failure(error)), refused=refused)
        except Exception as error:
            # Remembered as any other, so that a flood of it costs no more.
            return Answer.of(500, internal_error(error))

    def _status(self, context: RunContext, files: tuple[MigrationFile, ...]) -> Status:
        if self._connection is not None and not self._connection.is_closed:
            try:
                with self._connection.extend_deadline(KEPT_CONNECTION):
                    return read_status_over(self._connection, context, files)
            except (DatabaseUnavailableError, OutOfTimeError):
                self._connection.close()
        self._connection = context.connect()
        return read_status_over(self._connection, context, files)


def _public_failure(error: MigratorError) -> str:
    return next(
        (text for kind, text in _PUBLIC_FAILURES if isinstance(error, kind)), _DATABASE_AWAY
    )
