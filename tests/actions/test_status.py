"""`status`: how long reading the ledger may take, and which session is named if it takes longer."""

import json
import threading
import time
from collections.abc import Callable

import pytest
from conftest import Bundle, Cli, Database, wait_until

from lib.actions.dry_run import preview, validate
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_history, read_status
from lib.errors import LedgerError
from lib.plan.reports import History

MakeContext = Callable[..., RunContext]


def history(context: RunContext, *, timeout: float) -> History:
    return read_history(context, 10, timeout=timeout)


READERS = [read_status, validate, preview, history]


@pytest.fixture
def applied(make_context: MakeContext, bundle: Bundle) -> None:
    """One file, which is applied."""
    bundle.write("000-a.sql", "select 1")
    assert migrate(make_context()).error is None


@pytest.mark.usefixtures("applied")
class TestALockedLedger:
    @pytest.mark.parametrize("read", READERS)
    @pytest.mark.parametrize("table", ["schema_migrations", "schema_migration_runs"])
    def test_the_error_names_the_session_that_locks_it_within_the_time_allowed(
        self, make_context: MakeContext, db: Database, read: Callable[..., object], table: str
    ) -> None:
        with db.connect(application_name="somebody") as holder:
            holder.execute(f"begin; lock table {table} in access exclusive mode")
            began = time.monotonic()
            who = (
                rf"locked by pid {holder.info.backend_pid} \(application somebody, in a "
                r"transaction for \d+ s, idle in "
            )
            with pytest.raises(
                LedgerError, match=rf"wasn't read within 0\.5 s: .* is {who}transaction\)\. Wait"
            ) as caught:
                read(make_context(), timeout=0.5)
            assert time.monotonic() - began < 5
            assert caught.value.exit_code == 1
            holder.execute("rollback")
        read(make_context(), timeout=5)

    def test_the_error_names_a_session_that_waits_to_lock_it_and_what_that_one_waits_for(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with (
            db.connect(application_name="reader") as reader,
            db.connect(application_name="somebody") as waiter,
        ):
            reader.execute("begin; lock table schema_migrations in access share mode")
            lock = "begin; lock table schema_migrations in access exclusive mode; rollback"
            thread = threading.Thread(target=waiter.execute, args=(lock,))
            thread.start()
            waiting = (
                f"select 1 from pg_locks where pid = {waiter.info.backend_pid} and not granted"
            )
            wait_until(lambda: db.query(waiting), "the lock is waited for")
            with pytest.raises(
                LedgerError,
                match=r"by pid \d+ \(application reader.* and pid \d+ \(application some",
            ):
                read_status(make_context(), timeout=0.5)
            reader.execute("rollback")
            thread.join()

    def test_a_role_that_may_see_little_gets_the_pid(
        self, make_context: MakeContext, db: Database
    ) -> None:
        with db.another_role() as theirs, db.connect() as holder:
            db.query(
                "grant select on schema_migrations, schema_migration_runs to "
                f"{theirs.target.parameters['user']}"
            )
            holder.execute("begin; lock table schema_migrations in access exclusive mode")
            with pytest.raises(LedgerError, match=f"is locked by pid {holder.info.backend_pid}"):
                read_status(make_context(target=theirs.target), timeout=0.5)
            holder.execute("rollback")

    def test_the_command_line_ends_with_1_also_in_json(self, cli: Cli, db: Database) -> None:
        with db.connect() as holder:
            holder.execute("begin; lock table schema_migrations in access exclusive mode")
            pid = holder.info.backend_pid
            done = cli("plan", "--json")
            holder.execute("rollback")
        assert done.returncode == 1
        assert f"is locked by pid {pid} (" in json.loads(done.stdout)["error"]


def test_the_error_says_so_if_nobody_locks_a_ledger_that_takes_too_long(
    make_context: MakeContext,
) -> None:
    with pytest.raises(
        LedgerError,
        match=r"wasn't read within 0 s, and nobody is seen to lock it\. Run it again\.$",
    ):
        read_status(make_context(), timeout=0)
