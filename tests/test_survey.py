"""What one look at a database tells: who applied what, whether a pooler is in between, and what a server may keep back."""

from collections.abc import Callable
from datetime import UTC

import pytest
from conftest import Bundle, Database

from lib import ledger, runner, survey
from lib.baseline import baseline
from lib.connection_url import ConnectionTarget
from lib.errors import GuardError
from lib.job import Job
from lib.login import connect
from lib.report import Deployment
from lib.status import read_status
from lib.survey import take_survey

MakeJob = Callable[..., Job]
FIRST, SECOND = Deployment("a" * 40, "main", "dpl_1"), Deployment("b" * 40, "feature/x", "dpl_2")


class TestWhoAppliedWhat:
    def test_each_file_has_the_deployment_whose_run_applied_it(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job(deployment=FIRST))
        bundle.write("001-b.sql", "create table b (x int)")
        bundle.write("002-c.sql", "create index concurrently b_x on b (x)")
        bundle.write("003-d.sql", "select 1/0")
        assert runner.migrate(make_job(deployment=SECOND)).error is not None
        found = read_status(make_job(deployment=Deployment("c" * 40)))
        assert found.origins == {"000-a": FIRST, "001-b": SECOND, "002-c": SECOND}
        assert found.deployment == Deployment("c" * 40)

    def test_the_newest_run_counts(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table if not exists a (x int)")
        runner.migrate(make_job(deployment=FIRST))
        db.query("delete from schema_migrations")
        runner.migrate(make_job(deployment=SECOND))
        assert read_status(make_job()).origins == {"000-a": SECOND}

    def test_a_baseline_is_a_run_too(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        baseline(make_job(deployment=FIRST), "0")
        assert read_status(make_job()).origins == {"000-a": FIRST}

    def test_what_another_runner_applied_has_none(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job())
        db.query("drop table schema_migration_runs")
        found = read_status(make_job())
        assert (found.origins, found.to_dict()["migrations"][0]["appliedBy"]) == ({}, None)

    def test_a_run_does_not_ask_for_it(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        runner.migrate(make_job(deployment=FIRST))
        job = make_job()
        with job.connect() as connection:
            assert take_survey(connection, job.target).origins == {}


def test_a_pooler_in_between_is_seen(make_job: MakeJob, db: Database, pooled: ConnectionTarget) -> None:
    assert read_status(make_job()).is_direct
    assert not read_status(make_job(target=pooled)).is_direct


@pytest.mark.parametrize("sqlstate", ["42501", "0A000", "55000"])
def test_a_server_that_does_not_tell_its_identity_is_guarded_by_the_rest(
    make_job: MakeJob, bundle: Bundle, db: Database, sqlstate: str
) -> None:
    """As Aurora answers functions about its WAL with 55000: https://github.com/DataDog/integrations-core/issues/20356."""
    db.query(
        "alter function pg_catalog.pg_control_system() rename to untold;"
        " create function pg_catalog.pg_control_system(out pg_control_version int, out catalog_version_no int,"
        " out system_identifier bigint, out pg_control_last_modified timestamptz) returns record language plpgsql as"
        f" $$ begin raise exception 'not here' using errcode = '{sqlstate}'; end $$"
    )
    bundle.write("000-a.sql", "create table a (x int)")
    assert runner.migrate(make_job(environment="production")).error is None
    assert [run["database_fingerprint"].partition(":")[0] for run in db.runs()] == ["unknown"]
    assert runner.migrate(make_job(environment="production")).error is None
    assert len(db.runs()) == 1
    assert isinstance(runner.migrate(make_job(environment="preview")).error, GuardError)
    found = read_status(make_job(environment="preview"))
    assert (found.plan.state, found.owner) == ("up-to-date", "production")


@pytest.mark.parametrize("room", [ledger, survey], ids=["ledger", "survey"])
def test_every_statement_names_its_tables_with_their_schema(room: object) -> None:
    for name, text in vars(room).items():
        if name.startswith("_") and name.isupper() and isinstance(text, str):
            bare = text
            for named in ("public.schema_migration", "idx_schema_migration", "'schema_migration"):
                bare = bare.replace(named, "")
            assert "schema_migration" not in bare, name


def test_times_are_right_whatever_the_database_makes_of_floats(
    make_job: Callable[..., Job], bundle: Bundle, db: Database
) -> None:
    bundle.write("000-a.sql", "select 1")
    assert runner.migrate(make_job()).error is None
    [(expected,)] = db.query("select applied_at from schema_migrations")
    db.query(f"alter database {db.target.database} set extra_float_digits = -10")
    with connect(db.target, application_name="test", patience=5) as connection:
        [row] = take_survey(connection, db.target).ledger or ()
    assert row.applied_at == expected.replace(tzinfo=UTC)
