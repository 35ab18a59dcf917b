"""The connection that is chosen from the variables that each provider sets, and how it is named."""

import traceback
from pathlib import Path
from typing import ClassVar

import pytest

from lib.errors import ConfigurationError
from lib.settings.aws import Account, LoginToken, StoredSecret
from lib.settings.database_choice import DatabaseChoice, without_database
from lib.settings.loader import load_settings
from lib.settings.tls import tls_parameters

SENTINEL = "hunter2-sentinel"
NEON_DIRECT = "ep-cool-darkness-123456.eu-central-1.aws.neon.tech"
NEON_POOLED = "ep-cool-darkness-123456-pooler.eu-central-1.aws.neon.tech"
SUPABASE = "aws-0-eu-central-1.pooler.supabase.com"
AURORA = "shop.cluster-abc123.eu-west-1.rds.amazonaws.com"
SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-AbCdEf"
ROLE_ARN = "arn:aws:iam::123456789012:role/vercel"


def url(host: str, *, user: str = "owner", rest: str = "/shop?sslmode=require") -> str:
    return f"postgres://{user}:{SENTINEL}@{host}{rest}"


NEON_ENVIRON = {
    "DATABASE_URL": url(NEON_POOLED),
    "DATABASE_URL_UNPOOLED": url(NEON_DIRECT),
    "PGHOST": NEON_POOLED,
    "PGHOST_UNPOOLED": NEON_DIRECT,
    "PGUSER": "owner",
    "PGDATABASE": "shop",
    "PGPASSWORD": SENTINEL,
}
NEON_LEGACY = {
    "POSTGRES_URL": url(NEON_POOLED),
    "POSTGRES_URL_NON_POOLING": url(NEON_DIRECT),
    "POSTGRES_USER": "owner",
    "POSTGRES_HOST": NEON_POOLED,
    "POSTGRES_PASSWORD": SENTINEL,
    "POSTGRES_DATABASE": "shop",
    "POSTGRES_URL_NO_SSL": url(NEON_POOLED, rest="/shop"),
    "POSTGRES_PRISMA_URL": url(NEON_POOLED, rest="/shop?connect_timeout=15&sslmode=require"),
}
SUPABASE_ENVIRON = {
    "POSTGRES_URL": url(
        f"{SUPABASE}:6543",
        user="postgres.abcdefghij",
        rest="/postgres?sslmode=require&supa=base-pooler.x",
    ),
    "POSTGRES_URL_NON_POOLING": url(
        f"{SUPABASE}:5432", user="postgres.abcdefghij", rest="/postgres?sslmode=require"
    ),
    "POSTGRES_PRISMA_URL": url(
        f"{SUPABASE}:6543", user="postgres.abcdefghij", rest="/postgres?pgbouncer=true"
    ),
    "POSTGRES_USER": "postgres",
    "POSTGRES_HOST": "db.abcdefghij.supabase.co",
    "POSTGRES_PASSWORD": SENTINEL,
    "POSTGRES_DATABASE": "postgres",
    "SUPABASE_URL": "https://abcdefghij.supabase.co",
}
PRISMA_ENVIRON = {
    "DATABASE_URL": url("db.prisma.io:5432", rest="/postgres?sslmode=require"),
    "POSTGRES_URL": url("db.prisma.io:5432", rest="/postgres?sslmode=require"),
    "DATABASE_URL_POOLED": url("pooled.db.prisma.io:5432", rest="/postgres?sslmode=require"),
}
PRISMA_URL = f"prisma+postgres://accelerate.prisma-data.net/?api_key={SENTINEL}"
NILE_ENVIRON = {
    "NILEDB_POSTGRES_URL": "postgres://us-west-2.db.thenile.dev:5432/shop",
    "NILEDB_USER": "0199cd7a-e98f",
    "NILEDB_PASSWORD": f"{SENTINEL}@/%",
    "NILEDB_API_URL": "https://us-west-2.api.thenile.dev/v2/databases/0199cd7a",
}
AURORA_ENVIRON = {
    "PGHOST": AURORA,
    "PGUSER": "migrator",
    "PGDATABASE": "shop",
    "AWS_REGION": "eu-west-1",
    "AWS_ROLE_ARN": ROLE_ARN,
    "VERCEL_OIDC_TOKEN": SENTINEL,
}
# Why a target was chosen, as it is shown.
SIBLING = "the direct sibling of"
OF_NEON = "the direct address of Neon in place of the pooler"
OF_SUPABASE = "port 5432 of Supabase in place of the transaction pooler on 6543"
OF_PLANETSCALE = "port 5432 of PlanetScale in place of the pooler on 6432"
OF_PRISMA = "the direct address of Prisma in place of the pooler"
WITH_LOGIN = "with NILEDB_USER and NILEDB_PASSWORD"
PLAIN = {"DATABASE_URL": url("db.example.com:6432", rest="/shop")}


PLANETSCALE = url(
    "us-east-3.pg.psdb.cloud:6432",
    user="postgres.xhjhjl0nh1cp",
    rest="/shop?sslmode=verify-full&sslrootcert=system",
)


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def chooser(environ: dict[str, str], root: Path = Path("/nowhere")) -> DatabaseChoice:
    return DatabaseChoice(environ, root)


def refusal(environ: dict[str, str]) -> str:
    """The message on a host for faulty variables: every fault, and no value."""
    with pytest.raises(ConfigurationError) as raised:
        load_settings({"VERCEL": "1", **environ})
    assert SENTINEL not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


@pytest.mark.parametrize(
    ("environ", "migrating", "reading"),
    [
        pytest.param(
            NEON_ENVIRON,
            f"{NEON_DIRECT}:5432/shop from DATABASE_URL_UNPOOLED, {SIBLING} DATABASE_URL",
            f"{NEON_POOLED}:5432/shop from DATABASE_URL",
            id="Neon",
        ),
        pytest.param(
            {**NEON_ENVIRON, **NEON_LEGACY},
            f"{NEON_DIRECT}:5432/shop from POSTGRES_URL_NON_POOLING, {SIBLING} POSTGRES_URL",
            f"{NEON_POOLED}:5432/shop from POSTGRES_URL",
            id="Neon with the legacy names",
        ),
        pytest.param(
            without(NEON_ENVIRON, "DATABASE_URL_UNPOOLED", "PGHOST_UNPOOLED"),
            f"{NEON_DIRECT}:5432/shop from DATABASE_URL, {OF_NEON}",
            f"{NEON_POOLED}:5432/shop from DATABASE_URL",
            id="Neon, pooled alone",
        ),
        pytest.param(
            {**NEON_ENVIRON, "MIGRATION_DATABASE_URL": url(NEON_POOLED)},
            f"{NEON_DIRECT}:5432/shop from MIGRATION_DATABASE_URL, {OF_NEON}",
            f"{NEON_POOLED}:5432/shop from DATABASE_URL",
            id="Neon, a pooled one for the migrations",
        ),
        pytest.param(
            SUPABASE_ENVIRON,
            f"{SUPABASE}:5432/postgres from POSTGRES_URL_NON_POOLING, {SIBLING} POSTGRES_URL",
            f"{SUPABASE}:6543/postgres from POSTGRES_URL",
            id="Supabase",
        ),
        pytest.param(
            without(SUPABASE_ENVIRON, "POSTGRES_URL_NON_POOLING"),
            f"{SUPABASE}:5432/postgres from POSTGRES_URL, {OF_SUPABASE}",
            f"{SUPABASE}:6543/postgres from POSTGRES_URL",
            id="Supabase, pooled alone",
        ),
        pytest.param(
            PRISMA_ENVIRON,
            "db.prisma.io:5432/postgres from POSTGRES_URL",
            "db.prisma.io:5432/postgres from POSTGRES_URL",
            id="Prisma Postgres",
        ),
        pytest.param(
            {
                "POSTGRES_URL": PRISMA_ENVIRON["POSTGRES_URL"],
                "DATABASE_URL": PRISMA_URL,
                "PRISMA_DATABASE_URL": PRISMA_URL,
            },
            "db.prisma.io:5432/postgres from POSTGRES_URL",
            "db.prisma.io:5432/postgres from POSTGRES_URL",
            id="Prisma Postgres, as it was",
        ),
        pytest.param(
            {"DATABASE_URL": PRISMA_ENVIRON["DATABASE_URL_POOLED"]},
            f"db.prisma.io:5432/postgres from DATABASE_URL, {OF_PRISMA}",
            "pooled.db.prisma.io:5432/postgres from DATABASE_URL",
            id="Prisma Postgres, pooled alone",
        ),
        pytest.param(
            NILE_ENVIRON,
            f"us-west-2.db.thenile.dev:5432/shop from NILEDB_POSTGRES_URL, {WITH_LOGIN}",
            f"us-west-2.db.thenile.dev:5432/shop from NILEDB_POSTGRES_URL, {WITH_LOGIN}",
            id="Nile",
        ),
        pytest.param(
            {**AURORA_ENVIRON, "PGSSLROOTCERT": __file__},
            f"{AURORA}:5432/shop from PGHOST, with a login token for AWS_ROLE_ARN",
            f"{AURORA}:5432/shop from PGHOST, with a login token for AWS_ROLE_ARN",
            id="AWS Aurora",
        ),
        pytest.param(
            {**AURORA_ENVIRON, **PLAIN},
            "db.example.com:6432/shop from DATABASE_URL",
            "db.example.com:6432/shop from DATABASE_URL",
            id="AWS Aurora beside a URL",
        ),
        pytest.param(
            {"DATABASE_URL": PLANETSCALE},
            f"us-east-3.pg.psdb.cloud:5432/shop from DATABASE_URL, {OF_PLANETSCALE}",
            "us-east-3.pg.psdb.cloud:6432/shop from DATABASE_URL",
            id="PlanetScale, pooled alone",
        ),
        pytest.param(
            {"DATABASE_URL": PLANETSCALE.replace(":6432", ":5432")},
            "us-east-3.pg.psdb.cloud:5432/shop from DATABASE_URL",
            "us-east-3.pg.psdb.cloud:5432/shop from DATABASE_URL",
            id="PlanetScale, direct",
        ),
        pytest.param(
            PLAIN,
            "db.example.com:6432/shop from DATABASE_URL",
            "db.example.com:6432/shop from DATABASE_URL",
            id="plain Postgres",
        ),
    ],
)
def test_the_variables_of_a_provider_lead_to_this_connection(
    environ: dict[str, str], migrating: str, reading: str
) -> None:
    settings = load_settings({"VERCEL": "1", **environ})
    assert settings.migration_target
    assert settings.status_target
    assert f"{settings.migration_target.place} {settings.migration_target.choice}" == migrating
    assert f"{settings.status_target.place} {settings.status_target.choice}" == reading
    assert SENTINEL not in repr(settings)


def test_a_derived_address_keeps_the_rest_of_the_url() -> None:
    query = "/shop?sslmode=verify-full&options=-c%20work_mem%3D64MB&pgbouncer=true"
    pooled = {"DATABASE_URL": url(f"{NEON_POOLED}:5433", rest=query)}
    migrating, reading = chooser(pooled).migration_target(), chooser(pooled).status_target()
    assert migrating
    assert reading
    assert migrating.parameters == {**reading.parameters, "host": NEON_DIRECT}
    assert (migrating.parameters["password"], migrating.dropped) == (SENTINEL, ("pgbouncer",))
    assert migrating.branch == reading.branch == "ep-cool-darkness-123456"


def test_the_pooler_of_planetscale_is_not_named_on_the_direct_address() -> None:
    named = {"DATABASE_URL": PLANETSCALE.replace("0nh1cp", "0nh1cp%7Cwrite-pool")}
    migrating, reading = chooser(named).migration_target(), chooser(named).status_target()
    assert migrating
    assert reading
    assert migrating.parameters["user"] == "postgres.xhjhjl0nh1cp"
    assert reading.parameters["user"] == "postgres.xhjhjl0nh1cp|write-pool"
    assert migrating.branch == reading.branch == "xhjhjl0nh1cp"
    assert migrating.role == reading.role == "postgres"
    assert tls_parameters(migrating)["sslmode"] == "verify-full"


def test_a_target_with_hostaddr_is_not_rewritten() -> None:
    target = chooser(
        {"DATABASE_URL": url(NEON_POOLED, rest="/shop?hostaddr=10.0.0.1")}
    ).migration_target()
    assert target
    assert target.host == NEON_POOLED


class TestAPrefix:
    PREFIX: ClassVar = {"MIGRATION_VARIABLE_PREFIX": "STORAGE_"}

    @pytest.mark.parametrize("prefix", ["STORAGE_", "STORAGE", " STORAGE_\n"])
    @pytest.mark.parametrize(
        ("environ", "migrating", "reading"),
        [
            (NEON_ENVIRON, "DATABASE_URL_UNPOOLED", "DATABASE_URL"),
            (SUPABASE_ENVIRON, "POSTGRES_URL_NON_POOLING", "POSTGRES_URL"),
            (PRISMA_ENVIRON, "POSTGRES_URL", "POSTGRES_URL"),
            (NILE_ENVIRON, "NILEDB_POSTGRES_URL", "NILEDB_POSTGRES_URL"),
            ({**AURORA_ENVIRON, "PGSSLROOTCERT": __file__}, "PGHOST", "PGHOST"),
        ],
    )
    def test_the_variables_are_those_with_the_prefix(
        self, prefix: str, environ: dict[str, str], migrating: str, reading: str
    ) -> None:
        plain = ("VERCEL_OIDC_TOKEN", "PGSSLROOTCERT")
        prefixed = {
            name if name in plain else f"STORAGE_{name}": value for name, value in environ.items()
        }
        choice = chooser({**prefixed, "MIGRATION_VARIABLE_PREFIX": prefix})
        targets = choice.migration_target(), choice.status_target()
        assert [target and target.source for target in targets] == [
            f"STORAGE_{migrating}",
            f"STORAGE_{reading}",
        ]
        unprefixed = chooser(environ).migration_target()
        assert targets[0]
        assert unprefixed
        assert targets[0].place == unprefixed.place
        assert targets[0].why == unprefixed.why.replace(
            "DATABASE_URL", "STORAGE_DATABASE_URL"
        ).replace("POSTGRES_URL", "STORAGE_POSTGRES_URL").replace(
            "NILEDB_", "STORAGE_NILEDB_"
        ).replace("AWS_", "STORAGE_AWS_")

    def test_those_without_it_are_never_mixed_in(self) -> None:
        mixed = {
            **self.PREFIX,
            "STORAGE_DATABASE_URL": url("one.example.com"),
            "DATABASE_URL_UNPOOLED": url("two.example.com"),
            "POSTGRES_URL": url("two.example.com"),
            "POSTGRES_URL_NON_POOLING": url("two.example.com"),
        }
        choice = chooser(mixed)
        migrating, reading = choice.migration_target(), choice.status_target()
        assert migrating
        assert reading
        assert (migrating.host, reading.host) == ("one.example.com", "one.example.com")

    def test_they_are_used_where_none_has_the_prefix_and_a_sibling_alone_is_none(self) -> None:
        environ = {
            **self.PREFIX,
            "STORAGE_DATABASE_URL_UNPOOLED": url("one.example.com"),
            "DATABASE_URL": url("two.example.com"),
        }
        target = chooser(environ).migration_target()
        assert target
        assert (target.source, target.host) == ("DATABASE_URL", "two.example.com")

    def test_the_url_for_migrations_has_no_prefix_and_comes_first(self) -> None:
        environ = {
            **self.PREFIX,
            "STORAGE_DATABASE_URL": url("one.example.com"),
            "STORAGE_MIGRATION_DATABASE_URL": url("three.example.com"),
            "MIGRATION_DATABASE_URL": url("two.example.com"),
        }
        choice = chooser(environ)
        migrating, reading = choice.migration_target(), choice.status_target()
        assert migrating
        assert reading
        assert (migrating.host, reading.host) == ("two.example.com", "one.example.com")

    def test_without_it_they_are_not_read_and_the_error_names_them(self) -> None:
        told = refusal(
            {
                "STORAGE_DATABASE_URL": url("one.example.com"),
                "Shop_POSTGRES_URL": url("two.example.com"),
                "OTHER_DATABASE_URL": "mysql://x",
                "STORAGE_DATABASE_URL_UNPOOLED": url("one.example.com"),
            }
        )
        assert (
            " With a prefix: STORAGE_DATABASE_URL, Shop_POSTGRES_URL. If one of them names the "
            "database, set MIGRATION_VARIABLE_PREFIX to its prefix, as in "
            "MIGRATION_VARIABLE_PREFIX=STORAGE_. Connect a database" in told
        )

    def test_with_another_one_the_error_says_what_was_looked_up(self) -> None:
        told = refusal({"MIGRATION_VARIABLE_PREFIX": "SHOP", "STORAGE_DATABASE_URL": url("h")})
        assert "the last six first with the prefix SHOP_." in told
        assert "as in MIGRATION_VARIABLE_PREFIX=STORAGE_." in told

    @pytest.mark.parametrize("hosted", ["VERCEL", "CI"])
    def test_on_vercel_and_in_ci_one_that_finds_nothing_leads_to_no_other_database(
        self, hosted: str
    ) -> None:
        environ = {**PLAIN, **self.PREFIX, hosted: "1"}
        with pytest.raises(ConfigurationError, match="set STORAGE_DATABASE_URL, or remove MIGRA"):
            load_settings(environ)
        target = load_settings({**PLAIN, **self.PREFIX}).migration_target
        assert target, "on a laptop it may be the local database"
        assert target.source == "DATABASE_URL"

    def test_of_many_the_first_are_named(self) -> None:
        told = refusal({f"S{number}_DATABASE_URL": url("h") for number in range(9)})
        assert "S3_DATABASE_URL, S4_DATABASE_URL and 4 more. If" in told

    @pytest.mark.parametrize("prefix", ["STORAGE-", "1ST_", "DATABASE URL", "Ü_", SENTINEL])
    def test_a_malformed_one_is_refused(self, prefix: str) -> None:
        told = refusal({**PLAIN, "MIGRATION_VARIABLE_PREFIX": prefix})
        assert told == (
            "MIGRATION_VARIABLE_PREFIX: not the beginning of a variable's name, such as STORAGE_"
        )

    def test_a_missing_part_is_named_with_it(self) -> None:
        aurora = {f"STORAGE_{name}": value for name, value in AURORA_ENVIRON.items()}
        told = refusal({**self.PREFIX, **without(aurora, "STORAGE_PGUSER")})
        assert (
            "a login token for STORAGE_PGHOST with STORAGE_AWS_ROLE_ARN can't be made without "
            "STORAGE_PGUSER" in told
        )


@pytest.mark.parametrize("prefix", ["", "STORAGE_"])
def test_an_environment_without_its_database_chooses_none(prefix: str) -> None:
    names = (*NEON_ENVIRON, *NEON_LEGACY, *NILE_ENVIRON, *AURORA_ENVIRON, "PGPORT")
    environ = {f"{prefix}{name}": url("h") for name in names}
    environ |= {"MIGRATION_DATABASE_URL": url("h"), "MIGRATION_RUN_WAIT": "1s"}
    found = without_database({**environ, "MIGRATION_VARIABLE_PREFIX": prefix})
    assert chooser(found).migration_target() is None
    assert chooser(found).status_target() is None
    assert found["MIGRATION_RUN_WAIT"] == "1s"


class TestAnIncompleteUrl:
    """libpq takes it from the environment, so it is shown, and decides on TLS and the guard."""

    ELSEWHERE: ClassVar = {"PGHOST": "db.example.com", "PGPORT": "6432", "PGDATABASE": "shop"}

    @pytest.mark.parametrize(
        ("of_url", "place"),
        [
            ("postgres://u:p@/", "db.example.com:6432/shop"),
            ("postgres://u:p@h", "h:6432/shop"),
            ("postgres://u:p@h:5433", "h:5433/shop"),
            ("postgres://u:p@h/d", "h:6432/d"),
            ("postgres://u:p@h:5433/d", "h:5433/d"),
            ("postgres://u:p@/d?hostaddr=10.0.0.1", "10.0.0.1:6432/d"),
            ("postgres:///?service=prod", "localhost:5432"),
        ],
    )
    def test_a_default_from_a_variable_is_shown_in_the_place(self, of_url: str, place: str) -> None:
        target = chooser({**self.ELSEWHERE, "DATABASE_URL": of_url}).migration_target()
        assert target
        assert target.place == place

    def test_a_default_from_a_variable_is_checked_like_a_part_of_the_url(self) -> None:
        assert refusal({"DATABASE_URL": "postgres://u@h/d", "PGPORT": "x"}).startswith(
            "PGPORT can't be read"
        )
        dsql = {"DATABASE_URL": "postgres://u@/d", "PGHOST": "x.dsql.us-east-1.on.aws"}
        assert refusal(dsql).startswith("PGHOST names an Aurora DSQL cluster")

    def test_tls_depends_on_the_host_from_the_variable(self) -> None:
        target = chooser({**self.ELSEWHERE, "DATABASE_URL": "postgres://u:p@/d"}).migration_target()
        assert target
        assert tls_parameters(target) == {"sslmode": "require"}

    def test_a_service_is_not_completed(self) -> None:
        target = chooser(
            {**self.ELSEWHERE, "DATABASE_URL": "postgres:///?service=prod"}
        ).migration_target()
        assert target
        assert tls_parameters(target) == {}


class TestPrisma:
    @pytest.mark.parametrize("name", ["MIGRATION_DATABASE_URL", "POSTGRES_URL", "DATABASE_URL"])
    def test_the_protocol_of_prisma_is_refused_with_the_variable_to_use_instead(
        self, name: str
    ) -> None:
        alone = refusal({name: PRISMA_URL})
        assert alone == (
            f"{name} is for the protocol of Prisma, not for PostgreSQL; "
            "set MIGRATION_DATABASE_URL to the postgres:// URL of the same database"
        )
        assert (
            refusal({name: PRISMA_URL, "DIRECT_URL": url("db.prisma.io")})
            == f"{alone}, which DIRECT_URL holds"
        )

    @pytest.mark.parametrize("name", ["POSTGRES_URL", "DATABASE_URL"])
    def test_the_advice_leads_to_a_connection(self, name: str) -> None:
        settings = load_settings(
            {"VERCEL": "1", name: PRISMA_URL, "MIGRATION_DATABASE_URL": url("db.prisma.io")}
        )
        assert settings.migration_target
        assert settings.status_target == settings.migration_target
        assert settings.migration_target.source == "MIGRATION_DATABASE_URL"

    def test_the_advice_names_the_variable_that_prisma_injects(self) -> None:
        message = refusal(
            {"POSTGRES_URL": PRISMA_URL, "DATABASE_URL": PRISMA_ENVIRON["DATABASE_URL"]}
        )
        assert message.endswith(", which DATABASE_URL holds")

    def test_the_variable_of_prisma_alone_is_named_in_the_error(self) -> None:
        message = refusal({"PRISMA_DATABASE_URL": PRISMA_URL})
        assert message.startswith("No database URL is set.")
        assert "PRISMA_DATABASE_URL is for the protocol of Prisma" in message


class TestNile:
    def test_user_and_password_are_not_decoded(self) -> None:
        target = chooser(NILE_ENVIRON).migration_target()
        assert target
        assert (target.parameters["user"], target.parameters["password"]) == (
            "0199cd7a-e98f",
            f"{SENTINEL}@/%",
        )
        assert f"{SENTINEL}@/%" in target.secrets

    def test_the_login_in_the_url_takes_precedence(self) -> None:
        target = chooser({**NILE_ENVIRON, "NILEDB_POSTGRES_URL": url("h")}).migration_target()
        assert target
        assert (target.parameters["user"], target.choice) == ("owner", "from NILEDB_POSTGRES_URL")

    @pytest.mark.parametrize("gone", ["NILEDB_USER", "NILEDB_PASSWORD"])
    def test_a_user_without_a_password_is_an_error(self, gone: str) -> None:
        assert "NILEDB_USER and NILEDB_PASSWORD are not both set" in refusal(
            {**NILE_ENVIRON, gone: " "}
        )


class TestAurora:
    def test_the_token_is_for_the_host_the_user_and_the_region_of_the_host(self) -> None:
        environ = {
            **AURORA_ENVIRON,
            "PGPORT": "5433",
            "AWS_REGION": "us-east-1",
            "PGSSLROOTCERT": __file__,
        }
        target = chooser(environ).migration_target()
        assert target
        assert target.credential == LoginToken(
            Account("eu-west-1", ROLE_ARN, (SENTINEL,)), AURORA, 5433, "migrator"
        )
        assert target.parameters == {
            "host": AURORA,
            "port": "5433",
            "user": "migrator",
            "dbname": "shop",
            "sslrootcert": __file__,
        }

    @pytest.mark.parametrize(
        ("gone", "message"),
        [
            (["PGUSER"], "without PGUSER"),
            (["PGDATABASE"], "without PGDATABASE"),
            (["PGUSER", "PGDATABASE"], "without PGUSER and PGDATABASE"),
        ],
    )
    def test_missing_variables_are_named(self, gone: list[str], message: str) -> None:
        assert refusal({**AURORA_ENVIRON, **dict.fromkeys(gone, "")}).endswith(message)

    def test_the_region_is_required_if_the_host_does_not_name_it(self) -> None:
        assert refusal({**AURORA_ENVIRON, "PGHOST": "db.example.com", "AWS_REGION": ""}).endswith(
            "without AWS_REGION"
        )

    def test_without_root_certificates_the_error_says_how_to_get_them(self) -> None:
        message = refusal(AURORA_ENVIRON)
        assert "A login token is sent only to a verified host" in message
        assert "global-bundle.pem" in message
        assert "PGSSLROOTCERT" in message

    def test_a_malformed_arn_of_a_role_is_refused(self) -> None:
        assert refusal({**AURORA_ENVIRON, "AWS_ROLE_ARN": SENTINEL}).startswith(
            "AWS_ROLE_ARN is not the ARN of a role; write arn:aws:iam"
        )

    @pytest.mark.parametrize("gone", ["PGHOST", "AWS_ROLE_ARN"])
    def test_pghost_alone_names_no_database(self, gone: str) -> None:
        assert refusal({**AURORA_ENVIRON, gone: ""}).startswith("No database URL is set.")

    def test_a_token_is_for_one_host_and_one_port(self) -> None:
        assert refusal({**AURORA_ENVIRON, "PGHOST": f"{AURORA},/tmp"}).startswith(
            "PGHOST names several hosts"
        )
        assert refusal({**AURORA_ENVIRON, "PGPORT": "5432,5433"}).startswith(
            "PGPORT names several ports"
        )

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "/var/run/postgresql", "@socket"])
    def test_this_machine_is_not_a_host_of_aws(self, host: str) -> None:
        assert refusal({**AURORA_ENVIRON, "PGHOST": host}).startswith("No database URL is set.")

    @pytest.mark.parametrize("port", ["0", "x", "65536"])
    def test_a_malformed_port_is_refused(self, port: str) -> None:
        assert "PGPORT can't be read: its port is not a number" in refusal(
            {**AURORA_ENVIRON, "PGPORT": port}
        )

    def test_dsql_is_refused_by_name(self) -> None:
        host = "abc123.dsql.us-east-1.on.aws"
        assert refusal({**AURORA_ENVIRON, "PGHOST": host}).startswith(
            "PGHOST names an Aurora DSQL cluster"
        )
        assert refusal({"DATABASE_URL": url(host)}).startswith(
            "DATABASE_URL names an Aurora DSQL cluster"
        )


class TestAStoredSecret:
    def test_a_secret_takes_precedence_over_all_but_the_migration_url(self) -> None:
        environ = {**NEON_ENVIRON, **NEON_LEGACY, "MIGRATION_DATABASE_SECRET_ARN": SECRET_ARN}
        target, reading = chooser(environ).migration_target(), chooser(environ).status_target()
        assert target
        assert reading
        assert (target.source, reading.source) == ("MIGRATION_DATABASE_SECRET_ARN", "POSTGRES_URL")
        assert isinstance(target.credential, StoredSecret)
        assert target.credential.account == Account("eu-west-1")
        assert target.credential.defaults == {"host": NEON_POOLED, "dbname": "shop"}
        explicit = chooser({**environ, "MIGRATION_DATABASE_URL": url("h")}).migration_target()
        assert explicit
        assert explicit.source == "MIGRATION_DATABASE_URL"

    def test_the_status_is_read_with_the_secret_if_nothing_else_is_set(self) -> None:
        target = chooser({"MIGRATION_DATABASE_SECRET_ARN": SECRET_ARN}).status_target()
        assert target
        assert target.source == "MIGRATION_DATABASE_SECRET_ARN"

    @pytest.mark.parametrize(
        "value", [SENTINEL, "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-west-1:1:secret:"]
    )
    def test_a_malformed_arn_of_a_secret_is_refused(self, value: str) -> None:
        assert refusal({"MIGRATION_DATABASE_SECRET_ARN": value}).startswith(
            "MIGRATION_DATABASE_SECRET_ARN is not the ARN of a secret; "
            "write arn:aws:secretsmanager:REGION:"
        )


class TestTls:
    """The choice of the variables; what TLS then proves is in test_tls."""

    def test_variables_complete_a_url_without_tls_parameters(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").touch()
        environ = {"PGSSLMODE": "verify-ca", "PGSSLROOTCERT": "ca.pem"}
        silent = chooser({**environ, **PLAIN}, tmp_path).migration_target()
        assert silent
        assert (silent.parameters["sslmode"], silent.parameters["sslrootcert"]) == (
            "verify-ca",
            str(tmp_path / "ca.pem"),
        )
        spoken = chooser(
            {**environ, "DATABASE_URL": url("h", rest="/d?sslmode=require&sslrootcert=system")},
            tmp_path,
        ).status_target()
        assert spoken
        assert (spoken.parameters["sslmode"], spoken.parameters["sslrootcert"]) == (
            "require",
            "system",
        )

    def test_an_empty_parameter_counts_as_absent(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").touch()
        environ = {
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "ca.pem",
            "DATABASE_URL": url("h", rest="/d?sslmode=&sslrootcert="),
        }
        target = chooser(environ, tmp_path).migration_target()
        assert target
        assert (target.parameters["sslmode"], target.parameters["sslrootcert"]) == (
            "verify-full",
            str(tmp_path / "ca.pem"),
        )

    @pytest.mark.parametrize(
        "of_url",
        [url("localhost"), url("h", rest="/d?sslmode=disable"), url("h", rest="/d?sslrootcert=x")],
    )
    def test_a_missing_file_is_no_fault_if_it_is_not_used(self, of_url: str) -> None:
        assert load_settings(
            {"VERCEL": "1", "DATABASE_URL": of_url, "PGSSLROOTCERT": SENTINEL}
        ).migration_target

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    def test_a_tunnel_may_be_verified_with_a_file(self, tmp_path: Path, mode: str) -> None:
        (tmp_path / "ca.pem").touch()
        environ = {
            "DATABASE_URL": url("localhost:6000", rest=f"/d?sslmode={mode}"),
            "PGSSLROOTCERT": "ca.pem",
        }
        target = chooser(environ, tmp_path).migration_target()
        assert target
        assert target.parameters["sslrootcert"] == str(tmp_path / "ca.pem")
        assert tls_parameters(target) == {"sslmode": mode}

    def test_a_missing_file_is_reported_by_the_variable(self) -> None:
        assert refusal({**PLAIN, "PGSSLROOTCERT": SENTINEL}).startswith(
            "PGSSLROOTCERT names a file that does not exist"
        )


def test_no_verify_in_pgsslmode_is_read_as_require_and_reported() -> None:
    target = chooser(
        {"DATABASE_URL": "postgres://u:p@db.example.com/shop", "PGSSLMODE": "no-verify"}
    ).migration_target()
    assert target
    assert target.parameters["sslmode"] == "require"
    assert target.remarks == ("PGSSLMODE=no-verify read as require",)
