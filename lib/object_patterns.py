"""The kinds of objects in a database, and patterns for the names of objects.

A dot or a comma within a quoted name, or within the arguments of a function, separates nothing.
"""

import re
from typing import NamedTuple

# Whose an object is and who may use it: another role migrates another database, so these are left
# out where two databases are compared.
ROLE_KINDS = ("owner", "privilege", "default privilege")
KINDS = (
    "schema",
    "extension",
    "table",
    "foreign table",
    "column",
    "constraint",
    "index",
    "view",
    "materialized view",
    "sequence",
    "type",
    "function",
    "procedure",
    "aggregate",
    "trigger",
    "policy",
    "rule",
    "statistics",
    "operator",
    "operator class",
    "operator family",
    "cast",
    "collation",
    "conversion",
    "text search configuration",
    "text search dictionary",
    "event trigger",
    "publication",
    "publication table",
    "publication schema",
    "subscription",
    "foreign-data wrapper",
    "foreign server",
    "user mapping",
    *ROLE_KINDS,
    "comment",
)

QUOTED = r'"(?:[^"]|"")*"'
ARGUMENTS = rf"\((?:{QUOTED}|[^()\"])*\)"


class ObjectPattern(NamedTuple):
    """A pattern for the identity of an object; without a `kind` it stands for every kind."""

    kind: str | None
    identity: re.Pattern[str]

    def matches(self, kind: str, identity: str) -> bool:
        return self.kind in (None, kind) and self.identity.fullmatch(identity) is not None


def parse_patterns(text: str) -> tuple[ObjectPattern, ...]:
    """Read patterns with commas between them: `public.events_*`, `function:public.f(*)`.

    A star stands for any text; everything else is as a report of changes has it. Raises
    ValueError, whose message does not repeat the text.
    """
    patterns = tuple(_pattern(part.strip()) for part in _split(text) if part.strip())
    if not patterns:
        raise ValueError("no pattern; write public.events_*, or kind:identity")
    return patterns


# Each function names its own expressions: compiled here, every cold start would pay for them.
def _split(text: str) -> list[str]:
    parts = re.findall(rf"(?:{QUOTED}|{ARGUMENTS}|[^,\"()])+", text)
    if "".join(parts) != re.sub(rf"({QUOTED}|{ARGUMENTS})|,", r"\1", text):
        raise ValueError('a quote or a parenthesis is not closed, as in "a or f(integer')
    return parts


def _pattern(text: str) -> ObjectPattern:
    kind, identity = None, text
    if match := re.match(r"([a-z][a-z -]*):(?!:)", text):
        kind, identity = match[1].strip(), text[match.end() :].strip()
        if kind not in KINDS:
            raise ValueError(f"an unknown kind before a colon; the kinds are {', '.join(KINDS)}")
    if not identity:
        raise ValueError("nothing behind the colon; write kind:identity, as in table:public.events")
    words = map(re.escape, identity.split("*"))
    return ObjectPattern(kind, re.compile(".*".join(words), re.DOTALL))
