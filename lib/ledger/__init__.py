"""The two tables of the runner, the lock around them, and every statement about them.

Nothing else writes to schema_migrations and schema_migration_runs.
May import: files, settings, plan, database.
Must not: run a statement of a file, or decide what is applied.

    fingerprint       which database this is, and whether production has claimed it
    trust_queries     the SQL that looks at the two tables
    table_trust       whose the tables are, and whether anything in them runs code
    schema            how the two tables are created, and upgraded
    ledger_state      everything that one look at the database tells
    production_guard  whether a run may write here: production's claim, and read-only databases
    ledger_errors     why a statement of the runner failed, and what to do
    runs              rows of the journal: a run begins, notes what it has come to, and ends
    records           rows of the ledger: a file recorded as applied, with the proof of it
    run_lock          one run at a time
"""
