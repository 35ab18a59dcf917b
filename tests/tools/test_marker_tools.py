"""Which files of dbmate, goose, sql-migrate, node-pg-migrate and tern are applied, and when."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tool_folders import faults, outline, write_files

from lib.tools.known_tools import find_tool
from lib.tools.tool import History, Problem, ToolMigration

UP = {
    "dbmate": "-- migrate:up\n{}\n-- migrate:down\nselect 0;\n",
    "goose": "-- +goose Up\n{}\n-- +goose Down\nselect 0;\n",
    "sql-migrate": "-- +migrate Up\n{}\n-- +migrate Down\nselect 0;\n",
    "node-pg-migrate": "-- Up Migration\n{}\n-- Down Migration\nselect 0;\n",
    "tern": "{}\n---- create above / drop below ----\nselect 0;\n",
}


def judged(
    tool: str, folder: Path, names: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> History:
    """The history of files with these names, with the problems of the folder."""
    write_files(folder, {name: UP[tool].format(f"select '{name}';") for name in names})
    files = find_tool(tool).read_folder(folder)
    history = find_tool(tool).judge(files, rows)
    return History(history.migrations, (*files.problems, *history.problems), history.notes)


def goose_rows(*versions: str) -> list[tuple[str, str, str]]:
    """Rows in the order of their id; a version with a minus is a way down."""
    return [
        (str(number), version.removeprefix("-"), "false" if version[0] == "-" else "true")
        for number, version in enumerate(versions, 1)
    ]


@pytest.mark.parametrize(
    ("tool", "name", "expected"),
    [
        ("dbmate", "20240102030405_add_users.sql", "20240102030405_add_users"),
        ("goose", "00002_add-users.sql", "00002_add-users"),
        ("sql-migrate", "2-add users.sql", "2-add users.sql"),
        ("node-pg-migrate", "1700000000000_add-users.sql", "1700000000000_add-users"),
        ("tern", "001_add_users.sql", "001_add_users"),
    ],
)
def test_a_file_becomes_a_migration(tool: str, name: str, expected: str, tmp_path: Path) -> None:
    history = judged(tool, tmp_path, [name], [])
    assert history == History(
        (
            ToolMigration(
                name=expected, path=name, description="add users", sql=f"select '{name}';\n"
            ),
        )
    )


@pytest.mark.parametrize(
    ("tool", "names", "rows", "expected"),
    [
        pytest.param(
            "dbmate",
            ["20240101_a.sql", "20240102.sql", "20240103_late.sql", "20240104_b.sql"],
            [("20240104",), ("20240102",), ("20240101",)],
            [
                "20240101_a applied",
                "20240102 applied",
                "20240104_b applied",
                "20240103_late pending",
            ],
            id="dbmate: rows are versions, and have no order",
        ),
        pytest.param(
            "dbmate",
            ["9_a.sql", "10_b.sql", "010_c.sql"],
            [("10",)],
            ["10_b applied", "010_c pending", "9_a pending"],
            id="dbmate: the order is that of the names, and the digits count as they are",
        ),
        pytest.param(
            "goose",
            ["00009_a.sql", "00010_b.sql", "0011_c.sql", "20240101000000_d.sql"],
            goose_rows("0", "9", "10", "11"),
            ["00009_a applied", "00010_b applied", "0011_c applied", "20240101000000_d pending"],
            id="goose: numbers, and the row of version 0",
        ),
        pytest.param(
            "goose",
            ["1_a.sql", "2_b.sql", "3_c.sql", "4_d.sql"],
            goose_rows("0", "1", "3", "2", "4", "-4", "-3", "3"),
            ["1_a applied", "2_b applied", "3_c applied", "4_d pending"],
            id="goose: the newest row decides, and its place is the order",
        ),
        pytest.param(
            "goose",
            ["1_a.sql", "2_b.sql", "3_c.sql"],
            goose_rows("3", "1"),
            ["3_c applied", "1_a applied", "2_b pending"],
            id="goose: out of order",
        ),
        pytest.param(
            "sql-migrate",
            ["2.sql", "10-a.sql", "a.sql", "1-late.sql"],
            [("2.sql",), ("a.sql",)],
            ["2.sql applied", "a.sql applied", "1-late.sql pending", "10-a.sql pending"],
            id="sql-migrate: names with .sql, numbers first",
        ),
        pytest.param(
            "node-pg-migrate",
            [
                "20240101000000001_utc.sql",
                "1704067200000_ms.sql",
                "1704067200002_ms.sql",
                "3_i.sql",
            ],
            [],
            [
                "3_i pending",
                "1704067200000_ms pending",
                "20240101000000001_utc pending",
                "1704067200002_ms pending",
            ],
            id="node-pg-migrate: 17 digits are a date",
        ),
        pytest.param(
            "node-pg-migrate",
            ["1_a.sql", "2_b.up.sql", "2_b.down.sql", "3_c.up.sql", "4_d.sql"],
            [("2_b",), ("1_a",), ("3_c.up",)],
            ["2_b applied", "1_a applied", "3_c applied", "4_d pending"],
            id="node-pg-migrate: names without suffix, pairs",
        ),
        pytest.param(
            "tern",
            ["001_a.sql", "002_b.sql", "003_c.sql"],
            [("2",)],
            ["001_a applied", "002_b applied", "003_c pending"],
            id="tern: one row",
        ),
        pytest.param(
            "tern", ["001_a.sql"], [("0",)], ["001_a pending"], id="tern: nothing applied"
        ),
    ],
)
def test_which_migrations_are_applied(
    tool: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    expected: Sequence[str],
    tmp_path: Path,
) -> None:
    history = judged(tool, tmp_path, names, rows)
    assert outline(history) == expected
    assert not history.problems


@pytest.mark.parametrize(
    ("tool", "names", "rows", "gone"),
    [
        ("dbmate", ["1_a.sql"], [("1",), ("2",)], "2"),
        ("goose", ["1_a.sql"], goose_rows("0", "1", "2"), "2"),
        ("sql-migrate", ["1.sql"], [("1.sql",), ("2.sql",)], "2.sql"),
        ("node-pg-migrate", ["1_a.sql"], [("1_a",), ("2_b",)], "2_b"),
        ("tern", ["1_a.sql"], [("2147483647",)], "2147483647"),
    ],
)
def test_a_file_that_is_gone_is_a_problem(
    tool: str, names: Sequence[str], rows: Sequence[Sequence[str]], gone: str, tmp_path: Path
) -> None:
    history = judged(tool, tmp_path, names, rows)
    assert faults(history) == [f"{gone} is in the ledger, and there is no such file"]


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ("dbmate", ["1_a.sql", "1_b.sql"]),
        ("goose", ["1_a.sql", "001_b.sql"]),
        ("node-pg-migrate", ["1_a.sql", "1_a.up.sql"]),
        ("tern", ["1_a.sql", "01_b.sql"]),
    ],
)
def test_two_files_of_one_version_are_a_problem(
    tool: str, names: Sequence[str], tmp_path: Path
) -> None:
    first, second = sorted(names)
    assert faults(judged(tool, tmp_path, names, [])) == [f"{second} has the version of {first}"]


def test_a_gap_in_the_numbers_of_tern_is_a_problem(tmp_path: Path) -> None:
    history = judged("tern", tmp_path, ["001_a.sql", "005_b.sql", "006_c.sql"], [("1",)])
    (problem,) = history.problems
    assert problem.place == "005_b.sql"
    assert "this would be 2" in problem.fault


def test_a_migration_in_go_is_named_with_what_to_do(tmp_path: Path) -> None:
    write_files(tmp_path, {"00002_b.go": "package x", "00003_c_test.go": "", "helpers.go": ""})
    history = judged("goose", tmp_path, ["00001_a.sql"], goose_rows("0", "1", "2"))
    assert history.problems == (
        Problem(
            "00002_b.go",
            "is a migration in Go, which cannot be converted",
            "write what it does as SQL below `-- +goose Up` in 00002_b.sql, and move this one away",
        ),
    )
    # As it says.
    (tmp_path / "00002_b.go").unlink()
    history = judged("goose", tmp_path, ["00002_b.sql"], goose_rows("0", "1", "2"))
    assert outline(history) == ["00001_a applied", "00002_b applied"]


@pytest.mark.parametrize("suffix", ["js", "ts", "cjs", "mjs", "cts", "mts"])
def test_a_migration_in_javascript_is_named_with_what_to_do(suffix: str, tmp_path: Path) -> None:
    write_files(tmp_path, {f"2_b.{suffix}": "exports.up = () => {};", ".eslintrc.js": ""})
    write_files(tmp_path, {"types.d.ts": "", "README.md": ""})
    history = judged("node-pg-migrate", tmp_path, ["1_a.sql"], [("1_a",), ("2_b",)])
    (problem,) = history.problems
    assert problem.place == f"2_b.{suffix}"
    assert "into 2_b.sql in its place" in problem.remedy
    (tmp_path / f"2_b.{suffix}").unlink()
    history = judged("node-pg-migrate", tmp_path, ["2_b.sql"], [("1_a",), ("2_b",)])
    assert outline(history) == ["1_a applied", "2_b applied"]
    assert not history.problems


@pytest.mark.parametrize(
    ("tool", "files", "left_out"),
    [
        ("dbmate", ["1_a.sql", "seed.sql", "notes.txt"], ["seed.sql"]),
        ("goose", ["1_a.sql", "0_b.sql", "1.sql", "x_1.sql"], ["0_b.sql", "1.sql", "x_1.sql"]),
        ("sql-migrate", ["1.sql", "notes.txt"], []),
        ("node-pg-migrate", ["1_a.up.sql", "1_a.down.sql", ".x.sql"], [".x.sql", "1_a.down.sql"]),
        ("tern", ["1_a.sql", "1.sql", "tern.conf"], ["1.sql"]),
    ],
)
def test_other_files_of_sql_are_left_out(
    tool: str, files: Sequence[str], left_out: Sequence[str], tmp_path: Path
) -> None:
    write_files(tmp_path, {name: UP[tool].format("select 1;") for name in files})
    (tmp_path / "2_folder.sql").mkdir()
    found = find_tool(tool).read_folder(tmp_path)
    assert list(found.left_out) == left_out
    assert len(found.files) == 1
    assert not found.problems


@pytest.mark.parametrize("tool", UP)
def test_the_fault_of_a_file_is_a_problem_with_its_line(tool: str, tmp_path: Path) -> None:
    broken: Mapping[str, tuple[str, str]] = {
        "dbmate": ("select 1;\n", "1_a.sql:1 has no line `-- migrate:up`"),
        "goose": ("select 1;\n", "1_a.sql:1 has no line `-- +goose Up`"),
        "sql-migrate": ("select 1;\n", "1_a.sql:1 has no line `-- +migrate Up`"),
        "node-pg-migrate": ("a;\n-- Down Migration\nb;", "1_a.sql:2 begins the down part"),
        "tern": ("a;\n\n{{ template }}", "1_a.sql:3 has a template"),
    }
    text, expected = broken[tool]
    write_files(tmp_path, {"1_a.sql": text})
    files = find_tool(tool).read_folder(tmp_path)
    (fault,) = faults(find_tool(tool).judge(files, []))
    assert fault.startswith(expected)


@pytest.mark.parametrize("tool", UP)
def test_a_byte_order_mark_hides_no_marker(tool: str, tmp_path: Path) -> None:
    text = UP[tool].format("select 1;")
    write_files(tmp_path, {"1_a.sql": b"\xef\xbb\xbf" + text.encode()})
    files = find_tool(tool).read_folder(tmp_path)
    history = find_tool(tool).judge(files, [])
    assert [one.sql for one in history.migrations] == ["select 1;\n"]
    assert not history.problems


@pytest.mark.parametrize("tool", ["sql-migrate", "node-pg-migrate"])
def test_what_the_tool_passes_over_is_noted(tool: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"1_a.sql": f"select 0;\n{UP[tool].format('select 1;')}"})
    files = find_tool(tool).read_folder(tmp_path)
    (note,) = find_tool(tool).judge(files, []).notes
    assert note == (f"1_a.sql: what is above the first marker is left out: {tool} never runs it.")


def test_a_file_that_uses_the_ledger_of_its_tool_is_noted(tmp_path: Path) -> None:
    text = UP["goose"].format("delete from goose_db_version where version_id = 1;")
    write_files(tmp_path, {"2_a.sql": text})
    files = find_tool("goose").read_folder(tmp_path)
    (note,) = find_tool("goose").judge(files, []).notes
    assert note.startswith("2_a.sql: goose_db_version in it is goose's own ledger")


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("dbmate", "-- migrate:up transaction:false\nselect 1;\n-- migrate:down\n"),
        ("goose", "-- +goose NO TRANSACTION\n-- +goose Up\nselect 1;\n"),
        ("sql-migrate", "-- +migrate Up notransaction\nselect 1;\n"),
        ("tern", "---- tern: disable-tx ----\nselect 1;\n"),
    ],
)
def test_a_file_may_run_outside_a_transaction(tool: str, text: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"1_a.sql": text})
    files = find_tool(tool).read_folder(tmp_path)
    (migration,) = find_tool(tool).judge(files, []).migrations
    assert (migration.sql, migration.is_transactional) == ("select 1;\n", False)


def test_an_unreadable_file_that_is_applied_is_one_problem(tmp_path: Path) -> None:
    write_files(tmp_path, {"2_b.sql": b"-- migrate:up\nselect '\xe9';\n-- migrate:down\n"})
    history = judged("dbmate", tmp_path, ["1_a.sql"], [("1",), ("2",)])
    assert faults(history) == ["2_b.sql is not UTF-8"]


@pytest.mark.parametrize(
    ("tool", "text", "is_call"),
    [
        ("dbmate", "dbmate up && next build", True),
        ("dbmate", "npx dbmate --url $DATABASE_URL migrate", True),
        ("goose", "goose -dir db/migrations postgres up", True),
        ("goose", "go run github.com/pressly/goose/v3/cmd/goose@latest up", True),
        ("goose", "mongoose", False),
        ("sql-migrate", "sql-migrate up -env=production", True),
        ("node-pg-migrate", "node-pg-migrate up", True),
        ("tern", "tern migrate --migrations db", True),
        ("tern", "npm run lintern", False),
        ("tern", "uses: jackc/tern@v2", True),
    ],
)
def test_where_the_tool_is_called(tool: str, text: str, is_call: bool) -> None:
    assert any(re.search(call, text) for call in find_tool(tool).calls) is is_call
