"""HTTP as both endpoints speak it: one path, a few methods, and JSON unless a page is asked for.

An endpoint is a WSGI application without a framework: on a cold start, importing Flask takes
longer than all else that a function imports.
"""

import logging
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ..escaping import document, message
from ..plan.reports import Document

NO_STORE = "no-store"
# All that a client is told of an unexpected error.
INTERNAL_ERROR = "Internal error."

# For the log of Vercel, which shows what a function writes to standard error.
_log = logging.getLogger("migrations")


# Digits of the longest Content-Length that is read as a number.
_LONGEST_NUMBER = 18


class BadRequestError(ValueError):
    """A request that no endpoint can answer. `code` is the HTTP status of the answer."""

    def __init__(self, text: str, *, code: int = 400) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Request:
    """A request, read from the environment that WSGI gives. Header names are case-insensitive."""

    environ: dict[str, Any] = field(repr=False)

    @property
    def path(self) -> str:
        return str(self.environ.get("PATH_INFO", ""))

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    def header(self, name: str) -> str | None:
        """Return a header, each byte as one character of latin-1, as WSGI has it."""
        # WSGI writes X-Vercel-Oidc-Token as HTTP_X_VERCEL_OIDC_TOKEN (PEP 3333).
        value: str | None = self.environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        return value

    def parameter(self, name: str) -> str:
        """Return the first value of a query parameter, or an empty string."""
        return parse_qs(str(self.environ.get("QUERY_STRING", ""))).get(name, [""])[0]

    def body(self, *, longest: int) -> bytes:
        """Read the body; BadRequestError if it is longer than `longest`, or incomplete."""
        announced = self.environ.get("CONTENT_LENGTH") or "0"
        if not (announced.isascii() and announced.isdigit()):
            raise BadRequestError("Content-Length is not a number.")
        if len(announced) > _LONGEST_NUMBER:
            # Python reads no number that long, and no body is.
            raise _too_long(longest)
        # A server that decodes chunks marks the end itself, and gives no length.
        has_end = bool(self.environ.get("wsgi.input_terminated"))
        if self.header("Transfer-Encoding") and not has_end:
            # Its end cannot be known, and a body that is left out must not be taken for no body.
            raise BadRequestError("The body needs a Content-Length.")
        length = longest + 1 if has_end else int(announced)
        # Before reading: a client may announce gigabytes.
        if int(announced) > longest:
            raise _too_long(longest)
        body = self._read(length)
        if len(body) > longest:
            raise _too_long(longest)
        # Half a body must not be taken for another action.
        if len(body) < int(announced):
            raise BadRequestError("The body is shorter than its Content-Length.")
        return body

    def _read(self, length: int) -> bytes:
        """Read up to `length` bytes; one call may return fewer than there are."""
        pieces, left = [], length
        try:
            while left and (piece := self.environ["wsgi.input"].read(left)):
                pieces.append(piece)
                left -= len(piece)
        except OSError:
            # The client has gone, or its chunks are malformed.
            raise BadRequestError("The body could not be read.") from None
        return b"".join(pieces)


def _too_long(longest: int) -> BadRequestError:
    return BadRequestError(f"The body is longer than {longest // 1024} KiB.", code=413)


@dataclass(frozen=True)
class Answer:
    """What an endpoint answers. The body is encoded once; an answer may serve many requests."""

    code: int
    body: bytes
    cache: str = NO_STORE
    more_headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    @classmethod
    def of(cls, code: int, content: Document, *, cache: str = NO_STORE) -> "Answer":
        """Answer with a JSON document."""
        return cls(code, document(content).encode(), cache)

    @classmethod
    def error(cls, code: int, text: str, **headers: str) -> "Answer":
        """Answer with an error and, of each keyword, the header of that name."""
        body = document({"success": False, "error": text}).encode()
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return cls(code, body, more_headers=named)

    @property
    def status(self) -> str:
        """The status line, as in `404 Not Found`."""
        return f"{self.code} {HTTPStatus(self.code).phrase}"

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            ("Content-Type", self.content_type),
            ("Cache-Control", self.cache),
            # A browser must not take an error text for HTML.
            ("X-Content-Type-Options", "nosniff"),
            *self.more_headers,
            ("Content-Length", str(len(self.body))),
        ]

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Send the answer, as a WSGI application; the body is left out for HEAD."""
        start_response(self.status, self.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


class Endpoint:
    """A WSGI application that answers on one path, which a subclass names."""

    path: str
    methods: tuple[str, ...]

    def respond(self, request: Request) -> Answer:
        """Answer a request of one of `methods` on `path`."""
        raise NotImplementedError

    def refuse(
        self,
        request: Request,  # noqa: ARG002  for a subclass
        code: int,
        text: str,
        **headers: str,
    ) -> Answer:
        """Answer with an error, as `Answer.error` does, in the form that the request asks for."""
        return Answer.error(code, text, **headers)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Answer:
        try:
            if not is_path_of(self.path, request.path):
                return self.refuse(request, 404, f"Only {self.path} is served here.")
            if request.method not in self.methods:
                # RFC 9110 requires Allow with a 405.
                names = " and ".join(self.methods)
                verb = "is" if len(self.methods) == 1 else "are"
                allowed = ", ".join(self.methods)
                return self.refuse(request, 405, f"Only {names} {verb} allowed.", Allow=allowed)
            return self.respond(request)
        except BadRequestError as error:
            return self.refuse(request, error.code, str(error))
        except Exception as error:
            log_internal_error(error)
            return self.refuse(request, 500, INTERNAL_ERROR)


def is_path_of(path: str, requested: str) -> bool:
    """True if Vercel sends the requested path to the function of `path`."""
    return requested.removesuffix("/").removesuffix(".py") == path


def log_internal_error(error: Exception) -> None:
    """Log the type and place of an unexpected error, without its text.

    The text may hold anything, a password for example; type and place are enough to find the error.
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    _log.error(
        "%s", message(f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
    )
