"""The clients for PostgreSQL of Node.js, from npm: in `.local/node`, and used again."""

import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import ROOT

PINS = ROOT / "tests" / "node" / "package.json"
FOLDER = ROOT / ".local" / "node"


def require_clients() -> None:
    """Skip the test without Node.js or the packages; in CI nothing may be missing."""
    if reason := _install():
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must have it", pytrace=False)
        pytest.skip(reason)


@functools.cache
def _install() -> str | None:
    """Install the pinned packages unless they are there; says what went wrong."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "Node.js with npm is not installed"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = FOLDER / "installed"
        if stamp.exists() and stamp.read_text() == PINS.read_text():
            return None
        shutil.copyfile(PINS, FOLDER / "package.json")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
        if done.returncode:
            return f"npm could not install pg and postgres: {done.stderr.strip()[-300:]}"
        stamp.write_text(PINS.read_text())
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
