"""Which objects a reset drops, and the proof that it takes nothing else along.

An object is dropped if it lies in public, or in a schema that the files create, belongs to the role
that has logged in, and to no extension. CASCADE would also drop what depends on it elsewhere: what
there is beside these objects is remembered before, and compared after, in the same transaction,
down to the parts of other tables. Only triggers and policies on the tables of providers go along:
they are the files' own, as that which greets a new user of `auth.users`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ..database.connection import Connection
from ..database.sql_composition import filled, joined
from ..duration import milliseconds
from ..settings.providers import PROVIDERS_SCHEMAS

# What lies in a schema depends on it (PostgreSQL manual, pg_depend).
_CONTENTS = """
contents (classid, objid, nspname) as (
    select d.classid, d.objid, n.nspname
      from pg_namespace n
      join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid
     where n.nspname = any ({schemas}::name[]) and d.deptype = 'n' and d.objsubid = 0
       and d.classid <> 'pg_extension'::regclass
), owned (classid, objid, nspname, owner, is_member) as (
    select c.classid, c.objid, c.nspname,
           case c.classid
               when 'pg_class'::regclass then (select relowner from pg_class where oid = objid)
               when 'pg_proc'::regclass then (select proowner from pg_proc where oid = objid)
               when 'pg_type'::regclass then (select typowner from pg_type where oid = objid)
               when 'pg_operator'::regclass
               then (select oprowner from pg_operator where oid = objid)
               when 'pg_opclass'::regclass then (select opcowner from pg_opclass where oid = objid)
               when 'pg_opfamily'::regclass
               then (select opfowner from pg_opfamily where oid = objid)
               when 'pg_collation'::regclass
               then (select collowner from pg_collation where oid = objid)
               when 'pg_conversion'::regclass
               then (select conowner from pg_conversion where oid = objid)
               when 'pg_ts_config'::regclass
               then (select cfgowner from pg_ts_config where oid = objid)
               when 'pg_ts_dict'::regclass
               then (select dictowner from pg_ts_dict where oid = objid)
               when 'pg_statistic_ext'::regclass
               then (select stxowner from pg_statistic_ext where oid = objid)
           end,
           exists (select from pg_depend e
                    where e.classid = c.classid and e.objid = c.objid and e.deptype = 'e')
      from contents c
     union all
    -- public itself stays, with its owner, its grants and the default privileges in it.
    select 'pg_namespace'::regclass, oid, nspname, nspowner, false
      from pg_namespace n
     where nspname = any ({schemas}::name[]) and nspname <> all ({kept}::name[])
       and not exists (
               select from pg_depend d left join pg_depend e on e.classid = d.classid
                                      and e.objid = d.objid and e.deptype = 'e'
                where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid
                  and (d.classid = 'pg_extension'::regclass or e.objid is not null))
), role (oid) as (
    select oid from pg_roles where rolname in (current_user, session_user)
)
"""
_LIST = f"""
with {_CONTENTS}
select o.nspname, i.type, i.identity, pg_get_userbyid(o.owner), o.owner in (select oid from role)
  from owned o, pg_identify_object(o.classid, o.objid, 0) i
 where not o.is_member
 order by o.classid = 'pg_namespace'::regclass, o.classid <> 'pg_class'::regclass,
          i.type <> 'table', i.identity
"""
# Of the tables that a provider has made, what the files may have put there is not counted.
_PROVIDERS = f"^({PROVIDERS_SCHEMAS})$"
# Everything else that CASCADE might reach, down to the columns of tables and their defaults.
_OTHERS = f"""
(with {_CONTENTS}, dropped (classid, objid) as (
    select classid, objid from owned where not is_member
), relations (oid, schema) as (
    select c.oid, c.relnamespace from pg_class c
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c') and c.oid >= 16384
       and c.relpersistence <> 't'
       and not exists (select from dropped
                        where classid = 'pg_class'::regclass and objid = c.oid
                           or classid = 'pg_type'::regclass and objid = c.reltype)
), of_no_provider (oid) as (
    select r.oid from relations r join pg_namespace n on n.oid = r.schema
     where n.nspname !~* '{_PROVIDERS}'
), others (classid, objid, objsubid) as (
    select 'pg_class'::regclass, oid, 0 from relations
    union all
    select 'pg_class'::regclass, attrelid, attnum from pg_attribute
     where attrelid in (select oid from relations) and attnum > 0 and not attisdropped
    union all
    select 'pg_attrdef'::regclass, oid, 0 from pg_attrdef
     where adrelid in (select oid from relations)
    union all
    select 'pg_constraint'::regclass, oid, 0 from pg_constraint
     where conrelid in (select oid from relations)
        or contypid <> 0 and contypid not in (
               select objid from dropped where classid = 'pg_type'::regclass)
    union all
    select 'pg_class'::regclass, indexrelid, 0 from pg_index
     where indrelid in (select oid from relations)
    union all
    select 'pg_rewrite'::regclass, oid, 0 from pg_rewrite
     where ev_class in (select oid from relations) and rulename <> '_RETURN'
    union all
    select 'pg_statistic_ext'::regclass, oid, 0 from pg_statistic_ext
     where stxrelid in (select oid from relations)
    union all
    select 'pg_trigger'::regclass, oid, 0 from pg_trigger
     where tgrelid in (select oid from of_no_provider) and not tgisinternal
    union all
    select 'pg_policy'::regclass, oid, 0 from pg_policy
     where polrelid in (select oid from of_no_provider)
    union all
    select 'pg_proc'::regclass, oid, 0 from pg_proc where oid >= 16384
    union all
    select 'pg_type'::regclass, oid, 0 from pg_type
     where oid >= 16384 and typelem = 0 and typtype in ('b', 'd', 'e', 'r')
    union all
    select 'pg_operator'::regclass, oid, 0 from pg_operator where oid >= 16384
    union all
    select 'pg_opclass'::regclass, oid, 0 from pg_opclass where oid >= 16384
    union all
    select 'pg_opfamily'::regclass, oid, 0 from pg_opfamily where oid >= 16384
    union all
    select 'pg_conversion'::regclass, oid, 0 from pg_conversion where oid >= 16384
    union all
    select 'pg_ts_config'::regclass, oid, 0 from pg_ts_config where oid >= 16384
    union all
    select 'pg_ts_dict'::regclass, oid, 0 from pg_ts_dict where oid >= 16384
    union all
    select 'pg_namespace'::regclass, oid, 0 from pg_namespace
     where oid >= 16384 and nspname !~ '^pg_'
    union all
    select 'pg_extension'::regclass, oid, 0 from pg_extension
    union all
    select 'pg_foreign_server'::regclass, oid, 0 from pg_foreign_server
    union all
    select 'pg_event_trigger'::regclass, oid, 0 from pg_event_trigger
)
select coalesce(string_agg(format('%s %s', i.type, i.identity), E'\\n' order by i.identity), '')
  from others o, pg_identify_object(o.classid, o.objid, o.objsubid) i
 where not exists (select from dropped d where d.classid = o.classid and d.objid = o.objid))
"""
_REMEMBER = f"select set_config('migrations.others', {_OTHERS}, true)"
# What is gone is what was remembered, and is not there any more.
_COMPARE = f"""
select case when count(*) = 0 then null
            else (jsonb_build_object('fault', 'reached', 'objects',
                                     (array_agg(line))[1:5])::text)::integer end
  from (select unnest(string_to_array(current_setting('migrations.others'), E'\\n'))
        except all
        select unnest(string_to_array({_OTHERS}, E'\\n'))) as gone (line)
"""
_NOTHING_LEFT = f"""
select case when count(*) = 0 then null
            else (jsonb_build_object('fault', 'left', 'objects',
                                     (array_agg(identity))[1:5])::text)::integer end
  from (with {_CONTENTS}
        select i.identity from owned o, pg_identify_object(o.classid, o.objid, 0) i
         where not o.is_member) as remaining
"""
# The words for DROP, where they are not those by which the server describes the object.
_KINDS = {"statistics object": "statistics", "function": "routine", "aggregate": "routine"}


@dataclass(frozen=True)
class Schemas:
    """The schemas whose contents are dropped; those in `kept` are not dropped themselves."""

    names: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def literals(self) -> dict[str, object]:
        return {"schemas": list(self.names), "kept": list(self.kept)}


@dataclass(frozen=True)
class DatabaseObject:
    """An object in one of the schemas: its kind, its full name in SQL, and whose it is."""

    schema: str
    kind: str
    identity: str
    owner: str
    is_ours: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"

    @property
    def drop(self) -> str:
        """The statement that drops the object, unless it went with another one before."""
        return f"drop {_KINDS.get(self.kind, self.kind)} if exists {self.identity} cascade"


def find_objects(connection: Connection, schemas: Schemas) -> tuple[DatabaseObject, ...]:
    """What lies in the schemas and is of no extension, in the order in which it is dropped."""
    rows = connection.query(filled(_LIST, **schemas.literals), read_only=True)[0]
    return tuple(
        DatabaseObject(schema or "", kind or "", identity or "", owner or "", is_ours == "t")
        for schema, kind, identity, owner, is_ours in rows
    )


def drop_objects(
    connection: Connection,
    schemas: Schemas,
    objects: Sequence[DatabaseObject],
    *,
    lock_timeout: float,
) -> None:
    """Drop the objects in one transaction. `lock_timeout` is in seconds.

    StatementError, with nothing dropped, if that would take along anything else, or if anything
    has been added to the schemas meanwhile.
    """
    values = schemas.literals
    connection.query(
        joined(
            f"set local lock_timeout = {milliseconds(lock_timeout)}",
            "set local statement_timeout = 0",
            filled(_REMEMBER, **values),
            *(sql.SQL(each.drop) for each in objects),
            filled(_COMPARE, **values),
            filled(_NOTHING_LEFT, **values),
        )
    )
