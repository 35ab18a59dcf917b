"""Why a statement of the runner itself failed, outside of any file, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..database import read_only
from ..database.server_error import ServerError, StatementError
from ..errors import LedgerError
from .ledger_state import INSUFFICIENT_PRIVILEGE
from .table_trust import GRANTS, UNRECORDED, distrust, told_by

UNIQUE_VIOLATION = "23505"
# The longest detail, hint or context from the server that is quoted, in characters.
LONGEST_DETAIL = 2000
_NAME_TAKEN = (
    " Something else in schema public has a name that the runner's tables, or their index, need: "
    "drop or rename it. psql's \\d+ public.* shows its owner."
)
# By SQLSTATE, the advice that follows the server's message.
_ADVICE = {
    INSUFFICIENT_PRIVILEGE: f" {GRANTS}",
    UNIQUE_VIOLATION: (
        " If its rows were copied from another database, its sequences are behind them: "
        "select setval(pg_get_serial_sequence('public.schema_migrations', 'id'), max(id)) "
        "from public.schema_migrations; "
        "select setval(pg_get_serial_sequence('public.schema_migration_runs', 'id'), max(id)) "
        "from public.schema_migration_runs;"
    ),
    read_only.SQLSTATE: f" {read_only.MEANWHILE}",
    # duplicate_table, duplicate_object
    "42P07": _NAME_TAKEN,
    "42710": _NAME_TAKEN,
}


@contextmanager
def ledger_errors_translated() -> Iterator[None]:
    """Raise LedgerError in place of an error from the server that belongs to no file."""
    try:
        yield
    except StatementError as error:
        raise ledger_error(error) from None


def ledger_error(error: StatementError) -> LedgerError:
    """The error for a statement of the runner itself that the server refused."""
    if (fault := distrust(error)) is not None:
        return fault
    fact = told_by(error).get("fault")
    if fact == "unrecorded":
        return LedgerError(UNRECORDED)
    if fact == "emptied":
        return LedgerError(
            "A trigger or a rule on the runner's tables would take rows out of "
            "public.schema_migrations: nothing was written. Drop it."
        )
    server_error = error.server_error
    advice = _ADVICE.get(server_error.sqlstate, "")
    return LedgerError(
        f"The database refused the runner's own statement: {server_error.message} "
        f"(SQLSTATE {server_error.sqlstate}).{advice}{_details(server_error)}"
    )


def _details(server_error: ServerError) -> str:
    """The server's detail, hint and context, such as the advice that an event trigger gives."""
    lines = (f"{name}: {text[:LONGEST_DETAIL]}" for name, text in server_error.more)
    return "".join("\n  " + line.replace("\n", "\n    ") for line in lines)
