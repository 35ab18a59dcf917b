"""Pending files, run on a throw-away server: which locks, rewrites, scans, failures. Not deployed.

The files of a pull request are a stranger's programs: no right beyond their own database.
May import: nothing but the floor.
Must not: reach the live database, or know a secret while a file runs.

    statement_facts  what a statement did in the rehearsal, as values
"""
