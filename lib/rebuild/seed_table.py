"""The table of the seeds that have run, `schema_migration_seeds`: created, read, written.

It is created when the first seed runs, and trusted as the runner's other tables are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..errors import LedgerError
from ..files.folder import MigrationFile
from ..ledger.ledger_state import INSUFFICIENT_PRIVILEGE, whole
from ..ledger.records import (
    ELAPSED_IN_TRANSACTION,
    guarded_record,
    own_settings,
    run_is_there,
)
from ..ledger.runs import RunRecord
from ..ledger.schema import closing
from ..ledger.table_trust import Tables, check_seeds, distrust, tables_of
from ..own_tables import SEEDS

COLUMNS = ("id", "name", "checksum", "applied_at", "execution_time_ms")
# A content that has run once is never run again, whatever its file is called.
_CREATE = f"""
create table public.{SEEDS} (
    id bigint generated always as identity primary key,
    name text not null,
    checksum text not null unique,
    applied_at timestamptz not null default pg_catalog.clock_timestamp(),
    execution_time_ms integer
)
"""
_LOCK = f"lock table public.{SEEDS} in row exclusive mode"
_LOCK_TO_READ = f"lock table public.{SEEDS} in access share mode"
_READ = f"select name, checksum, extract(epoch from applied_at) from public.{SEEDS} order by id"
_INSERT = f"""
insert into public.{SEEDS} (name, checksum, execution_time_ms)
values ({{name}}, {{checksum}}, {ELAPSED_IN_TRANSACTION})
"""
# The proof: a rule or a trigger may have done something else in place of the insert.
_PROOF = f"""
select coalesce(
    (select s.execution_time_ms from public.{SEEDS} s
      where s.name = {{name}} and s.checksum = {{checksum}} and {{run_is_there}}),
    (jsonb_build_object('fault', case when {{run_is_there}} then 'unrecorded' else 'emptied' end)
     ::text)::integer)
"""
_FIND = f"""
select checksum, execution_time_ms from public.{SEEDS} where checksum = any ({{checksums}}::text[])
"""


@dataclass(frozen=True)
class SeedRecords:
    """The rows of the table. `applied` has the times by checksum, `names` those that have run.

    `tables` is without the table if there is none yet.
    """

    tables: Tables
    applied: Mapping[str, datetime | None]
    names: frozenset[str]

    def find(self, seed: MigrationFile) -> str | None:
        """The checksum by which the seed's content is on record, if it is."""
        if seed.checksum in self.applied:
            return seed.checksum
        # Git may have converted the line ends since.
        return next((each for each in seed.checksums if each in self.applied), None)

    def verify_rights(self) -> None:
        """Raise LedgerError, with the grants that are needed, if the role may not write."""
        lacking = [right for table in self.tables.found.values() for right in table.lacking]
        if lacking:
            raise LedgerError(
                f"The role may not write to public.{SEEDS}: no seed was applied. Grant it, as the "
                f"table's owner: grant {', '.join(lacking)} on public.{SEEDS} to ROLE."
            )


def read_records(connection: Connection, trusted: Sequence[str]) -> SeedRecords:
    """Read the table. Writes nothing; LedgerError if the table cannot be trusted, or read."""
    try:
        # By the catalog first: a query on a table that is not there would fail.
        look = connection.query(joined(check_seeds(trusted)), read_only=True)[0]
        tables = tables_of(look, trusted, at_a_glance=False)
        if SEEDS not in tables.found:
            return SeedRecords(tables, {}, frozenset())
        _verify_columns(tables)
        message = joined(_LOCK_TO_READ, check_seeds(trusted), _READ)
        rows = connection.query(message, read_only=True)[-1]
    except StatementError as error:
        raise distrust(error) or _unreadable(error) or error from None
    return SeedRecords(
        tables,
        {checksum or "": _moment(epoch) for _, checksum, epoch in rows},
        frozenset(name or "" for name, *_ in rows),
    )


def create_table(connection: Connection, trusted: Sequence[str], reader: str | None) -> None:
    """Create the table, closed to all but its owner and readable for `reader`.

    LedgerError, with the grant that is needed, if the role may not.
    """
    try:
        connection.query(joined(_CREATE, closing([SEEDS], reader), check_seeds(trusted)))
    except StatementError as error:
        if error.server_error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise LedgerError(
            f"The role may not create public.{SEEDS}, where it is recorded which seeds have run: "
            "no seed was applied. Grant it, as the owner of the schema or of the database: "
            "grant create on schema public to ROLE."
        ) from None


def seed_record(run: RunRecord, seed: MigrationFile, *, is_counted: bool) -> tuple[str, ...]:
    """The SQL that records a seed in its own transaction; the last returns the milliseconds."""
    row = {"name": seed.name, "checksum": seed.checksum}
    write = (
        sql.SQL(_LOCK),
        # Under the lock, so that nobody puts a trigger there between the check and the insert.
        check_seeds(run.tables.trusted),
        filled(_INSERT, **row),
        own_settings(),
    )
    proof = filled(_PROOF, run_is_there=run_is_there(run), **row)
    return guarded_record(run, write, proof, is_counted=is_counted)


def find_seeds(connection: Connection, run: RunRecord, checksums: Sequence[str]) -> dict[str, int]:
    """Which of the contents are on record: by checksum, the milliseconds in the row."""
    find = filled(_FIND, checksums=list(checksums))
    message = joined(_LOCK_TO_READ, check_seeds(run.tables.trusted), find)
    rows = connection.query(message, read_only=True)[-1]
    return {str(checksum): whole(elapsed) or 0 for checksum, elapsed in rows}


def _verify_columns(tables: Tables) -> None:
    columns = tables.found[SEEDS].columns
    if not set(COLUMNS) <= set(columns):
        raise LedgerError(
            f"public.{SEEDS} is not this runner's table (its columns: {', '.join(columns)}). It "
            "was left untouched; rename it."
        )


def _unreadable(error: StatementError) -> LedgerError | None:
    if error.server_error.sqlstate != INSUFFICIENT_PRIVILEGE:
        return None
    return LedgerError(
        f"The role may not read public.{SEEDS}. Grant it, as the table's owner: "
        f"grant select on public.{SEEDS} to ROLE."
    )


def _moment(epoch: str | None) -> datetime | None:
    try:
        return None if epoch is None else datetime.fromtimestamp(float(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        return None
