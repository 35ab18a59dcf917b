"""A text for a file: as it is in a file or a pipe, escaped on a terminal, and never half of it."""

import io
from pathlib import Path

import pytest
from pseudo_terminal import terminal

from lib.console.output_streams import Console

TEXT = "-- é\ncomment on table a is '\x1b]0;owned\x07';\n"


def test_a_file_gets_the_text_as_it_is_in_utf_8(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="latin-1") as stream:
        Console(stream, io.StringIO(), {}).show_file(TEXT)
    assert (tmp_path / "out").read_bytes() == TEXT.encode()


def test_a_terminal_gets_no_sequence_that_it_would_obey() -> None:
    with terminal(80) as screen:
        Console(screen.stream, io.StringIO(), {}).show_file(TEXT)
        assert r"'\x1b]0;owned\x07';" in screen.shown(until=";\r\n")


def test_on_a_full_disk_it_does_not_look_written() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left"), full.open("w") as stream:
        Console(stream, io.StringIO(), {}).show_file(TEXT)
