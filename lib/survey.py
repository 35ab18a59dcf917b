"""What one look at a database tells: the server, the ledger, the journal of runs, and whose the database is.

Both tables are looked up in the catalog before they are read, so that nothing is created, and no right is needed, by a
mere look. Where both are there it costs one round trip.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from psycopg import sql

from lib.connection_url import ConnectionTarget
from lib.database import Connection, Row, Rows, ScriptError, filled, joined
from lib.errors import LedgerError
from lib.fingerprint import UNKNOWN, Fingerprint
from lib.plan import AppliedMigration, Checkpoint, Interruption
from lib.report import Deployment, Outcome, Run, Source

UNDEFINED_TABLE, UNDEFINED_COLUMN, INSUFFICIENT_PRIVILEGE = "42P01", "42703", "42501"
# How a server refuses to tell its system_identifier: by rights, or, as Aurora refuses what concerns its WAL, by these.
_UNTOLD = (INSUFFICIENT_PRIVILEGE, "0A000", "55000")
# What a run's `error` ends with while a file outside a transaction is under way: the digest of what of it has run.
MARK = "Statements before it: "
MARK_WITH_IT = "; with it: "
_DIGEST = "([0-9]+, sha256 [0-9a-f]{64})"
COLUMNS = ("id", "version", "name", "applied_at", "execution_time_ms", "checksum")

_BIGINT = 1 << 63
_SYSTEM = "(select system_identifier from pg_catalog.pg_control_system())::text"
_READ_SERVER = """
select current_database(), current_setting('server_version'), {system},
       (select oid from pg_catalog.pg_database where datname = current_database())::text, pg_catalog.pg_backend_pid(),
       pg_catalog.version() ~* 'linux'
       or pg_catalog.version() ~* 'darwin|apple|bsd' and current_setting('server_version_num')::integer >= 150000
"""
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
       environment, in_progress_version, in_progress_statement, failed_version, sqlstate,
       pg_catalog.substring(error, {before}), pg_catalog.substring(error, {with_it})
  from public.schema_migration_runs
 where id = (select max(id) from public.schema_migration_runs) or outcome = 'running' or in_progress_version is not null
 order by id
"""
_READ_CLAIMS = """
select database_fingerprint from public.schema_migration_runs where environment = 'production'
 group by database_fingerprint order by max(id)
"""
_READ_ORIGINS = """
select file.version, git_commit, git_ref, deployment
  from public.schema_migration_runs, pg_catalog.unnest(applied) as file (version)
 order by id
"""


@dataclass(frozen=True)
class Survey:
    """What one look at the database tells. `ledger` is None where there is no table yet; `backend` is the server's pid.

    `claims` has what production has claimed, here and where it was copied from, the newest last. `is_direct` where the
    server itself has answered, or a proxy that gives each client a session of its own. `notices_departure` tells
    whether the server can be asked to look for its client while it works (`client_connection_check_interval`).
    `interruptions` has the files that a run left half-way, by version, and `origins` the deployments that applied the
    others, where they were asked for.
    """

    database: str
    server_version: str
    fingerprint: Fingerprint
    backend: str | None
    ledger: tuple[AppliedMigration, ...] | None
    runs_exist: bool
    last_run: Run | None
    unfinished_runs: tuple[Run, ...]
    claims: tuple[Fingerprint, ...]
    is_direct: bool = True
    notices_departure: bool = False
    interruptions: Mapping[str, Interruption] = field(default_factory=dict)
    origins: Mapping[str, Deployment] = field(default_factory=dict)

    @property
    def belongs_to_production(self) -> bool:
        return self.fingerprint.belongs_to(self.claims)


def take_survey(connection: Connection, target: ConnectionTarget, *, origins: bool = False) -> Survey:
    """Read all that a run needs and, with `origins`, what a status tells besides. Writes nothing.

    Raises LedgerError if `schema_migrations` is another tool's or may not be read.
    """
    try:
        answers = connection.query(joined(*_queries(_SYSTEM, origins=origins)))
    except ScriptError as error:
        if error.refusal.sqlstate not in (UNDEFINED_TABLE, UNDEFINED_COLUMN, *_UNTOLD):
            raise
        system = _SYSTEM if _tells_its_system(connection) else "null"
        answers = _read_one_by_one(connection, _queries(system, origins=origins))
    return _survey(connection, target, *answers)


def _queries(system: str, *, origins: bool) -> list[sql.Composable]:
    """What is asked: of the server, the catalog, the ledger, the journal, its claims and, if wanted, who applied what."""
    read_server = filled(_READ_SERVER, system=sql.SQL(system))
    read_runs = filled(_READ_RUNS, before=f"{MARK}{_DIGEST}", with_it=f"{MARK_WITH_IT}{_DIGEST}")
    others = (_READ_CLAIMS, _READ_ORIGINS) if origins else (_READ_CLAIMS,)
    return [read_server, sql.SQL(_READ_CATALOG), sql.SQL(_READ_LEDGER), read_runs, *map(sql.SQL, others)]


def _tells_its_system(connection: Connection) -> bool:
    try:
        connection.query(f"select {_SYSTEM}")
    except ScriptError as error:
        if error.refusal.sqlstate in _UNTOLD:
            return False
        raise
    return True


def _read_one_by_one(connection: Connection, queries: Sequence[sql.Composable]) -> list[Rows]:
    """The same answers where a table is missing, or isn't ours, or may not be read, which is told."""
    read_server, read_catalog, read_ledger, *read_runs = queries
    server, catalog = connection.query(joined(read_server, read_catalog))
    ledger = _read_if_there(connection, catalog, "schema_migrations", read_ledger)
    return [
        *(server, catalog, ledger),
        *(_read_if_there(connection, catalog, "schema_migration_runs", query) for query in read_runs),
    ]


def _read_if_there(connection: Connection, catalog: Rows, table: str, query: sql.Composable) -> Rows:
    columns = next((row[1] or "" for row in catalog if row[0] == table), None)
    if columns is None:
        return []
    try:
        return connection.query(joined(query))[0]
    except ScriptError as error:
        if error.refusal.sqlstate in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise LedgerError(_foreign(table, columns.split(","))) from None
        if error.refusal.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise LedgerError(
                f"The role may not read public.{table}: grant usage on schema public, and "
                f"grant select on public.{table}, to it."
            ) from None
        raise


def _survey(
    connection: Connection,
    target: ConnectionTarget,
    server: Rows,
    catalog: Rows,
    ledger: Rows,
    runs: Rows,
    claims: Rows,
    *origins: Rows,
) -> Survey:
    tables = {row[0]: (row[1] or "").split(",") for row in catalog}
    if "schema_migrations" in tables and not set(COLUMNS) <= set(tables["schema_migrations"]):
        raise LedgerError(_foreign("schema_migrations", tables["schema_migrations"]))
    database, version, system, oid, backend, notices_departure = server[0]
    known = [_run(row) for row in runs]
    applied = tuple(map(_applied, ledger)) if "schema_migrations" in tables else None
    return Survey(
        database=database or "",
        server_version=(version or "").split()[0],
        fingerprint=Fingerprint(system or UNKNOWN, oid or "", target.branch),
        backend=backend,
        ledger=applied,
        runs_exist="schema_migration_runs" in tables,
        last_run=known[-1] if known else None,
        unfinished_runs=tuple(run for run in known if run.outcome == "running"),
        claims=tuple(Fingerprint.parse(row[0] or "") for row in claims),
        is_direct=connection.announced_backend == backend or target.is_known_direct,
        notices_departure=notices_departure == "t",
        interruptions=_interruptions(runs, {migration.version for migration in applied or ()}),
        origins={version or "": Deployment(*deployment) for rows in origins for version, *deployment in rows},
    )


def _interruptions(runs: Rows, applied: set[str]) -> dict[str, Interruption]:
    """The newest word on each file that some run left half-way."""
    found: dict[str, Interruption] = {}
    for row in runs:
        version, statement, failed_version, sqlstate, ran_before, with_it = row[7:]
        if version is not None and version not in applied:
            in_doubt = failed_version is None
            checkpoint = Checkpoint(version, whole(statement) or 1, ran_before or "", with_it or "", in_doubt=in_doubt)
            found[version] = Interruption(whole(row[0]) or 0, checkpoint, sqlstate)
    return found


def _run(row: Row) -> Run:
    number, outcome, source, started_at, finished_at, commit, environment = row[:7]
    return Run(
        id=whole(number) or 0,
        outcome=cast(Outcome, outcome),
        source=cast(Source, source),
        started_at=_moment(started_at) or datetime.fromtimestamp(0, UTC),
        finished_at=_moment(finished_at),
        commit=commit,
        environment=environment or "",
    )


def _applied(row: Row) -> AppliedMigration:
    version, name, applied_at, execution_time_ms, checksum = row
    return AppliedMigration(version or "", name or "", _moment(applied_at), whole(execution_time_ms), checksum)


def whole(number: str | None) -> int | None:
    """A number as the server writes it, rounded; None where there is none (NaN, a text), or one past a bigint."""
    try:
        found = 0 if number is None else int(number)
    except ValueError:
        found = _BIGINT
        with suppress(ValueError, OverflowError):
            found = round(float(number or ""))
    return None if number is None or abs(found) >= _BIGINT else found


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
