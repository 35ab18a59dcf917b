"""Which files got other numbers, as text for people."""

from ..branches.renumbering import Renumbering
from ..console.terminal import Style
from ..escaping import Clean, table

_NEXT = (
    "Each has its former name in its header (Was), by which the database of a preview recognizes "
    "it. Other places that name it stay as they are."
)
_SHARED = (
    "{first} and {second} have one number and are both there already: give the one that was merged "
    "last the next free number by hand, with its former name in its header (-- Was: NAME)."
)


def renumber_text(renumbering: Renumbering, style: Style, *, is_written: bool) -> Clean:
    """Compose a line for each file, and what to do next."""
    base = f"{renumbering.base}, as git has it here"
    shared = [
        _SHARED.format(first=first.version, second=second.version)
        for first, second in renumbering.shared
    ]
    if not renumbering.has_work:
        return table([f"{style.tick} Nothing to renumber beside {base}.", *shared])
    done = "Renumbered" if is_written else "Would renumber"
    lines = [style.paint("bold", f"{done} beside {base}:")]
    lines += [f"  {move.file.version} is now {move.version}" for move in renumbering.moves]
    lines += [
        f"  {file.version} is removed: an earlier call has given it its new number"
        for file in renumbering.leftovers
    ]
    next_step = "Next: git add and commit them." if is_written else "Nothing was written."
    return table([*lines, _NEXT, *shared, next_step], color=style.color)
