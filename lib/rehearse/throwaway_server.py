"""A server for a stranger's SQL: an unprivileged owner, no secret within reach, limits, then gone.

The files of a pull request are programs. Here they run as a role that is no superuser, in a
database that is its own; it cannot read a file, run a program, or reach another server. No
superuser connects to that database once a file has run there: what a file leaves behind, such as an
operator of its own in `public`, is called by nobody with more rights (CVE-2018-1058).
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ..deadline import Deadline
from ..errors import DatabaseUnavailableError
from ..local.cluster_files import Cluster, without_libpq_variables
from ..local.server_address import DATABASE, USER
from ..local.stand_ins import can_be_set, stand_ins, write_extensions
from ..local.supabase import add_supabase
from ..scratch.scratch_server import scratch_cluster
from ..settings.connection_target import ConnectionTarget
from ..settings.variables import SUPABASE
from ..time_limits import RehearsalLimits

# The superusers, one of which is the first role of the cluster under another name: files that were
# dumped name the role `postgres`, which is the unprivileged one here, as at several providers.
_ADMIN, _BOOTSTRAP = "scratch_admin", "scratch_bootstrap"
# The database in which nothing of a file is ever made.
_ADMINS_DATABASE = "template1"
_RESERVED_DATABASES = (_ADMINS_DATABASE, "template0")
# The roles of Supabase that its `postgres` may act as; never supabase_admin, a superuser.
_ROLES_OF_SUPABASE = (
    *("anon", "authenticated", "service_role", "authenticator"),
    *("supabase_auth_admin", "supabase_storage_admin", "supabase_realtime_admin"),
    "supabase_functions_admin",
)

# Of the extensions that want a superuser, those that only add types, functions of the database
# itself, or access methods. Providers let their users create them, too.
HARMLESS = (
    *("autoinc", "bloom", "earthdistance", "insert_username", "moddatetime"),
    *("pg_stat_statements", "vector"),
)

_NO_DEFAULTS: Mapping[str, str] = {}
_OPTIONS = (
    # No session begins parallel workers, which no limit of a session would count.
    "max_worker_processes=0",
    "max_wal_size=256MB",
    # A session whose client is gone ends its statement.
    "client_connection_check_interval=1s",
    # No file is read for a statement that fails.
    "log_min_error_statement=panic",
)


class ThrowawayServer:
    """The running server: `target` is its database, for the role to which that belongs.

    `admin` is a superuser, in another database.
    """

    def __init__(
        self,
        target: ConnectionTarget,
        admin: ConnectionTarget,
        data: Path,
        limits: RehearsalLimits,
    ) -> None:
        self.target = target
        self.limits = limits
        self.deadline = Deadline.after(limits.total)
        self.admin = admin
        self._watch = _DiskWatch(admin, data, limits)

    @property
    def disk_is_full(self) -> bool:
        """True if the sessions were ended for what they have written."""
        return self._watch.is_over

    def copy(self, name: str) -> ConnectionTarget:
        """Copy the database, to which nobody may be connected, under another name."""
        parameters = self.target.parameters
        with _connect(self.admin) as connection:
            _execute(
                connection,
                "create database {name} template {source} owner {owner} strategy file_copy",
                name=sql.Identifier(name),
                source=sql.Identifier(parameters["dbname"]),
                owner=sql.Identifier(parameters["user"]),
            )
        return replace(self.target, parameters={**parameters, "dbname": name})

    def close(self) -> None:
        self._watch.close()


@contextmanager
def throwaway_server(
    root: Path,
    *,
    platform: str = "",
    owner: str = USER,
    database: str = "",
    defaults: Mapping[str, str] = _NO_DEFAULTS,
    limits: RehearsalLimits = RehearsalLimits(),  # noqa: B008 # frozen
) -> Iterator[ThrowawayServer]:
    """Start a server whose database belongs to the unprivileged role `owner`, and remove it.

    `owner` and `database` are named as at the live database, since files may name them; `defaults`
    are parameters with which its sessions begin. Raise ConfigurationError if the wheel is not
    installed.
    """

    def options(cluster: Cluster) -> Sequence[str]:
        limit = f"temp_file_limit={limits.temporary_files // 1024}kB"
        return (*_OPTIONS, limit, *_extensions(cluster))

    made = scratch_cluster(root, memory=limits.memory, more_options=options)
    with made as (cluster, bootstrap):
        admin = _become_admin(bootstrap)
        names = _names(owner, database, platform)
        target = _make_owner(admin, names, defaults)
        if platform == SUPABASE:
            _add_platform(cluster, admin, names)
        server = ThrowawayServer(target, admin, cluster.data, limits)
        try:
            yield server
        finally:
            server.close()


# --- What is made before any file runs ---


@dataclass(frozen=True)
class _Names:
    owner: str
    database: str


def _names(owner: str, database: str, platform: str) -> _Names:
    """Return the names, or in place of one that is taken here, the usual one."""
    is_taken = owner in (_ADMIN, _BOOTSTRAP, "public", "none") or owner.startswith("pg_")
    is_taken = is_taken or not owner or platform == SUPABASE
    return _Names(
        USER if is_taken else owner,
        DATABASE if not database or database in _RESERVED_DATABASES else database,
    )


def _become_admin(bootstrap: ConnectionTarget) -> ConnectionTarget:
    """Make a superuser with a password of this server's own, and rename the first one."""
    there = replace(bootstrap, parameters={**bootstrap.parameters, "dbname": _ADMINS_DATABASE})
    password = secrets.token_urlsafe(32)
    with _connect(there) as connection:
        _execute(
            connection,
            "create role {admin} superuser login password {password}",
            admin=sql.Identifier(_ADMIN),
            password=sql.Literal(_verifier(connection, _ADMIN, password)),
        )
    parameters = {**there.parameters, "user": _ADMIN, "password": password}
    admin = replace(there, parameters=parameters)
    with _connect(admin) as connection:
        # The password of the first one is that of all scratch servers of this machine.
        _execute(
            connection,
            "alter role {old} rename to {new}",
            old=sql.Identifier(USER),
            new=sql.Identifier(_BOOTSTRAP),
        )
        _execute(connection, "alter role {role} nologin", role=sql.Identifier(_BOOTSTRAP))
    return admin


def _make_owner(
    admin: ConnectionTarget, names: _Names, defaults: Mapping[str, str]
) -> ConnectionTarget:
    """Make the unprivileged role, and give the database to it."""
    password = secrets.token_urlsafe(32)
    owner, database = sql.Identifier(names.owner), sql.Identifier(names.database)
    with _connect(admin) as connection:
        _execute(
            connection,
            "create role {owner} login createrole nosuperuser nocreatedb noreplication"
            " nobypassrls password {password}",
            owner=owner,
            password=sql.Literal(_verifier(connection, names.owner, password)),
        )
        if names.database != DATABASE:
            _execute(
                connection,
                "alter database {old} rename to {new}",
                old=sql.Identifier(DATABASE),
                new=database,
            )
        _execute(connection, "alter database {name} owner to {owner}", name=database, owner=owner)
        _execute(
            connection,
            "revoke all on database {name} from public",
            name=sql.Identifier(_ADMINS_DATABASE),
        )
        for name, value in defaults.items():
            _execute(
                connection,
                "alter database {database} set {name} = {value}",
                database=database,
                name=sql.Identifier(name),
                value=sql.Literal(value),
            )
    parameters = {
        **admin.parameters,
        "user": names.owner,
        "password": password,
        "dbname": names.database,
    }
    return replace(admin, parameters=parameters)


def _add_platform(cluster: Cluster, admin: ConnectionTarget, names: _Names) -> None:
    """Add what a database at Supabase has, and the roles that its owner may act as."""
    inside = replace(admin, parameters={**admin.parameters, "dbname": names.database})
    add_supabase(cluster, inside)
    with _connect(admin) as connection:
        for role in _ROLES_OF_SUPABASE:
            _execute(
                connection,
                "grant {role} to {owner} with admin option",
                role=sql.Identifier(role),
                owner=sql.Identifier(names.owner),
            )
        _execute(connection, "alter role {owner} bypassrls", owner=sql.Identifier(names.owner))


def _extensions(cluster: Cluster) -> tuple[str, ...]:
    """Write control files that trust the harmless extensions, in front of those of the wheel."""
    folder = cluster.home / "trusted"
    if not can_be_set(folder):
        return ()
    share = cluster.binaries / "share" / "extension"
    files = stand_ins()
    for name in HARMLESS:
        control = share / f"{name}.control"
        if control.is_file():
            scripts = share.glob(f"{name}--*.sql")
            files |= {path.name: path.read_text(encoding="utf-8") for path in scripts}
            files[control.name] = f"{control.read_text(encoding='utf-8')}\ntrusted = true\n"
    write_extensions(folder, files)
    return (f"extension_control_path={folder}:$system",)


# --- What is written ---


class _DiskWatch:
    """Ends all sessions of the files once they have filled more of the disk than they may.

    All files of the server count: a session can also fill its log, and the queue of NOTIFY.
    """

    def __init__(self, admin: ConnectionTarget, data: Path, limits: RehearsalLimits) -> None:
        self.is_over = False
        self._data = data
        self._limits = limits
        self._is_done = threading.Event()
        self._connection = _connect(admin)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_done.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        allowed = _size_of(self._data) + self._limits.disk
        while not self._is_done.wait(self._limits.disk_poll):
            if _size_of(self._data) > allowed:
                self.is_over = True
                # If the server is gone, the rehearsal finds out by itself.
                with contextlib.suppress(psycopg.Error):
                    self._connection.execute(_END_SESSIONS)


def _size_of(folder: str | Path) -> int:
    """Return what the files below a folder take, in bytes; the server removes some meanwhile."""
    size = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                size += _size_of(entry.path)
            else:
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_size
    return size


_END_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where backend_type = 'client backend' and pid <> pg_backend_pid()
"""


# --- The connection of the superuser, to its own database alone ---


def _connect(target: ConnectionTarget) -> psycopg.Connection[Any]:
    parameters: dict[str, Any] = {**target.parameters}
    try:
        with without_libpq_variables():
            return psycopg.connect(**parameters, autocommit=True)
    except psycopg.Error:
        raise DatabaseUnavailableError(
            "The server of the rehearsal does not answer.", final=True
        ) from None


def _execute(connection: psycopg.Connection[Any], template: str, **parts: sql.Composable) -> None:
    connection.execute(sql.SQL(template).format(**parts))


def _verifier(connection: psycopg.Connection[Any], role: str, password: str) -> str:
    """Return what the server keeps of a password, so that the password itself is in no SQL."""
    made = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return made.decode()
