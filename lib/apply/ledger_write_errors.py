"""The error for a statement of the runner itself that failed while a file was applied or recorded.

The file is often the cause: it has changed the runner's tables, or put code on them.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from ..database.server_error import ServerError, StatementError
from ..errors import BusyTableError, LedgerError, MigrationFailedError, MigratorError
from ..files.runnable_script import Mode, Script
from ..ledger.ledger_state import INSUFFICIENT_PRIVILEGE
from ..ledger.runs import ALL_ROWS, RunRecord, read_contents
from ..ledger.table_trust import GRANTS, Tables, code_on_tables, distrust, tables_now, told_by
from ..masking import masked
from ..plan.blockers import describe_blockers
from ..sql.statement import Statement
from .session import GONE, LOCK_CONFLICTS, Session

# The sequence of the ids is behind, as after rows were copied with their ids.
UNIQUE_VIOLATION = "23505"
# The faults that the tables may have got since the run looked at them: it looks again, once.
_MAY_BE_NEW = ("changed", "emptied", "code", "policy", "kind")


@dataclass(frozen=True)
class FailedStep:
    """What the server was at when it refused something.

    `statement` is one of the file's, None for one of the runner's own around them. `number` is its
    place in the file, from 1. `is_at_end` if the server was at what the file had deferred to its
    end. `stays` of the file's statements took effect, and `more` tells what else stays.
    """

    statement: Statement | None
    number: int
    is_at_end: bool = False
    stays: int = 0
    more: str = ""


def recording_error(
    session: Session, script: Script, error: StatementError, step: FailedStep | None
) -> MigratorError | None:
    """The error if a statement of the runner has failed; None if it was one of the file's."""
    if step is not None and step.statement is not None:
        return None
    if fault := _fault_of_file(script, error, step):
        return fault
    if told_by(error).get("fault") == "unrecorded":
        return _unrecorded(session, script)
    if step is not None and step.is_at_end:
        # The file's own deferred constraints.
        return None
    # Another session locks the runner's tables: that is not the fault of the file.
    if error.server_error.sqlstate in LOCK_CONFLICTS:
        return _locked(session, script, error.server_error)
    return distrust(error) or _not_recorded(script, error.server_error)


def changed_tables(session: Session, error: StatementError) -> Tables | None:
    """The runner's tables as they are now, if they seem to have changed since the run looked.

    Somebody may have rewritten them (VACUUM FULL). None if the error says nothing of that kind;
    raises what is wrong with them even without the file, which has been rolled back.
    """
    if told_by(error).get("fault") not in _MAY_BE_NEW:
        return None
    try:
        return tables_now(session.connection, session.run.tables.trusted)
    except StatementError as fault:
        raise distrust(fault) or error from None


def with_present_contents(session: Session) -> RunRecord:
    """The session's run with the contents that the tables have now, this run's rows included."""
    try:
        contents = read_contents(session.connection, replace(session.run, contents=ALL_ROWS))
    except StatementError as fault:
        raise distrust(fault) or fault from None
    return replace(session.run, contents=contents)


def _fault_of_file(
    script: Script, error: StatementError, step: FailedStep | None
) -> MigrationFailedError | None:
    """The error if the file has done something to the runner's tables."""
    fault, server_error = told_by(error).get("fault"), error.server_error
    # Before its first statement, the file cannot have caused anything.
    has_begun = step is not None and step.number > 0 and not step.is_at_end
    # With a context, it is a trigger of somebody else that misses something.
    is_gone = has_begun and server_error.sqlstate in GONE and not server_error.context
    if fault == "emptied" or is_gone:
        return _meddling(
            script,
            "it would take rows out of the runner's own tables, public.schema_migrations and "
            "public.schema_migration_runs, or change them: the next run would apply files again, "
            "or production's claim would be lost",
        )
    is_barred = server_error.sqlstate == INSUFFICIENT_PRIVILEGE
    if has_begun and (fault in ("policy", "code", "kind") or is_barred):
        reason = str(distrust(error) or server_error.message).rstrip(".")
        return _meddling(
            script,
            "it changes the runner's own tables, or whose they are, and could not be recorded: "
            f"{reason}",
        )
    return None


def _meddling(script: Script, what: str) -> MigrationFailedError:
    return MigrationFailedError(
        f"{script.file.path}: {what}. It was rolled back. Leave the runner's tables out, as in: "
        "where tablename not like 'schema_migration%'.",
        version=script.file.version,
    )


def _unrecorded(session: Session, script: Script) -> MigrationFailedError:
    """The error for a ledger row that was not there after it had been written."""
    code = ""
    # The reason is a help, not a must: looking for it may fail.
    with suppress(StatementError, MigratorError):
        code = code_on_tables(session.connection)
    then = (
        "it was rolled back"
        if script.mode is Mode.TRANSACTION
        else "what it did stays, and it is not on record"
    )
    culprit = (
        f"Something there does something else instead: {code}. Drop it, or have it let the "
        "runner's rows through."
        if code
        else "The file itself puts a rule or a trigger on the runner's tables: take it out."
    )
    return MigrationFailedError(
        f"{script.file.path}: its row in {session.table} was not there after it had been "
        f"written, so {then}. {culprit}",
        version=script.file.version,
    )


def _locked(session: Session, script: Script, server_error: ServerError) -> BusyTableError:
    # As last seen: the session that waited was rolled back, so nobody is blocked any more.
    blockers = session.observer.blockers
    held_up = f" by {describe_blockers(blockers)}" if blockers else ""
    return BusyTableError(
        f"{script.file.version} could not be recorded, and was not applied: the runner's own "
        "tables, public.schema_migrations and public.schema_migration_runs, stayed locked"
        f"{held_up} through every try. Run it again later.",
        version=script.file.version,
        sqlstate=server_error.sqlstate,
    )


def _not_recorded(script: Script, server_error: ServerError) -> LedgerError:
    """The error for anything else: it has no place in the file."""
    what = f"{masked(server_error.message)} (SQLSTATE {server_error.sqlstate})"
    way_out = {
        INSUFFICIENT_PRIVILEGE: GRANTS,
        UNIQUE_VIOLATION: (
            "The ids of the table are behind its rows: select setval(pg_get_serial_sequence("
            "'public.schema_migrations', 'id'), max(id)) from public.schema_migrations; if the "
            "file itself sets sequences back, have it leave this one out."
        ),
    }.get(server_error.sqlstate, "")
    if server_error.context:
        # The runner's own SQL calls no function that would give a context.
        way_out = (
            "A trigger on the runner's tables runs while only pg_catalog is searched: give its "
            "function a search_path of its own, alter function … set search_path = public.\n"
            f"  Context: {masked(server_error.context)}"
        )
    version = script.file.version
    text = f"{version} could not be recorded, and was not applied: {what}. {way_out}"
    return LedgerError(text.rstrip())
