"""What one can ask of the runner; each action returns a report.

The endpoints and the command line call the same ones.
May import: files, settings, plan, database, ledger, apply.
Must not: print, or know who called.

    run_context  settings, database, time allowed and listener of one action
    status       the bundle and its database side by side
    validate     the chain of files checked against a database
    preview      what a run would do now, and what would stop it
    migrate      the plan under the lock, each file once, the outcome as a report
    baseline     files recorded as applied without running them
"""
