"""The seeds and what has become of them. Writes nothing, locks nothing."""

from ..actions.run_parameters import RunContext
from ..ledger.ledger_errors import ledger_errors_translated
from ..own_tables import SEEDS
from ..time_limits import SURVEY
from .seed_folder import discover_seeds
from .seed_reports import Seed, compare
from .seed_table import read_records

_LOCKED = f"public.{SEEDS} wasn't read in time: a session may lock it. Run this again later."


def read_seeds(context: RunContext) -> tuple[Seed, ...]:
    """Compare the files with the table. Without files, no connection is made."""
    files = discover_seeds(context.settings.migrations_dir)
    if not files:
        return ()
    with (
        ledger_errors_translated(),
        context.connect() as connection,
        connection.limit_to(SURVEY, _LOCKED),
    ):
        records = read_records(connection, context.trusted)
    return compare(files, records, context.settings.environment)
