"""The table that keeps the newest recorded schema, `schema_migration_objects`: one row.

It is trusted as the runner's other tables are, but only if its owner is trusted: whoever reads the
key could try out which secret a hash is of. An older bundle takes no notice of it, so what the
journal has after the row's run decides whether the schema may be compared at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled
from ..duration import milliseconds
from ..errors import DatabaseUnavailableError
from ..ledger.ledger_state import INSUFFICIENT_PRIVILEGE, UNDEFINED_TABLE, whole
from ..ledger.schema import closing
from ..ledger.table_trust import Tables, ask, check_objects, distrust, tables_of, told_by
from ..own_tables import OBJECTS
from ..time_limits import SNAPSHOT
from .schema_hashes import HashedSchema, PackedSchema, UnreadableRecordError
from .verdict import Recorded

DUPLICATE_TABLE, UNDEFINED_COLUMN, LOCK_NOT_AVAILABLE = "42P07", "42703", "55P03"
# `objects` has the kinds and identities, compressed, in the order of the hashes: as arrays they
# would take ten times as much, and be written anew by every run.
_CREATE = f"""
create table public.{OBJECTS} (
    id integer primary key,
    run_id bigint not null,
    taken_at timestamptz not null,
    server_version_num integer not null,
    ledger_id bigint not null,
    form text not null,
    key bytea not null,
    objects bytea not null,
    hashes bytea not null
)
"""
_LOCK = f"lock table public.{OBJECTS} in row exclusive mode"
_LOCK_TO_READ = f"lock table public.{OBJECTS} in access share mode"
# A later run of an older bundle, one that was killed, or one that could not record the schema.
# A run that has succeeded and applied nothing, as production's claim, has changed nothing.
_READ = f"""
select run_id, extract(epoch from taken_at), server_version_num, form, behind,
       case when behind is null then encode(key, 'base64') end,
       case when behind is null then encode(objects, 'base64') end,
       case when behind is null then encode(hashes, 'base64') end
  from (select o.*, coalesce(
                   (select case r.outcome when 'running' then 'running' else 'run' end
                      from public.schema_migration_runs r
                     where r.id > o.run_id and (r.outcome <> 'succeeded' or r.applied <> '{{}}')
                     order by r.id desc limit 1),
                   (select 'ledger' from public.schema_migrations
                     where id > o.ledger_id limit 1)) as behind
          from public.{OBJECTS} o where o.id = 1) as record
"""
# Not once another run has begun, whose files the schema may hold by now.
_WRITE = f"""
insert into public.{OBJECTS}
       (id, run_id, taken_at, server_version_num, ledger_id, form, key, objects, hashes)
select 1, {{run}}, pg_catalog.clock_timestamp(), {{version}},
       (select coalesce(max(id), 0) from public.schema_migrations), {{form}},
       decode({{key}}, 'base64'), decode({{objects}}, 'base64'), decode({{hashes}}, 'base64')
 where not exists (select from public.schema_migration_runs where id > {{run}})
on conflict (id) do update
   set run_id = excluded.run_id, taken_at = excluded.taken_at,
       server_version_num = excluded.server_version_num, ledger_id = excluded.ledger_id,
       form = excluded.form, key = excluded.key, objects = excluded.objects,
       hashes = excluded.hashes
returning id
"""
_CONFIRM = f"""
update public.{OBJECTS} set run_id = {{run}}
 where id = 1 and ledger_id = (select coalesce(max(id), 0) from public.schema_migrations)
   and not exists (select from public.schema_migration_runs where id > {{run}})
returning id
"""
_RIGHTS = (
    f"Grant it, as the table's owner: grant select, insert, update on public.{OBJECTS} to ROLE."
)
_MAY_NOT_CREATE = (
    f"The role may not create public.{OBJECTS}. Grant it, as the owner of the schema or of the "
    "database: grant create on schema public to ROLE; or set MIGRATION_DRIFT=off."
)
_BEHIND = {
    "running": "a run is under way, or its runner is gone",
    "run": "a later run has not recorded the schema: it could not, it was killed, or it is of an "
    "earlier version",
    "ledger": "files were recorded as applied since, by `baseline` or by an earlier version",
}
_NAME_TAKEN = f"something else in schema public has the name {OBJECTS}_pkey: rename it."
_TOO_LATE = "the database did not answer in time."
_EARLIER = "no run has recorded its schema yet."


@dataclass(frozen=True)
class Record:
    """What the table holds: a schema, or the reason why there is none to compare with.

    `exists` says whether there is a table, None if that is not known. `closing` is the statement
    that takes away rights which others have on the table.
    """

    schema: HashedSchema | None
    reason: str = ""
    since: Recorded | None = None
    exists: bool | None = True
    closing: str = ""

    @property
    def advice(self) -> tuple[str, ...]:
        """A warning if others may write to the table."""
        if not self.closing:
            return ()
        return (
            f"Others than its owner have rights on public.{OBJECTS}, by which a change of the "
            f"schema can be hidden. Close it: {self.closing};",
        )


def read_record(connection: Connection, tables: Tables, form: str) -> Record:
    """Read the table, and whether the schema in it is still that of the newest run.

    `form` says how a definition is written: one in another form cannot be compared.

    Raises what does not concern this table, such as the loss of the connection.
    """
    limit = f"set local lock_timeout = {milliseconds(SNAPSHOT)}"
    message = (limit, _LOCK_TO_READ, check_objects(tables.trusted), _READ)
    try:
        with connection.limit_to(2 * SNAPSHOT, _TOO_LATE):
            answers = ask(connection, tables, *message, read_only=True)
    except DatabaseUnavailableError:
        # A connection that is still open was put in order: the server answers, only not this.
        if connection.is_closed:
            raise
        return Record(None, _TOO_LATE, exists=None)
    except StatementError as error:
        return Record(None, _why_not(error), exists=_existence(error))
    record = _record(answers[-1], connection.server_version, form)
    tables_found = tables_of(answers[-2], tables.trusted, at_a_glance=False).found
    return replace(record, closing=tables_found[OBJECTS].closing)


def _record(rows: Rows, server_version: int, form: str) -> Record:
    if not rows:
        return Record(None, _EARLIER)
    run, epoch, version, found_form, behind, *packed = rows[0]
    since = Recorded(whole(run) or 0, _moment(epoch))
    if behind:
        return Record(None, f"{_BEHIND[behind]}.", since)
    if whole(version) != server_version:
        return Record(None, "the server has another version since.", since)
    if found_form != form:
        return Record(None, "another version of the bundle has recorded it.", since)
    try:
        schema = HashedSchema.unpack(PackedSchema(*(each or "" for each in packed)))
    except UnreadableRecordError:
        return Record(None, f"the row in public.{OBJECTS} is damaged.", since)
    return Record(schema, since=since)


def write_record(
    connection: Connection,
    tables: Tables,
    run: int,
    schema: HashedSchema,
    form: str,
    *,
    exists: bool | None,
) -> str | None:
    """Replace the recorded schema by that of `run`; return why it could not be, or None.

    `form` as of `read_record`. `exists` says whether there is a table, None if that is not known.
    Raises as `read_record`.
    """
    packed = schema.pack()
    write = filled(
        _WRITE,
        run=run,
        version=connection.server_version,
        form=form,
        key=packed.key,
        objects=packed.objects,
        hashes=packed.hashes,
    )
    creation = (sql.SQL(_CREATE), closing([OBJECTS], None))

    def attempt(*, is_new: bool) -> list[Rows]:
        return _write(connection, tables, write, creation if is_new else ())

    return _reason_against(lambda: _either(attempt, is_new=exists is False))


def confirm_record(connection: Connection, tables: Tables, run: int) -> str | None:
    """Take the recorded schema as that of `run` too, which has changed nothing."""
    confirm = filled(_CONFIRM, run=run)
    return _reason_against(lambda: _write(connection, tables, confirm))


def _write(
    connection: Connection,
    tables: Tables,
    write: sql.Composable,
    creation: Sequence[sql.Composable] = (),
) -> list[Rows]:
    limit = f"set local lock_timeout = {milliseconds(SNAPSHOT)}"
    check = check_objects(tables.trusted)
    return ask(connection, tables, limit, *creation, _LOCK, check, write)


def _either(attempt: Callable[..., list[Rows]], *, is_new: bool) -> list[Rows]:
    """Write, with the other idea of whether there is a table if the first one is wrong."""
    try:
        return attempt(is_new=is_new)
    except StatementError as error:
        wrong = DUPLICATE_TABLE if is_new else UNDEFINED_TABLE
        if error.server_error.sqlstate != wrong:
            raise
    return attempt(is_new=not is_new)


def _reason_against(write: Callable[[], list[Rows]]) -> str | None:
    """Write, and return why nothing was written, or None."""
    try:
        answers = write()
    except StatementError as error:
        return _why_not(error, writes=True)
    return None if answers[-1] else "another run has begun."


def _why_not(error: StatementError, *, writes: bool = False) -> str:
    """Why the table was not read, or not written."""
    if fault := distrust(error):
        return str(fault)
    server_error = error.server_error
    if server_error.sqlstate == UNDEFINED_TABLE:
        return _NAME_TAKEN if writes else _EARLIER
    if server_error.sqlstate == INSUFFICIENT_PRIVILEGE:
        is_there = OBJECTS in server_error.message
        return _MAY_NOT_CREATE if writes and not is_there else f"the role may not. {_RIGHTS}"
    if server_error.sqlstate == UNDEFINED_COLUMN:
        return f"public.{OBJECTS} is not this runner's table; rename it."
    if server_error.sqlstate == LOCK_NOT_AVAILABLE:
        return f"public.{OBJECTS} is locked by another session."
    return f"{server_error.message} (SQLSTATE {server_error.sqlstate})."


def _existence(error: StatementError) -> bool | None:
    if error.server_error.sqlstate == UNDEFINED_TABLE:
        return False
    return True if told_by(error) else None


def _moment(epoch: str | None) -> datetime | None:
    try:
        return None if epoch is None else datetime.fromtimestamp(float(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        return None
