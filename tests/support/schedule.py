"""How the tests are spread over processes: which share one, and which come first."""

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Most tests wait for a server, a lock or a limit: with as many processes as cores, two of three
# cores' seconds were idle. The upper bound keeps the connections below the server's limit.
PROCESSES_PER_CORE, FEWEST, MOST = 3, 4, 16

# Tests that share what is dear to make share a process: a build by Vercel's CLI takes 4 to 8
# seconds of a core, and that of Next.js 40; a server with TLS, or a database full of traps, some
# seconds. The two groups with builds are about as long.
GROUPS = {
    "whole/test_vercel_failures.py": "builds 1",
    "whole/test_vercel.py": "builds 1",
    "whole/test_vercel_aws.py": "builds 1",
    "whole/test_adoption.py": "builds 2",
    "settings/test_aws.py": "tls",
    "whole/test_tls_postgres.py": "tls",
    "local/test_embedded_server.py": "local",
    "rehearse/test_forty_statements.py": "tls",
    "sql/test_concurrent_locks.py": "tls",
    "rebuild/test_local_reset.py": "local reset",
    "scratch/": "scratch",
    "adopt/test_checked_histories.py": "checked histories",
    "commands/test_schema_commands.py": "schema commands",
    "ledger/test_earlier_versions.py": "earlier versions",
    "ledger/test_table_trust.py::TestTraps": "traps",
    "tests/test_architecture.py": "sources",
    "tests/test_time_limits.py": "sources",
}


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out the groups, the largest first, and then the other tests one by one."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test; a test without one is a group of its own."""
        return next((group for part, group in GROUPS.items() if part in nodeid), nodeid)

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Forget a group that is done: xdist counts what is left in each, after every test."""
        group = self._split_scope(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if all(self.assigned_work[node][group].values()):
            del self.assigned_work[node][group]


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Return the scheduler that xdist uses."""
    return Scheduling(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """The processes that `-n auto` starts."""
    return min(MOST, max(FEWEST, PROCESSES_PER_CORE * (os.cpu_count() or 1)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first: at the end they would run alone.

    The order within each part stays random, and is the same in all processes.
    """
    items.sort(key=lambda item: not _is_long(item))


def _is_long(item: pytest.Item) -> bool:
    """True if the test may take more than some seconds, as those with a timeout of their own do."""
    return item.get_closest_marker("timeout") is not None
