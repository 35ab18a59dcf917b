"""What the name of a host tells: whose database it is, which branch of its data, its direct address, its certificates.

The sources are the providers' own documents; a host of no known provider's is a plain PostgreSQL.
"""

import re
from dataclasses import dataclass

_NEON = re.compile(r"(ep-[a-z0-9-]+?)(-pooler)?(\.(?:[a-z0-9-]+\.)*neon\.(?:tech|build))")
_SUPABASE = re.compile(r"db\.([a-z0-9]+)\.supabase\.(?:co|com|net)")
_SUPABASE_POOLER = re.compile(r"(?:[a-z0-9-]+\.)+pooler\.supabase\.(?:co|com|net)")
_SUPABASE_TRANSACTION_PORT, _SUPABASE_SESSION_PORT = "6543", "5432"
_PRISMA_POOLER, _PRISMA = "pooled.db.prisma.io", "db.prisma.io"
_RDS = re.compile(r"(?:[a-z0-9-]+\.)+([a-z]{2}(?:-[a-z]+)+-\d)\.rds\.amazonaws\.com(?:\.cn)?")
_RDS_PROXY = re.compile(
    r"(?:[a-z0-9-]+\.)+proxy-[a-z0-9]+\.[a-z0-9-]+\.rds\.amazonaws\.com(?:\.cn)?"
)
_DSQL = re.compile(r"(?:[a-z0-9-]+\.)*dsql(?:-[a-z0-9]+)?\.[a-z0-9-]+\.on\.aws")


@dataclass(frozen=True)
class DirectAddress:
    """Where the same database is met without its transaction pooler; `why` is for people."""

    host: str
    port: str
    why: str


def direct_address(host: str, port: str) -> DirectAddress | None:
    """The direct address that a pooled one of Neon's, Supabase's or Prisma's stands for; None for any other.

    Supabase's port 5432 is the database itself or, on the shared pooler's host, a session-mode pooler: as good as direct.
    """
    host = _plain(host)
    if (neon := _NEON.fullmatch(host)) and neon[2]:
        return DirectAddress(
            neon[1] + neon[3], port, "Neon's direct address in place of its pooler's"
        )
    supabase = _SUPABASE.fullmatch(host) or _SUPABASE_POOLER.fullmatch(host)
    if supabase and port == _SUPABASE_TRANSACTION_PORT:
        return DirectAddress(
            host,
            _SUPABASE_SESSION_PORT,
            "Supabase's port 5432 in place of its transaction pooler's 6543",
        )
    if host == _PRISMA_POOLER:
        return DirectAddress(_PRISMA, port, "Prisma's direct address in place of its pooler's")
    return None


def is_direct(host: str, port: str) -> bool:
    """Tell whether it is what `direct_address` makes.

    A proxy may answer there too, as Neon's does, in whose name no server process is to be found: but not a pooler of
    transactions.
    """
    host = _plain(host)
    if neon := _NEON.fullmatch(host):
        return not neon[2]
    if _SUPABASE.fullmatch(host) or _SUPABASE_POOLER.fullmatch(host):
        return port == _SUPABASE_SESSION_PORT
    return host == _PRISMA


def ipv4_advice(host: str) -> str:
    """Where the same database is met by those who have no IPv6, for a sentence of its own."""
    if _SUPABASE.fullmatch(_plain(host)):
        return (
            "Set MIGRATION_DATABASE_URL to the address of Supabase's session pooler, which has IPv4: "
            "aws-0-REGION.pooler.supabase.com:5432, with the user postgres.PROJECT."
        )
    return "Set MIGRATION_DATABASE_URL to an address that has IPv4, as a provider's pooler in session mode has."


def branch(host: str, user: str) -> str:
    """The provider's own name of this branch of the data, empty where it has none.

    A Neon branch shares its origin's `system_identifier`; the endpoint tells them apart. Supabase's shared pooler is told
    the project by the user's name.
    """
    host = _plain(host)
    if named := _NEON.fullmatch(host) or _SUPABASE.fullmatch(host):
        return named[1]
    if _SUPABASE_POOLER.fullmatch(host):
        role, _, project = user.rpartition(".")
        return project.lower() if role else ""
    return ""


def role(host: str, user: str) -> str:
    """The database's role that a user of a URL is: Supabase's shared pooler has the project behind its name."""
    if _SUPABASE_POOLER.fullmatch(_plain(host)):
        return user.rpartition(".")[0] or user
    return user


def has_public_certificates(host: str) -> bool:
    """Tell whether a public authority vouches for the host, or all of a list: Neon's, and those of Amazon's RDS Proxy.

    Supabase and RDS itself have authorities of their own; of the others it isn't known.
    """
    return all(
        _NEON.fullmatch(_plain(each)) or _RDS_PROXY.fullmatch(_plain(each))
        for each in host.split(",")
    )


def aws_region(host: str) -> str | None:
    """The region that a host of RDS or Aurora names, which is the one that its login tokens are signed for."""
    found = _RDS.fullmatch(_plain(host))
    return found[1] if found else None


def is_dsql(host: str) -> bool:
    """Tell whether it is Aurora DSQL, which has one DDL statement a transaction and no advisory locks."""
    return any(_DSQL.fullmatch(_plain(each)) for each in host.split(","))


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")
