"""The ledger and the journal of runs: every statement that writes them, each with a name.

`schema_migrations` has a row for each applied file, `schema_migration_runs` one for each run that had something to apply.
Both are named with their schema. Every write locks them first and looks whether they are what they were (`ledger.trust`).
`ledger.survey` has what reads them all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from ..clean_text import message, one_line
from ..database.composing import OWN_SETTINGS, filled, joined
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.transport import Rows
from ..errors import LedgerError
from ..files.checkpoint import Checkpoint
from ..plan.migration_plan import AppliedMigration
from ..plan.reports import Outcome, Source
from .earlier_progress import without_marks
from .schema import missing_columns
from .survey import whole
from .trust import (
    CATCH_UP,
    LOCK,
    LOCK_TO_READ,
    UNRECORDED,
    Tables,
    check,
    glance,
    tables_of,
    told_by,
)

_READ_BACKEND = "select pg_catalog.pg_backend_pid()"
# The rows of the ledger that a run wrote: those above the highest id when it began, up to the next
# run's. A later run of an earlier version has no such id, and names its files in `applied`.
_WROTE = """
m.id > r.ledger_id_before and not exists (
    select from public.schema_migration_runs later
     where later.id > r.id and (later.ledger_id_before < m.id or m.version = any (later.applied)))
"""
_WRITTEN = f"""
(select array_agg(m.version::text order by m.id) from public.schema_migrations m where {_WROTE})
"""
_INTERRUPT = """
update public.schema_migration_runs r
   set outcome = 'interrupted', finished_at = pg_catalog.clock_timestamp(),
       error = pg_catalog.concat_ws(
           E'\n', 'The runner is gone; the next run found this one unfinished.', error)
"""
# `applied` is written once, by whoever ends the run: a rewrite for each file would be quadratic.
_INTERRUPT_STALE_RUNS = f"""
{_INTERRUPT}, applied = coalesce({_WRITTEN}, applied)
 where outcome = 'running'
"""
# On a journal of an earlier version, whose runs have named each file already.
_INTERRUPT_EARLIER_STALE_RUNS = f"{_INTERRUPT} where outcome = 'running'"
_START_RUN = """
insert into public.schema_migration_runs
       (source, environment, git_commit, git_ref, deployment, database_fingerprint, outcome,
        finished_at, applied, ledger_id_before)
values ({source}, {environment}, {commit}, {ref}, {deployment}, {fingerprint}, {outcome},
        case when {outcome} = 'running' then null else pg_catalog.clock_timestamp() end,
        {applied}::text[], (select coalesce(max(id), 0) from public.schema_migrations))
returning id
"""
_FINISH_RUN = f"""
update public.schema_migration_runs r
   set outcome = {{outcome}}, finished_at = pg_catalog.clock_timestamp(),
       applied = coalesce({_WRITTEN}, applied),
       failed_version = case when exists (
               select from public.schema_migrations m where m.version = {{version}} and {_WROTE})
           then null else {{version}}::text end,
       error = {{error}}, sqlstate = {{sqlstate}}
 where id = {{run}} returning id
"""
_NOTE_PROGRESS = """
update public.schema_migration_runs
   set in_progress_version = {version}, in_progress_statement = {statement},
       in_progress_in_doubt = {in_doubt},
       in_progress_completed = {completed}, in_progress_completed_sha256 = {completed_sha256},
       in_progress_including_next = {including_next},
       in_progress_including_next_sha256 = {including_next_sha256}
"""
_NOTE_NEXT = f"""
{_NOTE_PROGRESS}, error = {{note}} where id = {{run}} and outcome = 'running' returning id
"""
_NOTE_STOP = f"{_NOTE_PROGRESS} where id = {{run}} and in_progress_version = {{version}}"
# Without a word on where a file has come to, its next statement has not begun.
_NOTE_NO_DOUBT = """
update public.schema_migration_runs set in_progress_in_doubt = false
 where id = {run} and in_progress_version is not null
"""
_NOTE_OBSTACLE = """
update public.schema_migration_runs set error = {note}
 where id = {run} and in_progress_version is null
"""
_NO_PROGRESS = """
in_progress_version = null, in_progress_statement = null, in_progress_in_doubt = null,
in_progress_completed = null, in_progress_completed_sha256 = null,
in_progress_including_next = null, in_progress_including_next_sha256 = null
"""
_RECORD = """
insert into public.schema_migrations (version, name, applied_at, execution_time_ms, checksum)
values ({version}, {name}, clock_timestamp() at time zone 'utc', {elapsed}, {checksum})
"""
# What was noted while the file waited for a table, or ran outside a transaction.
_CLEAR_NOTES = f"""
update public.schema_migration_runs
   set error = case when id = {{run}} then null else error end, {_NO_PROGRESS}
 where id = {{run}} or in_progress_version = {{version}}
"""
# The proof: a rule or a trigger may have done something else instead.
_PROOF = """
select coalesce(
    (select m.execution_time_ms from public.schema_migrations m
      where m.version = {version} and m.name = {name} and m.checksum = {checksum} and {run_is_there}),
    (jsonb_build_object('fault', case when {run_is_there} then 'unrecorded' else 'emptied' end)
     ::text)::integer)
"""
_RUN_IS_THERE = """
exists (select from public.schema_migration_runs
         where id = {run} and environment = {environment} and database_fingerprint = {fingerprint})
"""
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
update public.schema_migration_runs set {no_progress}
 where in_progress_version = any({versions}::text[])
"""
_FORGET = "delete from public.schema_migrations where version = any({versions}::text[])"
_ELAPSED_IN_TRANSACTION = (
    "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::integer"
)
_FIND = f"""
select m.execution_time_ms,
       exists (select from public.schema_migration_runs r where r.id = {{run}} and {_WROTE})
  from public.schema_migrations m where m.version = {{version}}
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
        no_progress=sql.SQL(_NO_PROGRESS),
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
    """Mark runs whose runner is gone; the lock must be held. Also on a journal of an earlier version."""
    is_earlier = bool(missing_columns(tables))
    _ask(connection, tables, _INTERRUPT_EARLIER_STALE_RUNS if is_earlier else _INTERRUPT_STALE_RUNS)


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
    """Write how a run ended, which files it applied, and where it left one outside a transaction.

    An earlier version takes an empty `failed_version` for a doubt: it stays empty while it is not
    known whether the statement at the checkpoint has taken effect.
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
        filled(_NOTE_STOP, run=run.id, **_progress(checkpoint))
        if checkpoint
        else filled(_NOTE_NO_DOUBT, run=run.id)
    )
    *_, finished = _ask(connection, run.tables, stop, end)
    if not finished:
        raise LedgerError(UNRECORDED)


def note_progress(
    connection: Connection, run: RunRecord, checkpoint: Checkpoint, what: str
) -> Contents:
    """Note, before it starts, which statement of a file outside a transaction comes next.

    `what` is for people. Unless the run notes something else, the statement is in doubt from now on.
    Returns what the tables hold of what they held.
    """
    progress = _progress(replace(checkpoint, in_doubt=True))
    note = filled(_NOTE_NEXT, run=run.id, note=_shown(what), **progress)
    *_, noted, held = _ask(connection, run.tables, note, _contents(run))
    return Contents(run.contents.upto, held[0][1], is_under_way=bool(noted))


def _progress(checkpoint: Checkpoint) -> dict[str, object]:
    """A checkpoint as the journal's columns have it."""
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
    """A text for people, as it leaves for a log too. An earlier version finds no progress in it."""
    return str(message(without_marks(text)))


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
    run: RunRecord, migration: AppliedMigration, *, is_counted: bool, has_notes: bool
) -> tuple[str, ...]:
    """The SQL that records a migration in the transaction of its file, after what has undone what that has set.

    The last statement returns its milliseconds, measured from the transaction's start. It fails unless the tables are what
    they were, hold what they held, and now this file. `is_counted` unless the file may have kept the server from counting;
    `has_notes` when the journal may have something noted on the file, which is cleared.
    """
    elapsed = sql.SQL(_ELAPSED_IN_TRANSACTION)
    write, proof = _record(run, migration, elapsed, has_notes=has_notes)
    intact = run.tables.check_intact(run.id, _word(run), run.contents.word, is_counted=is_counted)
    # What the rows have put off to the end has to have happened before it is looked at.
    fire = sql.SQL("set constraints all immediate").format()
    statements = (run.tables.check, *write, fire, _again(), intact, proof)
    return tuple(statement.as_string(None) for statement in statements)


class PreparedRecord:
    """The statements that record a file, prepared in a session for the files that follow.

    To plan what they ask of the catalog takes the server longer than a small file does. They are
    for a direct connection, and for tables with nothing on them that runs code: then nothing has to
    be set again between them. Behind a transaction pooler, the next transaction may be in another
    session.
    """

    def __init__(self) -> None:
        self._run: RunRecord | None = None
        self._generation = 0

    def statements(self, run: RunRecord, migration: AppliedMigration) -> tuple[str, ...]:
        """The same as `record_statements`; they are prepared first, unless they are."""
        file = filled("({version}, {name}, {checksum})", **_file_values(migration))
        values = file.as_string(None)
        prepare = () if self.is_ready(run) else self._prepare(run)
        return (
            *prepare,
            f"execute {self._name('unchanged')}",
            f"execute {self._name('insert')} {values}",
            f"execute {self._name('intact')}",
            f"execute {self._name('proof')} {values}",
        )

    def is_ready(self, run: RunRecord) -> bool:
        """True if the session has the statements of this run."""
        return self._run is run

    def keep(self, run: RunRecord) -> None:
        """Take note that a transaction in which they were prepared, or executed, has committed."""
        self._run = run

    def forget(self) -> None:
        """Take note that the session may not have them any more."""
        self._run = None
        self._generation += 1

    def _prepare(self, run: RunRecord) -> tuple[str, ...]:
        elapsed = sql.SQL(_ELAPSED_IN_TRANSACTION)
        file = {"version": sql.SQL("$1"), "name": sql.SQL("$2"), "checksum": sql.SQL("$3")}
        bodies = {
            "unchanged": run.tables.check,
            "insert (text, text, text)": filled(_RECORD, elapsed=elapsed, **file),
            "intact": run.tables.check_intact(run.id, _word(run), run.contents.word),
            "proof (text, text, text)": filled(_PROOF, run_is_there=_run_is_there(run), **file),
        }
        return tuple(
            f"prepare {self._name(name)} as {body.as_string(None)}" for name, body in bodies.items()
        )

    def _name(self, name: str) -> str:
        # A new name each time: nobody knows whether the session still has the old one.
        return f"schema_migrations_{self._generation}_{name}"


def record_alone(connection: Connection, run: RunRecord, migration: AppliedMigration) -> RunRecord:
    """Record a migration that has run outside a transaction. Returns the run with the tables as they are now."""
    look = check(run.tables.trusted)
    elapsed = sql.Literal(migration.execution_time_ms)
    write, proof = _record(run, migration, elapsed, has_notes=True)
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
    run: RunRecord, migration: AppliedMigration, elapsed: sql.Composable, *, has_notes: bool
) -> tuple[list[sql.Composed], sql.Composed]:
    """The statements that write the file's row, and clear what was noted on it, and the proof."""
    file = _file_values(migration)
    write = [filled(_RECORD, elapsed=elapsed, **file), _again()]
    if has_notes:
        write += [filled(_CLEAR_NOTES, run=run.id, version=migration.version), _again()]
    return write, filled(_PROOF, run_is_there=_run_is_there(run), **file)


def _file_values(migration: AppliedMigration) -> dict[str, object]:
    return {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
    }


def _run_is_there(run: RunRecord) -> sql.Composed:
    return filled(
        _RUN_IS_THERE,
        run=run.id,
        environment=run.start.environment,
        fingerprint=run.start.fingerprint,
    )


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
