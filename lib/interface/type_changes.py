"""Whether deployed code can bear another type: of a column, or of an argument. Pure."""

import re

from ..review.finding import Severity

_TYPE = re.compile(
    r"(?P<base>.*?)(?:\((?P<limits>[0-9, ]+)\))?(?P<zone> with(?:out)? time zone)?(?P<array>\[\])?"
)
_TEXTS = ("character varying", "text")
# To the right: what a client reads in the same way. A bigint reaches JavaScript as a string.
WIDER = {("smallint", "integer"), ("real", "double precision")}
TO_BIGINT = {("smallint", "bigint"), ("integer", "bigint")}
# A call with an argument of the first type reaches a function that takes the second.
_PASSES_AS = {
    *WIDER,
    *TO_BIGINT,
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


def type_severity(old: str, new: str) -> Severity | None:
    """Return how another type of a column meets deployed code; None if it is the same.

    Of a wider type of the same kind only prepared statements take notice: "cached plan must not
    change result type". A narrower one refuses some values. An integer that becomes a bigint
    reaches most of JavaScript as a string. Anything else breaks.
    """
    if old == new:
        return None
    if (old, new) in WIDER:
        return Severity.NOTE
    if (old, new) in TO_BIGINT | _NARROWER:
        return Severity.WARN
    (one, limits), (other, new_limits) = _parts(old), _parts(new)
    if one != other and not (one in _TEXTS and other in _TEXTS):
        return Severity.STOP
    return Severity.NOTE if _is_wider(one, limits, new_limits) else Severity.WARN


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


def passes_as(argument: str, parameter: str) -> bool:
    """True if a call with an argument of the one type reaches a function that takes the other."""
    return argument == parameter or (argument, parameter) in _PASSES_AS
