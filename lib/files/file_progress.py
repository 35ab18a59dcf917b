"""Where a file outside a transaction stopped, and in which run."""

import re
from dataclasses import dataclass

# At most nine digits: the text may have been edited by hand.
_TEXT_FORM = re.compile(r"([0-9]{1,9}), sha256 ([0-9a-f]{64})")


@dataclass(frozen=True)
class StatementDigest:
    """The first `count` statements of a file, and the SHA-256 (hex) of their text."""

    count: int
    sha256: str

    @classmethod
    def parse(cls, text: str | None) -> "StatementDigest | None":
        """Read the text form, `2, sha256 9f86…`; None for anything else.

        Journals of earlier versions hold the text form, so it can't change.
        """
        match = _TEXT_FORM.fullmatch(text or "")
        return cls(int(match[1]), match[2]) if match else None

    def __str__(self) -> str:
        return f"{self.count}, sha256 {self.sha256}"


@dataclass(frozen=True)
class Checkpoint:
    """The progress of a file outside a transaction.

    `statement` is the number, from 1, of the next statement. `completed` covers the statements
    before it; None if the journal has no digest. `including_next` also covers that statement, and
    the rest of the transaction block that it begins; None after the last statement. `in_doubt` is
    true if nobody knows whether the next statement has taken effect.
    """

    version: str
    statement: int
    completed: StatementDigest | None
    including_next: StatementDigest | None = None
    in_doubt: bool = False


@dataclass(frozen=True)
class Interruption:
    """The checkpoint at which run number `run` stopped.

    `sqlstate` is that of the server error that stopped the run, if there was one.
    """

    run: int
    checkpoint: Checkpoint
    sqlstate: str | None = None


# Up to version 0.2.0 the journal has the digests at the end of a text for people, behind these
# marks. Rows of later versions have columns for them, and never the marks: an earlier version finds
# no digest there, and stops before it runs anything of the file.
_COMPLETED_MARK, _INCLUDING_NEXT_MARK = "Statements before it: ", "; with it: "
_MARKED_DIGEST = "([0-9]+, sha256 [0-9a-f]{64})"
# Both marks with their digests are shorter, in characters.
LONGEST_MARKS = 400


def read_marks(text: str | None) -> tuple[StatementDigest | None, StatementDigest | None]:
    """Read the digests `completed` and `including_next` from the text of an earlier version."""
    marks = (_COMPLETED_MARK, _INCLUDING_NEXT_MARK)
    found = (re.search(mark + _MARKED_DIGEST, text or "") for mark in marks)
    completed, including_next = (StatementDigest.parse(match and match[1]) for match in found)
    return completed, including_next


def without_marks(text: str) -> str:
    """Return a text in which no version finds a mark, whatever a file's error says."""
    hidden = text.replace(_COMPLETED_MARK, f"{_COMPLETED_MARK.rstrip()}_")
    return hidden.replace(_INCLUDING_NEXT_MARK, ";")
