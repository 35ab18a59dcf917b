"""What other tests rely on of the server with TLS: whom it lets in, and whom it refuses."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import boto3
import psycopg
import pytest
from botocore.credentials import Credentials
from conftest import RDS_HOST, RDS_PROXY, Database, new_database
from moto import mock_aws
from psycopg.conninfo import make_conninfo
from rds_login import IamLogins
from tls_postgres import TlsServer, tls_postgres

REGION = "eu-west-1"
Token = Callable[..., str]


@pytest.fixture
def iam(tls_server: TlsServer) -> IamLogins:
    return tls_server.iam


@pytest.fixture
def member(tls_db: Database) -> Iterator[Database]:
    """The database as a role that logs in with a token, under the cluster's name."""
    with tls_db.another_role("in role rds_iam") as role:
        yield role.under(RDS_HOST)


@pytest.fixture
def credentials() -> Iterator[dict[str, str]]:
    """What STS gives for a web identity, in the words of a boto3 session."""
    with mock_aws():
        given = boto3.client("sts", region_name=REGION).assume_role_with_web_identity(
            RoleArn="arn:aws:iam::123456789012:role/migrations",
            RoleSessionName="run",
            WebIdentityToken="a.b.c",
        )["Credentials"]
        yield {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }


@pytest.fixture
def token(member: Database, credentials: dict[str, str]) -> Token:
    """Make a token as boto3 does, for the member unless told otherwise."""

    def make(
        *,
        host: str = RDS_HOST,
        port: str = member.target.port,
        region: str = REGION,
        user: str = "",
        **others: str,
    ) -> str:
        rds = boto3.client("rds", region_name=region, **{**credentials, **others})
        return str(rds.generate_db_auth_token(host, port, user or member.target.parameters["user"]))

    return make


def in_vain(database: Database, match: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=match):
        database.connect()


def test_a_member_of_rds_iam_gets_in_with_a_token_over_tls(
    member: Database, token: Token, iam: IamLogins
) -> None:
    (row,) = member.but(password=token()).query(
        "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()"
    )
    assert row == (member.target.parameters["user"], True)
    assert [(attempt.role, attempt.refusal) for attempt in iam.attempts] == [(row[0], "")]


def test_a_token_of_thousands_of_characters_gets_in(
    member: Database, token: Token, iam: IamLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {
        "aws_access_key_id": "ASIALONG",
        "aws_secret_access_key": "s",
        "aws_session_token": "/+=" * 1000,
    }
    monkeypatch.setattr(iam, "credentials", {"ASIALONG": Credentials(*long.values())}.get)
    assert member.but(password=token(**long)).query("select 1") == [(1,)]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"host": RDS_HOST.replace("shop", "blog")}, "the endpoint is another one"),
        ({"port": "5432"}, "the endpoint is another one"),
        ({"user": "postgres"}, "the token is for another user"),
        ({"region": "eu-west-2"}, "the token is for another region"),
        ({"aws_access_key_id": "ASIAUNKNOWN"}, "the access key is unknown"),
        ({"aws_secret_access_key": "a guess"}, "the signature is wrong"),
        ({"aws_session_token": "another session's"}, "the session token is not the access key's"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_token_made_of_another_part_is_refused(
    member: Database, token: Token, iam: IamLogins, changes: dict[str, str], refusal: str
) -> None:
    in_vain(member.but(password=token(**changes)), "authentication failed")
    assert [attempt.refusal for attempt in iam.attempts] == [refusal]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda token: token + "&Action=connect", "a field comes twice"),
        (lambda token: token.partition("&X-Amz-Signature")[0], "a field is missing"),
        (
            lambda token: token.replace("X-Amz-Expires=900", "X-Amz-Expires=901"),
            "no token of RDS's",
        ),
        (lambda token: token.replace("Signature=", "Signature=0"), "the signature is wrong"),
        (lambda token: token.replace("rds-db", "s3"), "the token is for another service"),
        (lambda token: f"https://{token}", "the endpoint is another one"),
        (lambda token: quote(token, safe=""), "a field is missing"),
    ],
    ids=[
        "a field twice",
        "no signature",
        "a longer life",
        "another signature",
        "another service",
        "a scheme",
        "encoded",
    ],
)
def test_a_token_that_was_changed_is_refused(
    member: Database, token: Token, iam: IamLogins, change: Callable[[str], str], refusal: str
) -> None:
    in_vain(member.but(password=change(token())), "authentication failed")
    assert [attempt.refusal for attempt in iam.attempts] == [refusal]


@pytest.mark.parametrize(
    ("later", "refusal"),
    [
        (timedelta(minutes=14, seconds=30), ""),
        (timedelta(minutes=15), "the token has expired"),
        (timedelta(minutes=-6), "the token is of the future"),
    ],
    ids=["in time", "too late", "too early"],
)
def test_a_token_is_good_for_fifteen_minutes(
    member: Database,
    token: Token,
    iam: IamLogins,
    monkeypatch: pytest.MonkeyPatch,
    later: timedelta,
    refusal: str,
) -> None:
    monkeypatch.setattr(iam, "clock", lambda: datetime.now(UTC) + later)
    assert iam.refusal(member.target.parameters["user"], token()) == refusal


def test_a_member_of_rds_iam_does_not_get_in_with_its_password(
    member: Database, iam: IamLogins
) -> None:
    in_vain(member, "authentication failed")
    assert [attempt.refusal for attempt in iam.attempts] == ["a field is missing"]


def test_the_password_of_a_role_can_change_while_the_server_runs(tls_db: Database) -> None:
    with tls_db.another_role() as before:
        after = before.but(password="rotated")
        tls_db.query(f"alter role {before.target.parameters['user']} password 'rotated'")
        in_vain(before, "password authentication failed")
        assert after.query("select 1") == [(1,)]


def test_the_certificate_is_good_for_the_names_of_rds_and_for_no_other(tls_db: Database) -> None:
    for name in (RDS_HOST, RDS_PROXY, "localhost", "127.0.0.1"):
        assert tls_db.under(name).query("select 1") == [(1,)]
    in_vain(tls_db.under("db.example.com"), "does not match host name")


def test_a_name_of_rds_leads_here_by_the_environment(
    tls_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    parameters = {**tls_db.target.parameters, "host": RDS_HOST}
    del parameters["hostaddr"]
    with psycopg.connect(make_conninfo(**parameters)) as connection:
        assert connection.info.hostaddr == "127.0.0.1"


def test_the_certificate_is_no_other_authoritys(tls_db: Database, tls_server: TlsServer) -> None:
    in_vain(tls_db.but(sslrootcert=str(tls_server.other_ca)), "certificate verify failed")


def test_nobody_gets_in_without_tls(
    member: Database, tls_db: Database, token: Token, iam: IamLogins
) -> None:
    for database in (member.but(password=token()), tls_db):
        in_vain(database.but(sslmode="disable"), "no encryption")
    assert iam.attempts == []


def test_without_force_tls_a_password_gets_in_without_tls_and_a_token_does_not(
    tls_server: TlsServer,
) -> None:
    with tls_postgres(force_tls=False) as lax, new_database(lax.target) as database:
        plain = database.but(sslmode="disable")
        assert plain.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == [(False,)]
        with plain.another_role("in role rds_iam") as member:
            in_vain(member, "rejects connection")
