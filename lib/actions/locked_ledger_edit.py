"""How an action changes the ledger: decide, lock, decide again, write all or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ..database.connection import Connection
from ..errors import DatabaseUnavailableError
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey
from ..ledger.run_lock import RunLock
from ..ledger.runs import RunStart
from ..ledger.schema import prepare_tables, upgrade_journal
from ..time_limits import ANSWER
from .run_parameters import RunContext
from .status import survey_database

_SILENT = "The database stopped answering."
_NO_ANSWER = (
    "The database stopped answering. If the run lock was held already, a pooler may have one "
    "server connection alone, and two are needed: set MIGRATION_DATABASE_URL to a direct "
    "connection. Then run it again."
)


class Decision(Protocol):
    """What a survey has led to: what is to be written, and what to warn about before."""

    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def has_work(self) -> bool: ...


D = TypeVar("D", bound=Decision)


def change_ledger(
    context: RunContext,
    decide: Callable[[Connection, Survey], D],
    write: Callable[[Connection, D, RunStart], None],
    *,
    after_loss: str,
    replaces_other: bool = False,
) -> D:
    """Write what `decide` finds, and return the decision that was carried out.

    `decide` raises whatever forbids the change. It is called before the run lock is taken, so that
    nobody waits for a lock in vain, and again under the lock, since another run may have changed
    the ledger meanwhile. `after_loss` says what is true if the connection is lost while writing.
    With `replaces_other`, the ledger of another tool counts as none, and `write` creates ours.
    """
    with ledger_errors_translated():
        with context.connect() as connection:
            survey = _survey(context, connection, passes_over_others=replaces_other)
            context.progress.connected(context.target, is_direct=survey.is_direct)
            decision = decide(connection, survey)
        # This connection is closed before the lock is waited for: it would be idle all that time.
        for warning in decision.warnings:
            context.progress.warning(warning)
        # Without a lock: what is recorded already needs no waiting for another run.
        if not decision.has_work:
            return decision
        with (
            RunLock(
                context.connect,
                timeout=context.run_wait,
                on_wait=context.progress.waiting,
                limits=context.limits,
            ) as lock,
            context.connect() as connection,
        ):
            survey = _survey(context, connection, passes_over_others=replaces_other)
            decision = decide(connection, survey)
            # The server may have ended the lock's session while the survey was taken.
            lock.check()
            # Another run may have done it all while this one waited.
            if decision.has_work:
                # One transaction: a lost connection leaves all of it recorded, or nothing.
                with _loss_explained(after_loss), connection.limit_to(ANSWER, _SILENT):
                    _prepare(context, connection, survey, creates=not replaces_other)
                    write(connection, decision, start_of_run(context, survey))
        return decision


@contextmanager
def _loss_explained(after_loss: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError:
        raise DatabaseUnavailableError(
            f"The connection to the database was lost. {after_loss}"
        ) from None


def start_of_run(context: RunContext, survey: Survey) -> RunStart:
    """Return what the journal records of a run when it begins."""
    deployment = context.settings.deployment
    return RunStart(
        source=context.source,
        environment=context.settings.environment,
        commit=deployment.commit,
        ref=deployment.ref,
        deployment=deployment.id,
        fingerprint=str(survey.fingerprint),
    )


def _survey(context: RunContext, connection: Connection, *, passes_over_others: bool) -> Survey:
    return survey_database(
        connection,
        context,
        passes_over_others=passes_over_others,
        timeout=ANSWER,
        otherwise=_NO_ANSWER,
    )


def _prepare(context: RunContext, connection: Connection, survey: Survey, *, creates: bool) -> None:
    lock_timeout = context.settings.lock_timeout
    if creates:
        prepare_tables(connection, survey.tables, reader=context.reader, lock_timeout=lock_timeout)
    else:
        upgrade_journal(connection, survey.tables, lock_timeout=lock_timeout)
