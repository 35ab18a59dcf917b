"""SQL put together: values as literals, statements as one message, settings that many need."""

from psycopg import sql

# Before every statement of the runner. Only pg_catalog is searched; pg_temp is named, since it
# would be searched first otherwise. A row that a policy would hide is an error (PostgreSQL manual,
# "row_security").
OWN_SETTINGS = ("set local search_path = pg_catalog, pg_temp", "set local row_security = off")
# The server lets go of a client whose machine has vanished within 20 seconds, in place of 2 hours.
_KEEPALIVES = ("idle = 5", "interval = 5", "count = 3")
# Undoes what a file may have set.
_RESET = (
    "reset session authorization",
    "reset role",
    "reset all",
    *OWN_SETTINGS,
    "close all",
    "unlisten *",
    "discard temporary",
    "discard sequences",
    "select pg_advisory_unlock_all()",
)
# A pooler prepares statements of its own in the session; pg_prepared_statements tells them apart.
_DEALLOCATE = """
do $$
declare
    prepared text;
begin
    for prepared in select name from pg_prepared_statements where from_sql loop
        execute format('deallocate %I', prepared);
    end loop;
end
$$
"""


def filled(template: str, /, **values: object) -> sql.Composed:
    """Fill a template: values become literals, as the simple protocol needs; SQL stays as it is."""
    literals = {
        name: v if isinstance(v, sql.Composable) else sql.Literal(v) for name, v in values.items()
    }
    return sql.SQL(template).format(**literals)


def joined(*statements: str | sql.Composable) -> sql.Composed:
    """Join statements to one message."""
    return sql.SQL(";").join([sql.SQL(s) if isinstance(s, str) else s for s in statements])


def text_of(message: str | sql.Composable) -> str:
    return message if isinstance(message, str) else message.as_string(None)


def keepalives(scope: str) -> list[str]:
    """The SQL that lets the server notice a vanished client; `scope` is `local ` or nothing."""
    return [f"set {scope}tcp_keepalives_{setting};" for setting in _KEEPALIVES]


def reset_statements(*, direct: bool = False, prepared: bool = False) -> tuple[str, ...]:
    """The SQL that undoes what a file may have set, inside a transaction or out.

    On a `direct` connection, prepared statements end too; through a pooler only with `prepared`,
    and only those that SQL has prepared.
    """
    deallocate = ("deallocate all",) if direct else (_DEALLOCATE,) if prepared else ()
    return (*_RESET, *deallocate)


def reset_script(*, direct: bool = False, prepared: bool = False) -> str:
    """The same as one message."""
    return ";".join(reset_statements(direct=direct, prepared=prepared))
