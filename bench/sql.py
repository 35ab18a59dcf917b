"""What SQL costs around the work of the server: cutting, large files, clean-up of the session.

See README.md beside this file.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import process
from contenders import ROOT
from server import BenchError, Server, exit_code_of, started

sys.path.insert(0, str(ROOT))

from lib.database.sql_composition import reset_script
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.sql.splitter import split

SCHEMA = """\
-- The table; it's needed
create table if not exists "users{n}" (
    id bigserial primary key,
    email varchar(255) not null unique,
    created_at timestamptz not null default now(), -- when; it's
    balance numeric(10, 2) default 0.00 check (balance >= 0)
);
create index idx_users_email{n} on "users{n}" using btree (lower(email)) where balance is not null;
alter table "users{n}" add constraint big{n} check (id > 0);
create or replace function touch{n}() returns trigger as $$
begin
  new.created_at := now();
  return new;
end;
$$ language plpgsql;
"""
INSERT = "insert into t values (12345, 'it''s some name', 'x@example.com; ok', now(), E'a\\nb');\n"
IN_ONE_TRANSACTION = ("-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f")
TABLE = "create table t (id int, name text, note text, at timestamptz default now(), more text);\n"


def texts(megabytes: float) -> dict[str, str]:
    """SQL of several kinds, of about so many million characters each."""

    def filled(unit: str) -> int:
        return max(1, round(megabytes * 1e6 / len(unit)))

    row = "(12345, 'it''s some name', 'x@example.com; ok', now(), 'more')"
    data = "1\tsome data; it's\tand more\t2026-11-22 12:00:00+00\tmore\n"
    return {
        "schema": "".join(SCHEMA.format(n=n) for n in range(filled(SCHEMA))),
        "inserts": TABLE + INSERT * filled(INSERT),
        "one insert": f"{TABLE}insert into t values\n" + ",\n".join([row] * filled(row)) + ";\n",
        "copy": f"{TABLE}copy t from stdin;\n{data * filled(data)}\\.\n",
        "one line": f"{TABLE}insert into t (note) values ('{'x' * round(megabytes * 1e6)}');\n",
    }


def cutters() -> dict[str, Callable[[str], object]]:
    """Our splitter, all that precedes the sending of a file, and sqlparse if it is installed."""
    found: dict[str, Callable[[str], object]] = {
        "split": split,
        "prepare": lambda text: prepare(parse("001-x.sql", text.encode())),
    }
    try:
        found["sqlparse.split"] = importlib.import_module("sqlparse").split
    except ImportError:
        print("sqlparse is not installed and is left out (`pip install sqlparse`).")
    return found


def print_lexer(megabytes: float, runs: int) -> None:
    """MB/s of CPU time, the best of the runs; a far slower library gets a tenth of the text."""
    found = cutters()
    print(f"| million characters a second | {' | '.join(found)} |")
    print("|---|" + "---|" * len(found))
    for kind in texts(megabytes):
        cells = []
        for name, cut in found.items():
            text = texts(megabytes if name != "sqlparse.split" else min(megabytes, 0.2))[kind]
            cells.append(f"{len(text) / 1e6 / min(_seconds(cut, text) for _ in range(runs)):.1f}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def _seconds(cut: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    cut(text)
    return time.process_time() - began


def print_large(server: Server, megabytes: float, runs: int) -> None:
    """Seconds and peak MiB for a file of that size, by the command line and by psql -1."""
    print(f"| a file of {megabytes:g} million characters | ours: s | MiB | psql: s | MiB |")
    print("|---|---|---|---|---|")
    # So large a schema would take more locks than one transaction can have, with psql too.
    for kind, text in ((kind, text) for kind, text in texts(megabytes).items() if kind != "schema"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "migrations" / "001-large.sql"
            path.parent.mkdir()
            path.write_text(text)
            ours, psql = [], []
            for _ in range(runs):
                ours.append(_run(server, [sys.executable, "-m", "lib", "migrate"], path))
                psql.append(
                    _run(
                        server,
                        [
                            str(server.psql),
                            "-X",
                            "-q",
                            "-1",
                            "-v",
                            "ON_ERROR_STOP=1",
                            "-f",
                            str(path),
                        ],
                        path,
                    )
                )
        cells = [
            f"{_median(part, 'wall'):.1f} | {_median(part, 'memory'):.0f}" for part in (ours, psql)
        ]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def _run(server: Server, command: Sequence[str], path: Path) -> process.Ended:
    database = server.create_database()
    try:
        environ = {**server.environ(database), "MIGRATIONS_DIR": str(path.parent)}
        ended = process.run(command, ROOT, environ, limit=600)
    finally:
        server.drop_database(database)
    if ended.fault:
        raise BenchError(f"{command[0]} {ended.fault}")
    return ended


def _median(ended: Sequence[process.Ended], figure: str) -> float:
    return float(statistics.median(getattr(each, figure) for each in ended))


def print_clean_up(server: Server, times: int) -> None:
    """Microseconds that the clean-up adds to the message of one file: medians."""
    kinds = {
        "none": "",
        "a file that may set something": reset_script(direct=True),
        "through a pooler, one that may prepare": reset_script(prepared=True),
    }
    print("| clean-up of the session | µs a file |")
    print("|---|---|")
    with server.connect("postgres") as connection:
        took: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(times):
            for kind, reset in kinds.items():
                began = time.perf_counter()
                connection.pgconn.exec_(f"begin; select 1; {reset} commit".encode())
                took[kind].append(time.perf_counter() - began)
    base = statistics.median(took["none"])
    for kind in list(kinds)[1:]:
        print(f"| {kind} | {(statistics.median(took[kind]) - base) * 1e6:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--megabytes",
        type=float,
        default=50.0,
        help="the size of the large files; the lexer gets a tenth",
    )
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with started() as server:
        server.print_facts()
        print_lexer(arguments.megabytes / 10, arguments.runs)
        print_clean_up(server, 3000)
        print_large(server, arguments.megabytes, arguments.runs)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
