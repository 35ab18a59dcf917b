"""Which database it is, by whatever host it is met, and whether it is one that production has claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

# In the place of a server's identity that the server, or the role's rights, keep back.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fingerprint:
    """The server's `system_identifier`, the database's oid, and the provider's name of the branch, where it is known."""

    system: str
    database: str
    branch: str = ""

    def __str__(self) -> str:
        return ":".join(filter(None, (self.system, self.database, self.branch)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """As the journal of runs has it; what isn't one is of no database that there is."""
        system, database, branch, *_ = [*text.split(":"), "", ""]
        return cls(system, database, branch)

    def belongs_to(self, claims: Sequence[Self]) -> bool:
        """Tell whether one of the claims, the newest last, is about this very database.

        What isn't known on one side, as the branch behind a tunnel, can't tell the two apart: such a claim counts. But only
        the newest may: what production has claimed since is known to be another database, which this one was copied from.
        """
        return self in claims or (bool(claims) and self._may_be(claims[-1]))

    def _may_be(self, other: Self) -> bool:
        is_same_system = self.system == other.system or UNKNOWN in (self.system, other.system)
        is_same_branch = self.branch == other.branch or "" in (self.branch, other.branch)
        return self.database == other.database and is_same_system and is_same_branch
