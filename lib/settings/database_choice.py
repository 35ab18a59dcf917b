"""Which variable names the database, for migrating and for reading the status, and why that one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from .variables import VARIABLE_PREFIX, text

MIGRATION_URL, SECRET = "MIGRATION_DATABASE_URL", "MIGRATION_DATABASE_SECRET_ARN"
# The variable that an application uses, and the one with the direct connection.
SIBLINGS = {"POSTGRES_URL": "POSTGRES_URL_NON_POOLING", "DATABASE_URL": "DATABASE_URL_UNPOOLED"}
NILE = "NILEDB_POSTGRES_URL"
NILE_LOGIN = {"user": "NILEDB_USER", "password": "NILEDB_PASSWORD"}
ROLE = "AWS_ROLE_ARN"
# What the AWS integration of Vercel sets for Aurora PostgreSQL, which needs no password.
AURORA = {"host": "PGHOST", "user": "PGUSER", "dbname": "PGDATABASE"}

# They complete a URL, or name Aurora with the role.
PLACE = (*PLACE_VARIABLES.values(), "PGUSER")
LOOKED_UP = (
    f"{MIGRATION_URL}, {SECRET}, POSTGRES_URL_NON_POOLING (with POSTGRES_URL), "
    "DATABASE_URL_UNPOOLED (with DATABASE_URL), POSTGRES_URL, DATABASE_URL, "
    f"{NILE}, PGHOST (with {ROLE})"
)
PRISMA = "PRISMA_DATABASE_URL"
# What an integration of Vercel sets if the user has chosen a prefix.
_PREFIXED = re.compile(r"[A-Za-z_]\w*_(?:DATABASE|POSTGRES)_URL", re.ASCII)
# Where the integrations of Prisma put a URL for PostgreSQL.
PRISMA_FALLBACKS = (
    "DATABASE_URL",
    "POSTGRES_URL",
    "DIRECT_URL",
    "DIRECT_DATABASE_URL",
    "DATABASE_URL_POOLED",
)


@dataclass(frozen=True)
class _Names:
    """The variables that name the database of the application: all with one prefix, or none."""

    prefix: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that name a database by themselves, and their siblings."""
        pairs = (name for pair in SIBLINGS.items() for name in pair)
        return tuple(f"{self.prefix}{name}" for name in (*pairs, NILE))

    @property
    def aurora(self) -> tuple[str, ...]:
        """Those that only together name one."""
        return tuple(f"{self.prefix}{name}" for name in (*AURORA.values(), ROLE))

    def are_in(self, environ: Mapping[str, str]) -> bool:
        """True if one of the addresses is set, or all variables of Aurora are."""
        is_set = {name for name in (*self.addresses, *self.aurora) if environ.get(name, "").strip()}
        return bool(is_set & set(self.addresses)) or set(self.aurora) <= is_set


def variable_prefix(environ: Mapping[str, str]) -> str:
    """The prefix that is set; empty if there is none, or if it is malformed."""
    try:
        return VARIABLE_PREFIX.read(environ)
    # Reported where all variables are read.
    except ValueError:
        return ""


def addresses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that are looked up for a URL, the prefixed ones before the others."""
    prefixed = _Names(variable_prefix(environ))
    names = (*(prefixed.addresses if prefixed.prefix else ()), *_Names().addresses)
    return (MIGRATION_URL, SECRET, *names)


def names_database(environ: Mapping[str, str], prefix: str = "") -> bool:
    """True if a variable names a database by itself, or all those of Aurora are set."""
    own = (MIGRATION_URL, SECRET)
    return any(environ.get(name, "").strip() for name in own) or any(
        names.are_in(environ) for names in (_Names(prefix), _Names())
    )


def leading_elsewhere(environ: Mapping[str, str], files: Mapping[str, str]) -> frozenset[str]:
    """The variables in the .env files that could lead to another database than the chosen one."""
    own, theirs = variable_prefix(environ), variable_prefix(files)
    urls, place = _urls_and_place("", own, theirs)
    # A database that `environ` names was chosen on purpose: no prefix may lead past it.
    if names_database(environ, own):
        return frozenset({*urls, *place, VARIABLE_PREFIX.name})
    # Its own variables count as chosen also where a file tells their prefix.
    if names_database(environ, own or theirs):
        return frozenset({*urls, *place})
    # libpq never sees the files, so their PGHOST does not complete their URL; a secret is completed
    # here.
    has_url = any(name in files for name in urls if name != SECRET)
    return frozenset(PLACE if has_url and SECRET not in files else ())


def without_database(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that choose a database."""
    urls, place = _urls_and_place("", variable_prefix(environ))
    return {name: value for name, value in environ.items() if name not in urls | place}


def _urls_and_place(*prefixes: str) -> tuple[set[str], set[str]]:
    urls = {name for prefix in prefixes for name in _Names(prefix).addresses}
    place = {f"{prefix}{name}" for prefix in prefixes for name in PLACE}
    return {MIGRATION_URL, SECRET, *urls}, place


def prefixed_urls(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables with a prefix that hold a URL and may name the database, sorted."""
    known = {*addresses(environ), PRISMA}
    return tuple(
        sorted(
            name
            for name, value in environ.items()
            if name not in known
            and _PREFIXED.fullmatch(name)
            and value.strip().lower().startswith("postgres")
        )
    )


def prefix_of(name: str) -> str:
    """The prefix of one of the `prefixed_urls`."""
    # The name of the variable behind its prefix has two words.
    return name.removesuffix("_URL").rpartition("_")[0] + "_"


@dataclass(frozen=True)
class DatabaseChoice:
    """The choice among the variables of `environ`.

    A path in one is relative to `root`. `web_token` is that of a request. Both methods raise
    ValueError for a fault in the chosen variable, with a message that is safe to print.
    """

    environ: Mapping[str, str] = field(repr=False)
    root: Path
    web_token: str = field(default="", repr=False)

    def migration_target(self) -> ConnectionTarget | None:
        """A direct connection, also if only the provider names one; None if nothing is set."""
        target = (
            self._plain.from_url(MIGRATION_URL)
            or self._from_secret()
            or self._application.migration_target()
        )
        return target and _completed(target, self.environ, self.root).direct

    def status_target(self) -> ConnectionTarget | None:
        """What the application uses, pooled or not; otherwise the migration target."""
        try:
            target = self._application.status_target()
        except PrismaUrlError:
            # An application may use Prisma while MIGRATION_DATABASE_URL names the same database.
            target = None
        target = _completed(target, self.environ, self.root) if target else self.migration_target()
        return target and replace(target, search_path="")

    def get(self, name: str) -> str:
        """The value of the variable; empty if it is unset or blank."""
        return _get(self.environ, name)

    @property
    def _plain(self) -> "_Variables":
        return _Variables(self.environ, self.web_token)

    @property
    def _application(self) -> "_Variables":
        """Those with the prefix if they name a database, else those without: never a mixture."""
        # In a mixed pair, one could lead to production and the other to a preview's database.
        return self._prefixed if self._prefixed.name_a_database else self._plain

    @property
    def _prefixed(self) -> "_Variables":
        return replace(self._plain, prefix=variable_prefix(self.environ))

    @property
    def is_without_its_prefix(self) -> bool:
        """True if a prefix is set, and only variables without it name a database."""
        is_found = self._prefixed.name_a_database
        return not is_found and bool(self._prefixed.prefix) and self._plain.name_a_database

    def _from_secret(self) -> ConnectionTarget | None:
        arn = self.get(SECRET)
        if not arn:
            return None
        match = SECRET_ARN.fullmatch(arn)
        if match is None:
            _refuse_if_pasted(SECRET, arn)
            raise ValueError(
                f"{SECRET} is not the ARN of a secret; "
                "write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
            )
        values = {key: self.get(name) for key, name in PLACE_VARIABLES.items()}
        defaults = {key: value for key, value in values.items() if value}
        credential = StoredSecret(self._plain.account(match[1]), arn, defaults)
        return ConnectionTarget(SECRET, {}, credential=credential)


@dataclass(frozen=True)
class _Variables:
    """The variables of the application, as integrations set them, all with the same prefix."""

    environ: Mapping[str, str] = field(repr=False)
    web_token: str = field(repr=False)
    prefix: str = ""

    @property
    def name_a_database(self) -> bool:
        """True if one of them leads to a database; a direct sibling alone does not."""
        is_aurora = bool(self.get("PGHOST") and self.get(ROLE))
        return is_aurora or any(self.get(name) for name in (*SIBLINGS, NILE))

    def migration_target(self) -> ConnectionTarget | None:
        """The first that is set: a direct sibling, then what the application uses."""
        return (
            self._from_sibling("POSTGRES_URL")
            or self._from_sibling("DATABASE_URL")
            or self.status_target()
            or self._from_nile()
            or self._from_aurora()
        )

    def status_target(self) -> ConnectionTarget | None:
        """What the application uses."""
        return self.from_url("POSTGRES_URL") or self.from_url("DATABASE_URL")

    def get(self, name: str) -> str:
        """The value of the variable with the prefix; empty if it is unset or blank."""
        return _get(self.environ, self._full(name))

    def _full(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def from_url(self, name: str) -> ConnectionTarget | None:
        """Read the URL in this variable; None if it is not set."""
        if not self.get(name):
            return None
        full_name = self._full(name)
        try:
            return read_target(full_name, self.environ[full_name])
        except PrismaUrlError as error:
            for other in PRISMA_FALLBACKS:
                if self.get(other).lower().startswith("postgres"):
                    holder = self._full(other)
                    raise PrismaUrlError(f"{error}, which {holder} holds") from None
            raise

    def _from_sibling(self, name: str) -> ConnectionTarget | None:
        # Without the variable of the application, its sibling may be a leftover.
        target = self.from_url(SIBLINGS[name]) if self.get(name) else None
        return target and replace(target, why=f"the direct sibling of {self._full(name)}")

    def _from_nile(self) -> ConnectionTarget | None:
        """The URL of Nile, whose user and password have variables of their own."""
        target = self.from_url(NILE)
        if target is None:
            return None
        login = {
            key: self.get(name)
            for key, name in NILE_LOGIN.items()
            if not target.parameters.get(key)
        }
        if not all(login.values()):
            user, password = map(self._full, NILE_LOGIN.values())
            raise ValueError(
                f"{self._full(NILE)} has no user and password, "
                f"and {user} and {password} are not both set"
            )
        names = " and ".join(self._full(NILE_LOGIN[key]) for key in login)
        why = f"with {names}" if login else ""
        return replace(target.with_parameters(**login), why=why)

    def _from_aurora(self) -> ConnectionTarget | None:
        host = self.get("PGHOST")
        if not (host and self.get(ROLE)) or is_local(host):
            return None
        check_host(self._full("PGHOST"), host)
        if "," in host:
            raise ValueError(
                f"{self._full('PGHOST')} names several hosts, and a login token is for one"
            )
        # The token is signed for the region of the database, which AWS_REGION need not be.
        region = providers.aws_region(host) or self.get("AWS_REGION")
        self._check_complete(region)
        given = {key: self.get(name) for key, name in AURORA.items()}
        parameters = checked_parameters(
            self._full("PGPORT"), {**given, "port": self.get("PGPORT") or "5432"}
        )
        if "," in parameters["port"]:
            raise ValueError(
                f"{self._full('PGPORT')} names several ports, and a login token is for one"
            )
        token = LoginToken(self.account(region), host, int(parameters["port"]), parameters["user"])
        return ConnectionTarget(
            self._full("PGHOST"),
            parameters,
            why=f"with a login token for {self._full(ROLE)}",
            credential=token,
        )

    def _check_complete(self, region: str) -> None:
        missing = [self._full(name) for name in AURORA.values() if not self.get(name)]
        missing += [] if region else [self._full("AWS_REGION")]
        if missing:
            raise ValueError(
                f"a login token for {self._full('PGHOST')} with {self._full(ROLE)} can't be made "
                f"without {' and '.join(missing)}"
            )

    def account(self, region: str) -> Account:
        """The account of AWS that the variables name."""
        role = self.get(ROLE)
        if role and not ROLE_ARN.fullmatch(role):
            _refuse_if_pasted(self._full(ROLE), role)
            raise ValueError(
                f"{self._full(ROLE)} is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME"
            )
        # That of the request is fresher than that of the build, unless somebody made it up.
        tokens = filter(None, (self.web_token.strip(), _get(self.environ, "VERCEL_OIDC_TOKEN")))
        return Account(region, role or None, tuple(dict.fromkeys(tokens)))


def _get(environ: Mapping[str, str], name: str) -> str:
    return text(environ.get(name, ""))


def _completed(
    target: ConnectionTarget, environ: Mapping[str, str], root: Path
) -> ConnectionTarget:
    """Add what libpq would take from the environment, so that it is shown and checked as well."""
    if target.credential is None and "service" not in target.parameters:
        target = _with_defaults(target, environ, port="PGPORT", dbname="PGDATABASE")
        # With an address in hostaddr, PGHOST would only rename the host.
        if "hostaddr" not in target.parameters:
            target = _with_defaults(target, environ, host="PGHOST")
    target = _with_known_sslmode(_with_defaults(target, environ, sslmode="PGSSLMODE"))
    if "sslrootcert" in target.parameters or _verifies_nothing(target):
        return target
    roots = _root_certificates(environ, root)
    return target.with_parameters(sslrootcert=roots) if roots else target


def _with_defaults(
    target: ConnectionTarget, environ: Mapping[str, str], **names: str
) -> ConnectionTarget:
    """Add the parameters that the target lacks, from the variables that hold them."""
    values = {key: _get(environ, name) for key, name in names.items()}
    missing = {
        key: value for key, value in values.items() if value and key not in target.parameters
    }
    for key, value in missing.items():
        checked_parameters(names[key], {key: value})
        if key == "host":
            check_host(names[key], value)
    return target.with_parameters(**missing)


def _with_known_sslmode(target: ConnectionTarget) -> ConnectionTarget:
    # In a URL read_target has replaced it; this one comes from PGSSLMODE.
    if target.parameters.get("sslmode") != NO_VERIFY:
        return target
    remarks = (*target.remarks, f"PGSSLMODE={NO_VERIFY} read as require")
    return replace(target.with_parameters(sslmode="require"), remarks=remarks)


def _verifies_nothing(target: ConnectionTarget) -> bool:
    """True if libpq would not use root certificates, so that a missing file does no harm."""
    mode = target.parameters.get("sslmode")
    is_plain = mode in ("disable", "allow") or (
        target.is_local and mode not in ("verify-ca", "verify-full")
    )
    return is_plain and target.credential is None


def _root_certificates(environ: Mapping[str, str], root: Path) -> str:
    value = _get(environ, "PGSSLROOTCERT")
    if value in ("", "system"):
        return value
    path = root / value
    if not is_file(path):
        raise ValueError(
            "PGSSLROOTCERT names a file that does not exist; "
            "a path in it is relative to the root of the project"
        )
    return str(path)


def _refuse_if_pasted(name: str, value: str) -> None:
    if fault := pasted_values.fault(value):
        raise ValueError(f"{name} {fault}")
