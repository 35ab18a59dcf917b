"""Which database this is, whatever its host name, and whether production has claimed it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

# In place of an identity that the server, or the rights of the role, keep back.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a database.

    `system` is the server's system_identifier, `database` the oid, `branch` the provider's name of
    the branch, or empty.
    """

    system: str
    database: str
    branch: str = ""

    def __str__(self) -> str:
        return ":".join(filter(None, (self.system, self.database, self.branch)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form from the journal. Malformed text matches no database."""
        # The text ends with the oid if the provider has no branches.
        system, database, branch, *_ = [*text.split(":"), "", ""]
        return cls(system, database, branch)

    def belongs_to(self, claims: Sequence[Self]) -> bool:
        """True if one of the claims, the newest last, is about this database.

        A part that is unknown on one side, such as the branch behind a tunnel, cannot tell two
        databases apart: such a claim counts if it is the newest. An older one does not: production
        has since claimed another database, from which this one was copied.
        """
        return self in claims or (bool(claims) and self._may_be(claims[-1]))

    def _may_be(self, other: Self) -> bool:
        is_same_system = self.system == other.system or UNKNOWN in (self.system, other.system)
        is_same_branch = self.branch == other.branch or "" in (self.branch, other.branch)
        return self.database == other.database and is_same_system and is_same_branch
