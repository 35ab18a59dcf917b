"""Traps for SQL that looks names up in a schema where others may create.

The names are taken from the source of the runner, so that a statement of tomorrow is covered too:
its operators for every pair of types that may meet, its functions and aggregates for the argument
types of pg_catalog and for those that fit better, its types, and the relations of the catalog. A
trap that is called counts itself in a sequence, which no rollback takes back.
"""

import ast
import re
from collections.abc import Iterator

import psycopg
from conftest import ROOT, Database

from lib.sql.lexer import LexicalError, scan

# What a string of the source has that is SQL, or a part of it.
_SQL = re.compile(
    r"(?i)\b(?:select|insert|update|lock table|from|where|set local|pid|case|concat_ws|extract|do)"
    r"\b"
)
_BODY = (
    "begin perform pg_catalog.nextval(''public.trap_calls''::pg_catalog.regclass); return null; end"
)
_PLANT = """
set search_path = pg_catalog;
set client_min_messages = error;
create sequence public.trap_calls;
grant usage on sequence public.trap_calls to public;
create temp table operators as
    select name from unnest(%(operators)s::text[]) as name
     where name in (select oprname from pg_operator);
create temp table words as select unnest(%(words)s::text[]) as name;
create temp table met (type) as
    select distinct format_type(t.oid, null) from pg_type t
     where t.typtype in ('b', 'd') and t.typname !~ '^_' and t.oid in (
        select a.atttypid
          from pg_attribute a join pg_class c on c.oid = a.attrelid
          join words w on w.name = c.relname
         where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'
           and w.name ~ '^pg_(class|trigger|roles)'
        union
        select prorettype from pg_proc join words w on w.name = proname
         where pronamespace = 'pg_catalog'::regnamespace)
    union select unnest(%(always)s::text[]);
do $do$
declare
    l text; r text; o text; f record; body text := '{body}';
begin
    for l, r in select a.type, b.type from met a, met b loop
        begin
            execute format('create function public.trap(%%s, %%s) returns boolean '
                           'language plpgsql as %%L', l, r, body);
            for o in select name from operators loop
                begin
                    execute format(
                        'create operator public.%%s '
                        '(leftarg = %%s, rightarg = %%s, function = public.trap)', o, l, r);
                exception when others then null;
                end;
            end loop;
        exception when others then null;
        end;
    end loop;
    for f in select p.proname, oidvectortypes(p.proargtypes) as arguments,
                    format_type(p.prorettype, null) as result,
                    p.prokind, p.proretset
               from pg_proc p join words w on w.name = p.proname
               where p.pronamespace = 'pg_catalog'::regnamespace
              union all
             select w.name, m.type, 'text', 'f', false from words w, met m
              where w.name in (
                    select proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace)
              union all
             select w.name, 'text, variadic text[]', 'text', 'f', false from words w
              where w.name in (
                    select proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace)
    loop
        begin
            if f.prokind = 'a' then
                execute format('create function public.step(%%s, %%s) returns %%s '
                               'language plpgsql as %%L',
                               f.result, f.arguments, f.result, body);
                execute format('create aggregate public.%%I (%%s) '
                               '(sfunc = public.step, stype = %%s)',
                               f.proname, f.arguments, f.result);
            else
                execute format('create function public.%%I(%%s) returns %%s %%s '
                               'language plpgsql as %%L', f.proname,
                               f.arguments, case when f.proretset then 'setof' else '' end,
                               f.result,
                               case when f.proretset
                                    then replace(body, 'return null', 'return') else body end);
            end if;
        exception when others then null;
        end;
    end loop;
    for f in select w.name from words w join pg_type t on t.typname = w.name
              where t.typnamespace = 'pg_catalog'::regnamespace
                and t.typtype = 'b' and t.typname !~ '^_'
    loop
        begin
            execute format('create function public.check_trap(pg_catalog.%%I) '
                           'returns boolean language plpgsql as %%L',
                           f.name, body);
            execute format('create domain public.%%I as pg_catalog.%%I '
                           'check (public.check_trap(value) is not false)',
                           f.name, f.name);
        exception when others then null;
        end;
    end loop;
    for f in select w.name, string_agg(
                    format('pg_catalog.nextval(''public.trap_calls'')::%%s as %%I',
                           case a.atttypid when 'bool'::regtype then 'int::bool' else 'text' end,
                           a.attname), ', ') as columns
               from words w join pg_class c on c.relname = w.name
               join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
              where c.relnamespace = 'pg_catalog'::regnamespace group by w.name
    loop
        begin
            execute format('create view public.%%I as select %%s', f.name, f.columns);
        exception when others then null;
        end;
    end loop;
end
$do$;
""".replace("{body}", _BODY)
_COUNT = """
select 'operators', count(*) from pg_operator where oprnamespace = 'public'::regnamespace
union all select 'functions', count(*) from pg_proc
 where pronamespace = 'public'::regnamespace and prokind = 'f'
union all select 'aggregates', count(*) from pg_proc
 where pronamespace = 'public'::regnamespace and prokind = 'a'
union all select 'types', count(*) from pg_type
 where typnamespace = 'public'::regnamespace and typtype = 'd'
union all select 'relations', count(*) from pg_class
 where relnamespace = 'public'::regnamespace and relkind = 'v'
"""
# The types that literals, casts and expressions have, besides those that are found.
_ALWAYS = (
    "text", "varchar", "name", "integer", "bigint", "numeric", "float8", "boolean", "oid", '"char"',
    "timestamp", "timestamptz", "interval", "text[]", "varchar[]", "name[]", "jsonb", "xid",
    "regclass", "char(3)", "int2",
)  # fmt: skip


def strings_of_the_runner() -> Iterator[str]:
    """Every string of the source that may be SQL, f-strings by their parts."""
    for path in sorted((ROOT / "lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _SQL.search(node.value)
            ):
                yield node.value


def names_in_sql() -> tuple[set[str], set[str]]:
    """The operators and the words of it; more than there are in SQL alone does no harm."""
    operators, words = set(), set()
    for text in strings_of_the_runner():
        try:
            found = list(scan(text))
        except LexicalError:
            continue
        run = ""
        for kind, start, end in found:
            token = text[start:end]
            if kind == "word":
                words.add(token.lower())
            run = run + token if kind == "other" and token in "+-*/<>=~!@#%^&|`?" else ""
            if run:
                operators.add(run)
    return operators, words


def plant(db: Database) -> dict[str, int]:
    """Plant the traps as the role of `db`, which may create in public; return their counts."""
    operators, words = names_in_sql()
    with db.connect() as connection:
        values = {"operators": sorted(operators), "words": sorted(words), "always": list(_ALWAYS)}
        psycopg.ClientCursor(connection).execute(_PLANT, values)
        counted = connection.execute(_COUNT).fetchall()
    return dict(counted)


def calls(db: Database) -> int:
    """How often a trap was called, by whomever."""
    with db.connect(options="-c search_path=pg_catalog") as connection:
        [(last, is_called)] = connection.execute(
            "select last_value, is_called from public.trap_calls"
        ).fetchall()
    return last if is_called else 0
