"""psql of the wheel, in place of this process, on the embedded database."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..settings.connection_target import ConnectionTarget
from .cluster_files import Cluster

# What psql may read of libpq's variables. The others would lead it to another database.
_KEPT = ("PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGOPTIONS", "PGTZ")


def run_psql(
    cluster: Cluster,
    target: ConnectionTarget,
    arguments: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Become psql, or where a process can't, run it and return its exit code."""
    program = str(cluster.binaries / "bin" / "psql")
    command, environment = [program, *arguments], _environment(target, environ)
    if sys.platform == "win32":
        # Ctrl-C cancels a query of psql, and must not end its parent.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return subprocess.call(command, env=environment)
    # Python ignores it, and psql would inherit that: `psql … | head` would not end.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return os.execve(program, command, environment)  # noqa: S606  no shell is wanted


def _environment(target: ConnectionTarget, environ: Mapping[str, str]) -> dict[str, str]:
    others = {k: v for k, v in environ.items() if k in _KEPT or not k.startswith("PG")}
    return {
        **others,
        "PGHOST": target.host,
        "PGPORT": target.port,
        "PGUSER": target.parameters["user"],
        "PGDATABASE": target.database,
        # Everybody on this machine could read an argument.
        "PGPASSWORD": target.parameters["password"],
        "PGSSLMODE": target.parameters["sslmode"],
    }
