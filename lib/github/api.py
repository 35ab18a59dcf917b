"""Requests to GitHub's REST API: repeated where that helps, within limits of time and size.

https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, MigratorError
from ..escaping import one_line
from ..time_limits import GITHUB_ANSWER, GITHUB_PAUSE, GITHUB_TOTAL

_VERSION = "2022-11-28"
_LARGEST_ANSWER = 16 << 20
_CHUNK = 1 << 16
_PER_PAGE = 100
_HAS_NEXT = re.compile(r'rel="?next"?')
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LONGEST_REASON = 200


class GitHubError(MigratorError):
    """GitHub has refused a request, or did not answer it in time. `status` is 0 without one."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def wait(self) -> float | None:
        """The seconds after which to ask again at the earliest; None if that would not help."""
        after, reset = (
            self.headers.get("Retry-After", ""),
            self.headers.get("X-RateLimit-Reset", ""),
        )
        if self.status in (403, 429):
            if after.isdigit():
                return float(after)
            if self.headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
                return max(0.0, int(reset) - time.time())
            return 0.0 if self.status == 429 else None
        if self.status >= 500:
            return float(after) if after.isdigit() else 0.0
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the token would travel with the request."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass
class Api:
    """GitHub, asked with a token. All requests together may take `total` seconds.

    `pause` is the first one before a request is repeated.
    """

    address: str
    token: str = field(repr=False)
    total: float = GITHUB_TOTAL
    pause: float = GITHUB_PAUSE

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise ConfigurationError("GitHub's address has to begin with https://.")
        # http.client would quote the whole header in its error.
        if not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ConfigurationError("GITHUB_TOKEN is not a token.")
        self._until = time.monotonic() + self.total
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON of an answer; GitHubError if there is none, or another than expected.

        `path` begins with a slash, or is a whole address. A POST whose answer is lost is not sent
        again: it may have taken effect.
        """
        pause = self.pause
        while True:
            answer = self._send(method, path, body)
            if isinstance(answer, _Answer) and answer.status < 300:
                return _json(answer.body)
            wait = answer.wait if isinstance(answer, _Answer) else 0.0
            is_lost = not isinstance(answer, _Answer) or answer.status >= 500
            left = self._until - time.monotonic()
            if wait is None or (is_lost and method == "POST") or max(wait, pause) > left:
                raise _error(answer)
            time.sleep(max(wait, pause))
            pause *= 2

    def pages(self, path: str, *, most: int) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, from as many pages at most."""
        separator = "&" if "?" in path else "?"
        for number in range(1, most + 1):
            entries = self.ask("GET", f"{path}{separator}per_page={_PER_PAGE}&page={number}")
            if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
                raise GitHubError("GitHub's answer is not a list of objects.")
            yield from entries
            if len(entries) < _PER_PAGE:
                return

    def _send(self, method: str, path: str, body: object) -> _Answer | str:
        """Return the answer, whatever its status, or why there is none."""
        url = path if path.startswith("http") else f"{self.address}{path}"
        request = urllib.request.Request(  # noqa: S310  the scheme is checked
            url, method=method, headers=self._headers(), data=_encoded(body)
        )
        left = max(1.0, min(GITHUB_ANSWER, self._until - time.monotonic()))
        try:
            with self._opener.open(request, timeout=left) as answer:
                return _Answer(answer.status, answer.headers, self._read(answer))
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, error.headers, self._read(error))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            return str(getattr(reason, "strerror", None) or reason or type(error).__name__)

    def _read(self, answer: Any) -> bytes:
        """Read an answer, as far as it is neither too long nor too slow."""
        chunks, length = [], 0
        while chunk := answer.read1(_CHUNK):
            chunks.append(chunk)
            length += len(chunk)
            if length > _LARGEST_ANSWER or time.monotonic() > self._until:
                raise TimeoutError("the answer is too long, or takes too long")
        return b"".join(chunks)

    def _headers(self) -> Mapping[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "User-Agent": "migrations-action",
            "X-GitHub-Api-Version": _VERSION,
        }


def _encoded(body: object) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise GitHubError("GitHub's answer is not JSON.") from None


def _error(answer: _Answer | str) -> GitHubError:
    if isinstance(answer, str):
        return GitHubError(f"GitHub cannot be reached: {one_line(answer)}.")
    try:
        said = json.loads(answer.body).get("message")
    except (ValueError, AttributeError, RecursionError):
        said = None
    reason = f": {one_line(str(said))[:_LONGEST_REASON]}" if said else ""
    return GitHubError(f"GitHub answers {answer.status}{reason}.", status=answer.status)
