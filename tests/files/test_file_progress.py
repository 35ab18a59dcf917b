"""The digest of a file's first statements, and the text form that older journals hold."""

import pytest

from lib.files.file_progress import StatementDigest

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_the_text_form_is_read_back() -> None:
    digest = StatementDigest(2, SHA256)
    assert str(digest) == f"2, sha256 {SHA256}"
    assert StatementDigest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "2",
        f"x, sha256 {SHA256}",
        f"-1, sha256 {SHA256}",
        f"٢, sha256 {SHA256}",
        f"1234567890, sha256 {SHA256}",
        f"2, sha256 {SHA256[1:]}",
        f"2, sha256 {SHA256.upper()}",
        f"2, sha256 {SHA256}\n",
    ],
)
def test_any_other_text_is_not_a_digest(text: str | None) -> None:
    assert StatementDigest.parse(text) is None
