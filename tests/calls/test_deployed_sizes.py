"""The sizes of a deployed application: whom the token reaches, and what each answer comes to."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from conftest import SECRET, Bundle, Cli, Database
from werkzeug.serving import make_server

from lib.calls.deployed_sizes import PATH, ask_deployed_sizes
from lib.errors import ConfigurationError, MigratorError
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, Service

ENVIRON = {"MIGRATION_SECRET": SECRET}
DOCUMENT = {
    "success": True,
    "action": "sizes",
    "environment": "production",
    "database": "shop",
    "measuredAt": "2026-11-28T02:28:42.813Z",
    "countedForSeconds": 60,
    "tables": [
        {"table": "public.t", "rows": 5, "bytes": 8192, "reads": 1, "writes": None, "new": "later"}
    ],
}


class Stranger:
    """A server that answers as a test wants, and keeps what it was asked."""

    def __init__(self) -> None:
        self.code, self.body, self.headers = 200, json.dumps(DOCUMENT), dict[str, str]()
        self.asked: list[tuple[str, str, bytes]] = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers.get("Authorization", "")
                stranger.asked.append((self.path, token, body))
                self.send_response(stranger.code)
                for name, value in stranger.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(stranger.body.encode())

            do_GET = do_POST  # noqa: N815 # the library's name

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Stranger":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as it:
        yield it


def test_the_path_is_that_of_the_endpoint() -> None:
    assert PATH == MIGRATE_PATH


@pytest.mark.parametrize("end", ["", "/", MIGRATE_PATH])
def test_the_endpoint_is_asked_with_the_token(stranger: Stranger, end: str) -> None:
    report = ask_deployed_sizes(f"{stranger.url}{end}", ENVIRON)
    assert stranger.asked == [(MIGRATE_PATH, f"Bearer {SECRET}", b'{"action": "sizes"}')]
    assert report.database == "shop"
    assert report.sizes.tables["public.t"].rows == 5


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("app.example.com", "it has no host, or is not of the web"),
        ("ftp://app.example.com", "it has no host, or is not of the web"),
        ("file:///etc/passwd", "it has no host, or is not of the web"),
        ("https://", "it has no host, or is not of the web"),
        ("https://[::1", "it is malformed"),
        ("https://app.example.com:port", "it is malformed"),
        ("http://app.example.com", "without https, anybody on the way could read the token"),
        ("http://127.0.0.1.example.com", "without https"),
        ("https://user:hunter2hunter2@app.example.com", "it holds a user or a password"),
        ("http://127.0.0.1@app.example.com", "it holds a user or a password"),
        ("https://app.example.com/?x=1", "it has a `?` or a `#`"),
        ("https://app.example.com/a b", "it holds characters"),
        ("https://app.example.com/a\r\nHost: b", "it holds characters"),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error_that_does_not_repeat_it(
    url: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match="address of --from can't be used") as caught:
        ask_deployed_sizes(url, ENVIRON)
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "too short"])
def test_a_secret_is_needed(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="needs MIGRATION_SECRET"):
        ask_deployed_sizes("https://app.example.com", {"MIGRATION_SECRET": secret})


def test_a_secret_of_several_lines_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(ConfigurationError, match="line break") as caught:
        ask_deployed_sizes(
            "http://127.0.0.1:1", {"MIGRATION_SECRET": "one-half-of-it\nanother-half"}
        )
    assert "half" not in str(caught.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_token_follows_no_redirect(stranger: Stranger, code: int) -> None:
    with Stranger() as other:
        stranger.code = code
        stranger.headers = {"Location": f"{other.url}{MIGRATE_PATH}", "Content-Length": "0"}
        stranger.body = ""
        with pytest.raises(MigratorError, match=r"redirects to 127\.0\.0\.1, where the token"):
            ask_deployed_sizes(stranger.url, ENVIRON)
        assert other.asked == []


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (401, '{"error": "A valid token is needed."}', "answered 401: A valid token is needed. "),
        (401, "<html>Log in", "answered 401. MIGRATION_SECRET here is not that of the deployment"),
        (400, '{"error": "The action is unknown."}', "update it there"),
        (404, "", "answered 404. No bundle answers there"),
        (503, '{"error": "The database is away."}', "answered 503: The database is away."),
        (500, f'{{"error": "you sent {SECRET}"}}', "answered 500: you sent ***."),
        (500, "[1]", "answered 500."),
        (200, "<html>", "it is not JSON"),
        (200, '{"success": true}', "it is not what `sizes --json` prints"),
        (200, '{"success": true, "action": "sizes"}', "missing or malformed"),
        (200, json.dumps(DOCUMENT | {"tables": [{"table": "t", "rows": -1}]}), "malformed"),
    ],
)  # fmt: skip
def test_any_other_answer_is_an_error_that_says_what_to_do(
    stranger: Stranger, code: int, body: str, told: str
) -> None:
    stranger.code, stranger.body = code, body
    with pytest.raises(MigratorError) as caught:
        ask_deployed_sizes(stranger.url, ENVIRON)
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_answer_has_a_limit(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.calls.deployed_sizes.LONGEST_DOCUMENT", 1000)
    stranger.body = " " * 100_000
    with pytest.raises(MigratorError, match="is too long, or takes too long"):
        ask_deployed_sizes(stranger.url, ENVIRON)


def test_nobody_there() -> None:
    with pytest.raises(MigratorError, match=r"127\.0\.0\.1 does not answer: "):
        ask_deployed_sizes("http://127.0.0.1:1", ENVIRON)


def test_the_command_asks_the_endpoint_itself(cli: Cli, bundle: Bundle, db: Database) -> None:
    db.query("create table t (x int)")
    environ = {"DATABASE_URL": db.url, "MIGRATION_SECRET": SECRET}
    app = create_migrate_app(Service(environ, bundle.root))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        # Without a URL of the database.
        found = cli("sizes", "--json", "--from", address, DATABASE_URL="", CI="1", **ENVIRON)
        people = cli("sizes", "--from", address, DATABASE_URL="", CI="1", **ENVIRON)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert [table["table"] for table in document["tables"]] == ["public.t"]
    assert document["database"] == db.target.database
    assert "public.t" in people.stdout
