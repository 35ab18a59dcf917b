"""The files of a branch beside those of the branch that it will be merged into. Not deployed.

Asks git, and no database.
May import: files, review, install.
Must not: fetch, commit or stage anything, or run a statement of a file.

    target_branch     the files on the target branch, and what this branch adds, changes, removes
    number_conflicts  numbers that two branches contend for, as findings
    renumbering       the files of the branch that have to move, moved whole
"""
