"""What a run would do. Apart from the other reports, because only the lexer can find out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..duration import in_words
from ..errors import MigratorError
from ..escaping import message
from ..files.file_progress import Interruption
from ..files.runnable_script import Script
from .reports import (
    Document,
    FileReview,
    Renumbered,
    Status,
    error_document,
    renumbered_document,
)


@dataclass(frozen=True)
class DryRun:
    """What `migrate` would do now. `obstacle` is what would stop it before any file runs.

    `half_done` are the pending files that an earlier run, outside a transaction, left half-way;
    `held` are the scripts that would stay pending because they have no statement yet. Files behind
    the limit of the plan have no script here.
    """

    status: Status
    scripts: tuple[Script, ...]
    lock_timeout: float
    obstacle: MigratorError | None = field(default=None)
    half_done: tuple[Interruption, ...] = ()
    held: tuple[Script, ...] = ()
    review: FileReview = field(default_factory=FileReview)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual about the plan, and which file would resume where it stopped."""
        left = (
            f"Migration {each.checkpoint.version} was left at its statement "
            f"{each.checkpoint.statement} by run {each.run}; the next run resumes there, "
            "if it can find out whether that statement took effect."
            for each in self.half_done
        )
        return (*self.status.warnings, *held_warnings(self.held), *left, *self.review.warnings)

    def to_dict(self) -> Document:
        # The plan is part of it even if something would stop the run: it helps to find out why.
        document = error_document(self.obstacle) if self.obstacle else {"success": True}
        return {
            **document,
            "action": "plan",
            "environment": self.status.environment,
            "database": self.status.database,
            "pgVersion": f"PostgreSQL {self.status.server_version}",
            "pendingMigrations": self.status.plan.pending_count,
            **renumbered_document(
                [Renumbered(row.version, file.version) for row, file in self.status.plan.renumbered]
            ),
            "plan": [self._script(script) for script in self.scripts],
            "warnings": list(map(message, self.warnings)),
            **self.review.to_dict(),
        }

    def _script(self, script: Script) -> Document:
        header = script.file.header
        lock_timeout = self._lock_timeout(script)
        return {
            "version": script.file.version,
            "name": script.file.name,
            "mode": str(script.mode),
            "lockTimeout": None if lock_timeout is None else in_words(lock_timeout),
            "statementTimeout": None
            if header.statement_timeout is None
            else in_words(header.statement_timeout),
            "statements": len(script.statements),
        }

    def _lock_timeout(self, script: Script) -> float | None:
        """Return the lock timeout of a script, None if nothing limits it."""
        # A statement such as CREATE INDEX CONCURRENTLY waits for transactions, not only for locks:
        # the runner sets no limit for it unless the header does.
        default = None if script.waits_without_lock_timeout else self.lock_timeout
        return (
            default if script.file.header.lock_timeout is None else script.file.header.lock_timeout
        )


def held_warnings(held: Sequence[Script]) -> tuple[str, ...]:
    """Name the files that stay pending because they have no statement, and what to do."""
    if not held:
        return ()
    # In a deployment nobody will write the rest of the file, so there it is applied.
    paths = ", ".join(script.file.path for script in held)
    no_statement, it_stays, its = (
        ("has no", "it stays", "its") if len(held) == 1 else ("have no", "they stay", "their")
    )
    return (
        f"{paths} {no_statement} statement yet, so {it_stays} pending: "
        f"write {its} SQL and run this again. "
        "On Vercel and in a CI such a file is applied as it is.",
    )
