"""One look at a database: the server, the ledger, the journal, and whether it is production's.

A look is one read-only message that leaves nothing in the session. The catalog is asked for both
tables before they are read, so a look creates nothing and needs no right. If a table cannot be
trusted (`ledger.table_trust`), the message fails before the table is read. If something has to be
weighed, the look takes a second message.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import starmap
from typing import Any

from psycopg import sql

from .. import COMMAND
from ..database.connection import Connection
from ..database.read_only import STANDBY
from ..database.send_and_receive import Row, Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..deployment import Deployment
from ..errors import ForeignLedgerError, LedgerError
from ..files.file_progress import (
    LONGEST_MARKS,
    Checkpoint,
    Interruption,
    StatementDigest,
    read_marks,
)
from ..own_tables import LEDGER, RUNS
from ..plan.blockers import Blocker
from ..plan.migration_states import AppliedMigration
from ..plan.reports import PastRun, Renumbered, Run
from ..settings.connection_target import ConnectionTarget
from ..tool_words import adopted_as
from .fingerprint import UNKNOWN, Fingerprint
from .schema import ADDED_COLUMNS, RARE_COLUMNS
from .table_trust import Table, Tables, check, distrust, glance, tables_of, told_by
from .trust_queries import LOCK_TO_READ

UNDEFINED_TABLE, UNDEFINED_COLUMN, INSUFFICIENT_PRIVILEGE = "42P01", "42703", "42501"
# How a server refuses its system_identifier: insufficient_privilege, or, as Aurora refuses what
# concerns its WAL, feature_not_supported or object_not_in_prerequisite_state.
_UNTOLD = (INSUFFICIENT_PRIVILEGE, "0A000", "55000")
COLUMNS = ("id", "version", "name", "applied_at", "execution_time_ms", "checksum")

_BIGINT = 1 << 63
# Equal in all databases of one cluster, and in physical copies of it: see `fingerprint`.
_SYSTEM = "(select system_identifier from pg_catalog.pg_control_system())::text"
_READ_SERVER = """
select current_database(), current_setting('server_version'), {system},
       (select oid from pg_catalog.pg_database where datname = current_database())::text,
       pg_catalog.pg_backend_pid(),
       pg_catalog.version() ~* 'linux'
       or pg_catalog.version() ~* 'darwin|apple|bsd'
      and current_setting('server_version_num')::integer >= 150000,
       case when pg_catalog.pg_is_in_recovery() then {standby}
            when current_setting('default_transaction_read_only') = 'on'
            then (select source from pg_catalog.pg_settings
                   where name = 'default_transaction_read_only') end
"""
_READ_BACKEND = "select pg_catalog.pg_backend_pid()"
_READ_LEDGER = """
select version, name, extract(epoch from applied_at), execution_time_ms, checksum
  from public.schema_migrations order by id
"""
_LATER_COLUMNS = {**RARE_COLUMNS, **ADDED_COLUMNS}
# The journal, also of an earlier version: a name that the table does not have refers to the query
# around it (PostgreSQL manual, "LATERAL Subqueries"), where each added column is null.
_JOURNAL = f"""
(select {", ".join(f"null::{kind} as {name}" for name, kind in _LATER_COLUMNS.items())}) as absent
cross join lateral (
    select id, outcome, source, started_at, finished_at, git_commit, git_ref, deployment,
           environment, applied, in_progress_version, in_progress_statement, failed_version, error,
           sqlstate, {", ".join(_LATER_COLUMNS)}
      from public.schema_migration_runs) as r
"""
# So much of the text of a failure as the first screen of a terminal can show, in characters.
_LONGEST_ERROR = 4000
# Between the names of an array. JSON would not do: to_json calls casts that somebody has made.
_SEPARATOR = "\x1f"
_READ_RUNS = f"""
select id, outcome, source, extract(epoch from started_at), extract(epoch from finished_at),
       git_commit, environment, in_progress_version, in_progress_statement, failed_version,
       sqlstate, r.in_progress_in_doubt,
       r.in_progress_completed, r.in_progress_completed_sha256,
       r.in_progress_including_next, r.in_progress_including_next_sha256,
       case when r.in_progress_completed_sha256 is null then "right"(error, {LONGEST_MARKS}) end,
       case when outcome in ('failed', 'interrupted') then "left"(error, {_LONGEST_ERROR}) end
  from {_JOURNAL}
 where id = (select max(id) from public.schema_migration_runs) or outcome = 'running'
    or in_progress_version is not null
 order by id
"""
_READ_CLAIMS = """
select database_fingerprint from public.schema_migration_runs where environment = 'production'
 group by database_fingerprint order by max(id)
"""
# `applied` is written at a run's end. Until then, and where an earlier version has ended the run,
# its files are the ledger's rows between two runs; a later run that names a file overrides that.
_READ_ORIGINS = f"""
select version, git_commit, git_ref, deployment from (
    select id, version, git_commit, git_ref, deployment
      from public.schema_migration_runs, unnest(applied) as file (version)
    union all
    select r.id, m.version, git_commit, git_ref, deployment
      from (select r.*, min(r.ledger_id_before) over later as ledger_id_after from {_JOURNAL}
            window later as (order by id rows between 1 following and unbounded following)) as r
      join public.schema_migrations m on m.id > r.ledger_id_before and m.checksum is not null
       and (r.ledger_id_after is null or m.id <= r.ledger_id_after)
     where outcome in ('running', 'interrupted') and applied = '{{}}'
) as origin
 order by id
"""
# The last verdict, of a run or of somebody who has looked since.
_READ_DRIFT = f"""
select r.drift from {_JOURNAL} where r.drift_checked_at is not null
 order by r.drift_checked_at desc, id desc limit 1
"""
# The newest runs. The files of one that did not record them are those of the ledger, as above.
_READ_HISTORY = f"""
select id, outcome, source, extract(epoch from started_at), extract(epoch from finished_at),
       git_commit, environment, failed_version, sqlstate, error, git_ref, deployment,
       in_progress_version,
       array_to_string(case when outcome in ('running', 'interrupted') and applied = '{{{{}}}}' then
                   (select array_agg(m.version::text order by m.id)
                      from public.schema_migrations m
                     where m.id > ledger_id_before and m.checksum is not null
                       and (ledger_id_after is null or m.id <= ledger_id_after))
               else applied end, {{separator}}),
       array_to_string(renumbered, {{separator}})
  from (select newest.*, min(ledger_id_before) over later as ledger_id_after
          from (select r.* from {_JOURNAL} order by id desc limit {{limit}}) as newest
        window later as (order by id rows between 1 following and unbounded following)) as run
 order by id desc
"""
# The sessions that hold, or wait for, a lock against reading the tables, and those they wait for.
_READ_LOCKERS = """
with locks as (
    select l.pid, l.granted
      from pg_catalog.pg_locks l join pg_catalog.pg_class c on c.oid = l.relation
     where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
       and l.pid is distinct from pg_catalog.pg_backend_pid()
       and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
       and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = 'public')
       and c.relname in ('schema_migrations', 'schema_migration_runs')
), pids as (
    select pid from locks
    union
    select pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) from locks where not granted
)
select pid, extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::integer,
       a.application_name, a.state
  from pids left join pg_catalog.pg_stat_activity a using (pid)
 order by a.xact_start limit 5
"""


@dataclass(frozen=True)
class Survey:
    """The result of one look at the database.

    `backend` is the pid of the server process; `ledger` is None if there is no table yet. `claims`
    are those of production, also of databases that this one was copied from, the newest last.
    `is_direct` if the server itself answered, or a proxy that gives each client its own session.
    `notices_departure` if the server can watch for its client while it works
    (client_connection_check_interval). `read_only` is why the database accepts no writes, as
    `database.read_only` has it, or None. `interruptions` are by version, as are `origins`. These,
    and `history`, the newest runs first, are empty unless asked for. `drift`, asked for with the
    `origins`, is the last verdict on record, None for "unknown" too.
    """

    database: str
    server_version: str
    fingerprint: Fingerprint
    backend: str | None
    tables: Tables
    ledger: tuple[AppliedMigration, ...] | None
    last_run: Run | None
    unfinished_runs: tuple[Run, ...]
    claims: tuple[Fingerprint, ...]
    is_direct: bool = True
    notices_departure: bool = False
    read_only: str | None = None
    interruptions: Mapping[str, Interruption] = field(default_factory=dict)
    origins: Mapping[str, Deployment] = field(default_factory=dict)
    history: tuple[PastRun, ...] = ()
    drift: bool | None = None


def take_survey(
    connection: Connection,
    target: ConnectionTarget,
    trusted: Sequence[str] = (),
    *,
    origins: bool = False,
    history: int = 0,
    may_lack_tables: bool = False,
    passes_over_others: bool = False,
) -> Survey:
    """Read all that a run needs and, with `origins`, what a status shows besides. Writes nothing.

    `history` is the number of past runs to read, in place of the `origins`.
    `trusted` names the roles whose tables are trusted besides the usual. `may_lack_tables` if they
    were missing a moment ago: then the catalog is asked first. With `passes_over_others`, a ledger
    that belongs to another tool counts as none. Raises LedgerError if a table belongs to another
    tool, may not be read, or cannot be trusted.
    """
    glance = _Look(
        trusted,
        origins=origins,
        history=history,
        at_a_glance=True,
        passes_over_others=passes_over_others,
    )
    # A glance that fails costs a second round trip; here it would surely fail.
    if may_lack_tables:
        weighed = replace(glance, at_a_glance=False)
        with suppress(StatementError):
            # What fails here is recognized below.
            return _survey(connection, target, weighed, _read_one_by_one(connection, weighed))
    # The glance succeeds for nearly all; only roles and rights that have to be weighed need more.
    for look in (glance, replace(glance, at_a_glance=False)):
        try:
            return _survey(
                connection, target, look, connection.query(joined(*look.queries), read_only=True)
            )
        except StatementError as error:
            if look.at_a_glance and told_by(error).get("fault") == "any":
                continue
            if error.server_error.sqlstate not in (
                UNDEFINED_TABLE,
                UNDEFINED_COLUMN,
                *_UNTOLD,
            ) and not told_by(error):
                raise
            # The server was asked first: what failed otherwise came after that.
            is_told = error.server_error.sqlstate not in _UNTOLD or _tells_its_system(connection)
            break
    look = replace(look, at_a_glance=False, system=_SYSTEM if is_told else "null")
    return _survey(connection, target, look, _read_one_by_one(connection, look))


def read_backend(connection: Connection) -> str | None:
    """The pid of the server process that serves this connection at the moment."""
    return connection.query(_READ_BACKEND)[0][0][0]


def read_lockers(connection: Connection) -> tuple[Blocker, ...]:
    """The sessions that keep the ledger or the journal from being read at the moment."""
    return tuple(
        Blocker(int(pid or 0), None if seconds is None else int(seconds), application, state)
        for pid, seconds, application, state in connection.query(_READ_LOCKERS, read_only=True)[0]
    )


@dataclass(frozen=True)
class _Look:
    """The statements of one look.

    With `origins`, also which deployment applied which file; with `history`, so many past runs.
    """

    trusted: Sequence[str]
    origins: bool
    history: int
    at_a_glance: bool
    system: str = _SYSTEM
    passes_over_others: bool = False

    def tables_in(self, rows: Rows) -> Tables:
        """The tables of the catalog's rows."""
        tables = tables_of(rows, self.trusted, at_a_glance=self.at_a_glance)
        ledger = tables.found.get(LEDGER)
        if self.passes_over_others and ledger and not _is_ours(ledger):
            found = {name: table for name, table in tables.found.items() if name != LEDGER}
            return replace(tables, found=found)
        return tables

    @property
    def server(self) -> sql.Composed:
        return filled(_READ_SERVER, system=sql.SQL(self.system), standby=STANDBY)

    @property
    def tables(self) -> sql.Composed:
        return (
            glance(self.trusted, writes=not (self.origins or self.history))
            if self.at_a_glance
            else check(self.trusted)
        )

    @property
    def ledger(self) -> sql.SQL:
        return sql.SQL(_READ_LEDGER)

    @property
    def journal(self) -> list[sql.Composable]:
        others: list[sql.Composable] = []
        if self.origins:
            others = [sql.SQL(_READ_ORIGINS), sql.SQL(_READ_DRIFT)]
        if self.history:
            others = [filled(_READ_HISTORY, limit=self.history, separator=_SEPARATOR)]
        return [sql.SQL(_READ_RUNS), sql.SQL(_READ_CLAIMS), *others]

    @property
    def queries(self) -> list[sql.Composable]:
        return [self.server, sql.SQL(LOCK_TO_READ), self.tables, self.ledger, *self.journal]


def _tells_its_system(connection: Connection) -> bool:
    try:
        connection.query(f"select {_SYSTEM}", read_only=True)
    except StatementError as error:
        if error.server_error.sqlstate in _UNTOLD:
            return False
        raise
    return True


def _read_one_by_one(connection: Connection, look: _Look) -> list[Rows]:
    """Read the same if a table is missing; LedgerError if it is foreign or may not be read."""
    try:
        server, tables = connection.query(joined(look.server, look.tables), read_only=True)
    except StatementError as error:
        raise distrust(error) or error from None
    # By the catalog, since a query on a missing table would fail, and with it the whole message.
    found = look.tables_in(tables).found

    def read(query: sql.Composable, *names: str) -> Rows:
        if not all(name in found for name in names):
            return []
        lock = f"lock table {', '.join(f'public.{name}' for name in names)} in access share mode"
        return _read(connection, found[names[-1]], joined(lock, look.tables, query))

    runs, claims, *others = look.journal
    return [
        server,
        tables,
        read(look.ledger, LEDGER),
        *(read(query, RUNS) for query in (runs, claims)),
        *(read(query, LEDGER, RUNS) for query in others),
    ]


def _read(connection: Connection, table: Table, message: sql.Composed) -> Rows:
    try:
        return connection.query(message, read_only=True)[-1]
    except StatementError as error:
        # The table has the name of the runner's, and other columns.
        if error.server_error.sqlstate in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise _foreign(table.name, table.columns) from None
        if error.server_error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise LedgerError(
                f"The role may not read public.{table.name}. Grant it, as the tables' owner: "
                "grant usage on schema public to ROLE; "
                f"grant select on public.{LEDGER} to ROLE; grant select on public.{RUNS} to ROLE."
            ) from None
        raise distrust(error) or error from None


def _survey(
    connection: Connection, target: ConnectionTarget, look: _Look, answers: Sequence[Rows]
) -> Survey:
    server, catalog, ledger, runs, claims, *others = answers
    tables = look.tables_in(catalog)
    kept = tables.found.get(LEDGER)
    if kept and not _is_ours(kept):
        raise _foreign(LEDGER, kept.columns)
    database, version, system, oid, backend, notices_departure, read_only = server[0]
    known = [_run(row) for row in runs]
    applied = tuple(map(_applied, ledger)) if kept else None
    return Survey(
        database=database or "",
        server_version=(version or "").split()[0],
        fingerprint=Fingerprint(system or UNKNOWN, oid or "", target.branch),
        backend=backend,
        tables=tables,
        ledger=applied,
        last_run=known[-1] if known else None,
        unfinished_runs=tuple(run for run in known if run.outcome == "running"),
        claims=tuple(Fingerprint.parse(row[0] or "") for row in claims),
        is_direct=connection.announced_backend == backend or target.is_known_direct,
        notices_departure=notices_departure == "t",
        read_only=read_only,
        interruptions=_interruptions(runs, {migration.version for migration in applied or ()}),
        origins=_origins(others[0]) if look.origins else {},
        drift=_verdict(others[1]) if look.origins else None,
        history=tuple(_past_run(row) for rows in others for row in rows) if look.history else (),
    )


def _is_ours(ledger: Table) -> bool:
    return set(COLUMNS) <= set(ledger.columns)


def _origins(rows: Rows) -> dict[str, Deployment]:
    return {version or "": Deployment(*deployment) for version, *deployment in rows}


def _verdict(rows: Rows) -> bool | None:
    return rows[0][0] == "t" if rows and rows[0][0] is not None else None


def _interruptions(runs: Rows, applied: set[str]) -> dict[str, Interruption]:
    """The newest interruption of each file that a run left half-way."""
    found: dict[str, Interruption] = {}
    # In the order of the runs, so that a later one replaces an earlier one.
    for row in runs:
        version, statement, failed_version, sqlstate, in_doubt, *digests, marks, _ = row[7:]
        if version is None or version in applied:
            continue
        completed, including_next = _digest(*digests[:2]), _digest(*digests[2:])
        if completed is None:
            completed, including_next = read_marks(marks)
        checkpoint = Checkpoint(
            version,
            whole(statement) or 1,
            completed,
            including_next,
            # A verdict by hand, as an earlier version asks for it, fills `failed_version`.
            in_doubt=failed_version is None and in_doubt != "f",
        )
        found[version] = Interruption(whole(row[0]) or 0, checkpoint, sqlstate)
    return found


def _digest(count: str | None, sha256: str | None) -> StatementDigest | None:
    number = whole(count)
    return None if number is None or sha256 is None else StatementDigest(number, sha256)


def _run(row: Row) -> Run:
    # What is in progress there concerns the files, and not the run.
    return Run(**_of_run(*row[:7], failed_version=row[9], sqlstate=row[10], error=row[-1]))


def _past_run(row: Row) -> PastRun:
    failed_version, sqlstate, error, ref, deployment, in_progress_version, *names = row[7:]
    applied, renumbered = map(_names, names)
    return PastRun(
        **_of_run(*row[:7], failed_version=failed_version, sqlstate=sqlstate, error=error),
        ref=ref,
        deployment=deployment,
        in_progress_version=in_progress_version,
        applied=applied,
        renumbered=tuple(starmap(Renumbered, zip(renumbered[::2], renumbered[1::2], strict=False))),
    )


def _names(joined_names: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (joined_names or "").split(_SEPARATOR)))


def _of_run(
    number: str | None,
    outcome: str | None,
    source: str | None,
    started_at: str | None,
    finished_at: str | None,
    commit: str | None,
    environment: str | None,
    **failure: str | None,
) -> dict[str, Any]:
    return {
        "id": whole(number) or 0,
        "outcome": outcome,
        "source": source,
        "started_at": _moment(started_at) or datetime.fromtimestamp(0, UTC),
        "finished_at": _moment(finished_at),
        "commit": commit,
        "environment": environment or "",
        **failure,
    }


def _applied(row: Row) -> AppliedMigration:
    version, name, applied_at, execution_time_ms, checksum = row
    return AppliedMigration(
        version or "", name or "", _moment(applied_at), whole(execution_time_ms), checksum
    )


def whole(number: str | None) -> int | None:
    """A number as the server writes it, rounded; None for NaN, a text, or one past a bigint."""
    try:
        # A ledger of another tool may have numeric or text where the runner has integer.
        found = 0 if number is None else int(number)
    except ValueError:
        found = _BIGINT
        with suppress(ValueError, OverflowError):
            found = round(float(number or ""))
    return None if number is None or abs(found) >= _BIGINT else found


def _moment(epoch: str | None) -> datetime | None:
    """Seconds since 1970 as a time, whatever DateStyle is; None for infinity or a time BC."""
    try:
        return None if epoch is None else datetime.fromtimestamp(float(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _foreign(table: str, columns: Sequence[str]) -> ForeignLedgerError:
    shape = frozenset(columns)
    whose, tools = _LOOKS_LIKE.get(shape, ("another tool's", ()))
    return ForeignLedgerError(
        f"public.{table} is not this runner's table; it looks like {whose} "
        f"(its columns: {', '.join(columns)}). It was left untouched. "
        f"{_adopting(tools)}se a database of its own for these migrations, or rename that table "
        "if its tool is no longer in use.",
        tools=tools,
    )


def _adopting(tools: Sequence[str]) -> str:
    words = dict.fromkeys(map(adopted_as, tools))
    commands = " or ".join(f"`{COMMAND} adopt {word}`" for word in words)
    return f"{commands} carries its history on. Or u" if words else "U"


# Whose it looks like, and what a header calls these tools.
_LOOKS_LIKE = {
    frozenset({"version"}): ("that of Rails or dbmate", ("dbmate", "rails")),
    frozenset({"version", "dirty"}): ("golang-migrate's", ("golang-migrate",)),
    frozenset({"version", "inserted_at"}): ("Ecto's", ("ecto",)),
    frozenset({"version", "statements", "name"}): ("the Supabase command line's", ("supabase",)),
}
