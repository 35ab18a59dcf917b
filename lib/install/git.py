"""git in a folder that a stranger may have filled: it runs no hook and no command of its settings.

Only questions are asked; nothing is staged, committed or fetched.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ConfigurationError, MigratorError
from ..time_limits import GIT

# What the settings of a repository could run while it is looked at, besides its filters.
_SAFE = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.untrackedCache": "false",
    "log.showSignature": "false",
    "protocol.allow": "never",
}
_CREDENTIALS = re.compile(r"(?<=://)[^/]*@|[?#].*", re.DOTALL)
# Whatever is left of a password with a slash in it is no address of this form.
_ADDRESS = re.compile(r"(?:(?:https?|ssh|git)://[\w.-]+(?::\d+)?/|[\w.-]+@[\w.-]+:)[\w./~+%-]+")


@dataclass(frozen=True)
class Git:
    """git, asked about the repository of one folder. `environ` is that of the caller.

    `limit` is for one answer, in seconds.
    """

    folder: Path
    environ: Mapping[str, str]
    limit: float = GIT

    def top(self) -> Path | None:
        """Return the root of the repository, or None if the folder is in none."""
        done = self.run("rev-parse", "--show-toplevel", "--is-inside-work-tree")
        if done.returncode == 0:
            top = Path(os.fsdecode(done.stdout.rpartition(b"\ntrue")[0])).resolve()
            if not self.folder.resolve().is_relative_to(top):
                raise ConfigurationError(
                    f"The settings of git in {self.folder} say that its files are in {top}."
                )
            return top
        words = done.stderr.decode(errors="replace")
        if "not a git repository" in words or "must be run in a work tree" in words:
            return None
        raise ConfigurationError(f"git cannot read {self.folder}: {words.strip()}")

    def tracked(self, *paths: str) -> tuple[str, ...]:
        """Return the files that git has below these paths."""
        return _names(self.ask("ls-files", "-z", "--", *paths))

    def unsaved(self, paths: Collection[str]) -> tuple[str, ...]:
        """Return which of these paths hold something that no commit has.

        An ignored, an untracked and a staged file are among them, and one that git is told to
        overlook (`assume-unchanged`, `skip-worktree`).
        """
        # In a submodule, status would run git with the settings there.
        options = ("--no-renames", "--ignored", "-uall", "--ignore-submodules=all")
        states = self.ask(
            "status", "--porcelain", "-z", *options, "--", *paths, filters=self._filters()
        )
        found = {entry[3:] for entry in _names(states)}
        overlooked = {
            entry[2:]
            for entry in _names(self.ask("ls-files", "-v", "-z", "--", *paths))
            if entry[0].islower() or entry[0] == "S"
        }
        # git names both from the root of the repository, or from the folder.
        prefix = os.fsdecode(self.ask("rev-parse", "--show-prefix")).strip("\n")
        return tuple(sorted({name.removeprefix(prefix) for name in found} | overlooked))

    def origin(self) -> str | None:
        """Return the address that the repository was cloned from, without credentials.

        None if it is a path, or nothing that is plainly an address.
        """
        done = self.run("config", "--get", "remote.origin.url")
        address = _CREDENTIALS.sub("", done.stdout.decode(errors="replace").strip())
        return address if _ADDRESS.fullmatch(address) else None

    def commit(self) -> str | None:
        """Return the commit, or None if the work tree differs from it."""
        if self.ask("status", "--porcelain", "-uno", filters=self._filters()):
            return None
        done = self.run("rev-parse", "--verify", "-q", "HEAD")
        return done.stdout.decode().strip() or None

    def has_whole_history(self) -> bool:
        return self.ask("rev-parse", "--is-shallow-repository").strip() == b"false"

    def has_objects(self, ids: Sequence[str]) -> tuple[bool, ...]:
        """Return which of these objects the repository has: contents of files it has ever had."""
        answers = self.ask("cat-file", "--batch-check=%(objecttype)", stdin="\n".join(ids).encode())
        return tuple(line == b"blob" for line in answers.splitlines())

    def ever_tracked(self, *paths: str) -> frozenset[str]:
        """Return every path below these that a commit has had."""
        names = self.ask(
            "log", "--all", "--no-renames", "--format=", "--name-only", "-z", "--", *paths
        )
        return frozenset(_names(names))

    def _filters(self) -> Mapping[str, str]:
        """Return settings that switch off each filter, which status would run on a file."""
        done = self.run("config", "-z", "--name-only", "--get-regexp", r"^filter\.")
        return {name: "false" if name.endswith(".required") else "" for name in _names(done.stdout)}

    def ask(
        self, *words: str, stdin: bytes = b"", filters: Mapping[str, str] | None = None
    ) -> bytes:
        """Return what git answers; ConfigurationError if it fails."""
        done = self.run(*words, stdin=stdin, filters=filters)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ConfigurationError(f"git {words[0]} failed in {self.folder}: {said}")
        return done.stdout

    def run(
        self, *words: str, stdin: bytes = b"", filters: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run git; `filters` are more of its settings."""
        program = shutil.which("git", path=self.environ.get("PATH"))
        if program is None:
            raise ConfigurationError("git is not installed: it tells what a change could lose.")
        # `-C` and not `cwd`: Windows would run a git.exe of the folder.
        # A path is no pattern; check-ignore takes paths alone, and refuses this option.
        literal = () if words[0] == "check-ignore" else ("--literal-pathspecs",)
        try:
            return subprocess.run(
                [program, *literal, "--no-optional-locks", "-C", str(self.folder), *words],
                env=self._environ({**_SAFE, **(filters or {})}),
                input=stdin,
                capture_output=True,
                timeout=self.limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MigratorError(
                f"git {words[0]} did not answer within {self.limit:g} s in {self.folder}."
            ) from None

    def _environ(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        # GIT_DIR and the like, as in a hook, would name another repository.
        kept = {key: value for key, value in self.environ.items() if not key.startswith("GIT_")}
        for number, (name, value) in enumerate(settings.items()):
            kept |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **kept,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }


def ignored(git: Git, paths: Iterable[str], ignore_files: Mapping[str, bytes]) -> Mapping[str, str]:
    """Return which paths git would ignore, each with the place of the pattern.

    `ignore_files` are the .gitignore of the folder as they would be: nothing is written there.
    """
    top = git.top() or git.folder
    inside = git.folder.relative_to(top)
    with tempfile.TemporaryDirectory() as place:
        copy = Git(Path(place), git.environ)
        copy.ask("init", "-q", "--template=")
        for folder in (inside, *inside.parents):
            _copy(top / folder / ".gitignore", copy.folder / folder / ".gitignore")
        for name, content in ignore_files.items():
            (copy.folder / inside / name).parent.mkdir(parents=True, exist_ok=True)
            (copy.folder / inside / name).write_bytes(content)
        excluded = git.run("rev-parse", "--git-path", "info/exclude")
        if excluded.returncode == 0:
            exclude = git.folder / os.fsdecode(excluded.stdout).strip("\n")
            _copy(exclude, copy.folder / ".git" / "info" / "exclude")
        return _matches(copy, inside, paths)


def nested(folder: Path, paths: Collection[str]) -> tuple[str, ...]:
    """Return the folders on the way to these paths that are repositories of their own."""
    parents = {parent for path in paths for parent in PurePosixPath(path).parents}
    return tuple(
        f"{parent} is a git repository of its own, so that the project would lack what is in it."
        for parent in sorted(parents - {PurePosixPath()})
        if (folder / parent / ".git").exists()
    )


def _matches(git: Git, inside: Path, paths: Iterable[str]) -> Mapping[str, str]:
    # A folder may be named like a pathspec with magic, `:(top)`.
    prefix = f"./{inside.as_posix()}/" if inside.parts else "./"
    asked = [f"{prefix}{path}" for path in paths]
    done = git.run(
        "check-ignore", "--no-index", "-v", "-z", "--stdin",
        stdin=b"\0".join(map(os.fsencode, asked)),
    )  # fmt: skip
    # 1 says that none is ignored.
    if done.returncode > 1:
        raise ConfigurationError(f"git check-ignore failed: {done.stderr.decode().strip()}")
    # Four fields for each: where the pattern is, its line, the pattern, the path.
    fields = _names(done.stdout, keep_empty=True)
    matches = zip(*(iter(fields),) * 4, strict=False)
    return {
        path.removeprefix(prefix): f"{source}:{line}: {pattern}"
        for source, line, pattern, path in matches
        if not pattern.startswith("!")
    }


def _names(answer: bytes, *, keep_empty: bool = False) -> tuple[str, ...]:
    parts = (
        os.fsdecode(answer).split("\0")[:-1] if answer.endswith(b"\0") else [os.fsdecode(answer)]
    )
    return tuple(part for part in parts if part or keep_empty)


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
