"""What a run does about drift, on a real database that somebody changes between two runs."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.drift.verdict import DriftError
from lib.plan.reports import RunReport

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
    # It stays until somebody does something about it.
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
