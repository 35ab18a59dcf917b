"""Every change is written, or none; and nothing outside the folder, by whatever is in it."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import local_environ
from git_projects import Installer, Project, git, tree

from lib.errors import ConfigurationError, Interrupted
from lib.install import changes
from lib.install.changes import Change, Plan, carry_out
from lib.install.git import Git
from lib.install.record import Record
from lib.signals import interrupt_on_signals, interrupting_signals


def plan(folder: Path, *changes: Change) -> Plan:
    return Plan("install", str(folder), "1", None, changes)


def test_a_write_that_fails_takes_back_all_before_it(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o640)
    (tmp_path / "gone").write_bytes(b"gone")
    (tmp_path / "file").write_bytes(b"")
    before = tree(tmp_path)
    with pytest.raises(OSError, match="file"):
        carry_out(
            plan(
                tmp_path,
                Change("a/b/new", "added", None, b"new"),
                Change("old", "merged", b"old", b"changed"),
                Change("gone", "removed", b"gone", None),
                # Below a file there is no folder, for root either.
                Change("file/x", "added", None, b""),
            )
        )
    assert tree(tmp_path) == before
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_written_is_not_named_as_lost(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"o" * 9000)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, most))
    try:
        with pytest.raises(OSError, match="too large"):
            carry_out(plan(tmp_path, Change("old", "merged", b"o" * 9000, b"n" * 9001)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert tree(tmp_path) == {"old": b"o" * 9000}


def test_of_two_actions_the_second_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = changes._replace

    def in_the_middle(path: Path, content: bytes, mode: int) -> None:
        replace(path, content, mode)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)

    monkeypatch.setattr(changes, "_replace", in_the_middle)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        carry_out(plan(tmp_path, Change("a", "added", None, b"x")))
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(folder)


def test_a_signal_while_a_folder_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def interrupted(path: Path) -> None:
        make(path)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Path, "mkdir", interrupted)
    before = {each: signal.getsignal(each) for each in interrupting_signals()}
    try:
        interrupt_on_signals()
        with pytest.raises(Interrupted):
            carry_out(plan(tmp_path, Change("a/b", "added", None, b"x")))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert tree(tmp_path) == {}


def test_a_file_that_somebody_else_has_changed_meanwhile_is_not_overwritten(
    tmp_path: Path,
) -> None:
    (tmp_path / "old").write_bytes(b"newer")
    with pytest.raises(ConfigurationError, match="changed by somebody else"):
        carry_out(
            plan(
                tmp_path,
                Change("first", "added", None, b"1"),
                Change("old", "merged", b"old", b"changed"),
            )
        )
    assert tree(tmp_path) == {"old": b"newer"}


def test_the_mode_of_a_file_stays_and_a_script_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o600)
    script = Change("build.sh", "added", None, b"x", is_executable=True)
    before = os.umask(0o027)
    try:
        carry_out(plan(tmp_path, Change("old", "merged", b"old", b"new"), script))
    finally:
        os.umask(before)
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "build.sh").stat().st_mode & 0o777 == 0o750


# Waits in the middle for a signal, which is to be heard once that file is written.
_SLOW = """
import os, signal, sys
from lib.install import changes as writing
replace = writing._replace
def slow(path, *rest):
    replace(path, *rest)
    if path.name == "requirements-local.txt":
        print("half", flush=True)
        signal.pause()
writing._replace = slow
from lib.cli.main import main
sys.exit(main(sys.argv[1:], os.environ, None))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_takes_back_all(
    clone: Path, make_project: Callable[..., Project], number: signal.Signals
) -> None:
    project = make_project()
    before = tree(project.folder)
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "install", str(project.folder), "--yes", "--json"],
        cwd=clone,
        env=local_environ(GIT_CONFIG_GLOBAL=os.devnull),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "half\n"
    assert tree(project.folder) != before
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert tree(project.folder) == before


# --- Hostile projects ---


@pytest.mark.parametrize("name", ["lib", "vercel.json", ".gitignore", "api", "lib/sql"])
def test_nothing_is_written_through_a_link(
    run: Installer, make_project: Callable[..., Project], tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    if "." in name:
        outside.write_text("{}")
    else:
        outside.mkdir()
    project = make_project({"README.md": "", "lib/x.ts" if "/" in name else "x": ""})
    (project.folder / name).symlink_to(outside)
    project.commit()
    before = tree(tmp_path / "my app"), outside.is_dir() and tree(outside)
    said = run.refused("install", project.folder, "--yes", "--force")
    assert f"{name} is a link" in said
    assert (tree(tmp_path / "my app"), outside.is_dir() and tree(outside)) == before


def test_a_link_to_the_project_is_the_project(
    run: Installer, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project()
    (tmp_path / "link").symlink_to(project.folder)
    run.done("install", tmp_path / "link", "--yes")
    assert (project.folder / "build.sh").is_file()


def test_git_runs_nothing_of_the_project(
    run: Installer, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project({"requirements.txt": "a\n", ".gitattributes": "* filter=evil\n"})
    ran = tmp_path / "ran"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\necho $0 >>'{ran}'\ncat\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.external"):
        git(project.folder, "config", name, str(script))
    git(project.folder, "config", "core.hooksPath", str(tmp_path))
    # Newer than the index, so that git compares contents.
    later = time.time() + 5
    os.utime(project.folder / "requirements.txt", (later, later))
    run.done("install", project.folder, "--yes", GIT_DIR=str(tmp_path), GIT_EXTERNAL_DIFF="false")
    assert not ran.exists()
    # The same question without the precautions, so that the above can fail.
    git(project.folder, "status")
    assert ran.exists()


def test_a_repository_in_the_project_is_not_written_into(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    (project.folder / "lib").mkdir()
    git(project.folder / "lib", "init", "-q")
    before = tree(project.folder)
    said = run.refused("install", project.folder, "--yes", "--force")
    assert "lib is a git repository of its own" in said
    assert tree(project.folder) == before


def test_settings_of_git_cannot_lead_to_another_folder(
    run: Installer, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project()
    (tmp_path / "other").mkdir()
    git(project.folder, "config", "core.worktree", str(tmp_path / "other"))
    assert "The settings of git" in run.refused("install", project.folder, "--yes", "--force")
    assert tree(tmp_path / "other") == {}


def test_names_with_line_breaks_and_escapes_are_shown_escaped(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project(
        {"lib/a\n::error::x.py": "", "migrations/\x1b[31m.ts": ""}, name="app\n::error::y"
    )
    done = run("install", project.folder, "--yes")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert not [line for line in lines if line.lstrip().startswith("::")]


@pytest.mark.parametrize(
    "path", ["../outside", "src/app.ts", "/etc/passwd", "lib/../../outside", ".git/config", "C:x"]
)
def test_a_record_that_names_another_file_is_refused(
    run: Installer, make_project: Callable[..., Project], path: str
) -> None:
    project = make_project({"src/app.ts": ""})
    run.done("install", project.folder, "--yes")
    record = project.json("lib/installed.json")
    record["files"][path] = record["files"]["build.sh"]
    project.write({"lib/installed.json": json.dumps(record)})
    project.commit()
    before = tree(project.folder)
    for action in ("update", "uninstall"):
        assert "no file of the bundle" in run.refused(action, project.folder, "--yes", "--force")
    assert tree(project.folder) == before


@pytest.mark.parametrize(
    "content", ['{"migrations"', '{"migrations": 1}', '{"migrations": "sql", "format": 2}']
)
def test_a_record_that_cannot_be_read_is_an_error(
    run: Installer, make_project: Callable[..., Project], content: str
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    project.write({"lib/installed.json": content})
    project.commit()
    said = run.refused("uninstall", project.folder, "--yes")
    assert "lib/installed.json" in said


def test_the_origin_is_recorded_without_its_credentials(
    run: Installer, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    run.done("install", project.folder, "--yes")
    assert project.json("lib/installed.json")["origin"] == "https://example.com/bundle.git"
    assert "hidden" not in project.read("lib/installed.json")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:p@hidden@example.com/b.git", "https://example.com/b.git"),
        ("https://example.com/b.git?token=hidden", "https://example.com/b.git"),
        ("https://example.com:8443/b#hidden", "https://example.com:8443/b"),
        ("ssh://git@example.com/b", "ssh://example.com/b"),
        ("git@example.com:team/b.git", "git@example.com:team/b.git"),
        ("https://user:hid/den@example.com/b.git", None),
        ("user:hidden@example.com:b", None),
        ("/srv/b", None),
    ],
)
def test_an_address_is_shown_only_without_credentials(
    tmp_path: Path, address: str, shown: str | None
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "remote.origin.url", address)
    assert Git(tmp_path, local_environ()).origin() == shown


@pytest.mark.parametrize(
    ("path", "wrote"),
    [
        ("vercel.json", []),
        ("vercel.json", {"functions": {"api/migrate.py": 3}}),
        ("requirements.txt", 5),
        ("requirements.txt", [5]),
        (".gitignore", None),
    ],
)
def test_a_record_with_something_else_in_it_is_damaged(path: str, wrote: object) -> None:
    record = {
        "format": 1,
        "version": "1",
        "origin": None,
        "commit": None,
        "package": "lib",
        "migrations": "migrations",
        "files": {},
        "folders": [],
        "merged": {path: {"before": None, "after": "", "wrote": wrote}},
    }
    with pytest.raises(ConfigurationError, match="is damaged"):
        Record.of("lib/installed.json", json.dumps(record).encode())
