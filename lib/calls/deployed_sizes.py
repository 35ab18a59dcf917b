"""The sizes of the database of a deployed application, asked of its admin endpoint.

For CI, which then needs the token alone, and no URL of a database. The token goes to the host that
was named and to no other, over TLS; it is in no error.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..deadline import Deadline
from ..errors import ConfigurationError, MigratorError
from ..masking import cleaned
from ..review.live_sizes import LONGEST_DOCUMENT, SizesReport, read_document
from ..settings.loader import read_admin_secrets, secret_bytes
from ..time_limits import DEPLOYED_ANSWER, DEPLOYED_SIZES

PATH = "/api/migrate"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CHUNK = 1 << 16
# So much of an error of the other side is quoted, in characters.
_LONGEST_ERROR = 500
_ADVICE = {
    400: "Its bundle may be older than this one, and not know the action `sizes`: update it there.",
    401: "MIGRATION_SECRET here is not that of the deployment, or the deployment is protected.",
    403: "The deployment is protected, or a firewall is in the way.",
    404: "No bundle answers there: is it the address of the application?",
    405: "No bundle answers there: is it the address of the application?",
}


# Without that for redirects, behind which somebody else might read the token; nor those for files.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
)


def ask_deployed_sizes(url: str, environ: Mapping[str, str]) -> SizesReport:
    """Ask the application at `url` for the sizes of its database.

    Raises ConfigurationError for an address or a secret that can't be used, MigratorError if the
    answer is another one.
    """
    address = _endpoint(url)
    secrets = read_admin_secrets(environ)
    if not secrets:
        raise ConfigurationError(
            "--from needs MIGRATION_SECRET, as the deployment has it, with 16 characters or more."
        )
    token = secret_bytes(secrets[0]).strip()
    # http.client would repeat it in its error.
    if any(byte < 0x20 or byte == 0x7F for byte in token):
        raise ConfigurationError("MIGRATION_SECRET holds a line break, or a control character.")
    try:
        answer = _post(address, token)
    except MigratorError as error:
        # Whoever answers knows the token, and might repeat it.
        raise type(error)(cleaned(str(error), secrets=secrets)) from None
    return read_document(answer, source=f"the answer of {_host(address)}")


def _endpoint(url: str) -> str:
    """Return the address of the endpoint; nothing of a malformed URL is repeated."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _unusable("it is malformed") from None
    if not host or parts.scheme not in ("https", "http"):
        raise _unusable("it has no host, or is not of the web")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _unusable("it holds characters that an address has only encoded")
    if parts.username is not None or parts.password is not None:
        raise _unusable("it holds a user or a password; the token is that of MIGRATION_SECRET")
    if parts.query or parts.fragment:
        raise _unusable("it has a `?` or a `#`")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise _unusable("without https, anybody on the way could read the token")
    base = parts.path.rstrip("/").removesuffix(PATH)
    return SplitResult(parts.scheme, parts.netloc, f"{base}{PATH}", "", "").geturl()


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The address of --from can't be used: {reason}. It is that of the application, as in "
        "https://app.example.com."
    )


def _post(address: str, token: bytes) -> str:
    request = urllib.request.Request(  # noqa: S310 # the scheme was looked at
        address,
        data=json.dumps({"action": "sizes"}).encode(),
        headers={
            "Authorization": f"Bearer {token.decode('latin-1')}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        },
        method="POST",
    )
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    try:
        with opener.open(request, timeout=DEPLOYED_ANSWER) as response:
            return _read(response, address)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, address) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise MigratorError(f"{_host(address)} does not answer: {reason}.") from None


def _read(response: Any, address: str) -> str:
    """Read an answer that is neither too long nor too slow."""
    deadline, chunks, length = Deadline.after(DEPLOYED_SIZES), [], 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        length += len(chunk)
        if length > LONGEST_DOCUMENT or deadline.has_passed():
            raise MigratorError(f"The answer of {_host(address)} is too long, or takes too long.")
    return b"".join(chunks).decode("utf-8", "replace")


def _refused(error: urllib.error.HTTPError, address: str) -> MigratorError:
    host = _host(address)
    if 300 <= error.code < 400:
        target = urlsplit(error.headers.get("Location", "")).hostname
        return MigratorError(
            f"{host} redirects to {target or 'another address'}, where the token would go along: "
            "give --from the address at which the application itself answers."
        )
    told = _told(error)
    advice = _ADVICE.get(error.code, "")
    return MigratorError(" ".join(filter(None, (f"{host} answered {error.code}{told}.", advice))))


def _told(error: urllib.error.HTTPError) -> str:
    """What the endpoint says is wrong; nothing of a page that is not its own."""
    try:
        document = json.loads(error.read(_CHUNK))
    except (ValueError, RecursionError, OSError, http.client.HTTPException):
        return ""
    text = document.get("error") if isinstance(document, dict) else None
    return f": {text[:_LONGEST_ERROR].rstrip('.')}" if isinstance(text, str) else ""


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""
