"""The ledger and the journal of runs: every statement that writes them, each with a name.

`schema_migrations` has a row for each applied file, `schema_migration_runs` one for each run that had something to apply.
Both are named with their schema. Every write locks them first and looks whether they are what they were (`ledger.trust`).
`ledger.survey` has what reads them all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from ..clean_text import message, one_line
from ..database.connection import OWN_SETTINGS, Connection, Rows, StatementError, filled, joined
from ..errors import LedgerError
from ..files.checkpoint import Checkpoint
from ..plan.migration_plan import AppliedMigration
from ..plan.reports import Outcome, Source
from .survey import MARK, MARK_WITH_IT, Survey, whole
from .trust import (
    CATCH_UP,
    LEDGER,
    LOCK,
    LOCK_TO_READ,
    RUNS,
    UNRECORDED,
    Tables,
    check,
    glance,
    tables_of,
    told_by,
)

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
# Default privileges (PostgreSQL manual, ALTER DEFAULT PRIVILEGES) may have opened what has just been made to others.
_CLOSE = """
do $do$
declare
    made record;
begin
    for made in
        select format('%s public.%I', case c.relkind when 'S' then 'sequence' else 'table' end, c.relname) as object,
               coalesce(quote_ident(r.rolname), 'public') as grantee
          from pg_class c cross join lateral aclexplode(c.relacl) x left join pg_roles r on r.oid = x.grantee
         where c.relnamespace = 'public'::regnamespace and x.grantee <> c.relowner
           and c.relname = any (array[{made}]::name[])
    loop
        execute format('revoke all on %s from %s cascade', made.object, made.grantee);
    end loop;
    for made in select quote_ident(rolname) as role from pg_roles where rolname = {reader} and rolname <> current_user
    loop
        execute format('grant select on {tables} to %s', made.role);
    end loop;
end
$do$
"""
_RECORD = (
    """
insert into public.schema_migrations (version, name, applied_at, execution_time_ms, checksum)
values ({version}, {name}, clock_timestamp() at time zone 'utc', {elapsed}, {checksum})
""",
    """
update public.schema_migration_runs
   set applied = case when id = {run} then applied || {version}::text else applied end,
       error = case when id = {run} then null else error end,
       in_progress_version = null, in_progress_statement = null
 where id = {run} or in_progress_version = {version}
""",
    # The proof: a rule or a trigger may have done something else instead.
    """
select coalesce(
    (select m.execution_time_ms from public.schema_migrations m join public.schema_migration_runs r on r.id = {run}
      where m.version = {version} and m.name = {name} and m.checksum = {checksum} and {version} = any (r.applied)
        and r.environment = {environment} and r.database_fingerprint = {fingerprint}),
    (jsonb_build_object('fault', case when exists (
        select from public.schema_migration_runs
         where id = {run} and environment = {environment} and database_fingerprint = {fingerprint})
                                 then 'unrecorded' else 'emptied' end)::text)::integer)
""",
)
_HELD = """
select case when {word} = {expected} then null else (jsonb_build_object('fault', 'emptied')::text)::integer end
"""
_ON_RECORD = """
select case when count(*) = {count} then null else (jsonb_build_object('fault', 'unrecorded')::text)::integer end
  from public.schema_migrations where version = any ({versions}::text[])
"""
# What rows of the ledger hold, in a word that is another one when one of them is gone or changed.
_ROWS = "concat_ws(' ', count(*), md5(string_agg(concat_ws(' ', id, version, checksum), ',' order by id)))"
_REMEMBER = f"select set_config('migrations.held', {_ROWS}, true) from public.schema_migrations"
_COMPARE = f"""
select case when current_setting('migrations.held') = {_ROWS}
            then null else (jsonb_build_object('fault', 'emptied')::text)::integer end
  from public.schema_migrations
"""
# What a file outside a transaction must leave as it is: the rows up to an id, production's claims, this run.
_WORD = f"""
(select concat_ws(' ', {_ROWS},
                  (select string_agg(distinct database_fingerprint, ',') from public.schema_migration_runs
                    where environment = 'production'),
                  (select count(*) from public.schema_migration_runs where id = {{run}}))
   from public.schema_migrations where id <= {{upto}})
"""
_CONTENTS = f"select max(id), {_WORD} from public.schema_migrations"
_RECORD_BASELINE = """
insert into public.schema_migrations (version, name, applied_at, checksum)
select version, name, pg_catalog.clock_timestamp() at time zone 'utc', checksum
  from rows from (pg_catalog.unnest({versions}::text[]), pg_catalog.unnest({names}::text[]),
                  pg_catalog.unnest({checksums}::text[])) with ordinality as file (version, name, checksum, place)
 order by place;
update public.schema_migration_runs set in_progress_version = null, in_progress_statement = null
 where in_progress_version = any({versions}::text[])
"""
_FORGET = "delete from public.schema_migrations where version = any({versions}::text[])"
_ELAPSED_IN_TRANSACTION = (
    "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::integer"
)
_FIND = """
select execution_time_ms, exists (select from public.schema_migration_runs where id = {run} and {version} = any(applied))
  from public.schema_migrations where version = {version}
"""
_RESET_SESSION = (
    "reset session authorization",
    "reset role",
    "reset all",
    *OWN_SETTINGS,
    "close all",
    "unlisten *",
    "discard temporary",
    "discard sequences",
    "select pg_advisory_unlock_all()",
)
_DEALLOCATE = """
do $$
declare
    prepared text;
begin
    for prepared in select name from pg_prepared_statements where from_sql loop
        execute format('deallocate %I', prepared);
    end loop;
end
$$
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


@dataclass(frozen=True)
class Contents:
    """What the tables hold up to an id of the ledger's, in a word that is another one when rows are gone or changed.

    `is_under_way` as the journal has the run: not when another one has begun, and has marked it.
    """

    upto: int
    word: str | None
    is_under_way: bool = True


@dataclass(frozen=True)
class RunRecord:
    """A run's row in the journal, and the tables as they were, and what they held, when it was written."""

    id: int
    start: RunStart
    tables: Tables
    contents: Contents


def create_tables(connection: Connection, survey: Survey, *, reader: str | None = None) -> None:
    """Create what is missing of the two tables, closed to all but the owner, and readable for `reader`."""
    missing = {LEDGER: _CREATE_LEDGER, RUNS: _CREATE_RUNS}
    missing = {
        table: create for table, create in missing.items() if table not in survey.tables.found
    }
    if missing:
        made = [name for table in missing for name in (table, f"{table}_id_seq")]
        tables = sql.SQL(", ").join(sql.Identifier("public", table) for table in missing)
        close = filled(
            _CLOSE,
            made=sql.SQL(",").join(map(sql.Literal, made)),
            reader=reader or "",
            tables=tables,
        )
        connection.query(joined(*missing.values(), close))


def start_run(
    connection: Connection, trusted: Sequence[str], start: RunStart, *, outcome: Outcome = "running"
) -> RunRecord:
    """Mark runs whose runner is gone and record this one, in one transaction; the lock must be held.

    The tables are looked at once more, now that nobody can change them, and their sequences set right.
    """
    held = filled(
        _CONTENTS,
        run=sql.SQL("(select max(id) from public.schema_migration_runs)"),
        upto=sql.SQL("id"),
    )

    begin: tuple[str | sql.Composable, ...] = (
        *CATCH_UP,
        _INTERRUPT_STALE_RUNS,
        _new_run(start, outcome),
        held,
    )
    at_a_glance = True
    try:
        answers = connection.query(joined(LOCK, glance(trusted, writes=True), *begin))
    except StatementError as error:
        if told_by(error).get("fault") != "any":
            raise
        at_a_glance = False
        answers = connection.query(joined(LOCK, check(trusted), _REMEMBER, *begin, _COMPARE))[:-1]
    tables = tables_of(answers[0], trusted, at_a_glance=at_a_glance)
    *_, new, [[upto, word]] = answers
    if not new:
        raise LedgerError(UNRECORDED)
    [[run]] = new
    return RunRecord(int(run or 0), start, tables, Contents(int(upto or 0), word))


def tables_now(connection: Connection, run: RunRecord) -> Tables:
    """The tables as they are now, weighed."""
    trusted = run.tables.trusted
    return tables_of(
        connection.query(joined(LOCK_TO_READ, check(trusted)), read_only=True)[0],
        trusted,
        at_a_glance=False,
    )


def _ask(
    connection: Connection,
    tables: Tables,
    *statements: str | sql.Composable,
    read_only: bool = False,
) -> list[Rows]:
    """Carry out statements on the tables if these are what they were; where they aren't, if they can be trusted still."""
    lock = LOCK_TO_READ if read_only else LOCK
    if tables.at_a_glance:
        try:
            return connection.query(joined(lock, tables.check, *statements), read_only=read_only)
        except StatementError as error:
            if told_by(error).get("fault") != "changed":
                raise
    # A trigger or a rule that is there may do anything to the ledger.
    weighed = (
        (check(tables.trusted), *statements)
        if read_only
        else (check(tables.trusted), _REMEMBER, *statements, _COMPARE)
    )
    answers = connection.query(joined(lock, *weighed), read_only=read_only)
    return answers if read_only else [answers[0], *answers[2:-1]]


def record_baseline(
    connection: Connection,
    trusted: Sequence[str],
    start: RunStart,
    files: Sequence[AppliedMigration],
) -> None:
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
    proof = filled(_ON_RECORD, versions=versions, count=len(versions))
    connection.query(
        joined(LOCK, check(trusted), *CATCH_UP, _INTERRUPT_STALE_RUNS, run, record, proof)
    )


def forget(
    connection: Connection, trusted: Sequence[str], start: RunStart, versions: Sequence[str]
) -> None:
    """Take versions off the record, and record the run that did, in one transaction; the lock must be held."""
    run = _new_run(start, "succeeded")
    gone = filled(_FORGET, versions=list(versions))
    proof = filled(_ON_RECORD, versions=list(versions), count=0)
    connection.query(
        joined(LOCK, check(trusted), *CATCH_UP, _INTERRUPT_STALE_RUNS, run, gone, proof)
    )


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


def interrupt_stale_runs(connection: Connection, tables: Tables) -> None:
    """Mark runs whose runner is gone; the lock must be held."""
    _ask(connection, tables, _INTERRUPT_STALE_RUNS)


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
    """Write how a run ended, and where it left the file that it was carrying out outside a transaction.

    `failed_version` stays empty while it is in doubt whether the statement at the checkpoint has taken effect.
    """
    if checkpoint:
        error = f"{_shown(error or '')}\n{_mark(checkpoint)}"
    end = filled(
        _FINISH_RUN,
        run=run.id,
        outcome=outcome,
        version=None if checkpoint and checkpoint.in_doubt else version,
        error=error if checkpoint else error and _shown(error),
        sqlstate=sqlstate,
        statement=checkpoint and checkpoint.statement,
    )
    _ask(connection, run.tables, end)


def note_progress(
    connection: Connection, run: RunRecord, checkpoint: Checkpoint, what: str
) -> Contents:
    """Note, before it starts, which statement of a file outside a transaction comes next; `what` is for people.

    Returns what the tables hold of what they held.
    """
    note = filled(
        _NOTE_PROGRESS,
        run=run.id,
        version=checkpoint.version,
        statement=checkpoint.statement,
        note=f"{_shown(what)}\n{_mark(checkpoint)}",
    )
    *_, noted, held = _ask(connection, run.tables, note, _contents(run))
    return Contents(run.contents.upto, held[0][1], is_under_way=bool(noted))


def _shown(text: str) -> str:
    """A text for people, as it leaves for a log too; it can't be taken for the mark."""
    return str(message(text.replace(MARK, f"{MARK.rstrip()}_").replace(MARK_WITH_IT, ";")))


def _mark(checkpoint: Checkpoint) -> str:
    next_one = checkpoint.including_next
    with_it = f"{MARK_WITH_IT}{next_one}" if next_one else ""
    return f"{MARK}{checkpoint.completed}{with_it}"


def note_obstacle(connection: Connection, run: RunRecord, obstacle: str) -> None:
    """Note what a run waits for, for whoever looks meanwhile; a file outside a transaction has its own note there."""
    _ask(connection, run.tables, filled(_NOTE_OBSTACLE, run=run.id, note=_shown(obstacle)))


def backend(connection: Connection) -> str | None:
    """The pid of the server process that serves this connection at the moment."""
    return connection.query(_READ_BACKEND)[0][0][0]


def find(connection: Connection, run: RunRecord, version: str) -> tuple[int, bool] | None:
    """The milliseconds in the ledger's row of this version, and whether this run wrote it; None if there is no row yet."""
    find_row = filled(_FIND, run=run.id, version=version)
    rows = _ask(connection, run.tables, find_row, read_only=True)[-1]
    return (whole(rows[0][0]) or 0, rows[0][1] == "t") if rows else None


def record_statements(
    run: RunRecord, migration: AppliedMigration, *, is_counted: bool
) -> tuple[str, ...]:
    """The SQL that records a migration in the transaction of its file, after what has undone what that has set.

    The last statement returns its milliseconds, measured from the transaction's start. It fails unless the tables are what
    they were, hold what they held, and now this file. `is_counted` unless the file may have kept the server from counting.
    """
    write, proof = _record(run, migration, sql.SQL(_ELAPSED_IN_TRANSACTION))
    intact = run.tables.check_intact(run.id, _word(run), run.contents.word, is_counted=is_counted)
    # What the rows have put off to the end has to have happened before it is looked at.
    fire = sql.SQL("set constraints all immediate").format()
    statements = (run.tables.check, *write, fire, _again(), intact, proof)
    return tuple(statement.as_string(None) for statement in statements)


def record_alone(connection: Connection, run: RunRecord, migration: AppliedMigration) -> RunRecord:
    """Record a migration that has run outside a transaction. Returns the run with the tables as they are now."""
    look = check(run.tables.trusted)
    write, proof = _record(run, migration, sql.Literal(migration.execution_time_ms))
    held = sql.SQL(_HELD).format(word=_word(run), expected=sql.Literal(run.contents.word))
    answers = connection.query(joined(LOCK, look, *write, held, proof))
    tables = tables_of(answers[0], run.tables.trusted, at_a_glance=run.tables.at_a_glance)
    return replace(run, tables=tables)


def contents(connection: Connection, run: RunRecord) -> Contents:
    """What the tables hold of what they held, as `note_progress` tells it."""
    [held] = _ask(connection, run.tables, _contents(run), read_only=True)[-1]
    return Contents(run.contents.upto, held[1])


def _contents(run: RunRecord) -> sql.Composed:
    return filled(_CONTENTS, run=run.id, upto=run.contents.upto)


def _word(run: RunRecord) -> sql.Composed:
    return filled(_WORD, run=run.id, upto=run.contents.upto)


def _again() -> sql.Composed:
    """A trigger of the owner's may have set it otherwise."""
    return sql.SQL(OWN_SETTINGS[0]).format()


def _record(
    run: RunRecord, migration: AppliedMigration, elapsed: sql.Composable
) -> tuple[list[sql.Composed], sql.Composed]:
    """What writes the file's row and the run's, and the proof that they are there."""
    values = {
        "run": run.id,
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "elapsed": elapsed,
        "environment": run.start.environment,
        "fingerprint": run.start.fingerprint,
    }
    insert, update, proof = (filled(statement, **values) for statement in _RECORD)
    return [insert, _again(), update, _again()], proof


def reset_statements(*, direct: bool = False, prepared: bool = False) -> tuple[str, ...]:
    """The SQL that undoes what a file may have set in the session, inside a transaction or out, also through a pooler.

    Prepared statements end with it on a `direct` connection. A pooler has some of its own in the session: there only with
    `prepared`, and only those that SQL has prepared.
    """
    return (
        *_RESET_SESSION,
        *(("deallocate all",) if direct else (_DEALLOCATE,) if prepared else ()),
    )


def reset_script(*, direct: bool = False, prepared: bool = False) -> str:
    """The same as one message."""
    return ";".join(reset_statements(direct=direct, prepared=prepared))
