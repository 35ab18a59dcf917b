"""The two tables of the runner: created, and brought to the columns of this version.

The journal only ever gains nullable columns, so a bundle of an earlier version keeps working on an
upgraded one. The look that every run makes lists the columns; a run that is about to write adds
those that are missing.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..duration import milliseconds
from ..errors import LedgerError, LockError
from ..own_tables import LEDGER, RUNS
from .table_trust import Tables

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
# What journals lack that an earlier version created. Without a default and a constraint, adding
# them rewrites nothing, and the trust check has no expression to weigh.
ADDED_COLUMNS = {
    # The highest id in the ledger when the run began: its files are the rows above that.
    "ledger_id_before": "bigint",
    # Whether the statement at in_progress_statement may have taken effect.
    "in_progress_in_doubt": "boolean",
    # The statements before it: how many, and the SHA-256 of their text.
    "in_progress_completed": "integer",
    "in_progress_completed_sha256": "text",
    # The same through the statement, or the transaction block, under way.
    "in_progress_including_next": "integer",
    "in_progress_including_next_sha256": "text",
    # Whether the schema differed from that after the run before, and when somebody last looked;
    # null, with a time, if that could not be told.
    "drift": "boolean",
    "drift_checked_at": "timestamptz",
}
# What a run adds only when it has something to record there, since hardly any has.
RENUMBERED = "renumbered"
RARE_COLUMNS = {
    # The rows of the ledger that got a new version: pairs of the former one and the new one.
    RENUMBERED: "text[]",
}
_LATER_COLUMNS = {**RARE_COLUMNS, **ADDED_COLUMNS}
_CREATE_RUNS = f"""
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
    outcome text not null default 'running'
        check (outcome in ('running', 'succeeded', 'failed', 'interrupted')),
    applied text[] not null default '{{}}',
    in_progress_version text,
    in_progress_statement integer,
    failed_version text,
    error text,
    sqlstate text,
    {", ".join(f"{name} {kind}" for name, kind in _LATER_COLUMNS.items())}
)
"""
# Default privileges may have opened the new tables to other roles (PostgreSQL manual, ALTER DEFAULT
# PRIVILEGES).
_CLOSE = """
do $do$
declare
    made record;
begin
    for made in
        select format('%s public.%I', case c.relkind when 'S' then 'sequence' else 'table' end,
                      c.relname) as object,
               coalesce(quote_ident(r.rolname), 'public') as grantee
          from pg_class c cross join lateral aclexplode(c.relacl) x
          left join pg_roles r on r.oid = x.grantee
         where c.relnamespace = 'public'::regnamespace and x.grantee <> c.relowner
           and c.relname = any (array[{made}]::name[])
    loop
        execute format('revoke all on %s from %s cascade', made.object, made.grantee);
    end loop;
    for made in
        select quote_ident(rolname) as role from pg_roles
         where rolname = {reader} and rolname <> current_user
    loop
        execute format('grant select on {tables} to %s', made.role);
    end loop;
end
$do$
"""
# Taken before the check, so that nothing changes between the check and ALTER TABLE.
_LOCK_JOURNAL = f"lock table public.{RUNS} in access exclusive mode"
INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE = "42501", "55P03"


def prepare_tables(
    connection: Connection,
    tables: Tables,
    *,
    reader: str | None = None,
    lock_timeout: float,
    rare: Sequence[str] = (),
) -> None:
    """Create what is missing of the two tables, and add the journal's missing columns.

    The run lock must be held. Raises what `upgrade_journal` raises.
    """
    if statements := creation(tables, reader):
        connection.query(joined(*statements))
    upgrade_journal(connection, tables, lock_timeout=lock_timeout, rare=rare)


def missing_columns(tables: Tables) -> tuple[str, ...]:
    """The columns of this version that the journal, created by an earlier one, lacks."""
    journal = tables.found.get(RUNS)
    return tuple(name for name in ADDED_COLUMNS if journal and name not in journal.columns)


def creation(tables: Tables, reader: str | None = None) -> tuple[sql.Composable, ...]:
    """The statements that create what is missing of the two tables.

    New tables are closed to all but the owner, and readable for `reader`.
    """
    statements = {LEDGER: _CREATE_LEDGER, RUNS: _CREATE_RUNS}
    missing = [name for name in statements if name not in tables.found]
    if not missing:
        return ()
    return (*(sql.SQL(statements[name]) for name in missing), closing(missing, reader))


def closing(tables: Sequence[str], reader: str | None) -> sql.Composed:
    """The statement that closes new tables to all but the owner, and opens them to `reader`."""
    made = [name for table in tables for name in (table, f"{table}_id_seq")]
    return filled(
        _CLOSE,
        made=sql.SQL(",").join(map(sql.Literal, made)),
        # The status may be read by another role, which the new tables would otherwise shut out.
        reader=reader or "",
        tables=sql.SQL(", ").join(sql.Identifier("public", table) for table in tables),
    )


def upgrade_journal(
    connection: Connection, tables: Tables, *, lock_timeout: float, rare: Sequence[str] = ()
) -> None:
    """Add the journal's missing columns; the run lock must be held.

    If any is missing, those of `RARE_COLUMNS` that are named in `rare` are added as well.
    `lock_timeout` (seconds) limits the wait for the journal, which ALTER TABLE locks against reads.
    Raises LedgerError with the statement to run if the role may not alter the journal, LockError if
    the journal stays busy.
    """
    missing = missing_columns(tables)
    if not missing:
        return
    alter = _adding({name: _LATER_COLUMNS[name] for name in (*rare, *missing)})
    try:
        _alter(connection, tables, alter, lock_timeout)
    except StatementError as error:
        if error.server_error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise LedgerError(
                f"public.{RUNS} was created by an earlier version, and the role may not add the "
                f"columns that this one needs: nothing was applied. As the table's owner: {alter};"
            ) from None
        if error.server_error.sqlstate == LOCK_NOT_AVAILABLE:
            raise LockError(
                f"public.{RUNS} lacks columns of this version, and other sessions kept it locked "
                f"for {lock_timeout:g} s, so they could not be added: nothing was applied. "
                "Run it again later."
            ) from None
        raise


def add_rare_column(
    connection: Connection, tables: Tables, name: str, *, lock_timeout: float
) -> str | None:
    """Add a column of `RARE_COLUMNS` if the journal lacks it, after `prepare_tables` with it.

    The run lock must be held. Return the statement for the table's owner if the role may not add
    it, or the journal stays busy: the run goes on without.
    """
    journal = tables.found.get(RUNS)
    # A journal that was not there is created with all columns, and an upgrade has added this one.
    if journal is None or name in journal.columns or missing_columns(tables):
        return None
    alter = _adding({name: RARE_COLUMNS[name]})
    try:
        _alter(connection, tables, alter, lock_timeout)
    except StatementError as error:
        if error.server_error.sqlstate not in (INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE):
            raise
        return alter
    return None


def _adding(columns: Mapping[str, str]) -> str:
    added = ", ".join(f"add column if not exists {name} {kind}" for name, kind in columns.items())
    return f"alter table public.{RUNS} {added}"


def _alter(connection: Connection, tables: Tables, alter: str, lock_timeout: float) -> None:
    limit = f"set local lock_timeout = {milliseconds(lock_timeout)}"
    # Under the lock the tables are looked at once more: they are still those that were trusted.
    connection.query(joined(limit, _LOCK_JOURNAL, tables.check, alter))
