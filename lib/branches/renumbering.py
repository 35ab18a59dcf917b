"""Files of a branch whose numbers the target branch has taken or passed get the next free ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from ..escaping import one_line
from ..files.folder import MigrationFile
from ..files.renumbered import former_checksums, renumbered_content
from ..install.changes import Change, write_all
from ..install.git import Git
from .number_conflicts import shared_on_target
from .target_branch import BranchFiles, compare


@dataclass(frozen=True)
class Move:
    """A file, its new version, and its content under that."""

    file: MigrationFile
    version: str
    content: bytes

    def to_dict(self) -> dict[str, str]:
        return {"from": one_line(self.file.version), "version": one_line(self.version)}


@dataclass(frozen=True)
class Renumbering:
    """What is to be moved beside the branch `base`, in numeric order.

    `leftovers` are files that a renumbering which was killed has written under the new name, and
    not yet removed under the former one. `shared` are pairs of files of the base itself with one
    number, which no renumbering of this branch can part.
    """

    base: str
    moves: tuple[Move, ...] = ()
    leftovers: tuple[MigrationFile, ...] = ()
    shared: tuple[tuple[MigrationFile, MigrationFile], ...] = ()

    @property
    def has_work(self) -> bool:
        return bool(self.moves or self.leftovers)

    @property
    def leaving(self) -> tuple[MigrationFile, ...]:
        """The files that are not there afterwards under the name that they have now."""
        return (*self.leftovers, *(move.file for move in self.moves))

    def to_dict(self, *, is_written: bool) -> dict[str, object]:
        return {
            "success": True,
            "action": "renumber",
            "base": one_line(self.base),
            "renumbered": [move.to_dict() for move in self.moves],
            "written": is_written,
        }


def find_renumbering(folder: Path, base: str, environ: Mapping[str, str]) -> Renumbering:
    """Find out what has to be moved; ConfigurationError if something is in the way."""
    if Git(folder, environ).run("ls-files", "--unmerged", "-z").stdout:
        raise ConfigurationError(
            f"{one_line(folder.name)} has files with merge conflicts: resolve these first."
        )
    renumbering = renumbering_of(compare(folder, base, environ))
    leaving = {file.version for file in renumbering.leaving}
    for move in renumbering.moves:
        if move.version not in leaving and (folder / f"{move.version}.sql").exists():
            raise ConfigurationError(
                f"{one_line(folder.name)}/{move.version}.sql is there already: nothing was renamed."
            )
    return renumbering


def renumbering_of(branch: BranchFiles) -> Renumbering:
    """Decide which of the branch's own files move, and how far: no farther than they have to."""
    leftovers = tuple(file for file in branch.own if _has_moved(file, branch.own))
    moves = []
    last = max((file.number for file in branch.on_target), default=-1)
    for file in branch.own:
        if file in leftovers:
            continue
        # Those behind it keep their places behind it.
        last = max(last + 1, file.number)
        if last != file.number:
            digits, _, words = file.version.partition("-")
            version = f"{str(last).zfill(len(digits))}-{words}"
            moves.append(Move(file, version, renumbered_content(file, version)))
    return Renumbering(branch.target, tuple(moves), leftovers, shared_on_target(branch))


def _has_moved(file: MigrationFile, own: Sequence[MigrationFile]) -> bool:
    return any(file.checksum in former_checksums(other, file.version) for other in own)


def carry_out(folder: Path, renumbering: Renumbering) -> None:
    """Move all files or, if one cannot be moved, none."""
    write_all(folder, tuple(_changes(renumbering)))


def _changes(renumbering: Renumbering) -> Iterator[Change]:
    before = {file.version: file.content for file in renumbering.leaving}
    after = {move.version: move.content for move in renumbering.moves}
    # The highest first: if the process is killed, each file is there under one name at least, and
    # the next call finds those that are there under both.
    for version in sorted({*before, *after}, key=lambda each: int(each.split("-")[0]))[::-1]:
        is_old, is_new = version in before, version in after
        yield Change(
            f"{version}.sql",
            "replaced" if is_old and is_new else "removed" if is_old else "added",
            before.get(version),
            after.get(version),
        )
