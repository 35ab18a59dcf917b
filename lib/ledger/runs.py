"""Rows of the journal: a run begins, notes what it has come to, and ends.

`schema_migration_runs` has a row for each run that had something to apply. Every write first locks
the tables and checks that they are those that were looked at (`ledger.table_trust`).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..errors import DatabaseUnavailableError, LedgerError
from ..escaping import message, one_line
from ..files.file_progress import Checkpoint, without_marks
from ..own_tables import RUNS
from ..plan.reports import Outcome, Source
from ..time_limits import VERDICT
from .schema import missing_columns
from .table_trust import UNRECORDED, Tables, ask, check, glance, tables_of, told_by
from .trust_queries import CATCH_UP, COMPARE, LOCK, REMEMBER, ROWS

# The rows of the ledger that a run wrote: those above the highest id when it began, up to the next
# run's. A later run of an earlier version has no such id, and names its files in `applied`. A row
# without a checksum is another tool's.
WROTE = """
m.id > r.ledger_id_before and m.checksum is not null and not exists (
    select from public.schema_migration_runs later
     where later.id > r.id and (later.ledger_id_before < m.id or m.version = any (later.applied)))
"""
_WRITTEN = f"""
(select array_agg(m.version::text order by m.id) from public.schema_migrations m where {WROTE})
"""
_INTERRUPT = """
update public.schema_migration_runs r
   set outcome = 'interrupted', finished_at = pg_catalog.clock_timestamp(),
       error = pg_catalog.concat_ws(
           E'\n', 'The runner is gone; the next run found this one unfinished.', error)
"""
# `applied` is written once, by whoever ends the run: rewritten for each file, it would grow
# quadratically.
INTERRUPT_STALE_RUNS = f"""
{_INTERRUPT}, applied = coalesce({_WRITTEN}, applied)
 where outcome = 'running'
"""
# On a journal of an earlier version, whose runs have named each file already.
_INTERRUPT_EARLIER_STALE_RUNS = f"{_INTERRUPT} where outcome = 'running'"
_START_RUN = """
insert into public.schema_migration_runs
       (source, environment, git_commit, git_ref, deployment, database_fingerprint, outcome,
        finished_at, applied, ledger_id_before, drift, drift_checked_at)
values ({source}, {environment}, {commit}, {ref}, {deployment}, {fingerprint}, {outcome},
        case when {outcome} = 'running' then null else pg_catalog.clock_timestamp() end,
        {applied}::text[], (select coalesce(max(id), 0) from public.schema_migrations),
        {drift}::boolean, case when {is_drift_checked} then pg_catalog.clock_timestamp() end)
returning id
"""
# The newest run's, whichever command has looked.
_SET_VERDICT = """
update public.schema_migration_runs
   set drift = {drift}, drift_checked_at = pg_catalog.clock_timestamp()
 where id = (select max(id) from public.schema_migration_runs)
"""
_FINISH_RUN = f"""
update public.schema_migration_runs r
   set outcome = {{outcome}}, finished_at = pg_catalog.clock_timestamp(),
       applied = coalesce({_WRITTEN}, applied),
       failed_version = case when exists (
               select from public.schema_migrations m where m.version = {{version}} and {WROTE})
           then null else {{version}}::text end,
       error = {{error}}, sqlstate = {{sqlstate}}
 where id = {{run}} returning id
"""
_SET_PROGRESS = """
update public.schema_migration_runs
   set in_progress_version = {version}, in_progress_statement = {statement},
       in_progress_in_doubt = {in_doubt},
       in_progress_completed = {completed}, in_progress_completed_sha256 = {completed_sha256},
       in_progress_including_next = {including_next},
       in_progress_including_next_sha256 = {including_next_sha256}
"""
_NOTE_NEXT = f"""
{_SET_PROGRESS}, error = {{note}} where id = {{run}} and outcome = 'running' returning id
"""
_NOTE_STOP = f"{_SET_PROGRESS} where id = {{run}} and in_progress_version = {{version}}"
# A run that ends without a checkpoint has not begun the statement that it noted.
_NOTE_NO_DOUBT = """
update public.schema_migration_runs set in_progress_in_doubt = false
 where id = {run} and in_progress_version is not null
"""
# An earlier version takes a `failed_version` for the end of a doubt.
_SETTLE_DOUBT = f"""
{_SET_PROGRESS}, failed_version = {{version}}
 where id = {{run}} and in_progress_version = {{version}} returning id
"""
NO_PROGRESS = """
in_progress_version = null, in_progress_statement = null, in_progress_in_doubt = null,
in_progress_completed = null, in_progress_completed_sha256 = null,
in_progress_including_next = null, in_progress_including_next_sha256 = null
"""
_FORGET_PROGRESS = f"""
update public.schema_migration_runs set {NO_PROGRESS}
 where in_progress_version = {{version}} returning id
"""
# The digests stay, by which the next run recognizes the file.
_RENAME_PROGRESS = """
update public.schema_migration_runs set in_progress_version = {version}
 where in_progress_version = {former} returning id
"""
# Not while a file outside a transaction is under way, whose note says more.
_NOTE_OBSTACLE = """
update public.schema_migration_runs set error = {note}
 where id = {run} and in_progress_version is null
"""
# What a file outside a transaction must leave as it is: the ledger's rows up to an id, production's
# claims, and this run.
WORD = f"""
(select concat_ws(' ', {ROWS},
                  (select string_agg(distinct database_fingerprint, ',')
                     from public.schema_migration_runs where environment = 'production'),
                  (select count(*) from public.schema_migration_runs where id = {{run}}))
   from public.schema_migrations where id <= {{upto}})
"""
_CONTENTS = f"select max(id), {WORD} from public.schema_migrations"


@dataclass(frozen=True)
class RunStart:
    """Who runs, as the journal records it."""

    source: Source
    environment: str
    commit: str | None
    ref: str | None
    deployment: str | None
    fingerprint: str
    # Whether the schema had changed since the run before; None if that was not looked at, or could
    # not be told.
    drift: bool | None = None
    is_drift_checked: bool = False


@dataclass(frozen=True)
class Contents:
    """A summary of the rows up to an id of the ledger: another `word` if rows are gone or changed.

    `is_under_way` is false once another run has begun, and has marked this one as interrupted.
    """

    upto: int
    word: str | None
    is_under_way: bool = True


# The contents of all rows, however many there are by now.
ALL_ROWS = Contents(upto=(1 << 63) - 1, word=None)


@dataclass(frozen=True)
class RunRecord:
    """A run's row in the journal, with the tables and their contents when it was written."""

    id: int
    start: RunStart
    tables: Tables
    contents: Contents


def start_run(
    connection: Connection,
    trusted: Sequence[str],
    start: RunStart,
    *,
    outcome: Outcome = "running",
    creation: Sequence[sql.Composable] = (),
) -> RunRecord:
    """Mark runs whose runner is gone, and record this one; the run lock must be held.

    `creation` has the statements that create the tables, if they are missing.
    One transaction. Looks at the tables once more, now that nobody can change them, and sets their
    sequences right.
    """
    held = filled(
        _CONTENTS,
        run=sql.SQL("(select max(id) from public.schema_migration_runs)"),
        upto=sql.SQL("id"),
    )
    begin: tuple[str | sql.Composable, ...] = (
        *CATCH_UP,
        INTERRUPT_STALE_RUNS,
        new_run(start, outcome),
        held,
    )
    at_a_glance = True
    try:
        answers = connection.query(joined(*creation, LOCK, glance(trusted, writes=True), *begin))
    except StatementError as error:
        if told_by(error).get("fault") != "any":
            raise
        at_a_glance = False
        weighed = (*creation, LOCK, check(trusted), REMEMBER, *begin, COMPARE)
        answers = connection.query(joined(*weighed))[:-1]
    tables = tables_of(answers[0], trusted, at_a_glance=at_a_glance)
    *_, new, [[upto, word]] = answers
    if not new:
        raise LedgerError(UNRECORDED)
    [[run]] = new
    return RunRecord(int(run or 0), start, tables, Contents(int(upto or 0), word))


def new_run(start: RunStart, outcome: Outcome, *, applied: Sequence[str] = ()) -> sql.Composed:
    """The statement that adds a run's row."""
    return filled(
        _START_RUN,
        source=start.source,
        environment=one_line(start.environment),
        commit=start.commit and one_line(start.commit),
        ref=start.ref and one_line(start.ref),
        deployment=start.deployment and one_line(start.deployment),
        fingerprint=start.fingerprint,
        outcome=outcome,
        applied=list(applied),
        drift=start.drift,
        is_drift_checked=start.is_drift_checked,
    )


def interrupt_stale_runs(connection: Connection, tables: Tables) -> None:
    """Mark runs whose runner is gone; the lock must be held.

    A run with nothing to apply does this too, and does not upgrade the journal.
    """
    # An upgrade takes an exclusive lock, which bookkeeping alone is not worth.
    is_earlier = bool(missing_columns(tables))
    ask(connection, tables, _INTERRUPT_EARLIER_STALE_RUNS if is_earlier else INTERRUPT_STALE_RUNS)


def newest_run(connection: Connection, tables: Tables) -> int:
    """The id of the newest run, 0 if none is on record."""
    newest = "select coalesce(max(id), 0) from public.schema_migration_runs"
    return int(ask(connection, tables, newest, read_only=True)[-1][0][0] or 0)


def record_verdict(connection: Connection, tables: Tables, *, is_drift: bool) -> None:
    """Record, with the newest run, whether the schema has changed since, if that may be written.

    This is for whoever looks later, so whatever is in the way of it is no matter: a lock on the
    journal neither.
    """
    if missing_columns(tables) or tables.found[RUNS].lacking:
        return
    with (
        suppress(StatementError, DatabaseUnavailableError),
        connection.limit_to(VERDICT, "The journal did not answer in time."),
    ):
        ask(connection, tables, filled(_SET_VERDICT, drift=is_drift))


def finish_run(
    connection: Connection,
    run: RunRecord,
    outcome: Outcome,
    *,
    version: str | None = None,
    error: str | None = None,
    sqlstate: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Record how a run ended, which files it applied, and where one outside a transaction stopped.

    An earlier version takes an empty `failed_version` for a doubt: the column stays empty while
    nobody knows whether the statement at the checkpoint has taken effect.
    """
    end = filled(
        _FINISH_RUN,
        run=run.id,
        outcome=outcome,
        version=None if checkpoint and checkpoint.in_doubt else version,
        error=error and _shown(error),
        sqlstate=sqlstate,
    )
    stop = (
        filled(_NOTE_STOP, run=run.id, **_columns_of(checkpoint))
        if checkpoint
        else filled(_NOTE_NO_DOUBT, run=run.id)
    )
    *_, finished = ask(connection, run.tables, stop, end)
    if not finished:
        raise LedgerError(UNRECORDED)


def note_progress(
    connection: Connection, run: RunRecord, checkpoint: Checkpoint, what: str
) -> Contents:
    """Record, before it starts, which statement of a file outside a transaction comes next.

    `what` is for people. The statement is in doubt until the run records something else. Returns
    the tables' contents, up to the same id as `run.contents` or, of ALL_ROWS, up to the last one.
    """
    # In doubt from the start: a process that is killed can't write it afterwards.
    columns = _columns_of(replace(checkpoint, in_doubt=True))
    note = filled(_NOTE_NEXT, run=run.id, note=_shown(what), **columns)
    *_, noted, held = ask(connection, run.tables, note, _contents(run))
    return replace(_found(run, held), is_under_way=bool(noted))


def note_obstacle(connection: Connection, run: RunRecord, obstacle: str) -> None:
    """Record what a run waits for, for whoever looks meanwhile.

    A file outside a transaction keeps its own note.
    """
    ask(connection, run.tables, filled(_NOTE_OBSTACLE, run=run.id, note=_shown(obstacle)))


def read_contents(connection: Connection, run: RunRecord) -> Contents:
    """Summarize the tables' contents, as `note_progress` does."""
    return _found(run, ask(connection, run.tables, _contents(run), read_only=True)[-1])


def settle_doubt(
    connection: Connection, trusted: Sequence[str], run: int, checkpoint: Checkpoint
) -> None:
    """Record a checkpoint that is not in doubt for the file that this run left half-way."""
    _resolve(connection, trusted, filled(_SETTLE_DOUBT, run=run, **_columns_of(checkpoint)))


def forget_progress(connection: Connection, trusted: Sequence[str], version: str) -> None:
    """Forget what was recorded on a file that is not applied: it runs from its start."""
    _resolve(connection, trusted, filled(_FORGET_PROGRESS, version=version))


def rename_progress(
    connection: Connection, trusted: Sequence[str], former: str, version: str
) -> None:
    """Record the progress of one version as that of another."""
    _resolve(connection, trusted, filled(_RENAME_PROGRESS, former=former, version=version))


def _resolve(connection: Connection, trusted: Sequence[str], update: sql.Composed) -> None:
    *_, updated = connection.query(joined(LOCK, check(trusted), update))
    if not updated:
        raise LedgerError(UNRECORDED)


def _found(run: RunRecord, rows: Rows) -> Contents:
    last, word = rows[0]
    return Contents(min(run.contents.upto, int(last or 0)), word)


def _contents(run: RunRecord) -> sql.Composed:
    return filled(_CONTENTS, run=run.id, upto=run.contents.upto)


def _columns_of(checkpoint: Checkpoint) -> dict[str, object]:
    completed, including_next = checkpoint.completed, checkpoint.including_next
    return {
        "version": checkpoint.version,
        "statement": checkpoint.statement,
        "in_doubt": checkpoint.in_doubt,
        "completed": completed and completed.count,
        "completed_sha256": completed and completed.sha256,
        "including_next": including_next and including_next.count,
        "including_next_sha256": including_next and including_next.sha256,
    }


def _shown(text: str) -> str:
    """A text for people, as it leaves for a log too. An earlier version finds no digest in it."""
    return str(message(without_marks(text)))
