"""What one statement says that it does, and to which object; from its text alone.

What a DO block, a function or a string runs is not seen. A statement that is none of these kinds
has no effect here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ..sql.lexer import LexicalError
from ..sql.statement import Statement, unquoted
from ..sql.statement_reader import Name, StatementReader


class EffectKind(StrEnum):
    """What happens to an object."""

    CREATE = "create"
    DROP = "drop"
    RENAME = "rename"
    SET_SCHEMA = "set schema"
    TRUNCATE = "truncate"
    UPDATE = "update"
    DELETE = "delete"
    ADD_COLUMN = "add column"
    DROP_COLUMN = "drop column"
    RENAME_COLUMN = "rename column"
    ALTER_TYPE = "alter type"
    SET_NOT_NULL = "set not null"
    DROP_NOT_NULL = "drop not null"
    SET_DEFAULT = "set default"
    DROP_DEFAULT = "drop default"
    ADD_CONSTRAINT = "add constraint"
    DROP_CONSTRAINT = "drop constraint"
    RENAME_CONSTRAINT = "rename constraint"
    VALIDATE_CONSTRAINT = "validate constraint"
    ATTACH_PARTITION = "attach partition"
    DETACH_PARTITION = "detach partition"
    SET_PERSISTENCE = "set logged or unlogged"
    REINDEX = "reindex"
    CLUSTER = "cluster"
    VACUUM_FULL = "vacuum full"
    REFRESH = "refresh materialized view"


class Clause(StrEnum):
    """A clause that matters for what an effect costs."""

    IF_EXISTS = "if exists"
    IF_NOT_EXISTS = "if not exists"
    OR_REPLACE = "or replace"
    TEMPORARY = "temporary"
    ONLY = "only"
    CASCADE = "cascade"
    WHERE = "where"
    CONCURRENTLY = "concurrently"
    UNIQUE = "unique"
    NOT_NULL = "not null"
    DEFAULT = "default"
    GENERATED = "generated"
    USING = "using"
    USING_INDEX = "using index"
    NOT_VALID = "not valid"
    # The constraint comes with a column that is added.
    WITH_COLUMN = "with column"


@dataclass(frozen=True)
class Effect:
    """What a statement does to one object, of which `what` is the kind, as in "table".

    `on` is the object; for a column, a constraint or an index that is made, its table. `part` is
    the column, the constraint or the index, empty where the server names it; `new` a new name.
    `other` is the table that a foreign key refers to, or the partition. `columns` are those of an
    index or a constraint, without expressions. `definition` is the text behind the name: of a
    column its type and what follows, of a constraint all of it.
    """

    kind: EffectKind
    what: str
    on: Name
    part: str = ""
    new: str = ""
    other: Name | None = None
    columns: tuple[str, ...] = ()
    definition: str = ""
    clauses: frozenset[Clause] = frozenset()

    def has(self, clause: Clause) -> bool:
        return clause in self.clauses


def effects_of(statement: Statement) -> tuple[Effect, ...]:
    """Return what the statement does, in the order in which it says so."""
    read = _READERS.get(statement.command)
    # Most queries make no table, and a file may have thousands of them.
    if read is None or (statement.command == "SELECT" and "into" not in statement.text.lower()):
        return ()
    try:
        reader = StatementReader.of(statement.text)
        reader.step()
        return tuple(read(reader))
    except LexicalError:
        return ()


def search_path_of(statement: Statement) -> tuple[str, ...] | None:
    """Return the schemas of a `set search_path` or set_config; None for any other statement.

    Nothing if the statement brings back the search_path that the session had at first.
    """
    if statement.command == "RESET":
        return () if statement.opening[1:] in (("SEARCH_PATH",), ("ALL",)) else None
    name, value = statement.setting or ("", "")
    if name != "search_path":
        return None
    try:
        if statement.command == "SELECT":
            parts = StatementReader.of(value).parts()
            return _schemas(part.identifier() for part in parts)
        reader = StatementReader.of(statement.text)
    except LexicalError:
        # The server refuses such a value.
        return None
    # The sign is `=` or TO.
    if not (reader.find("=") or reader.find("TO")):
        return None
    if reader.peek() == "DEFAULT":
        return ()
    return _schemas(unquoted(part.text()) for part in reader.parts())


def _schemas(names: Iterable[str | None]) -> tuple[str, ...]:
    # Behind an empty search_path, too, the server looks into its catalog.
    return tuple(filter(None, names)) or ("pg_catalog",)


# The kinds of objects that are made, dropped and renamed by a name of their own.
_OBJECTS = (
    "TABLE",
    "VIEW",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "FUNCTION",
    "PROCEDURE",
    "ROUTINE",
    "AGGREGATE",
    "SCHEMA",
    "EXTENSION",
    "INDEX",
)


def _object(reader: StatementReader) -> str:
    """Step over the kind of an object, and return the kind in lower case; empty for the rest."""
    for pair in (("MATERIALIZED", "VIEW"), ("FOREIGN", "TABLE")):
        if reader.take(*pair):
            return " ".join(pair).lower()
    return reader.take_one_of(*_OBJECTS).lower()


def _clauses(reader: StatementReader, *clauses: Clause) -> frozenset[Clause]:
    """Step over those of the clauses that come next, in this order."""
    return frozenset(clause for clause in clauses if reader.take(*clause.upper().split()))


def _create(reader: StatementReader) -> Iterator[Effect]:
    clauses = _clauses(reader, Clause.OR_REPLACE)
    reader.take_one_of("GLOBAL", "LOCAL")
    if reader.take_one_of("TEMP", "TEMPORARY"):
        clauses |= {Clause.TEMPORARY}
    reader.take_one_of("UNLOGGED", "RECURSIVE")
    clauses |= _clauses(reader, Clause.UNIQUE)
    what = _object(reader)
    if what == "index":
        yield from _create_index(reader, clauses)
        return
    clauses |= _clauses(reader, Clause.IF_NOT_EXISTS)
    # Such a schema has the name of the role.
    if what == "schema":
        reader.take("AUTHORIZATION")
    if what and (name := reader.name()):
        yield Effect(EffectKind.CREATE, what, name, clauses=clauses)


def _create_index(reader: StatementReader, clauses: frozenset[Clause]) -> Iterator[Effect]:
    clauses |= _clauses(reader, Clause.CONCURRENTLY, Clause.IF_NOT_EXISTS)
    # Without a name, the server chooses one.
    index = None if reader.peek() == "ON" else reader.identifier()
    if not reader.take("ON"):
        return
    clauses |= _clauses(reader, Clause.ONLY)
    table = reader.name()
    if table is None:
        return
    definition = reader.text()
    if reader.take("USING"):
        reader.step()
    columns = _columns(reader)
    if "WHERE" in reader.words():
        clauses |= {Clause.WHERE}
    yield Effect(
        EffectKind.CREATE,
        "index",
        table,
        index or "",
        columns=columns,
        definition=definition,
        clauses=clauses,
    )


def _columns(reader: StatementReader) -> tuple[str, ...]:
    """Step over `(a, b desc)`, and return the names; an expression or a call is left out."""
    found = []
    for part in reader.inside():
        column = part.identifier()
        if column is not None and part.peek() != "(":
            found.append(column)
    return tuple(found)


def _drop(reader: StatementReader) -> Iterator[Effect]:
    what = _object(reader)
    if not what:
        return
    clauses = _clauses(reader, Clause.CONCURRENTLY, Clause.IF_EXISTS)
    names = reader.names()
    if reader.take("CASCADE"):
        clauses |= {Clause.CASCADE}
    for name in names:
        yield Effect(EffectKind.DROP, what, name, clauses=clauses)


def _truncate(reader: StatementReader) -> Iterator[Effect]:
    reader.take("TABLE")
    names = reader.names()
    clauses = frozenset({Clause.CASCADE} if "CASCADE" in reader.words() else ())
    for name in names:
        yield Effect(EffectKind.TRUNCATE, "table", name, clauses=clauses)


def _update(reader: StatementReader) -> Iterator[Effect]:
    reader.take("ONLY")
    if name := reader.name():
        yield Effect(EffectKind.UPDATE, "table", name, clauses=_where(reader))


def _delete(reader: StatementReader) -> Iterator[Effect]:
    reader.take("FROM")
    reader.take("ONLY")
    if name := reader.name():
        yield Effect(EffectKind.DELETE, "table", name, clauses=_where(reader))


def _where(reader: StatementReader) -> frozenset[Clause]:
    return frozenset({Clause.WHERE} if "WHERE" in reader.words() else ())


def _with(reader: StatementReader) -> Iterator[Effect]:
    """Read the statement behind the common table expressions, which are in parentheses."""
    commands = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES")
    command = next((word for word in reader.words() if word in commands), "")
    if command in ("UPDATE", "DELETE", "SELECT"):
        reader.find(command)
        yield from _READERS[command](reader)


def _select(reader: StatementReader) -> Iterator[Effect]:
    if "INTO" not in reader.words() or not reader.find("INTO"):
        return
    clauses = {Clause.TEMPORARY} if reader.take_one_of("TEMP", "TEMPORARY") else set()
    reader.take("UNLOGGED")
    reader.take("TABLE")
    if name := reader.name():
        yield Effect(EffectKind.CREATE, "table", name, clauses=frozenset(clauses))


def _reindex(reader: StatementReader) -> Iterator[Effect]:
    options = {part.text().upper() for part in reader.inside()}
    what = reader.take_one_of("INDEX", "TABLE", "SCHEMA").lower()
    is_concurrent = reader.take("CONCURRENTLY") or bool(
        options & {"CONCURRENTLY", "CONCURRENTLY TRUE", "CONCURRENTLY ON"}
    )
    if what and (name := reader.name()):
        clauses = frozenset({Clause.CONCURRENTLY} if is_concurrent else ())
        yield Effect(EffectKind.REINDEX, what, name, clauses=clauses)


def _cluster(reader: StatementReader) -> Iterator[Effect]:
    reader.inside()
    reader.take("VERBOSE")
    if name := reader.name():
        yield Effect(EffectKind.CLUSTER, "table", name)


def _vacuum(reader: StatementReader) -> Iterator[Effect]:
    options = {part.text().upper() for part in reader.inside()}
    is_full = bool(options & {"FULL", "FULL TRUE", "FULL ON", "FULL 1"}) or reader.take("FULL")
    while reader.take_one_of("FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"):
        pass
    for name in reader.names() if is_full else ():
        yield Effect(EffectKind.VACUUM_FULL, "table", name)


def _refresh(reader: StatementReader) -> Iterator[Effect]:
    if not reader.take("MATERIALIZED", "VIEW"):
        return
    clauses = _clauses(reader, Clause.CONCURRENTLY)
    if name := reader.name():
        yield Effect(EffectKind.REFRESH, "materialized view", name, clauses=clauses)


def _alter(reader: StatementReader) -> Iterator[Effect]:
    what = _object(reader)
    if not what:
        return
    clauses = _clauses(reader, Clause.IF_EXISTS, Clause.ONLY)
    name = reader.name()
    if name is None:
        return
    reader.take("*")
    # The arguments of a function.
    reader.inside()
    whole = Effect(EffectKind.RENAME, what, name, clauses=clauses)
    for action in reader.parts():
        yield from _action(action, whole)


def _action(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    """Read one action of an ALTER; `whole` has the object and the clauses."""
    word = action.peek()
    action.step()
    match word:
        case "RENAME":
            yield from _rename(action, whole)
        case "SET":
            yield from _set(action, whole)
        case "ADD" if whole.what.endswith("table"):
            yield from _add(action, whole)
        case "DROP" if whole.what != "domain":
            yield from _drop_part(action, whole)
        case "ALTER":
            yield from _alter_part(action, whole)
        case "VALIDATE" if action.take("CONSTRAINT") and (part := action.identifier()):
            yield replace(whole, kind=EffectKind.VALIDATE_CONSTRAINT, part=part)
        case "ATTACH" if action.take("PARTITION"):
            yield replace(whole, kind=EffectKind.ATTACH_PARTITION, other=action.name())
        case "DETACH" if action.take("PARTITION"):
            other = action.name()
            clauses = whole.clauses | _clauses(action, Clause.CONCURRENTLY)
            yield replace(whole, kind=EffectKind.DETACH_PARTITION, other=other, clauses=clauses)


def _rename(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    if action.take("TO"):
        yield replace(whole, new=action.identifier() or "")
        return
    kind = EffectKind.RENAME_COLUMN
    if action.take("CONSTRAINT"):
        kind = EffectKind.RENAME_CONSTRAINT
    elif action.take("VALUE"):
        # The label of an enum: no object has another name by that.
        return
    else:
        action.take_one_of("COLUMN", "ATTRIBUTE")
    part = action.identifier()
    if part and action.take("TO"):
        yield replace(whole, kind=kind, part=part, new=action.identifier() or "")


def _set(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    if action.take("SCHEMA"):
        yield replace(whole, kind=EffectKind.SET_SCHEMA, new=action.identifier() or "")
    elif action.take_one_of("LOGGED", "UNLOGGED"):
        yield replace(whole, kind=EffectKind.SET_PERSISTENCE)


def _drop_part(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    if not whole.what.endswith("table") and action.peek() != "ATTRIBUTE":
        return
    kind = EffectKind.DROP_COLUMN
    if action.take("CONSTRAINT"):
        kind = EffectKind.DROP_CONSTRAINT
    else:
        action.take_one_of("COLUMN", "ATTRIBUTE")
    # Of the table, the statement may have said IF EXISTS, too.
    clauses = (whole.clauses - {Clause.IF_EXISTS}) | _clauses(action, Clause.IF_EXISTS)
    if part := action.identifier():
        if action.take("CASCADE"):
            clauses |= {Clause.CASCADE}
        yield replace(whole, kind=kind, part=part, clauses=clauses)


def _alter_part(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    if action.take("CONSTRAINT"):
        return
    action.take_one_of("COLUMN", "ATTRIBUTE")
    part = action.identifier()
    if part is None:
        return
    whole = replace(whole, part=part)
    if action.take("SET", "DATA", "TYPE") or action.take("TYPE"):
        is_converted = "USING" in action.words()
        clauses = whole.clauses | ({Clause.USING} if is_converted else set())
        yield replace(whole, kind=EffectKind.ALTER_TYPE, definition=action.text(), clauses=clauses)
        return
    for words, kind in (
        (("SET", "NOT", "NULL"), EffectKind.SET_NOT_NULL),
        (("DROP", "NOT", "NULL"), EffectKind.DROP_NOT_NULL),
        (("SET", "DEFAULT"), EffectKind.SET_DEFAULT),
        (("DROP", "DEFAULT"), EffectKind.DROP_DEFAULT),
    ):
        if action.take(*words):
            yield replace(whole, kind=kind, definition=action.text())


# The words with which a constraint begins, and what it is.
_CONSTRAINTS = {
    ("CHECK",): "check",
    ("UNIQUE",): "unique",
    ("PRIMARY", "KEY"): "primary key",
    ("FOREIGN", "KEY"): "foreign key",
    ("EXCLUDE", "USING"): "exclude",
    ("EXCLUDE", "("): "exclude",
    ("NOT", "NULL"): "not null",
}


def _add(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    if action.take("CONSTRAINT"):
        name = action.identifier()
        yield from _add_constraint(action, whole, name or "")
    elif any(
        all(action.peek(at) == word for at, word in enumerate(words)) for words in _CONSTRAINTS
    ):
        yield from _add_constraint(action, whole, "")
    else:
        yield from _add_column(action, whole)


def _add_constraint(action: StatementReader, whole: Effect, name: str) -> Iterator[Effect]:
    definition, words = action.text(), action.words()
    what = next((what for start, what in _CONSTRAINTS.items() if words[: len(start)] == start), "")
    if not what:
        return
    clauses = whole.clauses | {
        clause
        for clause in (Clause.NOT_VALID, Clause.USING_INDEX)
        if _contains(words, *clause.upper().split())
    }
    columns = _constrained(action, what)
    other = action.name() if action.take("REFERENCES") else None
    yield replace(
        whole,
        kind=EffectKind.ADD_CONSTRAINT,
        what=what,
        part=name,
        other=other,
        columns=columns,
        definition=definition,
        clauses=clauses,
    )


def _constrained(action: StatementReader, what: str) -> tuple[str, ...]:
    """Step over the columns of a constraint, and return them."""
    if what == "not null":
        action.take("NOT", "NULL")
        column = action.identifier()
        return (column,) if column else ()
    while not action.is_at_end and action.peek() != "(":
        action.step()
    # What a check or an exclusion has in parentheses are no columns.
    return () if what in ("check", "exclude") else _columns(action)


def _add_column(action: StatementReader, whole: Effect) -> Iterator[Effect]:
    action.take("COLUMN")
    clauses = (whole.clauses - {Clause.IF_EXISTS}) | _clauses(action, Clause.IF_NOT_EXISTS)
    column = action.identifier()
    if column is None or action.is_at_end:
        return
    definition, words = action.text(), action.words()
    clauses |= {
        clause
        for clause in (Clause.NOT_NULL, Clause.DEFAULT, Clause.GENERATED)
        if _contains(words, *clause.upper().split())
    }
    added = replace(
        whole,
        kind=EffectKind.ADD_COLUMN,
        part=column,
        definition=definition,
        clauses=clauses,
    )
    yield added
    for start, what in (
        (("REFERENCES",), "foreign key"),
        (("CHECK",), "check"),
        (("UNIQUE",), "unique"),
        (("PRIMARY", "KEY"), "primary key"),
    ):
        if _contains(words, *start):
            action.find(*start)
            yield replace(
                added,
                kind=EffectKind.ADD_CONSTRAINT,
                what=what,
                part="",
                other=action.name() if what == "foreign key" else None,
                columns=(column,),
                definition="",
                clauses=clauses | {Clause.WITH_COLUMN},
            )


def _contains(words: tuple[str, ...], *wanted: str) -> bool:
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


_READERS: Mapping[str, Callable[[StatementReader], Iterator[Effect]]] = {
    "ALTER": _alter,
    "CLUSTER": _cluster,
    "CREATE": _create,
    "DELETE": _delete,
    "DROP": _drop,
    "REFRESH": _refresh,
    "REINDEX": _reindex,
    "SELECT": _select,
    "TRUNCATE": _truncate,
    "UPDATE": _update,
    "VACUUM": _vacuum,
    "WITH": _with,
}
