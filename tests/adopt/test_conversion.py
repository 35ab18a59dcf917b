"""Migrations of another tool become files of ours: numbers, names, headers, line ends."""

from typing import Any

import pytest

from lib.adopt.conversion import Conversion, convert
from lib.files.folder import MigrationFile, parse
from lib.files.header import Header, Origin
from lib.files.prepare_script import prepare
from lib.tools.known_tools import find_tool
from lib.tools.tool import History, Problem, ToolFile, ToolFiles, ToolMigration

TERN = find_tool("tern")


def made_of(
    *migrations: ToolMigration, ours: tuple[MigrationFile, ...] = (), problems: tuple[str, ...] = ()
) -> Conversion:
    read = ToolFiles(tuple(ToolFile(m.name, m.path, m.sql.encode()) for m in migrations))
    found = tuple(Problem(place, "is not what ran", "restore it") for place in problems)
    return convert(TERN, read, History(migrations, found), ours, "migrations")


def one(sql: str, name: str = "1", description: str = "a", **more: Any) -> ToolMigration:
    return ToolMigration(name, f"{name}.sql", description, sql, **more)


def text_of(sql: str, **more: Any) -> str:
    [adopted] = made_of(one(sql, **more)).files
    return adopted.file.content.decode()


def names(conversion: Conversion) -> list[str]:
    return [each.file.version for each in conversion.files]


class TestTheNumbers:
    def test_they_follow_the_last_one_of_ours(self) -> None:
        ours = (parse("000-create-migration-table.sql", b"select 1"), parse("041-x.sql", b""))
        assert names(made_of(one(""), one("", "2"), ours=ours)) == ["042-a", "043-a"]

    def test_all_are_as_wide_as_the_last_one_needs(self) -> None:
        many = made_of(*(one("", str(number)) for number in range(1000)))
        assert names(many)[0] == "0001-a"
        assert names(many)[-1] == "1000-a"

    def test_the_same_files_come_out_twice(self) -> None:
        chain = (one("select 1;"), one("select 2", "2", "Über uns"))
        assert made_of(*chain) == made_of(*chain)


class TestTheName:
    @pytest.mark.parametrize(
        ("description", "version"),
        [
            ("Add Über-uns page", "001-add-ueber-uns-page"),
            ("../../etc/passwd", "001-etc-passwd"),
            ("", "001-1"),
            ("日本", "001-1"),
            ("a" * 400, f"001-{'a' * 200}"),
        ],
    )
    def test_it_is_one_that_the_folder_takes(self, description: str, version: str) -> None:
        assert names(made_of(one("", description=description))) == [version]

    def test_without_any_letter_it_is_a_migration(self) -> None:
        assert names(made_of(one("", "※", "※"))) == ["001-migration"]

    @pytest.mark.parametrize(
        "name", ["1\ndrop table users;", "1 \r-- Transaction: none", "\x1b]0;x\x07", "a\u202eb"]
    )
    def test_a_hostile_one_stays_a_comment(self, name: str) -> None:
        [adopted] = made_of(one("select 1;", name, name)).files
        script = prepare(adopted.file)
        assert [statement.text for statement in script.statements] == ["select 1;"]
        assert adopted.file.header.origin
        assert adopted.file.header.transactional
        # It is found again by what its header says.
        again = made_of(one("select 1;", name, name), ours=(adopted.file,))
        assert [each.is_ours_already for each in again.files] == [True]
        assert not again.notes


class TestTheText:
    def test_it_stays_as_it_is_below_the_header(self) -> None:
        assert text_of("\n-- A note\nselect 1") == (
            "-- Version: 001\n-- From: tern 1\n-- Description: a\n\n\n-- A note\nselect 1\n"
        )

    @pytest.mark.parametrize(
        "comment",
        [
            "-- Environments: staging",
            "-- Transaction: none",
            "-- Transacton: none",
            "--Statement-Timeout: 5min\r",
            "-- Requires: pgcrypto",
            "-- From: somewhere else",
            "/* old */ -- Lock-Timeout: 1s",
        ],
    )
    def test_what_would_be_a_key_of_ours_means_nothing(self, comment: str) -> None:
        sql = f"-- Version: 7\n{comment}\nselect '-- Transaction: none';\n"
        [adopted] = made_of(one(sql)).files
        assert adopted.file.header == Header(origin=Origin("tern", "1"))
        words = comment.partition("--")[2].strip()
        assert f"\n{comment.partition('--')[0]}-- ({words})" in text_of(sql)
        assert "-- Version: 7\n" in text_of(sql)
        assert "'-- Transaction: none'" in text_of(sql)

    def test_crlf_stays(self) -> None:
        assert text_of("select 1;\r\nselect 2;\r\n") == (
            "-- Version: 001\r\n-- From: tern 1\r\n-- Description: a\r\n\r\n"
            "select 1;\r\nselect 2;\r\n"
        )

    def test_a_version_of_the_tools_own_is_prose(self) -> None:
        assert made_of(one("-- Version: 20240101\nselect 1;")).problems == ()

    @pytest.mark.parametrize(
        ("sql", "is_transactional"),
        [
            ("begin; select 1; commit; begin; select 2; commit;", True),
            ("create table a (); create index concurrently i on a (x);", True),
            ("create index concurrently i on a (x);", False),
        ],
    )
    def test_what_needs_none_runs_without_a_transaction(
        self, sql: str, is_transactional: bool
    ) -> None:
        text = text_of(sql, is_transactional=is_transactional)
        assert "-- Transaction: none\n" in text

    @pytest.mark.parametrize("sql", ["begin; select 1; commit;", "vacuum;", "select 1; select 2;"])
    def test_all_others_run_in_one(self, sql: str) -> None:
        assert "Transaction" not in text_of(sql)


class TestWhatIsRefused:
    def test_it_is_named_by_the_line_in_the_tools_file(self) -> None:
        [problem] = made_of(one("select 1;\n\\echo hello\n")).problems
        assert problem.place == "1.sql:2"

    def test_the_line_counts_the_markers_that_were_left_out(self) -> None:
        up = "select 1;\n\\echo hello\n"
        migration = ToolMigration("1", "1.sql", "a", up)
        content = f"-- up\n\n{up}---- create above / drop below ----\nselect 2;\n"
        read = ToolFiles((ToolFile("1", "1.sql", content.encode()),))
        [problem] = convert(TERN, read, History((migration,)), (), "migrations").problems
        assert problem.place == "1.sql:4"

    def test_a_secret_in_the_file_is_not_quoted(self) -> None:
        [problem] = made_of(one("create role a password 'hunter2';\n\\echo x\n")).problems
        assert "hunter2" not in f"{problem}"


class TestFilesThatAreThere:
    def test_several_stand_for_one(self) -> None:
        ours = tuple(
            parse(f"{number}-a.sql", b"-- From: tern 1\nselect 1;") for number in ("001", "002")
        )
        found = made_of(one("select 1;"), one("", "2"), ours=ours)
        assert names(found) == ["001-a", "002-a", "003-a"]
        assert found.notes == (
            "migrations/001-a.sql, migrations/002-a.sql stand for 1.sql together.",
        )


def test_an_altered_file_is_not_verified() -> None:
    [altered, other] = made_of(
        one("", "1", is_applied=True), one("", "2", is_applied=True), problems=("1.sql:3",)
    ).files
    assert (altered.to_dict()["verified"], other.to_dict()["verified"]) == (False, None)


def test_the_text_of_a_file_is_not_shown_by_repr() -> None:
    assert "hunter2" not in repr(made_of(one("select 'hunter2'")))
