"""The migrations folder: its files, what each asks for, and what is refused before anything runs.

Pure, except that `folder` reads the folder.
May import: sql.
Must not: know the database, the ledger or the environment.

    checkpoint        where a file outside a transaction was left, and by which run
    header            what the leading comments of a file ask for
    folder            names, headers and checksums of the files
    check_statements  statements and psql commands that are refused, with the way out
    check_comments    down migrations, and headers below the first statement
    check_characters  characters that nobody sees
    check_own_tables  what a file may not do to the tables of the runner
    script            how a file runs: its mode and its statements
"""
