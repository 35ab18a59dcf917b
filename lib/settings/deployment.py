"""Which build of a bundle is at work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Deployment:
    """Which build of a bundle, as Vercel tells it; None where it doesn't."""

    commit: str | None = None
    ref: str | None = None
    id: str | None = None
