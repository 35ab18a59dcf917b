"""The status endpoint against a real database: what it tells, and how little it costs."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import COMMIT, SECRET, Bundle, Database
from werkzeug.test import Client, create_environ

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from lib.web.status_endpoint import create_status_app

CDN = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"


class BrokenService(Service):
    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        raise RuntimeError("hunter2")


MakeContext = Callable[..., RunContext]


@pytest.fixture
def status(service: Service) -> Iterator[Client]:
    """The status endpoint, which looks at the database for every request."""
    app = create_status_app(service, remembered=0.0)
    yield Client(app)
    app.close()


def test_it_tells_all_that_the_contract_lists(
    status: Client, service: Service, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-create-a.sql", "create table a (x int)")
    create_migrate_app(service).test_client().post(
        MIGRATE_PATH, headers={"Authorization": f"Bearer {SECRET}"}
    )
    bundle.write("001-create-b.sql", "create table b (x int)")
    bundle.write("002-only-there.sql", "-- Environments: production\nselect 1")
    response = status.get(STATUS_PATH)
    document = response.get_json()
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == CDN
    assert set(document) == {
        "success", "state", "environment", "belongsTo", "database", "pgVersion",
        "appliedMigrations", "pendingMigrations", "lastMigration", "migrationsTotal", "migrations",
        "deployment", "lastRun", "drift",
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
    by = {"commit": COMMIT, "ref": "main", "deployment": "dpl_1"}
    assert [m["appliedBy"] for m in document["migrations"]] == [by, None, None]
    for moment in (document["lastMigration"]["appliedAt"], document["lastRun"]["startedAt"]):
        assert time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")
        assert len(moment) == 24
        assert moment.endswith("Z")


def test_the_public_is_not_told_why_a_run_failed(
    status: Client, service: Service, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "select 1/0")
    assert migrate(service.context(admin=True)).error is not None
    response = status.get(STATUS_PATH)
    run = response.get_json()["lastRun"]
    assert list(run) == ["outcome", "source", "startedAt", "finishedAt", "commit"]
    assert "division" not in response.text


@pytest.mark.parametrize("migrated", [False, True])
def test_it_writes_and_creates_nothing(
    status: Client, make_context: MakeContext, bundle: Bundle, db: Database, migrated: bool
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    if migrated:
        migrate(make_context())
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
        (
            {"000-a.sql": "select 2", "001-b.sql": "select 1"},
            {"000-a.sql": "select 1"},
            "modified",
            503,
        ),
    ],
    ids=["uninitialised", "pending", "up-to-date", "ahead", "modified"],
)
def test_its_state_and_what_check_makes_of_it(
    status: Client,
    make_context: MakeContext,
    bundle: Bundle,
    files: dict[str, str],
    applied: dict[str, str],
    state: str,
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
    plain, checked = status.get(STATUS_PATH), status.get(f"{STATUS_PATH}?check=1")
    assert (plain.status_code, plain.get_json()["state"]) == (200, state)
    assert checked.status_code == check
    assert checked.headers["Cache-Control"] == (CDN if check == 200 else "no-store")


def test_head_is_answered_without_a_body(status: Client) -> None:
    response = status.head(STATUS_PATH)
    assert response.status_code == 200
    assert response.data == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_any_other_method_is_405_with_allow(status: Client, method: str) -> None:
    response = status.open(STATUS_PATH, method=method)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert response.get_json()["success"] is False
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/", "/api/migration-status/nothing", "/api//migration-status", "/api/migrate"]
)
def test_another_path_is_404_in_json(status: Client, path: str) -> None:
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
    environ: dict[str, str], bundle: Bundle, url: str, error: str
) -> None:
    environ |= {"DATABASE_URL": url, "MIGRATION_CONNECT_TIMEOUT": "100ms", "VERCEL": "1"}
    response = Client(create_status_app(Service(environ, bundle.root))).get(STATUS_PATH)
    assert response.status_code == 503
    assert response.get_json() == {"success": False, "error": error}
    assert response.headers["Cache-Control"] == "no-store"


def test_another_tools_table_is_503(status: Client, db: Database) -> None:
    db.query("create table schema_migrations (version varchar primary key)")
    response = status.get(STATUS_PATH)
    assert response.status_code == 503
    assert response.get_json() == {
        "success": False,
        "error": "The ledger of migrations can't be read.",
    }


def test_a_connection_that_died_meanwhile_is_replaced_unnoticed(
    status: Client, db: Database
) -> None:
    assert status.get(STATUS_PATH).status_code == 200
    db.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert status.get(STATUS_PATH).status_code == 200


def test_a_ledger_that_is_locked_is_503_in_time(
    service: Service, make_context: MakeContext, db: Database, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    migrate(make_context())
    app = create_status_app(replace(service, status_limit=2.0), remembered=0.0)
    with closing(app):
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table schema_migrations")
            began = time.monotonic()
            assert Client(app).get(STATUS_PATH).status_code == 503
            assert time.monotonic() - began < 6
        assert Client(app).get(STATUS_PATH).status_code == 200


def test_a_flood_costs_the_database_one_query(service: Service, db: Database) -> None:
    """Sixty requests in parallel, within the two seconds that an answer is kept, make one look."""
    app = create_status_app(service)
    transactions = (
        "select xact_commit + xact_rollback from pg_stat_database"
        " where datname = current_database()"
    )
    Client(app).get(STATUS_PATH)
    time.sleep(1.1)
    before = db.query(transactions)[0][0]
    codes: list[int] = []

    def ask(number: int) -> None:
        codes.append(Client(app).get(f"{STATUS_PATH}?x={number}").status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.close()
    time.sleep(1.1)
    assert codes == [200] * 60
    assert db.query(transactions)[0][0] - before < 12


def test_it_has_the_newest_thousand_and_the_action_has_all(
    status: Client, service: Service, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    admin, token = create_migrate_app(service).test_client(), {"Authorization": f"Bearer {SECRET}"}
    admin.post(MIGRATE_PATH, headers=token)
    db.query(
        "insert into public.schema_migrations (version, name)"
        " select pg_catalog.lpad(n::text, 4, '0') || '-gone', 'Gone'"
        " from generate_series(1200, 1, -1) n"
    )
    bundle.write("5000-b.sql", "select 1")
    document = status.get(STATUS_PATH).get_json()
    versions = [migration["version"] for migration in document["migrations"]]
    assert versions == [f"{n:04}-gone" for n in range(202, 1201)] + ["5000-b"]
    assert (
        document["migrationsTotal"],
        document["appliedMigrations"],
        document["pendingMigrations"],
    ) == (1202, 1201, 1)
    everything = admin.post(MIGRATE_PATH, headers=token, json={"action": "status"}).get_json()
    assert (len(everything["migrations"]), everything["migrationsTotal"]) == (1202, 1202)


def test_an_answer_is_encoded_once_per_look(service: Service, bundle: Bundle) -> None:
    bundle.write("000-a.sql", "select 1")
    app = create_status_app(service)
    queries = ["", "check=1"] * 5
    with closing(app):
        sent = [
            app(create_environ(STATUS_PATH, query_string=query), lambda *_: None)
            for query in queries
        ]
    bodies = [b"".join(pieces) for pieces in sent]
    assert len({id(pieces) for body in sent for pieces in body}) == 1
    assert len(set(bodies)) == 1


def test_a_failure_is_kept_too(environ: dict[str, str], bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        environ |= {
            "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{port}/d",
            "MIGRATION_CONNECT_TIMEOUT": "100ms",
        }
        app = create_status_app(Service(environ, bundle.root))
        answers = [Client(app).get(STATUS_PATH).status_code for _ in range(20)]
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


def test_an_internal_error_is_500_and_shows_nothing_of_itself(service: Service) -> None:
    broken = BrokenService(service.environ, service.root)
    response = Client(create_status_app(broken)).get(STATUS_PATH)
    assert response.status_code == 500
    assert response.get_json() == {"success": False, "error": "Internal error."}
    assert response.headers["Cache-Control"] == "no-store"
