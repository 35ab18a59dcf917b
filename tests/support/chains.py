"""Chains of migrations that real projects ship: their packages, their order, their peculiarities.

A package is fetched by its registry's own client into `.local/chains`, once.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from conftest import ROOT

CACHE = ROOT / ".local" / "chains"
FETCH_TIMEOUT = 90


@dataclass(frozen=True)
class Registry:
    """A command that leaves one file in the current folder, and how to unpack that file.

    `joint` joins name and version. Without a joint the version can't be chosen: Debian keeps one at
    a time, and mends it now and then.
    """

    download: tuple[str, ...]
    joint: str | None
    unpack: Callable[[Path, Path], object]


_PIP = (
    sys.executable,
    "-m",
    "pip",
    "download",
    "--quiet",
    "--disable-pip-version-check",
    "--retries=1",
)
PYPI = Registry(
    (*_PIP, "--no-deps", "--only-binary=:all:"),
    "==",
    lambda file, to: shutil.unpack_archive(file, to, "zip"),
)
NPM = Registry(
    ("npm", "pack", "--silent", "--fetch-retries=1"),
    "@",
    lambda file, to: shutil.unpack_archive(file, to, "gztar", filter="data"),
)
DEBIAN = Registry(
    ("apt-get", "download", "--quiet"),
    None,
    lambda file, to: subprocess.run(["dpkg-deb", "--extract", file, to], check=True),
)


@dataclass(frozen=True)
class Package:
    """One version of a package: the one that the tests were written with."""

    registry: Registry
    name: str
    version: str

    def folder(self) -> Path:
        """Return the folder of its files, fetched if need be; skip the test if they can't be."""
        folder = CACHE / f"{self.name.strip('@').replace('/', '-')}-{self.version}"
        if not folder.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                self._fetch(Path(scratch), folder)
        return folder

    def _fetch(self, scratch: Path, folder: Path) -> None:
        self._download(scratch)
        file = next(scratch.iterdir())
        unpacked = scratch / "unpacked"
        self.registry.unpack(file, unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            assert folder.is_dir(), "another session may have been first, and nothing else"

    def _download(self, scratch: Path) -> None:
        wanted = (
            self.name
            if self.registry.joint is None
            else f"{self.name}{self.registry.joint}{self.version}"
        )
        command = [*self.registry.download, wanted]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _missing(f"{wanted}: {error}")
        if done.returncode:
            _missing(f"{wanted}: {' / '.join(done.stderr.strip().splitlines()[-2:])}")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"a package can't be fetched, and CI must have it: {what}", pytrace=False)
    pytest.skip(f"a package can't be fetched: {what}")


@dataclass(frozen=True)
class Chain:
    """The SQL files of a package, in their order.

    `prepare` is SQL for both databases, in place of what the project expects to find.
    `placeholders` are those of the tool of the project. `left_out` are files that psql can't apply
    either, by pattern and with the reason. `in_transactions` is true if the tool of the project
    opens a transaction around each file, and the files rely on that. What `volatile` matches in the
    data is as new as the run.
    """

    title: str
    package: Package
    order: Callable[[Path], Sequence[Path]]
    count: int
    prepare: str = ""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    in_transactions: bool = False
    volatile: str = r"(?!)"

    def files(self) -> dict[str, Path]:
        """Each file by the name that it has for the runner."""
        paths = [
            path for path in self.order(self.package.folder()) if not _matches(path, self.left_out)
        ]
        assert len(paths) == self.count, f"{len(paths)} files"
        return {_name(number, path): path for number, path in enumerate(paths, 1)}

    def content(self, path: Path) -> bytes:
        content = path.read_bytes()
        for placeholder, value in self.placeholders.items():
            content = content.replace(placeholder.encode(), value.encode())
        return content


def _matches(path: Path, patterns: Mapping[str, str]) -> bool:
    return any(fnmatch.fnmatch(str(path), f"*/{pattern}") for pattern in patterns)


def _name(number: int, path: Path) -> str:
    """The runner's name for a file: two components, since Prisma calls every file migration.sql."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{path.parent.name} {path.stem}".lower()).strip("-")
    return f"{number:03}-{words}.sql"


def _sorted(pattern: str) -> Callable[[Path], Sequence[Path]]:
    return lambda folder: sorted(folder.glob(pattern))


def _synapse(folder: Path) -> Sequence[Path]:
    """The schema of version 72, in dumps, then each later version's changes."""
    schema = folder / "synapse" / "storage" / "schema"
    whole = [
        schema / part / "full_schemas/72/full.sql.postgres" for part in ("common", "main", "state")
    ]
    changes = [path for path in schema.glob("*/delta/*/*") if path.suffix in (".sql", ".postgres")]
    return [
        *whole,
        *sorted(
            (p for p in changes if int(p.parent.name) > 72),
            key=lambda p: (int(p.parent.name), p.name),
        ),
    ]


def _kamailio(folder: Path) -> Sequence[Path]:
    """Every module has a row in the table that standard-create.sql makes."""
    return sorted(
        folder.glob("usr/share/kamailio/postgres/*.sql"),
        key=lambda p: (p.name != "standard-create.sql", p.name),
    )


def _ledgersmb(folder: Path) -> Sequence[Path]:
    sql = folder / "usr" / "share" / "ledgersmb" / "sql"
    listed = [
        sql / part / line
        for part in ("changes", "modules")
        for line in _lines(sql / part / "LOADORDER")
    ]
    return [sql / "Pg-database.sql", *listed]


def _lines(path: Path) -> list[str]:
    lines = (line.strip().lstrip("!") for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _sqitch(folder: Path) -> Sequence[Path]:
    changes = re.findall(
        r"^([^%@\s]\S*)", (folder / "package" / "pgpm.plan").read_text(), re.MULTILINE
    )
    return [folder / "package" / "deploy" / f"{change}.sql" for change in changes]


CHAINS = (
    Chain(
        "prisma",
        Package(PYPI, "litellm-proxy-extras", "0.4.110"),
        _sorted("*/migrations/*/migration.sql"),
        220,
    ),
    Chain(
        "another prisma",
        Package(NPM, "@dxheroes/local-mcp-database", "0.7.2"),
        _sorted("**/migrations/*/migration.sql"),
        9,
    ),
    Chain(
        "procrastinate",
        Package(PYPI, "procrastinate", "3.10.0"),
        _sorted("procrastinate/sql/migrations/*.sql"),
        38,
    ),
    Chain(
        "synapse",
        Package(PYPI, "matrix-synapse", "1.163.2"),
        _synapse,
        126,
        placeholders={
            "$%AUTO_INCREMENT_PRIMARY_KEY%$": "bigint generated always as identity primary key"
        },
        volatile=r"\b\d{13}\b",
    ),
    Chain(
        "graphile worker",
        Package(NPM, "graphile-worker", "0.17.3"),
        _sorted("package/sql/*.sql"),
        19,
        prepare="create schema graphile_worker",
        in_transactions=True,
        placeholders={":GRAPHILE_WORKER_SCHEMA": "graphile_worker"},
    ),
    Chain(
        "supabase",
        Package(NPM, "@hot-updater/supabase", "0.35.8"),
        _sorted("**/*.sql"),
        8,
        prepare="create schema storage; "
        "create table storage.buckets (id text primary key, name text, public boolean)",
    ),
    Chain(
        "sqitch",
        Package(NPM, "@pgpm/inflection", "0.16.0"),
        _sqitch,
        16,
        prepare="create extension unaccent; "
        "create function uuid_generate_v4() returns uuid "
        "language sql as 'select gen_random_uuid()'",
        volatile=r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    ),
    Chain("kamailio", Package(DEBIAN, "kamailio-postgres-modules", "5.6.3-2"), _kamailio, 44),
    Chain(
        "ledgersmb",
        Package(DEBIAN, "ledgersmb", "1.6.33+ds-2.1"),
        _ledgersmb,
        77,
        prepare="create extension pg_trgm; create extension btree_gist; create extension tablefunc",
        left_out={
            "changes/1.4/*": (
                "changes that Pg-database.sql has by now; LOADORDER lets most of them fail"
            ),
            "invoice-tbl-cogs-constraint.sql": "Pg-database.sql has it by now",
            "no-inv-entity-tables.sql": "drops what only a file of changes/1.4 makes",
            "admin.sql": "a column oid is not to be had since PostgreSQL 12",
            "Goods.sql": "reads a column that is gone",
            "Roles.sql": "needs admin.sql",
            "Duplicates_Functions.sql": "includes a file by a path of its authors",
        },
    ),
)
