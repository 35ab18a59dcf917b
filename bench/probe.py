"""What it costs to watch the statements of a file in a rehearsal.

Each table has three indexes, a foreign key and a sequence. *Start* is what is read once before a
file; *statement* is what the probe adds to each of its statements, which is the difference between
the file observed and the file in one flight. Processor time, of the server and of the client.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import psycopg
from server import BenchError, exit_code_of, started
from snapshot import busy

from lib.database.connection import Connection
from lib.database.pipeline import carry_out
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.rehearse.observed_run import observe_file
from lib.rehearse.probe_queries import read_relations

COUNTS = (30, 300)
STATEMENTS = 30
TABLE = """
create table t{0} (
    id serial primary key, name text unique, amount int, parent int references t{0}
);
create index on t{0} (amount);
"""


def spent(raw: "psycopg.Connection", work: Callable[[], object]) -> float:
    """Milliseconds of processors."""
    pid = raw.info.backend_pid
    client, of_server = time.process_time(), busy(pid)
    work()
    return (time.process_time() - client) * 1000 + busy(pid) - of_server


def sample(raw: "psycopg.Connection", turn: int) -> tuple[float, float]:
    """Milliseconds: what is read at the start, and what the probe adds to a statement."""
    connection = Connection(raw)
    texts = [f"alter table t{n} add column c{turn} int" for n in range(STATEMENTS)]
    script = prepare(parse("001-a.sql", ";\n".join(texts).encode()))
    start = spent(raw, lambda: read_relations(connection))
    plain = spent(raw, lambda: carry_out(connection, ["begin", *texts, "rollback"]))
    facts = []
    observed = spent(raw, lambda: facts.append(observe_file(connection, script)))
    if failure := facts[0].statements[-1].failure:
        raise BenchError(failure)
    return start, (observed - start - plain) / STATEMENTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with started() as server:
        server.print_facts()
        print("| tables | start, ms | statement, ms |\n| --- | --- | --- |")
        for tables in COUNTS:
            with server.connect(server.create_with_tables(TABLE, tables)) as raw:
                raw.autocommit = True
                # The first one reads the catalog into the caches of its server process.
                samples = [sample(raw, turn) for turn in range(runs + 1)][1:]
            start, each = (statistics.median(column) for column in zip(*samples, strict=True))
            print(f"| {tables} | {start:.1f} | {each:.1f} |")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
