"""What a file may set in its session, and how that is undone."""

from ..database.composing import OWN_SETTINGS

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
