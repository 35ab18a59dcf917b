"""The schemas that a URL names: where files create and find objects; never silently ignored."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from conftest import Bundle, Cli, Database
from pgbouncer import pgbouncer

from lib import ROOT
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import ConfigurationError
from lib.settings.connection_target import ConnectionTarget
from lib.settings.connection_url import read_target
from lib.settings.database_choice import DatabaseChoice
from lib.settings.search_path import first_schema, read_search_path, search_path_option

MakeContext = Callable[..., RunContext]


@pytest.mark.parametrize(
    ("query", "search_path"),
    [
        ("schema=app", "app"),
        ("schema=My%20App", '"My App"'),
        ("schema=App", '"App"'),
        ('schema=a"b', '"a""b"'),
        ("schema=a.b", '"a.b"'),
        ("schema=é", '"é"'),
        ("schema=app,public", "app, public"),
        ("search_path=app,public", "app, public"),
        ('search_path="My%20App",$user,PUBLIC', '"My App", $user, PUBLIC'),
        ('search_path=""', '""'),
        ("currentSchema=app,%20other", "app, other"),
        ("currentschema=app", "app"),
        ("schema=app&search_path=app", "app"),
        *((f"{name}=public", "") for name in ("schema", "search_path", "currentSchema")),
        *((f"{name}=", "") for name in ("schema", "search_path", "currentSchema")),
        ("search_path=PUBLIC", ""),
        ("schema=PUBLIC", '"PUBLIC"'),
        ('currentSchema="public"', ""),
    ],
)
def test_a_parameter_is_read_as_its_client_reads_it(query: str, search_path: str) -> None:
    target = read_target("DATABASE_URL", f"postgres://h/d?{query}&sslmode=disable")
    assert (target.search_path, target.dropped) == (search_path, ())


@pytest.mark.parametrize(
    "query", ["search_path=My%20App", "currentSchema=a,,b", "search_path=%22a", "schema=a%0Ab"]
)
def test_a_malformed_list_of_names_is_refused(query: str) -> None:
    with pytest.raises(
        ValueError, match=r"in DATABASE_URL (is not a list of names|holds a control character)"
    ):
        read_target("DATABASE_URL", f"postgres://h/d?{query}")


def test_two_different_search_paths_are_refused() -> None:
    with pytest.raises(ValueError, match="DATABASE_URL names its schemas in several ways"):
        read_target("DATABASE_URL", "postgres://h/d?schema=a&currentSchema=b")


def test_the_status_target_has_no_search_path() -> None:
    chooser = DatabaseChoice({"DATABASE_URL": "postgres://h/d?schema=app"}, ROOT)
    migrating, reading = chooser.migration_target(), chooser.status_target()
    assert migrating
    assert reading
    assert (migrating.search_path, reading.search_path) == ("app", "")
    assert reading == migrating


def test_a_derived_direct_address_keeps_the_search_path() -> None:
    host = "ep-cool-pine-123456-pooler.eu-central-1.aws.neon.tech"
    target = DatabaseChoice(
        {"DATABASE_URL": f"postgres://u:p@{host}/d?schema=app&options=project%3Dx"}, ROOT
    ).migration_target()
    assert target
    assert "-pooler" not in target.host
    assert target.parameters["options"] == "project=x"
    assert target.for_files.parameters["options"] == "project=x -c search_path=app"


def test_the_options_of_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB")
    target = read_target("DATABASE_URL", "postgres://h/d?schema=app")
    assert target.for_files.parameters["options"] == "-c work_mem=5MB -c search_path=app"
    assert "options" not in target.parameters


NAMES = ("app", "My App", 'a"b', "back\\slash", "it's", "a, b", "$user x", "Schéma\u00a0é")


@pytest.mark.parametrize("name", NAMES)
def test_the_server_resolves_the_search_path_as_intended(db: Database, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    path = read_search_path("schema", quoted if "," in name else name)
    with db.connect(options=search_path_option(path)) as connection:
        assert connection.execute("show search_path").fetchone() == (path,)
        connection.execute(f"create schema {quoted}")
        connection.execute("create table t (x int)")
        made = connection.execute(
            "select relnamespace::regnamespace::text from pg_class where relname = 't'"
        )
        assert made.fetchone() in [(name,), (quoted,)]


def schemas_of(db: Database) -> dict[str, str]:
    """The schema of each table that is not of the system."""
    ours = "nspname not like 'pg\\_%' and nspname <> 'information_schema' and relkind = 'r'"
    found = db.query(
        "select relname, nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        f"where {ours}"
    )
    return {str(table): str(schema) for table, schema in found}


@pytest.mark.parametrize(
    ("query", "schema"),
    [("schema=app", "app"), ("search_path=app,public", "app"), ("currentSchema=My%20App", None)],
)
def test_the_files_create_their_tables_in_the_schema_and_the_ledger_stays_in_public(
    cli: Cli, bundle: Bundle, db: Database, query: str, schema: str | None
) -> None:
    db.query("create schema app")
    bundle.write("000-a.sql", "create table a (x int);\nset search_path = pg_catalog;")
    bundle.write("001-b.sql", "create table b (x int)")
    bundle.write(
        "002-c.sql",
        "-- Transaction: none\ncreate table c (x int);\ncreate index concurrently c_x on c (x);",
    )
    bundle.write("003-d.sql", "alter table a add column y int")
    done = cli(
        "migrate", DATABASE_URL=f"{db.url}?{query}&application_name=x&options=-c%20work_mem%3D5MB"
    )
    if schema is None:
        assert done.returncode == 2
        assert "is not a list of names" in done.stderr
        return
    assert (done.returncode, db.versions()) == (0, ["000-a", "001-b", "002-c", "003-d"]), (
        done.stderr
    )
    own = ("schema_migrations", "schema_migration_runs", "schema_migration_objects")
    ledger = dict.fromkeys(own, "public")
    assert schemas_of(db) == {**dict.fromkeys("abc", schema), **ledger}
    assert "; direct; search_path app" in done.stderr
    assert "left out" not in done.stderr
    assert cli("status", "--check", DATABASE_URL=f"{db.url}?{query}").returncode == 0


def test_a_missing_schema_is_reported_and_a_file_may_create_it(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", 'create schema "My App";\ncreate table a (x int);')
    bundle.write("001-b.sql", "create table b (x int)")
    for query, where in (
        ("schema=My%20App", "fails"),
        ("schema=My%20App,public", "lands in public"),
    ):
        environ = {"DATABASE_URL": f"{db.url}?{query}"}
        warning = (
            "Warning: The schema My App, which DATABASE_URL names, is not there or not open to "
            "this role: until a file"
        )
        done = cli("migrate", **environ)
        assert done.returncode == 0
        assert warning in done.stderr
        assert f"without naming a schema {where}." in done.stderr
        assert {schemas_of(db)[table] for table in "ab"} == {"My App"}
        assert warning not in cli("migrate", **environ).stderr
        db.query(
            'drop schema "My App" cascade; drop table schema_migrations, schema_migration_runs'
        )


@pytest.mark.parametrize(
    ("search_path", "name"),
    [
        ("app, public", "app"),
        ("App", "app"),
        ('"My App"', "My App"),
        ('"a""b"', 'a"b'),
        ("$user, a", None),
        ('""', None),
    ],
)
def test_objects_are_created_in_the_first_schema(search_path: str, name: str | None) -> None:
    assert first_schema(search_path) == name


def test_schema_public_is_harmless_through_a_pooler_too(
    cli: Cli, bundle: Bundle, db: Database, pooler: int
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    for query in ("schema=public", "search_path=public", "currentSchema=public"):
        done = cli("migrate", DATABASE_URL=f"{db.through(pooler).url}?{query}")
        assert done.returncode == 0
        assert "search_path" not in done.stderr
        assert "left out" not in done.stderr
    assert schemas_of(db)["a"] == "public"


def test_a_pooler_that_refuses_the_search_path_still_serves_the_status(
    cli: Cli, bundle: Bundle, db: Database, pooler: int
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    pooled = {"DATABASE_URL": f"{db.through(pooler).url}?schema=app"}
    done = cli("migrate", **pooled)
    assert done.returncode == 2
    assert "The schema that DATABASE_URL names is not in force through this pooler" in done.stderr
    assert "set MIGRATION_DATABASE_URL to a direct connection" in done.stderr
    assert not db.has("public.a")
    for command in ("status", "validate", "plan"):
        assert cli(command, **pooled).returncode == 0


@pytest.mark.parametrize("is_let_through", [False, True])
def test_nothing_is_applied_through_a_pooler_that_ignores_the_search_path(
    make_context: MakeContext,
    bundle: Bundle,
    db: Database,
    server: ConnectionTarget,
    *,
    is_let_through: bool,
) -> None:
    """A pooler that drops the option would create tables elsewhere."""
    db.query("create schema app")
    if is_let_through:
        db.query(f"alter database {db.target.database} set search_path = app")
    bundle.write("000-a.sql", "create table a (x int)")
    with pgbouncer(server, "ignore_startup_parameters=options") as port:
        target = replace(db.through(port).target, search_path="app")
        report = migrate(make_context(target=target))
    assert isinstance(report.error, ConfigurationError)
    assert "is not in force through this pooler" in str(report.error)
    assert not db.has("public.a")
    assert not db.has("app.a")


def test_a_search_path_in_the_options_counts_as_well(
    make_context: MakeContext, bundle: Bundle, db: Database, server: ConnectionTarget
) -> None:
    db.query("create schema app")
    bundle.write("000-a.sql", "create table a (x int)")
    with pgbouncer(server, "ignore_startup_parameters=options") as port:
        url = f"{db.through(port).url}?options=-c%20search_path%3Dapp"
        report = migrate(make_context(target=read_target("DATABASE_URL", url)))
    assert isinstance(report.error, ConfigurationError)
    assert not db.has("public.a")
    direct = read_target(
        "DATABASE_URL", f"{db.url}?options=-c%20search_path%3Dapp%20-c%20work_mem%3D5MB"
    )
    assert migrate(make_context(target=direct)).error is None
    assert schemas_of(db)["a"] == "app"


def test_a_session_pooler_that_passes_the_search_path_counts_as_direct(
    make_context: MakeContext, bundle: Bundle, db: Database, server: ConnectionTarget
) -> None:
    db.query(f"create schema app; alter database {db.target.database} set search_path = app")
    bundle.write("000-a.sql", "create table a (x int)")
    with pgbouncer(server, "pool_mode=session", "ignore_startup_parameters=options") as port:
        target = replace(db.through(port).target, search_path="app")
        report = migrate(make_context(target=target))
    assert report.error is None
    assert schemas_of(db)["a"] == "app"
