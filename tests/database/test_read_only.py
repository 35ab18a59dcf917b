"""A database that takes no writes: the reason, reported before anything is applied, and advice."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Bundle, Cli, Database, connect, new_cluster

from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.database import read_only
from lib.edits.baseline import baseline
from lib.errors import LedgerError
from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster
from lib.plan.reports import RunReport

MakeContext = Callable[..., RunContext]
ON = "default_transaction_read_only = on"


@pytest.mark.parametrize(
    ("cause", "parts"),
    [
        (
            "standby",
            [
                "is a standby (a read replica)",
                "Its address is from DATABASE_URL",
                "set MIGRATION_DATABASE_URL",
            ],
        ),
        ("database", ["set for this database", 'alter database "my ""shop""" reset', "Supabase"]),
        ("user", ["set for this role.", "alter role session_user reset"]),
        ("database user", ['alter role session_user in database "my ""shop""" reset']),
        ("global", ["alter role all reset"]),
        ("configuration file", ["in the server's configuration", "alter system reset", "Supabase"]),
        ("client", ["by the connection itself", "remove it from the URL's `options`"]),
        ("command line", ["set by its command line."]),
    ],
)
def test_each_cause_has_its_way_out(cause: str, parts: list[str]) -> None:
    text = read_only.advice(cause, database='my "shop"', source="DATABASE_URL")
    assert [part for part in parts if part not in text] == []
    assert "nothing was applied" in text


def refusal(report: RunReport) -> str:
    """The error of a run that found out before it did anything."""
    assert isinstance(report.error, LedgerError)
    assert (report.applied, report.exit_code) == ((), 1)
    return str(report.error)


@pytest.fixture
def half_applied(make_context: MakeContext, bundle: Bundle, db: Database) -> Iterator[Bundle]:
    """A file that is applied, and one that isn't."""
    bundle.write("000-a.sql", "create table a (x int)")
    assert migrate(make_context()).error is None
    bundle.write("001-b.sql", "create table b (x int)")
    yield bundle
    db.query(f"begin read write; alter database {db.target.database} reset all; commit")


class TestADatabaseMadeReadOnly:
    @pytest.mark.parametrize(
        ("alter", "told"),
        [
            (
                "alter database {database} set",
                r'set for this database\. To reset it: .*alter database "test_\w+" reset',
            ),
            (
                "alter role {role} set",
                r"set for this role\. To reset it: .*alter role session_user reset",
            ),
            (
                "alter role {role} in database {database} set",
                r"in this database\. .*alter role session_user in database",
            ),
        ],
    )
    def test_a_run_says_what_set_it_and_its_advice_works(
        self, make_context: MakeContext, bundle: Bundle, db: Database, alter: str, told: str
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        with db.another_role() as theirs:
            role, database = theirs.target.parameters["user"], db.target.database
            db.query(f"alter database {database} owner to {role}")
            db.query(f"{alter.format(role=role, database=database)} {ON}")
            context = make_context(target=theirs.target)
            text = refusal(migrate(context))
            assert re.search(told, text)
            assert not db.has("a")
            theirs.query(text.partition("To reset it: ")[2].partition(" commit;")[0] + "commit")
            assert migrate(context).error is None
            db.query(f"alter database {database} owner to {db.target.parameters['user']}")

    def test_a_connection_that_asks_for_it_has_advice_of_its_own(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        context = make_context(target=db.but(options=f"-c {ON.replace(' ', '')}").target)
        assert "set by the connection itself. To reset it: remove it" in refusal(migrate(context))

    def test_a_run_with_nothing_to_apply_and_all_that_reads_go_on(
        self, make_context: MakeContext, half_applied: Bundle, db: Database
    ) -> None:
        db.query(f"alter database {db.target.database} set {ON}")
        assert read_status(make_context()).plan.state == "pending"
        assert validate(make_context()).plan.applied_count == 1
        planned = preview(make_context())
        assert "The database is read-only" in str(planned.obstacle)
        half_applied.write("001-b.sql", "-- soon")
        assert preview(make_context()).obstacle is None
        assert migrate(make_context()).error is None
        (half_applied.migrations / "001-b.sql").unlink()
        assert migrate(make_context()).error is None

    def test_baseline_and_the_claim_are_refused_in_the_same_way(
        self, make_context: MakeContext, half_applied: Bundle, db: Database
    ) -> None:
        db.query(f"alter database {db.target.database} set {ON}")
        assert baseline(make_context(), "0").recorded == ()
        with pytest.raises(LedgerError, match="The database is read-only"):
            baseline(make_context(), "1")
        (half_applied.migrations / "001-b.sql").unlink()
        assert "The database is read-only" in refusal(
            migrate(make_context(environment="production"))
        )

    def test_the_command_line_reports_it_and_exits_with_1(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        db.query(f"alter database {db.target.database} set {ON}")
        done = cli("migrate")
        db.query(f"begin read write; alter database {db.target.database} reset all; commit")
        assert done.returncode == 1
        assert (
            "✗ The database is read-only, so nothing was applied: "
            "default_transaction_read_only is on" in done.stderr
        )


class TestATransactionMadeReadOnly:
    """By a file, after the look."""

    @pytest.mark.parametrize(
        "sql",
        [
            "do $$begin set local transaction_read_only = on; end$$;\ncreate table b (x int);",
            "-- Transaction: none\nbegin read only;\ncreate table b ();\ncommit;",
        ],
    )
    def test_a_files_own_statement_is_named_as_a_reason(
        self, make_context: MakeContext, half_applied: Bundle, sql: str
    ) -> None:
        half_applied.write("001-b.sql", sql)
        error = str(migrate(make_context()).error)
        assert "cannot execute CREATE TABLE in a read-only transaction (SQLSTATE 25006)" in error
        assert f"\n  {read_only.MEANWHILE}" in error

    def test_so_is_an_earlier_file(
        self, make_context: MakeContext, half_applied: Bundle, db: Database
    ) -> None:
        half_applied.write("001-b.sql", f"alter database {db.target.database} set {ON}")
        half_applied.write("002-c.sql", "create table c (x int)")
        report = migrate(make_context())
        assert [migration.version for migration in report.applied] == ["001-b"]
        assert read_only.MEANWHILE in str(report.error)
        assert "set for this database" in refusal(migrate(make_context()))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with new_cluster(tmp_path) as cluster:
        yield cluster


def test_a_standby_is_reported_as_one_and_its_status_can_be_read(
    make_context: MakeContext, bundle: Bundle, own_cluster: Cluster
) -> None:
    target = embedded.start(own_cluster)
    bundle.write("000-a.sql", "create table a (x int)")
    assert migrate(make_context(target=target)).error is None
    embedded.stop(own_cluster)
    # A server that follows nobody yet takes no writes either.
    (own_cluster.data / "standby.signal").touch()
    target = embedded.start(own_cluster)
    assert read_status(make_context(target=target)).plan.state == "up-to-date"
    assert migrate(make_context(target=target)).error is None
    bundle.write("001-b.sql", "create table b (x int)")
    error = refusal(migrate(make_context(target=target)))
    assert error.startswith(
        "The server is a standby (a read replica), which takes no writes, so nothing was applied. "
        "Its address"
    )
    with connect(target) as session:
        session.execute("select pg_promote()")
    assert migrate(make_context(target=target)).error is None
