"""What becomes of tables and views that deployed code uses: columns, keys, rights. Pure."""

import re
from collections.abc import Iterable, Iterator, Set

from ..review.advice import (
    COPY_FIRST,
    DROP_LATER,
    GIVE_DEFAULT,
    KEEP_NAME,
    MADE_ANEW,
    NEW_AND_REQUIRED,
    keep_column,
)
from ..review.finding import Severity
from ..review.rules import rule_of_drop
from .code_view import CodeChange, CodeView, Column, Relation, RowSecurity
from .type_changes import TO_BIGINT, type_severity

# The server writes casts into expressions by the types that their columns have at the time.
_CAST = re.compile(
    r"::(?:(?:\"[^\"]+\"|\w+)\.)?(?:\"[^\"]+\"|\w+)(?: varying| precision)?(?:\([0-9, ]+\))?"
    r"(?: with(?:out)? time zone)?(?:\[\])*"
)
STOP, WARN, NOTE = Severity.STOP, Severity.WARN, Severity.NOTE


def relation_changes(
    deployed: CodeView, before: CodeView, after: CodeView, written: frozenset[str]
) -> Iterator[CodeChange]:
    by_oid = {relation.oid: name for name, relation in after.relations.items()}
    for name, old in before.relations.items():
        known = deployed.relations.get(name)
        new = after.relations.get(name)
        if known is None or new == old:
            continue
        if new is None:
            yield _gone(name, old, by_oid.get(old.oid))
            continue
        if old.kind == new.kind == "table" and old.oid not in by_oid and name not in written:
            yield _made_anew("drops-table", "table", name)
        yield from _columns(name, known, old, new, is_copied=name in written)
        yield from _use_of_table(name, old, new)


def _gone(name: str, old: Relation, new_name: str | None) -> CodeChange:
    if new_name is None:
        rule = rule_of_drop(old.kind)
        return CodeChange(rule, STOP, old.kind, name, "is dropped", DROP_LATER)
    instead = (
        KEEP_NAME
        if old.kind in ("sequence", "type")
        else f"Keep the old name as a view, which takes reads and writes alike, and drop it in a "
        f"later push:\ncreate view {name} as select * from {new_name};"
    )
    rule = "renames-type" if old.kind == "type" else "renames-table"
    return CodeChange(rule, STOP, old.kind, name, f"is now {new_name}", instead)


def _made_anew(rule: str, kind: str, name: str) -> CodeChange:
    return CodeChange(
        rule,
        WARN,
        kind,
        name,
        MADE_ANEW,
        COPY_FIRST,
    )


def _columns(
    table: str, known: Relation, old: Relation, new: Relation, *, is_copied: bool
) -> Iterator[CodeChange]:
    is_same = old.oid == new.oid
    by_number = {column.number: name for name, column in new.columns.items()} if is_same else {}
    numbers = {column.number for column in old.columns.values()} if is_same else set()
    for name, column in old.columns.items():
        # What is inherited is told of the parent.
        if name not in known.columns or column.is_inherited:
            continue
        identity = f"{table}.{name}"
        now = new.columns.get(name)
        if now is None:
            yield _column_gone(table, identity, by_number.get(column.number))
            continue
        # Of one that an earlier file has made, under another name, the values have been copied.
        is_new = is_same and column.number not in by_number and now.number not in numbers
        if is_new and old.kind == "table" and not is_copied:
            yield _made_anew("drops-column", "column", identity)
        yield from _type_changed(identity, column.type, now.type)
        # A view has the defaults and keys of its table, and does not show them.
        if old.kind == new.kind:
            yield from _column_changed(identity, column, now)
    for name, column in new.columns.items():
        if name not in old.columns and column.number not in numbers and new.kind == "table":
            yield from _new_column(f"{table}.{name}", column)


def _column_gone(table: str, identity: str, new_name: str | None) -> CodeChange:
    if new_name is None:
        return CodeChange("drops-column", STOP, "column", identity, "is dropped", DROP_LATER)
    return CodeChange(
        "renames-column",
        STOP,
        "column",
        identity,
        f"is now {table}.{new_name}",
        keep_column(f"{new_name} as a new column"),
    )


def _column_changed(identity: str, old: Column, new: Column) -> Iterator[CodeChange]:
    if new.is_generated and not old.is_generated:
        yield CodeChange(
            "generates-column",
            STOP,
            "column",
            identity,
            "is generated now: code that writes it fails",
            "Deploy code that no longer writes it first.",
        )
    elif new.is_required and not old.is_required and not new.has_value:
        yield CodeChange(
            "requires-column",
            WARN,
            "column",
            identity,
            "is required now: code that writes null, or leaves it out, fails",
            "Deploy code that always writes it first, or give it a default.",
        )
    elif old.is_required and not new.is_required:
        yield CodeChange(
            "allows-null",
            NOTE,
            "column",
            identity,
            "may be null now: code that reads it may not expect one",
            "Write nulls only once all deployed code reads them.",
        )
    elif old.has_value and not new.has_value and not new.is_generated:
        yield CodeChange(
            "requires-column" if new.is_required else "drops-default",
            WARN,
            "column",
            identity,
            "has no default any more: code that leaves it out "
            + ("fails" if new.is_required else "writes null"),
            "Deploy code that always writes it first.",
        )


def _type_changed(identity: str, old: str, new: str) -> Iterator[CodeChange]:
    severity = type_severity(old, new)
    if severity is None:
        return
    change = f"changes from {old} to {new}"
    instead = keep_column("a column of the new type")
    if (old, new) in TO_BIGINT:
        change += ": a bigint reaches JavaScript as a string from most drivers"
        instead = "Look at how the driver hands it to the code."
    elif severity is WARN:
        change += ": some values that code could write before are refused"
        instead = "Deploy code that keeps to the new limit first."
    elif severity is NOTE:
        change += ": a statement that returns it, prepared before, fails until it is prepared anew"
        instead = "Look whether the driver prepares statements, and prepares them anew by itself."
    yield CodeChange("changes-type", severity, "column", identity, change, instead)


def _new_column(identity: str, column: Column) -> Iterator[CodeChange]:
    if column.is_required and not column.has_value and not column.is_inherited:
        yield CodeChange(
            "requires-column",
            STOP,
            "column",
            identity,
            NEW_AND_REQUIRED,
            GIVE_DEFAULT,
        )
    if column.kept_out:
        yield CodeChange(
            "requires-column",
            WARN,
            "column",
            identity,
            "takes its value from a new sequence, which these roles may not use: "
            f"{', '.join(column.kept_out)}. Their inserts fail",
            "Make it `generated by default as identity`, which needs no such privilege, or grant "
            "the usage of the sequence in the same file.",
        )


def _use_of_table(name: str, old: Relation, new: Relation) -> Iterator[CodeChange]:
    if old.takes_writes and not new.takes_writes:
        yield CodeChange(
            "drops-table",
            STOP,
            old.kind,
            name,
            f"is a {new.kind} now that takes no writes",
            "Write a view on one table alone, or give it INSTEAD OF triggers.",
        )
    yield from _row_security(name, old, new)
    for privilege in sorted(old.privileges - new.privileges):
        yield CodeChange(
            "revokes-privilege",
            WARN,
            old.kind,
            name,
            f"loses a privilege: {privilege}",
            "Deploy code that does not need it first.",
        )
    if old.kind == new.kind:
        yield from _keys(name, old, new)


def _row_security(name: str, old: Relation, new: Relation) -> Iterator[CodeChange]:
    if old.row_security is not RowSecurity.OFF or new.row_security is RowSecurity.OFF:
        return
    # Another role than the owner uses the table, or the owner itself sees nothing.
    is_hidden = new.row_security is RowSecurity.BARE_AND_FORCED or (
        new.row_security is RowSecurity.BARE and bool(new.privileges)
    )
    seen = (
        "no policy shows any row of it"
        if is_hidden
        else "all roles but its owner see only what a policy shows them"
    )
    yield CodeChange(
        "enables-row-security",
        STOP if is_hidden else WARN,
        old.kind,
        name,
        f"has row security now: {seen}",
        "Create the policies for what deployed code reads and writes in the same file.",
    )


def _keys(name: str, old: Relation, new: Relation) -> Iterator[CodeChange]:
    """Yield what becomes of indexes and constraints, but for those of a column that comes or goes.

    They come and go with the column, of which the rest is told.
    """
    passing = old.columns.keys() ^ new.columns.keys()
    for key in _without(passing, _lost(old.unique_keys, new.unique_keys)):
        yield CodeChange(
            "drops-unique",
            WARN,
            old.kind,
            name,
            f"is no longer unique by {key}: an ON CONFLICT that names it fails",
            "Deploy code that does not rely on it first.",
            old.unique_keys[key],
        )
    for index in _without(passing, _lost(old.indexes, new.indexes)):
        yield CodeChange(
            "drops-index",
            NOTE,
            old.kind,
            name,
            f"loses an index, {index}: queries of deployed code may need it",
            "Look in pg_stat_user_indexes of the live database whether it is used.",
            old.indexes[index],
        )
    if old.oid == new.oid:
        yield from _new_constraints(name, passing, old, new)


def _new_constraints(
    name: str, passing: Set[str], old: Relation, new: Relation
) -> Iterator[CodeChange]:
    # One that was there may be written in another way: with another name in it, or valid now.
    made = {
        _what_it_refuses(each.definition): each.name
        for oid, each in new.constraints.items()
        if oid not in old.constraints
    }
    known = [_what_it_refuses(each.definition) for each in old.constraints.values()]
    constraints, unique = _lost(made, known), _lost(new.unique_keys, old.unique_keys)
    for rule in (*_without(passing, constraints), *_without(passing, unique)):
        part = {**made, **new.unique_keys}[rule]
        yield CodeChange(
            "adds-constraint",
            NOTE,
            old.kind,
            name,
            f"has a new constraint, {part}: writes of deployed code that violate it fail",
            part=part,
        )


def _lost(keys: Iterable[str], others: Iterable[str]) -> set[str]:
    """The keys that are not among the others, whatever the types in them."""
    kept = {_untyped(other) for other in others}
    return {key for key in keys if _untyped(key) not in kept}


def _untyped(expression: str) -> str:
    return re.sub(r"[()]", "", _CAST.sub("", expression))


def _what_it_refuses(constraint: str) -> str:
    """The constraint without its actions, and whether or not it is validated."""
    return re.sub(r" (?:ON (?:UPDATE|DELETE) .*|NOT VALID$)", "", constraint)


def _without(columns: Set[str], keys: Set[str]) -> list[str]:
    return sorted(
        key
        for key in keys
        if not any(re.search(rf'(?<![\w"]){re.escape(name)}(?![\w"])', key) for name in columns)
    )
