"""What of a file is refused before anything has run: by its name and line, with the reason and the way out."""

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
_NO_ESCAPE = "a backslash before a quote is not an escape in a plain string, which ends there; write '' or E'…'"
_META_NAME = re.compile(r"\\\S*")
# Client encodings under which the bytes of a UTF-8 file reach the server as they are.
_ENCODINGS = ("UTF8", "UTF-8", "UNICODE", "SQL_ASCII", "DEFAULT")


def lexical_fault(file: MigrationFile, error: LexicalError) -> MigrationFileError:
    """The error for a text that can't be cut: at the quote with a backslash before it, if that is where it went wrong."""
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
    """Refuse every command of psql but those that a dump has, and the one that asks for what the runner does anyway.

    One that `is_inside` a statement is refused too: psql goes on with the statement after it.
    """
    command = file.text[piece.start : piece.end]
    if _IGNORED_META.fullmatch(command) and not is_inside:
        return
    name = _META_NAME.match(command)
    assert name is not None  # a meta-command begins with its backslash
    # Behind a string that ended too soon, what was meant for text is read as SQL.
    for offset, is_sure in escaped_quotes(file.text, piece.start):
        if is_sure:
            raise file.error_at(offset, _NO_ESCAPE)
    raise file.error_at(
        piece.start,
        f"{name.group()} is a command of psql, not SQL; write it in SQL or take it out",
    )


def check_variables(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """What psql would put in the place of its own variables, nobody else knows."""
    for statement in statements:
        if not _NAMES_A_VARIABLE.search(file.text, statement.offset, statement.end):
            continue
        for name, offset in variables(statement.text):
            if name in PSQL_VARIABLES or statement.text.startswith(":{", offset):
                raise file.error_at(
                    statement.offset + offset,
                    f"psql would put the value of its variable {name} here; write the value itself, or put a space after "
                    "the colon if it is not a variable",
                )


def check_text_settings(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """A file is read once, as UTF-8 and with standard strings; a SET that would have the rest read otherwise is refused."""
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
                "with standard_conforming_strings off a backslash in this string would be an escape; write it as E'…' and "
                "take that setting out",
            )


def check_chain(file: MigrationFile, statement: Statement) -> None:
    """What a chain of transactions has committed could not be told from what its last one has not."""
    if chains(statement):
        fault = f'"{statement.head}" chains transactions; write COMMIT and BEGIN, or use a file for each'
        raise file.error_at(statement.offset, fault)


def check_blocks(file: MigrationFile, statements: Sequence[Statement]) -> None:
    """Refuse a block of the file's own that begins and never ends: nothing of it would be kept."""
    begun: Statement | None = None
    for statement in statements:
        if begins_block(statement):
            begun = begun or statement
        elif ends_block(statement) and "PREPARED" not in statement.opening[1:2]:
            begun = None
    if begun:
        fault = f'"{begun.head}" begins a transaction and never ends it; write COMMIT where it is to end, or take it out'
        raise file.error_at(begun.offset, fault)


def check_in_transaction(file: MigrationFile, statement: Statement) -> None:
    """Refuse what would end the one transaction that the file is, can't run in it, or keeps it from being recorded."""
    if begins_block(statement) or ends_block(statement):
        raise file.error_at(
            statement.offset,
            f'"{statement.head}" would end or begin a transaction, but the whole file is one; take it out, '
            "or split the file, or put `-- Transaction: none` in its header",
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
    """Refuse the options of a file's own BEGIN under which it could not be recorded."""
    if "READ ONLY" in begin_options(statement):
        raise _read_only(file, statement)


def _read_only(file: MigrationFile, statement: Statement) -> MigrationFileError:
    return file.error_at(
        statement.offset,
        "in a READ ONLY transaction it could not be recorded; take READ ONLY out",
    )
