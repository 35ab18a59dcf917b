"""The journal's columns: those of a new database, and those that an earlier version's lacks."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Bundle, Database, Witness, wait_until

from lib.actions.dry_run import preview
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.deployment import Deployment
from lib.edits.baseline import baseline, forget
from lib.errors import LedgerError, LockError, MigrationFailedError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.ledger.schema import ADDED_COLUMNS

MakeContext = Callable[..., RunContext]
NONE = "-- Transaction: none\n"
COLUMNS = (
    "select array_agg(attname::text order by attnum) from pg_attribute"
    " where attrelid = 'schema_migration_runs'::regclass and attnum > 0 and not attisdropped"
)


def make_earlier(db: Database) -> None:
    """Give the journal the columns that version 0.2.0 created."""
    dropped = ", ".join(f"drop column {name}" for name in ADDED_COLUMNS)
    db.query(f"alter table schema_migration_runs {dropped}")


def columns(db: Database) -> list[str]:
    return list(db.query(COLUMNS)[0][0])


@pytest.fixture
def earlier(make_context: MakeContext, bundle: Bundle, db: Database) -> Database:
    """A database whose journal an earlier version has written: one run, one file."""
    bundle.write("000-a.sql", "create table a (x int)")
    assert migrate(make_context()).error is None
    make_earlier(db)
    return db


class TestTheUpgrade:
    def test_a_run_that_applies_a_file_adds_the_columns(
        self, make_context: MakeContext, bundle: Bundle, earlier: Database
    ) -> None:
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context()).error is None
        assert columns(earlier)[-len(ADDED_COLUMNS) :] == list(ADDED_COLUMNS)
        first, second = earlier.runs()
        assert (first["applied"], second["applied"]) == (["000-a"], ["001-b"])
        assert (first["ledger_id_before"], second["ledger_id_before"]) == (None, 1)

    @pytest.mark.parametrize(
        "write",
        [
            lambda context: baseline(context, "1"),
            lambda context: forget(context, ["999-gone"]),
        ],
        ids=["baseline", "forget"],
    )
    def test_every_command_that_writes_adds_them(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        earlier: Database,
        write: Callable[[RunContext], Any],
    ) -> None:
        bundle.write("001-b.sql", "create table b (x int)")
        earlier.query("insert into schema_migrations (version, name) values ('999-gone', 'gone')")
        write(make_context())
        assert set(ADDED_COLUMNS) <= set(columns(earlier))

    def test_a_run_with_nothing_to_apply_and_every_look_leave_the_table_alone(
        self, make_context: MakeContext, earlier: Database
    ) -> None:
        before = earlier.query("select xmin, * from schema_migration_runs")
        assert migrate(make_context()).error is None
        assert read_status(make_context()).last_run is not None
        assert preview(make_context()).to_dict()["warnings"] == []
        assert earlier.query("select xmin, * from schema_migration_runs") == before

    def test_a_dead_run_is_marked_there_too(
        self, make_context: MakeContext, earlier: Database
    ) -> None:
        earlier.query("update schema_migration_runs set outcome = 'running', finished_at = null")
        assert migrate(make_context()).error is None
        [run] = earlier.runs()
        assert (run["outcome"], run["applied"]) == ("interrupted", ["000-a"])

    def test_a_role_that_may_not_alter_the_table_is_given_the_statement(
        self, make_context: MakeContext, bundle: Bundle, earlier: Database
    ) -> None:
        bundle.write("001-b.sql", "create table b (x int)")
        with earlier.another_role() as deployer:
            role = deployer.target.role
            earlier.query(
                f"grant select, insert on schema_migrations to {role};"
                f"grant usage on sequence schema_migrations_id_seq to {role};"
                f"grant select, insert, update on schema_migration_runs to {role}"
            )
            context = make_context(
                target=deployer.target,
                migration_target=deployer.target,
                ledger_owner=earlier.target.role,
            )
            error = migrate(context).error
            assert isinstance(error, LedgerError)
            assert "nothing was applied. As the table's owner: alter table public." in str(error)
            assert not earlier.has("b")
            earlier.query(str(error).partition("As the table's owner: ")[2])
            assert migrate(context).error is None
            assert earlier.has("b")

    def test_a_journal_that_stays_locked_is_told_as_busy(
        self, make_context: MakeContext, bundle: Bundle, earlier: Database
    ) -> None:
        bundle.write("001-b.sql", "create table b (x int)")
        with earlier.connect() as reader, reader.transaction():
            reader.execute("select * from schema_migration_runs")
            error = migrate(make_context()).error
        assert isinstance(error, LockError)
        assert error.exit_code == 4
        assert "kept it locked for 0.2 s" in str(error)
        assert not earlier.has("b")


def test_a_new_database_has_all_columns_at_once(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    assert migrate(make_context()).error is None
    assert columns(db)[-len(ADDED_COLUMNS) :] == list(ADDED_COLUMNS)


class TestProgressOfAnEarlierVersion:
    """Its digests stand in the row's `error`, and a doubt is an empty `failed_version`."""

    def left_at_the_second(
        self, make_context: MakeContext, bundle: Bundle, db: Database, *, in_doubt: bool
    ) -> None:
        bundle.write("001-b.sql", f"{NONE}create table b (x int);\nselect 1/0;")
        assert isinstance(migrate(make_context()).error, MigrationFailedError)
        bundle.write("001-b.sql", f"{NONE}create table b (x int);\ncreate table c (x int);")
        script = prepare(parse("001-b.sql", (bundle.migrations / "001-b.sql").read_bytes()))
        marks = f"Statements before it: {script.digests[1]}; with it: {script.digests[2]}"
        make_earlier(db)
        doubt = ", failed_version = null, sqlstate = null" if in_doubt else ""
        db.query(f"update schema_migration_runs set error = E'It failed.\\n{marks}'{doubt}")

    def test_a_file_that_failed_resumes_at_its_statement(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        self.left_at_the_second(make_context, bundle, db, in_doubt=False)
        witness = Witness()
        assert migrate(make_context(progress=witness)).error is None
        assert "had carried out 1 of its 2 statements" in witness.of("recovering")[0][0]
        assert db.has("c")

    def test_a_doubt_stays_a_doubt(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        self.left_at_the_second(make_context, bundle, db, in_doubt=True)
        assert "whether statement 2 of 2 has taken effect" in str(migrate(make_context()).error)
        assert not db.has("c")


class TestTheFilesOfARun:
    def test_they_are_known_while_it_is_under_way_and_after_it_was_killed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        first, second = Deployment("a" * 40, "main", "1"), Deployment("b" * 40, "main", "2")
        bundle.write("000-a.sql", "select 1")
        assert migrate(make_context(deployment=first)).error is None
        bundle.write("001-b.sql", "select 1")
        bundle.write("002-c.sql", "select 1")
        assert migrate(make_context(deployment=second)).error is None
        db.query(
            "update schema_migration_runs"
            " set outcome = 'running', finished_at = null, applied = '{}' where id = 2"
        )
        origins = {"000-a": first, "001-b": second, "002-c": second}
        assert read_status(make_context()).origins == origins
        bundle.write("003-d.sql", "select 1")
        assert migrate(make_context(deployment=first)).error is None
        assert [run["applied"] for run in db.runs()] == [["000-a"], ["001-b", "002-c"], ["003-d"]]
        assert read_status(make_context()).origins == {**origins, "003-d": first}

    def test_what_an_earlier_version_applied_after_a_kill_is_not_the_killed_runs(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        bundle.write("001-b.sql", "select 1")
        assert migrate(make_context(deployment=Deployment("a" * 40))).error is None
        # The first run is killed after its first file; one of an earlier version applies the rest.
        db.query(
            "update schema_migration_runs set outcome = 'interrupted', applied = '{}';"
            "insert into schema_migration_runs"
            " (source, environment, database_fingerprint, outcome, applied, git_commit)"
            " select source, environment, database_fingerprint, 'succeeded', '{001-b}',"
            f" '{'b' * 40}' from schema_migration_runs"
        )
        found = read_status(make_context()).origins
        assert {version: origin.commit for version, origin in found.items()} == {
            "000-a": "a" * 40,
            "001-b": "b" * 40,
        }

    def test_the_journal_is_not_rewritten_for_each_file(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        for number in range(300):
            bundle.write(f"{number:03}-a.sql", "select 1")
        assert migrate(make_context()).error is None
        updates = "select n_tup_upd from pg_stat_all_tables where relname = 'schema_migration_runs'"
        wait_until(lambda: db.query(updates)[0][0], "the server has counted the run's updates")
        assert db.query(updates)[0][0] <= 2
        assert len(db.runs()[0]["applied"]) == 300
