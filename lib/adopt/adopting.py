"""From another tool's files and records to ours: look, prove, and, if asked to, write and record.

A database is adopted by itself: the files are written for the first one, and the next ones find
them in the folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from psycopg import sql

from .. import COMMAND
from ..actions.locked_ledger_edit import change_ledger
from ..actions.run_parameters import RunContext
from ..actions.status import plan_from_survey, survey_database
from ..catalog.snapshot import LOCK_NOT_AVAILABLE
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..duration import milliseconds
from ..errors import ConfigurationError, IntegrityError, LockError
from ..files.folder import MigrationFile, discover
from ..ledger.ledger_errors import ledger_errors_translated
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import check_guard, check_writable, must_claim
from ..ledger.records import record_baseline
from ..ledger.runs import RunStart
from ..ledger.schema import creation
from ..ledger.table_trust import told_by
from ..local.new_migration import alone_in
from ..plan.migration_plan import LEDGER_FILE
from ..plan.migration_states import AppliedMigration
from ..time_limits import ANSWER
from ..tool_words import DATABASE
from ..tools.known_tools import find_tool
from ..tools.tool import Problem
from .adoption import AdoptedFile, Adoption, Proof, Rename
from .callers import find_callers
from .conversion import Conversion, convert
from .first_file import read_schema
from .history_source import Source, read_source
from .proof import prove
from .tool_folder import find_folder
from .written_files import written

_OURS = "public.schema_migrations"
_CHANGED = (
    "{title} has changed its own records, or another run ours, while this one was under way. "
    "Nothing was recorded; run it again."
)
_IN_USE = (
    "The ledger stayed in use by another session, such as the tool itself or an open transaction. "
    "Nothing was recorded; run it again when that has ended."
)
_RECORDED_OR_NOT = (
    "All of it is recorded, or nothing: run it again, and it says which. The files that it had "
    "written are taken away; they would be written again with the same contents."
)


@dataclass(frozen=True)
class Request:
    """Which tool's history is to be adopted, by the tool's word, for which project.

    `environ` is for the programs that are run. `folder` is where the tool's files are, None for the
    usual place. `build_command` is FRONTEND_BUILD_COMMAND.
    """

    tool: str
    root: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str | None = None
    applies: bool = False
    accepts_differences: bool = False
    build_command: str | None = None


@dataclass(frozen=True)
class _Found:
    """What one look at the files and at the database has found."""

    source: Source
    survey: Survey
    made: Conversion
    ours: tuple[MigrationFile, ...]

    @cached_property
    def is_on_record(self) -> frozenset[str]:
        """The versions that the runner has on record."""
        return frozenset(row.version for row in self.survey.ledger or ())

    @property
    def to_record(self) -> tuple[MigrationFile, ...]:
        """What the tool has applied; and, with our ledger, the file that creates it."""
        applied = [each.file for each in self.made.files if each.state == "applied"]
        if applied:
            applied += [file for file in self.ours if file.version == LEDGER_FILE]
        new = [file for file in applied if file.version not in self.is_on_record]
        return tuple(sorted(new, key=_number))

    @property
    def files(self) -> tuple[AdoptedFile, ...]:
        """The files with what has become of them here, also by a run of ours."""
        return tuple(
            replace(each, state="applied") if each.file.version in self.is_on_record else each
            for each in self.made.files
        )

    @property
    def is_built_by_runner(self) -> bool:
        """True if the tool has no ledger here, and the runner has applied what was made of it."""
        word = self.source.tool.word
        made = [
            file for file in self.ours if file.header.origin and file.header.origin.tool == word
        ]
        has_all = self.is_on_record.issuperset(file.version for file in made)
        return self.source.records is None and bool(made) and has_all

    @property
    def notes(self) -> Iterator[str]:
        if self.is_built_by_runner:
            yield (
                f"{self.source.tool.title} has no ledger here: the runner has built this database "
                "from the files, and has all of them on record."
            )
        yield from (*self.source.notes, *self.made.notes)
        records = self.source.records
        if (
            records
            and records.name
            and self.made.files
            and not any(e.state == "applied" for e in self.files)
        ):
            # Never the name that is that of ours by then.
            kept = self.rename.qualified if self.rename else records.name
            yield (
                f"{records.name} holds nothing that was applied. Once the files are written, drop "
                f"the table {kept}, and `{COMMAND} migrate` applies them."
            )

    @property
    def chain(self) -> tuple[MigrationFile, ...]:
        """All files of ours, those that are not written yet too, in their order."""
        new = (each.file for each in self.made.files if not each.is_ours_already)
        return tuple(sorted((*self.ours, *new), key=_number))

    @property
    def rename(self) -> Rename | None:
        records, word = self.source.records, self.source.tool.word
        if records is None or records.name != _OURS:
            return None
        return Rename(_OURS, f"schema_migrations_{word.replace('-', '_')}")

    @property
    def problems(self) -> tuple[Problem, ...]:
        if self.is_built_by_runner:
            return ()
        return (*self.source.problems, *self.made.problems, *self._without_source)

    @property
    def _without_source(self) -> Iterator[Problem]:
        """Name the files of this tool that are not on record, and whose migration is gone."""
        if self.source.records is None:
            return
        known = {each.file.version for each in self.made.files} | self.is_on_record
        for file in self.ours:
            origin = file.header.origin
            if origin and origin.tool == self.source.tool.word and file.version not in known:
                yield Problem(
                    file.path,
                    f"it was made of {origin.name}, which {self.source.folder} does not have",
                    "restore that migration: it alone tells whether it has been applied here",
                )


@dataclass(frozen=True)
class _Recording:
    """What is to be recorded, as decided from one survey."""

    survey: Survey
    files: tuple[MigrationFile, ...]
    rename: Rename | None
    must_claim: bool
    warnings: tuple[str, ...]

    @property
    def has_work(self) -> bool:
        return bool(self.files) or self.rename is not None or self.must_claim


def adopt(context: RunContext, request: Request, confirm: Callable[[Adoption], None]) -> Adoption:
    """Look at the history and, if asked to and nothing is in the way, write and record it.

    `confirm` raises if the adoption is not wanted after all.
    """
    with ledger_errors_translated():
        if not request.applies:
            return _plan(context, request)[0]
        directory = context.settings.migrations_dir
        with alone_in(directory):
            adoption, found = _plan(context, request)
            obstacles = adoption.obstacles(accepts_differences=request.accepts_differences)
            if adoption.is_done or any(obstacles):
                return adoption
            confirm(adoption)
            with written(directory, [each.file for each in adoption.written]):
                _record(context, found)
        return replace(adoption, is_done=True, has_just_applied=True)


def _plan(context: RunContext, request: Request) -> tuple[Adoption, _Found]:
    directory = context.settings.migrations_dir
    # Before ours are read: if both are in one folder, that is what to say, and not that the names
    # of theirs are malformed.
    folder = _folder(request, directory)
    ours = discover(directory)
    with context.connect() as connection:
        survey = _survey(context, connection)
        source = _read(context, connection, request, folder, ours)
    made = convert(source.tool, source.read, source.history, ours, directory.name)
    found = _Found(source, survey, made, ours)
    plan = plan_from_survey(context, found.chain, survey)
    plan.verify_unchanged()
    recorded = tuple(file.version for file in found.to_record)
    is_new = any(not each.is_ours_already for each in made.files)
    tool = source.tool
    adoption = Adoption(
        tool=request.tool,
        title=tool.title,
        folder=source.folder,
        database=survey.database,
        environment=context.settings.environment,
        # Where nothing is on record, it has no name.
        ledger=(source.records and source.records.name) or None,
        files=found.files,
        problems=found.problems,
        notes=tuple(found.notes),
        proof=_proof(context, request, found) if recorded and not found.problems else Proof(),
        callers=find_callers(tool, request.root, request.build_command),
        rename=found.rename,
        recorded=recorded,
        is_done=not (found.problems or recorded or is_new or found.rename),
        warnings=(*survey.tables.open, *plan.environment_warnings),
    )
    return adoption, found


def _folder(request: Request, migrations: Path) -> Path | None:
    """Return where the tool has its files; None if there is no tool that has any."""
    if request.tool != DATABASE:
        return find_folder(find_tool(request.tool), request.root, request.folder, migrations)
    if request.folder is not None:
        raise ConfigurationError(f"--from: `adopt {DATABASE}` reads no files of a tool.")
    return None


def _read(
    context: RunContext,
    connection: Connection,
    request: Request,
    folder: Path | None,
    ours: Sequence[MigrationFile],
) -> Source:
    """Read the history of the tool, or the database as it is, whatever has made it."""
    if folder is not None:
        return read_source(context, connection, find_tool(request.tool), request.root, folder)
    return read_schema(context, connection, ours, request.environ)


def _proof(context: RunContext, request: Request, found: _Found) -> Proof:
    wanted = found.is_on_record | {file.version for file in found.to_record}
    adopted = [file.number for file in found.to_record if file.header.origin]
    files = [
        file
        for file in found.chain
        if file.version in wanted or (adopted and file.number < adopted[0])
    ]
    return prove(context, request.root, files, request.tool)


def _number(file: MigrationFile) -> int:
    return file.number


# --- Recorded ---


def _record(context: RunContext, found: _Found) -> None:
    """Record what the tool has applied, and rename its ledger if it has the name of ours."""

    def decide(_: Connection, survey: Survey) -> _Recording:
        return _decide(context, survey, found)

    def write(connection: Connection, recording: _Recording, start: RunStart) -> None:
        rows = [
            AppliedMigration(file.version, file.name, checksum=file.checksum)
            for file in recording.files
        ]
        before = _before(context, recording, found)
        try:
            record_baseline(connection, context.trusted, start, rows, before=before)
        except StatementError as error:
            if error.server_error.sqlstate == LOCK_NOT_AVAILABLE:
                raise LockError(_IN_USE) from None
            if told_by(error).get("fault") != "records changed":
                raise
            raise IntegrityError(_CHANGED.format(title=found.source.tool.title)) from None

    change_ledger(context, decide, write, after_loss=_RECORDED_OR_NOT, replaces_other=True)


def _before(
    context: RunContext, recording: _Recording, found: _Found
) -> tuple[str | sql.Composable, ...]:
    """What the transaction begins with: the ledger that was judged, out of the way of ours."""
    limit = f"set local lock_timeout = {milliseconds(context.settings.lock_timeout)}"
    rename = (
        [
            sql.SQL("alter table public.schema_migrations rename to {}").format(
                sql.Identifier(recording.rename.new)
            )
        ]
        if recording.rename
        else []
    )
    lock = "lock table public.schema_migrations in access exclusive mode" if rename else "select"
    created = creation(recording.survey.tables, context.reader)
    records = found.source.records
    unchanged = [records.unchanged] if records else []
    return (limit, lock, *unchanged, *rename, *created)


def _decide(context: RunContext, survey: Survey, found: _Found) -> _Recording:
    """Decide once more what is to be recorded; raise if that is not what was judged and proven."""
    # As for a run: recording files would hide them from production.
    check_guard(survey, context.settings.environment)
    if found.rename and survey.ledger is not None:
        # Somebody else has renamed it, and the name is that of ours by now.
        raise IntegrityError(_CHANGED.format(title=found.source.tool.title))
    current = replace(found, survey=survey)
    plan = plan_from_survey(context, found.chain, survey)
    plan.verify_unchanged()
    check_writable(survey, context.target.source)
    survey.tables.verify_rights()
    return _Recording(
        survey,
        current.to_record,
        current.rename,
        must_claim(survey, context.settings.environment),
        (*survey.tables.open, *plan.environment_warnings),
    )


def _survey(context: RunContext, connection: Connection) -> Survey:
    return survey_database(connection, context, passes_over_others=True, timeout=ANSWER)
