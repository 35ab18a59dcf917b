"""The reports as text: letter for letter, in ASCII and in color."""

import io
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from textwrap import dedent

import pytest

from lib.console.terminal import Style, fit_quotes, run_text
from lib.deployment import Deployment
from lib.errors import GuardError
from lib.escaping import Clean
from lib.files.folder import MigrationFile, parse
from lib.files.prepare_script import prepare_all
from lib.plan.dry_run_report import DryRun
from lib.plan.migration_plan import make_plan
from lib.plan.migration_states import AppliedMigration
from lib.plan.reports import AppliedNow, RunReport, Status
from lib.text.report_texts import plan_text
from lib.text.status_text import status_text

PLAIN = Style()
SIGNS = Style(unicode=True)
COLORS = Style(color=True, unicode=True)
WHEN = datetime(2024, 1, 31, 12, 30, 5, 999_000, tzinfo=UTC)


def sql_file(version: str, sql: str | None = None) -> MigrationFile:
    return parse(f"{version}.sql", (f"select '{version}';" if sql is None else sql).encode())


def row(
    file: MigrationFile, when: datetime | None = WHEN, took: int | None = 12, **changes: str
) -> AppliedMigration:
    return AppliedMigration(
        changes.get("version", file.version),
        file.name,
        when,
        took,
        changes.get("sum", file.checksum),
    )


def status_of(files: Iterable[MigrationFile], rows: Iterable[AppliedMigration] | None) -> Status:
    ledger = None if rows is None else list(rows)
    plan = make_plan(sorted(files, key=lambda file: file.number), ledger, environment="preview")
    return Status(environment="preview", database="app", server_version="16.4", plan=plan)


class TestStatus:
    def test_a_database_in_order(self) -> None:
        first, second, third = (
            sql_file(version)
            for version in ("000-create-migration-table", "001-users", "002-invoices")
        )
        found = status_of([first, second, third], [row(first, took=7), row(second, took=12_345)])
        assert status_text(found, SIGNS, place="db.example.com") == dedent(
            """\
            Migration Status

            Database: app (PostgreSQL 16.4, db.example.com)
            Environment: preview; production has not claimed this database
            State: pending: the database lacks migrations of this bundle

            Applied Migrations (2):
              ✓ 000-create-migration-table  2024-01-31 12:30:05 UTC      7 ms
              ✓ 001-users                   2024-01-31 12:30:05 UTC  12345 ms

            Pending Migrations:
              • 002-invoices"""
        )

    @pytest.mark.parametrize(
        ("rows", "state"),
        [(None, "uninitialised"), ([], "up-to-date")],
        ids=["no ledger", "an empty ledger"],
    )
    def test_nothing_at_all(self, rows: list[AppliedMigration] | None, state: str) -> None:
        assert status_text(status_of([], rows), SIGNS, place="local") == dedent(
            f"""\
            Migration Status

            Database: app (PostgreSQL 16.4, local)
            Environment: preview; production has not claimed this database
            State: {state}

            Applied Migrations (0):
              None

            Pending Migrations:
              None"""
        )

    def test_whatever_is_odd_comes_last_in_ascii(self) -> None:
        modified, late, skipped, new = (
            sql_file("000-modified"),
            sql_file("001-late"),
            sql_file("002-skipped", "-- Environments: prod\n"),
            sql_file("005-new", "select 5;"),
        )
        rows = [
            row(modified, sum="0" * 64),
            row(sql_file("003-gone"), when=None, took=None),
            row(new, version="005-old"),
            row(sql_file("006-there")),
        ]
        found = status_of([modified, late, skipped, new, sql_file("006-there")], rows)
        assert status_text(found, PLAIN, place="local") == dedent(
            """\
            Migration Status

            Database: app (PostgreSQL 16.4, local)
            Environment: preview; production has not claimed this database
            State: modified: a file was changed after being applied

            Applied Migrations (4):
              [!] 000-modified  2024-01-31 12:30:05 UTC     12 ms  modified
              [!] 003-gone      at an unknown time                 missing
              [!] 005-old       2024-01-31 12:30:05 UTC     12 ms  missing
              [x] 006-there     2024-01-31 12:30:05 UTC     12 ms

            Pending Migrations:
              * 001-late
              * 005-new

            Modified after being applied (1):
              * 000-modified

            Renamed after being applied (1):
              * 005-old is now 005-new

            Missing from this bundle (1):
              * 003-gone

            Late: numbered below the newest applied one (2):
              * 001-late
              * 005-new

            Skipped in this environment (1):
              * 002-skipped

            Unknown environment in the header (1):
              * 002-skipped: prod"""
        )

    def test_the_deployment_stands_beside_the_files_it_applied_and_the_way_that_migrations_take(
        self,
    ) -> None:
        first, second, third = (
            sql_file(version) for version in ("000-first", "001-second", "002-third")
        )
        origins = {
            "000-first": Deployment("0123456789abcdef", "main", "dpl_1"),
            "001-second": Deployment(None, "fix/it", None),
            "003-gone": Deployment("fedcba9876543210", None, None),
        }
        found = replace(
            status_of(
                [first, second, third],
                [row(first), row(second), row(third), row(sql_file("003-gone"))],
            ),
            origins=origins,
            deployment=Deployment("abcdefabcdefabcdef", "main", "dpl_2"),
        )
        assert status_text(found, SIGNS, place="h:6543", migrating="h:5432/app, from X").startswith(
            dedent("""\
                Migration Status

                Database: app (PostgreSQL 16.4, h:6543)
                Migrations go to: h:5432/app, from X
                Environment: preview; production has not claimed this database
                State: ahead: this bundle lacks applied migrations (a rollback, an older branch)
                Deployment: abcdefabcdef (main), dpl_2

                Applied Migrations (4):
                  ✓ 000-first   2024-01-31 12:30:05 UTC     12 ms  0123456789ab (main), dpl_1
                  ✓ 001-second  2024-01-31 12:30:05 UTC     12 ms  (fix/it)
                  ✓ 002-third   2024-01-31 12:30:05 UTC     12 ms
                  ✗ 003-gone    2024-01-31 12:30:05 UTC     12 ms  missing  fedcba987654
                """)
        )

    @pytest.mark.parametrize(
        ("owner", "words"),
        [
            (None, "Environment: preview; production has not claimed this database"),
            ("preview", "Environment: preview; this database belongs to it"),
            (
                "production",
                "Environment: preview; this database belongs to production, "
                "which alone may migrate it",
            ),
        ],
    )
    def test_it_says_whose_the_database_is(self, owner: str | None, words: str) -> None:
        assert f"\n{words}\n" in status_text(
            replace(status_of([], None), owner=owner), SIGNS, place="local"
        )

    def test_what_is_wrong_in_headers_is_there(self) -> None:
        applied = sql_file("000-a", "-- Phase: contract\nselect 1;")
        skipped = sql_file("001-b", "-- Environments: production\n-- Transacton: none\nselect 1;")
        text = status_text(status_of([applied, skipped], [row(applied)]), PLAIN, place="local")
        assert (
            "\n\nApplied, but would be refused now (1):\n"
            "  * migrations/000-a.sql:1: the header's Phase" in text
        )
        assert (
            "\n\nSkipped here, but refused elsewhere (1):\n"
            "  * migrations/001-b.sql:2: the header has no key" in text
        )

    def test_color_paints_titles_and_signs_and_changes_no_word(self) -> None:
        applied, pending = sql_file("000-a"), sql_file("001-b")
        found = status_of([applied, pending], [row(applied), row(sql_file("002-c"))])
        colored = status_text(found, COLORS, place="local")
        assert colored.startswith("\x1b[1mMigration Status\x1b[0m\n\nDatabase: app")
        assert "\n  \x1b[32m✓\x1b[0m 000-a  2024" in colored
        assert "\n  \x1b[31m✗\x1b[0m 002-c  2024" in colored
        assert "\n  \x1b[33m•\x1b[0m 001-b" in colored
        assert "\n\x1b[33mMissing from this bundle (1):\x1b[0m\n" in colored
        plain = re.sub(r"\x1b\[\d+m", "", colored)
        assert plain == status_text(found, SIGNS, place="local")

    def test_the_plain_style_is_ascii(self) -> None:
        applied = sql_file("000-a")
        assert status_text(
            status_of([applied, sql_file("001-b")], [row(applied)]), PLAIN, place="local"
        ).isascii()

    def test_times_are_told_in_utc_without_spaces_at_the_end(self) -> None:
        applied = sql_file("000-a")
        moment = WHEN.astimezone(timezone(timedelta(hours=5, minutes=30)))
        text = status_text(
            status_of([applied], [row(applied, when=moment, took=None)]), PLAIN, place="local"
        )
        assert "\n  [x] 000-a  2024-01-31 12:30:05 UTC\n" in text


class TestPlan:
    def test_each_file_says_mode_timeouts_and_statements_with_their_lines(self) -> None:
        files = [
            sql_file(
                "000-a",
                "-- Statement-Timeout: 10min\n"
                "create table a (x int);\n\n\nCOPY a FROM stdin;\n1\n\\.\nselect\n  1",
            ),
            sql_file("001-b", "create index concurrently i on a (x)"),
            sql_file(
                "002-c",
                "-- Lock-Timeout: 500ms\n-- Transaction: none\nvacuum a;",
            ),
            sql_file("003-empty", ""),
        ]
        planned = DryRun(status_of(files, []), prepare_all(files), lock_timeout=2.0)
        assert plan_text(planned, SIGNS) == dedent(
            """\
            Planned Migrations (4):
              • 000-a: in one transaction, lock timeout 2s, statement timeout 10min
                     2  create table a (x int)
                     5  COPY a FROM stdin
                     8  select 1
              • 001-b: alone, outside a transaction, lock timeout none
                     1  create index concurrently i on a (x)
              • 002-c: statement by statement, outside a transaction, lock timeout 500ms
                     3  vacuum a
              • 003-empty: in one transaction, lock timeout 2s"""
        )

    def test_a_file_that_would_stay_pending_says_so_in_place_of_how_it_runs(self) -> None:
        files = [sql_file("000-a", "select 1"), sql_file("001-b", "-- Description: b\n")]
        scripts = prepare_all(files)
        planned = DryRun(status_of(files, []), scripts, lock_timeout=2.0, held=scripts[1:])
        assert plan_text(planned, PLAIN).splitlines()[3:] == [
            "  * 001-b: no statement yet, stays pending"
        ]

    def test_nothing_to_do(self) -> None:
        assert (
            plan_text(DryRun(status_of([], []), (), lock_timeout=2.0), PLAIN)
            == "Planned Migrations (0):\n  None"
        )

    def test_an_obstacle_comes_last(self) -> None:
        planned = DryRun(
            status_of([], []),
            (),
            lock_timeout=2.0,
            obstacle=GuardError("It belongs to production."),
        )
        assert plan_text(planned, PLAIN).splitlines()[2:] == [
            "",
            "[!] `migrate` would stop: It belongs to production.",
        ]

    def test_a_chain_of_a_thousand_files_is_printed_at_once(self) -> None:
        files = [sql_file(f"{number:03}-a") for number in range(1000)]
        text = plan_text(DryRun(status_of(files, []), prepare_all(files), lock_timeout=2.0), PLAIN)
        assert text.count("in one transaction") == 1000


@pytest.mark.parametrize(
    ("milliseconds", "line"),
    [
        ([], "[x] Nothing to apply: app (preview) is up to date."),
        ([12], "[x] Applied 1 migration to app (preview) in 12ms."),
        ([0], "[x] Applied 1 migration to app (preview) in 0s."),
        ([700, 800], "[x] Applied 2 migrations to app (preview) in 1.5s."),
        ([60_000, 60_000], "[x] Applied 2 migrations to app (preview) in 2min."),
        ([1_234_567], "[x] Applied 1 migration to app (preview) in 1234.567s."),
    ],
)
def test_the_last_line_of_a_run_counts_and_adds_up(milliseconds: list[int], line: str) -> None:
    applied = tuple(
        AppliedNow(f"00{number}-a", "A", took) for number, took in enumerate(milliseconds)
    )
    assert run_text(RunReport("preview", "app", applied=applied), PLAIN) == line


@pytest.mark.parametrize(("pending", "left"), [(1, "1 file"), (2, "2 files")])
def test_the_last_line_of_a_run_tells_what_had_no_statement(pending: int, left: str) -> None:
    line = f"[x] Nothing to apply: app (preview) is up to date but for {left} without a statement."
    assert run_text(RunReport("preview", "app", pending=pending), PLAIN) == line


def test_the_last_lines_of_a_run_with_a_limit_name_what_stays_pending() -> None:
    files = tuple(sql_file(f"00{number}-a") for number in range(2, 5))
    report = RunReport("preview", "app", pending=3, up_to="001-a", beyond=files)
    assert run_text(report, PLAIN) == (
        "[x] Nothing to apply: app (preview) is up to date, up to 001-a.\n"
        "  Still pending: 3, 002-a to 004-a."
    )
    applied = replace(report, applied=(AppliedNow("001-a", "A", 5),), beyond=files[:1], pending=1)
    assert run_text(applied, PLAIN) == (
        "[x] Applied 1 migration to app (preview) in 5ms, up to 001-a.\n  Still pending: 1, 002-a."
    )


class TestStyle:
    @pytest.mark.parametrize(
        ("environ", "color"),
        [
            ({}, True),
            ({"TERM": "xterm-256color"}, True),
            ({"NO_COLOR": ""}, True),
            ({"NO_COLOR": "1"}, False),
            ({"TERM": "dumb"}, False),
        ],
    )
    def test_a_terminal_has_color_unless_it_asks_for_none(
        self, environ: dict[str, str], color: bool
    ) -> None:
        controller, terminal = os.openpty()
        with os.fdopen(controller, "rb"), os.fdopen(terminal, "w", encoding="utf-8") as stream:
            assert Style.of(stream, environ) == Style(color=color, unicode=True)

    @pytest.mark.parametrize(
        ("encoding", "signs"),
        [("utf-8", True), ("UTF8", True), ("ascii", False), ("latin-1", False), ("cp1252", False)],
    )
    def test_a_log_has_no_color_and_signs_only_in_utf_8(self, encoding: str, signs: bool) -> None:
        assert Style.of(io.TextIOWrapper(io.BytesIO(), encoding=encoding), {}) == Style(
            color=False, unicode=signs
        )


class TestANarrowTerminal:
    VERSION = "003-add-usage-tracking"

    def status(self, width: int | None) -> str:
        file = sql_file(self.VERSION)
        origin = Deployment(commit="0123456789abcdef", ref="main", id="dpl_1")
        found = replace(status_of([file], [row(file)]), origins={file.version: origin})
        return status_text(found, Style(unicode=True, width=width), place="here")

    @pytest.mark.parametrize(
        ("width", "line"),
        [
            (None, "2024-01-31 12:30:05 UTC     12 ms  0123456789ab (main), dpl_1"),
            (100, "2024-01-31 12:30:05 UTC     12 ms  0123456789ab (main), dpl_1"),
            (61, "2024-01-31 12:30:05 UTC     12 ms"),
            (60, "2024-01-31 12:30:05 UTC"),
            (20, "2024-01-31 12:30:05 UTC"),
        ],
    )
    def test_the_status_leaves_out_the_least_important_columns(
        self, width: int | None, line: str
    ) -> None:
        assert f"\n  ✓ {self.VERSION}  {line}\n" in self.status(width)

    def test_a_plan_cuts_its_statements(self) -> None:
        file = sql_file("001-a", "select 'a statement that is longer than the terminal is wide';")
        planned = DryRun(status_of([file], []), prepare_all([file]), lock_timeout=2.0)
        last = plan_text(planned, Style(unicode=True, width=40)).splitlines()[-1]
        assert last == "         1  select 'a statement that is…"
        assert len(last) == 40

    @pytest.mark.parametrize("at", [0, 30, 79, 80])
    def test_an_error_is_quoted_around_its_caret(self, at: int) -> None:
        line = "".join(f"{number:<10}" for number in range(8))
        text = Clean(f"✗ migrations/001-a.sql:12:{at}: wrong\n  12 | {line}\n     | {' ' * at}^")
        assert fit_quotes(text, 100) == fit_quotes(text, None) == text
        first, quoted, caret = fit_quotes(text, 40).splitlines()
        assert first == text.splitlines()[0]
        assert max(len(quoted), len(caret)) <= 40
        above = quoted[len(caret) - 1 :][:1]
        assert above == line[at : at + 1]
