"""All that code can use of a database, and a change of it, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ..review.finding import Severity
from .type_changes import passes_as


@dataclass(frozen=True)
class Column:
    """A column: its number in the table, and what an insert has to know of it.

    `has_value` is true if an insert may leave the column out though it is required. `kept_out` are
    roles that may insert into the table, and not use the sequence from which the value comes.
    """

    number: int
    type: str
    is_required: bool = False
    has_value: bool = False
    is_generated: bool = False
    is_inherited: bool = False
    kept_out: tuple[str, ...] = ()


class RowSecurity(StrEnum):
    """From whom row security hides rows; `BARE` if no policy shows them any."""

    OFF = "off"
    ON = "on"
    BARE = "bare"
    # Also from the owner.
    BARE_AND_FORCED = "bare and forced"


class Constraint(NamedTuple):
    """A check, a foreign key or an exclusion, without checks that a column is not null."""

    definition: str
    name: str


@dataclass(frozen=True)
class Relation:
    """A table, a view, a composite type or a sequence of its own.

    `unique_keys` are what an ON CONFLICT can name, as in "(a, b)", each with the name of its index;
    `indexes` are all others, as in "btree (a, b)"; `constraints` are known by their OIDs;
    `privileges` are those of other roles than the owner, as in "app: SELECT".
    """

    oid: int
    kind: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    takes_writes: bool = False
    row_security: RowSecurity = RowSecurity.OFF
    privileges: frozenset[str] = frozenset()
    unique_keys: Mapping[str, str] = field(default_factory=dict)
    constraints: Mapping[int, Constraint] = field(default_factory=dict)
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
            and all(passes_as(was, now) for was, now in zip(other.types, self.types, strict=False))
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
