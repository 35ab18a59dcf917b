"""A bundle of an earlier version beside this one, on the same database: real processes, both ways.

The earlier one comes from the repository's own history.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, Bundle, Cli, Database, wait_until

from lib.ledger.schema import ADDED_COLUMNS

COMMIT = "b2e4c94"
NONE = "-- Transaction: none\n"


def note(what: str) -> str:
    return f"insert into effects (what) values ('{what}');\n"


def effects(db: Database) -> list[str]:
    return [row[0] for row in db.query("select what from effects order by seq")]


@pytest.fixture(scope="module")
def earlier_lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = subprocess.run(
        ["git", "archive", COMMIT, "lib"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history of this clone does not reach {COMMIT}")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture
def newer(cli: Cli, db: Database) -> Cli:
    """This version's command line, on a database with a table to work on."""
    db.query(
        "create table effects (seq serial, what text);"
        "create table t (x int); insert into t values (1), (2)"
    )
    return cli


@pytest.fixture
def earlier(newer: Cli, earlier_lib: Path, bundle: Bundle) -> Cli:
    """The earlier version's, on the same database and the same files."""
    variables = {**newer.environ, "MIGRATIONS_DIR": str(bundle.migrations)}
    return replace(newer, root=earlier_lib, environ=variables)


@contextmanager
def killed(cli: Cli, db: Database, under_way: str) -> Iterator[None]:
    """Kill a run of `cli` while the server carries out a statement with these words."""
    process = cli.start("migrate")
    try:
        db.wait_for(under_way)
        yield
    finally:
        process.kill()
        process.communicate()
    db.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'migrations%' and datname = current_database()"
    )
    wait_until(lambda: db.advisory_locks() == 0, "the server has let go of the killed run")


def kill_in_doubt(cli: Cli, db: Database, bundle: Bundle) -> None:
    slow = "select pg_sleep(60);\n"
    bundle.write("001-b.sql", NONE + note("first") + slow + note("third"))
    with killed(cli, db, "pg_sleep(60)"):
        # The note about the statement, which quotes it, is not the statement yet.
        sleeping = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
        mine = f"{sleeping} and datname = current_database()"
        wait_until(lambda: bool(db.query(mine)), "the statement is under way")


def kill_index_build(cli: Cli, db: Database, bundle: Bundle) -> None:
    bundle.write("001-b.sql", "create index concurrently t_x on t (x)")
    with db.connect() as holder:
        holder.execute("begin; insert into t values (3)")
        with killed(cli, db, "create index concurrently t_x"):
            # The build has made its index, and waits for the transaction.
            wait_until(lambda: db.has("t_x"), "the index is there")
        holder.execute("commit")
    assert db.query("select indisvalid from pg_index where indexrelid = 't_x'::regclass") == [
        (False,)
    ]


def fail_at_second(cli: Cli, bundle: Bundle) -> None:
    bundle.write("001-b.sql", f"{NONE}{note('first')}select 1/0;")
    assert cli("migrate").returncode == 1
    bundle.write("001-b.sql", NONE + note("first") + note("mended"))


class TestTheEarlierVersionOnAJournalOfThisOne:
    def test_it_applies_files_and_sees_what_is_applied(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert newer("migrate").returncode == 0
        assert "Nothing to apply" in earlier("migrate").stdout
        bundle.write("001-b.sql", NONE + note("first") + note("second"))
        assert earlier("migrate").returncode == 0
        assert earlier("status", "--check").returncode == 0
        bundle.write("002-c.sql", "create table c (x int)")
        assert newer("migrate").returncode == 0
        assert newer("status", "--check").returncode == 0
        assert [run["applied"] for run in db.runs()] == [["000-a"], ["001-b"], ["002-c"]]
        assert effects(db) == ["first", "second"]

    def test_it_takes_no_notice_of_seeds_nor_of_one_that_failed_or_was_killed(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        (bundle.migrations / "_seeds").mkdir()
        bundle.write("_seeds/1.sql", note("first"))
        assert newer("migrate").returncode == 0
        assert newer("seed").returncode == 0
        bundle.write("_seeds/2.sql", "select 1/0;")
        assert newer("seed").returncode == 1
        bundle.write("_seeds/2.sql", note("second") + "select pg_sleep(60);")
        process = newer.start("seed")
        db.wait_for("pg_sleep(60)")
        process.kill()
        process.communicate()
        wait_until(lambda: db.advisory_locks() == 0, "the server has let go of the killed run")
        bundle.write("001-b.sql", note("by the earlier one"))
        assert earlier("migrate").returncode == 0
        assert earlier("status", "--check").returncode == 0
        assert effects(db) == ["first", "by the earlier one"]
        bundle.write("_seeds/2.sql", note("second"))
        assert newer("seed").returncode == 0
        assert effects(db) == ["first", "by the earlier one", "second"]

    def test_it_goes_on_after_a_row_got_a_new_number(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        text = note("once")
        bundle.write("014-b.sql", text)
        assert earlier("migrate").returncode == 0
        (bundle.migrations / "014-b.sql").unlink()
        bundle.write("015-b.sql", f"-- Was: 014-b\n{text}")
        moved = newer("migrate")
        assert moved.returncode == 0
        assert "015-b  was 014-b, not run again" in moved.stdout
        assert db.runs()[-1]["renumbered"] == [["014-b", "015-b"]]
        assert "Nothing to apply" in earlier("migrate").stdout
        bundle.write("016-c.sql", note("by the earlier one"))
        assert earlier("migrate").returncode == 0
        assert effects(db) == ["once", "by the earlier one"]
        history = newer("history")
        assert "  014-b is now 015-b\n" in history.stdout
        assert newer("status", "--check").returncode == 0

    def test_what_it_has_applied_is_no_drift_for_this_one(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert newer("migrate").returncode == 0
        bundle.write("001-b.sql", "create table b (x int)")
        assert earlier("migrate").returncode == 0
        found = newer("drift")
        assert found.returncode == 1
        assert "is of an earlier version" in found.stdout
        bundle.write("002-c.sql", "create table c (x int)")
        stopping = newer("migrate", MIGRATION_DRIFT="stop")
        assert stopping.returncode == 0
        assert "It is not known whether the database has changed" in stopping.stderr
        assert newer("drift").returncode == 0

    @pytest.mark.parametrize("leave", [kill_in_doubt, fail_at_second])
    def test_it_stops_at_a_file_that_has_begun(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database, leave: object
    ) -> None:
        if leave is kill_in_doubt:
            kill_in_doubt(newer, db, bundle)
        else:
            fail_at_second(newer, bundle)
        stopped = earlier("migrate")
        assert stopped.returncode == 1
        assert "and kept no digest of them. Nothing was run." in stopped.stderr
        assert effects(db) == ["first"]

    def test_it_stops_at_an_index_in_doubt(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        kill_index_build(newer, db, bundle)
        stopped = earlier("migrate")
        assert stopped.returncode == 1
        assert "it isn't known whether statement 1 of 1 has taken effect" in stopped.stderr
        assert db.versions() == []
        # This version goes on with it, whatever the earlier one noted.
        assert newer("migrate").returncode == 0
        assert db.versions() == ["001-b"]


class TestThisVersionOnAJournalOfTheEarlierOne:
    def test_it_upgrades_the_journal_when_it_applies_a_file(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert earlier("migrate").returncode == 0
        assert newer("migrate").returncode == 0
        assert newer("status", "--check").returncode == 0
        assert "ledger_id_before" not in db.runs()[0]
        bundle.write("001-b.sql", "create table b (x int)")
        assert newer("migrate").returncode == 0
        assert set(ADDED_COLUMNS) <= set(db.runs()[0])
        assert [run["applied"] for run in db.runs()] == [["000-a"], ["001-b"]]
        assert earlier("status", "--check").returncode == 0

    def test_a_file_that_failed_resumes(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        fail_at_second(earlier, bundle)
        assert newer("migrate").returncode == 0
        assert effects(db) == ["first", "mended"]

    def test_a_statement_in_doubt_is_named(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        kill_in_doubt(earlier, db, bundle)
        stopped = newer("migrate")
        assert stopped.returncode == 1
        assert "whether statement 2 of 3 has taken effect" in stopped.stderr
        assert effects(db) == ["first"]

    def test_an_index_that_was_left_invalid_is_built_again(
        self, newer: Cli, earlier: Cli, bundle: Bundle, db: Database
    ) -> None:
        kill_index_build(earlier, db, bundle)
        assert newer("migrate").returncode == 0
        valid = "select indisvalid from pg_index where indexrelid = 't_x'::regclass"
        assert db.query(valid) == [(True,)]
