"""What an operator changes in the ledger by hand: rows, and verdicts. Not deployed.

Each change is decided, then made under the run lock.
May import: files, plan, database, ledger, apply, actions.
Must not: run a file, or print.

    baseline  files recorded as applied without running them
    resolve   a verdict on a file that a run left half-way
"""
