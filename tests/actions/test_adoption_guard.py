"""A file that was made of another tool's is not run where that tool may have run it."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database

from lib.actions.baseline import baseline
from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.errors import IntegrityError

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

    def test_files_of_others_run_as_far_as_the_limit(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"create table {TERN}")
        file = bundle.write("000-own.sql", "create table own (x int)")
        limit = preview(make_context()).status.plan.pending[0]
        assert limit.version == file.stem
        assert migrate(make_context(up_to=limit)).error is None
        assert db.has("own")


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
