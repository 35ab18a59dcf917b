"""The proof of an adoption: the files, built on a scratch server, make what the database has.

Compared are the schemas in which the files make something. Left out are owners and privileges,
which follow from the roles of a server, and what is a provider's. Files of ours in front of the
first adopted one are built too, and are no part of the proof: they make what the others need.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from ..actions.run_parameters import RunContext
from ..catalog.comparison import compare
from ..catalog.identities import parts, subject
from ..catalog.schema_objects import ChangeKind, ObjectKey, Snapshot, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..catalog.view_texts import same_views
from ..errors import (
    ConfigurationError,
    MigrationFailedError,
    MigrationFileError,
    MigratorError,
)
from ..files.folder import MigrationFile
from ..object_patterns import ROLE_KINDS
from ..scratch.chain import build_chain, connect_to_scratch, make_first_schema
from ..scratch.scratch_server import scratch_server
from ..scratch.surroundings import has_supabase
from ..settings.connection_target import ConnectionTarget
from ..settings.variables import SUPABASE
from ..time_limits import ANSWER
from .adoption import Proof

# A provider's schemas are in no snapshot; an extension makes `extensions` one of them.
_SCHEMAS = "select quote_ident(nspname) from pg_namespace"
_WAYS_OUT = (
    "Nothing is recorded without a proof. If you know that the files make this schema, say so with "
    "--accept-differences."
)
# What a statement says of an object that is not there, as in undefined_object.
_UNDEFINED = ("42704", "3F000", "42P01", "42883", "42703")
NEEDED = (
    "What the files need and none of them makes, such as a role or a schema, belongs into a file "
    "in front of them, which a new database needs as well: write it as the next number into the "
    "folder of the migrations, so that it does nothing where its object is there already, and call "
    "this command again, which builds it first."
)


def prove(context: RunContext, root: Path, files: Sequence[MigrationFile], tool: str) -> Proof:
    """Build the files and compare.

    They are those to be recorded or on record, and all files of ours in front of them.
    """
    with context.connect() as connection:
        found = read_snapshot(connection, limit=ANSWER)
        is_supabase = tool == SUPABASE or has_supabase(connection)
        schemas = {str(name) for [name] in connection.query(_SCHEMAS, read_only=True)[-1]}
    if isinstance(found, UnknownSchema):
        return Proof(reason=f"The schema of the database could not be read: {found.reason}")
    try:
        with scratch_server(root, platform=SUPABASE if is_supabase else "") as target:
            before, made = _build(context, target, files)
            with connect_to_scratch(target) as connection:
                # The embedded server is the newest that there is.
                alike = same_views(connection, found, made)
    except (MigrationFailedError, MigrationFileError, ConfigurationError) as error:
        return Proof(reason="\n".join(_not_built(error)))
    return compared(before, made, found, alike, left_out=schemas - set(_schemas_in(found)))


def _not_built(error: MigratorError) -> Iterator[str]:
    yield f"The files could not be built: {error}"
    if isinstance(error, MigrationFailedError) and error.sqlstate in _UNDEFINED:
        yield NEEDED
    yield _WAYS_OUT


def _build(
    context: RunContext, target: ConnectionTarget, files: Sequence[MigrationFile]
) -> tuple[Snapshot, Snapshot]:
    """The schema of the scratch server before and after the files of the other tool."""
    search_path = context.target.search_path
    searched = replace(target, search_path=search_path)
    needed = tuple(takewhile(lambda file: file.header.origin is None, files))
    with connect_to_scratch(target) as connection:
        make_first_schema(connection, search_path, files)
        build_chain(searched, needed, environment=None)
        before = _known(read_snapshot(connection, limit=ANSWER))
        build_chain(searched, files, environment=None)
        return before, _known(read_snapshot(connection, limit=ANSWER))


def _known(found: Snapshot | UnknownSchema) -> Snapshot:
    if isinstance(found, UnknownSchema):
        raise MigratorError(f"The schema of the scratch server could not be read: {found.reason}")
    return found


def compared(
    before: Snapshot,
    made: Snapshot,
    found: Snapshot,
    alike: Collection[ObjectKey] = (),
    left_out: Collection[str] = (),
) -> Proof:
    """Compare what the files have made of a scratch server with what a database has.

    `alike` are views that two versions of PostgreSQL only print differently; `left_out` are schemas
    that the database has and its snapshot has not.
    """
    left_out = {*left_out} & {*_schemas_in(made)}
    ours = {
        key
        for key, text in made.objects.items()
        if before.objects.get(key) != text and _place_of(key) not in left_out
    }
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
        if each.key not in alike
        # What a file of ours is still to make.
        and not (
            each.change is ChangeKind.REMOVED
            and each.key in before.objects
            and each.key not in ours
        )
    )
    return Proof(
        is_equal=not differences,
        differences=differences,
        notes=tuple(_not_compared(found, {*schemas, *filter(None, map(_place_of, ours))})),
    )


def _not_compared(found: Snapshot, schemas: Collection[str]) -> Iterator[str]:
    """Name the schemas of the database in which the files make nothing."""
    keys = [key for key in found.objects if key.kind not in ROLE_KINDS]
    counts = Counter(schema for schema in map(_schema_of, keys) if schema)
    others = [
        f"{schema} ({count} object{'s' if count > 1 else ''})"
        for schema, count in sorted(counts.items())
        if schema not in schemas
    ]
    if others:
        yield (
            "Not compared, since the files make nothing in these schemas of the database: "
            f"{', '.join(others)}."
        )


def _schemas_in(snapshot: Snapshot) -> Iterator[str]:
    return (key.identity for key in snapshot.objects if key.kind == "schema")


def _place_of(key: ObjectKey) -> str | None:
    """Return the schema of an object, or the one that it is."""
    return key.identity if key.kind == "schema" else _schema_of(key)


def _definition(key: ObjectKey, text: str) -> str:
    # The server decides on the version of an extension; files with CRLF make functions with CRLF.
    return "" if key.kind == "extension" else text.replace("\r\n", "\n")


def _schema_of(key: ObjectKey) -> str | None:
    """Return the schema of an object; None for one that is in none."""
    names = parts(subject(key).identity)
    return names[0] if len(names) > 1 else None
