"""Who is compared: this runner, two lower bounds, and its peers, each with the same SQL."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".local" / "bench"

# The versions that the tables in README.md were measured with; `pg` and psycopg are the drivers
# that some of them need.
VERSIONS = {
    "dbmate": "2.36.0",
    "node-pg-migrate": "9.0.0",
    "postgres-migrations": "5.3.0",
    "alembic": "1.20.1",
    "yoyo-migrations": "9.0.0",
}
NPM_PACKAGES = ("dbmate", "node-pg-migrate", "postgres-migrations")
NPM_DRIVER = "pg@8.23.1"
PYPI_PACKAGES = ("alembic", "yoyo-migrations")

_FLOOR = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    connection.execute("select 1")
"""
_POSTGRES_MIGRATIONS = """
const {{ Client }} = require("{modules}/pg");
const {{ migrate }} = require("{modules}/postgres-migrations");
(async () => {{
  const client = new Client({{ connectionString: process.env.DATABASE_URL }});
  await client.connect();
  try {{ await migrate({{ client }}, "migrations"); }} finally {{ await client.end(); }}
}})().catch((error) => {{ console.error(error); process.exitCode = 1; }});
"""
_ALEMBIC_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_ALEMBIC_REVISION = """
from alembic import op

revision = "{number:04d}"
down_revision = {previous}


def upgrade():
    op.execute('''{sql}''')
"""

Write = Callable[[Path, Sequence[str]], None]


@dataclass(frozen=True)
class Contender:
    """One contender: `write` puts the SQL into a folder, `command` applies it to DATABASE_URL."""

    name: str
    command: tuple[str, ...]
    write: Write
    version: str = ""
    applies: bool = True
    keeps_ledger: bool = True


def contenders(psql: Path) -> list[Contender]:
    """Ours first, then the lower bounds, then those peers that are there."""
    python = sys.executable
    once = (str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", "all.sql")
    return [
        Contender("ours", (python, "-m", "lib", "migrate"), _write_bundle),
        Contender("floor", (python, "-c", _FLOOR), _write_nothing, applies=False),
        Contender("psql", once, _write_psql, keeps_ledger=False),
        *(peer for peer in map(_find, _PEERS) if peer is not None),
    ]


def chosen(found: Sequence[Contender], names: str) -> list[Contender]:
    """Those named, with commas between them; all if none is."""
    return [contender for contender in found if not names or contender.name in names.split(",")]


def absent(found: Sequence[Contender]) -> list[str]:
    names = {contender.name for contender in found}
    return [peer.name for peer in _PEERS if peer.name not in names]


def install() -> None:
    """Install the peers in `.local/bench/`, without running the scripts of their packages."""
    PEERS.mkdir(parents=True, exist_ok=True)
    if shutil.which("npm"):
        npm = (
            "npm",
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(PEERS),
        )
        packages = [f"{name}@{VERSIONS[name]}" for name in NPM_PACKAGES]
        subprocess.run([*npm, *packages, NPM_DRIVER], check=True, timeout=600)
    else:
        print("npm is not on the PATH: the peers written for Node.js are left out.")
    venv.create(PEERS / "venv", with_pip=True, clear=True)
    pip = (
        str(PEERS / "venv" / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    )
    packages = [f"{name}=={VERSIONS[name]}" for name in PYPI_PACKAGES]
    subprocess.run(
        [*pip, *packages, f"psycopg[binary]=={version('psycopg')}"], check=True, timeout=600
    )


@dataclass(frozen=True)
class _Peer:
    """A peer that may be installed: a pattern below `.local/bench/`, or a name on the PATH."""

    name: str
    program: str
    arguments: tuple[str, ...]
    write: Write


def _find(peer: _Peer) -> Contender | None:
    here = next(iter(sorted(PEERS.glob(peer.program))), None)
    program = str(here) if here else shutil.which(Path(peer.program).name)
    if program is None:
        return None
    # A library has no program of its own: its command is all arguments.
    command = peer.arguments if program.endswith(".js") else (program, *peer.arguments)
    return Contender(
        peer.name, command, peer.write, VERSIONS[peer.name] if here else "from the PATH"
    )


def _write_nothing(folder: Path, scripts: Sequence[str]) -> None:
    """The floor reads no files."""


def _write_files(folder: Path, names: Sequence[str], texts: Sequence[str]) -> None:
    folder.mkdir()
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_text(text)


def _write_bundle(folder: Path, scripts: Sequence[str]) -> None:
    shutil.copytree(ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    _write_files(
        folder / "migrations",
        [f"{n:04d}-create-a-table.sql" for n, _ in enumerate(scripts, 1)],
        scripts,
    )


def _write_psql(folder: Path, scripts: Sequence[str]) -> None:
    names = [f"{number:04d}.sql" for number, _ in enumerate(scripts, 1)]
    _write_files(folder / "migrations", names, scripts)
    (folder / "all.sql").write_text("".join(f"\\i migrations/{name}\n" for name in names))


def _write_dbmate(folder: Path, scripts: Sequence[str]) -> None:
    names = [f"{20260101000000 + n}_create_a_table.sql" for n, _ in enumerate(scripts, 1)]
    _write_files(
        folder / "migrations",
        names,
        [f"-- migrate:up\n{sql}\n-- migrate:down\n" for sql in scripts],
    )


def _write_node_pg_migrate(folder: Path, scripts: Sequence[str]) -> None:
    names = [f"{1767225600000 + n}_create-a-table.sql" for n, _ in enumerate(scripts, 1)]
    _write_files(
        folder / "migrations",
        names,
        [f"-- Up Migration\n{sql}\n-- Down Migration\n" for sql in scripts],
    )


def _write_postgres_migrations(folder: Path, scripts: Sequence[str]) -> None:
    _write_files(
        folder / "migrations",
        [f"{n}_create-table-{n}.sql" for n, _ in enumerate(scripts, 1)],
        scripts,
    )
    (folder / "migrate.js").write_text(_POSTGRES_MIGRATIONS.format(modules=PEERS / "node_modules"))


def _write_alembic(folder: Path, scripts: Sequence[str]) -> None:
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = scripts\n")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "env.py").write_text(_ALEMBIC_ENV)
    revisions = [
        _ALEMBIC_REVISION.format(
            number=n, previous=repr(f"{n - 1:04d}") if n > 1 else None, sql=sql
        )
        for n, sql in enumerate(scripts, 1)
    ]
    _write_files(
        folder / "scripts" / "versions",
        [f"r{n:04d}.py" for n, _ in enumerate(scripts, 1)],
        revisions,
    )


def _write_yoyo(folder: Path, scripts: Sequence[str]) -> None:
    # yoyo fills in variables of the environment itself.
    database = "postgresql+psycopg://%(PGUSER)s:%(PGPASSWORD)s@%(PGHOST)s:%(PGPORT)s/%(PGDATABASE)s?sslmode=disable"
    (folder / "yoyo.ini").write_text(
        f"[DEFAULT]\nsources = migrations\ndatabase = {database}\nbatch_mode = on\n"
    )
    _write_files(
        folder / "migrations",
        [f"{n:04d}.create-a-table.sql" for n, _ in enumerate(scripts, 1)],
        scripts,
    )


_PEERS = (
    _Peer(
        "dbmate",
        "node_modules/@dbmate/*/bin/dbmate",
        ("-d", "migrations", "--no-dump-schema", "migrate"),
        _write_dbmate,
    ),
    _Peer(
        "node-pg-migrate",
        "node_modules/.bin/node-pg-migrate",
        ("up", "-m", "migrations"),
        _write_node_pg_migrate,
    ),
    _Peer(
        "postgres-migrations",
        "node_modules/postgres-migrations/dist/index.js",
        ("node", "migrate.js"),
        _write_postgres_migrations,
    ),
    _Peer("alembic", "venv/bin/alembic", ("upgrade", "head"), _write_alembic),
    _Peer("yoyo-migrations", "venv/bin/yoyo", ("apply",), _write_yoyo),
)
