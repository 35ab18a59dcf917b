"""Facts times sizes: what is silent, what is a warning, what is a stop. Pure."""

import pytest
from uniform_sizes import uniform_sizes

from lib.rehearse.statement_facts import (
    FileFacts,
    RelationLock,
    StatementFacts,
    UnindexedForeignKey,
)
from lib.rehearse.weighing import weigh
from lib.review.finding import Finding, Severity
from lib.review.live_sizes import LiveSizes, TableSize, sizes_of
from lib.review.rules import RULES

GB = 1024**3
WEAK, STRONGEST = "ShareUpdateExclusive", "AccessExclusive"
ORDERS, USERS = "public.orders", "public.users"
TEN_ROWS = uniform_sizes(10, 16 * 1024)
LARGE = uniform_sizes(400_000_000, 50 * GB)


def statement(
    text: str,
    number: int = 1,
    *,
    lock: str = "",
    until: int = 0,
    rewrites: bool = False,
    scans: bool = False,
    builds: bool = False,
    writes: bool = False,
    relation: str = ORDERS,
) -> StatementFacts:
    """A statement on one table, on line 10 times its number."""
    locks = (RelationLock(relation, lock, until or number),) if lock else ()
    it = (relation,)
    return StatementFacts(
        number,
        number * 10,
        text,
        locks=locks,
        rewrites=it if rewrites else (),
        scans=it if scans else (),
        builds=it if builds else (),
        written=it if writes else (),
    )


def file(
    *statements: StatementFacts,
    is_transaction: bool = True,
    unindexed: tuple[UnindexedForeignKey, ...] = (),
) -> FileFacts:
    return FileFacts("004-x", is_transaction, statements, unindexed=unindexed)


def found(sizes: LiveSizes | None, *statements: StatementFacts) -> list[tuple[str, str, int]]:
    return [(f.rule, f.severity.value, f.line) for f in weigh([file(*statements)], sizes)]


def only(sizes: LiveSizes | None, *statements: StatementFacts) -> Finding:
    [finding] = weigh([file(*statements)], sizes)
    return finding


SET_NOT_NULL = statement("alter table orders alter total set not null", lock=STRONGEST, scans=True)
TYPE = statement(
    "alter table orders alter total type bigint", lock=STRONGEST, rewrites=True, scans=True
)
INDEX = statement("create index on orders (total)", lock="Share", scans=True, builds=True)
UNIQUE = statement("alter table orders add unique (code)", lock=STRONGEST, scans=True, builds=True)
# What is done to one table, and its rule.
WORK = {
    "scans-under-lock": SET_NOT_NULL,
    "rewrites-table": TYPE,
    "builds-index-under-lock": INDEX,
}


@pytest.mark.parametrize("rule", WORK)
def test_on_ten_rows_it_is_not_mentioned_and_on_50_gb_it_is_a_stop(rule: str) -> None:
    assert found(TEN_ROWS, WORK[rule]) == []
    assert found(LARGE, WORK[rule]) == [(rule, "stop", 10)]


@pytest.mark.parametrize("rule", WORK)
def test_a_table_that_the_database_lacks_is_new(rule: str) -> None:
    assert found(LiveSizes(), WORK[rule]) == []


@pytest.mark.parametrize("rule", WORK)
def test_without_sizes_it_is_a_warning_that_says_so(rule: str) -> None:
    finding = only(None, WORK[rule])
    assert (finding.rule, finding.severity) == (rule, Severity.WARN)
    assert "its size is not known, since no database was asked" in finding.message


def test_a_finding_has_the_size_an_estimate_and_the_safer_way() -> None:
    finding = only(LARGE, SET_NOT_NULL)
    assert finding.message == (
        "public.orders is read from end to end while its reads and writes wait "
        "(400,000,000 rows, 50 GB: 25 s to 8 min)."
    )
    assert "add constraint orders_total_is_not_null check (total is not null)" in finding.instead


def test_a_scan_of_a_table_that_is_not_that_large_is_a_warning() -> None:
    assert found(uniform_sizes(10**6, 100 * 1024**2), SET_NOT_NULL) == [
        ("scans-under-lock", "warn", 10)
    ]


def test_an_index_blocks_writes_alone() -> None:
    assert " while its writes wait (" in only(LARGE, INDEX).message
    assert " while its reads and writes wait (" in only(LARGE, UNIQUE).message


@pytest.mark.parametrize(
    "harmless",
    [
        statement("create index concurrently on orders (a)", lock=WEAK, builds=True),
        statement("alter table orders validate constraint c", lock=WEAK, scans=True),
        statement("alter table orders add column a int", lock=STRONGEST),
        statement("select * from orders", lock="AccessShare", scans=True),
        statement("insert into orders values (1)", lock="RowExclusive", writes=True),
        statement("insert into orders select * from orders", scans=True, writes=True),
    ],
    ids=lambda each: each.text,
)
@pytest.mark.parametrize("sizes", [LARGE, None], ids=["large", "unknown"])
def test_what_holds_nobody_up_is_not_mentioned(
    harmless: StatementFacts, sizes: LiveSizes | None
) -> None:
    assert found(sizes, harmless) == []


def test_a_foreign_key_is_found_on_both_tables_that_it_reads() -> None:
    both = StatementFacts(
        1,
        1,
        "alter table orders add foreign key (user_id) references users",
        locks=(
            RelationLock(ORDERS, "ShareRowExclusive", 1),
            RelationLock(USERS, "ShareRowExclusive", 1),
        ),
        scans=(ORDERS, USERS),
    )
    sizes = sizes_of([TableSize(ORDERS, 10, 8192), TableSize(USERS, 10**9, 100 * GB)])
    finding = only(sizes, both)
    assert finding.message.startswith("public.users is read from end to end while its writes wait")
    assert "not valid" in finding.instead
    # One SQL mends it, so it is told once, from the gravest.
    sizes = sizes_of([TableSize(ORDERS, 10**6, 100 * 1024**2), TableSize(USERS, 10**9, 100 * GB)])
    finding = only(sizes, both)
    assert finding.severity is Severity.STOP
    assert finding.message.index(USERS) < finding.message.index(ORDERS)


def test_a_lock_that_an_earlier_statement_holds_is_named_by_its_line() -> None:
    finding = only(
        LARGE,
        statement("alter table orders add check (a > 0) not valid", lock=STRONGEST, until=2),
        statement("alter table orders validate constraint c", 2, scans=True),
    )
    assert (finding.rule, finding.line) == ("scans-under-lock", 20)
    assert ", since line 10 (" in finding.message
    assert finding.instead.startswith("Put it into a file of its own")


def test_work_on_a_large_table_while_another_is_locked() -> None:
    locked = statement(
        "alter table users add column a int", lock=STRONGEST, until=2, relation=USERS
    )
    finding = only(LARGE, locked, statement("update orders set a = 1", 2, scans=True, writes=True))
    assert (finding.rule, finding.severity, finding.line) == ("works-while-locking", "stop", 20)
    assert "reads and writes of public.users (line 10)" in finding.message


def test_a_column_is_added_and_filled_in_one_file() -> None:
    added = statement("alter table orders add column a int", lock=STRONGEST, until=2)
    filled = "update orders set a = 1"
    assert found(LARGE, added, statement(filled, 2, scans=True, writes=True)) == [
        ("works-while-locking", "stop", 20)
    ]
    # It may be as few rows as it likes.
    where = statement(f"{filled} where a is null", 2, scans=True, writes=True)
    assert found(LARGE, added, where) == [("works-while-locking", "warn", 20)]
    assert found(TEN_ROWS, added, where) == []


def test_outside_a_transaction_each_lock_ends_with_its_statement() -> None:
    facts = file(
        statement("alter table orders add column a int", lock=STRONGEST, until=1),
        statement("update orders set a = 1", 2, scans=True, writes=True),
        is_transaction=False,
    )
    assert [finding.rule for finding in weigh([facts], LARGE)] == ["writes-many-rows"]


def test_a_table_that_nobody_uses_may_be_locked_while_another_is_worked_on() -> None:
    sizes = sizes_of(
        [TableSize(USERS, 10, 8192, reads=0, writes=0), TableSize(ORDERS, 10**9, 50 * GB)]
    )
    locked = statement("alter table users add a int", lock=STRONGEST, until=2, relation=USERS)
    work = statement("update orders set a = 1", 2, scans=True, writes=True)
    assert found(sizes, locked, work) == [("writes-many-rows", "stop", 20)]


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("update orders set a = 1", "stop"),
        ("delete from orders", "stop"),
        ("update orders set a = 1 where id = 1", "note"),
        ("do $$ begin update orders set a = 1; end $$", "note"),
        ("with x as (select 1) update orders set a = 1", "stop"),
    ],
)
def test_rows_that_are_written(text: str, severity: str) -> None:
    writing = statement(text, lock="RowExclusive", scans=True, writes=True)
    assert found(LARGE, writing) == [("writes-many-rows", severity, 10)]
    assert found(TEN_ROWS, writing) == []


ADD_COLUMN = statement("alter table orders add column a int", lock=STRONGEST)


def with_use(*, reads: int = 0, oldest_transaction: int | None = None) -> LiveSizes:
    size = TableSize(ORDERS, 10, 8192, reads, 0, oldest_transaction)
    return sizes_of([size], counted_for=1000)


def test_a_brief_lock_behind_an_old_transaction_is_a_warning() -> None:
    assert found(with_use(oldest_transaction=300), ADD_COLUMN) == [
        ("waits-behind-lock", "warn", 10)
    ]
    assert found(with_use(oldest_transaction=0), ADD_COLUMN) == []
    message = only(with_use(oldest_transaction=300), ADD_COLUMN).message
    assert "a transaction that is 5 min old holds a lock on it" in message
    assert "MIGRATION_LOCK_TIMEOUT" in message


def test_a_brief_lock_on_a_busy_table_is_noted() -> None:
    assert found(with_use(reads=10**6), ADD_COLUMN) == [("waits-behind-lock", "note", 10)]
    assert found(with_use(reads=10**4), ADD_COLUMN) == []


def test_a_small_table_with_an_old_transaction_is_not_silent() -> None:
    assert found(with_use(oldest_transaction=300), SET_NOT_NULL) == [
        ("waits-behind-lock", "warn", 10)
    ]


def test_several_tables_in_one_transaction() -> None:
    first = statement("alter table orders add a int", lock=STRONGEST, until=2)
    second = statement("alter table users add a int", 2, lock=STRONGEST, relation=USERS)
    assert found(LARGE, first, second) == [("locks-several-tables", "warn", 20)]
    assert found(TEN_ROWS, first, second) == []
    assert found(None, first, second) == [("locks-several-tables", "note", 20)]
    apart = file(first, second, is_transaction=False)
    assert weigh([apart], LARGE) == ()


@pytest.mark.parametrize(
    ("sizes", "severities"),
    [(LARGE, ["warn"]), (TEN_ROWS, []), (LiveSizes(), []), (None, ["warn"])],
)
def test_a_foreign_key_without_an_index(sizes: LiveSizes | None, severities: list[str]) -> None:
    key = UnindexedForeignKey(1, ORDERS, "orders_user_fkey", 'user_id, "A b"', USERS)
    facts = file(ADD_COLUMN, unindexed=(key,))
    findings = weigh([facts], sizes)
    assert [finding.severity for finding in findings] == severities
    for finding in findings:
        assert finding.rule == "foreign-key-without-index"
        assert finding.instead.endswith(
            'create index concurrently on public.orders (user_id, "A b");'
        )


def test_rows_are_deleted_that_a_large_table_references_without_an_index() -> None:
    key = UnindexedForeignKey(1, ORDERS, "orders_user_fkey", "user_id", USERS, is_added=False)
    deleting = StatementFacts(1, 7, "delete from users where id = 1", written=(USERS,))
    sizes = sizes_of([TableSize(USERS, 10, 8192), TableSize(ORDERS, 10**9, 50 * GB)])
    [finding] = weigh([file(deleting, unindexed=(key,))], sizes)
    assert (finding.rule, finding.severity, finding.line) == (
        "foreign-key-without-index",
        Severity.WARN,
        7,
    )
    assert finding.message == (
        "Each row that is deleted from public.users makes the server read all of public.orders "
        "(1,000,000,000 rows, 50 GB), whose foreign key orders_user_fkey has no index on user_id."
    )
    assert weigh([file(deleting, unindexed=(key,))], TEN_ROWS) == ()


def test_rows_in_a_file_of_their_own_are_still_many() -> None:
    added = statement("alter table orders add a int", lock=STRONGEST, until=2)
    work = statement("update orders set a = 1", 2, scans=True, writes=True)
    instead = only(LARGE, added, work).instead
    assert instead.startswith("Put it into a file of its own")
    assert "Write the rows in batches" in instead


def test_who_reads_a_materialized_view_waits_for_what_it_is_made_of() -> None:
    view = "public.report"
    facts = StatementFacts(
        1,
        1,
        "refresh materialized view report",
        locks=(RelationLock(view, STRONGEST, 1), RelationLock(ORDERS, "AccessShare", 1)),
        rewrites=(view,),
        scans=(ORDERS, view),
    )
    small_view = sizes_of([TableSize(view, 10, 8192), TableSize(ORDERS, 10**9, 50 * GB)])
    finding = only(small_view, facts)
    assert (finding.rule, finding.severity) == ("works-while-locking", Severity.STOP)
    assert "reads and writes of public.report (line 1)" in finding.message
    assert finding.instead.endswith("refresh materialized view concurrently report;")
    assert "rewrites-table" in [rule for rule, _, _ in found(LARGE, facts)]
    meanwhile = StatementFacts(
        1,
        1,
        "refresh materialized view concurrently report",
        locks=(RelationLock(view, "Exclusive", 1),),
        scans=(ORDERS, view),
    )
    assert found(LARGE, meanwhile) == []


def test_a_statement_that_failed_did_nothing() -> None:
    failed = StatementFacts(1, 1, TYPE.text, TYPE.locks, TYPE.rewrites, failure="no")
    assert found(LARGE, failed) == []


def test_every_rule_is_in_the_table() -> None:
    everything = [*WORK.values(), statement("update orders set a = 1", scans=True, writes=True)]
    for facts in everything:
        assert only(LARGE, facts).rule in RULES
