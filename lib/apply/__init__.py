"""One file, from its first statement to its row in the ledger.

Also what can go wrong on the way, and who is in the way.
May import: sql, files, plan, database, ledger.
Must not: choose files, or take the run lock.

    failure_text         how an error of the server is told, without secrets and data
    catalog              what the server knows about an index, a partition, a statement under way
    observer             what a statement waits for, seen from a second session
    session              where files run: waits for tables, retries, errors
    resume               where to continue a file that was left midway
    outside_transaction  a file without a transaction, each statement recorded before it starts
    in_transaction       a file in one transaction, with its row in the ledger
"""
