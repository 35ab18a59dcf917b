"""The forty statements of the review: locks, rewrites and scans, on two versions of the server.

They run as the owner of the schema, who has no other right: nothing that is asked between them
needs one.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Database, new_database
from forty_statements import CASES, ROWS, SCHEMA, Case

from lib.database.login import connect
from lib.files.folder import parse
from lib.files.prepare_script import prepare
from lib.rehearse.observed_run import observe_file
from lib.rehearse.statement_facts import FileFacts, StatementFacts


@contextmanager
def owned(database: Database) -> Iterator[Database]:
    """The database, as a role that owns it and can do nothing else."""
    role, password = f"prober_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    name = database.target.database
    database.query(f"create role {role} login password '{password}'")
    database.query(f"alter database {name} owner to {role}; drop schema public")
    yield database.but(user=role, password=password)
    database.query(f"alter database {name} owner to current_user; drop owned by {role} cascade")
    database.query(f"drop role {role}")


@pytest.fixture(scope="module", params=["server", "tls_server"])
def owner(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database on the server of the tests, and one on Debian's."""
    server = request.getfixturevalue(request.param)
    target = server.target if request.param == "tls_server" else server
    with new_database(target) as database, owned(database) as as_owner:
        yield as_owner


def observe(owner: Database, case: Case, rows: str = "") -> FileFacts:
    owner.query(f"drop schema if exists public cascade; create schema public; {SCHEMA}; {rows}")
    script = prepare(parse("001-a.sql", case.sql.encode()))
    with connect(owner.target, application_name="test", timeout=5) as connection:
        return observe_file(connection, script)


def shown(facts: FileFacts, sql: str, since: int) -> Case:
    """What was seen, as the table of the cases has it."""

    def names(found: tuple[str, ...]) -> str:
        return " ".join(name.removeprefix("public.") for name in found)

    last: StatementFacts = facts.statements[-1]
    assert (last.failure, facts.not_rehearsed) == (None, None)
    return Case(
        sql,
        names(tuple(f"{lock.relation}:{lock.mode}" for lock in last.locks)),
        rewrites=names(last.rewrites),
        scans=names(last.scans),
        builds=names(last.builds),
        truncated=names(last.truncated),
        written=names(last.written),
        created=names(last.created),
        dropped=names(last.dropped),
        since=since,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql)
def test_a_statement_does_what_the_manual_says(owner: Database, case: Case) -> None:
    if float(owner.server_version) < case.since:
        pytest.skip(f"PostgreSQL {case.since} has it")
    expected = Case(**{**vars(case), "on_rows": False})
    assert shown(observe(owner, case), case.sql, case.since) == expected
    if case.on_rows:
        assert shown(observe(owner, case, ROWS), case.sql, case.since) == expected
