"""What a run does about drift, on a real database that somebody changes between two runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.dry_run import preview
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.drift.verdict import DriftError
from lib.object_patterns import parse_patterns
from lib.plan.reports import RunReport
from lib.rebuild.seeding import seed
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]


class Project:
    """A database that one run has migrated, and the runs that follow."""

    def __init__(self, make_context: MakeContext, bundle: Bundle, db: Database) -> None:
        self.make_context, self.bundle, self.db = make_context, bundle, db
        self.files = 0

    def run(self, sql: str, **settings: object) -> RunReport:
        """Apply one more file."""
        self.bundle.write(f"{self.files:03}-file.sql", sql)
        self.files += 1
        self.witness = Witness()
        return migrate(self.make_context(progress=self.witness, **settings))

    @property
    def warnings(self) -> list[str]:
        return [text for (text,) in self.witness.of("warning")]

    @property
    def verdicts(self) -> list[bool | None]:
        return [run["drift"] for run in self.db.runs()]


@pytest.fixture
def project(make_context: MakeContext, bundle: Bundle, db: Database) -> Project:
    made = Project(make_context, bundle, db)
    assert made.run("create table users (id int, name text)").error is None
    return made


def test_a_new_database_is_no_news(project: Project) -> None:
    assert project.warnings == []
    assert project.verdicts == [None]


def test_what_a_run_has_changed_itself_is_no_drift(project: Project) -> None:
    assert project.run("alter table users add email text").error is None
    assert project.warnings == []
    assert project.verdicts == [None, False]


def test_what_somebody_has_changed_is_named_and_the_run_goes_on(project: Project) -> None:
    project.db.query("alter table users add by_hand text; create table extra (x int)")
    report = project.run("create table b (x int)")
    assert report.error is None
    [warning] = project.warnings
    assert report.warnings == (warning,)
    assert "changed since run 1" in warning
    assert "+ column public.users.by_hand  added" in warning
    assert "+ table public.extra  added" in warning
    assert project.verdicts == [None, True]
    # Told once: the run has taken the schema as it is.
    project.run("create table c (x int)")
    assert project.warnings == []
    assert project.verdicts == [None, True, False]


def test_stop_ends_the_run_before_anything_is_applied(project: Project) -> None:
    project.db.query("alter table users drop name")
    report = project.run("create table b (x int)", drift="stop")
    assert isinstance(report.error, DriftError)
    assert report.exit_code == 3
    assert "- column public.users.name  removed" in str(report.error)
    assert not project.db.has("b")
    assert len(project.db.runs()) == 1
    assert project.verdicts == [True]
    # The preview says so, and it stays until somebody does something about it.
    assert isinstance(preview(project.make_context(drift="stop")).obstacle, DriftError)
    assert preview(project.make_context()).obstacle is None
    assert isinstance(migrate(project.make_context(drift="stop")).error, DriftError)


def test_off_looks_at_nothing_and_records_nothing(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    project = Project(make_context, bundle, db)
    project.run("create table a (x int)", drift="off")
    db.query("drop table a")
    project.run("create table b (x int)", drift="off")
    assert project.warnings == []
    assert not db.has("public.schema_migration_objects")
    assert [run["drift_checked_at"] for run in db.runs()] == [None, None]


def test_files_before_the_one_that_failed_are_no_drift(project: Project) -> None:
    project.bundle.write("001-a.sql", "create table a (x int)")
    project.bundle.write("002-b.sql", "create table b (x int)")
    project.files = 3
    assert project.run("select 1/0").error is not None
    project.bundle.write("003-file.sql", "create table c (x int)")
    project.witness = Witness()
    assert migrate(project.make_context(progress=project.witness, drift="stop")).error is None
    assert project.warnings == []


def test_drift_is_told_again_after_a_run_that_has_changed_nothing(project: Project) -> None:
    project.db.query("create table extra (x int)")
    assert project.run("select 1/0").error is not None
    project.bundle.write("001-file.sql", "create table c (x int)")
    report = migrate(project.make_context(drift="stop"))
    assert isinstance(report.error, DriftError)
    assert "public.extra" in str(report.error)


class TestWhatIsIgnored:
    def test_goes_with_all_that_is_below_it_on_both_sides(self, project: Project) -> None:
        project.run("create table events_1 (x int); create index events_1_x on events_1 (x)")
        project.db.query(
            "drop table events_1; create table events_2 (x int);"
            "create index by_hand on events_2 (x)"
        )
        ignoring = {"drift": "stop", "drift_ignore": parse_patterns("public.events_*")}
        assert project.run("create table b (x int)", **ignoring).error is None
        assert project.warnings == []

    def test_is_recorded_all_the_same(self, project: Project) -> None:
        ignored = parse_patterns("public.events")
        assert project.run("create table events (x int)", drift_ignore=ignored).error is None
        assert project.run("create table b (x int)", drift="stop").error is None
        assert project.warnings == []


def test_a_partition_of_a_known_table_is_no_drift(project: Project) -> None:
    project.run("create table parted (day date) partition by range (day)")
    project.db.query(
        "create table parted_1 partition of parted for values from ('2026-01-01') to ('2026-02-01')"
    )
    assert project.run("select 1", drift="stop").error is None


def test_a_file_outside_a_transaction_that_stopped_half_way_is_no_drift(project: Project) -> None:
    half = "-- Transaction: none\ncreate table half (x int);\nselect 1/0;"
    assert project.run(half).error is not None
    project.bundle.write("001-file.sql", half.replace("select 1/0", "select 1"))
    report = migrate(project.make_context(drift="stop"))
    assert report.error is None
    assert report.warnings == ()


def test_through_a_transaction_pooler(
    project: Project, pooled: ConnectionTarget, make_context: MakeContext
) -> None:
    project.db.query("create table extra (x int)")
    project.bundle.write("001-file.sql", "create table b (x int)")
    pooled_context = make_context(target=pooled, migration_target=pooled, drift="stop")
    assert isinstance(migrate(pooled_context).error, DriftError)
    warned = migrate(make_context(target=pooled, migration_target=pooled))
    assert warned.error is None
    assert "public.extra" in warned.warnings[0]
    project.bundle.write("002-file.sql", "create table c (x int)")
    assert migrate(pooled_context).error is None


def test_two_runs_at_once_tell_no_drift_of_each_other(project: Project) -> None:
    project.bundle.write("001-b.sql", "create table b (x int); select pg_sleep(0.3)")
    contexts = [project.make_context(drift="stop", run_wait=30.0) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(migrate, contexts))
    assert [report.error for report in reports] == [None] * 3
    assert [report.warnings for report in reports] == [()] * 3


def test_a_run_with_nothing_to_apply_does_not_even_look(project: Project) -> None:
    project.db.query("create table extra (x int)")
    with project.db.connect() as holder:
        holder.execute("begin; lock table public.schema_migration_objects in access exclusive mode")
        report = migrate(project.make_context(drift="stop"))
    assert report.error is None
    assert report.warnings == ()


def test_a_schema_that_cannot_be_recorded_fails_no_run(project: Project) -> None:
    assert project.run("create view v as select * from users").error is None
    with project.db.connect() as holder:
        holder.execute("begin; lock table users in access exclusive mode")
        report = project.run("create table b (x int)", drift="stop")
    assert report.error is None
    before, after = report.warnings
    assert before.startswith("It is not known whether the database has changed since run 2")
    assert after.startswith("The schema could not be recorded after this run")
    assert "users is locked" in before
    assert "users is locked" in after
    assert project.db.runs()[-1]["outcome"] == "succeeded"


class TestSeeds:
    def test_what_a_seed_makes_is_no_drift(self, project: Project) -> None:
        (project.bundle.migrations / "_seeds").mkdir()
        project.bundle.write("_seeds/a.sql", "create table seeded (x int)")
        assert seed(project.make_context()).error is None
        assert project.run("create table b (x int)", drift="stop").error is None
        assert project.warnings == []
