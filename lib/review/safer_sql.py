"""The safer way to do what a statement does, written out as SQL for its very table.

Each file is a transaction whose locks are held until its end, so what must not be done under a lock
is in a file of its own. What a text leaves open is described in place of SQL.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from ..masking import is_secretive, without_credentials
from ..sql.lexer import STRINGS, scan
from ..sql.statement import Statement
from ..sql.statement_reader import Name
from .statement_effects import Clause, Effect, EffectKind, effects_of

# A name in a database; longer ones are cut by the server.
_LONGEST_NAME = 63
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# Every word that quote_ident() puts into quotes, of PostgreSQL 18.
_QUOTED = """
all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean
both case cast char character check coalesce collate collation column concurrently constraint create
cross current_catalog current_date current_role current_schema current_time current_timestamp
current_user dec decimal default deferrable desc distinct do else end except exists extract false
fetch float for foreign freeze from full grant greatest group grouping having ilike in initially
inner inout int integer intersect interval into is isnull join json json_array json_arrayagg
json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value
lateral leading least left like limit localtime localtimestamp merge_action national natural nchar
none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay
placing position precision primary real references returning right row select session_user setof
similar smallint some substring symmetric system_user table tablesample then time timestamp to
trailing treat trim true union unique user using values varchar variadic verbose when where window
with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot
xmlserialize xmltable
"""
KEYWORDS = frozenset(_QUOTED.split())
_FIRST_WITH_NOT_NULL_NOT_VALID = 180000
# What may stand behind the columns of a unique constraint that is made of an index.
_UNIQUE = re.compile(
    r"(?:unique|primary\s+key)\s*(nulls\s+(?:not\s+)?distinct)?\s*"
    r"(\([^()]*\)(?:\s*include\s*\([^()]*\))?)\s*"
    r"((?:(?:not\s+)?deferrable|initially\s+\w+|\s)*)",
    re.IGNORECASE,
)
_COLUMN = re.compile(r"(.+?)\s+default\s+(.+?)(\s+not\s+null)?", re.IGNORECASE | re.DOTALL)
# Where these are in the definition of a column, its parts can't be told apart by their words.
_MORE_OF_COLUMN = re.compile(
    r"\b(?:check|unique|primary|references|constraint|generated|collate|null\s+.*|storage)\b",
    re.IGNORECASE,
)
_NOT_NULL = re.compile(r"\s+not\s+null\Z", re.IGNORECASE)
_TYPE_AND_EXPRESSION = re.compile(r"(.+?)(?:\s+using\s+(.+))?", re.IGNORECASE | re.DOTALL)
_ALONE = "A file with nothing else, which runs outside a transaction"
_INDEX_BY_PARTITION = (
    "A partitioned table has no index built concurrently: create it `on only` this table, build "
    "that of each partition by `create index concurrently` in a file of its own, and attach each "
    "by `alter index … attach partition …`; with the last one it is valid."
)
_KEY_BY_PARTITION = (
    "A partitioned table has no index built concurrently: add the constraint by `alter table "
    "only`, build the index of each partition by `create unique index concurrently` in a file of "
    "its own, add the constraint there `using index`, and attach each index by `alter index … "
    "attach partition …`; with the last one it is valid."
)
_FOREIGN_KEY_BY_PARTITION = (
    "Add it to each partition first, as `not valid`, and validate it there, in files of their own; "
    "then add it to this table, which takes those of the partitions for its own."
)
_CONSTRAINTS_BY_PARTITION = {
    "unique": _KEY_BY_PARTITION,
    "primary key": _KEY_BY_PARTITION,
    "foreign key": _FOREIGN_KEY_BY_PARTITION,
}
_BATCHES = (
    "-- In batches, each a transaction of its own: by a script of the application, or in files\n"
    "-- that each take a range of the key (`and id between 1 and 100000`), until none is left:"
)


def safer_way(
    text: str, *, server_version: int = 0, partitioned: Iterable[str] = frozenset()
) -> str:
    """Return what to write in place of a statement; empty if there is nothing safer to say.

    `server_version` is as in 180000; 0 if it is not known. `partitioned` are the tables that have
    partitions, as in "public.orders". Strings that may be secrets are hidden.
    """
    if is_secretive(text):
        text = "".join("'…'" if kind in STRINGS else text[at:end] for kind, at, end in scan(text))
    statement = Statement(text, 0, len(text), terminated=text.rstrip().endswith(";"))
    effects = effects_of(statement)
    ways = [
        way
        for effect in effects
        if (way := _of_partitions(effect, partitioned) or _way(effect, server_version))
    ]
    if not ways:
        return ""
    # A column that is added with a constraint has two effects, which are one.
    kept = sum(
        effect.kind is not EffectKind.ADD_CONSTRAINT or not _is_with_column(effect)
        for effect in effects
    )
    also = "-- The rest of the statement stays as it is.\n" if len(ways) < kept else ""
    return also + "\n".join(dict.fromkeys(ways))


def index_for_key(relation: str, columns: str, *, before: str) -> str:
    """Return the index that a foreign key of a live table needs; the names are quoted already."""
    index = f"create index concurrently on {relation} ({columns});"
    return _file(f"A file of its own, before {before}") + index


def quoted(name: str) -> str:
    """Return a name as quote_ident() does: in quotes where it needs them.

    And where an assignment to it would be masked in an output as one of a secret.
    """
    assigned = f"{name} = default, {name}::text"
    if (
        _PLAIN.fullmatch(name)
        and name not in KEYWORDS
        and assigned == without_credentials(assigned)
    ):
        return name
    return '"' + name.replace('"', '""') + '"'


def _way(effect: Effect, server_version: int) -> str:
    if effect.kind is EffectKind.ADD_CONSTRAINT:
        make = _CONSTRAINTS.get(effect.what)
        return make(effect) if make else ""
    if effect.kind is EffectKind.SET_NOT_NULL:
        if server_version >= _FIRST_WITH_NOT_NULL_NOT_VALID:
            return _not_null_by_constraint(effect)
        return _not_null_by_check(effect)
    make = _OTHERS.get(effect.kind)
    return make(effect) if make else ""


def _of_partitions(effect: Effect, partitioned: Iterable[str]) -> str:
    """Return what a partitioned table needs in place of what it refuses; empty if nothing.

    PostgreSQL manual, "Partitioning": no index of it is built concurrently, no constraint of it is
    made of an index; and before version 18, no foreign key of it is NOT VALID.
    """
    # A name without a schema is that of a table in any of them.
    table = f".{_table(effect.on)}"
    is_one = any(f".{name}".endswith(table) for name in partitioned)
    if not is_one or effect.has(Clause.CONCURRENTLY) or effect.has(Clause.ONLY):
        return ""
    if effect.kind is EffectKind.CREATE and effect.what == "index":
        return _INDEX_BY_PARTITION
    if effect.kind is EffectKind.ADD_CONSTRAINT and not effect.has(Clause.NOT_VALID):
        return _CONSTRAINTS_BY_PARTITION.get(effect.what, "")
    return ""


def _file(what: str) -> str:
    return f"-- {what}:\n"


def _files(*contents: str) -> str:
    """Number the files, each with its SQL."""
    return "\n".join(
        f"{_file(f'File {number}')}{content}" for number, content in enumerate(contents, start=1)
    )


def _table(name: Name) -> str:
    return ".".join(quoted(part) for part in name if part is not None)


def _named(*parts: str) -> str:
    """Make a name as the server does: the parts with `_` between them."""
    return "_".join(parts)[:_LONGEST_NAME]


def _is_with_column(effect: Effect) -> bool:
    return effect.has(Clause.WITH_COLUMN)


def _foreign_key(effect: Effect) -> str:
    return _validated_later(effect, _named(effect.on.name, *effect.columns, "fkey"))


def _check(effect: Effect) -> str:
    return _validated_later(effect, _named(effect.on.name, "check"))


def _not_null_constraint(effect: Effect) -> str:
    return _validated_later(effect, _named(effect.on.name, *effect.columns, "not_null"))


def _validated_later(effect: Effect, default_name: str) -> str:
    if effect.has(Clause.NOT_VALID):
        return ""
    if _is_with_column(effect):
        return "Add the column first, and the constraint in a later file, as `not valid`."
    table, name = _table(effect.on), quoted(effect.part or default_name)
    return _files(*_added_and_validated(table, name, effect.definition))


def _added_and_validated(table: str, name: str, definition: str) -> tuple[str, str]:
    """Return the contents of two files: only the first takes a strong lock, and reads no row."""
    return (
        f"alter table {table} add constraint {name} {definition} not valid;",
        f"alter table {table} validate constraint {name};",
    )


def _unique(effect: Effect) -> str:
    return _by_index(effect, _named(effect.on.name, *effect.columns, "key"))


def _primary_key(effect: Effect) -> str:
    way = _by_index(effect, _named(effect.on.name, "pkey"))
    if not way.startswith("--"):
        return way
    return f"-- Columns that may be null are to be set not null first, as said there.\n{way}"


def _by_index(effect: Effect, default_name: str) -> str:
    """Build the index of a constraint first, while the table is read and written."""
    if effect.has(Clause.USING_INDEX):
        return ""
    parts = _UNIQUE.fullmatch(effect.definition)
    if _is_with_column(effect):
        return (
            "Add the column alone, build the index by `create unique index concurrently` in a file "
            "of its own, and add the constraint `using index` in the next file."
        )
    if parts is None:
        return (
            "Build the index first, by `create unique index concurrently` in a file of its own, "
            "and add the constraint `using index` in the next file."
        )
    table, name = _table(effect.on), quoted(effect.part or default_name)
    nulls, columns, timing = (part.strip() if part else "" for part in parts.groups())
    kind = "primary key" if effect.what == "primary key" else "unique"
    return _files(
        f"create unique index concurrently {name} on {table} {columns}{_after(nulls)};",
        f"alter table {table} add constraint {name} {kind} using index {name}{_after(timing)};",
    )


def _after(words: str) -> str:
    return f" {words}" if words else ""


def _exclusion(_: Effect) -> str:
    return "An exclusion constraint can't be built meanwhile: do it when the table is little used."


def _not_null_by_check(effect: Effect) -> str:
    table, column = _table(effect.on), quoted(effect.part)
    name = quoted(_named(effect.on.name, effect.part, "is_not_null"))
    return _files(
        *_added_and_validated(table, name, f"check ({column} is not null)"),
        # With the check, PostgreSQL knows without looking (manual, "ALTER TABLE", SET NOT NULL).
        f"alter table {table} alter column {column} set not null;\n"
        f"alter table {table} drop constraint {name};",
    )


def _not_null_by_constraint(effect: Effect) -> str:
    table, column = _table(effect.on), quoted(effect.part)
    name = quoted(_named(effect.on.name, effect.part, "not_null"))
    return _files(*_added_and_validated(table, name, f"not null {column}"))


def _index(effect: Effect) -> str:
    if effect.what != "index" or effect.has(Clause.CONCURRENTLY):
        return ""
    words = ["create"]
    words += ["unique"] if effect.has(Clause.UNIQUE) else []
    words += ["index concurrently"]
    words += ["if not exists"] if effect.has(Clause.IF_NOT_EXISTS) else []
    words += [quoted(effect.part)] if effect.part else []
    only = "only " if effect.has(Clause.ONLY) else ""
    words += [f"on {only}{_table(effect.on)} {effect.definition};"]
    return _file(_ALONE) + " ".join(words)


def _reindex(effect: Effect) -> str:
    if effect.has(Clause.CONCURRENTLY):
        return ""
    return _file(_ALONE) + f"reindex {effect.what} concurrently {_table(effect.on)};"


def _refresh(effect: Effect) -> str:
    if effect.has(Clause.CONCURRENTLY):
        return ""
    return (
        f"{_file('With a unique index on the view')}"
        f"refresh materialized view concurrently {_table(effect.on)};"
    )


def _type(effect: Effect) -> str:
    parts = _TYPE_AND_EXPRESSION.fullmatch(effect.definition)
    # Of a type or a domain, all tables with it change.
    if parts is None or not effect.what.endswith("table"):
        return ""
    kind, expression = parts.groups()
    table, old = _table(effect.on), quoted(effect.part)
    new = quoted(_named(effect.part, "new"))
    follower = quoted(_named(effect.on.name, effect.part, "new"))
    value = expression or f"cast({old} as {kind})"
    return _files(
        f"alter table {table} add column {new} {kind};\n"
        f"create function {follower}() returns trigger language plpgsql as $$\n"
        f"begin\n"
        f"    new.{new} := (select {value} from (select new.*) as changed);\n"
        f"    return new;\n"
        f"end $$;\n"
        f"create trigger {follower} before insert or update on {table}\n"
        f"    for each row execute function {follower}();",
        f"{_BATCHES}\n"
        f"update {table} set {new} = {value} where {new} is null and {old} is not null;",
        f"-- Once the new column has the default, NOT NULL, constraints and indexes of the old\n"
        f"-- one, each added in its safer way, in files before this:\n"
        f"drop trigger {follower} on {table};\n"
        f"drop function {follower}();\n"
        f"alter table {table} drop column {old};\n"
        f"alter table {table} rename column {new} to {old};",
    )


def _column(effect: Effect) -> str:
    if effect.has(Clause.GENERATED):
        return (
            "Add a plain column, keep it up to date by a trigger, write it in batches, and let the "
            "application read it: a generated column can't be added without writing the table."
        )
    if not effect.has(Clause.DEFAULT):
        return ""
    parts = _COLUMN.fullmatch(effect.definition)
    if parts is None or _MORE_OF_COLUMN.search(parts[1]) or _MORE_OF_COLUMN.search(parts[2]):
        return (
            "Add the column without its default, set the default in the same file, and write the "
            "rows that are there in batches."
        )
    kind, default, not_null = parts.groups()
    # It may stand on either side of the default.
    plain = _NOT_NULL.sub("", kind)
    is_required = bool(not_null) or plain != kind
    table, column = _table(effect.on), quoted(effect.part)
    first = (
        f"alter table {table} add column {column} {plain};\n"
        f"alter table {table} alter column {column} set default {default};"
    )
    backfill = f"{_BATCHES}\nupdate {table} set {column} = default where {column} is null;"
    if not is_required:
        return _files(first, backfill)
    name = quoted(_named(effect.on.name, effect.part, "is_not_null"))
    return _files(
        first,
        backfill,
        *_added_and_validated(table, name, f"check ({column} is not null)"),
        f"alter table {table} alter column {column} set not null;\n"
        f"alter table {table} drop constraint {name};",
    )


def _rewrite(effect: Effect) -> str:
    return (
        f"pg_repack, or pg_squeeze, rewrites {_table(effect.on)} while it is used; from "
        "PostgreSQL's own commands, do it when nobody uses the table."
    )


def _attach(effect: Effect) -> str:
    other = _table(effect.other) if effect.other else "the partition"
    return (
        f"Before, add a check to {other} that says what the bounds of the partition say, "
        "`not valid`, and validate it in the next file: then PostgreSQL attaches it unread."
    )


_CONSTRAINTS: Mapping[str, Callable[[Effect], str]] = {
    "foreign key": _foreign_key,
    "check": _check,
    "unique": _unique,
    "primary key": _primary_key,
    "exclude": _exclusion,
    "not null": _not_null_constraint,
}
_OTHERS: Mapping[EffectKind, Callable[[Effect], str]] = {
    EffectKind.CREATE: _index,
    EffectKind.REINDEX: _reindex,
    EffectKind.REFRESH: _refresh,
    EffectKind.ALTER_TYPE: _type,
    EffectKind.ADD_COLUMN: _column,
    EffectKind.CLUSTER: _rewrite,
    EffectKind.VACUUM_FULL: _rewrite,
    EffectKind.SET_PERSISTENCE: _rewrite,
    EffectKind.ATTACH_PARTITION: _attach,
}
