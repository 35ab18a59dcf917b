"""frontend/openapi.json says what the two endpoints answer, no more and no less."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from conftest import ROOT, Bundle, Database
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import Client, TestResponse

from lib.actions.run_parameters import RunContext
from lib.database.connection import Connection
from lib.ledger.run_lock import KEY
from lib.web.admin_endpoint import ACTIONS, LONGEST_BODY, create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from lib.web.status_endpoint import FORMATS, create_status_app

DESCRIPTION: dict[str, Any] = json.loads(
    (ROOT / "frontend" / "openapi.json").read_text(encoding="utf-8")
)
SECRET = "a-secret-of-the-tests"


@dataclass(frozen=True)
class ClosingContext(RunContext):
    """Hands its connections over, for the test to close what an application keeps open."""

    opened: ExitStack = field(default_factory=ExitStack)

    def connect(self, **how: Any) -> Connection:
        return self.opened.enter_context(super().connect(**how))


@dataclass(frozen=True)
class ClosingService(Service):
    opened: ExitStack = field(default_factory=ExitStack)

    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        return ClosingContext(
            **vars(super().context(admin=admin, web_token=web_token)), opened=self.opened
        )


class BrokenService(Service):
    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        raise RuntimeError("nobody foresaw this")


@dataclass(frozen=True)
class Site:
    """Both endpoints of a bundle with a database. Each request meets newly started applications."""

    service: Service
    bundle: Bundle
    db: Database

    def get(self, query: str = "", *, method: str = "GET", **headers: str) -> TestResponse:
        client = Client(create_status_app(self.service))
        return client.open(STATUS_PATH + query, method=method, headers=headers)

    def post(
        self, body: object = None, *, method: str = "POST", token: str = SECRET, **headers: str
    ) -> TestResponse:
        data = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        client = create_migrate_app(self.service).test_client()
        headers = {"Authorization": f"Bearer {token}", **headers}
        return client.open(MIGRATE_PATH, method=method, data=data, headers=headers)

    def having(self, **variables: str) -> "Site":
        return replace(
            self, service=replace(self.service, environ={**self.service.environ, **variables})
        )

    def without_database(self) -> "Site":
        return self.having(DATABASE_URL=self.db.url + "_that_is_not_there")

    def broken(self) -> "Site":
        return replace(self, service=BrokenService(self.service.environ, self.service.root))


@pytest.fixture
def site(db: Database, bundle: Bundle) -> Iterator[Site]:
    bundle.write("001-create-a.sql", "create table a (x int)")
    environ = {"DATABASE_URL": db.url, "MIGRATION_SECRET": SECRET, "MIGRATION_LOCK_RETRIES": "0"}
    with ExitStack() as opened:
        yield Site(ClosingService(environ, bundle.root, opened=opened), bundle, db)


def migrated(site: Site) -> Site:
    assert site.post().status_code == 200
    return site


def modified(site: Site) -> Site:
    migrated(site).bundle.write("001-create-a.sql", "create table a (x bigint)")
    return site


def renamed(site: Site) -> Site:
    migrated(site).bundle.migrations.joinpath("001-create-a.sql").rename(
        site.bundle.migrations / "001-create-b.sql"
    )
    return site


def renumbered(site: Site) -> Site:
    old = migrated(site).bundle.migrations / "001-create-a.sql"
    site.bundle.write("002-create-a.sql", b"-- Was: 001-create-a\n" + old.read_bytes())
    old.unlink()
    return site


def drifted(site: Site) -> Site:
    migrated(site).bundle.write("002-create-b.sql", "create table b (x int)")
    site.db.query("alter table a add by_hand int")
    return site


def breaking(site: Site) -> Site:
    """Production, and two files that break its code, of which one says why that is well."""
    production = migrated(site.having(VERCEL_ENV="production"))
    production.bundle.write(
        "002-drop-x.sql",
        "-- review: ignore drops-column because nobody reads it\nalter table a drop x;\n",
    )
    production.bundle.write("003-drop-a.sql", "drop table a;\n")
    return production


def missing(site: Site) -> Site:
    migrated(site).bundle.migrations.joinpath("001-create-a.sql").unlink()
    return site


def failing(site: Site) -> Site:
    site.bundle.write("002-divide.sql", "create table b (x int);\n\nselect 1/0")
    return site


def refused(site: Site) -> Site:
    site.bundle.write("002-vacuum.sql", "create table b (x int);\nvacuum a")
    return site


def malformed(site: Site) -> Site:
    site.bundle.write("002-wait.sql", "-- Lock-Timeout: soon\nselect 1")
    return site


def misnamed(site: Site) -> Site:
    site.bundle.write("two.sql", "select 1")
    return site


def empty(site: Site) -> Site:
    site.bundle.migrations.joinpath("001-create-a.sql").unlink()
    return site


def odd(site: Site) -> Site:
    """A file of every state but the modified, and every kind of warning."""
    site.bundle.write("005-create-e.sql", "create table e (x int)")
    missing(site)
    site.bundle.write("002-late.sql", "-- Statement-Timeout: 10min\nselect 1")
    site.bundle.write("006-elsewhere.sql", "-- Environments: produktion\nselect 1")
    site.bundle.write("007-alone.sql", "create index concurrently on e (x)")
    return site


def foreign(site: Site) -> Site:
    site.db.query("create table public.schema_migrations (version text)")
    return site


def claimed(site: Site) -> Site:
    migrated(site.having(MIGRATION_ENVIRONMENT="production"))
    return site


def late(site: Site) -> Site:
    migrated(site).bundle.write("000-late.sql", "select 1")
    return site.having(MIGRATION_STRICT_ORDER="1")


def under_way(site: Site) -> TestResponse:
    with site.db.connect(application_name="migrations cli local") as other, other.transaction():
        other.execute(f"select pg_advisory_xact_lock({KEY})")
        return site.post()


def busy(site: Site) -> TestResponse:
    migrated(site).bundle.write("002-widen.sql", "alter table a add column y int")
    with site.db.connect() as other, other.transaction():
        other.execute("lock table a")
        return site.having(MIGRATION_LOCK_TIMEOUT="50ms").post()


def out_of_time(site: Site) -> TestResponse:
    site.bundle.root.joinpath("vercel.json").write_text(
        '{"functions": {"api/*.py": {"maxDuration": 6}}}'
    )
    site.bundle.write("002-sleep.sql", "select pg_sleep(30)")
    return site.post()


Ask = Callable[[Site], TestResponse]

# What is asked, by the name of the case, and the answer's code.
READING: dict[str, tuple[Ask, int]] = {
    "a fresh database": (lambda site: site.get(), 200),
    "a fresh database, HEAD": (lambda site: site.get(method="HEAD"), 200),
    "neither ledger nor files": (lambda site: empty(site).get(), 200),
    "migrated": (lambda site: migrated(site).get(), 200),
    "migrated, checked": (lambda site: migrated(site).get("?check=1"), 200),
    "with a commit": (
        lambda site: migrated(
            site.having(VERCEL_GIT_COMMIT_SHA="0" * 40, VERCEL_GIT_COMMIT_REF="main")
        ).get(),
        200,
    ),
    "modified": (lambda site: modified(site).get(), 200),
    "renamed": (lambda site: renamed(site).get(), 200),
    "ahead": (lambda site: missing(site).get("?check=1"), 200),
    "renumbered": (lambda site: renumbered(site).get(), 200),
    "odd": (lambda site: odd(site).get(), 200),
    "a run that failed": (lambda site: (failing(site).post(), site.get())[1], 200),
    **{
        f"the method {name}": (partial(lambda name, site: site.get(method=name), name), 405)
        for name in ("POST", "OPTIONS", "TRACE")
    },
    "a page": (lambda site: migrated(site).get("?format=page"), 200),
    "a page, HEAD": (lambda site: site.get("?format=page", method="HEAD"), 200),
    "a page, POST": (lambda site: site.get("?format=page", method="POST"), 405),
    "a page, broken": (lambda site: site.broken().get("?format=page"), 500),
    "a page, pending, checked": (lambda site: site.get("?check=1&format=page"), 503),
    "a page, the database away": (
        lambda site: site.without_database().get("?format=page"),
        503,
    ),
    "JSON by its name": (lambda site: site.get("?format=json"), 200),
    "an unknown format": (lambda site: site.get("?format=pdf"), 400),
    "an unknown format, HEAD": (lambda site: site.get("?format=pdf", method="HEAD"), 400),
    "broken": (lambda site: site.broken().get(), 500),
    "broken, HEAD": (lambda site: site.broken().get(method="HEAD"), 500),
    "pending, checked": (lambda site: site.get("?check=1"), 503),
    "pending, checked, HEAD": (lambda site: site.get("?check=1", method="HEAD"), 503),
    "modified, checked": (lambda site: modified(site).get("?check=1"), 503),
    "the database away": (lambda site: site.without_database().get(), 503),
    "not configured": (lambda site: site.having(DATABASE_URL="", VERCEL="1").get(), 503),
    "another tool's ledger": (lambda site: foreign(site).get(), 503),
    "a malformed file": (lambda site: malformed(site).get(), 503),
}
ADMINISTERING: dict[str, tuple[Ask, int]] = {
    "without a body": (lambda site: site.post(), 200),
    "with nothing to do": (lambda site: migrated(site).post(), 200),
    **{
        f"to {name}": (partial(lambda name, site: site.post({"action": name}), name), 200)
        for name in ACTIONS
    },
    **{
        f"to {name}, afterwards": (
            partial(lambda name, site: migrated(site).post({"action": name}), name),
            200,
        )
        for name in ACTIONS
    },
    "to migrate what is odd": (lambda site: odd(site).post(), 200),
    "to migrate a renumbered file": (lambda site: renumbered(site).post(), 200),
    "to plan a renumbered file": (lambda site: renumbered(site).post({"action": "plan"}), 200),
    "to plan what is odd": (lambda site: odd(site).post({"action": "plan"}), 200),
    "a word": (lambda site: site.post("migrate"), 400),
    "a list": (lambda site: site.post(["migrate"]), 400),
    "an unknown key": (lambda site: site.post({"actoin": "plan"}), 400),
    "an unknown action": (lambda site: site.post({"action": "drop"}), 400),
    "no token": (lambda site: site.post(Authorization=""), 401),
    "a wrong token": (lambda site: site.post(token="wrong"), 401),
    **{
        f"the method {name}": (partial(lambda name, site: site.post(method=name), name), 405)
        for name in ("GET", "HEAD", "OPTIONS")
    },
    "claimed by production": (lambda site: claimed(site).post(), 409),
    "to plan what is claimed": (lambda site: claimed(site).post({"action": "plan"}), 409),
    "to find drift": (lambda site: drifted(site).post({"action": "drift"}), 200),
    "to plan what breaks deployed code": (
        lambda site: breaking(site).post({"action": "plan"}),
        200,
    ),
    "what breaks deployed code": (lambda site: breaking(site).post(), 200),
    "a review that stops": (
        lambda site: breaking(site).having(MIGRATION_REVIEW="stop").post(),
        409,
    ),
    "to plan what a review stops": (
        lambda site: breaking(site).having(MIGRATION_REVIEW="stop").post({"action": "plan"}),
        409,
    ),
    "drift that stops": (lambda site: drifted(site).having(MIGRATION_DRIFT="stop").post(), 409),
    "another run under way": (under_way, 409),
    "a busy table": (busy, 409),
    "a late file in strict order": (lambda site: late(site).post(), 409),
    "a modified file": (lambda site: modified(site).post(), 409),
    "to plan beside a modified file": (lambda site: modified(site).post({"action": "plan"}), 409),
    "to validate a modified file": (lambda site: modified(site).post({"action": "validate"}), 409),
    "to validate without a file": (lambda site: missing(site).post({"action": "validate"}), 409),
    "a renamed file": (lambda site: renamed(site).post(), 409),
    "a long body": (lambda site: site.post("x" * (LONGEST_BODY + 1)), 413),
    **{
        f"to {name} with a {fault.__name__} file": (
            partial(lambda name, fault, site: fault(site).post({"action": name}), name, fault),
            422,
        )
        for fault in (malformed, misnamed)
        for name in ACTIONS
        # They look at the database alone.
        if name not in ("drift", "sizes")
    },
    "a refused file": (lambda site: refused(site).post(), 422),
    "to validate a refused file": (lambda site: refused(site).post({"action": "validate"}), 422),
    "to plan a refused file": (lambda site: refused(site).post({"action": "plan"}), 422),
    "a failing file": (lambda site: failing(site).post(), 500),
    "broken": (lambda site: site.broken().post(), 500),
    "no secret": (lambda site: site.having(MIGRATION_SECRET="too short").post(), 503),
    "not configured": (lambda site: site.having(DATABASE_URL="", VERCEL="1").post(), 503),
    **{
        f"to {name}, the database away": (
            partial(lambda name, site: site.without_database().post({"action": name}), name),
            503,
        )
        for name in ACTIONS
    },
    **{
        f"to {name} on another tool's ledger": (
            partial(lambda name, site: foreign(site).post({"action": name}), name),
            503,
        )
        for name in ACTIONS
        # It does not look at the ledger.
        if name != "sizes"
    },
    "out of time": (out_of_time, 504),
}


def test_the_document_is_valid_openapi() -> None:
    assert DESCRIPTION["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DESCRIPTION).validate()


@pytest.mark.parametrize("case", READING)
def test_every_answer_of_the_status_endpoint_is_described(case: str, site: Site) -> None:
    ask, code = READING[case]
    answer = ask(site)
    assert answer.status_code == code, answer.text
    check(answer)


@pytest.mark.parametrize("case", ADMINISTERING)
def test_every_answer_of_the_admin_endpoint_is_described(case: str, site: Site) -> None:
    ask, code = ADMINISTERING[case]
    answer = ask(site)
    assert answer.status_code == code, answer.text
    check(answer)


def test_every_described_answer_is_given() -> None:
    paths = DESCRIPTION["paths"]
    for operation in (paths[STATUS_PATH]["get"], paths[STATUS_PATH]["head"]):
        assert {int(code) for code in operation["responses"]} == {
            code for _, code in READING.values()
        }
    assert {int(code) for code in paths[MIGRATE_PATH]["post"]["responses"]} == {
        code for _, code in ADMINISTERING.values()
    }


def test_the_described_endpoints_are_the_ones_there_are() -> None:
    described = {
        path: {key for key in item if isinstance(item[key], dict)}
        for path, item in DESCRIPTION["paths"].items()
    }
    assert described == {STATUS_PATH: {"get", "head"}, MIGRATE_PATH: {"post"}}


def test_the_described_formats_are_the_ones_there_are() -> None:
    assert tuple(DESCRIPTION["components"]["parameters"]["Format"]["schema"]["enum"]) == FORMATS


def test_the_described_actions_are_the_ones_there_are() -> None:
    assert (
        tuple(DESCRIPTION["components"]["schemas"]["Request"]["properties"]["action"]["enum"])
        == ACTIONS
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_the_described_request_is_the_one_that_is_accepted(action: str) -> None:
    request = validator(DESCRIPTION["components"]["schemas"]["Request"])
    assert request.is_valid({"action": action})
    assert not request.is_valid({"action": action.upper()})
    assert not request.is_valid({"actoin": action})


@pytest.mark.parametrize(
    "strange", [{"extra": 1}, {"state": "fine"}, {"pendingMigrations": "0"}, {"lastRun": {}}]
)
def test_a_changed_answer_would_be_noticed(strange: dict[str, object], site: Site) -> None:
    schema = DESCRIPTION["paths"][STATUS_PATH]["get"]["responses"]["200"]["content"][
        "application/json"
    ]["schema"]
    document = migrated(site).get().get_json()
    assert validator(schema).is_valid(document)
    assert not validator(schema).is_valid({**document, **strange})
    assert not any(
        validator(schema).is_valid({key: document[key] for key in document if key != gone})
        for gone in document
    )


def check(answer: TestResponse) -> None:
    """Compare the headers and body of an answer with the description of its kind."""
    described = response(answer.request.path, answer.request.method, answer.status_code)
    is_page = answer.request.args.get("format") == "page"
    for name, header in described["headers"].items():
        if is_page or resolved(header)["required"]:
            hold(answer.headers.get(name), resolved(header)["schema"])
        else:
            assert name not in answer.headers
    assert answer.mimetype == ("text/html" if is_page else "application/json")
    if answer.request.method == "HEAD":
        assert answer.data == b""
    else:
        content = answer.text if is_page else answer.get_json()
        hold(content, described["content"][answer.mimetype]["schema"])


def hold(value: object, schema: dict[str, Any]) -> None:
    fault = best_match(validator(schema).iter_errors(value))
    assert fault is None, f"{fault.json_path}: {fault.message}"


def response(path: str, method: str, code: int) -> Any:
    """The description. A method without an operation is answered as the first one of the path."""
    operations = {
        name: item for name, item in DESCRIPTION["paths"][path].items() if isinstance(item, dict)
    }
    operation = operations.get(method.lower()) or next(iter(operations.values()))
    assert code == 405 or method.lower() in operations
    return operation["responses"][str(code)]


def resolved(item: dict[str, Any]) -> Any:
    if "$ref" not in item:
        return item
    _, components, kind, name = item["$ref"].split("/")
    return DESCRIPTION[components][kind][name]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """The schema by itself, with the components that its references lead to."""
    return Draft202012Validator({**schema, "components": DESCRIPTION["components"]})
