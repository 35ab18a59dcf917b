"""One comment on the pull request, whatever else is there and whatever GitHub answers."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from github_stand_in import (
    BOT,
    FORBIDDEN,
    INVALID,
    NUMBER,
    REPOSITORY,
    SECONDARY_LIMIT,
    TOKEN,
    UNAVAILABLE,
    Answer,
    StandIn,
    github_stand_in,
)

from lib.errors import ConfigurationError
from lib.github.api import Api, GitHubError
from lib.github.comments import publish
from lib.github.pull_request import Job

FOLDER = "migrations"


@pytest.fixture
def github() -> Iterator[StandIn]:
    with github_stand_in() as stand_in:
        yield stand_in


def job(github: StandIn, run: int = 50) -> Job:
    address = github.address
    return Job(REPOSITORY, NUMBER, "a" * 40, "main", run, address, address, f"{address}/graphql")


def say(
    github: StandIn, text: str, *, run: int = 50, folder: str = FOLDER, is_news: bool = True
) -> bool:
    api = Api(github.address, TOKEN, total=5, pause=0.01)
    return publish(api, job(github, run), folder=folder, text=text, is_news=is_news)


def test_the_first_push_makes_a_comment_and_the_next_updates_it(github: StandIn) -> None:
    assert say(github, "first", run=50)
    assert say(github, "second", run=51)
    assert len(github.comments) == 1
    assert github.bodies[0].endswith("run 51 -->\nsecond")


def test_the_same_text_is_not_written_twice(github: StandIn) -> None:
    say(github, "same")
    say(github, "same")
    assert not [each for each in github.requests if each.startswith("PATCH")]


def test_without_news_no_comment_is_made(github: StandIn) -> None:
    assert not say(github, "nothing", is_news=False)
    assert github.comments == []


def test_without_news_a_comment_that_is_there_says_so(github: StandIn) -> None:
    say(github, "bad")
    say(github, "nothing pending", run=51, is_news=False)
    assert github.bodies[0].endswith("nothing pending")


def test_a_comment_of_a_stranger_with_the_marker_is_left_alone(github: StandIn) -> None:
    say(github, "mine")
    stolen = github.bodies[0].replace("mine", "theirs")
    github.comments.clear()
    for login in ("mallory", "other-app[bot]", "github-actions"):
        github.comment(stolen, login=login)
    say(github, "mine", run=51)
    assert [each["user"]["login"] for each in github.comments][-1] == BOT
    assert github.bodies[:3] == [stolen] * 3


def test_a_marker_in_the_middle_of_a_text_is_none(github: StandIn) -> None:
    say(github, "mine")
    quoted = f"quoted: {github.bodies[0]}"
    github.comments.clear()
    github.comment(quoted)
    say(github, "mine", run=51)
    assert len(github.comments) == 2
    assert github.bodies[0] == quoted


def test_a_comment_is_found_on_any_page(github: StandIn) -> None:
    for number in range(250):
        github.comment(f"talk {number}", login="ann")
    say(github, "first")
    say(github, "second", run=51)
    assert len(github.comments) == 251


def test_each_folder_of_a_repository_has_its_own_comment(github: StandIn) -> None:
    say(github, "web", folder="apps/web/migrations")
    say(github, "api", folder="apps/api/migrations")
    say(github, "web again", folder="apps/web/migrations", run=51)
    assert [body.partition("\n")[2] for body in github.bodies] == ["web again", "api"]


def test_of_two_runs_at_once_one_comment_is_left_the_later_text(github: StandIn) -> None:
    def other() -> None:
        github.meanwhile = lambda: None
        say(github, "other", run=49)

    github.meanwhile = other
    say(github, "mine", run=50)
    assert len(github.comments) == 1
    assert github.bodies[0].endswith("mine")


def test_an_older_run_that_ends_later_changes_nothing(github: StandIn) -> None:
    say(github, "newer", run=51)
    say(github, "older", run=50)
    assert github.bodies[0].endswith("newer")


@pytest.mark.parametrize("viewer", [None, "github-actions", BOT])
def test_the_account_of_a_job_is_known_however_github_names_it(
    viewer: str | None, github: StandIn
) -> None:
    say(github, "first")
    github.viewer = viewer
    say(github, "second", run=51)
    assert len(github.comments) == 1


def test_another_token_has_another_account(github: StandIn) -> None:
    github.viewer = "acme-robot"
    say(github, "first")
    say(github, "second", run=51)
    assert [each["user"]["login"] for each in github.comments] == ["acme-robot"]


@pytest.mark.parametrize("request_name", ["GET comments", "POST comments", "PATCH"])
def test_a_rate_limit_is_waited_for(request_name: str, github: StandIn) -> None:
    say(github, "first")
    if request_name == "POST comments":
        github.comments.clear()
    github.refusals[request_name] = [SECONDARY_LIMIT]
    say(github, "second", run=51)
    assert github.bodies[0].endswith("second")


def test_a_limit_that_lasts_longer_than_a_job_has_time_is_an_error(github: StandIn) -> None:
    limit = (429, {"Retry-After": "3600"}, {"message": "API rate limit exceeded"})
    github.refusals["GET comments"] = [limit]
    with pytest.raises(GitHubError, match="429: API rate limit exceeded"):
        say(github, "x")


def test_a_server_that_is_away_for_a_moment_is_asked_again(github: StandIn) -> None:
    github.refusals["GET comments"] = [UNAVAILABLE, UNAVAILABLE]
    say(github, "x")
    assert len(github.comments) == 1


def test_a_comment_whose_answer_is_lost_is_not_made_twice(github: StandIn) -> None:
    github.takes_effect_all_the_same = True
    github.refusals["POST comments"] = [UNAVAILABLE]
    say(github, "x")
    assert len(github.comments) == 1
    assert len([each for each in github.requests if each.startswith("POST /repos")]) == 1


def test_a_comment_that_is_deleted_meanwhile_is_made_again(github: StandIn) -> None:
    say(github, "first")
    github.takes_effect_all_the_same = False
    github.refusals["PATCH"] = [(404, {}, {"message": "Not Found"})]
    say(github, "second", run=51)
    assert github.bodies[0].endswith("second")


@pytest.mark.parametrize(
    ("refusal", "status", "said"),
    [(FORBIDDEN, 403, "not accessible by integration"), (INVALID, 422, "Validation Failed")],
)
def test_a_refusal_is_an_error_at_once(
    refusal: Answer, status: int, said: str, github: StandIn
) -> None:
    github.refusals["POST comments"] = [refusal] * 3
    with pytest.raises(GitHubError, match=said) as caught:
        say(github, "x")
    assert caught.value.status == status
    assert len([each for each in github.requests if each.startswith("POST /repos")]) == 1


def test_the_token_does_not_follow_a_redirection(github: StandIn) -> None:
    with github_stand_in() as other:
        place = {"Location": f"{other.address}/repos/x"}
        github.refusals["GET comments"] = [(307, place, {"message": "Moved"})]
        with pytest.raises(GitHubError, match="307"):
            say(github, "x")
        assert other.requests == []


def test_the_token_is_in_no_error(github: StandIn) -> None:
    with pytest.raises(GitHubError) as caught:
        publish(Api(github.address, "ghs_wrong"), job(github), folder="x", text="x", is_news=True)
    assert caught.value.status == 401
    assert "ghs_wrong" not in str(caught.value) + repr(Api(github.address, "ghs_wrong"))


@pytest.mark.parametrize(
    ("address", "token"), [("http://evil.example", "x"), ("https://a", "x\ny")]
)
def test_a_token_goes_nowhere_in_the_clear_and_breaks_no_header(address: str, token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Api(address, token)
    assert token not in str(caught.value).split()


@pytest.mark.parametrize("entry", ["x", None, 5, []])
def test_an_answer_that_is_none_of_githubs_is_an_error(github: StandIn, entry: Any) -> None:
    github.refusals["GET comments"] = [(200, {}, [entry])] * 3
    with pytest.raises(GitHubError, match="not a list of objects"):
        say(github, "x")


@pytest.mark.parametrize("part", [{"user": None}, {"user": "x"}, {"body": 5}, {"id": "x"}])
def test_a_comment_that_lacks_what_github_writes_is_left_alone(
    github: StandIn, part: dict[str, Any]
) -> None:
    say(github, "first")
    github.comments[0] |= part
    say(github, "second")
    assert len(github.comments) == 2
    assert "second" in github.bodies[1]


def test_an_answer_that_does_not_end_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_drip, args=(server,), daemon=True).start()
        api = Api(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, total=0.5, pause=1)
        with pytest.raises(GitHubError, match="takes too long"):
            api.ask("GET", "/x")


def _drip(server: socket.socket) -> None:
    """Answer a blank at a time, each in time."""
    session, _ = server.accept()
    with session, suppress(OSError):
        session.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            session.sendall(b" ")
            time.sleep(0.02)


def test_a_server_that_is_not_there_is_an_error() -> None:
    gone = "http://127.0.0.1:9"
    where = Job(REPOSITORY, NUMBER, "", "main", 1, gone, gone, f"{gone}/graphql")
    with pytest.raises(GitHubError, match="GitHub cannot be reached: Connection refused"):
        publish(Api(gone, TOKEN, total=1, pause=0.3), where, folder="x", text="x", is_news=True)
