"""Which build of the bundle is running."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Deployment:
    """The build that is running, as the variables of Vercel name it; None where they are unset."""

    commit: str | None = None
    ref: str | None = None
    id: str | None = None
