"""The cost of a snapshot of the schema, and of comparing two, next to pg_dump --schema-only.

Each table has eleven columns, three constraints, two further indexes, a sequence, privileges of
another role, and a comment. *First* is the first snapshot of a session, whose server process has
read no catalog yet; *again* is a later one. Processor time is that of each side.
"""

import argparse
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from server import BenchError, Server, exit_code_of, started

from lib.catalog.comparison import compare
from lib.catalog.exclusions import Exclusions
from lib.catalog.schema_objects import Snapshot
from lib.catalog.snapshot import read_snapshot
from lib.database.connection import Connection

COUNTS = (30, 300, 3000)
# Of the slowest machine: what counts here is how long it takes, not whether it is in time.
LIMIT = 60.0
TABLE = """
create table t{0} (
    id serial primary key, name text not null default 'x', amount int check (amount > 0),
    at timestamptz default now(), code text unique, ref uuid, data jsonb, price numeric(10, 2),
    is_open boolean, day date, note text
);
create index on t{0} (name);
create index on t{0} (amount) where amount > 3;
grant select, insert on t{0} to pg_monitor;
comment on column t{0}.name is 'a comment';
"""


@dataclass(frozen=True)
class Sample:
    """Milliseconds, by the clock and of processors: two snapshots of a session, a comparison."""

    first: float
    first_server: float
    first_client: float
    again: float
    again_server: float
    again_client: float
    compare_client: float


def look(raw: "psycopg.Connection") -> Snapshot:
    found = read_snapshot(Connection(raw), exclusions=Exclusions(), limit=LIMIT)
    if not isinstance(found, Snapshot):
        raise BenchError(found.reason)
    return found


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def busy(pid: int) -> float:
    """The processor time of a process so far, in milliseconds; Linux alone reports it so finely."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except FileNotFoundError:
        return 0.0


def sample(server: Server, database: str) -> Sample:
    with server.connect(database) as raw:
        first = measured(raw, lambda: look(raw))
        again = measured(raw, lambda: look(raw))
        before = look(raw).objects
        # As after a change: other strings, all but one of them equal.
        after = {key: f"{text} "[:-1] for key, text in before.items()}
        after[next(iter(after))] += "changed"
        return Sample(*first, *again, measured(raw, lambda: compare(before, after))[2])


def measured(raw: "psycopg.Connection", work: Callable[[], object]) -> tuple[float, float, float]:
    """The time by the clock, and the processor time of the server's process and of this one."""
    pid = raw.info.backend_pid
    server, client = busy(pid), time.process_time()
    wall = timed(work)
    return wall, busy(pid) - server, (time.process_time() - client) * 1000


def memory(server: Server, database: str) -> tuple[int, int, float]:
    """Return the number of objects, the bytes of their rows, and the client's peak in MiB."""
    with server.connect(database) as raw:
        tracemalloc.start()
        found = look(raw)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    size = sum(len(f"{kind}{name}{text}".encode()) for (kind, name), text in found.objects.items())
    return len(found.objects), size, peak


def dump(server: Server, database: str) -> float:
    command = [str(server.psql.with_name("pg_dump")), "--schema-only", "--dbname", database]
    return timed(
        lambda: subprocess.run(
            command, env=server.environ(database), check=True, capture_output=True
        )
    )


def row(server: Server, tables: int, runs: int) -> str:
    database = server.create_with_tables(TABLE, tables)
    samples, dumps = [], []
    for _ in range(runs):
        samples.append(sample(server, database))
        dumps.append(dump(server, database))
    objects, size, peak = memory(server, database)
    server.drop_database(database)
    cells = [
        f"{statistics.median(getattr(each, name) for each in samples):.0f}"
        f" ({min(getattr(each, name) for each in samples):.0f})"
        for name in Sample.__dataclass_fields__
    ]
    cells += [f"{size / 1000:,.0f}", f"{peak:.1f}"]
    cells += [f"{statistics.median(dumps):.0f} ({min(dumps):.0f})"]
    return f"| {tables:,} | {objects:,} | {' | '.join(cells)} |"


def measure(counts: tuple[int, ...], runs: int) -> None:
    with started() as server:
        server.print_facts(f"{runs} runs")
        print(
            "| tables | objects | first | server | client | again | server | client | compare"
            " | rows, kB | MiB | pg_dump |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
        )
        for count in counts:
            print(row(server, count, runs), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="sessions for each number of tables")
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    arguments = parser.parse_args()
    return exit_code_of(lambda: measure(tuple(arguments.counts), max(1, arguments.runs)))


if __name__ == "__main__":
    sys.exit(main())
