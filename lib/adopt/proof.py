"""The proof of an adoption: the files, built on a scratch server, make what the database has.

Compared are the schemas in which the files make something. Left out are owners and privileges,
which follow from the roles of a server, and what is a provider's.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from ..actions.run_parameters import RunContext
from ..catalog.comparison import compare
from ..catalog.identities import parts, subject
from ..catalog.schema_objects import ObjectKey, Snapshot, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..catalog.view_texts import same_views
from ..database.connection import Connection
from ..errors import (
    ConfigurationError,
    MigrationFailedError,
    MigrationFileError,
    MigratorError,
)
from ..files.folder import MigrationFile
from ..object_patterns import ROLE_KINDS
from ..scratch.chain import build_chain, connect_to_scratch
from ..scratch.scratch_server import scratch_server
from ..settings.connection_target import ConnectionTarget
from ..settings.search_path import first_schema
from ..time_limits import ANSWER
from .adoption import Proof

_SUPABASE = "supabase"
_HAS_SUPABASE = """
select count(*) = 2 from pg_namespace where nspname in ('auth', 'storage')
   and exists (select from pg_roles where rolname = 'authenticated')
"""
_CREATES_SCHEMA = re.compile(r"\bcreate\s+schema\b", re.IGNORECASE)
_WAYS_OUT = (
    "Nothing is recorded without a proof. If you know that the files make this schema, say so with "
    "--accept-differences."
)


def prove(context: RunContext, root: Path, files: Sequence[MigrationFile], tool: str) -> Proof:
    """Build the files, which are to be recorded or are on record, and compare."""
    with context.connect() as connection:
        found = read_snapshot(connection, limit=ANSWER)
        is_supabase = tool == _SUPABASE or _has_supabase(connection)
    if isinstance(found, UnknownSchema):
        return Proof(reason=f"The schema of the database could not be read: {found.reason}")
    try:
        with scratch_server(root, platform=_SUPABASE if is_supabase else "") as target:
            before, made = _build(context, target, files)
            with connect_to_scratch(target) as connection:
                # The embedded server is the newest that there is.
                alike = same_views(connection, found, made)
    except (MigrationFailedError, MigrationFileError, ConfigurationError) as error:
        return Proof(reason=f"The files could not be built: {error}\n{_WAYS_OUT}")
    return compared(before, made, found, alike)


def _has_supabase(connection: Connection) -> bool:
    return connection.query(_HAS_SUPABASE, read_only=True)[-1][0][0] == "t"


def _build(
    context: RunContext, target: ConnectionTarget, files: Sequence[MigrationFile]
) -> tuple[Snapshot, Snapshot]:
    """The schema of the scratch server before and after the files."""
    search_path = context.target.search_path
    with connect_to_scratch(target) as connection:
        # The database that the URL is for had it before the first file, unless a file makes it.
        schema = first_schema(search_path) if search_path else None
        if schema and not any(_CREATES_SCHEMA.search(file.text) for file in files):
            create = sql.SQL("create schema if not exists {}").format(sql.Identifier(schema))
            connection.query(create)
        before = _known(read_snapshot(connection, limit=ANSWER))
    build_chain(replace(target, search_path=search_path), files, environment=None)
    with connect_to_scratch(target) as connection:
        return before, _known(read_snapshot(connection, limit=ANSWER))


def _known(found: Snapshot | UnknownSchema) -> Snapshot:
    if isinstance(found, UnknownSchema):
        raise MigratorError(f"The schema of the scratch server could not be read: {found.reason}")
    return found


def compared(
    before: Snapshot, made: Snapshot, found: Snapshot, alike: Collection[ObjectKey] = ()
) -> Proof:
    """Compare what the files have made of a scratch server with what a database has.

    `alike` are views that two versions of PostgreSQL only print differently.
    """
    ours = {key for key, text in made.objects.items() if before.objects.get(key) != text}
    schemas = {schema for schema in map(_schema_of, ours) if schema}

    def in_question(snapshot: Snapshot) -> dict[ObjectKey, str]:
        return {
            key: _definition(key, text)
            for key, text in snapshot.objects.items()
            if key.kind not in ROLE_KINDS and (key in ours or _schema_of(key) in schemas)
        }

    differences = tuple(
        each
        for each in compare(in_question(made), in_question(found))
        if ObjectKey(each.kind, each.identity) not in alike
    )
    return Proof(is_equal=not differences, differences=differences)


def _definition(key: ObjectKey, text: str) -> str:
    # The server decides on the version of an extension; files with CRLF make functions with CRLF.
    return "" if key.kind == "extension" else text.replace("\r\n", "\n")


def _schema_of(key: ObjectKey) -> str | None:
    """Return the schema of an object; None for one that is in none."""
    names = parts(subject(key).identity)
    return names[0] if len(names) > 1 else None
