"""Where a file outside a transaction was left, and by which run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """How far a file outside a transaction has come. `statement`, counted from 1, is the one that comes next.

    `ran_before` tells how many stood before it, and their digest, and `with_it` the same with that one, or with all of the
    block of the file's own that it begins; `in_doubt` when nobody knows whether it has taken effect.
    """

    version: str
    statement: int
    ran_before: str
    with_it: str = ""
    in_doubt: bool = False


@dataclass(frozen=True)
class Interruption:
    """Where run number `run` left a file; `sqlstate` is the server's, where it was the server that stopped it."""

    run: int
    checkpoint: Checkpoint
    sqlstate: str | None = None
