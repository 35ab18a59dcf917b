"""Logins to databases at AWS: moto answers for AWS, and a PostgreSQL checks tokens as RDS does."""

import http.client
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
from botocore import auth, handlers, loaders, utils
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.credentials import Credentials
from conftest import RDS_HOST, RDS_PROXY, ROOT, SECRET, Bundle, Database, local_environ
from daemon import free_port
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse
from moto.sts.models import sts_backends
from tls_postgres import TlsServer
from werkzeug.serving import make_server
from werkzeug.test import Client, TestResponse

from lib import time_limits
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.errors import ConfigurationError, DatabaseUnavailableError
from lib.local.web_server import Site
from lib.plan.reports import RunReport
from lib.settings import aws
from lib.settings.loader import Settings, load_settings
from lib.web.admin_endpoint import create_migrate_app
from lib.web.endpoint_setup import MIGRATE_PATH, STATUS_PATH, Service
from lib.web.status_endpoint import create_status_app

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/hunter2-migrations"
WEB_TOKEN = "header.hunter2-of-the-request.signature"
FORGED = "header.hunter2-of-a-stranger.signature"
BUILD_TOKEN = "header.hunter2-of-the-build.signature"
PASSWORD = "hunter2-sentinel"
STS, READ_SECRET = "AssumeRoleWithWebIdentity", "GetSecretValue"
# How long the credentials of STS last here, in seconds.
LIFETIME = 3600


class Amazon:
    """AWS, with moto to answer what is not to be refused, and a record of the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.refusals: dict[str, tuple[int, str, int]] = {}
        # The tokens that STS accepts; None for any.
        self.known: tuple[str, ...] | None = None

    def refuse(self, operation: str, status: int, code: str, times: int = 100) -> None:
        self.refusals[operation] = (status, code, times)

    def asked(self, operation: str) -> list[dict[str, str]]:
        return [parameters for name, parameters in self.requests if name == operation]

    def __call__(
        self, request: AWSPreparedRequest, event_name: str, **_: Any
    ) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        body = request.body if isinstance(request.body, str) else (request.body or b"").decode()
        self.requests.append((operation, dict(parse_qsl(body))))
        status, code, times = self.refusals.get(operation, (200, "", 0))
        if (
            operation == STS
            and self.known is not None
            and self.asked(STS)[-1]["WebIdentityToken"] not in self.known
        ):
            status, code = 400, "InvalidIdentityToken"
        elif len(self.asked(operation)) > times:
            return None
        user = f"arn:aws:sts::{ACCOUNT}:assumed-role/hunter2"
        said = f"User: {user} is not authorized to perform: {operation}"
        error = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
        xml = f"<ErrorResponse>{error}</ErrorResponse>"
        text = xml if operation == STS else json.dumps({"__type": code, "Message": said})
        return AWSResponse(request.url, status, {}, MockRawResponse(text.encode()))


@dataclass
class Clock:
    """The clock of the module, which a test may set ahead, in seconds."""

    ahead: float = 0.0

    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() + self.ahead


@dataclass
class Function:
    """Both functions of a deployment, in one warm process."""

    environ: dict[str, str]
    root: Path

    def post(self, action: str = "migrate", *, web_token: str | None = WEB_TOKEN) -> TestResponse:
        headers = {
            "Authorization": f"Bearer {SECRET}",
            **({"x-vercel-oidc-token": web_token} if web_token else {}),
        }
        client = create_migrate_app(Service(self.environ, self.root)).test_client()
        return client.post(MIGRATE_PATH, json={"action": action}, headers=headers)

    def get(self, *, web_token: str = WEB_TOKEN) -> TestResponse:
        app = create_status_app(Service(self.environ, self.root))
        try:
            return Client(app).get(STATUS_PATH, headers={"x-vercel-oidc-token": web_token})
        finally:
            app.close()

    @contextmanager
    def client(self) -> Iterator[Callable[[str | None], int]]:
        """A warm status function: a token in, the status code of the answer out."""
        app = create_status_app(Service(self.environ, self.root))

        def ask(web_token: str | None) -> int:
            headers = {"x-vercel-oidc-token": web_token} if web_token else {}
            return Client(app).get(STATUS_PATH, headers=headers).status_code

        try:
            yield ask
        finally:
            app.close()

    def settings(self) -> Settings:
        return load_settings(self.environ, root=self.root)

    def build(self) -> RunReport:
        """Migrate as the command does in a build, where the token is in a variable."""
        settings = self.settings()
        assert settings.migration_target
        target, timeout = settings.migration_target.located(), settings.connect_timeout_or(30)
        return migrate(
            RunContext(settings=settings, target=target, source="build", connect_timeout=timeout)
        )

    def failure(self) -> DatabaseUnavailableError | ConfigurationError:
        """The error of a build."""
        try:
            error = self.build().error
        except (DatabaseUnavailableError, ConfigurationError) as raised:
            error = raised
        assert isinstance(error, DatabaseUnavailableError | ConfigurationError)
        return error


def tells_nothing(*texts: object) -> None:
    """Assert that no token, account name, key or password is in any of these, or in a traceback."""
    for each in texts:
        text = (
            "".join(traceback.format_exception(each))
            if isinstance(each, BaseException)
            else str(each)
        )
        for secret in ("hunter2", ACCOUNT, "arn:aws:iam", "arn:aws:sts", "X-Amz", "ASIA", "AKIA"):
            assert secret not in text


@pytest.fixture(autouse=True)
def nothing_is_cached() -> Iterator[None]:
    """Begin and end each test as a cold process."""
    for cache in (aws._accesses, aws._secrets):
        cache.clear()
    yield
    for cache in (aws._accesses, aws._secrets):
        cache.clear()


# Each session of botocore lists hundreds of folders and reads megabytes of JSON, which takes most
# of the time of a test: all of them share what the first has read.
LOADER = loaders.create_loader()


@pytest.fixture(autouse=True)
def descriptions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.create_loader", lambda _=None: LOADER)


@pytest.fixture(autouse=True)
def amazon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Amazon]:
    """AWS, whose host names lead to this machine, without any credentials of this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    amazon = Amazon()
    monkeypatch.setattr(
        handlers, "BUILTIN_HANDLERS", [("before-send", amazon), *handlers.BUILTIN_HANDLERS]
    )
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws(config={"core": {"mock_credentials": False}}):
        yield amazon


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(aws, "time", clock)
    return clock


@pytest.fixture
def member(tls_db: Database) -> Iterator[Database]:
    """The database, with a role that logs in with a token."""
    with tls_db.another_role("in role rds_iam") as role:
        yield role


@pytest.fixture
def aurora(member: Database, tls_server: TlsServer, bundle: Bundle) -> Function:
    """A deployment with Aurora PostgreSQL, at the port and by the authority of this server."""
    environ = {
        "PGHOST": RDS_HOST,
        "PGPORT": member.target.port,
        "PGUSER": member.target.parameters["user"],
        "PGDATABASE": member.target.database,
        "PGSSLROOTCERT": str(tls_server.ca),
        "AWS_REGION": REGION,
        "AWS_ROLE_ARN": ROLE,
        "MIGRATION_SECRET": SECRET,
        "MIGRATION_CONNECT_TIMEOUT": "2s",
    }
    bundle.write("000-create-a.sql", "create table a (x int)")
    return Function(environ, bundle.root)


def failure_with(function: Function, token: str) -> DatabaseUnavailableError:
    """The error of a build with this token."""
    function.environ["VERCEL_OIDC_TOKEN"] = token
    error = function.failure()
    assert isinstance(error, DatabaseUnavailableError)
    return error


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")


class TestALoginToken:
    def test_a_function_migrates_with_the_token_of_the_request(
        self,
        aurora: Function,
        member: Database,
        tls_db: Database,
        tls_server: TlsServer,
        amazon: Amazon,
    ) -> None:
        response = aurora.post()
        assert (response.status_code, response.get_json()["applied"][0]["version"]) == (
            200,
            "000-create-a",
        )
        user = member.target.parameters["user"]
        assert tls_db.query("select tableowner from pg_tables where tablename = 'a'") == [(user,)]
        assert {(attempt.role, attempt.refusal) for attempt in tls_server.iam.attempts} == {
            (user, "")
        }
        (asked,) = amazon.asked(STS)
        assert (asked["RoleArn"], asked["WebIdentityToken"]) == (ROLE, WEB_TOKEN)

    def test_the_status_is_read_with_the_token_of_the_request(
        self, aurora: Function, tls_server: TlsServer, amazon: Amazon
    ) -> None:
        response = aurora.get()
        assert (response.status_code, response.get_json()["state"]) == (200, "pending")
        assert [attempt.refusal for attempt in tls_server.iam.attempts] == [""]
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [WEB_TOKEN]

    def test_a_build_migrates_with_the_token_in_the_variable(
        self, aurora: Function, tls_db: Database, amazon: Amazon
    ) -> None:
        aurora.environ["VERCEL_OIDC_TOKEN"] = BUILD_TOKEN
        report = aurora.build()
        assert report.error is None
        assert tls_db.versions() == ["000-create-a"]
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [BUILD_TOKEN]

    def test_the_header_takes_precedence_over_the_variable(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        aurora.environ["VERCEL_OIDC_TOKEN"] = BUILD_TOKEN
        assert aurora.post().status_code == 200
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [WEB_TOKEN]

    def test_each_connection_gets_a_new_token(
        self,
        aurora: Function,
        tls_server: TlsServer,
        amazon: Amazon,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for seconds in range(2):
            moment = datetime.now(UTC) + timedelta(seconds=10 * seconds)
            monkeypatch.setattr(
                auth, "get_current_datetime", lambda moment=moment: moment.replace(tzinfo=None)
            )
            assert aurora.post("status").status_code == 200
        first, second = tls_server.iam.attempts
        assert (first.refusal, second.refusal) == ("", "")
        assert first.token != second.token
        assert len(amazon.asked(STS)) == 1

    def test_only_sts_is_asked_for_credentials(
        self, aurora: Function, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A function has no metadata service, and each attempt at it would take a second."""
        asked: list[object] = []
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        fetch = utils.InstanceMetadataFetcher.retrieve_iam_role_credentials

        def remember(self: object) -> object:
            asked.append(self)
            return fetch(self)

        monkeypatch.setattr(
            utils.InstanceMetadataFetcher, "retrieve_iam_role_credentials", remember
        )
        assert aurora.post("status").status_code == 200
        assert asked == []
        assert [operation for operation, _ in amazon.requests] == [STS]

    def test_an_incomplete_pair_of_keys_does_not_prevent_the_use_of_the_token(
        self, aurora: Function, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHALF")
        assert aurora.post("status").status_code == 200

    def test_the_settings_do_not_print_the_token(self, aurora: Function) -> None:
        aurora.environ["VERCEL_OIDC_TOKEN"] = BUILD_TOKEN
        settings = aurora.settings()
        tells_nothing(settings, settings.migration_target and settings.migration_target.credential)

    def test_concurrent_requests_ask_sts_once(self, aurora: Function, amazon: Amazon) -> None:
        with ThreadPoolExecutor(6) as pool:
            codes = [response.status_code for response in pool.map(aurora.post, ["status"] * 6)]
        assert codes == [200] * 6
        assert len(amazon.asked(STS)) == 1


class TestCredentials:
    @pytest.mark.parametrize(("left", "times"), [(310, 1), (290, 2), (-10, 2)])
    def test_credentials_are_refreshed_before_they_expire(
        self, aurora: Function, amazon: Amazon, clock: Clock, left: int, times: int
    ) -> None:
        assert aurora.post("status").status_code == 200
        clock.ahead = LIFETIME - left
        assert aurora.post("status").status_code == 200
        assert len(amazon.asked(STS)) == times

    def test_the_previous_credentials_are_used_while_sts_is_unreachable(
        self, aurora: Function, clock: Clock, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert aurora.post("status").status_code == 200
        unreachable(monkeypatch)
        clock.ahead = LIFETIME - 100
        assert aurora.post("status").status_code == 200
        assert [attempt.refusal for attempt in tls_server.iam.attempts] == ["", ""]

    def test_credentials_that_are_about_to_expire_are_not_used(
        self, aurora: Function, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert aurora.post("status").status_code == 200
        unreachable(monkeypatch)
        clock.ahead = LIFETIME - 10
        response = aurora.post("status")
        assert (response.status_code, response.get_json()["error"]) == (
            503,
            "AWS could not be asked for the login.",
        )
        error = failure_with(aurora, BUILD_TOKEN)
        assert "AWS could not be asked for the role of AWS_ROLE_ARN" in str(error)
        assert "(EndpointConnectionError)" in str(error)
        assert (error.exit_code, error.final) == (1, False)
        tells_nothing(error)

    def test_the_previous_credentials_are_used_while_sts_refuses_the_token_of_a_request(
        self, aurora: Function, amazon: Amazon, clock: Clock
    ) -> None:
        assert aurora.post("status").status_code == 200
        amazon.refuse(STS, 403, "AccessDenied")
        clock.ahead = LIFETIME - 100
        assert aurora.post("status").status_code == 200
        clock.ahead = LIFETIME
        assert aurora.post("status").status_code == 503

    def test_a_request_that_has_waited_for_sts_does_not_wait_again(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        amazon.refuse(STS, 503, "ServiceUnavailable")
        aurora.environ["MIGRATION_CONNECT_TIMEOUT"] = "0"
        together = threading.Barrier(4)

        def post(_: int) -> int:
            together.wait()
            return aurora.post("status").status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(post, range(4))) == [503] * 4
        assert len(amazon.asked(STS)) < 4 * time_limits.AWS_ATTEMPTS

    def test_revoked_credentials_are_replaced_once(
        self, aurora: Function, amazon: Amazon, tls_server: TlsServer
    ) -> None:
        assert aurora.post("status").status_code == 200
        for backends in sts_backends.values():
            for backend in backends.values():
                backend.assumed_roles.clear()
        assert aurora.post("status").status_code == 200
        assert [attempt.refusal for attempt in tls_server.iam.attempts] == [
            "",
            "the access key is unknown",
            "",
        ]
        assert len(amazon.asked(STS)) == 2

    def test_without_a_token_the_credentials_of_the_aws_tools_are_used(
        self,
        aurora: Function,
        amazon: Amazon,
        tls_server: TlsServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMINE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a key")
        monkeypatch.setattr(
            tls_server.iam, "credentials", {"AKIAMINE": Credentials("AKIAMINE", "a key")}.get
        )
        assert aurora.build().error is None
        assert {attempt.refusal for attempt in tls_server.iam.attempts} == {""}
        assert amazon.requests == []

    def test_without_any_credentials_the_error_names_what_is_missing(
        self, aurora: Function, tls_server: TlsServer
    ) -> None:
        error = aurora.failure()
        assert isinstance(error, ConfigurationError)
        assert "No AWS credentials were found: neither a Vercel OIDC token for AWS_ROLE_ARN" in str(
            error
        )
        response = aurora.post(web_token=None)
        assert (response.status_code, response.get_json()["error"]) == (503, str(error))
        assert tls_server.iam.attempts == []
        tells_nothing(error)

    def test_a_request_without_a_token_does_not_affect_the_next(self, aurora: Function) -> None:
        assert aurora.post("status", web_token=None).status_code == 503
        assert aurora.post("status").status_code == 200


class TestAMadeUpToken:
    """Anybody may send the header. AWS refuses the token, and only that request fails."""

    @pytest.fixture(autouse=True)
    def knows_vercels(self, amazon: Amazon) -> None:
        amazon.known = (WEB_TOKEN, BUILD_TOKEN)

    @pytest.mark.parametrize(
        "forged",
        [FORGED, "X-A", "x" * 30000, "not ascii \u00e9"],
        ids=["", "short", "long", "letters"],
    )
    def test_a_made_up_token_does_not_affect_the_next_request(
        self, aurora: Function, amazon: Amazon, forged: str
    ) -> None:
        with aurora.client() as ask:
            assert ask(forged) == 503
            assert ask(WEB_TOKEN) == 200
            assert ask(forged) == 200, "what is known is public"
        assert {asked["WebIdentityToken"] for asked in amazon.asked(STS)} <= {forged, WEB_TOKEN}

    def test_a_made_up_token_is_sent_to_sts_once_within_a_few_seconds(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        with aurora.client() as ask:
            assert [ask(FORGED) for _ in range(5)] == [503] * 5
            assert len(amazon.asked(STS)) == 1
            assert ask(FORGED + "2") == 503
            assert ask(None) == 503
            assert ask(WEB_TOKEN) == 200

    def test_a_made_up_token_leaves_the_previous_credentials_in_use(
        self, aurora: Function, clock: Clock
    ) -> None:
        assert aurora.post("status").status_code == 200
        for left in (1000, 200):
            clock.ahead = LIFETIME - left
            assert aurora.post("status", web_token=FORGED).status_code == 200
        clock.ahead = LIFETIME
        assert aurora.post("status", web_token=FORGED).status_code == 503
        assert aurora.post("status").status_code == 200

    def test_a_made_up_token_falls_back_to_that_of_the_variable(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        aurora.environ["VERCEL_OIDC_TOKEN"] = BUILD_TOKEN
        assert aurora.get(web_token=FORGED).status_code == 200
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [FORGED, BUILD_TOKEN]

    def test_a_made_up_token_does_not_affect_a_stored_secret(self, stored: Function) -> None:
        del stored.environ["VERCEL_OIDC_TOKEN"]
        with stored.client() as ask:
            assert [ask(FORGED), ask(WEB_TOKEN)] == [503, 200]

    def test_a_made_up_token_does_not_affect_concurrent_requests(self, aurora: Function) -> None:
        tokens = [FORGED, WEB_TOKEN] * 4
        with ThreadPoolExecutor(8) as pool:
            codes = list(
                pool.map(lambda token: aurora.post("status", web_token=token).status_code, tokens)
            )
        assert codes[1::2] == [200] * 4

    def test_a_header_named_with_underscores_is_ignored_where_the_server_distinguishes_it(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        site = Site(Service(aurora.environ, aurora.root))
        server = make_server("127.0.0.1", 0, site, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
            connection.request("GET", STATUS_PATH, headers={"X_Vercel_Oidc_Token": FORGED})
            assert connection.getresponse().status == 503
            connection.close()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            site.close()
        assert amazon.asked(STS) == []


class TestARefusal:
    @pytest.fixture(autouse=True)
    def logged(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """No refusal puts a secret into the log."""
        caplog.set_level(logging.INFO)
        yield
        tells_nothing(caplog.text)

    def test_a_refused_token_is_final_after_one_retry_with_new_credentials(
        self,
        aurora: Function,
        amazon: Amazon,
        tls_server: TlsServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(tls_server.iam, "credentials", lambda _: None)
        error = failure_with(aurora, BUILD_TOKEN)
        assert "the user or the password was refused (FATAL: " in str(error)
        assert "The user needs the role rds_iam" in str(error)
        assert "AWS_ROLE_ARN the right rds-db:connect" in str(error)
        assert error.final
        assert len(tls_server.iam.attempts) == len(amazon.asked(STS)) == 2
        tells_nothing(error)

    def test_for_a_user_outside_rds_iam_the_error_says_what_to_grant(
        self, aurora: Function, amazon: Amazon, tls_db: Database, member: Database
    ) -> None:
        tls_db.query(f"revoke rds_iam from {member.target.parameters['user']}")
        response = aurora.post()
        assert response.status_code == 503
        assert "The user needs the role rds_iam" in response.get_json()["error"]
        assert RDS_HOST not in response.text
        assert len(amazon.asked(STS)) == 2
        tells_nothing(response.text)

    def test_a_refusal_by_sts_is_shown_by_its_code_alone(
        self, aurora: Function, amazon: Amazon, tls_server: TlsServer
    ) -> None:
        amazon.refuse(STS, 403, "AccessDenied")
        error = failure_with(aurora, BUILD_TOKEN)
        assert (
            "AWS refused the role of AWS_ROLE_ARN for the Vercel OIDC token (AccessDenied)."
            in str(error)
        )
        assert "Its trust policy has to name this team, project and environment" in str(error)
        assert (error.exit_code, error.final) == (1, True)
        response = aurora.post()
        assert (response.status_code, response.get_json()["error"]) == (
            503,
            "AWS refused the login (AccessDenied).",
        )
        public = aurora.get()
        assert (public.status_code, public.get_json()["error"]) == (
            503,
            "The database can't be reached.",
        )
        tells_nothing(error, response.text, public.text)
        assert tls_server.iam.attempts == []

    @pytest.mark.parametrize(("code", "status"), [("Throttling", 400), ("ServiceUnavailable", 503)])
    def test_a_transient_error_of_aws_is_retried(
        self, aurora: Function, amazon: Amazon, code: str, status: int
    ) -> None:
        aurora.environ["MIGRATION_CONNECT_TIMEOUT"] = "20s"
        amazon.refuse(STS, status, code, times=time_limits.AWS_ATTEMPTS + 1)
        assert aurora.post("status").status_code == 200
        assert len(amazon.asked(STS)) == time_limits.AWS_ATTEMPTS + 2

    def test_a_transient_error_that_persists_is_reported(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        amazon.refuse(STS, 503, "ServiceUnavailable")
        error = failure_with(aurora, BUILD_TOKEN)
        assert (
            "AWS is too busy for the role of AWS_ROLE_ARN for the Vercel OIDC token "
            "(ServiceUnavailable)" in str(error)
        )
        assert not error.final
        tells_nothing(error)

    def test_a_malformed_token_is_refused_without_being_quoted(self, aurora: Function) -> None:
        error = failure_with(aurora, "X-A")
        assert "AWS could not be asked for the role of AWS_ROLE_ARN" in str(error)
        assert "X-A" not in "".join(traceback.format_exception(error))
        tells_nothing(error)


class TestAVerifiedHost:
    """A login token is as good as the password for whoever receives it."""

    @pytest.fixture(autouse=True)
    def token(self, aurora: Function) -> None:
        aurora.environ["VERCEL_OIDC_TOKEN"] = BUILD_TOKEN

    def test_without_root_certificates_no_connection_is_made(
        self, aurora: Function, amazon: Amazon
    ) -> None:
        del aurora.environ["PGSSLROOTCERT"]
        with pytest.raises(
            ConfigurationError, match=r"download https://truststore.*pem into .* PGSSLROOTCERT"
        ):
            aurora.settings()
        response = aurora.post()
        assert response.status_code == 503
        assert "set PGSSLROOTCERT to its path" in response.get_json()["error"]
        assert amazon.requests == []

    @pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
    def test_the_host_is_verified_whatever_pgsslmode_says(
        self, aurora: Function, tls_server: TlsServer, mode: str
    ) -> None:
        aurora.environ["PGSSLMODE"] = mode
        assert aurora.post("status").status_code == 200
        tls_server.iam.attempts.clear()
        aurora.environ["PGSSLROOTCERT"] = str(tls_server.other_ca)
        assert "from an authority that is not trusted here" in str(aurora.failure())
        assert tls_server.iam.attempts == []

    def test_no_token_is_sent_to_a_host_with_another_certificate(
        self, aurora: Function, tls_server: TlsServer
    ) -> None:
        aurora.environ["PGHOST"] = RDS_HOST.replace("shop", "blog")
        error = aurora.failure()
        assert "the server's certificate is for another host" in str(error)
        response = aurora.post()
        assert (response.status_code, "blog" in response.text) == (503, False)
        assert tls_server.iam.attempts == []

    def test_public_authorities_suffice_if_they_are_asked_for(
        self, aurora: Function, tls_server: TlsServer
    ) -> None:
        aurora.environ["PGSSLROOTCERT"] = "system"
        assert "from an authority that is not trusted here" in str(aurora.failure())
        assert tls_server.iam.attempts == []

    def test_rds_proxy_is_verified_by_a_public_authority(
        self, aurora: Function, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del aurora.environ["PGSSLROOTCERT"]
        aurora.environ["PGHOST"] = RDS_PROXY
        assert "from an authority that is not trusted here" in str(aurora.failure())
        assert tls_server.iam.attempts == []
        monkeypatch.setattr("certifi.where", lambda: str(tls_server.ca))
        assert aurora.build().error is None
        assert {attempt.refusal for attempt in tls_server.iam.attempts} == {""}


def _secrets_manager() -> Any:
    return boto3.client("secretsmanager", REGION, aws_access_key_id="a", aws_secret_access_key="b")


@dataclass
class Secret:
    """A secret in Secrets Manager, as RDS writes it."""

    values: dict[str, Any]
    arn: str = ""
    client: Any = field(default_factory=_secrets_manager)

    def __post_init__(self) -> None:
        self.arn = self.client.create_secret(
            Name="rds!cluster-shop", SecretString=json.dumps(self.values)
        )["ARN"]

    def write(self, text: str | None = None, **changes: Any) -> None:
        """Write the text, or the values with these changes; None removes a value."""
        self.values = {
            key: value for key, value in {**self.values, **changes}.items() if value is not None
        }
        self.client.put_secret_value(
            SecretId=self.arn, SecretString=json.dumps(self.values) if text is None else text
        )


@pytest.fixture
def owner(tls_db: Database) -> Iterator[Database]:
    """The database, with a role whose password is in the secret."""
    with tls_db.another_role() as role:
        role_name = role.target.parameters["user"]
        tls_db.query(f"alter role {role_name} password '{PASSWORD}'")
        yield role.but(password=PASSWORD)


@pytest.fixture
def secret(owner: Database, amazon: Amazon) -> Secret:
    return Secret(
        {
            "engine": "postgres",
            "host": RDS_HOST,
            "username": owner.target.parameters["user"],
            "password": PASSWORD,
            "dbname": owner.target.database,
            "port": int(owner.target.port),
            "dbClusterIdentifier": "shop",
        }
    )


@pytest.fixture
def stored(secret: Secret, bundle: Bundle) -> Function:
    """A deployment that names the secret, and a role that may read it."""
    bundle.write("000-create-a.sql", "create table a (x int)")
    environ = {
        "MIGRATION_DATABASE_SECRET_ARN": secret.arn,
        "AWS_ROLE_ARN": ROLE,
        "VERCEL_OIDC_TOKEN": BUILD_TOKEN,
        "MIGRATION_SECRET": SECRET,
        "MIGRATION_CONNECT_TIMEOUT": "2s",
    }
    return Function(environ, bundle.root)


class TestAStoredSecret:
    def test_a_build_migrates_with_what_rds_writes(
        self, stored: Function, tls_db: Database, amazon: Amazon
    ) -> None:
        report = stored.build()
        assert report.error is None
        assert tls_db.versions() == ["000-create-a"]
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [BUILD_TOKEN]
        assert len(amazon.asked(READ_SECRET)) == 1

    def test_both_functions_read_the_secret_with_the_token_of_the_request(
        self, stored: Function, amazon: Amazon
    ) -> None:
        assert stored.post().status_code == 200
        assert stored.get().get_json()["state"] == "up-to-date"
        assert [asked["WebIdentityToken"] for asked in amazon.asked(STS)] == [WEB_TOKEN]
        assert len(amazon.asked(READ_SECRET)) == 1

    def test_variables_complete_a_secret_that_rds_manages(
        self, stored: Function, secret: Secret, owner: Database
    ) -> None:
        secret.write(json.dumps({key: secret.values[key] for key in ("username", "password")}))
        stored.environ |= {
            "PGHOST": RDS_HOST,
            "PGPORT": owner.target.port,
            "PGDATABASE": owner.target.database,
        }
        assert stored.post().status_code == 200

    def test_the_place_in_the_secret_takes_precedence_over_the_variables(
        self, stored: Function
    ) -> None:
        stored.environ |= {"PGHOST": "nowhere.invalid", "PGPORT": "1", "PGDATABASE": "none"}
        assert stored.post().status_code == 200

    def test_the_status_may_be_read_over_the_url_of_the_application(
        self, stored: Function, owner: Database, amazon: Amazon
    ) -> None:
        stored.environ["DATABASE_URL"] = owner.url
        assert stored.get().status_code == 200
        assert amazon.asked(READ_SECRET) == []

    def test_the_password_is_shown_nowhere(
        self, stored: Function, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        assert stored.post().status_code == 200
        settings = stored.settings()
        assert settings.migration_target
        tells_nothing(settings, settings.migration_target.located(), caplog.text)

    def test_concurrent_requests_read_the_secret_once(
        self, stored: Function, amazon: Amazon
    ) -> None:
        with ThreadPoolExecutor(6) as pool:
            codes = [response.status_code for response in pool.map(stored.post, ["status"] * 6)]
        assert codes == [200] * 6
        assert len(amazon.asked(READ_SECRET)) == 1

    def test_a_corrected_secret_is_read_by_the_next_request(
        self, stored: Function, secret: Secret
    ) -> None:
        secret.write("{}")
        assert stored.post().status_code == 503
        secret.write(json.dumps(secret.values))
        assert stored.post().status_code == 200


class TestRotation:
    @pytest.fixture(autouse=True)
    def warm(self, stored: Function, amazon: Amazon) -> None:
        """Have the process read the secret before the test."""
        assert stored.post("status").status_code == 200
        amazon.requests.clear()

    def test_after_a_rotation_the_secret_is_read_again_for_the_new_password(
        self, stored: Function, secret: Secret, tls_db: Database, amazon: Amazon
    ) -> None:
        tls_db.query(f"alter role {secret.values['username']} password 'rotated hunter2'")
        secret.write(password="rotated hunter2")
        for _ in range(2):
            assert stored.post("status").status_code == 200
        assert len(amazon.asked(READ_SECRET)) == 1

    def test_after_a_rotation_the_secret_is_read_again_for_the_new_user(
        self, stored: Function, secret: Secret, tls_db: Database, amazon: Amazon
    ) -> None:
        """Rotation may alternate between two users, of which one can log in at a time."""
        before = secret.values["username"]
        tls_db.query(
            f"create role {before}_clone login in role {before} password 'hunter2 too';"
            f"alter role {before} nologin"
        )
        try:
            tls_db.query(f"alter role {before} password 'gone'")
            secret.write(username=f"{before}_clone", password="hunter2 too")
            assert stored.post("status").status_code == 200
            assert len(amazon.asked(READ_SECRET)) == 1
        finally:
            tls_db.query(f"drop owned by {before}_clone; drop role {before}_clone")

    def test_after_a_rotation_concurrent_requests_all_get_the_new_password(
        self, stored: Function, secret: Secret, tls_db: Database
    ) -> None:
        tls_db.query(f"alter role {secret.values['username']} password 'rotated hunter2'")
        secret.write(password="rotated hunter2")
        with ThreadPoolExecutor(6) as pool:
            codes = [response.status_code for response in pool.map(stored.post, ["status"] * 6)]
        assert codes == [200] * 6

    def test_a_password_that_is_refused_again_is_final(
        self, stored: Function, secret: Secret, tls_db: Database, amazon: Amazon
    ) -> None:
        tls_db.query(f"alter role {secret.values['username']} password 'rotated'")
        error = stored.failure()
        assert isinstance(error, DatabaseUnavailableError)
        assert (
            "The password is from the secret of MIGRATION_DATABASE_SECRET_ARN, "
            "which was read again." in str(error)
        )
        assert error.final
        assert len(amazon.asked(READ_SECRET)) == 1
        tells_nothing(error)

    def test_another_wrong_password_in_the_secret_is_tried_once(
        self, stored: Function, secret: Secret, tls_db: Database, amazon: Amazon
    ) -> None:
        tls_db.query(f"alter role {secret.values['username']} password 'rotated'")
        secret.write(password="hunter2 and wrong")
        response = stored.post()
        assert response.status_code == 503
        assert "which was read again" in response.get_json()["error"]
        assert len(amazon.asked(READ_SECRET)) == 1
        tells_nothing(response.text)


class TestAFaultySecret:
    """Every fault is reported without a value, and before any connection."""

    @pytest.fixture
    def secret(self, amazon: Amazon) -> Secret:
        return Secret(
            {
                "engine": "postgres",
                "host": RDS_HOST,
                "username": "hunter2",
                "password": PASSWORD,
                "dbname": "d",
                "port": 1,
            }
        )

    def in_vain(self, stored: Function, fault: str) -> None:
        error, response, public = stored.failure(), stored.post(), stored.get()
        assert re.search(fault, str(error))
        assert (response.status_code, public.status_code) == (503, 503)
        tells_nothing(error, response.text, public.text)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (PASSWORD, "is not a JSON object with username, password, host, port and dbname"),
            (f'["{PASSWORD}"]', "is not a JSON object"),
            (f'"{PASSWORD}"', "is not a JSON object"),
            ("{}", "has no username: add it"),
        ],
        ids=["text", "a list", "a string", "empty"],
    )
    def test_a_malformed_secret_is_refused_without_being_quoted(
        self, stored: Function, secret: Secret, text: str, fault: str
    ) -> None:
        secret.write(text)
        self.in_vain(stored, fault)

    @pytest.mark.parametrize(
        ("changes", "fault"),
        [
            (
                {"host": None},
                r"The secret of MIGRATION_DATABASE_SECRET_ARN has no host: add it, or set PGHOST\.",
            ),
            ({"dbname": None}, r"has no dbname: add it, or set PGDATABASE\."),
            ({"username": None}, r"has no username: add it\."),
            ({"password": ""}, r"has no password: add it\."),
            ({"engine": "mysql"}, "is for another engine than PostgreSQL"),
            ({"host": "hunter2.dsql.eu-west-1.on.aws"}, "names an Aurora DSQL cluster"),
            (
                {"port": f"{PASSWORD}"},
                "The secret of MIGRATION_DATABASE_SECRET_ARN has a port that is not a number",
            ),
            ({"port": 65536}, "is not a number"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_a_wrong_value_in_the_secret_is_named(
        self, stored: Function, secret: Secret, changes: dict[str, Any], fault: str
    ) -> None:
        secret.write(**changes)
        self.in_vain(stored, fault)

    def test_a_missing_secret_is_reported_by_the_code_of_aws(
        self, stored: Function, secret: Secret
    ) -> None:
        stored.environ["MIGRATION_DATABASE_SECRET_ARN"] = secret.arn.replace("cluster", "hunter2")
        self.in_vain(
            stored,
            r"AWS refused the secret of MIGRATION_DATABASE_SECRET_ARN "
            r"\(ResourceNotFoundException\)",
        )

    def test_for_an_unreadable_secret_the_error_names_the_rights_that_the_role_needs(
        self, stored: Function, amazon: Amazon
    ) -> None:
        amazon.refuse(READ_SECRET, 400, "AccessDeniedException")
        self.in_vain(
            stored,
            r"\(AccessDeniedException\)\. "
            r"The role needs secretsmanager:GetSecretValue for the secret",
        )

    def test_a_malformed_arn_is_refused_before_aws_is_asked(
        self, stored: Function, amazon: Amazon
    ) -> None:
        stored.environ["MIGRATION_DATABASE_SECRET_ARN"] = "hunter2"
        amazon.requests.clear()
        self.in_vain(
            stored,
            "is not the ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME",
        )
        assert amazon.requests == []


class TestBoto3:
    def test_boto3_is_not_imported_for_a_url(self, db: Database) -> None:
        code = (
            "import runpy, sys\n"
            "runpy.run_path('api/migration-status.py')\n"
            "client = runpy.run_path('api/migrate.py')['app'].test_client()\n"
            f"headers = {{'Authorization': 'Bearer {SECRET}'}}\n"
            f"answer = client.post('{MIGRATE_PATH}', headers=headers)\n"
            "print(answer.status_code, *sorted({'boto3', 'botocore'} & set(sys.modules)))"
        )
        environ = local_environ(DATABASE_URL=db.url, MIGRATION_SECRET=SECRET, AWS_ROLE_ARN=ROLE)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.strip() == "200"

    @pytest.mark.parametrize("name", ["boto3", "botocore"])
    def test_without_boto3_the_error_says_how_to_add_it(
        self, aurora: Function, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        response = aurora.post()
        assert response.status_code == 503
        assert (
            "need boto3, which is not installed: add boto3 to requirements.txt"
            in response.get_json()["error"]
        )
        assert aurora.get().status_code == 503
