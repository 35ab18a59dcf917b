"""A file outside a transaction that was left half-way: what ran stays, and a doubt is named."""

import re
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from conftest import Bundle, Database, Witness, wait_until
from fault_proxy import FaultProxy

from lib.actions.dry_run import preview
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.cli.options import make_parser
from lib.database.login import connect
from lib.edits.resolve import Verdict, resolve
from lib.errors import LockError, MigrationFailedError, MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.ledger import runs as ledger
from lib.ledger.ledger_state import take_survey

MakeContext = Callable[..., RunContext]
NONE = "-- Transaction: none\n"
EFFECTS = "create table effects (seq serial, what text);"


def note(what: str) -> str:
    return f"insert into effects (what) values ('{what}');\n"


def effects(db: Database) -> list[str]:
    return [row[0] for row in db.query("select what from effects order by seq")]


def vanish_at(db: Database, bundle: Bundle, statement: int) -> None:
    """Leave the journal as a runner that vanishes while this statement of 001-b is under way."""
    filename = "001-b.sql"
    script = prepare(parse(filename, (bundle.migrations / filename).read_bytes()))
    [(run,)] = db.query("select max(id) from schema_migration_runs")
    vanished = "outcome = 'running', finished_at = null, failed_version = null, sqlstate = null"
    db.query(f"update schema_migration_runs set {vanished} where id = {run}")
    with connect(db.target, application_name="test", timeout=5) as connection:
        start = ledger.RunStart("cli", "development", None, None, None, "")
        record = ledger.RunRecord(
            run, start, take_survey(connection, db.target).tables, ledger.Contents(0, None)
        )
        assert ledger.note_progress(
            connection, record, script.checkpoint(statement - 1), "under way"
        )


def fail_at(bundle: Bundle, make_context: MakeContext, before: str, after: str = "") -> None:
    """Run these statements and then one that fails, so that the journal has come to it."""
    bundle.write("001-b.sql", f"{NONE}{before}select 1/0;{after}")
    assert isinstance(migrate(make_context()).error, MigrationFailedError)


def answer(make_context: MakeContext, error: str, which: int = 0) -> None:
    """Run one of the commands that an error names."""
    commands = re.findall(r"^    python -m lib (resolve .*)$", error, re.MULTILINE)
    call = make_parser().parse_args(shlex.split(commands[which]))
    verdict = next(each for each in Verdict if vars(call)[each.replace("-", "_")])
    resolve(make_context(), call.version, verdict, renamed_from=call.renamed_from)


@pytest.fixture(autouse=True)
def table(db: Database) -> None:
    db.query(f"{EFFECTS} create table t (x int); insert into t values (1), (2)")


class TestAfterAFailure:
    def test_the_next_run_goes_on_at_the_statement_that_failed(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        [run] = db.runs()
        assert (run["outcome"], run["failed_version"], run["in_progress_statement"]) == (
            "failed",
            "001-b",
            2,
        )
        bundle.write("001-b.sql", NONE + note("first") + note("mended") + note("third"))
        witness = Witness()
        assert migrate(make_context(progress=witness)).error is None
        assert effects(db) == ["first", "mended", "third"]
        assert "run 1 had carried out 1 of its 3 statements" in witness.of("recovering")[0][0]
        assert [run["in_progress_version"] for run in db.runs()] == [None, None]

    def test_the_session_is_as_the_earlier_statements_had_left_it(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create schema app")
        settings = (
            "set search_path = app;\nselect pg_catalog.set_config('work_mem', '66MB', false);\n"
        )
        fail_at(bundle, make_context, settings)
        bundle.write(
            "001-b.sql",
            f"{NONE}{settings}create table made as select current_setting('work_mem') as mem;",
        )
        assert migrate(make_context()).error is None
        assert db.query("select mem from app.made") == [("66MB",)]

    def test_a_block_of_the_files_own_is_run_again_from_its_begin(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        block = f"begin;\n{note('in the block')}"
        fail_at(bundle, make_context, note("first") + block, "commit;")
        assert db.runs()[0]["in_progress_statement"] == 2
        bundle.write("001-b.sql", f"{NONE}{note('first')}{block}commit;\n{note('last')}")
        assert migrate(make_context()).error is None
        assert effects(db) == ["first", "in the block", "last"]

    def test_statements_that_ran_and_were_changed_since_stop_the_run(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        bundle.write("001-b.sql", NONE + note("another") + note("second"))
        report = migrate(make_context())
        assert isinstance(report.error, MigrationFailedError)
        assert "and they have changed since. Nothing was run." in str(report.error)
        assert effects(db) == ["first"]
        bundle.write("001-b.sql", NONE + note("first") + note("second"))
        assert migrate(make_context()).error is None
        assert effects(db) == ["first", "second"]

    def test_what_was_undone_by_hand_runs_from_the_start_when_the_record_is_cleared(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        bundle.write("001-b.sql", NONE + note("another") + note("second"))
        error = str(migrate(make_context()).error)
        db.query("delete from effects")
        answer(make_context, error)
        assert migrate(make_context()).error is None
        assert effects(db) == ["another", "second"]

    def test_a_file_that_is_one_transaction_now_is_told_apart(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        bundle.write("001-b.sql", note("first") + note("second"))
        report = migrate(make_context())
        assert "outside a transaction" in str(report.error)
        assert effects(db) == ["first"]

    def test_a_failed_first_statement_leaves_a_file_free_to_change(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", note("in a transaction"))
        assert migrate(make_context()).error is None
        assert effects(db) == ["in a transaction"]

    def test_a_file_that_was_renamed_since_is_told_by_both_names(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        (bundle.migrations / "001-b.sql").unlink()
        bundle.write("002-renamed.sql", NONE + note("first") + note("second"))
        error = str(migrate(make_context()).error)
        assert "migrations/002-renamed.sql: run 1 carried out 1 of its 2 statements" in error
        assert "when its name was 001-b" in error
        assert effects(db) == ["first"]
        answer(make_context, error)
        assert migrate(make_context()).error is None
        assert effects(db) == ["first", "second"]

    def test_a_file_that_is_gone_is_mentioned(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        (bundle.migrations / "001-b.sql").unlink()
        bundle.write("002-other.sql", "create table other (x int)")
        witness = Witness()
        assert migrate(make_context(progress=witness)).error is None
        assert (
            "Run 1 stopped at statement 2 of 001-b, which is not in this bundle.",
        ) in witness.of("warning")


def test_the_plan_says_where_a_file_was_left(
    make_context: MakeContext, bundle: Bundle, db: Database
) -> None:
    fail_at(bundle, make_context, note("first"))
    [warning] = preview(make_context()).to_dict()["warnings"]
    assert warning.startswith("Migration 001-b was left at its statement 2 by run 1;")


class TestABlockOfTheFilesOwn:
    BLOCK = "begin;\n" + note("in it") + "commit;\n"

    @pytest.mark.parametrize("has_run", [True, False])
    def test_it_is_in_doubt_as_a_whole(
        self, make_context: MakeContext, bundle: Bundle, db: Database, has_run: bool
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        bundle.write("001-b.sql", NONE + note("first") + self.BLOCK + note("last"))
        vanish_at(db, bundle, 2)
        if has_run:
            db.query(note("in it"))
        error = str(migrate(make_context()).error)
        assert "whether the block of statements 2 to 4 of 5 has taken effect" in error
        answer(make_context, error, 0 if has_run else 1)
        assert migrate(make_context()).error is None
        expected = ["first", "in it", "last"]
        assert sorted(effects(db)) == sorted(expected)

    def test_it_is_not_gone_on_with_without_the_lock(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        end_lock = (
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname ="
            " current_database());\nselect pg_sleep(0.3);\n"
        )
        bundle.write("001-b.sql", f"{NONE}begin;\n{note('a')}{end_lock}{note('b')}commit;\n")
        assert "the run lock was lost" in str(migrate(make_context()).error)
        assert effects(db) == []
        [run] = db.runs()
        assert (run["in_progress_statement"], run["failed_version"]) == (1, "001-b")

    def test_a_run_that_is_still_in_it_is_waited_for(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", NONE + self.BLOCK)
        vanish_at(db, bundle, 1)
        with db.connect(application_name="migrations cli local") as earlier:
            earlier.execute("begin;")
            error = migrate(make_context(run_wait=0)).error
        assert isinstance(error, LockError)
        assert "the server still carries out statement 1" in str(error)

    def test_a_chain_of_transactions_is_refused(
        self, make_context: MakeContext, bundle: Bundle
    ) -> None:
        bundle.write("001-b.sql", f"{NONE}begin;\n{note('a')}commit and chain;\n{note('b')}commit;")
        error = migrate(make_context()).error
        assert isinstance(error, MigrationFileError)
        assert "migrations/001-b.sql:4" in str(error)

    def test_an_answer_that_got_lost_leaves_a_doubt(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """The statement commits, and the connection is gone before its answer."""
        slow = "insert into effects (what) select 'slow' from pg_sleep(1)"
        bundle.write("001-b.sql", f"{NONE}{slow};\n{note('last')}")
        with FaultProxy(db.target.port) as proxy:
            threading.Timer(0.6, proxy.freeze_first).start()
            threading.Timer(2.0, proxy.end).start()
            assert migrate(make_context(target=db.through(proxy.port).target)).error is not None
        assert effects(db) == ["slow"]
        assert "it is not known whether statement 1 of 2" in str(migrate(make_context()).error)

    @pytest.mark.parametrize(
        "made",
        ["create temp table x (y int)", "prepare p as select 1", "select pg_advisory_lock(7)"],
    )
    def test_what_only_its_session_had_is_named(
        self, make_context: MakeContext, bundle: Bundle, db: Database, made: str
    ) -> None:
        fail_at(bundle, make_context, f"{made};\n")
        bundle.write("001-b.sql", f"{NONE}{made};\n{note('b')}")
        error = str(migrate(make_context()).error)
        assert "what this one made ended with its session" in error
        answer(make_context, error)
        assert migrate(make_context()).error is None
        assert effects(db) == ["b"]


class TestInDoubt:
    def test_a_plain_statement_is_named_with_both_ways_on(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        for which, expected in ((0, ["first", "third"]), (1, ["first", "second", "third"])):
            db.query(
                "truncate effects; drop table if exists schema_migrations, schema_migration_runs"
            )
            fail_at(bundle, make_context, note("first"))
            bundle.write("001-b.sql", NONE + note("first") + note("second") + note("third"))
            vanish_at(db, bundle, 2)
            report = migrate(make_context())
            assert isinstance(report.error, MigrationFailedError)
            assert (
                "migrations/001-b.sql:3: it is not known whether statement 2 of 3 has taken effect"
                in str(report.error)
            )
            assert report.error.line == 3
            assert effects(db) == ["first"]
            # A second look changes nothing.
            assert str(migrate(make_context()).error) == str(report.error)
            answer(make_context, str(report.error), which)
            assert migrate(make_context()).error is None
            assert effects(db) == expected

    def test_a_statement_that_was_another_one_then_is_in_doubt(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", "create index concurrently one on t (x)")
        vanish_at(db, bundle, 1)
        bundle.write("001-b.sql", "create index concurrently two on t (x)")
        assert "while it was under way, and it has changed since" in str(
            migrate(make_context()).error
        )

    @pytest.mark.parametrize(
        "statement",
        [
            "vacuum t",
            "create table if not exists u (x int)",
            "drop table if exists v",
            "create or replace view w as select 1 as x",
            "set work_mem = '5MB'",
            "comment on table t is 'x'",
            "reindex table concurrently t",
        ],
    )
    def test_what_may_be_said_twice_is_said_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database, statement: str
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", f"{NONE}{statement};\n{note('after')}")
        vanish_at(db, bundle, 1)
        assert migrate(make_context()).error is None
        assert effects(db) == ["after"]

    def test_an_index_whose_name_the_server_chose_is_in_doubt(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", "create index concurrently on t (x)")
        vanish_at(db, bundle, 1)
        assert "it is not known whether statement 1 of 1" in str(migrate(make_context()).error)

    def test_the_run_that_vanished_is_marked_and_its_note_kept(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        bundle.write("001-b.sql", NONE + note("first") + note("second"))
        vanish_at(db, bundle, 2)
        migrate(make_context())
        first = db.runs()[0]
        assert first["outcome"] == "interrupted"
        assert first["error"].endswith("under way")
        assert (first["in_progress_completed"], first["in_progress_including_next"]) == (1, 2)


def index_of(db: Database, name: str) -> list[tuple[int, bool]]:
    return db.query(
        f"select indexrelid::int, indisvalid from pg_index where indexrelid = to_regclass('{name}')"
    )


def leave_invalid(db: Database) -> None:
    """A unique index over duplicates: the build fails and leaves it."""
    db.query("insert into t values (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.query("create unique index concurrently t_x on t (x)")
    db.query("delete from t where ctid in (select max(ctid) from t where x = 1)")
    assert [valid for _, valid in index_of(db, "t_x")] == [False]


class TestIndexes:
    @pytest.mark.parametrize("condition", ["", "if not exists "])
    @pytest.mark.parametrize("way", ["alone", "in a row"])
    def test_one_that_the_file_left_invalid_is_built_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database, condition: str, way: str
    ) -> None:
        before = note("first") if way == "in a row" else ""
        fail_at(bundle, make_context, before)
        leave_invalid(db)
        [(left, _)] = index_of(db, "t_x")
        header = NONE if before else ""
        bundle.write(
            "001-b.sql",
            f"{header}{before}create unique index concurrently {condition}t_x on t (x);",
        )
        vanish_at(db, bundle, 2 if before else 1)
        witness = Witness()
        assert migrate(make_context(progress=witness)).error is None
        [(built, is_valid)] = index_of(db, "t_x")
        assert is_valid
        assert built != left
        assert "left the index public.t_x invalid; dropping it" in witness.of("recovering")[0][0]

    def test_one_that_another_left_invalid_is_not_dropped(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        leave_invalid(db)
        bundle.write("001-b.sql", "create index concurrently if not exists t_x on t (x)")
        assert "the index public.t_x was there already, and it is INVALID" in str(
            migrate(make_context()).error
        )
        assert [valid for _, valid in index_of(db, "t_x")] == [False]

    def test_one_that_is_finished_is_not_built_twice(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, note("first"))
        db.query("create index concurrently t_x on t (x)")
        finished = index_of(db, "t_x")
        bundle.write(
            "001-b.sql",
            f"{NONE}{note('first')}create index concurrently t_x on t (x);\n{note('last')}",
        )
        vanish_at(db, bundle, 2)
        assert migrate(make_context()).error is None
        assert index_of(db, "t_x") == finished
        assert effects(db) == ["first", "last"]

    def test_one_of_a_schema_in_the_search_path_is_found(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query('create schema app; create table app."T" (x int)')
        fail_at(bundle, make_context, "set search_path = app;\n")
        db.query('create index concurrently "T x" on app."T" (x)')
        bundle.write(
            "001-b.sql",
            f'{NONE}set search_path = app;\ncreate index concurrently "T x" on "T" (x);',
        )
        vanish_at(db, bundle, 2)
        assert migrate(make_context()).error is None
        assert db.versions() == ["001-b"]

    def test_a_drop_that_took_effect_is_not_said_again(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", "drop index concurrently t_x")
        vanish_at(db, bundle, 1)
        assert migrate(make_context()).error is None

    def test_a_drop_that_did_not_is(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create index t_x on t (x)")
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", "drop index concurrently t_x")
        vanish_at(db, bundle, 1)
        assert migrate(make_context()).error is None
        assert index_of(db, "t_x") == []

    def test_what_an_unfinished_reindex_left_is_dropped(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create index t_x on t (x)")
        fail_at(bundle, make_context, "")
        cancel_while_held(db, "reindex index concurrently t_x")
        assert [valid for _, valid in index_of(db, "t_x_ccnew")] == [False]
        bundle.write("001-b.sql", "reindex index concurrently t_x")
        vanish_at(db, bundle, 1)
        assert migrate(make_context()).error is None
        assert index_of(db, "t_x_ccnew") == []

    @pytest.mark.parametrize("half_off", [True, False], ids=["half off", "detached"])
    def test_a_partition_is_detached_once(
        self, make_context: MakeContext, bundle: Bundle, db: Database, half_off: bool
    ) -> None:
        db.query(
            "create table p (x int) partition by range (x); create table q partition of p for"
            " values from (1) to (9)"
        )
        fail_at(bundle, make_context, "")
        if half_off:
            cancel_while_held(db, "alter table p detach partition q concurrently", table="p")
            assert db.query(
                "select inhdetachpending from pg_inherits where inhrelid = 'q'::regclass"
            ) == [(True,)]
        else:
            db.query("alter table p detach partition q")
        bundle.write("001-b.sql", "alter table p detach partition q concurrently")
        vanish_at(db, bundle, 1)
        assert migrate(make_context()).error is None
        assert db.query("select 1 from pg_inherits where inhrelid = 'q'::regclass") == []


@contextmanager
def held(db: Database, table: str) -> Iterator[None]:
    """An open transaction that writes the table: what works CONCURRENTLY waits for it."""
    with db.connect() as holder, holder.transaction():
        holder.execute(f"lock table {table} in row exclusive mode")
        yield


def cancel_while_held(db: Database, statement: str, *, table: str = "t") -> None:
    with held(db, table), db.connect() as builder:
        timer = threading.Timer(1, builder.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            builder.execute(statement)


class TestAServerStillAtWork:
    """The client is gone, and the server goes on with its statement, as it does with an index."""

    STATEMENT = "create index concurrently t_x on t (x)"

    @contextmanager
    def building(self, db: Database) -> Iterator[Callable[[], object]]:
        """A session that carries the statement out until it is released."""
        with db.connect() as holder, db.connect() as orphan:
            holder.execute("begin")
            holder.execute("lock table t in row exclusive mode")
            thread = threading.Thread(target=orphan.execute, args=(self.STATEMENT + "\n;",))
            thread.start()
            db.wait_for("create index concurrently t_x")
            yield lambda: holder.execute("rollback")
            holder.execute("rollback")
            thread.join()

    def test_it_is_waited_for(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", self.STATEMENT)
        vanish_at(db, bundle, 1)
        witness = Witness()
        with self.building(db) as release:
            timer = threading.Timer(1.5, release)
            timer.start()
            assert migrate(make_context(progress=witness, run_wait=30)).error is None
        assert (
            "the server still carries out statement 1 for an earlier run (pid "
            in witness.of("recovering")[0][0]
        )
        assert [valid for _, valid in index_of(db, "t_x")] == [True]
        assert db.versions() == ["001-b"]

    def test_it_is_told_where_nobody_waits(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        fail_at(bundle, make_context, "")
        bundle.write("001-b.sql", self.STATEMENT)
        vanish_at(db, bundle, 1)
        with self.building(db):
            report = migrate(make_context(run_wait=0))
        assert isinstance(report.error, LockError)
        assert report.exit_code == 4
        assert "still carries out statement 1" in str(report.error)
        wait_until(lambda: index_of(db, "t_x")[0][1], "the index is built")
        finished = index_of(db, "t_x")
        assert migrate(make_context()).error is None
        assert index_of(db, "t_x") == finished
