"""How a migration file runs: its mode, and the statements it comes down to. Decided before anything is sent.

A file runs in one transaction, unless it is a single statement that PostgreSQL refuses inside one, or its header says
`Transaction: none`. What can't be run as one unit is refused here, by name and line.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from lib.errors import MigrationFileError
from lib.migration_files import MigrationFile
from lib.plan import Checkpoint
from lib.sql_lexer import LexicalError, Piece, split


class Mode(StrEnum):
    """How the statements of a file reach the server."""

    TRANSACTION = "transaction"
    ALONE = "alone"
    STATEMENTS = "statements"


@dataclass(frozen=True)
class Statement:
    """One statement: its `text` from its first token on, which stands at `offset` of the file's text."""

    text: str
    offset: int
    words: tuple[str, ...]
    copy_data: str | None = None

    @property
    def head(self) -> str:
        """The first words on one line, for messages."""
        line = " ".join(self.text.removesuffix(";").split())
        return line if len(line) <= 60 else line[:59] + "…"

    @property
    def waits_without_lock_timeout(self) -> bool:
        """CONCURRENTLY waits for old transactions by locks: a timeout leaves an invalid index. VACUUM is in nobody's way.

        VACUUM FULL is: it locks the table as ALTER TABLE does.
        """
        is_full = "FULL" in self.words or bool(_VACUUM_FULL.match(self.text))
        return (self.words[:1] == ("VACUUM",) and not is_full) or self.is_concurrent

    @property
    def sets_session(self) -> bool:
        """Tell whether it changes nothing but its own session, so that it has to be said again in another one."""
        if self.words[:1] == ("SET",):
            return self.words[1:2] not in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",))
        if self.words[:1] in (("RESET",), ("LISTEN",), ("UNLISTEN",), ("LOAD",), ("DISCARD",)):
            return True
        call = ("SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(")
        rest = next((self.words[len(c) :] for c in (call, (call[0], *call[3:])) if self.words[: len(c)] == c), None)
        return rest is not None and (rest == () or (len(rest) == 2 and rest[0] == "AS"))

    @property
    def forgets_settings(self) -> bool:
        """Tell whether what the runner has set for the session may be gone after it."""
        return self.words[:1] in (("RESET",), ("DISCARD",))

    @property
    def is_repeatable(self) -> bool:
        """Tell whether carrying it out a second time changes nothing more. In doubt it does."""
        if self.words[0] in _REPEATABLE or self.words[:2] in _REPEATABLE_PAIRS or self.sets_session:
            return True
        condition = {"CREATE": ("IF", "NOT", "EXISTS"), "DROP": ("IF", "EXISTS")}.get(self.words[0], ())
        found = (self.words[start : start + len(condition)] == condition for start in range(1, 6))
        return bool(condition) and any(found)

    @property
    def begins_block(self) -> bool:
        return _begins(self)

    @property
    def ends_block(self) -> bool:
        """Tell whether it commits or rolls back; a ROLLBACK TO stays inside."""
        return _controls_transaction(self) and not _begins(self)

    @property
    def may_commit(self) -> bool:
        """Tell whether a part of it may have committed when it fails: a procedure's, or a DO's with COMMIT in it."""
        return self.words[0] == "CALL" or (self.words[0] == "DO" and bool(_COMMITS_INSIDE.search(self.text)))

    @property
    def leaves_session_state(self) -> bool:
        """Tell whether it makes what only its own session has, and what can't simply be said again in another one."""
        first, second = (*self.words, "", "")[:2]
        is_temporary = first == "CREATE" and any(word in ("TEMP", "TEMPORARY") for word in self.words[1:4])
        is_prepared = first == "PREPARE" and second != "TRANSACTION"
        sets_otherwise = not self.sets_session and bool(_BY_FUNCTION.search(self.text))
        return is_temporary or is_prepared or first == "DECLARE" or sets_otherwise

    @property
    def is_concurrent(self) -> bool:
        first, second = (*self.words, "", "")[:2]
        if first == "REINDEX":
            return "CONCURRENTLY" in self.words or bool(_REINDEX_OPTION.match(self.text))
        if first in ("CREATE", "DROP"):
            return "CONCURRENTLY" in self.words and "INDEX" in self.words[:3]
        return (first, second) == ("ALTER", "TABLE") and "DETACH" in self.words and "CONCURRENTLY" in self.words


@dataclass(frozen=True)
class Script:
    """A file made ready to run. `begin_options` are those of its own outermost `BEGIN`."""

    file: MigrationFile
    mode: Mode
    statements: tuple[Statement, ...]
    begin_options: str = ""

    @property
    def sql(self) -> str:
        """The statements as one text, without COPY data; `offset_in_file` leads back."""
        return "".join(statement.text for statement in self.statements)

    def offset_in_file(self, offset: int) -> int:
        """Translate an offset in `sql` into one in the file's text."""
        starts = [0]
        for statement in self.statements:
            starts.append(starts[-1] + len(statement.text))
        index = min(bisect_right(starts, offset) - 1, len(self.statements) - 1)
        return min(self.statements[index].offset + offset - starts[index], len(self.file.text))

    @property
    def copy_data(self) -> tuple[str, ...]:
        """The data of each COPY, in order."""
        return tuple(statement.copy_data for statement in self.statements if statement.copy_data is not None)

    def ran_before(self, index: int) -> str:
        """How many statements stand before the one at `index`, and their SHA-256, as in `2, sha256 9f86…`."""
        texts = [statement.text for statement in self.statements[:index]]
        return f"{len(texts)}, sha256 {hashlib.sha256(chr(0).join(texts).encode()).hexdigest()}"

    def checkpoint(self, index: int) -> Checkpoint:
        """Where the file has come to when the statement at `index` is next."""
        with_it = self.ran_before(self.block_end(index)) if index < len(self.statements) else ""
        return Checkpoint(self.file.version, index + 1, self.ran_before(index), with_it)

    def begins_with(self, ran_before: str) -> bool:
        """Tell whether the file's first statements are those that `ran_before` told of."""
        count = ran_before.partition(",")[0]
        return count.isdigit() and self.ran_before(int(count)) == ran_before

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
        return any(_CHANGES_SESSION.search(s.text) or s.words[0] == "TABLE" for s in self.statements[:index])

    def block_end(self, index: int) -> int:
        """The index of the statement after this one, or after the block of the file's own that it begins."""
        if not self.statements[index].begins_block:
            return index + 1
        ends = (at + 1 for at in range(index, len(self.statements)) if self.statements[at].ends_block)
        return next(ends, len(self.statements))


def prepare(file: MigrationFile) -> Script:
    """Read the file's SQL and choose its mode; MigrationFileError if it can't run as one unit."""
    try:
        statements = _statements(file, split(file.text))
    except LexicalError as error:
        raise _refused(file, error.offset, str(error)) from None
    if not file.header.transactional:
        for statement in statements:
            _check_chain(file, statement)
        return Script(file, Mode.STATEMENTS, statements)
    if len(statements) == 1 and _refuses_transaction(statements[0]):
        return Script(file, Mode.ALONE, statements)
    return _in_a_transaction(file, statements)


def prepare_all(files: Iterable[MigrationFile]) -> tuple[Script, ...]:
    """Prepare every file; one MigrationFileError with the faults of all that are refused."""
    scripts: list[Script] = []
    faults: list[MigrationFileError] = []
    for file in files:
        try:
            scripts.append(prepare(file))
        except MigrationFileError as fault:
            faults.append(fault)
    if faults:
        raise MigrationFileError.together(faults)
    return tuple(scripts)


_CHANGES_SESSION = re.compile(
    r"\b(?:set|reset|set_config|temp|temporary|pg_temp|prepare|declare|listen|load|lock|advisory\w*|do|call|select|"
    r"execute|values|insert|update|delete|merge|pg_advisory\w*)\b",
    re.IGNORECASE | re.ASCII,
)
_ZERO_TIMEOUT = re.compile(
    r"set\s+(?:session\s+|local\s+)?(lock_timeout|statement_timeout|transaction_timeout|"
    r"idle_in_transaction_session_timeout)\s*(?:=|\bto\b)\s*'?0'?\s*;?",
    re.IGNORECASE | re.ASCII,
)
_REPEATABLE = (
    "VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "CHECKPOINT", "SHOW", "GRANT", "REVOKE", "COMMENT", "REFRESH"
)  # fmt: skip
_REPEATABLE_PAIRS = (("ALTER", "SYSTEM"), ("CREATE", "OR"), ("SECURITY", "LABEL"))
_VACUUM_FULL = re.compile(r"vacuum\s*\([^)]*\bfull\b", re.IGNORECASE)
_COMMITS_INSIDE = re.compile(r"\b(?:commit|rollback)\b", re.IGNORECASE)
_BY_FUNCTION = re.compile(r"\b(?:pg_(?:try_)?advisory_lock\w*|set_config)\s*\(", re.IGNORECASE)
_REINDEX_OPTION = re.compile(r"reindex\s*\([^)]*\bconcurrently\b", re.IGNORECASE)
_SUBSCRIPTION_WITHOUT_SLOT = re.compile(r"\b(?:create_slot|connect)\s*=\s*'?(?:false|off|0)", re.IGNORECASE)
_NEVER_IN_A_TRANSACTION = {
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"),
    ("DISCARD", "ALL"),
}
# A second backslash on the line would begin another command, or SQL after `\\`.
_IGNORED_META = re.compile(r"\\(?:restrict\b|unrestrict\b|set\s+ON_ERROR_STOP\b)[^\\]*")
_META_NAME = re.compile(r"\\\S*")


def _statements(file: MigrationFile, pieces: tuple[Piece, ...]) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    for index, piece in enumerate(pieces):
        if piece.kind == "meta-command":
            _check_meta_command(file, piece)
        if piece.kind != "statement":
            continue
        statement = Statement(
            text=file.text[piece.first : piece.end] + ("" if piece.terminated else "\n;"),
            offset=piece.first,
            words=piece.words,
            copy_data=_copy_data(file.text, pieces, index) if piece.reads_copy_data else None,
        )
        if not _is_overruled(file, statement):
            statements.append(statement)
    return tuple(statements)


def _is_overruled(file: MigrationFile, statement: Statement) -> bool:
    """A dump's header switches every timeout off; where the runner has set one, that stays."""
    zero = _ZERO_TIMEOUT.fullmatch(statement.text.strip())
    if zero is None:
        return False
    return zero[1].lower() != "statement_timeout" or file.header.statement_timeout is not None


def _copy_data(text: str, pieces: tuple[Piece, ...], index: int) -> str:
    piece = next(piece for piece in pieces[index:] if piece.kind == "copy data")
    return text[piece.start : piece.end].rpartition("\\.")[0]


def _check_meta_command(file: MigrationFile, piece: Piece) -> None:
    command = file.text[piece.start : piece.end]
    if _IGNORED_META.fullmatch(command):
        return
    name = _META_NAME.match(command)
    assert name is not None  # a meta-command begins with its backslash
    raise _refused(file, piece.start, f"{name.group()} is a command of psql, not SQL; write it in SQL or take it out")


def _check_chain(file: MigrationFile, statement: Statement) -> None:
    """What a chain of transactions has committed could not be told from what its last one has not."""
    if _controls_transaction(statement) and statement.words[-2:] == ("AND", "CHAIN"):
        raise _refused(
            file,
            statement.offset,
            f'"{statement.head}" chains transactions; write COMMIT and BEGIN, or use a file for each',
        )


def _in_a_transaction(file: MigrationFile, statements: tuple[Statement, ...]) -> Script:
    options = ""
    if len(statements) >= 2 and _begins(statements[0]) and _commits(statements[-1]):
        options = _begin_options(statements[0])
        if "READ ONLY" in options:
            raise _refused(
                file, statements[0].offset, "in a READ ONLY transaction it could not be recorded; take READ ONLY out"
            )
        statements = statements[1:-1]
    for statement in statements:
        _check_in_transaction(file, statement)
    return Script(file, Mode.TRANSACTION, statements, options)


def _check_in_transaction(file: MigrationFile, statement: Statement) -> None:
    if _controls_transaction(statement):
        raise _refused(
            file,
            statement.offset,
            f'"{statement.head}" would end or begin a transaction, but the whole file is one; take it out, '
            "or split the file, or put `-- Transaction: none` in its header",
        )
    if _refuses_transaction(statement):
        raise _refused(
            file,
            statement.offset,
            f'"{statement.head}" can\'t run inside a transaction; move it to a file of its own, '
            "or put `-- Transaction: none` in the header",
        )


def _begins(statement: Statement) -> bool:
    return statement.words[:1] == ("BEGIN",) or statement.words[:2] == ("START", "TRANSACTION")


def _commits(statement: Statement) -> bool:
    words = statement.words
    return words[:1] in (("COMMIT",), ("END",)) and "PREPARED" not in words and words[-2:] != ("AND", "CHAIN")


def _begin_options(statement: Statement) -> str:
    """The options in upper case, without comments: nothing but keywords and commas can stand there."""
    first, second = (*statement.words, "")[:2]
    named = first == "START" or second in ("WORK", "TRANSACTION")
    return " ".join(statement.words[2 if named else 1 :])


def _controls_transaction(statement: Statement) -> bool:
    """BEGIN, COMMIT and their kin. Savepoints stay inside the transaction and are no harm."""
    first, second = (*statement.words, "", "")[:2]
    if first == "ROLLBACK":
        return "TO" not in statement.words
    return first in ("BEGIN", "COMMIT", "END", "ABORT") or (first, second) in (
        ("START", "TRANSACTION"),
        ("PREPARE", "TRANSACTION"),
    )


def _refuses_transaction(statement: Statement) -> bool:
    """The statements whose page of the manual says "cannot be executed inside a transaction block"."""
    first, second = (*statement.words, "", "")[:2]
    if first == "REINDEX" and any(word in statement.words for word in ("SCHEMA", "DATABASE", "SYSTEM")):
        return True
    if first == "CLUSTER":
        return set(statement.words) <= {"CLUSTER", "VERBOSE", "(", ")"}
    if (first, second) == ("CREATE", "SUBSCRIPTION"):
        return not _SUBSCRIPTION_WITHOUT_SLOT.search(statement.text)
    return statement.is_concurrent or first == "VACUUM" or (first, second) in _NEVER_IN_A_TRANSACTION


def _refused(file: MigrationFile, offset: int, fault: str) -> MigrationFileError:
    return MigrationFileError(fault, file=file.path, line=file.line_at(offset), version=file.version)
