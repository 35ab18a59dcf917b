"""What three reviewers say of a file, next to what the file does to a full table under load.

See README.md beside this file. The answers are kept in judged.json, of which the tables in
docs/review-compared.md are made.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from judge_load import Measured, Scene
from judge_page import PAGE, written
from judge_rehearsed import rehearsed
from judged_statements import STATEMENTS, Judged
from server import BenchError, Server, exit_code_of, started

DATA = Path(__file__).with_name("judged.json")
# Without the rules that the runner makes pointless, and without those of style.
OPTIONS = (
    "--assume-in-transaction",
    "--exclude=require-lock-timeout,require-statement-timeout,prefer-robust-stmts,"
    "transaction-nesting,prefer-bigint-over-int,prefer-bigint-over-smallint,prefer-identity,"
    "prefer-text-field,prefer-timestamp-tz,ban-char-field,identifier-too-long",
)
# A wait of so many milliseconds may be another process's fault: the file runs again, as often.
DOUBTFUL = (25.0, 250.0)
AGAIN = 2


def measure(scene: Scene, judged: Judged) -> Measured:
    """Run the file; if its waits are short, several times, of which the shortest wait counts."""
    runs = [scene.measure(judged)]
    if DOUBTFUL[0] <= max(runs[0].reads, runs[0].writes) <= DOUBTFUL[1]:
        runs += [scene.measure(judged) for _ in range(AGAIN)]
    return min(runs, key=lambda run: max(run.reads, run.writes))


def squawk(*arguments: str, sql: str = "") -> str:
    program = Path(sysconfig.get_path("scripts")) / "squawk"
    try:
        # It ends with 1 if it found something.
        return subprocess.run(
            [program, *arguments], input=sql, capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError as error:
        raise BenchError("squawk-cli is not installed: requirements-local.txt has it.") from error


def rules_of_squawk(judged: Judged, *options: str) -> list[str]:
    if judged.alone:
        options = tuple(each for each in options if each != "--assume-in-transaction")
    found = squawk("--reporter", "json", "--pg-version", "18", *options, sql=f"{judged.sql};\n")
    return list(dict.fromkeys(each["rule_name"] for each in json.loads(found)))


def facts(server: Server, scene: Scene) -> dict[str, Any]:
    """When, where and what, so that the page can say it."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "postgres": server.query("postgres", "show server_version"),
        "squawk": squawk("--version").split()[-1],
        "rows": scene.rows,
        "bytes": scene.bytes_of("users"),
    }


def judge(rows: int, chosen: Sequence[Judged], data: dict[str, Any]) -> None:
    with started() as server:
        scene = Scene(server, rows)
        data["facts"] = facts(server, scene)
        for number, judged in enumerate(chosen, start=1):
            print(f"{number} of {len(chosen)}: {judged.name}", file=sys.stderr, flush=True)
            data["files"].setdefault(judged.name, {})["measured"] = rounded(measure(scene, judged))


def rehearse(chosen: Sequence[Judged], data: dict[str, Any]) -> None:
    """Ask the rehearsal about each file, by the sizes of the measured tables."""
    rows, size = data["facts"]["rows"], data["facts"]["bytes"]
    # A row of teams takes a fifth of one of users, and what is counted by team is as small.
    small = (rows // 5, size // 25)
    tables = {"users": (rows, size), "teams": small, "team_sizes": small}
    with started() as server:
        for judged in chosen:
            data["files"][judged.name]["rehearse"] = rehearsed(server, judged, tables)


def lint(data: dict[str, Any]) -> None:
    for judged in STATEMENTS:
        file = data["files"].setdefault(judged.name, {})
        file["squawk"] = rules_of_squawk(judged, *OPTIONS)
        file["squawk_by_default"] = rules_of_squawk(judged)


def rounded(measured: Measured) -> dict[str, Any]:
    return {
        name: round(value) if isinstance(value, float) else value
        for name, value in asdict(measured).items()
    }


def read() -> dict[str, Any]:
    """The answers of earlier runs, in the order of the files."""
    known = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    files = known.get("files", {})
    return {
        "facts": known.get("facts", {}),
        "files": {judged.name: files.get(judged.name, {}) for judged in STATEMENTS},
    }


def write(data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    DATA.write_text(f"{text}\n", encoding="utf-8")
    if all("measured" in file for file in data["files"].values()):
        PAGE.write_text(written(data), encoding="utf-8")


def chosen_of(names: str) -> Iterator[Judged]:
    wanted = [name for name in names.split("; ") if name]
    yield from (judged for judged in STATEMENTS if not wanted or judged.name in wanted)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="of users; default: 300000")
    parser.add_argument("--only", default="", help='names of files, with "; " between them')
    parser.add_argument("--ask", action="store_true", help="ask the reviewers, and measure nothing")
    parser.add_argument("--page", action="store_true", help="write the page anew from judged.json")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    data = read()
    chosen = list(chosen_of(arguments.only))
    try:
        if not arguments.page and not arguments.ask:
            judge(arguments.rows, chosen, data)
        if not arguments.page:
            lint(data)
            rehearse(chosen, data)
    finally:
        # Stopped half way, what is finished is still worth a table.
        write(data)


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    return exit_code_of(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
