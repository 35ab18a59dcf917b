"""A verdict on a file that a run left half-way outside a transaction.

The runner stops at what the journal and the catalog cannot tell. Whoever has looked at the database
answers here, in place of an UPDATE by hand. Nothing of a file is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ..actions.locked_ledger_edit import change_ledger
from ..actions.run_parameters import RunContext
from ..apply.index_state import who_carries_out
from ..database.connection import Connection
from ..errors import ConfigurationError, LockError
from ..escaping import message
from ..files.file_progress import Checkpoint, Interruption
from ..files.folder import MigrationFile, discover
from ..files.prepare_script import prepare
from ..ledger.ledger_state import Survey
from ..ledger.production_guard import check_guard, check_writable
from ..ledger.runs import RunStart, forget_progress, rename_progress, settle_doubt
from ..plan.migration_states import has_number
from ..plan.reports import Document

_RESOLVED_OR_NOT = "The verdict is recorded, or not: run the command again, and it says which."


class Verdict(StrEnum):
    """What is known about the progress of a file; the values are the options of the command."""

    TOOK_EFFECT = "took-effect"
    DID_NOT = "did-not"
    FROM_START = "from-start"
    RENAMED = "renamed-from"


@dataclass(frozen=True)
class ResolveReport:
    """The progress of a file as the next run finds it. `statement` is the one that comes next."""

    environment: str
    database: str
    server_version: str
    version: str
    verdict: Verdict
    run: int
    statement: int
    renamed_from: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> Document:
        return {
            "success": True,
            "action": "resolve",
            "environment": self.environment,
            "database": self.database,
            "pgVersion": f"PostgreSQL {self.server_version}",
            "version": self.version,
            "verdict": self.verdict.value,
            "run": self.run,
            "nextStatement": self.statement,
            "renamedFrom": self.renamed_from,
            "warnings": list(map(message, self.warnings)),
        }


@dataclass(frozen=True)
class _Request:
    """What was asked for, and the files of the bundle."""

    wanted: str
    verdict: Verdict
    renamed_from: str | None
    files: tuple[MigrationFile, ...]


@dataclass(frozen=True)
class _Resolution:
    """What the journal has, and what it is to have: `after` is the file's new checkpoint."""

    survey: Survey
    before: Interruption
    after: Checkpoint

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.survey.tables.open

    @property
    def has_work(self) -> bool:
        return True


def resolve(
    context: RunContext, wanted: str, verdict: Verdict, *, renamed_from: str | None = None
) -> ResolveReport:
    """Record a verdict on the file `wanted`: a version, its number, or its path.

    `renamed_from` is the version under which the progress is recorded, with Verdict.RENAMED.
    Raises ConfigurationError if the journal has nothing that the verdict is about.
    """
    files = discover(context.settings.migrations_dir)
    request = _Request(wanted, verdict, renamed_from, files)

    def decide(connection: Connection, survey: Survey) -> _Resolution:
        resolution = _decide(context, survey, request)
        _check_ended(connection, resolution.before, files)
        return resolution

    def write(connection: Connection, resolution: _Resolution, _: RunStart) -> None:
        _record(context.trusted, connection, verdict, resolution)

    resolution = change_ledger(context, decide, write, after_loss=_RESOLVED_OR_NOT)
    return ResolveReport(
        environment=context.settings.environment,
        database=resolution.survey.database,
        server_version=resolution.survey.server_version,
        version=resolution.after.version,
        verdict=verdict,
        run=resolution.before.run,
        statement=resolution.after.statement,
        renamed_from=resolution.before.checkpoint.version if renamed_from else None,
        warnings=resolution.warnings,
    )


def _record(
    trusted: Sequence[str], connection: Connection, verdict: Verdict, resolution: _Resolution
) -> None:
    before, after = resolution.before, resolution.after
    if verdict is Verdict.FROM_START:
        forget_progress(connection, trusted, after.version)
    elif verdict is Verdict.RENAMED:
        rename_progress(connection, trusted, before.checkpoint.version, after.version)
    else:
        settle_doubt(connection, trusted, before.run, after)


def _decide(context: RunContext, survey: Survey, request: _Request) -> _Resolution:
    """Find the progress and decide what becomes of it; raises what forbids it."""
    # In the order of `migrate`: whose database this is comes first.
    check_guard(survey, context.settings.environment)
    if request.verdict is Verdict.RENAMED:
        resolution = _renamed(survey, request)
    else:
        before = _find(survey, request.wanted)
        resolution = _Resolution(survey, before, _after(before, request.verdict))
    check_writable(survey, context.target.source)
    # Before the lock is taken: without the rights, waiting for it would be in vain.
    survey.tables.verify_rights()
    return resolution


def _check_ended(
    connection: Connection, before: Interruption, files: tuple[MigrationFile, ...]
) -> None:
    """Raise LockError if the server still carries out the statement for the run that is gone."""
    at = before.checkpoint
    file = next((file for file in files if file.version == at.version), None)
    script = prepare(file) if file else None
    if file is None or script is None or at.statement > len(script.statements):
        return
    unit = script.statements[at.statement - 1 : script.block_end(at.statement - 1)]
    if at_work := who_carries_out(connection, [statement.sent for statement in unit]):
        pid, since = at_work
        raise LockError(
            f"{file.path}: the server still carries out statement {at.statement} for run "
            f"{before.run} (pid {pid}, since {since}), so nobody can say yet whether it takes "
            "effect. Nothing was changed. Run the command again when that has ended."
        )


def _after(before: Interruption, verdict: Verdict) -> Checkpoint:
    at = before.checkpoint
    if verdict is Verdict.FROM_START:
        return Checkpoint(at.version, 1, None)
    if not at.in_doubt:
        raise ConfigurationError(
            f"Nothing of {at.version} is in doubt: run {before.run} stopped at its statement "
            f"{at.statement}, and the next run resumes there. Nothing was changed."
        )
    if verdict is Verdict.DID_NOT:
        # The digests stay: the next run compares the file with them before it resumes.
        return replace(at, in_doubt=False)
    if at.including_next is None:
        raise ConfigurationError(
            f"Run {before.run} kept no digest of the statement of {at.version} that is in doubt, "
            "so no run could resume after it. Undo what the file did, and have it run from its "
            f"start: --{Verdict.FROM_START}. Nothing was changed."
        )
    # After the statement, or after all of the transaction block that it begins.
    return Checkpoint(at.version, at.including_next.count + 1, at.including_next)


def _renamed(survey: Survey, request: _Request) -> _Resolution:
    """The progress of the former name, for the file that has another name now."""
    before = _find(survey, request.renamed_from or "")
    was, at = before.checkpoint.version, before.checkpoint
    # With both names in the bundle, nobody could say which of the files the progress belongs to.
    if any(file.version == was for file in request.files):
        raise ConfigurationError(
            f"{was} is still a file of this bundle, so it was not renamed. Nothing was changed."
        )
    file = next((file for file in request.files if _is(file.version, request.wanted)), None)
    if file is None:
        raise ConfigurationError(
            f"There is no migration {request.wanted!r} in this bundle. Nothing was changed."
        )
    if file.version in survey.interruptions:
        raise ConfigurationError(
            f"Run {survey.interruptions[file.version].run} left {file.version} half-way itself. "
            "Nothing was changed."
        )
    if any(row.version == file.version for row in survey.ledger or ()):
        raise ConfigurationError(f"{file.version} is applied already. Nothing was changed.")
    # The statements decide, and not the name: no other file may inherit the progress.
    if at.completed is not None and not prepare(file).begins_with(at.completed):
        raise ConfigurationError(
            f"{file.path} does not begin with the statements of {was} that run {before.run} "
            "carried out. Nothing was changed."
        )
    return _Resolution(survey, before, replace(at, version=file.version))


def _find(survey: Survey, wanted: str) -> Interruption:
    found = [left for version, left in survey.interruptions.items() if _is(version, wanted)]
    # A number may stand for two versions, of this branch and of another one.
    if len(found) == 1:
        return found[0]
    raise ConfigurationError(
        f"No run left {wanted!r} half-way. {_what_there_is(survey)} Nothing was changed."
    )


def _is(version: str, wanted: str) -> bool:
    """True if `wanted` is the version, its file, or its number."""
    # A path as a shell completes it, on Windows too.
    name = wanted.replace("\\", "/").rpartition("/")[2].removesuffix(".sql")
    return name == version or has_number(version, name)


def _what_there_is(survey: Survey) -> str:
    if not survey.interruptions:
        return "No file is left half-way in this database."
    left = (
        f"{version} at its statement {at.checkpoint.statement} by run {at.run}"
        f"{' (in doubt)' if at.checkpoint.in_doubt else ''}"
        for version, at in survey.interruptions.items()
    )
    return f"Left half-way: {', '.join(left)}."
