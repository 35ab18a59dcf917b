"""The sizes of a live database: partitions, locks, roles without rights, and nothing waited for."""

from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database

from lib.database.connection import Connection
from lib.database.login import connect
from lib.database.sql_composition import filled
from lib.review.live_sizes import LiveSizes, TableSize
from lib.review.sizes_query import BYTES_PER_ROW, find_on_record, read_sizes, sizes_on_record


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    with connect(db.target, application_name="test", timeout=10) as opened:
        yield opened


def sizes(connection: Connection) -> LiveSizes:
    return read_sizes(connection)[1]


def size(connection: Connection, relation: str) -> TableSize:
    found = sizes(connection).of(relation)
    assert found is not None
    return found


def on_record(connection: Connection, relation: str) -> TableSize:
    """The size by the catalog alone."""
    which = filled("c.oid = {relation}::regclass", relation=relation)
    rows = connection.query(find_on_record(which), read_only=True)[-1]
    [found] = sizes_on_record(rows).tables.values()
    return found


def test_a_table_has_the_size_of_its_rows_indexes_and_toast(
    db: Database, connection: Connection
) -> None:
    db.query("create table t (id int primary key, body text)")
    db.query("alter table t alter body set storage external")
    db.query("insert into t select i, repeat('x', 5000) from generate_series(1, 1000) i")
    db.query("vacuum analyze t")
    exact = size(connection, "public.t")
    assert exact.rows == 1000
    assert [(exact.bytes,)] == db.query("select pg_total_relation_size('t')")
    # What is on record after a vacuum lacks only the maps of free space and visibility.
    rough = on_record(connection, "public.t")
    assert 0.9 * exact.bytes < rough.bytes <= exact.bytes
    assert rough.rows == 1000


def test_a_name_is_quoted_as_the_server_quotes_it(db: Database, connection: Connection) -> None:
    db.query('create schema "My Shop"; create table "My Shop"."a.b""c" (x int)')
    name = '"My Shop"."a.b""c"'
    assert name in sizes(connection).tables
    assert on_record(connection, name).relation == name


def test_a_table_that_was_never_analyzed_has_about_its_rows(
    db: Database, connection: Connection
) -> None:
    db.query("create table t with (autovacuum_enabled = off) as select generate_series(1, 5000) x")
    assert size(connection, "public.t").rows == 5000
    db.query("select pg_stat_reset_single_table_counters('t'::regclass)")
    found = size(connection, "public.t")
    assert found.rows == pytest.approx(found.bytes / BYTES_PER_ROW, rel=0.2)


def test_a_table_that_has_grown_since_it_was_analyzed_has_more_rows(
    db: Database, connection: Connection
) -> None:
    db.query("create table t with (autovacuum_enabled = off) as select generate_series(1, 20000) x")
    db.query("analyze t")
    db.query("insert into t select generate_series(1, 180000)")
    assert size(connection, "public.t").rows == pytest.approx(200_000, rel=0.4)


@pytest.mark.parametrize("child", ["partition of p for values from (0) to (10)", "() inherits (p)"])
def test_a_parent_has_the_size_of_what_is_below_it(
    db: Database, connection: Connection, child: str
) -> None:
    how = "partition by range (x)" if child.startswith("partition") else ""
    db.query(f"create table p (x int) {how}; create table c {child}")
    db.query("insert into c select 1 from generate_series(1, 5000)")
    db.query("vacuum analyze c")
    found = sizes(connection)
    assert found.tables["public.p"].rows == found.tables["public.c"].rows == 5000
    assert found.tables["public.p"].bytes == found.tables["public.c"].bytes > 0
    assert on_record(connection, "public.p").rows == 5000


def test_a_materialized_view_has_a_size(db: Database, connection: Connection) -> None:
    db.query("create materialized view m as select generate_series(1, 5000) x; analyze m")
    assert size(connection, "public.m").rows == 5000


def test_reads_and_writes_are_counted(db: Database, connection: Connection) -> None:
    db.query("create table t (id int primary key)")
    db.query("insert into t select generate_series(1, 10); delete from t where id < 3")
    db.query("select count(*) from t")
    found = size(connection, "public.t")
    assert found.writes == 12
    assert found.reads is not None
    assert found.reads >= 1
    assert sizes(connection).counted_for is not None


def test_a_locked_table_is_not_waited_for_and_has_the_size_on_record(
    db: Database, connection: Connection
) -> None:
    db.query("create table t as select generate_series(1, 5000) x; create table u (x int)")
    db.query("analyze t")
    with db.connect(autocommit=False) as holder:
        holder.execute("lock table t")
        found = sizes(connection)
        assert (found.tables["public.t"].is_rough, found.tables["public.u"].is_rough) == (
            True,
            False,
        )
        assert found.tables["public.t"].rows == 5000
        assert on_record(connection, "public.t").rows == 5000


def test_an_index_that_is_locked_is_not_waited_for(db: Database, connection: Connection) -> None:
    db.query("create table t (id int primary key)")
    with db.connect(autocommit=False) as holder:
        holder.execute("reindex index t_pkey")
        assert size(connection, "public.t").is_rough


def test_an_old_transaction_has_an_age(db: Database, connection: Connection) -> None:
    db.query("create table t (x int); create table u (x int)")
    with db.connect(autocommit=False) as holder:
        holder.execute("select pg_sleep(1.1) from (select count(*) from t) as counted")
        found = sizes(connection)
    oldest = found.tables["public.t"].oldest_transaction
    assert oldest is not None
    assert oldest >= 1
    assert found.tables["public.u"].oldest_transaction is None


def test_a_lowly_role_reads_the_sizes_of_tables_that_it_may_not_read(db: Database) -> None:
    db.query("create schema hidden; create table hidden.t as select generate_series(1, 5000) x")
    db.query("analyze hidden.t")
    with db.connect(autocommit=False) as holder, db.another_role() as lowly:
        holder.execute("select 1 from hidden.t limit 1")
        with connect(lowly.target, application_name="test", timeout=10) as opened:
            found = size(opened, "hidden.t")
        holder.rollback()
    # Of the sessions of others the server tells no age.
    assert (found.rows, found.oldest_transaction) == (5000, None)
    assert found.bytes > 0


def test_nothing_of_anybodys_runs(db: Database) -> None:
    """A function or an operator in a schema of the search_path stands in for none of the server."""
    db.query("create schema evil")
    for name in ("quote_ident(name)", "pg_total_relation_size(oid)"):
        db.query(
            f"create function evil.{name} returns text language plpgsql as "
            "$$begin raise exception 'called'; end$$"
        )
    db.query(f"alter database {db.target.database} set search_path = evil, pg_catalog, public")
    db.query("create table public.t (x int)")
    with connect(db.target, application_name="test", timeout=10) as opened:
        assert "public.t" in sizes(opened).tables


def test_what_the_system_and_a_session_have_for_themselves_is_left_out(
    db: Database, connection: Connection
) -> None:
    with db.connect() as other:
        other.execute("create temporary table mine (x int)")
        assert sizes(connection).tables == {}


def test_a_prepared_transaction_has_an_age(db: Database, connection: Connection) -> None:
    db.query("create table t (x int)")
    try:
        db.query("begin; insert into t values (1); prepare transaction 'left'")
    except psycopg.errors.ObjectNotInPrerequisiteState:
        pytest.skip("max_prepared_transactions is 0 on this server")
    try:
        assert size(connection, "public.t").oldest_transaction is not None
    finally:
        db.query("rollback prepared 'left'")
