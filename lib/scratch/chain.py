"""Files applied to a scratch server by the runner itself, so that they make what it would make."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from ..actions.migrate import migrate
from ..actions.run_parameters import RunContext
from ..database.connection import Connection
from ..database.login import connect
from ..database.sql_composition import filled
from ..deadline import Deadline
from ..files.folder import MigrationFile
from ..local.cluster_files import without_libpq_variables
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import Settings
from ..settings.search_path import first_schema
from ..time_limits import CONNECT

# The environment of a chain that is built for no database in particular: that of a laptop.
DEVELOPMENT = "development"
_CREATE_SCHEMA = "create schema if not exists {schema}"
_CREATES_SCHEMA = re.compile(r"\bcreate\s+schema\b", re.IGNORECASE)


def build_chain(
    target: ConnectionTarget,
    files: Iterable[MigrationFile],
    *,
    environment: str | None = DEVELOPMENT,
    deadline: Deadline | None = None,
) -> None:
    """Apply the files to an empty scratch server; for its first N, give it `files[:N]`.

    Files whose header leaves out the environment are skipped; with None, no file is. Raise what the
    runner reports: MigrationFailedError names file and line, and what the embedded server lacks.
    """
    chosen = tuple(files) if environment else tuple(map(_for_all, files))
    settings = _settings(target, environment or DEVELOPMENT)
    context = RunContext(settings, target, deadline=deadline or Deadline.none())
    with without_libpq_variables():
        report = migrate(context, chosen)
    if report.error:
        raise report.error


def connect_to_scratch(target: ConnectionTarget, *, deadline: Deadline | None = None) -> Connection:
    """Connect to a scratch server, with a session that the caller's PG* variables do not change."""
    with without_libpq_variables():
        return connect(target, application_name="scratch", timeout=CONNECT, deadline=deadline)


def make_first_schema(
    connection: Connection, search_path: str, files: Iterable[MigrationFile]
) -> None:
    """Create the schema that the URL names, unless a file creates one.

    The database that the URL is for had it before the first file.
    """
    schema = first_schema(search_path) if search_path else None
    if schema and not any(_CREATES_SCHEMA.search(file.text) for file in files):
        connection.query(filled(_CREATE_SCHEMA, schema=sql.Identifier(schema)))


def _settings(target: ConnectionTarget, environment: str) -> Settings:
    return Settings(
        environment=environment,
        migration_target=target,
        status_target=target,
        # The files are given.
        migrations_dir=Path(),
        # On a laptop, the runner would leave out a file that holds no statement yet.
        is_hosted=True,
        # Nobody else changes that server, and nothing deployed or large is there.
        drift="off",
        review="off",
    )


def _for_all(file: MigrationFile) -> MigrationFile:
    return replace(file, header=replace(file.header, environments=()))


def applied_of(
    files: Sequence[MigrationFile], versions: Iterable[str]
) -> tuple[MigrationFile, ...]:
    """Return those of the files that a ledger has, in their order."""
    known = frozenset(versions)
    return tuple(file for file in files if file.version in known)
