"""What one can ask of the runner; each action returns a report.

The endpoints and the command line call the same ones.
May import: files, settings, plan, database, catalog, review, ledger, drift, apply.
Must not: print, or know who called.

    run_parameters        settings, database, time allowed and listener; what a run has come to
    status                the bundle and its database side by side, and the runs on record there
    review_check          what pending files do to the database, told before they run
    dry_run               what a run would do now, and what would stop it: `plan` and `validate`
    connection_for_files  the connection that files go over: made, checked, and whether it is pooled
    locked_ledger_edit    decide, lock, decide again, write: how an action changes the ledger
    live_checks           what somebody asks apart from a run: drift of the schema, sizes of tables
    file_runner           the files of a run, applied one after the other, and its end recorded
    locked_run            a run with something to do: lock, plan again, have the files applied
    migrate               plan, and make a run of it if there is something to do
"""
