"""What two states of a database mean for code that is deployed. Pure."""

from collections.abc import Iterator

from ..review.advice import DROP_LATER, KEEP_NAME
from ..review.finding import Severity
from .code_view import CodeChange, CodeView, DataType, Routine
from .relation_changes import relation_changes

STOP, WARN, NOTE = Severity.STOP, Severity.WARN, Severity.NOTE


def changes_for_code(
    deployed: CodeView, before: CodeView, after: CodeView, *, written: frozenset[str] = frozenset()
) -> tuple[CodeChange, ...]:
    """Return what a file that led from `before` to `after` changes for deployed code.

    What is not in `deployed`, the state before all pending files, no code uses yet. The rows of a
    table in `written` are taken for copied if the table or a column of it was made anew.
    """
    return (
        *relation_changes(deployed, before, after, written),
        *_routines(deployed, before, after),
        *_types(deployed, before, after),
        *(
            CodeChange("drops-function", STOP, "extension", name, "is dropped", DROP_LATER)
            for name in sorted(before.extensions & deployed.extensions - after.extensions)
        ),
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
            yield CodeChange("drops-function", STOP, old.kind, signature, "is dropped", DROP_LATER)


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
            change = f"is now {by_oid[old.oid]}"
            yield CodeChange("renames-type", STOP, "type", name, change, KEEP_NAME)
        else:
            yield CodeChange("drops-type", STOP, "type", name, "is dropped", DROP_LATER)


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
