"""One statement of a file: what it says, and what its words tell of how it has to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from lib.sql_lexer import WORDS_KEPT, words_of

# COPY data is handed on in pieces of so many characters.
_COPY_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class Statement:
    """A stretch of a file's text, from its first token at `offset` to `end`.

    `terminated` tells whether its semicolon is there, and `copy_data` where the data of a `COPY … FROM stdin` stands. The
    text is not copied before it is asked for.
    """

    source: str = field(repr=False)
    offset: int
    end: int
    terminated: bool = True
    copy_data: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        return self.source[self.offset : self.end] + ("" if self.terminated else "\n;")

    @property
    def size(self) -> int:
        """How many characters `text` has."""
        return self.end - self.offset + (0 if self.terminated else 2)

    @cached_property
    def command(self) -> str:
        """Its first word in upper case; nothing where it begins with a sign."""
        word = _WORD.match(self.source, self.offset)
        return word.group().upper() if word else ""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its first words and signs outside of parentheses, in upper case, without its semicolon."""
        return words_of(self.source[self.offset : self.end - self.terminated])

    @property
    def head(self) -> str:
        """The first words on one line, for messages."""
        line = " ".join(self.source[self.offset : min(self.end, self.offset + 400)].removesuffix(";").split())
        return line if len(line) <= 60 else line[:59] + "…"

    def copy_chunks(self) -> Iterator[bytes]:
        """The data of its COPY, piece by piece."""
        start, end = self.copy_data or (0, 0)
        for at in range(start, end, _COPY_CHUNK):
            yield self.source[at : min(end, at + _COPY_CHUNK)].encode()

    @property
    def waits_without_lock_timeout(self) -> bool:
        """CONCURRENTLY waits for old transactions by locks: a timeout leaves an invalid index. VACUUM is in nobody's way.

        VACUUM FULL is: it locks the table as ALTER TABLE does.
        """
        if self.command != "VACUUM":
            return self.is_concurrent
        return "FULL" not in self.words and not _VACUUM_FULL.match(self.text)

    @property
    def sets_session(self) -> bool:
        """Tell whether it changes nothing but its own session, so that it has to be said again in another one."""
        if self.command == "SET":
            return self.words[1:2] not in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",))
        if self.command in ("RESET", "LISTEN", "UNLISTEN", "LOAD", "DISCARD"):
            return True
        if self.command != "SELECT":
            return False
        call = ("SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(")
        rest = next((self.words[len(c) :] for c in (call, (call[0], *call[3:])) if self.words[: len(c)] == c), None)
        return rest is not None and (rest == () or (len(rest) == 2 and rest[0] == "AS"))

    @property
    def leaves_session_state(self) -> bool:
        """Tell whether it makes what only its own session has, and what can't simply be said again in another one."""
        is_temporary = self.command == "CREATE" and any(word in _TEMPORARY for word in self.words[1:4])
        is_prepared = self.command == "PREPARE" and self.words[1:2] != ("TRANSACTION",)
        sets_otherwise = not self.sets_session and bool(_BY_FUNCTION.search(self.text))
        return is_temporary or is_prepared or self.command == "DECLARE" or sets_otherwise

    @property
    def sets_nothing(self) -> bool:
        """Tell for certain that no setting, role, lock or temporary table can outlive it. In doubt it isn't certain.

        Certain is only what changes the catalog and calls no function, which might set anything.
        """
        if self.command in _QUIET:
            return True
        if self.command == "CREATE":
            return _creates_quietly(self.words, self.text) and "pg_temp" not in self.text.lower()
        return self.command == "ALTER" and self.words[1:2] == ("TABLE",) and "(" not in self.text

    @property
    def forgets_settings(self) -> bool:
        """Tell whether what the runner has set for the session may be gone after it."""
        return self.command in ("RESET", "DISCARD")

    @property
    def is_repeatable(self) -> bool:
        """Tell whether carrying it out a second time changes nothing more. In doubt it does."""
        if self.command in _REPEATABLE or self.words[:2] in _REPEATABLE_PAIRS or self.sets_session:
            return True
        condition = {"CREATE": ("IF", "NOT", "EXISTS"), "DROP": ("IF", "EXISTS")}.get(self.command, ())
        found = (self.words[start : start + len(condition)] == condition for start in range(1, 6))
        return bool(condition) and any(found)

    @property
    def may_commit(self) -> bool:
        """Tell whether a part of it may have committed when it fails: a procedure's, or a DO's with COMMIT in it."""
        return self.command == "CALL" or (self.command == "DO" and bool(_COMMITS_INSIDE.search(self.text)))

    @property
    def begins_block(self) -> bool:
        return self.command == "BEGIN" or (self.command == "START" and self.words[1:2] == ("TRANSACTION",))

    @property
    def ends_block(self) -> bool:
        """Tell whether it commits or rolls back; a ROLLBACK TO stays inside."""
        if self.command == "ROLLBACK":
            return "TO" not in self.words
        if self.command == "PREPARE":
            return self.words[1:2] == ("TRANSACTION",)
        return self.command in ("COMMIT", "END", "ABORT")

    @property
    def commits(self) -> bool:
        """Tell whether it is a plain COMMIT, without a second phase or a next transaction."""
        return self.command in ("COMMIT", "END") and "PREPARED" not in self.words and not self.chains

    @property
    def chains(self) -> bool:
        """Tell whether it ends a transaction and begins the next."""
        return self.ends_block and self.words[-2:] == ("AND", "CHAIN")

    @property
    def begin_options(self) -> str:
        """What a BEGIN says of its transaction, in upper case: nothing but keywords and commas can stand there."""
        is_long = self.command == "START" or self.words[1:2] in (("WORK",), ("TRANSACTION",))
        return " ".join(self.words[2 if is_long else 1 :])

    @property
    def is_concurrent(self) -> bool:
        if self.command not in ("CREATE", "DROP", "REINDEX", "ALTER"):
            return False
        if self.command == "REINDEX":
            return "CONCURRENTLY" in self.words or bool(_REINDEX_OPTION.match(self.text))
        if self.command in ("CREATE", "DROP"):
            return "CONCURRENTLY" in self.words and "INDEX" in self.words[:3]
        return self.words[1:2] == ("TABLE",) and "DETACH" in self.words and "CONCURRENTLY" in self.words

    @property
    def refuses_transaction(self) -> bool:
        """The statements whose page of the manual says "cannot be executed inside a transaction block"."""
        if self.command not in _MAY_REFUSE_A_TRANSACTION:
            return False
        if self.command == "REINDEX" and any(word in self.words for word in ("SCHEMA", "DATABASE", "SYSTEM")):
            return True
        if self.command == "CLUSTER":
            return set(self.words) <= {"CLUSTER", "VERBOSE", "(", ")"}
        if self.words[:2] == ("CREATE", "SUBSCRIPTION"):
            return not _SUBSCRIPTION_WITHOUT_SLOT.search(self.text)
        if self.words[:2] in (("ALTER", "SUBSCRIPTION"), ("ALTER", "DATABASE")):
            return ("REFRESH" if self.words[1] == "SUBSCRIPTION" else "TABLESPACE") in self.words[3:]
        return self.command == "VACUUM" or self.words[:2] in _NEVER_IN_A_TRANSACTION or self.is_concurrent

    @property
    def makes_read_only(self) -> bool:
        """Tell whether it makes its own transaction one that writes nothing."""
        return self.command == "SET" and bool(_READ_ONLY.match(self.text))

    @property
    def is_of_large_objects(self) -> bool:
        """Tell whether it is a call by which a dump fills a large object."""
        return self.command == "SELECT" and self.words[1:4] in _LARGE_OBJECT_CALLS

    @property
    def changes_defaults(self) -> bool:
        """Tell whether it may set what a new session of a database or a role begins with, itself or in a block."""
        return self.command in ("ALTER", "DO", "SELECT", "CALL") and bool(_DEFAULTS.search(self.text))

    @property
    def switched_off_timeout(self) -> str | None:
        """The timeout that it sets to zero, as the header of a dump does; None for any other statement."""
        zero = _ZERO_TIMEOUT.fullmatch(self.text.strip()) if self.command == "SET" else None
        return zero[1].lower() if zero else None

    @property
    def text_setting(self) -> tuple[str, str] | None:
        """What a SET says of how text is read, in upper case, as in `("CLIENT_ENCODING", "LATIN1")`."""
        said = _TEXT_SETTING.match(self.text) if self.command == "SET" else None
        return (said[1].upper(), said[2].upper()) if said else None


def _creates_quietly(words: tuple[str, ...], text: str) -> bool:
    """Tell whether a CREATE runs no query and no function: a table that isn't made from a query, a type, a function."""
    kind = next((word for word in words[1:5] if word not in ("OR", "REPLACE", "UNLOGGED", "UNIQUE", "CONSTRAINT")), "")
    if kind == "INDEX":
        # One pair of parentheses, around its columns, has no room for a call.
        return text.count("(") == 1
    if kind == "TABLE":
        return len(words) < WORDS_KEPT and not {"AS", "VALUES"} & set(words)
    return kind in _QUIET_KINDS


_WORD = re.compile(r"[A-Za-z_][\w$]*")
_TEMPORARY = ("TEMP", "TEMPORARY")
_QUIET = (
    "COMMENT", "GRANT", "REVOKE", "DROP", "VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "BEGIN", "START", "COMMIT", "END"
)  # fmt: skip
_QUIET_KINDS = ("TYPE", "DOMAIN", "SEQUENCE", "FUNCTION", "PROCEDURE", "TRIGGER", "SCHEMA", "POLICY", "VIEW", "ROLE")
_ZERO_TIMEOUT = re.compile(
    r"set\s+(?:session\s+|local\s+)?(lock_timeout|statement_timeout|transaction_timeout|"
    r"idle_in_transaction_session_timeout)\s*(?:=|\bto\b)\s*'?0'?\s*;?",
    re.IGNORECASE | re.ASCII,
)
_READ_ONLY = re.compile(
    r"set\s+(?:(?:session|local)\s+)?(?:transaction\s+(?:[^;]*\s)?read\s+only\b"
    r"|transaction_read_only\s*(?:=|\bto\b)\s*'?(?:on|true|yes|1)\b)",
    re.IGNORECASE | re.ASCII,
)
_LARGE_OBJECT_CALLS = tuple(("PG_CATALOG", ".", name) for name in ("LO_OPEN", "LOWRITE", "LO_CLOSE"))
_DEFAULTS = re.compile(r"\balter\s+(?:database|role|user)\b[^;]*?\b(?:re)?set\b", re.IGNORECASE)
_TEXT_SETTING = re.compile(
    r"set\s+(?:(?:session|local)\s+)?(client_encoding|names|standard_conforming_strings)\b\s*(?:=|\bto\b)?\s*'?([\w-]+)",
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
_MAY_REFUSE_A_TRANSACTION = ("CREATE", "DROP", "ALTER", "DISCARD", "REINDEX", "CLUSTER", "VACUUM")
_NEVER_IN_A_TRANSACTION = (
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"),
    ("DISCARD", "ALL"),
)
