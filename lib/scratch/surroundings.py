"""What a database holds beside the schema of a project: of its provider, extensions and tools."""

from dataclasses import dataclass

from psycopg import sql

from ..catalog.exclusions import (
    COMMON_SCHEMAS,
    COMMON_SCHEMAS_OWNER,
    PROVIDERS_ROLES,
)
from ..catalog.other_ledgers import ledgers_query
from ..database.connection import Connection
from ..database.sql_composition import filled
from ..own_tables import OWN_TABLES
from ..settings.providers import PROVIDERS_SCHEMAS

# The roles that Supabase gives to each of its databases.
SUPABASE_ROLES = frozenset({"anon", "authenticated", "service_role", "authenticator", "postgres"})
_IS_SUPABASE = """
exists (select from pg_roles where rolname = 'service_role')
  and to_regclass('auth.users') is not null
"""
_FACTS = f"select current_user, {_IS_SUPABASE}"
_TABLES = """
with left_out as (
  select l.oid from ({ledgers}) as l
  union
  select c.oid from pg_class c
   where c.relnamespace = to_regnamespace('public') and c.relname = any ({own}::text[])
)
select n.nspname, c.relname
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid in (select oid from left_out)
    -- The sequence of a column is dumped, even if the table is not.
    or c.relkind = 'S' and exists (
       select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid
          and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from left_out))
 order by 1, 2
"""
# As the snapshot tells them, but for a schema in which the project itself put an extension.
_SCHEMAS = """
select n.nspname from pg_namespace n
 where n.nspname ~* {provider} and not starts_with(n.nspname::text, 'pg_')
   and n.nspname <> 'information_schema'
   and (n.nspname !~* {common}
        or n.nspowner in (select oid from pg_roles where rolname ~* {roles})
        or exists (select from pg_roles where rolname = {common_owner})
        or exists (select from pg_depend d where d.deptype = 'e' and d.objid = n.oid
                      and d.classid = 'pg_namespace'::regclass))
"""
_POPULATED = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'm' and c.relispopulated
"""
_MEMBERS = """
select n.nspname, coalesce(p.proname, c.relname, t.typname)
  from pg_depend d
  left join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
  left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
  left join pg_type t on d.classid = 'pg_type'::regclass and t.oid = d.objid
  join pg_namespace n on n.oid = coalesce(p.pronamespace, c.relnamespace, t.typnamespace)
 where d.deptype = 'e'
"""


@dataclass(frozen=True)
class Surroundings:
    """What a database has that no file of ours makes; names are not quoted, unless said.

    `schemas` are the provider's, `roles` those that each of its servers has, `owner` is the role
    that is connected, `populated` are the materialized views that hold rows, as SQL writes them,
    `members` belong to extensions, and `tables` to this runner and to other tools.
    """

    owner: str
    schemas: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    populated: frozenset[str] = frozenset()
    members: frozenset[tuple[str, str]] = frozenset()
    tables: tuple[tuple[str, str], ...] = ()


def has_supabase(connection: Connection) -> bool:
    """True for a database with the roles and the tables that Supabase gives to each of its own."""
    return connection.query(f"select {_IS_SUPABASE}", read_only=True)[-1][0][0] == "t"


def read_surroundings(connection: Connection) -> Surroundings:
    """Read them from the catalog."""
    statements = (
        sql.SQL(_FACTS),
        filled(_TABLES, ledgers=ledgers_query(), own=list(OWN_TABLES)),
        filled(
            _SCHEMAS,
            provider=f"^(?:{PROVIDERS_SCHEMAS})$",
            common=f"^(?:{COMMON_SCHEMAS})$",
            roles=f"^(?:{PROVIDERS_ROLES})$",
            common_owner=COMMON_SCHEMAS_OWNER,
        ),
        sql.SQL(_POPULATED),
        sql.SQL(_MEMBERS),
    )
    facts, tables, schemas, populated, members = connection.query(
        sql.SQL(";").join(statements), read_only=True
    )
    [[owner, supabase]] = facts
    return Surroundings(
        owner=str(owner),
        schemas=frozenset(str(name) for [name] in schemas),
        roles=SUPABASE_ROLES if supabase == "t" else frozenset(),
        populated=frozenset(str(name) for [name] in populated),
        members=frozenset((str(schema), str(name)) for schema, name in members),
        tables=tuple((str(schema), str(name)) for schema, name in tables),
    )
