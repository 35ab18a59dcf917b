"""The service of both endpoints: how long the admin function may work."""

import json
from typing import Any

import pytest
from conftest import Bundle

from lib.web.endpoint_setup import time_limit


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
def test_the_admin_function_may_work_for_max_duration_less_a_margin(
    bundle: Bundle, functions: dict[str, Any], limit: float
) -> None:
    (bundle.root / "vercel.json").write_text(json.dumps({"functions": functions}))
    assert time_limit(bundle.root)[0] == limit
