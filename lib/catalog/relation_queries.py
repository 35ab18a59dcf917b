"""The SQL of each kind of object that is a relation or belongs to one.

A query returns the columns of `COLUMNS`; `catalog_query` puts them together, with the tables named
in `FRAME`. What a query returns with a null definition is no row of its own: it only lends its
identity to comments and privileges.

Only the server's own functions run: an expression is printed, never evaluated, and only a superuser
can create a type that has an output function of its own.
"""

# The address of an object in pg_depend and pg_description; what it is; "KIND IDENTITY" of the
# relation or type that it is below; its owner and privileges, and their kind for acldefault.
COLUMNS = (
    "classid",
    "objid",
    "objsubid",
    "kind",
    "identity",
    "definition",
    "place",
    "owner",
    "acl",
    "acl_kind",
)

# ext: the members of extensions. ns: the schemas; `is_provided` for those of a provider, of whose
# tables only triggers and policies of the project's are listed. hidden: the tables that are left
# out. rel: all other relations and composite types; `base` is the table of a sequence.
FRAME = """
ext as materialized (
    select classid, objid, refobjid from pg_depend where deptype = 'e'
), provider_roles as materialized (
    select oid from pg_roles where rolname ~* {provider_roles}
), ns as materialized (
    select n.oid, quote_ident(n.nspname) as schema, n.nspowner, n.nspacl, member.objid as is_member,
           n.nspname ~* {provider_schemas}
           and (n.nspname !~* {common_schemas} or member.objid is not null
                or n.nspowner in (select oid from provider_roles)
                or n.oid in (select extnamespace from pg_extension)
                or exists (select from pg_roles where rolname = {common_owner})) as is_provided
      from pg_namespace n
      left join ext as member
        on member.classid = 'pg_namespace'::regclass and member.objid = n.oid
     where not starts_with(n.nspname::text, 'pg_') and n.nspname <> 'information_schema'
), of_others as materialized (
    select oid, relnamespace from ({ledgers}) as ledgers
), hidden as materialized (
    select objid as oid from ext where classid = 'pg_class'::regclass
    union all
    select oid from of_others
    union all
    select c.oid from pg_class c join ns on ns.oid = c.relnamespace
     where c.relname = any ({own}::text[]) and ns.schema = 'public' and c.relkind in ('r', 'p')
    union all
    select oid from pg_class
     where relispartition and relkind in ('r', 'p', 'f') and {leaves_out_partitions}
), named as materialized (
    select c.oid, c.relnamespace, c.relkind, c.relpersistence, c.relrowsecurity,
           c.relforcerowsecurity, c.relreplident, c.relpartbound, c.relowner, c.relacl, c.reltype,
           c.reloftype, c.relam, ns.schema, ns.is_provided,
           ns.schema || '.' || quote_ident(c.relname) as name,
           case c.relkind when 'f' then 'foreign table' when 'v' then 'view' when 'c' then 'type'
                when 'm' then 'materialized view' when 'S' then 'sequence' else 'table'
                end as kind,
           case when c.reloptions is not null then (
               select string_agg(o, ', ' order by o collate "C")
                 from unnest(c.reloptions) as o) end as options
      from pg_class c join ns on ns.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f', 'v', 'm', 'c', 'S') and c.relpersistence <> 't'
       and not exists (select from hidden h where h.oid = c.oid)
), every_rel as materialized (
    select n.*, n.kind || ' ' || n.name as self, d.refobjid as base, d.refobjsubid as base_column,
           d.deptype as base_kind
      from named n
      left join pg_depend d
        on n.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = n.oid
       and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
     where not exists (select from hidden h where h.oid = d.refobjid)
), rel as not materialized (
    select * from every_rel where not is_provided
)
"""

_TABLES = """
select 'pg_class'::regclass::oid, r.oid, 0, r.kind, r.name,
       concat_ws(' ',
           case r.relkind when 'p' then 'partitioned by' end, pg_get_partkeydef(r.oid),
           case r.relpersistence when 'u' then 'unlogged' end,
           case when r.relrowsecurity then 'row security' end,
           case when r.relforcerowsecurity then 'forced' end,
           case r.relreplident when 'n' then 'replica identity nothing'
                when 'f' then 'replica identity full'
                when 'i' then 'replica identity ' || (
                    select i.indexrelid::regclass::text from pg_index i
                     where i.indrelid = r.oid and i.indisreplident) end,
           pg_get_expr(r.relpartbound, r.oid),
           case when r.reloftype <> 0 then 'of ' || format_type(r.reloftype, null) end,
           'with (' || r.options || ')', 'using ' || am.amname,
           (select 'inherits ' || string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno)
              from pg_inherits i where i.inhrelid = r.oid),
           'server ' || quote_ident(s.srvname),
           encode(sha256(textsend(f.ftoptions::text)), 'hex')),
       null::text, r.relowner, r.relacl, 'r'::"char"
  from rel r
  left join pg_am am on am.oid = r.relam and am.amname <> 'heap'
  left join pg_foreign_table f on f.ftrelid = r.oid
  left join pg_foreign_server s on s.oid = f.ftserver
 where r.relkind in ('r', 'p', 'f')
"""
# The order of columns is no difference: a column that was added comes last in one database. What
# few columns have is looked at in one condition, since there are many columns. A default names no
# column: printed as that of no table, it is printed sooner, and waits for no lock.
_COLUMNS = """
select 'pg_class'::regclass::oid, r.oid, a.attnum::integer, 'column',
       r.name || '.' || quote_ident(a.attname),
       case when r.relkind in ('r', 'p', 'f') then concat_ws(' ',
           format_type(a.atttypid, a.atttypmod),
           case when a.attnotnull then 'not null' end,
           case when d.oid is not null then case a.attgenerated
                when '' then 'default ' || pg_get_expr(d.adbin, 0)
                when 's' then 'stored ' || pg_get_expr(d.adbin, d.adrelid)
                else 'virtual ' || pg_get_expr(d.adbin, d.adrelid) end end,
           case when a.attcollation <> t.typcollation or a.attidentity <> ''
                or a.attstorage <> t.typstorage or a.attcompression <> '' or a.attstattarget >= 0
                or a.attoptions is not null or a.attfdwoptions is not null
                or unproven.conrelid is not null then concat_ws(' ',
                    case when a.attcollation <> t.typcollation
                         then 'collate ' || a.attcollation::regcollation::text end,
                    case when unproven.conrelid is not null then 'not valid' end,
                    case a.attidentity when 'a' then 'identity always' when 'd' then 'identity' end,
                    case when a.attstorage <> t.typstorage
                         then 'storage ' || a.attstorage::text end,
                    case when a.attcompression <> ''
                         then 'compression ' || a.attcompression::text end,
                    case when a.attstattarget >= 0 then 'statistics ' || a.attstattarget end,
                    (select string_agg(o, ', ' order by o collate "C")
                       from unnest(a.attoptions) as o),
                    encode(sha256(textsend(a.attfdwoptions::text)), 'hex')) end) end,
       r.self, r.relowner, a.attacl, 'c'::"char"
  from rel r
  join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  left join pg_type t on t.oid = a.atttypid
  left join pg_attrdef d on a.atthasdef and d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_constraint unproven
    on unproven.conrelid = a.attrelid and unproven.contype = 'n' and not unproven.convalidated
   and unproven.conkey[1] = a.attnum
 where r.relkind <> 'S'
"""
# Left out: NOT NULL, which PostgreSQL 18 lists here and which stands with the column; constraint
# triggers; and what a partition, or a foreign key to a partitioned table, repeats of its parent's.
# A foreign key is enforced by internal triggers, which a superuser may disable.
_CONSTRAINTS = """
select 'pg_constraint'::regclass::oid, con.oid, 0, 'constraint',
       coalesce(r.name, format('%s.%I', ns.schema, t.typname)) || '.' || quote_ident(con.conname),
       concat_ws(' ', pg_get_constraintdef(con.oid),
           case when x.reloptions is not null then (
               select string_agg(o, ', ' order by o collate "C")
                 from unnest(x.reloptions) as o) end,
           case when not i.indisvalid then 'invalid' end,
           case when i.indisclustered then 'clustered' end,
           case when off.tgconstraint is not null then 'disabled' end),
       coalesce(r.self, format('type %s.%I', ns.schema, t.typname)),
       null::oid, null::aclitem[], null::"char"
  from pg_constraint con
  join ns on ns.oid = con.connamespace and not ns.is_provided
  left join rel r on r.oid = con.conrelid
  left join pg_type t on t.oid = con.contypid
  left join pg_index i on con.contype in ('p', 'u', 'x') and i.indexrelid = con.conindid
  left join pg_class x on x.oid = i.indexrelid
  left join (select distinct tgconstraint from pg_trigger
              where tgisinternal and tgenabled = 'D') as off on off.tgconstraint = con.oid
 where con.contype not in ('n', 't') and con.conparentid = 0
   and (r.oid is not null
        or con.contypid not in (
            select objid from ext where classid = 'pg_type'::regclass union all select 0))
"""
_INDEXES = """
select 'pg_class'::regclass::oid, x.oid, 0, 'index', r.schema || '.' || quote_ident(x.relname),
       case when con.oid is null then concat_ws(' ', pg_get_indexdef(x.oid),
           case when not i.indisvalid then 'invalid' end,
           case when i.indisclustered then 'clustered' end,
           -- Only a column with an expression has a target of its own.
           case when i.indexprs is not null then (
               select string_agg(a.attnum || ' statistics ' || a.attstattarget, ', '
                          order by a.attnum)
                 from pg_attribute a where a.attrelid = x.oid and a.attstattarget >= 0) end) end,
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_index i
  join rel r on r.oid = i.indrelid
  join pg_class x on x.oid = i.indexrelid
  left join pg_constraint con on con.conindid = x.oid and con.contype in ('p', 'u', 'x')
"""
# The first line has the options and what is set for columns, which come with the query: to take a
# default away removes none. The others have the query: see `view_texts`.
_VIEWS = """
select 'pg_class'::regclass::oid, r.oid, 0, r.kind, r.name,
       concat_ws(' ', 'with (' || r.options || ')', 'using ' || am.amname, (
           select replace(string_agg(concat_ws(' ', quote_ident(a.attname),
                      'default ' || pg_get_expr(d.adbin, d.adrelid),
                      case when a.attstorage <> t.typstorage
                           then 'storage ' || a.attstorage::text end,
                      case when a.attcompression <> ''
                           then 'compression ' || a.attcompression::text end,
                      case when a.attstattarget >= 0 then 'statistics ' || a.attstattarget end,
                      a.attoptions::text), ', ' order by a.attname collate "C"), chr(10), ' ')
             from pg_attribute a
             join pg_type t on t.oid = a.atttypid
             left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
              and (d.oid is not null or a.attstorage <> t.typstorage or a.attcompression <> ''
                   or a.attstattarget >= 0 or a.attoptions is not null)))
           || chr(10) || pg_get_viewdef(r.oid),
       null::text, r.relowner, r.relacl, 'r'::"char"
  from rel r left join pg_am am on am.oid = r.relam and am.amname <> 'heap'
 where r.relkind in ('v', 'm')
"""
_SEQUENCES = """
select 'pg_class'::regclass::oid, r.oid, 0, r.kind, r.name,
       concat_ws(' ', format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmin,
           s.seqmax, s.seqcache, s.seqcycle::text,
           case r.relpersistence when 'u' then 'unlogged' end,
           case r.base_kind when 'a' then 'owned by' when 'i' then 'identity of' end,
           base.name || '.' || quote_ident(a.attname)),
       base.self, r.relowner, r.relacl, 's'::"char"
  from rel r
  join pg_sequence s on s.seqrelid = r.oid
  left join rel base on base.oid = r.base
  left join pg_attribute a on a.attrelid = r.base and a.attnum = r.base_column
"""
# A trigger of the project's on a provider's table calls a function of the project's: that is how
# a profile is made for each row of auth.users. A partition repeats the triggers of its parent.
_TRIGGERS = """
select 'pg_trigger'::regclass::oid, tg.oid, 0, 'trigger', format('%s.%I', r.name, tg.tgname),
       concat_ws(' ', pg_get_triggerdef(tg.oid),
           case tg.tgenabled when 'D' then 'disabled' when 'R' then 'replica'
                when 'A' then 'always' end),
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_trigger tg
  join every_rel r on r.oid = tg.tgrelid
  join pg_proc p on p.oid = tg.tgfoid
 where not tg.tgisinternal and tg.tgparentid = 0
   and (not r.is_provided
        or p.pronamespace in (select oid from ns where not is_provided))
"""
# Providers have no policies of their own; those on storage.objects are the project's.
_POLICIES = """
select 'pg_policy'::regclass::oid, p.oid, 0, 'policy', format('%s.%I', r.name, p.polname),
       concat_ws(' ', case when p.polpermissive then 'permissive' else 'restrictive' end,
           'for ' || p.polcmd::text,
           'to ' || (select string_agg(role, ', ' order by role collate "C") from (
               select case o when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(o)) end as role
                 from unnest(p.polroles) as o) as named),
           'using ' || pg_get_expr(p.polqual, p.polrelid),
           'check ' || pg_get_expr(p.polwithcheck, p.polrelid)),
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_policy p join every_rel r on r.oid = p.polrelid
"""
_RULES = """
select 'pg_rewrite'::regclass::oid, w.oid, 0, 'rule', format('%s.%I', r.name, w.rulename),
       concat_ws(' ', pg_get_ruledef(w.oid),
           case w.ev_enabled when 'D' then 'disabled' when 'R' then 'replica'
                when 'A' then 'always' end),
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_rewrite w join rel r on r.oid = w.ev_class
 where w.rulename <> '_RETURN'
"""
_STATISTICS = """
select 'pg_statistic_ext'::regclass::oid, s.oid, 0, 'statistics',
       format('%s.%I', ns.schema, s.stxname),
       concat_ws(' ', pg_get_statisticsobjdef(s.oid),
           case when s.stxstattarget >= 0 then 'statistics ' || s.stxstattarget end),
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_statistic_ext s
  join ns on ns.oid = s.stxnamespace
  join rel r on r.oid = s.stxrelid
"""

RELATION_QUERIES = (
    _TABLES,
    _COLUMNS,
    _CONSTRAINTS,
    _INDEXES,
    _VIEWS,
    _SEQUENCES,
    _TRIGGERS,
    _POLICIES,
    _RULES,
    _STATISTICS,
)
