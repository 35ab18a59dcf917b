"""The server's side of a login at RDS with an IAM token.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html

A token is a URL without its scheme, presigned for 15 minutes with an access key of AWS: whoever has
the secret of the key can sign it again. Whether the owner of the key may log in as the role
(`rds-db:connect`) isn't checked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from urllib.parse import parse_qsl

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LIFETIME = timedelta(minutes=15)

_SIGNATURE = "X-Amz-Signature"
_ALWAYS = {
    "Action": "connect",
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Expires": str(int(LIFETIME.total_seconds())),
    "X-Amz-SignedHeaders": "host",
}


def assumed_role(access_key_id: str) -> Credentials | None:
    """The credentials with this access key that moto's STS has given out."""
    from moto.sts.models import sts_backends  # it takes a while, and few tests log in so

    for backends in sts_backends.values():
        for backend in backends.values():
            if role := backend.get_assumed_role_from_access_key(access_key_id):
                return Credentials(role.access_key_id, role.secret_access_key, role.session_token)
    return None


@contextmanager
def aws_stand_in() -> Iterator[str]:
    """The address of moto's services on loopback, for processes that it can't patch."""
    from moto.server import ThreadedMotoServer  # as above

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass(frozen=True)
class Attempt:
    """A token that came to the server; `refusal` is empty where it was let in."""

    role: str
    token: str = field(repr=False)
    refusal: str


@dataclass
class IamLogins:
    """What RDS goes by, all of which a test may change, and the attempts that there were.

    `endpoints` are the `host:port` pairs of the server, `credentials` those with a certain access
    key.
    """

    endpoints: tuple[str, ...]
    credentials: Callable[[str], Credentials | None] = assumed_role
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    attempts: list[Attempt] = field(default_factory=list)

    def refusal(self, role: str, token: str) -> str:
        """Say why the token doesn't let anyone in as this role, empty where it does."""
        try:
            self._check(role, token)
            reason = ""
        except ValueError as error:
            reason = str(error)
        self.attempts.append(Attempt(role, token, reason))
        return reason

    def _check(self, role: str, token: str) -> None:
        endpoint, _, query = token.partition("/?")
        fields = _fields(query)
        signature = fields.pop(_SIGNATURE)
        _require(endpoint in self.endpoints, "the endpoint is another one")
        _require(_ALWAYS.items() <= fields.items(), "no token of RDS's")
        _require(fields["DBUser"] == role, "the token is for another user")
        made = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        _require(made <= self.clock() + timedelta(minutes=5), "the token is of the future")
        _require(self.clock() < made + LIFETIME, "the token has expired")
        access_key_id, _, region, service, _ = fields["X-Amz-Credential"].split("/")
        _require(service == "rds-db", "the token is for another service")
        _require(f".{region}.rds.amazonaws.com:" in endpoint, "the token is for another region")
        credentials = self.credentials(access_key_id) or _refuse("the access key is unknown")
        _require(
            fields.get("X-Amz-Security-Token") == credentials.token,
            "the session token is not the access key's",
        )
        _require(
            signature == _signature(endpoint, fields, region, credentials), "the signature is wrong"
        )


def _fields(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    fields = dict(pairs)
    _require(len(fields) == len(pairs), "a field comes twice")
    _require(
        {"DBUser", "X-Amz-Date", "X-Amz-Credential", _SIGNATURE} <= fields.keys(),
        "a field is missing",
    )
    return fields


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        _refuse(otherwise)


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def _signature(endpoint: str, fields: dict[str, str], region: str, credentials: Credentials) -> str:
    """Sign the request again, with the fields encoded anew, as AWS does it."""
    request = AWSRequest("GET", f"https://{endpoint}/", params=fields)
    request.context["timestamp"] = fields["X-Amz-Date"]
    signer = SigV4QueryAuth(credentials, "rds-db", region)
    return str(
        signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    )
