"""A file that was made of another tool's is not run where that tool may have run it."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database

from lib.actions.dry_run import preview, validate
from lib.actions.live_checks import read_status_and_drift
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.edits.baseline import baseline
from lib.errors import IntegrityError, LedgerError

MakeContext = Callable[..., RunContext]
FIRST = "Adopt this database first: migrations/001-a.sql"
TERN, RENAMED = "schema_version (version integer)", "schema_migrations_dbmate (version varchar)"


@pytest.fixture
def converted(bundle: Bundle) -> Bundle:
    bundle.write("001-a.sql", "-- From: tern 1\ncreate table a (x int)")
    bundle.write("002-b.sql", "-- From: tern 2\ncreate table b (x int)")
    return bundle


@pytest.mark.usefixtures("converted")
class TestBesideTheLedgerOfTheTool:
    def test_nothing_is_run(self, make_context: MakeContext, db: Database) -> None:
        db.query(f"create table {TERN}")
        error = migrate(make_context()).error
        assert isinstance(error, IntegrityError)
        assert str(error).startswith(f"{FIRST} and 1 more were made of the migrations of tern")
        assert "adopt tern` shows" in str(error)
        assert error.version == "001-a"
        assert not db.has("a")
        assert not db.has("public.schema_migrations")

    def test_all_who_look_say_so(self, make_context: MakeContext, db: Database) -> None:
        db.query(f"create table {TERN}")
        assert str(preview(make_context()).obstacle).startswith(FIRST)
        assert read_status(make_context()).warnings[0].startswith(FIRST)
        with pytest.raises(IntegrityError, match=FIRST):
            validate(make_context())

    def test_a_ledger_in_another_schema_counts(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query(f"create schema app; create table app.{TERN}")
        assert isinstance(migrate(make_context()).error, IntegrityError)

    def test_once_the_first_file_is_on_record_the_next_ones_run(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query(f"create table {TERN}; create table a (x int)")
        baseline(make_context(), "1")
        assert migrate(make_context()).error is None
        assert db.has("b")
        assert read_status(make_context()).warnings == ()

    def test_what_the_tool_has_run_since_is_not_run_again(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query(
            f"create table {TERN}; create table a (x int); insert into schema_version values (1)"
        )
        baseline(make_context(), "1")
        db.query("update schema_version set version = 2")
        error = migrate(make_context()).error
        assert str(error).startswith("Adopt this database first: migrations/002-b.sql was made of")
        assert not db.has("b")

    def test_files_of_others_run_as_far_as_the_limit(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"create table {TERN}")
        file = bundle.write("000-own.sql", "create table own (x int)")
        limit = preview(make_context()).status.plan.pending[0]
        assert limit.version == file.stem
        assert migrate(make_context(up_to=limit)).error is None
        assert db.has("own")


@pytest.mark.parametrize(
    ("tool", "columns"),
    [
        ("dbmate", "version varchar primary key"),
        ("golang-migrate", "version bigint primary key, dirty boolean"),
        ("rails", "version varchar primary key"),
    ],
)
class TestALedgerWithTheNameOfOurs:
    def test_everyone_asks_to_adopt_it(
        self, make_context: MakeContext, bundle: Bundle, db: Database, tool: str, columns: str
    ) -> None:
        bundle.write("001-a.sql", f"-- From: {tool} 1\ncreate table a (x int)")
        db.query(f"create table schema_migrations ({columns})")
        found = f"{FIRST} was made of the migrations of {tool}"
        assert str(migrate(make_context()).error).startswith(found)
        for look in (read_status, read_status_and_drift, preview, validate):
            with pytest.raises(IntegrityError, match=found):
                look(make_context())

    def test_files_of_no_tool_say_whose_it_is(
        self, make_context: MakeContext, bundle: Bundle, db: Database, tool: str, columns: str
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int)")
        db.query(f"create table schema_migrations ({columns})")
        error = migrate(make_context()).error
        assert isinstance(error, LedgerError)
        assert "is not this runner's table" in str(error), tool


@pytest.mark.usefixtures("converted")
class TestElsewhere:
    def test_a_database_without_a_ledger_is_built(
        self, make_context: MakeContext, db: Database
    ) -> None:
        assert migrate(make_context()).error is None
        assert db.has("b")

    def test_the_ledger_of_another_tool_does_not_matter(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query(f"create table {RENAMED}")
        assert migrate(make_context()).error is None


_PRISMA = "(id int, checksum text, migration_name text, finished_at date, rolled_back_at date)"
_GOOSE = "goose_db_version (version_id bigint, is_applied bool)"
_SQLX = "_sqlx_migrations (version bigint, description text, checksum bytea, success bool)"
_FLYWAY = "(installed_rank int, version text, script text, success bool)"
_GOLANG = "schema_migrations_golang_migrate (version bigint, dirty bool)"


@pytest.mark.parametrize(
    ("table", "rows", "origin", "is_run"),
    [
        (RENAMED, "('20240102')", "dbmate 20240102_b.sql", False),
        (RENAMED, "('2024010')", "dbmate 20240102_b.sql", True),
        (f"_prisma_migrations {_PRISMA}", "(1, '', '2_b', now(), null)", "prisma 2_b", False),
        (f"_prisma_migrations {_PRISMA}", "(1, '', '2_b', now(), now())", "prisma 2_b", True),
        (_GOOSE, "(2, true)", "goose 00002_b.sql", False),
        (_GOOSE, "(3, true)", "goose 00002_b.sql", True),
        (_SQLX, "(2, '', '', true)", "sqlx 2_b.sql", False),
        (
            "pgmigrations (id int, name text, run_on date)",
            "(1, '2_b', now())",
            "node-pg-migrate 2_b.sql",
            False,
        ),
        (
            "gorp_migrations (id text, applied_at date)",
            "('2-b.sql', now())",
            "sql-migrate 2-b.sql",
            False,
        ),
        (
            f"flyway_schema_history {_FLYWAY}",
            "(1, '2', 'V2__b.sql', true)",
            "flyway V2__b",
            False,
        ),
        (_GOLANG, "(7, false)", "golang-migrate 2_b", False),
        (_GOLANG, "(1, false)", "golang-migrate 2_b", True),
    ],
)
def test_each_tool_is_asked_by_the_names_that_it_keeps(
    make_context: MakeContext,
    bundle: Bundle,
    db: Database,
    table: str,
    rows: str,
    origin: str,
    is_run: bool,
) -> None:
    db.query(f"create table {table}; insert into {table.partition(' ')[0]} values {rows}")
    bundle.write("001-a.sql", f"-- From: {origin.partition(' ')[0]} 0\nselect 1")
    baseline(make_context(), "1")
    bundle.write("002-b.sql", f"-- From: {origin}\ncreate table b (x int)")
    error = migrate(make_context()).error
    assert (db.has("b"), error is None) == (is_run, is_run), error


def test_a_ledger_that_may_run_code_is_not_read(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(
        "create function evil(int) returns int language plpgsql as $$ begin"
        " create table if not exists called (); return $1; end $$;"
        f"create table {TERN}; create rule r as on insert to schema_version do also nothing;"
        "alter table schema_version rename to kept;"
        "create view schema_version as select evil(version) as version from kept"
    )
    bundle.write("001-a.sql", "-- From: tern 1\ncreate table a (x int)")
    assert migrate(make_context()).error is None
    assert not db.has("called")


def test_a_renamed_ledger_counts(make_context: MakeContext, bundle: Bundle, db: Database) -> None:
    db.query(f"create table {RENAMED}")
    bundle.write("001-a.sql", "-- From: dbmate 1\ncreate table a (x int)")
    assert isinstance(migrate(make_context()).error, IntegrityError)


def test_the_command_exits_with_3(cli: Cli, bundle: Bundle, db: Database) -> None:
    db.query(f"create table {TERN}")
    bundle.write("001-a.sql", "-- From: tern 1\ncreate table a (x int)")
    done = cli("migrate")
    assert (done.returncode, db.has("a")) == (3, False)
    assert FIRST in done.stderr
