"""What `rehearse --base` takes, at several numbers of applied files; ten files are pending.

The tables of the chain are as in bench/schema.py, three in each file.
"""

import argparse
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from schema import TABLE, seconds_of

COMMAND = ("rehearse", "--base", "main", "--fail-on", "never")
COUNTS = (10, 100, 300)
TABLES = 3
PENDING = (
    "alter table t0 add column email text;\ncreate index on t1 (name);",
    "alter table t2 alter column state set not null;",
    "alter table t3 add constraint named check (name <> '');",
    "create table added (id bigint primary key, t4 bigint references t4);\n"
    "create index on added (t4);",
    "update t5 set state = 'old' where state is null;",
    "drop view v6;\nalter table t6 drop column at;",
    "create index concurrently on t7 (name);",
    "create function twice(x int) returns int language sql as 'select x * 2';",
    "alter table t8 rename to t8_old;",
    "alter table t9 add column at_date timestamp default now();\ncomment on table t9 is 'nine';",
)


def write_project(root: Path, applied: int) -> None:
    """Make a repository with the applied files on `main` and the pending ones on a branch."""
    folder = root / "migrations"
    folder.mkdir()
    for number in range(1, applied + 1):
        first = (number - 1) * TABLES
        text = "".join(TABLE.format(n=n) for n in range(first, first + TABLES))
        (folder / f"{number:04}-tables.sql").write_text(text, encoding="utf-8")
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "checkout", "-q", "-b", "topic")
    for number, text in enumerate(PENDING, start=applied + 1):
        (folder / f"{number:04}-pending.sql").write_text(text, encoding="utf-8")


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True)


def commit(root: Path) -> None:
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    # Without a database.
    environ = {"PATH": os.environ["PATH"]}
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    print("| applied files | tables | rehearse |\n| --- | --- | --- |")
    for count in parser.parse_args().counts:
        with tempfile.TemporaryDirectory() as folder:
            write_project(Path(folder), count)
            # The first one makes what later servers share.
            call = partial(seconds_of, environ, Path(folder, "migrations"), *COMMAND)
            call()
            taken = min(call() for _ in range(3))
        print(f"| {count} | {count * TABLES} | {taken:.1f} s |")


if __name__ == "__main__":
    main()
