"""The schema of a scratch server as SQL that is the same on every machine, by the wheel's pg_dump.

pg_dump writes one entry after the other, each under a comment of three lines. What stands before
the first one depends on versions, and is written anew.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import MigratorError
from ..escaping import one_line
from ..local.cluster_files import package_folder
from ..own_tables import OWN_TABLES
from ..settings.connection_target import ConnectionTarget
from ..sql.lexer import scan

# Owners, privileges and the places of files are those of a server, and not of the project.
_OPTIONS = (
    "--schema-only",
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-table-access-method",
    "--no-security-labels",
    # With the sequences of their columns, which would be dumped without them.
    *(f"--exclude-table=public.{table}{end}" for table in OWN_TABLES for end in ("", "_id_seq")),
    # Otherwise pg_dump makes one up.
    "--restrict-key=schema",
)
_PREAMBLE = """\
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
"""
_ENTRY = re.compile(r"^--\n-- ([^\n]*)\n--\n", re.MULTILINE)
_NAMED = "Name: "
_NO_OWNER = "; Owner: -"
# What the extension says of itself, which only its owner may set.
_OF_EXTENSION = re.compile(r"Name: EXTENSION .*; Type: COMMENT;")


class Entry(NamedTuple):
    """One object: the comment that names it, and the statements that make it."""

    title: str
    sql: str


def dump(target: ConnectionTarget) -> tuple[Entry, ...]:
    """Return what makes the schema, in the order of pg_dump. Raise MigratorError."""
    done = subprocess.run(
        [str(package_folder() / "bin" / "pg_dump"), *_OPTIONS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(target),
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise MigratorError(f"pg_dump failed: {one_line(' '.join(last))}")
    # A checkout with CRLF must not make other functions: the server keeps their bodies as they are.
    return tuple(_entries(done.stdout.decode("utf-8").replace("\r\n", "\n")))


def schema_text(entries: Iterable[Entry], first_line: str) -> str:
    """Return the text of a file that makes the schema, below a comment."""
    parts = (f"{first_line}\n\n{_PREAMBLE}", *(f"{each.title}\n{each.sql}\n" for each in entries))
    return "\n".join(parts)


def _entries(text: str) -> Iterator[Entry]:
    # In the body of a function, the same three lines are a part of it.
    comments = {start for kind, start, _ in scan(text) if kind == "comment"}
    found = [each for each in _ENTRY.finditer(text) if each.start() in comments]
    ends = [each.start() for each in found[1:]] + [len(text)]
    for heading, end in zip(found, ends, strict=True):
        title = heading[1]
        # The others are the beginning and the end of the dump.
        if title.startswith(_NAMED) and not _OF_EXTENSION.match(title):
            sql = text[heading.end() : end].strip("\n")
            yield Entry(f"-- {title.removesuffix(_NO_OWNER)}", sql)


def _environment(target: ConnectionTarget) -> dict[str, str]:
    """Name the server, and nothing else: not what the caller's PG* variables ask for."""
    return {
        "LC_ALL": "C",
        "PGHOST": target.host,
        "PGPORT": target.port,
        "PGUSER": target.parameters["user"],
        "PGDATABASE": target.database,
        # Everybody on this machine could read an argument.
        "PGPASSWORD": target.parameters["password"],
        "PGSSLMODE": target.parameters["sslmode"],
        "PGTZ": "UTC",
    }
