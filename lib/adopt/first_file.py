"""The first file of a database whose tool has no SQL: its schema as it is, without rows.

Migrations that are programs can't be carried on; the schema that they have made can. The file names
the newest of them that is on record or, where no tool keeps a record, the database. For the next
database it is in our folder already.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .. import COMMAND, tool_words
from ..actions.run_parameters import RunContext
from ..catalog.other_ledgers import find_other_ledgers
from ..database.connection import Connection
from ..errors import ConfigurationError
from ..files.folder import MigrationFile
from ..files.header import Origin
from ..masking import lines_without_credentials
from ..scratch.database_dump import check_session, dump_schema
from ..scratch.dump_cleaning import clean_dump
from ..scratch.surroundings import Surroundings, read_surroundings
from ..tools.known_tools import TOOLS
from ..tools.tool import (
    History,
    Problem,
    Rows,
    Tool,
    ToolFiles,
    ToolLedger,
    ToolMigration,
    Verified,
)
from .conversion import HEADER_LINES
from .history_source import Source
from .tool_records import ToolRecords, read_records

_DESCRIPTION = "schema so far"
_MOST_LINES = 10
_ROWS_STAY = (
    "The file holds no rows. What migrations have inserted, such as countries or a first user, "
    "belongs into a file of its own, or into a seed."
)


def _no_folder(_: object) -> ToolFiles:
    return ToolFiles(())


def _no_history(_: ToolFiles, __: Rows) -> History:
    return History(())


def _tool(word: str, title: str, table: str, newest: str, *calls: str) -> Tool:
    """Return a tool, with the query for the name of its newest migration."""
    ledger = ToolLedger(table, frozenset(), f"select {newest}", schemas=())
    return Tool(word, title, (), ledger, _no_folder, _no_history, calls)


# It keeps no record.
DATABASE = _tool(tool_words.DATABASE, "The database", "", "")
PROGRAM_TOOLS = (
    _tool(
        "knex",
        "Knex",
        "knex_migrations",
        "name from {table} order by id desc limit 1",
        r"\bknex\b[^&|;\n]*?\smigrate:(?:latest|up|rollback|down)\b",
    ),
    _tool(
        "kysely",
        "Kysely",
        "kysely_migration",
        "name from {table} order by timestamp desc, name desc limit 1",
        r"\bkysely\b[^&|;\n]*?\smigrate[: ]\w",
    ),
    _tool(
        "sequelize",
        "Sequelize",
        "SequelizeMeta",
        "name from {table} order by name desc limit 1",
        r"\bsequelize(?:-cli)?\b[^&|;\n]*?\sdb:migrate\b",
        r"\bumzug\b",
    ),
    _tool(
        "typeorm",
        "TypeORM",
        "migrations",
        "name from {table} order by id desc limit 1",
        r"\btypeorm\b[^&|;\n]*?\s(?:migration:(?:run|revert)|schema:sync)\b",
    ),
    _tool(
        "rails",
        "Rails",
        "schema_migrations",
        "version from {table} order by version desc limit 1",
        r"\b(?:rails|rake)\b[^&|;\n]*?\sdb:(?:migrate|prepare|setup|schema:load)\b",
    ),
    _tool(
        "ecto",
        "Ecto",
        "schema_migrations",
        "version from {table} order by version desc limit 1",
        r"\bmix\b[^&|;\n]*?\secto\.(?:migrate|rollback|setup)\b",
        r"\bRelease\.migrate\b",
    ),
    _tool(
        "alembic",
        "Alembic",
        "alembic_version",
        # A row for each head.
        "string_agg(version_num, '+' order by version_num) from {table}",
        r"\balembic\b[^&|;\n]*?\s(?:upgrade|downgrade|stamp)\b",
        r"\bflask\s+db\s+upgrade\b",
    ),
    _tool(
        "django",
        "Django",
        "django_migrations",
        "app || '.' || name from {table} order by id desc limit 1",
        r"\bmanage\.py\b[^&|;\n]*?\smigrate\b",
        r"\bdjango-admin\b[^&|;\n]*?\smigrate\b",
    ),
)


def read_schema(
    context: RunContext,
    connection: Connection,
    ours: Sequence[MigrationFile],
    environ: Mapping[str, str],
) -> Source:
    """Return the history of one migration that stands for the database.

    It is one of our files, or made of the schema. `environ` is for pg_dump. Nothing is written.
    Raise ConfigurationError for a database without a schema, and what dumping raises.
    """
    tool = _tool_of(connection, ours)
    if tool in TOOLS:
        return _source(tool, None, History((), (_has_files(tool),)))
    records = read_records(connection, tool, None, context.target.search_path)
    source = f"database {connection.transport.raw.info.dbname}"
    there = [file for file in ours if _is_whole(file)]
    if there:
        strangers = tuple(_is_of_another(f, tool) for f in there if _origin(f).tool != tool.word)
        known = tuple(_as_migration(file, source) for file in there)
        return _source(tool, records, History(known, strangers))
    check_session(connection, context.target)
    newest = records.rows[0][0] if records and records.rows else None
    name = newest or connection.transport.raw.info.dbname
    return _source(tool, records, _dumped(connection, environ, name, source))


def _source(tool: Tool, records: ToolRecords | None, history: History) -> Source:
    return Source(tool, "its schema", records, history=history)


def _tool_of(connection: Connection, ours: Sequence[MigrationFile]) -> Tool:
    """Return the tool whose ledger the database has; without one, that of a file of ours."""
    there = {ledger.tool for ledger in find_other_ledgers(connection)}
    # A tool whose files can't be carried on comes first.
    if found := [tool for tool in (*PROGRAM_TOOLS, *TOOLS) if tool.word in there]:
        return found[0]
    origins = {_origin(file).tool for file in ours if _is_whole(file)}
    named = next((tool for tool in PROGRAM_TOOLS if tool.word in origins), DATABASE)
    return replace(named, ledger=DATABASE.ledger)


def _is_whole(file: MigrationFile) -> bool:
    """True for a file that was made of the schema of a database."""
    origin = file.header.origin
    return origin is not None and tool_words.adopted_as(origin.tool) == tool_words.DATABASE


def _origin(file: MigrationFile) -> Origin:
    assert file.header.origin
    return file.header.origin


def _as_migration(file: MigrationFile, source: str) -> ToolMigration:
    """Return the migration that becomes the file, so that it counts as converted."""
    body = file.text.split("\n", HEADER_LINES)[-1]
    name = _origin(file).name
    return ToolMigration(name, source, _DESCRIPTION, body, is_applied=True)


def _is_of_another(file: MigrationFile, tool: Tool) -> Problem:
    return Problem(
        file.path,
        f"it stands for what {_origin(file).tool} has made, and the database has a ledger of "
        f"{tool.title}",
        "use a folder of migrations of its own for each of the two, or correct the URL",
    )


def _has_files(tool: Tool) -> Problem:
    return Problem(
        "the database",
        f"it has a ledger of {tool.title}, whose files can be carried on one by one",
        f"`{COMMAND} adopt {tool.word}` does that, and compares them with what ran; if "
        f"{tool.title} is not used here any more, rename or drop its ledger",
    )


def _dumped(connection: Connection, environ: Mapping[str, str], name: str, source: str) -> History:
    """Make the migration of the schema."""
    around = read_surroundings(connection)
    tables, schemas = around.tables, sorted(around.schemas)
    text = dump_schema(connection, environ, without_tables=tables, without_schemas=schemas)
    dump = clean_dump(text, around)
    if dump.is_empty:
        raise ConfigurationError(
            f"The {source} has no tables or other objects of its own: there is nothing to adopt."
        )
    migration = ToolMigration(
        name, source, _DESCRIPTION, dump.sql, is_applied=True, verified=Verified.SCHEMA
    )
    notes = (*dump.notes, *_about_provider(around), _ROWS_STAY, *_about_secrets(dump.sql))
    return History((migration,), notes=notes)


def _about_provider(around: Surroundings) -> Iterator[str]:
    if around.schemas:
        yield (
            f"Left out: the schemas {', '.join(sorted(around.schemas))}, which a provider or an "
            "extension makes by itself, with the triggers and policies on their tables."
        )


def _about_secrets(sql: str) -> Iterator[str]:
    """Name the lines of the file that may hold a secret, such as a key that a trigger sends."""
    lines = sql.split("\n")
    found = [
        str(number)
        for number, (line, shown) in enumerate(
            zip(lines, lines_without_credentials(lines), strict=True), start=HEADER_LINES + 1
        )
        if line != shown
    ]
    if found:
        more = " and others" if len(found) > _MOST_LINES else ""
        yield (
            # A colon behind the word would hide the next one.
            f"Line {', '.join(found[:_MOST_LINES])}{more} of the file may hold a secret. Look at "
            "it before you commit the file."
        )
