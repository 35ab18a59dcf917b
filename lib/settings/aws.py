"""Logins to databases at AWS: a token that is signed for each login, or a stored secret.

boto3 is imported here alone, and only when it is needed. What AWS returns is kept for later
requests of a warm function and refreshed before it expires. Of an error from AWS only the code is
shown, because its text quotes names of the account.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .. import time_limits
from ..errors import ConfigurationError, DatabaseUnavailableError, WebTokenRefusedError
from .providers import DSQL_REFUSED, is_dsql

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d+:role/\S+")
SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d+:secret:\S+")

# The keys of a secret, by the parameters of libpq that they stand for.
_SECRET_KEYS = {
    "user": "username",
    "password": "password",
    "host": "host",
    "port": "port",
    "dbname": "dbname",
}
# The variables that fill in what a secret leaves out. RDS writes no dbname by itself.
PLACE_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}
_THE_SECRET = "The secret of MIGRATION_DATABASE_SECRET_ARN"


@dataclass(frozen=True)
class Account:
    """The AWS account that a login uses: `role` for an OIDC token of Vercel, or boto3's own chain.

    The first of the `web_tokens` comes from the request, so anybody may have made it up. If AWS
    refuses a token, the next one is tried, and then the credentials from before.
    """

    region: str
    role: str | None = field(default=None, repr=False)
    web_tokens: tuple[str, ...] = field(default=(), repr=False)

    @property
    def _key(self) -> tuple[str, str | None]:
        # A request without a token must not get the credentials that another one's token earned.
        return self.region, self.role if self.web_tokens else None

    def client(self, service: str) -> Any:
        """A boto3 client of the service, with credentials that do not expire soon."""
        began = time.monotonic()
        # Held while AWS is asked, so that concurrent requests ask once.
        with _lock:
            access = _accesses.get(self._key)
            if access is None or access.expires_at - time.time() < time_limits.AWS_REFRESH:
                access = _accesses[self._key] = self._authenticate(access, began)
            return access.client(service)

    def forget(self) -> None:
        """Drop the credentials, which may have been revoked."""
        with _lock:
            _accesses.pop(self._key, None)

    def _authenticate(self, before: "_Access | None", began: float) -> "_Access":
        """New credentials; those from `before`, while they last, if AWS gives none."""
        if not (self.role and self.web_tokens):
            # boto3 refreshes credentials of its own chain by itself.
            return _Access(_session(self.region), float("inf"))
        try:
            with _failing_together(self._key, began):
                return self._assume_role_with_any_token(self.role)
        except DatabaseUnavailableError:
            if before is None or before.expires_at - time.time() < time_limits.AWS_LAST_USE:
                raise
            return before

    def _assume_role_with_any_token(self, role: str) -> "_Access":
        refusals = []
        for web_token in self.web_tokens:
            try:
                return self._assume_role(role, web_token)
            except DatabaseUnavailableError as error:
                # AWS is away: another token would not help.
                if not error.final:
                    raise
                refusals.append(error)
        raise WebTokenRefusedError(str(refusals[0]), final=True, public=refusals[0].public)

    def _assume_role(self, role: str, web_token: str) -> "_Access":
        from botocore import UNSIGNED

        with _errors_translated(
            "the role of AWS_ROLE_ARN for the Vercel OIDC token",
            "Its trust policy has to name this team, project and environment; "
            "see docs/providers/aws.md.",
        ):
            # The token is the proof, so nothing is signed. To find credentials for a signature,
            # boto3 would wait for a metadata service that a function does not have.
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
    """A token that replaces the password at RDS: signed here, for one host and one user.

    It is valid for 15 minutes:
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
    """

    account: Account
    host: str
    port: int
    user: str
    # Whoever receives the token can log in with it.
    needs_verified_host = True
    # Shown when the server has refused the login.
    advice = (
        "The user needs the role rds_iam, and the role of AWS_ROLE_ARN the right rds-db:connect "
        "for that user."
    )

    def location(self) -> Mapping[str, str]:
        """The parameters that say where to connect; none, since the variables name the host."""
        return {}

    def login(self) -> Mapping[str, str]:
        """The parameters that log in."""
        with _errors_translated("to sign a login token", "Check AWS_ROLE_ARN and AWS_REGION."):
            token = self.account.client("rds").generate_db_auth_token(
                DBHostname=self.host,
                Port=self.port,
                DBUsername=self.user,
                Region=self.account.region,
            )
        return {"password": token}

    def renew(self, _refused: Mapping[str, str], /) -> bool:
        """True, since another token can be tried after the server has refused this one."""
        self.account.forget()
        return True


@dataclass(frozen=True)
class StoredSecret:
    """A secret in Secrets Manager, in the JSON that RDS writes; `defaults` complete its place.

    The secret is read once, and again when the server refuses its password, which may have been
    rotated:
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """

    account: Account
    arn: str = field(repr=False)
    defaults: Mapping[str, str] = field(default_factory=dict, repr=False)
    # It holds a password, which the server asks for as it does for any other user.
    needs_verified_host = False
    # Shown when the server has refused the login.
    advice = (
        "The password is from the secret of MIGRATION_DATABASE_SECRET_ARN, which was read again."
    )

    def location(self) -> Mapping[str, str]:
        """The parameters that say where to connect."""
        values = self._values()
        return {key: values[key] for key in PLACE_VARIABLES}

    def login(self) -> Mapping[str, str]:
        """The parameters that log in."""
        values = self._values()
        return {"user": values["user"], "password": values["password"]}

    def renew(self, refused: Mapping[str, str], /) -> bool:
        """Read the secret again, unless another request has; True if the login has changed."""
        with _lock:
            if self.login() == refused:
                del _secrets[self.arn]
            return self.login() != refused

    def _values(self) -> Mapping[str, str]:
        """The parameters of libpq that the secret and the defaults give."""
        began = time.monotonic()
        if (kept := _secrets.get(self.arn)) is not None:
            return kept
        with _lock:
            if self.arn not in _secrets:
                _secrets[self.arn] = _read_secret(self._fetch(began), self.defaults)
            return _secrets[self.arn]

    def _fetch(self, began: float) -> str:
        with (
            _failing_together(self.arn, began),
            _errors_translated(
                "the secret of MIGRATION_DATABASE_SECRET_ARN",
                "The role needs secretsmanager:GetSecretValue for the secret, and kms:Decrypt "
                "if the secret has a key of its own.",
            ),
        ):
            client = self.account.client("secretsmanager")
            return str(client.get_secret_value(SecretId=self.arn).get("SecretString", ""))


# What may replace a password in a connection target.
Credential = LoginToken | StoredSecret


@dataclass
class _Access:
    """A boto3 session and its clients, which are slow to create. `expires_at` is Unix time."""

    session: Any
    expires_at: float
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str, **options: Any) -> Any:
        from botocore.config import Config

        if service not in self.clients:
            config = Config(
                connect_timeout=time_limits.AWS_CONNECT,
                read_timeout=time_limits.AWS_ANSWER,
                retries={"total_max_attempts": time_limits.AWS_ATTEMPTS},
                **options,
            )
            self.clients[service] = self.session.client(service, config=config)
        return self.clients[service]


# What this process has received: credentials by region and role, secrets by ARN. A failure is kept
# with its time, by either key. Whoever asks AWS holds the lock, which is reentrant because a secret
# is read with the client of an account.
_accesses: dict[tuple[str, str | None], _Access] = {}
_secrets: dict[str, Mapping[str, str]] = {}
_recent_failures: dict[object, tuple[float, DatabaseUnavailableError]] = {}
_lock = threading.RLock()


@contextmanager
def _failing_together(key: object, began: float) -> Iterator[None]:
    """Share one failure among the requests that waited for it, instead of a timeout for each.

    A request that `began` to wait before another one's attempt failed raises the same error.
    """
    if (failure := _recent_failures.get(key)) and failure[0] > began:
        raise failure[1]
    try:
        yield
    except DatabaseUnavailableError as error:
        if not error.final:
            _recent_failures[key] = (time.monotonic(), error)
        raise


def _session(region: str, **credentials: str) -> Any:
    import boto3

    return boto3.Session(region_name=region, **credentials)


def _read_secret(text: str, defaults: Mapping[str, str]) -> Mapping[str, str]:
    """The parameters of libpq; ConfigurationError names what is missing or wrong, not its value."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{_THE_SECRET} is not a JSON object with username, password, host, port and dbname."
        )
    # A secret that somebody else wrote may lack the engine.
    if not str(document.get("engine", "postgres")).startswith(("postgres", "aurora-postgres")):
        raise ConfigurationError(f"{_THE_SECRET} is for another engine than PostgreSQL.")
    given = {
        key: str(document[name])
        for key, name in _SECRET_KEYS.items()
        if document.get(name) not in (None, "")
    }
    values = {"port": "5432", **defaults, **given}
    _check_secret(values)
    return values


def _check_secret(values: Mapping[str, str]) -> None:
    for key, name in _SECRET_KEYS.items():
        if key not in values:
            way_out = f", or set {PLACE_VARIABLES[key]}" if key in PLACE_VARIABLES else ""
            raise ConfigurationError(f"{_THE_SECRET} has no {name}: add it{way_out}.")
    port = values["port"]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{_THE_SECRET} has a port that is not a number.")
    if is_dsql(values["host"]):
        raise ConfigurationError(f"{_THE_SECRET} {DSQL_REFUSED}.")


@contextmanager
def _errors_translated(what: str, advice: str) -> Iterator[None]:
    """Raise an error from AWS as one of ours, with its code and none of its text."""
    try:
        import boto3  # noqa: F401  botocore may be installed without it
        from botocore import exceptions
    except ImportError:
        raise ConfigurationError(
            "AWS_ROLE_ARN and MIGRATION_DATABASE_SECRET_ARN need boto3, which is not installed: "
            "add boto3 to requirements.txt."
        ) from None
    try:
        yield
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    ):
        raise ConfigurationError(
            "No AWS credentials were found: neither a Vercel OIDC token for AWS_ROLE_ARN "
            "(VERCEL_OIDC_TOKEN in a build, a header in a function), nor any that the AWS tools "
            "would use."
        ) from None
    except exceptions.ClientError as error:
        raise _refusal(error.response, what, advice) from None
    except exceptions.BotoCoreError as error:
        may_pass = isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
        check = "Check AWS_ROLE_ARN, AWS_REGION and the configuration of the AWS tools."
        message = f"AWS could not be asked for {what} ({type(error).__name__})."
        raise DatabaseUnavailableError(
            message if may_pass else f"{message} {check}",
            final=not may_pass,
            public="AWS could not be asked for the login.",
        ) from None


def _refusal(response: Mapping[str, Any], what: str, advice: str) -> DatabaseUnavailableError:
    """The error for an answer of AWS that is not the expected one."""
    code = response.get("Error", {}).get("Code", "unknown")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # Throttling has the status 400, like a refusal.
    if status >= 500 or "Throttl" in code:
        return DatabaseUnavailableError(
            f"AWS is too busy for {what} ({code}). Try again.",
            public=f"AWS is too busy for the login ({code}).",
        )
    return DatabaseUnavailableError(
        f"AWS refused {what} ({code}). {advice}",
        final=True,
        public=f"AWS refused the login ({code}).",
    )
