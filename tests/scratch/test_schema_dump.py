"""The schema as SQL: complete, the same on every machine, and taken by psql and by the runner."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database, connect
from psql import PSQL
from rich_schema import RICH
from tls_postgres import TLS_POSTGRES

from lib.catalog.comparison import compare
from lib.catalog.schema_objects import Change, Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.errors import MigratorError
from lib.files.folder import MigrationFile, parse
from lib.local import embedded_server as embedded
from lib.object_patterns import ROLE_KINDS
from lib.own_tables import OWN_TABLES
from lib.scratch import scratch_server as scratch_module
from lib.scratch.chain import build_chain, connect_to_scratch
from lib.scratch.schema_dump import dump, schema_text
from lib.scratch.scratch_server import scratch_server
from lib.settings.connection_target import ConnectionTarget


def chain() -> tuple[MigrationFile, ...]:
    notes = b"create table schema_migration_notes (id serial);"
    return (parse("001-rich.sql", RICH.encode()), parse("002-notes.sql", notes))


@pytest.fixture(scope="module")
def scratch(scratch_root: Path) -> Iterator[ConnectionTarget]:
    with scratch_server(scratch_root) as target:
        build_chain(target, chain())
        yield target


@pytest.fixture(scope="module")
def text(scratch: ConnectionTarget) -> str:
    return schema_text(dump(scratch), "-- Made.")


@pytest.fixture
def other(scratch: ConnectionTarget) -> Iterator[ConnectionTarget]:
    """An empty database on the same server."""
    with connect(scratch) as connection:
        connection.execute("create database other strategy file_copy")
    yield scratch.with_parameters(dbname="other")
    with connect(scratch) as connection:
        connection.execute("drop database other with (force)")


def changes(one: ConnectionTarget, other: ConnectionTarget) -> list[Change]:
    schemas = []
    for target in (one, other):
        with connect_to_scratch(target) as connection:
            found = read_snapshot(connection, limit=20)
            assert isinstance(found, Snapshot)
            schemas.append(found.objects)
    return [each for each in compare(*schemas) if each.kind not in ROLE_KINDS]


def load(target: ConnectionTarget, text: str, *, program: Path = PSQL) -> None:
    """Load a text as somebody would, stopping at the first error."""
    parameters = target.parameters
    done = subprocess.run(
        [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=text.encode(),
        env={
            "PGHOST": parameters.get("hostaddr", target.host),
            "PGPORT": target.port,
            "PGUSER": parameters["user"],
            "PGPASSWORD": parameters["password"],
            "PGDATABASE": target.database,
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_psql_loads_it_into_an_empty_database(
    scratch: ConnectionTarget, other: ConnectionTarget, text: str
) -> None:
    load(other, text)
    assert changes(scratch, other) == []


def test_psql_loads_it_into_an_older_server(tls_db: Database, text: str) -> None:
    assert TLS_POSTGRES is not None  # the fixture has seen to it
    # The wheel's psql has no TLS.
    load(tls_db.target, text, program=TLS_POSTGRES / "psql")
    assert tls_db.has("app.users")


def test_the_runner_takes_it_as_a_migration(
    scratch: ConnectionTarget, other: ConnectionTarget, text: str
) -> None:
    build_chain(other, (parse("001-schema.sql", text.encode()),))
    assert changes(scratch, other) == []
    assert schema_text(dump(other), "-- Made.") == text


def test_each_object_stands_below_a_comment_of_one_line(text: str) -> None:
    assert "\n\n-- Name: posts; Type: TABLE; Schema: public\nCREATE TABLE public.posts (" in text
    # What looks the same in a function or in a comment is a part of it.
    assert "\n--\n-- Name: not an entry; Type: TABLE; Schema: app; Owner: -\n--\n" in text
    assert "\n--\n-- Name: nor is this; Type: TABLE; Schema: app; Owner: -\n--\n" in text


def test_what_depends_on_server_or_version_is_left_out(text: str) -> None:
    for word in (
        "\\restrict",
        "Dumped",
        "transaction_timeout",
        "OWNER TO",
        "GRANT",
        "Owner: -\n\n",
    ):
        assert word not in text, word
    assert "COMMENT ON EXTENSION" not in text
    assert not re.search(rf"\b(?:{'|'.join(OWN_TABLES)})(?:_id_seq)?\b", text)
    assert "CREATE TABLE public.schema_migration_notes (" in text
    assert "CREATE SEQUENCE public.schema_migration_notes_id_seq\n" in text
    assert text.endswith(";\n")
    assert "\n\n\n" not in text


def test_line_ends_of_a_checkout_do_not_matter(other: ConnectionTarget, text: str) -> None:
    crlf = RICH.encode().replace(b"\n", b"\r\n")
    build_chain(other, (parse("001-rich.sql", crlf), *chain()[1:]))
    assert schema_text(dump(other), "-- Made.") == text


def test_it_is_the_same_for_another_user_locale_and_time_zone(
    scratch_root: Path, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "LC_ALL": "de_DE.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Pacific/Chatham",
        "PGTZ": "Asia/Tokyo",
        "PGDATESTYLE": "SQL, DMY",
        "PGOPTIONS": "-c intervalstyle=iso_8601 -c quote_all_identifiers=on",
        "HOME": str(tmp_path),
        "USER": "somebody",
    }.items():
        monkeypatch.setenv(name, value)
    for module in (embedded, scratch_module):
        monkeypatch.setattr(module, "USER", "boss")
    mask = os.umask(0o077)
    try:
        with scratch_server(scratch_root) as target:
            assert target.role == "boss"
            build_chain(target, chain())
            found = schema_text(dump(target), "-- Made.")
    finally:
        os.umask(mask)
    assert found == text


def test_a_failure_of_pg_dump_is_told_without_the_password(scratch: ConnectionTarget) -> None:
    with pytest.raises(MigratorError, match=r"pg_dump failed: .*no_such_database") as failed:
        dump(scratch.with_parameters(dbname="no_such_database"))
    assert scratch.parameters["password"] not in str(failed.value)
