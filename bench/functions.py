"""Measure the built functions, cold and warm, under the Python runtime of Vercel.

See README.md beside this file.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import SECRET, Database, new_database  # noqa: E402
from vercel_cli import (  # noqa: E402
    DEFAULT_PYTHON,
    Built,
    Function,
    Project,
    copy_clone,
    require_machine,
    require_tools,
)

from lib.local import embedded_server as embedded  # noqa: E402

# What somebody would write by hand, and the lower bound: both make one connection and one query.
PEERS = {
    "flask": """
import os
import psycopg
from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/<path:path>")
def status(path):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        return jsonify(answer=connection.execute("select 1").fetchone()[0])
""",
    "floor": """
import os
import psycopg


def app(environ, start_response):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        body = str(connection.execute("select 1").fetchone()[0]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
""",
}
REQUESTS = {
    "migration-status": ("GET", {}),
    "migrate": ("POST", {"Authorization": f"Bearer {SECRET}"}),
    "flask": ("GET", {}),
    "floor": ("GET", {}),
}


@dataclass(frozen=True)
class Sample:
    """One cold start: our import, the start, the first and second answer (ms), and memory (MiB)."""

    imported: float
    boot: float
    first: float
    warm: float
    memory: float


def build(folder: Path, database: Database, **environ: str) -> Built:
    """Build production, the peers beside our functions."""
    project = Project(copy_clone(folder / "clone"), DEFAULT_PYTHON, {"DATABASE_URL": database.url})
    for name, source in PEERS.items():
        project.write(f"api/{name}.py", source)
    settings = json.loads((project.root / "vercel.json").read_text())
    settings["functions"] |= {
        f"api/{name}.py": settings["functions"]["api/migrate.py"] for name in PEERS
    }
    project.write("vercel.json", json.dumps(settings))
    built = project.build(**environ)
    if built.exit_code:
        sys.exit(built.log)
    return built


def measure(name: str, task: Path, built: Built, database: Database) -> Sample:
    variables = {
        "VERCEL": "1",
        "VERCEL_ENV": "production",
        "DATABASE_URL": database.url,
        "MIGRATION_SECRET": SECRET,
    }
    method, headers = REQUESTS[name]
    with Function(task, built.python, built.environ(f"api/{name}", **variables)) as function:
        first, warm = (answer_time(function, method, f"/api/{name}", headers) for _ in range(2))
        return Sample(
            function.imported, function.boot, first, warm, peak_memory(function.process.pid)
        )


def answer_time(function: Function, method: str, path: str, headers: Mapping[str, str]) -> float:
    began = time.perf_counter()
    answer = function.request(method, path, headers)
    if answer.code != http.client.OK:
        sys.exit(f"{path}: {answer.code} {answer.body!r}")
    return (time.perf_counter() - began) * 1000


def peak_memory(pid: int) -> float:
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(lines["VmHWM"].split()[0]) / 1024


@contextmanager
def database() -> Iterator[Database]:
    cluster = embedded.locate(ROOT, name="bench")
    try:
        with new_database(embedded.start(cluster)) as found:
            yield found
    finally:
        embedded.stop(cluster)


def table(built: Built, samples: Mapping[str, list[Sample]]) -> str:
    """Medians, with the least and the most of the first answer."""
    lines = [
        "| function | bytes | import | start | first answer | second | memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, taken in samples.items():
        middle = {
            key: statistics.median(getattr(sample, key) for sample in taken)
            for key in vars(taken[0])
        }
        firsts = [sample.first for sample in taken]
        lines.append(
            f"| {name} | {built.size(f'api/{name}'):,} | {middle['imported']:.0f} "
            f"| {middle['boot']:.0f} "
            f"| {middle['first']:.0f} ({min(firsts):.0f}–{max(firsts):.0f}) "
            f"| {middle['warm']:.1f} | {middle['memory']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="cold starts of each function")
    runs = parser.parse_args().runs
    try:
        require_machine()
        require_tools(DEFAULT_PYTHON)
    except (pytest.skip.Exception, pytest.fail.Exception) as absent:
        sys.exit(str(absent))
    for title, environ in (
        ("as built", {}),
        ("with VERCEL_PYTHON_COMPILEALL=1", {"VERCEL_PYTHON_COMPILEALL": "1"}),
    ):
        with tempfile.TemporaryDirectory() as name, database() as found:
            folder = Path(name)
            built = build(folder, found, **environ)
            tasks = {
                function: built.unpack(f"api/{function}", folder / function)
                for function in REQUESTS
            }
            samples: dict[str, list[Sample]] = {function: [] for function in REQUESTS}
            # The first turn warms the machine's file cache up, and is not counted.
            for turn in range(runs + 1):
                for function, task in tasks.items():
                    sample = measure(function, task, built, found)
                    samples[function] += [sample] if turn else []
            print(
                f"\nPython {DEFAULT_PYTHON}, {title}; built in {built.seconds:.1f} s; "
                f"milliseconds, medians of {runs}\n"
            )
            print(table(built, samples), flush=True)


if __name__ == "__main__":
    main()
