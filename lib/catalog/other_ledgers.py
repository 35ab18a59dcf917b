"""The ledgers of other migration tools, known by the name of the table and by its columns.

Because of the columns, a project's own table `migrations` is not taken for one. A ledger may stand
in any schema, since most tools let their users choose it.
"""

from dataclasses import dataclass

from psycopg import sql

from ..database.connection import Connection
from ..database.sql_composition import filled

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
