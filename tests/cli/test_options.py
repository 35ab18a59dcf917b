"""What argparse reads of the command line, and what it refuses."""

import pytest

from lib.cli.options import read_arguments


@pytest.mark.parametrize(
    "words", [["resolve", "001-a", "--did"], ["status", "--che"], ["baseline", "--forg", "001-a"]]
)
def test_no_option_is_guessed_from_its_beginning(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        read_arguments(words)
    assert "error: " in capsys.readouterr().err
