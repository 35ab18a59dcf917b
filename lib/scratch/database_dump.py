"""The schema of a live database as text, by the pg_dump of the embedded PostgreSQL.

pg_dump logs in as a connection that is there already, with what libpq has found for it: a password
of a URL, of a file or of AWS. Its environment has the password, which other users can't read; its
arguments, which they can, do not.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from psycopg import pq

from ..database.connection import Connection
from ..deadline import Deadline
from ..duration import milliseconds
from ..errors import ConfigurationError, DatabaseUnavailableError, MigratorError, OutOfTimeError
from ..local.cluster_files import package_folder
from ..masking import cleaned, masked
from ..settings.connection_target import ConnectionTarget
from ..time_limits import DUMP, DUMP_LOCK, DUMP_STOP, SLICE
from .tls_relay import HOST, Server, tls_relay

# The major version of the pg_dump in the wheel.
NEWEST_SERVER = 18
_OPTIONS = (
    "--schema-only",
    # Roles belong to a server and not to a database; what they may do is decided afterwards.
    "--no-owner",
    "--no-tablespaces",
    "--no-table-access-method",
    "--no-security-labels",
    # The connection string of one holds a password.
    "--no-subscriptions",
    "--encoding=UTF8",
    # Any would do, since its lines are taken out.
    "--restrict-key=dump",
)
# What a program needs of the environment, apart from PostgreSQL's own variables.
_KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
# What has been used up to get connected, or does not pass the relay.
_USED_UP = (
    *("host", "hostaddr", "port", "service", "servicefile", "passfile"),
    *("channel_binding", "gssencmode"),
)


def dump_schema(
    connection: Connection,
    environ: Mapping[str, str],
    *,
    without_tables: Iterable[tuple[str, str]] = (),
    without_schemas: Iterable[str] = (),
    limit: float = DUMP,
) -> str:
    """Return what pg_dump prints of the database; a table is its schema and its name.

    Nothing is written, and tables are locked against changes of their structure alone. Raise
    ConfigurationError, DatabaseUnavailableError, OutOfTimeError.
    """
    check_version(connection.server_version)
    left_out = (
        *(f"--exclude-table={_pattern(*table)}" for table in without_tables),
        *(f"--exclude-schema={_pattern(schema)}" for schema in without_schemas),
    )
    program = str(package_folder() / "bin" / "pg_dump")
    waiting = f"--lock-wait-timeout={milliseconds(DUMP_LOCK)}"
    with _login(connection, environ) as variables, _output() as out, _output() as errors:
        command = [program, *_OPTIONS, waiting, *left_out]
        code = _run(command, variables, out, errors, connection.deadline.clip(limit))
        if code:
            raise _failure(_text(errors), variables)
        return _text(out)


def check_session(connection: Connection, target: ConnectionTarget) -> None:
    """Raise ConfigurationError behind a transaction pooler, whose sessions pg_dump would change."""
    [[backend]] = connection.query("select pg_backend_pid()", read_only=True)[-1]
    if connection.announced_backend != backend and not target.is_known_direct:
        raise ConfigurationError(
            f"pg_dump needs a session of its own, and {target.source} leads through a pooler: set "
            "MIGRATION_DATABASE_URL to a direct connection."
        )


def check_version(server_version: int) -> None:
    """Raise ConfigurationError for a server that is newer than pg_dump."""
    major = server_version // 10000
    if major > NEWEST_SERVER:
        raise ConfigurationError(
            f"The server is PostgreSQL {major}, and the pg_dump of the embedded PostgreSQL is of "
            f"{NEWEST_SERVER}, which dumps no newer server. Update the bundle; or dump with "
            "pg_dump of the server's version, and see docs/sql.md, Dumps."
        )


def _pattern(*names: str) -> str:
    """Return a pattern of pg_dump that matches these names and no other."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@contextmanager
def _login(connection: Connection, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the variables with which pg_dump gets where the connection is."""
    raw = connection.transport.raw
    used = {
        option.keyword.decode(): option.val.decode()
        for option in raw.pgconn.info
        if option.val is not None
    }
    used["password"] = raw.pgconn.password.decode()
    variables = {
        **{name: environ[name] for name in _KEPT if name in environ},
        **{
            name: used[keyword]
            for keyword, name in _variables()
            if used.get(keyword) and keyword not in _USED_UP and not keyword.startswith("ssl")
        },
        # Neither a file of the user's nor a translation changes what happens.
        "PGPASSFILE": os.devnull,
        "PGAPPNAME": "adopt",
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
        "LC_ALL": "C",
    }
    port = raw.info.port
    if not raw.pgconn.ssl_in_use:
        yield {**variables, "PGHOST": raw.info.hostaddr or raw.info.host, "PGPORT": str(port)}
        return
    host = {**used, "host": raw.info.host}
    with tls_relay(Server(raw.info.hostaddr or raw.info.host, port, host)) as relayed:
        yield {**variables, "PGHOST": HOST, "PGPORT": str(relayed)}


def _variables() -> Iterator[tuple[str, str]]:
    """Yield each keyword of libpq with its variable."""
    for option in pq.Conninfo.get_defaults():
        if option.envvar:
            yield option.keyword.decode(), option.envvar.decode()


def _output() -> IO[bytes]:
    # A file and not a pipe, which would have to be read while pg_dump is waited for.
    return tempfile.TemporaryFile()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _run(
    command: list[str],
    variables: Mapping[str, str],
    out: IO[bytes],
    errors: IO[bytes],
    deadline: Deadline,
) -> int:
    """Run pg_dump and return its exit code; whatever ends this ends pg_dump, too."""
    process = subprocess.Popen(
        command,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors,
        cwd=Path(command[0]).parent,
        # Ctrl-C on the terminal reaches this process alone, which stops pg_dump in order.
        start_new_session=True,
    )
    try:
        while True:
            try:
                return process.wait(SLICE)
            except subprocess.TimeoutExpired:
                if deadline.has_passed():
                    raise OutOfTimeError(
                        "pg_dump took too long to read the schema, and was stopped."
                    ) from None
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(DUMP_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure(said: str, variables: Mapping[str, str]) -> MigratorError:
    """Return what pg_dump's words mean, without secrets."""
    # It waits for its locks under a statement_timeout, and for nothing else.
    if "due to statement timeout" in said:
        return DatabaseUnavailableError(
            f"A table stayed locked by another session for {DUMP_LOCK:g} s, and its structure "
            "can't be read meanwhile. Try again when that session has ended.",
            final=True,
        )
    line = next((line for line in said.splitlines() if "error:" in line), said.strip())
    quoted = masked(
        cleaned(
            line.partition("error:")[2].strip() or line, secrets=(variables.get("PGPASSWORD", ""),)
        )
    )
    if "permission denied" in said:
        return ConfigurationError(
            f"pg_dump may not read everything ({quoted}). It needs a role that may select from "
            "every table: the owner of them, or a role with the privileges of pg_read_all_data."
        )
    return DatabaseUnavailableError(f"pg_dump failed: {quoted}", final=True)
