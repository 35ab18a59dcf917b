"""Statements and psql commands that are refused before anything runs, with the way out."""

import re
from collections.abc import Sequence

from ..errors import MigrationFileError
from ..sql.lexer import LexicalError, backslashes, variables
from ..sql.splitter import Piece, escaped_quotes
from ..sql.statement import Statement, is_on
from ..sql.transaction_control import (
    begin_options,
    begins_block,
    chains,
    ends_block,
    makes_read_only,
    refuses_transaction,
)
from .folder import MigrationFile

# The variables that psql sets by itself (page psql of the manual, "Variables").
PSQL_VARIABLES = (
    "AUTOCOMMIT", "COMP_KEYWORD_CASE", "DBNAME", "ECHO", "ECHO_HIDDEN", "ENCODING", "ERROR",
    "FETCH_COUNT", "HIDE_TABLEAM", "HIDE_TOAST_COMPRESSION", "HISTCONTROL", "HISTFILE",
    "HISTSIZE", "HOST", "IGNOREEOF", "LAST_ERROR_MESSAGE", "LAST_ERROR_SQLSTATE", "LASTOID",
    "ON_ERROR_ROLLBACK", "ON_ERROR_STOP", "PIPELINE_COMMAND_COUNT", "PIPELINE_RESULT_COUNT",
    "PIPELINE_SYNC_COUNT", "PORT", "PROMPT1", "PROMPT2", "PROMPT3", "QUIET", "ROW_COUNT",
    "SERVER_VERSION_NAME", "SERVER_VERSION_NUM", "SERVICE", "SERVICEFILE", "SHELL_ERROR",
    "SHELL_EXIT_CODE", "SHOW_ALL_RESULTS", "SHOW_CONTEXT", "SINGLELINE", "SINGLESTEP",
    "SQLSTATE", "USER", "VERBOSITY", "VERSION", "VERSION_NAME", "VERSION_NUM", "WATCH_INTERVAL",
)  # fmt: skip
_NAMES_A_VARIABLE = re.compile(rf":(?:['\"]?(?:{'|'.join(PSQL_VARIABLES)})\b|\{{\?)")
# A second backslash on the line would begin another command, or SQL after `\\`.
_IGNORED_META = re.compile(r"\\(?:restrict\b|unrestrict\b|set\s+ON_ERROR_STOP\b)[^\\]*")
_NO_ESCAPE = (
    "a backslash before a quote is not an escape in a plain string, which ends there; "
    "write '' or E'…'"
)
_META_NAME = re.compile(r"\\\S*")
# Client encodings under which the bytes of a UTF-8 file reach the server as they are.
_ENCODINGS = ("UTF8", "UTF-8", "UNICODE", "SQL_ASCII", "DEFAULT")


def lexical_fault(file: MigrationFile, error: LexicalError) -> MigrationFileError:
    """Return the error for a text that can't be cut.

    It points at a quote with a backslash before it if that is the likely cause.
    """
    # MySQL and C escape a quote by a backslash, so this is a common mistake.
    quotes = tuple(escaped_quotes(file.text, error.offset + 1))
    sure = next((offset for offset, is_sure in quotes if is_sure), None)
    if sure is not None:
        return file.error_at(sure, _NO_ESCAPE)
    if quotes and "unterminated quoted" in str(error):
        place = f"{file.line_at(quotes[0][0])}:{file.column_at(quotes[0][0])}"
        return file.error_at(
            error.offset, f"{error}; perhaps because of the backslash at {place}: {_NO_ESCAPE}"
        )
    return file.error_at(error.offset, str(error))


def check_meta_command(file: MigrationFile, piece: Piece, *, is_inside: bool) -> None:
    r"""Refuse every psql command except those of pg_dump and `\set ON_ERROR_STOP`.

    Inside a statement every command is refused: psql continues the statement after the command.
    """
    command = file.text[piece.start : piece.end]
    if _IGNORED_META.fullmatch(command) and not is_inside:
        return
    name = _META_NAME.match(command)
    assert name is not None  # a meta-command begins with its backslash
    # The backslash may be text that is read as SQL, because a string before it ended too soon.
    for offset, is_sure in escaped_quotes(file.text, piece.start):
        if is_sure:
            raise file.error_at(offset, _NO_ESCAPE)
    raise file.error_at(
        piece.start,
        f"{name.group()} is a command of psql, not SQL; write it in SQL or take it out",
    )


def check_variables(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """Refuse the variables that psql sets by itself: only psql knows their values."""
    for statement in statements:
        if not _NAMES_A_VARIABLE.search(file.text, statement.offset, statement.end):
            continue
        for name, offset in variables(statement.text):
            if name in PSQL_VARIABLES or statement.text.startswith(":{", offset):
                raise file.error_at(
                    statement.offset + offset,
                    f"psql would put the value of its variable {name} here; write the value "
                    "itself, or put a space after the colon if it is not a variable",
                )


def check_text_settings(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """Refuse a SET after which the rest of the file would have to be read differently.

    A file is read once, as UTF-8 and with standard_conforming_strings on.
    """
    # The default since PostgreSQL 9.1, and a database with another one is refused at connecting.
    standard = True
    for statement in statements:
        name, value = statement.setting or ("", "")
        if (
            name == "client_encoding"
            and value.upper() not in _ENCODINGS
            and not file.text.isascii()
        ):
            fault = f"the file is UTF-8 and not only ASCII, but this sets {value}; take it out"
            raise file.error_at(statement.offset, fault)
        if name == "standard_conforming_strings":
            standard = is_on(value) or value.lower() == "default"
        elif not standard and (offset := next(backslashes(statement.text), None)) is not None:
            raise file.error_at(
                statement.offset + offset,
                "with standard_conforming_strings off a backslash in this string would be an "
                "escape; write it as E'…' and take that setting out",
            )


def check_chain(file: MigrationFile, statement: Statement) -> None:
    """Refuse AND CHAIN: the journal could not tell which transactions of the chain committed."""
    if chains(statement):
        raise file.error_at(
            statement.offset,
            f'"{statement.head}" chains transactions; write COMMIT and BEGIN, '
            "or use a file for each",
        )


def check_blocks(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """Refuse a transaction block that never ends: the server would roll it back."""
    begun: Statement | None = None
    for statement in statements:
        if begins_block(statement):
            begun = begun or statement
        elif ends_block(statement) and "PREPARED" not in statement.opening[1:2]:
            begun = None
    if begun:
        raise file.error_at(
            begun.offset,
            f'"{begun.head}" begins a transaction and never ends it; '
            "write COMMIT where it is to end, or take it out",
        )


def check_in_transaction(file: MigrationFile, statement: Statement) -> None:
    """Refuse what ends the transaction of the file, can't run in it, or makes it read-only."""
    if begins_block(statement) or ends_block(statement):
        raise file.error_at(
            statement.offset,
            f'"{statement.head}" would end or begin a transaction, but the whole file is one; '
            "take it out, or split the file, or put `-- Transaction: none` in its header",
        )
    if refuses_transaction(statement):
        raise file.error_at(
            statement.offset,
            f'"{statement.head}" can\'t run inside a transaction; move it to a file of its own, '
            "or put `-- Transaction: none` in the header",
        )
    if makes_read_only(statement):
        raise _read_only(file, statement)


def check_begin(file: MigrationFile, statement: Statement) -> None:
    """Refuse a read-only BEGIN: the file could not be recorded in its transaction."""
    if "READ ONLY" in begin_options(statement):
        raise _read_only(file, statement)


def _read_only(file: MigrationFile, statement: Statement) -> MigrationFileError:
    return file.error_at(
        statement.offset,
        "in a READ ONLY transaction it could not be recorded; take READ ONLY out",
    )
