"""What a review says in the same words, whether a text or a rehearsal shows it."""

from .estimates import Work

DROP_LATER = "Deploy code that no longer uses it; drop it in a file of a later push."
KEEP_NAME = "Keep the old name until no deployed code uses it."
COPY_FIRST = "Copy the values before the old one is dropped."
SHOW_ROWS = "Copy the rows in the same file, or make a view of the old name."
GIVE_DEFAULT = "Give it a default, or leave it nullable until all deployed code writes it."
DELETE_IN_BATCHES = "Say why no row counts any more, or delete in batches those that do not."
WRITE_IN_BATCHES = (
    "Write the rows in batches, each in a transaction of its own, by a script of the application, "
    "or in several files that each take a range of the key."
)

RULE_OF_WORK = {
    Work.REWRITE: "rewrites-table",
    Work.SCAN: "scans-under-lock",
    Work.INDEX: "builds-index-under-lock",
    Work.WRITE: "writes-many-rows",
}
DONE = {
    Work.REWRITE: "is rewritten",
    Work.SCAN: "is read from end to end",
    Work.INDEX: "gets an index",
    Work.WRITE: "has its rows written",
}
# By the mode of a lock, from the weakest for which an application waits.
BLOCKED_BY = {
    "Share": "writes",
    "ShareRowExclusive": "writes",
    "Exclusive": "writes",
    "AccessExclusive": "reads and writes",
}
MADE_ANEW = "is dropped and made anew: what it held is lost"
NEW_AND_REQUIRED = "is new and required: each insert of deployed code fails"


def keep_column(added: str) -> str:
    """Return how a column takes the place of another; `added` is the new one, with its article."""
    return (
        f"Add {added}, let the code write both, and copy the old values; drop the old column in a "
        "later push, when no deployed code uses it."
    )


def one_transaction(which: str, relation: str, how_long: str) -> str:
    """Say what it means that `which` rows are written at once."""
    return (
        f"One transaction writes {which} of {relation} ({how_long}): whoever writes one of them "
        "waits until its end, and their old versions stay on the disk."
    )
