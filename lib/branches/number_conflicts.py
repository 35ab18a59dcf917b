"""Numbers that the files of two branches contend for, and files of the target branch that differ.

Pure: the branches are compared, and the files of other pull requests are given.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from .. import COMMAND
from ..files.folder import NAME, MigrationFile
from ..review.finding import Finding, Severity
from .target_branch import BranchFiles

_RENUMBER = f"{COMMAND} renumber"


@dataclass(frozen=True)
class PullRequest:
    """Another open pull request; `files` are the paths that it adds, from the repository's root."""

    number: int
    title: str
    files: tuple[str, ...] = ()


def number_findings(branch: BranchFiles, others: Sequence[PullRequest] = ()) -> tuple[Finding, ...]:
    """Return what is wrong with the numbers and the texts of a branch, in the order of its files.

    The way out for a number is the command that renumbers; for a text, what is to be restored.
    """
    findings = (
        *_on_target(branch),
        *_numbers(branch),
        *_taken_elsewhere(branch, others),
        *(_modified(file) for file in branch.changed),
        *_removed(branch),
    )
    return tuple(sorted(findings, key=lambda each: (_number(each.version), each.version)))


def shared_on_target(branch: BranchFiles) -> tuple[tuple[MigrationFile, MigrationFile], ...]:
    """Return the files of the target branch that share a number there, unless one goes here.

    The target branch is broken by itself: every run refuses the two, so it is mended by hand.
    """
    left = [file for file in branch.on_target if file not in branch.removed]
    return tuple(pair for pair in pairwise(left) if pair[0].number == pair[1].number)


def _on_target(branch: BranchFiles) -> Iterator[Finding]:
    for first, second in shared_on_target(branch):
        yield _shared(
            second,
            first,
            f"both are on {branch.target}",
            "Give the one that was merged last the next free number, with its former name in its "
            f"header, as in -- Was: {second.version}",
        )


def _numbers(branch: BranchFiles) -> Iterator[Finding]:
    holders = {file.number: file for file in branch.on_target}
    newest = max(holders, default=-1)
    mine: dict[int, MigrationFile] = {}
    for file in branch.own:
        if holder := holders.get(file.number):
            yield Finding(
                "number-taken",
                Severity.STOP,
                file.version,
                0,
                f"{file.path} has the number of {holder.version}, which is on {branch.target}.",
                _renumber(branch),
            )
        elif other := mine.get(file.number):
            yield _shared(file, other, "both are of this branch", _renumber(branch))
        elif file.number < newest:
            yield Finding(
                "number-late",
                Severity.WARN,
                file.version,
                0,
                f"{file.path} is numbered below {holders[newest].version}, which is on "
                f"{branch.target}: where that is applied already, it runs after it, and in a new "
                "database before it. With MIGRATION_STRICT_ORDER it is refused there.",
                _renumber(branch),
            )
        mine.setdefault(file.number, file)


def _shared(file: MigrationFile, other: MigrationFile, why: str, instead: str) -> Finding:
    return Finding(
        "number-taken",
        Severity.STOP,
        file.version,
        0,
        f"{file.path} has the number of {other.version}, and {why}: every run refuses the two.",
        instead,
    )


def _renumber(branch: BranchFiles) -> str:
    # The name is somebody's, and the line is copied to a shell.
    return f"{_RENUMBER} --base {shlex.quote(branch.target)}"


def _taken_elsewhere(branch: BranchFiles, others: Sequence[PullRequest]) -> Iterator[Finding]:
    there = {file.version for file in branch.on_target}
    for other in others:
        added = _numbers_of(other, branch.folder, there)
        for file in branch.own:
            name = added.get(file.number)
            # The same file in both, such as in a branch that builds on the other.
            if name is None or name == file.version:
                continue
            yield Finding(
                "number-taken",
                Severity.WARN,
                file.version,
                0,
                f"{file.path} has the number of {name} in pull request #{other.number} "
                f"({other.title}): whichever is merged second has to be renumbered.",
                f"{_RENUMBER}, once the other is merged",
            )


def _numbers_of(other: PullRequest, folder: str, there: set[str]) -> Mapping[int, str]:
    """Return the versions that a pull request adds to the folder, by number."""
    found = {}
    for path in map(PurePosixPath, other.files):
        match = NAME.fullmatch(path.name)
        if match and path.parent == PurePosixPath(folder) and path.stem not in there:
            found[int(match["number"])] = path.stem
    return found


def _modified(file: MigrationFile) -> Finding:
    return Finding(
        "modified-file",
        Severity.STOP,
        file.version,
        0,
        f"{file.path} is on the target branch with another text: where it is applied, the next run "
        "stops with exit code 3.",
        "Restore the file, and put the change into a new migration.",
    )


def _removed(branch: BranchFiles) -> Iterator[Finding]:
    new_names = {file.checksum: file.version for file in branch.own if file.has_statement}
    kept = {file.number for file in branch.on_target if file not in branch.removed}
    for file in branch.removed:
        # Of two with one number, none was applied where both were.
        if file.number in kept:
            continue
        now = new_names.get(file.checksum)
        yield Finding(
            "modified-file",
            Severity.STOP,
            file.version,
            0,
            f"{file.path} is renamed to {now}: where it is applied, the next run stops with exit "
            "code 3."
            if now
            else f"{file.path} is on the target branch and removed here: where it is applied, "
            "`validate` fails, and a new database lacks what it makes.",
            "Give the file its name back." if now else "Restore the file.",
        )


def _number(version: str) -> int:
    digits = version.partition("-")[0]
    return int(digits) if digits.isdigit() else -1
