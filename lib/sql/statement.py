"""One statement of a file: what it says, and what its words tell of how it has to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from ..clean_text import is_secretive, masked
from .lexer import WORDS_KEPT, tokens, without_strings, words_of

# COPY data is handed on in pieces of so many characters.
_COPY_CHUNK = 1 << 18
# Enough words for what kind of statement it is, and enough tokens for what it names.
OPENING = 5
_TOKENS_KEPT = 60


@dataclass(frozen=True, eq=False)
class Statement:
    """A stretch of a file's text, from its first token at `offset` to `end`.

    `terminated` tells whether its semicolon is there, and `copy_data` where the data of a `COPY … FROM stdin` stands.
    `lead` is where a `/* */` comment begins that stands before it, which psql sends with it. The text is not copied before
    it is asked for.
    """

    source: str = field(repr=False)
    offset: int
    end: int
    terminated: bool = True
    copy_data: tuple[int, int] | None = None
    lead: int | None = None

    @property
    def text(self) -> str:
        """The statement with its semicolon, as the journal's digests have it."""
        return self.source[self.offset : self.end] + ("" if self.terminated else "\n;")

    @property
    def sent_from(self) -> int:
        """The offset in the file of what is sent."""
        return self.offset if self.lead is None else self.lead

    @property
    def sent(self) -> str:
        """What is sent to the server, which is what psql would send."""
        return self.source[self.sent_from : self.end]

    @property
    def goes_alone(self) -> bool:
        """True if it can't be one of several in a pipeline: a COPY, or one with a parameter."""
        return self.command == "COPY" or (
            bool(_PARAMETER.search(self.text))
            and any(_PARAMETER.match(token) for token in tokens(self.text))
        )

    @cached_property
    def is_secretive(self) -> bool:
        """Tell whether it, or the data of its COPY, may hold what has no place in a log."""
        return is_secretive(self.text) or bool(self.copy_data and _SECRET_COLUMN.search(self.text))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Its first tokens as they are written."""
        return tuple(islice(tokens(self.source[self.offset : self.end]), _TOKENS_KEPT))

    @cached_property
    def command(self) -> str:
        """Its first word in upper case; nothing where it begins with a sign."""
        word = _WORD.match(self.source, self.offset)
        return word.group().upper() if word else ""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its first words and signs outside of parentheses, in upper case, without its semicolon."""
        return words_of(self._without_semicolon)

    @cached_property
    def opening(self) -> tuple[str, ...]:
        """The first few of them, which cost less."""
        return words_of(self._without_semicolon, OPENING)

    @property
    def _without_semicolon(self) -> str:
        return self.source[self.offset : self.end - 1 if self.terminated else self.end]

    @property
    def head(self) -> str:
        """The first words on one line, for messages; without its strings, if any of all its strings may be a secret."""
        text = self.source[self.offset : min(self.end, self.offset + 400)].removesuffix(";")
        line = masked(without_strings(text)) if is_secretive(self.text) else " ".join(text.split())
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
            return self.opening[1:2] not in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",))
        if self.command in ("RESET", "LISTEN", "UNLISTEN", "LOAD", "DISCARD"):
            return True
        if self.command != "SELECT":
            return False
        call = ("SELECT", "PG_CATALOG", ".", "SET_CONFIG", "(")
        rest = next(
            (
                self.words[len(c) :]
                for c in (call, (call[0], *call[3:]))
                if self.words[: len(c)] == c
            ),
            None,
        )
        return rest is not None and (rest == () or (len(rest) == 2 and rest[0] == "AS"))

    @property
    def leaves_session_state(self) -> bool:
        """Tell whether it makes what only its own session has, and what can't simply be said again in another one."""
        is_temporary = self.command == "CREATE" and any(
            word in _TEMPORARY for word in self.opening[1:4]
        )
        is_prepared = self.command == "PREPARE" and self.opening[1:2] != ("TRANSACTION",)
        sets_otherwise = not self.sets_session and bool(_BY_FUNCTION.search(self.text))
        return is_temporary or is_prepared or self.command == "DECLARE" or sets_otherwise

    @property
    def sets_nothing(self) -> bool:
        """Tell that no setting, role, lock or temporary table can outlive it: it changes the catalog, and runs no function.

        In doubt it may set something.
        """
        if self.command in _QUIET:
            return True
        if self.command == "CREATE":
            return _creates_quietly(self) and "pg_temp" not in self.text.lower()
        is_table = self.command == "ALTER" and self.opening[1:2] == ("TABLE",)
        return is_table and "(" not in self.text and not _MAY_CALL & set(self.words)

    @property
    def forgets_settings(self) -> bool:
        """Tell whether what the runner has set for the session may be gone after it."""
        return self.command in ("RESET", "DISCARD")

    @property
    def is_repeatable(self) -> bool:
        """Tell whether carrying it out a second time changes nothing more. In doubt it does."""
        if (
            self.command in _REPEATABLE
            or self.opening[:2] in _REPEATABLE_PAIRS
            or self.sets_session
        ):
            return True
        condition = {"CREATE": ("IF", "NOT", "EXISTS"), "DROP": ("IF", "EXISTS")}.get(
            self.command, ()
        )
        found = (self.words[start : start + len(condition)] == condition for start in range(1, 6))
        return bool(condition) and any(found)

    @property
    def may_commit(self) -> bool:
        """Tell whether a part of it may have committed when it fails: a procedure's, or a DO's with COMMIT in it."""
        return self.command == "CALL" or (
            self.command == "DO" and bool(_COMMITS_INSIDE.search(self.text))
        )

    @property
    def begins_block(self) -> bool:
        return self.command == "BEGIN" or (
            self.command == "START" and self.opening[1:2] == ("TRANSACTION",)
        )

    @property
    def ends_block(self) -> bool:
        """Tell whether it commits or rolls back; a ROLLBACK TO stays inside."""
        if self.command == "ROLLBACK":
            return "TO" not in self.words
        if self.command == "PREPARE":
            return self.opening[1:2] == ("TRANSACTION",)
        return self.command in ("COMMIT", "END", "ABORT")

    @property
    def commits(self) -> bool:
        """Tell whether it is a plain COMMIT, without a second phase or a next transaction."""
        return (
            self.command in ("COMMIT", "END") and "PREPARED" not in self.words and not self.chains
        )

    @property
    def chains(self) -> bool:
        """Tell whether it ends a transaction and begins the next."""
        return self.ends_block and self.words[-2:] == ("AND", "CHAIN")

    @property
    def begin_options(self) -> str:
        """What a BEGIN says of its transaction, in upper case: nothing but keywords and commas can stand there."""
        is_long = self.command == "START" or self.opening[1:2] in (("WORK",), ("TRANSACTION",))
        return " ".join(self.words[2 if is_long else 1 :])

    @property
    def is_concurrent(self) -> bool:
        if (
            self.command not in ("CREATE", "DROP", "REINDEX", "ALTER")
            or "concurrently" not in self.text.lower()
        ):
            return False
        if self.command == "REINDEX":
            return "CONCURRENTLY" in self.words or bool(_REINDEX_OPTION.match(self.text))
        if self.command in ("CREATE", "DROP"):
            return "CONCURRENTLY" in self.words and "INDEX" in self.opening[:3]
        return (
            self.opening[1:2] == ("TABLE",)
            and "DETACH" in self.words
            and "CONCURRENTLY" in self.words
        )

    @property
    def refuses_transaction(self) -> bool:
        """The statements whose page of the manual says "cannot be executed inside a transaction block"."""
        if self.command not in _MAY_REFUSE_A_TRANSACTION:
            return False
        if self.command == "REINDEX" and any(
            word in self.words for word in ("SCHEMA", "DATABASE", "SYSTEM")
        ):
            return True
        if self.command == "CLUSTER":
            return set(self.words) <= {"CLUSTER", "VERBOSE", "(", ")"}
        if self.opening[:2] == ("CREATE", "SUBSCRIPTION"):
            return not _SUBSCRIPTION_WITHOUT_SLOT.search(self.text)
        if self.opening[:2] in (("ALTER", "SUBSCRIPTION"), ("ALTER", "DATABASE")):
            return ("REFRESH" if self.opening[1] == "SUBSCRIPTION" else "TABLESPACE") in self.words[
                3:
            ]
        return (
            self.command == "VACUUM"
            or self.opening[:2] in _NEVER_IN_A_TRANSACTION
            or self.is_concurrent
        )

    @property
    def makes_read_only(self) -> bool:
        """Tell whether it makes its own transaction one that writes nothing."""
        if (
            self.command == "SET"
            and "TRANSACTION" in self.opening[1:3]
            and "READ ONLY" in " ".join(self.words)
        ):
            return True
        name, value = self.setting or ("", "")
        return name == "transaction_read_only" and is_on(value)

    @property
    def is_of_large_objects(self) -> bool:
        """Tell whether it is a call by which a dump fills a large object."""
        return self.command == "SELECT" and self.opening[1:4] in _LARGE_OBJECT_CALLS

    @property
    def changes_defaults(self) -> bool:
        """Tell whether it may set what a new session of a database or a role begins with, itself or in a block."""
        return self.command in ("ALTER", "DO", "SELECT", "CALL") and bool(
            _DEFAULTS.search(self.text)
        )

    @property
    def setting(self) -> tuple[str, str] | None:
        """The parameter and the value of a SET, or of a SELECT of set_config, as in `("client_encoding", "LATIN1")`."""
        if self.command == "SELECT":
            called = _SET_CONFIG.search(self.text)
            return (called[1].lower(), called[2]) if called else None
        if self.command != "SET":
            return None
        words = [unquoted(token) for token in self.tokens if token != ";"][1:]
        if words[:1] in (["local"], ["session"]):
            del words[0]
        if words[:1] == ["names"]:
            return "client_encoding", " ".join(words[1:2])
        return (words[0], "".join(words[2:])) if words[1:2] in (["="], ["to"]) else None


def unquoted(token: str) -> str:
    """A name as the server folds it, or what stands between the quotes of a name or a string."""
    if token[-1:] in ("'", '"'):
        return token[token.index(token[-1]) + 1 : -1]
    return token.lower()


def is_on(value: str) -> bool:
    """Tell whether the server takes the value of a parameter for true: it takes the beginning of a word for the word."""
    value = value.lower()
    return value in ("1", "on") or (
        value != "" and any(word.startswith(value) for word in ("true", "yes"))
    )


def _creates_quietly(statement: Statement) -> bool:
    """Tell whether a CREATE runs no query and no function: a table that isn't made from a query, a type, a function."""
    kind = next((word for word in statement.opening[1:] if word not in _BEFORE_THE_KIND), "")
    if kind == "INDEX":
        # One pair of parentheses, around its columns, has no room for a call.
        return statement.text.count("(") == 1
    if kind == "TABLE":
        return len(statement.words) < WORDS_KEPT and not {"AS", "VALUES"} & set(statement.words)
    return kind in _QUIET_KINDS


_WORD = re.compile(r"[A-Za-z_][\w$]*")
_PARAMETER = re.compile(r"\$[0-9]")
_TEMPORARY = ("TEMP", "TEMPORARY")
_QUIET = (
    "COMMENT", "GRANT", "REVOKE", "DROP", "VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "BEGIN", "START", "COMMIT", "END"
)  # fmt: skip
_BEFORE_THE_KIND = ("OR", "REPLACE", "UNLOGGED", "UNIQUE", "CONSTRAINT")
# What checks or rewrites rows, with functions that a user may have written.
_MAY_CALL = {"VALIDATE", "USING", "TYPE", "DEFAULT"}
_QUIET_KINDS = (
    "TYPE",
    "DOMAIN",
    "SEQUENCE",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "SCHEMA",
    "POLICY",
    "VIEW",
    "ROLE",
)
_SET_CONFIG = re.compile(r"\bset_config\s*\(\s*'(\w+)'\s*,\s*'([^']*)'", re.IGNORECASE)
_SECRET_COLUMN = re.compile(r"passw|secret|token|api_?key|credential", re.IGNORECASE)
_LARGE_OBJECT_CALLS = tuple(
    ("PG_CATALOG", ".", name) for name in ("LO_OPEN", "LOWRITE", "LO_CLOSE")
)
_DEFAULTS = re.compile(
    r"\balter\s+(?:database|role|user)\b[^;]{0,300}?\b(?:re)?set\b", re.IGNORECASE
)
_REPEATABLE = (
    "VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "CHECKPOINT", "SHOW", "GRANT", "REVOKE", "COMMENT", "REFRESH"
)  # fmt: skip
_REPEATABLE_PAIRS = (("ALTER", "SYSTEM"), ("CREATE", "OR"), ("SECURITY", "LABEL"))
_VACUUM_FULL = re.compile(r"vacuum\s*\([^)]*\bfull\b", re.IGNORECASE)
_COMMITS_INSIDE = re.compile(r"\b(?:commit|rollback)\b", re.IGNORECASE)
_BY_FUNCTION = re.compile(r"\b(?:pg_(?:try_)?advisory_lock\w*|set_config)\s*\(", re.IGNORECASE)
_REINDEX_OPTION = re.compile(r"reindex\s*\([^)]*\bconcurrently\b", re.IGNORECASE)
_SUBSCRIPTION_WITHOUT_SLOT = re.compile(
    r"\b(?:create_slot|connect)\s*=\s*'?(?:false|off|0)", re.IGNORECASE
)
_MAY_REFUSE_A_TRANSACTION = ("CREATE", "DROP", "ALTER", "DISCARD", "REINDEX", "CLUSTER", "VACUUM")
_NEVER_IN_A_TRANSACTION = (
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"),
    ("DISCARD", "ALL"),
)
