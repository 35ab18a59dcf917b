"""A script: its digests and blocks, what it leaves behind, and the files without a statement."""

import hashlib

import pytest

from lib.files.folder import parse
from lib.files.prepare_script import prepare, prepare_all
from lib.files.runnable_script import Script, without_statements_at_the_end
from lib.sql.concurrent import waits_without_lock_timeout

# SHA-256 of "create table a (x int);".
DIGEST = "85e277de3a896cedccd741062229d9e853c30b98aa7da7e5b08a19221fd7f81c"


def script_of(sql: str) -> Script:
    return prepare(parse("001-x.sql", sql.encode()))


def test_a_transaction_block_of_a_file_is_one_unit() -> None:
    script = script_of(
        "-- Transaction: none\nselect 1;\nbegin;\nsavepoint a;\nrollback to a;\nend;\nselect 2;"
    )
    assert [script.block_end(index) for index in (0, 1, 5)] == [1, 5, 6]
    assert script.checkpoint(1).including_next == script.digests[5]
    assert script.checkpoint(6).including_next is None


def test_a_digest_identifies_the_beginning_of_a_file() -> None:
    before = script_of("-- Transaction: none\nselect 1;\nselect 2;\nselect 3;")
    after = script_of("-- Transaction: none\nselect 1;\nselect 2;\nselect 4;")
    assert after.begins_with(before.digests[2])
    assert not after.begins_with(before.digests[3])
    assert not after.begins_with(None)


def test_a_digest_of_more_statements_than_a_file_has_does_not_match() -> None:
    longer = script_of("-- Transaction: none\nselect 1;\nselect 2;")
    shorter = script_of("-- Transaction: none\nselect 1;")
    assert not shorter.begins_with(longer.digests[2])


def test_the_digests_are_those_of_earlier_versions() -> None:
    """Journals hold the digests: computed in another way, no file could be resumed."""
    script = script_of(
        "-- Transaction: none\ncreate table a (x int);\ncopy a from stdin;\n1\n\\.\n"
        "-- é\nselect 'é' -- end"
    )
    joined = [b"", b"create table a (x int);", b"create table a (x int);\0copy a from stdin;"]
    joined.append(joined[2] + "\0select 'é' -- end\n;".encode())
    assert [str(digest) for digest in script.digests] == [
        f"{n}, sha256 {hashlib.sha256(text).hexdigest()}" for n, text in enumerate(joined)
    ]
    assert script.digests[1].sha256 == DIGEST


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("alter database app set search_path = app", True),
        ("ALTER ROLE app IN DATABASE app RESET ALL", True),
        (
            "do $$begin execute format('alter database %I set search_path = app', "
            "current_database()); end$$",
            True,
        ),
        ("alter table a alter b set not null", False),
        ("alter database app owner to b", False),
        ("set search_path = app", False),
    ],
)
def test_a_change_of_the_defaults_of_sessions_is_found(sql: str, expected: bool) -> None:
    assert script_of(sql).changes_defaults is expected


@pytest.mark.parametrize(
    ("sql", "waits"),
    [
        ("vacuum a", True),
        ("create index concurrently i on a (x)", True),
        ("reindex (concurrently) table a", True),
        ("create database d", False),
        ("create table a (x int)", False),
    ],
)
def test_a_statement_that_waits_for_old_snapshots_has_no_lock_timeout(
    sql: str, waits: bool
) -> None:
    assert waits_without_lock_timeout(script_of(sql).statements[0]) is waits


class TestFilesWithoutAStatement:
    @pytest.mark.parametrize(
        ("texts", "held"),
        [
            ([], []),
            (["select 1"], []),
            ([""], [0]),
            (["select 1", ""], [1]),
            (["", "select 1"], []),
            (["select 1", "", "select 2"], []),
            (["select 1", "", "select 2", "-- soon\n", "/* soon */"], [3, 4]),
            (["", "\n"], [0, 1]),
            (["select 1", "-- Version: 001\n-- Description: x\n\n"], [1]),
            (["select 1", ";;"], [1]),
            (["select 1", "begin;\n\ncommit;"], [1]),
            (["select 1", "-- Transaction: none\n"], [1]),
            (["select 1", "-- Transaction: none\nbegin; commit;"], []),
            (["select 1", "\\set ON_ERROR_STOP on\n"], [1]),
            (["create index concurrently i on t (x)"], []),
        ],
    )
    def test_the_files_after_the_last_statement_are_found(
        self, texts: list[str], held: list[int]
    ) -> None:
        files = [parse(f"{number:03}-a.sql", text.encode()) for number, text in enumerate(texts)]
        found = without_statements_at_the_end(prepare_all(files))
        assert [script.file.number for script in found] == held
