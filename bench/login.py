"""What a login at Aurora without a password costs: whole processes, in turn.

The server is the PostgreSQL with TLS of the tests, which verifies tokens; STS is simulated by moto
on loopback, while the real one is a round trip away.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from botocore.credentials import Credentials
from contenders import ROOT
from process import run

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

from rds_login import aws_stand_in
from tls_postgres import TlsServer, tls_postgres

HOST = "shop.cluster-abc123.eu-west-1.rds.amazonaws.com"
LIMIT = 60.0
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "bench"}
STATUS = [sys.executable, "-m", "lib", "status"]
BY_HAND = """
import boto3, os, psycopg
host, port, user = (os.environ[name] for name in ("PGHOST", "PGPORT", "PGUSER"))
token = boto3.client("rds", region_name="eu-west-1").generate_db_auth_token(host, int(port), user)
with psycopg.connect(password=token, sslmode="verify-full") as connection:
    connection.execute("select 1")
"""


def contenders(
    server: TlsServer, sts: str
) -> Iterator[tuple[str, Sequence[str], Mapping[str, str]]]:
    p = server.target.parameters
    here = {
        "PGHOSTADDR": "127.0.0.1",
        "PGSSLROOTCERT": str(server.ca),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    role = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/bench"}
    aurora = {
        **here,
        "PGHOST": HOST,
        "PGPORT": p["port"],
        "PGUSER": "member",
        "PGDATABASE": "postgres",
    }
    url = (
        f"postgresql://{p['user']}:{p['password']}@{HOST}:{p['port']}/postgres?sslmode=verify-full"
    )
    yield "a password in the URL", STATUS, {**here, "DATABASE_URL": url}
    yield "a token, by keys of one's own", STATUS, {**aurora, **role, **KEYS}
    yield (
        "a token, by STS",
        STATUS,
        {**aurora, **role, "VERCEL_OIDC_TOKEN": "a.b.c", "AWS_ENDPOINT_URL": sts},
    )
    yield (
        "boto3 and psycopg by hand, keys of one's own",
        [sys.executable, "-c", BY_HAND],
        {**aurora, **KEYS},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=7, help="counted runs of each, after one that isn't; default: 7"
    )
    runs = parser.parse_args().runs
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PG", "AWS", "CI", "VERCEL", "DATABASE"))
    }
    with tls_postgres(HOST) as server, aws_stand_in() as sts:
        server.iam.credentials = credentials_or(server.iam.credentials)
        _query(server, "create role member login in role rds_iam")
        ways = list(contenders(server, sts))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in ways}
        for counted in range(-1, runs):
            for name, command, environ in ways:
                ended = run(command, ROOT, {**kept, **environ}, LIMIT)
                if ended.fault:
                    sys.exit(f"{name} {ended.fault}")
                if counted >= 0:
                    times[name].append((ended.wall * 1000, ended.memory))
    print("| login by | ms | memory, MiB |\n|---|---|---|")
    for name, all_of_it in times.items():
        walls, memory = zip(*all_of_it, strict=True)
        print(
            f"| {name} | {statistics.median(walls):.0f} ({min(walls):.0f}–{max(walls):.0f}) "
            f"| {max(memory):.0f} |"
        )


def credentials_or(
    assumed: Callable[[str], Credentials | None],
) -> Callable[[str], Credentials | None]:
    """What the server knows of keys: those of the bench, else what STS has given."""
    own = Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
    return lambda key: own if key == own.access_key else assumed(key)


def _query(server: TlsServer, sql: str) -> None:
    parameters: dict[str, Any] = {**server.target.parameters}
    with psycopg.connect(**parameters, autocommit=True) as connection:
        connection.execute(sql)


if __name__ == "__main__":
    main()
