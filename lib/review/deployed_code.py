"""What deployed code can use of a database, and what two states of it mean for that code. Pure.

Deployed code keeps running during a deploy and after it, and a rollback brings it back. What it may
use must stay until no code does: expand now, contract later.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from .finding import Severity

STOP, WARN, NOTE = Severity.STOP, Severity.WARN, Severity.NOTE

_TYPE = re.compile(
    r"(?P<base>.*?)(?:\((?P<limits>[0-9, ]+)\))?(?P<zone> with(?:out)? time zone)?(?P<array>\[\])?"
)
_TEXTS = ("character varying", "text")
# To the right: what a client reads in the same way. A bigint reaches JavaScript as a string.
_WIDER = {("smallint", "integer"), ("real", "double precision")}
_TO_BIGINT = {("smallint", "bigint"), ("integer", "bigint")}
# A call with an argument of the first type reaches a function that takes the second.
_PASSES_AS = {
    *_WIDER,
    *_TO_BIGINT,
    *((number, "numeric") for number in ("smallint", "integer", "bigint")),
    *((number, "double precision") for number in ("smallint", "integer", "bigint")),
    ("character varying", "text"),
    ("text", "character varying"),
}
_NARROWER = {
    ("bigint", "integer"),
    ("bigint", "smallint"),
    ("integer", "smallint"),
    ("double precision", "real"),
}

_LATER = "Deploy code that no longer uses it; drop it in a file of a later push."
_BY_KIND = {
    "sequence": "drops-sequence",
    "type": "drops-type",
    "view": "drops-view",
    "materialized view": "drops-view",
}


@dataclass(frozen=True)
class Column:
    """A column: its number in the table, and what an insert has to know of it.

    `has_value` is true if an insert may leave the column out though it is required.
    """

    number: int
    type: str
    is_required: bool = False
    has_value: bool = False
    is_generated: bool = False
    is_inherited: bool = False


class RowSecurity(StrEnum):
    """From whom row security hides rows; `BARE` if no policy shows them any."""

    OFF = "off"
    ON = "on"
    BARE = "bare"
    # Also from the owner.
    BARE_AND_FORCED = "bare and forced"


@dataclass(frozen=True)
class Relation:
    """A table, a view, a composite type or a sequence of its own.

    `unique_keys` are what an ON CONFLICT can name, as in "(a, b)", each with the name of its index;
    `indexes` are all others, as in "btree (a, b)"; `constraints` are definitions with their names;
    `privileges` are those of other roles than the owner, as in "app: SELECT".
    """

    oid: int
    kind: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    takes_writes: bool = False
    row_security: RowSecurity = RowSecurity.OFF
    privileges: frozenset[str] = frozenset()
    unique_keys: Mapping[str, str] = field(default_factory=dict)
    constraints: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Routine:
    """A function, procedure or aggregate: how it is called, and what comes back."""

    oid: int
    kind: str
    name: str
    types: tuple[str, ...]
    names: tuple[str, ...]
    defaults: int
    result: str

    def takes_calls_of(self, other: "Routine") -> bool:
        """True if every call of the other one is a call of this one, with the same result."""
        count = len(other.types)
        return (
            self.name == other.name
            and self.result == other.result
            and len(self.types) >= count
            and all(
                now == was or (was, now) in _PASSES_AS
                for was, now in zip(other.types, self.types, strict=False)
            )
            and len(self.types) - count <= self.defaults
        )


@dataclass(frozen=True)
class DataType:
    """An enum with its labels and their OIDs, or any other type."""

    oid: int
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeView:
    """All that code can use: relations, types and extensions by name, routines by signature."""

    relations: Mapping[str, Relation] = field(default_factory=dict)
    routines: Mapping[str, Routine] = field(default_factory=dict)
    types: Mapping[str, DataType] = field(default_factory=dict)
    extensions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CodeChange:
    """A change that deployed code meets: of which object, what happened, and what to do instead.

    `part` is the name of an index or a constraint of the object, if it is about one.
    """

    rule: str
    severity: Severity
    kind: str
    object: str
    change: str
    instead: str = ""
    part: str = ""


def changes_for_code(
    deployed: CodeView, before: CodeView, after: CodeView, *, written: frozenset[str] = frozenset()
) -> tuple[CodeChange, ...]:
    """Return what a file that led from `before` to `after` changes for deployed code.

    What is not in `deployed`, the state before all pending files, no code uses yet. The rows of a
    table in `written` are taken for copied if the table or a column of it was made anew.
    """
    return (
        *_relations(deployed, before, after, written),
        *_routines(deployed, before, after),
        *_types(deployed, before, after),
        *(
            CodeChange("drops-function", STOP, "extension", name, "is dropped", _LATER)
            for name in sorted(before.extensions & deployed.extensions - after.extensions)
        ),
    )


def _relations(
    deployed: CodeView, before: CodeView, after: CodeView, written: frozenset[str]
) -> Iterator[CodeChange]:
    by_oid = {relation.oid: name for name, relation in after.relations.items()}
    for name, old in before.relations.items():
        known = deployed.relations.get(name)
        new = after.relations.get(name)
        if known is None:
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
        rule = _BY_KIND.get(old.kind, "drops-table")
        return CodeChange(rule, STOP, old.kind, name, "is dropped", _LATER)
    instead = (
        "Keep the old name until no deployed code uses it."
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
        "is dropped and made anew: what it held is lost",
        "Copy the values before the old one is dropped.",
    )


def _columns(
    table: str, known: Relation, old: Relation, new: Relation, *, is_copied: bool
) -> Iterator[CodeChange]:
    is_same = old.oid == new.oid
    by_number = {column.number: name for name, column in new.columns.items()} if is_same else {}
    for name, column in old.columns.items():
        # What is inherited is told of the parent.
        if name not in known.columns or column.is_inherited:
            continue
        identity = f"{table}.{name}"
        now = new.columns.get(name)
        if now is None:
            yield _column_gone(table, identity, by_number.get(column.number))
            continue
        if is_same and column.number not in by_number and old.kind == "table" and not is_copied:
            yield _made_anew("drops-column", "column", identity)
        yield from _type_changed(identity, column.type, now.type)
        # A view has the defaults and keys of its table, and does not show them.
        if old.kind == new.kind:
            yield from _column_changed(identity, column, now)
    numbers = {column.number for column in old.columns.values()} if is_same else set()
    for name, column in new.columns.items():
        if name not in old.columns and column.number not in numbers and new.kind == "table":
            yield from _new_column(f"{table}.{name}", column)


def _column_gone(table: str, identity: str, new_name: str | None) -> CodeChange:
    if new_name is None:
        return CodeChange("drops-column", STOP, "column", identity, "is dropped", _LATER)
    return CodeChange(
        "renames-column",
        STOP,
        "column",
        identity,
        f"is now {table}.{new_name}",
        f"Add {new_name} as a new column, let the code write both, and copy the old values; drop "
        "the old column in a later push, when no deployed code uses it.",
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
    instead = (
        "Add a column of the new type, let the code write both, and copy the old values; drop the "
        "old column in a later push, when no deployed code uses it."
    )
    if (old, new) in _TO_BIGINT:
        change += ": a bigint reaches JavaScript as a string from most drivers"
        instead = "Look at how the driver hands it to the code."
    elif severity is WARN:
        change += ": some values that code could write before are refused"
        instead = "Deploy code that keeps to the new limit first."
    elif severity is NOTE:
        change += ": a statement that returns it, prepared before, fails until it is prepared anew"
        instead = "Look whether the driver prepares statements, and prepares them anew by itself."
    yield CodeChange("changes-type", severity, "column", identity, change, instead)


def type_severity(old: str, new: str) -> Severity | None:
    """Return how another type of a column meets deployed code; None if it is the same.

    Of a wider type of the same kind only prepared statements take notice: "cached plan must not
    change result type". A narrower one refuses some values. An integer that becomes a bigint
    reaches most of JavaScript as a string. Anything else breaks.
    """
    if old == new:
        return None
    if (old, new) in _WIDER:
        return NOTE
    if (old, new) in _TO_BIGINT | _NARROWER:
        return WARN
    (one, limits), (other, new_limits) = _parts(old), _parts(new)
    if one != other and not (one in _TEXTS and other in _TEXTS):
        return STOP
    return NOTE if _is_wider(one, limits, new_limits) else WARN


def _parts(type_name: str) -> tuple[str, tuple[int, ...]]:
    match = _TYPE.fullmatch(type_name)
    assert match is not None  # the base takes in any text
    limits = tuple(map(int, match["limits"].split(","))) if match["limits"] else ()
    return "".join(filter(None, match.group("base", "zone", "array"))), limits


def _is_wider(base: str, old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    if not new:
        return True
    if not old or base in ("character", "bit"):
        return False
    if base.startswith("numeric"):
        return old[1:] == new[1:] and old[0] <= new[0]
    return old <= new


def _new_column(identity: str, column: Column) -> Iterator[CodeChange]:
    if column.is_required and not column.has_value and not column.is_inherited:
        yield CodeChange(
            "requires-column",
            STOP,
            "column",
            identity,
            "is new and required: each insert of deployed code fails",
            "Give it a default, or leave it nullable until all deployed code writes it.",
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
    if new.row_security is not RowSecurity.OFF and old.row_security is RowSecurity.OFF:
        # Another role than the owner uses the table, or the owner itself sees nothing.
        is_hidden = new.row_security is RowSecurity.BARE_AND_FORCED or (
            new.row_security is RowSecurity.BARE and bool(new.privileges)
        )
        yield CodeChange(
            "enables-row-security",
            STOP if is_hidden else WARN,
            old.kind,
            name,
            "has row security now: "
            + (
                "no policy shows any row of it"
                if is_hidden
                else "all roles but its owner see only what a policy shows them"
            ),
            "Create the policies for what deployed code reads and writes in the same file.",
        )
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


def _keys(name: str, old: Relation, new: Relation) -> Iterator[CodeChange]:
    """Yield what becomes of indexes and constraints, but for those of a column that comes or goes.

    They come and go with the column, of which the rest is told.
    """
    passing = old.columns.keys() ^ new.columns.keys()
    for key in _without(passing, old.unique_keys.keys() - new.unique_keys.keys()):
        yield CodeChange(
            "drops-unique",
            WARN,
            old.kind,
            name,
            f"is no longer unique by {key}: an ON CONFLICT that names it fails",
            "Deploy code that does not rely on it first.",
            old.unique_keys[key],
        )
    for index in _without(passing, old.indexes.keys() - new.indexes.keys()):
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
    known = {_what_it_refuses(each) for each in old.constraints}
    constraints = {each for each in new.constraints if _what_it_refuses(each) not in known}
    unique = new.unique_keys.keys() - old.unique_keys.keys()
    for rule in (*_without(passing, constraints), *_without(passing, unique)):
        part = {**new.constraints, **new.unique_keys}[rule]
        yield CodeChange(
            "adds-constraint",
            NOTE,
            old.kind,
            name,
            f"has a new constraint, {part}: writes of deployed code that violate it fail",
            part=part,
        )


def _what_it_refuses(constraint: str) -> str:
    """The constraint without its actions, and whether or not it is validated."""
    return re.sub(r" (?:ON (?:UPDATE|DELETE) .*|NOT VALID$)", "", constraint)


def _without(columns: Set[str], keys: Set[str]) -> list[str]:
    return sorted(
        key
        for key in keys
        if not any(re.search(rf'(?<![\w"]){re.escape(name)}(?![\w"])', key) for name in columns)
    )


def _routines(deployed: CodeView, before: CodeView, after: CodeView) -> Iterator[CodeChange]:
    by_oid = {routine.oid: signature for signature, routine in after.routines.items()}
    for signature, old in before.routines.items():
        if signature not in deployed.routines:
            continue
        new = after.routines.get(signature)
        if new is not None:
            yield from _routine_changed(signature, old, new)
            continue
        others = [each for each in after.routines.values() if each.name == old.name]
        if any(each.oid == old.oid or each.takes_calls_of(old) for each in others):
            continue
        if old.oid in by_oid:
            yield CodeChange(
                "renames-function",
                STOP,
                old.kind,
                signature,
                f"is now {by_oid[old.oid]}",
                "Keep one of the old name that calls it, until no deployed code does.",
            )
        elif others:
            yield _calls_change(signature, old, "no longer takes these arguments")
        else:
            yield CodeChange("drops-function", STOP, old.kind, signature, "is dropped", _LATER)


def _routine_changed(signature: str, old: Routine, new: Routine) -> Iterator[CodeChange]:
    # A row with more columns has all that code reads by name.
    is_longer = old.result.startswith("TABLE(") and new.result.startswith(f"{old.result[:-1]},")
    if old.result != new.result and not is_longer:
        yield _calls_change(signature, old, f"returns {new.result}, and no longer {old.result}")
    elif new.defaults < old.defaults:
        yield _calls_change(signature, old, "has fewer defaults: calls that leave them out fail")
    elif any(was and was != now for was, now in zip(old.names, new.names, strict=False)):
        yield CodeChange(
            "changes-function",
            WARN,
            old.kind,
            signature,
            "has other names of arguments: calls by name fail",
            "Keep the names, or let the code call it by position first.",
        )


def _calls_change(signature: str, old: Routine, change: str) -> CodeChange:
    instead = "Create it under another name, let the code call that, and drop this one later."
    return CodeChange("changes-function", STOP, old.kind, signature, change, instead)


def _types(deployed: CodeView, before: CodeView, after: CodeView) -> Iterator[CodeChange]:
    by_oid = {data_type.oid: name for name, data_type in after.types.items()}
    for name, old in before.types.items():
        known = deployed.types.get(name)
        if known is None:
            continue
        new = after.types.get(name)
        if new is not None:
            yield from _labels(name, known, old, new)
        elif old.oid in by_oid:
            instead = "Keep the old name until no deployed code uses it."
            change = f"is now {by_oid[old.oid]}"
            yield CodeChange("renames-type", STOP, "type", name, change, instead)
        else:
            yield CodeChange("drops-type", STOP, "type", name, "is dropped", _LATER)


def _labels(name: str, known: DataType, old: DataType, new: DataType) -> Iterator[CodeChange]:
    by_oid = {oid: label for label, oid in new.labels.items()}
    for label, oid in old.labels.items():
        if label in known.labels and label not in new.labels:
            now = f"is now '{by_oid[oid]}'" if oid in by_oid else "is gone"
            yield CodeChange(
                "removes-value",
                STOP,
                "type",
                name,
                f"loses a value: '{label}' {now}",
                "Keep the value until no deployed code writes it or compares with it.",
            )
