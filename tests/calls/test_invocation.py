"""One command as it was called."""

import argparse
import io
from pathlib import Path

import pytest

from lib.calls.invocation import Invocation
from lib.console.output_streams import Console


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("json", [True, False])
def test_nobody_is_asked_beside_json(json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard())
    console = Console(io.StringIO(), io.StringIO(), {})
    call = Invocation(argparse.Namespace(json=json), {}, Path(), console, lambda *_: None)
    assert call.may_ask is not json
