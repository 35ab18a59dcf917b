"""What a run and a plan say of pending files, on a real database."""

from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.dry_run import preview
from lib.actions.migrate import migrate
from lib.actions.review_check import ReviewError
from lib.actions.run_parameters import RunContext
from lib.plan.reports import RunReport
from lib.settings.connection_target import ConnectionTarget

MakeContext = Callable[..., RunContext]

SHOP = """
create table users (id int primary key, email text, name varchar(10), "Odd" int);
create table orders (id int primary key, user_id int, note text);
create view recent as select id from orders;
create type mood as enum ('fine');
create function total() returns int language sql as 'select 1';
create schema old;
create table old.things (id int);
"""
# What PostgreSQL has on record of a table after a vacuum: pages of 8 kB, and rows.
LARGE = """
update pg_class set relpages = 6553600, reltuples = 48000000
 where oid in ('users'::regclass, 'orders'::regclass)
"""


class Shop:
    """A database with tables, and the next file of its project."""

    def __init__(self, make_context: MakeContext, bundle: Bundle, db: Database) -> None:
        self.make_context, self.bundle, self.db = make_context, bundle, db
        self.files = 0

    def write(self, sql: str) -> None:
        self.bundle.write(f"{self.files:03}-file.sql", sql)
        self.files += 1

    def run(self, sql: str, **changes: object) -> RunReport:
        self.write(sql)
        self.witness = Witness()
        changes = {"environment": "production", "drift": "off", **changes}
        return migrate(self.make_context(progress=self.witness, **changes))

    def make_large(self) -> None:
        self.db.query(LARGE + " returning 1")

    @property
    def warnings(self) -> list[str]:
        return [text for (text,) in self.witness.of("warning")]


@pytest.fixture
def shop(make_context: MakeContext, bundle: Bundle, db: Database) -> Shop:
    made = Shop(make_context, bundle, db)
    assert made.run(SHOP).error is None
    return made


def rules(report: RunReport) -> list[tuple[str, str]]:
    found = [finding.to_dict() for finding in report.review.findings]
    return [(each["rule"], each["severity"]) for each in found]


def test_a_new_database_gets_no_finding(shop: Shop) -> None:
    assert shop.warnings == []


BY_CODE = {
    "drop table orders cascade": ("drops-table", "public.orders is dropped."),
    "alter table users drop column email": ("drops-column", "public.users.email is dropped."),
    'alter table users drop "Odd"': ("drops-column", 'public.users."Odd" is dropped.'),
    "drop view recent": ("drops-view", "public.recent is dropped."),
    "drop type mood": ("drops-type", "public.mood is dropped."),
    "drop function total()": ("drops-function", "public.total is dropped."),
    "drop schema old cascade": ("drops-table", "old is dropped."),
    "set search_path to old; drop table things": ("drops-table", "old.things is dropped."),
    "alter table users rename to people": ("renames-table", "public.users is now people."),
    "alter table old.things set schema public": (
        "renames-table",
        "old.things is moved to the schema public.",
    ),
    'set search_path to "$user", old; drop table things': ("drops-table", "old.things is dropped."),
    "drop routine total": ("drops-function", "public.total is dropped."),
    "create table if not exists orders (id int); drop table orders cascade": (
        "drops-table",
        "public.orders is dropped.",
    ),
    "create or replace view recent as select id from orders; drop view recent": (
        "drops-view",
        "public.recent is dropped.",
    ),
    "alter table users rename email to mail": (
        "renames-column",
        "public.users.email is now public.users.mail.",
    ),
    "alter table users add token text not null": (
        "requires-column",
        "public.users.token is new and required: each insert of deployed code fails.",
    ),
}


@pytest.mark.parametrize("sql", BY_CODE)
def test_what_breaks_deployed_code_is_told_before_the_file_runs(shop: Shop, sql: str) -> None:
    rule, message = BY_CODE[sql]
    report = shop.run(f"-- a comment\n{sql};")
    assert report.error is None
    assert rules(report) == [(rule, "stop")]
    [warning] = shop.warnings
    assert warning.startswith(f"migrations/001-file.sql:2: {message} ({rule})")
    heard = [name for name, _ in shop.witness.heard]
    assert heard.index("warning") < heard.index("applied")
    assert list(report.warnings) == shop.warnings


QUIET = [
    "drop table if exists nothing; drop view if exists nobody; drop type if exists nought",
    "alter table users drop column if exists nothing",
    "create table made (id int); alter table made drop column id; drop table made",
    "drop view recent; create view recent as select id, note from orders",
    "drop function total(); create function total() returns bigint language sql as 'select 1'",
    "alter table orders rename to purchases; create view orders as select * from purchases",
    "create temp table users (id int); drop table pg_temp.users",
    "create temp table users (id int); drop table users",
    "select 1 as id into temp users; truncate users; alter table users drop column id",
    "truncate old.things, orders",
    "set search_path to old; set search_path to default; drop table if exists things",
    "set search_path to old; reset search_path; drop table if exists things",
    r'create table U&"\D83D\DE00" (a int); drop table U&"\D83D\DE00"',
    r'drop table if exists U&"\FFFD"',
    "-- review: ignore drops-column\ndrop table if exists nothing",
    "alter table users add a int not null default 1, add b bigserial not null",
    "alter table users alter email set not null",
    "create index on users (email)",
    "alter table orders add foreign key (user_id) references users",
    "update users set name = 'x'",
    "select 'drop table users'",
]


@pytest.mark.parametrize("sql", QUIET)
def test_what_is_new_missing_made_anew_or_small_is_not_mentioned(shop: Shop, sql: str) -> None:
    report = shop.run(sql)
    assert report.error is None
    assert rules(report) == []
    assert shop.warnings == []


def test_a_temporary_table_hides_another_until_it_is_dropped(shop: Shop) -> None:
    report = shop.run("create temp table users (id int);\ndrop table users;\ndrop table users;")
    assert report.error is None
    assert [each["line"] for each in report.to_dict()["findings"]] == [3]


def test_a_table_that_takes_the_place_of_another_lacks_its_rows(shop: Shop) -> None:
    report = shop.run("alter table users rename to people; create table users (id int)")
    assert rules(report) == [("renames-table", "warn")]


@pytest.mark.parametrize("name", [r"\\D83D", r"\\0000"])
def test_a_name_that_the_server_refuses_is_refused_by_the_server(shop: Shop, name: str) -> None:
    report = shop.run(f'drop table if exists U&"{name[1:]}"')
    assert "SQLSTATE 42601" in str(report.error)


def test_no_secret_of_a_statement_is_in_what_to_write_instead(shop: Shop) -> None:
    shop.make_large()
    report = shop.run(
        "alter table users add column password text not null default 'hunter2' || random()::text"
    )
    assert report.error is None
    assert rules(report) == [("rewrites-table", "stop")]
    assert "hunter2" not in f"{shop.warnings} {report.to_dict()}"
    assert "set default '…' || random()" in shop.warnings[0]


BY_SIZE = {
    "create index on users (email)": ("builds-index-under-lock", "stop"),
    "alter table users alter email set not null": ("scans-under-lock", "stop"),
    "alter table users add check (id > 0)": ("scans-under-lock", "stop"),
    "alter table orders add foreign key (user_id) references users": ("scans-under-lock", "stop"),
    "alter table users add unique (email)": ("builds-index-under-lock", "stop"),
    "alter table users alter id type bigint": ("rewrites-table", "warn"),
    "alter table users add token uuid default gen_random_uuid()": ("rewrites-table", "stop"),
    "update users set name = 'x'": ("writes-many-rows", "stop"),
    "delete from orders": ("writes-many-rows", "stop"),
    "create table every (like orders) partition by range (id); alter table every "
    "attach partition orders for values from (0) to (9)": ("scans-under-lock", "warn"),
    "truncate orders": ("truncates-table", "stop"),
    "cluster users using users_pkey": ("rewrites-table", "stop"),
}


@pytest.mark.parametrize("sql", BY_SIZE)
def test_what_holds_up_a_large_table_is_told(shop: Shop, sql: str) -> None:
    shop.make_large()
    report = shop.run(sql)
    assert report.error is None
    assert rules(report) == [BY_SIZE[sql]]
    assert "48,000,000 rows, 50 GB" in shop.warnings[0]


def test_the_safer_way_is_written_out_below_the_finding(shop: Shop) -> None:
    shop.make_large()
    assert shop.run("create index on users (email)").error is None
    assert shop.warnings[0].endswith("\ncreate index concurrently on users (email);")
    assert "(builds-index-under-lock)\n" in shop.warnings[0]


PARTS = """
create table parts (a int) partition by list (a);
create table part partition of parts for values in (1);
"""


def test_a_partitioned_table_is_not_told_to_build_its_index_concurrently(shop: Shop) -> None:
    assert shop.run(PARTS).error is None
    shop.db.query(LARGE.replace("'orders'", "'part'") + " returning 1")
    assert shop.run("create index on parts (a)").error is None
    assert "on only" in shop.warnings[0]
    assert "create index concurrently on" not in shop.warnings[0]


QUIET_ON_A_LARGE_TABLE = [
    "create index concurrently on users (email)",
    "alter table users add check (email is not null) not valid",
    "alter table orders add foreign key (user_id) references users not valid",
    "alter table orders add user_id2 int references users",
    "alter table users alter name type varchar(20), alter email type varchar",
    "alter table users add seen timestamptz default now()",
    "update users set name = 'x' where id = 1",
    "alter table users alter id set not null",
]


@pytest.mark.parametrize("sql", QUIET_ON_A_LARGE_TABLE)
def test_the_safer_way_is_not_mentioned(shop: Shop, sql: str) -> None:
    shop.make_large()
    report = shop.run(sql)
    assert report.error is None
    assert rules(report) == []


def test_set_not_null_behind_a_valid_check_does_not_look(shop: Shop) -> None:
    shop.db.query("alter table users add check (email is not null); select 1")
    shop.make_large()
    assert rules(shop.run("alter table users alter email set not null")) == []


def test_a_check_that_is_not_valid_proves_nothing(shop: Shop) -> None:
    shop.db.query("alter table users add check (email is not null) not valid; select 1")
    shop.make_large()
    report = shop.run("alter table users alter email set not null")
    assert rules(report) == [("scans-under-lock", "stop")]


def test_a_check_of_a_pending_file_counts_for_the_next(shop: Shop) -> None:
    shop.make_large()
    shop.write("alter table users add constraint c check (email is not null) not valid")
    shop.write("alter table users validate constraint c")
    assert rules(shop.run("alter table users alter email set not null")) == []


@pytest.mark.parametrize(
    ("environment", "severity", "told"),
    [("production", "stop", 1), ("preview", "warn", 1), ("development", "note", 0)],
)
def test_a_laptop_has_no_deployed_code(
    shop: Shop, environment: str, severity: str, told: int
) -> None:
    shop.db.query("delete from schema_migration_runs returning 1")
    report = shop.run("alter table users drop column email", environment=environment)
    assert rules(report) == [("drops-column", severity)]
    assert len(shop.warnings) == told


def test_stop_applies_nothing_and_names_the_findings(shop: Shop) -> None:
    shop.write("create table first (id int)")
    report = shop.run("alter table users drop column email", review="stop")
    assert isinstance(report.error, ReviewError)
    assert report.exit_code == 3
    assert report.applied == ()
    assert not shop.db.has("first")
    assert "migrations/002-file.sql:1: public.users.email is dropped." in str(report.error)
    assert "-- review: ignore drops-column because" in str(report.error)
    document = report.to_dict()
    assert [each["rule"] for each in document["findings"]] == ["drops-column"]
    # No run has begun.
    assert len(shop.db.runs()) == 1


def test_stop_lets_a_warning_pass(shop: Shop) -> None:
    shop.make_large()
    assert shop.run("alter table users alter id type bigint", review="stop").error is None
    assert len(shop.warnings) == 1


def test_off_reads_nothing(shop: Shop) -> None:
    report = shop.run("alter table users drop column email", review="off")
    assert (rules(report), shop.warnings) == ([], [])


@pytest.mark.parametrize("review", ["warn", "stop"])
def test_a_plan_says_what_a_run_would(shop: Shop, review: str) -> None:
    shop.write("alter table users drop column email")
    context = shop.make_context(environment="production", review=review)
    planned = preview(context)
    report = migrate(context)
    assert str(planned.obstacle) == str(report.error)
    assert planned.to_dict()["findings"] == report.to_dict()["findings"]
    assert any("public.users.email is dropped" in text for text in planned.warnings)


def test_a_lock_on_the_table_is_not_waited_for(shop: Shop, db: Database) -> None:
    shop.write("alter table users drop column email")
    with db.connect() as other:
        other.execute("begin")
        other.execute("lock table users in access exclusive mode")
        planned = preview(shop.make_context(environment="production"))
    assert [each.to_dict()["rule"] for each in planned.review.findings] == ["drops-column"]


def test_a_review_that_cannot_be_made_is_a_line_and_not_a_failed_run(
    shop: Shop, make_context: MakeContext, db: Database
) -> None:
    """Not every role may read every catalog; such a role may still migrate."""
    db.query("revoke select on pg_catalog.pg_prepared_xacts from public; select 1")
    with db.another_role() as lowly:
        db.query(f"grant select on schema_migrations, schema_migration_runs to {lowly.target.role}")
        shop.write("alter table users drop column email")
        planned = preview(make_context(environment="production", target=lowly.target))
    assert planned.obstacle is None
    assert planned.warnings[-1].startswith("The pending files could not be reviewed: permission")


def test_an_ignored_finding_stops_nothing_and_is_listed_with_its_reason(shop: Shop) -> None:
    ignore = "-- review: ignore drops-column because no code has read it since May"
    report = shop.run(f"{ignore}\nalter table users drop column email", review="stop")
    assert report.error is None
    assert (rules(report), shop.warnings) == ([], [])
    [ignored] = report.to_dict()["ignored"]
    assert (ignored["rule"], ignored["reason"]) == (
        "drops-column",
        "no code has read it since May",
    )


def test_the_names_are_those_that_the_files_will_find(
    shop: Shop, make_context: MakeContext, db: Database
) -> None:
    shop.write("drop table things")
    elsewhere = db.but(options="-csearch_path=old")
    planned = preview(make_context(environment="production", target=elsewhere.target))
    assert planned.warnings[-1].startswith("migrations/001-file.sql:1: old.things is dropped.")


def test_a_pooler_in_transaction_mode_is_fine(shop: Shop, pooled: ConnectionTarget) -> None:
    report = shop.run("alter table users drop column email", target=pooled)
    assert report.error is None
    assert rules(report) == [("drops-column", "stop")]


def test_a_log_has_no_more_than_twenty(shop: Shop) -> None:
    columns = ", ".join(f"c{n} int" for n in range(30))
    assert shop.run(f"create table wide ({columns})").error is None
    drops = ", ".join(f"drop c{n}" for n in range(30))
    report = shop.run(f"alter table wide {drops}")
    assert len(report.review.findings) == 30
    assert len(shop.warnings) == 21
    assert shop.warnings[-1] == "… and 10 more findings; --json lists them all."
