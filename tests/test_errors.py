"""What an import that fails is told as."""

import pytest

from lib.errors import not_installed


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("flask", "flask is not installed: see that requirements.txt names flask"),
        ("", "psycopg is installed without its binary"),
        ("lib.drift.verdict", "lib.drift.verdict can't be imported: the files of the bundle are"),
        ("library", "library is not installed"),
    ],
)
def test_a_failed_import_says_what_is_missing(name: str, told: str) -> None:
    assert str(not_installed(ImportError("no", name=name or None))).startswith(told)
