"""One file, from its first statement to its row in the ledger.

Also what can go wrong on the way, and who is in the way.
May import: sql, files, plan, database, ledger.
Must not: choose files, or take the run lock.

    index_state          an index, a partition, a statement under way; what a build leaves invalid
    blocker_watch        what a statement waits for, seen from a second session
    session              where files run: what it waits for, sets and undoes
    table_waits          how often and how long a file tries to lock a table
    ledger_write_errors  why a statement of the runner itself failed
    statement_errors     the error for a statement that failed: place, words, way out
    resume               where to continue a file that was left half-way
    outside_transaction  a file without a transaction, each statement recorded before it starts
    in_transaction       a file in one transaction, with its row in the ledger; what follows it
    file_by_file         the files of a run, each in the mode that it asks for
"""
