"""The line that shows that a statement still runs, on a real terminal and not elsewhere."""

import io
import re
import signal
import subprocess
import sys

import pytest
from conftest import Bundle, Cli, Database
from pseudo_terminal import terminal

from lib.console.output_streams import Console
from lib.console.progress_log import ProgressLog
from lib.files.folder import parse

FILE = parse("003-backfill.sql", b"select 1;")
ERASED = "\r\x1b[K"


def test_it_appears_after_two_seconds_and_counts_them() -> None:
    with terminal(80) as screen:
        log = ProgressLog(Console(io.StringIO(), screen.stream, {}), "Migrating")
        for seconds in (0.2, 1.9, 2.0, 2.4, 3.1, 75.0):
            log.working(FILE, (2, 5), seconds)
        log.working(FILE, None, 76.0)
        assert screen.shown() == "".join(
            f"\r003-backfill: {text}\x1b[K"
            for text in (
                "statement 2 of 5, 2 s",
                "statement 2 of 5, 3 s",
                "statement 2 of 5, 1 min 15 s",
                "1 min 16 s",
            )
        )


def test_a_line_that_is_printed_meanwhile_takes_its_place() -> None:
    with terminal(80) as screen:
        console = Console(io.StringIO(), screen.stream, {})
        log = ProgressLog(console, "Migrating")
        log.working(FILE, None, 2.0)
        console.tell("A notice.")
        log.working(FILE, None, 3.0)
        assert screen.shown().endswith(f"2 s\x1b[K{ERASED}A notice.\n\r003-backfill: 3 s\x1b[K")


def test_it_is_cut_to_the_width() -> None:
    with terminal(20) as screen:
        log = ProgressLog(Console(io.StringIO(), screen.stream, {"NO_COLOR": "1"}), "Migrating")
        log.working(FILE, (2, 5), 2.0)
        assert screen.shown() == "\r003-backfill: state\x1b[K"


def test_a_dumb_terminal_gets_none() -> None:
    with terminal(80) as screen:
        log = ProgressLog(Console(io.StringIO(), screen.stream, {"TERM": "dumb"}), "Migrating")
        log.working(FILE, None, 20.0)
        assert screen.shown() == ""


def test_a_log_gets_none() -> None:
    err = io.StringIO()
    ProgressLog(Console(io.StringIO(), err, {}), "Migrating").working(FILE, None, 20.0)
    assert err.getvalue() == ""


class Interrupted(io.StringIO):
    """A stream in whose first flush a signal arrives."""

    is_over = False

    def flush(self) -> None:
        if not self.is_over:
            self.is_over = True
            raise KeyboardInterrupt


def test_a_signal_that_comes_while_it_is_written_leaves_nothing_of_it() -> None:
    err = Interrupted()
    console = Console(io.StringIO(), err, {})
    with pytest.raises(KeyboardInterrupt):
        console.show_bar("003-backfill: 3 s", stays=False)
    console.tell("Interrupted.")
    assert err.getvalue() == f"\r003-backfill: 3 s\x1b[K{ERASED}Interrupted.\n"


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_run_shows_it_and_removes_it(
    is_interrupted: bool, cli: Cli, bundle: Bundle, db: Database
) -> None:
    db.query("create function nap() returns void language sql as 'select pg_sleep(4)'")
    bundle.write("000-a.sql", "-- Transaction: none\nselect 1;\nselect nap();\nselect 3;")
    with terminal(80) as screen:
        run = subprocess.Popen(
            [sys.executable, "-m", "lib", "migrate"],
            cwd=cli.root,
            env={**cli.environ, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=screen.stream,
            text=True,
        )
        shown = screen.shown(until="3 s")
        assert "\r000-a: statement 2 of 3, 2 s\x1b[K" in shown
        if is_interrupted:
            run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        shown += screen.shown()
    assert run.returncode == (130 if is_interrupted else 0)
    assert "statement 2" not in out
    last = shown.rpartition("\r000-a: statement 2 of 3, ")[2]
    assert re.match(r"\d+ s\x1b\[K\r\x1b\[K", last), "removed before anything else is printed"


def test_beside_json_there_is_none(cli: Cli, bundle: Bundle) -> None:
    bundle.write("000-a.sql", "select pg_sleep(2.6)")
    with terminal(80) as screen:
        done = subprocess.run(
            [sys.executable, "-m", "lib", "migrate", "--json"],
            cwd=cli.root,
            env={**cli.environ, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=screen.stream,
            timeout=60,
        )
        assert done.returncode == 0
        assert screen.shown() == ""


def test_commands_keep_to_a_terminal_of_60_columns(cli: Cli, bundle: Bundle) -> None:
    bundle.write("000-create-the-first-table.sql", "create table first_table ();")
    bundle.write("001-fail.sql", f"select {'1, ' * 30} nothing_of_this_name from first_table;")

    def lines(*words: str) -> list[str]:
        with terminal(60) as screen:
            subprocess.run(
                [sys.executable, "-m", "lib", *words],
                cwd=cli.root,
                env={**cli.environ, "TERM": "dumb", "COLUMNS": ""},
                stdout=screen.stream,
                stderr=screen.stream,
                timeout=60,
            )
            return screen.shown().splitlines()

    assert max(map(len, lines("--help"))) <= 60
    assert max(map(len, lines("status", "--help"))) <= 60
    assert [len(line) for line in lines("plan") if "select 1" in line] == [60]
    [quoted, caret] = lines("migrate")[-2:]
    assert quoted[len(caret) - 1 :].startswith("nothing_of_this_name")
    assert len(quoted) <= 60
    [applied] = [line for line in lines("status") if "✓" in line]
    assert re.fullmatch(r"  ✓ 000-create-the-first-table  [-0-9]{10} [:0-9]{8} UTC", applied)
