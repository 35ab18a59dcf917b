"""How a file runs: its mode and its statements, decided before anything is sent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import takewhile

from ..sql.concurrent import waits_without_lock_timeout
from ..sql.lexer import backslashes
from ..sql.session_effects import changes_defaults, may_change_session
from ..sql.statement import Statement
from ..sql.transaction_control import begins_block, ends_block
from .file_progress import Checkpoint, StatementDigest
from .folder import MigrationFile


class Mode(StrEnum):
    """How the statements of a file reach the server."""

    # All in one transaction, together with the record.
    TRANSACTION = "transaction"
    # One statement that PostgreSQL refuses inside a transaction block.
    ALONE = "alone"
    # One after the other, for a file with `Transaction: none`.
    STATEMENTS = "statements"


@dataclass(frozen=True)
class Script:
    """A file that is ready to run. `begin_options` are those of its own outermost `BEGIN`."""

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
            # No file holds a NUL, so different lists of statements never join to the same text.
            digest.update(("\0" if count > 1 else "").encode() + statement.text.encode())
            digests.append(StatementDigest(count, digest.hexdigest()))
        return tuple(digests)

    def checkpoint(self, index: int) -> Checkpoint:
        """Return the progress of the file when the statement at `index` is next."""
        is_at_end = index == len(self.statements)
        including_next = None if is_at_end else self.digests[self.block_end(index)]
        return Checkpoint(self.file.version, index + 1, self.digests[index], including_next)

    def begins_with(self, digest: StatementDigest | None) -> bool:
        """True if the digest is that of the first statements of the file."""
        return digest is not None and digest in self.digests[digest.count : digest.count + 1]

    def block_end(self, index: int) -> int:
        """Return the index after this statement, or after the transaction block that it begins."""
        if not begins_block(self.statements[index]):
            return index + 1
        ends = (
            at + 1 for at in range(index, len(self.statements)) if ends_block(self.statements[at])
        )
        return next(ends, len(self.statements))

    @property
    def needs_a_session(self) -> bool:
        """True if a statement relies on what is set for the session.

        That is a timeout of the header, or whatever an earlier statement has set.
        """
        header = self.file.header
        timeouts = header.lock_timeout is not None or header.statement_timeout is not None
        return self.mode is not Mode.TRANSACTION and (timeouts or len(self.statements) > 1)

    @property
    def may_change_session(self) -> bool:
        """True if a parameter, a temporary table or a lock may outlive the file. In doubt, true."""
        return self.may_have_changed_session(len(self.statements))

    def may_have_changed_session(self, index: int) -> bool:
        """True if one of the statements before `index` may change the session. In doubt, true."""
        return index > self._first_change

    @cached_property
    def _first_change(self) -> int:
        for index, statement in enumerate(self.statements):
            if may_change_session(statement):
                return index
        return len(self.statements)

    @cached_property
    def may_prepare(self) -> bool:
        """True if the file may leave a prepared statement behind. In doubt, true."""
        return any(
            "prepare" in statement.text.lower()
            for statement in self.statements[self._first_change :]
        )

    @cached_property
    def has_backslashes(self) -> bool:
        """True if a plain string holds a backslash: `standard_conforming_strings` matters."""
        return any(
            next(backslashes(statement.text), None) is not None for statement in self.statements
        )

    @cached_property
    def changes_defaults(self) -> bool:
        """True if the file changes the defaults of new sessions. In doubt, true."""
        return any(changes_defaults(statement) for statement in self.statements)

    @property
    def waits_without_lock_timeout(self) -> bool:
        """True if the only statement runs alone, and a lock timeout would do harm."""
        return self.mode is Mode.ALONE and waits_without_lock_timeout(self.statements[0])


def without_statements_at_the_end(scripts: Sequence[Script]) -> tuple[Script, ...]:
    """Return the scripts after the last one with a statement: their SQL may not be written yet."""
    count = len(list(takewhile(lambda script: not script.statements, reversed(scripts))))
    return tuple(scripts[len(scripts) - count :])
