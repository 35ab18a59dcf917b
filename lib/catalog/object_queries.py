"""The SQL of each kind of object that is no relation: types, functions, and what has no schema.

As in `relation_queries`, whose columns and tables these queries share. What a role may not read,
such as the password of a subscription or of a user mapping, is not asked for: every role gets the
same rows. Options of foreign servers hold passwords too, so only their hash leaves the server.
"""

_SCHEMAS = """
select 'pg_namespace'::regclass::oid, ns.oid, 0, 'schema', ns.schema, '',
       null::text, ns.nspowner, ns.nspacl, 'n'::"char"
  from ns
 where not ns.is_provided and ns.is_member is null
   -- Some tools have a schema for their ledger alone.
   and (ns.schema = 'public' or ns.oid not in (select relnamespace from of_others)
        or exists (select from every_rel r where r.relnamespace = ns.oid)
        or exists (select from pg_proc p where p.pronamespace = ns.oid))
"""
# Without the version, and the comment, which has the extension's own words: providers upgrade
# extensions by themselves.
_EXTENSIONS = """
select 'pg_extension'::regclass::oid, null::oid, 0, 'extension', quote_ident(e.extname),
       'in ' || e.extnamespace::regnamespace::text,
       null::text, null::oid, null::aclitem[], null::"char"
  from pg_extension e
"""
# Without array and multirange types, which come with another, and the row types of tables.
_TYPES = """
select 'pg_type'::regclass::oid, t.oid, 0, 'type', format('%s.%I', ns.schema, t.typname),
       case t.typtype
       when 'e' then 'enum ' || coalesce((
           select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
             from pg_enum e where e.enumtypid = t.oid), '')
       when 'c' then 'composite ' || coalesce((
           select string_agg(concat_ws(' ', quote_ident(a.attname),
                      format_type(a.atttypid, a.atttypmod),
                      case when a.attcollation <> at.typcollation
                           then 'collate ' || a.attcollation::regcollation::text end),
                  ', ' order by a.attnum)
             from pg_attribute a join pg_type at on at.oid = a.atttypid
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped), '')
       when 'd' then concat_ws(' ', 'domain', format_type(t.typbasetype, t.typtypmod),
           case when t.typcollation <> (select b.typcollation from pg_type b
                                         where b.oid = t.typbasetype)
                then 'collate ' || t.typcollation::regcollation::text end,
           'default ' || coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault),
           case when t.typnotnull then 'not null' end)
       when 'r' then (
           select concat_ws(' ', 'range', format_type(r.rngsubtype, null), o.opcname,
                      nullif(r.rngcollation, 0)::regcollation::text,
                      nullif(r.rngcanonical::oid, 0)::regprocedure::text,
                      nullif(r.rngsubdiff::oid, 0)::regprocedure::text,
                      format_type(r.rngmultitypid, null))
             from pg_range r join pg_opclass o on o.oid = r.rngsubopc where r.rngtypid = t.oid)
       else concat_ws(' ', 'base', t.typisdefined::text, t.typlen, t.typbyval::text,
           t.typalign::text, t.typstorage::text, t.typcategory::text, t.typispreferred::text,
           t.typdelim::text, t.typinput::oid::regprocedure::text,
           t.typoutput::oid::regprocedure::text, t.typdefault)
       end,
       null::text, t.typowner, t.typacl, 'T'::"char"
  from pg_type t
  join ns on ns.oid = t.typnamespace and not ns.is_provided
  left join pg_class c on c.oid = t.typrelid
  left join pg_type element on element.typarray = t.oid
 where t.typtype in ('b', 'c', 'd', 'e', 'r', 'p') and coalesce(c.relkind = 'c', true)
   and element.oid is null
   and t.oid not in (select objid from ext where classid = 'pg_type'::regclass)
"""
_FUNCTIONS = """
select 'pg_proc'::regclass::oid, p.oid, 0,
       case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
       format('%s.%I(%s)', ns.schema, p.proname, oidvectortypes(p.proargtypes)),
       case when a.aggfnoid is null then pg_get_functiondef(p.oid)
       else concat_ws(' ', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
           p.proparallel::text, a.aggkind::text, a.aggnumdirectargs,
           a.aggtransfn::oid::regprocedure::text, a.aggfinalfn::oid::regprocedure::text,
           a.aggcombinefn::oid::regprocedure::text, a.aggserialfn::oid::regprocedure::text,
           a.aggdeserialfn::oid::regprocedure::text, a.aggmtransfn::oid::regprocedure::text,
           a.aggminvtransfn::oid::regprocedure::text, a.aggmfinalfn::oid::regprocedure::text,
           a.aggfinalextra::text, a.aggmfinalextra::text, a.aggfinalmodify::text,
           a.aggmfinalmodify::text, a.aggsortop::regoperator::text,
           format_type(a.aggtranstype, null), a.aggtransspace, a.aggmtransspace,
           format_type(nullif(a.aggmtranstype, 0), null),
           quote_nullable(a.agginitval), quote_nullable(a.aggminitval)) end,
       null::text, p.proowner, p.proacl, 'f'::"char"
  from pg_proc p
  join ns on ns.oid = p.pronamespace and not ns.is_provided
  left join pg_aggregate a on a.aggfnoid = p.oid
 where p.oid not in (select objid from ext where classid = 'pg_proc'::regclass)
   -- The constructors of a range type come with it.
   and not exists (select from pg_depend d join pg_type t on t.oid = d.refobjid
                    where d.classid = 'pg_proc'::regclass and d.objid = p.oid
                      and d.refclassid = 'pg_type'::regclass and d.deptype = 'i')
"""
_OPERATORS = """
select 'pg_operator'::regclass::oid, o.oid, 0, 'operator',
       format('%s.%s(%s, %s)', ns.schema, o.oprname,
           coalesce(format_type(nullif(o.oprleft, 0), null), 'none'),
           format_type(nullif(o.oprright, 0), null)),
       concat_ws(' ', o.oprcode::oid::regprocedure::text, o.oprcom::regoperator::text,
           o.oprnegate::regoperator::text, o.oprrest::oid::regprocedure::text,
           o.oprjoin::oid::regprocedure::text, o.oprcanmerge::text, o.oprcanhash::text),
       null::text, o.oprowner, null::aclitem[], null::"char"
  from pg_operator o
  join ns on ns.oid = o.oprnamespace and not ns.is_provided
 where o.oid not in (select objid from ext where classid = 'pg_operator'::regclass)
"""
_OPERATOR_CLASSES = """
select 'pg_opclass'::regclass::oid, o.oid, 0, 'operator class',
       format('%s.%I using %s', ns.schema, o.opcname, am.amname),
       concat_ws(' ', format_type(o.opcintype, null),
           format_type(nullif(o.opckeytype, 0), null),
           case when o.opcdefault then 'default' end, f.opfname),
       null::text, o.opcowner, null::aclitem[], null::"char"
  from pg_opclass o
  join ns on ns.oid = o.opcnamespace and not ns.is_provided
  join pg_am am on am.oid = o.opcmethod
  join pg_opfamily f on f.oid = o.opcfamily
 where o.oid not in (select objid from ext where classid = 'pg_opclass'::regclass)
"""
_OPERATOR_FAMILIES = """
select 'pg_opfamily'::regclass::oid, f.oid, 0, 'operator family',
       format('%s.%I using %s', ns.schema, f.opfname, am.amname),
       concat_ws(' ',
           (select string_agg(concat_ws(' ', m.amopstrategy, m.amopopr::regoperator::text,
                       m.amoppurpose::text), ', '
                   order by m.amopstrategy, m.amopopr::regoperator::text collate "C")
              from pg_amop m where m.amopfamily = f.oid),
           (select string_agg(concat_ws(' ', m.amprocnum, m.amproc::oid::regprocedure::text), ', '
                   order by m.amprocnum, m.amproc::oid::regprocedure::text collate "C")
              from pg_amproc m where m.amprocfamily = f.oid)),
       null::text, f.opfowner, null::aclitem[], null::"char"
  from pg_opfamily f
  join ns on ns.oid = f.opfnamespace and not ns.is_provided
  join pg_am am on am.oid = f.opfmethod
 where f.oid not in (select objid from ext where classid = 'pg_opfamily'::regclass)
"""
# A cast is in no schema; those of the server have OIDs below the first that a user gets.
_CASTS = """
select 'pg_cast'::regclass::oid, c.oid, 0, 'cast',
       format('%s as %s', format_type(c.castsource, null), format_type(c.casttarget, null)),
       concat_ws(' ', nullif(c.castfunc, 0)::regprocedure::text, c.castcontext::text,
           c.castmethod::text),
       null::text, null::oid, null::aclitem[], null::"char"
  from pg_cast c
 where c.oid >= 16384
   and c.oid not in (select objid from ext where classid = 'pg_cast'::regclass)
   -- A range type brings a cast to its multirange type.
   and not exists (select from pg_range r
                    where r.rngtypid = c.castsource and r.rngmultitypid = c.casttarget)
"""
# The column of an ICU locale has had three names.
_COLLATIONS = """
select 'pg_collation'::regclass::oid, c.oid, 0, 'collation',
       format('%s.%I', ns.schema, c.collname),
       concat_ws(' ', c.collprovider::text, c.collisdeterministic::text, c.collencoding,
           c.collcollate, c.collctype, to_jsonb(c) ->> 'colllocale',
           to_jsonb(c) ->> 'colliculocale', to_jsonb(c) ->> 'collicurules'),
       null::text, c.collowner, null::aclitem[], null::"char"
  from pg_collation c
  join ns on ns.oid = c.collnamespace and not ns.is_provided
 where c.oid not in (select objid from ext where classid = 'pg_collation'::regclass)
"""
_CONVERSIONS = """
select 'pg_conversion'::regclass::oid, c.oid, 0, 'conversion',
       format('%s.%I', ns.schema, c.conname),
       concat_ws(' ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding),
           c.conproc::oid::regprocedure::text, case when c.condefault then 'default' end),
       null::text, c.conowner, null::aclitem[], null::"char"
  from pg_conversion c
  join ns on ns.oid = c.connamespace and not ns.is_provided
 where c.oid not in (select objid from ext where classid = 'pg_conversion'::regclass)
"""
_TEXT_SEARCH_CONFIGURATIONS = """
select 'pg_ts_config'::regclass::oid, c.oid, 0, 'text search configuration',
       format('%s.%I', ns.schema, c.cfgname),
       concat_ws(' ', p.prsname, (
           select string_agg(format('%s %s', m.maptokentype, m.mapdict::regdictionary), ', '
                  order by m.maptokentype, m.mapseqno)
             from pg_ts_config_map m where m.mapcfg = c.oid)),
       null::text, c.cfgowner, null::aclitem[], null::"char"
  from pg_ts_config c
  join ns on ns.oid = c.cfgnamespace and not ns.is_provided
  join pg_ts_parser p on p.oid = c.cfgparser
 where c.oid not in (select objid from ext where classid = 'pg_ts_config'::regclass)
"""
_TEXT_SEARCH_DICTIONARIES = """
select 'pg_ts_dict'::regclass::oid, d.oid, 0, 'text search dictionary',
       format('%s.%I', ns.schema, d.dictname), concat_ws(' ', t.tmplname, d.dictinitoption),
       null::text, d.dictowner, null::aclitem[], null::"char"
  from pg_ts_dict d
  join ns on ns.oid = d.dictnamespace and not ns.is_provided
  join pg_ts_template t on t.oid = d.dicttemplate
 where d.oid not in (select objid from ext where classid = 'pg_ts_dict'::regclass)
"""
# Providers' own are owned by their roles, or call functions in their schemas.
_EVENT_TRIGGERS = """
select 'pg_event_trigger'::regclass::oid, e.oid, 0, 'event trigger', quote_ident(e.evtname),
       concat_ws(' ', e.evtevent, e.evttags::text, e.evtfoid::oid::regprocedure::text,
           e.evtenabled::text),
       null::text, e.evtowner, null::aclitem[], null::"char"
  from pg_event_trigger e
  join pg_proc p on p.oid = e.evtfoid
 where e.evtowner not in (select oid from provider_roles)
   and p.pronamespace not in (select oid from ns where is_provided)
   and e.oid not in (select objid from ext where classid = 'pg_event_trigger'::regclass)
"""
_PUBLICATIONS = """
select 'pg_publication'::regclass::oid, p.oid, 0, 'publication', quote_ident(p.pubname),
       concat_ws(' ', case when p.puballtables then 'all tables' end,
           case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
           case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end,
           case when p.pubviaroot then 'via root' end,
           nullif(to_jsonb(p) ->> 'pubgencols', 'n')),
       null::text, p.pubowner, null::aclitem[], null::"char"
  from pg_publication p where p.pubname !~* {provider_publications}
"""
_PUBLICATION_TABLES = """
select 'pg_publication_rel'::regclass::oid, pr.oid, 0, 'publication table',
       format('%I %s', p.pubname, r.name), {published},
       r.self, null::oid, null::aclitem[], null::"char"
  from pg_publication_rel pr
  join pg_publication p on p.oid = pr.prpubid and p.pubname !~* {provider_publications}
  join rel r on r.oid = pr.prrelid
"""
# Since PostgreSQL 15.
PUBLISHED = """
concat_ws(' ', (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                  from pg_attribute a where a.attrelid = pr.prrelid
                   and a.attnum = any (pr.prattrs::smallint[])),
               'where ' || pg_get_expr(pr.prqual, pr.prrelid))
"""
PUBLICATION_SCHEMAS = """
select 'pg_publication_namespace'::regclass::oid, pn.oid, 0, 'publication schema',
       format('%I %s', p.pubname, ns.schema), '',
       null::text, null::oid, null::aclitem[], null::"char"
  from pg_publication_namespace pn
  join pg_publication p on p.oid = pn.pnpubid and p.pubname !~* {provider_publications}
  join ns on ns.oid = pn.pnnspid
"""
_SUBSCRIPTIONS = """
select 'pg_subscription'::regclass::oid, null::oid, 0, 'subscription', quote_ident(s.subname), '',
       null::text, null::oid, null::aclitem[], null::"char"
  from pg_subscription s
 where s.subdbid = (select oid from pg_database where datname = current_database())
"""
_FOREIGN_DATA_WRAPPERS = """
select 'pg_foreign_data_wrapper'::regclass::oid, f.oid, 0, 'foreign-data wrapper',
       quote_ident(f.fdwname),
       concat_ws(' ', f.fdwhandler::regprocedure::text, f.fdwvalidator::regprocedure::text,
           encode(sha256(textsend(f.fdwoptions::text)), 'hex')),
       null::text, f.fdwowner, f.fdwacl, 'F'::"char"
  from pg_foreign_data_wrapper f
 where f.oid not in (
       select objid from ext where classid = 'pg_foreign_data_wrapper'::regclass)
"""
_FOREIGN_SERVERS = """
select 'pg_foreign_server'::regclass::oid, s.oid, 0, 'foreign server', quote_ident(s.srvname),
       concat_ws(' ', quote_ident(f.fdwname), quote_nullable(s.srvtype),
           quote_nullable(s.srvversion), encode(sha256(textsend(s.srvoptions::text)), 'hex')),
       null::text, s.srvowner, s.srvacl, 'S'::"char"
  from pg_foreign_server s
  join pg_foreign_data_wrapper f on f.oid = s.srvfdw
 where s.oid not in (select objid from ext where classid = 'pg_foreign_server'::regclass)
"""
_USER_MAPPINGS = """
select 'pg_user_mapping'::regclass::oid, null::oid, 0, 'user mapping',
       format('%I on %I', coalesce(m.usename, 'public'), m.srvname), '',
       null::text, null::oid, null::aclitem[], null::"char"
  from pg_user_mappings m
"""
# Two roles may have them for the same kind of objects in the same schema.
_DEFAULT_PRIVILEGES = """
select 'pg_default_acl'::regclass::oid, d.oid, 0, 'default privilege',
       concat_ws(' ', quote_ident(pg_get_userbyid(d.defaclrole)), 'on',
           case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
                when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas'
                else 'large objects' end, 'in ' || ns.schema),
       coalesce(granted.text, ''), null::text, null::oid, null::aclitem[], null::"char"
  from pg_default_acl d
  left join ns on ns.oid = d.defaclnamespace
  cross join lateral ({granted}) as granted
 where d.defaclrole not in (select oid from provider_roles)
   and not coalesce(ns.is_provided, false)
"""

OBJECT_QUERIES = (
    _SCHEMAS,
    _EXTENSIONS,
    _TYPES,
    _FUNCTIONS,
    _OPERATORS,
    _OPERATOR_CLASSES,
    _OPERATOR_FAMILIES,
    _CASTS,
    _COLLATIONS,
    _CONVERSIONS,
    _TEXT_SEARCH_CONFIGURATIONS,
    _TEXT_SEARCH_DICTIONARIES,
    _EVENT_TRIGGERS,
    _PUBLICATIONS,
    _PUBLICATION_TABLES,
    _SUBSCRIPTIONS,
    _FOREIGN_DATA_WRAPPERS,
    _FOREIGN_SERVERS,
    _USER_MAPPINGS,
    _DEFAULT_PRIVILEGES,
)
