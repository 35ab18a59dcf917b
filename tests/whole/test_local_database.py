"""The embedded database on the command line: started, named by a URL, given to the application."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import ROOT, Cli, copy_lib, local_environ, wait_until
from node_clients import require_clients, run_script

from lib.local import embedded_server as embedded


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line of a project without a database, in a folder with a blank in its name."""
    root = tmp_path_factory.mktemp("my app")
    copy_lib(root)
    shutil.copytree(ROOT / "migrations", root / "migrations")
    yield Cli(root, local_environ())
    cluster = embedded.locate(root)
    embedded.stop(cluster)
    if cluster.runs_as:
        shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.fixture
def url(project: Cli) -> Iterator[str]:
    """The URL of its server, which runs; what a test leaves in the project is removed."""
    yield project("url").stdout.strip()
    for name in (".env.local", ".env.development.local", ".gitignore", ".git"):
        path = project.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_running(project: Cli) -> bool:
    return embedded.is_running(embedded.locate(project.root))


def ask(url: str, sql: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


@pytest.mark.parametrize("words", [["status"], ["migrate"], ["plan"], ["validate"]])
@pytest.mark.parametrize("place", ["process", ".env.local"])
def test_a_url_that_names_the_server_starts_it_and_counts_as_local(
    project: Cli, url: str, place: str, words: list[str]
) -> None:
    embedded.stop(embedded.locate(project.root))
    named = url.replace("127.0.0.1", "localhost")
    if place == ".env.local":
        (project.root / ".env.local").write_text(f"POSTGRES_URL={named}\n")
    done = project(*words, **({"DATABASE_URL": named} if place == "process" else {}))
    assert done.returncode == 0
    assert is_running(project)
    assert done.stderr.startswith("Starting the embedded PostgreSQL in ")
    assert "DATABASE_URL" not in done.stdout + done.stderr
    if words == ["status"]:
        assert ", from the embedded PostgreSQL; direct)\n" in done.stdout


@pytest.mark.usefixtures("url")
def test_a_variable_with_a_prefix_is_named_where_it_is_not_used(project: Cli) -> None:
    embedded.stop(embedded.locate(project.root))
    (project.root / ".env.local").write_text("STORAGE_DATABASE_URL=postgres://u:hunter2@h/d\n")
    done = project("status")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "No database URL is set (MIGRATION_VARIABLE_PREFIX=STORAGE_ would lead to "
        "STORAGE_DATABASE_URL): starting the embedded PostgreSQL in "
    )
    assert "hunter2" not in done.stdout + done.stderr


def test_nothing_else_is_on_standard_output_than_the_url(project: Cli, url: str) -> None:
    embedded.stop(embedded.locate(project.root))
    done = project("url")
    assert re.fullmatch(r"postgresql://postgres:[\w-]{32}@127\.0\.0\.1:\d+/postgres\n", done.stdout)
    assert done.stdout == f"{url}\n"
    assert done.stderr.startswith("Starting the embedded PostgreSQL in ")
    assert ask(url, "select 1") == (1,)
    document = json.loads(project("url", "--json").stdout)
    assert document == {"success": True, "action": "url", "url": url}


@pytest.mark.parametrize("words", [["url"], ["start"], ["psql", "-Atc", "select 1"]])
def test_another_database_that_the_commands_use_is_named_without_its_login(
    project: Cli, url: str, words: list[str]
) -> None:
    other = "postgresql://app:hunter2@db.example.com/app?schema=x"
    done = project(*words, DATABASE_URL=other)
    assert done.returncode == 0
    assert done.stderr == (
        "The commands use another database (db.example.com:5432/app, from DATABASE_URL), not this "
        "one.\n"
    )
    done = project(*words, DATABASE_URL=other, MIGRATION_DATABASE_URL=url)
    assert "from DATABASE_URL), not this one." in done.stderr
    assert "MIGRATION_DATABASE_URL" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "mark", [{"VERCEL": "1"}, {"CI": "1"}, {"MIGRATION_ENVIRONMENT": "production"}]
)
def test_who_asks_for_the_local_database_gets_it_anywhere(
    project: Cli, url: str, mark: dict[str, str]
) -> None:
    assert project("url", **mark).stdout == f"{url}\n"
    assert project("start", **mark).returncode == 0
    assert project("psql", "-Atc", "select 1", **mark).stdout == "1\n"


def test_production_never_means_the_embedded_database(project: Cli, url: str) -> None:
    done = project("migrate", POSTGRES_URL=url, MIGRATION_ENVIRONMENT="production")
    assert done.returncode == 2
    assert (
        "POSTGRES_URL names the embedded PostgreSQL. The environment is production, which never "
        "means the embedded PostgreSQL" in done.stderr
    )


def test_in_ci_its_url_is_only_a_url(project: Cli, url: str) -> None:
    document = json.loads(project("status", "--json", DATABASE_URL=url, CI="1").stdout)
    assert document["connection"]["variable"] == "DATABASE_URL"
    embedded.stop(embedded.locate(project.root))
    done = project("status", DATABASE_URL=url, CI="1", MIGRATION_CONNECT_TIMEOUT="100ms")
    assert done.returncode == 1
    assert not is_running(project)


def test_another_database_of_the_server_starts_it_and_stays_another(project: Cli, url: str) -> None:
    ask(url, "drop database if exists app")
    ask(url, "create database app")
    embedded.stop(embedded.locate(project.root))
    done = project("plan", "--json", DATABASE_URL=f"{url[:-8]}app")
    assert json.loads(done.stdout)["database"] == "app"


def test_what_else_the_url_asks_for_stays(project: Cli, url: str) -> None:
    ask(url, "create schema if not exists app")
    done = project("plan", DATABASE_URL=f"{url}?schema=app&pgbouncer=true")
    assert done.returncode == 0
    done = project("migrate", DATABASE_URL=f"{url}?schema=app&pgbouncer=true")
    assert (
        "from the embedded PostgreSQL; direct; search_path app; left out of its URL: pgbouncer"
        in (done.stderr)
    )


def test_a_url_with_an_outdated_password_has_the_next_step(project: Cli, url: str) -> None:
    outdated = re.sub(r":[\w-]+@", f":{'x' * 32}@", url, count=1)
    done = project("status", DATABASE_URL=outdated)
    assert done.returncode == 1
    assert "`python -m lib url --write-env` writes the present one into .env.local." in done.stderr
    assert "xxx" not in done.stderr


def test_a_url_with_an_outdated_port_means_the_server_and_not_what_is_at_that_port(
    project: Cli, url: str
) -> None:
    """Where the folder of a project was copied, the server of the other one has the password."""
    done = project("plan", DATABASE_URL=re.sub(r":\d+/", ":1/", url))
    assert done.returncode == 0
    port = url.rpartition(":")[2].partition("/")[0]
    assert done.stderr == (
        f"The URL of the embedded PostgreSQL has an outdated port, 1, in place of {port}: "
        "`python -m lib url --write-env` writes it again.\n"
    )


@pytest.mark.parametrize("command", ["url", "start"])
def test_the_url_is_written_into_env_local_once_for_all_commands(
    project: Cli, url: str, command: str
) -> None:
    shown = project(command, "--write-env")
    assert shown.returncode == 0
    assert ".env.local now sets DATABASE_URL to the local database." in shown.stdout + shown.stderr
    assert (project.root / ".env.local").read_text() == f"DATABASE_URL={url}\n"
    again = project(command, "--write-env")
    assert ".env.local already sets DATABASE_URL" in again.stdout + again.stderr
    if command == "start":
        assert url.split("@", maxsplit=1)[0] not in shown.stdout + shown.stderr
    assert project("status").returncode == 0


def test_an_outdated_line_is_written_again(project: Cli, url: str) -> None:
    gone = f"postgresql://postgres:{'x' * 32}@localhost:20000/postgres"
    (project.root / ".env.local").write_text(f"A=1\nDATABASE_URL={gone}\n")
    assert project("url", "--write-env").returncode == 0
    assert (project.root / ".env.local").read_text() == f"A=1\nDATABASE_URL={url}\n"


def test_a_line_for_another_database_is_not_replaced(project: Cli, url: str) -> None:
    text = "DATABASE_URL=postgresql://app:hunter2@db.example.com/app\n"
    (project.root / ".env.local").write_text(text)
    done = project("url", "--write-env")
    assert (done.returncode, done.stdout) == (2, "")
    assert ".env.local sets DATABASE_URL to another database, which stays" in done.stderr
    assert "hunter2" not in done.stderr
    assert (project.root / ".env.local").read_text() == text


def test_a_file_that_next_js_reads_before_is_named(project: Cli, url: str) -> None:
    (project.root / ".env.development.local").write_text("DATABASE_URL=postgres://a:b@c/d\n")
    done = project("start", "--write-env")
    assert (
        "But .env.development.local sets it, too, and Next.js reads that file first" in done.stdout
    )


def test_the_first_start_offers_the_line_and_the_next_does_not(tmp_path: Path) -> None:
    copy_lib(tmp_path)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    project, cluster = Cli(tmp_path, local_environ()), embedded.locate(tmp_path)
    offer = "`python -m lib start --write-env` writes its DATABASE_URL into .env.local."
    try:
        first = project("migrate")
        assert offer in first.stderr
        assert cluster.password_file.read_text() not in first.stdout + first.stderr
        embedded.stop(cluster)
        assert offer not in project("migrate").stderr
    finally:
        embedded.stop(cluster)
        if cluster.runs_as:
            shutil.rmtree(cluster.home)


class TestPsql:
    def test_its_arguments_input_and_exit_code_are_those_of_psql(
        self, project: Cli, url: str, tmp_path: Path
    ) -> None:
        assert project("psql", "-At", "-c", "select 'a b'", "-c", "select 2").stdout == "a b\n2\n"
        assert re.fullmatch(r"psql \(PostgreSQL\) \d+\.\d+\n", project("psql", "--version").stdout)
        assert "psql is the PostgreSQL interactive terminal" in project("psql", "--help").stdout
        (project.root / "a file.sql").write_text("select 1/0;")
        failed = project("psql", "-v", "ON_ERROR_STOP=1", "-f", "a file.sql")
        assert failed.returncode == 3
        assert "psql:a file.sql:1: ERROR:  division by zero" in failed.stderr
        assert "does not exist" in project("psql", "--", "-c").stderr

    def test_it_is_on_the_local_database_whatever_leads_libpq_elsewhere(
        self, project: Cli, url: str
    ) -> None:
        done = project(
            "psql",
            "-Atc",
            "select inet_server_port(), current_user, current_setting('TimeZone')",
            PGHOST="db.example.com",
            PGHOSTADDR="192.0.2.1",
            PGPASSWORD="wrong",
            PGSERVICE="other",
            PGSSLMODE="verify-full",
            PGTZ="Europe/Rome",
        )
        assert done.stdout == f"{url.rpartition(':')[2].partition('/')[0]}|postgres|Europe/Rome\n"

    @pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
    def test_the_process_becomes_psql_and_shows_no_password(self, project: Cli, url: str) -> None:
        process = project.start("psql", "-Atc", "select pg_sleep(60)")
        try:
            command = Path(f"/proc/{process.pid}/cmdline")
            wait_until(lambda: b"/psql\0" in command.read_bytes(), "psql")
            assert command.read_bytes().split(b"\0")[1:] == [b"-Atc", b"select pg_sleep(60)", b""]
            sleeping = "select pid from pg_stat_activity where query = 'select pg_sleep(60)'"
            wait_until(lambda: ask(url, sleeping), "the query")
            # Ctrl-C cancels the query of psql, whose own exit code follows.
            process.send_signal(signal.SIGINT)
            assert "canceling statement due to user request" in process.communicate(timeout=20)[1]
            assert process.returncode == 1
        finally:
            process.kill()
            process.wait()

    def test_a_reader_that_has_gone_ends_it(self, project: Cli, url: str) -> None:
        rows = "select generate_series(1, 10000000)"
        process = project.start("psql", "-At", "-v", "FETCH_COUNT=100", "-c", rows)
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        process.stdout = None
        process.communicate(timeout=20)
        assert process.returncode == -signal.SIGPIPE


NODE_POSTGRES = """
import pg from "pg";

const client = new pg.Client(process.env.DATABASE_URL);
await client.connect();
const { rows } = await client.query("select version from schema_migrations order by 1 limit 1");
console.log(rows[0].version);
await client.end();
"""
POSTGRES_JS = """
import postgres from "postgres";

const sql = postgres(process.env.DATABASE_URL);
const rows = await sql`select version from schema_migrations order by 1 limit 1`;
console.log(rows[0].version);
await sql.end();
"""


@pytest.mark.parametrize("script", [NODE_POSTGRES, POSTGRES_JS], ids=["pg", "postgres.js"])
def test_a_few_lines_in_node_read_the_local_database_after_a_restart_too(
    project: Cli, url: str, script: str
) -> None:
    require_clients()
    assert project("migrate").returncode == 0
    environ = {**project.environ, "DATABASE_URL": url}
    assert run_script(project.root, script, environ) == "000-create-migration-table\n"
    project("stop")
    assert project("start", "--write-env").returncode == 0
    assert run_script(project.root, script, environ) == "000-create-migration-table\n"
    # As Node.js reads the line that was written.
    from_file = run_script(project.root, script, project.environ, "--env-file=.env.local")
    assert from_file == "000-create-migration-table\n"


def test_the_script_in_the_document_is_the_one_that_was_tried() -> None:
    written = (ROOT / "docs" / "local.md").read_text().partition("```js\n")[2].partition("```")[0]
    assert written.splitlines()[:4] == NODE_POSTGRES.splitlines()[1:5]
