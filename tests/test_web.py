"""Both endpoints, every row of the contract's table, against a real database and over real HTTP where it matters."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import COMMIT, Bundle, Database
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from lib import runner, web
from lib.local_server import Site
from lib.lock import RunLock
from lib.runner import Job
from lib.web import MIGRATE_PATH, STATUS_PATH, Service, create_migrate_app, create_status_app

SECRET = "correct horse battery staple"
PREVIOUS = "previous horse battery staple"
CDN = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"

MakeJob = Callable[..., Job]


@pytest.fixture
def environ(db: Database) -> dict[str, str]:
    return {
        "DATABASE_URL": db.url,
        "MIGRATION_SECRET": SECRET,
        "MIGRATION_LOCK_TIMEOUT": "100ms",
        "MIGRATION_LOCK_RETRIES": "1",
        "VERCEL_GIT_COMMIT_SHA": COMMIT,
        "VERCEL_GIT_COMMIT_REF": "main",
    }


@pytest.fixture
def service(environ: dict[str, str], bundle: Bundle) -> Service:
    return Service(environ, bundle.root)


@pytest.fixture
def status(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """The status endpoint, which remembers nothing unless a test wants it to."""
    monkeypatch.setattr(web, "REMEMBERED", 0.0)
    app = create_status_app(service)
    yield app.test_client()
    app.extensions["status"].close()


@pytest.fixture
def admin(service: Service) -> Callable[..., TestResponse]:
    client = create_migrate_app(service).test_client()

    def post(body: object = None, token: str | None = SECRET, **options: Any) -> TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        return client.post(MIGRATE_PATH, data=data, headers={**headers, **options.pop("headers", {})}, **options)

    return post


Post = Callable[..., TestResponse]


class TestStatus:
    def test_it_tells_all_that_the_contract_lists(
        self, status: FlaskClient, bundle: Bundle, admin: Post, db: Database
    ) -> None:
        bundle.write("000-create-a.sql", "create table a (x int)")
        admin()
        bundle.write("001-create-b.sql", "create table b (x int)")
        bundle.write("002-only-there.sql", "-- Environments: production\nselect 1")
        response = status.get(STATUS_PATH)
        document = response.get_json()
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == CDN
        assert set(document) == {
            "success", "state", "environment", "database", "pgVersion", "appliedMigrations", "pendingMigrations",
            "lastMigration", "migrations", "deployment", "lastRun",
        }  # fmt: skip
        assert document["state"] == "pending"
        assert document["pgVersion"] == f"PostgreSQL {db.server_version}"
        assert (document["appliedMigrations"], document["pendingMigrations"]) == (1, 1)
        assert document["lastMigration"]["version"] == "000-create-a"
        assert document["deployment"] == {"commit": COMMIT, "ref": "main"}
        assert document["lastRun"]["outcome"] == "succeeded"
        assert document["lastRun"]["source"] == "admin"
        assert document["lastRun"]["commit"] == COMMIT
        assert [(m["version"], m["name"], m["state"]) for m in document["migrations"]] == [
            ("000-create-a", "Create A", "applied"),
            ("001-create-b", "Create B", "pending"),
            ("002-only-there", "Only There", "skipped"),
        ]
        for moment in (document["lastMigration"]["appliedAt"], document["lastRun"]["startedAt"]):
            assert time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")
            assert len(moment) == 24
            assert moment.endswith("Z")

    @pytest.mark.parametrize("migrated", [False, True])
    def test_it_writes_and_creates_nothing(
        self, status: FlaskClient, make_job: MakeJob, bundle: Bundle, db: Database, migrated: bool
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        if migrated:
            runner.migrate(make_job())
            db.query("update schema_migration_runs set outcome = 'running'")
        everything = "select array_agg(oid order by oid) from pg_class"
        before = db.query(everything)
        # Here whatever writes, or takes a transaction id, fails.
        db.query(f"alter database {db.target.database} set default_transaction_read_only = on")
        for path in (STATUS_PATH, f"{STATUS_PATH}?check=1", f"{STATUS_PATH}.py"):
            assert status.get(path).get_json()["success"] is True
        assert db.query(everything) == before
        if migrated:
            assert db.runs()[0]["outcome"] == "running"

    @pytest.mark.parametrize(
        ("files", "applied", "state", "check"),
        [
            ({}, {}, "uninitialised", 503),
            ({"000-a.sql": "select 1"}, {}, "pending", 503),
            ({"000-a.sql": "select 1"}, {"000-a.sql": "select 1"}, "up-to-date", 200),
            ({}, {"000-a.sql": "select 1"}, "ahead", 200),
            ({"000-a.sql": "select 2", "001-b.sql": "select 1"}, {"000-a.sql": "select 1"}, "modified", 503),
        ],
        ids=["uninitialised", "pending", "up-to-date", "ahead", "modified"],
    )
    def test_its_state_and_what_check_makes_of_it(
        self,
        status: FlaskClient,
        make_job: MakeJob,
        bundle: Bundle,
        files: dict[str, str],
        applied: dict[str, str],
        state: str,
        check: int,
    ) -> None:
        for name, sql in applied.items():
            bundle.write(name, sql)
        if applied:
            assert runner.migrate(make_job()).error is None
        for name in applied:
            (bundle.migrations / name).unlink()
        for name, sql in files.items():
            bundle.write(name, sql)
        plain, checked = status.get(STATUS_PATH), status.get(f"{STATUS_PATH}?check=1")
        assert (plain.status_code, plain.get_json()["state"]) == (200, state)
        assert checked.status_code == check
        assert checked.headers["Cache-Control"] == (CDN if check == 200 else "no-store")

    def test_head_is_answered_without_a_body(self, status: FlaskClient) -> None:
        response = status.head(STATUS_PATH)
        assert response.status_code == 200
        assert response.data == b""

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    def test_any_other_method_is_405_with_allow(self, status: FlaskClient, method: str) -> None:
        response = status.open(STATUS_PATH, method=method)
        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}
        assert response.get_json()["success"] is False
        assert response.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", ["/", "/api/migration-status/nothing", "/api//migration-status", "/api/migrate"])
    def test_another_path_is_404_in_json(self, status: FlaskClient, path: str) -> None:
        response = status.get(path)
        assert response.status_code == 404
        assert response.get_json()["success"] is False
        assert response.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("postgresql://hunter:hunter2@127.0.0.1:1/secretdb", "The database can't be reached."),
            ("postgresql://hunter:hunter2@/@secrethost/secretdb", "The database is not configured."),
            ("", "The database is not configured."),
        ],
    )
    def test_a_database_away_is_503_and_tells_nothing_of_it(
        self, environ: dict[str, str], bundle: Bundle, url: str, error: str
    ) -> None:
        environ |= {"DATABASE_URL": url, "MIGRATION_CONNECT_TIMEOUT": "100ms", "VERCEL": "1"}
        response = create_status_app(Service(environ, bundle.root)).test_client().get(STATUS_PATH)
        assert response.status_code == 503
        assert response.get_json() == {"success": False, "error": error}
        assert response.headers["Cache-Control"] == "no-store"

    def test_another_tools_table_is_503(self, status: FlaskClient, db: Database) -> None:
        db.query("create table schema_migrations (version varchar primary key)")
        response = status.get(STATUS_PATH)
        assert response.status_code == 503
        assert response.get_json() == {"success": False, "error": "The ledger of migrations can't be read."}

    def test_a_connection_that_died_meanwhile_is_replaced_unnoticed(self, status: FlaskClient, db: Database) -> None:
        assert status.get(STATUS_PATH).status_code == 200
        db.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert status.get(STATUS_PATH).status_code == 200

    def test_a_ledger_that_is_locked_is_503_in_time(
        self, status: FlaskClient, make_job: MakeJob, db: Database, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        monkeypatch.setattr(web, "STATUS_TIME_LIMIT", 1.0)
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations")
            began = time.monotonic()
            assert status.get(STATUS_PATH).status_code == 503
            assert time.monotonic() - began < 5
        assert status.get(STATUS_PATH).status_code == 200

    def test_a_flood_costs_the_database_one_query(self, service: Service, db: Database) -> None:
        """Sixty requests in parallel, within the two seconds that an answer is kept, make one look."""
        app = create_status_app(service)
        transactions = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        app.test_client().get(STATUS_PATH)
        time.sleep(1.1)
        before = db.query(transactions)[0][0]
        codes: list[int] = []

        def ask(number: int) -> None:
            codes.append(app.test_client().get(f"{STATUS_PATH}?x={number}").status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        app.extensions["status"].close()
        time.sleep(1.1)
        assert codes == [200] * 60
        assert db.query(transactions)[0][0] - before < 12

    def test_a_failure_is_kept_too(self, environ: dict[str, str], bundle: Bundle) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            environ |= {"DATABASE_URL": f"postgresql://u:p@127.0.0.1:{port}/d", "MIGRATION_CONNECT_TIMEOUT": "100ms"}
            app = create_status_app(Service(environ, bundle.root))
            answers = [app.test_client().get(STATUS_PATH).status_code for _ in range(20)]
            listener.settimeout(0)
            connections = 0
            while True:
                try:
                    listener.accept()[0].close()
                    connections += 1
                except BlockingIOError:
                    break
        assert answers == [503] * 20
        assert connections == 1


class TestAdmin:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_only_post_is_allowed(self, service: Service, method: str) -> None:
        response = create_migrate_app(service).test_client().open(MIGRATE_PATH, method=method)
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize("secret", [None, "", "short", "fifteen letters"])
    def test_without_a_usable_secret_every_post_is_503(
        self, environ: dict[str, str], bundle: Bundle, secret: str | None
    ) -> None:
        environ |= {"MIGRATION_SECRET": secret or "", "MIGRATION_SECRET_PREVIOUS": PREVIOUS}
        client = create_migrate_app(Service(environ, bundle.root)).test_client()
        for headers in ({}, {"Authorization": f"Bearer {secret}"}, {"Authorization": f"Bearer {PREVIOUS}"}):
            assert client.post(MIGRATE_PATH, headers=headers).status_code == 503

    @pytest.mark.parametrize(
        "header",
        [
            None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x",
            f"Bearer {SECRET[:-1]}", f"Bearer{SECRET}", "Bearer \xff\xfe", f"Token {SECRET}",
        ],
    )  # fmt: skip
    def test_a_wrong_token_is_401_and_always_the_same(
        self, environ: dict[str, str], bundle: Bundle, header: str | None
    ) -> None:
        # Nothing listens there: an answer shows that no database work was done.
        environ["DATABASE_URL"] = "postgresql://u:p@127.0.0.1:1/d"
        client = create_migrate_app(Service(environ, bundle.root)).test_client()
        headers = {} if header is None else {"Authorization": header}
        response = client.post(MIGRATE_PATH, headers=headers, data="{not json")
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.get_json() == {
            "success": False,
            "error": "A valid token is needed: Authorization: Bearer MIGRATION_SECRET.",
        }

    @pytest.mark.parametrize(
        ("secret", "previous", "token", "code"),
        [
            (SECRET, "", SECRET, 200),
            (SECRET, PREVIOUS, PREVIOUS, 200),
            (SECRET, "too short", "too short", 401),
            ("pässwörter mit ümläuten", "", "pässwörter mit ümläuten".encode().decode("latin-1"), 200),
        ],
        ids=["current", "previous", "short previous", "UTF-8"],
    )
    def test_the_token_may_be_rotated(
        self, environ: dict[str, str], bundle: Bundle, secret: str, previous: str, token: str, code: int
    ) -> None:
        environ |= {"MIGRATION_SECRET": secret, "MIGRATION_SECRET_PREVIOUS": previous}
        client = create_migrate_app(Service(environ, bundle.root)).test_client()
        response = client.post(
            MIGRATE_PATH, environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {token}"}, data='{"action": "status"}'
        )
        assert response.status_code == code

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ("x" * (16 * 1024 + 1), 413),
            ("{" * 16000, 400),
            ("[" * 16000, 400),
            ("not json", 400),
            (b"\xff\xfe", 400),
            ("[]", 400),
            ('"migrate"', 400),
            ("null", 400),
            ('{"action": "drop"}', 400),
            ('{"action": null}', 400),
            ('{"action": ["migrate"]}', 400),
            ('{"acton": "plan"}', 400),
        ],
        ids=lambda value: str(value)[:12] if not isinstance(value, int) else str(value),
    )
    def test_a_body_that_is_no_known_action_is_refused_and_nothing_runs(
        self, admin: Post, bundle: Bundle, db: Database, body: object, code: int
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        response = admin(body)
        assert response.status_code == code
        assert response.get_json()["success"] is False
        assert not db.has("a")

    def test_a_request_to_upgrade_is_a_request_like_any_other(self, admin: Post) -> None:
        response = admin(token=None, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert response.status_code == 401

    @pytest.mark.parametrize("body", [None, "", "  ", "{}", {"action": "migrate"}])
    def test_migrate_is_the_default_whatever_the_content_type(
        self, admin: Post, bundle: Bundle, db: Database, body: object
    ) -> None:
        bundle.write("000-create-a.sql", "create table a (x int)")
        response = admin(body, content_type="text/plain")
        document = response.get_json()
        assert response.status_code == 200
        assert (document["success"], document["action"], document["pendingMigrations"]) == (True, "migrate", 0)
        [applied] = document["applied"]
        assert (applied["version"], applied["name"]) == ("000-create-a", "Create A")
        assert isinstance(applied["executionTimeMs"], int)
        assert [(run["source"], run["git_commit"], run["git_ref"]) for run in db.runs()] == [("admin", COMMIT, "main")]

    def test_status_validate_and_plan_write_nothing(self, admin: Post, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert admin({"action": "status"}).get_json()["state"] == "pending"
        assert admin({"action": "validate"}).get_json()["pendingMigrations"] == 1
        assert admin({"action": "plan"}).get_json()["plan"][0]["mode"] == "transaction"
        assert not db.has("schema_migrations")

    def test_configuration_that_cannot_be_read_is_503(self, environ: dict[str, str], bundle: Bundle) -> None:
        environ["MIGRATION_LOCK_TIMEOUT"] = "soon"
        client = create_migrate_app(Service(environ, bundle.root)).test_client()
        response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
        assert response.status_code == 503
        assert "MIGRATION_LOCK_TIMEOUT" in response.get_json()["error"]

    def test_a_database_away_is_503(self, environ: dict[str, str], bundle: Bundle) -> None:
        environ |= {"DATABASE_URL": "postgresql://hunter:hunter2@127.0.0.1:1/d", "MIGRATION_CONNECT_TIMEOUT": "100ms"}
        client = create_migrate_app(Service(environ, bundle.root)).test_client()
        response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
        assert response.status_code == 503
        assert "hunter" not in response.text
        assert "127.0.0.1" not in response.text

    def test_the_guard_is_409(self, admin: Post, make_job: MakeJob, db: Database) -> None:
        runner.migrate(make_job(environment="production"))
        response = admin()
        assert response.status_code == 409
        assert "belongs to production" in response.get_json()["error"]

    def test_another_run_is_409_at_once_and_says_who_since_when(
        self, admin: Post, make_job: MakeJob, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with RunLock(make_job(source="build").connect, patience=0):
            began = time.monotonic()
            response = admin()
        document = response.get_json()
        assert response.status_code == 409
        assert time.monotonic() - began < 5
        assert document["holder"] == "migrations build local"
        assert document["since"] in document["error"]

    def test_a_busy_table_is_409(self, admin: Post, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a")
            response = admin()
        assert response.status_code == 409
        assert response.get_json()["version"] == "000-a"

    def test_a_modified_or_a_renamed_file_is_409(self, admin: Post, bundle: Bundle) -> None:
        path = bundle.write("000-a.sql", "create table a (x int)")
        admin()
        bundle.write("000-a.sql", "create table a (y int)")
        for action in ("migrate", "validate", "plan"):
            response = admin({"action": action})
            assert (response.status_code, response.get_json()["version"]) == (409, "000-a")
        bundle.write("000-a.sql", "create table a (x int)")
        path.rename(bundle.migrations / "000-b.sql")
        assert admin().status_code == 409

    def test_strict_order_is_409(self, environ: dict[str, str], admin: Post, bundle: Bundle) -> None:
        bundle.write("001-b.sql", "select 1")
        admin()
        bundle.write("000-a.sql", "select 1")
        environ["MIGRATION_STRICT_ORDER"] = "1"
        response = admin()
        assert (response.status_code, response.get_json()["version"]) == (409, "000-a")

    def test_a_refused_file_is_422_with_version_and_line(self, admin: Post, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int);\ncommit;")
        response = admin()
        document = response.get_json()
        assert response.status_code == 422
        assert (document["version"], document["line"]) == ("000-a", 2)

    def test_a_failed_migration_is_500_with_its_place_and_what_had_been_applied(self, admin: Post, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int);\nselect 1/0;")
        response = admin()
        document = response.get_json()
        assert response.status_code == 500
        assert (document["version"], document["sqlstate"], document["line"]) == ("001-b", "22012", 2)
        assert [migration["version"] for migration in document["applied"]] == ["000-a"]

    def test_out_of_time_is_504_rolled_back_with_what_was_applied(self, admin: Post, bundle: Bundle, db: Database) -> None:
        limit = 2
        (bundle.root / "vercel.json").write_text(json.dumps({"functions": {"api/*.py": {"maxDuration": limit}}}))
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "create table b (x int);\nselect pg_sleep(60);")
        response = admin()
        assert response.status_code == 504
        assert [migration["version"] for migration in response.get_json()["applied"]] == ["000-a"]
        assert not db.has("b")

    @pytest.mark.parametrize(
        ("functions", "limit"),
        [
            ({"api/*.py": {"maxDuration": 300}}, 285),
            ({"api/*.py": {"maxDuration": 10}}, 7.5),
            ({"api/*.py": {"maxDuration": 300}, "api/migrate.py": {"maxDuration": 60}}, 45),
            ({}, 285),
            ({"api/*.py": {"maxDuration": "max"}}, 285),
        ],
    )
    def test_its_time_is_what_vercel_gives_less_a_margin(
        self, bundle: Bundle, functions: dict[str, Any], limit: float
    ) -> None:
        (bundle.root / "vercel.json").write_text(json.dumps({"functions": functions}))
        assert web.time_limit(bundle.root) == limit

    @pytest.mark.parametrize("length", ["abc", "-5"])
    def test_a_length_that_is_no_number_migrates_nothing(
        self, admin: Post, bundle: Bundle, db: Database, length: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert admin(environ_overrides={"CONTENT_LENGTH": length}).status_code == 400
        assert not db.has("a")

    def test_an_error_of_ours_is_500_in_json_and_tells_nothing(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: object) -> None:
            raise RuntimeError("hunter2")

        monkeypatch.setattr(runner, "migrate", broken)
        client = create_migrate_app(service).test_client()
        response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
        assert response.status_code == 500
        assert response.get_json() == {"success": False, "error": "Internal error."}


def test_serve_shows_the_page_and_both_endpoints(service: Service, bundle: Bundle) -> None:
    (bundle.root / "public").mkdir()
    (bundle.root / "public" / "index.html").write_text("<title>Migrations</title>")
    site = Site(service)
    server = make_server("127.0.0.1", 0, site, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert b"Migrations" in urllib.request.urlopen(f"{address}/").read()
        assert json.load(urllib.request.urlopen(f"{address}{STATUS_PATH}"))["state"] == "uninitialised"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(f"{address}{MIGRATE_PATH}", method="POST"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        site.close()
