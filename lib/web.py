"""The two endpoints as Flask applications: one that anybody may read, one that a token opens.

Each application answers under its own path alone, whatever happens with JSON, and says nothing of host, user or driver.
Settings are read at the first request, so that a missing variable is an answer and no crash at import.
"""

import hashlib
import hmac
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from lib import runner
from lib.connection_url import ConnectionTarget
from lib.database import Connection
from lib.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    GuardError,
    IntegrityError,
    LedgerError,
    LockError,
    MigrationFailedError,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
)
from lib.migration_files import MigrationFile, discover
from lib.report import Document, Status, failure, validation
from lib.runner import Job
from lib.settings import ROOT, load_settings, read_admin_secrets

STATUS_PATH = "/api/migration-status"
MIGRATE_PATH = "/api/migrate"

# The CDN answers for so many seconds by itself, and from what it has while it asks again.
STATUS_CACHE = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
NO_CACHE = "no-store"
# How long an answer, or a failure, serves every request of this process, in seconds.
REMEMBERED = 2.0
STATUS_CONNECT_TIMEOUT = 3.0
# A connection kept since the last look answers within this, or a new one is made, in seconds.
KEPT_CONNECTION_PATIENCE = 2.0
# A look at the database that takes longer, connecting included, counts as the database being away, in seconds.
STATUS_TIME_LIMIT = 8.0
ADMIN_CONNECT_TIMEOUT = 30.0
LONGEST_BODY = 16 * 1024
# Vercel's default; a function ends itself this long before it would be ended, in seconds.
DEFAULT_MAX_DURATION = 300
MARGIN = 15.0

_log = logging.getLogger("migrations")

ACTIONS = ("migrate", "status", "validate", "plan")

_STATUS_CODES: tuple[tuple[type[MigratorError], int], ...] = (
    (ConfigurationError, 503),
    (GuardError, 409),
    (LockError, 409),
    (IntegrityError, 409),
    (MigrationFileError, 422),
    (MigrationFailedError, 500),
    (OutOfTimeError, 504),
    (DatabaseUnavailableError, 503),
    (LedgerError, 503),
)
_PUBLIC_FAILURES: tuple[tuple[type[MigratorError], str], ...] = (
    (ConfigurationError, "The database is not configured."),
    (MigrationFileError, "The migration files of this deployment can't be read."),
    (LedgerError, "The ledger of migrations can't be read."),
)
_DATABASE_AWAY = "The database can't be reached."


@dataclass(frozen=True)
class Service:
    """What an application works with. A target given here stands in where the environment names none."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    root: Path = ROOT
    fallback: ConnectionTarget | None = None

    def job(self, *, admin: bool) -> Job:
        settings = load_settings(self.environ, root=self.root)
        target = (settings.migrating if admin else settings.reading) or self.fallback
        if target is None:
            raise ConfigurationError("No database URL is set; the README lists the variables that are looked up.")
        limit = time_limit(self.root) if admin else STATUS_TIME_LIMIT
        return Job(
            settings=settings,
            target=target,
            source="admin",
            connect_patience=settings.connect_patience(ADMIN_CONNECT_TIMEOUT if admin else STATUS_CONNECT_TIMEOUT),
            deadline=time.monotonic() + limit,
        )


def time_limit(root: Path) -> float:
    """How long the admin function may work, in seconds: its `maxDuration` in vercel.json, less a margin to end in."""
    try:
        functions = json.loads((root / "vercel.json").read_text())["functions"]
        entry = next(
            functions[name] for name in ("api/migrate.py", "api/*.py", "api/**/*.py", "api/**") if name in functions
        )
        longest = float(entry["maxDuration"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        longest = DEFAULT_MAX_DURATION
    return longest - min(MARGIN, longest / 4)


def create_status_app(service: Service | None = None) -> Flask:
    """`GET /api/migration-status`: public and read-only."""
    app = _bare_app("migration-status")
    reader = app.extensions["status"] = StatusReader(service or Service())

    def status() -> Response:
        code, document = reader.read()
        if code == 200 and request.args.get("check") == "1" and document["state"] not in ("up-to-date", "ahead"):
            code = 503
        return _answer(document, code, cache=STATUS_CACHE if code == 200 else NO_CACHE)

    for path in (STATUS_PATH, f"{STATUS_PATH}.py"):
        app.add_url_rule(path, view_func=status, methods=["GET"], provide_automatic_options=False, strict_slashes=False)
    return app


def create_migrate_app(service: Service | None = None) -> Flask:
    """`POST /api/migrate`: what the command line does, for whoever has the token."""
    app = _bare_app("migrate")
    service = service or Service()

    def migrate() -> Response:
        try:
            return _admin_answer(service)
        except MigratorError as error:
            return _answer({**failure(error), "error": error.public}, _code_of(error))

    for path in (MIGRATE_PATH, f"{MIGRATE_PATH}.py"):
        app.add_url_rule(path, view_func=migrate, methods=["POST"], provide_automatic_options=False, strict_slashes=False)
    return app


def _bare_app(name: str) -> Flask:
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # whose redirect would be HTML
    app.wsgi_app = _without_upgrade(app.wsgi_app)  # type: ignore[method-assign]

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = _answer({"success": False, "error": error.description or error.name}, error.code or 500)
        for key, value in error.get_headers():
            if key.lower() == "allow":
                response.headers[key] = value
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        return _answer(_internal_error(error), 500)

    return app


def _internal_error(error: Exception) -> Document:
    """Log the type and the place of an error of ours, which is enough to find it; its text may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    _log.error("%s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
    return {"success": False, "error": "Internal error."}


def _without_upgrade(wsgi_app: Callable[..., Any]) -> Callable[..., Any]:
    """Take a request to upgrade to a WebSocket as the plain request it also is, so that it is answered in our order."""

    def plain(environ: dict[str, Any], start_response: Any) -> Any:
        environ.pop("HTTP_UPGRADE", None)
        return wsgi_app(environ, start_response)

    return plain


class StatusReader:
    """Answers from one look at the database for two seconds, with one look under way at a time.

    The connection is kept for the next look, and made anew when it has died meanwhile.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._answer: tuple[int, Document] | None = None
        self._answered_at = 0.0
        self._connection: Connection | None = None

    def read(self) -> tuple[int, Document]:
        with self._lock:
            if self._answer is None or time.monotonic() - self._answered_at >= REMEMBERED:
                self._answer = self._look()
                self._answered_at = time.monotonic()
            return self._answer

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.raw.close()

    def _look(self) -> tuple[int, Document]:
        try:
            job = self._service.job(admin=False)
            return 200, self._status(job, discover(job.settings.migrations_dir)).to_dict()
        except MigratorError as error:
            return 503, {"success": False, "error": _public_failure(error)}
        except Exception as error:
            return 500, _internal_error(error)

    def _status(self, job: Job, files: tuple[MigrationFile, ...]) -> Status:
        if self._connection is not None and not self._connection.raw.closed:
            try:
                with self._connection.granted(KEPT_CONNECTION_PATIENCE):
                    return runner.status_over(self._connection, job, files)
            except (DatabaseUnavailableError, OutOfTimeError):
                self._connection.raw.close()
        self._connection = job.connect()
        return runner.status_over(self._connection, job, files)


def _public_failure(error: MigratorError) -> str:
    return next((text for kind, text in _PUBLIC_FAILURES if isinstance(error, kind)), _DATABASE_AWAY)


def _admin_answer(service: Service) -> Response:
    """The cases in the order of the contract: what costs no database work comes first."""
    secrets = read_admin_secrets(service.environ)
    if not secrets:
        return _refuse(503, "MIGRATION_SECRET is not set, or is shorter than 16 characters; set it and deploy again.")
    if not _is_authorized(secrets):
        response = _refuse(401, "A valid token is needed: Authorization: Bearer MIGRATION_SECRET.")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    announced = request.headers.get("Content-Length", "0")
    if not (announced.isascii() and announced.isdigit()):
        return _refuse(400, "The Content-Length is no number.")
    body = b"" if int(announced) > LONGEST_BODY else request.stream.read(LONGEST_BODY + 1)
    if max(int(announced), len(body)) > LONGEST_BODY:
        return _refuse(413, "The body is longer than 16 KiB.")
    try:
        action = _read_action(body)
    except ValueError as error:
        return _refuse(400, str(error))
    code, document = _act(service.job(admin=True), action)
    return _answer(document, code)


def _is_authorized(secrets: tuple[str, ...]) -> bool:
    """Compare digests, in constant time, with every secret, so that neither length nor order tells anything."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # WSGI hands the header's bytes over as latin-1.
    offered = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
    matches = [hmac.compare_digest(offered, hashlib.sha256(secret.encode()).digest()) for secret in secrets]
    return scheme.lower() == "bearer" and any(matches)


def _read_action(body: bytes) -> str:
    """The action of the body, `migrate` where there is none; ValueError says what is wrong with it."""
    if not body.strip():
        return "migrate"
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise ValueError('The body is not a JSON object, as in {"action": "plan"}.')
    # A misspelt key must not turn a wish to look into a migration.
    unknown = sorted(set(document) - {"action"})
    if unknown:
        raise ValueError('The body has a key that is not known; "action" is the only one.')
    action = document.get("action", "migrate")
    if action not in ACTIONS:
        raise ValueError(f"The action is not known; it is one of {', '.join(ACTIONS)}.")
    return str(action)


def _act(job: Job, action: str) -> tuple[int, Document]:
    if action == "migrate":
        report = runner.migrate(job)
        if isinstance(report.error, MigratorError):
            return _code_of(report.error), {**report.to_dict(), "error": report.error.public}
        return 200, report.to_dict()
    if action == "plan":
        planned = runner.plan(job)
        return _code_of(planned.obstacle), planned.to_dict()
    if action == "validate":
        return 200, validation(runner.validate(job))
    return 200, {**runner.status(job).to_dict(), "action": "status"}


def _code_of(error: MigratorError | None) -> int:
    if error is None:
        return 200
    return next((code for kind, code in _STATUS_CODES if isinstance(error, kind)), 500)


def _refuse(code: int, message: str) -> Response:
    return _answer({"success": False, "error": message}, code)


def _answer(document: Document, code: int = 200, *, cache: str = NO_CACHE) -> Response:
    response = Response(json.dumps(document, ensure_ascii=False), code, mimetype="application/json")
    response.headers["Cache-Control"] = cache
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
