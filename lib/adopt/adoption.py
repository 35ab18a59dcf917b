"""An adoption as a value: what becomes of each file, what is in the way, what was done."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..catalog.schema_objects import Change
from ..escaping import message
from ..files.folder import MigrationFile
from ..plan.reports import Document
from ..tools.tool import Problem, Verified

State = Literal["applied", "pending"]


@dataclass(frozen=True)
class AdoptedFile:
    """A migration of another tool, by its path in that tool's folder, and a file of ours.

    `is_ours_already` if the folder of the migrations holds the file. `verified` is how the other
    one is known to be what ran, None where nothing tells; `is_altered` if it is known not to be.
    """

    source: str
    file: MigrationFile = field(repr=False)
    state: State
    is_ours_already: bool = False
    verified: Verified | None = None
    is_altered: bool = False

    def to_dict(self) -> Document:
        return {
            "from": self.source,
            "to": f"{self.file.version}.sql",
            "verified": False if self.is_altered else True if self.verified else None,
            "state": self.state,
        }


@dataclass(frozen=True)
class Proof:
    """Whether the files make what the database has.

    `is_equal` is None if that could not be found out; `reason` says why, and what to do.
    `differences` are from what the files make to what the database has.
    """

    is_equal: bool | None = None
    differences: tuple[Change, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caller:
    """A line of the project that still calls the tool."""

    file: str
    line: int
    text: str

    def to_dict(self) -> Document:
        return {"file": self.file, "line": self.line, "text": message(self.text)}


@dataclass(frozen=True)
class Rename:
    """What a ledger is called that has the name of the runner's, and what it is to be called."""

    old: str
    new: str

    @property
    def qualified(self) -> str:
        return f"public.{self.new}"


@dataclass(frozen=True)
class Adoption:
    """All that is known about the history of a tool in a database, and what has come of it.

    `tool` is the word on the command line, `title` the tool's own name. `folder` and `ledger` are
    where the tool has its files and its records. `recorded` are the versions to be recorded, or
    that have been. `is_done` if the files and the records are there.
    """

    tool: str
    title: str
    folder: str
    database: str
    environment: str
    ledger: str | None = None
    files: tuple[AdoptedFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    proof: Proof = field(default_factory=Proof)
    callers: tuple[Caller, ...] = ()
    rename: Rename | None = None
    recorded: tuple[str, ...] = ()
    has_just_applied: bool = False
    is_done: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def written(self) -> tuple[AdoptedFile, ...]:
        """The files that the folder of the migrations does not hold yet."""
        return tuple(file for file in self.files if not file.is_ours_already)

    def obstacles(self, *, accepts_differences: bool = False) -> Iterator[str]:
        """Yield why nothing can be recorded."""
        if self.problems:
            count = len(self.problems)
            yield "a problem is in the way" if count == 1 else f"{count} problems are in the way"
        elif not self.is_done and self.recorded and not accepts_differences:
            if self.proof.is_equal is False:
                yield "the files make another schema than the database has"
            elif self.proof.is_equal is None:
                yield "it is not proven that the files make what the database has"

    def to_dict(self) -> Document:
        return {
            "tool": self.tool,
            "folder": self.folder,
            "ledger": self.ledger,
            "environment": self.environment,
            "database": self.database,
            "files": [file.to_dict() for file in self.files],
            "problems": [
                {
                    "place": message(each.place),
                    "fault": message(each.fault),
                    "remedy": message(each.remedy),
                }
                for each in self.problems
            ],
            "notes": list(map(message, (*self.notes, *self.proof.notes))),
            "differences": [change.to_dict() for change in self.proof.differences],
            "proven": self.proof.is_equal,
            "unprovenBecause": message(self.proof.reason) if self.proof.reason else None,
            "callers": [caller.to_dict() for caller in self.callers],
            "renames": {"from": self.rename.old, "to": self.rename.new} if self.rename else None,
            "recorded": list(self.recorded),
            "applied": self.is_done,
            "warnings": list(map(message, self.warnings)),
        }
