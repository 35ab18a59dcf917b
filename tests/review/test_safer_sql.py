"""The safer way, run on PostgreSQL: the same schema as the original, and weaker locks."""

import re

import pytest
from conftest import Database
from conftest import connect as raw_connect

from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.login import connect
from lib.masking import without_credentials
from lib.review.safer_sql import KEYWORDS, index_for_key, quoted, safer_way

SETUP = """
create schema "My Shop";
create table "My Shop"."Users" (id bigint generated always as identity primary key);
create table "My Shop"."Order" (
    id bigint generated always as identity primary key,
    "user" bigint,
    total integer,
    "Note" varchar(20),
    code text
);
insert into "My Shop"."Users" default values;
insert into "My Shop"."Order" ("user", total, "Note", code)
select 1, i, i::text, i::text from generate_series(1, 100) i;
create unique index view_key on "My Shop"."Users" (id);
"""
TABLE = '"My Shop"."Order"'

# By name: the statement, and the parts of the safer way that must not hold a strong lock.
SAME_SCHEMA = {
    "a foreign key": f'alter table {TABLE} add constraint "Of User" foreign key ("user") '
    'references "My Shop"."Users" (id) on delete cascade deferrable',
    "a foreign key without a name": f'alter table {TABLE} add foreign key ("user") '
    'references "My Shop"."Users"',
    "a check": f"alter table {TABLE} add constraint positive check (total > 0)",
    "not null": f"alter table {TABLE} alter column total set not null",
    "not null of a quoted column": f'alter table {TABLE} alter "user" set not null;',
    "an index": f'create index "By Note" on {TABLE} using btree (lower("Note"), total desc) '
    "where total > 3",
    "a unique index without a name": f"create unique index on {TABLE} (code)",
    "a unique constraint": f'alter table {TABLE} add constraint "One Code" unique (code, "user")',
    "a unique constraint without a name": f"alter table {TABLE} add unique (code)",
    "a unique constraint that is deferred": f"alter table {TABLE} add constraint once "
    "unique (code) deferrable initially deferred",
    "a unique constraint with another column": f"alter table {TABLE} add constraint once "
    'unique (code) include ("Note", total)',
    "two actions": f"alter table {TABLE} alter total set not null, "
    "add constraint positive check (total > 0)",
}
WAYS_TO_CHANGE_ROWS = {
    "another type": f"alter table {TABLE} alter column total type bigint",
    "another type by an expression": f"alter table {TABLE} alter total type text using "
    "(total + 1)::text",
    "a volatile default": f"alter table {TABLE} add column token uuid default gen_random_uuid()",
    "a volatile default, not null": f"alter table {TABLE} add column token uuid "
    "default gen_random_uuid() not null",
    "not null, a volatile default": f"alter table {TABLE} add column token uuid NOT NULL "
    "default gen_random_uuid()",
}


@pytest.fixture
def copies(db: Database) -> tuple[Database, Database]:
    db.query(SETUP)
    name = f"{db.target.database}_b"
    db.query(f"create database {name} strategy file_copy")
    other = db.named(name)
    other.query(SETUP)
    return db, other


def files_of(way: str) -> list[str]:
    return [part for part in re.split(r"^-- (?:File|A file) .*\n", way, flags=re.MULTILINE) if part]


def run(db: Database, way: str) -> None:
    for file in files_of(way):
        if "concurrently" in file:
            db.query(file)
        else:
            with raw_connect(db.target, autocommit=False) as connection:
                connection.execute(file)


def snapshot(db: Database) -> dict[object, str]:
    with connect(db.target, application_name="test", timeout=10) as connection:
        found = read_snapshot(connection)
    assert isinstance(found, Snapshot)
    return dict(found.objects)


@pytest.mark.parametrize("case", SAME_SCHEMA)
def test_the_safer_way_makes_the_same_schema(case: str, copies: tuple[Database, Database]) -> None:
    one, other = copies
    one.query(SAME_SCHEMA[case])
    way = safer_way(SAME_SCHEMA[case])
    assert way
    run(other, way)
    try:
        assert snapshot(other) == snapshot(one)
    finally:
        one.query(f"drop database {other.target.database} with (force)")


@pytest.mark.parametrize("case", WAYS_TO_CHANGE_ROWS)
def test_the_safer_way_makes_the_same_columns_and_rows(
    case: str, copies: tuple[Database, Database]
) -> None:
    one, other = copies
    insert = f'insert into {TABLE} ("user", total) values (1, 1000)'
    one.query(insert)
    one.query(WAYS_TO_CHANGE_ROWS[case])
    way = safer_way(WAYS_TO_CHANGE_ROWS[case])
    first, *others = files_of(way)
    run(other, f"-- File 1:\n{first}")
    # The application goes on meanwhile, as before.
    other.query(insert)
    run(other, "".join(f"-- File n:\n{file}" for file in others))
    columns = (
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        f" where attrelid = '{TABLE}'::regclass and attnum > 0 and not attisdropped order by 1"
    )
    rows = f"select total, count(*) from {TABLE} group by 1 order by 1"
    if "token" in way:
        rows = f"select count(token), count(distinct token) from {TABLE}"
    left = f"select tgname from pg_trigger where tgrelid = '{TABLE}'::regclass and not tgisinternal"
    try:
        assert other.query(columns) == one.query(columns)
        assert other.query(rows) == one.query(rows)
        assert other.query(left) == []
    finally:
        one.query(f"drop database {other.target.database} with (force)")


def test_not_null_is_added_not_valid_where_the_server_can(db: Database) -> None:
    statement = "alter table t alter x set not null"
    way = safer_way(statement, server_version=180000)
    assert files_of(way) == [
        "alter table t add constraint t_x_not_null not null x not valid;\n",
        "alter table t validate constraint t_x_not_null;",
    ]
    if int(db.server_version.split(".")[0]) < 18:
        pytest.skip("NOT NULL cannot be NOT VALID before PostgreSQL 18")
    db.query("create table t (x int)")
    run(db, way)
    by_way = snapshot(db)
    db.query(f"drop table t; create table t (x int); {statement}")
    assert by_way == snapshot(db)


@pytest.mark.parametrize(
    "statement",
    [
        "reindex table t",
        "reindex index t_pkey",
        "refresh materialized view m",
    ],
)
def test_what_is_built_again_is_built_concurrently(statement: str, db: Database) -> None:
    db.query(
        "create table t (id int primary key); create materialized view m as select id from t;"
        "create unique index on m (id)"
    )
    way = safer_way(statement)
    assert " concurrently " in way
    db.query(way)


@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add constraint c exclude using gist (a with &&)",
        "alter table t add column b int generated always as (a + 1) stored",
        "alter table t add column b uuid default gen_random_uuid() unique",
        "alter table t add column b int check (b > 0)",
        "alter table t add column b text unique",
        'alter table t add unique ("a)")',
        "cluster t using i",
        "vacuum full t",
        "alter table t set unlogged",
        "alter table t attach partition p for values in (1)",
    ],
)
def test_what_a_text_leaves_open_is_described_in_words(statement: str) -> None:
    way = safer_way(statement)
    assert way
    assert not way.startswith("--")
    assert not way.startswith("alter")


PARTITIONED = """
create table t (a int, b int) partition by list (a);
create table t1 partition of t for values in (1);
create table t2 partition of t for values in (2);
create table owners (a int primary key);
"""


@pytest.mark.parametrize(
    ("statement", "said", "files"),
    [
        (
            "create index t_b on t (b)",
            "on only",
            (
                "create index t_b on only t (b)",
                "create index concurrently t1_b on t1 (b)",
                "create index concurrently t2_b on t2 (b)",
                "alter index t_b attach partition t1_b",
                "alter index t_b attach partition t2_b",
            ),
        ),
        (
            "alter table public.t add constraint one unique (a, b)",
            "alter table only",
            (
                "alter table only t add constraint one unique (a, b)",
                "create unique index concurrently t1_one on t1 (a, b)",
                "create unique index concurrently t2_one on t2 (a, b)",
                "alter table t1 add constraint t1_one unique using index t1_one",
                "alter table t2 add constraint t2_one unique using index t2_one",
                "alter index one attach partition t1_one",
                "alter index one attach partition t2_one",
            ),
        ),
        (
            "alter table t add constraint of_owner foreign key (a) references owners",
            "each partition first",
            (
                "alter table t1 add constraint of_owner foreign key (a) references owners"
                " not valid",
                "alter table t1 validate constraint of_owner",
                "alter table t2 add constraint of_owner foreign key (a) references owners"
                " not valid",
                "alter table t2 validate constraint of_owner",
                "alter table t add constraint of_owner foreign key (a) references owners",
            ),
        ),
    ],
)
def test_a_partitioned_table_is_told_what_it_accepts(
    db: Database, statement: str, said: str, files: tuple[str, ...]
) -> None:
    way = safer_way(statement, partitioned=("public.t",))
    assert said in way
    assert safer_way(statement, partitioned=("public.other",)) == safer_way(statement)
    with raw_connect(db.target) as connection:
        connection.autocommit = True
        connection.execute(PARTITIONED)
        for each in files:
            connection.execute(each)
        left = connection.execute(
            "select count(*) from pg_index where not indisvalid union all "
            "select count(*) from pg_constraint where not convalidated"
        ).fetchall()
        assert left == [(0,), (0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add constraint c check (a > 0) not valid",
        "alter table t validate constraint c",
        "create index concurrently i on t (a)",
        "reindex index concurrently i",
        "alter table t add constraint c unique using index i",
        "alter table t add column b int",
        "alter table t drop column b",
        "select 1",
        "do $$ begin end $$",
        "alter table t alter column c set not null $$",
        "",
    ],
)
def test_there_is_nothing_safer_than_what_is_safe_or_not_understood(statement: str) -> None:
    assert safer_way(statement) == ""


def test_a_hostile_name_stays_a_name(db: Database) -> None:
    name = '"a"";drop table t;--"'
    db.query(f"create table t (x int); create table {name} (x int)")
    way = safer_way(f"alter table {name} alter x set not null")
    run(db, way)
    assert db.has("t")
    assert db.query(
        "select attnotnull from pg_attribute join pg_class on oid = attrelid"
        " where relname like 'a\";%' and attname = 'x'"
    ) == [(True,)]


def test_what_is_beside_the_slow_part_is_not_forgotten() -> None:
    way = safer_way("alter table t add column a int, alter b set not null")
    assert way.startswith("-- The rest of the statement stays as it is.\n-- File 1")


def test_a_name_is_quoted_as_the_server_quotes_it(db: Database) -> None:
    names = ["users", "user", "A b", 'a"b', "a$", "1a", "é", "over", "values", *sorted(KEYWORDS)]
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    [found] = db.query(f"select array(select quote_ident(n) from unnest(array[{listed}]) n)")
    # An earlier server knows fewer words; quotes do no harm there.
    assert [
        (name, by_server)
        for name, by_server in zip(names, found[0], strict=True)
        if quoted(name) != by_server and name not in KEYWORDS
    ] == []
    keywords = db.query("select word from pg_get_keywords() where catcode <> 'U'")
    assert {word for (word,) in keywords} <= KEYWORDS


@pytest.mark.parametrize("column", ["token", "password", "api_key", "secret_code"])
@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add column {} uuid default gen_random_uuid() not null",
        "alter table t alter column {} type varchar(500)",
        "alter table t alter column {} set not null",
        "alter table t add unique ({})",
    ],
)
def test_no_name_is_taken_for_a_secret_that_is_masked(column: str, statement: str) -> None:
    way = safer_way(statement.format(column))
    assert without_credentials(way) == way
    assert without_credentials(way.replace("\n", " ")) == way.replace("\n", " ")


def test_the_index_of_a_foreign_key_takes_names_as_the_server_gives_them(db: Database) -> None:
    db.query('create table "T" (a int, "B" int)')
    db.query(index_for_key('public."T"', 'a, "B"', before="this"))
    assert db.query("select count(*) from pg_indexes where tablename = 'T'") == [(1,)]
