"""The pending files, run on a throw-away server one after the other, and what came of it.

The server is reached by nothing but this process, and this process reaches no other database while
a file runs. What comes of the files is a value, failures included.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ..catalog.comparison import compare
from ..catalog.identities import subject
from ..catalog.schema_objects import ObjectKey, UnknownSchema
from ..catalog.snapshot import read_snapshot
from ..database.connection import Connection
from ..errors import (
    DatabaseUnavailableError,
    MigrationFileError,
    MigratorError,
    OutOfTimeError,
)
from ..escaping import document_text, message, one_line
from ..files.folder import MigrationFile
from ..files.prepare_script import prepare
from ..files.runnable_script import Mode, Script
from ..interface.code_view import CodeView
from ..interface.code_view_query import read_code_view
from ..review.finding import Finding, Severity
from ..review.ignored_rules import IgnoredFinding, sort_out
from ..review.live_sizes import LiveSizes
from ..scratch.chain import connect_to_scratch
from ..settings.connection_target import ConnectionTarget
from ..time_limits import COMPARED_SNAPSHOT, RehearsalLimits
from .applied_state import AppliedState, build
from .breaking import CodeReview, UnrunFiles, read_unrun, review_code
from .lint import LintReport, lint
from .observed_run import Conditions, names_of, observe_file
from .probe_queries import read_relations
from .statement_facts import Breaking, FileFacts, StatementFacts
from .throwaway_server import ThrowawayServer, throwaway_server
from .weighing import weigh

_NO_VIEW = "The schema could not be read in time."
# In how many objects an unequal result is named.
_MOST_OBJECTS = 10


@dataclass(frozen=True)
class Observed:
    """What was seen of the pending files, before anybody judges it.

    `unrun` is None if the server could not be asked what the files are about that did not run.
    """

    files: tuple[FileFacts, ...] = ()
    reviews: tuple[CodeReview, ...] = ()
    unrun: UnrunFiles | None = field(default_factory=UnrunFiles)

    @property
    def breaking(self) -> tuple[Breaking, ...]:
        return tuple(each for review in self.reviews for each in review.breaking)


@dataclass(frozen=True)
class Rehearsal:
    """The report: what the files did, what is wrong with that, and by which sizes it was weighed.

    `sizes` is None if no database was asked; `not_linted` says why no linter has read a file.
    """

    state: AppliedState
    observed: Observed = Observed()
    findings: tuple[Finding, ...] = ()
    ignored: tuple[IgnoredFinding, ...] = ()
    sizes: LiveSizes | None = None
    not_linted: str | None = None

    @property
    def files(self) -> tuple[FileFacts, ...]:
        return self.observed.files

    @property
    def worst(self) -> Severity | None:
        """The gravest severity, None without a finding."""
        severities = (each.severity for each in self.findings)
        return min(severities, key=lambda each: each.rank, default=None)

    @property
    def verdict(self) -> str:
        """The gravest severity as a word, "ok" without a finding."""
        return self.worst.value if self.worst else "ok"

    def path_of(self, version: str) -> str:
        """Return the path of a file as messages have it."""
        known = (*self.state.pending, *self.state.applied)
        return next((file.path for file in known if file.version == version), f"{version}.sql")

    def reaches(self, severity: Severity | None) -> bool:
        """True if a finding is at least as severe."""
        return severity is not None and any(
            each.severity.is_at_least(severity) for each in self.findings
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document, as other programs rely on it."""
        return {
            "success": True,
            "action": "rehearse",
            "verdict": self.verdict,
            "environment": one_line(self.state.environment),
            "source": one_line(self.state.source),
            "sizesKnown": self.sizes is not None,
            "notLinted": self.not_linted and message(self.not_linted),
            "pending": [file.version for file in self.state.pending],
            "files": [_file_document(file) for file in self.files],
            "findings": [each.to_dict() for each in self.findings],
            "ignored": [each.to_dict() for each in self.ignored],
            "breaking": [_breaking_document(each) for each in self.observed.breaking],
        }


def rehearse(
    root: Path,
    state: AppliedState,
    sizes: LiveSizes | None,
    *,
    limits: RehearsalLimits = RehearsalLimits(),  # noqa: B008 # frozen
) -> Rehearsal:
    """Run the pending files of the state on a server of their own.

    Raise MigratorError if that cannot begin: the applied state cannot be built, or the embedded
    PostgreSQL is not installed.
    """
    scripts, faults = _prepared(state.pending)
    observed = Observed()
    if scripts:
        live = state.live
        server = throwaway_server(
            root,
            platform=live.platform,
            owner=live.owner,
            database=live.database,
            defaults=live.defaults,
            limits=limits,
        )
        with server as started:
            build(started, state)
            observed = observe(started, state, scripts)
    texts = {file.version: file.text for file in state.pending}
    linted = lint(texts, observed.files) if texts else LintReport()
    findings = (*state.findings, *faults, *_judged(observed, sizes), *linted.findings)
    is_complete = not faults and not any(map(_has_stopped, observed.files))
    sorted_out = sort_out(findings, texts, is_complete=is_complete)
    return Rehearsal(
        state, observed, sorted_out.findings, sorted_out.ignored, sizes, linted.not_linted
    )


def _prepared(
    pending: Iterable[MigrationFile],
) -> tuple[tuple[Script, ...], tuple[Finding, ...]]:
    """Return the scripts before the first file that the runner refuses, and what is wrong with it.

    A real run refuses them all; what the others do is worth knowing all the same.
    """
    scripts: list[Script] = []
    for file in pending:
        try:
            scripts.append(prepare(file))
        except MigrationFileError as error:
            return tuple(scripts), tuple(
                Finding("fails", Severity.STOP, file.version, fault.line or 0, fault.fault)
                for fault in error.faults
            )
    return tuple(scripts), ()


# --- On the server ---


def observe(
    server: ThrowawayServer,
    state: AppliedState,
    scripts: Sequence[Script],
    target: ConnectionTarget | None = None,
) -> Observed:
    """Run the scripts in their order, up to the first that fails or cannot be rehearsed.

    They run in the database of the server, or in a copy of it, the `target`.
    """
    database = replace(target or server.target, search_path=state.live.search_path).for_files
    with _Run(server, database) as run:
        for script in scripts:
            run.add(script)
        return Observed(tuple(run.files), tuple(run.reviews), run.unrun(scripts))


class _Run:
    """The files under way, and what deployed code can use before and between them."""

    def __init__(self, server: ThrowawayServer, target: ConnectionTarget) -> None:
        self.files: list[FileFacts] = []
        self.reviews: list[CodeReview] = []
        self._server = server
        self._target = target
        self._deployed: CodeView | None = None
        self._before: CodeView | None = None
        self._known: dict[int, str] | None = None
        self._reading: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_reading()

    def add(self, script: Script) -> None:
        """Run one more file, unless one before it has not come to its end."""
        if reason := next(filter(None, map(_has_stopped, self.files)), ""):
            self.files.append(_unrun(script, reason))
            return
        try:
            self._run(script)
        except (MigratorError, OSError) as error:
            self.files.append(_unrun(script, self._why(error)))

    def unrun(self, scripts: Sequence[Script]) -> UnrunFiles | None:
        """Look for what the files name that could not be rehearsed; nothing if a file failed."""
        unrun = [
            script for script, facts in zip(scripts, self.files, strict=True) if facts.not_rehearsed
        ]
        if not unrun or any(map(_fails, self.files)):
            return UnrunFiles()
        deployed = self._deployed
        # A server that has come to its limits answers no more.
        with (
            suppress(MigratorError, OSError),
            connect_to_scratch(self._target, deadline=self._server.deadline) as connection,
        ):
            if deployed:
                return read_unrun(connection, unrun, deployed, self._target.search_path)
        return None

    def _run(self, script: Script) -> None:
        limits = self._server.limits
        deadline = self._server.deadline.clip(limits.file)
        if self._deployed is None:
            self._deployed = self._before = self._view()
        # A session for each file: the one before may have changed what a session begins with.
        with connect_to_scratch(self._target, deadline=deadline) as connection:
            if self._known is None:
                self._known = names_of(read_relations(connection))
            facts = observe_file(
                connection, script, Conditions(self._known, statement_timeout=limits.file)
            )
        if self._server.disk_is_full:
            raise DatabaseUnavailableError("")
        if self._before and not _has_stopped(facts):
            after = self._view()
            self.reviews.append(review_code(facts, self._deployed, self._before, after))
            self._before = after
        self.files.append(replace(facts, stopped_at=_line_after(script, facts)))

    def _view(self) -> CodeView:
        """Read what code can use, in one session for all files: a new one reads twice as long."""
        if self._reading and self._reading.is_alive():
            # A file can end the sessions of its own role.
            with suppress(DatabaseUnavailableError):
                return self._read(self._reading)
        self._stop_reading()
        self._reading = connect_to_scratch(self._target, deadline=self._server.deadline)
        return self._read(self._reading)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading.close()

    def _read(self, connection: Connection) -> CodeView:
        with connection.limit_to(self._server.limits.file, _NO_VIEW):
            return read_code_view(connection)

    def _why(self, error: Exception) -> str:
        limits = self._server.limits
        if self._server.disk_is_full:
            return f"it has filled more than {limits.disk // 1024**2} MB of the disk"
        if self._server.deadline.has_passed():
            return f"the whole rehearsal may take {limits.total:g} s"
        if isinstance(error, OutOfTimeError):
            return f"it was not done within {limits.file:g} s, on tables without rows"
        return f"its session ended: {one_line(str(error))}"


def _line_after(script: Script, facts: FileFacts) -> int:
    """Return the line of the first statement that did not run; 0 if all did."""
    rest = script.statements[len(facts.statements) :]
    return script.file.line_at(rest[0].offset) if rest and facts.not_rehearsed else 0


def _has_stopped(facts: FileFacts) -> str:
    """Return why no file behind this one can be rehearsed; empty if the file came to its end."""
    if facts.not_rehearsed:
        return f"{facts.version} was not rehearsed to its end"
    return f"{facts.version} fails" if _fails(facts) else ""


def _fails(facts: FileFacts) -> bool:
    return any(each.failure for each in facts.statements)


def _unrun(script: Script, reason: str) -> FileFacts:
    return FileFacts(script.file.version, script.mode is Mode.TRANSACTION, (), reason)


# --- In two orders ---


def rehearse_in_orders(
    server: ThrowawayServer,
    state: AppliedState,
    scripts: Sequence[Script],
    deferred: Iterable[str],
) -> tuple[Finding, ...]:
    """Compare what the scripts make in their order with what they make if the deferred come last.

    The applied state has been built. `deferred` are versions of files that may run long after the
    files behind them.
    """
    late = frozenset(deferred)
    last = tuple(script for script in scripts if script.file.version in late)
    if not last:
        return ()
    first = tuple(script for script in scripts if script.file.version not in late)
    made = []
    for name, order in (("in_order", scripts), ("deferred", (*first, *last))):
        target = server.copy(name)
        found = observe(server, state, order, target)
        if reasons := [reason for each in found.files if (reason := _has_stopped(each))]:
            return (_differ(last[0], f"if they run in one of the orders, {reasons[0]}"),)
        made.append(_objects(target))
    changes = compare(*made)
    if not changes:
        return ()
    named = ", ".join(
        f"{each.kind} {one_line(each.identity)}" for each in islice(changes, _MOST_OBJECTS)
    )
    more = len(changes) - _MOST_OBJECTS
    return (_differ(last[0], f"{named}{f' and {more} more' if more > 0 else ''} differ"),)


def _objects(target: ConnectionTarget) -> dict[ObjectKey, str]:
    with connect_to_scratch(target) as connection:
        found = read_snapshot(connection, limit=COMPARED_SNAPSHOT)
    if isinstance(found, UnknownSchema):
        raise MigratorError(f"The schema of the rehearsal could not be read: {found.reason}")
    return {key: text for key, text in found.objects.items() if subject(key)}


def _differ(script: Script, what: str) -> Finding:
    return Finding(
        "order-matters",
        Severity.STOP,
        script.file.version,
        0,
        f"The file may run behind the files that follow it, and the schema is another one then: "
        f"{what}.",
        "Let no later file touch what this one changes.",
    )


# --- Judged ---


def _judged(observed: Observed, sizes: LiveSizes | None) -> Iterator[Finding]:
    yield from _failures(observed.files)
    yield from _unrehearsed(observed)
    yield from weigh(observed.files, sizes)
    if observed.unrun:
        yield from observed.unrun.findings(sizes)
    for review in observed.reviews:
        yield from review.findings


def _failures(files: Iterable[FileFacts]) -> Iterator[Finding]:
    for file in files:
        for each in file.statements:
            if each.failure is not None:
                code = f" (SQLSTATE {each.sqlstate})" if each.sqlstate else ""
                yield Finding(
                    "fails",
                    Severity.STOP,
                    file.version,
                    _failed_line(each),
                    f"The statement fails: {each.failure}{code}.",
                )


def _failed_line(statement: StatementFacts) -> int:
    return statement.failed_at or statement.line


def _unrehearsed(observed: Observed) -> Iterator[Finding]:
    """Yield one finding, for the file that could not be rehearsed; those behind it follow it."""
    files = observed.files
    for at, file in enumerate(files):
        if _has_stopped(file):
            if not file.not_rehearsed:
                return
            behind = len(files) - at - 1
            more = f" Nor were the files behind it ({behind})." if behind else ""
            yield Finding(
                "not-rehearsed",
                # What the texts say on their own is among the findings.
                Severity.STOP if observed.unrun is None else Severity.WARN,
                file.version,
                file.stopped_at,
                f"The file was not rehearsed to its end: {file.not_rehearsed}.{more}",
                "Try it on a preview database.",
            )
            return


# --- As JSON ---


def _file_document(file: FileFacts) -> dict[str, Any]:
    return {
        "version": file.version,
        "inTransaction": file.is_transaction,
        "notRehearsed": file.not_rehearsed and document_text(file.not_rehearsed),
        "statements": [_statement_document(each) for each in file.statements],
    }


def _statement_document(each: StatementFacts) -> dict[str, Any]:
    locks = [
        {"relation": one_line(lock.relation), "mode": lock.mode, "untilStatement": lock.until}
        for lock in each.locks
    ]
    relations = {
        "rewrites": each.rewrites,
        "scans": each.scans,
        "indexBuilds": each.builds,
        "truncated": each.truncated,
        "created": each.created,
        "dropped": each.dropped,
        "written": each.written,
    }
    return {
        "statement": each.number,
        "line": each.line,
        "locks": locks,
        **{name: [one_line(each) for each in found] for name, found in relations.items()},
        "failure": each.failure and document_text(each.failure),
        "sqlstate": each.sqlstate,
    }


def _breaking_document(each: Breaking) -> dict[str, str | int]:
    return {
        "kind": each.kind,
        "object": one_line(each.object),
        "change": one_line(each.change),
        "version": each.version,
        "line": each.line,
    }
