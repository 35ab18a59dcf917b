"""What of a file is refused before anything has run: by its name and line, with the reason and the way out."""

import re
from collections.abc import Sequence

from lib.errors import MigrationFileError
from lib.migration_files import MigrationFile
from lib.sql_lexer import Piece, backslashes, variables
from lib.statement import Statement, is_on, unquoted

# The variables that psql has at its start (psql's page of the manual, "Variables").
PSQL_VARIABLES = (
    "AUTOCOMMIT", "COMP_KEYWORD_CASE", "DBNAME", "ECHO", "ECHO_HIDDEN", "ENCODING", "ERROR", "FETCH_COUNT",
    "HIDE_TABLEAM", "HIDE_TOAST_COMPRESSION", "HISTCONTROL", "HISTFILE", "HISTSIZE", "HOST", "IGNOREEOF",
    "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "LASTOID", "ON_ERROR_ROLLBACK", "ON_ERROR_STOP",
    "PIPELINE_COMMAND_COUNT", "PIPELINE_RESULT_COUNT", "PIPELINE_SYNC_COUNT", "PORT", "PROMPT1", "PROMPT2", "PROMPT3",
    "QUIET", "ROW_COUNT", "SERVER_VERSION_NAME", "SERVER_VERSION_NUM", "SERVICE", "SERVICEFILE", "SHELL_ERROR",
    "SHELL_EXIT_CODE", "SHOW_ALL_RESULTS", "SHOW_CONTEXT", "SINGLELINE", "SINGLESTEP", "SQLSTATE", "USER",
    "VERBOSITY", "VERSION", "VERSION_NAME", "VERSION_NUM", "WATCH_INTERVAL",
)  # fmt: skip
_NAMES_A_VARIABLE = re.compile(rf":(?:['\"]?(?:{'|'.join(PSQL_VARIABLES)})\b|\{{\?)")
# A second backslash on the line would begin another command, or SQL after `\\`.
_IGNORED_META = re.compile(r"\\(?:restrict\b|unrestrict\b|set\s+ON_ERROR_STOP\b)[^\\]*")
_META_NAME = re.compile(r"\\\S*")
# Client encodings under which the bytes of a UTF-8 file reach the server as they are.
_ENCODINGS = ("UTF8", "UTF-8", "UNICODE", "SQL_ASCII", "DEFAULT")
_LEDGER = ("schema_migrations", "schema_migration_runs")


def refused(file: MigrationFile, offset: int, fault: str) -> MigrationFileError:
    """The error for what stands at `offset` of the file's text."""
    return MigrationFileError(fault, file=file.path, line=file.line_at(offset), version=file.version)


def check_meta_command(file: MigrationFile, piece: Piece, *, is_inside: bool) -> None:
    """Refuse every command of psql but those that a dump has, and the one that asks for what the runner does anyway.

    One that `is_inside` a statement is refused too: psql goes on with the statement after it.
    """
    command = file.text[piece.start : piece.end]
    if _IGNORED_META.fullmatch(command) and not is_inside:
        return
    name = _META_NAME.match(command)
    assert name is not None  # a meta-command begins with its backslash
    raise refused(file, piece.start, f"{name.group()} is a command of psql, not SQL; write it in SQL or take it out")


def check_variables(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """What psql would put in the place of its own variables, nobody else knows."""
    for statement in statements:
        if not _NAMES_A_VARIABLE.search(file.text, statement.offset, statement.end):
            continue
        for name, offset in variables(statement.text):
            if name in PSQL_VARIABLES or statement.text.startswith(":{", offset):
                raise refused(
                    file,
                    statement.offset + offset,
                    f"psql would put the value of its variable {name} here; write the value itself, or put a space after "
                    "the colon if it is no variable",
                )


def check_text_settings(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """A file is read once, as UTF-8 and with standard strings; a SET that would have the rest read otherwise is refused."""
    standard = True
    for statement in statements:
        name, value = statement.setting or ("", "")
        if name == "client_encoding" and value.upper() not in _ENCODINGS and not file.text.isascii():
            fault = f"the file is UTF-8 and not only ASCII, and this says {value}; take it out"
            raise refused(file, statement.offset, fault)
        if name == "standard_conforming_strings":
            standard = is_on(value) or value.lower() == "default"
        elif not standard and (offset := next(backslashes(statement.text), None)) is not None:
            raise refused(
                file,
                statement.offset + offset,
                "with standard_conforming_strings off a backslash in this string would be an escape; write it as E'…' and "
                "take that setting out",
            )


def check_ledger(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """A file can't make the runner's own tables once more, as other tools' dumps do, nor take them away."""
    for statement in statements:
        if statement.command not in ("CREATE", "DROP") or "schema" not in statement.text.lower():
            continue
        if any(_is_ledgers(name, file.text, statement.offset) for name in _made_or_dropped(statement)):
            what = "would make once more" if statement.command == "CREATE" else "would drop"
            fault = f'"{statement.head}" {what} the table in which the runner keeps what it has applied'
            raise refused(file, statement.offset, f"{fault}; take it out, and what fills it")


def _is_ledgers(name: tuple[str, ...], text: str, offset: int) -> bool:
    """Behind a search_path of the file's own, a bare name is perhaps another schema's."""
    if len(name) == 1:
        return name[0] in _LEDGER and text.find("search_path", 0, offset) < 0
    return name == ("schema", "public") or (name[0] == "public" and name[1] in _LEDGER)


def _made_or_dropped(statement: Statement) -> list[tuple[str, ...]]:
    """The tables that a CREATE TABLE or a DROP TABLE names, each in its parts; of a DROP SCHEMA `("schema", name)`.

    `create table if not exists` makes nothing of what is there.
    """
    words = [unquoted(token) for token in statement.tokens]
    kind = 2 if words[1:2] == ["unlogged"] else 1
    if words[kind : kind + 1] not in (["table"], ["schema"]) or words[kind + 1 : kind + 3] == ["if", "not"]:
        return []
    start = kind + (3 if words[kind + 1 : kind + 3] == ["if", "exists"] else 1)
    named = " ".join(words[start:])
    if statement.command == "CREATE":
        return [_parts(named.partition("(")[0])] if words[kind] == "table" else []
    found = [_parts(part) for part in named.partition(";")[0].split(",")]
    return found if words[kind] == "table" else [("schema", *name) for name in found]


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a name, as far as its first blank that is not around a dot."""
    return tuple(name.replace(" . ", ".").strip().partition(" ")[0].split("."))


def check_chain(file: MigrationFile, statement: Statement) -> None:
    """What a chain of transactions has committed could not be told from what its last one has not."""
    if statement.chains:
        fault = f'"{statement.head}" chains transactions; write COMMIT and BEGIN, or use a file for each'
        raise refused(file, statement.offset, fault)


def check_in_transaction(file: MigrationFile, statement: Statement) -> None:
    """Refuse what would end the one transaction that the file is, can't run in it, or keeps it from being recorded."""
    if statement.begins_block or statement.ends_block:
        raise refused(
            file,
            statement.offset,
            f'"{statement.head}" would end or begin a transaction, but the whole file is one; take it out, '
            "or split the file, or put `-- Transaction: none` in its header",
        )
    if statement.refuses_transaction:
        raise refused(
            file,
            statement.offset,
            f'"{statement.head}" can\'t run inside a transaction; move it to a file of its own, '
            "or put `-- Transaction: none` in the header",
        )
    if statement.makes_read_only:
        raise _read_only(file, statement)


def check_begin(file: MigrationFile, statement: Statement) -> None:
    """Refuse the options of a file's own BEGIN under which it could not be recorded."""
    if "READ ONLY" in statement.begin_options:
        raise _read_only(file, statement)


def _read_only(file: MigrationFile, statement: Statement) -> MigrationFileError:
    return refused(file, statement.offset, "in a READ ONLY transaction it could not be recorded; take READ ONLY out")
