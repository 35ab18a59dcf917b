"""What the server says when it refuses a statement, and the errors made from its words."""

from dataclasses import dataclass

from psycopg import pq

from ..errors import DatabaseUnavailableError

# transaction_timeout, of PostgreSQL 17 and later; see "PostgreSQL Error Codes" in the manual.
_TRANSACTION_TIMEOUT = "25P04"
# What is true of the file under way when a connection is gone.
AFTER_A_LOST_CONNECTION = (
    "A file under way in a transaction was rolled back, or had just committed; run it again, and "
    "what is still pending is applied."
)


@dataclass(frozen=True)
class ServerError:
    """The fields of an ErrorResponse (PostgreSQL manual, "Error and Notice Message Fields").

    `position` counts the characters of the whole message, from 1; `internal_position` those of
    `internal_query`, a query that a function ran.
    """

    sqlstate: str
    message: str
    detail: str | None
    hint: str | None
    context: str | None
    position: int | None
    internal_query: str | None = None
    internal_position: int | None = None

    @property
    def more(self) -> tuple[tuple[str, str], ...]:
        """The parts beside the message, each with its name."""
        parts = (("Detail", self.detail), ("Hint", self.hint), ("Context", self.context))
        return tuple((name, text) for name, text in parts if text)


class StatementError(Exception):
    """A statement failed. `done` statements of the same message succeeded; the rest was not run."""

    def __init__(self, server_error: ServerError, done: int) -> None:
        super().__init__(server_error.message)
        self.server_error = server_error
        self.done = done


def server_error_of(result: "pq.abc.PGresult") -> ServerError:
    """Read the error that a result carries."""

    def field(name: pq.DiagnosticField) -> str | None:
        value = result.error_field(name)
        return None if value is None else value.decode("utf-8", "replace")

    # libpq gives numbers as text.
    position = field(pq.DiagnosticField.STATEMENT_POSITION)
    internal_position = field(pq.DiagnosticField.INTERNAL_POSITION)
    return ServerError(
        sqlstate=field(pq.DiagnosticField.SQLSTATE) or "",
        message=field(pq.DiagnosticField.MESSAGE_PRIMARY) or "the server gave no message",
        detail=field(pq.DiagnosticField.MESSAGE_DETAIL),
        hint=field(pq.DiagnosticField.MESSAGE_HINT),
        context=field(pq.DiagnosticField.CONTEXT),
        position=int(position) if position else None,
        internal_query=field(pq.DiagnosticField.INTERNAL_QUERY),
        internal_position=int(internal_position) if internal_position else None,
    )


def connection_lost(last_words: ServerError | None = None) -> DatabaseUnavailableError:
    """Return the error for a lost connection; `last_words` is what the server said before."""
    if last_words is None:
        return DatabaseUnavailableError(
            f"The connection to the database was lost. {AFTER_A_LOST_CONNECTION}"
        )
    said = f"The server said: {last_words.message} (SQLSTATE {last_words.sqlstate})."
    if last_words.sqlstate == _TRANSACTION_TIMEOUT:
        said += (
            " If the file sets transaction_timeout, raise it there; that of the role or database "
            "is lifted."
        )
    return DatabaseUnavailableError(
        f"The connection to the database was lost. {said} {AFTER_A_LOST_CONNECTION}",
        sqlstate=last_words.sqlstate,
    )
