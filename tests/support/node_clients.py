"""Packages of Node.js, from npm: for each package.json of the tests a folder in `.local`."""

import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import ROOT

# Of the clients for PostgreSQL.
FOLDER = ROOT / ".local" / "node"


def require_clients() -> None:
    """Skip the test without Node.js or its clients for PostgreSQL."""
    require_packages("node")


def require_packages(name: str) -> Path:
    """Return the folder with the packages of tests/NAME/package.json.

    Skip the test without Node.js or the packages; in CI nothing may be missing.
    """
    folder = ROOT / ".local" / name
    if reason := _install(ROOT / "tests" / name / "package.json", folder):
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must have it", pytrace=False)
        pytest.skip(reason)
    return folder / "node_modules"


@functools.cache
def _install(pins: Path, folder: Path) -> str | None:
    """Install the pinned packages unless they are there; says what went wrong."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "Node.js with npm is not installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "installed"
        if stamp.exists() and stamp.read_text() == pins.read_text():
            return None
        shutil.copyfile(pins, folder / "package.json")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return f"npm could not install the packages of {pins}: {done.stderr.strip()[-300:]}"
        stamp.write_text(pins.read_text())
    return None


def run_script(root: Path, script: str, environ: Mapping[str, str], *options: str) -> str:
    """Run a few lines of an application at `root`, as a module; return what it prints."""
    (root / "script.mjs").write_text(script)
    link = root / "node_modules"
    if not link.exists():
        link.symlink_to(FOLDER / "node_modules")
    done = subprocess.run(
        ["node", *options, "script.mjs"],
        cwd=root,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
