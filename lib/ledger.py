"""The ledger and the journal of runs: every statement that reads or writes them, each with a name.

`schema_migrations` has a row for each applied file, `schema_migration_runs` one for each run that had something to apply.
Both are named with their schema, and looked up in the catalog before they are read, so that nothing is created, and no
right is needed, by a mere look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from psycopg import sql

from lib.connection_url import ConnectionTarget
from lib.database import Connection, Row, Rows, ScriptError, filled
from lib.errors import LedgerError
from lib.plan import AppliedMigration, Checkpoint, Interruption
from lib.report import Outcome, Run, Source

UNDEFINED_TABLE, UNDEFINED_COLUMN, INSUFFICIENT_PRIVILEGE = "42P01", "42703", "42501"
# What a run's `error` ends with while a file outside a transaction is under way: the digest of what of it has run.
_MARK = "Statements before it: "
_MARK_WITH_IT = "; with it: "
_DIGEST = "([0-9]+, sha256 [0-9a-f]{64})"
COLUMNS = ("id", "version", "name", "applied_at", "execution_time_ms", "checksum")

_READ_SERVER = """
select current_database(), current_setting('server_version'),
       (select system_identifier from pg_catalog.pg_control_system())::text,
       (select oid from pg_catalog.pg_database where datname = current_database())::text, pg_catalog.pg_backend_pid(),
       pg_catalog.version() ~* 'linux'
       or pg_catalog.version() ~* 'darwin|apple|bsd' and current_setting('server_version_num')::integer >= 150000
"""
_READ_BACKEND = "select pg_catalog.pg_backend_pid()"
_READ_CATALOG = """
select c.relname,
       (select pg_catalog.string_agg(a.attname::text, ',' order by a.attnum) from pg_catalog.pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
  from pg_catalog.pg_class c
 where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = 'public')
   and c.relname in ('schema_migrations', 'schema_migration_runs')
"""
_READ_LEDGER = """
select version, name, extract(epoch from applied_at)::float8, execution_time_ms, checksum
  from public.schema_migrations order by id
"""
_READ_RUNS = """
select id, outcome, source, extract(epoch from started_at)::float8, extract(epoch from finished_at)::float8, git_commit,
       environment, database_fingerprint, in_progress_version, in_progress_statement, failed_version, sqlstate,
       pg_catalog.substring(error, {before}), pg_catalog.substring(error, {with_it})
  from public.schema_migration_runs
 where id = (select max(id) from public.schema_migration_runs) or outcome = 'running' or in_progress_version is not null
    or id = (select max(id) from public.schema_migration_runs r
              where r.environment = 'production' and r.database_fingerprint = {fingerprint})
 order by id
"""
_FINGERPRINT = """
(select system_identifier from pg_catalog.pg_control_system())::text
|| ':' || (select oid from pg_catalog.pg_database where datname = current_database())::text || {branch}
"""
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
class Survey:
    """What one look at the database tells. `ledger` is None where there is no table yet; `backend` is the server's pid.

    `notices_departure` tells whether the server can be asked to look for its client while it works
    (`client_connection_check_interval`). `interruptions` has the files that a run left half-way, by version.
    """

    database: str
    server_version: str
    fingerprint: str
    backend: str | None
    ledger: tuple[AppliedMigration, ...] | None
    runs_exist: bool
    last_run: Run | None
    unfinished_runs: tuple[Run, ...]
    claimed_by_production: bool
    notices_departure: bool = False
    interruptions: Mapping[str, Interruption] = field(default_factory=dict)


@dataclass(frozen=True)
class RunStart:
    """Who runs, as the journal records it."""

    source: Source
    environment: str
    commit: str | None
    ref: str | None
    deployment: str | None
    fingerprint: str


def survey(connection: Connection, target: ConnectionTarget) -> Survey:
    """Read all that a run or a status needs, in one message where both tables are there.

    Raises LedgerError if `schema_migrations` is another tool's or may not be read. Writes nothing.
    """
    branch = f":{target.branch}" if target.branch else ""
    fingerprint = sql.SQL(_FINGERPRINT).format(branch=sql.Literal(branch))
    read_runs = filled(_READ_RUNS, fingerprint=fingerprint, before=f"{_MARK}{_DIGEST}", with_it=f"{_MARK_WITH_IT}{_DIGEST}")
    try:
        server, catalog, ledger, runs = connection.query(_joined(_READ_SERVER, _READ_CATALOG, _READ_LEDGER, read_runs))
    except ScriptError as error:
        if error.refusal.sqlstate not in (UNDEFINED_TABLE, UNDEFINED_COLUMN, INSUFFICIENT_PRIVILEGE):
            raise
        server, catalog = connection.query(_joined(_READ_SERVER, _READ_CATALOG))
        ledger = _read_if_there(connection, catalog, "schema_migrations", _READ_LEDGER)
        runs = _read_if_there(connection, catalog, "schema_migration_runs", read_runs)
    return _survey(server[0], catalog, ledger, runs, branch)


def create_tables(connection: Connection, survey: Survey) -> None:
    """Create what is missing of the two tables, in one transaction."""
    missing = [_CREATE_LEDGER] * (survey.ledger is None) + [_CREATE_RUNS] * (not survey.runs_exist)
    if missing:
        connection.query(_joined("begin", *missing, "commit"))


def start_run(connection: Connection, start: RunStart, *, outcome: Outcome = "running") -> int:
    """Mark runs whose runner is gone and record this one, in one transaction; the lock must be held. Returns its id."""
    rows = connection.query(_joined("begin", _INTERRUPT_STALE_RUNS, _new_run(start, outcome), "commit"))
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
    connection.query(_joined("begin", _INTERRUPT_STALE_RUNS, run, record, "commit"))


def _new_run(start: RunStart, outcome: Outcome, *, applied: Sequence[str] = ()) -> sql.Composed:
    return filled(
        _START_RUN,
        source=start.source,
        environment=start.environment,
        commit=start.commit,
        ref=start.ref,
        deployment=start.deployment,
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
        error = f"{error or ''}\n{_mark(checkpoint)}"
    end = filled(
        _FINISH_RUN,
        run=run,
        outcome=outcome,
        version=None if checkpoint and checkpoint.in_doubt else version,
        error=error,
        sqlstate=sqlstate,
        statement=checkpoint and checkpoint.statement,
    )
    connection.query(end)


def note_progress(connection: Connection, run: int, checkpoint: Checkpoint, what: str) -> bool:
    """Note, before it starts, which statement of a file outside a transaction comes next; `what` is for people.

    Returns False if this run is no longer under way in the journal: another one has begun, and has marked it.
    """
    note = f"{what}\n{_mark(checkpoint)}"
    rows = connection.query(
        filled(_NOTE_PROGRESS, run=run, version=checkpoint.version, statement=checkpoint.statement, note=note)
    )
    return bool(rows[0])


def _mark(checkpoint: Checkpoint) -> str:
    with_it = f"{_MARK_WITH_IT}{checkpoint.with_it}" if checkpoint.with_it else ""
    return f"{_MARK}{checkpoint.ran_before}{with_it}"


def note_obstacle(connection: Connection, run: int, obstacle: str) -> None:
    """Note what a run waits for, for whoever looks meanwhile; a file outside a transaction has its own note there."""
    connection.query(filled(_NOTE_OBSTACLE, run=run, note=obstacle))


def backend(connection: Connection) -> str | None:
    """The pid of the server process that serves this connection at the moment."""
    return connection.query(_READ_BACKEND)[0][0][0]


def find(connection: Connection, run: int, version: str) -> tuple[int, bool] | None:
    """The milliseconds in the ledger's row of this version, and whether this run wrote it; None if there is no row yet."""
    rows = connection.query(filled(_FIND, run=run, version=version))[0]
    return (int(rows[0][0] or 0), rows[0][1] == "t") if rows else None


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


def _read_if_there(connection: Connection, catalog: Rows, table: str, query: str | sql.Composed) -> Rows:
    columns = next((row[1] or "" for row in catalog if row[0] == table), None)
    if columns is None:
        return []
    try:
        return connection.query(query)[0]
    except ScriptError as error:
        if error.refusal.sqlstate in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise LedgerError(_foreign(table, columns.split(","))) from None
        if error.refusal.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise LedgerError(
                f"The role may not read public.{table}: grant usage on schema public, and "
                f"grant select on public.{table}, to it."
            ) from None
        raise


def _survey(server: Row, catalog: Rows, ledger: Rows, runs: Rows, branch: str) -> Survey:
    tables = {row[0]: (row[1] or "").split(",") for row in catalog}
    if "schema_migrations" in tables and not set(COLUMNS) <= set(tables["schema_migrations"]):
        raise LedgerError(_foreign("schema_migrations", tables["schema_migrations"]))
    database, version, system, oid, backend, notices_departure = server
    fingerprint = f"{system}:{oid}{branch}"
    known = [(_run(row), row[7]) for row in runs]
    applied = tuple(map(_applied, ledger)) if "schema_migrations" in tables else None
    return Survey(
        database=database or "",
        server_version=(version or "").split()[0],
        fingerprint=fingerprint,
        backend=backend,
        ledger=applied,
        runs_exist="schema_migration_runs" in tables,
        last_run=known[-1][0] if known else None,
        unfinished_runs=tuple(run for run, _ in known if run.outcome == "running"),
        claimed_by_production=any(run.environment == "production" and owner == fingerprint for run, owner in known),
        notices_departure=notices_departure == "t",
        interruptions=_interruptions(runs, {migration.version for migration in applied or ()}),
    )


def _interruptions(runs: Rows, applied: set[str]) -> dict[str, Interruption]:
    """The newest word on each file that some run left half-way."""
    found: dict[str, Interruption] = {}
    for row in runs:
        version, statement, failed_version, sqlstate, ran_before, with_it = row[8:]
        if version is not None and version not in applied:
            in_doubt = failed_version is None
            checkpoint = Checkpoint(version, int(statement or 1), ran_before or "", with_it or "", in_doubt=in_doubt)
            found[version] = Interruption(int(row[0] or 0), checkpoint, sqlstate)
    return found


def _run(row: Row) -> Run:
    number, outcome, source, started_at, finished_at, commit, environment = row[:7]
    return Run(
        id=int(number or 0),
        outcome=cast(Outcome, outcome),
        source=cast(Source, source),
        started_at=_moment(started_at) or datetime.fromtimestamp(0, UTC),
        finished_at=_moment(finished_at),
        commit=commit,
        environment=environment or "",
    )


def _applied(row: Row) -> AppliedMigration:
    version, name, applied_at, execution_time_ms, checksum = row
    elapsed = None if execution_time_ms is None else int(execution_time_ms)
    return AppliedMigration(version or "", name or "", _moment(applied_at), elapsed, checksum)


def _moment(epoch: str | None) -> datetime | None:
    """Seconds since 1970 as a time; what Python can't hold (infinity, BC) as none. Independent of DateStyle."""
    try:
        return None if epoch is None else datetime.fromtimestamp(float(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _foreign(table: str, columns: Sequence[str]) -> str:
    whose = _LOOKS_LIKE.get(frozenset(columns), "another tool's")
    return (
        f"public.{table} is not this runner's table; it looks like {whose} "
        f"(its columns: {', '.join(columns)}). It was left untouched. "
        "Use a database of its own for these migrations, or rename that table if its tool is no longer in use."
    )


_LOOKS_LIKE = {
    frozenset({"version"}): "that of Rails or dbmate",
    frozenset({"version", "dirty"}): "golang-migrate's",
    frozenset({"version", "inserted_at"}): "Ecto's",
    frozenset({"version", "statements", "name"}): "the Supabase command line's",
}


def _joined(*statements: str | sql.Composable) -> sql.Composed:
    return sql.SQL(";").join([sql.SQL(s) if isinstance(s, str) else s for s in statements])
