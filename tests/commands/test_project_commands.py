"""The question before anything is written, as somebody at a terminal answers it."""

import fcntl
import os
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import local_environ
from git_projects import Project, tree
from pseudo_terminal import terminal


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"y\n", 0), (b"\n", 1), (b"\x04", 1), (b"\x03", 130)],
    ids=["y", "nothing", "end of input", "Ctrl-C"],
)
def test_only_a_yes_writes(
    clone: Path, make_project: Callable[..., Project], answer: bytes, code: int
) -> None:
    project = make_project()
    before = tree(project.folder)
    with terminal(80) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "lib", "install", str(project.folder)],
            cwd=clone,
            env=local_environ(GIT_CONFIG_GLOBAL=os.devnull),
            stdin=screen.stream,
            stdout=screen.stream,
            stderr=screen.stream,
            # Ctrl-C reaches the processes of the terminal.
            preexec_fn=_take_terminal,  # noqa: PLW1509  this process has one thread
        )
        assert "requirements.txt" in screen.shown(until=r"\[y/N\]")
        os.write(screen.controller, answer)
        screen.shown(until=r"Nothing was written|Interrupted|Next, in")
        assert process.wait(60) == code
    assert (tree(project.folder) != before) == (code == 0)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
