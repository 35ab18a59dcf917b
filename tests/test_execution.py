"""One file, once: in a transaction, alone, or statement by statement, and what it sets stays its own."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Database

from lib import runner
from lib.errors import (
    BusyTableError,
    MigrationFailedError,
    MigrationFileError,
)
from lib.job import Job

MakeJob = Callable[..., Job]


@pytest.mark.parametrize(
    ("sql", "place", "sqlstate"),
    [
        ("create table é (x int);\nselect 'ü', nothing;", ":2:13:", "42703"),
        ("select 1;\r\nselekt 2;\r\n", ":2:1:", "42601"),
        ("\ufeffselect 1;\nselect 2 +;", ":2:11:", "42601"),
        ("select 1;\n\n\ndo $$ begin raise exception 'no'; end $$;", ":4:7:", "P0001"),
        ("-- c\nbegin;\nselect 1;\nselect 1/0;\ncommit;", ":4:1:", "22012"),
        ("create table a (x int);\ncopy a from stdin;\n1\n2\n\\.\nselect 1/0;", ":6:1:", "22012"),
    ],
    ids=["multi-byte", "windows line ends", "byte order mark", "run time", "own begin", "after COPY data"],
)
def test_an_error_names_line_and_column(make_job: MakeJob, bundle: Bundle, sql: str, place: str, sqlstate: str) -> None:
    bundle.write("000-a.sql", sql)
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert f"migrations/000-a.sql{place}" in str(report.error)
    assert report.error.sqlstate == sqlstate


def test_a_deferred_constraint_that_fails_at_commit_undoes_the_file(
    make_job: MakeJob, bundle: Bundle, db: Database
) -> None:
    bundle.write(
        "000-a.sql",
        "create table a (x int primary key, y int references a deferrable initially deferred);\n"
        "insert into a values (1, 2)",
    )
    report = runner.migrate(make_job())
    assert isinstance(report.error, MigrationFailedError)
    assert report.error.sqlstate == "23503"
    assert not db.has("a")
    assert db.versions() == []


class TestModes:
    def test_statements_outside_a_transaction_run_in_order(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "-- Transaction: none\ncreate table a (x int);\nbegin;\ninsert into a values (1);\ncommit;\n"
            "create index concurrently a_x on a (x);\nvacuum a;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select x from a") == [(1,)]
        assert db.versions() == ["000-a"]

    def test_a_transaction_that_the_file_never_ends_is_rolled_back_and_told(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "-- Transaction: none\nbegin;\ncreate table a (x int);")
        report = runner.migrate(make_job())
        assert isinstance(report.error, MigrationFailedError)
        assert "begins a transaction and never ends it" in str(report.error)
        assert not db.has("a")

    def test_the_options_of_a_files_own_begin_are_kept(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "begin isolation level serializable;\n"
            "create table a as select current_setting('transaction_isolation') as level;\ncommit;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select level from a") == [("serializable",)]

    def test_set_transaction_may_be_a_files_first_statement(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "set transaction isolation level repeatable read;\nselect 1;")
        assert runner.migrate(make_job()).error is None

    def test_copy_data_is_loaded(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int, y text);\ncopy a from stdin;\n1\tit's; ok\n2\t\\N\n\\.\nupdate a set x = x + 1;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select * from a order by x") == [(2, "it's; ok"), (3, None)]

    def test_an_empty_file_is_applied(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write("000-empty.sql", "")
        bundle.write("001-comments.sql", "-- nothing here\n/* nor here */")
        assert runner.migrate(make_job()).error is None
        assert db.versions() == ["000-empty", "001-comments"]

    def test_a_single_statement_that_turns_out_to_refuse_a_transaction_runs_alone(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int) partition by range (x);\ncreate index a_x on a (x);")
        bundle.write("001-b.sql", "reindex table a")
        assert runner.migrate(make_job()).error is None
        assert db.versions() == ["000-a", "001-b"]

    def test_a_commit_behind_a_function_named_begin_is_not_run(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql", "create function begin() returns int language sql as 'select 1';\ncreate table a (x int);\ncommit;"
        )
        report = runner.migrate(make_job())
        assert isinstance(report.error, MigrationFileError)
        assert report.error.line == 1
        assert not db.has("a")

    def test_a_procedure_that_has_committed_is_not_called_again(
        self, make_job: MakeJob, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table calls (x int); create table busy (x int); insert into busy values (1)")
        db.query(
            "create procedure batch() language plpgsql as "
            "$$begin insert into calls values (1); commit; update busy set x = 2; end$$"
        )
        bundle.write("000-a.sql", "-- Transaction: none\ncall batch();")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table busy")
            report = runner.migrate(make_job(lock_retries=3))
        assert isinstance(report.error, BusyTableError)
        assert db.query("select count(*) from calls") == [(1,)]

    @pytest.mark.parametrize("setting", ["set role {role}", "set default_transaction_read_only = on"])
    def test_what_a_file_outside_a_transaction_sets_never_reaches_the_journal(
        self, make_job: MakeJob, bundle: Bundle, db: Database, setting: str
    ) -> None:
        role = f"lowly_{db.target.database}"
        db.query(f"create role {role}")
        try:
            setting = setting.format(role=role)
            bundle.write("000-a.sql", f"-- Transaction: none\n{setting};\nselect 1;\nselect 2;")
            bundle.write("001-b.sql", f"-- Transaction: none\n{setting};\nselect 1/0;")
            report = runner.migrate(make_job())
            assert isinstance(report.error, MigrationFailedError)
            assert report.error.line == 3
            assert db.versions() == ["000-a"]
            assert [(run["outcome"], run["failed_version"]) for run in db.runs()] == [("failed", "001-b")]
        finally:
            db.query(f"drop role {role}")


class TestWhatAFileSets:
    @pytest.mark.parametrize(
        "sql",
        [
            "set search_path = pg_catalog",
            "select set_config('search_path', '', false)",
            "create role leaking_%s; set role leaking_%s",
            "set default_transaction_read_only = on",
            "set session authorization default; set statement_timeout = 1",
        ],
        ids=["search_path", "emptied search_path", "role", "read only", "timeout"],
    )
    def test_it_never_reaches_the_ledger_or_the_next_file(
        self, make_job: MakeJob, bundle: Bundle, db: Database, sql: str
    ) -> None:
        role = db.target.database
        bundle.write("000-a.sql", sql.replace("%s", role))
        bundle.write(
            "001-b.sql", "create table b as select current_user::text as who, current_setting('search_path') as path"
        )
        try:
            report = runner.migrate(make_job())
            assert report.error is None
            assert db.query("select who, path from public.b") == [("postgres", '"$user", public')]
        finally:
            db.query(f"drop role if exists leaking_{role}")

    def test_not_even_what_a_function_sets(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        db.query(
            "create function leak() returns text language sql as $$select set_config('search_path', 'pg_catalog', false)$$"
        )
        bundle.write("000-a.sql", "values (public.leak());")
        bundle.write("001-b.sql", "create table b (x int)")
        assert runner.migrate(make_job()).error is None
        assert db.has("public.b")

    def test_a_temporary_table_with_a_deferred_constraint_is_no_obstacle(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write(
            "000-a.sql",
            "create temp table t (x int primary key, y int references t deferrable initially deferred);\n"
            "insert into t values (1, 2), (2, 1);",
        )
        assert runner.migrate(make_job()).error is None

    def test_its_own_timeout_is_kept_outside_a_transaction(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "-- Transaction: none\nset lock_timeout = '30s';\ncreate table a (x int);\n"
            "create index concurrently a_x on a (x);\ncreate table t as select current_setting('lock_timeout') as v;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select v from t") == [("30s",)]

    def test_bytes_that_are_no_utf8_in_a_result_are_no_matter(self, make_job: MakeJob, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "-- Transaction: none\nset client_encoding = 'latin1';\nselect chr(233);")
        assert runner.migrate(make_job()).error is None

    def test_a_dump_header_does_not_lift_the_lock_timeout(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
            "create table public.a as select current_setting('lock_timeout') as t;",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select t from a") == [("200ms",)]

    def test_the_header_chooses_the_timeouts_of_its_file(self, make_job: MakeJob, bundle: Bundle, db: Database) -> None:
        bundle.write(
            "000-a.sql",
            "-- Lock-Timeout: 5s\n-- Statement-Timeout: 1min\n"
            "create table a as select current_setting('lock_timeout') as l, current_setting('statement_timeout') as s",
        )
        assert runner.migrate(make_job()).error is None
        assert db.query("select l, s from a") == [("5s", "1min")]
