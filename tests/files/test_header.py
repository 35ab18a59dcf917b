"""The header: which comments are its lines, and which only look like them."""

import pytest

from lib.files.header import Header, Origin, first_statement, is_directive, read_header


def faults(text: str, number: str = "005") -> list[str]:
    return [fault for _, fault in read_header(text, number)[1]]


class TestWhereItStands:
    @pytest.mark.parametrize(
        "above",
        [
            "/* a license */",
            "/* a license\n   of several lines\n*/\n",
            "/* one /* within */ another */\n\n",
            "-- prose\n/**/\n  -- more prose\r\n/* and */ /* more */\n",
            "/* Transaction: off */ ",
            "/*\n-- Transaction: off\n*/\n",
        ],
    )
    def test_comments_of_either_kind_may_stand_above_it(self, above: str) -> None:
        assert read_header(f"{above}-- Transaction: none\nselect 1;", "005") == (
            Header(transactional=False),
            (),
        )

    @pytest.mark.parametrize(
        "above", ["select 1;", "set x = 1;\n", ";", "/* never closed\n", "\\restrict x\n"]
    )
    def test_nothing_else_may(self, above: str) -> None:
        assert read_header(f"{above}-- Transaction: none\n", "005") == (Header(), ())

    def test_a_fault_has_the_offset_of_its_line(self) -> None:
        text = "/* a\nlicense */\n  -- Lock-Timeout: soon"
        assert [text[offset:] for offset, _ in read_header(text, "005")[1]] == [
            "-- Lock-Timeout: soon"
        ]


class TestNearMisses:
    @pytest.mark.parametrize(
        ("line", "key"),
        [
            ("Transacton: none", "Transaction"),
            ("Transactions: none", "Transaction"),
            ("transction: None", "Transaction"),
            ("Tranasction: off", "Transaction"),
            ("Transactional: false", "Transaction"),
            ("Tx: none", "Transaction"),
            ("Lock Timeout: 5s", "Lock-Timeout"),
            ("lock_timeout: 5s", "Lock-Timeout"),
            ("LockTimeout: 500 ms", "Lock-Timeout"),
            ("Lock-Timout: 5", "Lock-Timeout"),
            ("Lock-Time-out: 5 seconds", "Lock-Timeout"),
            ("Statement timeout: 10min", "Statement-Timeout"),
            ("Statment-Timeout: none", "Statement-Timeout"),
            ("Statement--Timeout: 1h", "Statement-Timeout"),
            ("Environment: preview", "Environments"),
            ("Enviroment: production, preview", "Environments"),
            ("ENVIRONEMENTS: staging", "Environments"),
            ("Env: production", "Environments"),
            ("Environment : production preview", "Environments"),
            ("Phases: contract", "Phase"),
            ("Phse: contract", "Phase"),
            ("Backfills: users by id, 1000 rows", "Backfill"),
            ("Back-fill: public.users by id", "Backfill"),
            ("Require: 012", "Requires"),
            ("Required: 012-add-users", "Requires"),
            ("Form: prisma 20240101_init", "From"),
            ("Wass: 004-add-users", "Was"),
            ("Way: 004-add-users, 005-add-users", "Was"),
        ],
    )
    def test_of_a_key_that_changes_how_the_file_runs_is_a_fault(self, line: str, key: str) -> None:
        [fault] = faults(f"-- {line}\nselect 1;")
        assert fault.startswith(
            f"the header has no key {line.partition(':')[0].rstrip()}; did you mean {key}?"
        )

    @pytest.mark.parametrize(
        "line",
        [
            "Note: Transaction: none is not needed here",
            "Note: this is one",
            "Notes: none",
            "Dates: 2024",
            "Version: v7.0 of the schema",
            "Version: 1.2.3",
            "Version: 005-create-users",
            "See also: https://example.com",
            "Form: the new one, with three fields",
            "Forms: none",
            "Room: 12",
            "Froms and tos: swapped",
            "Transactions: we use one for each batch",
            "Transactions: see below",
            "Transaction none",
            "Translation: none",
            "Transition: off",
            "Action: none",
            "Lock timeout: it was too short",
            "Lock timeouts: see docs/sql.md",
            "Timeout: 5s",
            "Environment: Node 18",
            "Environmental data: yes",
            "Required: yes",
            "Required by: billing",
            "Phrase: contract is signed",
            "Phase 1: create the tables",
            "Phase 2 of 3: contract",
            "Backfilled: 3 rows by hand",
            "lock_timeout = 5s",
            "Name: users; Type: TABLE; Schema: public; Owner: -",
            "Description: Transaction: none",
            "Author: a <a@example.com>",
            "Migration: 005",
            "What it was: 004-add-users",
            "Was it: 004-add-users",
        ],
    )
    def test_prose_stays_prose(self, line: str) -> None:
        assert read_header(f"-- {line}\nselect 1;", "005") == (Header(), ())

    @pytest.mark.parametrize(
        "line",
        [
            "--\u00a0Transaction: none",
            "-- Trans\u200baction: none",
            "-- Transaction\uff1a none",
            "--\ufeff Transaction:none",
        ],
    )
    def test_a_key_with_a_letter_that_nobody_sees_is_a_fault(self, line: str) -> None:
        assert faults(line) == [
            "the header's Transaction contains an invisible character; type the line again"
        ]

    def test_an_equals_sign_is_no_colon(self) -> None:
        assert faults("-- Lock-Timeout = 5s") == [
            "the header's Lock-Timeout has an equals sign in place of its colon"
        ]


class TestReservedKeys:
    @pytest.mark.parametrize(
        "line",
        [
            "Phase: contract",
            "backfill: t by id",
            "Requires: 004",
        ],
    )
    def test_they_are_a_fault_until_they_are_built(self, line: str) -> None:
        key = line.partition(":")[0].title()
        [fault] = faults(f"-- {line}")
        assert fault.startswith(
            f"the header's {key} is reserved for a later version of the runner, "
            "and this one can't run"
        )

    def test_what_a_file_of_sqitchs_requires_is_sqitchs(self) -> None:
        assert (
            faults(
                "-- Deploy shop:users to pg\n\n-- requires: appschema\n-- requires: roles\n\nbegin;"
            )
            == []
        )
        assert len(faults("-- Deployed to pg\n-- requires: appschema\nbegin;")) == 1
        assert len(faults("-- Deploy shop:users to pg\n-- Phase: contract\nbegin;")) == 1


class TestItsOrigin:
    @pytest.mark.parametrize(
        ("line", "origin"),
        [
            ("From: prisma 20240101_init", ("prisma", "20240101_init")),
            ("from:  Golang-Migrate  7 ", ("golang-migrate", "7")),
            ("From: flyway V1__Add the users.sql", ("flyway", "V1__Add the users.sql")),
            ("From: knex 20240101_users.js", ("knex", "20240101_users.js")),
        ],
    )
    def test_it_names_a_tool_and_a_migration_of_it(
        self, line: str, origin: tuple[str, str]
    ) -> None:
        assert read_header(f"-- {line}\nselect 1;", "005") == (Header(origin=Origin(*origin)), ())

    @pytest.mark.parametrize(
        "value", ["", "prisma", "prisma ", "Alice <alice@example.com>", "liquibase 1"]
    )
    def test_anything_else_is_a_fault(self, value: str) -> None:
        [fault] = faults(f"-- From: {value}")
        assert fault.startswith(f"the header's From can't be read: {value.strip()!r} is not a tool")
        assert fault.endswith("if it is only prose, write it without the colon")

    def test_a_second_one_is_a_fault(self) -> None:
        assert faults("-- From: tern 1\n-- From: tern 2") == ["the header gives From twice"]


class TestItsFormerNames:
    @pytest.mark.parametrize(
        ("line", "names"),
        [
            ("Was: 014-add-users", ("014-add-users",)),
            ("was:014-a ,  1015-b", ("014-a", "1015-b")),
        ],
    )
    def test_they_are_versions_the_earliest_first(self, line: str, names: tuple[str, ...]) -> None:
        assert read_header(f"-- {line}\nselect 1;", "005") == (Header(was=names), ())

    @pytest.mark.parametrize(
        "value", ["", "014", "14-a", "014-A", "014-a.sql", "014-a,", "014-a 015-b", "the old table"]
    )
    def test_anything_else_is_a_fault(self, value: str) -> None:
        [fault] = faults(f"-- Was: {value}")
        assert fault == (
            f"the header's Was can't be read: {value!r} is not the name that the file had, as in: "
            "014-add-invoices; if it is only prose, write it without the colon"
        )

    def test_a_name_or_a_line_twice_is_a_fault(self) -> None:
        [fault] = faults("-- Was: 014-a, 014-a")
        assert fault.endswith("'014-a, 014-a' has a name twice")
        assert faults("-- Was: 014-a\n-- Was: 015-a") == ["the header gives Was twice"]


class TestItsVersion:
    def test_the_first_of_several_counts_as_of_all_documentation(self) -> None:
        assert faults("-- Version: 005\n-- Version: 20240101\n") == []
        assert len(faults("-- Version: 20240101\n-- Version: 005\n")) == 1

    @pytest.mark.parametrize(
        ("written", "number"),
        [("006", "005"), ("50", "005"), ("20240101", "005"), ("0", "005"), ("1", "0")],
    )
    def test_another_number_than_the_files_is_a_fault(self, written: str, number: str) -> None:
        assert faults(f"-- Version: {written}", number) == [
            f"the header says Version {written}, and the file's name {number}; correct one of them"
        ]

    @pytest.mark.parametrize(
        ("written", "number"),
        [("005", "005"), ("5", "005"), ("0005", "005"), ("0", "000"), ("9" * 5000, "9" * 5000)],
    )
    def test_the_same_number_is_none_whatever_its_zeros(self, written: str, number: str) -> None:
        assert faults(f"-- Version: {written}", number) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" -- a\n/* b */;\n;--", ""),
        ("-- a\n select 1", "select 1"),
        ("/* open", "/* open"),
        ("/*;*/\\x", "\\x"),
    ],
)
def test_where_the_first_statement_begins(text: str, expected: str) -> None:
    assert text[first_statement(text) :] == expected


@pytest.mark.parametrize(
    ("comment", "key"),
    [
        ("-- Transaction: none", "Transaction"),
        ("--lock-timeout:5s", "Lock-Timeout"),
        ("-- Environments: preview, staging", "Environments"),
        ("-- Phase: contract", "Phase"),
        ("-- Transaction: see above", None),
        ("-- Lock-Timeout: as long as it takes", None),
        ("-- Environments: staging", None),
        ("-- Environments: production, where the rows are", None),
        ("-- From: the old table", None),
        ("-- Was: 014-add-users", "Was"),
        ("-- Was: the old table", None),
        ("-- Transactions: none", None),
        ("-- Version: 7", None),
    ],
)
def test_a_line_of_the_header_is_known_wherever_it_stands(comment: str, key: str | None) -> None:
    assert is_directive(comment) == key
