"""The seeds of this environment, each content applied once: in the session and the way of a run."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from .. import COMMAND
from ..actions.connection_for_files import NO_ANSWER, RunConnection
from ..actions.dry_run import scripts_to_run
from ..actions.file_runner import FileRunner, apply_watched
from ..actions.locked_run import begin_run, check_pooler, look_before
from ..actions.run_parameters import RunContext, RunState
from ..actions.status import plan_from_survey
from ..apply.session import Session
from ..database.sql_composition import filled, joined
from ..errors import ConfigurationError, GuardError, Interrupted, MigratorError
from ..files.folder import MigrationFile, discover
from ..files.prepare_script import prepare_all
from ..files.runnable_script import Script
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.production_guard import PRODUCTION, check_writable
from ..ledger.run_lock import RunLock
from ..masking import masked
from ..own_tables import LEDGER, RUNS, SEEDS
from ..plan.migration_plan import environment_warnings
from ..time_limits import ANSWER
from .seed_folder import discover_seeds, prepare_seeds
from .seed_reports import SeedReport, compare
from .seed_table import SeedRecords, create_table, find_seeds, read_records, seed_record

_RUNS_AGAIN = (
    "A seed that was changed runs again, on top of what it has left: write it so that it may, as "
    "with `on conflict do nothing`."
)
# OIDs are given in order, so a relation with a lower one was there before the journal, which the
# first run creates before any file is applied.
_OLDER = f"""
select c.relname from pg_class c
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and c.relname not in ('{LEDGER}', '{RUNS}', '{SEEDS}') and c.oid < {{journal}}::oid
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                      and d.objid = c.oid and d.deptype = 'e')
 order by c.oid limit 1
"""
_ONE_TRANSACTION = "A seed runs in one transaction: put this into a migration."


class SeedSession(Session):
    """A session whose files are seeds: recorded in their own table, and never in the ledger."""

    table: ClassVar[str] = f"public.{SEEDS}"
    is_ledgers: ClassVar[bool] = False
    ways_out: ClassVar[Mapping[str, str]] = {
        # unique_violation, duplicate_table, duplicate_object
        **dict.fromkeys(("23505", "42P07", "42710"), _RUNS_AGAIN),
        # active_sql_transaction, invalid_transaction_termination
        **dict.fromkeys(("25001", "2D000"), _ONE_TRANSACTION),
    }

    def record_statements(
        self,
        script: Script,
        *,
        is_counted: bool,
        has_notes: bool,  # noqa: ARG002  of the migrations' session
    ) -> tuple[str, ...]:
        """As for a migration; what is noted in the journal meanwhile, the run's end replaces."""
        return seed_record(self.run, script.file, is_counted=is_counted)

    def find_recorded(self, script: Script) -> tuple[tuple[int, bool] | None, bool]:
        """As for a migration. While the run lock is held, nobody else writes the row."""
        found = self.find_written([script])
        recorded = (found[script.file.version], True) if found else None
        return recorded, not self.connection.is_closed

    def find_written(self, scripts: Sequence[Script]) -> Mapping[str, int]:
        """Which of the seeds are on record: by version, the milliseconds in the row."""
        versions = {script.file.checksum: script.file.version for script in scripts}
        found = self.asked(lambda: find_seeds(self.connection, self.run, list(versions))) or {}
        return {versions[checksum]: elapsed for checksum, elapsed in found.items()}


def seed(context: RunContext, *, only_if_made: bool = False) -> SeedReport:
    """Apply the seeds that are due. An error is part of the report, beside what was applied.

    With `only_if_made`, none is applied to a database that was there before the first migration.
    """
    state = RunState()

    def pass_on_notice(severity: str, text: str) -> None:
        context.progress.notice(state.current, severity, masked(text))

    error: MigratorError | Interrupted | None = None
    try:
        with (
            ledger_errors_translated(),
            RunConnection(context, on_notice=pass_on_notice) as database,
        ):
            _Seeding(context, database, state).carry_out(only_if_made=only_if_made)
    except (MigratorError, Interrupted) as fault:
        error = fault
    survey = state.survey
    return SeedReport(
        environment=context.settings.environment,
        database=survey.database if survey else None,
        server_version=survey.server_version if survey else None,
        applied=tuple(state.applied),
        left=state.pending,
        warnings=state.warnings,
        error=error,
    )


class _SeedRunner(FileRunner):
    session_type = SeedSession


class _Seeding:
    """One call of `seed`, over the connection that its files go over."""

    def __init__(self, context: RunContext, database: RunConnection, state: RunState) -> None:
        self._context = context
        self._database = database
        self._state = state
        self._environment = context.settings.environment

    def carry_out(self, *, only_if_made: bool) -> None:
        directory = self._context.settings.migrations_dir
        migrations, seeds = discover(directory), discover_seeds(directory)
        self._database.connect()
        self._state.survey = self._database.survey()
        self._context.progress.connected(
            self._context.target, is_direct=self._state.survey.is_direct
        )
        self._check(migrations)
        records = self._records()
        scripts = self._due(seeds, records)
        self._state.warn(
            self._context.progress,
            *records.tables.open,
            *environment_warnings(seeds, self._environment),
            *(objections := self._objections() if scripts and only_if_made else ()),
        )
        if objections or not scripts:
            return
        check_writable(self._state.survey, self._context.target.source)
        with RunLock(
            self._database.connect_for_lock,
            timeout=self._context.run_wait,
            on_wait=self._context.progress.waiting,
            limits=self._context.limits,
        ) as lock:
            self._apply(lock, migrations, seeds)

    def _apply(
        self,
        lock: RunLock,
        migrations: tuple[MigrationFile, ...],
        seeds: tuple[MigrationFile, ...],
    ) -> None:
        """Look again, now that nobody else may write, and apply what is due."""
        context, database = self._context, self._database
        self._state.survey = database.survey_under_lock()
        self._check(migrations)
        records = self._records()
        scripts = self._due(seeds, records)
        if not scripts:
            # Another run has applied them while this one waited.
            return
        check_pooler(context, database, lock, scripts)
        self._state.survey.tables.verify_rights()
        records.verify_rights()
        runner = _SeedRunner(context, database, self._state, lock, scripts)
        # Before the run is on record, so that a failure leaves none that is never ended.
        if SEEDS not in records.tables.found:
            with database.current.limit_to(ANSWER, NO_ANSWER):
                create_table(database.current, context.trusted, context.reader)
        watch = look_before(context, database, self._state)
        run = begin_run(context, database, self._state.survey, watch=watch)
        apply_watched(runner, run, watch)

    def _check(self, migrations: tuple[MigrationFile, ...]) -> None:
        """Raise what forbids seeds: production, the ledger's integrity, a pending migration."""
        context, state = self._context, self._state
        assert state.survey is not None  # it was just taken
        if self._environment == PRODUCTION:
            raise GuardError(
                "This run's environment is production, where no seed is applied: seeds are for "
                "previews and for development."
            )
        plan = plan_from_survey(context, migrations, state.survey)
        state.check(plan, self._environment)
        pending = scripts_to_run(context, plan, prepare_all(plan.pending))
        if pending:
            raise ConfigurationError(
                f"{pending[0].file.version} is pending, and seeds come after the migrations: run "
                f"`{COMMAND} migrate` first."
            )

    def _objections(self) -> tuple[str, ...]:
        """A warning if public held anything before the first migration."""
        assert self._state.survey is not None  # it was just taken
        query = filled(_OLDER, journal=self._state.survey.tables.found[RUNS].oid)
        with self._database.current.limit_to(ANSWER, NO_ANSWER):
            rows = self._database.current.query(joined(query), read_only=True)[0]
        return tuple(
            f"public.{name} was in this database before the first migration, so no seed was "
            "applied: the database may be another environment's. If it is one to be filled, run "
            "`seed`."
            for name, *_ in rows
        )

    def _records(self) -> SeedRecords:
        with self._database.current.limit_to(ANSWER, NO_ANSWER):
            return read_records(self._database.current, self._context.trusted)

    def _due(self, seeds: tuple[MigrationFile, ...], records: SeedRecords) -> tuple[Script, ...]:
        """The seeds that are due; MigrationFileError for those that are refused."""
        due: dict[str, MigrationFile] = {}
        for each in compare(seeds, records, self._environment):
            if each.is_due:
                # The same content twice runs once, in the place of the first.
                due.setdefault(each.file.checksum, each.file)
        self._state.pending = len(due)
        return prepare_seeds(tuple(due.values()))
