"""How many bytes a second PostgreSQL reads, rewrites, indexes, checks and updates here.

See README.md beside this file.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from server import Server, exit_code_of, started

ROWS = (100_000, 300_000, 1_000_000)
RUNS = 3
FILL = """
create table teams (id bigint primary key);
create table t (
    id bigint not null, team_id bigint not null, name text, note text, score int not null,
    at timestamptz not null
);
insert into teams select n from generate_series(1, {rows} / 5) n;
insert into t select n, 1 + n % ({rows} / 5), 'name ' || n, repeat(md5(n::text), 3), n % 100,
    timestamptz '2026-01-01' + n * interval '1 second' from generate_series(1, {rows}) n;
alter table t add primary key (id);
create index on t (at);
analyze;
checkpoint;
"""


@dataclass(frozen=True)
class Work:
    """A statement; `undo` makes the next run the same work, and is not counted."""

    name: str
    statement: str
    undo: str


WORKS = (
    Work(
        "scan (check)",
        "alter table t add constraint c check (score >= 0)",
        "alter table t drop constraint c",
    ),
    Work(
        "scan (set not null)",
        "alter table t alter column name set not null",
        "alter table t alter column name drop not null",
    ),
    Work(
        "foreign key",
        "alter table t add constraint f foreign key (team_id) references teams",
        "alter table t drop constraint f",
    ),
    Work("index (int)", "create index i on t (score)", "drop index i"),
    Work("index (text)", "create index i on t (name)", "drop index i"),
    Work(
        "rewrite (type)",
        "alter table t alter column score type bigint",
        "alter table t alter column score type int",
    ),
    Work(
        "rewrite (volatile default)",
        "alter table t add column u uuid default gen_random_uuid()",
        "alter table t drop column u; vacuum full t",
    ),
    Work(
        "update of all rows",
        "update t set score = score + 1",
        "vacuum full t",
    ),
)


@dataclass(frozen=True)
class Rate:
    """Seconds, for so many rows, and for so many bytes: those of the table with its indexes."""

    seconds: float
    size: int
    rows: int

    def __str__(self) -> str:
        megabytes = self.size / 1e6 / self.seconds
        thousands = self.rows / self.seconds / 1e3
        return f"{self.seconds:.2f} s, {megabytes:.0f} MB/s, {thousands:,.0f}k rows/s"


def rate(connection: psycopg.Connection, work: Work, rows: int) -> Rate:
    """The median of the runs. A checkpoint before each, so that none pays for another's pages."""
    taken = []
    size = 0
    for _ in range(RUNS):
        connection.execute("checkpoint")
        found = connection.execute("select pg_total_relation_size('t')").fetchone()
        size = int((found or (0,))[0])
        began = time.perf_counter()
        connection.execute(work.statement.encode())
        taken.append(time.perf_counter() - began)
        for each in work.undo.split("; "):
            connection.execute(each.encode())
    return Rate(statistics.median(taken), size, rows)


def rates(server: Server, rows: int) -> list[Rate]:
    database = server.create_database()
    with server.connect(database) as connection:
        for statement in filter(str.strip, FILL.format(rows=rows).split(";\n")):
            connection.execute(statement.encode())
        found = [rate(connection, work, rows) for work in WORKS]
    server.drop_database(database)
    return found


def print_rates(counts: Sequence[int]) -> None:
    with started() as server:
        server.print_facts()
        columns = []
        for rows in counts:
            print(f"Measuring: {rows} rows", file=sys.stderr, flush=True)
            columns.append(rates(server, rows))
    print(f"| work | {' | '.join(f'{rows:,} rows' for rows in counts)} |")
    print("|---|" + "---|" * len(counts))
    for number, work in enumerate(WORKS):
        cells = " | ".join(str(column[number]) for column in columns)
        print(f"| {work.name} | {cells} |")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", default=ROWS)
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: print_rates(arguments.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
