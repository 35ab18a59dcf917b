"""`POST /api/migrate`: what the command line does, for whoever has the token. A Flask application."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ..actions.migrate import migrate
from ..actions.preview import preview
from ..actions.run_context import RunContext
from ..actions.status import read_status
from ..actions.validate import validate
from ..errors import (
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
from ..plan.reports import Document, public_failure, validation
from ..settings.loader import read_admin_secrets, secret_bytes
from .shell import (
    MIGRATE_PATH,
    WEB_TOKEN_HEADER,
    Service,
    answer_headers,
    encode_body,
    internal_error,
)

LONGEST_BODY = 16 * 1024
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


class DuplicateKeyError(ValueError):
    """An object of the body has a key twice."""


def create_migrate_app(service: Service | None = None) -> Flask:
    """Make the application, for the environment of this process unless a service is given."""
    app = Flask("migrate", static_folder=None)
    app.url_map.merge_slashes = False  # whose redirect would be HTML
    app.wsgi_app = _without_upgrade(app.wsgi_app)  # type: ignore[method-assign]
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, lambda error: _answer(internal_error(error), 500))
    service = service or Service()

    def migrate() -> Response:
        try:
            return _admin_answer(service)
        except MigratorError as error:
            return _answer(public_failure(error), _code_of(error))

    for path in (MIGRATE_PATH, f"{MIGRATE_PATH}.py"):
        app.add_url_rule(
            path,
            view_func=migrate,
            methods=["POST"],
            provide_automatic_options=False,
            strict_slashes=False,
        )
    return app


def _http_error(error: HTTPException) -> Response:
    """What Flask answers by itself, in our shape; of its headers only `Allow` is kept."""
    response = _answer(
        {"success": False, "error": error.description or error.name}, error.code or 500
    )
    for key, value in error.get_headers():
        if key.lower() == "allow":
            response.headers[key] = value
    return response


def _without_upgrade(wsgi_app: Callable[..., Any]) -> Callable[..., Any]:
    """Take a request to upgrade to a WebSocket as the plain request it also is, so that it is answered in our order."""

    def plain(environ: dict[str, Any], start_response: Any) -> Any:
        environ.pop("HTTP_UPGRADE", None)
        return wsgi_app(environ, start_response)

    return plain


def _admin_answer(service: Service) -> Response:
    """The cases in the order of the contract: what costs no database work comes first."""
    secrets = read_admin_secrets(service.environ)
    if not secrets:
        return _refuse(
            503,
            "MIGRATION_SECRET is not set, or is shorter than 16 characters; set it and deploy again.",
        )
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
    code, document = _act(
        service.context(admin=True, web_token=request.headers.get(WEB_TOKEN_HEADER)), action
    )
    return _answer(document, code)


def _is_authorized(secrets: tuple[str, ...]) -> bool:
    """Compare digests, in constant time, with every secret, so that neither length nor order tells anything."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # WSGI hands the header's bytes over as latin-1, in which parts of other letters look like spaces.
    offered = _digest(token.encode("latin-1", "replace").strip())
    matches = [hmac.compare_digest(offered, _digest(secret_bytes(secret))) for secret in secrets]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _read_action(body: bytes) -> str:
    """The action of the body, `migrate` where there is none; ValueError says what is wrong with it."""
    if not body.strip():
        return "migrate"
    try:
        document = json.loads(body, object_pairs_hook=_distinct)
    except DuplicateKeyError:
        raise ValueError("The body has a key twice.") from None
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


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of the body. Which of two equal keys is meant, readers of JSON don't agree on."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DuplicateKeyError
    return found


def _act(context: RunContext, action: str) -> tuple[int, Document]:
    if action == "migrate":
        report = migrate(context)
        if isinstance(report.error, MigratorError):
            return _code_of(report.error), {**report.to_dict(), **public_failure(report.error)}
        return 200, report.to_dict()
    if action == "plan":
        planned = preview(context)
        return _code_of(planned.obstacle), planned.to_dict()
    if action == "validate":
        return 200, validation(validate(context))
    return 200, {**read_status(context).to_dict(), "action": "status"}


def _code_of(error: MigratorError | None) -> int:
    if error is None:
        return 200
    return next((code for kind, code in _STATUS_CODES if isinstance(error, kind)), 500)


def _refuse(code: int, message: str) -> Response:
    return _answer({"success": False, "error": message}, code)


def _answer(document: Document, code: int = 200) -> Response:
    return Response(encode_body(document), code, answer_headers())
