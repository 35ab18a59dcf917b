"""The progress of a file outside a transaction, as runs of earlier versions recorded it.

Up to version 0.2.0 the digests stand at the end of the journal's `error`, behind these marks. Rows
of this version have columns for them, and never the marks: a run of an earlier version finds no
digest there, and stops before it runs anything of the file.
"""

import re

from ..files.checkpoint import StatementDigest

_COMPLETED, _INCLUDING_NEXT = "Statements before it: ", "; with it: "
_DIGEST = "([0-9]+, sha256 [0-9a-f]{64})"
# Both marks with their digests are shorter.
LONGEST_MARKS = 400


def read_marks(text: str | None) -> tuple[StatementDigest | None, StatementDigest | None]:
    """The digests of the completed statements, and of those including the next one."""
    found = (re.search(mark + _DIGEST, text or "") for mark in (_COMPLETED, _INCLUDING_NEXT))
    completed, including_next = (StatementDigest.parse(match and match[1]) for match in found)
    return completed, including_next


def without_marks(text: str) -> str:
    """A text in which no version finds a mark, whatever a file's error says."""
    return text.replace(_COMPLETED, f"{_COMPLETED.rstrip()}_").replace(_INCLUDING_NEXT, ";")
