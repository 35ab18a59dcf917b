"""The SQL that looks at the two tables: whose they are, what runs code there, what they hold.

Statements that fail in the server, so that nothing after them in the message runs: a cast of JSON
to integer, whose error quotes the JSON. `trust.told_by` reads it.
"""

from ..own_tables import LEDGER, OBJECTS, RUNS, SEEDS

# What a run does to each table. It also needs USAGE on the sequence of the ledger's ids; the
# identity column of the journal needs no right.
RIGHTS = {
    LEDGER: ("select", "insert"),
    RUNS: ("select", "insert", "update"),
    SEEDS: ("select", "insert"),
    OBJECTS: ("select", "insert", "update"),
}
# While a transaction holds this, nobody can put a trigger or a rule on the tables. It may stand
# before SET TRANSACTION, and has to: in REPEATABLE READ the look would use an older snapshot.
LOCK = f"lock table public.{LEDGER}, public.{RUNS} in row exclusive mode"
# Before a look too: while a transaction holds this, no view can take the place of a table.
LOCK_TO_READ = f"lock table public.{LEDGER}, public.{RUNS} in access share mode"

# What must not change of a table after the look, short enough to compare before every write.
# Nobody but the owner can change more of it.
_SEAL = """
concat_ws(' ', c.oid, c.relowner, c.relkind, c.relnatts, c.relchecks, c.relhasrules,
          c.relhassubclass, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
          (select string_agg(oid::text || tgenabled::text, ',' order by oid)
             from pg_trigger where tgrelid = c.oid),
          (select string_agg(oid::text, ',' order by oid) from pg_attrdef where adrelid = c.oid),
          (select string_agg(oid::text, ',' order by oid)
             from pg_statistic_ext where stxrelid = c.oid))
"""
_KEPT = f"""
c.relnamespace = (select oid from pg_namespace where nspname = 'public')
and c.relname in ('{LEDGER}', '{RUNS}')
"""
_COLUMNS = """
(select string_agg(attname::text, ',' order by attnum) from pg_attribute
  where attrelid = c.oid and attnum > 0 and not attisdropped)
"""
# What gives a row of the ledger its meaning: where its columns are, and that versions are unique.
_SHAPE = """
concat_ws(' ', (select string_agg(concat_ws(' ', attnum, attname, atttypid), ',' order by attnum)
                  from pg_attribute
                 where attrelid = c.oid and not attisdropped
                   and attname in ('id', 'version', 'name', 'applied_at', 'execution_time_ms',
                                   'checksum')),
          exists (select from pg_index x
                    join pg_attribute a on a.attrelid = x.indrelid
                                       and a.attnum::text = x.indkey::text
                   where x.indrelid = c.oid and a.attname = 'version' and x.indisunique
                     and x.indisvalid and x.indpred is null))
"""
# The defaults and checks of the runner's own tables run nobody's code; any others may. They stand
# here as the server shows them while only pg_catalog is searched: other names are qualified.
_PLAIN_DEFAULT = "|".join(
    (
        "^now[(][)]$",
        "^clock_timestamp[(][)]$",
        "^CURRENT_TIMESTAMP$",
        "^nextval[(]''[^'']*''::regclass[)]$",
        "^''[^'']*''::[a-z ]+([[][]])?$",
        "^NULL::[a-z ]+$",
    )
)
_PLAIN_CHECKS = (
    "CHECK ((source = ANY (ARRAY[''build''::text, ''admin''::text, ''cli''::text])))",
    "CHECK ((outcome = ANY (ARRAY[''running''::text, ''succeeded''::text, ''failed''::text, "
    "''interrupted''::text])))",
)
CHECK = f"""
with recursive inherited (oid) as (
    select oid from pg_roles where rolname = session_user
    union
    select m.roleid from inherited i
      join pg_auth_members m on m.member = i.oid
      join pg_roles r on r.oid = m.member
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit)
), acting (roleid, member) as (
    select roleid, member from pg_auth_members m
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean
                    or (to_jsonb(m) ->> 'set_option')::boolean, true)
), named (oid) as (
    select oid from pg_roles
     where rolsuper or rolname = session_user or rolname = any ({{trusted}}::name[])
), shared (oid) as (
    select a.roleid from acting a
     where a.roleid in (select oid from inherited) and a.roleid not in (select oid from named)
       and a.member not in (select oid from inherited) and a.member not in (select oid from named)
    union
    select a.roleid from acting a join shared s on s.oid = a.member
     where a.roleid in (select oid from inherited)
), trusted (oid) as (
    select oid from inherited where oid not in (select oid from shared)
    union
    select oid from named
), kept as (
    select c.* from pg_class c where {_KEPT}
), sequences as (
    select d.refobjid as relid, s.oid, s.relname, s.relacl
      from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
     where d.refobjid in (select oid from kept) and d.refclassid = 'pg_class'::regclass
       and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
), attached (relid, classid, objid, what, is_plain) as (
    select tgrelid, 'pg_trigger'::regclass, oid, format('the trigger %I', tgname), false
      from pg_trigger where tgrelid in (select oid from kept) and not tgisinternal
    union all
    -- Whoever had the right TRIGGER has chosen the condition, the arguments, and which of the
    -- server's own functions.
    select tgrelid, null, null,
           format('the trigger %I (its WHEN, its arguments, or a function of the server''s own)',
                  tgname), null
      from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where tgrelid in (select oid from kept) and not tgisinternal
       and (tgqual is not null or tgnargs > 0
            or p.pronamespace = 'pg_catalog'::regnamespace)
    union all
    select stxrelid, 'pg_statistic_ext'::regclass, oid, format('the statistics %I', stxname), false
      from pg_statistic_ext where stxrelid in (select oid from kept) and stxexprs is not null
    union all
    select ev_class, 'pg_rewrite'::regclass, oid, format('the rule %I', rulename), false
      from pg_rewrite where ev_class in (select oid from kept) and rulename <> '_RETURN'
    union all
    select polrelid, 'pg_policy'::regclass, oid, format('the policy %I', polname), false
      from pg_policy where polrelid in (select oid from kept)
    union all
    select conrelid, 'pg_constraint'::regclass, oid, format('the constraint %I', conname),
           replace(pg_get_constraintdef(oid), '"', '')
           in ('{_PLAIN_CHECKS[0]}', '{_PLAIN_CHECKS[1]}')
      from pg_constraint where conrelid in (select oid from kept) and contype in ('c', 'x')
    union all
    select d.adrelid, 'pg_attrdef'::regclass, d.oid,
           format('the expression of the column %I', a.attname),
           a.attgenerated = ''
           and replace(pg_get_expr(d.adbin, d.adrelid), '"', '') ~ '{_PLAIN_DEFAULT}'
      from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
     where d.adrelid in (select oid from kept)
    union all
    select indrelid, 'pg_class'::regclass, indexrelid,
           format('the index %s', indexrelid::regclass), false
      from pg_index
     where indrelid in (select oid from kept) and (indexprs is not null or indpred is not null)
    union all
    select inhparent, 'pg_class'::regclass, inhrelid,
           format('the child table %s', inhrelid::regclass), false
      from pg_inherits where inhparent in (select oid from kept)
    union all
    select inhrelid, 'pg_class'::regclass, inhparent,
           format('the parent table %s', inhparent::regclass), false
      from pg_inherits where inhrelid in (select oid from kept)
    union all
    select confrelid, 'pg_class'::regclass, conrelid,
           format('the foreign key %I of %s', conname, conrelid::regclass), false
      from pg_constraint where confrelid in (select oid from kept) and contype = 'f'
    union all
    select conrelid, 'pg_class'::regclass, confrelid,
           format('the foreign key %I to %s', conname, confrelid::regclass), false
      from pg_constraint where conrelid in (select oid from kept) and contype = 'f'
    union all
    select a.attrelid, 'pg_type'::regclass, t.oid,
           format('the type of the column %I', a.attname), false
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid in (select oid from kept) and a.attnum > 0 and not a.attisdropped
       and t.typnamespace <> 'pg_catalog'::regnamespace
), runs_code (relid, what) as (
    select a.relid, a.what
      from attached a join kept k on k.oid = a.relid
     where a.is_plain is null
        or k.relowner not in (select oid from trusted) and not a.is_plain
        or case a.classid
               when 'pg_class'::regclass then (select relowner from pg_class where oid = a.objid)
               when 'pg_type'::regclass then (select typowner from pg_type where oid = a.objid)
           end not in (select oid from trusted)
        or exists (
            select from pg_depend d
             where d.classid = a.classid and d.objid = a.objid
               and case d.refclassid
                       when 'pg_proc'::regclass
                       then (select proowner from pg_proc where oid = d.refobjid)
                       when 'pg_operator'::regclass
                       then (select oprowner from pg_operator where oid = d.refobjid)
                       when 'pg_type'::regclass
                       then (select typowner from pg_type where oid = d.refobjid)
                       when 'pg_class'::regclass
                       then (select relowner from pg_class
                              where oid = d.refobjid and a.classid = 'pg_rewrite'::regclass)
                   end not in (select oid from trusted))
), granted (relid, object, grantee, privilege_type) as (
    select k.oid, format('public.%I', k.relname), x.grantee, x.privilege_type
      from kept k, aclexplode(k.relacl) x
    union all
    select k.oid, format('public.%I', k.relname), x.grantee, x.privilege_type
      from kept k join pg_attribute a on a.attrelid = k.oid and a.attacl is not null,
           aclexplode(a.attacl) x
    union all
    select s.relid, format('sequence public.%I', s.relname), x.grantee, x.privilege_type
      from sequences s, aclexplode(s.relacl) x
), open_to (relid, object, who) as (
    select g.relid, g.object, string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ')
      from granted g left join pg_roles r on r.oid = g.grantee
     where g.grantee = 0
        or g.privilege_type <> 'SELECT' and r.rolname <> current_user
       and g.grantee not in (select oid from trusted)
       and g.grantee not in (select relowner from kept)
     group by g.relid, g.object
), judged as (
    select k.oid, case when k.relkind <> 'r' then 'kind'
                       when row_security_active(k.oid) then 'policy'
                       when exists (select from runs_code where relid = k.oid) then 'code'
                  end as fault
      from kept k
)
select c.relname, c.oid, c.relfilenode, {_SEAL}, {_SHAPE}, {_COLUMNS},
       (select string_agg(format('revoke all on %s from %s cascade', object, who), '; '
                          order by object desc)
          from open_to where relid = c.oid),
       concat_ws(',', case when not has_table_privilege(c.oid, 'select') then 'select' end,
                      case when not has_table_privilege(c.oid, 'insert') then 'insert' end,
                      case when not has_table_privilege(c.oid, 'update') then 'update' end,
                      (select string_agg(format('usage on sequence public.%I', s.relname), ',')
                         from sequences s
                        where s.relid = c.oid and c.relname = '{LEDGER}'
                          and not has_sequence_privilege(s.oid, 'usage'))),
       case when c.relowner not in (select oid from trusted)
            then pg_get_userbyid(c.relowner) end,
       case when j.fault is not null
            then (jsonb_build_object(
                      'fault', j.fault, 'table', c.relname, 'owner', pg_get_userbyid(c.relowner),
                      'kind', c.relkind, 'owner is trusted',
                      c.relowner in (select oid from trusted),
                      'code', (select string_agg(what, ', ') from runs_code where relid = c.oid)
                  )::text)::integer
       end
  from kept c join judged j using (oid)
"""
# The same of the two tables that are looked at only by those who need them.
CHECK_SEEDS, CHECK_OBJECTS = (
    CHECK.replace(f"c.relname in ('{LEDGER}', '{RUNS}')", f"c.relname in ('{table}')")
    for table in (SEEDS, OBJECTS)
)
# Whoever owns this one could read the key of the hashes.
CHECK_OBJECTS = CHECK_OBJECTS.replace(
    "when row_security_active(k.oid)",
    "when k.relowner not in (select oid from trusted) then 'owner'\n"
    "                       when row_security_active(k.oid)",
)
# The same as CHECK where there is nothing to weigh, as in nearly every database: the tables belong
# to this role or to a named one, hold only what the runner created, and nobody else may write to
# them. It takes a quarter of the time. Elsewhere it fails, and CHECK weighs what is there.
GLANCE = f"""
select c.relname, c.oid, c.relfilenode, {_SEAL}, {_SHAPE}, {_COLUMNS}, null, null, null,
       case when c.relkind = 'r' and not c.relhasrules and not c.relhassubclass
             and not c.relispartition
             and not row_security_active(c.oid)
             and (c.relacl is null or not exists (
                     select from aclexplode(c.relacl) x
                      where x.grantee = 0
                         or x.grantee <> c.relowner and x.privilege_type <> 'SELECT'))
             and not exists (
                     select from pg_attribute where attrelid = c.oid and attacl is not null)
             and not exists (select from pg_trigger where tgrelid = c.oid)
             and not exists (select from pg_statistic_ext where stxrelid = c.oid)
             and not exists (
                     select from pg_depend a
                       left join pg_depend d on d.classid = a.classid and d.objid = a.objid
                                            and d.refclassid in ('pg_proc'::regclass,
                                                                 'pg_operator'::regclass)
                       left join pg_class s on a.classid = 'pg_class'::regclass
                                           and s.oid = a.objid and s.relkind = 'S'
                      where a.refclassid = 'pg_class'::regclass and a.refobjid = c.oid
                        and (d.objid is not null
                             or exists (select from aclexplode(s.relacl) x
                                         where x.grantee <> c.relowner)))
             and not exists (
                     select from pg_depend
                      where classid = 'pg_class'::regclass and objid = c.oid
                        and refclassid = 'pg_type'::regclass)
             and exists (select from pg_roles r
                          where r.oid = c.relowner
                            and (r.rolsuper or r.rolname = session_user
                                 or r.rolname = any ({{trusted}}::name[])))
             and (not {{writes}} or pg_has_role(c.relowner, 'usage')
                  or has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                 and (c.relname = '{LEDGER}' or has_table_privilege(c.oid, 'update'))
                 and coalesce(has_sequence_privilege(
                         to_regclass('public.{LEDGER}_id_seq')::oid, 'usage'), true))
            then null else (jsonb_build_object('fault', 'any', 'table', c.relname)::text)::integer
       end
  from pg_class c where {_KEPT}
"""
UNCHANGED = f"""
select case when (select string_agg({_SEAL}, ' ' order by c.relname)
                    from pg_class c where {_KEPT}) = {{seal}}
            then null else (jsonb_build_object('fault', 'changed')::text)::integer
       end
"""
# What a file has done to the tables in its own transaction, in constant time: a delete and an
# insert would deceive a count of the rows, and comparing all rows takes as long as the ledger is.
# The server's own counts also hold what a savepoint has rolled back. Where the server does not
# count, or a file may have told it not to, the statement fails, and all rows are compared the
# second time.
INTACT = f"""
select case when count(*) = 2
             and (select {_SHAPE} from pg_class c where c.oid = {{ledger}}) = {{shape}}
             and not exists (select from public.{RUNS} where id > {{run}})
             and exists (select from public.{RUNS} where id = {{run}} and outcome = 'running')
             and {{held}}
            then null else (jsonb_build_object('fault', 'emptied')::text)::integer
       end
  from pg_class c
 where {_KEPT}
   and (c.oid, c.relfilenode) in (({{ledger}}, {{ledger_file}}), ({{runs}}, {{runs_file}}))
"""
COUNTED = """
current_setting('track_counts') = 'on'
             and pg_catalog.sum(pg_stat_get_xact_tuples_deleted(c.oid)) = 0
             and pg_stat_get_xact_tuples_updated({ledger}::oid) = 0
"""
# A sequence behind its table's rows would give their ids once more, as after logical replication
# or a copy of the data alone.
_CATCH_UP = """
select case when not (has_sequence_privilege(seq, 'usage')
                      or has_sequence_privilege(seq, 'select')) then null
            when coalesce(pg_sequence_last_value(seq), 0) >= top then null
            when has_sequence_privilege(seq, 'update') then setval(seq, top)
            else (jsonb_build_object('fault', 'sequence',
                                     'setval', format('select setval(%L, %s)', seq, top)
                                    )::text)::integer
       end
  from (select pg_get_serial_sequence('public.{table}', 'id')::regclass,
               (select max(id) from public.{table})) as behind (seq, top)
 where seq is not null and top is not null
"""
CATCH_UP = tuple(_CATCH_UP.replace("{table}", table) for table in (LEDGER, RUNS))
# A summary of the ledger's rows, which changes if one of them is gone or changed.
ROWS = """
concat_ws(' ', count(*), md5(string_agg(concat_ws(' ', id, version, checksum), ',' order by id)))
"""
REMEMBER = f"select set_config('migrations.held', {ROWS}, true) from public.schema_migrations"
COMPARE = f"""
select case when current_setting('migrations.held') = {ROWS}
            then null else (jsonb_build_object('fault', 'emptied')::text)::integer end
  from public.schema_migrations
"""
CODE = f"""
select string_agg(what, ', ') from (
    select format('the trigger %I on public.%I', t.tgname, c.relname)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid where {_KEPT} and not t.tgisinternal
    union all
    select format('the rule %I on public.%I', r.rulename, c.relname)
      from pg_rewrite r join pg_class c on c.oid = r.ev_class where {_KEPT}) as code (what)
"""
