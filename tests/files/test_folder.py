"""Migration files: names, headers, checksums, and everything else in the folder."""

import codecs
import hashlib
from pathlib import Path

import pytest
from conftest import Bundle

from lib.errors import MigrationFileError
from lib.files.folder import MigrationFile, discover, name_in_words, next_number, parse
from lib.files.header import Header

UNIX = b"-- a comment\ncreate table a (x int);\n"
WINDOWS = UNIX.replace(b"\n", b"\r\n")
MIXED = b"-- a comment\r\ncreate table a (x int);\n"
BOM = codecs.BOM_UTF8

VARIANTS = {
    "LF": UNIX,
    "CRLF": WINDOWS,
    "BOM and LF": BOM + UNIX,
    "BOM and CRLF": BOM + WINDOWS,
}


def sql_file(text: str | bytes, filename: str = "001-create-users-table.sql") -> MigrationFile:
    return parse(filename, text if isinstance(text, bytes) else text.encode())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestNames:
    @pytest.mark.parametrize(
        ("filename", "number", "name"),
        [
            ("000-create-migration-table.sql", 0, "Create Migration Table"),
            ("001-create-users-table.sql", 1, "Create Users Table"),
            ("042-a.sql", 42, "A"),
            ("999-add-2fa.sql", 999, "Add 2fa"),
            ("1000-add-oauth2-tokens.sql", 1000, "Add Oauth2 Tokens"),
            ("20240131120000-by-time.sql", 20240131120000, "By Time"),
        ],
    )
    def test_version_number_and_name_come_from_the_filename(
        self, filename: str, number: int, name: str
    ) -> None:
        file = sql_file("", filename)
        assert (file.version, file.number, file.name) == (
            filename.removesuffix(".sql"),
            number,
            name,
        )
        assert file.path == f"migrations/{filename}"

    @pytest.mark.parametrize(
        "filename",
        [
            "1-a.sql",
            "01-a.sql",
            "001.sql",
            "001-.sql",
            "-a.sql",
            "a.sql",
            "001_a.sql",
            "001-A.sql",
            "001-add_users.sql",
            "001-add users.sql",
            "001-add--users.sql",
            "001-add-.sql",
            "001--add.sql",
            "001-ä.sql",
            "٠٠١-a.sql",
            "v001-a.sql",
            "001-a.up.sql",
            "001-a.SQL",
            "001-a.sql\n",
            " 001-a.sql",
        ],
    )
    def test_a_name_off_the_format_is_refused_with_an_example(self, filename: str) -> None:
        with pytest.raises(
            MigrationFileError, match=r"the name is not NNN-description\.sql: .* as in 004-add"
        ) as raised:
            sql_file("", filename)
        assert raised.value.file == "migrations/" + filename.replace("\n", r"\n")

    def test_each_word_of_the_description_is_capitalised(self) -> None:
        assert name_in_words("create-users-table") == "Create Users Table"


class TestChecksums:
    def test_the_checksum_is_the_sha_256_of_the_text(self) -> None:
        assert (
            sql_file("create table a (x int);\n").checksum
            == "6f85aa62aa92fdc66955fda26b0f540150f6c7358298575ca3c67ad7f4ad4380"
        )
        assert (
            sql_file("").checksum
            == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )

    @pytest.mark.parametrize(
        "content", [*VARIANTS.values(), MIXED], ids=[*VARIANTS, "both line ends"]
    )
    def test_a_file_with_windows_line_ends_or_a_byte_order_mark_has_the_same_checksum(
        self, content: bytes
    ) -> None:
        assert sql_file(content).checksum == digest(UNIX)

    @pytest.mark.parametrize(
        "stored", VARIANTS.values(), ids=[f"stored with {name}" for name in VARIANTS]
    )
    @pytest.mark.parametrize(
        "content",
        [*VARIANTS.values(), MIXED, BOM + MIXED],
        ids=[*VARIANTS, "mixed", "BOM and mixed"],
    )
    def test_a_file_matches_whatever_its_line_ends_and_mark_were_when_it_was_applied(
        self, content: bytes, stored: bytes
    ) -> None:
        assert sql_file(content).matches(digest(stored))

    @pytest.mark.parametrize("stored", [MIXED, BOM + MIXED], ids=["mixed", "BOM and mixed"])
    def test_a_file_of_both_line_ends_matches_its_bytes_as_they_are(self, stored: bytes) -> None:
        assert sql_file(MIXED).matches(digest(stored))
        assert sql_file(BOM + MIXED).matches(digest(stored))

    @pytest.mark.parametrize(
        "content",
        [
            UNIX + b" ",
            UNIX + b"\n",
            UNIX.rstrip(),
            UNIX.replace(b"int", b"INT"),
            UNIX.replace(b"\n", b"\r"),
            BOM + BOM + UNIX,
        ],
        ids=[
            "a space more",
            "a line more",
            "no final newline",
            "other case",
            "CR alone",
            "two marks",
        ],
    )
    def test_any_other_difference_is_a_modification(self, content: bytes) -> None:
        assert not sql_file(content).matches(digest(UNIX))

    def test_a_row_without_a_checksum_matches(self) -> None:
        assert sql_file(UNIX).matches(None)

    @pytest.mark.parametrize(
        "stored", [digest(UNIX).upper(), f" {digest(UNIX)} "], ids=["upper case", "padded"]
    )
    def test_a_checksum_is_compared_as_a_number(self, stored: str) -> None:
        assert sql_file(UNIX).matches(stored)

    @pytest.mark.parametrize("stored", ["", "x", digest(UNIX)[:32]])
    def test_what_is_no_checksum_of_the_file_does_not_match(self, stored: str) -> None:
        assert not sql_file(UNIX).matches(stored)


class TestText:
    def test_the_byte_order_mark_is_no_part_of_the_text(self) -> None:
        assert sql_file(BOM + b"select 1").text == "select 1"
        assert sql_file(BOM + b"-- Transaction: none\n").header == Header(transactional=False)

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            (b"\xff", 1),
            (b"-- caf\xe9", 1),
            (b"select 1;\n\n-- caf\xe9\n", 3),
            (BOM + b"a\n\xc3(", 2),
            (b"\xff\xfes\0", 1),
        ],
        ids=["invalid byte", "Latin-1", "on line 3", "after a mark", "UTF-16"],
    )
    def test_a_file_that_is_not_utf_8_is_refused_by_line(self, content: bytes, line: int) -> None:
        with pytest.raises(MigrationFileError, match="is not UTF-8; save it as UTF-8") as raised:
            sql_file(content)
        assert (raised.value.line, raised.value.version) == (line, "001-create-users-table")

    def test_a_nul_character_is_refused_by_line(self) -> None:
        with pytest.raises(
            MigrationFileError,
            match=r"001-create-users-table\.sql:2: the file holds a NUL character",
        ):
            sql_file(b"select 1;\nselect '\0';")

    def test_lines_and_columns_count_from_one_in_characters(self) -> None:
        file = sql_file("é 1\r\nüß x\n")
        assert [(file.line_at(offset), file.column_at(offset)) for offset in (0, 2, 5, 8)] == [
            (1, 1),
            (1, 3),
            (2, 1),
            (2, 4),
        ]


class TestHeaders:
    @pytest.mark.parametrize(
        ("text", "header"),
        [
            ("", Header()),
            ("select 1", Header()),
            (
                "-- Version: 001\n-- Date: 2024-01-31\n-- Description: Users: their table\n",
                Header(),
            ),
            ("-- Transaction: none\n", Header(transactional=False)),
            ("-- TRANSACTION: None\r\n", Header(transactional=False)),
            ("--transaction:none", Header(transactional=False)),
            ("------ Transaction : none", Header(transactional=False)),
            ("\n\n  -- Transaction: none", Header(transactional=False)),
            (
                "-- Lock-Timeout: 5s\n-- Statement-Timeout: 10min",
                Header(lock_timeout=5, statement_timeout=600),
            ),
            ("-- lock-timeout: 0", Header(lock_timeout=0)),
            ("-- Environments: production", Header(environments=("production",))),
            (
                "-- environments: Production ,preview",
                Header(environments=("production", "preview")),
            ),
            ("-- What it is for\n--\n\n-- Transaction: none\n", Header(transactional=False)),
        ],
        ids=lambda value: repr(value) if isinstance(value, str) else "",
    )
    def test_leading_comment_lines_are_the_header(self, text: str, header: Header) -> None:
        assert sql_file(text).header == header

    @pytest.mark.parametrize(
        "text",
        [
            "-- Note: Transaction: none is not needed here",
            "-- We tried transaction: none, in vain",
            "-- In a transaction: never mind",
            "-- Transactions: none",
            "-- Transaction none",
            "-- see https://example.com/transaction: none",
            "-- 12:30 is when this ran",
            "-- the lock-timeout: it was too short",
            "select 1; -- Transaction: none",
            "select 1;\n-- Transaction: none",
            "/* Transaction: none */",
            "/*\n-- Transaction: none\n*/",
            "# Transaction: none",
        ],
    )
    def test_prose_with_a_colon_and_what_follows_sql_is_no_header(self, text: str) -> None:
        assert sql_file(text).header == Header()

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ("Transaction: off", "Transaction can't be read: 'off' is not \"none\""),
            ("Transaction:", "Transaction can't be read: '' is not \"none\""),
            ("Lock-Timeout: soon", "Lock-Timeout can't be read: not a duration; write 500ms"),
            ("Lock-Timeout: -1s", "Lock-Timeout can't be read: not a duration"),
            ("lock-timeout:", "Lock-Timeout can't be read: not a duration"),
            ("Statement-Timeout: 5 minutes", "Statement-Timeout can't be read: not a duration"),
            (
                "Statement-Timeout: 1000h",
                "Statement-Timeout can't be read: longer than PostgreSQL allows",
            ),
            ("Environments:", "Environments can't be read: write names separated by commas"),
            (
                "Environments: production,",
                "Environments can't be read: write names separated by commas",
            ),
            (
                "Environments: production preview",
                "Environments can't be read: write names separated by commas",
            ),
        ],
    )
    def test_an_unreadable_value_of_a_known_key_is_a_fault_with_file_and_line(
        self, line: str, fault: str
    ) -> None:
        [found] = sql_file(f"-- Description: something\n\n-- {line}\nselect 1;").faults
        assert str(found).startswith(
            f"migrations/001-create-users-table.sql:3: the header's {fault}"
        )
        assert found.details() == {"version": "001-create-users-table", "line": 3}

    def test_a_key_given_twice_is_a_fault(self) -> None:
        [found] = sql_file("-- Lock-Timeout: 5s\n-- lock-timeout: 6s").faults
        assert str(found).endswith(".sql:2: the header gives Lock-Timeout twice")

    def test_documentation_may_be_given_twice(self) -> None:
        file = sql_file(
            "-- Description: a\n-- Description: b\n-- Date: 1\n-- Date: 2\n"
            "-- Version: 1\n-- Version: 001\n"
        )
        assert (file.header, file.faults) == (Header(), ())

    def test_every_fault_of_a_header_is_carried_in_the_order_of_the_lines(self) -> None:
        file = sql_file(
            "-- Environment: preview\n-- Transaction: off\n-- Lock-Timeout: 5s\n"
            "-- Phase: contract\nselect 1;"
        )
        assert [fault.line for fault in file.faults] == [1, 2, 4]
        assert file.header == Header(lock_timeout=5)

    @pytest.mark.parametrize(
        ("text", "environment", "runs"),
        [
            ("", "production", True),
            ("", "anything", True),
            ("-- Environments: production, preview", "production", True),
            ("-- Environments: production, preview", "preview", True),
            ("-- Environments: production, preview", "development", False),
            ("-- Environments: Staging", "staging", True),
            ("-- Environments: prod", "production", False),
        ],
    )
    def test_a_file_runs_only_in_its_environments(
        self, text: str, environment: str, runs: bool
    ) -> None:
        assert sql_file(text).runs_in(environment) is runs


class TestTheFolder:
    def test_files_are_read_in_numeric_order(self, bundle: Bundle) -> None:
        for filename in ("1000-d.sql", "002-b.sql", "0999-c.sql", "000-a.sql"):
            bundle.write(filename, "")
        assert [file.version for file in discover(bundle.migrations)] == [
            "000-a",
            "002-b",
            "0999-c",
            "1000-d",
        ]

    def test_an_empty_folder_is_fine(self, bundle: Bundle) -> None:
        assert discover(bundle.migrations) == ()

    def test_a_missing_folder_is_an_error_that_names_the_variable(self, tmp_path: Path) -> None:
        with pytest.raises(
            MigrationFileError, match=r"missing: there is no such folder; .* MIGRATIONS_DIR"
        ):
            discover(tmp_path / "missing")

    def test_a_file_in_place_of_the_folder_is_an_error(self, bundle: Bundle) -> None:
        with pytest.raises(MigrationFileError, match="the folder can't be read: Not a directory"):
            discover(bundle.write("001-a.sql", ""))

    def test_other_files_are_left_alone(self, bundle: Bundle) -> None:
        for filename in (
            "README.md",
            ".gitkeep",
            ".001-a.sql.swp",
            "._001-a.sql",
            "001-a.sql~",
            "002-b.sql.bak",
            "sql",
        ):
            bundle.write(filename, b"\xff")
        for folder in ("_archive", ".old", "meta"):
            (bundle.migrations / folder).mkdir()
        bundle.write("_archive/001-old.sql", "")
        bundle.write(".old/001-old.sql", "")
        bundle.write("meta/0000_snapshot.json", "{}")
        bundle.write("001-a.sql", "")
        assert [file.version for file in discover(bundle.migrations)] == ["001-a"]

    @pytest.mark.parametrize(
        "filename", ["fix.sql", "001_a.sql", "1-a.sql", "001-a.SQL", "001-A.Sql"]
    )
    def test_a_misnamed_sql_file_is_never_skipped(self, bundle: Bundle, filename: str) -> None:
        bundle.write("000-good.sql", "")
        bundle.write(filename, "")
        with pytest.raises(
            MigrationFileError, match=f"migrations/{filename}: the name is not NNN-description"
        ):
            discover(bundle.migrations)

    @pytest.mark.parametrize(
        ("first", "second"), [("001-a", "001-b"), ("0001-a", "001-b"), ("0001-same", "001-same")]
    )
    def test_two_files_with_one_number_are_an_error_that_names_both(
        self, bundle: Bundle, first: str, second: str
    ) -> None:
        bundle.write(f"{first}.sql", "")
        bundle.write(f"{second}.sql", "")
        with pytest.raises(
            MigrationFileError,
            match=rf"{second}\.sql: has the same number as migrations/{first}\.sql",
        ):
            discover(bundle.migrations)

    @pytest.mark.parametrize("kind", ["folder", "dangling link"])
    def test_an_unreadable_file_is_an_error_that_names_it(self, bundle: Bundle, kind: str) -> None:
        path = bundle.migrations / "001-x.sql"
        path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
        with pytest.raises(
            MigrationFileError, match=r"migrations/001-x\.sql: the file can't be read"
        ):
            discover(bundle.migrations)

    @pytest.mark.parametrize(
        ("filename", "move"),
        [
            (
                "20240101120000_init/migration.sql",
                "move it to migrations/20240101120000-init.sql, or",
            ),
            ("2025/003-c.sql", "move it to migrations/003-c.sql, or"),
            ("2025/q1/january/003-c.sql", "move it to migrations/003-c.sql, or"),
            ("0001_users/up.sql", "move it to migrations/0001-users.sql, or"),
            ("0001_users/down.sql", "move it to migrations/NNN-description.sql, or"),
            ("old/FIX.SQL", "move it to migrations/NNN-description.sql, or"),
        ],
    )
    def test_a_file_in_a_folder_below_is_never_left_out_without_a_word(
        self, bundle: Bundle, filename: str, move: str
    ) -> None:
        bundle.write("001-a.sql", "")
        (bundle.migrations / filename).parent.mkdir(parents=True)
        bundle.write(filename, "")
        with pytest.raises(
            MigrationFileError,
            match=rf"^migrations/{filename}: the file is in a subfolder.*; {move}",
        ):
            discover(bundle.migrations)

    def test_a_folder_set_aside_within_one_that_is_not_is_left_alone_too(
        self, bundle: Bundle
    ) -> None:
        (bundle.migrations / "2025" / "_old").mkdir(parents=True)
        bundle.write("2025/_old/001-a.sql", "")
        assert discover(bundle.migrations) == ()

    def test_a_link_out_of_the_folder_is_refused_and_never_read(self, bundle: Bundle) -> None:
        secret = bundle.root / "secret.txt"
        secret.write_bytes(b"the password\xff")
        (bundle.migrations / "001-a.sql").symlink_to("../secret.txt")
        (bundle.migrations / "002-b.sql").symlink_to(secret)
        (bundle.migrations / "003-c.sql").symlink_to("../nowhere")
        with pytest.raises(
            MigrationFileError, match=r"001-a\.sql: the file is a link out of the folder; put"
        ) as raised:
            discover(bundle.migrations)
        assert [fault.file for fault in raised.value.faults] == [
            f"migrations/00{n}.sql" for n in ("1-a", "2-b", "3-c")
        ]
        assert "password" not in str(raised.value)

    def test_a_link_to_a_link_out_of_the_folder_is_refused_as_well(self, bundle: Bundle) -> None:
        (bundle.root / "secret.txt").write_text("select 1")
        (bundle.migrations / "_link").symlink_to("../secret.txt")
        (bundle.migrations / "001-a.sql").symlink_to("_link")
        with pytest.raises(
            MigrationFileError, match=r"001-a\.sql: the file is a link out of the folder"
        ):
            discover(bundle.migrations)

    def test_a_link_within_the_folder_and_a_link_to_the_folder_are_fine(
        self, bundle: Bundle
    ) -> None:
        bundle.write("001-a.sql", "select 1")
        (bundle.migrations / "002-b.sql").symlink_to("001-a.sql")
        (bundle.root / "linked").symlink_to("migrations")
        assert [file.text for file in discover(bundle.root / "linked")] == ["select 1", "select 1"]

    def test_a_folder_that_is_a_link_out_is_refused_without_a_look_into_it(
        self, bundle: Bundle
    ) -> None:
        (bundle.root / "elsewhere").mkdir()
        (bundle.root / "elsewhere" / "001-a.sql").write_text("")
        (bundle.migrations / "more").symlink_to("../elsewhere")
        (bundle.migrations / "_aside").symlink_to("../elsewhere")
        with pytest.raises(
            MigrationFileError, match=r"migrations/more: the folder is a link out of this one"
        ) as raised:
            discover(bundle.migrations)
        assert len(raised.value.faults) == 1

    def test_links_in_circles_end(self, bundle: Bundle) -> None:
        (bundle.migrations / "a").mkdir()
        (bundle.migrations / "a" / "up").symlink_to("..")
        (bundle.migrations / "self").symlink_to("self")
        assert discover(bundle.migrations) == ()
        (bundle.migrations / "001-a.sql").symlink_to("001-a.sql")
        with pytest.raises(MigrationFileError, match=r"001-a\.sql: the file can't be read"):
            discover(bundle.migrations)

    def test_of_a_pile_of_files_with_one_fault_three_are_named_and_how_many_there_are(
        self, bundle: Bundle
    ) -> None:
        for day in range(1, 201):
            bundle.write(f"20240108{day:06}_add_x.sql", "")
        bundle.write("001-a.sql", b"\xff")
        with pytest.raises(MigrationFileError, match="the name is not NNN-description") as raised:
            discover(bundle.migrations)
        lines = str(raised.value).splitlines()
        assert len(lines) == 5
        assert lines[1].startswith(
            "migrations/20240108000001_add_x.sql: the name is not NNN-description.sql: three"
        )
        assert lines[1].endswith("as in 004-add-invoices.sql; 20240108000001-add-x.sql would do")
        assert lines[4] == "  … and 197 more with the same fault, 200 in all."

    @pytest.mark.parametrize("filename", ["00001_users.sql", "committed/000001.sql"])
    def test_a_folder_with_nothing_of_ours_may_be_that_of_another_tool(
        self, bundle: Bundle, filename: str
    ) -> None:
        bundle.write("000-create-migration-table.sql", "")
        (bundle.migrations / filename).parent.mkdir(exist_ok=True)
        bundle.write(filename, "")
        with pytest.raises(MigrationFileError) as raised:
            discover(bundle.migrations)
        assert "do not rename them" in str(raised.value).splitlines()[-1]
        bundle.write("001-a.sql", "")
        with pytest.raises(MigrationFileError) as raised:
            discover(bundle.migrations)
        assert "do not rename them" not in str(raised.value)

    def test_of_a_pile_in_folders_below_too(self, bundle: Bundle) -> None:
        bundle.write("001-a.sql", "")
        for day in range(1, 11):
            (bundle.migrations / f"202401{day:02}_init").mkdir()
            bundle.write(f"202401{day:02}_init/migration.sql", "")
        with pytest.raises(
            MigrationFileError, match=r"20240103-init\.sql, or .*\n  … and 7 more .*, 10 in all\.$"
        ):
            discover(bundle.migrations)

    def test_every_fault_is_reported_at_once(self, bundle: Bundle) -> None:
        bundle.write("001-a.sql", "")
        bundle.write("001-b.sql", "")
        bundle.write("002-latin.sql", b"\n\xe9")
        bundle.write("003-header.sql", "-- Transaction: yes")
        bundle.write("misnamed.sql", "")
        (bundle.migrations / "more").mkdir()
        bundle.write("more/004-d.sql", "")
        with pytest.raises(MigrationFileError, match=r"001-b\.sql: has the same number") as raised:
            discover(bundle.migrations)
        places = [
            line.partition(": ")[0].removeprefix("migrations/")
            for line in str(raised.value).splitlines()
        ]
        assert places == ["002-latin.sql:2", "misnamed.sql", "001-b.sql", "more/004-d.sql"]
        assert raised.value.details() == {"version": "002-latin", "line": 2}

    @pytest.mark.parametrize(
        ("last", "following"),
        [
            (None, "000"),
            ("000", "001"),
            ("099", "100"),
            ("999", "1000"),
            ("1000", "1001"),
            ("0042", "0043"),
            ("0999", "1000"),
            ("9999", "10000"),
            ("00042", "00043"),
        ],
    )
    def test_the_next_number_has_as_many_digits_as_the_last(
        self, last: str | None, following: str
    ) -> None:
        assert next_number([parse(f"{last}-x.sql", b"")] if last else []) == following


class TestFormerNames:
    @pytest.mark.parametrize(
        ("was", "fault"),
        [
            ("002-b", "names 002-b, which is its name; take that out"),
            ("000-a", "names 000-a, and so does that of migrations/001-a.sql"),
        ],
    )
    def test_one_that_cannot_be_is_a_fault_of_the_file(
        self, bundle: Bundle, was: str, fault: str
    ) -> None:
        bundle.write("001-a.sql", "-- Was: 000-a\nselect 1")
        bundle.write("002-b.sql", f"-- Was: {was}\nselect 1")
        first, second = discover(bundle.migrations)
        assert first.faults == ()
        assert fault in str(second.faults[0])
