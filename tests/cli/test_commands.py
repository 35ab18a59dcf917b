"""The command line as a process: what it prints where, and the exit codes of the contract."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT, UNTIL_RELEASED, Bundle, Cli, Database, local_environ
from fault_proxy import FaultProxy

COMMANDS = (
    "migrate",
    "status",
    "history",
    "validate",
    "plan",
    "create",
    "baseline",
    "serve",
    "stop",
)
SENTINEL = "hunter2-sentinel"


def test_migrate_tells_each_version_and_duration_and_status_shows_them(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    bundle.write("000-create-a.sql", "create table a (x int)")
    bundle.write("001-create-b.sql", "create table b (x int)")
    migrated = cli("migrate")
    assert migrated.returncode == 0
    assert re.search(
        r"^✓ 000-create-a  \d+ ms\n✓ 001-create-b  \d+ ms\n✓ Applied 2 migrations to test",
        migrated.stdout,
    )
    status = cli("status").stdout
    assert status.startswith(
        f"Migration Status\n\nDatabase: {db.target.database} (PostgreSQL {db.server_version}, "
    )
    assert (
        ", from DATABASE_URL; direct)\n"
        "Environment: development; production has not claimed this database\n" in status
    )
    assert "\nState: up-to-date\n\nApplied Migrations (2):\n" in status
    assert re.search(
        r"^  ✓ 000-create-a  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC +\d+ ms$", status, re.MULTILINE
    )
    assert "\nPending Migrations:\n  None\n" in status


def test_a_file_that_was_only_created_stays_pending_on_a_laptop_and_not_in_a_ci(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    cli("create", "add b")
    done = cli("migrate", "--source", "build")
    assert done.returncode == 0
    assert (
        "Warning: migrations/000-add-b.sql has no statement yet, so it stays pending: write its SQL"
        in done.stderr
    )
    assert "is up to date but for 1 file without a statement." in done.stdout
    assert "  • 000-add-b: no statement yet, stays pending" in cli("plan").stdout
    assert cli("status").returncode == 0
    assert cli("status", "--check").returncode == 3
    assert cli("migrate", "--source", "build", CI="1").returncode == 0
    assert db.versions() == ["000-add-b"]


def test_migrate_and_plan_stop_at_the_file_that_to_names(
    cli: Cli, bundle: Bundle, db: Database
) -> None:
    for version in ("000-a", "001-b", "002-c"):
        bundle.write(f"{version}.sql", f"create table {version[-1]} (x int)")
    planned = cli("plan", "--to", "1").stdout
    assert "002-c:" not in planned
    assert planned.endswith("  Not planned: 1, 002-c.\n")
    done = cli("migrate", "--to", "migrations/001-b.sql")
    assert done.returncode == 0
    assert done.stdout.endswith(", up to 001-b.\n  Still pending: 1, 002-c.\n")
    assert db.versions() == ["000-a", "001-b"]


@pytest.mark.parametrize("command", ["migrate", "plan"])
def test_a_limit_that_is_no_file_is_2_before_the_database_is_asked(
    cli: Cli, bundle: Bundle, command: str
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    done = cli(command, "--to", "7", "--json", DATABASE_URL="postgres://u:p@127.0.0.1:1/x")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "There is no migration '7'. There is 000-a."


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_everywhere(command: str) -> None:
    words = [word for word in (command, "--help") if word]
    done = subprocess.run(
        [sys.executable, "-m", "lib", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=local_environ(),
        check=False,
    )
    assert done.returncode == 0
    assert "exit codes: 0 done" in done.stdout


def test_without_a_command_the_help_is_printed_and_nothing_is_done(
    cli: Cli, db: Database, bundle: Bundle
) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    done = cli()
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == cli("--help").stdout
    assert not db.has("a")


def test_the_version_is_the_newest_of_the_changelog(cli: Cli) -> None:
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"{newest[1]}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--json"],
        ["status", "--nonsense"],
        ["baseline"],
        ["serve", "--port", "x"],
    ],
)
def test_a_wrong_word_is_a_usage_error(cli: Cli, words: list[str]) -> None:
    done = cli(*words)
    assert done.returncode == 2
    assert "usage: python -m lib" in done.stderr


def test_an_alias_is_the_command(cli: Cli, bundle: Bundle) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    assert json.loads(cli("up", "--json").stdout)["action"] == "migrate"
    assert json.loads(cli("up", "--json", DATABASE_URL="no url").stdout)["action"] == "migrate"


@pytest.mark.parametrize("command", ["migrate", "status", "history", "validate", "plan"])
def test_json_is_one_document_and_nothing_else(cli: Cli, bundle: Bundle, command: str) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    done = cli(command, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["success"] is True
    assert document["environment"] == "development"
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["migrate", "status", "validate", "plan"])
def test_json_tells_failures_too(cli: Cli, bundle: Bundle, command: str) -> None:
    bundle.write("1-misnamed.sql", "select 1")
    done = cli(command, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert document["success"] is False
    assert "migrations/1-misnamed.sql" in document["error"]


class TestHistory:
    def test_the_last_runs_are_told_the_newest_first(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        cli("migrate")
        bundle.write("001-b.sql", "select 1/0")
        cli("migrate", "--source", "build")
        told = cli("history").stdout
        assert re.search(
            r"newest first:\n\n✗ .* UTC  failed in \d+ms\n  run 2, build, development\n"
            r"  applied nothing\n  \| migrations/001-b\.sql:1:1: division by zero \(SQLSTATE\n"
            r"  \| 22012\)\n\n✓ .* UTC  succeeded in \d+ms\n  run 1, cli, development\n"
            r"  applied 1 file: 000-a\n$",
            told,
        )
        [run] = json.loads(cli("history", "-n", "1", "--json").stdout)["runs"]
        assert (run["id"], run["outcome"], run["failedVersion"]) == (2, "failed", "001-b")
        assert (run["sqlstate"], run["applied"]) == ("22012", [])
        assert run["error"].endswith("  1 | select 1/0\n    | ^")

    def test_without_a_run_it_says_so_and_writes_nothing(self, cli: Cli, db: Database) -> None:
        done = cli("history")
        assert (done.returncode, done.stdout[:25]) == (0, "No run is on record in te")
        assert not db.has("public.schema_migration_runs")

    def test_the_folder_of_the_files_is_not_needed(self, cli: Cli, bundle: Bundle) -> None:
        bundle.migrations.rmdir()
        assert cli("history").returncode == 0

    @pytest.mark.parametrize("number", ["0", "-1", "1001", "ten", "٣"])
    def test_a_number_of_runs_that_is_none_is_2(self, cli: Cli, number: str) -> None:
        done = cli("history", f"--limit={number}")
        assert done.returncode == 2
        assert "it is a number from 1 to 1000" in done.stderr


def test_status_tells_why_the_last_run_failed(cli: Cli, bundle: Bundle) -> None:
    bundle.write("000-a.sql", "create table a (x int)")
    assert "Last Run" not in cli("status").stdout
    cli("migrate")
    assert "Last Run" not in cli("status").stdout
    bundle.write("001-b.sql", "select 1/0")
    cli("migrate")
    assert re.search(
        r"\n\nLast Run failed, .* UTC:\n  \| migrations/001-b\.sql:1:1: division by zero",
        cli("status").stdout,
    )
    run = json.loads(cli("status", "--json").stdout)["lastRun"]
    assert (run["failedVersion"], run["sqlstate"]) == ("001-b", "22012")
    assert run["error"].startswith("migrations/001-b.sql:1:1: division by zero")


class TestExitCodes:
    def test_a_failed_migration_is_1_and_names_the_place(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect 1/0;")
        done = cli("migrate")
        assert done.returncode == 1
        assert "migrations/000-a.sql:2:1: division by zero (SQLSTATE 22012)" in done.stderr
        assert "Traceback" not in done.stderr
        document = json.loads(cli("migrate", "--json").stdout)
        assert (document["version"], document["line"], document["sqlstate"]) == (
            "000-a",
            2,
            "22012",
        )

    def test_a_dead_database_is_1(self, cli: Cli) -> None:
        done = cli(
            "status",
            DATABASE_URL=f"postgresql://u:{SENTINEL}@127.0.0.1:1/app",
            MIGRATION_CONNECT_TIMEOUT="500ms",
        )
        assert done.returncode == 1
        assert (
            "127.0.0.1:1/app (from DATABASE_URL) can't be reached: nothing listens there"
            in done.stderr
        )
        assert SENTINEL not in done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (("postgres:", "postgres:wrong"), "the user or the password was refused"),
            (("/test_", "/nowhere_"), "there is no such database"),
            (("127.0.0.1", "no-such-host.invalid"), "the host name is unknown"),
        ],
    )
    def test_a_final_failure_to_connect_is_told_at_once(
        self, cli: Cli, db: Database, change: tuple[str, str], reason: str
    ) -> None:
        began = time.monotonic()
        done = cli("status", DATABASE_URL=db.url.replace(*change))
        assert done.returncode == 1
        assert reason in done.stderr
        assert time.monotonic() - began < 15

    def test_configuration_is_2_and_all_faults_are_told_at_once(self, cli: Cli) -> None:
        done = cli(
            "migrate",
            DATABASE_URL="mysql://x",
            MIGRATION_LOCK_TIMEOUT="soon",
            MIGRATION_STRICT_ORDER="perhaps",
        )
        assert done.returncode == 2
        for name in ("DATABASE_URL", "MIGRATION_LOCK_TIMEOUT", "MIGRATION_STRICT_ORDER"):
            assert name in done.stderr

    @pytest.mark.parametrize("mark", ["VERCEL", "CI"])
    def test_no_url_where_a_database_is_a_must_is_2_and_names_what_was_looked_up(
        self, cli: Cli, mark: str
    ) -> None:
        done = cli("migrate", DATABASE_URL="", **{mark: "1"})
        assert done.returncode == 2
        for name in (
            "MIGRATION_DATABASE_URL",
            "POSTGRES_URL_NON_POOLING",
            "DATABASE_URL_UNPOOLED",
            "POSTGRES_URL",
        ):
            assert name in done.stderr

    @pytest.mark.parametrize(
        "words",
        [
            ["migrate"],
            ["status"],
            ["validate"],
            ["plan"],
            ["serve"],
            ["baseline", "000-a"],
            ["migrate", "--json"],
        ],
    )
    def test_production_without_a_url_is_2_whatever_is_asked(
        self, cli: Cli, words: list[str]
    ) -> None:
        done = cli(
            *words, DATABASE_URL="", MIGRATION_DATABASE_URL="", MIGRATION_ENVIRONMENT="production"
        )
        assert done.returncode == 2
        assert "never means the embedded PostgreSQL" in done.stdout + done.stderr
        assert not (cli.root / ".local").exists()

    def test_the_guard_is_2(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert cli("migrate", VERCEL_ENV="production").returncode == 0
        done = cli("migrate", VERCEL_ENV="preview")
        assert done.returncode == 2
        assert "belongs to production" in done.stderr
        assert "MIGRATION_ENVIRONMENT=production" in done.stderr

    def test_a_modified_file_is_3(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        cli("migrate")
        bundle.write("000-a.sql", "create table a (y int)")
        for command in ("migrate", "validate", "plan"):
            done = cli(command)
            assert done.returncode == 3
            assert (
                "Migration 000-a has been modified after being applied!"
                in done.stderr + done.stdout
            )
        assert "Modified after being applied (1):\n  • 000-a" in cli("status").stdout

    def test_check_is_3_while_something_is_pending(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert cli("status", "--check").returncode == 3
        cli("migrate")
        assert cli("status", "--check").returncode == 0
        (bundle.migrations / "000-a.sql").unlink()
        assert cli("status", "--check").returncode == 0
        assert cli("validate").returncode == 3

    def test_a_busy_table_is_4(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        db.query("create table a (x int)")
        bundle.write("000-a.sql", "alter table a add column y int")
        with db.connect() as holder, holder.transaction():
            holder.execute("lock table a")
            done = cli("migrate", MIGRATION_LOCK_TIMEOUT="100ms", MIGRATION_LOCK_RETRIES="1")
        assert done.returncode == 4
        assert "trying again in" in done.stderr
        assert "SQLSTATE 55P03" in done.stderr

    def test_another_run_for_too_long_is_4(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(5)")
        first = cli.start("migrate")
        db.wait_for("pg_sleep(5)")
        done = cli("migrate", MIGRATION_RUN_WAIT="500ms")
        assert done.returncode == 4
        assert "Another migration run (migrations cli local) is under way since 20" in done.stderr
        first.communicate(timeout=30)
        assert first.returncode == 0

    @pytest.mark.parametrize(
        ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
    )
    def test_a_signal_rolls_back_and_records_the_interruption(
        self, cli: Cli, bundle: Bundle, db: Database, signum: int, code: int
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(60)")
        process = cli.start("migrate")
        db.wait_for("pg_sleep(60)")
        process.send_signal(signum)
        out, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert "Interrupted by SIG" in err
        assert "Traceback" not in out + err
        assert not db.has("a")
        assert [(run["outcome"], run["failed_version"]) for run in db.runs()] == [
            ("interrupted", "000-a")
        ]
        assert db.advisory_locks() == 0

    def test_a_hangup_that_nohup_ignores_is_ignored(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(1)")
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "lib", "migrate"],
            cwd=cli.root,
            env=dict(cli.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        db.wait_for("pg_sleep(1)")
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=20) == 0
        assert db.versions() == ["000-a"]

    def test_a_signal_ends_it_soon_though_the_database_is_silent(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int);\nselect pg_sleep(30)")
        with FaultProxy(db.target.port) as proxy:
            process = cli.start("migrate", DATABASE_URL=db.through(proxy.port).url)
            db.wait_for("pg_sleep(30)")
            proxy.fall_silent()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=9)
        assert process.returncode == 143

    def test_a_terminal_shows_a_bar_while_an_index_is_built(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        db.query(
            "create table t as select g as x from generate_series(1, 150) g;"
            "create function slow(int) returns int language plpgsql immutable as "
            "$$begin perform pg_sleep(0.01); return $1; end$$"
        )
        bundle.write("000-a.sql", "create index concurrently t_x on t (slow(x))")
        terminal, end = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "lib", "migrate"],
            cwd=cli.root,
            env={**cli.environ, "TERM": "xterm"},
            stdout=end,
            stderr=end,
        )
        os.close(end)
        shown = b""
        with suppress(OSError):  # how Linux tells the end of a terminal
            while piece := os.read(terminal, 4096):
                shown += piece
        os.close(terminal)
        assert process.wait(timeout=20) == 0
        assert re.search(r"\r\[[█░]{24}\] +\d+% 000-a: building index", shown.decode())
        assert "✓" in shown.decode().rpartition("building index")[2]

    def test_what_the_server_remarks_is_shown_with_its_file(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write(
            "000-a.sql",
            "create table a (x int);\ncreate view b as select * from a;\ndrop table a cascade;",
        )
        bundle.write(
            "001-b.sql", "do $$begin raise warning 'é' using detail = 'more', hint = 'less'; end$$"
        )
        done = cli("migrate")
        assert done.returncode == 0
        assert done.stderr.splitlines()[1:] == [
            "migrations/000-a.sql: NOTICE: drop cascades to view b",
            "migrations/001-b.sql: WARNING: é",
            "  | Detail: more",
            "  | Hint: less",
        ]
        assert "NOTICE" not in done.stdout

    def test_a_signal_among_notices_rolls_back_too(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        """What a signal raises inside libpq's callback for notices would be swallowed there."""
        bundle.write(
            "000-a.sql",
            "create table a (x int);\ndo $$ begin for i in 1..400000 loop "
            "raise notice 'notice %', i; end loop; end $$;",
        )
        process = cli.start("migrate")
        assert process.stderr is not None
        assert any("notice 100" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 143
        assert "Traceback" not in out + err
        assert not db.has("a")
        assert db.runs()[0]["outcome"] == "interrupted"

    def test_a_signal_while_it_waits_for_another_run_ends_it(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", f"create table a (x int);\n{UNTIL_RELEASED}")
        first, second = cli.start("migrate"), None
        try:
            db.wait_for("released")
            second = cli.start("migrate")
            assert second.stderr is not None
            assert any("Waiting for another migration run" in line for line in second.stderr)
        finally:
            if second:
                second.send_signal(signal.SIGTERM)
                second.communicate(timeout=20)
            db.query("create table released ()")
            first.communicate(timeout=20)
        assert second.returncode == 143
        assert first.returncode == 0


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:{SENTINEL}@127.0.0.1:1/app",
            f"postgresql://u:{SENTINEL}@/x@127.0.0.1/app",
            f"postgresql://u:%{SENTINEL}@127.0.0.1/app",
            f"postgresql://u:{SENTINEL}@[::1/app",
            f"postgresql://127.0.0.1:1/app?password={SENTINEL}&sslmode=nonsense",
            f"{SENTINEL}",
        ],
    )
    def test_a_url_that_fails_is_never_shown(self, cli: Cli, url: str) -> None:
        done = cli(
            "migrate",
            "--debug",
            DATABASE_URL=url,
            MIGRATION_CONNECT_TIMEOUT="100ms",
            MIGRATION_SECRET=SENTINEL * 2,
        )
        assert done.returncode in (1, 2)
        assert SENTINEL not in done.stdout + done.stderr
        assert "DATABASE_URL" in done.stdout + done.stderr

    def test_the_password_is_in_no_output_and_no_row(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        password = db.target.parameters["password"]
        bundle.write("000-a.sql", "create table a (x int)")
        bundle.write("001-b.sql", "select 1/0")
        shown = "".join(
            done.stdout + done.stderr
            for done in (
                cli("migrate", "--debug"),
                cli("status"),
                cli("plan"),
                cli("migrate", "--json"),
            )
        )
        assert password not in shown
        assert password not in repr(db.runs())


class TestCreate:
    def test_it_writes_the_next_file_and_prints_its_path(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("007-a.sql", "select 1")
        done = cli("create", "Add Invoices: the 2nd table!", DATABASE_URL="")
        assert done.stdout == "migrations/008-add-invoices-the-2nd-table.sql\n"
        text = (bundle.migrations / "008-add-invoices-the-2nd-table.sql").read_text()
        assert re.match(
            r"-- Version: 008\n-- Date: \d{4}-\d\d-\d\d\n"
            r"-- Description: Add Invoices: the 2nd table!\n\n",
            text,
        )

    def test_it_keeps_to_the_digits_of_the_last_file(self, cli: Cli, bundle: Bundle) -> None:
        bundle.write("000-a.sql", "select 1")
        bundle.write("0042-x.sql", "select 1")
        assert cli("create", "next").stdout == "migrations/0043-next.sql\n"
        assert (bundle.migrations / "0043-next.sql").read_text().startswith("-- Version: 0043\n")

    def test_it_begins_at_000_and_needs_no_database(self, cli: Cli, bundle: Bundle) -> None:
        done = cli("create", "first", DATABASE_URL="not a url")
        assert done.returncode == 0
        assert (bundle.migrations / "000-first.sql").exists()

    def test_a_description_without_a_word_is_refused(self, cli: Cli) -> None:
        done = cli("create", "§§§")
        assert done.returncode == 2
        assert "needs a letter" in done.stderr

    @pytest.mark.parametrize("words", [(), ("--from", "-")])
    def test_it_needs_a_description(self, words: tuple[str, ...], cli: Cli) -> None:
        done = cli("create", *words)
        assert done.returncode == 2
        assert "A description is needed, as in: create add invoices table" in done.stderr

    def test_its_words_need_no_quotes(self, cli: Cli) -> None:
        assert cli("new", "add", "a  table").stdout == "migrations/000-add-a-table.sql\n"

    def test_it_takes_sql_from_a_file_or_from_standard_input(
        self, cli: Cli, bundle: Bundle
    ) -> None:
        (bundle.root / "0003_add_orders.sql").write_text("create table a ();\n")
        done = cli("create", "--from", "0003_add_orders.sql")
        assert done.stdout == "migrations/000-add-orders.sql\n"
        done = subprocess.run(
            [sys.executable, "-m", "lib", "create", "--from", "-", "second"],
            cwd=bundle.root,
            input="create table b ();\n",
            capture_output=True,
            text=True,
        )
        assert done.stdout == "migrations/001-second.sql\n"
        assert cli("up").returncode == 0
        done = cli("create", "--from", "nowhere/x.sql")
        assert done.returncode == 2
        assert done.stderr == "✗ nowhere/x.sql can't be read: No such file or directory.\n"

    def test_what_it_writes_is_valid(self, cli: Cli) -> None:
        cli("create", "a\nb -- c")
        assert cli("validate").returncode == 0
        assert cli("migrate").returncode == 0


class TestEnvFiles:
    def test_env_local_names_the_database_of_local_work(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        (bundle.root / ".env").write_text("DATABASE_URL=postgresql://u:p@127.0.0.1:1/wrong\n")
        (bundle.root / ".env.local").write_text(
            f'DATABASE_URL="{db.url}"\nVERCEL="1"\nVERCEL_ENV="production"\nCI=1\n'
        )
        document = json.loads(cli("status", "--json", DATABASE_URL="").stdout)
        assert document["database"] == db.target.database
        assert document["environment"] == "development"

    def test_they_are_not_read_in_ci(self, cli: Cli, bundle: Bundle, db: Database) -> None:
        (bundle.root / ".env").write_text(f"DATABASE_URL={db.url}\n")
        assert cli("status", DATABASE_URL="", CI="true").returncode == 2

    def test_a_database_chosen_in_the_process_is_never_left_for_a_sibling_in_a_file(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        (bundle.root / ".env.local").write_text(
            "POSTGRES_URL=postgresql://u:p@127.0.0.1:1/wrong\nDATABASE_URL_UNPOOLED=postgresql://u:p@127.0.0.1:1/wrong\n"
        )
        done = cli("migrate", "--json")
        assert json.loads(done.stdout)["database"] == db.target.database


class TestTheTerminal:
    def test_no_color_and_no_sign_beyond_ascii_where_they_cannot_be_shown(
        self, cli: Cli, bundle: Bundle
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        done = cli("migrate", PYTHONIOENCODING="ascii")
        assert done.stdout.isascii()
        assert "[x] 000-a" in done.stdout
        assert "\x1b" not in cli("status").stdout

    def test_a_reader_that_has_gone_neither_fails_nor_stops_a_migration(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select pg_sleep(0.5)")
        bundle.write("001-b.sql", "create table b (x int)")
        process = cli.start("migrate")
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert "Traceback" not in process.communicate(timeout=20)[1]
        assert process.returncode == 0
        assert db.versions() == ["000-a", "001-b"]
        assert db.runs()[0]["outcome"] == "succeeded"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    def test_a_full_disk_behind_the_log_stops_no_migration(
        self, cli: Cli, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "select 1")
        bundle.write("001-b.sql", "select 2")
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable!r} -m lib migrate >/dev/full 2>&1"],
            cwd=cli.root,
            env=cli.environ,
            timeout=60,
        )
        assert done.returncode == 0
        assert db.versions() == ["000-a", "001-b"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_named(cli: Cli, bundle: Bundle) -> None:
    path = bundle.write("000-a.sql", "select 1")
    path.chmod(stat.S_IWUSR)
    done = cli("validate")
    assert done.returncode == 2
    assert "migrations/000-a.sql: the file can't be read" in done.stderr


def test_a_missing_folder_is_an_error_with_the_way_out(cli: Cli, bundle: Bundle) -> None:
    bundle.migrations.rmdir()
    done = cli("migrate")
    assert done.returncode == 2
    assert "MIGRATIONS_DIR" in done.stderr
    Path(bundle.root / "sql").mkdir()
    assert cli("migrate", MIGRATIONS_DIR="sql").returncode == 0
