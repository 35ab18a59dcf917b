"""The admin endpoint against a real database: every row of its table of answers."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import COMMIT, SECRET, Bundle, Database
from werkzeug.test import TestResponse

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.ledger.run_lock import RunLock
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, Service

PREVIOUS = "previous horse battery staple"

MakeContext = Callable[..., RunContext]
Post = Callable[..., TestResponse]


@pytest.fixture
def admin(service: Service) -> Post:
    client = create_migrate_app(service).test_client()

    def post(body: object = None, token: str | None = SECRET, **options: Any) -> TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        return client.post(
            MIGRATE_PATH, data=data, headers={**headers, **options.pop("headers", {})}, **options
        )

    return post


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_is_allowed(service: Service, method: str) -> None:
    response = create_migrate_app(service).test_client().open(MIGRATE_PATH, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("secret", [None, "", "short", "fifteen letters"])
def test_without_a_usable_secret_every_post_is_503(
    environ: dict[str, str], bundle: Bundle, secret: str | None
) -> None:
    environ |= {"MIGRATION_SECRET": secret or "", "MIGRATION_SECRET_PREVIOUS": PREVIOUS}
    client = create_migrate_app(Service(environ, bundle.root)).test_client()
    for headers in (
        {},
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"Bearer {PREVIOUS}"},
    ):
        assert client.post(MIGRATE_PATH, headers=headers).status_code == 503


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {SECRET}", SECRET,
        f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}",
        f"Bearer{SECRET}", "Bearer \xff\xfe", f"Token {SECRET}",
    ],
)  # fmt: skip
def test_a_wrong_token_is_401_and_always_the_same(
    environ: dict[str, str], bundle: Bundle, header: str | None
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
    environ: dict[str, str], bundle: Bundle, secret: str, previous: str, token: str, code: int
) -> None:
    environ |= {"MIGRATION_SECRET": secret, "MIGRATION_SECRET_PREVIOUS": previous}
    client = create_migrate_app(Service(environ, bundle.root)).test_client()
    response = client.post(
        MIGRATE_PATH,
        environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {token}"},
        data='{"action": "status"}',
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
        ('{"action": "status", "action": "migrate"}', 400),
        ('{"action": "migrate", "\\u0061ction": "migrate"}', 400),
        ('{"action": {"a": 1, "a": 1}}', 400),
    ],
    ids=lambda value: str(value)[:12] if not isinstance(value, int) else str(value),
)
def test_a_body_that_is_no_known_action_is_refused_and_nothing_runs(
    admin: Post, bundle: Bundle, db: Database, body: object, code: int
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    response = admin(body)
    assert response.status_code == code
    assert response.get_json()["success"] is False
    assert not db.has("a")


def test_a_request_to_upgrade_is_a_request_like_any_other(admin: Post) -> None:
    response = admin(token=None, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert response.status_code == 401


@pytest.mark.parametrize("body", [None, "", "  ", "{}", {"action": "migrate"}])
def test_migrate_is_the_default_whatever_the_content_type(
    admin: Post, bundle: Bundle, db: Database, body: object
) -> None:
    bundle.write("000-create-a.sql", "create table a (x int)")
    response = admin(body, content_type="text/plain")
    document = response.get_json()
    assert response.status_code == 200
    assert (document["success"], document["action"], document["pendingMigrations"]) == (
        True,
        "migrate",
        0,
    )
    [applied] = document["applied"]
    assert (applied["version"], applied["name"]) == ("000-create-a", "Create A")
    assert isinstance(applied["executionTimeMs"], int)
    assert [(run["source"], run["git_commit"], run["git_ref"]) for run in db.runs()] == [
        ("admin", COMMIT, "main")
    ]


def test_status_validate_and_plan_write_nothing(admin: Post, bundle: Bundle, db: Database) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    assert admin({"action": "status"}).get_json()["state"] == "pending"
    assert admin({"action": "validate"}).get_json()["pendingMigrations"] == 1
    assert admin({"action": "plan"}).get_json()["plan"][0]["mode"] == "transaction"
    assert not db.has("schema_migrations")


def test_configuration_that_cannot_be_read_is_503(environ: dict[str, str], bundle: Bundle) -> None:
    environ["MIGRATION_LOCK_TIMEOUT"] = "soon"
    client = create_migrate_app(Service(environ, bundle.root)).test_client()
    response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
    assert response.status_code == 503
    assert "MIGRATION_LOCK_TIMEOUT" in response.get_json()["error"]


def test_a_database_away_is_503(environ: dict[str, str], bundle: Bundle) -> None:
    environ |= {
        "DATABASE_URL": "postgresql://hunter:hunter2@127.0.0.1:1/d",
        "MIGRATION_CONNECT_TIMEOUT": "100ms",
    }
    client = create_migrate_app(Service(environ, bundle.root)).test_client()
    response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
    assert response.status_code == 503
    assert "hunter" not in response.text
    assert "127.0.0.1" not in response.text


def test_the_guard_is_409(admin: Post, make_context: MakeContext, db: Database) -> None:
    migrate(make_context(environment="production"))
    response = admin()
    assert response.status_code == 409
    assert "belongs to production" in response.get_json()["error"]


def test_another_run_is_409_at_once_and_says_who_since_when(
    admin: Post, make_context: MakeContext, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    with RunLock(make_context(source="build").connect, timeout=0):
        began = time.monotonic()
        response = admin()
    document = response.get_json()
    assert response.status_code == 409
    assert time.monotonic() - began < 5
    assert document["holder"] == "migrations build local"
    assert document["since"] in document["error"]


def test_a_busy_table_is_409(admin: Post, bundle: Bundle, db: Database) -> None:
    db.query("create table a (x int)")
    bundle.write("000-a.sql", "alter table a add column y int")
    with db.connect() as holder, holder.transaction():
        holder.execute("lock table a")
        response = admin()
    assert response.status_code == 409
    assert response.get_json()["version"] == "000-a"


def test_a_modified_or_a_renamed_file_is_409(admin: Post, bundle: Bundle) -> None:
    path = bundle.write("000-a.sql", "create table a (x int)")
    admin()
    bundle.write("000-a.sql", "create table a (y int)")
    for action in ("migrate", "validate", "plan"):
        response = admin({"action": action})
        assert (response.status_code, response.get_json()["version"]) == (409, "000-a")
    bundle.write("000-a.sql", "create table a (x int)")
    path.rename(bundle.migrations / "000-b.sql")
    assert admin().status_code == 409


def test_strict_order_is_409(environ: dict[str, str], admin: Post, bundle: Bundle) -> None:
    bundle.write("001-b.sql", "select 1")
    admin()
    bundle.write("000-a.sql", "select 1")
    environ["MIGRATION_STRICT_ORDER"] = "1"
    response = admin()
    assert (response.status_code, response.get_json()["version"]) == (409, "000-a")


def test_a_refused_file_is_422_with_version_and_line(admin: Post, bundle: Bundle) -> None:
    bundle.write("000-a.sql", "create table a (x int);\ncommit;")
    response = admin()
    document = response.get_json()
    assert response.status_code == 422
    assert (document["version"], document["line"]) == ("000-a", 2)


def test_a_failed_migration_is_500_with_its_place_and_what_had_been_applied(
    admin: Post, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int);\nselect 1/0;")
    response = admin()
    document = response.get_json()
    assert response.status_code == 500
    assert (document["version"], document["sqlstate"], document["line"]) == ("001-b", "22012", 2)
    assert [migration["version"] for migration in document["applied"]] == ["000-a"]


def test_out_of_time_is_504_rolled_back_with_what_was_applied(
    admin: Post, bundle: Bundle, db: Database
) -> None:
    limit = 2
    (bundle.root / "vercel.json").write_text(
        json.dumps({"functions": {"api/*.py": {"maxDuration": limit}}})
    )
    bundle.write("000-a.sql", "create table a (x int)")
    bundle.write("001-b.sql", "create table b (x int);\nselect pg_sleep(60);")
    response = admin()
    assert response.status_code == 504
    assert [migration["version"] for migration in response.get_json()["applied"]] == ["000-a"]
    assert not db.has("b")


@pytest.mark.parametrize("length", ["abc", "-5", "40"])
def test_a_length_that_is_malformed_or_too_long_is_400_and_nothing_runs(
    admin: Post, bundle: Bundle, db: Database, length: str
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    assert admin(environ_overrides={"CONTENT_LENGTH": length}).status_code == 400
    assert not db.has("a")


@pytest.mark.parametrize(
    "path", ["/", "/api/migrate/nothing", "/api//migrate", "/api/migration-status"]
)
def test_another_path_is_404_in_json(service: Service, path: str) -> None:
    response = create_migrate_app(service).test_client().post(path)
    assert response.status_code == 404
    assert response.get_json() == {"success": False, "error": "Only /api/migrate is served here."}
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [MIGRATE_PATH, f"{MIGRATE_PATH}/", f"{MIGRATE_PATH}.py"])
def test_the_path_may_end_as_vercel_lets_it_end(service: Service, path: str) -> None:
    assert create_migrate_app(service).test_client().post(path).status_code == 401


class BrokenService(Service):
    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        raise RuntimeError("hunter2")


def test_an_internal_error_is_500_and_shows_nothing_of_itself(service: Service) -> None:
    client = create_migrate_app(BrokenService(service.environ, service.root)).test_client()
    response = client.post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
    assert response.status_code == 500
    assert response.get_json() == {"success": False, "error": "Internal error."}


def test_parallel_requests_in_one_process_apply_each_file_once(
    service: Service, bundle: Bundle, db: Database
) -> None:
    """As threads, as in the runtime: one migrates, the others get a 409 or find nothing left."""
    for number in range(4):
        bundle.write(
            f"{number:03d}-a.sql", f"create table a{number} (x int);\nselect pg_sleep(0.1);"
        )
    app = create_migrate_app(service)
    answers: list[TestResponse] = []

    def post() -> None:
        answers.append(
            app.test_client().post(MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"})
        )

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 409}
    applied = [
        migration["version"]
        for answer in answers
        for migration in answer.get_json().get("applied", ())
    ]
    assert applied == db.versions() == [f"{number:03d}-a" for number in range(4)]
    assert db.advisory_locks() == 0


def test_a_statement_in_doubt_is_500_with_both_ways_on(
    admin: Post, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "-- Transaction: none\ncreate table a (x int);\nselect 1/0;")
    admin()
    db.query(
        "update schema_migration_runs"
        " set outcome = 'running', failed_version = null, in_progress_in_doubt = true"
    )
    bundle.write(
        "000-a.sql", "-- Transaction: none\ncreate table a (x int);\ninsert into a values (1);"
    )
    response = admin()
    document = response.get_json()
    assert response.status_code == 500
    assert (document["version"], document["line"]) == ("000-a", 3)
    assert document["error"].count("python -m lib resolve 000-a --") == 2


@pytest.mark.parametrize("letter", ["à", "Å", "Ѡ", "\u00a0", "é", "\udcff"], ids=ascii)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "\n"), (" \t", " \r\n")], ids=repr)
def test_a_secret_may_begin_and_end_with_any_letter_and_have_white_space_around_it(
    environ: dict[str, str], bundle: Bundle, letter: str, before: str, after: str
) -> None:
    secret = f"{letter}{SECRET}{letter}"
    environ["MIGRATION_SECRET"] = f"{before}{secret}{after}"
    client = create_migrate_app(Service(environ, bundle.root)).test_client()
    # WSGI has the header's bytes as latin-1.
    sent = secret.encode("utf-8", "surrogateescape").decode("latin-1")
    for token, code in (
        (sent, 200),
        (f" {sent}\t ", 200),
        (sent[:-1], 401),
        (sent.strip("\xa0\x85"), None),
    ):
        environ_overrides = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        response = client.post(
            MIGRATE_PATH, json={"action": "status"}, environ_overrides=environ_overrides
        )
        assert response.status_code == (code or (200 if token == sent else 401))
