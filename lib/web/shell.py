"""What both endpoints work with and share: the settings of a request, and how little an answer may say.

Settings are read at the first request, so that a missing variable is an answer and no crash at import.
"""

import json
import logging
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..actions.run_context import RunContext
from ..clean_text import document, message
from ..database.login import locate
from ..deadline import Deadline
from ..errors import ConfigurationError
from ..limits import (
    CLEANUP_SHARE,
    CONNECT,
    DEFAULT_MAX_DURATION,
    MARGIN,
    STATUS,
    STATUS_CONNECT,
)
from ..plan.reports import Document
from ..settings.connection_target import ConnectionTarget
from ..settings.loader import ROOT, load_settings

STATUS_PATH = "/api/migration-status"
MIGRATE_PATH = "/api/migrate"
WEB_TOKEN_HEADER = "X-Vercel-Oidc-Token"

NO_CACHE = "no-store"
STATUS_TIME_LIMIT = STATUS

_log = logging.getLogger("migrations")


@dataclass(frozen=True)
class Service:
    """What an application works with. A target given here stands in where the environment names none."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    root: Path = ROOT
    fallback: ConnectionTarget | None = None

    def context(self, *, admin: bool, web_token: str | None = None) -> RunContext:
        """What a request asks for. `web_token` is Vercel's OIDC token of the request, which a function has nowhere else."""
        deadline = self._deadline(admin=admin)
        settings = load_settings(self.environ, root=self.root, web_token=web_token or "")
        target = (settings.migration_target if admin else settings.status_target) or self.fallback
        if target is None:
            raise ConfigurationError(
                "No database URL is set; the README lists the variables that are looked up."
            )
        timeout = settings.connect_patience(CONNECT if admin else STATUS_CONNECT)
        return RunContext(
            settings=settings,
            target=locate(target, timeout=timeout),
            source="admin",
            connect_timeout=timeout,
            deadline=deadline,
        )

    def _deadline(self, *, admin: bool) -> Deadline:
        if not admin:
            return Deadline.after(STATUS_TIME_LIMIT)
        seconds, cleanup = time_limit(self.root)
        return Deadline.after(seconds, cleanup=cleanup)


def time_limit(root: Path) -> tuple[float, float]:
    """How long the admin function may work, by its `maxDuration` in vercel.json, and then take to end, in seconds."""
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
    margin = min(MARGIN, longest / 4)
    return longest - margin, margin * CLEANUP_SHARE


def encode_body(content: Document) -> bytes:
    """The document as JSON in UTF-8."""
    return document(content).encode()


def answer_headers(cache: str = NO_CACHE) -> dict[str, str]:
    """What every answer carries."""
    return {
        "Content-Type": "application/json",
        "Cache-Control": cache,
        "X-Content-Type-Options": "nosniff",
    }


def internal_error(error: Exception) -> Document:
    """Log the type and the place of an error of ours, which is enough to find it; its text may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    _log.error(
        "%s", message(f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
    )
    return {"success": False, "error": "Internal error."}
