"""The settings: one frozen object, filled once from a mapping.

Nothing deeper reads the environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .. import ROOT
from ..deployment import Deployment
from ..errors import ConfigurationError
from ..object_patterns import ObjectPattern
from . import variables
from .connection_target import ConnectionTarget
from .database_choice import (
    LOOKED_UP,
    PRISMA,
    DatabaseChoice,
    addresses,
    leading_elsewhere,
    prefix_of,
    prefixed_urls,
    variable_prefix,
)
from .tls import relies_on_public_authorities, tls_parameters
from .variables import Policy, Variable

T = TypeVar("T")

# Of more variables with a prefix than this, an error names the first.
MOST_NAMES = 5

# As Next.js reads them: a later file overrides an earlier one.
_ENV_FILES = (".env", ".env.development", ".env.local", ".env.development.local")


@dataclass(frozen=True)
class Settings:
    """What the environment asks for. Durations are in seconds.

    The targets are None where no URL is set on a machine that may use the embedded PostgreSQL,
    and never in production. `is_hosted` is True on Vercel and in a CI system.
    """

    environment: str
    migration_target: ConnectionTarget | None
    status_target: ConnectionTarget | None
    migrations_dir: Path
    deployment: Deployment = field(default_factory=Deployment)
    admin_secrets: tuple[str, ...] = field(default=(), repr=False)
    connect_timeout: float | None = variables.CONNECT_TIMEOUT.read({})
    lock_timeout: float = variables.LOCK_TIMEOUT.read({})
    lock_retries: int = variables.LOCK_RETRIES.read({})
    run_wait: float = variables.RUN_WAIT.read({})
    strict_order: bool = variables.STRICT_ORDER.read({})
    ledger_owner: str | None = None
    drift: Policy = "warn"
    drift_ignore: tuple[ObjectPattern, ...] = ()
    review: Policy = "warn"
    is_hosted: bool = False

    def connect_timeout_or(self, default: float) -> float:
        """The seconds for which connecting is retried; the default differs between surfaces."""
        return default if self.connect_timeout is None else self.connect_timeout

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that these databases need, beyond those that the bundle always needs."""
        wanted = {
            "boto3": any(target.credential for target in self._targets),
            "certifi": any(
                # Before a secret is read nobody knows the host.
                not target.is_located or relies_on_public_authorities(target)
                for target in self._targets
            ),
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be printed."""
        return (
            *self.admin_secrets,
            *(secret for target in self._targets for secret in target.secrets),
        )

    @property
    def _targets(self) -> tuple[ConnectionTarget, ...]:
        return tuple(filter(None, (self.migration_target, self.status_target)))


def load_settings(
    environ: Mapping[str, str], *, root: Path = ROOT, web_token: str = ""
) -> Settings:
    """Read the settings. `environ` may come from `with_env_files`, `web_token` from a request.

    Raises ConfigurationError with every fault at once.
    """
    return _Reader(environ, root, web_token).settings()


def names_database(environ: Mapping[str, str], *, root: Path = ROOT) -> bool:
    """True if a variable names the database that is migrated, be it malformed."""
    try:
        return DatabaseChoice(environ, root, "").migration_target() is not None
    except (ValueError, ConfigurationError):
        return True


def with_env_files(environ: Mapping[str, str], *, root: Path = ROOT) -> Mapping[str, str]:
    """Add what the `.env` files set, for local work; on Vercel and in CI nothing is added.

    A variable that is already set takes precedence, then the files as Next.js orders them. A
    database URL that is already set takes precedence over every URL of the files.
    """
    # A file that was committed by mistake must not add to the variables of the platform.
    if is_hosted(environ):
        return environ
    merged: dict[str, str] = {}
    # By `environ` alone: a file that says what the environment is can't unread another one.
    is_development = _environment(environ) == "development"
    for name in _ENV_FILES:
        if is_development or "development" not in name:
            merged.update(_read_env_file(root / name))
    left_out = leading_elsewhere(environ, merged)
    kept = {key: value for key, value in merged.items() if key not in left_out}
    # An empty variable counts as unset, so that a file may set it.
    return {**environ, **kept, **{key: value for key, value in environ.items() if value}}


def is_hosted(environ: Mapping[str, str]) -> bool:
    """True on Vercel and in a CI system, where a missing database is an error."""
    return is_on_vercel(environ) or variables.CI.parse(environ.get("CI", ""))


def is_on_vercel(environ: Mapping[str, str]) -> bool:
    # Parsed rather than read: a value counts as blank exactly where it does in build.sh.
    return variables.VERCEL.parse(environ.get("VERCEL", ""))


def migrations_dir(environ: Mapping[str, str], *, root: Path = ROOT) -> Path:
    return root / variables.MIGRATIONS_DIR.read(environ)


def local_platform(environ: Mapping[str, str]) -> str:
    """The platform whose roles and schemas the embedded PostgreSQL is to have; empty for none."""
    variable = variables.LOCAL_PLATFORM
    try:
        return variable.read(environ)
    except ValueError as error:
        raise ConfigurationError(f"{variable.name}: {error}") from None


def read_admin_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The tokens that the admin endpoint accepts; none without a usable `MIGRATION_SECRET`."""
    current, previous = variables.SECRET.read(environ), variables.SECRET_PREVIOUS.read(environ)
    # The previous token alone would keep a door open that was meant to be closed.
    return tuple(filter(None, (current, previous))) if current else ()


def secret_bytes(secret: str) -> bytes:
    """The bytes of the variable, however the locale has decoded them."""
    # Python decodes the environment with surrogateescape (PEP 383).
    return secret.encode("utf-8", "surrogateescape")


def _environment(environ: Mapping[str, str]) -> str:
    names = (variables.ENVIRONMENT, variables.VERCEL_TARGET_ENV, variables.VERCEL_ENV)
    return next(filter(None, (name.read(environ) for name in names)), "development").lower()


def _read_env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigurationError(
            f"{path.name} is there, but python-dotenv, which reads it, is not installed: "
            "pip install -r requirements-local.txt"
        ) from None
    try:
        # Without interpolation, since a password may hold a $.
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeError):
        raise ConfigurationError(
            f"{path.name} can't be read; it has to be a UTF-8 text file of NAME=value lines"
        ) from None
    # `vercel env pull` writes VERCEL* and CI, which would make a laptop look like a build.
    return {
        key: value
        for key, value in values.items()
        if value and key != "CI" and not key.startswith("VERCEL")
    }


class _Reader:
    """Reads one variable after the other, and collects the faults."""

    def __init__(self, environ: Mapping[str, str], root: Path, web_token: str) -> None:
        self.environ = environ
        self.root = root
        self.choice = DatabaseChoice(environ, root, web_token)
        self.faults: list[str] = []

    def settings(self) -> Settings:
        # A malformed one is a fault: without it, another database might be chosen.
        prefix = self.value(variables.VARIABLE_PREFIX)
        # On a laptop it may well be: `vercel env pull` brings the prefix, and the local database
        # has none.
        if is_hosted(self.environ) and self.choice.is_without_its_prefix:
            self.faults.append(
                f"{variables.VARIABLE_PREFIX.name} is {prefix}, but no variable with that prefix "
                "names a database here. Those without it may be of another database, and are not "
                f"taken: set {prefix}DATABASE_URL, or remove {variables.VARIABLE_PREFIX.name}."
            )
        migration_target = self.target(self.choice.migration_target)
        status_target = self.target(self.choice.status_target)
        # With a fault a variable was set, only not to a usable value.
        if migration_target is None and not self.faults and self.needs_database():
            self.faults.append(self.nothing_is_set())
        settings = Settings(
            environment=_environment(self.environ),
            migration_target=migration_target,
            status_target=status_target,
            migrations_dir=migrations_dir(self.environ, root=self.root),
            deployment=self.deployment(),
            admin_secrets=read_admin_secrets(self.environ),
            connect_timeout=self.value(variables.CONNECT_TIMEOUT),
            lock_timeout=self.value(variables.LOCK_TIMEOUT),
            lock_retries=self.value(variables.LOCK_RETRIES),
            run_wait=self.value(variables.RUN_WAIT),
            strict_order=self.value(variables.STRICT_ORDER),
            ledger_owner=self.value(variables.LEDGER_OWNER) or None,
            drift=self.value(variables.DRIFT),
            drift_ignore=self.value(variables.DRIFT_IGNORE),
            review=self.value(variables.REVIEW),
            is_hosted=is_hosted(self.environ),
        )
        if self.faults:
            # Both targets may come from one variable, whose fault is then found twice.
            raise ConfigurationError(*dict.fromkeys(self.faults))
        return settings

    def value(self, variable: Variable[T]) -> T:
        """The value; that of the default if there is a fault, which is collected."""
        try:
            return variable.read(self.environ)
        except ValueError as error:
            self.faults.append(f"{variable.name}: {error}")
            return variable.read({})

    def deployment(self) -> Deployment:
        return Deployment(
            self.value(variables.COMMIT_SHA) or None,
            self.value(variables.COMMIT_REF) or None,
            self.value(variables.DEPLOYMENT_ID) or None,
        )

    def target(self, choose: Callable[[], ConnectionTarget | None]) -> ConnectionTarget | None:
        """The chosen target, unless a fault shows before any connection is tried."""
        try:
            target = choose()
            if target and target.needs_verified_host:
                tls_parameters(target)
        except ValueError as error:
            self.faults.append(str(error))
        except ConfigurationError as error:
            self.faults += error.faults
        else:
            return target
        return None

    def needs_database(self) -> bool:
        """True where the embedded PostgreSQL must not be used."""
        return is_hosted(self.environ) or _environment(self.environ) == "production"

    def nothing_is_set(self) -> str:
        names = addresses(self.environ)
        is_set = {name for name in (*names, PRISMA) if self.choice.get(name)}
        prisma = f" {PRISMA} is for the protocol of Prisma, not for PostgreSQL."
        blank = [name for name in names if name in self.environ and name not in is_set]
        empty = f" Set, but empty: {', '.join(blank)}."
        way_out = (
            "Connect a database to the Vercel project, or set one of them for this environment."
            if is_hosted(self.environ)
            else "The environment is production, which never means the embedded PostgreSQL: "
            "set one of them to its database."
        )
        prefix = variable_prefix(self.environ)
        first = f", the last six first with the prefix {prefix}" if prefix else ""
        return (
            f"No database URL is set. Looked up: {LOOKED_UP}{first}.{empty if blank else ''}"
            f"{prisma if PRISMA in is_set else ''}{self.prefixed()} {way_out}"
        )

    def prefixed(self) -> str:
        """Name the variables that an integration has set with a prefix, if there are any."""
        names = prefixed_urls(self.environ)
        if not names:
            return ""
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        given = variables.VARIABLE_PREFIX.name
        return (
            f" With a prefix: {', '.join(names[:MOST_NAMES])}{more}. If one of them names the "
            f"database, set {given} to its prefix, as in {given}={prefix_of(names[0])}."
        )
