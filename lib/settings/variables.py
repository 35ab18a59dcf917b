"""Every environment variable that the bundle reads, declared once.

The settings are read by these declarations. The table in README.md and .env.example are written
from them by `python tests/support/variable_documents.py`, and a test compares.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..duration import parse_duration
from ..object_patterns import ObjectPattern, parse_patterns

T = TypeVar("T")

# Who reads a variable.
BUILD, COMMANDS, FUNCTIONS = "build.sh", "commands", "functions"

# What a run does about what it finds: nothing, a warning, or an error.
Policy = Literal["off", "warn", "stop"]
POLICIES: tuple[Policy, ...] = ("off", "warn", "stop")

SHORTEST_SECRET = 16
# The platform whose roles and schemas the embedded PostgreSQL can have.
SUPABASE = "supabase"
# What may stand around a secret: `echo … | vercel env add` leaves a line end. Any other space is a
# part of it.
ASCII_SPACE = " \t\n\r\v\f"

# The words that other tools accept, so that a value that works elsewhere works here.
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def text(value: str) -> str:
    """The value without surrounding spaces; bytes that are not UTF-8 are replaced."""
    return value.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def folder(value: str) -> str:
    """The path, byte for byte: it need not be UTF-8."""
    return value.strip()


def duration(value: str) -> float:
    return parse_duration(text(value))


def optional_duration(value: str) -> float | None:
    """None for the default, which differs from surface to surface."""
    return parse_duration(text(value)) if text(value) else None


def count(value: str) -> int:
    value = text(value)
    # Up to six digits: more could not be meant for a number of retries.
    if not (value.isascii() and value.isdigit() and len(value) < 7):
        raise ValueError("not a whole number, such as 10")
    return int(value)


def flag(value: str) -> bool:
    value = text(value).lower()
    if value not in _TRUE + _FALSE:
        raise ValueError("neither 1 nor 0")
    return value in _TRUE


def local_platform(value: str) -> str:
    value = text(value).lower()
    if value not in ("", SUPABASE):
        raise ValueError(f"not a platform that is known: {SUPABASE} is the only one")
    return value


def policy(value: str) -> Policy:
    word = text(value).lower()
    for known in POLICIES:
        if word == known:
            return known
    raise ValueError(f"none of {', '.join(POLICIES)}")


def object_patterns(value: str) -> tuple[ObjectPattern, ...]:
    return parse_patterns(text(value)) if text(value) else ()


def presence(value: str) -> bool:
    """True for anything but a word for no. build.sh reads VERCEL and CI in the same way."""
    return value.strip(ASCII_SPACE).lower() not in ("", *_FALSE)


def prefix(value: str) -> str:
    """What stands before the names of variables, with its underscore."""
    value = text(value)
    if value and not (value.isascii() and value.isidentifier()):
        raise ValueError("not the beginning of a variable's name, such as STORAGE_")
    return value if not value or value.endswith("_") else f"{value}_"


def secret(value: str) -> str:
    """The token, byte for byte; empty if it is too short to be one."""
    value = value.strip(ASCII_SPACE)
    return value if len(value) >= SHORTEST_SECRET else ""


# A named tuple, because a function pays for its creation at each cold start: a fifth of what a
# frozen dataclass costs.
class Variable(NamedTuple, Generic[T]):
    """An environment variable: how it is read, and what the documents say of it.

    `default` is written as a user would write it, and parsed like any other value. `help` and
    `default_note`, which the README shows in place of the default, are Markdown. `example` is the
    value in .env.example; None leaves the variable out.
    """

    name: str
    parse: Callable[[str], T]
    help: str
    default: str = ""
    default_note: str = ""
    readers: tuple[str, ...] = (COMMANDS, FUNCTIONS)
    example: str | None = ""

    def read(self, environ: Mapping[str, str]) -> T:
        """The value, or that of the default where the variable is unset or blank.

        Raises ValueError, whose message names neither the variable nor the value.
        """
        # A dashboard may set a variable to an empty text, which counts as unset.
        value = environ.get(self.name, "")
        return self.parse(value if value.strip() else self.default)


VARIABLE_PREFIX = Variable(
    "MIGRATION_VARIABLE_PREFIX",
    prefix,
    "What stands before the names of the database's variables, such as `STORAGE_` for "
    "`STORAGE_DATABASE_URL`: an integration of Vercel "
    "[may set them so](docs/environments.md#variables-with-a-prefix).",
    example="STORAGE_",
)

# Which of them is chosen is decided in database_choice, and their values are checked there.
DATABASE = (
    Variable(
        "MIGRATION_DATABASE_URL",
        text,
        "The database to migrate, in preference to all others; a direct connection.",
    ),
    Variable(
        "MIGRATION_DATABASE_SECRET_ARN",
        text,
        "The same, from a secret in [AWS Secrets Manager](docs/providers/aws.md#a-secret).",
    ),
    Variable(
        "POSTGRES_URL_NON_POOLING",
        text,
        "The direct connection to the database of `POSTGRES_URL`; ignored unless that is set.",
    ),
    Variable(
        "DATABASE_URL_UNPOOLED",
        text,
        "The direct connection to the database of `DATABASE_URL`; ignored unless that is set.",
    ),
    Variable(
        "POSTGRES_URL",
        text,
        "The database of the application. The status is read there, and it is migrated unless one "
        "of the above is set.",
    ),
    Variable(
        "DATABASE_URL",
        text,
        "The same as `POSTGRES_URL`, which takes precedence.",
        example="postgresql://USER:PASSWORD@localhost:5432/DATABASE",
    ),
    Variable(
        "NILEDB_POSTGRES_URL",
        text,
        "The database at [Nile](docs/providers/nile.md), if none of the above is set.",
    ),
    Variable("NILEDB_USER", text, "The user for `NILEDB_POSTGRES_URL`."),
    Variable("NILEDB_PASSWORD", text, "The password for `NILEDB_POSTGRES_URL`."),
    Variable(
        "PGHOST",
        text,
        "With `AWS_ROLE_ARN`, and if none of the above is set: the host of "
        "[Aurora PostgreSQL](docs/providers/aws.md), where no password is needed. Also the default "
        "host for a URL without one.",
    ),
    Variable(
        "PGPORT",
        text,
        "The port for `PGHOST`, and the default port for a URL without one.",
        default_note="`5432`",
        example="5432",
    ),
    Variable("PGUSER", text, "The user for `PGHOST`."),
    Variable(
        "PGDATABASE",
        text,
        "The database for `PGHOST`, and the default database for a URL without one.",
    ),
    Variable(
        "AWS_REGION",
        text,
        "The region of the Aurora host.",
        default_note="the region in the name of the host",
    ),
    Variable(
        "AWS_ROLE_ARN",
        text,
        "The role that logs in at Aurora, or reads the secret. Without it, the credentials "
        "that the AWS tools would use.",
    ),
    Variable(
        "VERCEL_OIDC_TOKEN",
        text,
        "Set by Vercel: the token that AWS exchanges for the credentials of the role.",
        default_note="in a function, the header `x-vercel-oidc-token`",
        example=None,
    ),
    Variable(
        "PGSSLMODE",
        text,
        "What TLS has to prove, for a URL without `sslmode`.",
        default_note="[by the host](docs/environments.md#tls)",
        example="require",
    ),
    Variable(
        "PGSSLROOTCERT",
        text,
        "A file of root certificates, relative to the root of the project, for a URL without "
        "`sslrootcert`.",
        default_note="the public authorities",
    ),
)

ENVIRONMENT = Variable(
    "MIGRATION_ENVIRONMENT",
    text,
    "The name of the environment, as in the `Environments:` header of a migration.",
    default_note="`VERCEL_TARGET_ENV`, else `VERCEL_ENV`, else `development`",
    example="development",
)
SECRET = Variable(
    "MIGRATION_SECRET",
    secret,
    "The token of the admin endpoint, such as from `openssl rand -hex 32`; shorter than 16 "
    "characters counts as unset.",
)
SECRET_PREVIOUS = Variable(
    "MIGRATION_SECRET_PREVIOUS",
    secret,
    "The previous token, which stays valid while you rotate it; the same rule.",
)
CONNECT_TIMEOUT = Variable(
    "MIGRATION_CONNECT_TIMEOUT",
    optional_duration,
    "How long connecting is retried, as when a database wakes up.",
    default_note="`30s` (status endpoint: `3s`)",
    example="30s",
)
LOCK_TIMEOUT = Variable(
    "MIGRATION_LOCK_TIMEOUT",
    duration,
    "How long a migration waits for a lock on a table before it backs off.",
    default="2s",
    example="2s",
)
LOCK_RETRIES = Variable(
    "MIGRATION_LOCK_RETRIES",
    count,
    "How many times it is then retried, after pauses of four to six lock timeouts, or up to twice "
    "that while one transaction keeps the table.",
    default="10",
    example="10",
)
RUN_WAIT = Variable(
    "MIGRATION_RUN_WAIT",
    duration,
    "How long a build or the command line waits for another run to end.",
    default="10min",
    readers=(COMMANDS,),
    example="10min",
)
STRICT_ORDER = Variable(
    "MIGRATION_STRICT_ORDER",
    flag,
    "`1`: a file numbered below the newest applied one is an error.",
    default="0",
    example="0",
)
LEDGER_OWNER = Variable(
    "MIGRATION_LEDGER_OWNER",
    text,
    "One more role that is trusted to own the runner's tables; "
    "see [what it trusts](docs/trust.md).",
)
DRIFT = Variable(
    "MIGRATION_DRIFT",
    policy,
    "What a run does if the schema has changed since the last one, by other means than a "
    "migration: `warn` names [the changes](docs/drift.md) and goes on, `stop` ends with exit code "
    "3 before anything is applied, `off` does not look.",
    default="warn",
    example="stop",
)
DRIFT_IGNORE = Variable(
    "MIGRATION_DRIFT_IGNORE",
    object_patterns,
    "What is left out of that comparison: names with commas between them, as `drift` shows them, "
    "where `*` stands for [any text](docs/drift.md#what-is-left-out).",
    example="public.events_*",
)
REVIEW = Variable(
    "MIGRATION_REVIEW",
    policy,
    "What a run does if a pending file [breaks deployed code, or holds up a large table]"
    "(docs/review.md#in-the-build): `warn` says so and goes on, `stop` ends with exit code 3 if "
    "that is severe, before anything is applied, `off` does not look.",
    default="warn",
    example="stop",
)
MIGRATIONS_DIR = Variable(
    "MIGRATIONS_DIR",
    folder,
    "The folder of the files, relative to the root of the project; `vercel.json` "
    "[has to name it too](docs/adopting.md#another-folder-for-the-migrations).",
    default="migrations",
    example="migrations",
)
LOCAL_PLATFORM = Variable(
    "MIGRATION_LOCAL_PLATFORM",
    local_platform,
    "`supabase`: the embedded PostgreSQL has "
    "[the roles, schemas and tables of Supabase](docs/local.md#migrations-for-supabase).",
    readers=(COMMANDS,),
    example="supabase",
)

# Set by the machine. Not for .env files, where `vercel env pull` may write them.
VERCEL = Variable(
    "VERCEL",
    presence,
    "Set by Vercel: no embedded PostgreSQL, no `.env` files; `0`, `false`, `no` and `off` count "
    "as unset.",
    readers=(BUILD, COMMANDS, FUNCTIONS),
    example=None,
)
CI = Variable(
    "CI",
    presence,
    "Set by most CI systems: the same.",
    readers=(BUILD, COMMANDS, FUNCTIONS),
    example=None,
)
VERCEL_ENV = Variable(
    "VERCEL_ENV",
    text,
    "Set by Vercel: `production`, `preview` or `development`.",
    readers=(BUILD, COMMANDS, FUNCTIONS),
    example=None,
)
VERCEL_TARGET_ENV = Variable(
    "VERCEL_TARGET_ENV",
    text,
    "Set by Vercel: the same, or the name of a custom environment.",
    example=None,
)
COMMIT_SHA = Variable(
    "VERCEL_GIT_COMMIT_SHA",
    text,
    "Set by Vercel: recorded with each run, and shown in the status.",
    example=None,
)
COMMIT_REF = Variable("VERCEL_GIT_COMMIT_REF", text, "Set by Vercel: the same.", example=None)
DEPLOYMENT_ID = Variable(
    "VERCEL_DEPLOYMENT_ID", text, "Set by Vercel: recorded with each run.", example=None
)

# Read outside of the settings: by libpq, by bash, and by whatever prints.
ELSEWHERE = (
    Variable(
        "PGOPTIONS",
        text,
        "Options for each session, which libpq reads for a URL without `options`. The schema that "
        "a URL names is added to them.",
        example=None,
    ),
    Variable(
        "FRONTEND_BUILD_COMMAND",
        text,
        "The command that builds the frontend; bash runs it, and stops at the first step that "
        "fails.",
        default_note="`frontend/build.sh`, else `npm run build` in `frontend/`",
        readers=(BUILD,),
        example=None,
    ),
    Variable(
        "VERCEL_URL",
        text,
        "Set by Vercel: the host of the deployment, for the address of the status page in the "
        "build log.",
        readers=(BUILD,),
        example=None,
    ),
    Variable(
        "VERCEL_PROJECT_PRODUCTION_URL",
        text,
        "Set by Vercel: the same, for a build of production.",
        readers=(BUILD,),
        example=None,
    ),
    Variable(
        "PYTHON",
        text,
        "The Python to use, also in `test.sh`.",
        default_note="the first `python3` that is 3.11 or newer",
        readers=(BUILD,),
        example=None,
    ),
    Variable(
        "NO_COLOR", text, "Any value: no color on a terminal.", readers=(COMMANDS,), example=None
    ),
)

# In the order of the documents.
VARIABLES: tuple[Variable[Any], ...] = (
    *DATABASE,
    VARIABLE_PREFIX,
    ENVIRONMENT,
    SECRET,
    SECRET_PREVIOUS,
    CONNECT_TIMEOUT,
    LOCK_TIMEOUT,
    LOCK_RETRIES,
    RUN_WAIT,
    STRICT_ORDER,
    LEDGER_OWNER,
    DRIFT,
    DRIFT_IGNORE,
    REVIEW,
    MIGRATIONS_DIR,
    LOCAL_PLATFORM,
    VERCEL,
    CI,
    VERCEL_ENV,
    VERCEL_TARGET_ENV,
    COMMIT_SHA,
    COMMIT_REF,
    DEPLOYMENT_ID,
    *ELSEWHERE,
)
