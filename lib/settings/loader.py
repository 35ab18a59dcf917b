"""The settings: one frozen object, filled once from a mapping. Nothing deeper reads the environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..deployment import Deployment
from ..duration import parse_duration
from ..errors import ConfigurationError
from .connection_target import ConnectionTarget
from .database_choice import (
    ADDRESSES,
    DATABASE_VARIABLES,
    LOOKED_UP,
    PRISMA,
    DatabaseChoice,
    leading_elsewhere,
)
from .tls import relies_on_public_authorities, tls_parameters

ROOT = Path(__file__).resolve().parents[2]
SHORTEST_SECRET = 16
# What may stand around a token; other spaces are a part of it. `echo … | vercel env add` leaves a line end.
ASCII_SPACE = " \t\n\r\v\f"

# Every variable that is read, in the order of the documents; a test holds the README to it.
VARIABLES = (
    *DATABASE_VARIABLES,
    "MIGRATION_ENVIRONMENT",
    "MIGRATION_SECRET",
    "MIGRATION_SECRET_PREVIOUS",
    "MIGRATION_CONNECT_TIMEOUT",
    "MIGRATION_LOCK_TIMEOUT",
    "MIGRATION_LOCK_RETRIES",
    "MIGRATION_RUN_WAIT",
    "MIGRATION_STRICT_ORDER",
    "MIGRATION_LEDGER_OWNER",
    "MIGRATIONS_DIR",
    "VERCEL",
    "CI",
    "VERCEL_ENV",
    "VERCEL_TARGET_ENV",
    "VERCEL_GIT_COMMIT_SHA",
    "VERCEL_GIT_COMMIT_REF",
    "VERCEL_DEPLOYMENT_ID",
)

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """What the environment asks for. Durations are in seconds.

    The targets are None where no URL is set on a machine that may use the embedded PostgreSQL,
    and never in production. `is_hosted` on Vercel and in a CI.
    """

    environment: str
    migration_target: ConnectionTarget | None
    status_target: ConnectionTarget | None
    migrations_dir: Path
    deployment: Deployment = field(default_factory=Deployment)
    admin_secrets: tuple[str, ...] = field(default=(), repr=False)
    connect_timeout: float | None = None
    lock_timeout: float = 2.0
    lock_retries: int = 10
    run_wait: float = 600.0
    strict_order: bool = False
    ledger_owner: str | None = None
    is_hosted: bool = False

    def connect_patience(self, default: float) -> float:
        """How long connecting is tried; the default differs from surface to surface."""
        return default if self.connect_timeout is None else self.connect_timeout

    @property
    def packages(self) -> tuple[str, ...]:
        """What these databases need of packages beyond what the bundle always needs."""
        targets = [
            target for target in (self.migration_target, self.status_target) if target is not None
        ]
        wanted = {"boto3": any(target.credential for target in targets)}
        wanted["certifi"] = any(
            not target.is_located or relies_on_public_authorities(target) for target in targets
        )
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be printed."""
        targets = (
            target for target in (self.migration_target, self.status_target) if target is not None
        )
        return (*self.admin_secrets, *(secret for target in targets for secret in target.secrets))


def load_settings(
    environ: Mapping[str, str], *, root: Path = ROOT, web_token: str = ""
) -> Settings:
    """Read the settings from `environ`, which `with_env_files` may have filled up. `web_token` is that of a request.

    Raises ConfigurationError with every fault at once.
    """
    return _Reader(environ, root, web_token).settings()


def with_env_files(environ: Mapping[str, str], *, root: Path = ROOT) -> Mapping[str, str]:
    """Add what `.env` and `.env.local` set, for local work; on Vercel and in CI `environ` is all there is.

    A variable already set wins, then `.env.local`; a database URL that is already set wins over every URL of the files.
    `VERCEL*` and `CI` in the files are ignored: `vercel env pull` writes them, and they would make a laptop look like a
    build.
    """
    if is_hosted(environ):
        return environ
    merged: dict[str, str] = {}
    for name in (".env", ".env.local"):
        merged.update(_read_env_file(root / name))
    left_out = leading_elsewhere(environ, merged)
    kept = {key: value for key, value in merged.items() if key not in left_out}
    return {**environ, **kept, **{key: value for key, value in environ.items() if value}}


def is_hosted(environ: Mapping[str, str]) -> bool:
    """Tell whether this is Vercel or a CI, where a missing database is an error."""
    return is_on_vercel(environ) or _is_marked(environ, "CI")


def is_on_vercel(environ: Mapping[str, str]) -> bool:
    """Tell whether this is Vercel."""
    return _is_marked(environ, "VERCEL")


def _is_marked(environ: Mapping[str, str], name: str) -> bool:
    """Tell whether the variable is set to anything but a word for no; build.sh asks likewise."""
    value = environ.get(name, "").strip(ASCII_SPACE).lower()
    return value != "" and value not in _FALSE


def migrations_dir(environ: Mapping[str, str], *, root: Path = ROOT) -> Path:
    return root / (environ.get("MIGRATIONS_DIR", "").strip() or "migrations")


def read_admin_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The tokens that open the admin endpoint; none where `MIGRATION_SECRET` is unset or too short to be one."""
    names = ("MIGRATION_SECRET", "MIGRATION_SECRET_PREVIOUS")
    current, previous = (environ.get(name, "").strip(ASCII_SPACE) for name in names)
    if len(current) < SHORTEST_SECRET:
        return ()
    return (current, previous) if len(previous) >= SHORTEST_SECRET else (current,)


def secret_bytes(secret: str) -> bytes:
    """The bytes that the variable holds, whatever the locale has made of them."""
    return secret.encode("utf-8", "surrogateescape")


def _read_env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigurationError(
            f"{path.name} is there, but python-dotenv, which reads it, is not: pip install -r requirements-local.txt"
        ) from None
    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeError):
        raise ConfigurationError(
            f"{path.name} can't be read; it has to be a UTF-8 text file of NAME=value lines"
        ) from None
    return {
        key: value
        for key, value in values.items()
        if value and key != "CI" and not key.startswith("VERCEL")
    }


class _Reader:
    """Reads one variable after the other and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str], root: Path, web_token: str) -> None:
        self.environ = environ
        self.root = root
        self.chooser = DatabaseChoice(environ, root, web_token)
        self.faults: list[str] = []

    def settings(self) -> Settings:
        migrating, reading = (
            self.target(self.chooser.migration_target),
            self.target(self.chooser.status_target),
        )
        if (
            migrating is None
            and not self.faults
            and (is_hosted(self.environ) or self.environment() == "production")
        ):
            self.faults.append(self.nothing_is_set())
        settings = Settings(
            environment=self.environment(),
            migration_target=migrating,
            status_target=reading,
            migrations_dir=migrations_dir(self.environ, root=self.root),
            deployment=Deployment(
                self.get("VERCEL_GIT_COMMIT_SHA"),
                self.get("VERCEL_GIT_COMMIT_REF"),
                self.get("VERCEL_DEPLOYMENT_ID"),
            ),
            admin_secrets=read_admin_secrets(self.environ),
            connect_timeout=self.duration("MIGRATION_CONNECT_TIMEOUT"),
            lock_timeout=self.duration("MIGRATION_LOCK_TIMEOUT", 2.0) or 0.0,
            lock_retries=self.count("MIGRATION_LOCK_RETRIES", 10),
            run_wait=self.duration("MIGRATION_RUN_WAIT", 600.0) or 0.0,
            strict_order=self.flag("MIGRATION_STRICT_ORDER"),
            ledger_owner=self.get("MIGRATION_LEDGER_OWNER"),
            is_hosted=is_hosted(self.environ),
        )
        if self.faults:
            raise ConfigurationError(*dict.fromkeys(self.faults))
        return settings

    def environment(self) -> str:
        name = self.get("MIGRATION_ENVIRONMENT", "VERCEL_TARGET_ENV", "VERCEL_ENV") or "development"
        return name.lower()

    def get(self, *names: str) -> str | None:
        """The first of the variables that is set and not blank."""
        return next((value for name in names if (value := self.chooser.get(name))), None)

    def target(self, choose: Callable[[], ConnectionTarget | None]) -> ConnectionTarget | None:
        """What is chosen, if it can be connected to at all as far as can be said before it is tried."""
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

    def nothing_is_set(self) -> str:
        prismas = (
            f" {PRISMA} is of Prisma's own protocol, and no way to a PostgreSQL."
            if self.get(PRISMA)
            else ""
        )
        blank = [name for name in ADDRESSES if name in self.environ and not self.get(name)]
        empty = f" Set, but empty: {', '.join(blank)}." if blank else ""
        way_out = (
            "Connect a database to the Vercel project, or set one of them for this environment."
            if is_hosted(self.environ)
            else "The environment is production, which never means the embedded PostgreSQL: "
            "set one of them to its database."
        )
        return f"No database URL is set. Looked up: {LOOKED_UP}.{empty}{prismas} {way_out}"

    def duration(self, name: str, default: float | None = None) -> float | None:
        value = self.get(name)
        if value is None:
            return default
        try:
            return parse_duration(value)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return default

    def count(self, name: str, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 7):
            self.faults.append(f"{name}: no whole number of tries, such as 10")
            return default
        return int(value)

    def flag(self, name: str) -> bool:
        value = (self.get(name) or "0").lower()
        if value not in _TRUE + _FALSE:
            self.faults.append(f"{name}: neither 1 nor 0")
        return value in _TRUE
