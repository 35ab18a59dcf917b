"""What another number changes in a file, and that this is undone exactly."""

import codecs
import hashlib

import pytest

from lib.files.folder import MigrationFile, parse
from lib.files.renumbered import former_checksums, renumbered_content


def renumber(content: bytes, *versions: str) -> list[MigrationFile]:
    """The file under each of the versions, one after the other."""
    files = [parse(f"{versions[0]}.sql", content)]
    for version in versions[1:]:
        files.append(parse(f"{version}.sql", renumbered_content(files[-1], version)))
    return files


TEXTS = [
    b"create table t ();\n",
    b"select 1",
    b"",
    b"\n\nselect 1;\n",
    b"-- Migration: Add t\n-- Version: 014\n-- Date: 2026-01-01\n\ncreate table t ();\n",
    b"-- Version: 14\nselect 1;\n",
    b"-- version :  0014  \nselect 1;\n",
    b"-- Version: 014",
    b"-- Version: 1.4 of the schema\nselect 1;\n",
    b"/* a license\n   of two lines */\n  -- Version: 014\nselect 1;\n",
    b"-- Deploy shop:users to pg\n-- requires: schema\n\nselect 1;\n",
    b"-- prose\n-- Transaction: none\nselect 1;\n-- Version: 014\n",
    "-- Version: 014\n-- für ü\nselect 'ü';\n".encode(),
]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["", "mark"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_earlier_name_is_proven_by_its_checksum(
    text: bytes, line_end: bytes, mark: bytes
) -> None:
    content = mark + text.replace(b"\n", line_end)
    files = renumber(content, "014-add-t", "099-add-t", "1000-add-t")
    for number, now in enumerate(files):
        assert now.faults == ()
        assert now.header.was == tuple(file.version for file in files[:number])
        for then in files[:number]:
            assert then.checksum in former_checksums(now, then.version)
            # As a ledger of another runner would hold it.
            assert hashlib.sha256(then.content).hexdigest() in former_checksums(now, then.version)


@pytest.mark.parametrize("text", TEXTS)
def test_a_changed_text_is_not_proven(text: bytes) -> None:
    before, after = renumber(text, "014-t", "015-t")
    changed = parse("015-t.sql", after.content + b" ")
    assert before.checksum not in former_checksums(changed, "014-t")
    assert former_checksums(after, "013-t") == frozenset()


def test_all_but_the_two_lines_stays_byte_for_byte() -> None:
    content = codecs.BOM_UTF8 + b"-- Version: 014\r\n-- Date: x\n\r\nselect 1;\r\n\n"
    [_, second, third] = renumber(content, "014-t", "015-t", "120-t")
    assert second.content == (
        codecs.BOM_UTF8 + b"-- Version: 015\r\n-- Was: 014-t\r\n-- Date: x\n\r\nselect 1;\r\n\n"
    )
    assert third.content == second.content.replace(b"015\r", b"120\r").replace(
        b"014-t", b"014-t, 015-t"
    )


def test_a_line_that_a_person_wrote_counts_as_well() -> None:
    before = parse("014-t.sql", b"-- Version: 014\n-- about t\nselect 1;\n")
    after = parse("015-u.sql", b"-- Version: 15\n-- about t\n  --was: 014-t \nselect 1;\n")
    assert before.checksum not in former_checksums(after, "014-t")
    after = parse("015-u.sql", b"-- Version: 015\n-- about t\n  --was: 014-t \nselect 1;\n")
    assert before.checksum in former_checksums(after, "014-t")


def test_line_ends_of_several_kinds_stay_as_they_are() -> None:
    content = b"\r-- Version: 014\n\nselect 1;\n"
    file = parse("014-x.sql", content)
    moved = parse("015-x.sql", renumbered_content(file, "015-x"))
    assert moved.content == b"\r-- Version: 015\n-- Was: 014-x\n\nselect 1;\n"
    assert file.checksum in former_checksums(moved, "014-x")
