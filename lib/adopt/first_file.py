"""The first file of a database whose tool has no SQL: its schema as it is, without rows.

Its origin is the newest migration in the ledger that the tool keeps, or the database itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from ..catalog.other_ledgers import OtherLedger, find_other_ledgers
from ..database.connection import Connection
from ..database.sql_composition import filled
from ..errors import ConfigurationError
from ..masking import lines_without_credentials
from ..scratch.database_dump import dump_schema
from ..scratch.dump_cleaning import CleanDump, clean_dump
from ..scratch.surroundings import Surroundings, read_surroundings

DATABASE = "database"
_ROWS_STAY = (
    "The file holds no rows: what migrations have inserted, such as roles or countries, belongs "
    "into a file of its own, or into a seed."
)
# The newest name in the ledger of each tool whose migrations are programs.
_NEWEST: Mapping[str, str] = {
    "knex": "select name from {table} order by id desc limit 1",
    "kysely": "select name from {table} order by timestamp desc, name desc limit 1",
    "sequelize": "select name from {table} order by name desc limit 1",
    "typeorm": "select name from {table} order by id desc limit 1",
    "rails": "select version from {table} order by version desc limit 1",
    "ecto": "select version from {table} order by version desc limit 1",
    # One row for each head.
    "alembic": "select string_agg(version_num, '+' order by version_num) from {table}",
    "django": "select app || '.' || name from {table} order by id desc limit 1",
}
_LONGEST_NAME = 200


@dataclass(frozen=True)
class FirstFile:
    """The SQL, what it was made of, and what somebody has to know of it.

    `tool` and `name` are for the header; `ledger` is the table that names it, if there is one.
    `secret_lines` are those of `sql`, from 1, that may hold a secret.
    """

    sql: str = field(repr=False)
    tool: str
    name: str
    ledger: OtherLedger | None
    surroundings: Surroundings
    notes: tuple[str, ...] = ()
    secret_lines: tuple[int, ...] = ()


def draft_first_file(
    connection: Connection, environ: Mapping[str, str], database: str
) -> FirstFile:
    """Read the schema of a database; nothing is written there.

    Raise ConfigurationError if there is nothing to read, and what dumping raises.
    """
    around = read_surroundings(connection)
    text = dump_schema(
        connection,
        environ,
        without_tables=around.tables,
        without_schemas=sorted(around.schemas),
    )
    dump = clean_dump(text, around)
    if dump.is_empty:
        raise ConfigurationError(
            f"The database {database} has no tables or other objects of its own: there is nothing "
            "to adopt."
        )
    ledger, name = _newest(connection)
    return FirstFile(
        sql=dump.sql,
        tool=ledger.tool if ledger and ledger.tool != "kysely" else DATABASE,
        name=_printable(name or database),
        ledger=ledger,
        surroundings=around,
        notes=(*dump.notes, *_provider_notes(around), _ROWS_STAY),
        secret_lines=tuple(_secret_lines(dump)),
    )


def _newest(connection: Connection) -> tuple[OtherLedger | None, str]:
    """Return the ledger of a tool whose migrations are programs, and its newest name."""
    for ledger in find_other_ledgers(connection):
        if ledger.tool in _NEWEST:
            query = filled(_NEWEST[ledger.tool], table=sql.SQL(ledger.name))
            rows = connection.query(query, read_only=True)[-1]
            return ledger, (rows[0][0] if rows else "") or ""
    return None, ""


def _printable(name: str) -> str:
    """Return a name that is one word of a comment, whatever a row holds."""
    shown = "".join(letter if letter.isprintable() else "-" for letter in "-".join(name.split()))
    return shown[:_LONGEST_NAME] or DATABASE


def _provider_notes(around: Surroundings) -> Iterator[str]:
    if around.schemas:
        yield (
            f"Left out: the schemas {', '.join(sorted(around.schemas))}, which a provider or a "
            "tool makes by itself, with the triggers and policies on their tables."
        )


def _secret_lines(dump: CleanDump) -> Iterator[int]:
    lines = dump.sql.split("\n")
    for number, (line, shown) in enumerate(
        zip(lines, lines_without_credentials(lines), strict=True), start=1
    ):
        if line != shown:
            yield number
