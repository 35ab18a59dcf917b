"""Seeds: applied after the chain, in order, each content once, and never in production."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Bundle, Cli, Database, Witness, wait_until

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.errors import (
    BusyTableError,
    ConfigurationError,
    GuardError,
    IntegrityError,
    LedgerError,
    MigrationFailedError,
    MigrationFileError,
    RunInProgressError,
)
from lib.ledger.run_lock import RunLock
from lib.plan.reports import AppliedNow
from lib.rebuild.seed_reports import SeedReport
from lib.rebuild.seed_status import read_seeds
from lib.rebuild.seeding import seed

MakeContext = Callable[..., RunContext]
ROWS = "select string_agg(what, ',' order by seq) from things"


def write_seed(bundle: Bundle, name: str, sql: str | bytes) -> Path:
    folder = bundle.migrations / "_seeds"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
    return path


def thing(what: str) -> str:
    return f"insert into things (what) values ('{what}');\n"


def things(db: Database) -> str:
    return str(db.query(ROWS)[0][0] or "")


def names(report: SeedReport) -> list[str]:
    return [applied.name for applied in report.applied]


@pytest.fixture
def context(make_context: MakeContext, bundle: Bundle) -> RunContext:
    """A context on a database with a table that the chain has made."""
    bundle.write("001-things.sql", "create table things (seq serial, what text);")
    made = make_context()
    assert migrate(made).error is None
    return made


def applied(context: RunContext) -> SeedReport:
    report = seed(context)
    if report.error:
        raise report.error
    return report


class TestWhatRuns:
    def test_in_the_order_of_their_names_byte_by_byte(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        for name in ("b.sql", "Z.sql", "10.sql", "9.sql", "é.sql", "a.sql"):
            write_seed(bundle, name, thing(name[0]))
        assert names(applied(context)) == ["10.sql", "9.sql", "Z.sql", "a.sql", "b.sql", "é.sql"]
        assert things(db) == "1,9,Z,a,b,é"

    def test_each_once_per_content(self, context: RunContext, bundle: Bundle, db: Database) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        assert names(applied(context)) == ["a.sql"]
        assert names(applied(context)) == []
        write_seed(bundle, "a.sql", thing("changed"))
        assert [each.state for each in read_seeds(context)] == ["changed"]
        assert names(applied(context)) == ["a.sql"]
        # The first content, and another name for it, are on record.
        write_seed(bundle, "a.sql", thing("a"))
        write_seed(bundle, "b.sql", thing("changed").replace("\n", "\r\n"))
        assert names(applied(context)) == []
        assert things(db) == "a,changed"

    def test_the_same_content_twice_runs_once(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        for name in ("a.sql", "b.sql"):
            write_seed(bundle, name, thing("x"))
        write_seed(bundle, "0.sql", thing("y"))
        assert names(applied(context)) == ["0.sql", "a.sql"]
        assert things(db) == "y,x"

    def test_only_in_the_environments_of_the_header(
        self, context: RunContext, bundle: Bundle, make_context: MakeContext
    ) -> None:
        write_seed(bundle, "a.sql", "-- Environments: preview\n" + thing("a"))
        write_seed(bundle, "b.sql", "-- Environments: develpment\n" + thing("b"))
        report = applied(context)
        assert names(report) == []
        assert "_seeds/b.sql: its header names the environment 'develpment'" in report.warnings[0]
        assert [each.state for each in read_seeds(context)] == ["skipped", "skipped"]
        assert names(applied(make_context(environment="preview"))) == ["a.sql"]

    def test_a_version_in_the_header_is_prose(self, context: RunContext, bundle: Bundle) -> None:
        write_seed(bundle, "a.sql", "-- Version: 007\n" + thing("a"))
        assert names(applied(context)) == ["a.sql"]

    def test_the_run_is_in_the_journal_and_no_seed_in_the_ledger(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        assert db.versions() == ["001-things"]
        run = db.runs()[-1]
        assert (run["outcome"], run["source"], run["applied"]) == ("succeeded", "cli", [])
        [row] = db.query(
            "select name, length(checksum), execution_time_ms >= 0 from"
            " public.schema_migration_seeds"
        )
        assert row == ("a.sql", 64, True)
        assert read_status(context).plan.state == "up-to-date"

    def test_without_seeds_nothing_is_created(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        (bundle.migrations / "_seeds").mkdir()
        runs = len(db.runs())
        assert names(applied(context)) == []
        assert not db.has("public.schema_migration_seeds")
        assert len(db.runs()) == runs

    def test_a_copy_from_stdin_and_a_changed_search_path(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(
            bundle,
            "a.sql",
            "set search_path = '';\ncopy public.things (what) from stdin;\nx\ny\n\\.\n",
        )
        write_seed(bundle, "b.sql", thing("z"))
        assert names(applied(context)) == ["a.sql", "b.sql"]
        assert things(db) == "x,y,z"

    def test_through_a_pooler(
        self, context: RunContext, bundle: Bundle, db: Database, pooled: Any
    ) -> None:
        from dataclasses import replace

        write_seed(bundle, "a.sql", thing("a"))
        assert names(applied(replace(context, target=pooled))) == ["a.sql"]
        assert things(db) == "a"


class TestWhatFails:
    def test_a_seed_that_fails_leaves_nothing_and_those_before_it_stay(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        write_seed(bundle, "b.sql", thing("b") + "insert into nope values (1);")
        report = seed(context)
        assert names(report) == ["a.sql"]
        with pytest.raises(
            MigrationFailedError,
            match=r'migrations/_seeds/b\.sql:2:13: relation "nope" does not exist .*42P01',
        ):
            raise report.error or AssertionError
        assert things(db) == "a"
        run = db.runs()[-1]
        assert (run["outcome"], run["failed_version"]) == ("failed", "_seeds/b.sql")
        write_seed(bundle, "b.sql", thing("b"))
        assert names(applied(context)) == ["b.sql"]

    def test_a_row_that_exists_names_the_way_to_write_it(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query("create unique index on things (what)")
        write_seed(bundle, "a.sql", thing("a") + thing("a"))
        with pytest.raises(MigrationFailedError, match="on conflict do nothing") as caught:
            applied(context)
        assert "baseline" not in str(caught.value)

    def test_a_call_that_commits_is_refused_by_the_server(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create procedure p() language plpgsql as"
            " 'begin insert into things (what) values (''p''); commit; end'"
        )
        write_seed(bundle, "a.sql", "call p();")
        with pytest.raises(MigrationFailedError, match="put this into a migration"):
            applied(context)
        assert things(db) == ""
        assert db.versions() == ["001-things"]

    def test_a_busy_table(self, context: RunContext, bundle: Bundle, db: Database) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        with db.connect() as other, other.transaction():
            other.execute("lock table things")
            with pytest.raises(BusyTableError, match="stayed busy"):
                applied(context)
        assert names(applied(context)) == ["a.sql"]

    @pytest.mark.parametrize(
        ("sql", "what"),
        [
            ("-- Transaction: none\nselect 1;", "a seed runs in one transaction"),
            ("vacuum;", "a seed runs in one transaction"),
            ("select 1; commit;", "would end or begin a transaction"),
            ("\\echo hello", "is a command of psql"),
            ("drop table public.schema_migrations;", "keeps what it has applied"),
            ("delete from schema_migration_seeds;", "keeps what it has applied"),
            (b"select '\xff';", "not UTF-8"),
            ("select 1;\n-- migrate:down\nselect 2;", "down migration"),
            ("-- Transacton: none\nselect 1;", "did you mean Transaction"),
        ],
    )
    def test_what_is_refused_in_a_migration_is_refused_before_any_seed_runs(
        self, context: RunContext, bundle: Bundle, db: Database, sql: str | bytes, what: str
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        write_seed(bundle, "b.sql", sql)
        with pytest.raises(MigrationFileError, match=what) as caught:
            applied(context)
        assert "migrations/_seeds/b.sql" in str(caught.value)
        assert things(db) == ""

    def test_a_link_out_of_the_folder(
        self, context: RunContext, bundle: Bundle, tmp_path: Path
    ) -> None:
        (tmp_path / "outside.sql").write_text(thing("a"))
        (bundle.migrations / "_seeds").mkdir()
        (bundle.migrations / "_seeds" / "a.sql").symlink_to(tmp_path / "outside.sql")
        with pytest.raises(MigrationFileError, match=r"_seeds/a\.sql: the file is a link out"):
            applied(context)

    def test_the_folder_itself_as_a_link_out(
        self, context: RunContext, bundle: Bundle, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (bundle.migrations / "_seeds").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(MigrationFileError, match="migrations/_seeds: the folder is a link out"):
            applied(context)

    def test_a_file_in_a_subfolder(self, context: RunContext, bundle: Bundle) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        for name in ("below", "_aside"):
            (bundle.migrations / "_seeds" / name).mkdir()
            (bundle.migrations / "_seeds" / name / "b.sql").write_text(thing("b"))
        with pytest.raises(
            MigrationFileError, match=r"_seeds/below/b\.sql: .* subfolder"
        ) as caught:
            applied(context)
        assert "_aside" not in str(caught.value)

    def test_a_hostile_name(self, context: RunContext, bundle: Bundle, db: Database) -> None:
        path = os.fsencode(bundle.migrations / "_seeds") + b"/a'\x1b[31m\n\xff.sql"
        write_seed(bundle, "b.sql", thing("b"))
        Path(os.fsdecode(path)).write_text(thing("a"))
        assert names(applied(context)) == ["a'\\x1b[31m\\n\\udcff.sql", "b.sql"]
        assert things(db) == "a,b"


class TestWhere:
    def test_never_in_production(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        production = make_context(environment="production")
        assert migrate(production).error is None
        for refused in (production, context):
            with pytest.raises(GuardError, match="production"):
                applied(refused)
        assert things(db) == ""

    def test_in_production_they_are_shown_as_skipped(
        self, context: RunContext, bundle: Bundle, make_context: MakeContext
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        assert [each.state for each in read_seeds(context)] == ["pending"]
        production = make_context(environment="production")
        assert [each.state for each in read_seeds(production)] == ["skipped"]

    def test_not_before_the_migrations(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        bundle.write("002-more.sql", "create table more (x int);")
        with pytest.raises(ConfigurationError, match=r"002-more is pending.* migrate` first"):
            applied(context)
        # A file that is still being written does not count.
        bundle.write("002-more.sql", "-- nothing yet")
        assert names(applied(context)) == ["a.sql"]

    def test_not_beside_a_modified_migration(self, context: RunContext, bundle: Bundle) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        bundle.write("001-things.sql", "create table things (x int);")
        with pytest.raises(IntegrityError, match="001-things"):
            applied(context)

    def test_after_another_run(self, context: RunContext, bundle: Bundle) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        with (
            RunLock(context.connect, timeout=0),
            pytest.raises(RunInProgressError, match="under way"),
        ):
            applied(context)
        assert names(applied(context)) == ["a.sql"]

    def test_two_at_once_apply_each_seed_once(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", "select pg_sleep(0.3);" + thing("a"))
        reports: list[SeedReport] = []
        patient = make_context(run_wait=30.0)
        calls = [threading.Thread(target=lambda: reports.append(seed(patient))) for _ in range(3)]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert [report.error for report in reports] == [None, None, None]
        assert sum(len(report.applied) for report in reports) == 1
        assert things(db) == "a"

    def test_beside_a_migrate_that_is_under_way(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", "insert into more (what) values ('a');")
        slow = Bundle(bundle.root / "slow")
        (slow.root / "migrations").mkdir(parents=True)
        for path in bundle.migrations.glob("*.sql"):
            slow.write(path.name, path.read_bytes())
        slow.write("002-more.sql", "create table more (what text); select pg_sleep(1);")
        run = threading.Thread(target=lambda: migrate(make_context(migrations_dir=slow.migrations)))
        run.start()
        db.wait_for("pg_sleep(1)")
        bundle.write("002-more.sql", (slow.migrations / "002-more.sql").read_bytes())
        # Until that run has ended, its file is pending.
        with pytest.raises((ConfigurationError, RunInProgressError)):
            applied(make_context())
        run.join()
        assert names(applied(make_context(run_wait=30.0))) == ["a.sql"]


class TestTheTable:
    def test_is_closed_to_others_and_open_to_the_status(
        self, make_context: MakeContext, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        with db.another_role() as other:
            role = other.target.role
            db.query(f"alter default privileges in schema public grant all on tables to {role}")
            write_seed(bundle, "a.sql", thing("a"))
            applied(make_context(status_target=other.target))
            rights = db.query(
                f"select privilege_type from information_schema.table_privileges"
                f" where table_name = 'schema_migration_seeds' and grantee = '{role}'"
            )
            assert rights == [("SELECT",)]
            db.query(f"alter default privileges in schema public revoke all on tables from {role}")

    def test_that_is_found_open_is_warned_about(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        db.query("grant insert on public.schema_migration_seeds to public")
        [warning] = applied(context).warnings
        assert "revoke all on public.schema_migration_seeds from public" in warning

    @pytest.mark.parametrize(
        ("made", "what"),
        [
            ("create view public.schema_migration_seeds as select 1 as id", "is a view"),
            ("create table public.schema_migration_seeds (x int)", "not this runner's table"),
        ],
    )
    def test_that_is_something_else_is_refused(
        self, context: RunContext, bundle: Bundle, db: Database, made: str, what: str
    ) -> None:
        db.query(made)
        write_seed(bundle, "a.sql", thing("a"))
        with pytest.raises(LedgerError, match=what):
            applied(context)
        with pytest.raises(LedgerError, match=what):
            read_seeds(context)
        assert things(db) == ""

    def test_of_another_role_that_runs_code_is_refused_before_it_is_read(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        with db.another_role() as evil:
            db.query("create table ran (x int); grant insert on ran to public")
            evil.query(
                "create function public.trap() returns trigger language plpgsql as"
                " 'begin insert into public.ran values (1); return null; end';"
                "create table public.schema_migration_seeds (id bigint, name text,"
                " checksum text, applied_at timestamptz, execution_time_ms int);"
                "create trigger t before insert on public.schema_migration_seeds"
                " for each row execute function public.trap();"
                "grant all on public.schema_migration_seeds to public"
            )
            with pytest.raises(LedgerError, match=r"belongs to the role .* runs code there"):
                applied(context)
            assert db.query("select * from ran") == []
        assert things(db) == ""

    def test_whose_rows_a_policy_hides_is_refused(
        self, context: RunContext, bundle: Bundle, db: Database, make_context: MakeContext
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        with db.another_role() as other:
            db.query(
                f"grant select on all tables in schema public to {other.target.role};"
                "alter table public.schema_migration_seeds enable row level security"
            )
            reader = make_context(target=other.target, status_target=other.target)
            with pytest.raises(LedgerError, match="row-level security is on"):
                read_seeds(reader)

    def test_whose_row_a_trigger_takes_away_stops_the_seed(
        self, context: RunContext, bundle: Bundle, db: Database
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        db.query(
            "create function public.swallow() returns trigger language plpgsql as"
            " 'begin return null; end'; create trigger t before insert on"
            " public.schema_migration_seeds for each row execute function public.swallow()"
        )
        write_seed(bundle, "b.sql", thing("b"))
        with pytest.raises(
            MigrationFailedError, match=r"its row in public\.schema_migration_seeds"
        ):
            applied(context)
        assert things(db) == "a"

    def test_that_may_not_be_written_is_said_with_the_grant(
        self, context: RunContext, bundle: Bundle, db: Database, make_context: MakeContext
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        write_seed(bundle, "b.sql", thing("b"))
        with db.another_role() as other:
            role = other.target.role
            db.query(
                f"grant select, insert, update on all tables in schema public to {role};"
                f"grant usage on all sequences in schema public to {role};"
                f"revoke insert on public.schema_migration_seeds from {role}"
            )
            with pytest.raises(
                LedgerError, match=r"grant insert on public\.schema_migration_seeds to"
            ):
                applied(make_context(target=other.target, migration_target=other.target))

    def test_that_may_not_be_created_is_said_and_no_run_is_left_open(
        self, context: RunContext, bundle: Bundle, db: Database, make_context: MakeContext
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        with db.another_role() as other:
            role = other.target.role
            db.query(
                f"revoke create on schema public from {role};"
                f"grant select, insert, update on all tables in schema public to {role};"
                f"grant usage on all sequences in schema public to {role}"
            )
            with pytest.raises(LedgerError, match="grant create on schema public to ROLE"):
                applied(make_context(target=other.target, migration_target=other.target))
        assert [run["outcome"] for run in db.runs()] == ["succeeded"]

    def test_does_not_disturb_an_older_look_at_the_ledger(
        self, context: RunContext, bundle: Bundle
    ) -> None:
        write_seed(bundle, "a.sql", thing("a"))
        applied(context)
        bundle.write("002-b.sql", "create table b (x int)")
        assert [each.version for each in migrate(context).applied] == ["002-b"]


class TestTheCommand:
    def test_prints_each_seed(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        write_seed(bundle, "a.sql", thing("a"))
        assert cli("migrate").returncode == 0
        done = cli("seed")
        assert done.returncode == 0, done.stderr
        assert "✓ _seeds/a.sql  " in done.stdout
        assert "✓ Applied 1 seed to " in done.stdout
        assert "Seeding 127.0.0.1:" in done.stderr
        again = cli("seed", "--json")
        assert json.loads(again.stdout)["seeds"] == []

    def test_json_holds_a_failure(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        write_seed(bundle, "a.sql", thing("a"))
        write_seed(bundle, "b.sql", "select nope;")
        assert cli("migrate").returncode == 0
        done = cli("seed", "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert document["action"] == "seed"
        assert [each["name"] for each in document["seeds"]] == ["a.sql"]
        assert (document["version"], document["sqlstate"]) == ("_seeds/b.sql", "42703")

    def test_status_and_plan_show_seeds_and_a_pending_one_is_no_reason_to_exit_3(
        self, cli: Cli, bundle: Bundle
    ) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        assert cli("migrate").returncode == 0
        assert "seeds" not in json.loads(cli("status", "--json").stdout)
        write_seed(bundle, "a.sql", thing("a"))
        assert cli("seed").returncode == 0
        write_seed(bundle, "b.sql", thing("b"))
        write_seed(bundle, "c.sql", "-- Environments: preview\n" + thing("c"))
        status = cli("status", "--check", "--json")
        assert status.returncode == 0
        document = json.loads(status.stdout)
        assert document["state"] == "up-to-date"
        states = [(each["name"], each["state"]) for each in document["seeds"]]
        assert states == [("a.sql", "applied"), ("b.sql", "pending"), ("c.sql", "skipped")]
        assert document["seeds"][0]["appliedAt"].endswith("Z")
        assert json.loads(cli("plan", "--json").stdout)["seeds"] == document["seeds"]
        for text in (cli("status").stdout, cli("plan").stdout):
            assert "\n\nSeeds (3):\n  ✓ a.sql  20" in text
            assert "\n  • b.sql  pending\n" in text

    def test_validate_refuses_a_malformed_seed(self, cli: Cli, bundle: Bundle) -> None:
        write_seed(bundle, "a.sql", "vacuum;")
        done = cli("validate")
        assert done.returncode == 2
        assert "migrations/_seeds/a.sql" in done.stderr

    def test_a_preview_build_fills_a_database_that_it_has_made(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        write_seed(bundle, "a.sql", thing("a"))
        preview = {"MIGRATION_ENVIRONMENT": "preview"}
        done = cli("migrate", "--source", "build", "--json", **preview)
        document = json.loads(done.stdout)
        assert [each["name"] for each in document["seeds"]] == ["a.sql"]
        assert document["action"] == "migrate"
        # From now on, it is `seed` that fills it.
        write_seed(bundle, "b.sql", thing("b"))
        bundle.write("002-b.sql", "create table b (x int);")
        assert "seeds" not in json.loads(
            cli("migrate", "--source", "build", "--json", **preview).stdout
        )
        assert things(db) == "a"

    @pytest.mark.parametrize(
        ("environment", "source"),
        [("preview", "cli"), ("development", "build"), ("production", "build")],
    )
    def test_elsewhere_migrate_applies_no_seed(
        self, cli: Cli, bundle: Bundle, db: Database, environment: str, source: str
    ) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        write_seed(bundle, "a.sql", thing("a"))
        done = cli("migrate", "--source", source, MIGRATION_ENVIRONMENT=environment)
        assert done.returncode == 0, done.stderr
        assert things(db) == ""

    def test_a_preview_build_fills_no_database_that_held_tables_before(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        # As production's own, which previews share, before production has claimed it.
        db.query("create table things (seq serial, what text)")
        bundle.write("001-things.sql", "create table if not exists things (seq serial, what text);")
        write_seed(bundle, "a.sql", thing("a"))
        done = cli("migrate", "--source", "build", VERCEL_ENV="preview")
        assert done.returncode == 0
        assert "public.things was in this database before the first migration" in done.stderr
        assert "No seed was applied" in done.stdout
        assert things(db) == ""
        assert cli("seed", VERCEL_ENV="preview").returncode == 0
        assert things(db) == "a"

    def test_a_preview_build_that_was_told_to_stop_early_applies_no_seed(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        bundle.write("002-b.sql", "create table b (x int);")
        write_seed(bundle, "a.sql", thing("a"))
        done = cli("migrate", "--to", "1", "--source", "build", MIGRATION_ENVIRONMENT="preview")
        assert done.returncode == 0, done.stderr
        assert things(db) == ""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_a_seed_that_is_killed_leaves_nothing(
        self, cli: Cli, bundle: Bundle, db: Database, number: signal.Signals
    ) -> None:
        bundle.write("001-things.sql", "create table things (seq serial, what text);")
        assert cli("migrate").returncode == 0
        write_seed(bundle, "a.sql", thing("a") + "select pg_sleep(60);")
        process = cli.start("seed")
        db.wait_for("pg_sleep(60)")
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "It was at migrations/_seeds/a.sql" in said
        wait_until(lambda: db.advisory_locks() == 0, "the server has let go of it")
        assert things(db) == ""
        assert db.query("select * from public.schema_migration_seeds") == []
        write_seed(bundle, "a.sql", thing("b"))
        assert cli("seed").returncode == 0
        assert things(db) == "b"


def test_progress_hears_of_a_seed_as_of_a_migration(
    context: RunContext, make_context: MakeContext, bundle: Bundle
) -> None:
    witness = Witness()
    write_seed(bundle, "a.sql", thing("a"))
    seed(make_context(progress=witness))
    [(told,)] = witness.of("applied")
    assert isinstance(told, AppliedNow)
    assert (told.version, told.name) == ("_seeds/a.sql", "a.sql")
