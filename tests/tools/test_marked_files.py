"""What each tool runs of a file with markers, as its own parser reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.sql.splitter import split
from lib.tools.marked_files import (
    MarkedFile,
    Section,
    read_dbmate,
    read_goose,
    read_node_pg_migrate,
    read_sql_migrate,
    read_tern,
)

READERS = {
    "dbmate": read_dbmate,
    "goose": read_goose,
    "sql-migrate": read_sql_migrate,
    "node-pg-migrate": read_node_pg_migrate,
    "tern": read_tern,
}
UP = {
    "dbmate": "-- migrate:up",
    "goose": "-- +goose Up",
    "sql-migrate": "-- +migrate Up",
    "node-pg-migrate": "-- Up Migration",
    "tern": "",
}
DOWN = {
    "dbmate": "-- migrate:down",
    "goose": "-- +goose Down",
    "sql-migrate": "-- +migrate Down",
    "node-pg-migrate": "-- Down Migration",
    "tern": "---- create above / drop below ----",
}
FRAGMENTS = (
    *(marker for marker in (*UP.values(), *DOWN.values()) if marker),
    *("-- migrate:up transaction:false", "--migrate:down", "-- +goose NO TRANSACTION"),
    *("-- +goose StatementBegin", "-- +goose StatementEnd", "-- +goose ENVSUB ON"),
    *("-- +migrate StatementBegin", "-- +migrate StatementEnd", "-- +migrate", "-- +"),
    *("---- tern: disable-tx ----", "{{ x }}", "-- a comment", "select 1", ";", "$$", "'", "/*"),
    *("\n", "\n", "\n", "\r\n", " ", "\ufeff", "é", "\x85", "\u2028", "\f"),
)


@pytest.mark.parametrize("tool", READERS)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_the_parts_joined_are_the_text(tool: str, text: str) -> None:
    marked = READERS[tool](text)
    assert "".join(part.text for part in marked.parts) == text
    lines = [part.line for part in marked.parts]
    assert lines == sorted(lines)


@pytest.mark.parametrize("tool", READERS)
def test_the_up_part_stays_as_it_is(tool: str) -> None:
    body = "\n  create table a (\n\tid int);  \n-- to be kept\n\ninsert into a values (1) ;\n\n"
    begun = f"{UP[tool]}\n" if UP[tool] else ""
    marked = READERS[tool](f"-- About it.\n\n{begun}{body}{DOWN[tool]}\ndrop table a;\n")
    assert marked.sql == f"-- About it.\n\n{body}"
    assert (marked.is_transactional, marked.skips_statements, marked.faults) == (True, False, ())


@pytest.mark.parametrize("tool", READERS)
def test_an_empty_up_part_runs_nothing(tool: str) -> None:
    marked = READERS[tool](f"{UP[tool]}\n{DOWN[tool]}\ndrop table a;")
    assert marked.sql.strip() == ""
    assert not marked.faults


@pytest.mark.parametrize("tool", READERS)
def test_without_a_final_line_end_and_without_a_down_part(tool: str) -> None:
    marked = READERS[tool](f"{UP[tool]}\ncreate table a ();")
    assert marked.sql.lstrip("\n") == "create table a ();"
    assert not marked.faults


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("dbmate", "select '1\r\n2';\r\n"),
        # Their scanners drop the carriage return of a line.
        ("goose", "select '1\n2';\n"),
        ("sql-migrate", "select '1\n2';\n"),
        ("node-pg-migrate", "select '1\r\n2';\r\n"),
        ("tern", "\r\nselect '1\r\n2';\r\n"),
    ],
)
def test_the_line_ends_are_those_that_the_tool_sends(tool: str, expected: str) -> None:
    marked = READERS[tool](f"{UP[tool]}\r\nselect '1\r\n2';\r\n{DOWN[tool]}\r\nselect 2;\r\n")
    assert marked.sql == expected
    assert not marked.faults


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("-- migrate:up", True),
        ("--migrate:up", True),
        ("--\t migrate:up  ", True),
        ("-- migrate:up transaction:false", True),
        ("-- migrate:up anything", True),
        (" -- migrate:up", False),
        ("-- Migrate:Up", False),
        ("-- migrate: up", False),
        ("-- migrate:upgrade", False),
        ("--- migrate:up", False),
        ("-- see migrate:up", False),
        ("-- migrate:up:slave", False),
    ],
)
def test_the_markers_of_dbmate(line: str, is_marker: bool) -> None:
    marked = read_dbmate(f"{line}\nselect 1;\n-- migrate:down\n")
    assert (marked.sql == "select 1;\n") is is_marker
    assert [fault.fault for fault in marked.faults] == (
        [] if is_marker else ["has no line `-- migrate:up`"]
    )


@pytest.mark.parametrize(
    ("options", "is_transactional"),
    [
        ("", True),
        ("transaction:false", False),
        ("transaction:true", True),
        ("x:y   transaction:false\t", False),
        ("transaction:false transaction:true", True),
        ("transaction:false:1", True),
        ("Transaction:false", True),
        ("transaction: false", True),
        ("-- transaction:false", False),
    ],
)
def test_the_options_of_dbmate(options: str, is_transactional: bool) -> None:
    text = f"-- migrate:up {options}\nselect 1;\n-- migrate:down transaction:false\nselect 2;"
    assert read_dbmate(text).is_transactional is is_transactional


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("-- +goose Up", True),
        ("--+goose Up", True),
        ("-- +goose up  ", True),
        ("--   +goose   UP", True),
        ("---- +goose Up", True),
        (" -- +goose Up", False),
        ("-- +goose Upwards", False),
        ("-- + goose Up", False),
        ("-- goose Up", False),
        ("-- +goose Up +goose Up", False),
        ("-- +Goose Up", False),
    ],
)
def test_the_markers_of_goose(line: str, is_marker: bool) -> None:
    marked = read_goose(f"{line}\nselect 1;\n")
    assert (marked.sql == "select 1;\n") is is_marker
    assert bool(marked.faults) is not is_marker


@pytest.mark.parametrize("where", ["{0}-- +goose Up\n", "-- +goose Up\n{0}", "-- +goose Up\n"])
def test_no_transaction_counts_anywhere_in_a_file_of_goose(where: str) -> None:
    marker = "-- +goose NO TRANSACTION\n"
    marked = read_goose(f"{where.format(marker)}vacuum;\n-- +goose Down\n")
    assert marked.is_transactional is ("{0}" not in where)
    assert marked.sql == "vacuum;\n"
    below = read_goose(f"-- +goose Up\nvacuum;\n-- +goose Down\n{marker}")
    assert not below.is_transactional


@pytest.mark.parametrize(("tool", "word"), [("goose", "+goose"), ("sql-migrate", "+migrate")])
def test_a_block_without_a_semicolon_gets_one(tool: str, word: str) -> None:
    text = (
        f"-- {word} Up\n-- {word} StatementBegin\n"
        "create function f() returns int language sql as $$ select 1; $$ -- one;\n"
        f"-- {word} StatementEnd\n-- {word} StatementBegin\nselect f();\n-- {word} StatementEnd\n"
        f"select 3\n;\n-- {word} StatementBegin\n-- {word} StatementEnd\n"
        f"-- {word} Down\n-- {word} StatementBegin\nselect 4\n-- {word} StatementEnd\n"
    )
    marked = READERS[tool](text)
    assert not marked.faults
    assert marked.sql == (
        "create function f() returns int language sql as $$ select 1; $$; -- one;\n"
        "select f();\nselect 3\n;\n"
    )
    assert len([piece for piece in split(marked.sql) if piece.kind == "statement"]) == 3


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("-- +migrate Up", True),
        ("-- +migrate   Up  ", True),
        ("-- +migrate Up anything", True),
        ("-- +migrate up", False),
        ("--  +migrate Up", False),
        ("--+migrate Up", False),
        (" -- +migrate Up", False),
        ("-- +migrate", False),
        ("-- +migrate\tUp", False),
    ],
)
def test_the_markers_of_sql_migrate(line: str, is_marker: bool) -> None:
    marked = read_sql_migrate(f"{line}\nselect 1;\n")
    assert [fault.fault for fault in marked.faults] == (
        [] if is_marker else ["has no line `-- +migrate Up`"]
    )
    assert (marked.sql == "select 1;\n") is is_marker


def test_the_directions_of_sql_migrate_may_alternate() -> None:
    marked = read_sql_migrate(
        "-- +migrate Down\nselect 1;\n-- +migrate Up\nselect 2\n-- +migrate Down\nselect 3;\n"
        "-- +migrate Up notransaction\nselect 4;\n-- +migrate Down notransaction\n"
    )
    assert marked.sql == "select 2;\nselect 4;\n"
    assert not marked.is_transactional
    assert not marked.faults
    assert read_sql_migrate("-- +migrate Up\n-- +migrate Down notransaction\n").is_transactional


@pytest.mark.parametrize("quoted", ["$a${0}$a$", "'{0}'", "e'{0}'", '"{0}"'])
def test_sql_migrate_takes_comment_lines_out_of_strings(quoted: str) -> None:
    inside = "\n-- gone's\n--kept\n  -- kept\n-- +gone\n-- gone\nselect 1\n"
    before = "-- stays, isn't it\nselect "
    marked = read_sql_migrate(
        f"-- +migrate Up\n{before}{quoted.format(inside)};\n-- stays, it is\nselect 2;\n"
    )
    sent = quoted.format("\n--kept\n  -- kept\nselect 1\n")
    assert marked.sql == f"{before}{sent};\n-- stays, it is\nselect 2;\n"


@pytest.mark.parametrize("tool", ["sql-migrate", "node-pg-migrate"])
def test_statements_above_the_first_marker_are_passed_over(tool: str) -> None:
    marked = READERS[tool](f"-- a\ncreate table never ();\n{UP[tool]}\nselect 1;\n")
    assert marked.sql == "select 1;\n"
    assert marked.skips_statements
    assert not marked.faults


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("-- Up Migration", True),
        ("  --up migration", True),
        ("---- UP\tMigrations: all", True),
        ("-- - Up Migration", True),
        ("-- the Up Migration", False),
        ("-- Up: Migration", False),
        ("-- Upward Migration", False),
        ("/* Up Migration */", False),
    ],
)
def test_the_markers_of_node_pg_migrate(line: str, is_marker: bool) -> None:
    marked = read_node_pg_migrate(f"select 0;\n{line}\nselect 1;\n-- down migration\nselect 2;\n")
    if is_marker:
        assert marked.sql == "select 1;\n"
    else:
        assert [(fault.line, fault.fault.split(",")[0]) for fault in marked.faults] == [
            (4, "begins the down part of a file without `-- Up Migration`")
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1;\n", "select 1;\n"),
        (
            "-- Down Migration\n1\n-- Up Migration\n2\n-- Down Migration\n3\n",
            "2\n-- Down Migration\n3\n",
        ),
        ("-- Up Migration\n1\n-- Down Migration\n2\n-- Up Migration\n3\n", "1\n"),
        ("-- Up Migration\n1\n-- Up Migration\n3\n", "1\n-- Up Migration\n3\n"),
    ],
)
def test_the_first_marker_of_each_kind_counts_in_node_pg_migrate(text: str, expected: str) -> None:
    assert read_node_pg_migrate(text).sql == expected


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        # Above the first `up`, dbmate takes a marker for a comment.
        ("dbmate", "-- migrate:down\n-- a\n-- migrate:up\nb;\n-- migrate:down\n", "-- a\nb;\n"),
        # Without a direction, sql-migrate passes over a block.
        ("sql-migrate", "-- +migrate StatementBegin\na;\n-- +migrate Up\nb;\n", "b;\n"),
        ("node-pg-migrate", "a;\n-- Down Migration\n-- drop it\n", "a;\n-- drop it\n"),
    ],
)
def test_what_looks_wrong_and_is_allowed(tool: str, text: str, expected: str) -> None:
    marked = READERS[tool](text)
    assert (marked.sql, marked.faults) == (expected, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1;---- create above / drop below ----\nselect 2;", "select 1;"),
        ("select 1;\n-- ---- create above / drop below ---- x\nselect 2;", "select 1;\n-- "),
        ("select 1;\n--- create above / drop below ---\nselect 2;", None),
        ("select 1;\n---- Create above / drop below ----\nselect 2;", None),
    ],
)
def test_the_marker_of_tern(text: str, expected: str | None) -> None:
    assert read_tern(text).sql == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("---- tern: disable-tx ----", True),
        ("---- tern: disable-tx ----\r", True),
        (" ---- tern: disable-tx ----", False),
        ("---- tern: disable-tx ---- ", False),
    ],
)
def test_tern_may_disable_the_transaction(line: str, is_marker: bool) -> None:
    marked = read_tern(f"{line}\nvacuum;\n---- create above / drop below ----\n")
    assert marked.is_transactional is not is_marker
    assert marked.sql == ("vacuum;\n" if is_marker else f"{line}\nvacuum;\n")


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        ("dbmate", "-- migrate:down\na;\n-- migrate:up\n", (3, "has statements above it")),
        ("goose", "-- +goose Down\n-- +goose Up\n", (1, "begins the down part above")),
        ("dbmate", "-- a\nselect 1;\n-- migrate:up\n", (3, "has statements above it")),
        ("dbmate", "/* never closed\n-- migrate:up\n", (2, "has statements above it")),
        ("dbmate", "-- migrate:up\n-- migrate:down\n-- migrate:up\n", (3, "is a second")),
        ("goose", "-- +goose Down\n", (1, "has no line `-- +goose Up`")),
        ("goose", "-- +goose Up\n-- +goose Up\n", (2, "is a second")),
        ("goose", "select 1;\n-- +goose Up\n", (2, "has statements above it")),
        ("goose", "-- +goose Up\n-- +goose StatementBegin\nx;\n", (2, "begins a block")),
        (
            "goose",
            "-- +goose Up\n-- +goose StatementBegin\n-- +goose Down\n",
            (2, "begins a block"),
        ),
        (
            "goose",
            "-- +goose ENVSUB ON\n-- +goose Up\na;\nb '${B}';\nc '$C';\n",
            (4, "takes a value from the environment"),
        ),
        ("sql-migrate", "-- +migrate Up\n-- +migrate StatementBegin\nx;\n", (2, "begins a block")),
        (
            "tern",
            "a;\nb {{.prefix}};\n---- create above / drop below ----\n{{ c }}",
            (2, "has a template"),
        ),
    ],
)
def test_what_the_tool_refuses_is_a_fault_with_its_line(
    tool: str, text: str, expected: tuple[int, str]
) -> None:
    (fault,) = READERS[tool](text).faults
    assert (fault.line, fault.fault[: len(expected[1])]) == expected
    assert fault.remedy


@pytest.mark.parametrize(
    "text",
    [
        "-- +goose ENVSUB ON\n-- +goose Up\nselect 1;\n-- +goose Down\nselect '$A';\n",
        "-- +goose Up\n-- +goose ENVSUB ON\na;\n-- +goose ENVSUB OFF\nselect '$A';\n",
        "-- +goose Up\ncreate function f() as $$ select 1 $$;\n",
    ],
)
def test_goose_takes_values_from_the_environment_only_where_it_is_told(text: str) -> None:
    assert not read_goose(text).faults


def test_a_marker_in_the_body_of_a_function_counts_for_the_tool() -> None:
    marked = read_dbmate("-- migrate:up\ncreate function f() as $$\n-- migrate:down\n$$;\n")
    assert marked.sql == "create function f() as $$\n"
    assert [part.section for part in marked.parts] == [
        Section.MARKER,
        Section.UP,
        Section.MARKER,
        Section.DOWN,
    ]


def test_many_comments_and_strings_take_linear_time() -> None:
    lines = "-- a comment\nselect 'b\n-- gone\n';\n" * 20_000
    marked: MarkedFile = read_sql_migrate(f"-- +migrate Up\n{lines}")
    assert marked.sql.count("gone") == 0
    assert marked.sql.count("a comment") == 20_000
