# ruff: noqa: E501
"""The SQL that lists every object of a schema with its definition."""

# What the server prints must not depend on settings of the role or the database.
PINNED_SETTINGS = (
    "set local timezone = 'UTC'",
    "set local datestyle = 'ISO, YMD'",
    "set local intervalstyle = 'postgres'",
    "set local bytea_output = 'hex'",
    "set local quote_all_identifiers = off",
)
LIST_OBJECTS = """
with ext as materialized (
  select classid, objid from pg_catalog.pg_depend where deptype = 'e'
), ns as materialized (
  select n.oid, n.nspname, n.nspacl, n.nspowner from pg_catalog.pg_namespace n
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from ext where classid = 'pg_namespace'::regclass and objid = n.oid)
), rel as materialized (
  select c.*, pg_catalog.format('%I.%I', ns.nspname, c.relname) as name from pg_catalog.pg_class c join ns on ns.oid = c.relnamespace
  where not exists (select from ext where classid = 'pg_class'::regclass and objid = c.oid)
    and not (ns.nspname = 'public' and c.relname in ('schema_migrations','schema_migration_runs'))
)
select 'schema' as kind, nspname::text as identity, '' as def from ns
union all
select 'extension', extname, extversion from pg_catalog.pg_extension
union all
select 'table', name, concat_ws(' ', relkind, relpersistence, case when relrowsecurity then 'rls' end, case when relforcerowsecurity then 'force' end,
       pg_catalog.pg_get_partkeydef(oid), pg_catalog.pg_get_expr(relpartbound, oid), reloptions::text,
       (select string_agg(i.inhparent::regclass::text, ',' order by i.inhseqno) from pg_catalog.pg_inherits i where i.inhrelid = rel.oid))
  from rel where relkind in ('r','p','f')
union all
select 'column', rel.name || '.' || pg_catalog.quote_ident(a.attname), concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
       case when a.attnotnull then 'not null' end,
       case when a.attgenerated <> '' then 'generated ' || a.attgenerated::text || ' ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            when d.adbin is not null then 'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) end,
       case when a.attidentity <> '' then 'identity ' || a.attidentity::text end,
       case when a.attcollation <> t.typcollation then 'collate ' || (select collname from pg_catalog.pg_collation where oid = a.attcollation) end)
  from rel join pg_catalog.pg_attribute a on a.attrelid = rel.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where rel.relkind in ('r','p','f','c')
union all
select 'constraint', coalesce(rel.name, t.typname) || '.' || con.conname, pg_catalog.pg_get_constraintdef(con.oid)
  from pg_catalog.pg_constraint con join ns on ns.oid = con.connamespace left join rel on rel.oid = con.conrelid left join pg_catalog.pg_type t on t.oid = con.contypid
  where con.contype <> 'n' and con.contype <> 't' and (rel.oid is not null or con.contypid <> 0)
    and not exists (select from ext where classid = 'pg_type'::regclass and objid = con.contypid)
union all
select 'index', rel.name, pg_catalog.pg_get_indexdef(rel.oid) || case when not i.indisvalid then ' INVALID' else '' end
  from rel join pg_catalog.pg_index i on i.indexrelid = rel.oid where not exists (select from pg_catalog.pg_constraint c where c.conindid = rel.oid and c.contype in ('p','u','x'))
union all
select case relkind when 'v' then 'view' else 'materialized view' end, name, pg_catalog.pg_get_viewdef(oid) || coalesce(reloptions::text, '') from rel where relkind in ('v','m')
union all
select 'sequence', rel.name, concat_ws(' ', pg_catalog.format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
  from rel join pg_catalog.pg_sequence s on s.seqrelid = rel.oid
union all
select 'type', pg_catalog.format('%I.%I', ns.nspname, t.typname), concat_ws(' ', t.typtype,
       (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid),
       case when t.typtype = 'd' then pg_catalog.format_type(t.typbasetype, t.typtypmod) end, t.typdefault, case when t.typnotnull then 'not null' end)
  from pg_catalog.pg_type t join ns on ns.oid = t.typnamespace
  where t.typtype in ('e','d','r') and not exists (select from ext where classid = 'pg_type'::regclass and objid = t.oid)
union all
select 'function', pg_catalog.format('%I.%I(%s)', ns.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)),
       case when p.prokind = 'a' then 'aggregate ' || (select a::text from pg_catalog.pg_aggregate a where a.aggfnoid = p.oid) else pg_catalog.pg_get_functiondef(p.oid) end
  from pg_catalog.pg_proc p join ns on ns.oid = p.pronamespace where not exists (select from ext where classid = 'pg_proc'::regclass and objid = p.oid)
union all
select 'trigger', rel.name || '.' || tg.tgname, pg_catalog.pg_get_triggerdef(tg.oid) || case when tg.tgenabled <> 'O' then ' ' || tg.tgenabled::text else '' end
  from pg_catalog.pg_trigger tg join rel on rel.oid = tg.tgrelid where not tg.tgisinternal
union all
select 'policy', rel.name || '.' || pol.polname, concat_ws(' ', pol.polcmd, pol.polpermissive,
       (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname) from unnest(pol.polroles) o left join pg_catalog.pg_roles r on r.oid = o),
       'using', pg_catalog.pg_get_expr(pol.polqual, pol.polrelid), 'check', pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid))
  from pg_catalog.pg_policy pol join rel on rel.oid = pol.polrelid
union all
select 'rule', rel.name || '.' || r.rulename, pg_catalog.pg_get_ruledef(r.oid) from pg_catalog.pg_rewrite r join rel on rel.oid = r.ev_class where r.rulename <> '_RETURN'
union all
select 'statistics', s.stxname, pg_catalog.pg_get_statisticsobjdef(s.oid) from pg_catalog.pg_statistic_ext s join ns on ns.oid = s.stxnamespace
union all
select 'grant', rel.name, string_agg(coalesce(g.rolname,'public') || '=' || a.privilege_type || case when a.is_grantable then '*' else '' end, ' ' order by g.rolname, a.privilege_type)
  from rel cross join lateral pg_catalog.aclexplode(rel.relacl) a left join pg_catalog.pg_roles g on g.oid = a.grantee
  where rel.relacl is not null and a.grantee <> rel.relowner group by rel.name
union all
select 'comment', rel.name || case when d.objsubid > 0 then '.' || (select attname from pg_catalog.pg_attribute where attrelid = rel.oid and attnum = d.objsubid) else '' end, d.description
  from pg_catalog.pg_description d join rel on d.classoid = 'pg_class'::regclass and d.objoid = rel.oid
"""
