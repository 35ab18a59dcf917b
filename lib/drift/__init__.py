"""Whether a database has changed since the last run: what is kept of its schema, and compared.

Imported by a run that has something to apply, and where somebody asks.
May import: database, catalog, ledger.
Must not: keep or show a definition, or fail a run because the schema is unknown.

    verdict         what a comparison came to, as a value and in words
    schema_hashes   the objects of a schema under a keyed hash each: made, packed, compared
    schema_record   the table that keeps the newest set: created, read, written
    live_check      the schema of now: compared with the record, or recorded in its place
    run_watch       what a run does about it: before its first file, and after its last
"""
