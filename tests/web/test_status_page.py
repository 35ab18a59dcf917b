"""The status page: what it shows of a real database, and that no text can make it do anything."""

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import COMMIT, Bundle, Database
from werkzeug.test import Client, TestResponse, create_environ

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.web.endpoint_setup import STATUS_PATH, Service
from lib.web.http_endpoint import Answer
from lib.web.status_endpoint import create_status_app
from lib.web.status_page import as_page

PAGE = f"{STATUS_PATH}?format=page"
CDN = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "\" autofocus onfocus='alert(1)' x=`",
    "&lt;b&gt;",
    "a\u202eb\u2066c\x1b[31m\x9b\x7f",
    "a\r\nb\tc",
    "<!--",
    "]]>",
    "x" * 255,
)

UNSEEN = {
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\x1b": r"\x1b",
    "\x9b": r"\x9b",
    "\x7f": r"\x7f",
}

MakeContext = Callable[..., RunContext]


class BrokenService(Service):
    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        raise RuntimeError("hunter2 <b>")


class Reader(HTMLParser):
    """What a browser would see: the elements with their attributes, and the rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.is_open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.is_open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.is_open.pop() == tag, "the elements are nested"

    def handle_data(self, data: str) -> None:
        if self.is_open[-1:] in (["th"], ["td"]):
            self.rows[-1][-1] += data


@pytest.fixture
def status(service: Service) -> Iterator[Client]:
    """The status endpoint, which looks at the database for every request."""
    app = create_status_app(service, remembered=0.0)
    yield Client(app)
    app.close()


def first_line(response: TestResponse) -> str:
    """The state, which comes before everything else."""
    found = re.search(r'<p class="state (good|wait|bad)">([^<]*)</p>', response.text)
    assert found
    return f"{found[1]}: {found[2]}"


def parts(policy: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in policy.split("; "))


def document(**changes: Any) -> dict[str, Any]:
    """A status as the JSON has it."""
    return {
        "success": True,
        "state": "up-to-date",
        "environment": "production",
        "belongsTo": None,
        "database": "web",
        "pgVersion": "PostgreSQL 18.6",
        "appliedMigrations": 1,
        "pendingMigrations": 0,
        "lastMigration": None,
        "migrationsTotal": 1,
        "migrations": [migration()],
        "deployment": {"commit": None, "ref": None},
        "lastRun": None,
        "drift": None,
        **changes,
    }


def migration(**changes: Any) -> dict[str, Any]:
    return {
        "version": "000-a",
        "name": "A",
        "state": "applied",
        "appliedAt": "2026-11-22T12:44:25.918Z",
        "executionTimeMs": 2,
        "appliedBy": None,
        **changes,
    }


def shown(content: dict[str, Any]) -> str:
    return as_page(Answer.of(200, content), content).body.decode()


def assert_harmless(html: str) -> Reader:
    """Only our own elements and attributes, the one style, and no address of another host."""
    page = Reader(html)
    assert {name for name, _ in page.elements} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "main", "header", "footer"),
        *("h1", "h2", "p", "a", "dl", "dt", "dd"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    }
    attributes = [pair for _, named in page.elements for pair in named.items()]
    assert {name for name, _ in attributes} <= {
        *("lang", "charset", "name", "content", "rel", "href", "class", "scope", "role"),
    }
    assert {value for name, value in attributes if name == "href"} == {"data:,", "", STATUS_PATH}
    assert html.count("<style>") == html.count("</style>") == 1
    assert not re.search(r"url\(|@import", html)
    assert page.is_open == []
    return page


@pytest.mark.parametrize(
    ("files", "applied", "line", "check"),
    [
        (
            {},
            {},
            "wait: Not initialized: nothing is applied, and there is nothing to apply.",
            503,
        ),
        (
            {"000-a.sql": "select 1"},
            {},
            "wait: Pending: 1 migration waits to be applied.",
            503,
        ),
        (
            {"000-a.sql": "select 1"},
            {"000-a.sql": "select 1"},
            "good: Up to date: every migration of this deployment is applied.",
            200,
        ),
        (
            {},
            {"000-a.sql": "select 1"},
            "good: Ahead: the database has migrations that this deployment does not have.",
            200,
        ),
        (
            {"000-a.sql": "select 2"},
            {"000-a.sql": "select 1"},
            "bad: Modified: a migration was changed or renamed after it had been applied.",
            503,
        ),
    ],
    ids=["uninitialised", "pending", "up-to-date", "ahead", "modified"],
)
def test_the_state_comes_first_and_a_check_has_the_code_of_the_json(
    status: Client,
    make_context: MakeContext,
    bundle: Bundle,
    files: dict[str, str],
    applied: dict[str, str],
    line: str,
    check: int,
) -> None:
    for name, sql in applied.items():
        bundle.write(name, sql)
    if applied:
        assert migrate(make_context()).error is None
    for name in applied:
        (bundle.migrations / name).unlink()
    for name, sql in files.items():
        bundle.write(name, sql)
    plain, checked = status.get(PAGE), status.get(f"{PAGE}&check=1")
    assert (plain.status_code, first_line(plain)) == (200, line)
    assert (checked.status_code, first_line(checked)) == (check, line)
    assert plain.headers["Cache-Control"] == CDN
    assert checked.headers["Cache-Control"] == (CDN if check == 200 else "no-store")
    state = line.split(": ")[1]
    assert f"<title>{state} · Migration status</title>" in plain.text


def test_it_shows_what_the_json_has_and_the_newest_migration_first(
    status: Client, make_context: MakeContext, bundle: Bundle, db: Database, service: Service
) -> None:
    bundle.write("000-create-a.sql", "create table a (x int)")
    bundle.write("001-create-b.sql", "create table b (x int)")
    deployment = {"deployment": service.context(admin=False).settings.deployment}
    assert migrate(make_context(environment="production", **deployment)).error is None
    (bundle.migrations / "001-create-b.sql").unlink()
    bundle.write("002-only-there.sql", "-- Environments: production\nselect 1")
    bundle.write("003-create-c.sql", "create table c (x int)")
    json = status.get(STATUS_PATH).get_json()
    page = assert_harmless(status.get(PAGE).text)
    [head, *rows] = page.rows
    assert head == [
        "Version", "State", "Name", "Applied at (UTC)", "Duration (ms)", "Applied by",
    ]  # fmt: skip
    moments = [
        (entry["appliedAt"] or "").replace("T", " ").partition(".")[0]
        for entry in json["migrations"]
    ]
    times = ["" if e["executionTimeMs"] is None else str(e["executionTimeMs"])
             for e in json["migrations"]]  # fmt: skip
    by = f"{COMMIT[:7]} (main)"
    assert rows == [
        ["003-create-c", "pending", "Create C", "", "", ""],
        ["002-only-there", "skipped", "Only There", "", "", ""],
        ["001-create-b", "missing", "Create B", moments[1], times[1], by],
        ["000-create-a", "applied", "Create A", moments[0], times[0], by],
    ]
    for term, value in (
        ("Database belongs to", "production"),
        ("Environment", "development"),
        ("Database", json["database"]),
        ("Server", f"PostgreSQL {db.server_version}"),
        ("Applied", "2"),
        ("Pending", "1"),
        ("Outcome", "succeeded"),
        ("Ref", "main"),
    ):
        assert f"<dt>{term}</dt><dd>{value}</dd>" in status.get(PAGE).text


def test_it_can_be_read_without_seeing_it(
    status: Client, make_context: MakeContext, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "select 1")
    migrate(make_context())
    text = status.get(PAGE).text
    page = assert_harmless(text)
    assert ("html", {"lang": "en"}) in page.elements
    assert [name for name, _ in page.elements if name in ("h1", "main", "caption")] == [
        "main", "h1", "caption",
    ]  # fmt: skip
    headings = [named for name, named in page.elements if name == "th"]
    assert [named["scope"] for named in headings] == ["col"] * 6 + ["row"]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text
    # A color only repeats what a word says.
    assert '<td role="cell" class="good">applied</td>' in text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("state", ["applied", 'x" onclick="alert(1)'])
def test_no_text_becomes_markup_or_changes_how_the_page_is_read(text: str, state: str) -> None:
    origin = {"commit": text, "ref": text, "deployment": text}
    entry = migration(version=text, name=text, state=state, executionTimeMs=None, appliedBy=origin)
    run = {
        "outcome": text, "source": text, "commit": text,
        "startedAt": "2026-11-22T12:44:25.912Z", "finishedAt": None,
    }  # fmt: skip
    html = shown(
        document(
            **dict.fromkeys(("environment", "belongsTo", "database", "pgVersion"), text),
            migrations=[entry],
            deployment=origin,
            lastRun=run,
        )
    )
    page = assert_harmless(html)
    visible = text.replace("\r\n", "\n")
    for sign in "\u202e\u2066\x1b\x9b\x7f":
        visible = visible.replace(
            sign, f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):x}"
        )
    assert page.rows[1][:3] == [visible, state, visible]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


def test_hostile_names_in_a_real_ledger_and_folder_are_text(
    status: Client, bundle: Bundle, db: Database, make_context: MakeContext
) -> None:
    bundle.write("000-a.sql", "select 1")
    migrate(make_context())
    with db.connect() as connection:
        for number, text in enumerate(HOSTILE):
            connection.execute(
                "insert into public.schema_migrations (version, name) values (%s, %s)",
                (f"{number}{text}"[:255], text),
            )
    response = status.get(PAGE)
    assert response.status_code == 200
    assert len(assert_harmless(response.text).rows) == 1 + 1 + len(HOSTILE)


def assert_guarded(response: TestResponse) -> None:
    """The policy has the hash of the one style in the page, and allows nothing else."""
    policy = parts(response.headers["Content-Security-Policy"])
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_browser_may_load_and_run_nothing_but_the_style(status: Client) -> None:
    assert_guarded(status.get(PAGE))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://hunter:hunter2@127.0.0.1:1/secretdb", "The database can't be reached."),
        ("postgresql://hunter:hunter2@/@secrethost/secretdb", "The database is not configured."),
    ],
)
def test_a_database_away_is_a_page_with_503(
    environ: dict[str, str], bundle: Bundle, url: str, error: str
) -> None:
    environ |= {"DATABASE_URL": url, "MIGRATION_CONNECT_TIMEOUT": "100ms", "VERCEL": "1"}
    client = Client(create_status_app(Service(environ, bundle.root)))
    for address in (PAGE, f"{PAGE}&check=1"):
        response = client.get(address)
        assert response.status_code == 503
        assert response.headers["Cache-Control"] == "no-store"
        text = error.replace("'", "&#x27;")
        assert first_line(response) == f"bad: Not available (HTTP 503): {text}"
        assert_guarded(response)
        assert_harmless(response.text)


def test_an_internal_error_is_a_page_with_500_and_without_its_text(service: Service) -> None:
    broken = BrokenService(service.environ, service.root)
    response = Client(create_status_app(broken)).get(PAGE)
    assert response.status_code == 500
    assert first_line(response) == "bad: Not available (HTTP 500): Internal error."
    assert_guarded(response)


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_another_method_is_a_page_with_405_and_allow(status: Client, method: str) -> None:
    response = status.open(PAGE, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.headers["Cache-Control"] == "no-store"
    assert first_line(response) == "bad: Not available (HTTP 405): Only GET and HEAD are allowed."
    assert_guarded(response)


def test_another_path_is_a_page_with_404(status: Client) -> None:
    response = status.get("/api/other?format=page")
    assert response.status_code == 404
    assert_guarded(response)


def test_head_has_the_headers_of_the_page(service: Service) -> None:
    with closing(create_status_app(service)) as app:
        get, head = Client(app).get(PAGE), Client(app).head(PAGE)
    assert head.data == b""
    assert head.headers == get.headers
    assert int(head.headers["Content-Length"]) == len(get.data)


@pytest.mark.parametrize("name", ["PAGE", "html", "badge", "%3Cscript%3E", "page%20"])
def test_an_unknown_format_is_refused_in_json_without_a_look_at_the_database(
    environ: dict[str, str], bundle: Bundle, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        environ["DATABASE_URL"] = f"postgresql://u:p@127.0.0.1:{port}/d"
        client = Client(create_status_app(Service(environ, bundle.root)))
        response = client.get(f"{STATUS_PATH}?check=1&format={name}")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert response.status_code == 400
    assert response.get_json() == {
        "success": False,
        "error": "The format is unknown; it is one of json, page.",
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" not in response.headers


@pytest.mark.parametrize("query", ["", "?format=", "?format=json", "?format=json&format=page"])
def test_without_a_format_or_with_its_own_name_it_is_json(status: Client, query: str) -> None:
    assert status.get(STATUS_PATH + query).get_json()["success"] is True


def test_a_page_and_the_json_come_from_one_look_and_each_is_made_once(
    service: Service, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    queries = ["format=page", "", "format=page&check=1"] * 10
    bodies: dict[str, set[int]] = {query: set() for query in queries}
    kept: list[bytes] = []

    def ask(query: str) -> None:
        environ = create_environ(STATUS_PATH, query_string=query)
        for piece in app(environ, lambda *_: None):
            kept.append(piece)
            bodies[query].add(id(piece))

    with closing(create_status_app(service, remembered=60.0)) as app:
        threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        backends = "select count(*) from pg_stat_activity where datname = current_database()"
        assert db.query(f"{backends} and pid <> pg_backend_pid()") == [(1,)]
    assert len(bodies["format=page"]) == len(bodies[""]) == 1
    assert bodies["format=page"] == bodies["format=page&check=1"]
    assert len(kept) == len(queries)


def test_a_thousand_migrations_are_a_page_of_300_kb_that_says_what_is_left_out() -> None:
    origin = {"commit": COMMIT, "ref": "main", "deployment": "dpl_1"}
    many = [
        migration(version=f"{n:04}-add-usage-tracking", name="Add Usage Tracking", appliedBy=origin)
        for n in range(1000)
    ]
    html = shown(document(migrations=many, migrationsTotal=1202))
    assert len(html) < 300_000
    assert "<caption>The newest 1,000 of 1,202</caption>" in html
    assert assert_harmless(html).rows[1][0] == "0999-add-usage-tracking"
    assert len(shown(document())) < 6000
