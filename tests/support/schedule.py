"""How the tests are spread over processes: which share one, and which come first."""

import os

import pytest

# Most tests wait for a server, a lock or a limit: with as many processes as cores, two of three
# cores' seconds were idle. The upper bound keeps the connections below the server's limit.
PROCESSES_PER_CORE, FEWEST, MOST = 3, 4, 16

# A build by Vercel's CLI takes 4 to 8 seconds of a core, and that of Next.js 40. Two processes
# build, about as long each, and the others run what waits meanwhile.
BUILDS = {
    "test_vercel_failures.py": "builds 1",
    "test_vercel.py": "builds 1",
    "test_vercel_aws.py": "builds 1",
    "test_adoption.py": "builds 2",
}


def pytest_xdist_auto_num_workers() -> int:
    """The processes that `-n auto` starts."""
    return min(MOST, max(FEWEST, PROCESSES_PER_CORE * (os.cpu_count() or 1)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the builds, and put the long tests first: at the end they would run alone.

    The order within each part stays random, and is the same in all processes.
    """
    for item in items:
        if group := BUILDS.get(item.path.name):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not _is_long(item))


def _is_long(item: pytest.Item) -> bool:
    """True if the test may take more than some seconds, as those with a timeout of their own do."""
    return item.get_closest_marker("timeout") is not None
