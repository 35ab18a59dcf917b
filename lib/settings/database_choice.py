"""Which of the variables names the database, for migrating and for reading the status, and why it is that one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import pasted_values, providers
from .aws import PLACE_VARIABLES, ROLE_ARN, SECRET_ARN, Account, LoginToken, StoredSecret
from .connection_target import ConnectionTarget, is_local
from .connection_url import (
    NO_VERIFY,
    PrismaUrlError,
    check_host,
    checked_parameters,
    read_target,
)
from .tls import is_file

MIGRATION_URL, SECRET = "MIGRATION_DATABASE_URL", "MIGRATION_DATABASE_SECRET_ARN"
# The variable that an application uses, and its direct sibling.
SIBLINGS = {"POSTGRES_URL": "POSTGRES_URL_NON_POOLING", "DATABASE_URL": "DATABASE_URL_UNPOOLED"}
NILE = "NILEDB_POSTGRES_URL"
NILE_LOGIN = {"user": "NILEDB_USER", "password": "NILEDB_PASSWORD"}
# Aurora's, which come without a password.
_AURORA = {"host": "PGHOST", "user": "PGUSER", "dbname": "PGDATABASE"}
ROLE = "AWS_ROLE_ARN"
_PLACE = (*PLACE_VARIABLES.values(), "PGUSER")

# Each of the first leads to a database by itself; the others say more of the way there, or, without any, where it is.
ADDRESSES = (MIGRATION_URL, SECRET, *(name for pair in SIBLINGS.items() for name in pair), NILE)
DATABASE_VARIABLES = (
    *ADDRESSES,
    *NILE_LOGIN.values(),
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "AWS_REGION",
    ROLE,
    "VERCEL_OIDC_TOKEN",
)
LOOKED_UP = (
    f"{MIGRATION_URL}, {SECRET}, POSTGRES_URL_NON_POOLING (with POSTGRES_URL), DATABASE_URL_UNPOOLED (with DATABASE_URL), "
    f"POSTGRES_URL, DATABASE_URL, {NILE}, PGHOST (with {ROLE})"
)
PRISMA = "PRISMA_DATABASE_URL"
# Where Prisma's integrations put a URL of PostgreSQL's own protocol.
PRISMA_FALLBACKS = (
    "DATABASE_URL",
    "POSTGRES_URL",
    "DIRECT_URL",
    "DIRECT_DATABASE_URL",
    "DATABASE_URL_POOLED",
)


def names_database(environ: Mapping[str, str]) -> bool:
    """Tell whether one of the variables leads to a database by itself, or all of Aurora's do together."""
    is_set = {
        name for name in (*ADDRESSES, *_AURORA.values(), ROLE) if environ.get(name, "").strip()
    }
    return bool(is_set & set(ADDRESSES)) or {*_AURORA.values(), ROLE} <= is_set


def leading_elsewhere(environ: Mapping[str, str], files: Mapping[str, str]) -> frozenset[str]:
    """The variables of files that could lead to another database than the one that is chosen.

    One that is chosen in `environ` itself is meant. And a URL of the files' own is not completed by what stands beside it,
    which libpq never saw; a secret is.
    """
    if names_database(environ):
        return frozenset((*ADDRESSES, *_PLACE))
    has_url = any(name in files for name in ADDRESSES if name != SECRET)
    return frozenset(_PLACE if has_url and SECRET not in files else ())


class DatabaseChoice:
    """Chooses among the variables of `environ`; a path in one begins at `root`, and `web_token` is a request's own.

    ValueError says what is wrong with the variable that was chosen, in words that are safe to print.
    """

    def __init__(self, environ: Mapping[str, str], root: Path, web_token: str = "") -> None:
        self._environ = environ
        self._root = root
        self._web_token = web_token.strip()

    def migration_target(self) -> ConnectionTarget | None:
        """A direct connection, where there is one or the provider's names tell of one; None if nothing is set."""
        target = (
            self._of_url(MIGRATION_URL)
            or self._of_secret()
            or self._of_sibling("POSTGRES_URL")
            or self._of_sibling("DATABASE_URL")
            or self._of_url("POSTGRES_URL")
            or self._of_url("DATABASE_URL")
            or self._of_nile()
            or self._of_aurora()
        )
        return target and self._completed(target).direct

    def status_target(self) -> ConnectionTarget | None:
        """What the application uses, pooled or not; else what migrates."""
        try:
            target = self._of_url("POSTGRES_URL") or self._of_url("DATABASE_URL")
        except PrismaUrlError:
            # What is to be used instead is what migrates, if that has been set.
            target = None
        target = self._completed(target) if target else self.migration_target()
        return target and replace(target, search_path="")

    def get(self, name: str) -> str:
        """The variable's value, empty where it is unset or blank; bytes that are no UTF-8 are replaced."""
        return (
            self._environ.get(name, "")
            .strip()
            .encode("utf-8", "surrogateescape")
            .decode("utf-8", "replace")
        )

    def _of_url(self, name: str) -> ConnectionTarget | None:
        if not self.get(name):
            return None
        try:
            return read_target(name, self._environ[name])
        except PrismaUrlError as error:
            beside = (
                other
                for other in PRISMA_FALLBACKS
                if self.get(other).lower().startswith("postgres")
            )
            raise PrismaUrlError(
                f"{error}{''.join(f', which {other} holds' for other in list(beside)[:1])}"
            ) from None

    def _of_sibling(self, name: str) -> ConnectionTarget | None:
        target = self._of_url(SIBLINGS[name]) if self.get(name) else None
        return target and replace(target, why=f"the direct sibling of {name}")

    def _of_nile(self) -> ConnectionTarget | None:
        """Nile's URL comes without a user and a password, which have variables of their own."""
        target = self._of_url(NILE)
        if target is None:
            return None
        login = {
            key: self.get(name)
            for key, name in NILE_LOGIN.items()
            if not target.parameters.get(key)
        }
        if not all(login.values()):
            raise ValueError(
                f"{NILE} has no user and password, and NILEDB_USER and NILEDB_PASSWORD are not both set"
            )
        why = f"with {' and '.join(NILE_LOGIN[key] for key in login)}" if login else ""
        return replace(target, parameters={**target.parameters, **login}, why=why)

    def _of_aurora(self) -> ConnectionTarget | None:
        """What the AWS integration sets for Aurora PostgreSQL. The region in the host's name is the database's."""
        host, role = self.get("PGHOST"), self.get(ROLE)
        if not (host and role) or is_local(host):
            return None
        check_host("PGHOST", host)
        if "," in host:
            raise ValueError("PGHOST names several hosts, and a login token is for one")
        region = providers.aws_region(host) or self.get("AWS_REGION")
        missing = [name for name in _AURORA.values() if not self.get(name)] + ["AWS_REGION"] * (
            not region
        )
        if missing:
            raise ValueError(
                f"a login token for PGHOST with {ROLE} can't be made without {' and '.join(missing)}"
            )
        given = {
            **{key: self.get(name) for key, name in _AURORA.items()},
            "port": self.get("PGPORT") or "5432",
        }
        parameters = checked_parameters("PGPORT", given)
        if "," in parameters["port"]:
            raise ValueError("PGPORT names several ports, and a login token is for one")
        token = LoginToken(self._account(region), host, int(parameters["port"]), parameters["user"])
        return ConnectionTarget(
            "PGHOST", parameters, why=f"with a login token for {ROLE}", credential=token
        )

    def _of_secret(self) -> ConnectionTarget | None:
        arn = self.get(SECRET)
        if not arn:
            return None
        found = SECRET_ARN.fullmatch(arn)
        if found is None:
            _refuse_if_pasted(SECRET, arn)
            raise ValueError(
                f"{SECRET} is no ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
            )
        defaults = {
            key: value for key, name in PLACE_VARIABLES.items() if (value := self.get(name))
        }
        return ConnectionTarget(
            SECRET, {}, credential=StoredSecret(self._account(found[1]), arn, defaults)
        )

    def _account(self, region: str) -> Account:
        role = self.get(ROLE)
        if role and not ROLE_ARN.fullmatch(role):
            _refuse_if_pasted(ROLE, role)
            raise ValueError(f"{ROLE} is no ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME")
        tokens = dict.fromkeys(filter(None, (self._web_token, self.get("VERCEL_OIDC_TOKEN"))))
        return Account(region, role or None, tuple(tokens))

    def _completed(self, target: ConnectionTarget) -> ConnectionTarget:
        """With what libpq would take from the environment where a URL leaves it out, to be told and judged likewise."""
        if target.credential is None and "service" not in target.parameters:
            target = self._with(target, port="PGPORT", dbname="PGDATABASE")
            if "hostaddr" not in target.parameters:
                target = self._with(target, host="PGHOST")
        target = _verifying_by_libpqs_word(self._with(target, sslmode="PGSSLMODE"))
        if "sslrootcert" in target.parameters or self._verifies_nothing(target):
            return target
        roots = self._root_certificates()
        return (
            replace(target, parameters={**target.parameters, "sslrootcert": roots})
            if roots
            else target
        )

    def _verifies_nothing(self, target: ConnectionTarget) -> bool:
        mode = target.parameters.get("sslmode")
        is_plain = mode in ("disable", "allow") or (
            target.is_local and mode not in ("verify-ca", "verify-full")
        )
        return is_plain and target.credential is None

    def _with(self, target: ConnectionTarget, **names: str) -> ConnectionTarget:
        """With the parameters that aren't given, by the variables that have them."""
        missing = {
            key: name
            for key, name in names.items()
            if key not in target.parameters and self.get(name)
        }
        for key, name in missing.items():
            checked_parameters(name, {key: self.get(name)})
            check_host(name, self.get(name) if key == "host" else "")
        return replace(
            target,
            parameters={
                **target.parameters,
                **{key: self.get(name) for key, name in missing.items()},
            },
        )

    def _root_certificates(self) -> str:
        value = self.get("PGSSLROOTCERT")
        if value in ("", "system"):
            return value
        path = self._root / value
        if not is_file(path):
            raise ValueError(
                "PGSSLROOTCERT names a file that isn't there; a path in it begins at the root of the project"
            )
        return str(path)


def _verifying_by_libpqs_word(target: ConnectionTarget) -> ConnectionTarget:
    """PGSSLMODE may hold node-postgres' own word too."""
    if target.parameters.get("sslmode") != NO_VERIFY:
        return target
    parameters = {**target.parameters, "sslmode": "require"}
    return replace(
        target,
        parameters=parameters,
        remarks=(*target.remarks, f"PGSSLMODE={NO_VERIFY} read as require"),
    )


def _refuse_if_pasted(name: str, value: str) -> None:
    if fault := pasted_values.fault(value):
        raise ValueError(f"{name} {fault}")
