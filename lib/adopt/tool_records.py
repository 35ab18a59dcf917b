"""The ledger of another tool: found in the database, and read without running anybody's code.

What reads a table runs what its owner has put there: the query of a view, the functions of a
policy, and, while the planner folds constants, those of an expression in an index, a CHECK or
extended statistics. A table with any of these is not read.
"""

from dataclasses import dataclass, field

from psycopg import sql

from ..catalog.other_ledgers import IS_PLAIN, find_other_ledgers
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..errors import LedgerError
from ..ledger.table_trust import told_by
from ..settings.search_path import first_schema
from ..time_limits import ANSWER
from ..tools.tool import Rows, Tool, ToolLedger

_SILENT = "The database stopped answering while the ledger was read."
# A ledger has a row or two for each file.
MOST_ROWS = 100_000
_SETTINGS = (
    "set local timezone = 'UTC'",
    "set local datestyle = 'ISO, YMD'",
    "set local bytea_output = 'hex'",
    "set local quote_all_identifiers = off",
)
_CONFIGURED = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relname = {table} and c.relpersistence <> 't'
   and (n.nspname = any ({schemas}::text[]) or {schemas}::text[] = '{{}}')
   and {columns}::text[] <@ array(select a.attname::text from pg_attribute a
                                   where a.attrelid = c.oid and a.attnum > 0
                                     and not a.attisdropped)
 order by 1
"""
_ROWS = "select * from ({query}) as found limit {most}"
_DIGEST = """
select md5(coalesce(string_agg(found::text, ',' order by found::text), '')) from ({query}) as found
"""
_IS_UNCHANGED = """
select case when ({digest}) = {known} then null
            else (jsonb_build_object('fault', 'records changed')::text)::integer end
"""


@dataclass(frozen=True)
class ToolRecords:
    """What a tool has on record: `name` is that of the table, qualified and quoted.

    `unchanged` is the SQL that fails if the table holds other rows by now.
    """

    name: str
    rows: Rows = field(repr=False)
    unchanged: sql.Composed = field(repr=False)


# Of what keeps no record, such as people.
_NOTHING_ON_RECORD = ToolRecords("", (), joined("select"))


def read_records(
    connection: Connection, tool: Tool, configured: ToolLedger | None, search_path: str
) -> ToolRecords | None:
    """Read the ledger of the tool; None if the database has none.

    A ledger that the tool's configuration names is the only one that counts. If there are several
    others, that in the first schema of the `search_path` counts, which the URL names. Raises
    LedgerError if it is not clear which one counts, or if the table may run code.
    """
    if not tool.ledger.table:
        return _NOTHING_ON_RECORD
    with connection.limit_to(ANSWER, _SILENT):
        names = _configured(connection, configured) if configured else _known(connection, tool)
        if not names:
            return None
        named = first_schema(search_path) if search_path else None
        usual = (*tool.ledger.schemas, "public") if _have_one_name(names) else ()
        return _read(connection, tool, _only(names, (named, *usual)))


def _known(connection: Connection, tool: Tool) -> list[str]:
    return [ledger.name for ledger in find_other_ledgers(connection) if ledger.tool == tool.word]


def _configured(connection: Connection, ledger: ToolLedger) -> list[str]:
    """Find a ledger under the name in a configuration, if it has the columns of one."""
    find = filled(
        _CONFIGURED,
        table=ledger.table,
        schemas=list(ledger.schemas),
        columns=sorted(ledger.columns),
    )
    return [str(name) for [name] in connection.query(find, read_only=True)[-1]]


def _only(names: list[str], schemas: tuple[str | None, ...]) -> str:
    for schema in schemas:
        if found := [name for name in names if _schema_of(name) == schema]:
            names = found
            break
    if len(names) > 1:
        raise LedgerError(
            f"Several tables may be the tool's ledger: {', '.join(names)}. Name the schema of the "
            "right one in the URL, as in ?schema=app, or rename the others."
        )
    return names[0]


def _have_one_name(names: list[str]) -> bool:
    """True if the tables differ by their schema alone, which the tool would then search for."""
    return len({name.rpartition(".")[2] for name in names}) == 1


def _schema_of(name: str) -> str:
    """Return the schema of a qualified name, without quotes."""
    schema = name.rpartition(".")[0]
    return schema[1:-1].replace('""', '"') if schema.startswith('"') else schema


def _read(connection: Connection, tool: Tool, name: str) -> ToolRecords:
    # The server has quoted the name. Rows of tables that inherit from it are not its own.
    query = sql.SQL(tool.ledger.query).format(table=sql.SQL(f"only {name}"))
    digest = filled(_DIGEST, query=query)
    try:
        *_, rows, [[known]] = connection.query(
            joined(
                *_SETTINGS,
                f"lock table only {name} in access share mode",
                filled(IS_PLAIN, name=name),
                filled(_ROWS, query=query, most=MOST_ROWS + 1),
                digest,
            ),
            read_only=True,
        )
    except StatementError as error:
        if told_by(error).get("fault") != "not plain":
            raise
        raise LedgerError(
            f"{name} is not read: it is not a plain table, or it has a rule, a policy, a CHECK, an "
            "expression in an index or a column type of somebody's own, which may run code with "
            f"the rights of this role. {tool.title} makes none of these: drop them, or rename it."
        ) from None
    if len(rows) > MOST_ROWS:
        raise LedgerError(f"{name} has more than {MOST_ROWS} rows, which no {tool.title} writes.")
    unchanged = joined(*_SETTINGS, filled(_IS_UNCHANGED, digest=digest, known=known))
    return ToolRecords(name, rows, unchanged)
