"""`POST /api/migrate`: what the command line does, for callers who have the token."""

import hashlib
import hmac
import json

from flask import Flask

from ..actions.dry_run import preview, validate
from ..actions.migrate import migrate
from ..actions.run_parameters import RunContext
from ..actions.status import read_status
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
from ..plan.reports import Document, public_error_document, validation_document
from ..settings.loader import read_admin_secrets, secret_bytes
from .endpoint_setup import MIGRATE_PATH, WEB_TOKEN_HEADER, Service
from .http_endpoint import Answer, BadRequestError, Endpoint, Request

# A body names one action, so 16 KiB are ample; an unlimited one could fill the memory.
LONGEST_BODY = 16 * 1024
ACTIONS = ("migrate", "status", "validate", "plan", "drift", "sizes")

# The first class that fits decides.
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


class AdminEndpoint(Endpoint):
    """The actions that a token allows."""

    path = MIGRATE_PATH
    methods = ("POST",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def respond(self, request: Request) -> Answer:
        """Check in the order of the contract: what needs no database comes first."""
        try:
            secrets = read_admin_secrets(self._service.environ)
            # Before the token is looked at: no token can be valid.
            if not secrets:
                return Answer.error(
                    503,
                    "MIGRATION_SECRET is not set, or is shorter than 16 characters; "
                    "set it and deploy again.",
                )
            if not is_authorized(request.header("Authorization") or "", secrets):
                return Answer.error(
                    401,
                    "A valid token is needed: Authorization: Bearer MIGRATION_SECRET.",
                    WWW_Authenticate="Bearer",
                )
            action = read_action(request.body(longest=LONGEST_BODY))
            web_token = request.header(WEB_TOKEN_HEADER)
            return _act(self._service.context(admin=True, web_token=web_token), action)
        except MigratorError as error:
            return Answer.of(_code_of(error), public_error_document(error))


def create_migrate_app(service: Service | None = None) -> Flask:
    """Make the application, for the environment of this process unless a service is given."""
    endpoint = AdminEndpoint(service or Service())
    app = Flask("migrate", static_folder=None)
    # Flask takes a WSGI application for an answer. Before routing, so that the endpoint also
    # answers what matches no route, and Flask neither redirects nor refuses by itself.
    app.before_request(lambda: endpoint)
    return app


def is_authorized(header: str, secrets: tuple[str, ...]) -> bool:
    """True if the Authorization header holds one of the secrets.

    Digests are compared, in constant time and with every secret, so that the time of the answer
    tells neither length nor content.
    """
    scheme, _, token = header.partition(" ")
    # WSGI has the bytes of the header as latin-1, in which parts of other letters look like spaces.
    offered = _digest(token.encode("latin-1", "replace").strip())
    matches = [hmac.compare_digest(offered, _digest(secret_bytes(secret))) for secret in secrets]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def read_action(body: bytes) -> str:
    """Return the action that a body asks for, `migrate` for an empty one; or BadRequestError."""
    # `curl -X POST` without a body is the plain case.
    if not body.strip():
        return "migrate"
    try:
        document = json.loads(body, object_pairs_hook=_distinct)
    except DuplicateKeyError:
        raise BadRequestError("The body has a key twice.") from None
    except (ValueError, RecursionError):
        raise BadRequestError("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise BadRequestError('The body is not a JSON object, as in {"action": "plan"}.')
    # A misspelled key must not turn a wish to look into a migration.
    if set(document) - {"action"}:
        raise BadRequestError('The body has an unknown key; "action" is the only one.')
    action = document.get("action", "migrate")
    if action not in ACTIONS:
        raise BadRequestError(f"The action is unknown; it is one of {', '.join(ACTIONS)}.")
    return str(action)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of the body. Readers of JSON disagree on which of two equal keys counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DuplicateKeyError
    return found


def _act(context: RunContext, action: str) -> Answer:
    if action == "migrate":
        return _migrate(context)
    if action == "plan":
        planned = preview(context)
        return Answer.of(_code_of(planned.obstacle), planned.to_dict())
    if action == "validate":
        return Answer.of(200, validation_document(validate(context)))
    if action == "drift":
        # Most requests do not ask.
        from ..actions.live_checks import read_drift

        return Answer.of(200, read_drift(context).to_dict())
    if action == "sizes":
        # Nor do they for this.
        from ..actions.live_checks import read_live_sizes

        return Answer.of(200, read_live_sizes(context).to_dict())
    return Answer.of(200, {**read_status(context).to_dict(), "action": "status"})


def _migrate(context: RunContext) -> Answer:
    # A failed run is an answer too: it lists what was applied before the failure.
    report = migrate(context)
    content: Document = report.to_dict()
    if isinstance(report.error, MigratorError):
        return Answer.of(_code_of(report.error), {**content, **public_error_document(report.error)})
    return Answer.of(200, content)


def _code_of(error: MigratorError | None) -> int:
    if error is None:
        return 200
    return next((code for kind, code in _STATUS_CODES if isinstance(error, kind)), 500)
