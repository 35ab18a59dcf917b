"""What other migration tools write: their files, their ledgers, their checksums. Not deployed.

A room per tool, or per kind of files; each reads a folder and judges the rows of a ledger.
May import: sql.
Must not: know the database or our own files, or write anything.

    tool              what one has to know of another tool, and what its history is, as values
    prisma            a folder per migration, and a row for each attempt
    drizzle           a journal or folders, and a row with the hash of each file
    flyway            versions of several parts, and a row with the CRC32 of each file
    supabase          files with a time, and a row with the statements of each file
    graphile_migrate  committed files, each with the hash of the one before it
    marked_files      files with markers between their parts, as each tool reads them
    marker_tools      dbmate, goose, sql-migrate, node-pg-migrate, tern: both directions in one file
    paired_files      golang-migrate and sqlx: a file for each direction
    known_tools       all tools whose history can be carried on
"""
