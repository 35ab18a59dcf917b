"""Another migration tool: where its files and its ledger are, and how its history is read.

A room of this wing makes one `Tool` per tool out of two functions. `read_folder` reads the files as
they are; `judge` compares them with the rows of the ledger, without I/O: which files are applied,
whether they are those that ran, and what each becomes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Verified(StrEnum):
    """How it was made certain that a file is the one that ran."""

    CHECKSUM = "checksum"
    # The tool keeps the statements that it ran.
    TEXT = "text"


@dataclass(frozen=True)
class Problem:
    """Something that stops an adoption: where, what, and what to do.

    `place` is a path in the tool's folder, with a line where there is one, or a row of the ledger.
    """

    place: str
    fault: str
    remedy: str


@dataclass(frozen=True)
class ToolFile:
    """A file of another tool: `name` as its ledger has it, `path` relative to its folder."""

    name: str
    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class ToolFiles:
    """The migrations in a folder, in the order in which the tool applies them, and what is wrong.

    `left_out` names what has no place in a chain that only goes forward, such as down files.
    """

    files: tuple[ToolFile, ...]
    problems: tuple[Problem, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolLedger:
    """Where a tool keeps what it has applied.

    `columns` are those that the table has at least. `query` reads the rows, with `{table}` for the
    table, once, behind FROM; each value arrives as text, or None. The search_path is pg_catalog,
    TimeZone UTC, DateStyle ISO and bytea_output hex. The table is in one of `schemas`; if that is
    empty, in any schema. A `schema_migrations` in public is also found as it is renamed,
    `schema_migrations_WORD` with underscores in place of hyphens.
    """

    table: str
    columns: frozenset[str]
    query: str
    schemas: tuple[str, ...] = ("public",)


Rows = Sequence[Sequence[str | None]]


@dataclass(frozen=True)
class ToolMigration:
    """One migration of another tool, ready to become a file of ours.

    `sql` is the up part, without the tool's markers. `name` goes into the header, `From: TOOL
    NAME`; `description` into the name of the file. With `is_transactional` false the tool runs it
    outside a transaction. `verified` is None where the tool keeps nothing to compare with, or has
    not run the file.
    """

    name: str
    path: str
    description: str
    sql: str = field(repr=False)
    is_transactional: bool = True
    is_applied: bool = False
    verified: Verified | None = None


@dataclass(frozen=True)
class History:
    """The migrations in the order of application, the applied ones first, and what is wrong.

    Any problem stops the adoption; `notes` do not.
    """

    migrations: tuple[ToolMigration, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool by its word on the command line, as in "prisma", and its own name, as in "Prisma".

    `folders` are where its files usually are, relative to a project's root. `calls` are regular
    expressions of how it is called in package.json, in workflows and in vercel.json.
    """

    word: str
    title: str
    folders: tuple[str, ...]
    ledger: ToolLedger
    read_folder: Callable[[Path], ToolFiles]
    judge: Callable[[ToolFiles, Rows], History]
    calls: tuple[str, ...] = ()
