"""Projects in git, and the command line as a machine without any package has it."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT, local_environ

from lib.cli.main import main
from lib.signals import interrupting_signals

# Nobody's settings of git, and a name for the commits.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def _no_server(*_: object) -> None:
    raise AssertionError("no test of these serves anything")


def git(folder: Path, *words: str) -> str:
    """Run git as the owner of the project does."""
    return subprocess.run(
        ["git", *words],
        cwd=folder,
        env={**os.environ, **GIT},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def commit(folder: Path, message: str = "a commit") -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return everything in a folder but git's own: files with contents, links, empty folders."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.partition("/")[0] == ".git":
            continue
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = "folder" if path.is_dir() else path.read_bytes()
    return found


@dataclass
class Project:
    """A project of somebody, with one commit."""

    folder: Path

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(self) -> None:
        commit(self.folder)

    def read(self, name: str) -> str:
        return (self.folder / name).read_bytes().decode()

    def json(self, name: str = "vercel.json") -> Any:
        return json.loads(self.read(name))


@dataclass
class Installer:
    """The command line of a clone. `alone` starts it with no package but the standard library."""

    clone: Path

    def __call__(self, *words: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        # In this process, which has imported everything.
        handlers = {each: signal.getsignal(each) for each in interrupting_signals()}
        out, err = io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main(
                    [*map(str, words)], self._environ(variables), _no_server, root=self.clone
                )
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def alone(self, *words: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process, on a Python without psycopg, flask and dotenv."""
        return subprocess.run(
            # -S leaves out site-packages.
            [sys.executable, "-S", "-m", "lib", *map(str, words)],
            cwd=self.clone,
            env=self._environ(variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    @staticmethod
    def _environ(variables: Mapping[str, str]) -> dict[str, str]:
        return local_environ(GIT_CONFIG_GLOBAL=os.devnull, **variables)

    def done(self, *words: str | Path, **variables: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        done = self(*words, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str | Path, **variables: str) -> str:
        """Run a command that has to be refused, and return the reason."""
        done = self(*words, **variables)
        assert done.returncode == 2, done.stdout + done.stderr
        return done.stderr


def make_clone(folder: Path) -> Path:
    """Make a clone of the bundle with the present contents of this work tree."""
    names = git(ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        if name.startswith(("tests/", "docs/", "bench/")) or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "https://user:hidden@example.com/bundle.git")
    commit(folder)
    return folder
