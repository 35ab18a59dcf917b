"""Whose the runner's tables are, and whether anything in them runs code: looked at before they are read or written.

Whoever owns a table, or may put a trigger on it, has code run with the rights of whoever writes to it. A table of a trusted
owner may hold what that owner has put there, as long as it calls nobody else's functions. A table of anybody else may hold
nothing that runs code. The check is a statement that fails in the server, so that what follows in its message isn't run.

Trusted are the role that has logged in, superusers, those that the caller names, and the roles whose rights that one
inherits by grants, unless others may act as them: Supabase's `postgres` inherits `anon`, which everybody may be.
`pg_has_role` would say that a superuser, or whoever has made a role, is a member of it. The current role is not: the
owner of a database may have every session begin as any role, and code that runs as that may become the one that logged in.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from ..database.composing import filled, joined
from ..database.connection import Connection
from ..database.server_error import StatementError
from ..database.transport import Rows
from ..errors import LedgerError

LEDGER, RUNS = "schema_migrations", "schema_migration_runs"
# What a run does to each table; to the sequence of the ledger's ids besides, while an identity column's needs no right.
RIGHTS = {LEDGER: ("select", "insert"), RUNS: ("select", "insert", "update")}
# All that a role needs which owns nothing. The tables' owner grants it.
GRANTS = (
    "Grant it, as the tables' owner: grant usage on schema public to ROLE; "
    f"grant select, insert on public.{LEDGER} to ROLE; grant usage on sequence public.{LEDGER}_id_seq to ROLE; "
    f"grant select, insert, update on public.{RUNS} to ROLE. "
    "Where there are no such tables yet, their first run makes them: grant create on schema public to ROLE."
)
UNRECORDED = (
    "Something on the runner's tables does something else in place of what was to be written there: nothing was written. "
    f"Look at the triggers and rules of public.{LEDGER} and public.{RUNS} (\\d+ in psql), and drop that one."
)
# Nobody puts a trigger or a rule on them while this is held, so that what was looked at is what is met. It may stand before
# a SET TRANSACTION, and has to: in REPEATABLE READ the look would see the catalog as it was before.
LOCK = f"lock table public.{LEDGER}, public.{RUNS} in row exclusive mode"
# Before the look too: while it is held, no view takes the place of a table.
LOCK_TO_READ = f"lock table public.{LEDGER}, public.{RUNS} in access share mode"

# What of a table has to be as it was when it was looked at, short enough to be compared before every write. Nobody but the
# owner can change more of it.
_SEAL = """
concat_ws(' ', c.oid, c.relowner, c.relkind, c.relnatts, c.relchecks, c.relhasrules, c.relhassubclass, c.relispartition,
          c.relrowsecurity, c.relforcerowsecurity,
          (select string_agg(oid::text || tgenabled::text, ',' order by oid) from pg_trigger where tgrelid = c.oid),
          (select string_agg(oid::text, ',' order by oid) from pg_attrdef where adrelid = c.oid),
          (select string_agg(oid::text, ',' order by oid) from pg_statistic_ext where stxrelid = c.oid))
"""
_KEPT = f"""
c.relnamespace = (select oid from pg_namespace where nspname = 'public') and c.relname in ('{LEDGER}', '{RUNS}')
"""
_COLUMNS = """
(select string_agg(attname::text, ',' order by attnum) from pg_attribute
  where attrelid = c.oid and attnum > 0 and not attisdropped)
"""
# What a row of the ledger means: where its columns are, and that no version is there twice.
_SHAPE = """
concat_ws(' ', (select string_agg(concat_ws(' ', attnum, attname, atttypid), ',' order by attnum) from pg_attribute
                 where attrelid = c.oid and not attisdropped
                   and attname in ('id', 'version', 'name', 'applied_at', 'execution_time_ms', 'checksum')),
          exists (select from pg_index x join pg_attribute a on a.attrelid = x.indrelid and a.attnum::text = x.indkey::text
                   where x.indrelid = c.oid and a.attname = 'version' and x.indisunique and x.indisvalid
                     and x.indpred is null))
"""
# The defaults and checks that the runner's own tables have, and no others, run nobody's code. They are written here as the
# server shows them while only pg_catalog is searched: anything of another schema is shown with it.
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
    "CHECK ((outcome = ANY (ARRAY[''running''::text, ''succeeded''::text, ''failed''::text, ''interrupted''::text])))",
)
_CHECK = f"""
with recursive inherited (oid) as (
    select oid from pg_roles where rolname = session_user
    union
    select m.roleid from inherited i join pg_auth_members m on m.member = i.oid join pg_roles r on r.oid = m.member
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit)
), acting (roleid, member) as (
    select roleid, member from pg_auth_members m
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean or (to_jsonb(m) ->> 'set_option')::boolean, true)
), named (oid) as (
    select oid from pg_roles where rolsuper or rolname = session_user or rolname = any ({{trusted}}::name[])
), shared (oid) as (
    select a.roleid from acting a
     where a.roleid in (select oid from inherited) and a.roleid not in (select oid from named)
       and a.member not in (select oid from inherited) and a.member not in (select oid from named)
    union
    select a.roleid from acting a join shared s on s.oid = a.member where a.roleid in (select oid from inherited)
), trusted (oid) as (
    select oid from inherited where oid not in (select oid from shared) union select oid from named
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
    -- Whoever had the right TRIGGER has chosen the condition, the arguments, and among the server's own functions.
    select tgrelid, null, null,
           format('the trigger %I (its WHEN, its arguments, or a function of the server''s own)', tgname), null
      from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where tgrelid in (select oid from kept) and not tgisinternal
       and (tgqual is not null or tgnargs > 0 or p.pronamespace = 'pg_catalog'::regnamespace)
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
           replace(pg_get_constraintdef(oid), '"', '') in ('{_PLAIN_CHECKS[0]}', '{_PLAIN_CHECKS[1]}')
      from pg_constraint where conrelid in (select oid from kept) and contype in ('c', 'x')
    union all
    select d.adrelid, 'pg_attrdef'::regclass, d.oid, format('the expression of the column %I', a.attname),
           a.attgenerated = '' and replace(pg_get_expr(d.adbin, d.adrelid), '"', '') ~ '{_PLAIN_DEFAULT}'
      from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
     where d.adrelid in (select oid from kept)
    union all
    select indrelid, 'pg_class'::regclass, indexrelid, format('the index %s', indexrelid::regclass), false
      from pg_index where indrelid in (select oid from kept) and (indexprs is not null or indpred is not null)
    union all
    select inhparent, 'pg_class'::regclass, inhrelid, format('the child table %s', inhrelid::regclass), false
      from pg_inherits where inhparent in (select oid from kept)
    union all
    select inhrelid, 'pg_class'::regclass, inhparent, format('the parent table %s', inhparent::regclass), false
      from pg_inherits where inhrelid in (select oid from kept)
    union all
    select confrelid, 'pg_class'::regclass, conrelid, format('the foreign key %I of %s', conname, conrelid::regclass), false
      from pg_constraint where confrelid in (select oid from kept) and contype = 'f'
    union all
    select conrelid, 'pg_class'::regclass, confrelid, format('the foreign key %I to %s', conname, confrelid::regclass),
           false
      from pg_constraint where conrelid in (select oid from kept) and contype = 'f'
    union all
    select a.attrelid, 'pg_type'::regclass, t.oid, format('the type of the column %I', a.attname), false
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid in (select oid from kept) and a.attnum > 0 and not a.attisdropped
       and t.typnamespace <> 'pg_catalog'::regnamespace
), runs_code (relid, what) as (
    select a.relid, a.what
      from attached a join kept k on k.oid = a.relid
     where a.is_plain is null
        or k.relowner not in (select oid from trusted) and not a.is_plain
        or case a.classid when 'pg_class'::regclass then (select relowner from pg_class where oid = a.objid)
                          when 'pg_type'::regclass then (select typowner from pg_type where oid = a.objid)
           end not in (select oid from trusted)
        or exists (
            select from pg_depend d
             where d.classid = a.classid and d.objid = a.objid
               and case d.refclassid when 'pg_proc'::regclass then (select proowner from pg_proc where oid = d.refobjid)
                                     when 'pg_operator'::regclass
                                     then (select oprowner from pg_operator where oid = d.refobjid)
                                     when 'pg_type'::regclass then (select typowner from pg_type where oid = d.refobjid)
                                     when 'pg_class'::regclass
                                     then (select relowner from pg_class where oid = d.refobjid
                                              and a.classid = 'pg_rewrite'::regclass)
                   end not in (select oid from trusted))
), granted (relid, object, grantee, privilege_type) as (
    select k.oid, format('public.%I', k.relname), x.grantee, x.privilege_type from kept k, aclexplode(k.relacl) x
    union all
    select k.oid, format('public.%I', k.relname), x.grantee, x.privilege_type
      from kept k join pg_attribute a on a.attrelid = k.oid and a.attacl is not null, aclexplode(a.attacl) x
    union all
    select s.relid, format('sequence public.%I', s.relname), x.grantee, x.privilege_type
      from sequences s, aclexplode(s.relacl) x
), open_to (relid, object, who) as (
    select g.relid, g.object, string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ')
      from granted g left join pg_roles r on r.oid = g.grantee
     where g.grantee = 0
        or g.privilege_type <> 'SELECT' and r.rolname <> current_user and g.grantee not in (select oid from trusted)
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
       (select string_agg(format('revoke all on %s from %s cascade', object, who), '; ' order by object desc) from open_to
         where relid = c.oid),
       concat_ws(',', case when not has_table_privilege(c.oid, 'select') then 'select' end,
                      case when not has_table_privilege(c.oid, 'insert') then 'insert' end,
                      case when not has_table_privilege(c.oid, 'update') then 'update' end,
                      (select string_agg(format('usage on sequence public.%I', s.relname), ',') from sequences s
                        where s.relid = c.oid and c.relname = '{LEDGER}' and not has_sequence_privilege(s.oid, 'usage'))),
       case when c.relowner not in (select oid from trusted) then pg_get_userbyid(c.relowner) end,
       case when j.fault is not null
            then (jsonb_build_object('fault', j.fault, 'table', c.relname, 'owner', pg_get_userbyid(c.relowner),
                  'kind', c.relkind, 'owner is trusted', c.relowner in (select oid from trusted),
                  'code', (select string_agg(what, ', ') from runs_code where relid = c.oid))::text)::integer
       end
  from kept c join judged j using (oid)
"""


# The same where there is nothing to weigh, as in nearly every database: the tables are this role's own or a named one's,
# they hold nothing but what the runner has made, and nobody else may write to them. It takes a quarter of the time. It
# fails where it isn't so, and `_CHECK` weighs what there is.
_GLANCE = f"""
select c.relname, c.oid, c.relfilenode, {_SEAL}, {_SHAPE}, {_COLUMNS}, null, null, null,
       case when c.relkind = 'r' and not c.relhasrules and not c.relhassubclass and not c.relispartition
             and not row_security_active(c.oid)
             and (c.relacl is null or not exists (
                     select from aclexplode(c.relacl) x
                      where x.grantee = 0 or x.grantee <> c.relowner and x.privilege_type <> 'SELECT'))
             and not exists (select from pg_attribute where attrelid = c.oid and attacl is not null)
             and not exists (select from pg_trigger where tgrelid = c.oid)
             and not exists (select from pg_statistic_ext where stxrelid = c.oid)
             and not exists (
                     select from pg_depend a
                       left join pg_depend d on d.classid = a.classid and d.objid = a.objid
                                            and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
                       left join pg_class s on a.classid = 'pg_class'::regclass and s.oid = a.objid and s.relkind = 'S'
                      where a.refclassid = 'pg_class'::regclass and a.refobjid = c.oid
                        and (d.objid is not null
                             or exists (select from aclexplode(s.relacl) x where x.grantee <> c.relowner)))
             and not exists (
                     select from pg_depend
                      where classid = 'pg_class'::regclass and objid = c.oid and refclassid = 'pg_type'::regclass)
             and exists (select from pg_roles r where r.oid = c.relowner
                            and (r.rolsuper or r.rolname = session_user or r.rolname = any ({{trusted}}::name[])))
             and (not {{writes}} or pg_has_role(c.relowner, 'usage')
                  or has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                 and (c.relname = '{LEDGER}' or has_table_privilege(c.oid, 'update'))
                 and coalesce(has_sequence_privilege(to_regclass('public.{LEDGER}_id_seq')::oid, 'usage'), true))
            then null else (jsonb_build_object('fault', 'any', 'table', c.relname)::text)::integer
       end
  from pg_class c where {_KEPT}
"""
_UNCHANGED = f"""
select case when (select string_agg({_SEAL}, ' ' order by c.relname) from pg_class c where {_KEPT}) = {{seal}}
            then null else (jsonb_build_object('fault', 'changed')::text)::integer
       end
"""
# What a file has done to the tables in its own transaction, in constant time: a count would be cheated by a delete and an
# insert, and all rows would take as long as the ledger is. Attempts count that a savepoint has taken back. Where the server
# doesn't count, or a file may have told it not to, it fails, and all rows are compared the second time.
_INTACT = f"""
select case when count(*) = 2
             and (select {_SHAPE} from pg_class c where c.oid = {{ledger}}) = {{shape}}
             and not exists (select from public.{RUNS} where id > {{run}})
             and {{held}}
            then null else (jsonb_build_object('fault', 'emptied')::text)::integer
       end
  from pg_class c
 where {_KEPT} and (c.oid, c.relfilenode) in (({{ledger}}, {{ledger_file}}), ({{runs}}, {{runs_file}}))
"""
_COUNTED = """
current_setting('track_counts') = 'on' and pg_catalog.sum(pg_stat_get_xact_tuples_deleted(c.oid)) = 0
             and pg_stat_get_xact_tuples_updated({ledger}::oid) = 0
"""
# Ids that rows have already, as after a copy of the data alone or logical replication, would be given once more.
_CATCH_UP = """
select case when not (has_sequence_privilege(seq, 'usage') or has_sequence_privilege(seq, 'select')) then null
            when coalesce(pg_sequence_last_value(seq), 0) >= top then null
            when has_sequence_privilege(seq, 'update') then setval(seq, top)
            else (jsonb_build_object('fault', 'sequence',
                                     'setval', format('select setval(%L, %s)', seq, top))::text)::integer
       end
  from (select pg_get_serial_sequence('public.{table}', 'id')::regclass, (select max(id) from public.{table}))
       as behind (seq, top)
 where seq is not null and top is not null
"""
CATCH_UP = tuple(_CATCH_UP.replace("{table}", table) for table in RIGHTS)
# What rows of the ledger hold, in a word that is another one when one of them is gone or changed.
ROWS = """
concat_ws(' ', count(*), md5(string_agg(concat_ws(' ', id, version, checksum), ',' order by id)))
"""
REMEMBER = f"select set_config('migrations.held', {ROWS}, true) from public.schema_migrations"
COMPARE = f"""
select case when current_setting('migrations.held') = {ROWS}
            then null else (jsonb_build_object('fault', 'emptied')::text)::integer end
  from public.schema_migrations
"""
_CODE = f"""
select string_agg(what, ', ') from (
    select format('the trigger %I on public.%I', t.tgname, c.relname)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid where {_KEPT} and not t.tgisinternal
    union all
    select format('the rule %I on public.%I', r.rulename, c.relname)
      from pg_rewrite r join pg_class c on c.oid = r.ev_class where {_KEPT}) as code (what)
"""


@dataclass(frozen=True)
class Table:
    """One of the two tables as the catalog has it. `filenode` changes with TRUNCATE and with whatever else rewrites it.

    `seal` is another one when what runs code there may be, `shape` when what a row of the ledger means is.
    `closing` is the SQL that takes away the rights that others have on it, and `lacking` what the role would need to write
    to it, as in `insert` or `usage on sequence …`. `owner` is whose it is, if that isn't trusted.
    """

    name: str
    oid: str
    filenode: str
    seal: str
    shape: str
    columns: tuple[str, ...]
    closing: str = ""
    lacking: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Tables:
    """Those of the two that are there, as they were when they were looked at, and found to be trusted.

    `trusted` has the names of the roles that were; `at_a_glance` that nothing was there to be weighed.
    """

    found: Mapping[str, Table]
    trusted: tuple[str, ...]
    at_a_glance: bool

    @property
    def check(self) -> sql.Composed:
        """The statement that stands before a write: it fails if the tables aren't those that were looked at.

        What has been weighed is weighed again: there, others may change more than the seal tells.
        """
        if not self.at_a_glance:
            return check(self.trusted)
        seals = " ".join(self.found[name].seal for name in sorted(self.found))
        return filled(_UNCHANGED, seal=seals)

    def check_intact(
        self, run: int, word: sql.Composable, expected: str | None, *, is_counted: bool = True
    ) -> sql.Composed:
        """The statement that fails if this transaction has taken rows out of the tables, or changed those of the ledger.

        Nor may there be a later `run` than this one. Unless it `is_counted`, `word`, SQL for what they hold, is compared.
        """
        ledger, runs = self.found[LEDGER], self.found[RUNS]
        numbers = {
            "ledger": ledger.oid,
            "ledger_file": ledger.filenode,
            "runs": runs.oid,
            "runs_file": runs.filenode,
        }
        literals = {name: sql.SQL(str(int(value))) for name, value in numbers.items()}
        held = (
            filled(_COUNTED, **literals)
            if is_counted
            else filled("{word} = {expected}", word=word, expected=expected)
        )
        return filled(_INTACT, run=run, shape=ledger.shape, held=held, **literals)

    @property
    def open(self) -> tuple[str, ...]:
        """A warning for each table that others may write to, with the statement that closes it."""
        others = (
            f"public.{table.name} belongs to the role {table.owner}, which isn't trusted, and can have files skipped or "
            f"run twice. If it is to be trusted, set MIGRATION_LEDGER_OWNER={table.owner}; else give the table to the role "
            "that migrates."
            for table in self.found.values()
            if table.owner
        )
        rights = (
            f"Others than its owner have rights on public.{table.name}, by which files can be skipped or run twice, or "
            f"production's claim be taken away. Close it: {table.closing};"
            for table in self.found.values()
            if table.closing
        )
        return (*others, *rights)

    def verify_rights(self) -> None:
        """Raise LedgerError if the role may not write to the tables, with what it has to be granted."""
        lacking = {table.name: table.lacking for table in self.found.values() if table.lacking}
        if lacking:
            tables = " and ".join(
                f"public.{name} ({', '.join(rights)})" for name, rights in sorted(lacking.items())
            )
            raise LedgerError(f"The role may not write to {tables}: nothing was applied. {GRANTS}")


def glance(trusted: Iterable[str], *, writes: bool) -> sql.Composed:
    """The statement that fails unless there is nothing to weigh about the tables that are there.

    `writes` when the role has to be able to write to them too.
    """
    return filled(_GLANCE, trusted=list(trusted), writes=writes)


def check(trusted: Iterable[str]) -> sql.Composed:
    """The statement that fails unless the tables that are there can be trusted; it tells `distrust` why."""
    return filled(_CHECK, trusted=list(trusted))


def tables_of(rows: Rows, trusted: Iterable[str], *, at_a_glance: bool) -> Tables:
    """The tables, from what `glance` or `check` has returned."""
    return Tables({table.name: table for table in map(_table, rows)}, tuple(trusted), at_a_glance)


def _table(row: Sequence[str | None]) -> Table:
    name, oid, filenode, seal, shape, columns, closing, lacking, owner = (
        value or "" for value in row[:9]
    )
    needed = tuple(
        right for right in lacking.split(",") if right in RIGHTS[name] or right.startswith("usage")
    )
    return Table(
        name, oid, filenode, seal, shape, tuple(columns.split(",")), closing, needed, owner
    )


def told_by(error: StatementError) -> dict[str, Any]:
    """What a statement of the runner's own has failed to tell; empty where the error is another one.

    The server quotes the text in its message, which may be in any language.
    """
    quoted = re.search(r"\{.*\}", error.server_error.message, re.DOTALL)
    if error.server_error.sqlstate != "22P02" or quoted is None:
        return {}
    try:
        facts = json.loads(quoted.group())
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def tables_now(connection: Connection, trusted: tuple[str, ...]) -> Tables:
    """The tables as they are now, weighed."""
    look = joined(LOCK_TO_READ, check(trusted))
    return tables_of(connection.query(look, read_only=True)[0], trusted, at_a_glance=False)


def ask(
    connection: Connection,
    tables: Tables,
    *statements: str | sql.Composable,
    read_only: bool = False,
) -> list[Rows]:
    """Carry out statements on the tables if these are unchanged, or can still be trusted."""
    lock = LOCK_TO_READ if read_only else LOCK
    if tables.at_a_glance:
        try:
            return connection.query(joined(lock, tables.check, *statements), read_only=read_only)
        except StatementError as error:
            if told_by(error).get("fault") != "changed":
                raise
    # A trigger or a rule on the tables may do anything to the ledger.
    weighed = (
        (check(tables.trusted), *statements)
        if read_only
        else (check(tables.trusted), REMEMBER, *statements, COMPARE)
    )
    answers = connection.query(joined(lock, *weighed), read_only=read_only)
    return answers if read_only else [answers[0], *answers[2:-1]]


def code_on_tables(connection: Connection) -> str:
    """The triggers and rules on the two tables, for a sentence; empty where there are none."""
    return connection.query(_CODE, read_only=True)[0][0][0] or ""


def distrust(error: StatementError) -> LedgerError | None:
    """The error for a table that can't be trusted, read or written as it is; None where it was something else."""
    facts = told_by(error)
    fault, table = facts.get("fault"), f"public.{facts.get('table')}"
    if fault == "sequence":
        return LedgerError(
            f"The ids of the runner's table are behind its rows, and the role may not set that right: nothing was applied. "
            f"As the table's owner: {facts['setval']};"
        )
    if fault == "changed":
        return LedgerError(
            "Somebody has changed the runner's tables (a trigger, a rule, a column, their owner) while this run was under "
            "way: it stopped before it wrote to them. Run it again, and it looks at what they are now."
        )
    if fault == "policy":
        return LedgerError(
            f"The role may not read all of {table}: row-level security is on for it there, and a ledger with rows left out "
            f"is none. Either: alter table {table} disable row level security, no force row level security; or: alter role "
            "ROLE bypassrls."
        )
    if fault == "kind":
        what = _KINDS.get(facts["kind"], "no plain table")
        return LedgerError(
            f"{table} is {what}, and not the runner's table: it was neither read nor written. It belongs to the role "
            f"{facts['owner']}. Drop or rename it, and run this again."
        )
    return _distrusted(facts, table) if fault == "code" else None


def _distrusted(facts: dict[str, Any], table: str) -> LedgerError:
    owner, code = facts["owner"], facts["code"]
    if facts["owner is trusted"]:
        return LedgerError(
            f"{table} may run what another role has chosen, with the rights of this one: {code}. It was neither read nor "
            "written. Drop that. Where it is a function's owner that isn't trusted and should be, MIGRATION_LEDGER_OWNER "
            "takes the name. A trigger of your own has to do without WHEN and arguments."
        )
    return LedgerError(
        f"{table} belongs to the role {owner}, which is neither this one nor trusted, and it runs code there: {code}. It "
        f"was neither read nor written. If {owner} is trusted, set MIGRATION_LEDGER_OWNER={owner}; if the table is the "
        f"runner's, take it over: alter table {table} owner to ROLE, the one that migrates; else drop or rename it."
    )


_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "S": "a sequence",
    "i": "an index",
    "c": "a composite type",
}
