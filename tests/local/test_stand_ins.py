"""The stand-ins for pgcrypto and uuid-ossp do what those do, and fit in their place."""

import hashlib
import hmac
import os
import random
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import ROOT, Database, connect, new_cluster

from lib.local import embedded_server as embedded
from lib.local.cluster_files import Cluster, package_folder
from lib.local.stand_ins import add_stand_ins, stand_ins
from lib.settings.connection_target import ConnectionTarget

ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
# On both sides of the ends of a block, which has 64 or 128 bytes.
LENGTHS = (*range(2), *range(54, 66), *range(110, 130), 1000)
INSTALLED = (
    "create schema apart; create extension pgcrypto with schema apart;"
    ' create extension "uuid-ossp" with schema apart'
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with new_cluster(tmp_path_factory.mktemp("running")) as cluster:
        embedded.start(cluster)
        yield cluster


@pytest.fixture
def connection(running: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that is rolled back, with both extensions in a schema off the search_path."""
    with connect(embedded.target(running), autocommit=False) as connection:
        connection.execute(INSTALLED)
        yield connection
        connection.rollback()


def value(connection: psycopg.Connection[Any], sql: str, *arguments: object) -> Any:
    row = connection.execute(sql, arguments or None).fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digest_and_hmac_are_those_of_python(
    connection: psycopg.Connection[Any], algorithm: str
) -> None:
    for length in LENGTHS:
        data, key = os.urandom(length), os.urandom(random.choice(LENGTHS))
        found = value(connection, "select apart.digest(%s::bytea, %s)", data, algorithm.upper())
        assert found == hashlib.new(algorithm, data).digest(), data
        found = value(connection, "select apart.hmac(%s::bytea, %s, %s)", data, key, algorithm)
        assert found == hmac.new(key, data, algorithm).digest(), (data, key)


def test_a_text_is_its_bytes(connection: psycopg.Connection[Any]) -> None:
    text = r"naïve \x00 ключ"
    connection.execute("set client_encoding = 'utf8'")
    assert value(connection, "select apart.digest(%s::text, 'sha1')", text) == (
        hashlib.sha1(text.encode()).digest()
    )
    assert value(connection, "select apart.hmac(%s::text, %s, 'sha512')", text, text) == (
        hmac.new(text.encode(), text.encode(), "sha512").digest()
    )


def test_an_unknown_algorithm_is_an_error(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='Cannot use "sha3": No such'):
        connection.execute("select apart.hmac('', '', 'sha3')")


@pytest.mark.parametrize("length", [1, 13, 14, 15, 16, 1024])
def test_random_bytes_have_their_length_and_do_not_repeat(
    connection: psycopg.Connection[Any], length: int
) -> None:
    found = [
        row[0]
        for row in connection.execute(
            "select apart.gen_random_bytes(%s) from generate_series(1, 200)", (length,)
        )
    ]
    assert {len(each) for each in found} == {length}
    assert len(set(found)) == 200 or length < 13
    # Each bit is set in some and not in others: none is that of a version.
    for place in range(length):
        together = [each[place] for each in found]
        assert all({byte >> bit & 1 for byte in together} == {0, 1} for bit in range(8)), place


@pytest.mark.parametrize("length", [-1, 0, 1025])
def test_so_few_or_so_many_random_bytes_are_an_error(
    connection: psycopg.Connection[Any], length: int
) -> None:
    with pytest.raises(psycopg.Error, match="Length not in range") as raised:
        connection.execute("select apart.gen_random_bytes(%s)", (length,))
    assert raised.value.sqlstate == "39000"


@pytest.mark.parametrize("name", ["", "example.org", "naïve ключ", "x" * 1000])
def test_a_uuid_by_name_is_that_of_python(connection: psycopg.Connection[Any], name: str) -> None:
    for space in ("dns", "url", "oid", "x500"):
        namespace = getattr(uuid, f"NAMESPACE_{space.upper()}")
        assert value(connection, f"select apart.uuid_ns_{space}()") == namespace
        for version, of_python in ((3, uuid.uuid3), (5, uuid.uuid5)):
            call = f"select apart.uuid_generate_v{version}(namespace => %s, name => %s)"
            assert value(connection, call, namespace, name) == of_python(namespace, name)
    assert value(connection, "select apart.uuid_nil()") == uuid.UUID(int=0)


@pytest.mark.parametrize(("function", "version"), [("v1", 1), ("v1mc", 1), ("v4", 4)])
def test_generated_uuids_have_their_version_and_do_not_repeat(
    connection: psycopg.Connection[Any], function: str, version: int
) -> None:
    call = f"select apart.uuid_generate_{function}() from generate_series(1, 500)"
    found = [row[0] for row in connection.execute(call)]
    assert len(set(found)) == 500
    assert {(each.version, each.variant) for each in found} == {(version, uuid.RFC_4122)}
    if version == 1:
        # The node of no machine: the bit for groups is set.
        assert all(each.node >> 40 & 1 for each in found)
        late = "select clock_timestamp() - uuid_extract_timestamp(apart.uuid_generate_v1())"
        assert abs(value(connection, late).total_seconds()) < 60


def test_what_needs_a_cipher_says_what_to_do(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match=r"crypt\(\) is not in") as raised:
        connection.execute("select apart.crypt('a', 'b')")
    assert "Set DATABASE_URL to a database that has the extension." in str(raised.value)


def test_they_move_to_another_schema_and_depend_on_no_search_path(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute(
        "create schema moved; set local search_path = '';"
        "alter extension pgcrypto set schema moved;"
        'alter extension "uuid-ossp" set schema moved'
    )
    assert value(connection, "select moved.hmac('data', 'key', 'sha1')") == (
        hmac.new(b"key", b"data", "sha1").digest()
    )
    assert value(connection, "select moved.uuid_generate_v5(moved.uuid_ns_dns(), 'a')") == (
        uuid.uuid5(uuid.NAMESPACE_DNS, "a")
    )
    connection.execute('drop extension pgcrypto; drop extension "uuid-ossp"')
    assert value(connection, "select to_regproc('moved.hmac') is null") is True


def test_indexes_generated_columns_and_defaults_take_them(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute(
        """
        create table apart.t (
            id uuid default apart.uuid_generate_v4(),
            email text,
            hash bytea generated always as (apart.digest(email, 'sha256')) stored
        );
        create index on apart.t (encode(apart.digest(email, 'sha1'), 'hex'));
        insert into apart.t (email) values ('a'), (null);
        """
    )
    assert value(connection, "select hash from apart.t where email = 'a'") == (
        hashlib.sha256(b"a").digest()
    )


def test_an_older_version_can_be_asked_for(running: Cluster) -> None:
    with connect(embedded.target(running)) as connection:
        connection.execute("create extension pgcrypto version '1.3'")
        connection.execute("alter extension pgcrypto update")
        assert value(connection, "select fips_mode()") is False
        connection.execute("drop extension pgcrypto")


# The functions in a schema, with what a plan or a dump depends on.
_FUNCTIONS = """
    select proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile::text,
        proisstrict, proparallel::text
    from pg_proc where pronamespace = 'apart'::regnamespace and proname <> 'fips_mode'
"""


def test_their_functions_are_those_of_the_originals(
    connection: psycopg.Connection[Any], tls_db: Database
) -> None:
    # Debian's PostgreSQL has the extensions themselves; fips_mode came with version 18.
    tls_db.query(INSTALLED)
    real = tls_db.query(_FUNCTIONS)
    assert sorted(connection.execute(_FUNCTIONS).fetchall()) == sorted(real)
    about = "select extname, extnamespace::regnamespace::text, extrelocatable, obj_description(oid)"
    query = f"{about} from pg_extension where extname <> 'plpgsql'"
    assert sorted(connection.execute(query).fetchall()) == sorted(tls_db.query(query))


def test_a_dump_restores_where_the_real_ones_are(running: Cluster, tls_db: Database) -> None:
    target = embedded.target(running)
    with connect(target) as connection:
        connection.execute("create database dumped")
    with connect(target, dbname="dumped") as connection:
        connection.execute(INSTALLED)
        connection.execute(
            "create table t (x text, y bytea generated always as (apart.digest(x, 'sha1')) stored,"
            " z uuid default apart.uuid_generate_v4()); insert into t values ('a')"
        )
    # A server of version 15 does not know this parameter of version 18.
    dumped = re.sub(r"^(SET transaction_timeout.*|\\.*restrict.*)$", "", dump(target), flags=re.M)
    assert "CREATE FUNCTION" not in dumped
    tls_db.query(dumped)
    assert tls_db.query("select y from t") == [(hashlib.sha1(b"a").digest(),)]


def dump(target: ConnectionTarget) -> str:
    """The database `dumped`, by the pg_dump of the wheel."""
    found = target.parameters
    done = subprocess.run(
        [package_folder() / "bin" / "pg_dump", "--inserts", "dumped"],
        env={
            "PGHOST": found["host"],
            "PGPORT": found["port"],
            "PGUSER": found["user"],
            "PGPASSWORD": found["password"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_real_extension_comes_first(running: Cluster) -> None:
    with connect(embedded.target(running)) as connection:
        path = value(connection, "show extension_control_path")
    assert path == f"$system:{running.home}/stand-ins"


def test_they_are_written_anew_at_each_start(tmp_path: Path) -> None:
    with new_cluster(tmp_path) as cluster:
        embedded.start(cluster)
        embedded.stop(cluster)
        folder = cluster.home / "stand-ins" / "extension"
        (folder / "pgcrypto.control").write_text("of an older version")
        (folder / "gone.control").write_text("of an older version")
        before = os.umask(0o077)
        try:
            target = embedded.start(cluster)
        finally:
            os.umask(before)
        with connect(target) as connection:
            connection.execute("create extension pgcrypto")
        assert not (folder / "gone.control").exists()


def test_a_path_with_a_separator_has_no_stand_ins(tmp_path: Path) -> None:
    with new_cluster(tmp_path) as found:
        # As root, the home is elsewhere.
        home = tmp_path / f"a{os.pathsep}b"
        assert add_stand_ins(Cluster(home, found.binaries, found.runs_as)) == ()
        assert not home.exists()


def test_docs_local_md_says_which_extensions_are_there(running: Cluster) -> None:
    table = re.findall(
        r"^\| `([\w-]+)` \| (yes|stand-in|no)\b",
        (ROOT / "docs" / "local.md").read_text(),
        re.MULTILINE,
    )
    assert len(table) >= 20
    with connect(embedded.target(running)) as connection:
        there = {row[0] for row in connection.execute("select name from pg_available_extensions")}
    mine = {name.partition(".")[0] for name in stand_ins() if name.endswith(".control")}
    assert {name for name, state in table if state == "stand-in"} == mine
    assert {name for name, state in table if state == "yes"} <= there - mine
    assert not {name for name, state in table if state == "no"} & there
