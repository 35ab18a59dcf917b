"""What an application feels while a migration alters a table that a long query reads.

See README.md beside this file.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import process
import psycopg
from contenders import Contender, chosen, contenders
from server import Server, exit_code_of, started

CREATE = (
    "create table t (id bigint primary key, note text); "
    "insert into t select n, n::text from generate_series(1, 1000) n"
)
# It holds its ACCESS SHARE lock from its first moment to its last.
HOLD = "select count(*), pg_sleep({seconds}) from t"
READ = "select note from t where id = 500"
ALTER = "alter table t add column added text;\n"
IS_ALTERED = (
    "select count(*) from pg_attribute where attrelid = 't'::regclass and attname = 'added'"
)

# A read begins so often, in seconds, unless the one before it has not ended.
EVERY = 0.020
# A read that took longer than this counts as held up, in seconds.
HELD_UP = 0.050
# For this many seconds the query has run when the contender starts, and the reads go on after
# the contender's end.
MARGIN = 1.0
# A contender that takes so much longer than the query hangs, in seconds, and is ended.
PATIENCE = 45.0


@dataclass(frozen=True)
class Sample:
    """One run: seconds of the contender, seconds of each read, and what went wrong, if anything."""

    wall: float
    reads: tuple[float, ...]
    fault: str | None

    @property
    def slowest(self) -> float:
        return max(self.reads)

    @property
    def held_up(self) -> float:
        return sum(read for read in self.reads if read > HELD_UP)

    @property
    def share(self) -> float:
        return self.held_up / self.wall


Samples = Mapping[str, Sequence[Sample]]


class Scene:
    """The server, everybody's files, and for how many seconds the query holds the table."""

    def __init__(self, server: Server, folder: Path, seconds: float) -> None:
        self.server = server
        self.folder = folder
        self.seconds = seconds

    def measure(self, rivals: Sequence[Contender], runs: int) -> Iterator[tuple[str, Sample]]:
        """Each in its turn, `runs` times over, so that drift hits all alike."""
        for turn in range(1, runs + 1):
            for contender in rivals:
                print(f"Measuring: {contender.name}, {turn} of {runs}", file=sys.stderr, flush=True)
                yield contender.name, self.run(contender)

    def run(self, contender: Contender) -> Sample:
        """One run on a fresh database, which is dropped again."""
        database = self.server.create_database()
        self.server.query(database, CREATE)
        with self.held(database), self.reads(database) as reads:
            time.sleep(MARGIN)
            before = len(reads)
            ended = process.run(
                contender.command,
                self.project(contender),
                self.server.environ(database),
                self.seconds + PATIENCE,
            )
            time.sleep(MARGIN)
        fault = ended.fault or self.fault(database)
        self.server.drop_database(database)
        return Sample(ended.wall, tuple(reads[before:]), fault)

    def fault(self, database: str) -> str | None:
        return (
            None
            if self.server.query(database, IS_ALTERED) == "1"
            else "said it was done, and the column is not there."
        )

    def project(self, contender: Contender) -> Path:
        folder = self.folder / contender.name
        if not folder.exists():
            folder.mkdir()
            contender.write(folder, [ALTER])
        return folder

    @contextmanager
    def held(self, database: str) -> Iterator[None]:
        """Send the long query of a session of reports, without waiting for the answer."""
        connection = self.server.connect(database, "reporting")
        try:
            connection.pgconn.send_query(HOLD.format(seconds=self.seconds).encode())
            yield
        finally:
            connection.close()

    @contextmanager
    def reads(self, database: str) -> Iterator[list[float]]:
        """Let the application read; the list of seconds per read is complete at the end."""
        latencies: list[float] = []
        stopped = Event()
        with (
            self.server.connect(database, "application") as connection,
            ThreadPoolExecutor(1) as pool,
        ):
            reading = pool.submit(read_steadily, connection, stopped, latencies)
            try:
                yield latencies
            finally:
                stopped.set()
            reading.result()


def read_steadily(connection: psycopg.Connection, stopped: Event, latencies: list[float]) -> None:
    pause = 0.0
    while not stopped.wait(pause):
        began = time.perf_counter()
        connection.execute(READ).fetchall()
        latencies.append(time.perf_counter() - began)
        pause = max(0.0, EVERY - latencies[-1])


def table(samples: Samples) -> str:
    """A Markdown table: a line for each contender, its median and, in brackets, its maximum."""
    head = [
        "median (max)",
        "slowest read, ms",
        "reads held up, ms",
        "share of the wait",
        "took, s",
        "applied",
    ]
    lines = [head, ["---"] * len(head)]
    for name, found in samples.items():
        cells = [
            cell(found, lambda sample: sample.slowest * 1000, ".0f"),
            cell(found, lambda sample: sample.held_up * 1000, ".0f"),
            cell(found, lambda sample: sample.share, ".0%"),
            cell(found, lambda sample: sample.wall, ".1f"),
        ]
        lines.append(
            [name, *cells, f"{sum(sample.fault is None for sample in found)} of {len(found)}"]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(samples: Sequence[Sample], value: Callable[[Sample], float], form: str) -> str:
    values = [value(sample) for sample in samples]
    return f"**{statistics.median(values):{form}}** ({max(values):{form}})"


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender; default: 3")
    parser.add_argument("--only", default="", help="names of contenders, with commas between them")
    parser.add_argument(
        "--seconds",
        type=float,
        default=15.0,
        help="how long the query holds the table; default: 15",
    )
    return parser.parse_args(argv)


def compare(arguments: argparse.Namespace) -> None:
    with started() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = contenders(server.psql)
        server.print_place(found)
        scene = Scene(server, Path(folder), arguments.seconds)
        rivals = [contender for contender in chosen(found, arguments.only) if contender.applies]
        samples: dict[str, list[Sample]] = {}
        try:
            for name, sample in scene.measure(rivals, max(1, arguments.runs)):
                samples.setdefault(name, []).append(sample)
                if sample.fault:
                    print(f"{name} {sample.fault}", file=sys.stderr)
        finally:
            # Stopped half way, what is finished is still worth a table.
            print("\n" + table(samples))


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    return exit_code_of(lambda: compare(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
