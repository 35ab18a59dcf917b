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
from ..catalog.schema_objects import ObjectKey, Snapshot, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..database.connection import Connection
from ..errors import ConfigurationError, MigrationFailedError, MigratorError
from ..files.folder import MigrationFile
from ..scratch.chain import build_chain, connect_to_scratch
from ..scratch.scratch_server import scratch_server
from ..scratch.surroundings import PROVIDER_SCHEMAS
from ..settings.connection_target import ConnectionTarget
from ..time_limits import ANSWER
from .adoption import Proof

# Roles differ between servers for good reasons.
LEFT_OUT = ("owner", "grant", "privilege", "default privilege")
_SUPABASE = "supabase"
_HAS_SUPABASE = """
select count(*) = 2 from pg_namespace where nspname in ('auth', 'storage')
   and exists (select from pg_roles where rolname = 'authenticated')
"""
_LEDGERS = re.compile(r"public\.(?:idx_)?_?(?:prisma|schema)_migration")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
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
    except (MigrationFailedError, ConfigurationError) as error:
        return Proof(reason=f"The files could not be built: {error}\n{_WAYS_OUT}")
    return _compared(before, made, found)


def _has_supabase(connection: Connection) -> bool:
    return connection.query(_HAS_SUPABASE, read_only=True)[-1][0][0] == "t"


def _build(
    context: RunContext, target: ConnectionTarget, files: Sequence[MigrationFile]
) -> tuple[Snapshot, Snapshot]:
    """The schema of the scratch server before and after the files."""
    with connect_to_scratch(target) as connection:
        # The schemas that the URL names, since no file may create them.
        for name in filter(None, (each.strip() for each in context.target.search_path.split(","))):
            create = sql.SQL("create schema if not exists {}").format(sql.Identifier(name))
            connection.query(create)
        before = _known(read_snapshot(connection, limit=ANSWER))
    searched = replace(target, search_path=context.target.search_path)
    build_chain(searched, files, environment=context.settings.environment)
    with connect_to_scratch(target) as connection:
        return before, _known(read_snapshot(connection, limit=ANSWER))


def _known(found: Snapshot | UnknownSchema) -> Snapshot:
    if isinstance(found, UnknownSchema):
        raise MigratorError(f"The schema of the scratch server could not be read: {found.reason}")
    return found


def _compared(before: Snapshot, made: Snapshot, found: Snapshot) -> Proof:
    ours = {
        ObjectKey(change.kind, change.identity) for change in compare(before.objects, made.objects)
    }
    schemas = {schema for schema in map(schema_of, ours) if schema} - {None}

    def in_question(snapshot: Snapshot) -> dict[ObjectKey, str]:
        return {
            # The server decides on the version of an extension.
            key: "" if key.kind == "extension" else definition
            for key, definition in snapshot.objects.items()
            if key.kind not in LEFT_OUT and _is_in_question(key, ours, schemas)
        }

    differences = compare(in_question(made), in_question(found))
    return Proof(is_equal=not differences, differences=differences)


def _is_in_question(
    key: ObjectKey, ours: Collection[ObjectKey], schemas: Collection[str | None]
) -> bool:
    if _LEDGERS.match(key.identity):
        return False
    schema = schema_of(key)
    is_providers = schema is None or schema in PROVIDER_SCHEMAS
    return key in ours or (schema in schemas and not is_providers)


def schema_of(key: ObjectKey) -> str | None:
    """Return the schema of an object; None for one that is in none."""
    match = _QUOTED.match(key.identity)
    if match is None or match.end() == len(key.identity):
        return None
    return match[2] if match[1] is None else match[1].replace('""', '"')
