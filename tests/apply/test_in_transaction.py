"""A file in its transaction: whole or not at all, and what it sets reaches nothing else."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Bundle, Database, Witness, connect, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.database.pipeline import AHEAD
from lib.deadline import Deadline
from lib.errors import (
    BusyTableError,
    ConfigurationError,
    Interrupted,
    MigrationFailedError,
    MigrationFileError,
    OutOfTimeError,
)
from lib.plan.progress_listener import Progress
from lib.plan.reports import AppliedNow, RunReport
from lib.settings.connection_target import ConnectionTarget
from lib.time_limits import RunLimits

MakeContext = Callable[..., RunContext]


def test_a_deferred_constraint_that_fails_at_commit_undoes_the_file(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    bundle.write(
        "000-a.sql",
        "create table a (x int primary key, y int references a deferrable initially deferred);\n"
        "insert into a values (1, 2)",
    )
    report = migrate(make_context())
    assert isinstance(report.error, MigrationFailedError)
    assert report.error.sqlstate == "23503"
    assert not db.has("a")
    assert db.versions() == []


class TestLargeFiles:
    """More than is sent ahead of the server."""

    ROWS = "".join(f"insert into a values ({n}, '{'é' * 1000}');\n" for n in range(2500))

    def test_it_is_still_one_transaction(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            (
                "create table a (x int, y text);\n"
                f"{self.ROWS}create table ids as select txid_current() as id;"
            ),
        )
        assert len(self.ROWS) > 10 * AHEAD
        assert migrate(make_context()).error is None
        assert db.query("select count(*), count(distinct xmin::text) from a") == [(2500, 1)]
        assert db.versions() == ["000-a"]

    def test_an_error_late_in_it_has_its_place_and_undoes_everything(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            f"create table a (x int, y text);\n{self.ROWS}select 1,\n  nope;\nselect 2;",
        )
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.column) == (2503, 3)
        assert not db.has("a")

    @pytest.mark.parametrize(
        "off",
        [
            "do $$begin perform set_config('standard_conforming_strings', 'off', false); end$$",
            "do $$begin execute 'set local standard_conforming_strings = off'; end$$",
        ],
    )
    def test_no_statement_is_read_as_two(
        self, make_context: MakeContext, bundle: Bundle, db: Database, off: str
    ) -> None:
        smuggled = "select '\\', '; commit; create table half (y int); select 2; --';"
        bundle.write(
            "000-a.sql",
            (
                f"create table a (x int, y text);\n{off};\n{self.ROWS}{smuggled}\n"
                f"{self.ROWS}select 1/0;"
            ),
        )
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert (error.line, error.sqlstate) == (2503, "42601")
        assert not db.has("a")
        assert not db.has("half")
        bundle.write(
            "000-a.sql",
            f"create table a (x int, y text);\nset standard_conforming_strings = off;\n{self.ROWS}",
        )
        assert migrate(make_context()).error is None

    def test_copy_data_is_streamed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        rows = "".join(f"{n}\t{'é' * 500}\n" for n in range(3000))
        bundle.write(
            "000-a.sql",
            f"create table a (x int, y text);\ncopy a from stdin;\n{rows}\\.\nselect 1/0;",
        )
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFailedError)
        assert error.line == 3004
        bundle.write(
            "000-a.sql", f"create table a (x int, y text);\ncopy a from stdin;\n{rows}\\.\n"
        )
        assert migrate(make_context()).error is None
        assert db.query("select count(*), sum(length(y)) from a") == [(3000, 1_500_000)]

    def test_the_next_try_sends_the_data_of_a_copy_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table a (x int primary key)")
        for number, header in enumerate(["", "-- Transaction: none\n"]):
            bundle.write(
                f"00{number}-a.sql", f"{header}copy a from stdin;\n{number}1\n{number}2\n\\.\n"
            )
            with db.connect() as holder:
                holder.execute(f"begin; insert into a values ({number}2)")
                timer = threading.Timer(0.5, holder.execute, ["rollback"])
                timer.start()
                assert migrate(make_context(lock_retries=5)).error is None
                timer.join()
        assert db.query("select x from a order by 1") == [(1,), (2,), (11,), (12,)]

    def test_it_waits_for_a_busy_table_as_a_whole(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table busy (x int)")
        bundle.write(
            "000-a.sql",
            f"create table a (x int, y text);\n{self.ROWS}alter table busy add column y int;",
        )
        with db.connect() as holder:
            holder.execute("begin; lock table busy")
            timer = threading.Timer(1, lambda: holder.execute("rollback"))
            timer.start()
            assert migrate(make_context(lock_retries=3)).error is None
            timer.join()
        assert db.query("select count(*) from a") == [(2500,)]


class TestModes:
    def test_statements_outside_a_transaction_run_in_order(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "-- Transaction: none\ncreate table a (x int);\nbegin;\ninsert into a values (1);\n"
            "commit;\n"
            "create index concurrently a_x on a (x);\nvacuum a;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select x from a") == [(1,)]
        assert db.versions() == ["000-a"]

    def test_a_transaction_that_the_file_never_ends_is_refused_before_anything_runs(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);")
        bundle.write("001-b.sql", "-- Transaction: none\nbegin;\ncreate table b (x int);")
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFileError)
        assert '001-b.sql:2: "begin" begins a transaction and never ends it' in str(report.error)
        assert not db.has("a")

    def test_the_options_of_a_files_own_begin_are_kept(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "begin isolation level serializable;\n"
            "create table a as select current_setting('transaction_isolation') as level;\ncommit;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select level from a") == [("serializable",)]

    def test_set_transaction_may_be_a_files_first_statement(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "set transaction isolation level repeatable read;\nselect 1;")
        assert migrate(make_context()).error is None

    def test_copy_data_is_loaded(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            (
                "create table a (x int, y text);\ncopy a from stdin;\n1\tit's; ok\n2\t\\N\n\\.\n"
                "update a set x = x + 1;"
            ),
        )
        assert migrate(make_context()).error is None
        assert db.query("select * from a order by x") == [(2, "it's; ok"), (3, None)]

    def test_copy_data_is_loaded_from_stdout_too_which_postgres_takes_for_stdin(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int);\ncopy a from stdout;\n1\n2\n\\.\ninsert into a values (3);",
        )
        assert migrate(make_context()).error is None
        assert db.query("select x from a order by x") == [(1,), (2,), (3,)]

    def test_an_empty_file_is_applied(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-empty.sql", "")
        bundle.write("001-comments.sql", "-- nothing here\n/* nor here */")
        assert migrate(make_context(is_hosted=True)).error is None
        assert db.versions() == ["000-empty", "001-comments"]

    def test_a_single_statement_that_turns_out_to_refuse_a_transaction_runs_alone(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int) partition by range (x);\ncreate index a_x on a (x);",
        )
        bundle.write("001-b.sql", "reindex table a")
        assert migrate(make_context()).error is None
        assert db.versions() == ["000-a", "001-b"]

    def test_a_commit_behind_a_function_named_begin_is_not_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            (
                "create function begin() returns int language sql as 'select 1';\n"
                "create table a (x int);\ncommit;"
            ),
        )
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFileError)
        assert report.error.line == 1
        assert not db.has("a")

    def test_a_procedure_that_has_committed_is_not_called_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create table calls (x int); create table busy (x int); insert into busy values (1)"
        )
        db.query(
            "create procedure batch() language plpgsql as "
            "$$begin insert into calls values (1); commit; update busy set x = 2; end$$"
        )
        bundle.write("000-a.sql", "-- Transaction: none\ncall batch();")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table busy")
            report = migrate(make_context(lock_retries=3))
        assert isinstance(report.error, BusyTableError)
        assert db.query("select count(*) from calls") == [(1,)]

    @pytest.mark.parametrize(
        "setting", ["set role {role}", "set default_transaction_read_only = on"]
    )
    def test_what_a_file_outside_a_transaction_sets_never_reaches_the_journal(
        self, make_context: MakeContext, bundle: Bundle, db: Database, setting: str
    ) -> None:
        role = f"lowly_{db.target.database}"
        db.query(f"create role {role}")
        try:
            setting = setting.format(role=role)
            bundle.write("000-a.sql", f"-- Transaction: none\n{setting};\nselect 1;\nselect 2;")
            bundle.write("001-b.sql", f"-- Transaction: none\n{setting};\nselect 1/0;")
            report = migrate(make_context())
            assert isinstance(report.error, MigrationFailedError)
            assert report.error.line == 3
            assert db.versions() == ["000-a"]
            assert [(run["outcome"], run["failed_version"]) for run in db.runs()] == [
                ("failed", "001-b")
            ]
        finally:
            db.query(f"drop role {role}")


# All that outlives a transaction in its session.
EVERYTHING = (
    "set work_mem = '5MB'; select set_config('search_path', 'pg_catalog', false), "
    "pg_advisory_lock(4242);"
    'create temp table t (x int); prepare p as select 1; do $$begin execute \'prepare "q;" as '
    "select 1'; end$$;"
    "listen news; declare c cursor with hold for select 1; set role pg_monitor;"
)
LEFT = (
    "select current_setting('work_mem'), current_setting('search_path'), current_user, "
    "to_regclass('pg_temp.t'),"
    " (select count(*) from pg_prepared_statements), (select count(*) from pg_cursors where name "
    "<> ''),"
    " (select count(*) from pg_listening_channels()),"
    " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"
)
NOTHING = ("4MB", '"$user", public', "postgres", None, 0, 0, 0, 0)


class TestWhatAFileSets:
    @pytest.mark.parametrize(
        "header", ["", "-- Transaction: none\n"], ids=["in a transaction", "without"]
    )
    def test_nothing_of_it_reaches_the_next_file(
        self, make_context: MakeContext, bundle: Bundle, db: Database, header: str
    ) -> None:
        bundle.write("000-a.sql", f"{header}{EVERYTHING}")
        bundle.write(
            "001-b.sql",
            (
                "create table b (memory, path, who, temp, prepared, cursors, channels, locks) as "
                f"{LEFT}"
            ),
        )
        bundle.write("002-c.sql", "prepare p as select 2; execute p;")
        bundle.write(
            "003-d.sql",
            (
                "create sequence s cache 10; create table d (n int default nextval('s')); insert "
                "into d select;"
            ),
        )
        bundle.write("004-e.sql", "insert into d select;")
        assert migrate(make_context()).error is None
        assert db.query("select n from d order by 1") == [(1,), (11,)], (
            "as from a session of its own"
        )
        assert db.query("select * from b") == [NOTHING]
        assert db.advisory_locks() == 0

    @pytest.mark.parametrize(
        ("header", "through_pooler"),
        [("", False), ("", True), ("-- Transaction: none\n", False)],
        ids=["direct", "pooled", "outside a transaction"],
    )
    def test_nothing_of_it_is_left_when_the_file_fails(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
        pooled: ConnectionTarget,
        header: str,
        through_pooler: bool,
    ) -> None:
        bundle.write("000-a.sql", f"{header}{EVERYTHING}select 1/0;")
        error = migrate(make_context(target=pooled if through_pooler else db.target)).error
        assert isinstance(error, MigrationFailedError)
        assert [(run["outcome"], run["sqlstate"]) for run in db.runs()] == [("failed", "22012")]
        assert db.advisory_locks() == 0
        with connect(pooled, prepare_threshold=None) as client:
            assert client.execute(LEFT).fetchone() == NOTHING

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
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        role = db.target.database
        bundle.write("000-a.sql", sql.replace("%s", role))
        bundle.write(
            "001-b.sql",
            (
                "create table b as select current_user::text as who, "
                "current_setting('search_path') as path"
            ),
        )
        try:
            report = migrate(make_context())
            assert report.error is None
            assert db.query("select who, path from public.b") == [("postgres", '"$user", public')]
        finally:
            db.query(f"drop role if exists leaking_{role}")

    @pytest.mark.parametrize(
        "sql",
        [
            "alter database {name} set search_path = app",
            "do $$begin alter database {name} set search_path = app;end$$",
        ],
    )
    def test_what_it_sets_for_new_sessions_holds_from_the_next_file_on(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        bundle.write(
            "000-a.sql",
            f"create schema app;\n{sql.format(name=db.target.database)};\ncreate table a (x int);",
        )
        bundle.write("001-b.sql", "create table b (x int)")
        bundle.write("002-c.sql", "-- Transaction: none\ncreate table c (x int);")
        assert migrate(make_context()).error is None
        assert db.query(
            "select to_regclass('public.a'), to_regclass('app.b'), to_regclass('app.c')"
        ) == [("public.a", "b", "c")]
        assert [run["outcome"] for run in db.runs()] == ["succeeded"]

    def test_a_new_session_that_would_read_strings_differently_is_refused(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            f"alter database {db.target.database} set standard_conforming_strings = off",
        )
        bundle.write("001-b.sql", "create table b as select 'new' as path")
        report = migrate(make_context())
        assert isinstance(report.error, ConfigurationError)
        assert db.versions() == ["000-a"]
        assert [run["outcome"] for run in db.runs()] == ["failed"]

    def test_not_even_what_a_function_sets(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create function leak() returns text language sql as $$select "
            "set_config('search_path', 'pg_catalog', false)$$"
        )
        bundle.write("000-a.sql", "values (public.leak());")
        bundle.write("001-b.sql", "create table b (x int)")
        assert migrate(make_context()).error is None
        assert db.has("public.b")

    def test_a_temporary_table_may_have_a_deferred_constraint(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write(
            "000-a.sql",
            "create temp table t (x int primary key, y int references t deferrable initially "
            "deferred);\n"
            "insert into t values (1, 2), (2, 1);",
        )
        assert migrate(make_context()).error is None

    def test_its_own_timeout_is_kept_outside_a_transaction(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "-- Transaction: none\nset lock_timeout = '30s';\ncreate table a (x int);\n"
            "create index concurrently a_x on a (x);\n"
            "create table t as select current_setting('lock_timeout') as v;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select v from t") == [("30s",)]

    def test_bytes_in_a_result_need_not_be_utf8(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write(
            "000-a.sql", "-- Transaction: none\nset client_encoding = 'latin1';\nselect chr(233);"
        )
        assert migrate(make_context()).error is None

    def test_a_dump_header_does_not_lift_the_lock_timeout(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "SET statement_timeout = 0;\nSET lock_timeout = 0;\n"
            "SELECT pg_catalog.set_config('search_path', '', false);\n"
            "create table public.a as select current_setting('lock_timeout') as t;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select t from a") == [("200ms",)]

    def test_the_header_chooses_the_timeouts_of_its_file(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write(
            "000-a.sql",
            "-- Lock-Timeout: 5s\n-- Statement-Timeout: 1min\n"
            "create table a as select current_setting('lock_timeout') as l, "
            "current_setting('statement_timeout') as s",
        )
        assert migrate(make_context()).error is None
        assert db.query("select l, s from a") == [("5s", "1min")]


class TestRowsOfTheSameRun:
    """What a file of the run has recorded, no later file of it may take back."""

    DELETE = "execute 'delete from public.schema_' || 'migrations where true';"

    @pytest.mark.parametrize(
        "sql",
        [
            f"do $$ begin {DELETE} end $$;",
            f"set local application_name = 'track_counts';\ndo $$ begin {DELETE} end $$;",
            f"-- Transaction: none\nselect 1;\ndo $$ begin {DELETE} end $$;",
        ],
        ids=["counted", "not counted", "outside a transaction"],
    )
    def test_a_file_that_deletes_them_fails(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int);")
        bundle.write("002-b.sql", sql)
        bundle.write("003-c.sql", "create table c (x int);")
        report = migrate(make_context())
        assert "runner's own tables" in str(report.error)
        assert [each.version for each in report.applied] == ["001-a"]
        assert db.query("select to_regclass('c')") == [(None,)]


class TestPreparedRecords:
    """What records a file is prepared in the session; no file can replace it."""

    FORGE = """
    create table a (id int);
    insert into a values (1);
    create function forge() returns int volatile language plpgsql as $$
    declare
        mine record;
    begin
        if exists (select from pg_prepared_statements where name like '%insert') then
            for mine in select * from pg_prepared_statements loop
                execute format('deallocate %I', mine.name);
                execute format('prepare %I %s as select 1', mine.name,
                               case when mine.name ~ 'insert|proof' then '(text, text, text)' end);
            end loop;
            execute 'delete from public.schema_' || 'migrations';
        end if;
        return 1;
    end $$;
    create domain forged as int default forge();
    """

    def test_others_by_the_same_names_are_not_executed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-a.sql", self.FORGE)
        bundle.write("002-b.sql", "create table b (x int);")
        assert migrate(make_context()).error is None
        bundle.write("003-c.sql", "create table c (x int);")
        bundle.write("004-d.sql", "alter table a add column d forged;")
        report = migrate(make_context())
        # Recorded without them: then nothing is prepared, and the function forges nothing.
        assert report.error is None
        applied = [row[0] for row in db.query("select version from schema_migrations order by id")]
        assert applied == ["001-a", "002-b", "003-c", "004-d"]

    @pytest.mark.parametrize(
        "sql",
        [
            "deallocate all;",
            "do $$ begin execute 'deallocate all'; end $$;",
            "discard plans;",
            "reset all;",
            "set search_path = pg_temp;",
        ],
    )
    def test_a_file_that_takes_them_away_is_recorded_like_any_other(
        self, make_context: MakeContext, bundle: Bundle, db: Database, sql: str
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int);")
        bundle.write("002-b.sql", sql)
        bundle.write("003-c.sql", "create table c (x int);")
        assert migrate(make_context()).error is None
        assert db.runs()[-1]["applied"] == ["001-a", "002-b", "003-c"]

    def test_a_file_outside_a_transaction_finds_none(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int);")
        look = "create table seen as select count(*) from pg_prepared_statements;"
        bundle.write("002-b.sql", f"-- Transaction: none\n{look}")
        assert migrate(make_context()).error is None
        assert db.query("select count from seen") == [(0,)]

    def test_somebody_rewrites_the_ledger_between_two_files(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-a.sql", "create table a (x int);")
        assert migrate(make_context()).error is None
        bundle.write("002-b.sql", "create table b (x int);")
        bundle.write("003-c.sql", "-- Transaction: none\nselect 1;\nvacuum full schema_migrations;")
        bundle.write("004-d.sql", "create table d (x int);")
        bundle.write("005-e.sql", "create table e (x int);")
        assert migrate(make_context()).error is None
        assert db.runs()[-1]["applied"][-1] == "005-e"


def test_on_a_new_database_only_the_end_of_the_run_waits_for_the_disk(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    db.query(
        "do $$ begin execute format('alter database %I set synchronous_commit = local',"
        " current_database()); end $$"
    )
    look = "create table {} as select current_setting('synchronous_commit');"
    bundle.write("001-a.sql", look.format("a"))
    assert migrate(make_context()).error is None
    bundle.write("002-b.sql", look.format("b"))
    assert migrate(make_context()).error is None
    assert db.query("select * from a") == [("off",)]
    assert db.query("select * from b") == [("local",)]


# Sessions of a run that do not wait for their client.
AT_WORK = """
select query from pg_stat_activity
 where datname = current_database() and application_name ~ '^migrations'
   and wait_event is distinct from 'ClientRead'
"""
# Locks of other sessions on tables that are not the system's.
LOCKS_OF_OTHERS = """
select relation::regclass, mode from pg_locks
 where locktype = 'relation' and relation >= 16384 and pid <> pg_backend_pid()
   and database = (select oid from pg_database where datname = current_database())
"""


class Stopper(Progress):
    """A listener that does something once a certain file has been applied."""

    def __init__(self, version: str, stop: Callable[[], None]) -> None:
        self.versions: list[str] = []
        self._version, self._stop = version, stop

    def applied(self, migration: AppliedNow) -> None:
        self.versions.append(migration.version)
        if migration.version == self._version:
            self._stop()


@contextmanager
def waiting(
    db: Database, bundle: Bundle, context: RunContext, version: str
) -> Iterator[list[RunReport]]:
    """A run of which this file waits for a table until the block ends; then its report is there."""
    db.query("create table busy (x int)")
    bundle.write(f"{version}.sql", "alter table busy add column y int")
    reports: list[RunReport] = []
    runner = threading.Thread(target=lambda: reports.append(migrate(context)))
    with db.connect() as holder, holder.transaction():
        holder.execute("lock table busy")
        runner.start()
        yield reports
    runner.join()


class TestSentAhead:
    """Behind a file, the next ones are sent before it is answered."""

    VERSIONS = tuple(f"{number:03d}-t" for number in range(12))

    @pytest.fixture(autouse=True)
    def files(self, bundle: Bundle) -> None:
        for version in self.VERSIONS:
            bundle.write(f"{version}.sql", f"create table t{version[:3]} (x int)")

    def test_the_server_goes_on_while_the_client_is_busy(
        self, make_context: MakeContext, db: Database
    ) -> None:
        """The first file prepares what records the others, which follow at once."""

        def see_all() -> None:
            wait_until(lambda: db.versions() == list(self.VERSIONS), "the files behind")

        progress = Stopper("000-t", see_all)
        assert migrate(make_context(progress=progress)).error is None
        assert progress.versions == list(self.VERSIONS)

    def test_each_has_a_transaction_and_a_duration_of_its_own(
        self, make_context: MakeContext, db: Database
    ) -> None:
        progress = Witness()
        assert migrate(make_context(progress=progress)).error is None
        made = "select xmin::text from pg_class where relname ~ '^t[0-9]+$' order by relname"
        recorded = db.query("select xmin::text from schema_migrations order by version")
        assert db.query(made) == recorded
        assert len(set(recorded)) == len(self.VERSIONS)
        assert db.query("select count(*) from schema_migrations where execution_time_ms < 0") == [
            (0,)
        ]
        # One after the other, as if nothing were sent ahead.
        assert [name for name, _ in progress.heard if name in ("started", "applied")] == [
            "started",
            "applied",
        ] * len(self.VERSIONS)

    def test_behind_a_file_that_fails_nothing_is_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("004-t.sql", "create table first (x int);\n\ncreate table t001 (x int)")
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFailedError)
        assert (report.error.version, report.error.line) == ("004-t", 3)
        assert report.error.sqlstate == "42P07"
        assert db.versions() == [each.version for each in report.applied] == list(self.VERSIONS[:4])
        assert not db.has("first")
        assert not db.has("t005")
        assert db.runs()[-1]["failed_version"] == "004-t"
        bundle.write("004-t.sql", "create table t004 (x int)")
        assert migrate(make_context()).error is None
        assert db.versions() == list(self.VERSIONS)

    def test_a_busy_table_is_waited_for_and_the_rest_follows(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        progress = Witness()
        context = make_context(progress=progress, lock_timeout=0.1, lock_retries=50)
        with waiting(db, bundle, context, "005-t"):
            wait_until(lambda: progress.of("retrying"), "another try")
        assert {file.version for file, *_ in progress.of("retrying")} == {"005-t"}
        assert [applied.version for (applied,) in progress.of("applied")] == list(self.VERSIONS)
        assert db.versions() == list(self.VERSIONS)

    def test_a_signal_reports_what_had_taken_effect_and_no_more(
        self, make_context: MakeContext, db: Database
    ) -> None:
        """It comes while the files behind the one reported last are under way."""

        def stop() -> None:
            time.sleep(0.2)
            raise Interrupted(15)

        progress = Stopper("002-t", stop)
        report = migrate(make_context(progress=progress))
        assert isinstance(report.error, Interrupted)
        reported = progress.versions
        assert reported == [each.version for each in report.applied] == db.versions()
        assert reported[:3] == list(self.VERSIONS[:3])
        assert db.runs()[-1]["outcome"] == "interrupted"
        assert db.runs()[-1]["applied"] == reported
        assert migrate(make_context()).error is None
        assert db.versions() == list(self.VERSIONS)

    def test_nothing_is_sent_ahead_of_a_deadline(
        self, make_context: MakeContext, db: Database
    ) -> None:
        """The server's own limit for a client that is frozen is one for each transaction."""
        deadline = Deadline.after(4)
        progress = Stopper("002-t", lambda: time.sleep(deadline.remaining()))
        report = migrate(make_context(progress=progress, deadline=deadline))
        assert isinstance(report.error, OutOfTimeError)
        assert progress.versions == db.versions() == list(self.VERSIONS[:3])
        assert db.runs()[-1]["applied"] == progress.versions

    def test_a_file_is_sent_as_a_whole_or_not_yet(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """The server begins what it gets: of a part, the locks would last as the client likes."""
        for number in range(12, 60):
            bundle.write(f"{number:03d}-t.sql", f"create table t{number:03d} (x int)")
        seen: list[object] = []

        def look() -> None:
            wait_until(lambda: db.query(AT_WORK) == [], "the server to have no more to do")
            seen.extend((len(db.versions()), db.query(LOCKS_OF_OTHERS)))

        assert migrate(make_context(progress=Stopper("001-t", look))).error is None
        applied, locks = seen
        # Some of them had been sent, and not all.
        assert applied in range(3, 60)
        assert locks == []
        assert len(db.versions()) == 60

    def test_who_waits_is_named_and_what_is_in_front_is_reported(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        limits = RunLimits(first_look=0.1, look_every=0.1, report_every=0.2)
        progress = Witness()
        context = make_context(progress=progress, lock_timeout=30.0, limits=limits)
        with waiting(db, bundle, context, "007-t"):
            wait_until(lambda: progress.of("still_running"), "a report")
            applied = [each.version for (each,) in progress.of("applied")]
        assert applied == list(self.VERSIONS[:7])
        [(file, blockers, _), *_] = progress.of("still_running")
        assert (file.version, len(blockers)) == ("007-t", 1)
        assert db.versions() == list(self.VERSIONS)

    def test_a_file_that_may_change_defaults_is_followed_by_nothing(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """It may: its words are those of ALTER DATABASE … SET. Then a new session begins."""
        bundle.write("003-t.sql", "create table members (database text)")
        bundle.write("004-t.sql", "alter table members alter database set not null")
        seen: list[list[str]] = []

        def look() -> None:
            time.sleep(0.3)
            seen.append(db.versions())

        assert migrate(make_context(progress=Stopper("004-t", look))).error is None
        assert seen == [list(self.VERSIONS[:5])]
        assert db.versions() == list(self.VERSIONS)

    def test_no_file_commits_after_the_end_of_its_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """As the server might do with what it has got from a client that has been given up."""
        with waiting(db, bundle, make_context(lock_timeout=30.0), "005-t") as reports:
            db.wait_for("alter table busy")
            db.query("update schema_migration_runs set outcome = 'failed' where error is null")
        assert reports[0].error is not None
        assert db.versions() == list(self.VERSIONS[:5])
        assert not db.has("t006")

    def test_what_depends_on_the_files_before_is_not_sent_ahead(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create schema other")
        bundle.write("003-t.sql", "set search_path = other; create table inside (x int)")
        bundle.write("005-t.sql", "copy t001 from stdin;\n1\n2\n\\.\n")
        bundle.write("007-t.sql", "create table t007 (x text default 'a\\b')")
        bundle.write("009-t.sql", "-- Transaction: none\ncreate index concurrently i on t001 (x);")
        assert migrate(make_context()).error is None
        assert db.versions() == list(self.VERSIONS)
        assert db.query("select to_regclass('other.inside') is not null") == [(True,)]
        assert db.has("t004")
        assert db.query("select count(*) from t001") == [(2,)]
