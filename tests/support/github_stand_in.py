"""A stand-in for GitHub's API: it answers in the shapes that GitHub documents, and keeps comments.

https://docs.github.com/rest/issues/comments, https://docs.github.com/rest/pulls/pulls,
https://docs.github.com/graphql/reference/queries#viewer
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
BOT = "github-actions[bot]"
REPOSITORY = "acme/shop"
NUMBER = 7

_COMMENTS = re.compile(rf"/repos/{REPOSITORY}/issues/{NUMBER}/comments")
_COMMENT = re.compile(rf"/repos/{REPOSITORY}/issues/comments/(\d+)")
_PULLS = re.compile(rf"/repos/{REPOSITORY}/pulls")
_FILES = re.compile(rf"/repos/{REPOSITORY}/pulls/(\d+)/files")

Answer = tuple[int, Mapping[str, str], Any]

# What GitHub says to a token without the right, and to one that has asked too often.
FORBIDDEN: Answer = (
    403,
    {},
    {
        "message": "Resource not accessible by integration",
        "documentation_url": "https://docs.github.com/rest/issues/comments#create-an-issue-comment",
        "status": "403",
    },
)
NOT_FOUND: Answer = (404, {}, {"message": "Not Found", "documentation_url": "x", "status": "404"})
SECONDARY_LIMIT: Answer = (
    403,
    {"Retry-After": "1"},
    {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."},
)
UNAVAILABLE: Answer = (503, {}, {"message": "Service unavailable"})
INVALID: Answer = (
    422,
    {},
    {"message": "Validation Failed", "errors": [{"resource": "IssueComment", "code": "custom"}]},
)


def user(login: str) -> dict[str, Any]:
    return {
        "login": login,
        "id": 41898282,
        "node_id": "MDM6Qm90NDE4OTgyODI=",
        "html_url": f"https://github.com/apps/{login}",
        "type": "Bot" if login.endswith("[bot]") else "User",
        "site_admin": False,
    }


@dataclass
class StandIn:
    """GitHub as the tests want it.

    `refusals` are answered in place of what a request (as in "POST comments") would get, one after
    the other; `meanwhile` is called before a comment is made, as another run would.
    """

    address: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[int, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)
    refusals: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    takes_effect_all_the_same: bool = False
    viewer: str | None = BOT
    meanwhile: Callable[[], None] = lambda: None

    def comment(self, body: str, *, login: str = BOT) -> dict[str, Any]:
        number = len(self.comments) + 1000
        made = {
            "id": number,
            "node_id": "MDEyOklzc3VlQ29tbWVudDE=",
            "url": f"{self.address}/repos/{REPOSITORY}/issues/comments/{number}",
            "html_url": f"https://github.com/{REPOSITORY}/pull/{NUMBER}#issuecomment-{number}",
            "body": body,
            "user": user(login),
            "created_at": "2026-11-28T09:00:00Z",
            "updated_at": "2026-11-28T09:00:00Z",
            "author_association": "NONE",
            "performed_via_github_app": None,
        }
        self.comments.append(made)
        return made

    @property
    def bodies(self) -> list[str]:
        return [each["body"] for each in self.comments]

    def answer(self, method: str, target: str, body: Any) -> Answer:
        parts = urlsplit(target)
        page = int(parse_qs(parts.query).get("page", ["1"])[0])
        if parts.path == "/graphql":
            return self._viewer()
        if _COMMENTS.fullmatch(parts.path):
            return self._comments(method, body, page)
        if match := _COMMENT.fullmatch(parts.path):
            return self._one_comment(method, int(match[1]), body)
        if _PULLS.fullmatch(parts.path):
            return 200, {}, [self._pull(number) for number in self.pulls][100 * (page - 1) :][:100]
        if match := _FILES.fullmatch(parts.path):
            files = self.pulls[int(match[1])][1]
            named = [{"filename": name, "status": status} for name, status in files]
            return 200, {}, named[100 * (page - 1) :][:100]
        return NOT_FOUND

    def _viewer(self) -> Answer:
        if self.viewer is None:
            return 200, {}, {"data": None, "errors": [{"type": "FORBIDDEN"}]}
        return 200, {}, {"data": {"viewer": {"login": self.viewer}}}

    def _comments(self, method: str, body: Any, page: int) -> Answer:
        if method == "POST":
            self.meanwhile()
            return 201, {}, self.comment(body["body"], login=self.viewer or BOT)
        return 200, {}, self.comments[100 * (page - 1) :][:100]

    def _one_comment(self, method: str, number: int, body: Any) -> Answer:
        found = [each for each in self.comments if each["id"] == number]
        if not found:
            return NOT_FOUND
        if method == "DELETE":
            self.comments.remove(found[0])
            return 204, {}, None
        found[0]["body"] = body["body"]
        return 200, {}, found[0]

    def _pull(self, number: int) -> dict[str, Any]:
        return {"number": number, "state": "open", "title": self.pulls[number][0], "user": None}


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        name = f"{self.command} {urlsplit(self.path).path.rpartition('/')[2]}"
        self.stand_in.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {}, {"message": "Bad credentials", "status": "401"})
            return
        refusals = self.stand_in.refusals.get(name) or self.stand_in.refusals.get(self.command)
        if refusals:
            if self.stand_in.takes_effect_all_the_same:
                self.stand_in.answer(self.command, self.path, body)
            self._send(*refusals.pop(0))
            return
        self._send(*self.stand_in.answer(self.command, self.path, body))

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _send(self, status: int, headers: Mapping[str, str], content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def github_stand_in() -> Iterator[StandIn]:
    stand_in = StandIn()
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        stand_in.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.shutdown()
            thread.join()
