"""What is to be done and what came of it, as values.

Pure: the command line, JSON and the page show the same values.
May import: files, settings.
Must not: know the driver, or print.

    migration_states   a row of the ledger, and a migration as files and ledger show it
    file_choice        which file a user means
    renames            files that were renamed after they were applied
    plan_messages      what a plan reports about files and rows that do not fit
    local_remedies     what to do where the embedded PostgreSQL lacks what a migration needs
    migration_plan     from the files and the ledger, what is to be applied
    blockers           what the server does meanwhile: who is in the way, how far an index is
    reports            outcomes, and their JSON documents
    progress_listener  the listener of a run
    dry_run_report     the report of a run that is not carried out
"""
