"""The documents match the code: each name in them exists, and each that exists is in the README."""

import argparse
import inspect
import io
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

import lib
from lib import time_limits
from lib.actions.locked_run import check_sessions
from lib.calls.invocation import DEFAULT_PORT
from lib.cli import options
from lib.console.output_streams import Console
from lib.console.progress_log import ProgressLog
from lib.database import connection_errors as unreachable
from lib.database.login import no_search_path
from lib.duration import parse_duration
from lib.errors import (
    ConfigurationError,
    GuardError,
    Interrupted,
    MigrationFileError,
    MigratorError,
)
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.ledger.fingerprint import Fingerprint
from lib.ledger.ledger_state import Survey
from lib.ledger.production_guard import check_guard
from lib.ledger.schema import ADDED_COLUMNS
from lib.ledger.table_trust import Tables
from lib.own_tables import OWN_TABLES
from lib.settings.connection_target import ConnectionTarget
from lib.settings.loader import load_settings
from lib.settings.variables import DATABASE, VARIABLES
from lib.web import admin_endpoint, http_endpoint, status_endpoint

README = ROOT / "README.md"
OWN = Fingerprint("1", "5")
NO_TABLES = Tables({}, (), at_a_glance=True)
PROVIDERS = ROOT / "docs" / "providers"
DOCUMENTS = (
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
NAMED = (*DOCUMENTS, ROOT / ".env.example")
NAMES = {variable.name for variable in VARIABLES}

_VARIABLE = re.compile(
    r"\b(?:(?:MIGRATIONS?|POSTGRES|DATABASE|DIRECT|VERCEL|NILEDB|PRISMA|AWS)_[A-Z_]*[A-Z]|PG[A-Z]{4,}(?:_[A-Z]+)*)\b"
)
# A command as far as its line, its back quote, its comment or its redirection goes.
_COMMAND = re.compile(r"(?:python3? -m lib|\./migrate)( [a-z][^`\n#|;&)>]*)")
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)

# Read by Vercel, not by us.
VERCELS_VARIABLES = {"VERCEL_PYTHON_COMPILEALL"}
# What providers set and tools of theirs read, and we don't: their pages may name them.
PROVIDERS_VARIABLES = {
    "AWS_PROFILE",
    "DATABASE_URL_POOLED",
    "DIRECT_URL",
    "PGHOST_UNPOOLED",
    "PGPASSWORD",
    "POSTGRES_DATABASE",
    "POSTGRES_HOST",
    "POSTGRES_PASSWORD",
    "POSTGRES_PRISMA_URL",
    "POSTGRES_USER",
    "PRISMA_DATABASE_URL",
}

IN_WORDS = {
    25: "twenty-five",
    26: "twenty-six",
    27: "twenty-seven",
    28: "twenty-eight",
    29: "twenty-nine",
    30: "thirty",
}

in_every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def section(title: str) -> str:
    """The text under a heading of the README, as far as the next heading of any level."""
    match = re.search(
        rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)",
        _FENCED.sub("", README.read_text()),
        re.MULTILINE | re.DOTALL,
    )
    assert match, f"README.md has no section {title!r}"
    return match[1]


def rows(title: str) -> dict[str, list[str]]:
    """The table rows under a heading: the first cell, without back quotes, and the others."""
    lines = [
        line.strip("| \n").split(" | ")
        for line in section(title).splitlines()
        if line.startswith("| ")
    ]
    return {cells[0].strip("` "): cells[1:] for cells in lines}


def commands() -> dict[str, argparse.ArgumentParser]:
    # Without the aliases.
    known = options.make_parser().commands
    return {name: parser for name, parser in known.items() if parser.get_default("command") == name}


def long_options(parser: argparse.ArgumentParser) -> set[str]:
    return {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }


def written_commands(document: Path) -> Iterator[list[str]]:
    for match in _COMMAND.finditer(document.read_text()):
        yield shlex.split(match[1])


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exit_codes(kind: type[MigratorError] = MigratorError) -> set[int]:
    return {kind.exit_code}.union(*map(exit_codes, kind.__subclasses__()))


@in_every_document
def test_every_command_in_a_document_is_one_that_the_parser_takes(document: Path) -> None:
    for words in written_commands(document):
        options.make_parser().parse_args(words)


def test_every_command_is_in_the_readme() -> None:
    known = options.make_parser().commands
    # An alias stands for its command.
    named = {known[words[0]].get_default("command") for words in written_commands(README)}
    assert named == set(commands())


def test_every_option_is_in_the_readme_with_the_commands_that_have_it() -> None:
    table = rows("Commands")
    for name, parser in commands().items():
        for option in long_options(parser):
            assert option in table, f"{name} has {option}"
            assert table[option][0] == "all" or name in table[option][0].split(", ")


def test_every_option_in_the_readme_is_one_of_the_commands_named_beside_it() -> None:
    parsers = commands()
    table = rows("Commands")
    for option in (name for name in table if name.startswith("--")):
        of = table[option][0]
        for name in parsers if of == "all" else of.split(", "):
            assert option in long_options(parsers[name])


@pytest.mark.parametrize("document", NAMED, ids=lambda path: path.name)
def test_every_variable_in_a_document_is_one_that_is_read(document: Path) -> None:
    others = PROVIDERS_VARIABLES if document.parent == PROVIDERS else set()
    # Of the settings of a repository at GitHub.
    workflow = (ROOT / "docs" / "github" / "migrations.yml").read_text()
    others = {*others, *re.findall(r"\bvars\.(\w+)", workflow)}
    assert set(_VARIABLE.findall(document.read_text())) <= {*NAMES, *VERCELS_VARIABLES, *others}


def test_the_variables_of_providers_are_named_in_their_pages_and_not_read() -> None:
    named = set().union(*(_VARIABLE.findall(path.read_text()) for path in PROVIDERS.glob("*.md")))
    assert named >= PROVIDERS_VARIABLES
    assert not PROVIDERS_VARIABLES & NAMES


def test_every_variable_that_names_a_database_is_in_a_providers_page() -> None:
    named = set().union(*(_VARIABLE.findall(path.read_text()) for path in PROVIDERS.glob("*.md")))
    assert {variable.name for variable in DATABASE} <= named


def test_the_readme_gives_the_default_connect_timeouts_of_the_code() -> None:
    written = re.findall(r"`([^`]+)`", rows("Variables")["MIGRATION_CONNECT_TIMEOUT"][0])
    assert tuple(map(parse_duration, written)) == (
        time_limits.CONNECT,
        time_limits.STATUS_CONNECT,
    )


def test_the_readme_gives_the_default_port_of_the_code() -> None:
    assert f"127.0.0.1:{DEFAULT_PORT}" in section("Commands")


def test_the_readme_gives_every_exit_code_and_no_other() -> None:
    interrupted = {Interrupted(number).exit_code for number in (signal.SIGINT, signal.SIGTERM)}
    written = {int(code) for code in rows("Exit codes") if code.isdigit()}
    assert written == {0} | exit_codes() | interrupted


def test_the_readme_gives_every_http_status_and_no_other() -> None:
    source = "".join(
        inspect.getsource(module) for module in (admin_endpoint, http_endpoint, status_endpoint)
    )
    # 404 is for paths that Vercel sends elsewhere.
    given = {200} | {int(code) for code in re.findall(r"\b[45]\d\d\b", source)} - {404}
    assert {int(code) for code in rows("Endpoints") if code.isdigit()} == given


@in_every_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", document.read_text())):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    "name", ["aws", "neon", "nile", "pgbouncer", "planetscale", "prisma", "supabase"]
)
def test_a_provider_has_a_page_of_the_common_shape_and_the_readme_links_to_it(name: str) -> None:
    page = PROVIDERS / f"{name}.md"
    assert {"what-to-set", "what-it-injects"} & anchors(page)
    assert {"which-connection-is-used", "tls", "previews"} <= anchors(page)
    assert str(page.relative_to(ROOT)) in _LINK.findall(section("Add it to a project"))


def test_there_is_no_other_page_of_a_provider() -> None:
    links = {
        link
        for link in _LINK.findall(section("Add it to a project"))
        if link.startswith("docs/providers/")
    }
    assert links == {str(page.relative_to(ROOT)) for page in PROVIDERS.glob("*.md")}


_NEON, _NEON_POOLER = (
    f"postgresql://owner:pw@ep-cool-leaf-a1b2c3d4{pooler}.us-east-2.aws.neon.tech/neondb?sslmode=require"
    for pooler in ("", "-pooler")
)
_SUPABASE, _SUPABASE_POOLER = (
    f"postgres://postgres.abcdefghijklmnopqrst:pw@aws-0-us-east-1.pooler.supabase.com:{port}/postgres?sslmode=require{more}"
    for port, more in ((5432, ""), (6543, "&supa=base-pooler.x"))
)
_PRISMA, _PRISMA_POOLER = (
    f"postgres://u:pw@{pooler}db.prisma.io:5432/postgres?sslmode=require"
    for pooler in ("", "pooled.")
)
_PLANETSCALE = (
    "postgresql://postgres.xhjhjl0nh1cp:pw@us-east-3.pg.psdb.cloud:6432/shop"
    "?sslmode=verify-full&sslrootcert=system"
)
_AURORA = {
    "PGHOST": "shop.cluster-c9example.eu-west-1.rds.amazonaws.com",
    "PGUSER": "migrator",
    "PGDATABASE": "shop",
    "AWS_REGION": "eu-west-1",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/migrations",
    "PGSSLROOTCERT": "README.md",
}

# By page: what the provider sets, and whether the server itself answers there.
FIRST_LINES = [
    (
        "neon",
        {
            "POSTGRES_URL": _NEON_POOLER,
            "POSTGRES_URL_NON_POOLING": _NEON,
            "DATABASE_URL": _NEON_POOLER,
        },
        True,
    ),
    ("neon", {"DATABASE_URL": _NEON_POOLER}, True),
    ("supabase", {"POSTGRES_URL": _SUPABASE_POOLER, "POSTGRES_URL_NON_POOLING": _SUPABASE}, False),
    ("supabase", {"POSTGRES_URL": _SUPABASE_POOLER}, False),
    (
        "prisma",
        {"POSTGRES_URL": _PRISMA, "DATABASE_URL": _PRISMA, "DATABASE_URL_POOLED": _PRISMA_POOLER},
        True,
    ),
    ("prisma", {"DATABASE_URL": _PRISMA_POOLER}, True),
    ("aws", _AURORA, True),
    ("planetscale", {"DATABASE_URL": _PLANETSCALE}, True),
    (
        "pgbouncer",
        {"DATABASE_URL": "postgres://u:pw@db.example.com:6432/shop?pgbouncer=true"},
        False,
    ),
]


@pytest.mark.parametrize(("page", "environ", "is_direct"), FIRST_LINES)
def test_a_providers_page_has_the_first_line_that_a_run_prints_there(
    page: str, environ: dict[str, str], is_direct: bool
) -> None:
    target = load_settings({"VERCEL": "1", **environ}).migration_target
    assert target is not None
    log = ProgressLog(Console(io.StringIO(), err := io.StringIO(), {}), "Migrating")
    log.connected(target, is_direct=is_direct)
    assert f"```text\n{err.getvalue()}```\n" in (PROVIDERS / f"{page}.md").read_text()


REFUSED_VARIABLES = [
    (
        "prisma",
        {
            "DATABASE_URL": "prisma+postgres://accelerate.prisma-data.net/?api_key=x",
            "DIRECT_URL": _PRISMA,
        },
    ),
    (
        "nile",
        {
            "NILEDB_POSTGRES_URL": "postgres://us-west-2.db.thenile.dev:5432/shop",
            "NILEDB_USER": "u",
        },
    ),
    ("aws", {**_AURORA, "PGUSER": "", "PGDATABASE": ""}),
    ("aws", {**_AURORA, "PGSSLROOTCERT": ""}),
    ("aws", {**_AURORA, "PGHOST": "abc123.dsql.us-east-1.on.aws"}),
]


@pytest.mark.parametrize(("page", "environ"), REFUSED_VARIABLES)
def test_a_providers_page_has_the_errors_that_its_variables_may_bring_about(
    page: str, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"VERCEL": "1", **environ})
    assert f"\n✗ {caught.value}\n" in (PROVIDERS / f"{page}.md").read_text()


def test_troubleshooting_md_has_every_reason_for_which_there_is_no_connection() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    known = {reason for _, reason in unreachable._BY_WORDS} | {*unreachable._BY_SQLSTATE.values()}
    for reason in known | {unreachable.NO_IPV6, unreachable.UNKNOWN}:
        told = reason.text.partition(";")[0]
        known_by = [told, told.partition(",")[0]]
        assert (
            any(f"{start} {each}" in text for each in known_by for start in ("|", ";"))
            or "known to PostgreSQL's client" in told
        ), told


def test_environments_md_has_what_a_schema_through_a_pooler_brings_about() -> None:
    text = (ROOT / "docs" / "environments.md").read_text()
    assert f"\n✗ {no_search_path(ConnectionTarget('DATABASE_URL', {}))}\n" in text


def test_trust_md_has_the_statement_that_adds_the_columns_of_this_version() -> None:
    added = ",\n".join(
        f"    add column if not exists {name} {kind}" for name, kind in ADDED_COLUMNS.items()
    )
    text = (ROOT / "docs" / "trust.md").read_text()
    assert f"\nalter table public.schema_migration_runs\n{added};\n" in text


def test_review_compared_md_has_the_tables_of_what_was_measured() -> None:
    code = (
        "import json, sys; sys.path.insert(0, 'bench'); from judge_page import PAGE, written; "
        "data = json.load(open('bench/judged.json', encoding='utf-8')); "
        "sys.exit(written(data) != PAGE.read_text(encoding='utf-8'))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", ["trust.md", "replication.md"])
def test_a_list_of_the_runners_tables_has_all_of_them(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    assert [table for table in OWN_TABLES if not re.search(rf"\b{table}\b", text)] == []


def test_contributing_md_has_the_number_of_the_wings() -> None:
    number = IN_WORDS[len(list((ROOT / "lib").glob("*/__init__.py")))]
    assert f" {number} wings " in (ROOT / "CONTRIBUTING.md").read_text()
    assert f" {number} wings." in (lib.__doc__ or "")


@pytest.mark.parametrize("name", ["README.md", "docs/adopting.md"])
def test_the_sample_of_install_has_about_as_many_files_as_the_bundle(name: str) -> None:
    there = sum(path.suffix in (".py", ".sql") for path in (ROOT / "lib").rglob("*"))
    [said] = re.findall(r"\+ lib/  (\d+) files added", (ROOT / name).read_text())
    # Not each new file has to change the documents.
    assert abs(int(said) - there) <= 9, f"lib/ has {there} files"


def test_previews_md_has_what_the_guard_says() -> None:
    claimed = Survey("", "", OWN, None, NO_TABLES, None, None, (), (OWN,))
    with pytest.raises(GuardError) as caught:
        check_guard(claimed, "preview")
    assert f"\n✗ {caught.value}\n" in (ROOT / "docs" / "previews.md").read_text()


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("009-tidy-users.sql", "-- Transaction: none\nselect 1; select 2;"),
        ("010-index-email.sql", "-- Lock-Timeout: 5s\ncreate index concurrently i on a (x);"),
    ],
)
def test_pgbouncer_md_has_what_a_transaction_pooler_refuses(name: str, sql: str) -> None:
    with pytest.raises(MigrationFileError) as caught:
        check_sessions((prepare(parse(name, sql.encode())),))
    assert f"\n✗ migrations/{name}: " in f"\n✗ {caught.value}\n"
    assert f"\n✗ {caught.value}\n" in (PROVIDERS / "pgbouncer.md").read_text()


# What docs/sql.md says is refused, each with a file that is.
REFUSED = {
    "would end or begin a transaction": "select 1; commit;",
    "can't run inside a transaction": "select 1; vacuum;",
    "begins a transaction and never ends it": "-- Transaction: none\nbegin; select 1;",
    "chains transactions": "-- Transaction: none\nbegin; commit and chain;",
    "in a READ ONLY transaction it could not be recorded": "begin read only; select 1; commit;",
    "is a command of psql, not SQL": "\\echo hello",
    "psql would put the value of its variable … here": "select :USER;",
    "the table in which the runner keeps what it has applied": (
        "drop table public.schema_migrations;"
    ),
    "begins a down migration, and a file runs as a whole": "select 1;\n-- migrate:down\nselect 2;",
    "is not read here; move the line to the file's top": "select 1;\n-- Transaction: none\n",
    "is invisible, and PostgreSQL does not skip it": "select\u00a01;",
    "a backslash before a quote is not an escape in a plain string": "select 'Newton\\'s laws';",
    "the file is UTF-8 and not only ASCII, but this sets …": (
        "set client_encoding = 'latin1'; select 'é';"
    ),
    "with standard_conforming_strings off a backslash in this string would be an escape": (
        "set standard_conforming_strings = off; select '\\';"
    ),
    "psql reads this part of an E'…' string without its escapes": "select E'a'\n'\\'';",
    "psql takes this name for a keyword of a BEGIN ATOMIC body": (
        "create function begin() returns int language sql as '';"
    ),
    "unterminated …": "select 'a;",
    "nothing may follow on its line": "copy a from stdin; select 1;\n\\.\n",
}


def test_the_documents_name_every_refusal() -> None:
    table = (
        (ROOT / "docs" / "sql.md")
        .read_text()
        .partition("## What is refused\n")[2]
        .partition("\n## ")[0]
    )
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(REFUSED)


@pytest.mark.parametrize(("message", "sql"), REFUSED.items(), ids=REFUSED)
def test_what_the_documents_say_is_refused(message: str, sql: str) -> None:
    with pytest.raises(
        MigrationFileError, match="(?s:.*)".join(map(re.escape, message.split("…")))
    ):
        prepare(parse("001-x.sql", sql.encode()))
