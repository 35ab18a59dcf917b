"""Pending files, run on a throw-away server: which locks, rewrites, scans, failures. Not deployed.

The files of a pull request are a stranger's programs: no right beyond their own database.
May import: sql, files, settings, plan, database, catalog, review, ledger, actions, local, scratch,
interface.
Must not: reach the live database, or know a secret while a file runs.

    statement_facts   what a statement did in the rehearsal, as values
    breaking          what a file breaks for deployed code, and which statement does it
    lint              what squawk says beyond what the rehearsal has seen
    throwaway_server  a server for a stranger's SQL, with an unprivileged owner and limits
    probe_queries     what the server is asked between two statements, and its answers as values
    sightings         from what was seen before and after a statement to what it did
    observed_run      one file, statement by statement, with a probe after each
    weighing          what the facts mean for the live tables: findings
    applied_state     what a rehearsal begins with: which files are applied, and what they make
    rehearsal         the pending files, run one after the other, and the report of it
"""
