"""dbmate, goose, sql-migrate, node-pg-migrate and tern: both directions in one file, with markers.

None of them keeps a checksum. That a file is the one that ran is shown by its result alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from .marked_files import (
    MarkedFile,
    read_dbmate,
    read_goose,
    read_node_pg_migrate,
    read_sql_migrate,
    read_tern,
)
from .tool import (
    History,
    Problem,
    Rows,
    Tool,
    ToolFile,
    ToolFiles,
    ToolLedger,
    ToolMigration,
    applied_first,
    described,
    ledger_notes,
    numbered_files,
    plain_number,
    versioned_files,
)

_NUMBER = re.compile(r"[0-9]+")
_DBMATE_FILE = re.compile(r"(?P<name>(?P<number>[0-9]+).*)\.sql")
_UNDERSCORED_FILE = re.compile(r"(?P<name>(?P<number>[0-9]+)_.*)\.sql")
_GO_FILE = re.compile(r"(?P<name>(?P<number>[0-9]+)_.*)(?<!_test)\.go")
_SQL_FILE = re.compile(r"(?P<name>.*\.sql)")
# The older loader of node-pg-migrate takes a pair of files for two migrations; the newer one calls
# both by the name that they share.
_NODE_FILE = re.compile(r"(?P<name>[^.].*?)(?<!\.down)(?:\.up)?\.sql")
_SCRIPT = re.compile(r"(?P<name>[^.].*)(?<!\.d)\.[cm]?[jt]s")
# Of a date in UTC, with milliseconds.
_DATE_DIGITS = 17


def _dbmate_files(folder: Path) -> ToolFiles:
    return numbered_files(
        folder,
        _DBMATE_FILE,
        key_of=lambda match: match["number"],
        order_of=lambda match: (match.string,),
    )


def _dbmate_history(files: ToolFiles, rows: Rows) -> History:
    """Every row is a version: the digits of a file, as they are."""
    versions = sorted(str(version) for (version,) in rows)
    return _history(DBMATE, read_dbmate, files, versions, _digits)


def _goose_files(folder: Path) -> ToolFiles:
    found = versioned_files(folder, _UNDERSCORED_FILE)
    # Numbers begin at 1: the row of version 0 only says that the ledger was made.
    files = tuple(file for file in found.files if file.key != "0")
    zero = tuple(file.path for file in found.files if file.key == "0")
    scripts = sorted(path.name for path in folder.glob("*.go") if _GO_FILE.fullmatch(path.name))
    problems = (
        Problem(
            name,
            "is a migration in Go, which cannot be converted",
            f"write what it does as SQL below `-- +goose Up` in {name.removesuffix('.go')}.sql, "
            "and move this one away",
        )
        for name in scripts
    )
    return replace(
        found,
        files=files,
        problems=(*found.problems, *problems),
        left_out=tuple(sorted((*found.left_out, *zero))),
    )


def _goose_history(files: ToolFiles, rows: Rows) -> History:
    """The newest row of a version decides; older versions of goose keep a row for each way down."""
    newest: dict[str, bool] = {}
    for _, version, is_applied in rows:
        newest.pop(str(version), None)
        newest[str(version)] = is_applied == "true"
    applied = [version for version, is_applied in newest.items() if is_applied and version != "0"]
    return _history(GOOSE, read_goose, files, applied, plain_number)


def _sql_migrate_files(folder: Path) -> ToolFiles:
    return numbered_files(
        folder,
        _SQL_FILE,
        key_of=lambda match: match["name"],
        order_of=_numbers_first,
    )


def _sql_migrate_history(files: ToolFiles, rows: Rows) -> History:
    """The ledger has the names of the files, with `.sql`."""
    applied = [str(name) for (name,) in rows]
    return _history(SQL_MIGRATE, read_sql_migrate, files, applied, _as_it_is)


def _node_pg_migrate_files(folder: Path) -> ToolFiles:
    found = numbered_files(
        folder, _NODE_FILE, key_of=lambda match: match["name"], order_of=_by_time
    )
    scripts = sorted(path.name for path in folder.iterdir() if _SCRIPT.fullmatch(path.name))
    problems = (
        Problem(
            name,
            "is a migration in JavaScript or TypeScript, which cannot be converted",
            "run `npx node-pg-migrate up --dry-run` on an empty database, and put the SQL that it "
            f"prints for this one into {_without_suffix(name)}.sql in its place",
        )
        for name in scripts
    )
    return replace(found, problems=(*found.problems, *problems))


def _node_pg_migrate_history(files: ToolFiles, rows: Rows) -> History:
    """The ledger has the names of the files without their last suffix."""
    applied = [str(name).removesuffix(".up") for (name,) in rows]
    return _history(NODE_PG_MIGRATE, read_node_pg_migrate, files, applied, _without_suffix)


def _tern_files(folder: Path) -> ToolFiles:
    found = versioned_files(folder, _UNDERSCORED_FILE)
    gaps = (
        Problem(
            file.path,
            f"follows a gap: tern numbers its files without one, and this would be {number}",
            "restore the files between, or correct the number",
        )
        for number, file in enumerate(found.files, 1)
        if file.key != str(number)
    )
    gap = next(gaps, None)
    return replace(
        found, problems=(*found.problems, *([gap] if gap and not found.problems else ()))
    )


def _tern_history(files: ToolFiles, rows: Rows) -> History:
    """One row has the number of the last file that ran."""
    version = max((int(version or 0) for (version,) in rows), default=0)
    applied = [file.key for file in files.files if int(file.key) <= version]
    newest = max((int(file.key) for file in files.files), default=0)
    beyond = [str(version)] if version > newest else []
    return _history(TERN, read_tern, files, [*applied, *beyond], plain_number)


def _history(
    tool: Tool,
    read: Callable[[str], MarkedFile],
    files: ToolFiles,
    applied: Iterable[str],
    key_of: Callable[[str], str],
) -> History:
    ordered, problems = applied_first(files, applied, key_of)
    marked = [(file, read(file.text), is_applied) for file, is_applied in ordered]
    migrations = tuple(
        replace(_migration(file, parts), is_applied=is_applied)
        for file, parts, is_applied in marked
    )
    passed_over = (
        f"{file.path}: what is above the first marker is left out: {tool.title} never runs it."
        for file, parts, _ in marked
        if parts.skips_statements
    )
    return History(
        migrations,
        (*problems, *(problem for file, parts, _ in marked for problem in _problems(file, parts))),
        (*passed_over, *ledger_notes(tool.word, tool.ledger.table, migrations)),
    )


def _migration(file: ToolFile, marked: MarkedFile) -> ToolMigration:
    return ToolMigration(
        name=file.name,
        path=file.path,
        description=described(file.name.removesuffix(".sql")),
        sql=marked.sql,
        is_transactional=marked.is_transactional,
    )


def _problems(file: ToolFile, marked: MarkedFile) -> Iterator[Problem]:
    for fault in marked.faults:
        yield Problem(f"{file.path}:{fault.line}", fault.fault, fault.remedy)


def _as_it_is(path: str) -> str:
    return path


def _digits(path: str) -> str:
    match = _NUMBER.match(path)
    return match.group() if match else path


def _without_suffix(path: str) -> str:
    return Path(path).stem.removesuffix(".up")


def _numbers_first(match: re.Match[str]) -> tuple[int | str, ...]:
    number = _NUMBER.match(match.string)
    return (0, int(number.group()), match.string) if number else (1, 0, match.string)


def _by_time(match: re.Match[str]) -> tuple[int | str, ...]:
    """Order by the number as milliseconds since 1970, which 17 digits give as a date."""
    digits = _digits(match.string)
    return (_milliseconds(digits) if digits.isdecimal() else 0, match.string)


def _milliseconds(digits: str) -> int:
    if len(digits) != _DATE_DIGITS:
        return int(digits)
    try:
        moment = datetime.strptime(f"{digits[:14]}.{digits[14:]}", "%Y%m%d%H%M%S.%f")
    except ValueError:
        return int(digits)
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


DBMATE = Tool(
    word="dbmate",
    title="dbmate",
    folders=("db/migrations",),
    ledger=ToolLedger(
        "schema_migrations", frozenset({"version"}), "select version::text from {table}"
    ),
    read_folder=_dbmate_files,
    judge=_dbmate_history,
    calls=(r"\bdbmate\b",),
)
GOOSE = Tool(
    word="goose",
    title="goose",
    folders=("db/migrations", "migrations", "sql/migrations", "sql/schema"),
    ledger=ToolLedger(
        "goose_db_version",
        frozenset({"id", "version_id", "is_applied"}),
        "select id, version_id, is_applied::text from {table} order by id",
        schemas=(),
    ),
    read_folder=_goose_files,
    judge=_goose_history,
    calls=(r"\bgoose\b",),
)
SQL_MIGRATE = Tool(
    word="sql-migrate",
    title="sql-migrate",
    folders=("migrations", "db/migrations", "migrations/postgres"),
    ledger=ToolLedger(
        "gorp_migrations",
        frozenset({"id", "applied_at"}),
        "select id from {table} order by applied_at, id",
        schemas=(),
    ),
    read_folder=_sql_migrate_files,
    judge=_sql_migrate_history,
    calls=(r"\bsql-migrate\b",),
)
NODE_PG_MIGRATE = Tool(
    word="node-pg-migrate",
    title="node-pg-migrate",
    folders=("migrations", "db/migrations"),
    ledger=ToolLedger(
        "pgmigrations",
        frozenset({"id", "name", "run_on"}),
        "select name from {table} order by run_on, id",
        schemas=(),
    ),
    read_folder=_node_pg_migrate_files,
    judge=_node_pg_migrate_history,
    calls=(r"\bnode-pg-migrate\b",),
)
TERN = Tool(
    word="tern",
    title="tern",
    folders=("migrations", "db/migrations"),
    ledger=ToolLedger(
        "schema_version", frozenset({"version"}), "select version::text from {table}", schemas=()
    ),
    read_folder=_tern_files,
    judge=_tern_history,
    calls=(r"\btern\s+(?:migrate|status|code|-)", r"\bjackc/tern\b"),
)
