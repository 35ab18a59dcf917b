"""Pending files on a throw-away server: what is reported of them, and how a rehearsal ends."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import connect
from uniform_sizes import uniform_sizes

from lib.errors import MigratorError
from lib.files.folder import MigrationFile, parse
from lib.files.prepare_script import prepare_all
from lib.local.server_folder import home
from lib.rehearse.applied_state import AppliedState, LiveDatabase, build, on_branch
from lib.rehearse.rehearsal import Rehearsal, rehearse, rehearse_in_orders
from lib.rehearse.throwaway_server import throwaway_server
from lib.review.finding import Severity
from lib.time_limits import RehearsalLimits

APPLIED = {
    "001-users": "create table users (id bigint primary key, email text);"
    "create table orders (id bigint primary key, user_id bigint);",
}


def files(texts: Mapping[str, str]) -> tuple[MigrationFile, ...]:
    return tuple(parse(f"{name}.sql", text.encode()) for name, text in texts.items())


def state_of(
    pending: Mapping[str, str],
    applied: Mapping[str, str] = APPLIED,
    environment: str = "production",
) -> AppliedState:
    return on_branch("main", files(applied), files(pending), environment)


def rules(found: Rehearsal) -> list[tuple[str, str, int]]:
    return [(each.rule, each.version, each.line) for each in found.findings]


def test_each_file_meets_what_those_before_it_have_made(scratch_root: Path) -> None:
    pending = {
        "002-index": "create index on orders (user_id);",
        "003-drop": "create table fresh (x int);\nalter table users drop column email;",
        "004-fresh": "alter table fresh add column y int;\ncreate index concurrently on fresh (y);",
    }
    pending["004-fresh"] = "alter table fresh add column y int;"
    found = rehearse(scratch_root, state_of(pending), uniform_sizes(10, 8192))
    index, drop, fresh = found.files
    assert [lock.mode for lock in index.statements[0].locks] == ["Share"]
    assert index.statements[0].builds == ("public.orders",)
    assert [lock.relation for lock in drop.statements[1].locks] == ["public.users"]
    # The table is as new as its file.
    assert fresh.statements[0].locks == ()
    assert ("drops-column", "003-drop", 2) in rules(found)
    assert [(each.kind, each.object, each.line) for each in found.observed.breaking] == [
        ("column", "public.users.email", 2)
    ]
    assert found.verdict == "stop"
    assert found.reaches(Severity.WARN)
    assert not found.reaches(None)


def test_small_tables_are_not_mentioned_and_large_ones_stop(scratch_root: Path) -> None:
    state = state_of({"002-index": "create index on orders (user_id);"})
    small = rehearse(scratch_root, state, uniform_sizes(10, 8192))
    large = rehearse(scratch_root, state, uniform_sizes(10**9, 50 * 1024**3))
    unknown = rehearse(scratch_root, state, None)
    assert rules(small) == []
    assert [each.severity for each in large.findings] == [Severity.STOP]
    assert rules(large) == rules(unknown) == [("builds-index-under-lock", "002-index", 1)]
    assert [each.severity for each in unknown.findings] == [Severity.WARN]
    assert small.to_dict()["sizesKnown"] is True
    assert unknown.to_dict()["sizesKnown"] is False


def test_the_first_failing_file_ends_it_and_is_a_finding(scratch_root: Path) -> None:
    found = rehearse(
        scratch_root,
        state_of(
            {
                "002-good": "create table more (x int);",
                "003-bad": "select 1;\n\ninsert into missing values (1);",
                "004-more": "create table yet (x int);",
            }
        ),
        None,
    )
    assert rules(found) == [("fails", "003-bad", 3)]
    [finding] = found.findings
    assert 'relation "missing" does not exist (SQLSTATE 42P01)' in finding.message
    assert [each.not_rehearsed for each in found.files] == [None, None, "003-bad fails"]
    document = found.to_dict()
    assert document["files"][1]["statements"][1]["sqlstate"] == "42P01"
    assert document["verdict"] == "stop"


def test_a_file_may_end_all_other_sessions_of_its_role(scratch_root: Path) -> None:
    ends = (
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
        " where usename = current_user and pid <> pg_backend_pid();"
    )
    pending = {"002-end": ends, "003-drop": "alter table users drop column email;"}
    found = rehearse(scratch_root, state_of(pending), uniform_sizes(10, 8192))
    assert [(each.version, each.not_rehearsed) for each in found.files] == [
        ("002-end", None),
        ("003-drop", None),
    ]
    assert rules(found) == [("drops-column", "003-drop", 1)]


def test_a_file_that_the_runner_refuses_is_a_finding(scratch_root: Path) -> None:
    pending = {"002-good": "create table more (x int);", "003-bad": "select 1;\ncommit;"}
    found = rehearse(scratch_root, state_of(pending), None)
    assert [each.version for each in found.files] == ["002-good"]
    assert rules(found) == [("fails", "003-bad", 2)]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("copy (select 1) to program 'env'", "permission denied"),
        ("create extension postgres_fdw", "permission denied"),
        ("create extension postgis", "not available"),
        ("alter role current_user superuser", "permission denied"),
    ],
)
def test_what_needs_a_superuser_is_not_rehearsed(
    scratch_root: Path, statement: str, reason: str
) -> None:
    pending = {"002-beyond": f"select 1;\n{statement};", "003-more": "create table more (x int);"}
    found = rehearse(scratch_root, state_of(pending), None)
    [finding] = found.findings
    assert rules(found) == [("not-rehearsed", "002-beyond", 2)]
    assert finding.severity is Severity.WARN
    assert reason in finding.message
    assert "the files behind it (1)" in finding.message
    assert found.files[1].not_rehearsed == "002-beyond was not rehearsed to its end"


def test_what_is_not_rehearsed_is_judged_by_its_text(scratch_root: Path) -> None:
    pending = {
        "002-new": "create table fresh (x int);",
        "003-beyond": "create extension postgres_fdw;\ndrop table orders;",
        "004-more": "alter table users drop column email;\ndrop table fresh;",
        "005-index": "create index on users (id);",
    }
    found = rehearse(scratch_root, state_of(pending), uniform_sizes(10**9, 50 * 1024**3))
    assert sorted(rules(found)) == [
        ("builds-index-under-lock", "005-index", 1),
        ("drops-column", "004-more", 1),
        ("drops-table", "003-beyond", 2),
        ("not-rehearsed", "003-beyond", 1),
    ]
    assert {each.severity for each in found.findings if each.rule != "not-rehearsed"} == {
        Severity.STOP
    }


def test_a_file_that_locks_the_rehearsal_out_is_no_green_check(scratch_root: Path) -> None:
    pending = {
        "002-out": "alter role current_user password 'mine';",
        "003-drop": "alter table users drop column email;",
    }
    found = rehearse(scratch_root, state_of(pending), None)
    [finding] = [each for each in found.findings if each.rule == "not-rehearsed"]
    assert finding.severity is Severity.STOP


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_sleep(1e6)",
        "set statement_timeout = 0; select pg_sleep(1e6)",
        "do $$ begin loop perform 1; end loop; end $$",
        "create function f(x int) returns int language plpgsql as 'begin loop x := x; end loop;"
        " end'; select f(1)",
        "create table loops (x int); create function again() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.01); insert into loops values (1); return null; end $$;"
        " create trigger again after insert on loops for each row execute function again();"
        " set statement_timeout = 0; set max_stack_depth = '7MB'; insert into loops values (1)",
    ],
)
def test_what_never_ends_is_ended(scratch_root: Path, statement: str) -> None:
    limits = RehearsalLimits(file=1.5)
    found = rehearse(scratch_root, state_of({"002-endless": f"{statement};"}), None, limits=limits)
    [finding] = found.findings
    assert finding.rule in ("not-rehearsed", "fails")
    assert not list(home(scratch_root, name="scratch").glob("run-*"))


def test_the_whole_rehearsal_has_a_limit(scratch_root: Path) -> None:
    pending = {"002-endless": "set statement_timeout = 0; select pg_sleep(1e6);"}
    found = rehearse(scratch_root, state_of(pending), None, limits=RehearsalLimits(total=4.0))
    [finding] = found.findings
    assert "the whole rehearsal may take 4 s" in finding.message


def test_a_full_disk_ends_it(scratch_root: Path) -> None:
    pending = {
        "002-fill": "create table full_of (x text);\n"
        "insert into full_of"
        " select repeat('x', 900 + i % 2) from (select generate_series(1, 1e8::int) i) s;",
        "003-more": "create table more (x int);",
    }
    limits = RehearsalLimits(disk=40 * 1024**2, disk_poll=0.05)
    found = rehearse(scratch_root, state_of(pending), None, limits=limits)
    [finding] = found.findings
    assert finding.rule == "not-rehearsed"
    assert "filled more than 40 MB of the disk" in finding.message


@pytest.mark.parametrize(
    "statement",
    [
        "alter role current_user nologin",
        "alter role current_user connection limit 0",
        "select pg_terminate_backend(pg_backend_pid())",
        "alter role current_user set search_path = nowhere",
        "alter role current_user set default_transaction_read_only = on",
        "create role other; grant other to current_user with set true, inherit false;"
        " alter role current_user set role = 'other'",
    ],
)
def test_a_file_that_spoils_the_session_is_no_crash(scratch_root: Path, statement: str) -> None:
    pending = {"002-spoil": f"{statement};", "003-more": "create table public.more (x int);"}
    found = rehearse(scratch_root, state_of(pending), None)
    assert [each.version for each in found.files] == ["002-spoil", "003-more"]
    assert {each.rule for each in found.findings} <= {"not-rehearsed", "fails"}


def test_a_chain_that_needs_a_superuser_names_the_ways_out(scratch_root: Path) -> None:
    state = state_of({"002-a": "select 1;"}, {"001-fdw": "create extension postgres_fdw;"})
    with pytest.raises(MigratorError, match=r"(?s)--from-database.*001-fdw\.sql:1"):
        rehearse(scratch_root, state, None)
    assert not list(home(scratch_root, name="scratch").glob("run-*"))


def test_files_of_other_environments_are_left_out(scratch_root: Path) -> None:
    applied = {**APPLIED, "002-seen": "-- Environments: preview\ncreate table seen (x int);"}
    pending = {
        "003-here": "-- Environments: production\ncreate table here (x int);",
        "004-there": "-- Environments: preview\ncreate table there (x int);",
    }
    state = state_of(pending, applied)
    assert [file.version for file in state.pending] == ["003-here"]
    with throwaway_server(scratch_root) as server:
        build(server, state)
        with connect(server.target) as connection:
            found = connection.execute("select to_regclass('users'), to_regclass('seen')")
            assert found.fetchone() == ("users", None)


def test_nothing_pending_starts_no_server(tmp_path: Path) -> None:
    found = rehearse(tmp_path, state_of({}), None)
    assert (found.files, found.findings, found.verdict) == ((), (), "ok")
    assert not home(tmp_path, name="scratch").exists()


def test_the_schema_of_a_database_stands_in_for_the_files(scratch_root: Path) -> None:
    live = LiveDatabase(
        owner="app_owner",
        database="shop",
        search_path="app, public",
        defaults={"TimeZone": "Europe/Berlin"},
        schema="create schema app; create table app.orders (id int, at timestamptz);",
    )
    pending = {
        "002-local": "alter table orders alter column at type timestamp;\n"
        "alter table orders owner to app_owner;\n"
        "alter database shop set work_mem = '8MB';",
    }
    found = rehearse(scratch_root, replace(state_of(pending), live=live), None)
    # Under UTC, the table would stay as it is.
    assert found.files[0].statements[0].rewrites == ("app.orders",)
    assert found.files[0].not_rehearsed is None


def test_an_ignored_finding_is_listed_with_its_reason(scratch_root: Path) -> None:
    text = (
        "-- review: ignore drops-column because nothing has read it since May\n"
        "alter table users drop column email;"
    )
    found = rehearse(scratch_root, state_of({"002-drop": text}), uniform_sizes(10, 8192))
    assert rules(found) == []
    [ignored] = found.to_dict()["ignored"]
    assert (ignored["rule"], ignored["reason"]) == (
        "drops-column",
        "nothing has read it since May",
    )


EXPAND_AND_CONTRACT = {
    "002-expand": "alter table users add column mail text;",
    "003-contract": "alter table users drop column email;",
    "004-more": "create table more (x int);",
}


class TestInTwoOrders:
    def orders(
        self, scratch_root: Path, pending: Mapping[str, str], deferred: tuple[str, ...]
    ) -> list[str]:
        state = state_of(pending)
        with throwaway_server(scratch_root) as server:
            build(server, state)
            scripts = prepare_all(state.pending)
            return [
                f"{each.rule} {each.version}: {each.message}"
                for each in rehearse_in_orders(server, state, scripts, deferred)
            ]

    def test_independent_files_may_run_in_either_order(self, scratch_root: Path) -> None:
        assert self.orders(scratch_root, EXPAND_AND_CONTRACT, ("003-contract",)) == []

    def test_a_different_schema_is_a_stop_that_names_the_objects(self, scratch_root: Path) -> None:
        pending = {**EXPAND_AND_CONTRACT, "004-more": "create table more as select * from users;"}
        [found] = self.orders(scratch_root, pending, ("003-contract",))
        assert found.startswith("order-matters 003-contract")
        assert "column public.more.email" in found

    def test_an_order_in_which_a_file_fails_is_a_stop(self, scratch_root: Path) -> None:
        pending = {**EXPAND_AND_CONTRACT, "004-more": "alter table users add column email text;"}
        [found] = self.orders(scratch_root, pending, ("003-contract",))
        assert "004-more fails" in found

    def test_nothing_deferred_runs_nothing(self, scratch_root: Path) -> None:
        assert self.orders(scratch_root, {"002-a": "select 1/0;"}, ()) == []
