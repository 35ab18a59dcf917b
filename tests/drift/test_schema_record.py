"""The table of the recorded schema: who may do what, and when it cannot be compared."""

import re
from collections.abc import Callable

import pytest
from conftest import Bundle, Database, Witness

from lib.actions.live_checks import accept_schema, read_drift, read_status_and_drift
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.drift.verdict import Verdict
from lib.own_tables import OBJECTS
from lib.plan.reports import RunReport

MakeContext = Callable[..., RunContext]
SECRET = "whsec_51cbd9e0"


def apply(context: RunContext, bundle: Bundle, name: str, sql: str) -> RunReport:
    bundle.write(name, sql)
    return migrate(context)


def verdict(context: RunContext) -> Verdict:
    return read_drift(context).verdict


@pytest.fixture
def context(make_context: MakeContext, bundle: Bundle) -> RunContext:
    """A context on a database that one run has migrated."""
    made = make_context()
    assert apply(made, bundle, "000-a.sql", "create table a (x int)").error is None
    return made


def changed(context: RunContext) -> list[str]:
    found = verdict(context)
    assert found.changes is not None, found.reason
    return [f"{each.kind} {each.identity} {each.change}" for each in found.changes]


class TestWhatIsRecorded:
    def test_is_one_row_for_the_newest_run(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        apply(context, bundle, "001-b.sql", "create table b (x int)")
        [(run, version)] = db.query(f"select run_id, server_version_num from public.{OBJECTS}")
        assert run == 2
        assert version == int(db.query("show server_version_num")[0][0])
        assert changed(context) == []

    def test_holds_no_definition(self, context: RunContext, bundle: Bundle, db: Database) -> None:
        made = (
            f"create function hook() returns text language sql as $$ select '{SECRET}' $$;"
            f"create table hooks (key text default '{SECRET}');"
            f"create view v as select '{SECRET}'::text as key;"
            f"comment on table hooks is '{SECRET}'"
        )
        witness = Witness()
        report = apply(context, bundle, "001-b.sql", made)
        assert report.error is None
        db.query(f"create or replace view v as select 'new {SECRET}'::text as key")
        found = read_drift(context)
        assert [each.identity for each in found.verdict.changes or ()] == ["public.v"]
        rows = repr(db.query(f"select * from public.{OBJECTS}"))
        for text in (rows, repr(report.to_dict()), repr(found.to_dict()), repr(witness.heard)):
            assert SECRET not in text
        assert SECRET.encode().hex() not in rows

    def test_is_gone_after_the_table_is_dropped_and_recorded_anew(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"drop table public.{OBJECTS}")
        assert verdict(context).reason == "no run has recorded its schema yet."
        apply(context, bundle, "001-b.sql", "create table b (x int)")
        assert changed(context) == []


class TestWhoMayDoWhat:
    def test_nobody_else_has_a_right_on_the_table_not_even_the_status(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as reader:
            role = reader.target.role
            db.query(f"alter default privileges in schema public grant all on tables to {role}")
            context = make_context(status_target=reader.target)
            assert apply(context, bundle, "000-a.sql", "create table a (x int)").error is None
            rights = db.query(
                "select grantee from information_schema.table_privileges"
                f" where table_name = '{OBJECTS}' and grantee <> '{db.target.role}'"
            )
            assert rights == []
            reading = make_context(target=reader.target, status_target=reader.target)
            status, found = read_status_and_drift(reading)
            assert found is not None
            assert found.changes is None
            assert "may not" in found.reason
            assert status.plan.state == "up-to-date"
            db.query(f"alter default privileges in schema public revoke all on tables from {role}")

    def test_a_role_that_may_not_create_it_migrates_all_the_same(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"drop table public.{OBJECTS}")
        with db.another_role() as lowly:
            role = lowly.target.role
            db.query(
                f"revoke create on schema public from {role};"
                f"grant select, insert, update on all tables in schema public to {role};"
                f"grant usage on all sequences in schema public to {role};"
                f"create schema own authorization {role}"
            )
            made = make_context(target=lowly.target, migration_target=lowly.target)
            report = apply(made, bundle, "001-b.sql", "create table own.b (x int)")
            assert report.error is None
            [warning] = report.warnings
            assert f"may not create public.{OBJECTS}" in warning
            assert "MIGRATION_DRIFT=off" in warning
            assert db.runs()[-1]["outcome"] == "succeeded"

    def test_a_role_with_the_documented_rights_compares_and_records(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as lowly:
            role = lowly.target.role
            db.query(
                f"grant select, insert, update on all tables in schema public to {role};"
                f"grant usage on all sequences in schema public to {role}"
            )
            made = make_context(target=lowly.target, migration_target=lowly.target)
            report = apply(made, bundle, "001-b.sql", "create table b (x int)")
            assert report.error is None
            assert changed(made) == []
            db.query(f"revoke update on public.{OBJECTS} from {role}")
            report = apply(made, bundle, "002-c.sql", "create table c (x int)")
            assert report.error is None
            assert f"grant select, insert, update on public.{OBJECTS}" in report.warnings[-1]

    @pytest.mark.parametrize("trap", [True, False], ids=["with a trigger", "without"])
    def test_a_table_that_another_role_has_planted_is_neither_read_nor_written(
        self, make_context: MakeContext, bundle: Bundle, db: Database, trap: bool
    ) -> None:
        with db.another_role() as evil:
            db.query("create table ran (x int); grant insert on ran to public")
            evil.query(
                f"create table public.{OBJECTS} (id int primary key, run_id bigint, taken_at"
                " timestamptz, server_version_num int, ledger_id bigint, form text, key bytea,"
                f" objects bytea, hashes bytea); grant all on public.{OBJECTS} to public;"
                "create function public.trap() returns trigger language plpgsql as"
                " 'begin insert into public.ran values (1); return new; end'"
            )
            if trap:
                evil.query(
                    f"create trigger t before insert or update on public.{OBJECTS}"
                    " for each row execute function public.trap()"
                )
            for number in range(2):
                report = apply(make_context(drift="stop"), bundle, f"00{number}-a.sql", "select 1")
                assert report.error is None
                assert f"belongs to the role {evil.target.role}" in report.warnings[-1]
            assert db.query(f"select * from public.{OBJECTS}") == []
            assert db.query("select * from ran") == []

    def test_a_view_in_its_place_is_not_read(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            f"drop table public.{OBJECTS}; create table ran (x int);"
            "create function public.f() returns int language sql as"
            " 'insert into public.ran values (1) returning x';"
            f"create view public.{OBJECTS} as select public.f() as id"
        )
        assert "is a view" in verdict(context).reason
        assert apply(context, bundle, "001-b.sql", "create table b (x int)").error is None
        assert db.query("select * from ran") == []

    def test_row_level_security_makes_it_unknown(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"alter table public.{OBJECTS} enable row level security")
        with db.another_role() as lowly:
            db.query(
                "grant select, insert, update on all tables in schema public"
                f" to {lowly.target.role}"
            )
            made = make_context(target=lowly.target, migration_target=lowly.target)
            assert "row-level security" in verdict(made).reason


class TestWhenItCannotBeCompared:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (f"update public.{OBJECTS} set server_version_num = 140001", "another version"),
            (f"update public.{OBJECTS} set form = 'other'", "another version of the bundle"),
            (f"update public.{OBJECTS} set hashes = ''", "is damaged"),
            (f"delete from public.{OBJECTS}", "no run has recorded"),
            ("insert into schema_migrations (version, name) values ('9', '9')", "`baseline`"),
            (
                "insert into schema_migration_runs (source, environment, database_fingerprint,"
                " outcome, applied) values ('cli', 'x', 'x', 'succeeded', '{9}')",
                "a later run",
            ),
            (
                "insert into schema_migration_runs (source, environment, database_fingerprint,"
                " outcome) values ('cli', 'x', 'x', 'interrupted')",
                "a later run",
            ),
            (
                "insert into schema_migration_runs (source, environment, database_fingerprint)"
                " values ('cli', 'x', 'x')",
                "a run is under way",
            ),
            (f"alter table public.{OBJECTS} drop form", "not this runner's table"),
        ],
    )
    def test_the_reason_is_told_and_the_next_run_goes_on(
        self,
        make_context: MakeContext,
        context: RunContext,
        bundle: Bundle,
        db: Database,
        change: str,
        reason: str,
    ) -> None:
        db.query(change)
        found = verdict(context)
        assert found.changes is None
        assert reason in found.reason
        report = apply(make_context(drift="stop"), bundle, "010-b.sql", "create table b (x int)")
        assert report.error is None
        assert any(reason in warning for warning in report.warnings)
        assert db.runs()[-1]["drift"] is None
        assert db.runs()[-1]["drift_checked_at"] is not None

    def test_a_claim_of_production_does_not_matter(
        self, make_context: MakeContext, context: RunContext, db: Database
    ) -> None:
        assert migrate(make_context(environment="production")).error is None
        assert len(db.runs()) == 2
        db.query("create table extra (x int)")
        assert "table public.extra added" in changed(make_context(environment="production"))

    def test_a_locked_table_does_not_hold_anybody_up(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        with db.connect() as holder:
            holder.execute(f"begin; lock table public.{OBJECTS} in access exclusive mode")
            _, found = read_status_and_drift(context)
            assert found is not None
            assert "is locked" in found.reason
            report = apply(make_context(drift="stop"), bundle, "001-b.sql", "select 1")
            assert report.error is None
            assert [w for w in report.warnings if "is locked" in w]

    def test_an_object_that_is_locked_does_not_either(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        apply(context, bundle, "001-v.sql", "create view v as select * from a")
        with db.connect() as holder:
            holder.execute("begin; lock table a in access exclusive mode")
            _, found = read_status_and_drift(context)
            assert found is not None
            assert re.search("locked|in time|longer", found.reason)
            report = apply(make_context(drift="stop"), bundle, "002-b.sql", "select 1")
            assert report.error is None

    def test_a_table_that_others_may_write_to_is_warned_of(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(f"grant all on public.{OBJECTS} to public")
        warning = f"Others than its owner have rights on public.{OBJECTS}"
        [shown] = [w for w in read_status_and_drift(context)[0].warnings if warning in w]
        report = apply(context, bundle, "001-b.sql", "select 1")
        assert shown in report.warnings
        db.query(shown.partition("Close it: ")[2])
        assert not [w for w in read_status_and_drift(context)[0].warnings if warning in w]


class TestAccepting:
    def test_makes_the_present_schema_the_expected_one(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create table extra (x int)")
        report = accept_schema(context)
        assert "public.extra" in [each.identity for each in report.verdict.changes or ()]
        assert report.exit_code == 0
        assert changed(context) == []
        assert db.runs()[-1]["drift"] is False
        assert apply(make_context(drift="stop"), bundle, "001-b.sql", "select 1").error is None

    def test_works_where_nothing_was_recorded_yet(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        apply(make_context(drift="off"), bundle, "000-a.sql", "create table a (x int)")
        accept_schema(make_context())
        assert changed(make_context()) == []


def test_a_lock_on_the_journal_does_not_hold_up_a_comparison(
    context: RunContext, db: Database
) -> None:
    with db.connect(autocommit=False) as other:
        other.execute("lock table public.schema_migration_runs in exclusive mode")
        assert changed(context) == []
    assert read_status_and_drift(context)[0].drift is None


def test_the_verdict_is_recorded_for_the_public_status(context: RunContext, db: Database) -> None:
    assert read_status_and_drift(context)[0].drift is None
    assert changed(context) == []
    assert read_status_and_drift(context)[0].drift is False
    db.query("create table extra (x int)")
    status, found = read_status_and_drift(context)
    # Looking alone writes nothing.
    assert (status.drift, found and found.has_drift) == (False, True)
    assert changed(context) != []
    assert read_status_and_drift(context)[0].drift is True
