"""Rows of the ledger: a file recorded as applied, with the proof that its row is there.

`schema_migrations` has a row for each applied file. A file in a transaction is recorded in that
transaction: both commit, or neither.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from ..database.connection import Connection
from ..database.sql_composition import OWN_SETTINGS, filled, joined
from ..plan.migration_states import AppliedMigration
from .ledger_state import whole
from .runs import INTERRUPT_STALE_RUNS, NO_PROGRESS, WORD, WROTE, RunRecord, RunStart, new_run
from .table_trust import ask, check, tables_of
from .trust_queries import CATCH_UP, LOCK

# clock_timestamp(), since now() would be the beginning of a file that took an hour.
_INSERT = """
insert into public.schema_migrations (version, name, applied_at, execution_time_ms, checksum)
values ({version}, {name}, clock_timestamp() at time zone 'utc', {elapsed}, {checksum})
"""
# What was noted while the file waited for a table, or ran outside a transaction.
_CLEAR_NOTES = f"""
update public.schema_migration_runs
   set error = case when id = {{run}} then null else error end, {NO_PROGRESS}
 where id = {{run}} or in_progress_version = {{version}}
"""
# The proof: a rule or a trigger may have done something else in place of the insert.
_PROOF = """
select coalesce(
    (select m.execution_time_ms from public.schema_migrations m
      where m.version = {version} and m.name = {name} and m.checksum = {checksum}
        and {run_is_there}),
    (jsonb_build_object('fault', case when {run_is_there} then 'unrecorded' else 'emptied' end)
     ::text)::integer)
"""
_RUN_IS_THERE = """
exists (select from public.schema_migration_runs
         where id = {run} and environment = {environment} and database_fingerprint = {fingerprint})
"""
# For a file outside a transaction: the server's counts in INTACT are those of one transaction.
_HELD = """
select case when {word} = {expected} then null
            else (jsonb_build_object('fault', 'emptied')::text)::integer end
"""
_ON_RECORD = """
select case when count(*) = {count} then null
            else (jsonb_build_object('fault', 'unrecorded')::text)::integer end
  from public.schema_migrations where version = any ({versions}::text[])
"""
# Arrays, since a baseline may have thousands of files and a message only so many literals.
_RECORD_BASELINE = f"""
insert into public.schema_migrations (version, name, applied_at, checksum)
select version, name, pg_catalog.clock_timestamp() at time zone 'utc', checksum
  from rows from (pg_catalog.unnest({{versions}}::text[]), pg_catalog.unnest({{names}}::text[]),
                  pg_catalog.unnest({{checksums}}::text[]))
       with ordinality as file (version, name, checksum, place)
 order by place;
update public.schema_migration_runs set {NO_PROGRESS}
 where in_progress_version = any({{versions}}::text[])
"""
_FORGET = "delete from public.schema_migrations where version = any({versions}::text[])"
# The version proves that it is the row: nobody else writes while the lock is held.
_RENUMBER = """
update public.schema_migrations
   set version = {version}, name = {name}, checksum = {checksum}
 where version = {former}
"""
_NOTE_RENUMBERED = """
update public.schema_migration_runs set renumbered = {pairs}::text[]
 where id = (select max(id) from public.schema_migration_runs)
"""
_RENUMBERED = """
select case when count(*) = {count} then null
            else (jsonb_build_object('fault', 'unrecorded')::text)::integer end
  from public.schema_migrations m
  join rows from (pg_catalog.unnest({versions}::text[]), pg_catalog.unnest({checksums}::text[]))
       as file (version, checksum) on m.version = file.version and m.checksum = file.checksum
"""
# now() is the time at which the transaction began.
ELAPSED_IN_TRANSACTION = (
    "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::integer"
)
_FIND = f"""
select m.execution_time_ms,
       m.checksum = {{checksum}}
       and exists (select from public.schema_migration_runs r where r.id = {{run}} and {WROTE})
  from public.schema_migrations m where m.version = {{version}}
"""

_FIND_WRITTEN = f"""
select m.version, m.execution_time_ms from public.schema_migrations m
 where m.version = any ({{versions}}::text[])
   and exists (select from public.schema_migration_runs r where r.id = {{run}} and {WROTE})
"""


def record_statements(
    run: RunRecord, migration: AppliedMigration, *, is_counted: bool, has_notes: bool
) -> tuple[str, ...]:
    """The SQL that records a file in its own transaction, once the file's settings are undone.

    The last statement returns the milliseconds since the transaction's start. The SQL fails unless
    the tables are what they were, hold what they held, and now this file. `is_counted` unless the
    file may have kept the server from counting; `has_notes` if the journal may hold a note on the
    file, which is then cleared.
    """
    elapsed = sql.SQL(ELAPSED_IN_TRANSACTION)
    write, proof = _record(run, migration, elapsed, has_notes=has_notes)
    return guarded_record(run, write, proof, is_counted=is_counted)


def guarded_record(
    run: RunRecord, write: Sequence[sql.Composable], proof: sql.Composable, *, is_counted: bool
) -> tuple[str, ...]:
    """The SQL of `write` and `proof`, among the checks that the two tables are what they were."""
    intact = run.tables.check_intact(run.id, _word(run), run.contents.word, is_counted=is_counted)
    # What the rows' constraints defer to the end has to happen before the proof.
    fire = sql.SQL("set constraints all immediate").format()
    statements = (run.tables.check, *write, fire, own_settings(), intact, proof)
    return tuple(statement.as_string(None) for statement in statements)


# Code that a file has called, such as a column's default, can prepare others under the same names.
_STILL_PREPARED = """
select case when sha256(convert_to(string_agg(statement, ';' order by name), 'UTF8'))
                 = {digest}::bytea
            then null else (jsonb_build_object('fault', 'prepared')::text)::integer end
  from pg_prepared_statements where name = any ({names}::text[])
"""


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
        self._check = ""

    def statements(
        self, run: RunRecord, migration: AppliedMigration, *, is_prepared: bool
    ) -> tuple[str, ...]:
        """The same as `record_statements`; unless `is_prepared`, they are prepared first.

        They fail with the fault `prepared` if the session has other statements by these names.
        """
        file = filled("({version}, {name}, {checksum})", **_file_values(migration))
        values = file.as_string(None)
        prepare = (self._check,) if is_prepared else self._prepare(run)
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
        # The statements belong to the session; a new session, or DEALLOCATE, has lost them.
        self._run = None
        self._generation += 1

    def _prepare(self, run: RunRecord) -> tuple[str, ...]:
        elapsed = sql.SQL(ELAPSED_IN_TRANSACTION)
        file = {"version": sql.SQL("$1"), "name": sql.SQL("$2"), "checksum": sql.SQL("$3")}
        bodies = {
            "unchanged": run.tables.check,
            "insert (text, text, text)": filled(_INSERT, elapsed=elapsed, **file),
            "intact": run.tables.check_intact(run.id, _word(run), run.contents.word),
            "proof (text, text, text)": filled(_PROOF, run_is_there=run_is_there(run), **file),
        }
        statements = {
            self._name(name): f"prepare {self._name(name)} as {body.as_string(None)}"
            for name, body in bodies.items()
        }
        names = sorted(name.partition(" ")[0] for name in statements)
        text = ";".join(statements[name] for name in sorted(statements))
        digest = f"\\x{hashlib.sha256(text.encode()).hexdigest()}"
        self._check = filled(_STILL_PREPARED, digest=digest, names=names).as_string(None)
        return tuple(statements.values())

    def _name(self, name: str) -> str:
        # A new name each time: nobody knows whether the session still has the old one.
        return f"schema_migrations_{self._generation}_{name}"


def record_alone(connection: Connection, run: RunRecord, migration: AppliedMigration) -> RunRecord:
    """Record a file that has run outside a transaction; return the run with the tables of now."""
    # Measured by the runner: the statements had transactions of their own.
    elapsed = sql.Literal(migration.execution_time_ms)
    write, proof = _record(run, migration, elapsed, has_notes=True)
    held = filled(_HELD, word=_word(run), expected=run.contents.word)
    answers = connection.query(joined(LOCK, check(run.tables.trusted), *write, held, proof))
    tables = tables_of(answers[0], run.tables.trusted, at_a_glance=run.tables.at_a_glance)
    return replace(run, tables=tables)


def find(
    connection: Connection, run: RunRecord, migration: AppliedMigration
) -> tuple[int, bool] | None:
    """The milliseconds in the file's row, and whether this run wrote it; None without a row."""
    find_row = filled(_FIND, run=run.id, version=migration.version, checksum=migration.checksum)
    rows = ask(connection, run.tables, find_row, read_only=True)[-1]
    return (whole(rows[0][0]) or 0, rows[0][1] == "t") if rows else None


def find_written(connection: Connection, run: RunRecord, versions: Sequence[str]) -> dict[str, int]:
    """Which of the versions this run has recorded, with the milliseconds in their rows."""
    find_rows = filled(_FIND_WRITTEN, run=run.id, versions=list(versions))
    rows = ask(connection, run.tables, find_rows, read_only=True)[-1]
    return {str(version): whole(elapsed) or 0 for version, elapsed in rows}


def record_baseline(
    connection: Connection,
    trusted: Sequence[str],
    start: RunStart,
    files: Sequence[AppliedMigration],
    *,
    before: Sequence[str | sql.Composable] = (),
) -> None:
    """Record files as applied that were not run, and the run that does so; the lock must be held.

    One transaction, that of the statements `before` too. What an earlier run left half-way of these
    files is forgotten.
    """
    versions = [file.version for file in files]
    record = filled(
        _RECORD_BASELINE,
        versions=versions,
        names=[file.name for file in files],
        checksums=[file.checksum for file in files],
    )
    run = new_run(start, "succeeded", applied=versions)
    proof = filled(_ON_RECORD, versions=versions, count=len(versions))
    connection.query(
        joined(*before, LOCK, check(trusted), *CATCH_UP, INTERRUPT_STALE_RUNS, run, record, proof)
    )


def delete_records(
    connection: Connection, trusted: Sequence[str], start: RunStart, versions: Sequence[str]
) -> None:
    """Delete versions from the ledger, and record the run that does so; the lock must be held.

    One transaction.
    """
    run = new_run(start, "succeeded")
    gone = filled(_FORGET, versions=list(versions))
    proof = filled(_ON_RECORD, versions=list(versions), count=0)
    connection.query(
        joined(LOCK, check(trusted), *CATCH_UP, INTERRUPT_STALE_RUNS, run, gone, proof)
    )


def renumber_records(
    connection: Connection,
    trusted: Sequence[str],
    start: RunStart,
    renumbered: Sequence[tuple[str, AppliedMigration]],
    *,
    is_noted: bool,
) -> None:
    """Give rows their new versions, and record the run that does so; the lock must be held.

    `renumbered` has the former version, and the row as it is to be, in the order in which the new
    versions become free. One transaction. `is_noted` unless the journal has no column
    for the names.
    """
    moves = [filled(_RENUMBER, former=former, **_file_values(row)) for former, row in renumbered]
    pairs = [[former, row.version] for former, row in renumbered]
    note = [filled(_NOTE_RENUMBERED, pairs=pairs)] if is_noted else []
    proof = filled(
        _RENUMBERED,
        versions=[row.version for _, row in renumbered],
        checksums=[row.checksum for _, row in renumbered],
        count=len(renumbered),
    )
    run = new_run(start, "succeeded")
    connection.query(
        joined(LOCK, check(trusted), *CATCH_UP, INTERRUPT_STALE_RUNS, run, *note, *moves, proof)
    )


def _record(
    run: RunRecord, migration: AppliedMigration, elapsed: sql.Composable, *, has_notes: bool
) -> tuple[list[sql.Composed], sql.Composed]:
    """The statements that write the file's row and clear its notes, and the proof."""
    file = _file_values(migration)
    write = [filled(_INSERT, elapsed=elapsed, **file), own_settings()]
    if has_notes:
        write += [filled(_CLEAR_NOTES, run=run.id, version=migration.version), own_settings()]
    return write, filled(_PROOF, run_is_there=run_is_there(run), **file)


def _file_values(migration: AppliedMigration) -> dict[str, object]:
    return {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
    }


def run_is_there(run: RunRecord) -> sql.Composed:
    return filled(
        _RUN_IS_THERE,
        run=run.id,
        environment=run.start.environment,
        fingerprint=run.start.fingerprint,
    )


def _word(run: RunRecord) -> sql.Composed:
    return filled(WORD, run=run.id, upto=run.contents.upto)


def own_settings() -> sql.Composed:
    """The runner's search_path once more: a trigger of the tables' owner may have changed it."""
    return sql.SQL(OWN_SETTINGS[0]).format()
