"""How large and how busy the tables of the database are, asked by somebody. Writes nothing."""

from datetime import UTC, datetime

from ..ledger.ledger_errors import ledger_errors_translated
from ..review.live_sizes import SizesReport
from ..review.sizes_query import read_sizes
from .run_parameters import RunContext


def check_live_sizes(context: RunContext) -> SizesReport:
    """Measure the tables, over a connection of its own."""
    with ledger_errors_translated(), context.connect() as connection:
        database, sizes = read_sizes(connection)
    return SizesReport(context.settings.environment, database, datetime.now(UTC), sizes)
