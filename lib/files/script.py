"""How a migration file runs: its mode, and the statements it comes down to. Decided before anything is sent.

A file runs in one transaction, unless it is a single statement that PostgreSQL refuses inside one, or its header says
`Transaction: none`. What can't be run as one unit is refused: `files.check_statements`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import takewhile

from ..errors import MigrationFileError
from ..sql.concurrent import waits_without_lock_timeout
from ..sql.effects import (
    changes_defaults,
    may_change_session,
    sets_session,
    writes_large_object,
)
from ..sql.lexer import LexicalError, Piece, backslashes, end_of_blank, split
from ..sql.statement import Statement
from ..sql.transaction_control import (
    begin_options,
    begins_block,
    commits,
    ends_block,
    refuses_transaction,
)
from .check_characters import check_letters
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
    unreadable,
)
from .checkpoint import Checkpoint, StatementDigest
from .folder import MigrationFile


class Mode(StrEnum):
    """How the statements of a file reach the server."""

    TRANSACTION = "transaction"
    ALONE = "alone"
    STATEMENTS = "statements"


@dataclass(frozen=True)
class Script:
    """A file made ready to run. `begin_options` are those of its own outermost `BEGIN`."""

    file: MigrationFile
    mode: Mode
    statements: tuple[Statement, ...]
    begin_options: str = ""

    @cached_property
    def digests(self) -> tuple[StatementDigest, ...]:
        """The digest of the first `n` statements at index `n`, from 0 to all of them.

        The texts are joined by NUL characters. Journals hold these digests: computed in another
        way, no file that an earlier version has begun could be resumed.
        """
        digest = hashlib.sha256()
        digests = [StatementDigest(0, digest.hexdigest())]
        for count, statement in enumerate(self.statements, start=1):
            digest.update(("\0" if count > 1 else "").encode() + statement.text.encode())
            digests.append(StatementDigest(count, digest.hexdigest()))
        return tuple(digests)

    def checkpoint(self, index: int) -> Checkpoint:
        """Return the file's progress when the statement at `index` is next."""
        is_last = index == len(self.statements)
        including_next = None if is_last else self.digests[self.block_end(index)]
        return Checkpoint(self.file.version, index + 1, self.digests[index], including_next)

    def begins_with(self, digest: StatementDigest | None) -> bool:
        """True if the digest is that of the file's first statements."""
        return digest is not None and digest in self.digests[digest.count : digest.count + 1]

    @property
    def needs_a_session(self) -> bool:
        """Tell whether it sets something for its session, or has to find what an earlier statement has set."""
        header = self.file.header
        timeouts = header.lock_timeout is not None or header.statement_timeout is not None
        return self.mode is not Mode.TRANSACTION and (timeouts or len(self.statements) > 1)

    @property
    def may_change_session(self) -> bool:
        """Tell whether a setting, a temporary table or a lock may outlive the file's transaction. In doubt it may."""
        return self.may_have_changed_session(len(self.statements))

    def may_have_changed_session(self, index: int) -> bool:
        """Tell the same of the statements before the one at `index`."""
        return index > self._first_change

    @cached_property
    def _first_change(self) -> int:
        changes = (
            index
            for index, statement in enumerate(self.statements)
            if may_change_session(statement)
        )
        return next(changes, len(self.statements))

    @cached_property
    def may_prepare(self) -> bool:
        """Tell whether it may leave a prepared statement behind. In doubt it may."""
        return any(
            "prepare" in statement.text.lower()
            for statement in self.statements[self._first_change :]
        )

    @cached_property
    def has_backslashes(self) -> bool:
        """Tell whether one of its plain strings has a backslash, which `standard_conforming_strings` gives a meaning."""
        return any(
            next(backslashes(statement.text), None) is not None for statement in self.statements
        )

    @cached_property
    def changes_defaults(self) -> bool:
        """Tell whether it changes what a new session begins with. In doubt it does."""
        return any(changes_defaults(statement) for statement in self.statements)

    @property
    def waits_without_lock_timeout(self) -> bool:
        """True if its only statement runs alone, and a lock timeout would do harm."""
        return self.mode is Mode.ALONE and waits_without_lock_timeout(self.statements[0])

    def block_end(self, index: int) -> int:
        """The index of the statement after this one, or after the block of the file's own that it begins."""
        if not begins_block(self.statements[index]):
            return index + 1
        ends = (
            at + 1 for at in range(index, len(self.statements)) if ends_block(self.statements[at])
        )
        return next(ends, len(self.statements))


def prepare(file: MigrationFile) -> Script:
    """Read the file's SQL and choose its mode; MigrationFileError if it can't run as one unit, or as its header asks."""
    if file.faults:
        raise MigrationFileError.together(file.faults)
    try:
        pieces = split(file.text)
    except LexicalError as error:
        raise unreadable(file, error) from None
    check_letters(file, pieces)
    statements = _statements(file, pieces)
    check_comments(file, pieces)
    check_variables(file, statements)
    check_text_settings(file, statements)
    check_own_tables(file, statements)
    if not file.header.transactional:
        for statement in statements:
            check_chain(file, statement)
        check_blocks(file, statements)
        return Script(file, Mode.STATEMENTS, statements)
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
    """For what each of the files would be refused, if it were to be run."""
    return tuple(single for fault in _prepare_each(files, []) for single in fault.faults)


def _prepare_each(
    files: Iterable[MigrationFile], scripts: list[Script]
) -> Iterator[MigrationFileError]:
    for file in files:
        try:
            scripts.append(prepare(file))
        except MigrationFileError as fault:
            yield fault


def without_statements_at_the_end(scripts: Sequence[Script]) -> tuple[Script, ...]:
    """Those after the last one that has a statement: their SQL may be yet to be written."""
    count = len(list(takewhile(lambda script: not script.statements, reversed(scripts))))
    return tuple(scripts[len(scripts) - count :])


_TIMEOUTS = (
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
)


def _statements(file: MigrationFile, pieces: tuple[Piece, ...]) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    for index, piece in enumerate(pieces):
        if piece.kind == "meta-command":
            before = pieces[index - 1] if index else piece
            check_meta_command(
                file, piece, is_inside=before.kind == "statement" and not before.terminated
            )
        if piece.kind != "statement":
            continue
        copy_data = _copy_data(file.text, pieces, index) if piece.reads_copy_data else None
        lead = end_of_blank(file.text, piece.start)
        lead_comment = lead if lead < piece.first else None
        statement = Statement(
            file.text, piece.first, piece.end, piece.terminated, copy_data, lead_comment
        )
        if not _is_overruled(file, statement):
            statements.append(statement)
    return tuple(statements)


def _is_overruled(file: MigrationFile, statement: Statement) -> bool:
    """A dump's header switches every timeout off; where the runner has set one, that stays."""
    name, value = statement.setting or ("", "") if statement.command == "SET" else ("", "")
    if name not in _TIMEOUTS or value != "0":
        return False
    return name != "statement_timeout" or file.header.statement_timeout is not None


def _copy_data(text: str, pieces: tuple[Piece, ...], index: int) -> tuple[int, int]:
    piece = next(piece for piece in pieces[index : index + 3] if piece.kind == "copy data")
    return piece.start, text.rindex("\\.", piece.start, piece.end)


def _in_a_transaction(file: MigrationFile, statements: tuple[Statement, ...]) -> Script:
    statements = _without_blocks_of_large_objects(statements)
    options = ""
    # What sets the session for the block may stand before it.
    first = next(
        (index for index, statement in enumerate(statements) if not sets_session(statement)), 0
    )
    if len(statements) >= first + 2 and begins_block(statements[first]) and commits(statements[-1]):
        check_begin(file, statements[first])
        options = begin_options(statements[first])
        statements = (*statements[:first], *statements[first + 1 : -1])
    for statement in statements:
        check_in_transaction(file, statement)
    return Script(file, Mode.TRANSACTION, statements, options)


def _without_blocks_of_large_objects(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """A dump has a transaction around the data of each large object, which is none where the whole file is one."""
    if not any(writes_large_object(statement) for statement in statements):
        return statements
    kept: list[Statement] = []
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
