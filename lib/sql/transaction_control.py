"""How a statement relates to transactions: it begins or ends one, or can't run inside one."""

import re

from .concurrent import is_concurrent
from .statement import Statement, is_on

# CREATE SUBSCRIPTION runs in a transaction if it creates no slot on the publisher.
_SUBSCRIPTION_WITHOUT_SLOT = re.compile(
    r"\b(?:create_slot|connect)\s*=\s*'?(?:false|off|0)", re.IGNORECASE
)
# Looked up first, since nearly all statements are of other kinds.
_MAY_REFUSE_A_TRANSACTION = ("CREATE", "DROP", "ALTER", "DISCARD", "REINDEX", "CLUSTER", "VACUUM")
_NEVER_IN_A_TRANSACTION = (
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"),
    ("DISCARD", "ALL"),
)
_COMMIT_OR_ROLLBACK = re.compile(r"\b(?:commit|rollback)\b", re.IGNORECASE)


def begins_block(statement: Statement) -> bool:
    """True for BEGIN and START TRANSACTION."""
    return statement.command == "BEGIN" or (
        statement.command == "START" and statement.opening[1:2] == ("TRANSACTION",)
    )


def ends_block(statement: Statement) -> bool:
    """True if the statement ends the transaction block; ROLLBACK TO SAVEPOINT does not."""
    if statement.command == "ROLLBACK":
        return "TO" not in statement.words
    if statement.command == "PREPARE":
        return statement.opening[1:2] == ("TRANSACTION",)
    return statement.command in ("COMMIT", "END", "ABORT")


def commits(statement: Statement) -> bool:
    """True for a plain COMMIT: neither COMMIT PREPARED nor AND CHAIN."""
    is_commit = statement.command in ("COMMIT", "END") and "PREPARED" not in statement.words
    return is_commit and not chains(statement)


def chains(statement: Statement) -> bool:
    """True if the statement ends a transaction and begins the next, with AND CHAIN."""
    return ends_block(statement) and statement.words[-2:] == ("AND", "CHAIN")


def begin_options(statement: Statement) -> str:
    """Return the transaction modes of a BEGIN, in upper case: only keywords and commas."""
    is_two_words = statement.opening[1:2] in (("WORK",), ("TRANSACTION",))
    is_long = statement.command == "START" or is_two_words
    return " ".join(statement.words[2 if is_long else 1 :])


def may_commit_inside(statement: Statement) -> bool:
    """True if a part may have committed when the statement fails: CALL, or DO with COMMIT."""
    if statement.command == "DO":
        return bool(_COMMIT_OR_ROLLBACK.search(statement.text))
    return statement.command == "CALL"


def makes_read_only(statement: Statement) -> bool:
    """True if the statement makes the current transaction read-only."""
    if statement.command == "SET" and "TRANSACTION" in statement.opening[1:3]:
        return "READ ONLY" in " ".join(statement.words)
    name, value = statement.setting or ("", "")
    return name == "transaction_read_only" and is_on(value)


def refuses_transaction(statement: Statement) -> bool:
    """True if the manual says that the statement "cannot be executed inside a transaction block".

    The rules follow the "Notes" of the pages of each command.
    """
    command = statement.command
    if command not in _MAY_REFUSE_A_TRANSACTION:
        return False
    # These work through many tables, each in a transaction of its own.
    if command == "REINDEX" and {"SCHEMA", "DATABASE", "SYSTEM"} & set(statement.words):
        return True
    if command == "CLUSTER":
        # Without a table, CLUSTER works through all of them, each in a transaction of its own.
        return set(statement.words) <= {"CLUSTER", "VERBOSE", "(", ")"}
    pair = statement.opening[:2]
    if pair == ("CREATE", "SUBSCRIPTION"):
        # Creating the replication slot on the publisher is what can't be rolled back.
        return not _SUBSCRIPTION_WITHOUT_SLOT.search(statement.text)
    if pair == ("ALTER", "SUBSCRIPTION"):
        return "REFRESH" in statement.words[3:]
    if pair == ("ALTER", "DATABASE"):
        return "TABLESPACE" in statement.words[3:]
    return command == "VACUUM" or pair in _NEVER_IN_A_TRANSACTION or is_concurrent(statement)
