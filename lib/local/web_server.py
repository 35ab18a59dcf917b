"""Both endpoints and the status page on this machine alone, as Vercel would serve them."""

import socket
import socketserver
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask, Response, redirect, send_from_directory
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response as Redirection

from ..errors import ConfigurationError
from ..escaping import message, one_line
from ..settings.connection_target import ConnectionTarget
from ..time_limits import TAKEN_PORT
from ..web.admin_endpoint import create_migrate_app
from ..web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from ..web.http_endpoint import Answer
from ..web.status_endpoint import PAGE, create_status_app

# Never 0.0.0.0: the admin endpoint changes the database of this machine.
HOST = "127.0.0.1"
_PAGE_PATH = f"{STATUS_PATH}?format={PAGE}"
_NAMES = ("localhost", HOST, "[::1]")


class Site:
    """A WSGI application that sends each path to the function or folder that has it on Vercel."""

    def __init__(self, service: Service) -> None:
        self._status = create_status_app(service)
        self._functions = ((MIGRATE_PATH, create_migrate_app(service)), (STATUS_PATH, self._status))
        self._others = _others(service.root)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not _is_asked_by_its_name(environ):
            return _misdirected()(environ, start_response)
        # Vercel serves a function under its path with and without the extension.
        path = environ.get("PATH_INFO", "").rstrip("/")
        for prefix, app in self._functions:
            if path in (prefix, f"{prefix}.py"):
                return app(environ, start_response)
        return self._others(environ, start_response)

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
    environ: Mapping[str, str], root: Path, fallback: ConnectionTarget | None, ports: Sequence[int]
) -> None:
    """Serve until a signal ends the process, on the first of `ports` that is available.

    Port 0 is any free one. ConfigurationError if none is available.
    """
    site = Site(Service(environ, root, fallback))
    with _listen(ports) as listener:
        server = make_server(
            HOST, 0, site, threaded=True, request_handler=_Handler, fd=listener.fileno()
        )
    is_first = ports[0] in (0, server.port)
    why = "" if is_first else f" Port {ports[0]} is taken, so this is port {server.port}."
    _say(
        f"Serving http://{HOST}:{server.port}{_PAGE_PATH} (the status page) and {MIGRATE_PATH}."
        f"{why} Ctrl-C stops it."
    )
    try:
        # The method of Werkzeug would swallow the signal, and with it the exit code.
        socketserver.BaseServer.serve_forever(server)
    finally:
        server.server_close()
        site.close()


def _listen(ports: Sequence[int]) -> socket.socket:
    # Not by Werkzeug, which prints a complaint of its own and exits if a port is taken.
    for port in ports:
        # macOS would share a port with a server that listens on all addresses, as Next.js does.
        if not _is_answered(port):
            with suppress(OSError):
                return socket.create_server((HOST, port))
    raise ConfigurationError(
        f"Port {ports[0]} on {HOST} is not available; choose another: serve --port 3001"
    )


def _is_answered(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(TAKEN_PORT)
        return probe.connect_ex((HOST, port)) == 0


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


def _others(root: Path) -> Flask:
    """Lead from the root to the page, and serve the files of public/, where there are any."""
    app = Flask("others", static_folder=None)

    @app.get("/")
    def page() -> Redirection:
        return redirect(_PAGE_PATH)

    @app.get("/<path:path>")
    def file(path: str) -> Response:
        return send_from_directory(root / "public", path)

    return app
