"""The ledgers of other migration tools, known by the name of the table and by its columns.

Because of the columns, a project's own table `migrations` is not taken for one. A ledger may stand
in any schema, since most tools let their users choose it.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from psycopg import sql

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined

_SHARED_NAME = "schema_migrations"


@dataclass(frozen=True)
class LedgerShape:
    """A table of a tool: its name, and the columns that it has at least.

    With `is_exact` it has no others: several tools, this runner among them, call their ledger
    schema_migrations. `is_history` is false for what a tool keeps besides what it has applied.
    Without a name the table may have any, as the tool's configuration says; its columns are then
    exactly these, given with their types.
    """

    tool: str
    table: str | None
    columns: tuple[str, ...]
    is_exact: bool = False
    is_history: bool = True


_DRIZZLE = ("id integer", "hash text", "created_at bigint")
_FLYWAY = (
    "installed_rank integer", "version character varying", "description character varying",
    "type character varying", "script character varying", "checksum integer",
    "installed_by character varying", "installed_on timestamp without time zone",
    "execution_time integer", "success boolean",
)  # fmt: skip
SHAPES = (
    LedgerShape(
        "prisma", "_prisma_migrations", ("id", "checksum", "finished_at", "migration_name")
    ),
    LedgerShape("drizzle", "__drizzle_migrations", ("id", "hash", "created_at")),
    LedgerShape("drizzle", None, _DRIZZLE),
    LedgerShape("drizzle", None, (*_DRIZZLE, "name text", "applied_at timestamp with time zone")),
    # The CLI of Supabase keeps the statements too, in a schema of its own.
    LedgerShape("supabase", _SHARED_NAME, ("version", "statements")),
    LedgerShape("supabase", "seed_files", ("path", "hash"), is_exact=True, is_history=False),
    LedgerShape("flyway", "flyway_schema_history", ("installed_rank", "version", "script")),
    LedgerShape("flyway", "schema_version", ("installed_rank", "version", "script")),
    LedgerShape("flyway", None, _FLYWAY),
    LedgerShape("dbmate", _SHARED_NAME, ("version",), is_exact=True),
    LedgerShape("golang-migrate", _SHARED_NAME, ("version", "dirty"), is_exact=True),
    LedgerShape("goose", "goose_db_version", ("version_id", "is_applied")),
    LedgerShape("sqlx", "_sqlx_migrations", ("version", "description", "checksum")),
    LedgerShape("node-pg-migrate", "pgmigrations", ("id", "name", "run_on")),
    LedgerShape("graphile-migrate", "migrations", ("hash", "previous_hash", "filename", "date")),
    LedgerShape(
        "graphile-migrate", "current", ("filename", "content", "date"), is_exact=True,
        is_history=False,
    ),
    LedgerShape("sql-migrate", "gorp_migrations", ("id", "applied_at")),
    LedgerShape("tern", "schema_version", ("version",), is_exact=True),
    LedgerShape("knex", "knex_migrations", ("id", "name", "batch", "migration_time")),
    LedgerShape("knex", "knex_migrations_lock", ("index", "is_locked"), is_history=False),
    LedgerShape("kysely", "kysely_migration", ("name", "timestamp")),
    LedgerShape("kysely", "kysely_migration_lock", ("id", "is_locked"), is_history=False),
    LedgerShape("sequelize", "SequelizeMeta", ("name",)),
    LedgerShape("typeorm", "migrations", ("id", "timestamp", "name"), is_exact=True),
    LedgerShape(
        "typeorm", "typeorm_metadata", ("type", "database", "schema", "table"), is_history=False
    ),
    LedgerShape("rails", "ar_internal_metadata", ("key", "value"), is_history=False),
    LedgerShape("alembic", "alembic_version", ("version_num",), is_exact=True),
    LedgerShape("django", "django_migrations", ("id", "app", "name", "applied")),
    LedgerShape("ecto", _SHARED_NAME, ("version", "inserted_at"), is_exact=True),
)  # fmt: skip

# Adopting renames a ledger that is called as this runner's is. The key of a table is its name, and
# once more the number of its columns, for a shape without a name.
_LEDGERS = """
select distinct s.tool, s.is_history, c.oid, c.relnamespace, c.relname
  from (select oid, relnamespace, relname, relkind, relpersistence,
               case when starts_with(relname::text, {renamed}) then {shared}
                    else relname::text end as key from pg_class
        union all
        select oid, relnamespace, relname, relkind, relpersistence, '#' || relnatts from pg_class
  ) as c
  join (values {shapes}) as s (tool, name, columns, is_exact, is_history)
    on c.key = coalesce(s.name, '#' || cardinality(s.columns))
  cross join lateral (
      select array_agg(a.attname::text) as columns,
             array_agg(a.attname::text || ' ' || format_type(a.atttypid, null)) as typed
        from pg_attribute a
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  ) as found
 where c.relkind in ('r', 'p') and c.relpersistence <> 't'
   and case when s.name is null then s.columns <@ found.typed
            else s.columns <@ found.columns
                 and (not s.is_exact or found.columns <@ s.columns) end
"""
_FIND = """
select l.tool, l.is_history, quote_ident(n.nspname), quote_ident(l.relname)
  from ({ledgers}) as l join pg_namespace n on n.oid = l.relnamespace
 order by l.tool, n.nspname, l.relname
"""
# Reading a table runs what its owner has put there: the query of a view, the functions of a policy
# and, while the planner folds constants, those of an expression in an index, a CHECK or extended
# statistics; and the output functions of its columns' types. The statement fails for such a table.
IS_PLAIN = """
select case when c.relkind = 'r' and not c.relhasrules and not c.relispartition
             and c.relchecks = 0 and not row_security_active(c.oid)
             and not exists (select from pg_index i where i.indrelid = c.oid
                                and (i.indexprs is not null or i.indpred is not null))
             and not exists (select from pg_statistic_ext s where s.stxrelid = c.oid)
             and not exists (
                     select from pg_attribute a join pg_type t on t.oid = a.atttypid
                      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                        and t.typnamespace <> 'pg_catalog'::regnamespace)
            then null else (jsonb_build_object('fault', 'not plain')::text)::integer
       end
  from pg_class c where c.oid = {name}::regclass
"""
# By tool, whether a row says that a migration is applied. `w` has what may be its name there: as
# the file's header has it, the number that it begins with, and without its extension. Drizzle's
# rows have no name.
_SAYS_APPLIED = {
    "prisma": (
        "l.migration_name = w.name and l.finished_at is not null and l.rolled_back_at is null"
    ),
    "supabase": "l.version::text = w.number",
    "flyway": "l.success and l.script in (w.name, w.name || '.sql')",
    "dbmate": "l.version::text = w.number",
    "goose": "l.is_applied and l.version_id::text = w.number",
    "sqlx": "l.success and l.version::text = w.number",
    "golang-migrate": "l.version::numeric >= w.number::numeric",
    "tern": "l.version::numeric >= w.number::numeric",
    "node-pg-migrate": "l.name in (w.name, w.stem)",
    "graphile-migrate": "l.filename in (w.name, w.name || '.sql')",
    "sql-migrate": "l.id in (w.name, w.name || '.sql')",
}
_FIND_APPLIED = """
select distinct w.name
  from rows from (unnest({names}::text[]), unnest({numbers}::text[]), unnest({stems}::text[]))
       as w (name, number, stem)
  join only {table} as l on {says_applied}
"""
_NUMBER, _EXTENSION = re.compile("[0-9]{1,100}"), re.compile(r"\.[a-z]+\Z")


@dataclass(frozen=True)
class OtherLedger:
    """A ledger in a database: the tool's word, as in `adopt dbmate`, and the qualified name."""

    tool: str
    name: str


def ledgers_query() -> sql.Composed:
    """The query for the tables of other tools: tool, is_history, oid, relnamespace, relname."""
    rows = (
        filled(
            "({tool}, {table}, {columns}::text[], {is_exact}, {is_history})",
            tool=shape.tool,
            table=shape.table,
            columns=list(shape.columns),
            is_exact=shape.is_exact,
            is_history=shape.is_history,
        )
        for shape in SHAPES
    )
    return filled(
        _LEDGERS, shapes=sql.SQL(", ").join(rows), shared=_SHARED_NAME, renamed=f"{_SHARED_NAME}_"
    )


def find_other_ledgers(connection: Connection) -> tuple[OtherLedger, ...]:
    """Find the ledgers of other tools in this database, by the catalog alone."""
    rows = connection.query(filled(_FIND, ledgers=ledgers_query()), read_only=True)[-1]
    # Rails keeps its versions as dbmate does, and has a second table beside them.
    of_rails = {schema for tool, _, schema, _ in rows if tool == "rails"}
    return tuple(
        OtherLedger(
            "rails" if tool == "dbmate" and schema in of_rails else str(tool), f"{schema}.{table}"
        )
        for tool, is_history, schema, table in rows
        if is_history == "t"
    )


def find_applied(
    connection: Connection, ledger: OtherLedger, names: Collection[str]
) -> frozenset[str]:
    """Return which of these migrations the tool has on record as applied, as far as can be told.

    Nothing is told by a table that may run code, or that the role may not read.
    """
    if ledger.tool not in _SAYS_APPLIED:
        return frozenset()
    known = [each for name in names for each in _known_as(name)]
    find = filled(
        _FIND_APPLIED,
        names=[name for name, _, _ in known],
        numbers=[number for _, number, _ in known],
        stems=[stem for _, _, stem in known],
        # The server has quoted the name.
        table=sql.SQL(ledger.name),
        says_applied=sql.SQL(_SAYS_APPLIED[ledger.tool]),
    )
    lock = f"lock table only {ledger.name} in access share mode"
    try:
        rows = connection.query(
            joined(lock, filled(IS_PLAIN, name=ledger.name), find), read_only=True
        )[-1]
    except StatementError:
        return frozenset()
    return frozenset(str(name) for [name] in rows)


def _known_as(name: str) -> Iterator[tuple[str, str | None, str]]:
    number, stem = _NUMBER.match(name), _EXTENSION.sub("", name)
    digits = number[0] if number else None
    yield name, digits, stem
    # Some tools keep a number where the file has zeros before it.
    if digits and digits.startswith("0"):
        yield name, digits.lstrip("0") or "0", stem
