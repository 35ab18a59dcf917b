"""The terminal, or the log of a build: what it can show, and a run as it goes. Not deployed.

May import: files, settings, plan.
Must not: decide anything, or write anywhere but to standard output and standard error.

    terminal        what a stream can show, and the text of a run
    output_streams  standard output and standard error
    progress_log    a run as it goes, line by line
"""
