"""Databases of AWS without a password of one's own: a login token that is signed anew each time, or a stored secret.

boto3 is loaded here alone, when it is needed. What AWS has given is kept for the next request of a warm function and had
anew before it expires. What AWS says of a refusal isn't told, since it quotes names of the account: only its code is.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigurationError, DatabaseUnavailableError, WebTokenRefusedError
from .connection_url import ConnectionTarget, check_host

# Credentials are had anew so long before they expire, and last so long while AWS doesn't answer; in seconds.
REFRESH_BEFORE, LAST_CALL = 300.0, 30.0
# How long AWS may take to be connected to and to answer, in seconds, and how often it is asked.
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2, 3, 2
ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d+:role/\S+")
SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d+:secret:\S+")

_KEYS = {
    "user": "username",
    "password": "password",
    "host": "host",
    "port": "port",
    "dbname": "dbname",
}
# Where the place is said that a secret leaves out.
PLACE_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}
_THE_SECRET = "The secret of MIGRATION_DATABASE_SECRET_ARN"


@dataclass(frozen=True)
class Account:
    """Whose rights are used: those of `role`, in exchange for Vercel's OIDC token; else AWS' own chain of credentials.

    Of the tokens the first is the request's, which anybody may have made up; one that AWS refuses leaves it to the next,
    and to the credentials from before.
    """

    region: str
    role: str | None = field(default=None, repr=False)
    web_tokens: tuple[str, ...] = field(default=(), repr=False)

    @property
    def _key(self) -> tuple[str, str | None]:
        """A request without a token has no role, and leaves the credentials of those that have one alone."""
        return self.region, self.role if self.web_tokens else None

    def client(self, service: str) -> Any:
        """A client of a service of AWS', of the credentials that are good for a while yet."""
        began = time.monotonic()
        with _turn:
            access = _accesses.get(self._key)
            if access is None or access.expires_at - time.time() < REFRESH_BEFORE:
                access = _accesses[self._key] = self._enter(access, began)
            return access.client(service)

    def forget(self) -> None:
        """Let what AWS has given go, as it may have been revoked."""
        with _turn:
            _accesses.pop(self._key, None)

    def _enter(self, before: "_Access | None", began: float) -> "_Access":
        """New credentials; those from before while they last, if AWS gives none."""
        if not (self.role and self.web_tokens):
            return _Access(_session(self.region), float("inf"))
        try:
            with _asking_once(self._key, began):
                return self._assume_role_by_one(self.role)
        except DatabaseUnavailableError:
            if before is None or before.expires_at - time.time() < LAST_CALL:
                raise
            return before

    def _assume_role_by_one(self, role: str) -> "_Access":
        refusals = []
        for web_token in self.web_tokens:
            try:
                return self._assume_role(role, web_token)
            except DatabaseUnavailableError as error:
                if not error.final:
                    raise
                refusals.append(error)
        raise WebTokenRefusedError(str(refusals[0]), final=True, public=refusals[0].public)

    def _assume_role(self, role: str, web_token: str) -> "_Access":
        from botocore import UNSIGNED

        with _refusals(
            "the role of AWS_ROLE_ARN for Vercel's OIDC token",
            "Its trust policy has to name this team, project and environment; see docs/providers/aws.md.",
        ):
            # Nothing signs this request: for credentials to do it, a metadata service that isn't there would be waited for.
            sts = _Access(_session(self.region), float("inf")).client(
                "sts", signature_version=UNSIGNED
            )
            given = sts.assume_role_with_web_identity(
                RoleArn=role, RoleSessionName="vercel-migrations", WebIdentityToken=web_token
            )["Credentials"]
        session = _session(
            self.region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )
        return _Access(session, given["Expiration"].timestamp())


@dataclass(frozen=True)
class LoginToken:
    """A token of RDS' in place of a password: signed here, good for a quarter of an hour and for this host and user alone.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
    """

    account: Account
    host: str
    port: int
    user: str
    needs_verified_host = True
    advice = "The user needs `grant rds_iam to` it, and the role of AWS_ROLE_ARN the right rds-db:connect for that user."

    def locate(self, target: ConnectionTarget) -> ConnectionTarget:
        return target

    def login(self) -> Mapping[str, str]:
        with _refusals("to sign a login token", "Look at AWS_ROLE_ARN and AWS_REGION."):
            token = self.account.client("rds").generate_db_auth_token(
                DBHostname=self.host,
                Port=self.port,
                DBUsername=self.user,
                Region=self.account.region,
            )
        return {"password": token}

    def renew(self, _refused: Mapping[str, str], /) -> bool:
        self.account.forget()
        return True


@dataclass(frozen=True)
class StoredSecret:
    """A secret of Secrets Manager's in the JSON that RDS writes. What it lacks of the place is in `defaults`.

    It is read once, and again when the server has refused its password, which may have been rotated meanwhile.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """

    account: Account
    arn: str = field(repr=False)
    defaults: Mapping[str, str] = field(default_factory=dict, repr=False)
    needs_verified_host = False
    advice = "It is the one in the secret of MIGRATION_DATABASE_SECRET_ARN, which was read again."

    def locate(self, target: ConnectionTarget) -> ConnectionTarget:
        values = self._values()
        return replace(
            target,
            parameters={**target.parameters, **{key: values[key] for key in PLACE_VARIABLES}},
        ).direct

    def login(self) -> Mapping[str, str]:
        values = self._values()
        return {"user": values["user"], "password": values["password"]}

    def renew(self, refused: Mapping[str, str], /) -> bool:
        """Read the secret again, unless another request has done so since."""
        with _turn:
            if self.login() == refused:
                del _secrets[self.arn]
            return self.login() != refused

    def _values(self) -> Mapping[str, str]:
        """The secret by libpq's names, of what it has of them."""
        began = time.monotonic()
        if (kept := _secrets.get(self.arn)) is not None:
            return kept
        with _turn:
            if self.arn not in _secrets:
                with (
                    _asking_once(self.arn, began),
                    _refusals(
                        "the secret of MIGRATION_DATABASE_SECRET_ARN",
                        "The role needs secretsmanager:GetSecretValue for it, and kms:Decrypt if it has a key of its own.",
                    ),
                ):
                    given = self.account.client("secretsmanager").get_secret_value(
                        SecretId=self.arn
                    )
                _secrets[self.arn] = _read_secret(given.get("SecretString", ""), self.defaults)
            return _secrets[self.arn]


@dataclass
class _Access:
    """A session of boto3's, and its clients, which take long to make. `expires_at` is in seconds since 1970."""

    session: Any
    expires_at: float
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str, **options: Any) -> Any:
        from botocore.config import Config

        if service not in self.clients:
            config = Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"total_max_attempts": ATTEMPTS},
                **options,
            )
            self.clients[service] = self.session.client(service, config=config)
        return self.clients[service]


# What this process has been given so far, by region and role, and by the secret's name; when AWS last didn't answer, and
# with what error; and whose turn it is to ask.
_accesses: dict[tuple[str, str | None], _Access] = {}
_secrets: dict[str, Mapping[str, str]] = {}
_silences: dict[object, tuple[float, DatabaseUnavailableError]] = {}
_turn = threading.RLock()


@contextmanager
def _asking_once(what: object, began: float) -> Iterator[None]:
    """Ask AWS; but whoever has waited since `began` while it didn't answer somebody else doesn't wait for it once more."""
    if (silence := _silences.get(what)) and silence[0] > began:
        raise silence[1]
    try:
        yield
    except DatabaseUnavailableError as error:
        if not error.final:
            _silences[what] = (time.monotonic(), error)
        raise


def _session(region: str, **credentials: str) -> Any:
    import boto3

    return boto3.Session(region_name=region, **credentials)


def _read_secret(text: str, defaults: Mapping[str, str]) -> Mapping[str, str]:
    """What it takes to connect, by libpq's names; ConfigurationError names what is missing or wrong, without its value."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{_THE_SECRET} is no JSON object with username, password, host, port and dbname."
        )
    if not str(document.get("engine", "postgres")).startswith(("postgres", "aurora-postgres")):
        raise ConfigurationError(f"{_THE_SECRET} is one of another engine than PostgreSQL.")
    given = {
        key: str(document[name])
        for key, name in _KEYS.items()
        if document.get(name) not in (None, "")
    }
    values = {"port": "5432", **defaults, **given}
    for key, name in _KEYS.items():
        if key not in values:
            way_out = f", or set {PLACE_VARIABLES[key]}" if key in PLACE_VARIABLES else ""
            raise ConfigurationError(f"{_THE_SECRET} has no {name}: add it{way_out}.")
    port = values["port"]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{_THE_SECRET} has a port that is no number.")
    try:
        check_host(_THE_SECRET, values["host"])
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from None
    return values


@contextmanager
def _refusals(what: str, advice: str) -> Iterator[None]:
    """What goes wrong at AWS as an error of ours, which tells the code and no more of what AWS says."""
    try:
        import boto3  # noqa: F401  botocore may be there without it
        from botocore import exceptions
    except ImportError:
        raise ConfigurationError(
            "AWS_ROLE_ARN and MIGRATION_DATABASE_SECRET_ARN need boto3, which is not installed: add boto3 to "
            "requirements.txt."
        ) from None
    try:
        yield
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    ):
        raise ConfigurationError(
            "There are no AWS credentials, neither an OIDC token of Vercel's with AWS_ROLE_ARN (VERCEL_OIDC_TOKEN in a "
            "build, a header in a function), nor any that AWS' own tools would find."
        ) from None
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        may_pass = (
            error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
            or "Throttl" in code
        )
        if may_pass:
            busy = f"AWS is too busy for {what} ({code}). Try again."
            raise DatabaseUnavailableError(
                busy, public=f"AWS is too busy for the login ({code})."
            ) from None
        refused = f"AWS refused {what} ({code}). {advice}"
        raise DatabaseUnavailableError(
            refused, final=True, public=f"AWS refused the login ({code})."
        ) from None
    except exceptions.BotoCoreError as error:
        may_pass = isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
        look = (
            ""
            if may_pass
            else " Look at AWS_ROLE_ARN, AWS_REGION and what AWS' own tools are configured by."
        )
        raise DatabaseUnavailableError(
            f"AWS could not be asked for {what} ({type(error).__name__}).{look}",
            final=not may_pass,
            public="AWS could not be asked for the login.",
        ) from None
