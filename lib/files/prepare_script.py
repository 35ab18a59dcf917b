"""From a file to a script: its SQL is cut into statements and checked, and its mode is chosen.

A file runs in one transaction, unless it is a single statement that PostgreSQL refuses inside one,
or its header says `Transaction: none`. A file that can't run as one unit is refused.

A run with nothing to do does not load this room: the patterns of the checks take longer to compile
than the rest of such a run.
"""

from collections.abc import Iterable, Iterator

from ..errors import MigrationFileError
from ..sql.lexer import LexicalError, end_of_blank
from ..sql.session_effects import sets_session, writes_large_object
from ..sql.splitter import Piece, split
from ..sql.statement import Statement
from ..sql.transaction_control import begin_options, begins_block, commits, refuses_transaction
from .check_characters import check_characters
from .check_comments import check_comments
from .check_own_tables import check_own_tables
from .check_statements import (
    check_begin,
    check_blocks,
    check_chain,
    check_in_transaction,
    check_meta_command,
    check_text_settings,
    check_variables,
    lexical_fault,
)
from .folder import MigrationFile
from .runnable_script import Mode, Script

# pg_dump sets these to 0 at the top of its output.
_TIMEOUTS = (
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
)


def prepare(file: MigrationFile) -> Script:
    """Read the SQL of the file and choose its mode.

    MigrationFileError if the file can't run as one unit, or not as its header asks.
    """
    # Without a valid header it is unknown how the file has to run.
    if file.faults:
        raise MigrationFileError.together(file.faults)
    try:
        pieces = split(file.text)
    except LexicalError as error:
        raise lexical_fault(file, error) from None
    check_characters(file, pieces)
    statements = _statements(file, pieces)
    check_comments(file, pieces)
    check_variables(file, statements)
    check_text_settings(file, statements)
    check_own_tables(file, statements)
    if not file.header.transactional:
        return _outside_a_transaction(file, statements)
    # With more statements, the file has to say `Transaction: none` itself.
    if len(statements) == 1 and refuses_transaction(statements[0]):
        return Script(file, Mode.ALONE, statements)
    return _in_a_transaction(file, statements)


def prepare_all(files: Iterable[MigrationFile]) -> tuple[Script, ...]:
    """Prepare every file; one MigrationFileError with the faults of all that are refused."""
    scripts: list[Script] = []
    faults = tuple(_prepare_each(files, scripts))
    if faults:
        raise MigrationFileError.together(faults)
    return tuple(scripts)


def faults_of(files: Iterable[MigrationFile]) -> tuple[MigrationFileError, ...]:
    """Return the faults for which the files would be refused if they were pending."""
    return tuple(single for fault in _prepare_each(files, []) for single in fault.faults)


def _prepare_each(
    files: Iterable[MigrationFile], scripts: list[Script]
) -> Iterator[MigrationFileError]:
    for file in files:
        try:
            scripts.append(prepare(file))
        except MigrationFileError as fault:
            yield fault


def _statements(file: MigrationFile, pieces: tuple[Piece, ...]) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    for index, piece in enumerate(pieces):
        if piece.kind == "meta-command":
            before = pieces[index - 1] if index else piece
            # psql accepts a meta-command within a statement, as in `select 1 \gexec`.
            is_inside = before.kind == "statement" and not before.terminated
            check_meta_command(file, piece, is_inside=is_inside)
        if piece.kind != "statement":
            continue
        statement = _statement(file, pieces, index)
        if not _is_overruled(file, statement):
            statements.append(statement)
    return tuple(statements)


def _statement(file: MigrationFile, pieces: tuple[Piece, ...], index: int) -> Statement:
    piece = pieces[index]
    copy_data = _copy_data(file.text, pieces, index) if piece.reads_copy_data else None
    # psql drops `--` comments before a statement, and sends those of the `/* */` kind.
    lead = end_of_blank(file.text, piece.start)
    lead_comment = lead if lead < piece.first else None
    return Statement(file.text, piece.first, piece.end, piece.terminated, copy_data, lead_comment)


def _is_overruled(file: MigrationFile, statement: Statement) -> bool:
    """True for a SET that a dump begins with and that would switch off a timeout of the runner."""
    name, value = statement.setting or ("", "") if statement.command == "SET" else ("", "")
    if name not in _TIMEOUTS or value != "0":
        return False
    # The runner itself sets no statement timeout; only a header does.
    return name != "statement_timeout" or file.header.statement_timeout is not None


def _copy_data(text: str, pieces: tuple[Piece, ...], index: int) -> tuple[int, int]:
    # Between a COPY and its data there is at most the rest of the line.
    piece = next(piece for piece in pieces[index : index + 3] if piece.kind == "copy data")
    return piece.start, text.rindex("\\.", piece.start, piece.end)


def _outside_a_transaction(file: MigrationFile, statements: tuple[Statement, ...]) -> Script:
    for statement in statements:
        check_chain(file, statement)
    check_blocks(file, statements)
    return Script(file, Mode.STATEMENTS, statements)


def _in_a_transaction(file: MigrationFile, statements: tuple[Statement, ...]) -> Script:
    statements = _without_blocks_of_large_objects(statements)
    options = ""
    # Statements that set the session may stand before the BEGIN of the file.
    first = next(
        (index for index, statement in enumerate(statements) if not sets_session(statement)), 0
    )
    # The file's own BEGIN and COMMIT would end the transaction that also records the file.
    if len(statements) >= first + 2 and begins_block(statements[first]) and commits(statements[-1]):
        check_begin(file, statements[first])
        options = begin_options(statements[first])
        statements = (*statements[:first], *statements[first + 1 : -1])
    for statement in statements:
        check_in_transaction(file, statement)
    return Script(file, Mode.TRANSACTION, statements, options)


def _without_blocks_of_large_objects(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Drop the BEGIN and COMMIT that pg_dump writes around the data of each large object.

    They mean nothing where the whole file is one transaction.
    """
    if not any(writes_large_object(statement) for statement in statements):
        return statements
    kept: list[Statement] = []
    # The index in `kept` of a BEGIN after which there were only calls for large objects.
    begun: int | None = None
    for statement in statements:
        if begins_block(statement) and not begin_options(statement):
            begun = len(kept)
        elif begun is not None and commits(statement):
            del kept[begun]
            begun = None
            continue
        elif not writes_large_object(statement):
            begun = None
        kept.append(statement)
    return tuple(kept)
