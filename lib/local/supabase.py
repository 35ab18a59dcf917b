"""Roles, schemas and tables of Supabase in a database of the embedded PostgreSQL.

Migrations of a project at Supabase refer to `anon`, `auth.users`, `storage.objects` and the like,
which are there before the first of them runs. `supabase/platform.sql` makes them, without the
servers that use them.
"""

import hashlib
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, DatabaseUnavailableError
from ..settings.connection_target import ConnectionTarget
from .cluster_files import Cluster
from .stand_ins import can_be_set, control_path, read_files, stand_ins, write_extensions

_SOURCES = Path(__file__).with_name("supabase")
# Its comment says which text made the platform. Comments of roles are in no dump of a database.
_MARKED_ROLE = "supabase_admin"


def add_supabase(cluster: Cluster, target: ConnectionTarget) -> None:
    """Add what is missing, in one transaction; nothing if this text has run in the database.

    Raise ConfigurationError if the path of the cluster cannot be set, DatabaseUnavailableError if
    the server refuses something, as next to objects of the same name but another kind.
    """
    import psycopg

    parameters: dict[str, Any] = {**target.parameters}
    with psycopg.connect(**parameters) as connection:
        files, script = _files(), _script()
        mark = _mark(files, script, target)
        if _mark_in(connection) == mark:
            return
        folder = cluster.home / "supabase"
        if not can_be_set(folder):
            raise ConfigurationError(
                f"The parts of Supabase need extensions, which PostgreSQL cannot find below "
                f"{folder}: move the project to a path without a colon."
            )
        write_extensions(folder, files)
        try:
            _run(connection, control_path(folder), script, mark)
        except psycopg.Error as error:
            raise DatabaseUnavailableError(
                "The parts of Supabase could not be added to the embedded PostgreSQL: "
                f"{error.diag.message_primary or type(error).__name__}.",
                final=True,
            ) from None


def _run(connection: Any, path: str, script: str, mark: str) -> None:
    from psycopg import sql

    connection.execute("select set_config('extension_control_path', %s, true)", (path,))
    connection.execute(script)
    connection.execute(
        sql.SQL("comment on role {} is {}").format(sql.Identifier(_MARKED_ROLE), sql.Literal(mark))
    )


def _mark_in(connection: Any) -> str | None:
    query = "select shobj_description(to_regrole(%s), 'pg_authid')"
    mark: str | None = connection.execute(query, (_MARKED_ROLE,)).fetchone()[0]
    return mark


def _mark(files: dict[str, str], script: str, target: ConnectionTarget) -> str:
    """What tells one text in one database from another."""
    text = repr((sorted(files.items()), script))
    return f"{target.database} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _files() -> dict[str, str]:
    return {**stand_ins(), **read_files(_SOURCES / "extension")}


def _script() -> str:
    return (_SOURCES / "platform.sql").read_text(encoding="utf-8")
