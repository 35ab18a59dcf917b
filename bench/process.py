"""One contender's process, from its start to its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Ended:
    """How it ended: wall and CPU time (s), peak memory (MiB), and what went wrong, if anything."""

    wall: float
    cpu: float
    memory: float
    fault: str | None = None


def run(command: Sequence[str], folder: Path, environ: Mapping[str, str], limit: float) -> Ended:
    """Run the command in the folder, and end it with all it started after `limit` seconds."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), *command],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return Ended(limit, 0.0, 0.0, f"took longer than {limit:g} s.")
        raise
    wall, cpu, kib, code = out.split() or ("0", "0", "0", "unknown")
    fault = None if code == "0" else f"ended with exit code {code}:\n{err[-2000:]}"
    return Ended(float(wall), float(cpu), int(kib) / 1024, fault)
