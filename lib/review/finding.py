"""One finding of a review, and how severe it is, as values."""

from dataclasses import dataclass
from enum import StrEnum

from ..escaping import document_text, one_line


class Severity(StrEnum):
    """How severe a finding is, from the gravest."""

    # It stalls the application, loses data, or breaks code that is deployed.
    STOP = "stop"
    # It may, or is better written in another way.
    WARN = "warn"
    # Worth knowing.
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return tuple(Severity).index(self)

    def is_at_least(self, other: "Severity") -> bool:
        return self.rank <= other.rank


@dataclass(frozen=True)
class Finding:
    """What is wrong with a statement: where, why, and what to write in its place.

    `line` counts from 1; 0 means the file as a whole. `instead` is text or SQL, and may be empty.
    """

    rule: str
    severity: Severity
    version: str
    line: int
    message: str
    instead: str = ""

    def to_dict(self) -> dict[str, str | int]:
        """Return the JSON document of the finding."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "version": one_line(self.version),
            "line": self.line,
            "message": document_text(self.message),
            "instead": document_text(self.instead),
        }
