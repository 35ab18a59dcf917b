"""What pending files do by their texts alone, weighed by the live database. Pure.

What a DO block or a function does is not seen, nor what a type change makes the server do: that is
for a rehearsal.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ..files.runnable_script import Script
from ..sql.statement import Statement
from ..sql.statement_reader import StatementReader, shown
from .advice import (
    COPY_FIRST,
    DELETE_IN_BATCHES,
    DONE,
    DROP_LATER,
    GIVE_DEFAULT,
    KEEP_NAME,
    MADE_ANEW,
    NEW_AND_REQUIRED,
    RULE_OF_WORK,
    SHOW_ROWS,
    WRITE_IN_BATCHES,
    keep_column,
    one_transaction,
)
from .estimates import Work, severity_under_lock, size_text, work_text
from .finding import Finding, Severity
from .live_sizes import TableSize
from .rules import rule_of_drop
from .safer_sql import safer_way
from .statement_effects import Clause, Effect, EffectKind, effects_of, search_path_of


class QuestionKind(StrEnum):
    """Where an object is looked for."""

    RELATION = "relation"
    TYPE = "type"
    ROUTINE = "routine"
    SCHEMA = "schema"


class Question(NamedTuple):
    """An object that a file names. `path` are the schemas to look in; None for the session's."""

    kind: QuestionKind
    name: str
    path: tuple[str, ...] | None = None


class LiveColumn(NamedTuple):
    """The type of a column, and whether it is known to hold no null."""

    type: str
    has_no_null: bool


@dataclass(frozen=True)
class LiveObject:
    """An object of the database, of which `name` is the full name, as in "public.users".

    `columns` are those of a relation. `size` is that of a table or a materialized view.
    """

    name: str
    columns: Mapping[str, LiveColumn] = field(default_factory=dict)
    size: TableSize | None = None
    is_partitioned: bool = False


@dataclass(frozen=True)
class PlacedEffect:
    """An effect, the statement of a file that has it, and the object that it is about."""

    effect: Effect
    statement: Statement
    script: Script
    question: Question

    @property
    def makes_object(self) -> bool:
        return self.effect.kind is EffectKind.CREATE and self.effect.what != "index"

    @property
    def may_matter(self) -> bool:
        """True unless nothing is said of such an effect, whatever the database is like."""
        if self.effect.kind is EffectKind.ADD_COLUMN:
            return _is_required(self.effect) or _has_volatile_value(self.effect)
        return not self.makes_object and self.effect.kind in (*_OF_CODE, *_COSTS)

    def finding(self, rule: str, severity: Severity, message: str, instead: str) -> Finding:
        file = self.script.file
        line = file.line_at(self.statement.offset)
        return Finding(rule, severity, file.version, line, message, instead)


def placed_effects(scripts: Iterable[Script]) -> tuple[PlacedEffect, ...]:
    """Return what the files say that they do; nothing if none of it could matter."""
    placed = tuple(placed for script in scripts for placed in _effects_of(script))
    return placed if any(each.may_matter for each in placed) else ()


def review_files(
    effects: Sequence[PlacedEffect],
    found: Mapping[Question, LiveObject],
    *,
    deployed_code: Severity,
    server_version: int = 0,
) -> tuple[Finding, ...]:
    """Judge the effects by the objects that exist.

    What breaks deployed code is at most as severe as `deployed_code`: there may be none. An object
    that does not exist, or no longer, is made by a pending file, or is missing with IF EXISTS.
    """
    # Where a file makes an object last, and what it is.
    made = {
        (each.script.file.version, found[each.question].name): (at, each.effect.what)
        for at, each in enumerate(effects)
        if each.makes_object and each.question in found
    }
    findings: list[Finding] = []
    gone: set[str] = set()
    checked: set[tuple[str, str]] = set()
    for at, each in enumerate(effects):
        live = found.get(each.question)
        if live is None or live.name in gone or each.makes_object:
            continue
        later, anew = made.get((each.script.file.version, live.name), (-1, ""))
        findings += _by_code(each, live, deployed_code, anew=anew if later > at else "")
        # `set not null` does not look where a check of an earlier file has.
        if (live.name, each.effect.part) not in checked:
            findings += _by_size(each, live, server_version)
        if each.effect.kind in (EffectKind.DROP, EffectKind.RENAME, EffectKind.SET_SCHEMA):
            gone.add(live.name)
        checked |= {(live.name, column) for column in _checked_columns(each.effect)}
    return tuple(findings)


_KINDS = {
    "table": QuestionKind.RELATION,
    "foreign table": QuestionKind.RELATION,
    "view": QuestionKind.RELATION,
    "materialized view": QuestionKind.RELATION,
    "sequence": QuestionKind.RELATION,
    "type": QuestionKind.TYPE,
    "domain": QuestionKind.TYPE,
    "function": QuestionKind.ROUTINE,
    "procedure": QuestionKind.ROUTINE,
    "routine": QuestionKind.ROUTINE,
    "aggregate": QuestionKind.ROUTINE,
    "schema": QuestionKind.SCHEMA,
}


def _effects_of(script: Script) -> Iterator[PlacedEffect]:
    path: tuple[str, ...] | None = None
    temporary: set[str] = set()
    for statement in script.statements:
        if statement.command in ("SET", "SELECT", "RESET"):
            schemas = search_path_of(statement)
            path = path if schemas is None else schemas or None
        for effect in effects_of(statement):
            question = _question(effect, path)
            if question and not _is_temporary(effect, question, temporary):
                yield PlacedEffect(effect, statement, script, question)


def _is_temporary(effect: Effect, question: Question, names: set[str]) -> bool:
    """True if the object is nobody else's; `names` are those of such tables, and kept up to date.

    Unless it is qualified, the name of a temporary table hides that of any other.
    """
    if effect.has(Clause.TEMPORARY):
        names.add(question.name)
        return True
    is_meant = question.kind is QuestionKind.RELATION and effect.on.schema in (None, "pg_temp")
    if not is_meant or question.name not in names:
        return False
    if effect.kind is EffectKind.DROP:
        names.discard(question.name)
    return True


def _question(effect: Effect, path: tuple[str, ...] | None) -> Question | None:
    is_index = effect.kind is EffectKind.CREATE and effect.what == "index"
    on = effect.on
    # Of these, `on` is a table, whatever is made for it.
    if is_index or effect.kind is EffectKind.ADD_CONSTRAINT:
        kind = QuestionKind.RELATION
    # The table that becomes a partition is the one that is read.
    elif effect.kind is EffectKind.ATTACH_PARTITION and effect.other:
        kind, on = QuestionKind.RELATION, effect.other
    elif effect.what in _KINDS:
        kind = _KINDS[effect.what]
    else:
        return None
    return Question(kind, on.name, (on.schema,) if on.schema else path)


_OF_CODE = (
    EffectKind.DROP,
    EffectKind.DROP_COLUMN,
    EffectKind.RENAME,
    EffectKind.SET_SCHEMA,
    EffectKind.RENAME_COLUMN,
    EffectKind.TRUNCATE,
)
_RENAMES = {"drops-type": "renames-type", "drops-function": "renames-function"}
# A column of these has a default by its type.
_SERIAL = ("SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2")
_VOLATILE = (
    "RANDOM",
    "GEN_RANDOM_UUID",
    "UUIDV4",
    "UUIDV7",
    "UUID_GENERATE_V1",
    "UUID_GENERATE_V4",
    "CLOCK_TIMESTAMP",
    "NEXTVAL",
)


def _by_code(
    placed: PlacedEffect, live: LiveObject, worst: Severity, *, anew: str
) -> Iterator[Finding]:
    """What breaks deployed code, or loses data.

    `anew` is what the file makes under the same name afterwards, as in "view"; empty for nothing.
    """
    effect = placed.effect
    column = f"{live.name}.{shown(effect.part)}"
    rule = rule_of_drop(effect.what)
    has_column = effect.part in live.columns or effect.what == "type"
    match effect.kind:
        case EffectKind.DROP | EffectKind.RENAME | EffectKind.SET_SCHEMA if anew:
            yield from _replaced(placed, live, worst, anew)
        case EffectKind.DROP:
            yield placed.finding(rule, worst, f"{live.name} is dropped.", DROP_LATER)
        case EffectKind.DROP_COLUMN if has_column:
            yield placed.finding("drops-column", worst, f"{column} is dropped.", DROP_LATER)
        case EffectKind.RENAME | EffectKind.SET_SCHEMA:
            now = f"now {shown(effect.new)}" if effect.kind is EffectKind.RENAME else "moved"
            where = f" to the schema {shown(effect.new)}" if now == "moved" else ""
            message = f"{live.name} is {now}{where}."
            yield placed.finding(_RENAMES.get(rule, "renames-table"), worst, message, KEEP_NAME)
        case EffectKind.RENAME_COLUMN if has_column:
            message = f"{column} is now {live.name}.{shown(effect.new)}."
            yield placed.finding(
                "renames-column",
                worst,
                message,
                keep_column(f"{shown(effect.new)} as a new column"),
            )
        case EffectKind.TRUNCATE if live.size and live.size.rows:
            message = f"All rows of {live.name} are deleted ({size_text(live.size)})."
            yield placed.finding("truncates-table", worst, message, DELETE_IN_BATCHES)
        case EffectKind.ADD_COLUMN if _is_required(effect) and not has_column:
            message = f"{column} {NEW_AND_REQUIRED}."
            yield placed.finding("requires-column", worst, message, GIVE_DEFAULT)


def _replaced(
    placed: PlacedEffect, live: LiveObject, worst: Severity, anew: str
) -> Iterator[Finding]:
    """What the new object is like cannot be told from here; only of a table are rows lost."""
    severity = Severity.WARN if worst is Severity.STOP else worst
    if placed.effect.kind is EffectKind.DROP:
        rule = rule_of_drop(placed.effect.what)
        if rule == "drops-table":
            yield placed.finding(rule, severity, f"{live.name} {MADE_ANEW}.", COPY_FIRST)
    # A view of the old name shows the rows; a table does not.
    elif anew == "table":
        lost = f"{live.name} gets another name, and is made anew without what it held."
        yield placed.finding("renames-table", severity, lost, SHOW_ROWS)


def _is_required(effect: Effect) -> bool:
    has_value = effect.has(Clause.DEFAULT) or effect.has(Clause.GENERATED)
    return effect.has(Clause.NOT_NULL) and not has_value and not _is_serial(effect)


def _is_serial(effect: Effect) -> bool:
    return StatementReader.of(effect.definition).peek() in _SERIAL


def _has_volatile_value(effect: Effect) -> bool:
    """True if each row gets a value of its own, and so the table is rewritten."""
    words = StatementReader.of(effect.definition).words()
    if effect.has(Clause.GENERATED):
        return "STORED" in words or "IDENTITY" in words
    return _is_serial(effect) or any(word in _VOLATILE for word in words[1:])


# As in format_type(), and as people write it.
_VARCHAR = re.compile(r"(?:text|(?:varchar|character varying)(?: ?\( ?([0-9]+) ?\))?)")


class _Cost(NamedTuple):
    """What takes as long as the table is large, and what waits meanwhile."""

    work: Work
    blocked: str
    # Whether the server does so is not told by the text.
    is_certain: bool = True


_ALL, _WRITES = "reads and writes", "writes"


def _by_size(placed: PlacedEffect, live: LiveObject, server_version: int) -> Iterator[Finding]:
    """What stalls the application, if the table is large."""
    make = _COSTS.get(placed.effect.kind)
    cost = make(placed.effect, live) if make else None
    if cost is None or live.size is None:
        return
    severity = severity_under_lock(cost.work, live.size)
    if severity is None:
        return
    how_long = work_text(cost.work, live.size)
    if cost.work is Work.WRITE:
        message = one_transaction("all rows", live.name, how_long)
        instead = WRITE_IN_BATCHES
    else:
        severity = severity if cost.is_certain else Severity.WARN
        done = DONE[cost.work] if cost.is_certain else DONE[cost.work].replace("is", "may be", 1)
        message = f"{live.name} {done} while its {cost.blocked} wait ({how_long})."
        instead = safer_way(
            placed.statement.text,
            server_version=server_version,
            partitioned=(live.name,) if live.is_partitioned else (),
        )
    yield placed.finding(RULE_OF_WORK[cost.work], severity, message, instead)


def _of_index(effect: Effect, _: LiveObject) -> _Cost | None:
    if effect.what == "schema" or effect.has(Clause.CONCURRENTLY) or effect.has(Clause.ONLY):
        return None
    return _Cost(Work.INDEX, _WRITES)


def _of_not_null(effect: Effect, live: LiveObject) -> _Cost | None:
    column = live.columns.get(effect.part)
    # A column of a pending file is full of nulls, or has a default; the rows are read all the same.
    return None if column and column.has_no_null else _Cost(Work.SCAN, _ALL)


def _of_constraint(effect: Effect, _: LiveObject) -> _Cost | None:
    if effect.has(Clause.NOT_VALID) or effect.has(Clause.USING_INDEX):
        return None
    match effect.what:
        case "unique" | "primary key" | "exclude":
            return _Cost(Work.INDEX, _ALL)
        # In a new column without a default there is nothing to look up.
        case "foreign key" if not effect.has(Clause.WITH_COLUMN) or effect.has(Clause.DEFAULT):
            return _Cost(Work.SCAN, _WRITES)
        case "check" | "not null":
            return _Cost(Work.SCAN, _ALL)
    return None


def _of_rows(effect: Effect, _: LiveObject) -> _Cost | None:
    return None if effect.has(Clause.WHERE) else _Cost(Work.WRITE, _WRITES)


def _of_rewrite(effect: Effect, _: LiveObject) -> _Cost | None:
    return None if effect.has(Clause.CONCURRENTLY) else _Cost(Work.REWRITE, _ALL)


def _of_partition(effect: Effect, _: LiveObject) -> _Cost | None:
    # A check may say what the bounds say; an index is attached to an index.
    return _Cost(Work.SCAN, _ALL, is_certain=False) if effect.what == "table" else None


def _of_column(effect: Effect, _: LiveObject) -> _Cost | None:
    return _Cost(Work.REWRITE, _ALL) if _has_volatile_value(effect) else None


def _of_type(effect: Effect, live: LiveObject) -> _Cost | None:
    column = live.columns.get(effect.part)
    if column and not effect.has(Clause.USING) and _is_wider(column.type, effect.definition):
        return None
    return _Cost(Work.REWRITE, _ALL, is_certain=False)


_COSTS: Mapping[EffectKind, Callable[[Effect, LiveObject], _Cost | None]] = {
    EffectKind.CREATE: _of_index,
    EffectKind.REINDEX: _of_index,
    EffectKind.SET_NOT_NULL: _of_not_null,
    EffectKind.ADD_CONSTRAINT: _of_constraint,
    EffectKind.ADD_COLUMN: _of_column,
    EffectKind.ALTER_TYPE: _of_type,
    EffectKind.ATTACH_PARTITION: _of_partition,
    EffectKind.UPDATE: _of_rows,
    EffectKind.DELETE: _of_rows,
    EffectKind.CLUSTER: _of_rewrite,
    EffectKind.VACUUM_FULL: _of_rewrite,
    EffectKind.SET_PERSISTENCE: _of_rewrite,
    EffectKind.REFRESH: _of_rewrite,
}


def _is_wider(old: str, new: str) -> bool:
    """True if varchar gets a longer limit or none: the rows stay as they are."""
    was, now = _VARCHAR.fullmatch(old), _VARCHAR.fullmatch(new.lower())
    if was is None or now is None:
        return False
    return now[1] is None or (was[1] is not None and int(was[1]) <= int(now[1]))


def _checked_columns(effect: Effect) -> tuple[str, ...]:
    """The columns of which a new constraint says, and no more, that they hold no null."""
    if effect.kind is not EffectKind.ADD_CONSTRAINT:
        return ()
    if effect.what == "not null":
        return effect.columns
    reader = StatementReader.of(effect.definition)
    if not reader.take("CHECK"):
        return ()
    parts = reader.inside()
    while len(parts) == 1 and parts[0].peek() == "(":
        parts = parts[0].inside()
    column = parts[0].identifier() if len(parts) == 1 else None
    if column and parts[0].take("IS", "NOT", "NULL") and parts[0].is_at_end:
        return (column,)
    return ()
