"""Both endpoints and the status page on this machine alone, as Vercel would serve them: `python -m lib serve`."""

import socketserver
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, send_from_directory
from werkzeug.serving import make_server

from lib.connection_url import ConnectionTarget
from lib.errors import ConfigurationError
from lib.web import MIGRATE_PATH, STATUS_PATH, Service, create_migrate_app, create_status_app

HOST = "127.0.0.1"

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def serve(environ: Mapping[str, str], root: Path, fallback: ConnectionTarget | None, port: int) -> None:
    """Serve until a signal ends the process. ConfigurationError if the port can't be had."""
    try:
        server = make_server(HOST, port, create_site(Service(environ, root, fallback)), threaded=True)
    except (OSError, SystemExit):
        raise ConfigurationError(f"Port {port} on {HOST} can't be had; choose another: serve --port 3001") from None
    address = f"http://{HOST}:{server.server_port}"
    print(f"Serving {address}/ (the status page), {STATUS_PATH} and {MIGRATE_PATH}. Ctrl-C stops it.", flush=True)
    try:
        # Not Werkzeug's own, which would swallow the signal and with it the exit code.
        socketserver.BaseServer.serve_forever(server)
    finally:
        server.server_close()


def create_site(service: Service) -> Wsgi:
    """One WSGI application that sends each path to the function, or the folder, that has it on Vercel."""
    functions = ((MIGRATE_PATH, create_migrate_app(service)), (STATUS_PATH, create_status_app(service)))
    page = _page(service.root)

    def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        for prefix, app in functions:
            if path.rstrip("/") in (prefix, f"{prefix}.py"):
                return app(environ, start_response)
        return page(environ, start_response)

    return site


def _page(root: Path) -> Flask:
    app = Flask("page", static_folder=None)
    folder = root / "public"

    @app.get("/", defaults={"path": "index.html"})
    @app.get("/<path:path>")
    def file(path: str) -> Any:
        return send_from_directory(folder, path)

    return app
