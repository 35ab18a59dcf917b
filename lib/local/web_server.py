"""Both endpoints and the status page on this machine alone, as Vercel would serve them."""

import socketserver
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, send_from_directory
from werkzeug.serving import WSGIRequestHandler, make_server

from ..errors import ConfigurationError
from ..escaping import message, one_line
from ..settings.connection_target import ConnectionTarget
from ..web.admin_endpoint import create_migrate_app
from ..web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from ..web.http_endpoint import Answer
from ..web.status_endpoint import create_status_app

# Never 0.0.0.0: the admin endpoint changes the database of this machine.
HOST = "127.0.0.1"
_NAMES = ("localhost", HOST, "[::1]")


class Site:
    """A WSGI application that sends each path to the function or folder that has it on Vercel."""

    def __init__(self, service: Service) -> None:
        self._status = create_status_app(service)
        self._functions = ((MIGRATE_PATH, create_migrate_app(service)), (STATUS_PATH, self._status))
        self._page = _page(service.root)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not _is_asked_by_its_name(environ):
            return _misdirected()(environ, start_response)
        # Vercel serves a function under its path with and without the extension.
        path = environ.get("PATH_INFO", "").rstrip("/")
        for prefix, app in self._functions:
            if path in (prefix, f"{prefix}.py"):
                return app(environ, start_response)
        return self._page(environ, start_response)

    def close(self) -> None:
        """Close the connection of the status endpoint."""
        self._status.close()


class _Handler(WSGIRequestHandler):
    """Logs requests as Werkzeug does, but escaped: anybody may choose the path."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log a request without the colors that depend on its code."""
        self.log(
            "info",
            '"%s" %s %s',
            getattr(self, "requestline", ""),
            getattr(code, "value", code),
            size,
        )

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  Werkzeug's name
        super().log(type, "%s", one_line(message % args if args else message))


def serve(
    environ: Mapping[str, str], root: Path, fallback: ConnectionTarget | None, port: int
) -> None:
    """Serve until a signal ends the process. ConfigurationError if the port is not available."""
    site = Site(Service(environ, root, fallback))
    # Werkzeug exits by itself if the port is taken.
    try:
        server = make_server(HOST, port, site, threaded=True, request_handler=_Handler)
    except (OSError, SystemExit):
        raise ConfigurationError(
            f"Port {port} on {HOST} is not available; choose another: serve --port 3001"
        ) from None
    address = f"http://{HOST}:{server.server_port}"
    _say(
        f"Serving {address}/ (the status page), {STATUS_PATH} and {MIGRATE_PATH}. Ctrl-C stops it."
    )
    try:
        # The method of Werkzeug would swallow the signal, and with it the exit code.
        socketserver.BaseServer.serve_forever(server)
    finally:
        server.server_close()
        site.close()


def _is_asked_by_its_name(environ: Mapping[str, Any]) -> bool:
    """True if the Host header names this server.

    A page of another site could reach this server by a name of that site that resolves to 127.0.0.1
    (DNS rebinding), but then the browser sends that name.
    """
    port = environ.get("SERVER_PORT", "")
    own = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == "80" else set())
    return environ.get("HTTP_HOST", "").lower() in own


def _misdirected() -> Answer:
    names = " and ".join(_NAMES)
    return Answer.error(421, f"This server answers only to its own names, {names}, with its port.")


def _say(text: str) -> None:
    print(message(text), flush=True)


def _page(root: Path) -> Flask:
    """Serve what build.sh has built; before that, the source, which needs no compiler."""
    app = Flask("page", static_folder=None)
    folder = root / "public" if (root / "public" / "index.html").is_file() else root / "frontend"

    @app.get("/", defaults={"path": "index.html"})
    @app.get("/<path:path>")
    def file(path: str) -> Response:
        return send_from_directory(folder, path)

    return app
