"""The pull request that a job is about, from what GitHub tells the job."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .report_markdown import Place

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_URL = re.compile(r"https?://[\w.:/-]+", re.ASCII)


@dataclass(frozen=True)
class Job:
    """A job of GitHub Actions. `number` is that of the pull request, None if it is about none.

    `head` is the newest commit of the pull request, and not the merge that the job has checked out.
    """

    repository: str
    number: int | None
    head: str
    base: str
    run: int
    server: str
    api: str
    graphql: str

    def place(self, folder: str) -> Place:
        """Return where the files are, with addresses for links."""
        root = f"{self.server}/{self.repository}"
        return Place(
            folder,
            blob=f"{root}/blob/{self.head}" if self.head else "",
            run=f"{root}/actions/runs/{self.run}" if self.run else "",
            commit=self.head,
        )


def read_job(environ: Mapping[str, str]) -> Job:
    """Read what GitHub has set; ConfigurationError outside of GitHub Actions."""
    repository = environ.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigurationError(
            "This command is a step of a job in GitHub Actions, and GITHUB_REPOSITORY is not set."
        )
    pull = _mapping(_event(environ.get("GITHUB_EVENT_PATH", "")).get("pull_request"))
    number = pull.get("number")
    head = _mapping(pull.get("head")).get("sha") or environ.get("GITHUB_SHA", "")
    run = environ.get("GITHUB_RUN_ID", "")
    api = _address(environ, "GITHUB_API_URL", "https://api.github.com")
    return Job(
        repository=repository,
        number=number if isinstance(number, int) and number > 0 else None,
        head=head if isinstance(head, str) and _COMMIT.fullmatch(head) else "",
        base=str(_mapping(pull.get("base")).get("ref") or ""),
        run=int(run) if run.isascii() and run.isdigit() else 0,
        server=_address(environ, "GITHUB_SERVER_URL", "https://github.com"),
        api=api,
        graphql=_address(environ, "GITHUB_GRAPHQL_URL", f"{api}/graphql"),
    )


def _event(path: str) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        return _mapping(json.loads(Path(path).read_bytes()))
    except (OSError, ValueError):
        raise ConfigurationError(
            "The file that GITHUB_EVENT_PATH names is not the description of an event."
        ) from None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _address(environ: Mapping[str, str], name: str, default: str) -> str:
    address = environ.get(name) or default
    if not _URL.fullmatch(address):
        raise ConfigurationError(f"{name} is not an address.")
    return address.rstrip("/")
