"""What a host name says: the provider, its branch of the data, its direct address, its authorities.

The patterns follow the documentation of the providers. Any other host is a plain PostgreSQL.
"""

import re
from dataclasses import dataclass

# "ep-cool-name-123456-pooler.eu-central-1.aws.neon.tech": the endpoint, the pooler, the rest.
_NEON = re.compile(r"(ep-[a-z0-9-]+?)(-pooler)?(\.(?:[a-z0-9-]+\.)*neon\.(?:tech|build))")
# "db.PROJECT.supabase.co", or a pooler that all projects of a region share.
_SUPABASE = re.compile(r"db\.([a-z0-9]+)\.supabase\.(?:co|com|net)")
_SUPABASE_POOLER = re.compile(r"(?:[a-z0-9-]+\.)+pooler\.supabase\.(?:co|com|net)")
_SUPABASE_TRANSACTION_PORT, _SUPABASE_SESSION_PORT = "6543", "5432"
_PRISMA_POOLER, _PRISMA = "pooled.db.prisma.io", "db.prisma.io"
# "REGION.pg.psdb.cloud", which all databases of a region share, or an older "ID-REGION.horizon…";
# "private-pg" is for AWS PrivateLink and its like.
_PLANETSCALE = re.compile(r"(?:[a-z0-9-]+\.)+(?:(?:private-)?pg|horizon)\.psdb\.cloud")
_PLANETSCALE_POOLER_PORT, _PLANETSCALE_PORT = "6432", "5432"
_RDS = re.compile(r"(?:[a-z0-9-]+\.)+([a-z]{2}(?:-[a-z]+)+-\d)\.rds\.amazonaws\.com(?:\.cn)?")
_RDS_PROXY = re.compile(
    r"(?:[a-z0-9-]+\.)+proxy-[a-z0-9]+\.[a-z0-9-]+\.rds\.amazonaws\.com(?:\.cn)?"
)
# A regular expression for Python and PostgreSQL alike, without regard to case: the schemas of the
# server, and those that providers and extensions make, keep their data in, and rely on.
PROVIDERS_SCHEMAS = (
    "pg_.*|information_schema"
    "|auth|storage|extensions|realtime|_realtime|vault|graphql|graphql_public|net|pgbouncer"
    "|pgsodium.*|pgtle|supabase.*|_supabase|_analytics|neon.*|_neon.*|aws.*|rds.*|aiven.*|azure.*"
    "|google.*|cloudsql.*|crunchy.*|_?timescaledb.*|hdb_.*|cron|partman|pgmq|repack|topology"
    "|tiger.*"
)
_DSQL = re.compile(r"(?:[a-z0-9-]+\.)*dsql(?:-[a-z0-9]+)?\.[a-z0-9-]+\.on\.aws")

# The end of a sentence that begins with the variable.
DSQL_REFUSED = (
    "names an Aurora DSQL cluster, which can't be migrated: it allows one DDL statement per "
    "transaction and has no advisory locks. Aurora PostgreSQL can be"
)


@dataclass(frozen=True)
class DirectAddress:
    """The address of a database without its transaction pooler; `why` is for people."""

    host: str
    port: str
    why: str


def direct_address(host: str, port: str) -> DirectAddress | None:
    """The direct address for a pooled one of Neon, Supabase, Prisma or PlanetScale, else None.

    Port 5432 at Supabase is the database itself or, at the host of the shared pooler, a pooler in
    session mode, which serves as well.
    """
    host = _normalized(host)
    if (neon := _NEON.fullmatch(host)) and neon[2]:
        return DirectAddress(
            neon[1] + neon[3], port, "the direct address of Neon in place of the pooler"
        )
    supabase = _SUPABASE.fullmatch(host) or _SUPABASE_POOLER.fullmatch(host)
    if supabase and port == _SUPABASE_TRANSACTION_PORT:
        return DirectAddress(
            host,
            _SUPABASE_SESSION_PORT,
            "port 5432 of Supabase in place of the transaction pooler on 6543",
        )
    if host == _PRISMA_POOLER:
        return DirectAddress(_PRISMA, port, "the direct address of Prisma in place of the pooler")
    if _PLANETSCALE.fullmatch(host) and port == _PLANETSCALE_POOLER_PORT:
        return DirectAddress(
            host,
            _PLANETSCALE_PORT,
            "port 5432 of PlanetScale in place of the pooler on 6432",
        )
    return None


def is_direct(host: str, port: str) -> bool:
    """True if the address is one that `direct_address` returns.

    A proxy may answer there, as at Neon, so that the backend PID is not the server's; but it is no
    transaction pooler.
    """
    host = _normalized(host)
    if neon := _NEON.fullmatch(host):
        return not neon[2]
    if _SUPABASE.fullmatch(host) or _SUPABASE_POOLER.fullmatch(host):
        return port == _SUPABASE_SESSION_PORT
    if _PLANETSCALE.fullmatch(host):
        return port == _PLANETSCALE_PORT
    return host == _PRISMA


def direct_user(host: str, user: str) -> str:
    """The user for the direct address: without the name of a pooler of PlanetScale."""
    # "ROLE.BRANCH|POOLER": on port 5432 a suffix would mean a replica, or nothing.
    return user.partition("|")[0] if _PLANETSCALE.fullmatch(_normalized(host)) else user


def ipv4_advice(host: str) -> str:
    """A sentence that says where a machine without IPv6 reaches the database."""
    if _SUPABASE.fullmatch(_normalized(host)):
        return (
            "Set MIGRATION_DATABASE_URL to the address of the Supabase session pooler, which has "
            "IPv4: aws-0-REGION.pooler.supabase.com:5432, with the user postgres.PROJECT."
        )
    return (
        "Set MIGRATION_DATABASE_URL to an address that has IPv4, such as that of the provider's "
        "session pooler."
    )


def branch(host: str, user: str) -> str:
    """The provider's name for this branch of the data; empty if it has none."""
    host = _normalized(host)
    # A Neon branch has the system_identifier of its origin, so only the endpoint tells them apart.
    if match := _NEON.fullmatch(host) or _SUPABASE.fullmatch(host):
        return match[1]
    # The shared host finds the project by the user: "postgres.PROJECT". A branch of PlanetScale is
    # made from a backup, and may have the system_identifier of its origin.
    if _SUPABASE_POOLER.fullmatch(host) or _PLANETSCALE.fullmatch(host):
        name, _, project = direct_user(host, user).rpartition(".")
        return project.lower() if name else ""
    return ""


def role(host: str, user: str) -> str:
    """The role in the database for a user in a URL: without the project, or the branch."""
    normalized = _normalized(host)
    if _SUPABASE_POOLER.fullmatch(normalized) or _PLANETSCALE.fullmatch(normalized):
        user = direct_user(host, user)
        return user.rpartition(".")[0] or user
    return user


def has_public_certificates(host: str) -> bool:
    """True if a public authority certifies the host, or each host of a list.

    Neon, PlanetScale and RDS Proxy document that. Supabase and RDS have authorities of their own.
    """
    certified = (_NEON, _PLANETSCALE, _RDS_PROXY)
    return all(
        any(pattern.fullmatch(_normalized(each)) for pattern in certified)
        for each in host.split(",")
    )


def aws_region(host: str) -> str | None:
    """The region in the name of an RDS or Aurora host, which login tokens are signed for."""
    match = _RDS.fullmatch(_normalized(host))
    return match[1] if match else None


def is_dsql(host: str) -> bool:
    """True if the host, or any host of a list, is an Aurora DSQL cluster."""
    return any(_DSQL.fullmatch(_normalized(each)) for each in host.split(","))


def _normalized(host: str) -> str:
    # A name may end in the dot of the DNS root.
    return host.lower().removesuffix(".")
