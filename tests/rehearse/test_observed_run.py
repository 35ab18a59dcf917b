"""One file observed: as in a real run, whatever it sets, and nothing of it trusted."""

from collections.abc import Iterator

import pytest
from conftest import Database, new_database
from traps import calls, plant

from lib.database.connection import Connection
from lib.database.login import connect
from lib.deadline import Deadline
from lib.errors import OutOfTimeError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.files.runnable_script import Script
from lib.rehearse.observed_run import Conditions, names_of, observe_file
from lib.rehearse.probe_queries import read_relations
from lib.rehearse.statement_facts import FileFacts, RelationLock, StatementFacts
from lib.settings.connection_target import ConnectionTarget

SCHEMA = """
create table users (id int primary key, email text, age int);
create table orders (id int primary key, user_id int);
"""
USERS, ORDERS = "public.users", "public.orders"


def script(sql: str) -> Script:
    return prepare(parse("001-a.sql", sql.encode()))


@pytest.fixture
def session(db: Database) -> Iterator[Connection]:
    db.query(SCHEMA)
    with connect(db.target, application_name="test", timeout=5) as connection:
        yield connection


def observe(session: Connection, sql: str, conditions: Conditions | None = None) -> FileFacts:
    facts = observe_file(session, script(sql), conditions)
    assert session.is_closed or not session.in_transaction
    return facts


def statements(session: Connection, sql: str) -> tuple[StatementFacts, ...]:
    """The facts of a file of which everything succeeds."""
    facts = observe(session, sql)
    assert [each.failure for each in facts.statements if each.failure] == []
    assert facts.not_rehearsed is None
    return facts.statements


def locks(facts: StatementFacts) -> list[tuple[str, str, int]]:
    return [(lock.relation, lock.mode, lock.until) for lock in facts.locks]


class TestLocks:
    def test_a_lock_is_held_to_the_end_of_the_file_and_said_once(self, session: Connection) -> None:
        first, second, third = statements(
            session,
            "alter table users add a int;\nupdate users set a = 1;\ncomment on table orders is 'x'",
        )
        assert locks(first) == [(USERS, "AccessExclusive", 3)]
        assert locks(second) == []
        assert (second.written, second.scans) == ((USERS,), (USERS,))
        assert locks(third) == [(ORDERS, "ShareUpdateExclusive", 3)]
        assert [first.line, second.line, third.line] == [1, 2, 3]

    def test_a_stronger_lock_is_a_new_one(self, session: Connection) -> None:
        first, second = statements(session, "create index on users (age); drop table users")
        assert locks(first) == [(USERS, "Share", 2)]
        assert locks(second) == [(USERS, "AccessExclusive", 2)]

    def test_a_savepoint_lets_go_of_a_lock_and_its_scan_counts_once(
        self, session: Connection
    ) -> None:
        found = statements(
            session,
            "savepoint s; update users set age = 1; alter table users add a int; rollback to s;"
            "select 1; alter table users add b int",
        )
        assert locks(found[2]) == [(USERS, "AccessExclusive", 4)]
        assert found[1].scans == (USERS,)
        assert found[4].scans == found[5].scans == ()
        assert locks(found[5]) == [(USERS, "AccessExclusive", 6)]

    def test_what_the_file_makes_is_exempt(self, session: Connection) -> None:
        found = statements(
            session,
            "create table a (x serial primary key, y int);\nalter table a alter y type bigint;\n"
            "create temp table t (x int);\nupdate t set x = 1;\ndrop table a",
        )
        assert [each.locks + each.rewrites + each.scans + each.written for each in found] == (
            [()] * 5
        )
        assert found[0].created == ("public.a", "public.a_pkey")
        assert found[2].created == ()
        assert found[4].dropped == ("public.a", "public.a_pkey")

    def test_names_are_those_of_the_live_database(self, session: Connection) -> None:
        known = Conditions(known=names_of(read_relations(session)))
        observe(session, "alter table users rename to people; create table new (x int)", known)
        facts = observe(session, "alter table people add a int; alter table new add a int", known)
        assert [locks(each) for each in facts.statements] == [[(USERS, "AccessExclusive", 2)], []]

    def test_names_are_quoted_where_they_have_to_be(self, session: Connection) -> None:
        session.run('create schema "a b"; create table "a b"."T;x" (x int)')
        [found] = statements(session, 'insert into "a b"."T;x" select id from users')
        assert found.written == ('"a b"."T;x"',)
        assert (found.scans, found.locks[0]) == (
            (USERS,),
            RelationLock('"a b"."T;x"', "RowExclusive", 1),
        )

    def test_children_are_named(self, session: Connection) -> None:
        session.run("create table child () inherits (users)")
        [found] = statements(session, "alter table users add a int")
        assert [lock.relation for lock in found.locks] == ["public.child", USERS]

    def test_rows_that_would_be_written_are_seen_a_second_time(self, session: Connection) -> None:
        insert = "insert into orders select id, id from users where false"
        found = statements(
            session,
            f"{insert}; {insert}; with x as (select 1) update orders set id = 2 from x;"
            "copy users from stdin;\n\\.\nmerge into users using orders on false "
            "when matched then delete; delete from only users",
        )
        written = [each.written for each in found]
        assert written[:2] == [(ORDERS,)] * 2
        assert written[3:] == [(USERS,)] * 3

    def test_what_an_earlier_file_has_read_is_not_taken_for_this_ones(
        self, session: Connection
    ) -> None:
        assert statements(session, "update users set age = 1")[0].scans == (USERS,)
        assert statements(session, "alter table users add a int")[0].scans == ()

    def test_the_tables_of_the_runner_are_left_out(self, session: Connection) -> None:
        session.run("create table schema_migrations (version text)")
        [found] = statements(session, "select from schema_migrations")
        assert (found.locks, found.scans) == ((), ())


class TestWhatAFileSets:
    @pytest.mark.parametrize(
        "before",
        [
            "set search_path = nowhere",
            "set local row_security = off",
            "set default_transaction_read_only = on",
            "set transaction isolation level serializable",
            "lock table orders; set transaction isolation level repeatable read",
            "declare c cursor for select * from orders",
            "prepare p as select 1",
            "listen something",
            "select pg_advisory_lock(1)",
            "select '$1', $$ $1 $$",
            "savepoint s; release s",
            "begin isolation level serializable",
            "set standard_conforming_strings = on",
        ],
    )
    def test_the_probe_survives(self, session: Connection, before: str) -> None:
        end = "; commit" if before.startswith("begin") else ""
        sql = f"{before}; alter table public.users alter age type bigint{end}"
        last = statements(session, sql)[-1]
        assert (last.rewrites, last.locks[-1].mode) == ((USERS,), "AccessExclusive")
        # Nothing of it is left for the next file.
        [after] = statements(session, "alter table users add b int")
        assert locks(after) == [(USERS, "AccessExclusive", 1)]

    def test_the_role_of_the_file_needs_no_right(self, session: Connection, db: Database) -> None:
        # A role is one of the whole server: its name is that of this test's database.
        role = db.target.database
        found = statements(
            session,
            f"create role {role}; alter table users owner to {role}; set role {role};"
            "alter table public.users alter age type bigint",
        )
        assert found[3].rewrites == (USERS,)
        [after] = statements(session, f"drop owned by {role} cascade; drop role {role}")[:1]
        assert after.dropped == (USERS, "public.users_pkey")

    def test_the_time_zone_of_the_target_decides_about_a_rewrite(self, session: Connection) -> None:
        session.run("create table times (t timestamptz, u timestamptz)")
        for zone, column, rewrites in (("UTC", "t", ()), ("Asia/Tokyo", "u", ("public.times",))):
            sql = f"alter table times alter {column} type timestamp"
            facts = observe(session, sql, Conditions(time_zone=zone))
            assert facts.statements[0].rewrites == rewrites

    def test_hostile_names_are_never_called(self, server: ConnectionTarget) -> None:
        with new_database(server) as db:
            db.query(SCHEMA)
            assert min(plant(db).values()) > 0
            with connect(db.target, application_name="test", timeout=5) as session:
                for mode in ("", "-- Transaction: none\n"):
                    sql = (
                        f"{mode}set search_path = public, pg_catalog;\n"
                        "alter table public.users alter age type pg_catalog.int8 using null;\n"
                        "insert into public.orders select from public.users;\n"
                        "alter table public.orders add foreign key (user_id) references users"
                    )
                    facts = observe(session, sql)
                    assert [each.failure for each in facts.statements] == [None] * 4
            assert calls(db) == 0


class TestFailures:
    def test_a_failure_is_a_value_with_its_line_and_nothing_stays(
        self, session: Connection, db: Database
    ) -> None:
        facts = observe(
            session,
            "alter table users add a int;\ndo $$begin\n  perform 1;\n  perform nope;\nend$$;\n"
            "select 1",
        )
        first, failed = facts.statements
        assert locks(first) == [(USERS, "AccessExclusive", 2)]
        assert (failed.line, failed.failed_at, failed.sqlstate) == (2, 4, "42703")
        assert failed.failure == 'column "nope" does not exist'
        assert facts.not_rehearsed is None
        assert db.query("select from pg_attribute where attname = 'a' and attnum > 0") == []

    def test_no_secret_is_quoted(self, session: Connection) -> None:
        [failed] = observe(session, "alter role nobody_here password 'hunter2secret'").statements
        assert "hunter2secret" not in repr(failed)
        assert failed.failure

    def test_what_is_deferred_fails_at_the_end_of_the_file(self, session: Connection) -> None:
        facts = observe(
            session,
            "alter table orders add foreign key (user_id) references users deferrable initially "
            "deferred;\ninsert into orders values (1, 2)",
        )
        assert facts.statements[-1].sqlstate == "23503"
        assert "at the file's end" in (facts.statements[-1].failure or "")
        assert facts.statements[-1].written == (ORDERS,)

    def test_what_only_this_server_refuses_is_not_rehearsed(
        self, session: Connection, db: Database
    ) -> None:
        with (
            db.another_role() as lowly,
            connect(lowly.target, application_name="test", timeout=5) as of_lowly,
        ):
            facts = observe(of_lowly, "select 1;\nalter table users add a int")
        assert facts.not_rehearsed == (
            "statement 2 needs a right that a rehearsal does not give: must be owner of table users"
        )
        assert [each.failure for each in facts.statements] == [None]
        facts = observe(session, "create extension postgis")
        assert 'the embedded PostgreSQL lacks: extension "postgis"' in (facts.not_rehearsed or "")

    def test_a_limit_of_the_rehearsal_is_no_failure_of_the_file(self, session: Connection) -> None:
        facts = observe(session, "select pg_sleep(60)", Conditions(statement_timeout=0.2))
        assert "statement 1 took longer than a rehearsal allows" in (facts.not_rehearsed or "")

    def test_a_file_that_ends_its_session_fails(self, session: Connection) -> None:
        facts = observe(session, "select 1; select pg_terminate_backend(pg_backend_pid())")
        assert "connection to the database was lost" in (facts.statements[-1].failure or "")
        assert facts.statements[-1].number == 2
        assert session.is_closed

    def test_the_deadline_ends_the_rehearsal(self, db: Database) -> None:
        deadline = Deadline.after(2)
        with (
            connect(db.target, application_name="test", timeout=5, deadline=deadline) as session,
            pytest.raises(OutOfTimeError, match="time allowed ran out"),
        ):
            observe(session, "set statement_timeout = 0; select pg_sleep(600)")

    def test_strings_that_the_server_would_read_differently_are_refused(
        self, session: Connection
    ) -> None:
        off = "do $$begin perform set_config('standard_conforming_strings', 'off', false); end$$"
        facts = observe(session, f"{off};\nselect '\\'")
        assert "standard_conforming_strings is off" in (facts.statements[-1].failure or "")
        assert facts.statements[-1].failed_at == 2


class TestOutsideATransaction:
    def test_each_lock_ends_with_its_statement_and_that_of_a_block_with_the_block(
        self, session: Connection
    ) -> None:
        found = statements(
            session,
            "-- Transaction: none\nset lock_timeout = '1s';\nalter table users add a int;\n"
            "begin;\nalter table users add b int;\nlock table orders;\ncommit;\n"
            "create index concurrently on users (age);\nalter table users add c int",
        )
        assert [locks(each) for each in found] == [
            [],
            [(USERS, "AccessExclusive", 2)],
            [],
            [(USERS, "AccessExclusive", 6)],
            [(ORDERS, "AccessExclusive", 6)],
            [],
            [(USERS, "ShareUpdateExclusive", 7)],
            [(USERS, "AccessExclusive", 8)],
        ]

    def test_a_procedure_that_commits_runs_without_a_probe(
        self, session: Connection, db: Database
    ) -> None:
        session.run(
            "create procedure p() language plpgsql as $$begin"
            " insert into users values (1); commit; end$$"
        )
        facts = observe(session, "call p()")
        assert (facts.is_transaction, facts.statements[0].failure) == (False, None)
        assert db.query("select id from users") == [(1,)]

    def test_what_the_file_has_set_stays_where_the_probe_gives_way(
        self, session: Connection
    ) -> None:
        session.run(
            "create procedure p() language plpgsql as $$begin commit;"
            " if current_setting('work_mem') <> '5MB' then raise 'lost'; end if; end$$"
        )
        assert statements(session, "-- Transaction: none\nset work_mem = '5MB';\ncall p()")

    def test_a_failure_keeps_what_ran_before(self, session: Connection, db: Database) -> None:
        facts = observe(session, "-- Transaction: none\ncreate table a (x int);\nlock table a")
        assert facts.statements[-1].sqlstate == "25P01"
        assert db.has("a")

    def test_the_record_is_written_in_either_mode(self, session: Connection, db: Database) -> None:
        session.run("create table ledger (version text)")
        for mode in ("", "-- Transaction: none\n"):
            conditions = Conditions(record=("insert into public.ledger values ('001-a')",))
            observe(session, f"{mode}select 1", conditions)
        assert db.query("select count(*) from ledger") == [(2,)]


class TestForeignKeysWithoutAnIndex:
    KEY = "alter table orders add constraint f foreign key (user_id) references users not valid"

    @pytest.mark.parametrize(
        ("more", "is_found"),
        [
            ("", True),
            ("create index on orders (user_id, id)", False),
            ("create index on orders (id, user_id)", True),
            ("create index on orders (user_id) where id > 0", True),
            ("create index on orders ((user_id + 0))", True),
            ("alter table orders drop constraint f", False),
            ("alter table orders drop column user_id", False),
        ],
    )
    def test_an_index_counts_if_its_first_columns_are_those_of_the_key(
        self, session: Connection, more: str, is_found: bool
    ) -> None:
        found = observe(session, f"select 1; {self.KEY}; {more}").unindexed
        assert [(each.name, each.statement) for each in found] == [("f", 2)] * is_found
        for each in found:
            assert (each.relation, each.columns, each.references) == (ORDERS, "user_id", USERS)

    @pytest.mark.parametrize(("default", "scans"), [("", ()), ("default 1", (ORDERS, USERS))])
    def test_the_key_of_a_new_column_without_a_default_is_valid_without_a_look(
        self, session: Connection, default: str, scans: tuple[str, ...]
    ) -> None:
        sql = f"alter table orders add column other int {default} references users"
        [found] = statements(session, sql)
        assert found.scans == scans

    @pytest.mark.parametrize(
        "sql",
        [
            "create table uses (id int primary key, order_id int references orders)",
            "create table uses (id int primary key, o int); "
            "alter table uses add foreign key (o) references orders",
            "create table uses (o int references orders) partition by range (o)",
        ],
    )
    def test_the_key_of_a_new_table_reads_nothing_of_the_other(
        self, session: Connection, sql: str
    ) -> None:
        session.run("create unique index on orders (user_id); analyze orders")
        assert [each.scans for each in statements(session, sql)] == [()] * len(sql.split("; "))

    def test_the_columns_of_a_key_may_stand_in_any_order(self, session: Connection) -> None:
        facts = observe(
            session,
            "create table a (x int, y int, unique (x, y)); create table b (x int, y int);"
            "create index on b (y, x); alter table b add foreign key (x, y) references a (x, y)",
        )
        assert facts.unindexed == ()

    @pytest.mark.parametrize(
        ("sql", "number"),
        [
            ("select 1; delete from users where id = 1", 2),
            ("with gone as (delete from users returning id) select from gone", 1),
            ("update users set age = 1", None),
            ("delete from orders", None),
            ("delete from users; create index on orders (user_id)", None),
        ],
    )
    def test_rows_are_deleted_that_a_key_without_an_index_references(
        self, session: Connection, sql: str, number: int | None
    ) -> None:
        session.run(self.KEY)
        found = [
            (each.statement, each.relation, each.references, each.is_added)
            for each in observe(session, sql).unindexed
        ]
        assert found == ([(number, ORDERS, USERS, False)] if number else [])

    def test_a_key_that_was_there_before_is_not_named(self, session: Connection) -> None:
        session.run(self.KEY)
        assert observe(session, "alter table orders validate constraint f").unindexed == ()
