"""How a database differs from what its files make: built on a scratch server, and compared.

The applied files are built, whatever environment their headers name: the ledger says what ran here.
Another role migrates another database, so who owns what is left out, and privileges count only
for roles that both servers have.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..actions.run_parameters import RunContext
from ..actions.status import status_from_survey, survey_database
from ..catalog.comparison import compare
from ..catalog.exclusions import Exclusions
from ..catalog.identities import subject
from ..catalog.schema_objects import Change, ObjectKey, Snapshot, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..catalog.view_texts import same_views
from ..database.connection import Connection
from ..database.sql_composition import filled
from ..drift.verdict import FilesDrift
from ..errors import ConfigurationError, LedgerError
from ..files.folder import MigrationFile, discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..settings.connection_target import ConnectionTarget
from ..time_limits import COMPARED_SNAPSHOT
from .chain import applied_of, build_chain, connect_to_scratch, make_first_schema
from .scratch_server import scratch_server

# What is not compared at all: the roles differ between servers.
_LEFT_OUT = ("owner", "default privilege")
_PRIVILEGE = "privilege"
# As in `app=SELECT*`, `"my app"=USAGE`; a star stands for the grant option.
_GRANT = re.compile(r'((?:"(?:[^"]|"")*"|[^\s="])+)=([A-Z]+\*?)')
_EVERYBODY = "PUBLIC"
# What everybody may do with a new object, which is shown only if it was changed.
_AT_FIRST = {
    **dict.fromkeys(("function", "procedure", "aggregate"), frozenset({(_EVERYBODY, "EXECUTE")})),
    "type": frozenset({(_EVERYBODY, "USAGE")}),
}
# In which everybody could create objects before PostgreSQL 15.
_PUBLIC_SCHEMA = ObjectKey(_PRIVILEGE, "schema public")
# The second one knows the privilege MAINTAIN.
_POSTGRESQL_15, _POSTGRESQL_17 = 150000, 170000
_ROLES = "select quote_ident(rolname) from pg_roles"


@dataclass(frozen=True)
class ServerSchema:
    """The schema of a server, and the roles that it has."""

    snapshot: Snapshot
    roles: frozenset[str]


def compare_with_files(context: RunContext, root: Path, *, platform: str = "") -> FilesDrift:
    """Compare the database of the context with its applied files; writes nothing there.

    What MIGRATION_DRIFT_IGNORE names is left out. IntegrityError if an applied file was modified
    or is missing: what ran is not known then.
    """
    exclusions = Exclusions(patterns=context.settings.drift_ignore)
    files = discover(context.settings.migrations_dir)
    with ledger_errors_translated(), context.connect() as connection:
        survey = survey_database(connection, context)
        context.progress.connected(context.target, is_direct=survey.is_direct)
        if survey.ledger is None:
            raise ConfigurationError(
                f"No migration was ever applied to {survey.database}, so there is nothing to "
                "compare it with."
            )
        plan = status_from_survey(context, files, survey).plan
        # A late file is pending, and pending files are left out.
        replace(plan, strict_order=False).verify_complete()
        found = _read(connection, exclusions)
    # The files as they are named now, of which rows may still have a former name.
    now = {row.version: file.version for row, file in plan.renumbered}
    applied = applied_of(files, (now.get(row.version, row.version) for row in survey.ledger))
    drift = FilesDrift(
        environment=context.settings.environment,
        database=survey.database,
        server_version=survey.server_version,
        changes=None,
        applied=len(applied),
        pending=len(plan.pending),
    )
    if isinstance(found, UnknownSchema):
        return replace(drift, reason=found.reason)
    with scratch_server(root, platform=platform) as scratch:
        target = replace(scratch, search_path=context.target.search_path)
        return replace(drift, changes=_compare_on(target, applied, exclusions, found))


def _read(connection: Connection, exclusions: Exclusions) -> ServerSchema | UnknownSchema:
    # Nobody waits behind this one, so it may take longer than in a run.
    snapshot = read_snapshot(connection, exclusions=exclusions, limit=COMPARED_SNAPSHOT)
    if isinstance(snapshot, UnknownSchema):
        return snapshot
    rows = connection.query(filled(_ROLES), read_only=True)[-1]
    return ServerSchema(snapshot, frozenset(name for (name,) in rows if name))


def _compare_on(
    target: ConnectionTarget,
    files: tuple[MigrationFile, ...],
    exclusions: Exclusions,
    found: ServerSchema,
) -> tuple[Change, ...]:
    """Build the files on a scratch server, and compare."""
    with connect_to_scratch(target) as connection:
        make_first_schema(connection, target.search_path, files)
        build_chain(target, files, environment=None)
        made = _read(connection, exclusions)
        if isinstance(made, UnknownSchema):
            raise LedgerError(f"The schema that the files make is not known: {made.reason}")
        # The embedded server is the newest that there is.
        alike = same_views(connection, found.snapshot, made.snapshot)
    changes = changes_between(made, found)
    return tuple(each for each in changes if each.key not in alike)


def changes_between(made: ServerSchema, found: ServerSchema) -> tuple[Change, ...]:
    """Compare what the files make with what a database has."""
    common = _Common(
        (made.roles & found.roles) | {_EVERYBODY},
        min(made.snapshot.server_version_num, found.snapshot.server_version_num),
    )
    return compare(common.definitions(made), common.definitions(found))


@dataclass(frozen=True)
class _Common:
    """What two servers have in common: some roles, and what the older of them knows."""

    roles: frozenset[str]
    server_version_num: int

    def definitions(self, schema: ServerSchema) -> Mapping[ObjectKey, str]:
        """Return what can be compared."""
        return dict(self._definitions(schema.snapshot))

    def _definitions(self, snapshot: Snapshot) -> Iterator[tuple[ObjectKey, str]]:
        for key, definition in snapshot.objects.items():
            if key.kind in _LEFT_OUT:
                continue
            if key.kind != _PRIVILEGE:
                # Files with CRLF make bodies of functions with CRLF.
                yield key, definition.replace("\r\n", "\n")
            elif key != _PUBLIC_SCHEMA or self.server_version_num >= _POSTGRESQL_15:
                granted = frozenset(filter(self._counts, _GRANT.findall(definition)))
                if granted != _AT_FIRST.get(subject(key).kind, frozenset()):
                    yield key, " ".join(sorted(f"{role}={what}" for role, what in granted))

    def _counts(self, grant: tuple[str, str]) -> bool:
        role, what = grant
        is_known = self.server_version_num >= _POSTGRESQL_17 or not what.startswith("MAINTAIN")
        return role in self.roles and is_known
