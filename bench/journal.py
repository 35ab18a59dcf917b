"""How the runner's own tables grow: files of one line from an empty database, at several counts.

The sizes are those right after the run, with what is dead in them, before autovacuum comes. `--lib`
names the folder of another version, to compare with.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT
from server import BenchError, Server, exit_code_of, started

COUNTS = (1000, 3000, 10_000)
SIZES = (
    "select pg_total_relation_size('schema_migration_runs') || ' '"
    " || pg_total_relation_size('schema_migrations')"
)


def measure(server: Server, lib: Path, count: int) -> tuple[float, int, int]:
    """Migrate `count` files; return seconds, and the bytes of the journal and of the ledger."""
    database = server.create_database()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            Path(folder, f"{number:05}-one-line.sql").write_text("select 1;\n", encoding="utf-8")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "lib", "migrate", "--json"],
            cwd=lib,
            env={**server.environ(database), "MIGRATIONS_DIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchError(done.stdout + done.stderr)
    journal, ledger = map(int, server.query(database, SIZES).split())
    server.drop_database(database)
    return seconds, journal, ledger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lib", type=Path, default=ROOT, help="the folder that holds lib/")
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    arguments = parser.parse_args()
    with started() as server:
        print("| files | seconds | journal, kB | ledger, kB |\n|---|---|---|---|")
        for count in arguments.counts:
            seconds, journal, ledger = measure(server, arguments.lib, count)
            row = f"{count} | {seconds:.1f} | {journal / 1024:.0f} | {ledger / 1024:.0f}"
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
