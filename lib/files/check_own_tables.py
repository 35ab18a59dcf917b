"""What a file may not do to the tables of the runner: create, drop, alter or empty them."""

from collections.abc import Iterable, Iterator, Sequence

from ..errors import MigrationFileError
from ..own_tables import LEDGER, OWN_TABLES
from ..sql.statement import Statement, unquoted
from .folder import MigrationFile

# Those of the runner; a column that somebody has added may go.
_COLUMNS = {"id", "version", "name", "applied_at", "execution_time_ms", "checksum"}
_COMMANDS = ("CREATE", "DROP", "ALTER", "TRUNCATE", "DELETE", "UPDATE", "MERGE")
_TABLE = "the table in which the runner keeps what it has applied"

# The parts of a qualified name.
_Name = tuple[str, ...]
_SCHEMA_PUBLIC: _Name = ("public", "*")


def check_own_tables(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """Refuse a statement that damages the ledger or the journal.

    INSERT and COPY are allowed: a file may record other files as applied.
    """
    for statement in statements:
        # By command first, since a file may hold thousands of INSERT statements.
        if statement.command not in _COMMANDS or not _may_name_them(statement):
            continue
        what = _done_to_them(statement, file.text)
        if what:
            raise _refused(file, statement, what, statements)


def _may_name_them(statement: Statement) -> bool:
    """True if it is worth parsing the statement: cheap, and false for nearly all."""
    text = statement.text.lower()
    return "schema_migration" in text or (
        statement.command in ("DROP", "ALTER") and "schema" in text
    )


def _refused(
    file: MigrationFile, statement: Statement, what: str, statements: Iterable[Statement]
) -> MigrationFileError:
    # A file adopted from another tool often creates the ledger and then fills it.
    fills = any(
        _is_own(name, file.text, each.offset) for each in statements for name in _filled(each)
    )
    fault = f'"{statement.head}" would {what}; take it out{", and what fills it" if fills else ""}'
    return file.error_at(statement.offset, fault)


def _done_to_them(statement: Statement, text: str) -> str | None:
    """Return what the statement would do to the tables, in words; None if nothing."""
    # Unquoted, since "public"."schema_migrations" is the same table.
    words = [unquoted(token) for token in statement.tokens]
    if statement.command == "ALTER":
        return _altered(words, text, statement.offset)
    names = {"CREATE": _made, "DROP": _dropped, "TRUNCATE": _truncated}.get(
        statement.command, _changed
    )(words)
    if _SCHEMA_PUBLIC in names:
        return f"drop the schema that holds {_TABLE}"
    # Changed rows of the journal are noticed by the run itself, and take no file off the ledger.
    owned = (LEDGER,) if statement.command in ("UPDATE", "MERGE") else OWN_TABLES
    if any(_is_own(name, text, statement.offset) and name[-1] in owned for name in names):
        return f"{_VERBS[statement.command]} {_TABLE}"
    return None


_VERBS = {
    "CREATE": "create again",
    "DROP": "drop",
    "TRUNCATE": "empty",
    "DELETE": "delete from",
    "UPDATE": "change",
    "MERGE": "change",
}


def _is_own(name: _Name, text: str, offset: int) -> bool:
    """True if the name is that of a table of the runner.

    After the file has set a search_path, an unqualified name may belong to another schema.
    """
    if len(name) == 1:
        # In doubt, the statement is let through: the run checks its tables after each file anyway.
        return name[0] in OWN_TABLES and text.find("search_path", 0, offset) < 0
    return name[-2:-1] == ("public",) and name[-1] in OWN_TABLES


def _made(words: list[str]) -> list[_Name]:
    """Return the table of a CREATE TABLE; none with IF NOT EXISTS, which does no harm."""
    rest = _after(words[1:], "unlogged")
    if rest[:1] != ["table"] or rest[1:3] == ["if", "not"]:
        return []
    return [_name(rest[1:])]


def _dropped(words: list[str]) -> list[_Name]:
    """Return the tables of a DROP TABLE; for a DROP SCHEMA, `_SCHEMA_PUBLIC` if that is dropped."""
    found = list(_names(_after(words[2:], "if", "exists")))
    if words[1:2] == ["schema"]:
        return [_SCHEMA_PUBLIC for name in found if name == ("public",)]
    return found if words[1:2] == ["table"] else []


def _truncated(words: list[str]) -> list[_Name]:
    return list(_names(_after(words[1:], "table")))


def _changed(words: list[str]) -> list[_Name]:
    """Return the table of a DELETE, an UPDATE or a MERGE."""
    return [_name(_after(words[1:], "from") if words[0] == "delete" else _after(words[1:], "into"))]


def _filled(statement: Statement) -> list[_Name]:
    """Return the table of an INSERT or a COPY."""
    if statement.command not in ("INSERT", "COPY"):
        return []
    words = [unquoted(token) for token in statement.tokens]
    return [_name(_after(words[1:], "into" if words[0] == "insert" else "binary"))]


def _altered(words: list[str], text: str, offset: int) -> str | None:
    if words[1:3] == ["schema", "public"] and words[3:4] == ["rename"]:
        return f"rename the schema that holds {_TABLE}"
    rest = _after(_after(words[2:], "if", "exists"), "only")
    name = _name(rest)
    if words[1:2] != ["table"] or not _is_own(name, text, offset):
        return None
    # A name of n parts has n - 1 dots between them.
    action = _after(rest[2 * len(name) - 1 :], "*")
    if action[:2] == ["rename", "to"]:
        return f"rename {_TABLE}"
    if action[:2] == ["set", "schema"]:
        return f"move {_TABLE}"
    lost = set(_lost_columns(action))
    if name[-1] == LEDGER:
        lost &= _COLUMNS
    return f"take a column from {_TABLE}" if lost else None


def _lost_columns(action: list[str]) -> Iterator[str]:
    """Yield the columns that an ALTER TABLE drops or renames."""
    for at, word in enumerate(action):
        if word == "drop" or (word == "rename" and at == 0):
            rest = _after(_after(action[at + 1 :], "column"), "if", "exists")
            # These words follow DROP in ALTER TABLE for what is not a column.
            if rest and rest[0] not in ("constraint", "default", "not", "expression", "identity"):
                yield rest[0]


def _after(words: list[str], *optional: str) -> list[str]:
    """Return the words without the optional ones at their beginning."""
    return words[len(optional) :] if words[: len(optional)] == list(optional) else words


def _names(words: list[str]) -> Iterator[_Name]:
    """Yield the names of a list that is separated by commas."""
    while words:
        words = _after(words, "only")
        name = _name(words)
        yield name
        words = _after(words[2 * len(name) - 1 :], "*")
        if words[:1] != [","]:
            return
        words = words[1:]


def _name(words: list[str]) -> _Name:
    """Return the parts of the name at the beginning of the words."""
    words = _after(words, "only")
    parts = words[:1]
    while words[1:2] == ["."]:
        words = words[2:]
        parts += words[:1]
    return tuple(parts)
