"""What both endpoints share."""

import json
from typing import Any

import pytest
from conftest import Bundle

from lib.web.shell import time_limit


@pytest.mark.parametrize(
    ("functions", "limit"),
    [
        ({"api/*.py": {"maxDuration": 300}}, 285),
        ({"api/*.py": {"maxDuration": 10}}, 7.5),
        ({"api/*.py": {"maxDuration": 300}, "api/migrate.py": {"maxDuration": 60}}, 45),
        ({}, 285),
        ({"api/*.py": {"maxDuration": "max"}}, 285),
    ],
)
def test_its_time_is_what_vercel_gives_less_a_margin(
    bundle: Bundle, functions: dict[str, Any], limit: float
) -> None:
    (bundle.root / "vercel.json").write_text(json.dumps({"functions": functions}))
    assert time_limit(bundle.root)[0] == limit
