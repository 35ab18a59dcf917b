"""Comments between statements: down migrations, and headers below the first statement."""

import pytest

from lib.errors import MigrationFileError
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.files.runnable_script import Mode, Script

UP = "create table a (x int);\n"


def script_of(sql: str) -> Script:
    return prepare(parse("001-x.sql", sql.encode()))


class TestTheWayBack:
    @pytest.mark.parametrize(
        "marker",
        [
            *(
                "-- migrate:down",
                "-- MIGRATE:DOWN",
                "--migrate:down",
                "-- migrate: down",
                "-- migrate:down transaction:false",
            ),
            *(
                "-- +goose Down",
                "-- +goose down",
                "--+goose Down",
                "-- + goose  Down",
                "-- +goose Down NO TRANSACTION",
            ),
            *(
                "-- +migrate Down",
                "-- +migrate Down notransaction",
                "-- +micrate Down",
                "-- rambler down",
            ),
            *(
                "-- Down Migration",
                "-- down migration",
                "--- Down Migrations ---",
                "-- DOWN Migration (Rollback)",
            ),
            *("---- create above / drop below ----", "---- Create above/drop below ----"),
            *("-- //@UNDO", "--//@UNDO", "-- @undo", "-- !Downs", "--- !Downs"),
        ],
    )
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_it_is_refused_by_line_with_what_to_take_out(self, marker: str, line_end: str) -> None:
        sql = f"-- about\n{UP}  {marker} \n\n-- drop it\ndrop table a;".replace("\n", line_end)
        with pytest.raises(
            MigrationFileError,
            match=r"^migrations/001-x\.sql:3: .* begins a down migration, .*; remove this line",
        ) as raised:
            script_of(sql)
        assert f'"{marker}"' in str(raised.value)
        assert str(raised.value).endswith("what is below it")

    def test_it_is_refused_where_the_statement_above_has_no_semicolon(self) -> None:
        with pytest.raises(
            MigrationFileError, match=r'001-x\.sql:3: "-- migrate:down" begins a down migration'
        ):
            script_of("-- migrate:up\ncreate table a (x int)\n-- migrate:down\ndrop table a\n")

    def test_where_the_way_up_goes_on_below_it_ends_there(self) -> None:
        with pytest.raises(MigrationFileError, match=r"001-x\.sql:2: .* below it, up to line 4$"):
            script_of(f"-- migrate:up\n-- migrate:down\ndrop table a;\n-- migrate:up\n{UP}")

    def test_it_is_refused_in_a_file_outside_a_transaction_as_well(self) -> None:
        with pytest.raises(MigrationFileError, match=r"001-x\.sql:4: .* begins a down migration"):
            script_of(
                "-- Transaction: none\n-- +goose NO TRANSACTION\n"
                "-- +goose Up\n-- +goose Down\nselect 1;"
            )

    @pytest.mark.parametrize(
        ("up", "down"),
        [
            ("-- Up", "-- Down"),
            ("-- UP", "-- DOWN"),
            ("--- up ---", "--- down ---"),
            ("-- [up]", "-- [down]"),
            ("-- @up", "-- @down"),
        ],
    )
    def test_a_pair_in_one_word_each_is_one_where_it_takes_away(self, up: str, down: str) -> None:
        with pytest.raises(MigrationFileError, match=r"001-x\.sql:3: .* begins a down migration"):
            script_of(f"{up}\n{UP}{down}\ndrop table a;")
        for sql in (
            f"{UP}{down}\ndrop table a;",
            f"{up}\n{UP}{down}\ninsert into a values (1);",
            f"{UP}{up}\n{UP}{down}\ndrop table a;",
        ):
            script_of(sql)

    @pytest.mark.parametrize(
        "sql",
        [
            f"{UP}-- Down migration is a no-op\n{UP}",
            f"{UP}-- Down migration\n-- drop table a;\n",
            f"{UP}-- Down migration\n/* drop table a; */",
            f"{UP}-- migrate:down\n",
            f"{UP}-- migrate:down\n;\n",
            f"{UP}-- +goose Down\n-- nothing\n",
            "-- the `-- migrate:down` part was left out\nselect 1;",
            "-- migrate:down is not used here\nselect 1;",
            f"{UP}select 1; -- migrate:down\nselect 2;",
            f"-- Down migration:\n--   drop table a;\n\n{UP}",
            f"{UP}-- Down migration\n-- drop table a;\n\n{UP}",
            "select '\n-- migrate:down\n';\nselect 1;",
            "do $$\nbegin\n-- +goose Down\nend $$;\nselect 1;",
            'select 1 as "\n-- migrate:down\n";',
            "/*\n-- migrate:down\n*/\nselect 1;",
            f"copy a from stdin;\n-- migrate:down\n\\.\n{UP}",
            "-- migrate:up\nselect 1;",
            "-- going down\nselect 1;",
            "-- breakdown\nselect 1;",
            "-- Download migrations\nselect 1;",
            "-- cut-down migration of the old one\nselect 1;",
            "create table a (\n  -- Down migration\n  x int\n);",
            "-- up\ninsert into steps values (1);\n-- down\ninsert into steps values (-1);",
        ],
    )
    def test_what_only_speaks_of_it_is_none(self, sql: str) -> None:
        script_of(sql)


class TestAHeaderBelow:
    @pytest.mark.parametrize(
        "line",
        [
            "-- Transaction: none",
            "--transaction:none",
            "-- Lock-Timeout: 5s",
            "  -- Statement-Timeout: 10min",
            "-- Environments: preview, development",
            "-- Phase: contract",
        ],
    )
    @pytest.mark.parametrize(
        "above",
        [
            "select 1;\n",
            "set x.y = 1;\n\n-- a comment\n",
            "\\restrict x\n",
            "select 1\n;\n/* a */\n",
        ],
    )
    def test_a_line_that_nobody_reads_is_refused_by_line_and_says_where_it_belongs(
        self, above: str, line: str
    ) -> None:
        place = above.count("\n") + 1
        key = line.strip(" -").partition(":")[0].title()
        with pytest.raises(
            MigrationFileError,
            match=rf"001-x\.sql:{place}: the header's {key} is not read here; move the line",
        ):
            script_of(f"{above}{line}\nselect 2;")
        with pytest.raises(MigrationFileError, match=f"{key} is not read here"):
            script_of(f"{above}{line}")

    @pytest.mark.parametrize(
        "below",
        [
            "-- Transaction: see above",
            "-- Transaction: none of these rows",
            "-- Lock-Timeout: as long as it takes",
            "-- Environments: the table\n",
            "-- Environments: defaults\ninsert into environments values (1);",
            "-- Transacton: none",
            "-- Version: 7\n-- Description: x",
            "select 2; -- Transaction: none",
            "select '\n-- Transaction: none\n';",
            "do $$\n-- Transaction: none\nbegin end $$;",
            "create table a (\n-- Transaction: none\nx int);",
            "/*\n-- Transaction: none\n*/",
            "copy a from stdin;\n-- Transaction: none\n\\.\n",
            "-- From: the old table\n",
        ],
    )
    def test_prose_below_a_statement_is_none(self, below: str) -> None:
        assert script_of(f"select 1;\n{below}").mode is Mode.TRANSACTION

    def test_below_comments_of_either_kind_it_counts(self) -> None:
        assert script_of("/* license */\n-- Transaction: none\nselect 1;").mode is Mode.STATEMENTS


def test_a_marker_is_seen_behind_carriage_returns_too() -> None:
    with pytest.raises(MigrationFileError, match="goose Down"):
        prepare(
            parse(
                "001-a.sql", b"-- +goose Up\rcreate table a(i int);\r-- +goose Down\rdrop table a;"
            )
        )
