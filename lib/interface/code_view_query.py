"""All that code can use, read from the catalogs of a database in one message."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from psycopg import sql

from ..database.connection import Connection
from ..database.sql_composition import filled, joined
from ..own_tables import OWN_TABLES
from .code_view import CodeView, Column, Constraint, DataType, Relation, Routine, RowSecurity

# What extensions bring is left out, and goes with its extension; so are the runner's own tables,
# sequences that a column owns, and the functions of triggers, which no code calls. A query returns
# one JSON document for each row.
_SCHEMA = """
n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (
    select from pg_depend d where d.classid = {catalog}::regclass and d.objid = {object}
       and d.deptype = 'e')
"""
_RELATION = """
c.relkind in ('r', 'p', 'f', 'v', 'm', 'c', 'S') and not (
    n.nspname = 'public' and c.relname = any ({own}::text[])) and not exists (
    select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
       and c.relkind = 'S' and d.deptype in ('a', 'i') and d.refobjsubid > 0)
"""
# Of a constraint `o` and a column `a`; enforced for new rows even before it is valid.
_NOT_NULL = """
pg_get_constraintdef(o.oid) in (format('CHECK ((%I IS NOT NULL))', a.attname),
                                format('CHECK ((%I IS NOT NULL)) NOT VALID', a.attname))
"""
_RELATIONS = """
select json_build_object(
    'name', format('%I.%I', n.nspname, c.relname), 'oid', c.oid::bigint,
    'kind', case c.relkind when 'f' then 'foreign table' when 'v' then 'view' when 'c' then 'type'
            when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end,
    -- 28: INSERT, UPDATE and DELETE.
    'takes_writes', c.relkind in ('r', 'p', 'f')
        or c.relkind = 'v' and pg_relation_is_updatable(c.oid, true) & 28 = 28,
    'row_security', case when not c.relrowsecurity then 'off'
        when exists (select from pg_policy p where p.polrelid = c.oid) then 'on'
        when c.relforcerowsecurity then 'bare and forced' else 'bare' end,
    'privileges', (
        select json_agg(distinct case a.grantee when 0 then 'PUBLIC'
                        else pg_get_userbyid(a.grantee) end || ': ' || a.privilege_type)
          from aclexplode(c.relacl) a where a.grantee <> c.relowner),
    -- As ON CONFLICT names it: the expressions, and the predicate.
    'unique_keys', (
        select json_object_agg('(' || (
                   select string_agg(pg_get_indexdef(i.indexrelid, k, true), ', ' order by k)
                     from generate_series(1, i.indnkeyatts) k) || ')'
                   || coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), ''),
                   quote_ident(x.relname))
          from pg_index i join pg_class x on x.oid = i.indexrelid
         where i.indrelid = c.oid and i.indisunique and i.indisvalid),
    -- But for a check that a column is not null, which is told of the column.
    'constraints', (
        select json_object_agg(o.oid::bigint, json_build_array(
                   pg_get_constraintdef(o.oid), quote_ident(o.conname)))
          from pg_constraint o where o.conrelid = c.oid and o.contype in ('c', 'f', 'x')
           and not exists (
               select from pg_attribute a
                where a.attrelid = c.oid and a.attnum = o.conkey[1] and {not_null})),
    -- From "using" on: without the names.
    'indexes', (
        select json_object_agg(substring(pg_get_indexdef(i.indexrelid) from ' USING (.*)$'),
                   quote_ident(x.relname))
          from pg_index i join pg_class x on x.oid = i.indexrelid
         where i.indrelid = c.oid and not i.indisunique and i.indisvalid))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where {relation} and {schema}
"""
_COLUMNS = """
select json_build_object(
    'table', format('%I.%I', n.nspname, c.relname), 'name', quote_ident(a.attname),
    'number', a.attnum, 'type', format_type(a.atttypid, a.atttypmod),
    'is_required', a.attnotnull or t.typnotnull or exists (
        select from pg_constraint o
         where o.conrelid = c.oid and o.contype = 'c' and o.conkey[1] = a.attnum and {not_null}),
    'has_value', a.atthasdef or a.attidentity <> '' or t.typdefault is not null,
    'is_generated', a.attgenerated <> '' or a.attidentity = 'a',
    'is_inherited', a.attinhcount > 0,
    -- Who may insert into the table, and not use the sequence of a serial column.
    'kept_out', (
        select json_agg(distinct pg_get_userbyid(g.grantee))
          from aclexplode(c.relacl) g, pg_depend d join pg_class s on s.oid = d.objid
         where g.privilege_type = 'INSERT' and g.grantee not in (0, c.relowner)
           and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
           and d.refobjsubid = a.attnum and d.classid = 'pg_class'::regclass and d.deptype = 'a'
           and case s.relkind when 'S' then not has_sequence_privilege(g.grantee, s.oid, 'USAGE')
               else false end))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
 where c.relkind <> 'S' and {relation} and {schema}
 order by c.oid, a.attnum
"""
_ROUTINES = """
select json_build_object(
    'signature', format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)),
    'oid', p.oid::bigint, 'name', format('%I.%I', n.nspname, p.proname),
    'kind', case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate'
            else 'function' end,
    'types', (select json_agg(format_type(u.type, null) order by u.place)
                from unnest(p.proargtypes::oid[]) with ordinality as u (type, place)),
    'names', (select json_agg(u.name order by u.place)
                from unnest(p.proargnames, p.proargmodes) with ordinality as u (name, mode, place)
               where coalesce(u.mode, 'i') in ('i', 'b', 'v')),
    'defaults', p.pronargdefaults, 'result', coalesce(pg_get_function_result(p.oid), ''))
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) and {schema}
"""
# Without array and multirange types, which come with another, and the row types of relations.
_TYPES = """
select json_build_object(
    'name', format('%I.%I', n.nspname, t.typname), 'oid', t.oid::bigint,
    'labels', (select json_object_agg(e.enumlabel, e.oid::bigint order by e.enumsortorder)
                 from pg_enum e where e.enumtypid = t.oid))
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
 where t.typtype in ('b', 'd', 'e', 'r')
   and not exists (select from pg_type element where element.typarray = t.oid) and {schema}
"""
_EXTENSIONS = "select to_json(extname) from pg_extension"

_CATALOGS = {
    _RELATIONS: ("pg_class", "c.oid"),
    _COLUMNS: ("pg_class", "c.oid"),
    _ROUTINES: ("pg_proc", "p.oid"),
    _TYPES: ("pg_type", "t.oid"),
}


def read_code_view(connection: Connection) -> CodeView:
    """Read all that code can use, in one message."""
    relation = filled(_RELATION, own=list(OWN_TABLES))
    queries = [
        filled(
            query,
            relation=relation,
            not_null=sql.SQL(_NOT_NULL),
            schema=filled(_SCHEMA, catalog=catalog, object=sql.SQL(oid)),
        )
        for query, (catalog, oid) in _CATALOGS.items()
    ]
    answers = connection.query(joined(*queries, _EXTENSIONS), read_only=True)
    relations, columns, routines, types, extensions = (
        tuple(document or "" for (document,) in rows) for rows in answers
    )
    return CodeView(
        _relations(_parsed(relations), _columns(columns)),
        {row.pop("signature"): _routine(row) for row in _parsed(routines)},
        {row["name"]: DataType(row["oid"], row["labels"] or {}) for row in _parsed(types)},
        frozenset(_parsed(extensions)),
    )


def _parsed(documents: Iterable[str]) -> list[Any]:
    return [json.loads(document) for document in documents]


# Most files change no column, and a large schema has thousands.
@lru_cache(maxsize=1)
def _columns(documents: tuple[str, ...]) -> Mapping[str, Mapping[str, Column]]:
    by_table: dict[str, dict[str, Column]] = {}
    for row in _parsed(documents):
        table, name = row.pop("table"), row.pop("name")
        kept_out = tuple(row.pop("kept_out") or ())
        by_table.setdefault(table, {})[name] = Column(**row, kept_out=kept_out)
    return by_table


def _relations(
    rows: list[dict[str, Any]], columns: Mapping[str, Mapping[str, Column]]
) -> dict[str, Relation]:
    return {
        row["name"]: Relation(
            row["oid"],
            row["kind"],
            columns.get(row["name"], {}),
            row["takes_writes"],
            RowSecurity(row["row_security"]),
            frozenset(row["privileges"] or ()),
            row["unique_keys"] or {},
            {int(oid): Constraint(*each) for oid, each in (row["constraints"] or {}).items()},
            row["indexes"] or {},
        )
        for row in rows
    }


def _routine(row: dict[str, Any]) -> Routine:
    lists = {name: tuple(row[name] or ()) for name in ("types", "names")}
    return Routine(**{**row, **lists})
