"""Tools that keep a checksum or the text of a file, run on a database as their users run them.

No registry that the tests reach has Flyway: its ledger is as its source writes it.
"""

import hashlib
import json
import os
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import Database
from node_clients import require_packages
from tool_folders import write_files

UPS = {
    "users": "create table users (id int primary key, email text not null default 'none');\n",
    "greeting": "create function greeting() returns text language sql as $$ select 'it''s' $$;\n",
    "index_of_users": "create index users_email on users (email);\n",
}
COLUMN = {"name_of_users": "alter table users add name text;\n"}

# This version of the adapter cannot read the types "char" and name, which its engine asks for.
_PRISMA_CONFIG = """
import { PrismaPg } from '@prisma/adapter-pg'
async function adapter() {
  const factory: any = new PrismaPg({ connectionString: process.env.DATABASE_URL! })
  const connect = factory.connect.bind(factory)
  factory.connect = async () => {
    const connected = await connect()
    const queryable = Object.getPrototypeOf(Object.getPrototypeOf(connected))
    const perform = queryable.performIO
    queryable.performIO = async function (query: any) {
      const result = await perform.call(this, query)
      for (const field of result.fields)
        if ([18, 19].includes(field.dataTypeID)) field.dataTypeID = 25
      return result
    }
    return connected
  }
  return factory
}
export default {
  experimental: { adapter: true }, engine: 'js', schema: 'schema.prisma',
  migrations: { path: process.env.FOLDER }, adapter,
}
"""
_PRISMA_SCHEMA = """
datasource db {
  provider = "postgresql"
  url = env("DATABASE_URL")
}
generator client {
  provider = "prisma-client-js"
  engineType = "client"
}
"""
_DRIZZLE_CONFIG = """
export default {
  dialect: "postgresql", schema: "./schema.ts", out: process.env.FOLDER,
  dbCredentials: { url: process.env.DATABASE_URL! },
};
"""
_FLYWAY_LEDGER = """
create table if not exists flyway_schema_history (
    "installed_rank" int not null primary key, "version" varchar(50),
    "description" varchar(200) not null, "type" varchar(20) not null,
    "script" varchar(1000) not null, "checksum" integer, "installed_by" varchar(100) not null,
    "installed_on" timestamp not null default now(), "execution_time" integer not null,
    "success" boolean not null)
"""

# None asks its maker's servers anything.
_QUIET = {"DO_NOT_TRACK": "1", "CHECKPOINT_DISABLE": "1", "PRISMA_HIDE_UPDATE_MESSAGE": "1"}


@dataclass(frozen=True)
class CheckedTool:
    """A tool: how it writes texts into files, whose paths are returned, and how it runs them."""

    word: str
    write: Callable[[Path, Mapping[str, str]], list[str]]
    apply: Callable[[Database, Path], None]


def _run(command: Sequence[str | Path], folder: Path, **variables: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **_QUIET, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _with_packages(folder: Path, name: str) -> Path:
    """Return the programs of the packages, which the project above the folder finds too."""
    packages = require_packages(name)
    link = folder.parent / "node_modules"
    if not link.exists():
        link.symlink_to(packages)
    return packages / ".bin"


def _write_prisma(folder: Path, ups: Mapping[str, str]) -> list[str]:
    write_files(folder, {"migration_lock.toml": 'provider = "postgresql"\n'})
    return _written(folder, ups, "2024010{number}000000_{words}/migration.sql")


def _prisma(db: Database, folder: Path) -> None:
    root = folder.parent
    program = _with_packages(folder, "tools") / "prisma"
    write_files(root, {"prisma.config.ts": _PRISMA_CONFIG, "schema.prisma": _PRISMA_SCHEMA})
    variables = {"DATABASE_URL": db.url, "FOLDER": str(folder), "CI": "1"}
    _run([program, "migrate", "deploy"], root, **variables)


def _write_drizzle(folder: Path, ups: Mapping[str, str]) -> list[str]:
    texts = {words: f"{text}--> statement-breakpoint\nselect 1" for words, text in ups.items()}
    paths = _written(folder, texts, "000{number}_{words}.sql")
    entries = [
        {
            "idx": number,
            "version": "7",
            "when": 1704067200000 + number,
            "tag": path.removesuffix(".sql"),
            "breakpoints": True,
        }
        for number, path in enumerate(sorted(path.name for path in folder.glob("*.sql")))
    ]
    journal = json.dumps({"version": "7", "dialect": "postgresql", "entries": entries})
    write_files(folder, {"meta/_journal.json": journal})
    return paths


def _drizzle(db: Database, folder: Path) -> None:
    program = _with_packages(folder, "switching") / "drizzle-kit"
    write_files(folder.parent, {"drizzle.config.ts": _DRIZZLE_CONFIG, "schema.ts": ""})
    _run([program, "migrate"], folder.parent, DATABASE_URL=db.url, FOLDER=str(folder))


def _write_supabase(folder: Path, ups: Mapping[str, str]) -> list[str]:
    return _written(folder, ups, "2024010{number}000000_{words}.sql")


def _supabase(db: Database, folder: Path) -> None:
    program = require_packages("tools") / ".bin" / "supabase"
    root = folder.parent.parent
    write_files(root, {"supabase/config.toml": 'project_id = "test"\n'})
    _run([program, "migration", "up", "--yes", f"--remote={db.url}?sslmode=disable"], root)


def _write_flyway(folder: Path, ups: Mapping[str, str]) -> list[str]:
    return _written(folder, ups, "V{number}__{words}.sql")


def _flyway(db: Database, folder: Path) -> None:
    db.query(_FLYWAY_LEDGER)
    for rank, path in enumerate(sorted(folder.glob("V*.sql")), 1):
        lines = path.read_text().splitlines()
        checksum = zlib.crc32("".join(lines).encode())
        signed = int.from_bytes(checksum.to_bytes(4, "big"), "big", signed=True)
        version, _, words = path.stem.removeprefix("V").partition("__")
        db.query(path.read_text())
        db.query(
            f"insert into flyway_schema_history values ({rank}, '{version}',"
            f" '{words.replace('_', ' ')}', 'SQL', '{path.name}', {signed}, current_user, now(),"
            " 1, true)"
        )


def _write_graphile(folder: Path, ups: Mapping[str, str]) -> list[str]:
    before = "-"
    for path in sorted((folder / "committed").glob("*.sql")):
        before = path.read_text().partition("--! Hash: ")[2].partition("\n")[0]
    texts = {}
    for words, up in ups.items():
        text = f"{'' if before == '-' else before}\n{up}".strip() + "\n"
        digest = f"sha1:{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}"
        texts[words.replace("_", "-")] = f"--! Previous: {before}\n--! Hash: {digest}\n\n{up}"
        before = digest
    return _written(folder, texts, "committed/00000{number}-{words}.sql")


def _graphile(db: Database, folder: Path) -> None:
    program = require_packages("tools") / ".bin" / "graphile-migrate"
    write_files(folder.parent, {".gmrc": json.dumps({"migrationsFolder": str(folder)})})
    variables = {"DATABASE_URL": db.url, "ROOT_DATABASE_URL": db.named("postgres").url}
    _run([program, "migrate"], folder.parent, **variables)


def _written(folder: Path, texts: Mapping[str, str], name: str) -> list[str]:
    """Write each text under the next number, and return the paths."""
    there = [path for path in folder.rglob("*.sql") if path.is_file()]
    files = {
        name.format(number=number, words=words): text
        for number, (words, text) in enumerate(texts.items(), len(there) + 1)
    }
    write_files(folder, files)
    return list(files)


TOOLS = (
    CheckedTool("prisma", _write_prisma, _prisma),
    CheckedTool("drizzle", _write_drizzle, _drizzle),
    CheckedTool("supabase", _write_supabase, _supabase),
    CheckedTool("flyway", _write_flyway, _flyway),
    CheckedTool("graphile-migrate", _write_graphile, _graphile),
)
