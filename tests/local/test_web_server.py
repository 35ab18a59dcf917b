"""Both endpoints and the page on this machine, over real HTTP."""

import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from conftest import SECRET, Bundle, Cli
from werkzeug.serving import make_server

from lib.calls.invocation import DEFAULT_PORT
from lib.local.web_server import Site
from lib.web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service

PAGE = f"{STATUS_PATH}?format=page"


@pytest.fixture
def port(service: Service) -> Iterator[int]:
    """Where it is served, for a project without a frontend."""
    with serving(service) as port:
        yield port


@contextmanager
def serving(service: Service) -> Iterator[int]:
    site = Site(service)
    server = make_server("127.0.0.1", 0, site, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        site.close()


def test_the_root_leads_to_the_status_page_and_both_endpoints_are_served(port: int) -> None:
    address = f"http://127.0.0.1:{port}"
    code, headers, _ = ask(port, "localhost:{port}", "GET", "/")
    assert (code, headers["Location"]) == (302, PAGE)
    with urllib.request.urlopen(f"{address}/") as page:
        assert page.url == f"{address}{PAGE}"
        assert b"<h1>Migration status</h1>" in page.read()
    assert json.load(urllib.request.urlopen(f"{address}{STATUS_PATH}"))["state"] == "uninitialised"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(f"{address}{MIGRATE_PATH}", method="POST"))


def test_a_requested_path_is_escaped_in_the_log(cli: Cli) -> None:
    process = cli.start("serve", "--port", "0")
    assert process.stdout is not None
    port = int(process.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
    for path in ("/x%c2%9b31m", "/%E2%80%AE", "/%e2%80%a8::error", "/plain"):
        assert ask(port, "evil.example", "GET", path)[0] == 421
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert '"GET /plain HTTP/1.1" 421' in err
    assert not re.search(r"[\x1b\x7f-\x9f\u202a-\u202e\u2028\u2029]", err)


def ask(port: int, host: str | None, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host.format(port=port))
    connection.putheader("Authorization", f"Bearer {SECRET}")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.headers), body


WAYS = (("GET", "/"), ("GET", STATUS_PATH), ("POST", MIGRATE_PATH), ("GET", "/no-such-page"))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:{port}",
            "localhost",
            "127.0.0.1",
            "localhost:1",
            "localhost.evil.example:{port}",
        ),
        *("127.0.0.1:{port}.evil.example", "user@localhost:{port}", "", None, "0.0.0.0:{port}"),
    ],
)
def test_a_request_under_another_host_name_is_refused(port: int, host: str | None) -> None:
    for method, path in WAYS:
        code, headers, body = ask(port, host, method, path)
        assert code == 421
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert json.loads(body)["success"] is False
    assert ask(port, "localhost:{port}", "GET", "http://evil.example/")[0] == 421


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST:{port}"]
)
def test_requests_under_the_names_of_this_machine_are_served(port: int, host: str) -> None:
    assert [ask(port, host, method, path)[0] for method, path in WAYS] == [302, 200, 200, 404]


def test_only_the_files_of_public_are_served_beside_them(service: Service, bundle: Bundle) -> None:
    for name in ("public/robots.txt", "frontend/.env", ".env", "migrations/notes.txt"):
        file = bundle.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    with serving(service) as port:
        for path, code in (
            ("/robots.txt", 200),
            ("/.env", 404),
            ("/frontend/.env", 404),
            ("/../.env", 404),
            ("/%2e%2e/.env", 404),
            ("/migrations/notes.txt", 404),
        ):
            assert ask(port, "localhost:{port}", "GET", path)[0] == code, path


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody listens on a port: this test, unless another program does already."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server(("", port)))
        yield


def served_on(cli: Cli, *arguments: str) -> tuple[int, str]:
    """The port that `serve` takes, where the page answers, and the line that says so."""
    process = cli.start("serve", *arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:(\d+)\S+", line)
    try:
        assert address, line
        with urllib.request.urlopen(address[0]) as page:
            assert b"<h1>Migration status</h1>" in page.read()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    return int(address[1]), line


def test_with_the_default_port_taken_serve_takes_another_and_says_why(cli: Cli) -> None:
    with taken(DEFAULT_PORT):
        port, line = served_on(cli)
    assert port != DEFAULT_PORT
    assert f" Port {DEFAULT_PORT} is taken, so this is port {port}. " in line


def test_a_port_that_is_named_and_taken_is_an_error(cli: Cli) -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        served = cli("serve", "--port", str(port))
    assert served.returncode == 2
    assert served.stderr == (
        f"✗ Port {port} on 127.0.0.1 is not available; choose another: serve --port 3001\n"
    )
    assert "is taken" not in served_on(cli, "--port", str(port))[1]


def test_without_flask_it_says_what_to_install(cli: Cli, bundle: Bundle) -> None:
    """In the place of the package is one that fails as a package that is missing does."""
    (bundle.root / "flask.py").write_text("raise ModuleNotFoundError(name='flask')\n")
    served = cli("serve", PYTHONPATH=str(bundle.root))
    assert served.returncode == 2
    assert "flask is not installed: see that requirements.txt names flask" in served.stderr
