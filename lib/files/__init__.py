"""The migrations folder: its files, what each asks for, and what is refused before anything runs.

Pure, except that `folder` reads the folder.
May import: sql.
Must not: know the database, the ledger or the environment.

    file_progress     where a file outside a transaction stopped, and in which run
    header            what the leading comments of a file ask of the runner
    folder            the names, headers and checksums of the files
    renumbered        what another number changes in a file, and what the file was before
    runnable_script   how a file runs: its mode and its statements
    check_statements  refuses statements and psql commands, with the way out
    check_comments    refuses down migrations, and headers below the first statement
    check_characters  refuses invisible characters in SQL
    check_own_tables  refuses what would damage the tables of the runner
    prepare_script    from a file to a script: split, checked, with its mode
"""
