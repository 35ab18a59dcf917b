"""The one comment on the pull request: found by its marker and its author, updated in place.

Anybody can write the marker, and a token that may write can also change comments of others: only a
comment of the token's own account is touched.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .api import Api, GitHubError
from .pull_request import Job

# 3,000 comments: whatever has more is read by nobody.
_MOST_PAGES = 30
_ATTEMPTS = 3
# Of the token that GitHub makes for a job, if it may not ask who it is.
_USUAL_BOT = "github-actions[bot]"
_MARKER = "<!-- migrations-rehearsal {folder} run {run} -->"
_MARKED = re.compile(r"<!-- migrations-rehearsal ([0-9a-f]{12}) run (\d{1,19}) -->")


@dataclass(frozen=True)
class _Comment:
    number: int
    body: str
    run: int


def publish(api: Api, job: Job, *, folder: str, text: str, is_news: bool) -> bool:
    """Write the comment, or update it; return whether there is one now.

    Without `is_news` none is made, but one that is there is updated. A comment that a later run
    has written stays as it is. GitHubError if GitHub does not let it happen.
    """
    me = _account(api, job)
    label = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    body = f"{_MARKER.format(folder=label, run=job.run)}\n{text}"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _publish_once(api, job, me, label, body, is_news=is_news)
        except GitHubError as error:
            # Deleted meanwhile; or lost, so that nobody knows whether it was made.
            may_help = error.status == 404 or error.status >= 500 or not error.status
            if attempt == _ATTEMPTS or not may_help:
                raise
    raise AssertionError


def _publish_once(api: Api, job: Job, me: str, label: str, body: str, *, is_news: bool) -> bool:
    issue = f"/repos/{job.repository}/issues/{job.number}/comments"
    found = list(_own(api, issue, me, label))
    if not found:
        if not is_news:
            return False
        api.ask("POST", issue, {"body": body})
        # Another run may have made one in the same moment: the older one stays.
        found = list(_own(api, issue, me, label))
    if not found or max(each.run for each in found) > job.run:
        return bool(found)
    kept, *others = sorted(found, key=lambda each: each.number)
    comments = f"/repos/{job.repository}/issues/comments"
    if kept.body != body:
        api.ask("PATCH", f"{comments}/{kept.number}", {"body": body})
    for each in others:
        _remove(api, f"{comments}/{each.number}")
    return True


def _remove(api: Api, comment: str) -> None:
    try:
        api.ask("DELETE", comment)
    except GitHubError as error:
        # The other run was quicker.
        if error.status != 404:
            raise


def _own(api: Api, issue: str, me: str, label: str) -> Iterator[_Comment]:
    for each in api.pages(issue, most=_MOST_PAGES):
        user, body, number = each.get("user"), each.get("body"), each.get("id")
        if not (isinstance(user, dict) and isinstance(body, str) and isinstance(number, int)):
            # The account is gone, or the answer is none of GitHub's.
            continue
        marked = _MARKED.match(body)
        if marked and marked[1] == label and _is_by(user, me):
            yield _Comment(number, body.replace("\r\n", "\n"), int(marked[2]))


def _is_by(user: dict[str, object], me: str) -> bool:
    # GraphQL may name a bot without what REST puts behind its name; a person has no such name.
    login = user.get("login")
    return login == me or (login == f"{me}[bot]" and user.get("type") == "Bot")


def _account(api: Api, job: Job) -> str:
    """Return the account of the token. The token of a job may not ask GET /user."""
    try:
        answer = api.ask("POST", job.graphql, {"query": "{ viewer { login } }"})
        login = answer["data"]["viewer"]["login"]
    except (GitHubError, TypeError, KeyError):
        return _USUAL_BOT
    return login if isinstance(login, str) and login else _USUAL_BOT
