"""What `schema` and `drift --files` take, at several numbers of tables; ten tables in each file."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from contenders import ROOT
from server import BenchError, started

COUNTS = (30, 300, 3000)
FILES = 10
TABLE = """
create table t{n} (
    id bigint generated always as identity primary key, name text not null,
    state text default 'new' check (state in ('new', 'old')), at timestamptz default now()
);
create index t{n}_by_at on t{n} (at) where state = 'new';
create view v{n} as select id, name from t{n};
comment on table t{n} is 'Table {n}';
"""


def write_files(folder: Path, tables: int) -> None:
    for number, first in enumerate(range(0, tables, FILES), start=1):
        text = "".join(TABLE.format(n=n) for n in range(first, min(first + FILES, tables)))
        (folder / f"{number:04}-tables.sql").write_text(text, encoding="utf-8")


def seconds_of(environ: Mapping[str, str], folder: Path, *arguments: str) -> float:
    """Time a command on the migrations in the folder."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lib", *arguments],
        cwd=ROOT,
        env={**environ, "MIGRATIONS_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(done.stdout + done.stderr)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    print("| tables | migrate | schema | drift --files |\n| --- | --- | --- | --- |")
    with started() as server:
        for count in parser.parse_args().counts:
            database = server.create_database()
            with tempfile.TemporaryDirectory() as folder:
                write_files(Path(folder), count)
                taken = [
                    seconds_of(server.environ(database), Path(folder), *arguments)
                    for arguments in (("migrate",), ("schema",), ("drift", "--files"))
                ]
            print(f"| {count} | " + " | ".join(f"{each:.1f} s" for each in taken) + " |")
            server.drop_database(database)


if __name__ == "__main__":
    main()
