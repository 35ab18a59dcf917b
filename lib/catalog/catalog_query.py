"""The statement that lists every object of a schema with its definition, and what it runs under."""

from functools import lru_cache

from psycopg import sql

from ..database.sql_composition import filled, joined, text_of
from ..own_tables import OWN_TABLES
from ..settings.providers import PROVIDERS_SCHEMAS
from .exclusions import (
    COMMON_SCHEMAS,
    COMMON_SCHEMAS_OWNER,
    PROVIDERS_PUBLICATIONS,
    PROVIDERS_ROLES,
    Exclusions,
)
from .object_queries import OBJECT_QUERIES, PUBLICATION_SCHEMAS, PUBLISHED
from .other_ledgers import ledgers_query
from .relation_queries import COLUMNS, FRAME, RELATION_QUERIES

# What the server prints must not depend on settings of the role or the database. A constant is
# printed by the output function of its type, and these settings change what those print.
PINNED_SETTINGS = (
    "set local timezone = 'UTC'",
    "set local datestyle = 'ISO, YMD'",
    "set local intervalstyle = 'postgres'",
    "set local bytea_output = 'hex'",
    "set local extra_float_digits = 1",
    "set local lc_monetary = 'C'",
    "set local lc_numeric = 'C'",
    "set local lc_time = 'C'",
    "set local xmlbinary = 'base64'",
    "set local xmloption = 'content'",
    "set local quote_all_identifiers = off",
    # Off, a backslash in a constant is printed twice.
    "set local standard_conforming_strings = on",
    # Compiling the query takes longer than running it, and its sorts fit into this memory.
    "set local jit = off",
    "set local max_parallel_workers_per_gather = 0",
    "set local work_mem = '32MB'",
)
# A role that sets it would lose the connection.
_PINNED_SINCE_17 = "set local transaction_timeout = 0"
_POSTGRESQL_15, _POSTGRESQL_17 = 150000, 170000

# `v in ('a', 'b')` of a varchar: a copy by pg_dump prints a cast at each constant, in place of one
# at their array. So these casts are left out.
_CONSTANT = "(?:E?'(?:[^']|'')*'|NULL)::character varying"
_CAST_ARRAY = rf"\(ARRAY\[((?:{_CONSTANT}(?:, )?)+)\]\)::text\[\]"
_CAST_CONSTANT = rf"\(({_CONSTANT})\)::text"
_PRINTED_ALIKE = """
case when {text} like '%::character varying%' then
          regexp_replace(regexp_replace({text}, {array}, {replacement_of_array}, 'g'),
                         {constant}, {replacement_of_constant}, 'g')
     else {text} end
"""

# One word for each privilege, as in "app=SELECT*", where the star stands for the grant option.
_GRANTED = """
select string_agg(who.name || '=' || x.privilege_type || case when x.is_grantable then '*' else ''
                  end, ' ' order by who.name collate "C", x.privilege_type) as text
  from aclexplode({acl}) as x
  cross join lateral (
      select case x.grantee when {owner} then 'OWNER' when 0 then 'PUBLIC'
             else quote_ident(pg_get_userbyid(x.grantee)) end as name) as who
 where {whose}
"""
_TO_OWNER = "x.grantee = {owner}"
_TO_OTHERS = "x.grantee <> {owner} and x.grantee not in (select oid from provider_roles)"
# Privileges are shown where they are not those that every such object has from the start; those of
# the owner, of whom a later version has more, only where some were revoked. Few objects have
# privileges that no other has: each combination is written once.
_OBJECTS = """
with {frame}, object ({columns}) as materialized (
    {objects}
), grants as materialized (
    select g.*,
           concat_ws(' ', case when own.text is distinct from own_at_first.text
                               then coalesce(own.text, 'OWNER=') end, others.text) as given,
           own.text is distinct from own_at_first.text
           or others.text is distinct from others_at_first.text as is_shown
      from (select distinct acl, acl_kind, owner from object where acl is not null) as g
      cross join lateral ({own}) as own
      cross join lateral ({own_at_first}) as own_at_first
      cross join lateral ({others}) as others
      cross join lateral ({others_at_first}) as others_at_first
)
select kind, identity, {printed}, place from object where definition is not null
union all
select 'owner', kind || ' ' || identity, pg_get_userbyid(owner), kind || ' ' || identity
  from object where owner is not null and place is null
union all
select 'privilege', o.kind || ' ' || o.identity, g.given,
       coalesce(o.place, o.kind || ' ' || o.identity)
  from object o
  join grants g on g.acl = o.acl and g.acl_kind = o.acl_kind and g.owner = o.owner
 where g.is_shown and o.acl is not null
union all
select 'comment', o.kind || ' ' || o.identity, d.description,
       coalesce(o.place, o.kind || ' ' || o.identity)
  from object o
  join pg_description d
    on d.classoid = o.classid and d.objoid = o.objid and d.objsubid = o.objsubid
"""


# A run needs it four times, and puts it together once.
@lru_cache(maxsize=4)
def list_objects(exclusions: Exclusions, server_version: int) -> str:
    """What the statement runs under, and it: its columns are kind, identity, definition and place.

    `place` is "KIND IDENTITY" of the table or type that the object belongs to, or of what an owner,
    a privilege or a comment is of; null for all else.
    """
    newer = (_PINNED_SINCE_17,) if server_version >= _POSTGRESQL_17 else ()
    return text_of(joined(*PINNED_SETTINGS, *newer, _statement(exclusions, server_version)))


def _statement(exclusions: Exclusions, server_version: int) -> sql.Composed:
    has_published_columns = server_version >= _POSTGRESQL_15
    queries = (
        *RELATION_QUERIES,
        *OBJECT_QUERIES,
        *((PUBLICATION_SCHEMAS,) if has_published_columns else ()),
    )
    at_first = "acldefault(g.acl_kind, g.owner)"
    values = {
        **_default_exclusions(exclusions),
        "published": sql.SQL(PUBLISHED if has_published_columns else "''"),
        "granted": _granted("d.defaclacl", "d.defaclrole", _TO_OTHERS),
    }
    return filled(
        _OBJECTS,
        frame=filled(FRAME, **values),
        columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        objects=sql.SQL(" union all ").join(filled(query, **values) for query in queries),
        printed=printed_alike("definition"),
        own=_granted("g.acl", "g.owner", _TO_OWNER),
        own_at_first=_granted(at_first, "g.owner", _TO_OWNER),
        others=_granted("g.acl", "g.owner", _TO_OTHERS),
        others_at_first=_granted(at_first, "g.owner", _TO_OTHERS),
    )


def printed_alike(text: str) -> sql.Composed:
    """An expression for a text of the server's, as every copy of the database prints it."""
    return filled(
        _PRINTED_ALIKE,
        text=sql.SQL(text),
        array=_CAST_ARRAY,
        replacement_of_array=r"ARRAY[\1]",
        constant=_CAST_CONSTANT,
        replacement_of_constant=r"\1",
    )


def _granted(acl: str, owner: str, whose: str) -> sql.Composed:
    role = sql.SQL(owner)
    return filled(_GRANTED, acl=sql.SQL(acl), owner=role, whose=filled(whose, owner=role))


def _default_exclusions(exclusions: Exclusions) -> dict[str, object]:
    # No name is empty.
    nothing = "^$"
    patterns = {
        "provider_roles": PROVIDERS_ROLES,
        "provider_schemas": PROVIDERS_SCHEMAS,
        "provider_publications": PROVIDERS_PUBLICATIONS,
    }
    return {
        **{
            name: f"^(?:{pattern})$" if exclusions.providers else nothing
            for name, pattern in patterns.items()
        },
        "common_schemas": f"^(?:{COMMON_SCHEMAS})$",
        "common_owner": COMMON_SCHEMAS_OWNER,
        "leaves_out_partitions": exclusions.partitions,
        # With all that depends on them.
        "own": list(OWN_TABLES),
        "ledgers": ledgers_query(),
    }
