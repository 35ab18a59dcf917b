"""HTTP as both endpoints speak it, shown with an endpoint that echoes the body of a request."""

import io
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse, create_environ, run_wsgi_app

from lib.web.http_endpoint import Answer, Endpoint, Request

LONGEST = 2048


class Echo(Endpoint):
    path = "/api/echo"
    methods = ("GET", "HEAD", "POST")

    def respond(self, request: Request) -> Answer:
        if request.parameter("fail"):
            raise RuntimeError("hunter2")
        return Answer.of(200, {"body": request.body(longest=LONGEST).decode()})


class Trickle(io.BytesIO):
    """A stream that gives one byte at a time, as a socket may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1, size or 0))


def send(stream: io.BytesIO, **environ: Any) -> TestResponse:
    made = {**create_environ(Echo.path, method="POST"), "wsgi.input": stream, **environ}
    return TestResponse(*run_wsgi_app(Echo(), made), request=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/api/echo", "/api/echo/", "/api/echo.py", "/api/echo.py/"])
def test_an_endpoint_answers_on_its_path_as_vercel_spells_it(path: str) -> None:
    assert Client(Echo()).get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/echo/.py", "/api/echo//", "/api/echoes", "/api//echo"])
def test_every_other_path_is_404_whatever_the_method(path: str) -> None:
    response = Client(Echo()).open(path, method="PUT")
    assert response.status_code == 404
    assert response.get_json() == {"success": False, "error": "Only /api/echo is served here."}


def test_another_method_is_405_with_the_methods_that_are_allowed() -> None:
    response = Client(Echo()).put("/api/echo")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, POST"
    assert response.get_json()["error"] == "Only GET and HEAD and POST are allowed."


def test_head_has_the_headers_of_get_and_no_body() -> None:
    get, head = Client(Echo()).get("/api/echo"), Client(Echo()).head("/api/echo")
    assert head.headers == get.headers
    assert head.data == b""


def test_an_internal_error_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    response = Client(Echo()).get("/api/echo?fail=1")
    assert response.status_code == 500
    assert response.get_json() == {"success": False, "error": "Internal error."}
    assert [record.getMessage().partition(" at ")[0] for record in caplog.records] == [
        "RuntimeError"
    ]
    assert "hunter2" not in caplog.text


def test_a_body_is_read_to_its_end_though_it_comes_in_pieces() -> None:
    response = send(Trickle(b"abcdef and the next request"), CONTENT_LENGTH="6")
    assert response.get_json() == {"body": "abcdef"}


def test_a_body_in_chunks_has_no_length_and_an_end() -> None:
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    assert send(Trickle(b"abcdef"), **environ).get_json() == {"body": "abcdef"}
    assert send(io.BytesIO(b"x" * (LONGEST + 1)), **environ).status_code == 413


@pytest.mark.parametrize(
    ("length", "code"),
    [("", 200), ("0", 200), ("2048", 200), ("2049", 413), ("9" * 5000, 413), ("1e3", 400)],
)
def test_the_length_decides_before_the_body_is_read(length: str, code: int) -> None:
    assert send(io.BytesIO(b"x" * LONGEST), CONTENT_LENGTH=length).status_code == code


def test_a_body_that_ends_too_early_is_400() -> None:
    response = send(io.BytesIO(b"abc"), CONTENT_LENGTH="6")
    assert response.status_code == 400
    assert response.get_json()["error"] == "The body is shorter than its Content-Length."


def test_a_body_whose_end_is_unknown_is_400_and_not_left_out() -> None:
    """Its action would be taken for the default one."""
    for coding in ("chunked", "gzip"):
        response = send(io.BytesIO(b'{"action": "plan"}'), HTTP_TRANSFER_ENCODING=coding)
        assert response.status_code == 400


def test_a_body_that_cannot_be_read_is_400() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("Invalid chunk header")

    response = send(Broken(), **{"wsgi.input_terminated": True, "CONTENT_LENGTH": ""})
    assert response.status_code == 400
