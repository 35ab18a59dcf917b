"""What the files make, built on a server that is thrown away. Not deployed with the functions.

For `schema.sql`, for the comparison of a database with its files, and for the proof of an adoption.
May import: files, settings, database, actions, local.
Must not: connect to any database but its own, or leave anything of it behind.

    scratch_server  a fresh server from the embedded binaries, gone after its use
    chain           files applied there by the runner itself
"""
