"""Whose the runner's tables are, and whether anything in them runs code. Looked at before any use.

The owner of a table, and whoever may put a trigger on it, can have code run with the rights of
those who write to it. A table of a trusted owner may hold what that owner put there, as long as it
calls nobody else's functions. A table of anybody else may hold nothing that runs code. The check
is a statement that fails in the server, so that what follows in its message does not run.

Trusted are the role that has logged in, superusers, the roles that the caller names, and those
whose rights that role inherits by grants, unless others may act as them: `postgres` of Supabase
inherits `anon`, which everybody may be. Two other notions do not work. `pg_has_role` counts a
superuser, and whoever created a role, as its member. The current role is not the one that logged
in: the owner of a database may have every session begin as any role, and code that runs as that
role may become the one that logged in.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from ..database.connection import Connection
from ..database.send_and_receive import Rows
from ..database.server_error import StatementError
from ..database.sql_composition import filled, joined
from ..errors import LedgerError
from ..own_tables import LEDGER, RUNS
from .trust_queries import (
    CHECK,
    CHECK_OBJECTS,
    CHECK_SEEDS,
    CODE,
    COMPARE,
    COUNTED,
    GLANCE,
    INTACT,
    LOCK,
    LOCK_TO_READ,
    REMEMBER,
    RIGHTS,
    UNCHANGED,
)

# All that a role needs that owns nothing.
GRANTS = (
    "Grant it, as the tables' owner: grant usage on schema public to ROLE; "
    f"grant select, insert on public.{LEDGER} to ROLE; "
    f"grant usage on sequence public.{LEDGER}_id_seq to ROLE; "
    f"grant select, insert, update on public.{RUNS} to ROLE. Where the tables do not exist yet, "
    "the first run creates them: grant create on schema public to ROLE."
)
UNRECORDED = (
    "Something on the runner's tables does something else in place of what was to be written "
    "there: nothing was written. "
    f"Look at the triggers and rules of public.{LEDGER} and public.{RUNS} (\\d+ in psql), and drop "
    "that one."
)


@dataclass(frozen=True)
class Table:
    """One of the two tables, as the catalog has it.

    `filenode` changes with TRUNCATE and with whatever else rewrites the table; `seal` changes if
    what runs code there may have changed, `shape` if the meaning of the ledger's rows has.
    `closing` is the SQL that takes away the rights of others, `lacking` the rights that the role
    would need to write, such as `insert` or `usage on sequence …`. `owner` is empty if it is
    trusted.
    """

    name: str
    oid: str
    filenode: str
    seal: str
    shape: str
    columns: tuple[str, ...]
    closing: str = ""
    lacking: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Tables:
    """Those of the two tables that exist, as they were when they were found to be trusted.

    `trusted` names the roles that were trusted besides the usual; `at_a_glance` is true if nothing
    had to be weighed.
    """

    found: Mapping[str, Table]
    trusted: tuple[str, ...]
    at_a_glance: bool

    @property
    def check(self) -> sql.Composed:
        """The statement that precedes a write: it fails if the tables have changed since the look.

        What had to be weighed is weighed again: there, others may change more than the seal holds.
        """
        if not self.at_a_glance:
            # A role may be granted to others, for example, with no change of the tables.
            return check(self.trusted)
        seals = " ".join(self.found[name].seal for name in sorted(self.found))
        return filled(UNCHANGED, seal=seals)

    def check_intact(
        self, run: int, word: sql.Composable, expected: str | None, *, is_counted: bool = True
    ) -> sql.Composed:
        """The statement that fails if this transaction has removed rows, or changed the ledger's.

        It also fails if `run` has ended, or there is a later one. Unless `is_counted`, it compares
        `word`, the SQL that summarizes the contents, with the value `expected`.
        """
        ledger, runs = self.found[LEDGER], self.found[RUNS]
        numbers = {
            "ledger": ledger.oid,
            "ledger_file": ledger.filenode,
            "runs": runs.oid,
            "runs_file": runs.filenode,
        }
        # Through int, so that nothing but digits gets into the SQL unquoted.
        literals = {name: sql.SQL(str(int(value))) for name, value in numbers.items()}
        held = (
            filled(COUNTED, **literals)
            if is_counted
            else filled("{word} = {expected}", word=word, expected=expected)
        )
        return filled(INTACT, run=run, shape=ledger.shape, held=held, **literals)

    @property
    def open(self) -> tuple[str, ...]:
        """A warning for each table that others may write to, with the statement that closes it."""
        others = (
            f"public.{table.name} belongs to the role {table.owner}, which is not trusted, and can "
            "have files skipped or run twice. If the role is to be trusted, set "
            f"MIGRATION_LEDGER_OWNER={table.owner}; else give the table to the role that migrates."
            for table in self.found.values()
            if table.owner
        )
        rights = (
            f"Others than its owner have rights on public.{table.name}, by which files can be "
            "skipped or run twice, or production's claim be taken away. "
            f"Close it: {table.closing};"
            for table in self.found.values()
            if table.closing
        )
        return (*others, *rights)

    def verify_rights(self) -> None:
        """Raise LedgerError, with the grants that are needed, if the role may not write."""
        lacking = {table.name: table.lacking for table in self.found.values() if table.lacking}
        if lacking:
            # All that is lacking at once, so that one GRANT mends it.
            tables = " and ".join(
                f"public.{name} ({', '.join(rights)})" for name, rights in sorted(lacking.items())
            )
            raise LedgerError(f"The role may not write to {tables}: nothing was applied. {GRANTS}")


def glance(trusted: Iterable[str], *, writes: bool) -> sql.Composed:
    """The statement that fails unless nothing about the existing tables has to be weighed.

    `writes` if the role has to be able to write to them.
    """
    return filled(GLANCE, trusted=list(trusted), writes=writes)


def check(trusted: Iterable[str]) -> sql.Composed:
    """The statement that fails unless the existing tables can be trusted; `distrust` reads why."""
    return filled(CHECK, trusted=list(trusted))


def check_seeds(trusted: Iterable[str]) -> sql.Composed:
    """The same statement about the table of the seeds."""
    return filled(CHECK_SEEDS, trusted=list(trusted))


def check_objects(trusted: Iterable[str]) -> sql.Composed:
    """The same statement about the table of the recorded schema."""
    return filled(CHECK_OBJECTS, trusted=list(trusted))


def tables_of(rows: Rows, trusted: Iterable[str], *, at_a_glance: bool) -> Tables:
    """Make the tables from the rows that `glance` or `check` returned."""
    return Tables({table.name: table for table in map(_table, rows)}, tuple(trusted), at_a_glance)


def _table(row: Sequence[str | None]) -> Table:
    name, oid, filenode, seal, shape, columns, closing, lacking, owner = (
        value or "" for value in row[:9]
    )
    # Right by right: the query reports all that are lacking, and each table needs only some.
    needed = tuple(
        right for right in lacking.split(",") if right in RIGHTS[name] or right.startswith("usage")
    )
    return Table(
        name, oid, filenode, seal, shape, tuple(columns.split(",")), closing, needed, owner
    )


def told_by(error: StatementError) -> dict[str, Any]:
    """The facts for which a statement of the runner failed; empty for any other error.

    The server quotes the JSON in its message, which may be in any language.
    """
    # A cast to integer fails on purpose, and its error quotes the JSON: SQL itself has no RAISE.
    # 22P02 is invalid_text_representation.
    quoted = re.search(r"\{.*\}", error.server_error.message, re.DOTALL)
    if error.server_error.sqlstate != "22P02" or quoted is None:
        return {}
    try:
        # A string of the tables' owner may have been quoted in place of the facts.
        facts = json.loads(quoted.group())
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def tables_now(connection: Connection, trusted: tuple[str, ...]) -> Tables:
    """Look at the tables once more, and weigh what is there."""
    look = joined(LOCK_TO_READ, check(trusted))
    return tables_of(connection.query(look, read_only=True)[0], trusted, at_a_glance=False)


def ask(
    connection: Connection,
    tables: Tables,
    *statements: str | sql.Composable,
    read_only: bool = False,
) -> list[Rows]:
    """Carry out statements on the tables if these are unchanged, or can still be trusted."""
    # The lock comes first: what is checked after it can't be altered before the commit.
    lock = LOCK_TO_READ if read_only else LOCK
    if tables.at_a_glance:
        try:
            return connection.query(joined(lock, tables.check, *statements), read_only=read_only)
        except StatementError as error:
            if told_by(error).get("fault") != "changed":
                raise
    # A trigger or a rule on the tables may do anything to the ledger.
    weighed = (
        (check(tables.trusted), *statements)
        if read_only
        else (check(tables.trusted), REMEMBER, *statements, COMPARE)
    )
    answers = connection.query(joined(lock, *weighed), read_only=read_only)
    return answers if read_only else [answers[0], *answers[2:-1]]


def code_on_tables(connection: Connection) -> str:
    """The triggers and rules on the two tables, as part of a sentence; empty if there are none."""
    return connection.query(CODE, read_only=True)[0][0][0] or ""


def distrust(error: StatementError) -> LedgerError | None:
    """The error for a table that cannot be trusted, read or written; None for any other error."""
    facts = told_by(error)
    fault, table = facts.get("fault"), f"public.{facts.get('table')}"
    if fault == "sequence":
        return LedgerError(
            "The ids of the runner's table are behind its rows, and the role may not set that "
            f"right: nothing was applied. As the table's owner: {facts['setval']};"
        )
    if fault == "changed":
        return LedgerError(
            "Somebody has changed the runner's tables (a trigger, a rule, a column, their owner) "
            "while this run was under way: it stopped before it wrote to them. Run it again, and "
            "it looks at what they are now."
        )
    # A policy hides rows without an error (PostgreSQL manual, "Row Security Policies").
    if fault == "policy":
        return LedgerError(
            f"The role may not read all of {table}: row-level security is on for it there, and a "
            "ledger with rows left out is none. "
            f"Either: alter table {table} disable row level security, no force row level security; "
            "or: alter role ROLE bypassrls."
        )
    if fault == "kind":
        what = _KINDS.get(facts["kind"], "no plain table")
        return LedgerError(
            f"{table} is {what}, and not the runner's table: it was neither read nor written. It "
            f"belongs to the role {facts['owner']}. Drop or rename it, and run this again."
        )
    if fault == "owner":
        return LedgerError(
            f"{table} belongs to the role {facts['owner']}, which is not trusted: it was neither "
            "read nor written. Drop it, or give it to the role that migrates."
        )
    return _code_error(facts, table) if fault == "code" else None


def _code_error(facts: dict[str, Any], table: str) -> LedgerError:
    owner, code = facts["owner"], facts["code"]
    if facts["owner is trusted"]:
        return LedgerError(
            f"{table} may run what another role has chosen, with the rights of this one: {code}. "
            "It was neither read nor written. Drop that. If a function's owner is not trusted and "
            "should be, name it in MIGRATION_LEDGER_OWNER. A trigger of your own has to do "
            "without WHEN and arguments."
        )
    return LedgerError(
        f"{table} belongs to the role {owner}, which is neither this one nor trusted, and it runs "
        f"code there: {code}. It was neither read nor written. If {owner} is trusted, set "
        f"MIGRATION_LEDGER_OWNER={owner}; if the table is the runner's, take it over: alter table "
        f"{table} owner to ROLE, the one that migrates; else drop or rename it."
    )


# pg_class.relkind
_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "S": "a sequence",
    "i": "an index",
    "c": "a composite type",
}
