"""The environment and the bundle, from which each request reads its settings.

Settings are read at a request and not at import, so that a missing variable is an answer and not
a function that fails to start.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import ROOT
from ..actions.run_parameters import RunContext
from ..database.login import locate
from ..deadline import Deadline
from ..errors import ConfigurationError
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import load_settings
from ..time_limits import (
    CLEANUP_SHARE,
    CONNECT,
    DEFAULT_MAX_DURATION,
    MARGIN,
    STATUS,
    STATUS_CONNECT,
)

STATUS_PATH = "/api/migration-status"
MIGRATE_PATH = "/api/migrate"
# In a function, Vercel's OIDC token is a header of the request and not a variable.
WEB_TOKEN_HEADER = "X-Vercel-Oidc-Token"


@dataclass(frozen=True)
class Service:
    """The environment and the bundle. `fallback` is the database if the environment names none."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    root: Path = ROOT
    fallback: ConnectionTarget | None = None
    status_limit: float = STATUS

    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        """Make the run context of one request; `web_token` is the OIDC token of that request."""
        # First of all: reading settings and asking AWS take time from the same budget.
        deadline = self._deadline(admin=admin)
        settings = load_settings(self.environ, root=self.root, web_token=web_token or "")
        # The status needs few rights, so it reads by the URL of the application.
        target = (settings.migration_target if admin else settings.status_target) or self.fallback
        if target is None:
            raise ConfigurationError(
                "No database URL is set; the README lists the variables that are looked up."
            )
        timeout = settings.connect_timeout_or(CONNECT if admin else STATUS_CONNECT)
        return RunContext(
            settings=settings,
            target=locate(target, timeout=timeout),
            source="admin",
            connect_timeout=timeout,
            deadline=deadline,
        )

    def _deadline(self, *, admin: bool) -> Deadline:
        if not admin:
            return Deadline.after(self.status_limit)
        seconds, cleanup = time_limit(self.root)
        return Deadline.after(seconds, cleanup=cleanup)


def time_limit(root: Path) -> tuple[float, float]:
    """Return the seconds in which the admin function may work, and those in which it then ends.

    Both follow from `maxDuration` in vercel.json.
    """
    try:
        functions = json.loads((root / "vercel.json").read_text())["functions"]
        entry = next(
            functions[name]
            for name in ("api/migrate.py", "api/*.py", "api/**/*.py", "api/**")
            if name in functions
        )
        longest = float(entry["maxDuration"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        longest = DEFAULT_MAX_DURATION
    # A function with a short maxDuration keeps most of it for work.
    margin = min(MARGIN, longest / 4)
    return longest - margin, margin * CLEANUP_SHARE
