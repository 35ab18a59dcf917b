"""One look at a database: who applied what, whether a pooler is in between, what may be refused."""

import json
from collections.abc import Callable
from datetime import UTC

import pytest
from conftest import Bundle, Database

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_history, read_status
from lib.console.terminal import Style
from lib.database.login import connect
from lib.deployment import Deployment
from lib.edits.baseline import baseline
from lib.errors import GuardError, LedgerError
from lib.escaping import document
from lib.ledger import ledger_state, records, runs
from lib.ledger.ledger_state import take_survey
from lib.ledger.schema import ADDED_COLUMNS
from lib.settings.connection_target import ConnectionTarget
from lib.text.status_text import status_text

MakeContext = Callable[..., RunContext]
FIRST, SECOND = Deployment("a" * 40, "main", "dpl_1"), Deployment("b" * 40, "feature/x", "dpl_2")


class TestWhoAppliedWhat:
    def test_each_file_has_the_deployment_whose_run_applied_it(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context(deployment=FIRST))
        bundle.write("001-b.sql", "create table b (x int)")
        bundle.write("002-c.sql", "create index concurrently b_x on b (x)")
        bundle.write("003-d.sql", "select 1/0")
        assert migrate(make_context(deployment=SECOND)).error is not None
        found = read_status(make_context(deployment=Deployment("c" * 40)))
        assert found.origins == {"000-a": FIRST, "001-b": SECOND, "002-c": SECOND}
        assert found.deployment == Deployment("c" * 40)

    def test_the_newest_run_counts(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table if not exists a (x int)")
        migrate(make_context(deployment=FIRST))
        db.query("delete from schema_migrations")
        migrate(make_context(deployment=SECOND))
        assert read_status(make_context()).origins == {"000-a": SECOND}

    def test_a_baseline_is_a_run_too(self, make_context: MakeContext, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        baseline(make_context(deployment=FIRST), "0")
        assert read_status(make_context()).origins == {"000-a": FIRST}

    def test_what_another_runner_applied_has_none(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context())
        db.query("drop table schema_migration_runs")
        found = read_status(make_context())
        assert (found.origins, found.to_dict()["migrations"][0]["appliedBy"]) == ({}, None)

    def test_a_run_does_not_ask_for_it(self, make_context: MakeContext, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context(deployment=FIRST))
        context = make_context()
        with context.connect() as connection:
            assert take_survey(connection, context.target).origins == {}


class TestThePastRuns:
    @pytest.fixture
    def three(self, make_context: MakeContext, bundle: Bundle) -> None:
        """Two runs that applied a file each, and one that failed."""
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context(deployment=FIRST, source="build"))
        bundle.write("001-b.sql", "create table b (x int)")
        migrate(make_context(deployment=SECOND, environment="preview"))
        bundle.write("002-c.sql", "-- Transaction: none\nselect 1; select 1/0")
        assert migrate(make_context()).error is not None

    @pytest.mark.usefixtures("three")
    def test_they_have_what_is_on_record(self, make_context: MakeContext) -> None:
        third, second, first = read_history(make_context(), 10).runs
        assert (first.id, first.outcome, first.source) == (1, "succeeded", "build")
        assert (first.applied, second.applied, third.applied) == (("000-a",), ("001-b",), ())
        assert (second.commit, second.ref, second.deployment) == ("b" * 40, "feature/x", "dpl_2")
        assert (first.environment, second.environment) == ("development", "preview")
        assert (third.failed_version, third.in_progress_version) == ("002-c", "002-c")
        assert (third.sqlstate, third.error and third.error[:22]) == (
            "22012",
            "migrations/002-c.sql:2",
        )
        assert first.duration is not None
        assert 0 <= first.duration < 60

    @pytest.mark.usefixtures("three")
    def test_they_are_the_newest_so_many(self, make_context: MakeContext) -> None:
        assert [run.id for run in read_history(make_context(), 2).runs] == [3, 2]

    @pytest.mark.usefixtures("three")
    def test_what_a_run_did_not_record_is_in_the_ledger(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query(
            "update schema_migration_runs set outcome = 'interrupted', applied = '{}'"
            " where id in (1, 2)"
        )
        runs = read_history(make_context(), 10).runs
        assert [run.applied for run in runs] == [(), ("001-b",), ("000-a",)]

    @pytest.mark.usefixtures("three")
    def test_a_journal_of_an_earlier_version_has_them_too(
        self, make_context: MakeContext, db: Database
    ) -> None:
        for name in ADDED_COLUMNS:
            db.query(f"alter table schema_migration_runs drop column {name}")
        runs = read_history(make_context(), 10).runs
        assert [run.applied for run in runs] == [(), ("001-b",), ("000-a",)]

    def test_a_foreign_or_a_distrusted_table_is_refused(
        self, make_context: MakeContext, db: Database
    ) -> None:
        db.query("create table schema_migrations (version text)")
        with pytest.raises(LedgerError, match="looks like that of Rails or dbmate"):
            read_history(make_context(), 10)
        db.query("drop table schema_migrations; create view schema_migrations as select 1 as x")
        with pytest.raises(LedgerError, match="is a view"):
            read_history(make_context(), 10)


class TestAnyRowOfTheLedger:
    """Another runner's, an older one's, or a hand's."""

    @pytest.mark.parametrize(
        ("kind", "value", "shown"),
        [
            ("integer", "-3", -3),
            ("double precision", "12.5", 12),
            ("double precision", "1e15", 10**15),
            ("double precision", "1e300", None),
            ("double precision", "'NaN'", None),
            ("double precision", "'-Infinity'", None),
            ("numeric", "2.75", 3),
            ("numeric", "'NaN'", None),
            ("numeric", "1" + "0" * 400, None),
            ("numeric(12, 2)", "7", 7),
            ("numeric", "1" + "0" * 5000, None),
            ("text", "'a moment'", None),
            ("interval", "'1s'", None),
        ],
    )
    def test_its_duration_is_shown_as_far_as_it_is_a_number(
        self,
        make_context: MakeContext,
        db: Database,
        bundle: Bundle,
        kind: str,
        value: str,
        shown: int | None,
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        migrate(make_context())
        db.query(
            f"alter table schema_migrations alter execution_time_ms type {kind} using null;"
            f" update schema_migrations set execution_time_ms = {value}"
        )
        found = read_status(make_context())
        assert json.loads(document(found.to_dict()))["migrations"][0]["executionTimeMs"] == shown
        assert "000-a" in status_text(found, Style(), place="here")

    @pytest.mark.parametrize("kind", ["double precision", "numeric(12, 2)", "numeric", "bigint"])
    def test_a_file_is_recorded_beside_it(
        self, make_context: MakeContext, db: Database, bundle: Bundle, kind: str
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        migrate(make_context())
        db.query(f"alter table schema_migrations alter execution_time_ms type {kind}")
        bundle.write("001-b.sql", "select 1")
        bundle.write("002-c.sql", "-- Transaction: none\nselect 1; select 2")
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a", "001-b", "002-c"]

    @pytest.mark.parametrize(
        "moment", ["'infinity'", "'-infinity'", "'4000-01-01 BC'", "'294000-01-01'", "null"]
    )
    def test_a_time_that_is_none_is_unknown(
        self, make_context: MakeContext, db: Database, bundle: Bundle, moment: str
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        migrate(make_context())
        db.query(f"update schema_migrations set applied_at = {moment}")
        found = read_status(make_context())
        assert found.to_dict()["lastMigration"]["appliedAt"] is None
        assert "at an unknown time" in status_text(found, Style(), place="here")

    def test_a_row_without_a_version_or_a_name_is_one_too(
        self, make_context: MakeContext, db: Database, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        migrate(make_context())
        db.query(
            "alter table schema_migrations alter version drop not null, alter name drop not null;"
            " insert into schema_migrations default values; update schema_migrations set name ="
            " null"
        )
        found = read_status(make_context())
        assert [entry["version"] for entry in found.to_dict()["migrations"]] == ["", "000-a"]
        assert status_text(found, Style(), place="here")
        bundle.write("001-b.sql", "select 1")
        assert migrate(make_context()).error is None


def test_a_pooler_in_between_is_seen(
    make_context: MakeContext, db: Database, pooled: ConnectionTarget
) -> None:
    assert read_status(make_context()).is_direct
    assert not read_status(make_context(target=pooled)).is_direct


@pytest.mark.parametrize("sqlstate", ["42501", "0A000", "55000"])
def test_a_server_that_does_not_tell_its_identity_is_guarded_by_the_rest(
    make_context: MakeContext, bundle: Bundle, db: Database, sqlstate: str
) -> None:
    """Aurora answers functions about its WAL with 55000.

    https://github.com/DataDog/integrations-core/issues/20356
    """
    db.query(
        "alter function pg_catalog.pg_control_system() rename to untold;"
        " create function pg_catalog.pg_control_system(out pg_control_version int, out"
        " catalog_version_no int,"
        " out system_identifier bigint, out pg_control_last_modified timestamptz) returns record"
        " language plpgsql as"
        f" $$ begin raise exception 'not here' using errcode = '{sqlstate}'; end $$"
    )
    bundle.write("000-a.sql", "create table a (x int)")
    assert migrate(make_context(environment="production")).error is None
    assert [run["database_fingerprint"].partition(":")[0] for run in db.runs()] == ["unknown"]
    assert migrate(make_context(environment="production")).error is None
    assert len(db.runs()) == 1
    assert isinstance(migrate(make_context(environment="preview")).error, GuardError)
    found = read_status(make_context(environment="preview"))
    assert (found.plan.state, found.owner) == ("up-to-date", "production")


@pytest.mark.parametrize(
    "room", [records, runs, ledger_state], ids=["records", "runs", "ledger_state"]
)
def test_every_statement_names_its_tables_with_their_schema(room: object) -> None:
    for name, text in vars(room).items():
        if name.startswith("_") and name.isupper() and isinstance(text, str):
            bare = text
            for named in ("public.schema_migration", "idx_schema_migration", "'schema_migration"):
                bare = bare.replace(named, "")
            assert "schema_migration" not in bare, name


def test_times_are_right_whatever_the_database_makes_of_floats(
    make_context: Callable[..., RunContext], bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    assert migrate(make_context()).error is None
    [(expected,)] = db.query("select applied_at from schema_migrations")
    db.query(f"alter database {db.target.database} set extra_float_digits = -10")
    with connect(db.target, application_name="test", timeout=5) as connection:
        [row] = take_survey(connection, db.target).ledger or ()
    assert row.applied_at == expected.replace(tzinfo=UTC)
