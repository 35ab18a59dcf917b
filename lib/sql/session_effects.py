"""What a statement leaves behind when it has run: in its session, or as the default of others.

Nobody can know what a function does, so these predicates err to one side; each says which.
"""

import re

from .lexer import WORDS_KEPT
from .statement import Statement

_TEMPORARY = ("TEMP", "TEMPORARY")
# Commands that change the catalog or the storage and run no function of a user.
_RUNS_NO_FUNCTION = (
    "COMMENT", "GRANT", "REVOKE", "DROP", "VACUUM", "ANALYZE", "REINDEX", "CLUSTER",
    "BEGIN", "START", "COMMIT", "END",
)  # fmt: skip
_BEFORE_THE_KIND = ("OR", "REPLACE", "UNLOGGED", "UNIQUE", "CONSTRAINT")
# Kinds of objects whose CREATE runs no query and no function.
_CREATED_WITHOUT_FUNCTION = (
    "TYPE", "DOMAIN", "SEQUENCE", "FUNCTION", "PROCEDURE", "TRIGGER", "SCHEMA", "POLICY", "VIEW",
    "ROLE",
)  # fmt: skip
# With these words ALTER TABLE checks or rewrites rows, with functions that a user may have written.
_MAY_RUN_A_FUNCTION = {"VALIDATE", "USING", "TYPE", "DEFAULT"}
# Key words, which no domain can be named without quotes, and the types that are as common.
_KNOWN_TYPES = {
    "BIGINT", "BIGSERIAL", "BIT", "BOOLEAN", "BOOL", "BYTEA", "CHAR", "CHARACTER", "DATE",
    "DECIMAL", "DOUBLE", "FLOAT", "INT", "INT4", "INT8", "INTEGER", "INTERVAL", "JSON", "JSONB",
    "NUMERIC", "REAL", "SERIAL", "SMALLINT", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "UUID",
    "VARCHAR",
}  # fmt: skip
_LARGE_OBJECT_CALLS = tuple(
    ("PG_CATALOG", ".", name) for name in ("LO_OPEN", "LOWRITE", "LO_CLOSE")
)
_CHANGES_DEFAULTS = re.compile(
    r"\balter\s+(?:database|role|user)\b[^;]{0,300}?\b(?:re)?set\b", re.IGNORECASE
)
_REPEATABLE = (
    "VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "CHECKPOINT", "SHOW", "GRANT", "REVOKE", "COMMENT",
    "REFRESH",
)  # fmt: skip
_REPEATABLE_PAIRS = (("ALTER", "SYSTEM"), ("CREATE", "OR"), ("SECURITY", "LABEL"))
_CONDITIONS = {"CREATE": ("IF", "NOT", "EXISTS"), "DROP": ("IF", "EXISTS")}
_SETS_BY_FUNCTION = re.compile(r"\b(?:pg_(?:try_)?advisory_lock\w*|set_config)\s*\(", re.IGNORECASE)
_SET_CONFIG_CALLS = (
    ("SELECT", "PG_CATALOG", ".", "SET_CONFIG", "("),
    ("SELECT", "SET_CONFIG", "("),
)


def sets_session(statement: Statement) -> bool:
    """True if the statement changes only its session, so that another session has to repeat it.

    In doubt, false.
    """
    if statement.command == "SET":
        return statement.opening[1:2] not in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",))
    if statement.command in ("RESET", "LISTEN", "UNLISTEN", "LOAD", "DISCARD"):
        return True
    return statement.command == "SELECT" and _selects_only_set_config(statement.words)


def _selects_only_set_config(words: tuple[str, ...]) -> bool:
    for call in _SET_CONFIG_CALLS:
        if words[: len(call)] == call:
            # The arguments are inside parentheses, and so none of the words.
            rest = words[len(call) :]
            return not rest or (len(rest) == 2 and rest[0] == "AS")
    return False


def resets_session(statement: Statement) -> bool:
    """True if parameters that the runner has set for the session may be gone afterwards."""
    return statement.command in ("RESET", "DISCARD")


def leaves_session_state(statement: Statement) -> bool:
    """True if the statement makes what exists in its session only, and can't just be repeated.

    Examples are a temporary table, a prepared statement, a cursor and an advisory lock.
    """
    command, opening = statement.command, statement.opening
    if command == "CREATE" and any(word in _TEMPORARY for word in opening[1:4]):
        return True
    if command == "PREPARE" and opening[1:2] != ("TRANSACTION",):
        return True
    if command == "DECLARE":
        return True
    return not sets_session(statement) and bool(_SETS_BY_FUNCTION.search(statement.text))


def may_change_session(statement: Statement) -> bool:
    """True if a parameter, a role, a lock or a temporary table may outlive the statement.

    In doubt, true: false only for what changes the catalog and runs no function.
    """
    if statement.command in _RUNS_NO_FUNCTION:
        return False
    if statement.command == "CREATE":
        return not _creates_quietly(statement) or "pg_temp" in statement.text.lower()
    if statement.command == "ALTER" and statement.opening[1:2] == ("TABLE",):
        # Parentheses may enclose an expression.
        if "(" in statement.text or _MAY_RUN_A_FUNCTION & set(statement.words):
            return True
        return not _adds_columns_of_known_types(statement.words)
    return True


def _adds_columns_of_known_types(words: tuple[str, ...]) -> bool:
    """True unless a column may be of a domain, whose default and checks run for every row."""
    if len(words) >= WORDS_KEPT:
        # More columns may follow.
        return False
    added = [words[place + 1 :] for place, word in enumerate(words) if word == "ADD"]
    for after in added:
        if after[:1] in (("CONSTRAINT",), ("PRIMARY",), ("UNIQUE",), ("FOREIGN",), ("CHECK",)):
            continue
        column = [word for word in after if word not in ("COLUMN", "IF", "NOT", "EXISTS")]
        if column[1:2] and column[1] not in _KNOWN_TYPES:
            return False
    return True


def _creates_quietly(statement: Statement) -> bool:
    """True if a CREATE runs no query and no function. In doubt, false."""
    kind = next((word for word in statement.opening[1:] if word not in _BEFORE_THE_KIND), "")
    if kind == "INDEX":
        # A single pair of parentheses encloses the columns: there is no function call.
        return statement.text.count("(") == 1
    if kind == "TABLE":
        # Of a longer statement, AS may stand beyond the words that are kept.
        is_complete = len(statement.words) < WORDS_KEPT
        return is_complete and not {"AS", "VALUES"} & set(statement.words)
    return kind in _CREATED_WITHOUT_FUNCTION


def is_repeatable(statement: Statement) -> bool:
    """True if running the statement a second time changes nothing more. In doubt, false."""
    if statement.command in _REPEATABLE or statement.opening[:2] in _REPEATABLE_PAIRS:
        return True
    if sets_session(statement):
        return True
    condition = _CONDITIONS.get(statement.command)
    if condition is None:
        return False
    # The condition follows the kind of the object, as in DROP FOREIGN DATA WRAPPER IF EXISTS.
    size = len(condition)
    return any(statement.words[start : start + size] == condition for start in range(1, 6))


def writes_large_object(statement: Statement) -> bool:
    """True for the calls by which a dump restores a large object."""
    return statement.command == "SELECT" and statement.opening[1:4] in _LARGE_OBJECT_CALLS


def changes_defaults(statement: Statement) -> bool:
    """True if the statement may change the defaults of new sessions, itself or in a block.

    These are the parameters of ALTER DATABASE and ALTER ROLE. In doubt, true.
    """
    return statement.command in ("ALTER", "DO", "SELECT", "CALL") and bool(
        _CHANGES_DEFAULTS.search(statement.text)
    )
