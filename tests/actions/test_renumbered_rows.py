"""A file that got another number after it was applied: its row follows, and it does not run again.

That is for databases other than production's, and where the checksum proves it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_history, read_status
from lib.console.terminal import Style
from lib.edits.baseline import forget
from lib.errors import ConfigurationError, IntegrityError, LedgerError, MigratorError, OrderError
from lib.files.folder import discover, parse
from lib.files.renumbered import renumbered_content
from lib.plan.reports import Renumbered
from lib.text.history_text import history_text

MakeContext = Callable[..., RunContext]
TABLE = "-- Version: 014\n\ncreate table x (i int);\ninsert into x values (1);\n"


def renumber(bundle: Bundle, former: str, version: str) -> Path:
    """Give a file another number, as the command does."""
    old = bundle.migrations / f"{former}.sql"
    content = renumbered_content(parse(old.name, old.read_bytes()), version)
    old.unlink()
    return bundle.write(f"{version}.sql", content)


@pytest.fixture
def applied(make_context: MakeContext, bundle: Bundle, db: Database) -> None:
    """A database in which 014-x is applied, which then becomes 015-x."""
    bundle.write("000-a.sql", "create table a (i int)")
    bundle.write("014-x.sql", TABLE)
    assert migrate(make_context()).error is None
    renumber(bundle, "014-x", "015-x")


@pytest.mark.usefixtures("applied")
class TestTheRowFollows:
    def test_under_the_lock_and_the_file_does_not_run_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        before = db.query("select id, applied_at from public.schema_migrations order by id")
        witness = Witness()
        report = migrate(make_context(progress=witness))
        assert (report.error, report.applied, report.pending) == (None, (), 0)
        assert report.renumbered == (Renumbered("014-x", "015-x"),)
        assert report.to_dict()["renumbered"] == [{"from": "014-x", "version": "015-x"}]
        assert witness.of("renumbered") == [(Renumbered("014-x", "015-x"),)]
        assert db.versions() == ["000-a", "015-x"]
        assert db.query("select count(*) from x") == [(1,)]
        assert db.query("select id, applied_at from public.schema_migrations order by id") == before
        [[name, checksum]] = db.query(
            "select name, checksum from public.schema_migrations where version = '015-x'"
        )
        assert (name, checksum) == ("X", discover(bundle.migrations)[1].checksum)
        assert db.advisory_locks() == 0

    def test_once_and_then_nothing_is_left_to_do(
        self, make_context: MakeContext, db: Database
    ) -> None:
        migrate(make_context())
        runs = db.runs()
        report = migrate(make_context())
        assert (report.error, report.renumbered, report.warnings) == (None, (), ())
        assert db.runs() == runs
        assert read_status(make_context()).plan.state == "up-to-date"

    def test_and_the_run_is_on_record_with_both_names(
        self, make_context: MakeContext, db: Database
    ) -> None:
        migrate(make_context())
        *_, run = db.runs()
        assert (run["outcome"], run["applied"]) == ("succeeded", [])
        assert (run["renumbered"], run["error"]) == ([["014-x", "015-x"]], None)
        history = read_history(make_context(), 1)
        assert history.runs[0].renumbered == (Renumbered("014-x", "015-x"),)
        [document] = history.to_dict()["runs"]
        assert document["renumbered"] == [{"from": "014-x", "version": "015-x"}]
        text = history_text(history, Style())
        assert "  applied no migration: rows got new numbers\n  014-x is now 015-x" in text

    def test_in_a_journal_without_a_column_for_that_which_gets_it(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("alter table schema_migration_runs drop column renumbered")
        bundle.write("016-z.sql", "create table z (i int)")
        assert read_history(make_context(), 1).runs[0].renumbered == ()
        report = migrate(make_context())
        assert (report.error, report.warnings) == (None, ())
        _, moved, applied = db.runs()
        assert moved["renumbered"] == [["014-x", "015-x"]]
        assert (applied["renumbered"], applied["applied"]) == (None, ["016-z"])

    def test_without_a_journal_which_is_created(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query("drop table schema_migration_runs")
        assert migrate(make_context()).error is None
        assert [run["renumbered"] for run in db.runs()] == [[["014-x", "015-x"]]]

    def test_without_a_record_where_the_journal_stays_busy(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query("alter table schema_migration_runs drop column renumbered")
        with db.connect() as reader, reader.transaction():
            reader.execute("select * from schema_migration_runs")
            report = migrate(make_context())
        assert report.error is None
        assert db.versions() == ["000-a", "015-x"]
        [warning] = report.warnings
        assert warning.endswith(
            "alter table public.schema_migration_runs add column if not exists renumbered text[];"
        )

    def test_before_the_files_that_are_pending(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        # Another branch's, merged meanwhile.
        bundle.write("014-y.sql", "create table y (i int)")
        bundle.write("016-z.sql", "alter table x add column z int")
        report = migrate(make_context())
        assert report.error is None
        assert [each.version for each in report.applied] == ["014-y", "016-z"]
        assert db.versions() == ["000-a", "015-x", "014-y", "016-z"]

    def test_also_where_the_limit_is_below_it(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        files = discover(bundle.migrations)
        assert migrate(make_context(up_to=files[0])).error is None
        assert db.versions() == ["000-a", "015-x"]

    def test_after_it_was_renumbered_twice(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        renumber(bundle, "015-x", "0120-x")
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a", "0120-x"]

    def test_a_second_time(self, make_context: MakeContext, bundle: Bundle, db: Database) -> None:
        migrate(make_context())
        renumber(bundle, "015-x", "016-x")
        assert migrate(make_context()).renumbered == (Renumbered("015-x", "016-x"),)
        assert db.versions() == ["000-a", "016-x"]

    def test_although_git_has_converted_the_line_ends(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        path = bundle.migrations / "015-x.sql"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a", "015-x"]

    def test_although_another_branch_has_a_file_of_the_former_name(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("014-x.sql", "create table other (i int)")
        assert read_status(make_context()).plan.state == "pending"
        report = migrate(make_context())
        assert report.error is None
        assert report.renumbered == (Renumbered("014-x", "015-x"),)
        assert [each.version for each in report.applied] == ["014-x"]
        assert db.versions() == ["000-a", "015-x", "014-x"]

    def test_and_no_file_is_late_because_of_the_former_number(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("014-y.sql", "create table y (i int)")
        report = migrate(make_context(strict_order=True))
        # As soon as the row has its new number, the other file is below it.
        assert isinstance(report.error, OrderError)
        assert report.renumbered == ()


def test_a_file_with_the_former_name_of_the_next_one_follows_too(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("001-x.sql", "create table one (i int)")
    bundle.write("002-x.sql", "create table two (i int)")
    migrate(make_context())
    renumber(bundle, "002-x", "003-x")
    renumber(bundle, "001-x", "002-x")
    report = migrate(make_context())
    assert report.error is None
    assert db.versions() == ["002-x", "003-x"]
    assert validate(make_context()).plan.state == "up-to-date"


@pytest.mark.usefixtures("applied")
class TestWhatIsShownBefore:
    def test_the_status_counts_it_as_pending(self, make_context: MakeContext) -> None:
        status = read_status(make_context())
        document = status.to_dict()
        assert (document["state"], document["pendingMigrations"]) == ("pending", 1)
        assert [(each["version"], each["state"]) for each in document["migrations"]] == [
            ("000-a", "applied"),
            ("015-x", "pending"),
        ]
        [warning] = status.warnings
        assert warning.startswith("Migration 014-x is applied, and its file is now 015-x")

    def test_the_plan_names_both_and_runs_nothing(self, make_context: MakeContext) -> None:
        planned = preview(make_context())
        document = planned.to_dict()
        assert (document["plan"], document["success"]) == ([], True)
        assert document["renumbered"] == [{"from": "014-x", "version": "015-x"}]

    def test_validate_accepts_it(self, make_context: MakeContext, db: Database) -> None:
        assert len(validate(make_context()).warnings) == 1
        assert db.versions() == ["000-a", "014-x"]

    def test_a_row_whose_file_is_there_is_not_forgotten(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"its file is in the bundle, \S+015-x\.sql"):
            forget(make_context(), ["014-x"])
        assert db.versions() == ["000-a", "014-x"]


@pytest.mark.usefixtures("applied")
class TestWhereNothingFollows:
    def refused(self, context: RunContext, db: Database) -> str:
        report = migrate(context)
        assert isinstance(report.error, IntegrityError)
        assert report.error.exit_code == 3
        assert db.versions() == ["000-a", "014-x"]
        assert db.query("select count(*) from x") == [(1,)]
        with pytest.raises(IntegrityError):
            validate(context)
        return str(report.error)

    def test_in_production(self, make_context: MakeContext, db: Database) -> None:
        error = self.refused(make_context(environment="production"), db)
        assert "Migration 014-x was applied under that name, and its file is now 015-x" in error
        assert "back to 014-x.sql, with its number in its header and without the line" in error

    def test_where_the_text_has_changed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        path = bundle.migrations / "015-x.sql"
        path.write_bytes(path.read_bytes() + b"select 2;\n")
        error = self.refused(make_context(), db)
        assert "its text is not the one that was applied" in error

    def test_where_the_row_has_no_checksum(self, make_context: MakeContext, db: Database) -> None:
        db.query("update public.schema_migrations set checksum = null where version = '014-x'")
        self.refused(make_context(), db)

    def test_where_the_file_of_that_row_is_there(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("014-x.sql", TABLE)
        bundle.write("015-x.sql", "-- Was: 014-x\ncreate table y (i int)")
        report = migrate(make_context())
        assert (report.error, report.renumbered) == (None, ())
        assert db.versions() == ["000-a", "014-x", "015-x"]

    def test_for_a_role_that_may_not_change_rows(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with db.another_role() as lowly:
            role = lowly.target.role
            db.query(
                f"grant select, insert on public.schema_migrations to {role};"
                f"grant usage on sequence public.schema_migrations_id_seq to {role};"
                f"grant select, insert, update on public.schema_migration_runs to {role}"
            )
            owner = db.target.role
            report = migrate(make_context(target=lowly.target, ledger_owner=owner))
            assert isinstance(report.error, LedgerError)
            assert "grant update on public.schema_migrations to ROLE" in str(report.error)
            assert db.versions() == ["000-a", "014-x"]
            db.query(f"grant update on public.schema_migrations to {role}")
            db.query("alter table schema_migration_runs drop column renumbered")
            report = migrate(make_context(target=lowly.target, ledger_owner=owner))
            assert report.error is None
            # It is the owner of the table who may add the column.
            [warning] = report.warnings
            db.query(warning.partition("for the next time: ")[2])
        assert db.versions() == ["000-a", "015-x"]


def test_an_older_commit_does_not_run_the_file_under_its_former_number(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("014-x.sql", TABLE)
    migrate(make_context())
    renumber(bundle, "014-x", "015-x")
    migrate(make_context())
    (bundle.migrations / "015-x.sql").unlink()
    bundle.write("014-x.sql", TABLE)
    report = migrate(make_context())
    assert isinstance(report.error, IntegrityError)
    assert "015-x was applied under that name, and its file is now 014-x" in str(report.error)
    assert db.query("select count(*) from x") == [(1,)]


def test_a_file_left_half_way_under_its_former_name_is_not_begun_again(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("001-x.sql", "-- Transaction: none\ncreate table x (i int);\nselect 1 / 0;\n")
    assert migrate(make_context()).error is not None
    renumber(bundle, "001-x", "002-x")
    report = migrate(make_context())
    assert isinstance(report.error, MigratorError)
    assert "when its name was 001-x" in str(report.error)
