"""What GitHub tells a job."""

import json
from pathlib import Path
from typing import Any

import pytest

from lib.errors import ConfigurationError
from lib.github.pull_request import read_job

HEAD = "0123456789abcdef0123456789abcdef01234567"
EVENT = {
    "action": "synchronize",
    "number": 7,
    "pull_request": {
        "number": 7,
        "title": "<script>",
        "head": {"sha": HEAD, "ref": "$(rm -rf /)", "repo": {"full_name": "mallory/shop"}},
        "base": {"ref": "main", "sha": "f" * 40},
    },
}


def environ(tmp_path: Path, event: Any = EVENT, **more: str) -> dict[str, str]:
    path = tmp_path / "event.json"
    path.write_text(event if isinstance(event, str) else json.dumps(event))
    return {"GITHUB_REPOSITORY": "acme/shop", "GITHUB_EVENT_PATH": str(path), **more}


def test_the_pull_request_is_that_of_the_event(tmp_path: Path) -> None:
    job = read_job(environ(tmp_path, GITHUB_RUN_ID="99", GITHUB_SHA="e" * 40))
    assert (job.number, job.head, job.base, job.run) == (7, HEAD, "main", 99)
    assert job.place("migrations").blob == f"https://github.com/acme/shop/blob/{HEAD}"
    assert job.place("migrations").run == "https://github.com/acme/shop/actions/runs/99"


def test_a_push_is_about_no_pull_request(tmp_path: Path) -> None:
    job = read_job(environ(tmp_path, {"ref": "refs/heads/main"}, GITHUB_SHA=HEAD))
    assert (job.number, job.head) == (None, HEAD)


def test_an_enterprise_server_has_its_own_addresses(tmp_path: Path) -> None:
    job = read_job(
        environ(
            tmp_path,
            GITHUB_API_URL="https://git.acme.example/api/v3",
            GITHUB_SERVER_URL="https://git.acme.example",
            GITHUB_GRAPHQL_URL="https://git.acme.example/api/graphql",
        )
    )
    assert job.api == "https://git.acme.example/api/v3"
    assert job.graphql == "https://git.acme.example/api/graphql"
    assert job.place("migrations").blob.startswith("https://git.acme.example/acme/shop/blob/")


def test_outside_of_a_job_it_is_an_error_of_usage() -> None:
    with pytest.raises(ConfigurationError, match="a step of a job in GitHub Actions"):
        read_job({})


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ("{", {}),
        (EVENT, {"GITHUB_API_URL": "file:///etc/passwd"}),
        (EVENT, {"GITHUB_SERVER_URL": "https://x/) [evil](y"}),
        (EVENT, {"GITHUB_REPOSITORY": "a/b/../../c"}),
    ],
)
def test_what_is_malformed_is_refused(event: Any, more: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_job(environ(tmp_path, event, **more))


@pytest.mark.parametrize("pull", [None, [], {"number": "7"}, {"number": 7, "head": {"sha": "x"}}])
def test_an_event_of_another_shape_has_less(pull: object, tmp_path: Path) -> None:
    assert read_job(environ(tmp_path, {"pull_request": pull})).head == ""
