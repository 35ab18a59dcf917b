"""The example of docs/pull-requests.md is what the product says of its files."""

from pathlib import Path

from conftest import ROOT
from pull_request_example import FOLDER, PUSHES, comments

PAGE = ROOT / "docs" / "pull-requests.md"


def test_the_documents_have_the_comment_of_each_push(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    made = comments(folder)
    assert {path.stem for path in FOLDER.glob("*.md")} == {*made}
    for name, text in made.items():
        assert (FOLDER / f"{name}.md").read_text() == text, "see tests/support"


def test_the_page_has_the_files_of_the_first_push() -> None:
    for name, text in PUSHES["first-push"].items():
        assert f"```sql\n-- migrations/{name}\n{text}```\n" in PAGE.read_text()
