"""A verdict on a file that was left half-way: recorded once, and only if there is a doubt."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest
from conftest import Bundle, Cli, Database, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.edits.resolve import Verdict, resolve
from lib.errors import ConfigurationError, GuardError, LockError, RunInProgressError
from lib.ledger.run_lock import KEY

MakeContext = Callable[..., RunContext]
NONE = "-- Transaction: none\n"
NOTE = "insert into effects (what) values ('{}');\n"


def note(what: str) -> str:
    return NOTE.format(what)


def suppressed(connection: psycopg.Connection, statement: str) -> None:
    """Carry out a statement that is going to be canceled."""
    with suppress(psycopg.Error):
        connection.execute(statement)


def effects(db: Database) -> list[str]:
    return [row[0] for row in db.query("select what from effects order by seq")]


@pytest.fixture
def in_doubt(make_context: MakeContext, bundle: Bundle, db: Database) -> None:
    """The second of three statements is in doubt, as after a kill."""
    db.query("create table effects (seq serial, what text)")
    # It fails, and its doubt is set back: the file of the journal's digest is the one that stays.
    bundle.write("001-b.sql", NONE + note("first") + "select fails();\n" + note("third"))
    assert migrate(make_context()).error is not None
    db.query(
        "create function fails() returns void language sql as"
        " $$ insert into effects (what) values ('second') $$;"
        "update schema_migration_runs set outcome = 'interrupted', failed_version = null,"
        " sqlstate = null, in_progress_in_doubt = true"
    )
    assert "is not known whether statement 2 of 3" in str(migrate(make_context()).error)


@pytest.mark.usefixtures("in_doubt")
class TestADoubt:
    @pytest.mark.parametrize(
        ("verdict", "statement", "expected"),
        [
            (Verdict.TOOK_EFFECT, 3, ["first", "third"]),
            (Verdict.DID_NOT, 2, ["first", "second", "third"]),
            (Verdict.FROM_START, 1, ["first", "first", "second", "third"]),
        ],
    )
    def test_the_next_run_resumes_by_the_verdict(
        self,
        make_context: MakeContext,
        db: Database,
        verdict: Verdict,
        statement: int,
        expected: list[str],
    ) -> None:
        report = resolve(make_context(), "001-b", verdict)
        assert (report.run, report.statement) == (1, statement)
        assert effects(db) == ["first"]
        assert migrate(make_context()).error is None
        assert effects(db) == expected

    @pytest.mark.parametrize("verdict", [Verdict.TOOK_EFFECT, Verdict.DID_NOT])
    def test_a_second_verdict_is_refused(self, make_context: MakeContext, verdict: Verdict) -> None:
        resolve(make_context(), "001-b", verdict)
        with pytest.raises(ConfigurationError, match="Nothing of 001-b is in doubt"):
            resolve(make_context(), "001-b", verdict)

    @pytest.mark.parametrize("wanted", ["1", "001", "001-b.sql", "migrations/001-b.sql"])
    def test_the_file_may_be_named_by_its_number_or_its_path(
        self, make_context: MakeContext, wanted: str
    ) -> None:
        assert resolve(make_context(), wanted, Verdict.DID_NOT).version == "001-b"

    def test_another_version_is_told_what_there_is(self, make_context: MakeContext) -> None:
        what = (
            r"No run left '002-c' half-way. Left half-way: 001-b at its statement 2 .* \(in doubt\)"
        )
        with pytest.raises(ConfigurationError, match=what):
            resolve(make_context(), "002-c", Verdict.DID_NOT)

    @pytest.mark.parametrize("number", ["9" * 5000, "²", "1x"])
    def test_what_is_no_number_of_a_version_names_none(
        self, make_context: MakeContext, number: str
    ) -> None:
        with pytest.raises(ConfigurationError, match="No run left"):
            resolve(make_context(), number, Verdict.DID_NOT)

    def test_an_earlier_version_has_the_verdict_too(
        self, make_context: MakeContext, db: Database
    ) -> None:
        resolve(make_context(), "001-b", Verdict.TOOK_EFFECT)
        run = db.runs()[0]
        assert (run["failed_version"], run["in_progress_statement"]) == ("001-b", 3)

    def test_a_run_under_way_keeps_the_journal_to_itself(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with db.connect() as other, other.transaction():
            other.execute(f"select pg_advisory_xact_lock({KEY})")
            with pytest.raises(RunInProgressError):
                resolve(make_context(run_wait=0.0), "001-b", Verdict.DID_NOT)

    @pytest.mark.parametrize("verdict", [Verdict.TOOK_EFFECT, Verdict.FROM_START])
    def test_a_statement_that_the_server_still_carries_out_has_no_verdict_yet(
        self, make_context: MakeContext, db: Database, verdict: Verdict
    ) -> None:
        db.query(
            "create or replace function fails() returns void language sql as 'select pg_sleep(9)'"
        )
        with db.connect() as other:
            other.execute("set application_name = 'migrations cli local'")
            pid = other.info.backend_pid
            work = threading.Thread(target=lambda: suppressed(other, "select fails();"))
            work.start()
            look = f"select state from pg_stat_activity where pid = {pid}"
            wait_until(lambda: db.query(look) == [("active",)], "the statement")
            with pytest.raises(LockError, match=f"still carries out statement 2 .*pid {pid}"):
                resolve(make_context(), "001-b", verdict)
            db.query(f"select pg_cancel_backend({pid})")
            work.join()
        assert resolve(make_context(), "001-b", verdict).version == "001-b"

    def test_the_database_of_production_is_guarded(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query("update schema_migration_runs set environment = 'production'")
        with pytest.raises(GuardError):
            resolve(make_context(environment="preview"), "001-b", Verdict.DID_NOT)


@pytest.mark.usefixtures("in_doubt")
class TestARenamedFile:
    def rename(self, bundle: Bundle, name: str) -> None:
        (bundle.migrations / "001-b.sql").rename(bundle.migrations / name)

    def test_the_progress_follows(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        self.rename(bundle, "002-c.sql")
        report = resolve(make_context(), "002-c", Verdict.RENAMED, renamed_from="001-b")
        assert (report.version, report.renamed_from) == ("002-c", "001-b")
        resolve(make_context(), "002-c", Verdict.DID_NOT)
        assert migrate(make_context()).error is None
        assert effects(db) == ["first", "second", "third"]

    def test_a_file_that_is_still_there_was_not_renamed(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("002-c.sql", NONE + note("first"))
        with pytest.raises(ConfigurationError, match="001-b is still a file of this bundle"):
            resolve(make_context(), "002-c", Verdict.RENAMED, renamed_from="001-b")

    def test_another_file_is_refused(self, make_context: MakeContext, bundle: Bundle) -> None:
        self.rename(bundle, "002-c.sql")
        bundle.write("003-d.sql", NONE + note("another"))
        with pytest.raises(ConfigurationError, match="does not begin with the statements of 001-b"):
            resolve(make_context(), "003-d", Verdict.RENAMED, renamed_from="001-b")
        with pytest.raises(ConfigurationError, match="no migration '004-e' in this bundle"):
            resolve(make_context(), "004-e", Verdict.RENAMED, renamed_from="001-b")


def test_a_database_without_tables_has_nothing_to_resolve(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    with pytest.raises(ConfigurationError, match="No file is left half-way in this database"):
        resolve(make_context(), "000-a", Verdict.FROM_START)
    assert not db.has("schema_migration_runs")


@pytest.mark.usefixtures("in_doubt")
def test_the_command_prints_text_or_json_and_exits_with_2_the_second_time(
    cli: Cli, bundle: Bundle
) -> None:
    done = cli("resolve", "001-b", "--did-not", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["action"], document["verdict"]) == ("resolve", "did-not")
    assert (document["version"], document["nextStatement"]) == ("001-b", 2)
    again = cli("resolve", "001-b", "--did-not")
    assert (again.returncode, "Nothing of 001-b is in doubt" in again.stderr) == (2, True)
    cleared = cli("resolve", "001-b", "--from-start")
    assert "The next run carries the file on from its start" in cleared.stdout
    assert cli("resolve", "001-b").returncode == 2


@pytest.mark.usefixtures("in_doubt")
def test_an_empty_name_of_the_old_file_is_refused(cli: Cli) -> None:
    done = cli("resolve", "001", "--renamed-from", "")
    assert done.returncode == 2, done.stderr
    assert "An error of the runner itself" not in done.stderr
