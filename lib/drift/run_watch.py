"""What a run does about drift: before its first file it compares, after its last it records.

A schema that is not known never fails a run: the run says so, and goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..database.connection import Connection
from ..database.server_error import StatementError
from ..errors import MigratorError
from ..ledger.runs import RunRecord, record_verdict
from ..ledger.table_trust import Tables
from ..object_patterns import ObjectPattern
from ..own_tables import LEDGER
from .live_check import check_now, record_schema
from .schema_record import Record, confirm_record
from .verdict import DriftError, Verdict, drift_text

_NOT_RECORDED = (
    "The schema could not be recorded after this run, so the next one cannot tell whether it has "
    "changed meanwhile"
)


@dataclass
class RunWatch:
    """The comparison of one run, under the run lock.

    With `stops`, drift stops the run before anything is applied. `warn` passes a warning on.
    """

    ignored: Sequence[ObjectPattern]
    stops: bool
    warn: Callable[[str], None]
    has_drift: bool | None = None
    _record: Record | None = None

    def look_before(self, connection: Connection, tables: Tables) -> None:
        """Compare, and warn of what has changed; DriftError if that stops the run."""
        found = check_now(connection, tables, self.ignored)
        verdict, self._record = found.verdict, found.record
        self.has_drift = verdict.has_drift
        for advice in self._record.advice:
            self.warn(advice)
        if verdict.has_drift and self.stops:
            record_verdict(connection, tables, is_drift=True)
            raise DriftError(verdict)
        if verdict.has_drift or (verdict.changes is None and not self._is_new(verdict, tables)):
            self.warn(drift_text(verdict))

    def _is_new(self, verdict: Verdict, tables: Tables) -> bool:
        """True if nobody could have expected a comparison, as in a new database."""
        return verdict.is_first and (LEDGER not in tables.found or not self.stops)

    def look_after(self, connection: Connection, run: RunRecord, *, changed: bool) -> None:
        """Record the schema as that after `run`; where it has `changed` nothing, keep the record.

        Raises nothing: the run has ended, one way or the other.
        """
        try:
            why_not = self._remember(connection, run, changed=changed)
        except (StatementError, MigratorError) as error:
            why_not = str(error)
        if why_not:
            self.warn(f"{_NOT_RECORDED}: {why_not}")

    def _remember(self, connection: Connection, run: RunRecord, *, changed: bool) -> str | None:
        assert self._record is not None  # `look_before` comes first
        if not changed:
            # Drift that this run has reported stays: only a run that changes something accepts it.
            is_kept = self._record.schema is not None
            return confirm_record(connection, run.tables, run.id) if is_kept else None
        return record_schema(connection, run.tables, run.id, exists=self._record.exists)
