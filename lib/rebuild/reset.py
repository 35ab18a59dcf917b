"""A development database emptied of what the files have made: checked, asked for, carried out.

Somebody else may rely on such a database. That nobody does has to be seen: from the environment,
from production's claim, and from the journal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..actions.run_parameters import RunContext
from ..actions.status import survey_database
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import ConfigurationError, GuardError, LedgerError, LockError, MigratorError
from ..files.folder import MigrationFile
from ..files.prepare_script import prepare_all
from ..ledger.fingerprint import Fingerprint
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import belongs_to_production, check_writable
from ..ledger.run_lock import RunLock
from ..ledger.table_trust import ask, told_by
from ..own_tables import RUNS
from ..settings.search_path import first_schema
from ..time_limits import ANSWER
from .droppable_objects import DatabaseObject, Schemas, drop_objects, find_objects
from .file_objects import FileObjects, file_objects, is_a_providers

DEVELOPMENT = "development"
# lock_not_available, deadlock_detected
_BUSY = ("55P03", "40P01")
_NOTHING = "Nothing was dropped."
_NO_ANSWER = f"The database stopped answering. {_NOTHING}"
_RUNS = f"select distinct source, environment from public.{RUNS} order by source, environment"
_SOURCES = {"build": "a build", "admin": "the admin endpoint"}
_NO_RECORD = (
    "There is no record of who has migrated this database, so it may be somebody else's. "
    f"{_NOTHING}"
)


@dataclass(frozen=True)
class ResetPlan:
    """What is dropped, and what stays although a file creates it.

    `place` is the address of the URL and the name that the database has for the server: behind a
    pooler, the URL may hold another one. `fingerprint` tells databases of one place apart.
    """

    place: str
    fingerprint: Fingerprint
    schemas: Schemas
    objects: tuple[DatabaseObject, ...]
    stays: tuple[str, ...]


def read_files(files: Sequence[MigrationFile], environment: str) -> FileObjects:
    """What the files create; MigrationFileError for those that would be refused after the reset."""
    return file_objects(prepare_all(file for file in files if file.runs_in(environment)))


def reset(
    context: RunContext, made: FileObjects, confirm: Callable[[ResetPlan], None]
) -> ResetPlan:
    """Drop what the files have made, after `confirm` has returned; it raises if it may not be.

    One transaction, under the run lock. Everything is looked at again once the lock is acquired:
    what was not shown is not dropped. Nothing is asked where there is nothing to drop.
    """
    with ledger_errors_translated():
        with context.connect() as connection:
            planned = _plan(context, connection, made)
        if not planned.objects:
            # As after a reset that was interrupted.
            return planned
        # No connection is open while somebody reads, and thinks.
        confirm(planned)
        with (
            RunLock(
                context.connect,
                timeout=context.run_wait,
                on_wait=context.progress.waiting,
                limits=context.limits,
            ) as lock,
            context.connect() as connection,
        ):
            if _plan(context, connection, made) != planned:
                raise LedgerError(
                    f"The database has changed since the question was asked. {_NOTHING} Run "
                    "`reset` again."
                )
            lock.check()
            _drop(context, connection, planned)
    return planned


def _plan(context: RunContext, connection: Connection, made: FileObjects) -> ResetPlan:
    survey = survey_database(
        connection, context, origins=True, timeout=ANSWER, otherwise=_NO_ANSWER
    )
    _check(context, survey)
    schemas = _schemas(context, connection, made)
    with connection.limit_to(ANSWER, _NO_ANSWER):
        objects = find_objects(connection, schemas)
    if objects:
        _check_record(connection, survey)
    _check_owners(objects)
    place = f"{context.target.address}/{survey.database}"
    return ResetPlan(place, survey.fingerprint, schemas, objects, made.stays)


def _schemas(context: RunContext, connection: Connection, made: FileObjects) -> Schemas:
    kept = ["public"]
    # What the files make without naming a schema lands in this one, which has to be there.
    named = _default_schema(context, connection)
    if named and not is_a_providers(named) and named not in (*made.schemas, "public"):
        kept.append(named)
    return Schemas((*kept, *made.schemas), tuple(kept))


def _default_schema(context: RunContext, connection: Connection) -> str | None:
    """The schema of the URL's search_path, else of the one that the role or the database has."""
    if context.target.search_path:
        return first_schema(context.target.search_path)
    with connection.limit_to(ANSWER, _NO_ANSWER):
        # Not by `query`, which sets a search_path of its own.
        return connection.run("select pg_catalog.current_schema()")[0][0]


def _check(context: RunContext, survey: Survey) -> None:
    """Raise unless this is development, on a database that is not production's."""
    environment = context.settings.environment
    if environment != DEVELOPMENT:
        raise GuardError(
            f"`reset` is for the environment development, and this one is {environment}. {_NOTHING}"
        )
    if belongs_to_production(survey):
        raise GuardError(f"This database belongs to production. {_NOTHING}")
    check_writable(survey, context.target.source)


def _check_record(connection: Connection, survey: Survey) -> None:
    """Raise unless the ledger and the journal say that only developers have migrated here."""
    if survey.ledger is None or RUNS not in survey.tables.found:
        raise GuardError(_NO_RECORD)
    if survey.tables.open:
        raise GuardError(
            "\n".join((f"The record may have been changed. {_NOTHING}", *survey.tables.open))
        )
    _check_journal(connection, survey)


def _check_journal(connection: Connection, survey: Survey) -> None:
    """Raise if a deployment or another environment has migrated, or if it isn't known who has."""
    with connection.limit_to(ANSWER, _NO_ANSWER):
        rows = ask(connection, survey.tables, _RUNS, read_only=True)[-1]
    if not rows:
        # A copy without its rows, or a journal that was emptied.
        raise GuardError(_NO_RECORD)
    hosted = dict.fromkeys(source or "" for source, _ in rows if source != "cli")
    if hosted:
        who = " and ".join(_SOURCES.get(source, source) for source in hosted)
        raise GuardError(
            f"A run by {who} is on record in this database: a deployment uses it. {_NOTHING}"
        )
    # As of a workflow that migrates by the command line.
    others = dict.fromkeys(each or "" for _, each in rows if each != DEVELOPMENT)
    if others:
        raise GuardError(
            f"A run in the environment {' and '.join(others)} is on record in this database. "
            f"{_NOTHING}"
        )
    unknown = [row.version for row in survey.ledger or () if row.version not in survey.origins]
    if unknown:
        raise GuardError(
            f"The journal does not say which run has applied {unknown[0]}: it may have been a "
            f"deployment. {_NOTHING}"
        )


def _check_owners(objects: Sequence[DatabaseObject]) -> None:
    """Raise if something would stay where the files would find it: they could not run again."""
    others = [each for each in objects if not each.is_ours]
    if others:
        some = ", ".join(f"{each} (of {each.owner or 'nobody'})" for each in others[:5])
        raise ConfigurationError(
            f"{len(others)} of the objects belong to another role, and are not `reset`'s to drop: "
            f"{some}. {_NOTHING} Drop them, or connect as that role."
        )


def _drop(context: RunContext, connection: Connection, planned: ResetPlan) -> None:
    try:
        drop_objects(
            connection,
            planned.schemas,
            planned.objects,
            lock_timeout=context.settings.lock_timeout,
        )
    except StatementError as error:
        raise _drop_error(error, context.settings.lock_timeout) or error from None


def _drop_error(error: StatementError, lock_timeout: float) -> MigratorError | None:
    facts = told_by(error)
    objects = ", ".join(facts.get("objects") or ())
    if facts.get("fault") == "reached":
        return LedgerError(
            f"Something that is not of the files depends on what they have made, and would be "
            f"dropped along with it: {objects}. {_NOTHING} Drop that first, if it may go."
        )
    if facts.get("fault") == "left":
        return LedgerError(f"{objects} was created meanwhile. {_NOTHING} Run `reset` again.")
    if error.server_error.sqlstate in _BUSY:
        return LockError(
            f"A session kept a table locked for {lock_timeout:g} s. {_NOTHING} Stop the "
            "application, and run `reset` again."
        )
    if not facts:
        server_error = error.server_error
        return LedgerError(
            f"The database refused the drop: {server_error.message} "
            f"(SQLSTATE {server_error.sqlstate}). {_NOTHING}"
        )
    return None
