"""Every rule of a review, in one table: what it is about, and how severe it usually is.

The rehearsal and the texts of the files find the same things under the same names, so that one
comment ignores both. What squawk finds keeps the names that squawk gives it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .finding import Severity

STOP, WARN, NOTE = Severity.STOP, Severity.WARN, Severity.NOTE


@dataclass(frozen=True)
class Rule:
    """A rule: what it finds, in a sentence, and how severe a finding is at its gravest.

    With `depends_on_size`, it is silent about a small table, and no more than a warning where the
    sizes are not known.
    """

    name: str
    about: str
    severity: Severity
    depends_on_size: bool = False


BY_SIZE = (
    Rule(
        "rewrites-table",
        "The table and its indexes are rewritten while nobody may read or write it.",
        STOP,
        depends_on_size=True,
    ),
    Rule(
        "scans-under-lock",
        "The table is read from end to end under a lock that blocks reads or writes.",
        STOP,
        depends_on_size=True,
    ),
    Rule(
        "builds-index-under-lock",
        "An index is built while the table may not be written.",
        STOP,
        depends_on_size=True,
    ),
    Rule(
        "works-while-locking",
        "A strong lock on a table is held while later statements of the file take long.",
        STOP,
        depends_on_size=True,
    ),
    Rule(
        "locks-several-tables",
        "One transaction locks several tables, and holds the first while it waits for the next.",
        WARN,
        depends_on_size=True,
    ),
    Rule(
        "writes-many-rows",
        "Rows of a large table are written in one transaction.",
        STOP,
        depends_on_size=True,
    ),
    Rule(
        "waits-behind-lock",
        "A brief lock waits on a busy table, or behind an old transaction; all others wait behind "
        "it.",
        WARN,
        depends_on_size=True,
    ),
    Rule(
        "foreign-key-without-index",
        "A foreign key has no index: each delete in the other table reads this one.",
        WARN,
        depends_on_size=True,
    ),
)

BY_DEPLOYED_CODE = (
    Rule("drops-column", "A column that deployed code may use is dropped.", STOP),
    Rule("drops-table", "A table that deployed code may use is dropped.", STOP),
    Rule("drops-view", "A view that deployed code may use is dropped.", STOP),
    Rule("drops-function", "A function that deployed code may call is dropped.", STOP),
    Rule("drops-type", "A type that deployed code may use is dropped.", STOP),
    Rule("renames-column", "A column gets another name than deployed code knows.", STOP),
    Rule("renames-table", "A table gets another name than deployed code knows.", STOP),
    Rule("changes-type", "A column gets another type than deployed code expects.", STOP),
    Rule("changes-function", "A function returns or takes something else than before.", STOP),
    Rule(
        "requires-column",
        "A column is required from now on, which deployed code may leave out.",
        STOP,
    ),
    Rule("removes-value", "A value of an enum is gone that deployed code may write.", STOP),
    Rule("truncates-table", "All rows of a table are deleted.", STOP),
    Rule("drops-sequence", "A sequence that deployed code may use is dropped.", STOP),
    Rule("renames-type", "A type gets another name than deployed code knows.", STOP),
    Rule("renames-function", "A function gets another name than deployed code knows.", STOP),
    Rule("generates-column", "A column that deployed code may write is generated now.", STOP),
    Rule("drops-default", "A default is gone that deployed code may rely on.", WARN),
    Rule("drops-unique", "A unique key is gone that an ON CONFLICT may name.", WARN),
    Rule("enables-row-security", "Row security hides rows from deployed code.", STOP),
    Rule("revokes-privilege", "A privilege is revoked that deployed code may need.", WARN),
    Rule("adds-constraint", "Writes of deployed code may violate a new constraint.", NOTE),
    Rule("allows-null", "Deployed code may read a null where there was none before.", NOTE),
    Rule("drops-index", "An index is gone that queries of deployed code may need.", NOTE),
)

MISTAKES = (
    Rule("fails", "The statement fails.", STOP),
    Rule("not-rehearsed", "The statement, or the rest of the file, was not rehearsed.", WARN),
    Rule(
        "order-matters",
        "Files that may run in either order do not give the same schema both ways.",
        STOP,
    ),
    Rule("number-taken", "Another file has the same number.", STOP),
    Rule(
        "number-late",
        "The file is numbered below one that is applied or on the target branch.",
        WARN,
    ),
    Rule("modified-file", "A file that is on the target branch was modified.", STOP),
    Rule("ignored-without-reason", "A comment ignores a rule without saying why.", WARN),
    Rule("unused-ignore", "A comment ignores what is not found there.", NOTE),
    Rule("unknown-rule", "A comment ignores a rule that does not exist.", WARN),
)

# What squawk finds and a rehearsal does not.
BY_LINT = (Rule("identifier-too-long", "The server cuts the name to 63 bytes.", NOTE),)

# Of what is not named here, as of a table: drops-table.
_DROPS = {
    "view": "drops-view",
    "materialized view": "drops-view",
    "sequence": "drops-sequence",
    "type": "drops-type",
    "domain": "drops-type",
    "function": "drops-function",
    "procedure": "drops-function",
    "routine": "drops-function",
    "aggregate": "drops-function",
}


def rule_of_drop(kind: str) -> str:
    """Return the rule that an object of this kind breaks when it is dropped."""
    return _DROPS.get(kind, "drops-table")


RULES: Mapping[str, Rule] = {
    rule.name: rule for rule in (*BY_SIZE, *BY_DEPLOYED_CODE, *MISTAKES, *BY_LINT)
}

# The rules of squawk that a rehearsal answers better, since it sees what the statement does: by
# which of ours. A comment that ignores the one ignores the other.
ANSWERED_BY: Mapping[str, tuple[str, ...]] = {
    "adding-field-with-default": ("rewrites-table",),
    "adding-foreign-key-constraint": ("scans-under-lock",),
    "adding-not-nullable-field": ("scans-under-lock", "requires-column"),
    "adding-required-field": ("requires-column",),
    "adding-serial-primary-key-field": ("rewrites-table", "builds-index-under-lock"),
    "ban-alter-domain-with-add-constraint": ("scans-under-lock",),
    "ban-alter-identity": ("generates-column",),
    "ban-drop-column": ("drops-column",),
    "ban-drop-constraint": ("drops-unique",),
    "ban-drop-default": ("drops-default", "requires-column"),
    "ban-drop-domain": ("drops-type",),
    "ban-drop-extension": ("drops-function",),
    "ban-drop-function": ("drops-function",),
    "ban-drop-generated-expression": ("drops-default",),
    "ban-drop-not-null": ("allows-null",),
    "ban-drop-schema": ("drops-table",),
    "ban-drop-sequence": ("drops-sequence",),
    "ban-drop-table": ("drops-table",),
    "ban-drop-type": ("drops-type",),
    "ban-drop-view": ("drops-view",),
    "ban-set-schema": ("renames-table",),
    "ban-truncate-cascade": ("truncates-table",),
    "changing-column-type": ("rewrites-table", "changes-type"),
    "constraint-missing-not-valid": ("scans-under-lock",),
    "disallowed-unique-constraint": ("builds-index-under-lock",),
    "prefer-repack": ("rewrites-table",),
    "renaming-column": ("renames-column",),
    "renaming-object": ("renames-type", "removes-value"),
    "renaming-table": ("renames-table",),
    "require-concurrent-index-creation": ("builds-index-under-lock",),
    "require-concurrent-index-deletion": ("waits-behind-lock",),
    "require-concurrent-partition-detach": ("waits-behind-lock",),
    "require-concurrent-reindex": ("builds-index-under-lock",),
    # Where there is one, squawk finds nothing else in the file.
    "syntax-error": ("fails",),
}
