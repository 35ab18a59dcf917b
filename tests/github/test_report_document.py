"""The file with the report may hold anything."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import MigratorError
from lib.github.report_document import (
    LARGEST_REPORT,
    LONGEST_TEXT,
    MOST_ENTRIES,
    _RefusedError,
    file_name,
    read_report,
    report_of,
)

FINDING = {
    "rule": "fails",
    "severity": "stop",
    "version": "001-x",
    "line": 1,
    "message": "m",
    "instead": "",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a JSON document"),
        (b"\xff\xfe", "not a JSON document"),
        (b"[" * 100_000, "not a JSON document"),
        (b"[]", "the document is not an object"),
        (b"{}", "findings is not a list|files is not a list"),
        (b'{"files": [1], "findings": []}', r"files\[0\] is not an object"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(
    content: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(MigratorError, match=said):
        read_report(written(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"severity": "fatal"}, r"findings\[0\].severity is none of stop, warn, note"),
        ({"line": -1}, r"findings\[0\].line is not the number"),
        ({"line": True}, r"findings\[0\].line is not the number"),
        ({"line": 1.5}, r"findings\[0\].line is not the number"),
        ({"message": None}, r"findings\[0\].message is not a text"),
        ({"rule": ["a"]}, r"findings\[0\].rule is not a text"),
    ],
)
def test_a_malformed_finding_is_refused_with_its_place(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    content = json.dumps({"files": [], "findings": [{**FINDING, **change}]}).encode()
    with pytest.raises(MigratorError, match=said):
        read_report(written(tmp_path, content))


def test_a_file_that_is_missing_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigratorError, match="No such file"):
        read_report(tmp_path / "report.json")
    with pytest.raises(MigratorError, match="larger than 8 MiB"):
        read_report(written(tmp_path, b" " * (LARGEST_REPORT + 1)))


def test_lists_and_texts_are_cut() -> None:
    finding = {**FINDING, "message": "x" * (LONGEST_TEXT * 2)}
    report = report_of({"files": [], "findings": [finding] * (MOST_ENTRIES + 1)})
    assert len(report.findings) == MOST_ENTRIES
    assert report.findings[0].message == "x" * LONGEST_TEXT + "…"


@given(JSON)
def test_any_other_document_is_refused_in_order(document: object) -> None:
    try:
        report_of(document)
    except _RefusedError:
        return


@pytest.mark.parametrize("version", ["../x", "001", "001-x\n", "001-X", "", "001-x.sql"])
def test_only_the_name_of_a_migration_is_a_file(version: str) -> None:
    assert file_name(version) == ""
    assert file_name("001-x") == "001-x.sql"
