"""What a host name says: the names in the documentation of the providers, and names that resemble
them.
"""

import pytest

from lib.settings import providers as provider


@pytest.mark.parametrize(
    ("host", "port", "direct"),
    [
        *(
            (f"ep-cool-12{pooler}.{rest}", "5432", f"ep-cool-12.{rest}:5432" if pooler else None)
            for pooler in ("-pooler", "")
            for rest in (
                "us-east-2.aws.neon.tech",
                "c-2.eu-central-1.aws.neon.tech",
                "eastus2.azure.neon.tech",
                "neon.build",
            )
        ),
        (
            "EP-Cool-1-POOLER.us-east-2.aws.neon.tech",
            "5433",
            "ep-cool-1.us-east-2.aws.neon.tech:5433",
        ),
        ("ep-a-1-pooler.us-east-2.aws.neon.tech.", "5432", "ep-a-1.us-east-2.aws.neon.tech:5432"),
        ("ep-pooler-1.us-east-2.aws.neon.tech", "5432", None),
        ("ep-a-pooler.us-east-2.aws.neon.tech.example.com", "5432", None),
        ("ep-a-pooler.example.com", "5432", None),
        ("ep-a-pooler.neon.tech,ep-b-pooler.neon.tech", "5432", None),
        (
            "aws-0-eu-central-1.pooler.supabase.com",
            "6543",
            "aws-0-eu-central-1.pooler.supabase.com:5432",
        ),
        ("aws-0-eu-central-1.pooler.supabase.com", "5432", None),
        ("db.abcdefghij.supabase.co", "6543", "db.abcdefghij.supabase.co:5432"),
        ("db.abcdefghij.supabase.co", "5432", None),
        ("db.abcdefghij.supabase.co.example.com", "6543", None),
        ("pooled.db.prisma.io", "5432", "db.prisma.io:5432"),
        ("db.prisma.io", "5432", None),
        ("us-east-3.pg.psdb.cloud", "6432", "us-east-3.pg.psdb.cloud:5432"),
        (
            "aws-us-east-2-2.private-pg.psdb.cloud",
            "6432",
            "aws-us-east-2-2.private-pg.psdb.cloud:5432",
        ),
        ("abc-useast1-1.horizon.psdb.cloud", "6432", "abc-useast1-1.horizon.psdb.cloud:5432"),
        ("us-east-3.pg.psdb.cloud", "5432", None),
        ("pg.psdb.cloud", "6432", None),
        ("us-east.connect.psdb.cloud", "6432", None),
        ("us-east-3.pg.psdb.cloud.example.com", "6432", None),
        ("us-west-2.db.thenile.dev", "5432", None),
        ("db.example.com", "6543", None),
        ("127.0.0.1", "6543", None),
        ("/tmp", "6543", None),
    ],
)
def test_a_pooled_address_has_this_direct_address(host: str, port: str, direct: str | None) -> None:
    found = provider.direct_address(host, port)
    assert (found and f"{found.host}:{found.port}") == direct
    if found:
        assert not provider.is_direct(host, port)
        assert provider.is_direct(found.host, found.port)
        assert provider.direct_address(found.host, found.port) is None


@pytest.mark.parametrize(
    ("host", "is_public"),
    [
        ("ep-a-1.us-east-2.aws.neon.tech", True),
        ("ep-a-1-pooler.c-2.us-east-2.aws.neon.tech", True),
        ("us-east-3.pg.psdb.cloud", True),
        ("US-EAST-3.pg.psdb.cloud.", True),
        ("us-east-3.pg.psdb.cloud,db.example.com", False),
        ("shop.proxy-abc123.eu-west-1.rds.amazonaws.com", True),
        ("shop.endpoint.proxy-abc123.eu-west-1.rds.amazonaws.com", True),
        ("shop.cluster-abc123.eu-west-1.rds.amazonaws.com", False),
        ("shop.abc123.eu-west-1.rds.amazonaws.com", False),
        ("aws-0-eu-central-1.pooler.supabase.com", False),
        ("db.prisma.io", False),
        ("us-west-2.db.thenile.dev", False),
        ("neon.tech.example.com", False),
        ("localhost", False),
    ],
)
def test_a_public_authority_certifies_these_hosts(host: str, is_public: bool) -> None:
    assert provider.has_public_certificates(host) is is_public


@pytest.mark.parametrize(
    ("user", "role", "branch"),
    [
        ("postgres.xhjhjl0nh1cp", "postgres", "xhjhjl0nh1cp"),
        ("postgres.XHJHJL0NH1CP", "postgres", "xhjhjl0nh1cp"),
        ("pscale_api_a.b.xhjhjl0nh1cp|write-pool", "pscale_api_a.b", "xhjhjl0nh1cp"),
        ("postgres.xhjhjl0nh1cp|replica", "postgres", "xhjhjl0nh1cp"),
        ("postgres", "postgres", ""),
        ("postgres|a.b", "postgres", ""),
    ],
)
def test_a_user_of_planetscale_names_the_role_and_the_branch(
    user: str, role: str, branch: str
) -> None:
    host = "us-east-3.pg.psdb.cloud"
    assert (provider.role(host, user), provider.branch(host, user)) == (role, branch)
    assert provider.role("db.example.com", user) == user


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("shop.cluster-abc123.eu-west-1.rds.amazonaws.com", "eu-west-1"),
        ("shop.cluster-ro-abc123.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
        ("shop.abc123.cn-north-1.rds.amazonaws.com.cn", "cn-north-1"),
        ("SHOP.ABC123.EU-WEST-1.RDS.AMAZONAWS.COM", "eu-west-1"),
        ("db.example.com", None),
        ("eu-west-1.rds.amazonaws.com.example.com", None),
    ],
)
def test_a_host_of_rds_names_its_region(host: str, region: str | None) -> None:
    assert provider.aws_region(host) == region


@pytest.mark.parametrize(
    ("host", "is_dsql"),
    [
        ("abc123def456.dsql.us-east-1.on.aws", True),
        ("abc123def456.dsql-fnh4.us-east-1.on.aws", True),
        ("db.example.com,abc.dsql.us-east-1.on.aws", True),
        ("shop.cluster-abc123.eu-west-1.rds.amazonaws.com", False),
        ("dsql.example.com", False),
    ],
)
def test_dsql_is_recognized_by_its_name(host: str, is_dsql: bool) -> None:
    assert provider.is_dsql(host) is is_dsql
