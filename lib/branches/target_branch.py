"""The files on the target branch, and what the present branch adds, changes and removes there.

The texts come from the objects of git, without filters; line ends are compared as checksums are.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigurationError, MigrationFileError
from ..escaping import one_line
from ..files.folder import MigrationFile, discover, is_sql, parse
from ..install.git import Git

_FETCH = (
    "Fetch it first: `git fetch origin`; for actions/checkout, `fetch-depth: 0` fetches the whole "
    "history."
)
_NO_CONTENTS = (
    "The clone lacks contents of the target branch: clone without --filter, and with the whole "
    "history."
)
_TREE, _SUBMODULE = b"tree", b"commit"
# A regular file, also an executable one; a link (120000) is no text.
_FILE_MODES = (b"100644", b"100755")


@dataclass(frozen=True)
class BranchFiles:
    """The working tree beside the tip of its target branch; all in numeric order.

    `on_target` are the files at the tip, which count as applied. `own` are those that only this
    branch has, `changed` those that it has with another text, `removed` those that it has removed.
    What the target branch alone has changed since the two parted is none of them. `folder` is the
    path of the folder from the root of the repository, empty if that is the folder.
    """

    target: str
    folder: str
    on_target: tuple[MigrationFile, ...]
    own: tuple[MigrationFile, ...]
    changed: tuple[MigrationFile, ...]
    removed: tuple[MigrationFile, ...]


class _Entry(NamedTuple):
    mode: bytes
    kind: bytes
    object: str
    name: str


def base_of_pull_request(environ: Mapping[str, str]) -> str | None:
    """Return the target branch that GitHub Actions names; None outside of a pull request."""
    branch = environ.get("GITHUB_BASE_REF")
    return f"origin/{branch}" if branch and environ.get("GITHUB_ACTIONS") == "true" else None


def default_branch(folder: Path, environ: Mapping[str, str]) -> str | None:
    """Return the branch that the remote calls its default one, as a clone records it."""
    git = _git(folder, environ)
    done = git.run("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    return os.fsdecode(done.stdout).strip() or None


def compare(folder: Path, ref: str, environ: Mapping[str, str]) -> BranchFiles:
    """Compare the working tree with the tip of `ref`, and with where the two parted."""
    git = _git(folder, environ)
    _check_links(git)
    _check_sparse(git)
    tip = _commit(git, ref)
    on_target = _files_at(git, tip, folder.name)
    parted = _parting(git, tip, ref)
    before = on_target if parted == tip else _files_at(git, parted, folder.name)
    # Where the target branch is merged already, two files may have one number.
    here = discover(folder, may_share_numbers=True)
    return compared(ref, here, on_target, before, folder=_prefix(git))


def compared(
    target: str,
    here: Sequence[MigrationFile],
    on_target: Sequence[MigrationFile],
    before: Sequence[MigrationFile],
    *,
    folder: str = "migrations",
) -> BranchFiles:
    """Tell what this branch has done from what the target branch has; `before` is their past."""
    tip, past = _texts(on_target), _texts(before)

    def is_own(file: MigrationFile) -> bool:
        if file.version not in tip:
            # The target branch has removed one that is as it was.
            return past.get(file.version) != file.checksum
        # Both branches have added a file of this name.
        return file.version not in past and tip[file.version] != file.checksum

    def is_changed(file: MigrationFile) -> bool:
        was = past.get(file.version)
        return was is not None and file.checksum not in (was, tip.get(file.version, was))

    own = tuple(filter(is_own, here))
    names = {file.version for file in here}
    return BranchFiles(
        target=target,
        folder=folder,
        on_target=tuple(on_target),
        own=own,
        changed=tuple(file for file in here if file not in own and is_changed(file)),
        removed=tuple(
            file for file in on_target if file.version in past and file.version not in names
        ),
    )


def _texts(files: Sequence[MigrationFile]) -> Mapping[str, str]:
    return {file.version: file.checksum for file in files}


def _git(folder: Path, environ: Mapping[str, str]) -> Git:
    if not folder.is_dir():
        raise MigrationFileError(
            "there is no such folder; create it, or name yours in MIGRATIONS_DIR",
            file=str(folder),
        )
    git = Git(folder, environ)
    if git.top() is None:
        raise ConfigurationError(
            f"{one_line(str(folder))} is in no git repository, so it has no target branch."
        )
    # What the target branch of the project has is recorded in the project.
    if git.ask("rev-parse", "--show-superproject-working-tree").strip():
        raise ConfigurationError(
            f"{one_line(str(folder))} is in a submodule, which has no target branch of its own."
        )
    return git


def _commit(git: Git, ref: str) -> str:
    # A name that git would take for an option, or that is cut off at its first line.
    if not ref or ref.startswith("-") or not ref.isprintable():
        raise ConfigurationError(f"{ref!r} is not the name of a branch.")
    done = git.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if done.returncode:
        raise ConfigurationError(f"git knows no branch {ref!r} here. {_FETCH}")
    return done.stdout.decode().strip()


def _parting(git: Git, tip: str, ref: str) -> str:
    """Return the commit at which the branch has left its target; without a common past, the tip."""
    done = git.run("merge-base", tip, "HEAD")
    if done.returncode == 0:
        return done.stdout.decode().strip()
    if not git.has_whole_history():
        raise ConfigurationError(
            f"The clone is shallow, and does not reach back to where the branch left {ref}. "
            f"{_FETCH}"
        )
    return tip


def _check_links(git: Git) -> None:
    # Behind a link is another folder, whose files the target branch may have had all along.
    top = git.top()
    for path in (git.folder, *git.folder.parents):
        # The repository itself may be behind one.
        if path.is_symlink() and (path == git.folder or path.resolve() != top):
            raise ConfigurationError(
                f"{one_line(str(path))} is a link, behind which the target branch has another "
                "folder than the one of that name: name the folder itself in MIGRATIONS_DIR."
            )
        if path.resolve() == top:
            return


def _check_sparse(git: Git) -> None:
    # Marked S: in the index, and by intent not in the working tree.
    tagged = git.ask("ls-files", "-t", "-z").split(b"\0")
    left_out = [os.fsdecode(entry[2:]) for entry in tagged if entry.startswith(b"S ")]
    lacking = [name for name in left_out if "/" not in name and is_sql(Path(name))]
    if any(not (git.folder / name).exists() for name in lacking):
        raise ConfigurationError(
            f"The checkout is sparse, and lacks {one_line(lacking[0])} in "
            f"{one_line(git.folder.name)}: `git sparse-checkout add` the folder."
        )


def _files_at(git: Git, commit: str, folder: str) -> tuple[MigrationFile, ...]:
    # Lower-case names in the format alone: what the runner refuses there was never applied.
    entries = [
        entry for entry in _entries(git, commit) if is_sql(Path(entry.name)) and _is_file(entry)
    ]
    contents = _contents(git, [entry.object for entry in entries])
    files = []
    for entry, content in zip(entries, contents, strict=True):
        try:
            files.append(parse(entry.name, content, folder=folder))
        except MigrationFileError:
            continue
    return tuple(sorted(files, key=lambda file: (file.number, file.version)))


def _is_file(entry: _Entry) -> bool:
    return entry.mode in _FILE_MODES


def _entries(git: Git, commit: str) -> Iterator[_Entry]:
    """Yield what the folder holds in a commit; nothing if the commit has no such folder."""
    prefix, tree = _prefix(git), commit
    if prefix:
        above = tuple(_listed(git, "--full-tree", commit, "--", prefix))
        if not above:
            return
        if above[0].kind == _SUBMODULE:
            raise ConfigurationError(
                f"{one_line(prefix)} is a submodule on the target branch, so that its files are "
                "not known here."
            )
        if above[0].kind != _TREE:
            return
        tree = above[0].object
    yield from _listed(git, "--full-tree", tree)


def _prefix(git: Git) -> str:
    return os.fsdecode(git.ask("rev-parse", "--show-prefix")).removesuffix("\n").rstrip("/")


def _listed(git: Git, *words: str) -> Iterator[_Entry]:
    for line in git.ask("ls-tree", "-z", *words).split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, kind, name_of_object = about.split()
        yield _Entry(mode, kind, name_of_object.decode(), os.fsdecode(name))


def _contents(git: Git, objects: Sequence[str]) -> Iterator[bytes]:
    """Yield the contents of objects, as they are stored."""
    if not objects:
        return
    done = git.run("cat-file", "--batch", stdin="".join(f"{each}\n" for each in objects).encode())
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigurationError(f"{_NO_CONTENTS} git says: {said}")
    answer, at = done.stdout, 0
    for _ in objects:
        end = answer.index(b"\n", at)
        words = answer[at:end].split()
        if words[1:2] != [b"blob"]:
            raise ConfigurationError(_NO_CONTENTS)
        size = int(words[2])
        yield answer[end + 1 : end + 1 + size]
        at = end + size + 2
