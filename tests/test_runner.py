"""The runner against a real PostgreSQL: every file once, whole or not at all, and on record."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib import runner
from lib.errors import BusyTableError, IntegrityError, MigrationFailedError
from lib.runner import Job

MakeJob = Callable[..., Job]


def test_pending_files_are_applied_in_numeric_order(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("010-second.sql", "alter table a add column y int")
    bundle.write("002-first.sql", "create table a (x int)")
    report = runner.migrate(make_job())
    assert report.error is None
    assert [m.version for m in report.applied] == ["002-first", "010-second"]
    assert db.versions() == ["002-first", "010-second"]


def test_a_failed_file_leaves_nothing_behind(make_job: MakeJob, bundle: Bundle, db: Database) -> None:
    bundle.write("000-good.sql", "create table good (x int)")
    bundle.write("001-bad.sql", "create table bad (x int);\n\nselect 1/0;\ncreate table never (x int);")
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert report.error.line == 3
    assert report.error.sqlstate == "22012"
    assert db.versions() == ["000-good"]
    assert db.has("good") and not db.has("bad") and not db.has("never")
    assert db.runs()[0]["outcome"] == "failed"
