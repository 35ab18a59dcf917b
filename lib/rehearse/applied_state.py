"""What a rehearsal begins with: the files that count as applied, and the database that they make.

Applied is what the ledger of the configured database says, or what is on the target branch. From
the database itself comes, if it is asked for, its schema; nothing is ever written there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .. import COMMAND
from ..actions.run_parameters import RunContext
from ..actions.status import plan_from_survey, survey_database
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import (
    ConfigurationError,
    IntegrityError,
    MigrationFailedError,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
)
from ..files.folder import MigrationFile
from ..ledger.ledger_errors import ledger_errors_translated
from ..plan.migration_plan import Plan
from ..review.finding import Finding, Severity
from ..scratch.chain import applied_of, build_chain, connect_to_scratch, make_first_schema
from ..scratch.database_dump import check_session, dump_schema
from ..scratch.dump_cleaning import clean_dump
from ..scratch.surroundings import has_supabase, read_surroundings
from ..settings.variables import SUPABASE
from .throwaway_server import ThrowawayServer

# What a session begins with, and what decides what a statement does: a change from timestamptz to
# timestamp rewrites the table under any time zone but UTC.
_DEFAULTS = "select current_user, {}"
_CARRIED = ("TimeZone", "DateStyle", "IntervalStyle")
_SETTING = "(select reset_val from pg_settings where name = '{}')"
_USUAL_PATH = '"$user", public'

_WAYS_OUT = (
    f"`{COMMAND} rehearse --from-database` takes the schema of the configured database in place of "
    "the applied files."
)


@dataclass(frozen=True)
class LiveDatabase:
    """What the files may name or rely on at the database for which they are rehearsed.

    `defaults` are parameters with which its sessions begin. `schema` is its schema as SQL, empty if
    the applied files make it.
    """

    place: str = ""
    owner: str = ""
    database: str = ""
    search_path: str = ""
    platform: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    schema: str = field(default="", repr=False)


@dataclass(frozen=True)
class AppliedState:
    """The files that are applied, those that are pending, and what is odd about them.

    `source` says what decided, as in "the files of origin/main". Files whose header leaves out the
    `environment` are pending nowhere; `skips` if they are left out of the applied ones as well.
    """

    source: str
    environment: str
    applied: tuple[MigrationFile, ...]
    pending: tuple[MigrationFile, ...]
    findings: tuple[Finding, ...] = ()
    live: LiveDatabase = LiveDatabase()
    skips: bool = False


def on_branch(
    branch: str,
    on_target: Sequence[MigrationFile],
    own: Sequence[MigrationFile],
    environment: str,
) -> AppliedState:
    """Return the state in which the files of a branch are applied, and `own` are pending."""
    pending = tuple(file for file in own if file.runs_in(environment))
    return AppliedState(
        f"the files of {branch}", environment, tuple(on_target), pending, skips=True
    )


class _Look(NamedTuple):
    """One look at the configured database."""

    live: LiveDatabase
    plan: Plan
    applied: tuple[MigrationFile, ...]


def in_database(
    context: RunContext,
    files: tuple[MigrationFile, ...],
    environ: Mapping[str, str],
    *,
    takes_schema: bool,
) -> AppliedState:
    """Read the ledger of the configured database, and with `takes_schema` its schema.

    Raise IntegrityError if what the applied files make is not known, since one is missing.
    """
    look = _look(context, files, environ if takes_schema else None)
    if not takes_schema:
        _check_known(look.plan)
    return AppliedState(
        source=f"{'the schema' if takes_schema else 'the applied files'} of {look.live.place}",
        environment=context.settings.environment,
        applied=look.applied,
        pending=look.plan.pending,
        findings=tuple(_findings(look.plan)),
        live=look.live,
    )


def live_database(context: RunContext, files: tuple[MigrationFile, ...]) -> LiveDatabase:
    """Read what the files may rely on at the configured database, whatever is applied there."""
    return _look(context, files, None).live


def _look(
    context: RunContext, files: tuple[MigrationFile, ...], environ: Mapping[str, str] | None
) -> _Look:
    with ledger_errors_translated(), context.connect() as connection:
        survey = survey_database(connection, context)
        is_supabase = has_supabase(connection)
        owner, *values = _defaults(connection)
        *defaults, path = values
        schema = "" if environ is None else _schema(context, connection, environ)
    live = LiveDatabase(
        place=survey.database,
        owner=owner,
        database=context.target.database,
        search_path=context.target.search_path or ("" if path == _USUAL_PATH else path),
        platform=SUPABASE if is_supabase else "",
        defaults=dict(zip(_CARRIED, defaults, strict=True)),
        schema=schema,
    )
    plan = plan_from_survey(context, files, survey)
    return _Look(live, plan, applied_of(files, (row.version for row in survey.ledger or ())))


def _defaults(connection: Connection) -> list[str]:
    settings = ", ".join(_SETTING.format(name) for name in (*_CARRIED, "search_path"))
    [row] = connection.query(_DEFAULTS.format(settings), read_only=True)[-1]
    return [value or "" for value in row]


def _schema(context: RunContext, connection: Connection, environ: Mapping[str, str]) -> str:
    check_session(connection, context.target)
    around = read_surroundings(connection)
    text = dump_schema(
        connection, environ, without_tables=around.tables, without_schemas=sorted(around.schemas)
    )
    return clean_dump(text, around).sql


def _check_known(plan: Plan) -> None:
    if plan.renamed:
        plan.verify_unchanged()
    if plan.missing:
        names = ", ".join(row.version for row in plan.missing)
        raise IntegrityError(
            f"The database has {names}, of which there is no file here, so what it looks like is "
            f"not known. {_WAYS_OUT} `--base BRANCH` takes the files of the target branch.",
            version=plan.missing[0].version,
        )


def _findings(plan: Plan) -> Iterator[Finding]:
    for file in plan.modified:
        yield Finding(
            "modified-file",
            Severity.STOP,
            file.version,
            0,
            f"{file.path} was modified after it was applied: no database will run it again.",
            "Restore it, and write what is to change into a new file.",
        )
    for file in plan.late:
        yield Finding(
            "number-late",
            Severity.WARN,
            file.version,
            0,
            f"{file.path} is numbered below the newest applied file: a new database runs it "
            "before that one, this database after it.",
            f"{COMMAND} renumber",
        )


# --- On the server of the rehearsal ---


def build(server: ThrowawayServer, state: AppliedState) -> None:
    """Make the applied state. Raise MigratorError with the ways out if that is not possible."""
    target = replace(server.target, search_path=state.live.search_path)
    try:
        if state.live.schema:
            _restore(server, state.live.schema)
        elif state.applied:
            with connect_to_scratch(target) as connection:
                make_first_schema(connection, target.search_path, state.applied)
            environment = state.environment if state.skips else None
            build_chain(target, state.applied, environment=environment, deadline=server.deadline)
    except (MigrationFailedError, MigrationFileError) as error:
        raise _not_built(error) from None
    except OutOfTimeError:
        raise OutOfTimeError(
            f"The applied files were not built within {server.limits.total:g} s. {_WAYS_OUT}"
        ) from None


def _restore(server: ThrowawayServer, schema: str) -> None:
    # A session of its own, since the text sets its search_path.
    with connect_to_scratch(server.target, deadline=server.deadline) as connection:
        try:
            connection.run(schema)
        except StatementError as error:
            raise ConfigurationError(
                "The schema of the database could not be restored on the server of the rehearsal, "
                f"whose role is no superuser: {error.server_error.message} (SQLSTATE "
                f"{error.server_error.sqlstate}). `--base BRANCH` builds it from files instead."
            ) from None


def _not_built(error: MigrationFailedError | MigrationFileError) -> MigratorError:
    found = MigratorError(
        "The files that count as applied could not be built on the server of the rehearsal, whose "
        f"role is no superuser. {_WAYS_OUT}\n{error}"
    )
    found.__cause__ = error
    return found
