"""Compare this runner with its peers, as whole processes, on the embedded PostgreSQL.

See README.md beside this file.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import process
from contenders import Contender, chosen, contenders, install
from proxy import FarServer, Flight
from server import BenchError, Server, exit_code_of, started

# Each way, in seconds: a round trip of 20 ms, as from a build to a database in the next region.
DELAY = 0.010
# The longest that one run may take, in seconds.
LIMIT = 120.0


@dataclass(frozen=True)
class Scenario:
    """So many files; all pending on a `fresh` database, else all applied; at a distance or not."""

    name: str
    files: int
    fresh: bool = False
    far: bool = False

    def suits(self, contender: Contender) -> bool:
        return contender.applies if self.fresh else contender.keeps_ledger


SCENARIOS = (
    Scenario("no-op, 100 applied", 100),
    Scenario("no-op, 1000 applied", 1000),
    Scenario("10 pending", 10, fresh=True),
    Scenario("1000 pending", 1000, fresh=True),
    Scenario("far: no-op, 100 applied", 100, far=True),
    Scenario("far: 10 pending", 10, fresh=True, far=True),
)


@dataclass(frozen=True)
class Sample:
    """One run: wall time and CPU time (s), peak memory (MiB), and what the proxy counted."""

    wall: float
    cpu: float
    memory: float
    flights: tuple[Flight, ...] = ()

    @property
    def connections(self) -> int:
        return max((flight.connection for flight in self.flights), default=0)


Samples = Mapping[tuple[str, str], Sequence[Sample]]


class Bench:
    """The server, near and far, and the folders with everybody's files."""

    def __init__(self, server: Server, far: FarServer, folder: Path) -> None:
        self.server = server
        self.far = far
        self.folder = folder

    def measure(
        self, scenario: Scenario, found: Sequence[Contender], runs: int
    ) -> dict[str, list[Sample]]:
        """Run each in turn, so that drift hits all alike; the first turn, untimed, warms up."""
        rivals = [contender for contender in found if scenario.suits(contender)]
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in rivals}
        databases = (
            {}
            if scenario.fresh
            else {contender.name: self.server.create_database() for contender in rivals}
        )
        for turn in range(runs + 1):
            for contender in rivals:
                sample = self.run(scenario, contender, databases.get(contender.name))
                samples[contender.name] += [sample] * (turn > 0)
        for database in databases.values():
            self.server.drop_database(database)
        return samples

    def run(
        self,
        scenario: Scenario,
        contender: Contender,
        database: str | None = None,
        folder: Path | None = None,
    ) -> Sample:
        """One run on the database, or on a fresh one that is dropped again."""
        name = database or self.server.create_database()
        self.far.take()
        folder = folder or self.project(contender, scenario.files)
        sample = launch(
            contender, folder, self.server.environ(name, self.far.port if scenario.far else None)
        )
        if contender.applies and self.count_tables(name) != scenario.files:
            raise BenchError(
                f"{contender.name} made {self.count_tables(name)} tables of {scenario.files}."
            )
        if database is None:
            self.server.drop_database(name)
        return replace(sample, flights=self.far.take())

    def project(self, contender: Contender, files: int) -> Path:
        folder = self.folder / f"{contender.name}-{files}"
        if not folder.exists():
            folder.mkdir()
            contender.write(folder, [create_table(number) for number in range(1, files + 1)])
        return folder

    def count_tables(self, database: str) -> int:
        named = r"relkind = 'r' and relname like 'bench\_%'"
        return int(self.server.query(database, f"select count(*) from pg_class where {named}"))


def create_table(number: int) -> str:
    return f"create table bench_{number:04d} (id bigint primary key, name text not null);\n"


def launch(contender: Contender, folder: Path, environ: Mapping[str, str]) -> Sample:
    """Run the contender as a process of its own; BenchError if it fails or takes too long."""
    ended = process.run(contender.command, folder, environ, LIMIT)
    if ended.fault:
        raise BenchError(f"{contender.name} {ended.fault}")
    return Sample(ended.wall, ended.cpu, ended.memory)


def table(
    corner: str, samples: Samples, cell: Callable[[Sequence[Sample], Sequence[Sample]], str]
) -> str:
    """A Markdown table: a line for each contender, a column for each scenario."""
    scenarios = list(dict.fromkeys(scenario for scenario, _ in samples))
    names = list(dict.fromkeys(name for _, name in samples))
    lines = [[corner, *scenarios], ["---"] * (len(scenarios) + 1)]
    for name in names:
        found = [
            (samples.get((scenario, name)), samples.get((scenario, "ours")))
            for scenario in scenarios
        ]
        lines.append(
            [
                name,
                *(
                    "–" if theirs is None else cell(theirs, ours or theirs)
                    for theirs, ours in found
                ),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def wall_cell(samples: Sequence[Sample], _: Sequence[Sample]) -> str:
    walls = sorted(sample.wall for sample in samples)
    low, middle, high = (
        f"{seconds * 1000:.0f}" for seconds in (walls[0], statistics.median(walls), walls[-1])
    )
    return f"**{middle}** ({low}–{high})"


def ratio_cell(samples: Sequence[Sample], ours: Sequence[Sample]) -> str:
    wall, own = (statistics.median(sample.wall for sample in each) for each in (samples, ours))
    return f"{wall / own:.2f}"


def cost_cell(samples: Sequence[Sample], _: Sequence[Sample]) -> str:
    cpu = statistics.median(sample.cpu for sample in samples)
    return f"{cpu * 1000:.0f} ms, {statistics.median(sample.memory for sample in samples):.0f} MiB"


def flights_cell(samples: Sequence[Sample], _: Sequence[Sample]) -> str:
    flights = statistics.median(len(sample.flights) for sample in samples)
    return f"{flights:.0f} ({max(sample.connections for sample in samples)})"


def print_tables(samples: Samples) -> None:
    if not samples:
        return
    print("\n" + table("wall time, ms: median (min–max)", samples, wall_cell))
    print("\n" + table("wall time, times ours", samples, ratio_cell))
    print("\n" + table("processor time and peak memory", samples, cost_cell))
    far = {key: value for key, value in samples.items() if value[0].flights}
    if far:
        print("\n" + table("flights (connections)", far, flights_cell))


def print_flights(bench: Bench, ours: Contender) -> None:
    """What our own runs wait for, flight by flight."""
    database = bench.server.create_database()
    bench.run(Scenario("to begin with", 100), ours, database)
    list_flights("no-op, 100 applied", bench.run(Scenario("no-op", 100, far=True), ours, database))
    migrations = bench.project(ours, 100) / "migrations"
    for number in range(101, 111):
        (migrations / f"{number:04d}-create-a-table.sql").write_text(create_table(number))
    list_flights(
        "10 pending, 100 applied",
        bench.run(Scenario("more", 110, far=True), ours, database, migrations.parent),
    )
    empty = bench.server.create_database()
    list_flights(
        "10 pending, empty database", bench.run(Scenario("first", 10, far=True), ours, empty)
    )


def list_flights(title: str, sample: Sample) -> None:
    print(f"\n{title}: {len(sample.flights)} flights, {sample.wall * 1000:.0f} ms")
    for flight in sample.flights:
        head = flight.asked if len(flight.asked) <= 100 else f"{flight.asked[:99]}…"
        print(f"  connection {flight.connection}: {head}")


@contextmanager
def opened() -> Iterator[Bench]:
    with (
        started() as server,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        FarServer(server.target.host, int(server.target.port), DELAY) as far,
    ):
        yield Bench(server, far, Path(folder))


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--install", action="store_true", help="install the peers in .local/bench/ and end"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=7,
        help="timed runs of each contender in each scenario; default: 7",
    )
    parser.add_argument("--only", default="", help="names of contenders, with commas between them")
    parser.add_argument(
        "--scenario", default="", help="only scenarios with this text in their names"
    )
    parser.add_argument(
        "--flights",
        action="store_true",
        help="list the round trips of our own runs instead, and end",
    )
    return parser.parse_args(argv)


def compare(arguments: argparse.Namespace) -> None:
    with opened() as bench:
        found = contenders(bench.server.psql)
        bench.server.print_place(found)
        if arguments.flights:
            print_flights(bench, found[0])
            return
        samples: dict[tuple[str, str], list[Sample]] = {}
        try:
            for scenario in SCENARIOS:
                if arguments.scenario in scenario.name:
                    print(f"Measuring: {scenario.name}", file=sys.stderr, flush=True)
                    measured = bench.measure(
                        scenario, chosen(found, arguments.only), max(1, arguments.runs)
                    )
                    samples.update({(scenario.name, name): each for name, each in measured.items()})
        finally:
            # Stopped half way, what is finished is still worth a table.
            print_tables(samples)


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    return exit_code_of(lambda: install() if arguments.install else compare(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
