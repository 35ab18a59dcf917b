"""The ledger and the journal of runs: every statement that writes them, each with a name.

`schema_migrations` has a row for each applied file, `schema_migration_runs` one for each run that had something to apply.
Both are named with their schema. `lib.survey` has what reads them all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from lib.database import Connection, filled, joined
from lib.outgoing import message, one_line
from lib.plan import AppliedMigration, Checkpoint
from lib.report import Outcome, Source
from lib.survey import MARK, MARK_WITH_IT, Survey, whole

_READ_BACKEND = "select pg_catalog.pg_backend_pid()"
_CREATE_LEDGER = """
create table public.schema_migrations (
    id serial primary key,
    version varchar(255) unique not null,
    name varchar(255) not null,
    applied_at timestamp default now(),
    execution_time_ms integer,
    checksum varchar(64)
);
create index idx_schema_migrations_version on public.schema_migrations (version)
"""
_CREATE_RUNS = """
create table public.schema_migration_runs (
    id bigint generated always as identity primary key,
    started_at timestamptz not null default pg_catalog.clock_timestamp(),
    finished_at timestamptz,
    source text not null check (source in ('build', 'admin', 'cli')),
    environment text not null,
    git_commit text,
    git_ref text,
    deployment text,
    database_fingerprint text not null,
    outcome text not null default 'running' check (outcome in ('running', 'succeeded', 'failed', 'interrupted')),
    applied text[] not null default '{}',
    in_progress_version text,
    in_progress_statement integer,
    failed_version text,
    error text,
    sqlstate text
)
"""
_INTERRUPT_STALE_RUNS = """
update public.schema_migration_runs
   set outcome = 'interrupted', finished_at = pg_catalog.clock_timestamp(),
       error = pg_catalog.concat_ws(E'\n', 'The runner is gone; the next run found this one unfinished.', error)
 where outcome = 'running'
"""
_START_RUN = """
insert into public.schema_migration_runs
       (source, environment, git_commit, git_ref, deployment, database_fingerprint, outcome, finished_at, applied)
values ({source}, {environment}, {commit}, {ref}, {deployment}, {fingerprint}, {outcome},
        case when {outcome} = 'running' then null else pg_catalog.clock_timestamp() end, {applied}::text[])
returning id
"""
_FINISH_RUN = """
update public.schema_migration_runs
   set outcome = {outcome}, finished_at = pg_catalog.clock_timestamp(),
       failed_version = case when {version}::text = any(applied) then null else {version}::text end,
       error = {error}, sqlstate = {sqlstate},
       in_progress_statement = case when in_progress_version is null then null
                                    else coalesce({statement}::integer, in_progress_statement) end
 where id = {run}
"""
_NOTE_PROGRESS = """
update public.schema_migration_runs
   set in_progress_version = {version}, in_progress_statement = {statement}, error = {note}
 where id = {run} and outcome = 'running' returning id
"""
_NOTE_OBSTACLE = "update public.schema_migration_runs set error = {note} where id = {run} and in_progress_version is null"
_RECORD = """
insert into public.schema_migrations (version, name, applied_at, execution_time_ms, checksum)
values ({version}, {name}, pg_catalog.clock_timestamp() at time zone 'utc', {elapsed}, {checksum});
update public.schema_migration_runs
   set applied = case when id = {run} then applied || {version}::text else applied end,
       error = case when id = {run} then null else error end,
       in_progress_version = null, in_progress_statement = null
 where id = {run} or in_progress_version = {version};
select execution_time_ms from public.schema_migrations where version = {version};
"""
_RECORD_BASELINE = """
insert into public.schema_migrations (version, name, applied_at, checksum)
select version, name, pg_catalog.clock_timestamp() at time zone 'utc', checksum
  from rows from (pg_catalog.unnest({versions}::text[]), pg_catalog.unnest({names}::text[]),
                  pg_catalog.unnest({checksums}::text[])) with ordinality as file (version, name, checksum, place)
 order by place;
update public.schema_migration_runs set in_progress_version = null, in_progress_statement = null
 where in_progress_version = any({versions}::text[])
"""
_ELAPSED_IN_TRANSACTION = "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::integer"
_FIND = """
select execution_time_ms, exists (select from public.schema_migration_runs where id = {run} and {version} = any(applied))
  from public.schema_migrations where version = {version}
"""
_RESET_SESSION = """
reset session authorization; reset role; reset all; close all; unlisten *; discard temporary; discard sequences;
select pg_catalog.pg_advisory_unlock_all();
"""
_DEALLOCATE = """
do $$
declare
    prepared text;
begin
    for prepared in select name from pg_catalog.pg_prepared_statements where from_sql loop
        execute pg_catalog.format('deallocate %I', prepared);
    end loop;
end
$$;
"""


@dataclass(frozen=True)
class RunStart:
    """Who runs, as the journal records it."""

    source: Source
    environment: str
    commit: str | None
    ref: str | None
    deployment: str | None
    fingerprint: str


def create_tables(connection: Connection, survey: Survey) -> None:
    """Create what is missing of the two tables, in one transaction."""
    missing = [_CREATE_LEDGER] * (survey.ledger is None) + [_CREATE_RUNS] * (not survey.runs_exist)
    if missing:
        connection.query(joined("begin", *missing, "commit"))


def start_run(connection: Connection, start: RunStart, *, outcome: Outcome = "running") -> int:
    """Mark runs whose runner is gone and record this one, in one transaction; the lock must be held. Returns its id."""
    rows = connection.query(joined("begin", _INTERRUPT_STALE_RUNS, _new_run(start, outcome), "commit"))
    return int(rows[0][0][0] or 0)


def record_baseline(connection: Connection, start: RunStart, files: Sequence[AppliedMigration]) -> None:
    """Record files as applied that were not run, and the run that says so, in one transaction; the lock must be held.

    What an earlier run left half-way of one of them is left so no longer.
    """
    versions = [file.version for file in files]
    record = filled(
        _RECORD_BASELINE,
        versions=versions,
        names=[file.name for file in files],
        checksums=[file.checksum for file in files],
    )
    run = _new_run(start, "succeeded", applied=versions)
    connection.query(joined("begin", _INTERRUPT_STALE_RUNS, run, record, "commit"))


def _new_run(start: RunStart, outcome: Outcome, *, applied: Sequence[str] = ()) -> sql.Composed:
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
    )


def interrupt_stale_runs(connection: Connection) -> None:
    """Mark runs whose runner is gone; the lock must be held."""
    connection.query(_INTERRUPT_STALE_RUNS)


def finish_run(
    connection: Connection,
    run: int,
    outcome: Outcome,
    *,
    version: str | None = None,
    error: str | None = None,
    sqlstate: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Write how a run ended, and where it left the file that it was carrying out outside a transaction.

    `failed_version` stays empty while it is in doubt whether the statement at the checkpoint has taken effect.
    """
    if checkpoint:
        error = f"{_shown(error or '')}\n{_mark(checkpoint)}"
    end = filled(
        _FINISH_RUN,
        run=run,
        outcome=outcome,
        version=None if checkpoint and checkpoint.in_doubt else version,
        error=error if checkpoint else error and _shown(error),
        sqlstate=sqlstate,
        statement=checkpoint and checkpoint.statement,
    )
    connection.query(end)


def note_progress(connection: Connection, run: int, checkpoint: Checkpoint, what: str) -> bool:
    """Note, before it starts, which statement of a file outside a transaction comes next; `what` is for people.

    Returns False if this run is no longer under way in the journal: another one has begun, and has marked it.
    """
    note = f"{_shown(what)}\n{_mark(checkpoint)}"
    rows = connection.query(
        filled(_NOTE_PROGRESS, run=run, version=checkpoint.version, statement=checkpoint.statement, note=note)
    )
    return bool(rows[0])


def _shown(text: str) -> str:
    """A text for people, as it leaves for a log too; it can't be taken for the mark."""
    return str(message(text.replace(MARK, f"{MARK.rstrip()}_").replace(MARK_WITH_IT, ";")))


def _mark(checkpoint: Checkpoint) -> str:
    with_it = f"{MARK_WITH_IT}{checkpoint.with_it}" if checkpoint.with_it else ""
    return f"{MARK}{checkpoint.ran_before}{with_it}"


def note_obstacle(connection: Connection, run: int, obstacle: str) -> None:
    """Note what a run waits for, for whoever looks meanwhile; a file outside a transaction has its own note there."""
    connection.query(filled(_NOTE_OBSTACLE, run=run, note=_shown(obstacle)))


def backend(connection: Connection) -> str | None:
    """The pid of the server process that serves this connection at the moment."""
    return connection.query(_READ_BACKEND)[0][0][0]


def find(connection: Connection, run: int, version: str) -> tuple[int, bool] | None:
    """The milliseconds in the ledger's row of this version, and whether this run wrote it; None if there is no row yet."""
    rows = connection.query(filled(_FIND, run=run, version=version))[0]
    return (whole(rows[0][0]) or 0, rows[0][1] == "t") if rows else None


def record_script(run: int, migration: AppliedMigration) -> str:
    """The SQL that records a migration and returns its milliseconds; measured from the transaction's start if not given."""
    elapsed = migration.execution_time_ms
    return filled(
        _RECORD,
        run=run,
        version=migration.version,
        name=migration.name,
        checksum=migration.checksum,
        elapsed=sql.SQL(_ELAPSED_IN_TRANSACTION) if elapsed is None else elapsed,
    ).as_string(None)


def reset_script(*, direct: bool = False, prepared: bool = False) -> str:
    """The SQL that undoes what a file may have set in the session, inside a transaction or out, also through a pooler.

    Prepared statements end with it on a `direct` connection. A pooler has some of its own in the session: there only with
    `prepared`, and only those that SQL has prepared.
    """
    return _RESET_SESSION + ("deallocate all;" if direct else _DEALLOCATE if prepared else "")
