"""Which file is meant by a version, a number or a path."""

import pytest

from lib.errors import ConfigurationError
from lib.files.folder import parse
from lib.plan.file_choice import find_file

FILES = tuple(
    parse(f"{version}.sql", b"")
    for version in ("000-start", "004-add-invoices", "0010-b", "1000-c")
)


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("004-add-invoices", "004-add-invoices"),
        ("4", "004-add-invoices"),
        ("004", "004-add-invoices"),
        ("00004", "004-add-invoices"),
        ("0", "000-start"),
        ("000", "000-start"),
        ("10", "0010-b"),
        ("1000", "1000-c"),
        ("004-add-invoices.sql", "004-add-invoices"),
        ("migrations/004-add-invoices.sql", "004-add-invoices"),
        ("/srv/app/migrations/0010-b.sql", "0010-b"),
    ],
)
def test_it_is_a_version_or_its_number_or_a_path(wanted: str, version: str) -> None:
    assert find_file(FILES, wanted).version == version


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            "004-invoices",
            (
                r"no migration '004-invoices'\. Is it 004-add-invoices\? There are 000-start "
                r"to 1000-c\.$"
            ),
        ),
        ("000-begin", r"Is it 000-start\?"),
        ("005-add-invoices", r"Is it 004-add-invoices\?"),
        (
            "invoices",
            (
                r"no migration 'invoices'\. (Is it 004-add-invoices\? )?There are 000-start "
                r"to 1000-c\.$"
            ),
        ),
        ("5", r"no migration '5'\. There are 000-start to 1000-c\.$"),
        ("", r"no migration ''\. There are"),
        ("migrations/", r"no migration 'migrations/'\. There are"),
        ("-1", r"no migration '-1'\. There are"),
        ("٤", r"no migration '٤'\. There are"),
        ("9" * 5000, r"no migration '9+'\. There are"),
    ],
)
def test_the_error_for_an_unknown_one_names_what_exists(wanted: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        find_file(FILES, wanted)
    assert raised.value.exit_code == 2


def test_the_error_for_an_empty_folder_says_so() -> None:
    with pytest.raises(ConfigurationError, match="The folder has none yet"):
        find_file((), "000-a")
